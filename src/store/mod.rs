//! What must survive a restart, over SQLite.
//!
//! The journal of who ran what with which result, chained so that edits,
//! removals, reordering and a cut tail show ([`verify()`]); the events already
//! taken; what diagnostics measured; long answers; deliveries that are owed. One task writes,
//! in groups; a few connections read. A disk that is full or away makes every
//! write an error at once, is said by [`Store::health`], and is forgotten by
//! itself when it is back: the journal then holds a row that says what it lacks.

mod arrivals;
mod backups;
mod books;
mod chain;
mod entry;
mod error;
mod figures;
mod handover;
mod identity;
mod open;
mod owed;
mod plans;
mod results;
mod schedules;
pub mod snapshot;
mod standing;
mod steps;
mod verify;
mod walks;
mod words;
mod writer;

use std::{future::Future, path::PathBuf, sync::Arc, time::Duration};

use jiff::Timestamp;
use sqlx::{Row as _, SqlitePool, sqlite::SqlitePoolOptions};
use tokio::sync::{mpsc, oneshot, watch};

pub use arrivals::ArrivalRow;
pub use backups::{
    BackupDatabase, BackupError, BackupFile, BackupReader, BackupSettings, BackupWay, BackupWriter, Backups, Kept,
    Manifest, Sealed,
};
pub use books::BookRow;
pub use chain::{Anchor, Fault, FaultKind, NotAnAnchor};
pub use entry::{Entry, JournalRow, Outcome};
pub use error::{StoreError, StoreHealth};
pub use figures::FiguresRow;
pub use handover::Handover;
pub use identity::IdentityError;
pub use open::StorePaths;
pub use owed::{Attachment, Due, Owed, OwedWhat};
pub use plans::{PlanRow, PlanState};
pub use standing::Standing;
pub use steps::{AsideRow, EndState, LeftAside, StepRow, StepState};
pub use verify::{VerifyReport, verify};
pub use words::{Call, SeverityRow};

use writer::{Ask, Before, Trouble, Work, Writer};

/// Work that waits for the writer; beyond it, callers wait to be let in.
const QUEUE: usize = 4_096;
/// What is waiting at the end is given this long.
const CLOSING: Duration = Duration::from_secs(10);
const DAY: Duration = Duration::from_secs(86_400);

/// Where the store is and how long it keeps what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreSettings {
    /// The database; its directory is made if it is not there.
    pub database: PathBuf,
    /// The journal's key; `None`: `journal.key` beside the database. Another disk is better.
    pub key: Option<PathBuf>,
    /// How long rows are kept.
    pub retention: Retention,
    /// All snapshots of what was removed take no more bytes than this.
    pub snapshot_bytes: u64,
    /// A caller is told after this that the disk does not answer.
    pub patience: Duration,
    /// Where backups are, and how long; `None`: beside the database, as [`BackupSettings::beside`] says.
    pub backups: Option<BackupSettings>,
}

impl StoreSettings {
    /// The defaults, in this directory.
    pub fn in_dir(dir: impl Into<PathBuf>) -> Self {
        Self {
            database: dir.into().join("rediscue.db"),
            key: None,
            retention: Retention::default(),
            snapshot_bytes: 4 << 30,
            patience: Duration::from_secs(2),
            backups: None,
        }
    }

    /// The files these settings mean.
    pub fn paths(&self) -> StorePaths {
        StorePaths {
            key: self.key.clone().unwrap_or_else(|| self.database.with_file_name("journal.key")),
            lock: self.database.with_extension("lock"),
            database: self.database.clone(),
        }
    }
}

/// How long rows are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Rows of the journal.
    pub journal: Duration,
    /// Events already taken. Platforms redeliver within hours.
    pub seen: Duration,
    /// Figures of looks.
    pub figures: Duration,
    /// Deliveries that are done.
    pub owed: Duration,
    /// Long answers, to be read on.
    pub results: Duration,
    /// Walks nobody took up again. They hold names of keys.
    pub walks: Duration,
    /// Snapshots of what was removed: as long as it can be brought back.
    pub snapshots: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            journal: 400 * DAY,
            seen: 7 * DAY,
            figures: 35 * DAY,
            owed: 7 * DAY,
            walks: Duration::from_secs(3600),
            results: DAY,
            snapshots: 14 * DAY,
        }
    }
}

/// The store. Clones are the same store.
#[derive(Debug, Clone)]
pub struct Store {
    asks: mpsc::Sender<Ask>,
    health: watch::Receiver<StoreHealth>,
    reader: SqlitePool,
    settings: Arc<StoreSettings>,
    snapshots: Arc<std::sync::Mutex<Option<snapshot::Snapshots>>>,
}

