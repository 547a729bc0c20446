//! What can be wrong with a file, said so that somebody at 3 a.m. knows what to do.

use thiserror::Error;

/// A file that cannot be read on, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("byte {offset}: {damage}")]
pub struct RdbError {
    /// Bytes read before the trouble.
    pub offset: u64,
    /// What it is.
    #[source]
    pub damage: Damage,
}

/// The ways in which bytes are not a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Damage {
    /// The first bytes are not those of a snapshot.
    #[error("this is not an RDB file: it does not start with REDIS or VALKEY")]
    NotRdb,
    /// The first bytes belong to some other kind of file.
    #[error("this is not an RDB file but {0}")]
    Other(&'static str),
    /// The version is not a number, or not one that was ever written.
    #[error("RDB version {0} is not one this can read (Redis 1 to 14, Valkey 80 and 81)")]
    Version(u32),
    /// A byte that starts nothing known.
    #[error("unknown opcode or type {0}")]
    UnknownType(u8),
    /// A format of a release candidate, unreadable without the program that wrote it.
    #[error("{0} were written by a release candidate and cannot be passed over")]
    PreRelease(&'static str),
    /// A part of a format that cannot be passed over without knowing it.
    #[error("{0} cannot be read by this program yet")]
    Unsupported(&'static str),
    /// The input ended.
    #[error("the file is cut: it ends inside {0}")]
    Cut(&'static str),
    /// Something claims to be longer than what is left.
    #[error("{what} claims {claimed} bytes, the file has {left} left")]
    LongerThanFile {
        /// What claims it.
        what: &'static str,
        /// Bytes it claims.
        claimed: u64,
        /// Bytes the file still has.
        left: u64,
    },
    /// Something claims more elements than what is left has bytes for.
    #[error("{what} claims {claimed} elements, the file has {left} bytes left")]
    MoreThanFile {
        /// What claims them.
        what: &'static str,
        /// Elements it claims.
        claimed: u64,
        /// Bytes the file still has.
        left: u64,
    },
    /// A length that cannot be.
    #[error("{what} has an impossible length ({length})")]
    Length {
        /// What has it.
        what: &'static str,
        /// The length as read.
        length: u64,
    },
    /// The form of something is broken.
    #[error("{0}")]
    Broken(&'static str),
    /// A compressed string claims more than compression can yield.
    #[error("a compressed string claims {claimed} bytes from {stored}: more than LZF can yield")]
    Bomb {
        /// Bytes claimed.
        claimed: u64,
        /// Bytes stored.
        stored: u64,
    },
    /// The checksum at the end does not match what was read.
    #[error("the checksum is wrong: the file says {stored:016x}, its bytes give {computed:016x}")]
    Checksum {
        /// As stored at the end of the file.
        stored: u64,
        /// As computed.
        computed: u64,
    },
    /// Bytes follow the end.
    #[error("bytes follow the end of the snapshot")]
    Trailing,
    /// More databases than any server has.
    #[error("more than {} databases", super::DATABASES_MAX)]
    Databases,
}

/// No server holds as much in one key: whatever claims it was not written like this.
const ABSURD: u64 = 1 << 40;
const DAMAGED: &str =
    "The file is damaged here. Keep it, restore from an earlier one; everything before this byte was readable.";

impl RdbError {
    /// What to do about it, one sentence or two.
    pub fn next(&self) -> &'static str {
        match self.damage {
            Damage::NotRdb => "Check the path; an AOF starts with `*` or lies in appendonlydir/.",
            Damage::Other("an AOF (append-only file)") => {
                "Use redis-check-aof, or give the base file of appendonlydir/ (*.base.rdb)."
            }
            Damage::Other(_) => "Unpack it first, then read what was inside.",
            Damage::Version(_) | Damage::UnknownType(_) if self.offset < 16 => {
                "The file is newer than this program, or its first bytes are damaged: read it with the server that wrote it."
            }
            Damage::Version(_) | Damage::UnknownType(_) | Damage::PreRelease(_) => {
                "Either the bytes before this are damaged (compare with another copy) or a newer server wrote it: \
                 load it there and save it again."
            }
            Damage::Unsupported(_) => {
                "The file need not be damaged: verify it with the redis-check-rdb of the server that wrote it."
            }
            Damage::LongerThanFile { claimed, .. } | Damage::MoreThanFile { claimed, .. } if claimed > ABSURD => {
                DAMAGED
            }
            Damage::MoreThanFile { .. } => {
                "Either the copy is incomplete (it was taken while the save still ran, or the transfer broke: copy again \
                 and compare sizes), or the file is damaged here."
            }
            Damage::Cut(_) | Damage::LongerThanFile { .. } => {
                "The copy is incomplete: it was taken while the save still ran, or the transfer broke. Wait until \
                 LASTSAVE moves, copy again and compare sizes."
            }
            Damage::Length { .. } | Damage::Broken(_) | Damage::Bomb { .. } | Damage::Databases => DAMAGED,
            Damage::Checksum { .. } => {
                "Some byte differs from what the server wrote: do not restore from this copy. Compare with another."
            }
            Damage::Trailing => {
                "Redis ignores them, but no server writes them: two files may have been joined, or an old longer file \
                 overwritten."
            }
        }
    }
}
