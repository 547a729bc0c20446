//! The steps of runs, and the ends of changes that were made for a while.
//! Each is on the disk before its caller hears of it.

use jiff::Timestamp;
use sqlx::{Row as _, SqliteConnection};

use super::{PlanRow, Store, StoreError, plans, writer::Work};
use crate::model::RunId;

/// How far a step has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepState {
    /// It may have been done.
    Begun,
    /// Done, and seen to hold.
    Done,
    /// It failed; the note says what was changed.
    Failed,
    /// Nobody knows whether it was done.
    Uncertain,
    /// It was done and has been taken back.
    Undone,
}

impl StepState {
    const ALL: [StepState; 5] =
        [StepState::Begun, StepState::Done, StepState::Failed, StepState::Uncertain, StepState::Undone];

    /// Its word, in the table and for people.
    pub fn word(self) -> &'static str {
        match self {
            StepState::Begun => "begun",
            StepState::Done => "done",
            StepState::Failed => "failed",
            StepState::Uncertain => "uncertain",
            StepState::Undone => "undone",
        }
    }
}

/// A step as it stands in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepRow {
    /// Which of the plan's steps.
    pub seq: usize,
    /// How far it has come.
    pub state: StepState,
    /// What was found, in words.
    pub note: Option<String>,
}

/// Keys a step left under another name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftAside {
    /// How many at most; 0 where nobody could count them.
    pub keys: u64,
    /// Why they could not be tidied up yet.
    pub why: String,
}

/// A step that left keys under another name, as it stands in the store.
#[derive(Debug, Clone, PartialEq)]
pub struct AsideRow {
    /// The plan it is of.
    pub row: PlanRow,
    /// Which of the plan's steps.
    pub seq: usize,
    /// What it left.
    pub left: LeftAside,
}

/// How far a change's own end has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndState {
    /// It is still to come, or under way.
    Waits,
    /// It is over.
    Over {
        /// The change is as it was before.
        good: bool,
        /// How, in words.
        note: String,
    },
}

/// A write about steps or ends.
#[derive(Debug)]
pub(super) enum StepWork {
    Step { run: String, seq: i64, state: StepState, note: Option<String>, aside: Option<LeftAside>, at_ms: i64 },
    Aside { run: String, seq: i64, left: Option<LeftAside> },
    EndAt { run: String, due_ms: i64 },
    EndNow { run: String, due_ms: i64 },
    EndMove { run: String, from: &'static str, to: &'static str, note: Option<String> },
}

