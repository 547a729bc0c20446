//! The one task that writes.
//!
//! Callers put work on a bounded queue; the task takes what is waiting, writes
//! it in one transaction and answers everybody after the commit. Alone, a
//! caller waits for one small commit; a hundred share one. A batch that holds
//! work to be synced is committed with a sync, which then serves all of it.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    path::PathBuf,
    sync::LazyLock,
    time::Duration,
};

use jiff::Timestamp;
use sqlx::{Connection as _, Row as _, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    StoreError, StoreHealth,
    arrivals::{self, ArrivalWork},
    books::{self, BookWork},
    chain::{Anchor, GENESIS, Key, Mac},
    entry::{JournalRow, Part},
    error::meaning,
    figures::{self, FiguresRow},
    open,
    owed::{self, Owed},
    plans::{self, PlanWork},
    results::{self, ResultRow},
    schedules::{self, ScheduleWork},
    steps::{self, StepWork},
    walks::{self, WalkWork},
    words::{self, WordWork},
};
use crate::model::MessageRef;

/// The most work one transaction takes.
const BATCH: usize = 512;
/// How often a failing store tries again when nobody asks it to.
const RETRY: Duration = Duration::from_secs(1);
/// Rows that retention removes in one transaction, so that nobody waits long behind it.
pub(super) const PRUNE: i64 = 2_000;
/// Events remembered in memory alone while the disk is away.
const SEEN_IN_MEMORY: usize = 20_000;

/// Something to write.
pub(super) enum Work {
    Record { row: Box<JournalRow>, synced: bool },
    FirstTime { event: String, now: Timestamp },
    Remember(Box<FiguresRow>),
    Owe(Box<Owed>, Timestamp),
    OwedDone { key: String, revision: i64, message: Option<MessageRef>, now: Timestamp },
    OwedGone { key: String, why: String, now: Timestamp },
    OwedSending { key: String, now: Timestamp },
    OwedKept { key: String, now: Timestamp },
    OwedHasten(Timestamp),
    OwedFailed { key: String, retry_at: Timestamp, trouble: String },
    Plan(PlanWork),
    Result(Box<ResultRow>),
    Step(StepWork),
    Walk(WalkWork),
    Book(BookWork),
    Word(WordWork),
    Schedule(ScheduleWork),
    Arrival(ArrivalWork),
    Anchored { anchor: Anchor, now: Timestamp },
    Prune(Before),
    Close,
}

impl Work {
    /// Must it be on the disk before the caller hears of it?
    fn synced(&self) -> bool {
        matches!(
            self,
            Work::Record { synced: true, .. }
                | Work::Plan(_)
                | Work::Step(_)
                | Work::Book(_)
                | Work::Word(_)
                | Work::Owe(..)
                | Work::OwedDone { .. }
                | Work::OwedKept { .. }
                | Work::Prune(_)
                | Work::Close
        )
    }
}

/// What is older than these moments (Unix milliseconds) goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Before {
    pub(super) journal: i64,
    pub(super) seen: i64,
    pub(super) figures: i64,
    pub(super) owed: i64,
    pub(super) results: i64,
    pub(super) walks: i64,
}

/// Work, and where to say how it went. The answer's meaning is the work's own.
pub(super) struct Ask {
    pub(super) work: Work,
    pub(super) done: oneshot::Sender<Result<bool, StoreError>>,
}

/// Where the chain ends.
#[derive(Debug, Clone, Copy)]
struct Head {
    seq: u64,
    mac: Mac,
}

pub(super) struct Writer {
    options: SqliteConnectOptions,
    key: Key,
    key_path: PathBuf,
    connection: Option<(SqliteConnection, Head)>,
    health: watch::Sender<StoreHealth>,
    /// Events taken while the disk was away; written as soon as it is back.
    seen: HashMap<String, i64>,
    full_sync: bool,
    /// Held until the last connection is closed.
    _lock: File,
}

/// Why a batch was not written.
pub(super) enum Trouble {
    /// The database said no.
    Database(sqlx::Error),
    /// The journal belongs to another key.
    WrongKey,
}

