//! What the bot says, free of any platform. Each gateway renders it.
//!
//! A card holds *text*, never markup: what stands in a `String` here is shown
//! as it is, and each gateway escapes it. Emphasis and mentions come from the
//! structure. That is why text from Redis, keys, alerts or people cannot
//! mention anybody or break a message's formatting.

use serde::{Deserialize, Serialize};

use super::{Level, PersonId};

/// The version written beside a card that is stored whole.
pub const CARD_VERSION: u32 = 1;

/// One message.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Card {
    /// What it is about: `status · prospectflow`.
    pub title: String,
    /// The judgement; `None` where nothing is judged (help, `whoami`).
    pub level: Option<Level>,
    /// The one line to read at 3 a.m.: healthy or not, and why.
    pub verdict: Option<Text>,
    /// No wrong target: environment, role, address and run id of what was looked at.
    pub context: Vec<String>,
    /// The body, in reading order.
    pub blocks: Vec<Block>,
    /// Sensible next commands, as buttons.
    pub actions: Vec<Action>,
    /// Small print: run id, time taken, what could not be looked at.
    pub footer: Option<String>,
}

/// A line made of spans.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Text(pub Vec<Span>);

/// A piece of a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Span {
    /// Shown as it is.
    Plain(String),
    /// Emphasised.
    Strong(String),
    /// Monospaced: a command, a key, a value.
    Code(String),
    /// A person, told on platforms that can.
    Mention(PersonId),
}

impl Text {
    /// A line of one plain span.
    pub fn plain(text: impl Into<String>) -> Self {
        Self(vec![Span::Plain(text.into())])
    }

    /// Reads the house's own small notation, used in compiled-in texts and
    /// command files: `` `code` `` and `*strong*`. Only for text written by the
    /// team; text from outside goes through [`Text::plain`].
    pub fn notation(text: &str) -> Self {
        let mut spans = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(start) = rest.find(['`', '*']) {
            let mark = rest.as_bytes()[start] as char;
            let Some(length) = rest[start + 1..].find(mark).filter(|&n| n > 0) else {
                plain.push_str(&rest[..=start]);
                rest = &rest[start + 1..];
                continue;
            };
            plain.push_str(&rest[..start]);
            if !plain.is_empty() {
                spans.push(Span::Plain(std::mem::take(&mut plain)));
            }
            let inner = rest[start + 1..start + 1 + length].to_owned();
            spans.push(if mark == '`' { Span::Code(inner) } else { Span::Strong(inner) });
            rest = &rest[start + length + 2..];
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            spans.push(Span::Plain(plain));
        }
        Self(spans)
    }

    /// The line without its emphasis; mentions as `@person`.
    pub fn to_plain(&self) -> String {
        self.0
            .iter()
            .map(|span| match span {
                Span::Plain(text) | Span::Strong(text) | Span::Code(text) => text.clone(),
                Span::Mention(person) => format!("@{person}"),
            })
            .collect()
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::plain(text)
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self::plain(text)
    }
}

/// A part of a card's body.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Block {
    /// A paragraph.
    Text(Text),
    /// A heading over what follows.
    Heading(String),
    /// Label and value pairs, each judged.
    Fields(Vec<Field>),
    /// Rows and columns that line up.
    Table(Table),
    /// What was found, worst first, each with what to do.
    Findings(Vec<Finding>),
    /// Monospaced text as it came: an INFO section, JSON, log lines. Already redacted.
    Code(String),
    /// Horizontal bars: bytes by prefix, a TTL histogram.
    Bars {
        /// What is measured.
        title: String,
        /// The bars, in order.
        bars: Vec<Bar>,
    },
    /// A figure over time, drawn as a sparkline in text and as a picture where a platform can.
    Series(crate::chart::Series),
    /// How far a long run has come.
    Progress(Progress),
    /// A checklist (S21's, a runbook's steps).
    Checklist(Vec<(Tick, Text)>),
}

/// One label and value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// `Memory`
    pub label: String,
    /// `812 MiB of 1.00 GiB (79 %)`
    pub value: String,
    /// How the service's thresholds judge it; `None` where nothing judges it.
    pub level: Option<Level>,
    /// What a reader may not know: the threshold, what changed since the last look.
    pub hint: Option<String>,
}

/// Rows and columns.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Table {
    /// What the rows are.
    pub title: Option<String>,
    /// The columns.
    pub columns: Vec<Column>,
    /// Each row has one cell a column.
    pub rows: Vec<Vec<Cell>>,
    /// Said in place of a table without rows.
    pub empty: Option<String>,
    /// How many rows there were before the table was cut, when it was.
    pub total: Option<u64>,
}

/// A column's heading.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// The heading.
    pub title: String,
    /// Numbers stand right.
    pub align: Align,
}

/// Where a cell's text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Align {
    /// Text.
    #[default]
    Left,
    /// Numbers.
    Right,
}

/// One cell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// What it says.
    pub text: String,
    /// How it is judged, if it is.
    pub level: Option<Level>,
}

/// Something found: what, the evidence, and the command that acts on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What was found, in one sentence.
    pub what: Text,
    /// The numbers that show it.
    pub evidence: Option<String>,
    /// What to do next, usually a command to type.
    pub next: Option<Text>,
}

/// One bar of a bar chart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bar {
    /// What it stands for.
    pub label: String,
    /// Its length, in the chart's unit.
    pub value: f64,
    /// The value as a person reads it.
    pub shown: String,
}

/// How far a run has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// What is being done now.
    pub doing: String,
    /// Done so far, in `unit`.
    pub done: u64,
    /// All there is, when known.
    pub total: Option<u64>,
    /// What is counted: `keys`, `samples`, `steps`.
    pub unit: String,
    /// Per second.
    pub rate: Option<f64>,
    /// Seconds left, when it can be told.
    pub left_s: Option<f64>,
}

/// The state of a checklist line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tick {
    /// Done and holds.
    Done,
    /// Tried and does not hold.
    Failed,
    /// Not yet.
    Open,
    /// Cannot be checked from here, said in the line.
    Skipped,
}

/// A button.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// What stands on it, at most 75 characters.
    pub label: String,
    /// The command it types for whoever presses it, run under their own rights: `memory prospectflow`.
    pub command: String,
    /// How it looks.
    pub style: ActionStyle,
}

/// How a button looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActionStyle {
    /// A next look.
    #[default]
    Plain,
    /// The expected next step.
    Primary,
    /// Changes something.
    Danger,
    /// One of several of a kind: a menu where a platform has them.
    Choice,
    /// What the reader types goes behind the command: a line to fill in where a platform has them.
    Ask,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notation_marks_code_and_strong_and_leaves_stray_marks_alone() {
        let text = Text::notation("run `/redis memory` *now*, 5 * 3");
        assert_eq!(
            text.0,
            vec![
                Span::Plain("run ".into()),
                Span::Code("/redis memory".into()),
                Span::Plain(" ".into()),
                Span::Strong("now".into()),
                Span::Plain(", 5 * 3".into()),
            ]
        );
        assert_eq!(text.to_plain(), "run /redis memory now, 5 * 3");
    }
}
