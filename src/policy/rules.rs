//! What `policy.toml` says, checked and without its spelling.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use crate::{
    model::{Badge, Environment, Identity, PersonId, Place, PlaceKind, Platform, Service, ServiceName},
    runbook::{Command, Kind, Risk},
};

/// Everything a policy is made of.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rules {
    /// Whether changes are possible at all.
    pub mode: Mode,
    /// Whom to ask for a change of the policy: they keep the file.
    pub keepers: Vec<PersonId>,
    /// The people.
    pub people: BTreeMap<PersonId, Person>,
    /// Those whom no file names, and who may look.
    pub crowds: BTreeMap<String, Crowd>,
    /// What each role may do.
    pub roles: BTreeMap<String, Role>,
    /// The tiers of escalation, the first to be asked first.
    pub tiers: Vec<String>,
    /// Who is on call now, by the name of the duty. A rota of that name would say the same.
    pub on_call: BTreeMap<String, BTreeSet<PersonId>>,
    /// Who answers for a service, and is told when its glass is broken.
    pub owners: BTreeMap<ServiceName, BTreeSet<PersonId>>,
    /// Channels with a rule or a default service, by a name of the team's own.
    pub channels: BTreeMap<String, Channel>,
    /// How much at once.
    pub limits: Limits,
}

/// Whether changes are possible at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// What the rules allow.
    #[default]
    Normal,
    /// Looks only, whatever the rules allow: how a team starts.
    Observe,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Mode::Normal => "normal",
            Mode::Observe => "observe",
        })
    }
}

/// Somebody who may be known by several accounts.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Person {
    /// What cards call them.
    pub name: String,
    /// Their accounts. A console account has an empty team: it is the
    /// operating system of this host that vouches for the user's name.
    pub identities: BTreeSet<Identity>,
    /// Their roles, by name.
    pub roles: BTreeSet<String>,
}

/// Accounts known by a user group or an e-mail address, and not by their ids. What their platform says of them its
/// administrators, or they themselves, can change: they look, and nothing else.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Crowd {
    /// Who they are, for people.
    pub about: String,
    /// By what they are known; one is enough.
    pub badges: BTreeSet<Badge>,
    /// Their roles, by name. Of these the looks count.
    pub roles: BTreeSet<String>,
}

/// A bundle of grants that people hold by its name.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Role {
    /// What it is for, for people.
    pub about: String,
    /// What it allows; each stands alone.
    pub grants: Vec<Grant>,
    /// Whose changes it may consent to; it does not let them run these.
    pub approves: Vec<Approval>,
    /// Its tier, one of [`Rules::tiers`]: the first that can consent is asked first.
    pub tier: Option<String>,
    /// Whoever is on call for this duty holds the role too, for as long as they are.
    pub on_call: Option<String>,
}

/// The right to consent to these changes, up to a risk.
#[derive(Debug, Clone, PartialEq)]
pub struct Approval {
    /// Which changes, on which services, said from where.
    pub grant: Grant,
    /// No riskier than this.
    pub up_to: Risk,
}

/// How long people are waited for, and told what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsentTimes {
    /// A plan waits for consent so long.
    pub within: Duration,
    /// Approvers are reminded so long before it expires.
    pub remind_before: Duration,
    /// When no approver has answered for so long, all are called again.
    pub page_after: Duration,
    /// So long after that somebody alone may go on, if all else holds.
    pub break_glass_after: Duration,
    /// A severity somebody declared holds so long.
    pub severity_for: Duration,
}

impl Default for ConsentTimes {
    fn default() -> Self {
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        Self {
            within: minutes(15),
            remind_before: minutes(5),
            page_after: minutes(5),
            break_glass_after: minutes(5),
            severity_for: minutes(240),
        }
    }
}

/// These commands, on these services, from these places.
#[derive(Debug, Clone, PartialEq)]
pub struct Grant {
    /// Which commands.
    pub commands: BTreeSet<CommandSet>,
    /// On which services.
    pub services: Only<ServiceName>,
    /// In which environments.
    pub environments: Only<Environment>,
    /// Asked from where.
    pub places: Only<PlaceSet>,
    /// Values may be asked for with `--reveal`; they are answered privately and journalled.
    pub reveal: bool,
}

/// Some commands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum CommandSet {
    /// All there are.
    Every,
    /// All that only look.
    Diagnostics,
    /// All under one heading of help.
    Group(String),
    /// One, by name.
    Named(String),
}

impl CommandSet {
    /// Is the command one of these?
    pub fn holds(&self, command: &Command) -> bool {
        match self {
            CommandSet::Every => true,
            CommandSet::Diagnostics => matches!(command.kind, Kind::Diagnostic(_)),
            CommandSet::Group(group) => command.group == *group,
            CommandSet::Named(name) => command.name == *name,
        }
    }
}

