//! What can go wrong with the store, and how it is doing.

use std::path::PathBuf;

use jiff::Timestamp;

/// Why the store could not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Another process has it.
    #[error("the store {path} is in use by another process ({holder}): stop that one, or give this one a `store.path` of its own", path = .database.display())]
    InUse {
        /// The store's database.
        database: PathBuf,
        /// What the lock file says of the other process.
        holder: String,
    },
    /// The directory or a file in it cannot be opened.
    #[error("the store cannot be opened at {path}: {why}", path = .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system says.
        why: String,
    },
    /// The journal is there and its key is not: going on would start a second chain nobody can join to the first.
    #[error("the journal's key {path} is missing although the journal has rows: restore the key from its backup, or move the store aside to begin a new one", path = .path.display())]
    KeyMissing {
        /// Where the key was looked for.
        path: PathBuf,
    },
    /// The key is not the one the journal was written with.
    #[error("the key {path} is not the key this journal was written with", path = .path.display())]
    WrongKey {
        /// The key file.
        path: PathBuf,
    },
    /// The key file does not hold a key.
    #[error("{path} does not hold a journal key (64 hexadecimal digits): restore it from its backup", path = .path.display())]
    BadKey {
        /// The key file.
        path: PathBuf,
    },
    /// Nothing can be written now: the disk is full, read-only or failing.
    #[error("the store cannot be written: {0}")]
    Unwritable(String),
    /// Nothing can be read now.
    #[error("the store cannot be read: {0}")]
    Unreadable(String),
    /// The disk did not answer in time; the row may still be written later.
    #[error("the store did not answer within {0:?}")]
    Slow(std::time::Duration),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

/// How the store is doing, for `/healthz`, metrics and the mark on unjournalled answers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum StoreHealth {
    /// The last write worked.
    #[default]
    Ok,
    /// Writes fail.
    Failing {
        /// Since when.
        since: Timestamp,
        /// What the disk says, and what to do about it.
        why: String,
        /// Journal rows that could not be written since then.
        lost: u64,
    },
}

impl StoreHealth {
    /// Do writes work?
    pub fn is_ok(&self) -> bool {
        matches!(self, Self::Ok)
    }
}

/// What a database error means to the person who runs the bot.
pub(super) fn meaning(error: &sqlx::Error) -> String {
    // SQLite's primary result code is the low byte of the extended one.
    let code = error
        .as_database_error()
        .and_then(|error| error.code())
        .and_then(|code| code.parse::<u32>().ok())
        .map(|code| code & 0xff);
    let advice = match code {
        Some(5 | 6) => "another process holds the database: only one bot may use a store",
        Some(8) => "the file or its disk is read-only: remount it, or correct the owner of the store's directory",
        Some(10) => "the disk reports an error: see the kernel log, free space, check the mount",
        Some(11 | 26) => "the file is damaged: stop the bot, keep a copy, restore from a backup",
        Some(13) => "the disk is full: free some space on it; writing resumes by itself",
        Some(14) => "the file cannot be opened: does the store's directory exist, and may the bot write there?",
        _ => return error.to_string(),
    };
    let said = error.as_database_error().map_or_else(|| error.to_string(), |error| error.message().to_owned());
    format!("{said}; {advice}")
}

/// Full, read-only or failing disks may come back; a damaged file does not.
pub(super) fn may_pass(error: &sqlx::Error) -> bool {
    let code = error
        .as_database_error()
        .and_then(|error| error.code())
        .and_then(|code| code.parse::<u32>().ok())
        .map(|code| code & 0xff);
    matches!(code, Some(5 | 6 | 8 | 10 | 13 | 14))
}
