//! One key as it was seen, on a server or in a file: what every report is folded from.

/// The type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A string, numbers and bitmaps included.
    String,
    /// A list.
    List,
    /// A set.
    Set,
    /// A sorted set, geo indexes included.
    Zset,
    /// A hash.
    Hash,
    /// A stream.
    Stream,
    /// A module's own type: JSON, a filter, a time series.
    Module,
    /// A type this version does not know.
    Other,
}

impl Kind {
    /// Every kind, in the order a report lists them.
    pub const ALL: [Kind; 8] =
        [Kind::String, Kind::List, Kind::Set, Kind::Zset, Kind::Hash, Kind::Stream, Kind::Module, Kind::Other];

    /// The word `TYPE` answers with.
    pub fn word(self) -> &'static str {
        match self {
            Kind::String => "string",
            Kind::List => "list",
            Kind::Set => "set",
            Kind::Zset => "zset",
            Kind::Hash => "hash",
            Kind::Stream => "stream",
            Kind::Module => "module",
            Kind::Other => "other",
        }
    }

    /// What one element of it is called: `fields`, `members`, `bytes` of a string.
    pub fn elements(self) -> &'static str {
        match self {
            Kind::String => "bytes",
            Kind::List => "items",
            Kind::Set | Kind::Zset => "members",
            Kind::Hash => "fields",
            Kind::Stream => "entries",
            Kind::Module | Kind::Other => "elements",
        }
    }

    /// Reads the answer of `TYPE`; a module's own name is [`Kind::Module`].
    pub fn read(word: &str) -> Kind {
        Kind::ALL.into_iter().find(|kind| kind.word() == word).unwrap_or(Kind::Module)
    }
}

/// How long a key still lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum Ttl {
    /// It has no expiry.
    Never,
    /// Milliseconds left when it was looked at; 0 when it has expired and is not yet gone.
    Left(u64),
}

/// One key as it was seen. Its name is borrowed: a report keeps prefixes, not names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen<'a> {
    /// The logical database.
    pub db: u32,
    /// The whole name, as bytes: nothing says a key is UTF-8.
    pub name: &'a [u8],
    /// The type of its value.
    pub kind: Kind,
    /// Bytes of memory, what `MEMORY USAGE` says or would say.
    pub bytes: u64,
    /// Elements (bytes of a string's value); `None` where it was not asked, to leave idle times alone.
    pub elements: Option<u64>,
    /// `None` when it was not asked.
    pub ttl: Option<Ttl>,
    /// How many keys its bytes are told for: 1 for itself alone, 0 where it was not weighed because others were, and
    /// more where it is one of every so many that were.
    pub stands_for: u64,
}