impl Store {
    /// Opens the store, making directory, key and tables at the first start.
    ///
    /// A store that was used before opens even while its disk is full or
    /// read-only: [`Store::health`] says so, and writing begins when it can.
    ///
    /// # Errors
    /// When another process has it, the key is missing or wrong, the file is
    /// damaged, or a first start cannot write.
    pub async fn open(settings: StoreSettings) -> Result<Self, StoreError> {
        let paths = settings.paths();
        let used_before = paths.database.exists();
        if !used_before {
            open::make_parent(&paths.database)?;
            open::make_parent(&paths.key)?;
        }
        let lock = open::lock(&paths)?;
        let key = match open::read_key(&paths.key)? {
            Some(key) => key,
            None if used_before => return Err(StoreError::KeyMissing { path: paths.key }),
            None => open::make_key(&paths.key)?,
        };
        let (report, health) = watch::channel(StoreHealth::Ok);
        open::keep_private(&paths.database)?;
        let mut writer = Writer::new(open::writing(&paths.database), key, paths.key.clone(), lock, report);
        match writer.connect().await {
            Ok(()) => {}
            Err(Trouble::WrongKey) => return Err(StoreError::WrongKey { path: paths.key }),
            Err(Trouble::Database(error)) if used_before && error::may_pass(&error) => {
                writer.fail(error::meaning(&error));
            }
            Err(Trouble::Database(error)) => {
                return Err(StoreError::Open { path: paths.database, why: error::meaning(&error) });
            }
        }
        let reader = SqlitePoolOptions::new()
            .max_connections(2)
            .acquire_timeout(settings.patience)
            .idle_timeout(Duration::from_secs(60))
            .connect_lazy_with(open::reading(&paths.database));
        let (asks, queue) = mpsc::channel(QUEUE);
        tokio::spawn(writer.run(queue));
        Ok(Self { asks, health, reader, settings: Arc::new(settings), snapshots: Arc::default() })
    }

    /// Journals what was looked at; resolves when it is committed, together
    /// with whatever else is waiting. A power cut may take the last moments;
    /// the end of the process does not.
    ///
    /// # Errors
    /// At once when the store cannot be written: the answer goes out marked as
    /// unjournalled.
    pub async fn record(&self, entry: Entry) -> Result<(), StoreError> {
        self.ask(Work::Record { row: Box::new(JournalRow::of(entry)), synced: false }).await.map(|_| ())
    }

    /// Journals, and resolves when it is on the disk: for whatever changes something.
    ///
    /// # Errors
    /// At once when the store cannot be written: nothing may be changed then.
    pub async fn record_synced(&self, entry: Entry) -> Result<(), StoreError> {
        self.ask(Work::Record { row: Box::new(JournalRow::of(entry)), synced: true }).await.map(|_| ())
    }

    /// Is this the first time this event arrives? Asked once, the answer for
    /// the same event is `false` from then on, also after a restart.
    ///
    /// While the disk is away the memory of this process answers, and is
    /// written when it is back.
    ///
    /// # Errors
    /// When the disk does not answer at all, or the store is closed.
    pub async fn first_time(&self, event: &str) -> Result<bool, StoreError> {
        self.ask(Work::FirstTime { event: event.to_owned(), now: Timestamp::now() }).await
    }

    /// The backups of what the instances hold, beside the database unless the settings say otherwise.
    pub fn backups(&self) -> Backups {
        let beside = || BackupSettings::beside(&self.settings.database);
        Backups::new(self.settings.backups.clone().unwrap_or_else(beside))
    }

    /// How writing goes.
    pub fn health(&self) -> StoreHealth {
        self.health.borrow().clone()
    }

    /// Tells of every change of [`Store::health`].
    pub fn watch_health(&self) -> watch::Receiver<StoreHealth> {
        self.health.clone()
    }

