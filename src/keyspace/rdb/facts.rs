//! What is told about the file as a whole.

use super::memory::Rules;

/// What became of the checksum at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Checksum {
    /// The end has not been reached, or it was not to be looked at.
    #[default]
    Unchecked,
    /// It matches every byte.
    Right(u64),
    /// The server was told not to compute one (`rdbchecksum no`).
    Disabled,
}

/// One logical database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Database {
    /// Its number.
    pub db: u32,
    /// Keys found.
    pub keys: u64,
    /// Keys that have an expiry.
    pub expiring: u64,
    /// Keys whose expiry has passed: a primary that loads the file drops them.
    pub expired: u64,
    /// Keys the server said there would be, when it did.
    pub announced: Option<u64>,
    /// Bytes of its keys in memory, as `MEMORY USAGE` counts.
    pub bytes: u64,
}

impl Database {
    /// Bytes of its two tables in memory, which `MEMORY USAGE` leaves out: a
    /// bucket a key, and for keys with an expiry an entry of their own.
    pub fn overhead(&self) -> u64 {
        let expiring = if self.expiring == 0 { 0 } else { super::memory::buckets(self.expiring) };
        super::memory::buckets(self.keys)
            .saturating_add(expiring)
            .saturating_add(self.expiring.saturating_mul(super::memory::ENTRY))
    }
}

/// The file as a whole, as far as it has been read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// Whether it starts with VALKEY.
    pub valkey: bool,
    /// The version of the format; 0 before it was read.
    pub version: u32,
    /// `7.0.15`, as the server that wrote it said.
    pub created_by: Option<String>,
    /// By whose rules its keys' bytes in memory are estimated.
    pub rules: Rules,
    /// When it was written, seconds since 1970.
    pub created_at: Option<i64>,
    /// Memory the server used when it wrote it.
    pub used_memory: Option<u64>,
    /// 32 or 64.
    pub bits: Option<u64>,
    /// The replication id of the data.
    pub replication_id: Option<String>,
    /// The replication offset of the data.
    pub replication_offset: Option<i64>,
    /// Whether it is the beginning of an append-only file: commands may follow.
    pub aof_preamble: bool,
    /// Libraries of functions.
    pub functions: u64,
    /// Pieces of data of modules that belong to no key.
    pub module_data: u64,
    /// The databases that hold keys or were announced, in the order of the file.
    pub databases: Vec<Database>,
    /// What became of the checksum.
    pub checksum: Checksum,
    /// Bytes read.
    pub read: u64,
    /// Whether the end was reached and found right.
    pub complete: bool,
}

impl Facts {
    /// Whether a Valkey wrote it. One before 9 begins its file like Redis does; but Redis 8
    /// writes version 12 and Valkey 8 version 11.
    pub fn is_valkey(&self) -> bool {
        self.valkey || self.version == 11 && self.created_by.as_deref().is_some_and(|by| by.starts_with(['8', '9']))
    }

    /// Keys of all databases.
    pub fn keys(&self) -> u64 {
        self.databases.iter().map(|database| database.keys).sum()
    }

    /// Bytes of all keys in memory, as `MEMORY USAGE` counts.
    pub fn bytes(&self) -> u64 {
        self.databases.iter().fold(0, |sum, database| sum.saturating_add(database.bytes))
    }
}
