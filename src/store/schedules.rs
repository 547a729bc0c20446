//! When each schedule was last taken up.

use jiff::Timestamp;
use sqlx::{Row as _, SqliteConnection};

use super::{Store, StoreError, writer::Work};

/// A write about schedules: this one was taken up then.
#[derive(Debug)]
pub(super) struct ScheduleWork {
    name: String,
    taken_ms: i64,
}

impl Store {
    /// Writes that a schedule was taken up, on the disk before it is carried out.
    ///
    /// # Errors
    /// When the store cannot be written; what cannot be written down is not done.
    pub async fn schedule_taken(&self, name: &str, at: Timestamp) -> Result<(), StoreError> {
        let work = ScheduleWork { name: name.to_owned(), taken_ms: at.as_millisecond() };
        self.ask(Work::Schedule(work)).await.map(drop)
    }

    /// When a schedule was last taken up; `None`: it is new here.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn schedule(&self, name: &str) -> Result<Option<Timestamp>, StoreError> {
        let query = sqlx::query("SELECT taken_ms FROM schedules WHERE name = $1").bind(name);
        let row = self.reading(query.fetch_optional(self.reader())).await?;
        Ok(row.map(|row| Timestamp::from_millisecond(row.get(0)).unwrap_or(Timestamp::UNIX_EPOCH)))
    }
}

pub(super) async fn write(on: &mut SqliteConnection, work: &ScheduleWork) -> Result<bool, sqlx::Error> {
    let query = sqlx::query("INSERT OR REPLACE INTO schedules (name, taken_ms) VALUES ($1, $2)");
    let done = query.bind(&work.name).bind(work.taken_ms).execute(on).await?;
    Ok(done.rows_affected() > 0)
}