    /// The journal's last rows, newest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn journal(&self, limit: u32) -> Result<Vec<JournalRow>, StoreError> {
        let query = sqlx::query("SELECT * FROM journal ORDER BY seq DESC LIMIT $1").bind(i64::from(limit));
        let rows = self.reading(query.fetch_all(self.reader())).await?;
        rows.iter()
            .map(|row| JournalRow::read(row).map(|(row, _)| row))
            .collect::<Result<_, _>>()
            .map_err(|error| StoreError::Unreadable(error::meaning(&error)))
    }

    /// The line to put where the store's owner cannot change it, so often
    /// and only when rows were written since the last one.
    ///
    /// Say so with [`Store::anchored`] once it is there.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn anchor_due(&self, now: Timestamp, every: Duration) -> Result<Option<Anchor>, StoreError> {
        let query = sqlx::query("SELECT seq, mac, anchored_seq, anchored_ms FROM journal_head WHERE id = 1");
        let Some(row) = self.reading(query.fetch_optional(self.reader())).await? else { return Ok(None) };
        let (seq, mac): (i64, Vec<u8>) = (row.get(0), row.get(1));
        let (anchored_seq, anchored_ms): (i64, i64) = (row.get(2), row.get(3));
        let every = i64::try_from(every.as_millis()).unwrap_or(i64::MAX);
        let due = seq > anchored_seq && now.as_millisecond().saturating_sub(anchored_ms) >= every;
        Ok(due.then(|| Anchor { seq: seq as u64, hash: chain::hex(&mac) }))
    }

    /// The anchor stands outside; the next is due when its time has passed.
    ///
    /// # Errors
    /// When the store cannot be written; the same anchor is due again then, which does no harm.
    pub async fn anchored(&self, anchor: &Anchor, now: Timestamp) -> Result<(), StoreError> {
        self.ask(Work::Anchored { anchor: anchor.clone(), now }).await.map(|_| ())
    }

    /// Removes what is older than its retention, in small pieces between
    /// other writes. The journal's rest stays verifiable.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn sweep(&self, now: Timestamp) -> Result<(), StoreError> {
        let keep = &self.settings.retention;
        let horizon =
            |keep: Duration| now.as_millisecond().saturating_sub(i64::try_from(keep.as_millis()).unwrap_or(i64::MAX));
        let before = Before {
            journal: horizon(keep.journal),
            seen: horizon(keep.seen),
            figures: horizon(keep.figures),
            owed: horizon(keep.owed),
            results: horizon(keep.results),
            walks: horizon(keep.walks),
        };
        while self.ask(Work::Prune(before)).await? {}
        self.sweep_snapshots(now).await;
        Ok(())
    }

    /// The snapshots beside the database; directory and key are made when they are first asked for.
    ///
    /// # Errors
    /// When they cannot be made or used. It is tried again with the next call.
    pub fn snapshots(&self) -> Result<snapshot::Snapshots, snapshot::SnapshotError> {
        let mut held = self.snapshots.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(snapshots) = &*held {
            return Ok(snapshots.clone());
        }
        let opened = snapshot::Snapshots::open(snapshot::SnapshotSettings {
            most_bytes: self.settings.snapshot_bytes,
            keep: self.settings.retention.snapshots,
            ..snapshot::SnapshotSettings::beside(&self.settings.database)
        })?;
        *held = Some(opened.clone());
        Ok(opened)
    }

    /// The same, where there are any already: a mere look makes neither directory nor key.
    ///
    /// # Errors
    /// When they cannot be used.
    pub fn snapshots_made(&self) -> Result<Option<snapshot::Snapshots>, snapshot::SnapshotError> {
        match snapshot::SnapshotSettings::beside(&self.settings.database).dir.exists() {
            true => self.snapshots().map(Some),
            false => Ok(None),
        }
    }

    /// Removes snapshots that are older than their retention, where there are any.
    async fn sweep_snapshots(&self, now: Timestamp) {
        if !snapshot::SnapshotSettings::beside(&self.settings.database).dir.exists() {
            return;
        }
        let store = self.clone();
        let sweeping = move || store.snapshots().and_then(|snapshots| snapshots.sweep(now));
        match tokio::task::spawn_blocking(sweeping).await {
            Ok(Ok(0)) | Err(_) => {}
            Ok(Ok(count)) => tracing::info!(count, "old snapshots were removed"),
            Ok(Err(error)) => tracing::warn!(%error, "old snapshots could not be removed"),
        }
    }

    /// Writes what is waiting, closes the files and releases the lock. Later calls say [`StoreError::Closed`].
    pub async fn close(self) {
        self.reader.close().await;
        let (done, closed) = oneshot::channel();
        if self.asks.send(Ask { work: Work::Close, done }).await.is_ok() {
            // A disk that does not answer must not keep the process from ending.
            let _ = tokio::time::timeout(CLOSING, closed).await;
        }
    }

    /// Puts work on the writer's queue and waits for its answer, not longer than patience.
    async fn ask(&self, work: Work) -> Result<bool, StoreError> {
        let (done, answer) = oneshot::channel();
        let asking = async {
            self.asks.send(Ask { work, done }).await.map_err(|_| StoreError::Closed)?;
            answer.await.map_err(|_| StoreError::Closed)?
        };
        let patience = self.settings.patience;
        tokio::time::timeout(patience, asking).await.unwrap_or(Err(StoreError::Slow(patience)))
    }

    fn reader(&self) -> &SqlitePool {
        &self.reader
    }

    async fn reading<T>(&self, query: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, StoreError> {
        let patience = self.settings.patience;
        match tokio::time::timeout(patience, query).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(sqlx::Error::PoolClosed)) => Err(StoreError::Closed),
            Ok(Err(error)) => Err(StoreError::Unreadable(error::meaning(&error))),
            Err(_) => Err(StoreError::Slow(patience)),
        }
    }
}
