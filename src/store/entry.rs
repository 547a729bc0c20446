//! One row of the journal: who ran what, where, with which result.

use std::{fmt, time::Duration};

use jiff::Timestamp;
use sqlx::{Row as _, sqlite::SqliteRow};

use super::chain::Mac;
use crate::model::{Identity, InstanceName, Level, PersonId, Place, RunId, ServiceName};

/// What is journalled of one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When it was asked.
    pub at: Timestamp,
    /// The run.
    pub run: RunId,
    /// The account that asked.
    pub identity: Identity,
    /// The person behind it; `None` is a stranger.
    pub person: Option<PersonId>,
    /// Where.
    pub place: Place,
    /// The line as it was understood, redacted: no key beyond its prefix, no value.
    pub line: String,
    /// The command's name; empty when the line was not understood.
    pub command: String,
    /// The service it was bound to.
    pub service: Option<ServiceName>,
    /// The instance it was bound to.
    pub instance: Option<InstanceName>,
    /// How it ended.
    pub outcome: Outcome,
    /// The rule that refused it, or what failed. Redacted.
    pub why: Option<String>,
    /// The verdict of the card.
    pub level: Option<Level>,
    /// From being asked to being answered.
    pub took: Duration,
    /// Values were shown in clear.
    pub reveal: bool,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// With a card, whatever its verdict.
    Answered,
    /// Policy refused it.
    Denied,
    /// A limit refused it for now.
    Limited,
    /// The line was not a command.
    Misunderstood,
    /// The asker, or the end of the bot, stopped it.
    Cancelled,
    /// Its deadline passed; what was known by then was said.
    TimedOut,
    /// It failed, and that was said.
    Failed,
    /// It has begun, beside the bot; a second row of the same run says how it ended.
    Begun,
}

impl Outcome {
    /// The word the journal holds.
    pub fn word(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Denied => "denied",
            Self::Limited => "limited",
            Self::Misunderstood => "misunderstood",
            Self::Cancelled => "cancelled",
            Self::TimedOut => "timed-out",
            Self::Failed => "failed",
            Self::Begun => "begun",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// A row as it stands in the journal, for reading and for the chain. Words,
/// not types: a row written by an older version stays readable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalRow {
    /// Its place in the chain, from 1, without gaps.
    pub seq: u64,
    /// Unix milliseconds.
    pub at_ms: i64,
    /// `command`, or `gap`: the journal could not be written for a while, and `why` says how long and how much was lost.
    pub kind: String,
    /// The run.
    pub run: String,
    /// The platform.
    pub platform: String,
    /// The workspace.
    pub team: String,
    /// The account's id there.
    pub account: String,
    /// The person.
    pub person: Option<String>,
    /// The channel.
    pub channel: String,
    /// The thread.
    pub thread: Option<String>,
    /// The redacted line.
    pub line: String,
    /// The command.
    pub command: String,
    /// The service.
    pub service: Option<String>,
    /// The instance.
    pub instance: Option<String>,
    /// [`Outcome::word`].
    pub outcome: String,
    /// The refusing rule, or what failed.
    pub why: Option<String>,
    /// The verdict, in lower case.
    pub level: Option<String>,
    /// Milliseconds.
    pub took_ms: i64,
    /// Values were shown in clear.
    pub reveal: bool,
}

/// One field, as the chain sees it.
pub(super) enum Part<'a> {
    Text(&'a str),
    Nothing,
    Number(i64),
}

impl JournalRow {
    /// The row of an entry; `seq` is given by the writer.
    pub(super) fn of(entry: Entry) -> Self {
        Self {
            seq: 0,
            at_ms: entry.at.as_millisecond(),
            kind: "command".to_owned(),
            run: entry.run.as_str().to_owned(),
            platform: entry.identity.platform.to_string(),
            team: entry.identity.team,
            account: entry.identity.user,
            person: entry.person.map(String::from),
            channel: entry.place.channel,
            thread: entry.place.thread,
            line: entry.line,
            command: entry.command,
            service: entry.service.map(String::from),
            instance: entry.instance.map(String::from),
            outcome: entry.outcome.word().to_owned(),
            why: entry.why,
            level: entry.level.map(|level| level_word(level).to_owned()),
            took_ms: i64::try_from(entry.took.as_millis()).unwrap_or(i64::MAX),
            reveal: entry.reveal,
        }
    }

    /// The row that says that rows are missing because the disk was, between two moments.
    pub(super) fn gap(since: Timestamp, now: Timestamp, lost: u64) -> Self {
        Self {
            seq: 0,
            at_ms: now.as_millisecond(),
            kind: "gap".to_owned(),
            run: String::new(),
            platform: "bot".to_owned(),
            team: String::new(),
            account: String::new(),
            person: None,
            channel: String::new(),
            thread: None,
            line: String::new(),
            command: String::new(),
            service: None,
            instance: None,
            outcome: "unjournalled".to_owned(),
            why: Some(format!("the journal could not be written since {since}; {lost} rows were lost")),
            level: None,
            took_ms: (now.as_millisecond() - since.as_millisecond()).max(0),
            reveal: false,
        }
    }

    /// Every column but the mac, in the table's order. The chain covers exactly these.
    pub(super) fn parts(&self) -> [Part<'_>; 19] {
        fn text(text: &str) -> Part<'_> {
            Part::Text(text)
        }
        fn maybe(text: &Option<String>) -> Part<'_> {
            text.as_deref().map_or(Part::Nothing, Part::Text)
        }
        [
            Part::Number(self.seq as i64),
            Part::Number(self.at_ms),
            text(&self.kind),
            text(&self.run),
            text(&self.platform),
            text(&self.team),
            text(&self.account),
            maybe(&self.person),
            text(&self.channel),
            maybe(&self.thread),
            text(&self.line),
            text(&self.command),
            maybe(&self.service),
            maybe(&self.instance),
            text(&self.outcome),
            maybe(&self.why),
            maybe(&self.level),
            Part::Number(self.took_ms),
            Part::Number(i64::from(self.reveal)),
        ]
    }

    /// Reads a row of `SELECT * FROM journal`, in the table's order.
    pub(super) fn read(row: &SqliteRow) -> Result<(Self, Mac), sqlx::Error> {
        let seq: i64 = row.try_get(0)?;
        let reveal: i64 = row.try_get(18)?;
        let mac: Vec<u8> = row.try_get(19)?;
        let entry = Self {
            seq: seq as u64,
            at_ms: row.try_get(1)?,
            kind: row.try_get(2)?,
            run: row.try_get(3)?,
            platform: row.try_get(4)?,
            team: row.try_get(5)?,
            account: row.try_get(6)?,
            person: row.try_get(7)?,
            channel: row.try_get(8)?,
            thread: row.try_get(9)?,
            line: row.try_get(10)?,
            command: row.try_get(11)?,
            service: row.try_get(12)?,
            instance: row.try_get(13)?,
            outcome: row.try_get(14)?,
            why: row.try_get(15)?,
            level: row.try_get(16)?,
            took_ms: row.try_get(17)?,
            reveal: reveal != 0,
        };
        // A mac of another length is no mac of ours: it fails to verify, as it should.
        Ok((entry, mac.try_into().unwrap_or([0; 32])))
    }
}

fn level_word(level: Level) -> &'static str {
    match level {
        Level::Ok => "ok",
        Level::Note => "note",
        Level::Unknown => "unknown",
        Level::Warn => "warn",
        Level::Crit => "crit",
    }
}