impl From<sqlx::Error> for Trouble {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl Writer {
    pub(super) fn new(
        options: SqliteConnectOptions,
        key: Key,
        key_path: PathBuf,
        lock: File,
        health: watch::Sender<StoreHealth>,
    ) -> Self {
        Self { options, key, key_path, connection: None, health, seen: HashMap::new(), full_sync: false, _lock: lock }
    }

    /// Connects, migrates and finds the end of the chain, unless that is done.
    pub(super) async fn connect(&mut self) -> Result<(), Trouble> {
        if self.connection.is_some() {
            return Ok(());
        }
        let mut connection = open::connect(&self.options).await?;
        let head = head(&mut connection, &self.key).await?;
        self.full_sync = false;
        self.connection = Some((connection, head));
        Ok(())
    }

    /// Does a start with this trouble go on in the hope that the disk comes back?
    pub(super) fn fail(&self, why: String) {
        let lost = match &*self.health.borrow() {
            StoreHealth::Ok => 0,
            StoreHealth::Failing { lost, .. } => *lost,
        };
        self.suffer(why, lost);
    }

    fn suffer(&self, why: String, lost: u64) {
        let since = match &*self.health.borrow() {
            StoreHealth::Ok => {
                tracing::error!(why, "the store cannot be written; looks go on unjournalled");
                Timestamp::now()
            }
            StoreHealth::Failing { since, .. } => *since,
        };
        self.health.send_replace(StoreHealth::Failing { since, why, lost });
    }

