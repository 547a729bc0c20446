//! What can be asked for, and what somebody asked for.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::Serialize;

use super::{CardSpec, Look};
use crate::model::{InstanceName, ServiceName};

/// A command people can type after `/redis`.
#[derive(Debug, Clone)]
pub struct Command {
    /// What is typed.
    pub name: String,
    /// Other words for it.
    pub aliases: Vec<String>,
    /// One line for help.
    pub summary: String,
    /// A paragraph for `help NAME`.
    pub about: Option<String>,
    /// Lines to type, without `/redis`.
    pub examples: Vec<String>,
    /// The heading it stands under in help: `look`, `keys`, `change`, `bot`.
    pub group: String,
    /// Words it takes.
    pub arguments: Vec<ArgumentSpec>,
    /// How much it asks of a server; limits are per class.
    pub cost: Cost,
    /// The whole command is answered within this.
    pub deadline: Duration,
    /// One call to a server or endpoint is given up after this.
    pub call_deadline: Duration,
    /// The answer goes to the asker alone.
    pub private: bool,
    /// The file it came from, or `built in`.
    pub source: String,
    /// What it does.
    pub kind: Kind,
}

/// What a command does.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "there are dozens of them, nearly all diagnostics")]
pub enum Kind {
    /// Looks, and a card.
    Diagnostic(Diagnostic),
    /// Touches: planned, consented to, carried out.
    Remediation(super::Remediation),
    /// Several steps with gates, looks and touches among them.
    Runbook(super::Book),
    /// Answered by the bot itself: `help`, `whoami`, `can-i`, `cancel`, `reload`.
    BuiltIn,
}

/// Looks, and the card made of what they saw.
#[derive(Debug, Clone)]
pub struct Diagnostic {
    /// Side by side; a derivation waits for the steps it is worked out from.
    pub steps: Vec<Step>,
    /// What is said.
    pub card: CardSpec,
    /// The expressions and templates of both, compiled.
    pub compiled: super::Compiled,
}

impl Diagnostic {
    /// Does it read nothing but the bot's own backups? Nobody's patience but the asker's is used up by that.
    pub fn reads_own_files(&self) -> bool {
        !self.steps.is_empty() && self.steps.iter().all(|step| matches!(step.look, Look::Backups { .. }))
    }
}

/// One look of a diagnostic.
#[derive(Debug, Clone)]
pub struct Step {
    /// The name its result has in conditions and templates.
    pub id: String,
    /// What to look at.
    pub look: Look,
    /// CEL; the step is left out when it is false. Sees `args`, `service`,
    /// and `item` where there is an `each`.
    pub when: Option<String>,
    /// One look for each thing of the profile. Bound, such a step is several
    /// named `ID[NAME]`, and `ID` is the list of their answers.
    pub each: Option<Each>,
    /// Numbers of the look that come from arguments: `time`, `lines`, `samples`,
    /// `over`, `delta`, `last` or `events`, each a template. Empty once bound.
    pub fill: BTreeMap<String, String>,
    /// The step that must have ended before this one begins: a question that
    /// only means something after another was asked.
    pub after: Option<String>,
    /// Its failure is said on the card but does not make the verdict UNKNOWN.
    pub optional: bool,
}

/// Things of a profile a step can be repeated for. `item` is one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Each {
    /// HTTP endpoints.
    Endpoints,
    /// Metrics pages.
    Metrics,
    /// Logs.
    Logs,
    /// Queues.
    Queues,
    /// Key patterns.
    Patterns,
}

impl Command {
    /// Is it about a service? The bot's own answers are about none.
    pub fn has_service(&self) -> bool {
        !matches!(self.kind, Kind::BuiltIn)
    }

    /// Does it look at keys by their names?
    pub fn surveys(&self) -> bool {
        let Kind::Diagnostic(diagnostic) = &self.kind else { return false };
        diagnostic.steps.iter().any(|step| matches!(step.look, super::Look::Keyspace { .. }))
    }
}

impl Each {
    /// Its name in a command file and in a profile: `endpoints`.
    pub fn word(self) -> &'static str {
        match self {
            Each::Endpoints => "endpoints",
            Each::Metrics => "metrics",
            Each::Logs => "logs",
            Each::Queues => "queues",
            Each::Patterns => "patterns",
        }
    }
}

/// How much a command asks of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Cost {
    /// A few O(1) calls.
    Cheap,
    /// Bounded work: lists of clients, logs, samples.
    Moderate,
    /// Walks, monitors, many looks.
    Heavy,
}

impl Cost {
    /// Its word in command files and in `policy.toml`.
    pub fn word(self) -> &'static str {
        match self {
            Cost::Cheap => "cheap",
            Cost::Moderate => "moderate",
            Cost::Heavy => "heavy",
        }
    }
}

/// One word a command takes.
#[derive(Debug, Clone)]
pub struct ArgumentSpec {
    /// `pattern`; `--pattern X` when it is a flag.
    pub name: String,
    /// For help.
    pub about: String,
    /// Its type and bounds.
    pub kind: ArgumentKind,
    /// Given as `--name VALUE` (or `--name` for a switch) instead of by position.
    pub flag: bool,
    /// Must be given.
    pub required: bool,
    /// Used when it is not given, as it would be typed.
    pub default: Option<String>,
}

/// An argument's type and bounds.
#[derive(Debug, Clone, PartialEq)]
pub enum ArgumentKind {
    /// A whole number.
    Integer {
        /// Smallest.
        min: i64,
        /// Largest.
        max: i64,
    },
    /// A length of time: `30s`, `5m`, `2h`, `1d`.
    Duration {
        /// Shortest.
        min: Duration,
        /// Longest.
        max: Duration,
    },
    /// A number of bytes: `100mb`, `2gb`, `512`.
    Bytes,
    /// One of these words.
    Choice(Vec<String>),
    /// A switch: there or not.
    Switch,
    /// A key's exact name, or a handle the bot gave for one.
    Key,
    /// A Redis glob.
    Pattern,
    /// What must hold of a key's value. Given several times, all of them must.
    Where,
    /// Free text, at most this many characters.
    Text(usize),
    /// The name of a command.
    Command,
    /// The name of something the service's profile lists: `endpoints`, `metrics`, `logs`, `queues`.
    Of(String),
}

/// An argument's value.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum ArgumentValue {
    /// A whole number; a duration in milliseconds; bytes.
    Integer(i64),
    /// A switch.
    Switch(bool),
    /// Everything else.
    Text(String),
}

/// Values by argument name; arguments neither given nor defaulted are absent.
pub type Arguments = BTreeMap<String, ArgumentValue>;

/// What somebody asked for.
#[derive(Debug, Clone)]
pub struct Intent {
    /// The command.
    pub command: Arc<Command>,
    /// The service named, if one was.
    pub service: Option<ServiceName>,
    /// The instance named (`service/instance` or `--instance`), if one was.
    pub instance: Option<InstanceName>,
    /// The values.
    pub arguments: Arguments,
}
