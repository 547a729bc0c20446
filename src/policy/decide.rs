//! The decision, and the permit that only it can make.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;

use super::{Channel, Grant, Limits, Mode, Role, Rules};
use crate::{
    model::{Actor, Identity, PersonId, Place, Platform, RunId, Service, ServiceName},
    runbook::{self, Command, Kind},
};

/// Commands of the bot itself that tell nobody anything about a Redis, or
/// stop what somebody started, or have their own question of who may: whoever the policy knows may use them.
pub(super) const FOR_EVERYBODY: [&str; 21] = [
    "help",
    "whoami",
    "can-i",
    "cancel",
    "services",
    "version",
    "pending",
    "approve",
    "decline",
    "revoke",
    "freeze",
    "unfreeze",
    "severity",
    "break-glass",
    "page",
    "open",
    "runbooks",
    "pause",
    "resume",
    "abort",
    "tick",
];

/// Commands of the program itself, run at the machine it is on and not from chat. They can be granted by name.
pub const AT_THE_MACHINE: [&str; 1] = ["rdb-fetch"];

/// Such a command, to ask policy about: it is in no catalogue.
pub fn at_the_machine(name: &str) -> Option<Command> {
    let name = AT_THE_MACHINE.iter().find(|known| **known == name)?;
    Some(Command {
        name: (*name).to_owned(),
        aliases: Vec::new(),
        summary: "A full copy over the replication stream".into(),
        about: None,
        examples: Vec::new(),
        group: "machine".into(),
        arguments: Vec::new(),
        cost: runbook::Cost::Heavy,
        deadline: Duration::from_secs(24 * 3600),
        call_deadline: Duration::from_secs(60),
        private: true,
        source: "compiled in".into(),
        kind: runbook::Kind::BuiltIn,
    })
}

/// The rules of `policy.toml`, ready to decide.
#[derive(Debug, Clone)]
pub struct Policy {
    pub(super) rules: Rules,
    /// Whose account it is. An account that two people claim is nobody's.
    owners: BTreeMap<Identity, PersonId>,
}

/// A question: may they, here, now?
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// Who asks.
    pub actor: &'a Actor,
    /// From where.
    pub place: &'a Place,
    /// For which command.
    pub command: &'a Command,
    /// On which service; `None` for commands that touch none.
    pub service: Option<&'a Service>,
    /// Values are wanted, not only their shapes.
    pub reveal: bool,
    /// The run it would be.
    pub run: &'a RunId,
    /// When it is asked.
    pub now: Timestamp,
}

/// The answer.
#[derive(Debug)]
pub enum Verdict {
    /// Go.
    Allow(Permit),
    /// No, and why.
    Deny(Refusal),
}

/// Proof that the policy allowed one run to one person.
///
/// Its fields are private and nothing outside this room makes one, so code
/// that runs what nobody allowed does not compile:
///
/// ```compile_fail
/// use rediscue::policy::Permit;
/// let forged = Permit { reveal: true, ..todo!() };
/// ```
///
/// It is not `Clone` either: one decision, one run.
#[derive(Debug)]
pub struct Permit {
    person: PersonId,
    run: RunId,
    command: String,
    service: Option<ServiceName>,
    reveal: bool,
    rule: String,
    decided_at: Timestamp,
}

impl Permit {
    /// To look again at what a consented change is about.
    pub(super) fn to_look(person: PersonId, run: RunId, command: String, service: ServiceName, now: Timestamp) -> Self {
        let rule = "consent".to_owned();
        Self { person, run, command, service: Some(service), reveal: false, rule, decided_at: now }
    }

    /// Who was allowed.
    pub fn person(&self) -> &PersonId {
        &self.person
    }

    /// The run that was allowed.
    pub fn run(&self) -> &RunId {
        &self.run
    }

    /// The command that was allowed.
    pub fn command(&self) -> &str {
        &self.command
    }

    /// The service it was allowed on; `None` for commands that touch none.
    pub fn service(&self) -> Option<&ServiceName> {
        self.service.as_ref()
    }