    /// Works until everybody who could ask is gone, or somebody asks to close.
    pub(super) async fn run(mut self, mut asks: mpsc::Receiver<Ask>) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let failing = !self.health.borrow().is_ok();
            let taken = if failing {
                match tokio::time::timeout(RETRY, asks.recv_many(&mut batch, BATCH)).await {
                    Ok(taken) => taken,
                    Err(_) => {
                        self.write(&mut Vec::new()).await;
                        continue;
                    }
                }
            } else {
                asks.recv_many(&mut batch, BATCH).await
            };
            if taken == 0 {
                break;
            }
            let close = batch.iter().position(|ask| matches!(ask.work, Work::Close)).map(|at| batch.remove(at));
            self.write(&mut batch).await;
            if let Some(ask) = close {
                asks.close();
                while asks.recv_many(&mut batch, BATCH).await > 0 {
                    self.write(&mut batch).await;
                }
                self.close().await;
                // The lock goes with `self`: whoever waited for this may open the store at once.
                drop(self);
                let _ = ask.done.send(Ok(true));
                return;
            }
        }
        self.close().await;
    }

    async fn close(&mut self) {
        if let Some((mut connection, _)) = self.connection.take() {
            let _ = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut connection).await;
            if let Err(error) = connection.close().await {
                tracing::warn!(error = meaning(&error), "the store did not close cleanly; nothing committed is lost");
            }
        }
    }

    /// Writes a batch and answers everybody in it; empties it.
    async fn write(&mut self, batch: &mut Vec<Ask>) {
        let failing = match &*self.health.borrow() {
            StoreHealth::Ok => None,
            StoreHealth::Failing { since, lost, .. } => Some((*since, *lost)),
        };
        match self.commit(batch, failing).await {
            Ok((head, answers)) => {
                if let Some((_, at)) = &mut self.connection {
                    *at = head;
                }
                self.seen.clear();
                if let Some((since, lost)) = failing {
                    tracing::info!(%since, lost, "the store can be written again");
                    self.health.send_replace(StoreHealth::Ok);
                }
                for (ask, answer) in batch.drain(..).zip(answers) {
                    let _ = ask.done.send(Ok(answer));
                }
            }
            Err(trouble) => self.refuse(batch, trouble, failing.map_or(0, |(_, lost)| lost)).await,
        }
    }

    /// Nothing of the batch was written: says so, fast.
    async fn refuse(&mut self, batch: &mut Vec<Ask>, trouble: Trouble, lost_before: u64) {
        let error = match trouble {
            Trouble::WrongKey => StoreError::WrongKey { path: self.key_path.clone() },
            Trouble::Database(error) => {
                let why = meaning(&error);
                self.roll_back(&error).await;
                StoreError::Unwritable(why)
            }
        };
        let lost = batch.iter().filter(|ask| matches!(ask.work, Work::Record { .. })).count() as u64;
        let why = match &error {
            StoreError::Unwritable(why) => why.clone(),
            other => other.to_string(),
        };
        self.suffer(why, lost_before + lost);
        for ask in batch.drain(..) {
            let answer = match &ask.work {
                // Commands are still taken once: by memory, until the disk is back.
                Work::FirstTime { event, now } => Ok(self.first_time_in_memory(event, *now).await),
                _ => Err(error.clone()),
            };
            let _ = ask.done.send(answer);
        }
    }

    async fn roll_back(&mut self, error: &sqlx::Error) {
        let Some((connection, _)) = &mut self.connection else { return };
        let disk_full = error.as_database_error().and_then(|e| e.code()).is_some_and(|code| code == "13");
        // Whatever SQLite rolled back by itself makes this an error that means nothing.
        let _ = sqlx::query("ROLLBACK").execute(&mut *connection).await;
        if !disk_full {
            // After an IO error a fresh connection is the safe one; it also reads the head anew.
            self.connection = None;
        }
    }

    async fn first_time_in_memory(&mut self, event: &str, now: Timestamp) -> bool {
        if self.seen.contains_key(event) {
            return false;
        }
        if let Some((connection, _)) = &mut self.connection {
            let known = sqlx::query("SELECT 1 FROM seen WHERE event = $1").bind(event).fetch_optional(connection).await;
            if matches!(known, Ok(Some(_))) {
                return false;
            }
        }
        if self.seen.len() < SEEN_IN_MEMORY {
            self.seen.insert(event.to_owned(), now.as_millisecond());
        }
        true
    }

    async fn commit(
        &mut self,
        batch: &mut [Ask],
        failing: Option<(Timestamp, u64)>,
    ) -> Result<(Head, Vec<bool>), Trouble> {
        self.connect().await?;
        let full = batch.iter().any(|ask| ask.work.synced());
        let (connection, head) = self.connection.as_mut().expect("connected above");
        if full != self.full_sync {
            let pragma = if full { "PRAGMA synchronous = FULL" } else { "PRAGMA synchronous = NORMAL" };
            sqlx::query(pragma).execute(&mut *connection).await?;
            self.full_sync = full;
        }
        sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await?;

        let mut head = *head;
        let gap = failing.map(|(since, lost)| JournalRow::gap(since, Timestamp::now(), lost));
        let before = head.seq;
        append(connection, &self.key, &mut head, gap.into_iter(), batch).await?;
        let mut fresh = take_events(connection, &self.seen, batch).await?;

        let mut answers = Vec::with_capacity(batch.len());
        for ask in batch.iter() {
            answers.push(match &ask.work {
                Work::Record { .. } | Work::Close => true,
                Work::FirstTime { event, .. } => fresh.remove(event.as_str()),
                Work::Remember(row) => {
                    figures::insert(connection, row).await?;
                    true
                }
                Work::Owe(owed, now) => owed::owe(connection, owed, *now).await?,
                Work::OwedDone { key, revision, message, now } => {
                    owed::done(connection, key, *revision, message.as_ref(), *now).await?
                }
                Work::OwedGone { key, why, now } => owed::gone(connection, key, why, *now).await?,
                Work::OwedSending { key, now } => owed::sending(connection, key, *now).await?,
                Work::OwedKept { key, now } => owed::kept(connection, key, *now).await?,
                Work::OwedHasten(then) => owed::hasten(connection, *then).await?,
                Work::OwedFailed { key, retry_at, trouble } => {
                    owed::failed(connection, key, *retry_at, trouble).await?
                }
                Work::Plan(work) => plans::write(connection, work).await?,
                Work::Result(row) => {
                    results::insert(connection, row).await?;
                    true
                }
                Work::Step(work) => steps::write(connection, work).await?,
                Work::Walk(work) => walks::write(connection, work).await?,
                Work::Book(work) => books::write(connection, work).await?,
                Work::Word(work) => words::write(connection, work).await?,
                Work::Schedule(work) => schedules::write(connection, work).await?,
                Work::Arrival(work) => arrivals::write(connection, work).await?,
                Work::Anchored { anchor, now } => {
                    sqlx::query("UPDATE journal_head SET anchored_seq = $1, anchored_ms = $2 WHERE id = 1")
                        .bind(anchor.seq as i64)
                        .bind(now.as_millisecond())
                        .execute(&mut *connection)
                        .await?;
                    true
                }
                Work::Prune(before) => prune(connection, &self.key, *before).await?,
            });
        }
        if head.seq != before {
            sqlx::query("UPDATE journal_head SET seq = $1, mac = $2, signature = $3 WHERE id = 1")
                .bind(head.seq as i64)
                .bind(head.mac.as_slice())
                .bind(self.key.sign("head", head.seq, &head.mac).as_slice())
                .execute(&mut *connection)
                .await?;
        }
        sqlx::query("COMMIT").execute(&mut *connection).await?;
        Ok((head, answers))
    }
}

