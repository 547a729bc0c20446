//! Whose word a change needs, and the permit that only enough of it makes.

use jiff::Timestamp;

use super::{
    Broken, Permit, Policy, Refusal,
    decide::{Reach, asked, covers},
    rules::Mode,
};
use crate::{
    model::{Actor, PersonId, Place, Platform, Service},
    policy::Grant,
    runbook::{Command, Plan, Risk},
};

/// One person's yes to one plan. People count once, whichever account they spoke from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vote {
    /// Who.
    pub person: PersonId,
    /// The digest of the plan they saw.
    pub digest: String,
    /// The service's name as they typed it. To a critical change no word counts without.
    pub typed: Option<String>,
}

/// What people have said to a plan.
#[derive(Debug, Clone, Copy, Default)]
pub struct Said<'a> {
    /// Their votes.
    pub votes: &'a [Vote],
    /// Whoever went on alone.
    pub broken: Option<&'a Broken>,
}

/// Somebody whose word would count.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Consenter {
    /// The place of their tier among the tiers; those without one come last.
    rank: usize,
    /// Those who are on call come first within their tier.
    off_call: bool,
    /// Who.
    pub person: PersonId,
    /// Their tier's name.
    tier: Option<String>,
}

/// A plan that waits for somebody's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// Whose word would do, for a sentence.
    pub who: String,
    /// How many more it takes.
    pub missing: usize,
}

/// What the votes amount to.
#[derive(Debug)]
pub enum Consent {
    /// Go.
    Granted(Box<TouchPermit>),
    /// Not enough yet.
    Need(Ticket),
    /// It can no longer be granted, and why.
    Void(Refusal),
}

/// Proof that one plan, exactly as it was shown, may be carried out.
///
/// Like a [`Permit`] it is made here alone and not copied:
///
/// ```compile_fail
/// use rediscue::policy::TouchPermit;
/// let forged = TouchPermit { digest: String::new() };
/// ```
#[derive(Debug)]
pub struct TouchPermit {
    digest: String,
    consented: Vec<PersonId>,
    broken: Option<Broken>,
    look: Permit,
    back_only: bool,
}

impl TouchPermit {
    /// Is it for carrying out this very plan?
    pub fn covers(&self, plan: &Plan) -> bool {
        !self.back_only && self.covers_way_back(plan)
    }

    /// Is it for taking back what this very plan changed?
    pub fn covers_way_back(&self, plan: &Plan) -> bool {
        self.digest == plan.digest()
    }

    /// What is about to be changed may be looked at once more.
    pub fn look(&self) -> &Permit {
        &self.look
    }

    /// Who consented; nobody had to when the risk is low.
    pub fn consented(&self) -> &[PersonId] {
        &self.consented
    }

    /// Who went on alone, when it took that.
    pub fn broken(&self) -> Option<&Broken> {
        self.broken.as_ref()
    }
}

