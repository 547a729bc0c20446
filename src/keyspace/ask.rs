//! What a survey is after, and what it asks of each key for it.

use serde::{Deserialize, Serialize};

use super::{Kind, Tally, Wanted, pace::Limits};

/// What a survey is after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Aim {
    /// The largest keys of each type.
    Bigkeys,
    /// Bytes and lifetimes by prefix.
    Memkeys,
    /// The keys touched most.
    Hotkeys,
    /// How many match, and some of them.
    Keys,
    /// Which never expire.
    TtlAudit,
}

impl Aim {
    /// Its name on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Aim::Bigkeys => "bigkeys",
            Aim::Memkeys => "memkeys",
            Aim::Hotkeys => "hotkeys",
            Aim::Keys => "keys",
            Aim::TtlAudit => "ttl-audit",
        }
    }
}

/// Everything that says what a survey does.
#[derive(Debug, Clone)]
pub struct Ask {
    /// What it is after.
    pub aim: Aim,
    /// Only keys that match this Redis glob.
    pub glob: Option<Vec<u8>>,
    /// What the tally keeps.
    pub wanted: Wanted,
    /// Keys of the first answer's sample, per server.
    pub sample: usize,
    /// Be content with the sample.
    pub sample_only: bool,
    /// Ask for elements though the server has no NO-TOUCH, so that idle times are reset.
    pub lengths: bool,
    /// Weigh every key of a walk, also where those that never expire are what it is about.
    pub weigh: bool,
    /// How many prefixes are told at most.
    pub prefixes: usize,
    /// The logical database, for naming keys; the connection has selected it already.
    pub db: u32,
    /// Bounds.
    pub limits: Limits,
    /// For the random cursors.
    pub seed: u64,
}

impl Ask {
    /// The usual way of asking for something.
    pub fn new(aim: Aim) -> Self {
        Self {
            aim,
            glob: None,
            wanted: Wanted::default(),
            sample: 20_000,
            sample_only: false,
            lengths: false,
            weigh: false,
            prefixes: super::report::PREFIXES,
            db: 0,
            limits: Limits::default(),
            seed: 0x5eed,
        }
    }

    /// The same for keys that match a glob. `*` is everything.
    pub fn matching(mut self, glob: &str) -> Self {
        self.glob = (!glob.is_empty() && glob != "*").then(|| glob.as_bytes().to_vec());
        let prefix = super::glob::literal_prefix(glob.as_bytes());
        if self.glob.is_some() && !prefix.is_empty() && prefix.len() < glob.len() {
            self.wanted.group_after = Some(prefix.to_vec());
        }
        self
    }

    /// A tally for it.
    pub fn tally(&self) -> Tally {
        Tally::new(self.wanted.clone())
    }
}

/// Questions asked of each key. None of them changes when a key was last used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    Type,
    Pttl,
    Memory,
    Freq,
    Idle,
}

impl Question {
    pub(super) const ALL: [Question; 5] =
        [Question::Type, Question::Pttl, Question::Memory, Question::Freq, Question::Idle];

    pub(super) fn words(self, name: &[u8]) -> ([&[u8]; 3], usize) {
        match self {
            Question::Type => ([b"TYPE", name, b""], 2),
            Question::Pttl => ([b"PTTL", name, b""], 2),
            Question::Memory => ([b"MEMORY", b"USAGE", name], 3),
            Question::Freq => ([b"OBJECT", b"FREQ", name], 3),
            Question::Idle => ([b"OBJECT", b"IDLETIME", name], 3),
        }
    }

    pub(super) fn called(self) -> &'static str {
        match self {
            Question::Type => "TYPE",
            Question::Pttl => "PTTL",
            Question::Memory => "MEMORY USAGE",
            Question::Freq => "OBJECT FREQ",
            Question::Idle => "OBJECT IDLETIME",
        }
    }
}

/// The command that says how many elements a value has. It touches the key.
pub(super) fn length_command(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::List => Some("LLEN"),
        Kind::Set => Some("SCARD"),
        Kind::Zset => Some("ZCARD"),
        Kind::Hash => Some("HLEN"),
        Kind::Stream => Some("XLEN"),
        // A string's length adds nothing to its bytes, and strings are most of a keyspace.
        Kind::String | Kind::Module | Kind::Other => None,
    }
}