/// Finds the end of the chain; signs an empty one when the tables are new.
async fn head(connection: &mut SqliteConnection, key: &Key) -> Result<Head, Trouble> {
    if let Some(row) =
        sqlx::query("SELECT seq, mac, key_id FROM journal_head WHERE id = 1").fetch_optional(&mut *connection).await?
    {
        if row.try_get::<String, _>(2)? != key.id() {
            return Err(Trouble::WrongKey);
        }
        let mac: Vec<u8> = row.try_get(1)?;
        return Ok(Head { seq: row.try_get::<i64, _>(0)? as u64, mac: mac.try_into().unwrap_or(GENESIS) });
    }
    let mut transaction = connection.begin().await?;
    sqlx::query(
        "INSERT INTO journal_head (id, seq, mac, key_id, signature, anchored_seq, anchored_ms) \
         VALUES (1, 0, $1, $2, $3, 0, 0)",
    )
    .bind(GENESIS.as_slice())
    .bind(key.id())
    .bind(key.sign("head", 0, &GENESIS).as_slice())
    .execute(&mut *transaction)
    .await?;
    sqlx::query("INSERT INTO journal_cut (id, seq, mac, signature) VALUES (1, 0, $1, $2)")
        .bind(GENESIS.as_slice())
        .bind(key.sign("cut", 0, &GENESIS).as_slice())
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(Head { seq: 0, mac: GENESIS })
}

/// Statements that insert this many rows at once; a batch is cut into the largest that fit.
static INSERTS: LazyLock<[(usize, String); 4]> = LazyLock::new(|| {
    [64, 16, 4, 1].map(|rows| {
        let row = format!("({})", ["?"; 20].join(","));
        (rows, format!("INSERT INTO journal VALUES {}", vec![row; rows].join(",")))
    })
});

async fn append(
    connection: &mut SqliteConnection,
    key: &Key,
    head: &mut Head,
    gap: impl Iterator<Item = JournalRow>,
    batch: &mut [Ask],
) -> Result<(), sqlx::Error> {
    let mut gap: Vec<JournalRow> = gap.collect();
    let recorded = batch.iter_mut().filter_map(|ask| match &mut ask.work {
        Work::Record { row, .. } => Some(row.as_mut()),
        _ => None,
    });
    let mut rows: Vec<(&JournalRow, Mac)> = Vec::new();
    for row in gap.iter_mut().chain(recorded) {
        row.seq = head.seq + 1;
        head.mac = key.link(&head.mac, row);
        head.seq = row.seq;
        rows.push((row, head.mac));
    }
    let mut rest = rows.as_slice();
    while !rest.is_empty() {
        let (size, sql) = INSERTS.iter().find(|(size, _)| *size <= rest.len()).expect("the smallest holds one row");
        let (now, later) = rest.split_at(*size);
        let mut query = sqlx::query(sql.as_str());
        for (row, mac) in now {
            for part in row.parts() {
                query = match part {
                    Part::Text(text) => query.bind(text),
                    Part::Nothing => query.bind(None::<&str>),
                    Part::Number(number) => query.bind(number),
                };
            }
            query = query.bind(mac.as_slice());
        }
        query.execute(&mut *connection).await?;
        rest = later;
    }
    Ok(())
}