    /// Values may be shown to this person.
    pub fn reveal(&self) -> bool {
        self.reveal
    }

    /// The rule that allowed it, for the journal: `roles.oncall`.
    pub fn rule(&self) -> &str {
        &self.rule
    }

    /// When it was decided.
    pub fn decided_at(&self) -> Timestamp {
        self.decided_at
    }
}

/// A no that can be acted on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Refusal {
    /// The rule that says no: `people`, `roles`, `channels.ops`, `reveal`.
    pub rule: String,
    /// Why, in one sentence.
    pub why: String,
    /// Who can change that, or what to do instead.
    pub next: String,
}

/// Which service a question is about.
#[derive(Clone, Copy)]
pub(super) enum Reach<'a> {
    /// This one.
    Service(&'a Service),
    /// None: the command touches no service.
    Nothing,
    /// Whether there could be one: help asks that.
    Somewhere,
}

impl<'a> Reach<'a> {
    fn service(self) -> Option<&'a Service> {
        match self {
            Reach::Service(service) => Some(service),
            Reach::Nothing | Reach::Somewhere => None,
        }
    }

    fn is_in(self, grant: &Grant) -> bool {
        match self {
            Reach::Service(service) => grant.reaches(service),
            Reach::Nothing => grant.reaches_all(),
            Reach::Somewhere => true,
        }
    }
}

impl Policy {
    /// A policy of these rules. An account that two people claim belongs to neither.
    pub fn new(rules: Rules) -> Self {
        let mut claims: BTreeMap<&Identity, Vec<&PersonId>> = BTreeMap::new();
        for (id, person) in &rules.people {
            for identity in &person.identities {
                claims.entry(identity).or_default().push(id);
            }
        }
        let owners = claims
            .into_iter()
            .filter_map(|(identity, people)| match people[..] {
                [person] => Some((identity.clone(), person.clone())),
                _ => None,
            })
            .collect();
        Self { rules, owners }
    }

    /// The rules.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Whether changes are possible at all.
    pub fn mode(&self) -> Mode {
        self.rules.mode
    }

    /// How much at once.
    pub fn limits(&self) -> &Limits {
        &self.rules.limits
    }

    /// The person an account belongs to.
    pub fn person_of(&self, identity: &Identity) -> Option<&PersonId> {
        match identity.platform {
            Platform::Console => {
                // The gateway names its host; the operating system of that host vouches for the user.
                let anywhere = Identity { team: String::new(), ..identity.clone() };
                self.owners.get(&anywhere)
            }
            Platform::Slack | Platform::Discord => self.owners.get(identity),
        }
    }

    /// What cards call a person; their id when the policy does not know them.
    pub fn name_of<'a>(&'a self, person: &'a PersonId) -> &'a str {
        match self.rules.people.get(person) {
            Some(known) if !known.name.is_empty() => &known.name,
            _ => person.as_str(),
        }
    }

    /// The service meant in a place when none is named.
    pub fn default_service(&self, place: &Place) -> Option<&ServiceName> {
        self.channel_of(place).and_then(|(_, channel)| channel.service.as_ref())
    }

    /// Decides one question. Pure: the same rules and the same question give the same answer.
    pub fn decide(&self, ask: &Ask<'_>) -> Verdict {
        let reach = ask.service.map_or(Reach::Nothing, Reach::Service);
        match self.judged(ask.actor, ask.command, reach, ask.place, ask.reveal) {
            Ok((person, rule)) => Verdict::Allow(Permit {
                person,
                run: ask.run.clone(),
                command: ask.command.name.clone(),
                service: ask.service.map(|service| service.name.clone()),
                reveal: ask.reveal,
                rule,
                decided_at: ask.now,
            }),
            Err(refusal) => Verdict::Deny(refusal),
        }
    }

