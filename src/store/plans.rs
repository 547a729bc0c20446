//! Plans that wait, run or have run, and the consents to them. Every write is
//! on the disk before its caller hears of it.

use jiff::Timestamp;
use sqlx::{Row as _, SqliteConnection, sqlite::SqliteRow};

use super::{Owed, Store, StoreError, owed, writer::Work};
use crate::{
    model::{MessageRef, PersonId, Place, RunId},
    policy::Vote,
    runbook::Plan,
};

/// How far a plan has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlanState {
    /// It waits for consent.
    Pending,
    /// Consent is there; what was shown is being checked once more. Nothing has been changed.
    Claimed,
    /// Something may have been changed.
    Running,
    /// Changed and verified.
    Done,
    /// It failed; nothing was changed, or the note says what was.
    Failed,
    /// It will not run: expired, drifted, or cut short before anything was changed.
    Void,
    /// Somebody said no.
    Declined,
    /// Nobody knows whether it was done.
    Uncertain,
}

impl PlanState {
    const ALL: [PlanState; 8] = [
        PlanState::Pending,
        PlanState::Claimed,
        PlanState::Running,
        PlanState::Done,
        PlanState::Failed,
        PlanState::Void,
        PlanState::Declined,
        PlanState::Uncertain,
    ];

    /// Its word, in the table and for people.
    pub fn word(self) -> &'static str {
        match self {
            PlanState::Pending => "pending",
            PlanState::Claimed => "claimed",
            PlanState::Running => "running",
            PlanState::Done => "done",
            PlanState::Failed => "failed",
            PlanState::Void => "void",
            PlanState::Declined => "declined",
            PlanState::Uncertain => "uncertain",
        }
    }
}

/// A plan as it stands in the store.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanRow {
    /// The plan.
    pub plan: Plan,
    /// Where it was asked for.
    pub place: Place,
    /// The message that shows it; `None` when it was never shown.
    pub message: Option<MessageRef>,
    /// How far it has come.
    pub state: PlanState,
}

/// A write about plans.
#[derive(Debug)]
pub(super) enum PlanWork {
    Add { run: String, document: String, place: String, made_ms: i64, expires_ms: i64 },
    Shown { run: String, message: String, id: String },
    Move { run: String, from: PlanState, to: PlanState, note: Option<String> },
    End { run: String, from: PlanState, to: PlanState, note: String, owed: Option<Box<Owed>>, now: Timestamp },
    Consent { run: String, person: String, digest: String, typed: Option<String>, at_ms: i64 },
    Revoke { run: String, person: String },
}

impl Store {
    /// Keeps a new plan, pending, before it is shown to anybody.
    ///
    /// # Errors
    /// When the store cannot be written: nothing may be changed then.
    pub async fn plan_add(&self, plan: &Plan, place: &Place) -> Result<(), StoreError> {
        let work = PlanWork::Add {
            run: plan.run.to_string(),
            document: json(plan),
            place: json(place),
            made_ms: plan.made_ms,
            expires_ms: plan.expires_ms,
        };
        self.ask(Work::Plan(work)).await.map(drop)
    }