static TAKES: LazyLock<[(usize, String); 3]> = LazyLock::new(|| {
    [64, 8, 1].map(|rows| {
        let rows_sql = vec!["(?,?)"; rows].join(",");
        (rows, format!("INSERT INTO seen VALUES {rows_sql} ON CONFLICT (event) DO NOTHING RETURNING event"))
    })
});

/// Remembers the batch's events, and gives back those never seen before.
async fn take_events<'a>(
    connection: &mut SqliteConnection,
    in_memory: &HashMap<String, i64>,
    batch: &'a [Ask],
) -> Result<HashSet<&'a str>, sqlx::Error> {
    let asked = batch.iter().filter_map(|ask| match &ask.work {
        Work::FirstTime { event, now } => Some((event.as_str(), now.as_millisecond())),
        _ => None,
    });
    let mut fresh: HashSet<&str> = asked.clone().map(|(event, _)| event).collect();
    fresh.retain(|event| !in_memory.contains_key(*event));
    let mut events: Vec<(&str, i64)> = in_memory.iter().map(|(event, &at)| (event.as_str(), at)).collect();
    for (event, at) in asked {
        events.push((event, at));
    }
    let mut inserted: HashSet<String> = HashSet::new();
    let mut rest = events.as_slice();
    while !rest.is_empty() {
        let (size, sql) = TAKES.iter().find(|(size, _)| *size <= rest.len()).expect("the smallest holds one row");
        let (now, later) = rest.split_at(*size);
        let mut query = sqlx::query(sql.as_str());
        for (event, at) in now {
            query = query.bind(*event).bind(*at);
        }
        for row in query.fetch_all(&mut *connection).await? {
            inserted.insert(row.try_get(0)?);
        }
        rest = later;
    }
    fresh.retain(|event| inserted.contains(*event));
    Ok(fresh)
}

/// Removes some of what is too old; `true`: there may be more.
async fn prune(connection: &mut SqliteConnection, key: &Key, before: Before) -> Result<bool, sqlx::Error> {
    let oldest = sqlx::query("SELECT seq, at_ms, mac FROM journal ORDER BY seq LIMIT $1")
        .bind(PRUNE)
        .fetch_all(&mut *connection)
        .await?;
    // A prefix of the chain: the clock may have been set back, the order of rows was not.
    let old = oldest.iter().take_while(|row| row.get::<i64, _>(1) < before.journal).count();
    let mut more = old as i64 == PRUNE;
    if let Some(last) = oldest[..old].last() {
        let (seq, mac): (i64, Vec<u8>) = (last.try_get(0)?, last.try_get(2)?);
        let mac: Mac = mac.try_into().unwrap_or(GENESIS);
        sqlx::query("UPDATE journal_cut SET seq = $1, mac = $2, signature = $3 WHERE id = 1")
            .bind(seq)
            .bind(mac.as_slice())
            .bind(key.sign("cut", seq as u64, &mac).as_slice())
            .execute(&mut *connection)
            .await?;
        sqlx::query("DELETE FROM journal WHERE seq <= $1").bind(seq).execute(&mut *connection).await?;
    }
    for (sql, horizon) in [
        ("DELETE FROM seen WHERE event IN (SELECT event FROM seen WHERE at_ms < $1 LIMIT $2)", before.seen),
        ("DELETE FROM arrivals WHERE event IN (SELECT event FROM arrivals WHERE at_ms < $1 LIMIT $2)", before.seen),
        ("DELETE FROM figures WHERE id IN (SELECT id FROM figures WHERE at_ms < $1 LIMIT $2)", before.figures),
        ("DELETE FROM owed WHERE id IN (SELECT id FROM owed WHERE done_ms < $1 LIMIT $2)", before.owed),
        ("DELETE FROM results WHERE run IN (SELECT run FROM results WHERE at_ms < $1 LIMIT $2)", before.results),
        ("DELETE FROM walks WHERE question IN (SELECT question FROM walks WHERE at_ms < $1 LIMIT $2)", before.walks),
        ("DELETE FROM books WHERE run IN (SELECT run FROM books WHERE closed_ms < $1 LIMIT $2)", before.journal),
    ] {
        let gone = sqlx::query(sql).bind(horizon).bind(PRUNE).execute(&mut *connection).await?;
        more |= gone.rows_affected() as i64 == PRUNE;
    }
    Ok(more)
}