impl fmt::Display for CommandSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CommandSet::Every => f.write_str("*"),
            CommandSet::Diagnostics => f.write_str("diagnostics"),
            CommandSet::Group(group) => write!(f, "group:{group}"),
            CommandSet::Named(name) => f.write_str(name),
        }
    }
}

/// Any at all, or only some. An empty `These` holds nothing: leaving a list
/// empty by mistake must not open anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Only<T> {
    /// Written `["*"]`, or left out where that is allowed.
    Any,
    /// Only these.
    These(BTreeSet<T>),
}

impl<T: Ord> Only<T> {
    /// Is it one of these?
    pub fn holds(&self, one: &T) -> bool {
        match self {
            Only::Any => true,
            Only::These(some) => some.contains(one),
        }
    }
}

impl<T: fmt::Display> fmt::Display for Only<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Only::Any => f.write_str("any"),
            Only::These(some) if some.is_empty() => f.write_str("none"),
            Only::These(some) => {
                let words: Vec<String> = some.iter().map(ToString::to_string).collect();
                f.write_str(&words.join(", "))
            }
        }
    }
}

/// Some places.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum PlaceSet {
    /// A channel of `policy.toml`, by the team's own name for it.
    Channel(String),
    /// Direct messages with the bot.
    Direct,
    /// The local console.
    Console,
}

impl fmt::Display for PlaceSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlaceSet::Channel(name) => write!(f, "channel {name}"),
            PlaceSet::Direct => f.write_str("direct messages"),
            PlaceSet::Console => f.write_str("the console"),
        }
    }
}

/// A channel: what may be done there, and what it is about.
#[derive(Debug, Clone, PartialEq)]
pub struct Channel {
    /// The platform.
    pub platform: Platform,
    /// Workspace or guild.
    pub team: String,
    /// The platform's channel id.
    pub channel: String,
    /// The service meant when none is named.
    pub service: Option<ServiceName>,
    /// Only these services here.
    pub services: Only<ServiceName>,
    /// Only these commands here.
    pub commands: Only<CommandSet>,
}

impl Channel {
    /// Is this the place? A thread belongs to its channel. The console is one
    /// place, whatever the host is called.
    pub fn is(&self, place: &Place) -> bool {
        if self.platform == Platform::Console {
            return place.platform == Platform::Console;
        }
        self.platform == place.platform && self.team == place.team && self.channel == place.channel
    }

    /// May the command be used here?
    pub fn takes(&self, command: &Command) -> bool {
        match &self.commands {
            Only::Any => true,
            Only::These(some) => some.iter().any(|set| set.holds(command)),
        }
    }
}

impl Only<PlaceSet> {
    /// Is the place one of these? `channel` is the name of the channel it is, when it has one.
    pub(super) fn covers(&self, place: &Place, channel: Option<&str>) -> bool {
        let Only::These(some) = self else { return true };
        some.iter().any(|set| match set {
            PlaceSet::Channel(name) => Some(name.as_str()) == channel,
            PlaceSet::Direct => place.kind == PlaceKind::Direct && place.platform != Platform::Console,
            PlaceSet::Console => place.platform == Platform::Console,
        })
    }
}

impl Grant {
    /// Does it reach the service?
    pub(super) fn reaches(&self, service: &Service) -> bool {
        self.services.holds(&service.name) && self.environments.holds(&service.environment)
    }

    /// Does it reach whatever service there is?
    pub(super) fn reaches_all(&self) -> bool {
        self.services == Only::Any && self.environments == Only::Any
    }
}

/// How much at once. A command is counted under each of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For each person.
    pub person: Limit,
    /// For each instance of a service, whoever asks.
    pub instance: Limit,
    /// For each instance: commands of a few O(1) calls.
    pub cheap: Limit,
    /// For each instance: lists, logs, samples.
    pub moderate: Limit,
    /// For each instance: walks and monitors.
    pub heavy: Limit,
}

/// A rate and a number at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Sustained, in commands a minute.
    pub per_minute: u32,
    /// So many may come at once before the rate holds.
    pub burst: u32,
    /// So many may run side by side.
    pub at_once: u32,
}

impl Default for Limits {
    fn default() -> Self {
        let limit = |per_minute, burst, at_once| Limit { per_minute, burst, at_once };
        Self {
            person: limit(60, 20, 8),
            instance: limit(600, 100, 32),
            cheap: limit(600, 100, 32),
            moderate: limit(120, 30, 8),
            heavy: limit(12, 4, 2),
        }
    }
}