    /// The plan stands in this message.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn plan_shown(&self, run: &RunId, message: &MessageRef) -> Result<(), StoreError> {
        let work = PlanWork::Shown { run: run.to_string(), message: json(message), id: message.id.clone() };
        self.ask(Work::Plan(work)).await.map(drop)
    }

    /// Moves a plan on, if it is where the caller believes it to be: of
    /// several who try, one gets `true`.
    ///
    /// # Errors
    /// When the store cannot be written: nothing may be changed then.
    pub async fn plan_move(
        &self,
        run: &RunId,
        from: PlanState,
        to: PlanState,
        note: Option<&str>,
    ) -> Result<bool, StoreError> {
        let work = PlanWork::Move { run: run.to_string(), from, to, note: note.map(str::to_owned) };
        self.ask(Work::Plan(work)).await
    }

    /// Ends a plan, if it is where the caller believes it to be, and owes what is said of it in the same
    /// transaction: whoever ends it and dies before saying so has left the saying to the next process.
    ///
    /// # Errors
    /// When the store cannot be written: the plan is where it was, and nothing is owed.
    pub async fn plan_end(
        &self,
        run: &RunId,
        from: PlanState,
        to: PlanState,
        note: &str,
        owed: Option<Owed>,
    ) -> Result<bool, StoreError> {
        let (run, note, owed) = (run.to_string(), note.to_owned(), owed.map(Box::new));
        self.ask(Work::Plan(PlanWork::End { run, from, to, note, owed, now: Timestamp::now() })).await
    }

    /// Keeps a person's consent to a plan that is still pending; `false` when it no longer is.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn consent_add(&self, run: &RunId, vote: &Vote, now: Timestamp) -> Result<bool, StoreError> {
        let work = PlanWork::Consent {
            run: run.to_string(),
            person: vote.person.to_string(),
            digest: vote.digest.clone(),
            typed: vote.typed.clone(),
            at_ms: now.as_millisecond(),
        };
        self.ask(Work::Plan(work)).await
    }

    /// Takes a person's consent back; `false` when there was none, or the run has begun.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn consent_revoke(&self, run: &RunId, person: &PersonId) -> Result<bool, StoreError> {
        self.ask(Work::Plan(PlanWork::Revoke { run: run.to_string(), person: person.to_string() })).await
    }

    /// The consents to a plan.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn consents(&self, run: &RunId) -> Result<Vec<Vote>, StoreError> {
        let query =
            sqlx::query("SELECT person, digest, typed FROM consents WHERE run = $1 ORDER BY at_ms").bind(run.as_str());
        let rows = self.reading(query.fetch_all(self.reader())).await?;
        Ok(rows
            .iter()
            .filter_map(|row| {
                let person = row.get::<String, _>(0).parse().ok()?;
                Some(Vote { person, digest: row.get(1), typed: row.get(2) })
            })
            .collect())
    }

    /// The plan of a run.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn plan(&self, run: &RunId) -> Result<Option<PlanRow>, StoreError> {
        let query = sqlx::query("SELECT document, place, message, state FROM plans WHERE run = $1").bind(run.as_str());
        Ok(self.reading(query.fetch_optional(self.reader())).await?.as_ref().and_then(read))
    }

    /// The plan a message shows, whatever became of it.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn plan_in(&self, message: &MessageRef) -> Result<Option<PlanRow>, StoreError> {
        let query =
            sqlx::query("SELECT document, place, message, state FROM plans WHERE message_id = $1").bind(&message.id);
        let rows = self.reading(query.fetch_all(self.reader())).await?;
        let same = |place: &Place| {
            let Place { platform, team, channel, .. } = &message.place;
            (platform, team, channel) == (&place.platform, &place.team, &place.channel)
        };
        Ok(rows.iter().filter_map(read).rfind(|row| row.message.as_ref().is_some_and(|shown| same(&shown.place))))
    }

    /// Every plan in that state, oldest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn plans(&self, state: PlanState) -> Result<Vec<PlanRow>, StoreError> {
        let query =
            sqlx::query("SELECT document, place, message, state FROM plans WHERE state = $1 ORDER BY made_ms, run")
                .bind(state.word());
        Ok(self.reading(query.fetch_all(self.reader())).await?.iter().filter_map(read).collect())
    }
}

fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("plans, places and references are JSON")
}

/// A row this version cannot read is no plan it could carry out.
pub(super) fn read(row: &SqliteRow) -> Option<PlanRow> {
    let word: String = row.get(3);
    Some(PlanRow {
        plan: serde_json::from_str(row.get(0)).ok()?,
        place: serde_json::from_str(row.get(1)).ok()?,
        message: row.get::<Option<String>, _>(2).and_then(|text| serde_json::from_str(&text).ok()),
        state: PlanState::ALL.into_iter().find(|state| state.word() == word)?,
    })
}

/// Carries one write out, within the writer's transaction; `true` when it changed a row.
pub(super) async fn write(on: &mut SqliteConnection, work: &PlanWork) -> Result<bool, sqlx::Error> {
    let query = match work {
        PlanWork::Add { run, document, place, made_ms, expires_ms } => sqlx::query(
            "INSERT INTO plans (run, document, place, state, made_ms, expires_ms) VALUES ($1, $2, $3, 'pending', $4, $5)",
        )
        .bind(run)
        .bind(document)
        .bind(place)
        .bind(made_ms)
        .bind(expires_ms),
        PlanWork::Shown { run, message, id } => {
            sqlx::query("UPDATE plans SET message = $2, message_id = $3 WHERE run = $1").bind(run).bind(message).bind(id)
        }
        PlanWork::Move { run, from, to, note } => {
            sqlx::query("UPDATE plans SET state = $3, note = $4 WHERE run = $1 AND state = $2")
                .bind(run)
                .bind(from.word())
                .bind(to.word())
                .bind(note)
        }
        PlanWork::End { run, from, to, note, owed, now } => {
            let ended = sqlx::query("UPDATE plans SET state = $3, note = $4 WHERE run = $1 AND state = $2")
                .bind(run)
                .bind(from.word())
                .bind(to.word())
                .bind(note)
                .execute(&mut *on)
                .await?
                .rows_affected()
                > 0;
            if ended && let Some(owed) = owed {
                owed::owe(on, owed, *now).await?;
            }
            return Ok(ended);
        }
        PlanWork::Consent { run, person, digest, typed, at_ms } => sqlx::query(
            "INSERT INTO consents (run, person, digest, at_ms, typed) SELECT $1, $2, $3, $4, $5 \
             WHERE EXISTS (SELECT 1 FROM plans WHERE run = $1 AND state = 'pending') \
             ON CONFLICT (run, person) DO UPDATE SET digest = excluded.digest, at_ms = excluded.at_ms, \
             typed = excluded.typed",
        )
        .bind(run)
        .bind(person)
        .bind(digest)
        .bind(at_ms)
        .bind(typed),
        PlanWork::Revoke { run, person } => sqlx::query(
            "DELETE FROM consents WHERE run = $1 AND person = $2 \
             AND EXISTS (SELECT 1 FROM plans WHERE run = $1 AND state IN ('pending', 'claimed'))",
        )
        .bind(run)
        .bind(person),
    };
    Ok(query.execute(on).await?.rows_affected() > 0)
}
