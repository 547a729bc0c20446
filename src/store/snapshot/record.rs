//! What a frame holds: keys, deadlines, where a key was set aside, or what an import put there.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::keyspace::rdb::dump::Fingerprint;

/// When a key expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Deadline {
    /// Never.
    Never,
    /// At this moment, in milliseconds since 1970.
    At(i64),
}

impl Deadline {
    /// Whether it comes later than this moment.
    pub fn is_after(self, ms: i64) -> bool {
        match self {
            Deadline::Never => true,
            Deadline::At(at) => at > ms,
        }
    }
}

/// Keys, and the bytes of memory they took.
pub type Share = (u64, u64);

/// What an export holds, so that nobody has to read all of it to know. No name and no value of a key is in it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Contents {
    /// What was asked for, in words.
    pub what: String,
    /// Of how many files it is one: each primary gives one.
    pub files: usize,
    /// Keys in this file.
    pub keys: u64,
    /// Bytes of memory they took.
    pub bytes: u64,
    /// Of the keys, those with a deadline.
    pub expiring: u64,
    /// Keys that were meant and are not in it: too large, on the move, or written all the time.
    pub left_out: u64,
    /// The version of the format `DUMP` wrote, which an older server does not read.
    pub format: u16,
    /// By type.
    pub types: BTreeMap<String, Share>,
    /// By the fixed words of their names.
    pub prefixes: BTreeMap<String, Share>,
}

/// What a key held before something took its place.
#[derive(Clone, PartialEq, Eq)]
pub struct Over {
    /// When it would have expired.
    pub deadline: Deadline,
    /// What its value means.
    pub fingerprint: Fingerprint,
    /// What `DUMP` answered.
    pub dump: Vec<u8>,
}

/// One thing that can be brought back. Its `Debug` shows no name and no value.
#[derive(Clone, PartialEq, Eq)]
pub enum Record {
    /// A key that was removed.
    Key {
        /// The logical database.
        db: u32,
        /// Its name.
        key: Vec<u8>,
        /// When it would have expired.
        deadline: Deadline,
        /// The word `TYPE` says.
        kind: String,
        /// What its value means.
        fingerprint: Fingerprint,
        /// What `DUMP` answered.
        dump: Vec<u8>,
    },
    /// A key that got another deadline.
    Retimed {
        /// The logical database.
        db: u32,
        /// Its name.
        key: Vec<u8>,
        /// What it was.
        old: Deadline,
        /// What it was set to.
        new: Deadline,
    },
    /// A key that was set aside and left there.
    Aside {
        /// The logical database.
        db: u32,
        /// Its name.
        key: Vec<u8>,
        /// When it expires, there as well.
        deadline: Deadline,
    },
    /// A key that is about to be put there.
    Made {
        /// The logical database.
        db: u32,
        /// Its name.
        key: Vec<u8>,
        /// When it expires.
        deadline: Deadline,
        /// What its value means.
        fingerprint: Fingerprint,
        /// What it takes the place of.
        over: Option<Over>,
    },
    /// A key that was about to be put there and was not.
    Unmade {
        /// The logical database.
        db: u32,
        /// Its name.
        key: Vec<u8>,
    },
    /// What the file holds, where it is an export.
    Contents(Contents),
    /// The run came to its end; so many records came before.
    End {
        /// Records before this one.
        records: u64,
    },
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Record::Key { db, deadline, kind, dump, .. } => {
                write!(f, "Key {{ db: {db}, deadline: {deadline:?}, kind: {kind}, dump: {} bytes }}", dump.len())
            }
            Record::Retimed { db, old, new, .. } => write!(f, "Retimed {{ db: {db}, old: {old:?}, new: {new:?} }}"),
            Record::Aside { db, deadline, .. } => write!(f, "Aside {{ db: {db}, deadline: {deadline:?} }}"),
            Record::Made { db, deadline, over, .. } => {
                let over = over.as_ref().map(|over| over.dump.len());
                write!(f, "Made {{ db: {db}, deadline: {deadline:?}, over: {over:?} bytes }}")
            }
            Record::Unmade { db, .. } => write!(f, "Unmade {{ db: {db} }}"),
            Record::Contents(contents) => write!(f, "Contents {{ keys: {} }}", contents.keys),
            Record::End { records } => write!(f, "End {{ records: {records} }}"),
        }
    }
}

/// No deadline, on the disk.
const NEVER: i64 = i64::MIN;

