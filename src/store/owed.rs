//! What was decided and is not delivered yet: rows, so that an answer
//! outlives a platform that is away and a bot that died in between.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::{Row as _, SqliteConnection};

use super::{Store, StoreError, writer::Work};
use crate::{
    chart::Series,
    model::{CARD_VERSION, Card, Identity, MessageRef, Place},
};

/// One delivery that is owed.
#[derive(Debug, Clone, PartialEq)]
pub struct Owed {
    /// Stable: owed again under the same key, it replaces what has not been
    /// delivered yet. Once delivered, an edit may be owed anew; a saying or a
    /// reaction is ignored.
    pub key: String,
    /// What is owed.
    pub what: OwedWhat,
    /// Not before this.
    pub due: Timestamp,
}

/// What can be owed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OwedWhat {
    /// A card to say.
    Say {
        /// Where.
        place: Place,
        /// What.
        card: Card,
        /// To this account alone; `None`: to everybody there.
        only: Option<Identity>,
    },
    /// What a message is to say from now on.
    Edit {
        /// The message.
        message: MessageRef,
        /// What.
        card: Card,
    },
    /// The same of a message that all may read: where it is gone, the card is said anew in its place.
    Last {
        /// The message.
        message: MessageRef,
        /// What.
        card: Card,
    },
    /// A reaction of the bot's own.
    React {
        /// The message.
        message: MessageRef,
        /// The emoji.
        emoji: String,
        /// Add it, or take it back.
        add: bool,
    },
    /// A file beside an answer.
    Attach {
        /// Where.
        place: Place,
        /// To this account alone; `None`: to everybody there.
        only: Option<Identity>,
        /// What.
        file: Attachment,
    },
}

/// A file, by what it is made of: a picture is drawn when it is sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attachment {
    /// A text.
    Text {
        /// The file's name.
        name: String,
        /// What it says, as it may be shown.
        text: String,
    },
    /// A figure over time, as a picture.
    Chart(Series),
}

impl OwedWhat {
    /// Deliveries of one channel are made in order; one that waits holds those behind it.
    /// Reactions and files have lanes of their own: no answer waits for a courtesy.
    pub fn lane(&self) -> String {
        let (place, apart) = match self {
            Self::Say { place, .. } => (place, ""),
            // A file that is not taken holds up no answer.
            Self::Attach { place, .. } => (place, "#files"),
            Self::Edit { message, .. } | Self::Last { message, .. } => (&message.place, ""),
            Self::React { message, .. } => (&message.place, "#reactions"),
        };
        format!("{}:{}/{}{apart}", place.platform, place.team, place.channel)
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Say { .. } => "say",
            Self::Edit { .. } | Self::Last { .. } => "edit",
            Self::React { .. } => "react",
            Self::Attach { .. } => "attach",
        }
    }
}

/// A delivery to make now.
#[derive(Debug, Clone, PartialEq)]
pub struct Due {
    /// Its stable key.
    pub key: String,
    /// What is owed.
    pub what: OwedWhat,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was decided.
    pub made: Timestamp,
    /// It was being delivered and nobody wrote down what became of it: the process ended in between.
    pub sending: bool,
    /// Counts replacements, so that one made during the delivery is not taken for delivered.
    revision: i64,
}

impl Store {
    /// Owes a delivery, fully synced. `false`: that key was delivered already, so nothing is owed.
    ///
    /// # Errors
    /// When the store cannot be written: deliver now or not at all.
    pub async fn owed_add(&self, owed: Owed) -> Result<bool, StoreError> {
        self.ask(Work::Owe(Box::new(owed), Timestamp::now())).await
    }

