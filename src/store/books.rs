//! Runbooks under way. Every write is on the disk before its caller hears of
//! it: a step that was in flight at a crash is known to have been.

use sqlx::{Row as _, SqliteConnection, sqlite::SqliteRow};

use super::{Store, StoreError, writer::Work};
use crate::{
    model::{MessageRef, RunId},
    runbook::{BOOK_VERSION, BookRun},
};

/// A runbook's run as it stands in the store.
#[derive(Debug, Clone, PartialEq)]
pub struct BookRow {
    /// The run.
    pub run: BookRun,
    /// The message that shows it; `None` when it was never shown.
    pub message: Option<MessageRef>,
    /// Its end was told.
    pub closed: bool,
}

/// A write about runbooks.
#[derive(Debug)]
pub(super) enum BookWork {
    Add { run: String, command: String, service: String, instance: String, document: String, begun_ms: i64 },
    Put { run: String, document: String },
    Shown { run: String, message: String },
    Close { run: String, document: String, at_ms: i64 },
}

impl Store {
    /// Keeps a new run, before anything of it is done.
    ///
    /// # Errors
    /// When the store cannot be written: it may not begin then.
    pub async fn book_add(&self, run: &BookRun) -> Result<(), StoreError> {
        let work = BookWork::Add {
            run: run.run.to_string(),
            command: run.command.clone(),
            service: run.service.to_string(),
            instance: run.instance.to_string(),
            document: json(run),
            begun_ms: run.begun_ms,
        };
        self.ask(Work::Book(work)).await.map(drop)
    }

    /// Keeps how far a run has come.
    ///
    /// # Errors
    /// When the store cannot be written: the next step may not be taken then.
    pub async fn book_put(&self, run: &BookRun) -> Result<(), StoreError> {
        let work = BookWork::Put { run: run.run.to_string(), document: json(run) };
        self.ask(Work::Book(work)).await.map(drop)
    }

    /// The run stands in this message.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn book_shown(&self, run: &RunId, message: &MessageRef) -> Result<(), StoreError> {
        let work = BookWork::Shown { run: run.to_string(), message: json(message) };
        self.ask(Work::Book(work)).await.map(drop)
    }

    /// The run is over, and its end was told or is owed.
    ///
    /// # Errors
    /// When the store cannot be written; its end is then told again after a restart.
    pub async fn book_close(&self, run: &BookRun, at_ms: i64) -> Result<(), StoreError> {
        let work = BookWork::Close { run: run.run.to_string(), document: json(run), at_ms };
        self.ask(Work::Book(work)).await.map(drop)
    }

    /// A run.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn book(&self, run: &RunId) -> Result<Option<BookRow>, StoreError> {
        let query = sqlx::query("SELECT document, message, closed_ms FROM books WHERE run = $1").bind(run.as_str());
        Ok(self.reading(query.fetch_optional(self.reader())).await?.as_ref().and_then(read))
    }

    /// Every run whose end was not told, oldest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn books(&self) -> Result<Vec<BookRow>, StoreError> {
        let query = sqlx::query(
            "SELECT document, message, closed_ms FROM books WHERE closed_ms IS NULL ORDER BY begun_ms, run",
        );
        Ok(self.reading(query.fetch_all(self.reader())).await?.iter().filter_map(read).collect())
    }
}

fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("runs and references are JSON")
}

/// A row of a newer version is left for the version that wrote it.
fn read(row: &SqliteRow) -> Option<BookRow> {
    let run: BookRun = serde_json::from_str(row.get(0)).ok()?;
    (run.version == BOOK_VERSION).then(|| BookRow {
        run,
        message: row.get::<Option<String>, _>(1).and_then(|text| serde_json::from_str(&text).ok()),
        closed: row.get::<Option<i64>, _>(2).is_some(),
    })
}

/// Carries one write out, within the writer's transaction; `true` when it changed a row.
pub(super) async fn write(on: &mut SqliteConnection, work: &BookWork) -> Result<bool, sqlx::Error> {
    let query = match work {
        BookWork::Add { run, command, service, instance, document, begun_ms } => sqlx::query(
            "INSERT INTO books (run, command, service, instance, document, begun_ms) VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(run)
        .bind(command)
        .bind(service)
        .bind(instance)
        .bind(document)
        .bind(begun_ms),
        BookWork::Put { run, document } => {
            sqlx::query("UPDATE books SET document = $2 WHERE run = $1 AND closed_ms IS NULL").bind(run).bind(document)
        }
        BookWork::Shown { run, message } => {
            sqlx::query("UPDATE books SET message = $2 WHERE run = $1").bind(run).bind(message)
        }
        BookWork::Close { run, document, at_ms } => {
            sqlx::query("UPDATE books SET document = $2, closed_ms = $3 WHERE run = $1 AND closed_ms IS NULL")
                .bind(run)
                .bind(document)
                .bind(at_ms)
        }
    };
    Ok(query.execute(on).await?.rows_affected() > 0)
}
