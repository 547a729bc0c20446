//! What people and the bot said around plans: calls for consent, going on
//! alone, how bad it is, and stops of all changes. Every write is on the disk
//! before its caller hears of it.

use jiff::Timestamp;
use sqlx::{Row as _, SqliteConnection, sqlite::SqliteRow};

use super::{Store, StoreError, writer::Work};
use crate::{
    model::{PersonId, RunId, ServiceName, Severity},
    policy::{Broken, Freeze},
};

/// What approvers are told of a plan that waits, each once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// It expires soon.
    Reminded,
    /// Nobody has answered.
    Paged,
    /// Its own end waits, because all changes are stopped.
    EndWaits,
}

impl Call {
    fn word(self) -> &'static str {
        match self {
            Call::Reminded => "reminded",
            Call::Paged => "paged",
            Call::EndWaits => "end waits",
        }
    }
}

/// How bad somebody said it is with a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeverityRow {
    /// How bad; `None`: it is over.
    pub severity: Option<Severity>,
    /// Who said so.
    pub person: PersonId,
    /// Why, in their words, redacted.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

/// A write about words.
#[derive(Debug)]
pub(super) enum WordWork {
    Called { run: String, what: &'static str, at_ms: i64 },
    Uncalled { run: String, what: &'static str },
    Broke { run: String, person: String, digest: String, reason: String, declared: String, at_ms: i64 },
    Severity { service: String, severity: String, person: String, reason: String, at_ms: i64 },
    Freeze { service: String, person: String, reason: String, at_ms: i64 },
    Unfreeze { service: String },
}

impl Store {
    /// The approvers of a plan were called; `false` when they had been already.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn called(&self, run: &RunId, what: Call, now: Timestamp) -> Result<bool, StoreError> {
        let work = WordWork::Called { run: run.to_string(), what: what.word(), at_ms: now.as_millisecond() };
        self.ask(Work::Word(work)).await
    }

    /// What was told once may be told again.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn uncalled(&self, run: &RunId, what: Call) -> Result<bool, StoreError> {
        self.ask(Work::Word(WordWork::Uncalled { run: run.to_string(), what: what.word() })).await
    }

    /// When the approvers of a plan were called; `None`: not yet.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn call(&self, run: &RunId, what: Call) -> Result<Option<Timestamp>, StoreError> {
        let query =
            sqlx::query("SELECT at_ms FROM calls WHERE run = $1 AND what = $2").bind(run.as_str()).bind(what.word());
        let row = self.reading(query.fetch_optional(self.reader())).await?;
        Ok(row.and_then(|row| moment(&row, 0)))
    }

    /// Somebody goes on alone with a plan that is still pending; `false` when it no longer is, or somebody has already.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn glass_broken(&self, run: &RunId, broken: &Broken, now: Timestamp) -> Result<bool, StoreError> {
        let work = WordWork::Broke {
            run: run.to_string(),
            person: broken.person.to_string(),
            digest: broken.digest.clone(),
            reason: broken.reason.clone(),
            declared: broken.declared.clone(),
            at_ms: now.as_millisecond(),
        };
        self.ask(Work::Word(work)).await
    }

    /// Who went on alone with a plan, if somebody did.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn broken(&self, run: &RunId) -> Result<Option<Broken>, StoreError> {
        let query =
            sqlx::query("SELECT person, digest, reason, declared FROM breaks WHERE run = $1").bind(run.as_str());
        let row = self.reading(query.fetch_optional(self.reader())).await?;
        Ok(row.and_then(|row| {
            let person = row.get::<String, _>(0).parse().ok()?;
            Some(Broken { person, digest: row.get(1), reason: row.get(2), declared: row.get(3) })
        }))
    }

    /// Keeps how bad somebody says it is: beside those who say the same, in place of those who say otherwise.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn severity_set(&self, service: &ServiceName, said: &SeverityRow) -> Result<(), StoreError> {
        let work = WordWork::Severity {
            service: service.to_string(),
            severity: said.severity.map_or_else(|| "over".to_owned(), |severity| severity.to_string()),
            person: said.person.to_string(),
            reason: said.reason.clone(),
            at_ms: said.at.as_millisecond(),
        };
        self.ask(Work::Word(work)).await.map(drop)
    }

    /// How bad people say it is with a service, the last first: all who say the same as the last did.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn severities(&self, service: &ServiceName) -> Result<Vec<SeverityRow>, StoreError> {
        let query = sqlx::query(
            "SELECT severity, person, reason, at_ms FROM severities WHERE service = $1 ORDER BY at_ms DESC, person",
        )
        .bind(service.as_str());
        let rows = self.reading(query.fetch_all(self.reader())).await?;
        let read = |row: &SqliteRow| {
            Some(SeverityRow {
                severity: Severity::parse(row.get(0)),
                person: row.get::<String, _>(1).parse().ok()?,
                reason: row.get(2),
                at: moment(row, 3)?,
            })
        };
        Ok(rows.iter().filter_map(read).collect())
    }

    /// Stops all changes of a service, or of all; `false` when they were stopped already.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn freeze(&self, freeze: &Freeze) -> Result<bool, StoreError> {
        let work = WordWork::Freeze {
            service: key(freeze.service.as_ref()),
            person: freeze.person.to_string(),
            reason: freeze.reason.clone(),
            at_ms: freeze.at.as_millisecond(),
        };
        self.ask(Work::Word(work)).await
    }

    /// Lets the changes of a service go on, or of all; `false` when they were not stopped by that.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn unfreeze(&self, service: Option<&ServiceName>) -> Result<bool, StoreError> {
        self.ask(Work::Word(WordWork::Unfreeze { service: key(service) })).await
    }

    /// Every stop that holds, that of everything first.
    ///
    /// # Errors
    /// When the store cannot be read: nothing may be changed then.
    pub async fn freezes(&self) -> Result<Vec<Freeze>, StoreError> {
        let query = sqlx::query("SELECT service, person, reason, at_ms FROM freezes ORDER BY service");
        let rows = self.reading(query.fetch_all(self.reader())).await?;
        let read = |row: &SqliteRow| {
            let service: String = row.get(0);
            Some(Freeze {
                service: if service.is_empty() { None } else { Some(service.parse().ok()?) },
                person: row.get::<String, _>(1).parse().ok()?,
                reason: row.get(2),
                at: moment(row, 3)?,
            })
        };
        Ok(rows.iter().filter_map(read).collect())
    }
}