impl Record {
    /// About how many bytes it takes.
    pub fn size(&self) -> usize {
        match self {
            Record::Key { key, kind, dump, .. } => 64 + key.len() + kind.len() + dump.len(),
            Record::Retimed { key, .. } | Record::Aside { key, .. } => 32 + key.len(),
            Record::Made { key, over, .. } => 64 + key.len() + over.as_ref().map_or(0, |over| over.dump.len()),
            Record::Unmade { key, .. } => 32 + key.len(),
            Record::Contents(_) => 4_096,
            Record::End { .. } => 16,
        }
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        let deadline = |deadline: &Deadline| match deadline {
            Deadline::Never => NEVER,
            Deadline::At(ms) => *ms,
        };
        let bytes = |out: &mut Vec<u8>, bytes: &[u8]| {
            out.extend((bytes.len() as u32).to_le_bytes());
            out.extend(bytes);
        };
        match self {
            Record::Key { db, key, deadline: at, kind, fingerprint, dump } => {
                out.push(1);
                out.extend(db.to_le_bytes());
                bytes(out, key);
                out.extend(deadline(at).to_le_bytes());
                bytes(out, kind.as_bytes());
                out.extend(fingerprint.0);
                bytes(out, dump);
            }
            Record::Retimed { db, key, old, new } => {
                out.push(2);
                out.extend(db.to_le_bytes());
                bytes(out, key);
                out.extend(deadline(old).to_le_bytes());
                out.extend(deadline(new).to_le_bytes());
            }
            Record::Aside { db, key, deadline: at } => {
                out.push(3);
                out.extend(db.to_le_bytes());
                bytes(out, key);
                out.extend(deadline(at).to_le_bytes());
            }
            Record::End { records } => {
                out.push(4);
                out.extend(records.to_le_bytes());
            }
            Record::Made { db, key, deadline: at, fingerprint, over } => {
                out.push(5);
                out.extend(db.to_le_bytes());
                bytes(out, key);
                out.extend(deadline(at).to_le_bytes());
                out.extend(fingerprint.0);
                out.push(u8::from(over.is_some()));
                if let Some(Over { deadline: at, fingerprint, dump }) = over {
                    out.extend(deadline(at).to_le_bytes());
                    out.extend(fingerprint.0);
                    bytes(out, dump);
                }
            }
            Record::Unmade { db, key } => {
                out.push(6);
                out.extend(db.to_le_bytes());
                bytes(out, key);
            }
            Record::Contents(contents) => {
                out.push(7);
                bytes(out, &serde_json::to_vec(contents).expect("contents are JSON"));
            }
        }
    }

    /// Takes one off the front; `None` when it is none.
    pub(super) fn take(rest: &mut &[u8]) -> Option<Self> {
        let [code] = array(rest)?;
        let deadline = |rest: &mut &[u8]| {
            Some(match i64::from_le_bytes(array(rest)?) {
                NEVER => Deadline::Never,
                ms => Deadline::At(ms),
            })
        };
        match code {
            1 => Some(Record::Key {
                db: u32::from_le_bytes(array(rest)?),
                key: bytes(rest)?,
                deadline: deadline(rest)?,
                kind: String::from_utf8(bytes(rest)?).ok()?,
                fingerprint: Fingerprint(array(rest)?),
                dump: bytes(rest)?,
            }),
            2 => Some(Record::Retimed {
                db: u32::from_le_bytes(array(rest)?),
                key: bytes(rest)?,
                old: deadline(rest)?,
                new: deadline(rest)?,
            }),
            3 => Some(Record::Aside {
                db: u32::from_le_bytes(array(rest)?),
                key: bytes(rest)?,
                deadline: deadline(rest)?,
            }),
            4 => Some(Record::End { records: u64::from_le_bytes(array(rest)?) }),
            5 => Some(Record::Made {
                db: u32::from_le_bytes(array(rest)?),
                key: bytes(rest)?,
                deadline: deadline(rest)?,
                fingerprint: Fingerprint(array(rest)?),
                over: match array(rest)? {
                    [0] => None,
                    [1] => Some(Over {
                        deadline: deadline(rest)?,
                        fingerprint: Fingerprint(array(rest)?),
                        dump: bytes(rest)?,
                    }),
                    _ => return None,
                },
            }),
            6 => Some(Record::Unmade { db: u32::from_le_bytes(array(rest)?), key: bytes(rest)? }),
            7 => Some(Record::Contents(serde_json::from_slice(&bytes(rest)?).ok()?)),
            _ => None,
        }
    }
}

fn array<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, left) = rest.split_first_chunk::<N>()?;
    *rest = left;
    Some(*taken)
}

fn bytes(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let length = u32::from_le_bytes(array(rest)?) as usize;
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken.to_vec())
}
