//! Snapshot files: what a run removed or changed, so that it can be brought back.
//!
//! One file a step of a run, in a directory beside the store. A header in clear says
//! whose it is; then come frames, each compressed, encrypted and checksummed
//! by itself, so that what was appended is safe as soon as it is flushed. No
//! name or value of a key is ever in clear on the disk, in a log or an error.
//! A file that was cut while a frame was written is good up to that frame.

mod frame;
mod read;
mod record;
mod write;

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;

pub use read::{Frame, SnapshotReader};
pub use record::{Contents, Deadline, Over, Record, Share};
pub use write::SnapshotWriter;

use super::identity::{Identity, IdentityError};
use crate::model::{InstanceName, RunId, ServiceName};

/// The ending of a snapshot's file name, which is the run's id and the step.
const ENDING: &str = "snapshot";

/// Where snapshots are, how much they may take and how long they are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotSettings {
    /// The directory; made for its owner alone if it is not there.
    pub dir: PathBuf,
    /// The key that opens them. Whoever has it and the files has the data; without it nobody has.
    pub key: PathBuf,
    /// All of them together take no more than this.
    pub most_bytes: u64,
    /// They are removed when they are older.
    pub keep: Duration,
}

impl SnapshotSettings {
    /// The defaults, beside this store: 4 GiB, two weeks.
    pub fn beside(database: &Path) -> Self {
        Self {
            dir: database.with_file_name("snapshots"),
            key: database.with_file_name("snapshot.key"),
            most_bytes: 4 << 30,
            keep: Duration::from_secs(14 * 86_400),
        }
    }
}

/// One step of a run: what a snapshot belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StepId {
    /// The run.
    pub run: RunId,
    /// Which of its plan's steps, from 0.
    pub seq: usize,
}

impl std::fmt::Display for StepId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.run, self.seq)
    }
}

/// What a snapshot says of itself in clear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The step of a run it belongs to.
    pub step: StepId,
    /// The service.
    pub service: ServiceName,
    /// Its instance.
    pub instance: InstanceName,
    /// When the run began, in milliseconds since 1970.
    pub created_ms: i64,
}

/// Why a snapshot could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// A file or directory of ours cannot be used.
    #[error("{path} cannot be used: {source}", path = .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Snapshots are there and the key is not.
    #[error("the key of the snapshots {path} is missing although there are snapshots: restore it from its backup; without it they cannot be opened", path = .path.display())]
    KeyMissing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The file does not hold a key.
    #[error("{path} does not hold a key of age (AGE-SECRET-KEY-…): restore it from its backup", path = .path.display())]
    BadKey {
        /// The key file.
        path: PathBuf,
    },
    /// The bound on what all snapshots take is reached.
    #[error("snapshots take {used} bytes and may take {most}: remove old ones, or allow more")]
    Full {
        /// Bytes in use.
        used: u64,
        /// Bytes allowed.
        most: u64,
    },
    /// There is none of that run.
    #[error("there is no snapshot of run {0}: it kept nothing, or its retention is over")]
    Missing(StepId),
    /// There is one of that run already.
    #[error("there is a snapshot of run {0} already")]
    There(StepId),
    /// The beginning of the file is not that of a snapshot.
    #[error("{path} is not a snapshot this version can read: {why}", path = .path.display())]
    NotASnapshot {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The file ends inside a frame: its writer was cut. Everything before is good.
    #[error("the snapshot ends inside frame {frame}, which was being written when its run was cut short")]
    Torn {
        /// The unfinished frame, from 1.
        frame: u32,
    },
    /// A frame is not what was written.
    #[error("frame {frame} of the snapshot is damaged: {why}")]
    Damaged {
        /// The frame, from 1.
        frame: u32,
        /// What does not fit.
        why: &'static str,
    },
    /// More than a frame holds.
    #[error("{bytes} bytes are more than one frame of a snapshot holds")]
    TooLarge {
        /// Bytes given.
        bytes: usize,
    },
    /// A write failed before, and what is on the disk since is not known.
    #[error("the snapshot could not be written before, and is not written on")]
    Broken,
}

fn io_at(path: &Path) -> impl Fn(io::Error) -> SnapshotError + use<> {
    let path = path.to_owned();
    move |source| SnapshotError::Io { path: path.clone(), source }
}

/// A snapshot that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What it says of itself.
    pub header: Header,
    /// Bytes on the disk.
    pub bytes: u64,
}

/// The directory of snapshots. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Snapshots {
    settings: Arc<SnapshotSettings>,
    key: Arc<Identity>,
    used: Arc<AtomicU64>,
}

