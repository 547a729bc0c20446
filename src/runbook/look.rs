//! Things a step can look at. A closed set: `exec` has a file per variant.
//!
//! Strings may hold `{{ args.x }}` until the look is bound to an intent;
//! `exec` is only ever given bound looks.

use std::time::Duration;

/// What a step looks at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Look {
    /// A Redis command that only looks.
    Redis {
        /// The command and its arguments.
        argv: Vec<String>,
        /// Who is asked.
        nodes: Nodes,
    },
    /// One key: its type first, then what that type allows, never more than a first page.
    Inspect {
        /// The key's exact name, or a handle the bot gave for one.
        key: String,
        /// So many of its first elements are looked at; 0: none, and a string's content neither.
        sample: u32,
        /// Measure the length twice this far apart, so that a queue says how fast it moves.
        over: Option<Duration>,
    },
    /// Client-side latency: `samples` PINGs, one after the other, on a connection of its own.
    Latency {
        /// How many.
        samples: u32,
    },
    /// MONITOR on a connection of its own, bounded both ways; lines come out grouped and redacted.
    Monitor {
        /// For how long.
        time: Duration,
        /// At most this many lines.
        lines: u32,
    },
    /// DNS, TCP, TLS, AUTH, PING to every address of the instance, in order, each timed.
    Connectivity,
    /// The same INFO twice, so that counters become rates.
    Rates {
        /// How long between the two.
        over: Duration,
    },
    /// Can a TCP connection be made?
    Tcp {
        /// `host:port`; empty: the instance's own addresses.
        address: String,
    },
    /// A request to an endpoint of the profile.
    Http {
        /// Its name.
        endpoint: String,
        /// Values for `{argument}` in its URL.
        arguments: Vec<(String, String)>,
        /// A JSON pointer whose value is wanted.
        pointer: Option<String>,
        /// Read a server-sent event stream and stop after this many events.
        events: Option<u32>,
    },
    /// A scrape of a metrics page of the profile.
    Metrics {
        /// Its name.
        source: String,
        /// Prefixes of the metric names wanted; empty: the profile's own selection.
        select: Vec<String>,
        /// Scrape twice this far apart and say what changed.
        delta: Option<Duration>,
    },
    /// Lines of a log of the profile.
    Logs {
        /// Its name.
        source: String,
        /// A named filter of the profile, or a regular expression.
        filter: Option<String>,
        /// How many of the last matching lines are wanted.
        last: u32,
    },
    /// What is kept of the instance: its backups. No server is asked.
    Backups {
        /// What is wanted of them.
        what: BackupsLook,
        /// The name of one, a run's id; empty: the newest that is whole.
        name: String,
    },
    /// What another diagnostic finds: its card's findings, figures and verdict.
    Command {
        /// Its name.
        name: String,
    },
    /// A survey of the keyspace: a first answer from random samples, then (unless only the
    /// sample is wanted) a paced walk over every key. Its value is the `keyspace` room's report.
    Keyspace {
        /// What is wanted of it.
        survey: Survey,
        /// Options by name, each a text that may hold `{{ args.x }}`; one that comes out empty
        /// was not given. Known ones: [`Survey::OPTIONS`].
        options: Vec<(String, String)>,
    },
    /// Something worked out from earlier steps, without asking anybody: `diagnosis::derive`.
    Derive {
        /// What to work out: `slowlog_groups`, `client_groups`, `drift`, `capacity` …
        what: String,
        /// The steps it is worked out from.
        from: Vec<String>,
    },
}

impl Look {
    /// What it looks at, in a few words.
    pub fn what(&self) -> String {
        match self {
            // The command and its subcommand; what follows says how, or is a list.
            Look::Redis { argv, .. } => {
                let known = argv.iter().take(2).take_while(|word| !word.contains("{{"));
                known.map(String::as_str).collect::<Vec<_>>().join(" ")
            }
            Look::Inspect { .. } => "one key, by its type".to_owned(),
            Look::Latency { .. } => "the latency of PING".to_owned(),
            Look::Monitor { .. } => "MONITOR, bounded".to_owned(),
            Look::Connectivity => "the way to every server".to_owned(),
            Look::Rates { .. } => "INFO twice".to_owned(),
            Look::Tcp { .. } => "a TCP port".to_owned(),
            Look::Http { .. } => "an HTTP endpoint".to_owned(),
            Look::Metrics { .. } => "a metrics page".to_owned(),
            Look::Logs { .. } => "a log".to_owned(),
            Look::Backups { .. } => "the backups that are kept".to_owned(),
            Look::Command { name } => name.clone(),
            Look::Keyspace { survey, .. } => format!("a survey of the keyspace ({})", survey.word()),
            Look::Derive { what, .. } => what.replace('_', " "),
        }
    }
}

/// What is wanted of the backups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BackupsLook {
    /// All of them.
    List,
    /// What the manifest of one says.
    Show,
    /// Every file of one, read to its end and held against its manifest.
    Verify,
    /// Not backups: the exports of keys that are kept, or the one that is named.
    Exports,
}

/// What a survey of the keyspace is after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Survey {
    /// The largest keys of each type, by bytes and (where it disturbs nothing, or asked) by elements.
    Bigkeys,
    /// Bytes, counts and lifetimes by prefix.
    Memkeys,
    /// The keys touched most.
    Hotkeys,
    /// How many keys match, by prefix and by the first variable part, and some of them.
    Keys,
    /// Which keys never expire, and when the others do.
    TtlAudit,
    /// Who moves the bytes: the connections, not the keys.
    Clients,
}

impl Survey {
    /// Every survey.
    pub const ALL: [Survey; 6] =
        [Survey::Bigkeys, Survey::Memkeys, Survey::Hotkeys, Survey::Keys, Survey::TtlAudit, Survey::Clients];

    /// The options a survey understands: `pattern` (a Redis glob), `top` and `page` (whole
    /// numbers), `separators` (characters), `lengths` and `sample` (`true` or `false`: ask for
    /// elements though it touches keys; be content with the first answer).
    pub const OPTIONS: &[&str] = &["pattern", "top", "page", "separators", "lengths", "weigh", "sample", "node"];

    /// Its name in a command file: `bigkeys`, `ttl-audit`.
    pub fn word(self) -> &'static str {
        match self {
            Survey::Bigkeys => "bigkeys",
            Survey::Memkeys => "memkeys",
            Survey::Hotkeys => "hotkeys",
            Survey::Keys => "keys",
            Survey::TtlAudit => "ttl-audit",
            Survey::Clients => "clients",
        }
    }

    /// Reads that name.
    pub fn read(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|survey| survey.word() == word)
    }
}

/// Which servers of an instance are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Nodes {
    /// Every primary; the master, or the one server.
    #[default]
    Primaries,
    /// Replicas too.
    All,
    /// One is enough.
    Any,
    /// The primary that holds the key which is the command's first argument after its name
    /// (after the subcommand, for commands that have one).
    Key,
}
