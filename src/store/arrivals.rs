//! Events a platform was told are taken, until they have been handled.
//!
//! A platform does not send again what was acknowledged, so what a crash cut
//! off is found here at the next start. A row is there for as long as a command
//! takes; it holds what was typed, without tokens and response URLs.

use jiff::Timestamp;
use sqlx::{Row as _, SqliteConnection};

use super::{Store, StoreError, writer::Work};
use crate::model::Platform;

/// An event that was taken and is not handled yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArrivalRow {
    /// The platform's id of it, as [`Store::first_time`] knows it.
    pub event: String,
    /// The platform.
    pub platform: Platform,
    /// Its kind, in the gateway's words.
    pub kind: String,
    /// What it says, in the gateway's words.
    pub document: String,
    /// When it came.
    pub at: Timestamp,
    /// How many starts have taken it up.
    pub taken_up: u32,
    /// What it is answered with, to one person alone, may have been said.
    pub saying: bool,
}

/// A write about arrivals.
#[derive(Debug)]
pub(super) enum ArrivalWork {
    Keep(Box<ArrivalRow>),
    TakenUp(String),
    Saying(String),
    Done(String),
}

impl Store {
    /// Keeps an event until it has been handled. One that was begun before is not kept again.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn arrival_keep(&self, row: ArrivalRow) -> Result<(), StoreError> {
        self.ask(Work::Arrival(ArrivalWork::Keep(Box::new(row)))).await.map(drop)
    }

    /// A start takes it up.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn arrival_taken_up(&self, event: &str) -> Result<(), StoreError> {
        self.ask(Work::Arrival(ArrivalWork::TakenUp(event.to_owned()))).await.map(drop)
    }

    /// Its answer is about to be said where it could not be found again.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn arrival_saying(&self, event: &str) -> Result<(), StoreError> {
        self.ask(Work::Arrival(ArrivalWork::Saying(event.to_owned()))).await.map(drop)
    }

    /// It has been handled.
    ///
    /// # Errors
    /// When the store cannot be written: the next start takes it up, and finds that it was begun.
    pub async fn arrival_done(&self, event: &str) -> Result<(), StoreError> {
        self.ask(Work::Arrival(ArrivalWork::Done(event.to_owned()))).await.map(drop)
    }

    /// Is it there, not handled yet?
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn arrival_waits(&self, event: &str) -> Result<bool, StoreError> {
        let query = sqlx::query("SELECT 1 FROM arrivals WHERE event = $1").bind(event);
        Ok(self.reading(query.fetch_optional(self.reader())).await?.is_some())
    }

    /// What a platform sent and nobody has handled, in the order it came.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn arrivals(&self, platform: Platform) -> Result<Vec<ArrivalRow>, StoreError> {
        let query = sqlx::query(
            "SELECT event, kind, document, at_ms, taken_up, saying FROM arrivals WHERE platform = $1 ORDER BY rowid",
        )
        .bind(platform.to_string());
        let rows = self.reading(query.fetch_all(self.reader())).await?;
        Ok(rows
            .iter()
            .map(|row| ArrivalRow {
                event: row.get(0),
                platform,
                kind: row.get(1),
                document: row.get(2),
                at: Timestamp::from_millisecond(row.get(3)).unwrap_or(Timestamp::UNIX_EPOCH),
                taken_up: row.get::<i64, _>(4).try_into().unwrap_or(u32::MAX),
                saying: row.get::<i64, _>(5) != 0,
            })
            .collect())
    }
}

/// Writes, within the writer's transaction.
pub(super) async fn write(on: &mut SqliteConnection, work: &ArrivalWork) -> Result<bool, sqlx::Error> {
    let query = match work {
        ArrivalWork::Keep(row) => sqlx::query(
            "INSERT INTO arrivals (event, platform, kind, document, at_ms, taken_up, saying) \
             SELECT $1, $2, $3, $4, $5, 0, 0 WHERE NOT EXISTS (SELECT 1 FROM seen WHERE event = $1) \
             ON CONFLICT (event) DO NOTHING",
        )
        .bind(row.event.as_str())
        .bind(row.platform.to_string())
        .bind(row.kind.as_str())
        .bind(row.document.as_str())
        .bind(row.at.as_millisecond()),
        ArrivalWork::TakenUp(event) => {
            sqlx::query("UPDATE arrivals SET taken_up = taken_up + 1 WHERE event = $1").bind(event.as_str())
        }
        ArrivalWork::Saying(event) => {
            sqlx::query("UPDATE arrivals SET saying = 1 WHERE event = $1").bind(event.as_str())
        }
        ArrivalWork::Done(event) => sqlx::query("DELETE FROM arrivals WHERE event = $1").bind(event.as_str()),
    };
    Ok(query.execute(on).await?.rows_affected() > 0)
}