    /// Could the speaker run the command from here, on that service (`None`: on any)? For help.
    pub fn may(&self, actor: &Actor, command: &Command, service: Option<&Service>, place: &Place) -> bool {
        let reach = service.map_or(Reach::Somewhere, Reach::Service);
        match self.standing(actor) {
            Ok(person) => self.weigh(person, command, reach, place, false).is_ok(),
            Err(_) => {
                let roles = self.lent(actor);
                self.member(actor).is_some() && self.weigh_looks(&roles, command, reach, place, false).is_ok()
            }
        }
    }

    /// The refusal for somebody the policy does not know; `None` when it knows them, be it as one of a crowd.
    pub fn stranger(&self, actor: &Actor) -> Option<Refusal> {
        self.standing(actor).err().filter(|_| self.member(actor).is_none())
    }

    /// Who may, and by which rule: a person by their own roles, one of a crowd by those lent to it.
    pub(super) fn judged(
        &self,
        actor: &Actor,
        command: &Command,
        reach: Reach<'_>,
        place: &Place,
        reveal: bool,
    ) -> Result<(PersonId, String), Refusal> {
        match self.standing(actor) {
            Ok(person) => Ok((person.clone(), self.judge(person, command, reach, place, reveal)?)),
            Err(stranger) => {
                let Some(member) = self.member(actor) else { return Err(stranger) };
                let roles = self.lent(actor);
                let rule = self.weigh_looks(&roles, command, reach, place, reveal);
                rule.map(|rule| (member, rule)).map_err(|no| self.explain(&no, &roles, command, reach, place, reveal))
            }
        }
    }

    /// The person who speaks, if the policy knows them.
    ///
    /// A gateway may vouch for a person only on the console, where the
    /// operating system says who it is; everywhere else the account decides.
    pub(super) fn standing<'a>(&'a self, actor: &'a Actor) -> Result<&'a PersonId, Refusal> {
        let owner = self.person_of(&actor.identity);
        let person = match (&actor.person, owner) {
            (Some(said), Some(owner)) if said != owner => None,
            (_, Some(owner)) => Some(owner),
            (Some(said), None) if actor.identity.platform == Platform::Console => Some(said),
            (_, None) => None,
        };
        person.filter(|person| self.rules.people.contains_key(*person)).ok_or_else(|| self.nobody(actor))
    }

    /// The rule that allows it, or why none does.
    pub(super) fn judge(
        &self,
        person: &PersonId,
        command: &Command,
        reach: Reach<'_>,
        place: &Place,
        reveal: bool,
    ) -> Result<String, Refusal> {
        self.weigh(person, command, reach, place, reveal).map_err(|no| {
            let held: Vec<(&String, &Role)> = self.held(person).collect();
            self.explain(&no, &held, command, reach, place, reveal)
        })
    }

    /// The people whose roles allow it at that place, by name.
    pub(super) fn who_may(&self, command: &Command, reach: Reach<'_>, place: &Place, reveal: bool) -> Vec<&PersonId> {
        let people = self.rules.people.keys();
        people.filter(|person| self.weigh(person, command, reach, place, reveal).is_ok()).collect()
    }

    fn weigh(
        &self,
        person: &PersonId,
        command: &Command,
        reach: Reach<'_>,
        place: &Place,
        reveal: bool,
    ) -> Result<String, No> {
        if !self.rules.people.contains_key(person) {
            return Err(No::Nobody);
        }
        if is_for_everybody(command) {
            return Ok("everybody in policy.toml".to_owned());
        }
        match &command.kind {
            Kind::Remediation(_) if self.rules.mode == Mode::Observe => return Err(No::Observing),
            Kind::Runbook(book) if self.rules.mode == Mode::Observe && book.changes() => return Err(No::Observing),
            Kind::Diagnostic(_) | Kind::BuiltIn | Kind::Remediation(_) | Kind::Runbook(_) => {}
        }
        let held: Vec<(&String, &Role)> = self.held(person).collect();
        self.granted(&held, command, reach, place, reveal)
    }