impl Policy {
    /// May the speaker's word count for this plan? The person it counts as.
    ///
    /// # Errors
    /// A stranger's, the asker's own, and that of people without the right do not.
    pub fn may_consent<'a>(
        &'a self,
        actor: &'a Actor,
        plan: &Plan,
        command: &Command,
        service: &Service,
        place: &Place,
    ) -> Result<&'a PersonId, Refusal> {
        let person = self.standing(actor)?;
        if *person == plan.requester {
            return Err(Refusal {
                rule: "consent".to_owned(),
                why: "You asked for this change, so your own word does not count, from whichever account.".to_owned(),
                next: format!("Ask one of these: {}.", self.who_consents(plan, command, service, place)),
            });
        }
        if self.counts(person, plan, command, service, place) {
            return Ok(person);
        }
        if self.mode() == Mode::Observe {
            // Nobody's word counts while the bot only observes, and that is the reason to tell.
            self.judge(person, command, Reach::Service(service), place, false)?;
        }
        let reach = asked(command, Reach::Service(service));
        let role = plan.asks.as_ref().and_then(|asks| asks.by.as_ref());
        let role = role.map(|role| format!(", which asks for {}", role.replace(['`', '*'], ""))).unwrap_or_default();
        Err(Refusal {
            rule: "consent".to_owned(),
            why: format!("Your word does not count for {reach}{role}, whose risk is {}.", plan.risk.word()),
            next: format!("Ask one of these: {}.", self.who_consents(plan, command, service, place)),
        })
    }

    /// What these votes amount to under the rules as they are now. Pure.
    ///
    /// Everything is judged anew: whoever lost a right since voting counts no
    /// longer, and an asker who lost theirs asks for nothing.
    pub fn consent(
        &self,
        plan: &Plan,
        command: &Command,
        service: &Service,
        place: &Place,
        said: Said<'_>,
        now: Timestamp,
    ) -> Consent {
        let void = |why: String| {
            Consent::Void(Refusal { rule: "consent".to_owned(), why, next: "Ask for the change again.".to_owned() })
        };
        if plan.expired(now) {
            return void("The plan has expired.".to_owned());
        }
        if let Err(refusal) = self.judge(&plan.requester, command, Reach::Service(service), place, false) {
            return Consent::Void(refusal);
        }
        if plan.command != command.name || plan.service != service.name {
            return void("The plan is for another command or service.".to_owned());
        }
        let digest = plan.digest();
        let mut consented: Vec<PersonId> = said
            .votes
            .iter()
            .filter(|vote| vote.digest == digest && vote.person != plan.requester)
            .filter(|vote| plan.risk < Risk::Critical || vote.typed.as_deref() == Some(service.name.as_str()))
            .filter(|vote| self.counts(&vote.person, plan, command, service, place))
            .map(|vote| vote.person.clone())
            .collect();
        // However often somebody speaks, they are one.
        consented.sort();
        consented.dedup();
        let enough = consented.len() >= plan.risk.consents();
        let broken = said
            .broken
            .filter(|broken| !enough && broken.digest == digest && plan.risk < Risk::Critical)
            .filter(|broken| self.judge(&broken.person, command, Reach::Service(service), place, false).is_ok());
        if enough || broken.is_some() {
            let look = Permit::to_look(
                plan.requester.clone(),
                plan.run.clone(),
                command.name.clone(),
                service.name.clone(),
                now,
            );
            let broken = broken.cloned();
            return Consent::Granted(Box::new(TouchPermit { digest, consented, broken, look, back_only: false }));
        }
        let missing = plan.risk.consents() - consented.len();
        let mut able = self.consenters(plan, command, service, place);
        able.retain(|one| !consented.contains(&one.person));
        Consent::Need(Ticket { who: self.sentence(&able), missing })
    }

    /// The permit by which a change that was asked for a while, or until a watch
    /// fails, takes itself back: whoever consented to it consented to that as well. It looks and
    /// goes the way back, and nothing else.
    pub fn own_end(&self, plan: &Plan, now: Timestamp) -> Option<TouchPermit> {
        if plan.lasts_ms.is_none() && plan.rolls_back.is_none() {
            return None;
        }
        let look =
            Permit::to_look(plan.requester.clone(), plan.run.clone(), plan.command.clone(), plan.service.clone(), now);
        Some(TouchPermit { digest: plan.digest(), consented: Vec::new(), broken: None, look, back_only: true })
    }

    /// After the bot was cut short in a run that was consented to: what it left
    /// half done may be put back or finished, and nothing else.
    pub fn tidying(&self, plan: &Plan, now: Timestamp) -> TouchPermit {
        let look =
            Permit::to_look(plan.requester.clone(), plan.run.clone(), plan.command.clone(), plan.service.clone(), now);
        TouchPermit { digest: plan.digest(), consented: Vec::new(), look, back_only: true, broken: None }
    }

    /// After the bot was cut short in a run of its own: a look at what that left.
    pub fn aftermath(&self, plan: &Plan, command: &Command, now: Timestamp) -> Permit {
        Permit::to_look(plan.requester.clone(), plan.run.clone(), command.name.clone(), plan.service.clone(), now)
    }

    /// The people whose word would count, those to be asked first first.
    pub fn consenters(&self, plan: &Plan, command: &Command, service: &Service, place: &Place) -> Vec<Consenter> {
        let mut able: Vec<Consenter> = self
            .rules
            .people
            .keys()
            .filter(|person| **person != plan.requester)
            .filter_map(|person| self.counting(person, plan, command, service, place))
            .collect();
        able.sort();
        able
    }

    /// Whom to call on when a plan is shown: the first tier that suffices, or everybody whose word would count.
    pub fn called(&self, able: &[Consenter], plan: &Plan, all: bool) -> Vec<PersonId> {
        let needed = plan.risk.consents();
        let reached = able.get(needed.saturating_sub(1)).or(able.last()).map_or(0, |last| last.rank);
        able.iter().filter(|one| all || one.rank <= reached).map(|one| one.person.clone()).collect()
    }

    /// The people whose word would count, for a sentence.
    pub fn who_consents(&self, plan: &Plan, command: &Command, service: &Service, place: &Place) -> String {
        self.sentence(&self.consenters(plan, command, service, place))
    }

    fn sentence(&self, able: &[Consenter]) -> String {
        const SHOWN: usize = 6;
        let name = |one: &Consenter| {
            let notes: Vec<&str> =
                one.tier.as_deref().into_iter().chain((!one.off_call).then_some("on call")).collect();
            let name = self.name_of(&one.person);
            if notes.is_empty() { name.to_owned() } else { format!("{name} ({})", notes.join(", ")) }
        };
        let names: Vec<String> = able.iter().take(SHOWN).map(name).collect();
        match able.len() {
            0 => "nobody".to_owned(),
            all if all > SHOWN => format!("{} and {} more", names.join(", "), all - SHOWN),
            _ => names.join(", "),
        }
    }

    /// Does the person have an account where the place is, so that they can be told there?
    pub fn is_told_in(&self, person: &PersonId, place: &Place) -> bool {
        // The console is one place; whoever sits there is told.
        place.platform == Platform::Console
            || self.rules.people.get(person).is_some_and(|known| {
                known.identities.iter().any(|own| (own.platform, &own.team) == (place.platform, &place.team))
            })
    }

    /// May this person stop the run: whoever asked for it, may run it, or may consent to it.
    pub fn may_stop(&self, actor: &Actor, plan: &Plan, command: &Command, service: &Service, place: &Place) -> bool {
        let Ok(person) = self.standing(actor) else { return false };
        *person == plan.requester
            || self.counts(person, plan, command, service, place)
            || self.judge(person, command, Reach::Service(service), place, false).is_ok()
    }

    fn counts(&self, person: &PersonId, plan: &Plan, command: &Command, service: &Service, place: &Place) -> bool {
        self.counting(person, plan, command, service, place).is_some()
    }

    /// By which tier a person's word counts, if it does.
    fn counting(
        &self,
        person: &PersonId,
        plan: &Plan,
        command: &Command,
        service: &Service,
        place: &Place,
    ) -> Option<Consenter> {
        if self.mode() == Mode::Observe {
            return None;
        }
        let channel = self.channel_of(place).map(|(name, _)| name);
        let here =
            |grant: &Grant| covers(grant, command, Reach::Service(service)) && grant.places.covers(place, channel);
        let runs = plan.risk < Risk::High && self.judge(person, command, Reach::Service(service), place, false).is_ok();
        // Where a runbook asks for those who hold a role, they are whose word counts.
        let by = plan.asks.as_ref().and_then(|asks| asks.by.as_deref());
        self.held(person)
            .filter(|(name, role)| {
                if let Some(by) = by {
                    return *name == by;
                }
                role.approves.iter().any(|approval| approval.up_to >= plan.risk && here(&approval.grant))
                    || (runs && role.grants.iter().any(here))
            })
            .map(|(_, role)| Consenter {
                rank: role
                    .tier
                    .as_ref()
                    .and_then(|tier| self.rules.tiers.iter().position(|other| other == tier))
                    .unwrap_or(self.rules.tiers.len()),
                off_call: !self.is_on_call(person, role.on_call.as_deref()),
                person: person.clone(),
                tier: role.tier.clone(),
            })
            .min()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;
    use crate::{
        model::{Address, Badges, Credential, Deployment, Environment, Identity, Instance, PlaceKind, Platform},
        policy::{Approval, CommandSet, Only, Person, Role, Rules},
        runbook,
    };

    fn account(user: &str) -> Identity {
        Identity { platform: Platform::Slack, team: "T1".into(), user: user.into() }
    }

    fn grant() -> Grant {
        Grant {
            commands: BTreeSet::from([CommandSet::Every]),
            services: Only::Any,
            environments: Only::Any,
            places: Only::Any,
            reveal: false,
        }
    }

    /// ana and ora run changes, bo approves them, cy does neither. Everybody has two accounts.
    fn policy(mode: Mode) -> Policy {
        let person = |name: &str, roles: &[&str]| {
            let identities = BTreeSet::from([account(name), account(&format!("{name}-2"))]);
            let roles = roles.iter().map(|&role| role.to_owned()).collect();
            (name.parse().unwrap(), Person { name: name.to_owned(), identities, roles })
        };
        let people =
            [person("ana", &["runs"]), person("bo", &["approves"]), person("cy", &[]), person("ora", &["runs"])];
        let roles = BTreeMap::from([
            ("runs".to_owned(), Role { grants: vec![grant()], ..Role::default() }),
            (
                "approves".to_owned(),
                Role { approves: vec![Approval { grant: grant(), up_to: Risk::Critical }], ..Role::default() },
            ),
        ]);
        Policy::new(Rules { mode, people: people.into(), roles, ..Rules::default() })
    }

    fn command() -> Command {
        runbook::built_in().into_iter().find(|command| command.name == "set-config").unwrap()
    }

    fn service() -> Service {
        Service {
            name: "shop".parse().unwrap(),
            title: String::new(),
            environment: Environment::Prod,
            owner: String::new(),
            instances: vec![Instance {
                name: "main".parse().unwrap(),
                deployment: Deployment::Standalone(Address::Tcp { host: "h".into(), port: 1 }),
                database: 0,
                tls: None,
                look: Credential::default(),
                touch: None,
                scan_replica: false,
            }],
            patterns: Vec::new(),
            queues: Vec::new(),
            thresholds: Default::default(),
            declared: Default::default(),
            endpoints: Vec::new(),
            metrics: Vec::new(),
            logs: Vec::new(),
            links: Vec::new(),
            contacts: Vec::new(),
            impact: Vec::new(),
        }
    }

    fn place() -> Place {
        Place {
            platform: Platform::Slack,
            team: "T1".into(),
            channel: "C1".into(),
            thread: None,
            kind: PlaceKind::Channel,
            via: None,
        }
    }

    fn plan(risk: Risk) -> Plan {
        Plan { risk, asker: account("ana"), ..runbook::sample_plan() }
    }

    fn speaker(user: &str) -> Actor {
        Actor { identity: account(user), person: None, display: String::new(), badges: Badges::default() }
    }

    fn granted(policy: &Policy, plan: &Plan, votes: &[Vote], now_ms: i64) -> bool {
        let now = Timestamp::from_millisecond(now_ms).unwrap();
        matches!(
            policy.consent(plan, &command(), &service(), &place(), Said { votes, broken: None }, now),
            Consent::Granted(_)
        )
    }

    fn vote(person: &str, plan: &Plan) -> Vote {
        Vote { person: person.parse().unwrap(), digest: plan.digest(), typed: Some("shop".to_owned()) }
    }

    #[test]
    fn the_askers_word_does_not_count_from_any_account_nor_a_strangers() {
        let policy = policy(Mode::Normal);
        let may = |user: &str, risk| {
            let (plan, command, service, place) = (plan(risk), command(), service(), place());
            policy.may_consent(&speaker(user), &plan, &command, &service, &place).map(ToString::to_string).ok()
        };
        for user in ["ana", "ana-2", "cy", "nobody"] {
            assert_eq!(may(user, Risk::Medium), None, "{user}");
        }
        assert_eq!(may("bo-2", Risk::High).as_deref(), Some("bo"));
        assert_eq!(may("ora", Risk::Medium).as_deref(), Some("ora"));
        assert_eq!(may("ora", Risk::High), None, "running is not approving");
    }

    #[test]
    fn an_approver_of_a_bot_that_only_observes_is_told_that_and_not_that_they_lack_a_right() {
        let (plan, command, service, place) = (plan(Risk::High), command(), service(), place());
        let observing = policy(Mode::Observe);
        let refusal = observing.may_consent(&speaker("bo"), &plan, &command, &service, &place).unwrap_err();
        assert_eq!(refusal.rule, "mode");
        assert!(refusal.why.contains("only observes"), "{}", refusal.why);
    }

    #[test]
    fn consent_is_judged_anew_when_the_run_begins() {
        let (normal, plan) = (policy(Mode::Normal), plan(Risk::High));
        let bo = [vote("bo", &plan)];
        assert!(granted(&normal, &plan, &bo, 999));
        assert!(!granted(&normal, &plan, &bo, 1_000), "expired");
        assert!(!granted(&normal, &plan, &[], 0), "taken back");
        assert!(!granted(&policy(Mode::Observe), &plan, &bo, 0), "observing");
        let other = Plan { targets: Vec::new(), ..plan.clone() };
        assert!(!granted(&normal, &other, &bo, 0), "another plan than the one that was seen");
        for gone in ["bo", "ana"] {
            let mut rules = normal.rules().clone();
            rules.people.get_mut(&gone.parse().unwrap()).unwrap().roles.clear();
            assert!(!granted(&Policy::new(rules), &plan, &bo, 0), "{gone} has lost the right meanwhile");
        }
    }

    #[test]
    fn a_critical_plan_takes_two_people_and_one_who_says_it_twice_is_one() {
        let (mut rules, plan) = (policy(Mode::Normal).rules().clone(), plan(Risk::Critical));
        assert!(!granted(&Policy::new(rules.clone()), &plan, &[vote("bo", &plan), vote("bo", &plan)], 0));
        rules.people.get_mut(&"cy".parse().unwrap()).unwrap().roles.insert("approves".to_owned());
        assert!(granted(&Policy::new(rules), &plan, &[vote("bo", &plan), vote("cy", &plan)], 0));
    }

    #[test]
    fn the_permit_of_a_changes_own_end_goes_the_way_back_only() {
        let policy = policy(Mode::Normal);
        let lasting = plan(Risk::High);
        assert!(policy.own_end(&lasting, Timestamp::UNIX_EPOCH).is_none());
        let passing = Plan { lasts_ms: Some(1), ..lasting };
        let permit = policy.own_end(&passing, Timestamp::UNIX_EPOCH).unwrap();
        assert!(permit.covers_way_back(&passing) && !permit.covers(&passing));
    }

    proptest! {
        #[test]
        fn no_votes_of_people_without_the_right_are_ever_enough(
            voters in proptest::collection::vec(proptest::sample::select(vec!["ana", "cy", "zed", "ora"]), 0..8),
            now in -10_i64..2_000,
        ) {
            let plan = plan(Risk::High);
            let votes: Vec<Vote> = voters.iter().map(|person| vote(person, &plan)).collect();
            prop_assert!(!granted(&policy(Mode::Normal), &plan, &votes, now));
        }
    }
}