/// The empty name is no service's.
fn key(service: Option<&ServiceName>) -> String {
    service.map(ToString::to_string).unwrap_or_default()
}

fn moment(row: &SqliteRow, column: usize) -> Option<Timestamp> {
    Timestamp::from_millisecond(row.get(column)).ok()
}

/// Carries one write out, within the writer's transaction; `true` when it changed a row.
pub(super) async fn write(on: &mut SqliteConnection, work: &WordWork) -> Result<bool, sqlx::Error> {
    let query = match work {
        WordWork::Called { run, what, at_ms } => {
            sqlx::query("INSERT INTO calls (run, what, at_ms) VALUES ($1, $2, $3) ON CONFLICT (run, what) DO NOTHING")
                .bind(run)
                .bind(what)
                .bind(at_ms)
        }
        WordWork::Uncalled { run, what } => {
            sqlx::query("DELETE FROM calls WHERE run = $1 AND what = $2").bind(run).bind(what)
        }
        WordWork::Broke { run, person, digest, reason, declared, at_ms } => sqlx::query(
            "INSERT INTO breaks (run, person, digest, reason, declared, at_ms) SELECT $1, $2, $3, $4, $5, $6 \
             WHERE EXISTS (SELECT 1 FROM plans WHERE run = $1 AND state = 'pending') ON CONFLICT (run) DO NOTHING",
        )
        .bind(run)
        .bind(person)
        .bind(digest)
        .bind(reason)
        .bind(declared)
        .bind(at_ms),
        WordWork::Severity { service, severity, person, reason, at_ms } => {
            sqlx::query("DELETE FROM severities WHERE service = $1 AND severity <> $2")
                .bind(service)
                .bind(severity)
                .execute(&mut *on)
                .await?;
            sqlx::query(
                "INSERT INTO severities (service, severity, person, reason, at_ms) VALUES ($1, $2, $3, $4, $5) \
                 ON CONFLICT (service, person) DO UPDATE SET severity = excluded.severity, reason = excluded.reason, \
                 at_ms = excluded.at_ms",
            )
            .bind(service)
            .bind(severity)
            .bind(person)
            .bind(reason)
            .bind(at_ms)
        }
        WordWork::Freeze { service, person, reason, at_ms } => sqlx::query(
            "INSERT INTO freezes (service, person, reason, at_ms) VALUES ($1, $2, $3, $4) ON CONFLICT (service) DO NOTHING",
        )
        .bind(service)
        .bind(person)
        .bind(reason)
        .bind(at_ms),
        WordWork::Unfreeze { service } => sqlx::query("DELETE FROM freezes WHERE service = $1").bind(service),
    };
    Ok(query.execute(on).await?.rows_affected() > 0)
}