    /// The role among these that allows it there.
    pub(super) fn granted(
        &self,
        roles: &[(&String, &Role)],
        command: &Command,
        reach: Reach<'_>,
        place: &Place,
        reveal: bool,
    ) -> Result<String, No> {
        let channel = self.channel_of(place);
        if let Some((_, channel)) = channel {
            if !channel.takes(command) {
                return Err(No::NotACommandHere);
            }
            if reach.service().is_some_and(|service| !channel.services.holds(&service.name)) {
                return Err(No::NotAServiceHere);
            }
        }
        let place_name = channel.map(|(name, _)| name);
        let grants = roles.iter().flat_map(|&(name, role)| role.grants.iter().map(move |grant| (name, grant)));
        let granting: Vec<(&String, &Grant)> = grants.filter(|(_, grant)| covers(grant, command, reach)).collect();
        if granting.is_empty() {
            return Err(No::NotGranted);
        }
        let mut here = granting.iter().filter(|(_, grant)| grant.places.covers(place, place_name)).peekable();
        let (role, _) = here.peek().ok_or(No::NotFromHere)?;
        if !reveal {
            return Ok(format!("roles.{role}"));
        }
        let (role, _) = here.find(|(_, grant)| grant.reveal).ok_or(No::NotRevealed)?;
        Ok(format!("roles.{role} (reveal)"))
    }

    fn explain(
        &self,
        no: &No,
        held: &[(&String, &Role)],
        command: &Command,
        reach: Reach<'_>,
        place: &Place,
        reveal: bool,
    ) -> Refusal {
        let what = asked(command, reach);
        let roles: BTreeSet<&String> = held.iter().map(|(name, _)| *name).collect();
        let channel = self.channel_of(place);
        let of_the_channel = |why: String| Refusal {
            rule: format!("channels.{}", channel.map_or("", |(name, _)| name)),
            why,
            next: "Ask in another channel or in a direct message; `/redis can-i` there says whether it would do."
                .to_owned(),
        };
        match no {
            No::Nobody => Refusal {
                rule: "people".to_owned(),
                why: "You are nobody in policy.toml.".to_owned(),
                next: format!("Ask {} to add you.", self.keepers()),
            },
            No::LooksOnly => Refusal {
                rule: "crowds".to_owned(),
                why: format!("{what} is more than a look, and you are known here as one of a crowd, which may look."),
                next: format!("Ask {} to add your account to a person in policy.toml.", self.keepers()),
            },
            No::Observing => Refusal {
                rule: "mode".to_owned(),
                why: format!("{what} would change something, and this bot only observes."),
                next: format!("Ask {} to set `mode = \"normal\"` in policy.toml.", self.keepers()),
            },
            No::NotACommandHere => of_the_channel(format!("This channel is not for `{}`.", command.name)),
            No::NotAServiceHere => {
                let services = channel.map(|(_, channel)| channel.services.to_string()).unwrap_or_default();
                of_the_channel(format!("This channel is for {services} only, and you asked for {what}."))
            }
            No::NotGranted => {
                let held = match roles.len() {
                    0 => "you hold no role".to_owned(),
                    1 => format!("your role {} does not", join(roles.iter().copied())),
                    _ => format!("your roles {} do not", join(roles.iter().copied())),
                };
                Refusal {
                    rule: "roles".to_owned(),
                    why: format!("No rule lets you run {what}: {held}."),
                    next: self.whom_to_ask(command, reach, place, reveal),
                }
            }
            No::NotFromHere => {
                let grants = held.iter().flat_map(|(_, role)| &role.grants);
                let places: BTreeSet<String> = grants
                    .filter(|grant| covers(grant, command, reach))
                    .map(|grant| grant.places.to_string())
                    .collect();
                Refusal {
                    rule: "roles".to_owned(),
                    why: format!("You may run {what}, but not from this place."),
                    next: format!("Ask from: {}.", join(places.iter())),
                }
            }
            No::NotRevealed => Refusal {
                rule: "reveal".to_owned(),
                why: format!("{what} would show values, and none of your roles may reveal them here."),
                next: format!(
                    "Run it without `--reveal` to see shapes and sizes, or ask {} for a grant with `reveal = true`.",
                    self.keepers()
                ),
            },
        }
    }