    /// What is due, in the order it was decided, at most `limit` of each channel:
    /// one that owes thousands must not hide another's one. A delivery that
    /// waits for a later moment holds back those behind it in its channel.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn owed_due(&self, now: Timestamp, limit: u32) -> Result<Vec<Due>, StoreError> {
        let query = sqlx::query(
            "SELECT key, document, attempts, made_ms, revision, sending_ms FROM (\
             SELECT *, ROW_NUMBER() OVER (PARTITION BY lane ORDER BY id) AS place FROM owed o \
             WHERE done_ms IS NULL AND due_ms <= $1 \
             AND NOT EXISTS (SELECT 1 FROM owed e WHERE e.lane = o.lane AND e.id < o.id \
             AND e.done_ms IS NULL AND e.due_ms > $1)) WHERE place <= $2 ORDER BY id",
        )
        .bind(now.as_millisecond())
        .bind(i64::from(limit));
        let rows = self.reading(query.fetch_all(self.reader())).await?;
        // A document of a newer version is left for the version that wrote it.
        Ok(rows
            .iter()
            .filter_map(|row| {
                Some(Due {
                    key: row.get(0),
                    what: serde_json::from_str(row.get(1)).ok()?,
                    attempts: row.get::<i64, _>(2).try_into().unwrap_or(u32::MAX),
                    made: Timestamp::from_millisecond(row.get(3)).unwrap_or(Timestamp::UNIX_EPOCH),
                    revision: row.get(4),
                    sending: row.get::<Option<i64>, _>(5).is_some(),
                })
            })
            .collect())
    }

    /// When the earliest undelivered row is due; `None`: nothing is owed.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn owed_next(&self) -> Result<Option<Timestamp>, StoreError> {
        let query = sqlx::query("SELECT MIN(due_ms) FROM owed WHERE done_ms IS NULL");
        let row = self.reading(query.fetch_one(self.reader())).await?;
        Ok(row.get::<Option<i64>, _>(0).and_then(|ms| Timestamp::from_millisecond(ms).ok()))
    }

    /// It was delivered, as this message where there is one. What replaced it
    /// in the meantime stays owed, as an edit of that message. `false`: it was
    /// not owed any more.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn owed_done(&self, due: &Due, message: Option<&MessageRef>) -> Result<bool, StoreError> {
        let (key, message) = (due.key.clone(), message.cloned());
        self.ask(Work::OwedDone { key, revision: due.revision, message, now: Timestamp::now() }).await
    }

    /// It is about to be delivered where it could not be found again: after a crash in between it is not repeated.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn owed_sending(&self, key: &str) -> Result<bool, StoreError> {
        self.ask(Work::OwedSending { key: key.to_owned(), now: Timestamp::now() }).await
    }

    /// Is something owed under this key, or was it delivered?
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn owed_knows(&self, key: &str) -> Result<bool, StoreError> {
        let query = sqlx::query("SELECT 1 FROM owed WHERE key = $1").bind(key);
        Ok(self.reading(query.fetch_optional(self.reader())).await?.is_some())
    }

    /// It was not delivered; try again at `retry_at`. `trouble` is kept for whoever asks why it is late.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn owed_failed(&self, key: &str, retry_at: Timestamp, trouble: &str) -> Result<bool, StoreError> {
        self.ask(Work::OwedFailed { key: key.to_owned(), retry_at, trouble: trouble.to_owned() }).await
    }

    /// It will never be delivered: the place is gone.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn owed_gone(&self, key: &str, why: &str) -> Result<bool, StoreError> {
        self.ask(Work::OwedGone { key: key.to_owned(), why: why.to_owned(), now: Timestamp::now() }).await
    }

    /// What was put down before it was said has been said at once, so it is owed no longer.
    ///
    /// # Errors
    /// When the store cannot be written: it is said again later.
    pub async fn owed_kept(&self, key: &str) -> Result<bool, StoreError> {
        self.ask(Work::OwedKept { key: key.to_owned(), now: Timestamp::now() }).await
    }

    /// What was put down before `then`, to be said by somebody who is no longer there, is due now.
    ///
    /// # Errors
    /// When the store cannot be written: it is said when its time has come.
    pub async fn owed_hasten(&self, then: Timestamp) -> Result<bool, StoreError> {
        self.ask(Work::OwedHasten(then)).await
    }

    /// The message a delivered saying became, so that it can be edited after a restart.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn owed_message(&self, key: &str) -> Result<Option<MessageRef>, StoreError> {
        let query = sqlx::query("SELECT message FROM owed WHERE key = $1").bind(key);
        let row = self.reading(query.fetch_optional(self.reader())).await?;
        Ok(row.and_then(|row| row.get::<Option<String>, _>(0)).and_then(|text| serde_json::from_str(&text).ok()))
    }
}

