//! Walks over a keyspace that were stopped, so that they can go on after a restart.

use jiff::Timestamp;
use sqlx::{Row as _, SqliteConnection};

use super::{Store, StoreError, writer::Work};

/// Larger than any walk that is worth keeping.
const LARGEST: usize = 8 << 20;

/// A write about walks.
#[derive(Debug)]
pub(super) enum WalkWork {
    Keep { question: String, at_ms: i64, document: Vec<u8> },
    Gone { question: String },
}

impl Store {
    /// Keeps how far a walk has come, in place of what was kept for the same question.
    ///
    /// # Errors
    /// When the store cannot be written; the walk then begins anew next time.
    pub async fn walk_keep(&self, question: &str, at: Timestamp, document: Vec<u8>) -> Result<(), StoreError> {
        if document.len() > LARGEST {
            return self.walk_gone(question).await;
        }
        let work = WalkWork::Keep { question: question.to_owned(), at_ms: at.as_millisecond(), document };
        self.ask(Work::Walk(work)).await.map(drop)
    }

    /// The walk is over, or will not be taken up again.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn walk_gone(&self, question: &str) -> Result<(), StoreError> {
        self.ask(Work::Walk(WalkWork::Gone { question: question.to_owned() })).await.map(drop)
    }

    /// How far a walk had come, and when.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn walk(&self, question: &str) -> Result<Option<(Timestamp, Vec<u8>)>, StoreError> {
        let query = sqlx::query("SELECT at_ms, document FROM walks WHERE question = $1").bind(question);
        let row = self.reading(query.fetch_optional(self.reader())).await?;
        Ok(row.map(|row| (Timestamp::from_millisecond(row.get(0)).unwrap_or(Timestamp::UNIX_EPOCH), row.get(1))))
    }
}

pub(super) async fn write(on: &mut SqliteConnection, work: &WalkWork) -> Result<bool, sqlx::Error> {
    let done = match work {
        WalkWork::Keep { question, at_ms, document } => {
            sqlx::query("INSERT OR REPLACE INTO walks (question, at_ms, document) VALUES ($1, $2, $3)")
                .bind(question)
                .bind(at_ms)
                .bind(document.as_slice())
                .execute(on)
                .await?
        }
        WalkWork::Gone { question } => {
            sqlx::query("DELETE FROM walks WHERE question = $1").bind(question).execute(on).await?
        }
    };
    Ok(done.rows_affected() > 0)
}