    /// The roles a person holds now: their own, and those of the duties they are on call for.
    pub(super) fn held<'a>(&'a self, person: &'a PersonId) -> impl Iterator<Item = (&'a String, &'a Role)> {
        let own = self.rules.people.get(person).map(|known| &known.roles);
        self.rules.roles.iter().filter(move |(name, role)| {
            own.is_some_and(|own| own.contains(*name) || self.is_on_call(person, role.on_call.as_deref()))
        })
    }

    /// Is the person on call for that duty? Here a rota would answer.
    pub(super) fn is_on_call(&self, person: &PersonId, duty: Option<&str>) -> bool {
        duty.and_then(|duty| self.rules.on_call.get(duty)).is_some_and(|present| present.contains(person))
    }

    pub(super) fn channel_of(&self, place: &Place) -> Option<(&str, &Channel)> {
        self.rules
            .channels
            .iter()
            .find(|(_, channel)| channel.is(place))
            .map(|(name, channel)| (name.as_str(), channel))
    }

    /// The keepers of the policy, for a sentence.
    pub(super) fn keepers(&self) -> String {
        let names: Vec<&str> = self.rules.keepers.iter().map(|person| self.name_of(person)).collect();
        if names.is_empty() { "whoever keeps policy.toml".to_owned() } else { names.join(" or ") }
    }

    /// Who can grant it, and who may run it already.
    fn whom_to_ask(&self, command: &Command, reach: Reach<'_>, place: &Place, reveal: bool) -> String {
        let allows = |role: &Role| role.grants.iter().any(|grant| covers(grant, command, reach));
        let roles: Vec<&String> =
            self.rules.roles.iter().filter(|(_, role)| allows(role)).map(|(name, _)| name).collect();
        let grant = match roles[..] {
            [] => format!("No role allows it yet; ask {} to write one that does.", self.keepers()),
            [role] => format!("Ask {} for the role {role}.", self.keepers()),
            _ => format!("Ask {} for one of the roles {}.", self.keepers(), join(roles.into_iter())),
        };
        let able = self.who_may(command, reach, place, reveal);
        if able.is_empty() { grant } else { format!("{grant} {} may run it here.", self.names(&able)) }
    }

    /// So many names as fit in a sentence.
    pub(super) fn names(&self, people: &[&PersonId]) -> String {
        const SHOWN: usize = 6;
        let names: Vec<&str> = people.iter().take(SHOWN).map(|person| self.name_of(person)).collect();
        match people.len() {
            0 => "nobody".to_owned(),
            all if all > SHOWN => format!("{} and {} more", names.join(", "), all - SHOWN),
            _ => names.join(", "),
        }
    }
}

/// Why not, before anybody needs the words for it.
pub(super) enum No {
    Nobody,
    LooksOnly,
    Observing,
    NotACommandHere,
    NotAServiceHere,
    NotGranted,
    NotFromHere,
    NotRevealed,
}

/// May anybody the policy knows use it?
pub(super) fn is_for_everybody(command: &Command) -> bool {
    matches!(command.kind, Kind::BuiltIn) && FOR_EVERYBODY.contains(&command.name.as_str())
}

/// Does the grant allow the command there, places aside?
pub(super) fn covers(grant: &Grant, command: &Command, reach: Reach<'_>) -> bool {
    reach.is_in(grant) && grant.commands.iter().any(|set| set.holds(command))
}

/// `` `memory` on prospectflow (prod) ``
pub(super) fn asked(command: &Command, reach: Reach<'_>) -> String {
    match reach.service() {
        Some(service) => format!("`{}` on {} ({})", command.name, service.name, service.environment),
        None => format!("`{}`", command.name),
    }
}

fn join<'a>(words: impl Iterator<Item = &'a String>) -> String {
    words.map(String::as_str).collect::<Vec<_>>().join(", ")
}