/// Owes, within the writer's transaction.
pub(super) async fn owe(on: &mut SqliteConnection, owed: &Owed, now: Timestamp) -> Result<bool, sqlx::Error> {
    let document = serde_json::to_string(&owed.what).expect("cards and references are JSON");
    let done = sqlx::query(
        "INSERT INTO owed (key, lane, kind, version, revision, document, made_ms, due_ms, attempts) \
         VALUES ($1, $2, $3, $4, 1, $5, $6, $7, 0) \
         ON CONFLICT (key) DO UPDATE SET document = excluded.document, kind = excluded.kind, \
         version = excluded.version, revision = owed.revision + 1, \
         due_ms = CASE WHEN owed.done_ms IS NULL THEN owed.due_ms ELSE excluded.due_ms END, done_ms = NULL \
         WHERE owed.done_ms IS NULL OR excluded.kind = 'edit'",
    )
    .bind(owed.key.as_str())
    .bind(owed.what.lane())
    .bind(owed.what.kind())
    .bind(i64::from(CARD_VERSION))
    .bind(document)
    .bind(now.as_millisecond())
    .bind(owed.due.as_millisecond())
    .execute(on)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Marks as delivered, within the writer's transaction.
pub(super) async fn done(
    on: &mut SqliteConnection,
    key: &str,
    revision: i64,
    message: Option<&MessageRef>,
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    let reference = message.map(|message| serde_json::to_string(message).expect("a message's reference is JSON"));
    let done = sqlx::query(
        "UPDATE owed SET done_ms = $3, message = $4, attempts = attempts + 1 \
         WHERE key = $1 AND revision = $2 AND done_ms IS NULL",
    )
    .bind(key)
    .bind(revision)
    .bind(now.as_millisecond())
    .bind(reference.as_deref())
    .execute(&mut *on)
    .await?;
    if done.rows_affected() > 0 {
        return Ok(true);
    }
    // Replaced while it was on its way: what replaced it is still owed, as an edit if a saying became a message.
    let Some(message) = message else { return Ok(false) };
    let newer = sqlx::query("SELECT document FROM owed WHERE key = $1 AND done_ms IS NULL")
        .bind(key)
        .fetch_optional(&mut *on)
        .await?
        .and_then(|row| serde_json::from_str(row.get(0)).ok());
    let Some(OwedWhat::Say { card, .. }) = newer else { return Ok(false) };
    let edit = OwedWhat::Edit { message: message.clone(), card };
    let document = serde_json::to_string(&edit).expect("cards and references are JSON");
    sqlx::query("UPDATE owed SET kind = $2, document = $3, message = $4 WHERE key = $1")
        .bind(key)
        .bind(edit.kind())
        .bind(document)
        .bind(reference)
        .execute(on)
        .await?;
    Ok(true)
}

/// Gives up, within the writer's transaction.
pub(super) async fn gone(on: &mut SqliteConnection, key: &str, why: &str, now: Timestamp) -> Result<bool, sqlx::Error> {
    let done = sqlx::query("UPDATE owed SET done_ms = $2, trouble = $3 WHERE key = $1 AND done_ms IS NULL")
        .bind(key)
        .bind(now.as_millisecond())
        .bind(why)
        .execute(on)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// Marks as being delivered, within the writer's transaction.
pub(super) async fn sending(on: &mut SqliteConnection, key: &str, now: Timestamp) -> Result<bool, sqlx::Error> {
    let done = sqlx::query("UPDATE owed SET sending_ms = $2 WHERE key = $1 AND done_ms IS NULL")
        .bind(key)
        .bind(now.as_millisecond())
        .execute(on)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// Brings forward what an earlier process put down and never tried to deliver, within the writer's transaction.
pub(super) async fn hasten(on: &mut SqliteConnection, then: Timestamp) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "UPDATE owed SET due_ms = $1 WHERE done_ms IS NULL AND attempts = 0 AND made_ms < $1 AND due_ms > $1",
    )
    .bind(then.as_millisecond())
    .execute(on)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Takes off what was said at once, within the writer's transaction.
pub(super) async fn kept(on: &mut SqliteConnection, key: &str, now: Timestamp) -> Result<bool, sqlx::Error> {
    let done = sqlx::query("UPDATE owed SET done_ms = $2, attempts = attempts + 1 WHERE key = $1 AND done_ms IS NULL")
        .bind(key)
        .bind(now.as_millisecond())
        .execute(on)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// Puts off, within the writer's transaction.
pub(super) async fn failed(
    on: &mut SqliteConnection,
    key: &str,
    retry_at: Timestamp,
    trouble: &str,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "UPDATE owed SET due_ms = $2, trouble = $3, sending_ms = NULL, attempts = attempts + 1 WHERE key = $1 AND done_ms IS NULL",
    )
    .bind(key)
    .bind(retry_at.as_millisecond())
    .bind(trouble)
    .execute(on)
    .await?;
    Ok(done.rows_affected() > 0)
}