impl Store {
    /// Writes how far a step has come. Before it begins: what cannot be written is not done.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn step(&self, run: &RunId, seq: usize, state: StepState, note: Option<&str>) -> Result<(), StoreError> {
        self.step_left(run, seq, state, note, None).await
    }

    /// The same of a step that left keys under another name: at one stroke, so that none is forgotten.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn step_left(
        &self,
        run: &RunId,
        seq: usize,
        state: StepState,
        note: Option<&str>,
        aside: Option<LeftAside>,
    ) -> Result<(), StoreError> {
        let work = StepWork::Step {
            run: run.to_string(),
            seq: seq as i64,
            state,
            note: note.map(str::to_owned),
            aside,
            at_ms: Timestamp::now().as_millisecond(),
        };
        self.ask(Work::Step(work)).await.map(drop)
    }

    /// The steps of a run that were ever begun, in order.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn steps(&self, run: &RunId) -> Result<Vec<StepRow>, StoreError> {
        let query = sqlx::query("SELECT seq, state, note FROM steps WHERE run = $1 ORDER BY seq").bind(run.as_str());
        let rows = self.reading(query.fetch_all(self.reader())).await?;
        let read = |row: &sqlx::sqlite::SqliteRow| {
            let word: String = row.get(1);
            let state = StepState::ALL.into_iter().find(|state| state.word() == word)?;
            Some(StepRow { seq: usize::try_from(row.get::<i64, _>(0)).ok()?, state, note: row.get(2) })
        };
        Ok(rows.iter().filter_map(read).collect())
    }

    /// What of a step is under another name still, after it was tried again; `None`: nothing any more.
    ///
    /// # Errors
    /// When the store cannot be written: it is tried once more then.
    pub async fn step_aside(&self, run: &RunId, seq: usize, left: Option<LeftAside>) -> Result<(), StoreError> {
        self.ask(Work::Step(StepWork::Aside { run: run.to_string(), seq: seq as i64, left })).await.map(drop)
    }

    /// Every step that left keys under another name, oldest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn asides(&self) -> Result<Vec<AsideRow>, StoreError> {
        let query = sqlx::query(
            "SELECT plans.document, plans.place, plans.message, plans.state, steps.seq, steps.aside, steps.aside_why \
             FROM steps JOIN plans ON plans.run = steps.run WHERE steps.aside IS NOT NULL \
             ORDER BY steps.at_ms, steps.run, steps.seq",
        );
        let rows = self.reading(query.fetch_all(self.reader())).await?;
        let read = |row: &sqlx::sqlite::SqliteRow| {
            let seq = usize::try_from(row.get::<i64, _>(4)).ok()?;
            let keys = u64::try_from(row.get::<i64, _>(5)).unwrap_or(0);
            let why = row.get::<Option<String>, _>(6).unwrap_or_default();
            Some(AsideRow { row: plans::read(row)?, seq, left: LeftAside { keys, why } })
        };
        Ok(rows.iter().filter_map(read).collect())
    }

    /// The change is to take itself back then.
    ///
    /// # Errors
    /// When the store cannot be written: a change for a while is not begun then.
    pub async fn end_at(&self, run: &RunId, due: Timestamp) -> Result<(), StoreError> {
        self.ask(Work::Step(StepWork::EndAt { run: run.to_string(), due_ms: due.as_millisecond() })).await.map(drop)
    }

    /// The change is to take itself back now, whenever it would have: a watch it was made under does not hold.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn end_now(&self, run: &RunId, due: Timestamp) -> Result<(), StoreError> {
        self.ask(Work::Step(StepWork::EndNow { run: run.to_string(), due_ms: due.as_millisecond() })).await.map(drop)
    }

    /// What became of a change's own end: `None` when it has none; else whether it is over, and how.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn end_of(&self, run: &RunId) -> Result<Option<EndState>, StoreError> {
        let query = sqlx::query("SELECT state, note FROM ends WHERE run = $1").bind(run.as_str());
        let row = self.reading(query.fetch_optional(self.reader())).await?;
        Ok(row.map(|row| match (row.get::<String, _>(0).as_str(), row.get::<Option<String>, _>(1)) {
            ("done", note) => EndState::Over { good: true, note: note.unwrap_or_default() },
            ("failed", note) => EndState::Over { good: false, note: note.unwrap_or_default() },
            _ => EndState::Waits,
        }))
    }

    /// Takes up a change's own end; `false` when somebody else has, or it is over.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn end_begin(&self, run: &RunId) -> Result<bool, StoreError> {
        self.end_move(run, "waiting", "begun", None).await
    }

    /// The change has taken itself back, or could not, or need not any more.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn end_over(&self, run: &RunId, good: bool, note: &str) -> Result<(), StoreError> {
        let to = if good { "done" } else { "failed" };
        if !self.end_move(run, "begun", to, Some(note)).await? {
            self.end_move(run, "waiting", to, Some(note)).await?;
        }
        Ok(())
    }

    async fn end_move(
        &self,
        run: &RunId,
        from: &'static str,
        to: &'static str,
        note: Option<&str>,
    ) -> Result<bool, StoreError> {
        let work = StepWork::EndMove { run: run.to_string(), from, to, note: note.map(str::to_owned) };
        self.ask(Work::Step(work)).await
    }

    /// Changes that are still to take themselves back, the soonest first: when,
    /// whether that had begun already, and their plan.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn ends(&self) -> Result<Vec<(Timestamp, bool, PlanRow)>, StoreError> {
        let query = sqlx::query(
            "SELECT plans.document, plans.place, plans.message, plans.state, ends.due_ms, ends.state FROM ends \
             JOIN plans ON plans.run = ends.run WHERE ends.state IN ('waiting', 'begun') ORDER BY ends.due_ms",
        );
        let rows = self.reading(query.fetch_all(self.reader())).await?;
        let read = |row: &sqlx::sqlite::SqliteRow| {
            let due = Timestamp::from_millisecond(row.get(4)).ok()?;
            Some((due, row.get::<String, _>(5) == "begun", plans::read(row)?))
        };
        Ok(rows.iter().filter_map(read).collect())
    }
}

fn count(left: &LeftAside) -> i64 {
    i64::try_from(left.keys).unwrap_or(i64::MAX)
}

/// Carries one write out, within the writer's transaction; `true` when it changed a row.
pub(super) async fn write(on: &mut SqliteConnection, work: &StepWork) -> Result<bool, sqlx::Error> {
    let query = match work {
        // What is known to be aside stays known until it is said to be gone.
        StepWork::Step { run, seq, state, note, aside, at_ms } => sqlx::query(
            "INSERT INTO steps (run, seq, state, note, at_ms, aside, aside_why) VALUES ($1, $2, $3, $4, $5, $6, $7) \
             ON CONFLICT (run, seq) DO UPDATE SET state = excluded.state, note = excluded.note, \
             at_ms = excluded.at_ms, aside = COALESCE(excluded.aside, steps.aside), \
             aside_why = COALESCE(excluded.aside_why, steps.aside_why)",
        )
        .bind(run)
        .bind(seq)
        .bind(state.word())
        .bind(note)
        .bind(at_ms)
        .bind(aside.as_ref().map(count))
        .bind(aside.as_ref().map(|left| &left.why)),
        StepWork::Aside { run, seq, left } => {
            sqlx::query("UPDATE steps SET aside = $3, aside_why = $4 WHERE run = $1 AND seq = $2")
                .bind(run)
                .bind(seq)
                .bind(left.as_ref().map(count))
                .bind(left.as_ref().map(|left| &left.why))
        }
        StepWork::EndAt { run, due_ms } => {
            sqlx::query("INSERT INTO ends (run, due_ms, state) VALUES ($1, $2, 'waiting') ON CONFLICT (run) DO NOTHING")
                .bind(run)
                .bind(due_ms)
        }
        StepWork::EndNow { run, due_ms } => sqlx::query(
            "INSERT INTO ends (run, due_ms, state) VALUES ($1, $2, 'waiting') \
             ON CONFLICT (run) DO UPDATE SET due_ms = excluded.due_ms WHERE ends.state = 'waiting'",
        )
        .bind(run)
        .bind(due_ms),
        StepWork::EndMove { run, from, to, note } => {
            sqlx::query("UPDATE ends SET state = $3, note = $4 WHERE run = $1 AND state = $2")
                .bind(run)
                .bind(from)
                .bind(to)
                .bind(note)
        }
    };
    Ok(query.execute(on).await?.rows_affected() > 0)
}