impl Snapshots {
    /// Opens the directory, making it and the key at the first start.
    ///
    /// # Errors
    ///
    /// When they cannot be made or used, or the key is gone while snapshots are there.
    pub fn open(settings: SnapshotSettings) -> Result<Self, SnapshotError> {
        for dir in [Some(settings.dir.as_path()), settings.key.parent()].into_iter().flatten() {
            if !dir.as_os_str().is_empty() {
                DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io_at(dir))?;
            }
        }
        let files = files(&settings.dir)?;
        let key = Identity::open(&settings.key, files.is_empty()).map_err(|error| match error {
            IdentityError::Io { path, source } => SnapshotError::Io { path, source },
            IdentityError::Bad { path } => SnapshotError::BadKey { path },
            IdentityError::Missing { path } => SnapshotError::KeyMissing { path },
        })?;
        let used = files.iter().filter_map(|path| fs::metadata(path).ok()).map(|found| found.len()).sum();
        Ok(Self { settings: Arc::new(settings), key: Arc::new(key), used: Arc::new(AtomicU64::new(used)) })
    }

    /// Begins the snapshot of a run.
    ///
    /// # Errors
    ///
    /// When there is one already, the bound is reached, or the disk refuses.
    pub fn begin(&self, header: &Header) -> Result<SnapshotWriter, SnapshotError> {
        SnapshotWriter::begin(self, header)
    }

    /// Goes on with the snapshot of a run that was cut short: an unfinished last frame is taken off.
    ///
    /// # Errors
    ///
    /// When there is none, or it is damaged before its last frame.
    pub fn resume(&self, step: &StepId) -> Result<SnapshotWriter, SnapshotError> {
        SnapshotWriter::resume(self, step)
    }

    /// Opens the snapshot of a run for reading.
    ///
    /// # Errors
    ///
    /// When there is none, or its header cannot be read.
    pub fn read(&self, step: &StepId) -> Result<SnapshotReader, SnapshotError> {
        SnapshotReader::open(self.path(step), self.key.clone()).map_err(|error| match error {
            SnapshotError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                SnapshotError::Missing(step.clone())
            }
            other => other,
        })
    }

    /// Every snapshot there is, the oldest first. What cannot be read is left out.
    ///
    /// # Errors
    ///
    /// When the directory cannot be read.
    pub fn list(&self) -> Result<Vec<Found>, SnapshotError> {
        let mut found: Vec<Found> = files(&self.settings.dir)?
            .into_iter()
            .filter_map(|path| {
                let bytes = fs::metadata(&path).ok()?.len();
                Some(Found { header: SnapshotReader::open(path, self.key.clone()).ok()?.header().clone(), bytes })
            })
            .collect();
        found.sort_by_key(|found| found.header.created_ms);
        Ok(found)
    }

    /// What an export's file holds, read from its end; `None`: it is no export, or was not written to its end.
    ///
    /// # Errors
    ///
    /// When there is none, or its header cannot be read.
    pub fn contents(&self, step: &StepId) -> Result<Option<Contents>, SnapshotError> {
        let mut reader = self.read(step)?;
        let places = reader.frames()?;
        // The last frame says that it ended, the one before it what it holds.
        for (index, place) in places.iter().enumerate().rev().take(2) {
            let number = u32::try_from(index + 1).unwrap_or(u32::MAX);
            let Ok(frame) = reader.frame_at(*place, number) else { return Ok(None) };
            match frame.records.into_iter().last() {
                Some(Record::End { .. }) => {}
                Some(Record::Contents(contents)) if index + 2 == places.len() => return Ok(Some(contents)),
                _ => return Ok(None),
            }
        }
        Ok(None)
    }

    /// How long they are kept.
    pub fn keep(&self) -> Duration {
        self.settings.keep
    }

    /// Removes what is older than the retention; how many.
    ///
    /// # Errors
    ///
    /// When a file cannot be removed.
    pub fn sweep(&self, now: Timestamp) -> Result<usize, SnapshotError> {
        let keep = i64::try_from(self.settings.keep.as_millis()).unwrap_or(i64::MAX);
        let before = now.as_millisecond().saturating_sub(keep);
        let old: Vec<Found> = self.list()?.into_iter().filter(|found| found.header.created_ms < before).collect();
        for found in &old {
            self.remove(&found.header.step)?;
        }
        Ok(old.len())
    }

    /// Removes the snapshot of a run.
    ///
    /// # Errors
    ///
    /// When the file cannot be removed; one that is not there is no error.
    pub fn remove(&self, step: &StepId) -> Result<(), SnapshotError> {
        let path = self.path(step);
        let bytes = fs::metadata(&path).map_or(0, |found| found.len());
        match fs::remove_file(&path) {
            Ok(()) => {
                self.give_back(bytes);
                sync_dir(&self.settings.dir)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(io_at(&path)(error)),
        }
    }

    /// Bytes that may still be written before the bound.
    pub fn room(&self) -> u64 {
        self.settings.most_bytes.saturating_sub(self.used.load(Ordering::Relaxed))
    }

    fn path(&self, step: &StepId) -> PathBuf {
        self.settings.dir.join(format!("{step}.{ENDING}"))
    }

    /// Takes room for so many bytes, or says that there is none.
    fn take(&self, bytes: u64) -> Result<(), SnapshotError> {
        let most = self.settings.most_bytes;
        let taken = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(bytes).filter(|after| *after <= most)
        });
        taken.map(drop).map_err(|used| SnapshotError::Full { used, most })
    }

    fn give_back(&self, bytes: u64) {
        let _ = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| Some(used.saturating_sub(bytes)));
    }
}

fn files(dir: &Path) -> Result<Vec<PathBuf>, SnapshotError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(io_at(dir))? {
        let path = entry.map_err(io_at(dir))?.path();
        if path.extension().is_some_and(|ending| ending == ENDING) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// A name must survive a power cut as surely as the content.
fn sync_dir(dir: &Path) -> Result<(), SnapshotError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io_at(dir))
}

#[cfg(test)]
mod tests;
