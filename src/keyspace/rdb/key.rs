//! What is told about each key.

use super::super::seen::{Kind, Seen, Ttl};

/// How a value is laid out in the file, which is how it was in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Encoding {
    /// A string that is a number.
    Int,
    /// A string beside its object, up to 44 bytes.
    Embstr,
    /// A string of its own.
    Raw,
    /// A list of strings, of versions before quicklists.
    LinkedList,
    /// A list of packed nodes.
    Quicklist,
    /// A table.
    Hashtable,
    /// A table some of whose fields expire.
    HashtableTtl,
    /// A sorted set's table and skip list.
    Skiplist,
    /// Packed, since 7.0.
    Listpack,
    /// Packed, with an expiry a field.
    ListpackTtl,
    /// Packed, before 7.0.
    Ziplist,
    /// Packed, before 2.6.
    Zipmap,
    /// Sorted integers.
    Intset,
    /// A stream.
    Stream,
    /// A module's own.
    Module,
}

impl Encoding {
    /// The word `OBJECT ENCODING` answers with.
    pub fn word(self) -> &'static str {
        match self {
            Encoding::Int => "int",
            Encoding::Embstr => "embstr",
            Encoding::Raw => "raw",
            Encoding::LinkedList => "linkedlist",
            Encoding::Quicklist => "quicklist",
            Encoding::Hashtable => "hashtable",
            Encoding::HashtableTtl => "hashtable with field expiry",
            Encoding::Skiplist => "skiplist",
            Encoding::Listpack => "listpack",
            Encoding::ListpackTtl => "listpackex",
            Encoding::Ziplist => "ziplist",
            Encoding::Zipmap => "zipmap",
            Encoding::Intset => "intset",
            Encoding::Stream => "stream",
            Encoding::Module => "module",
        }
    }
}

/// One key of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key<'a> {
    /// The logical database.
    pub db: u32,
    /// Its name, cut at [`super::NAME_MAX`].
    pub name: &'a [u8],
    /// How long the name is.
    pub name_length: u64,
    /// The type of its value.
    pub kind: Kind,
    /// How the value is laid out.
    pub encoding: Encoding,
    /// When it expires, milliseconds since 1970; `None` when it never does.
    pub expires_at: Option<u64>,
    /// Elements, bytes of a string; `None` for a module's value, which only the module can count.
    pub elements: Option<u64>,
    /// Bytes it takes in the file, name and expiry included.
    pub stored: u64,
    /// Bytes it would take in memory, as `MEMORY USAGE` counts.
    pub bytes: u64,
    /// Seconds nobody had touched it, when the server's policy kept that.
    pub idle_s: Option<u64>,
    /// Its logarithmic access counter, when the server's policy kept that.
    pub frequency: Option<u8>,
    /// The first byte of it in the file.
    pub offset: u64,
}

impl Key<'_> {
    /// The same in the words every report is made from. `now` in milliseconds since 1970.
    pub fn seen(&self, now: u64) -> Seen<'_> {
        Seen {
            db: self.db,
            name: self.name,
            kind: self.kind,
            bytes: self.bytes,
            elements: self.elements,
            ttl: Some(match self.expires_at {
                None => Ttl::Never,
                Some(at) => Ttl::Left(at.saturating_sub(now)),
            }),
            stands_for: 1,
        }
    }
}
