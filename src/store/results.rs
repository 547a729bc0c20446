//! Long answers, kept for a while as they may be shown, so that their rest is
//! read from here and no server is asked again. Their number, their size and
//! their age are bounded; the oldest make room.

use std::time::Duration;

use jiff::Timestamp;
use sqlx::{Row as _, SqliteConnection};

use super::{Store, StoreError, writer::Work};
use crate::{
    model::RunId,
    runbook::{LONG_ANSWER_VERSION, LongAnswer},
};

/// Answers kept at most.
const MANY: i64 = 1_000;
/// Their bytes at most, all together.
const BYTES: i64 = 64 << 20;
/// The bytes of one at most.
const LARGEST: usize = 2 << 20;

/// A row to be.
#[derive(Debug)]
pub(super) struct ResultRow {
    run: String,
    document: String,
    at_ms: i64,
}

impl Store {
    /// Keeps a long answer. `false`: it is too large to be kept.
    ///
    /// # Errors
    /// When the store cannot be written; the answer itself is said all the same.
    pub async fn result_keep(&self, answer: &LongAnswer) -> Result<bool, StoreError> {
        let document = serde_json::to_string(answer).expect("long answers are JSON");
        if document.len() > LARGEST {
            return Ok(false);
        }
        let row = ResultRow { run: answer.run.to_string(), document, at_ms: answer.at_ms };
        self.ask(Work::Result(Box::new(row))).await
    }

    /// The long answer of a run, while it is kept.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn result(&self, run: &RunId, now: Timestamp) -> Result<Option<LongAnswer>, StoreError> {
        // What is too old is gone before it is swept.
        let horizon = now.checked_sub(self.keeps_results()).unwrap_or(Timestamp::UNIX_EPOCH);
        let query = sqlx::query("SELECT document FROM results WHERE run = $1 AND version = $2 AND at_ms >= $3")
            .bind(run.as_str())
            .bind(i64::from(LONG_ANSWER_VERSION))
            .bind(horizon.as_millisecond());
        let row = self.reading(query.fetch_optional(self.reader())).await?;
        Ok(row.and_then(|row| serde_json::from_str(row.get(0)).ok()))
    }

    /// How long a long answer is kept.
    pub fn keeps_results(&self) -> Duration {
        self.settings.retention.results
    }
}

/// Keeps one, within the writer's transaction; the oldest make room for it.
pub(super) async fn insert(on: &mut SqliteConnection, row: &ResultRow) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO results (run, version, document, size, at_ms) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (run) DO UPDATE SET version = excluded.version, document = excluded.document, \
         size = excluded.size, at_ms = excluded.at_ms",
    )
    .bind(&row.run)
    .bind(i64::from(LONG_ANSWER_VERSION))
    .bind(&row.document)
    .bind(row.document.len() as i64)
    .bind(row.at_ms)
    .execute(&mut *on)
    .await?;
    sqlx::query(
        "DELETE FROM results WHERE run IN (SELECT run FROM (SELECT run, \
         ROW_NUMBER() OVER (ORDER BY at_ms DESC, run) AS place, SUM(size) OVER (ORDER BY at_ms DESC, run) AS held \
         FROM results) AS ranked WHERE place > $1 OR held > $2)",
    )
    .bind(MANY)
    .bind(BYTES)
    .execute(on)
    .await?;
    Ok(())
}
