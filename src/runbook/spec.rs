//! What a command file says of its card.
//!
//! `value`, `when` and `rows` are CEL over the evidence; texts are minijinja
//! templates over the same. Names in scope: each step's `id` (its merged
//! value; absent when it failed), `nodes.ID` (a list of `{address, role, ok,
//! value, error, took_ms}`), `failed.ID` (`{code, what, cause, next}`), `args`,
//! `service`, `instance`, `figures.NAME` (figures already worked out, in
//! order), `last.NAME` and `healthy.NAME` (the same figures at the last look,
//! and when it was last healthy), `now` (Unix seconds).

use crate::model::{Align, Level};

/// A card to be.
#[derive(Debug, Clone, Default)]
pub struct CardSpec {
    /// Said when nothing is wrong; a template.
    pub healthy: Option<String>,
    /// Figures, in order.
    pub figures: Vec<FigureSpec>,
    /// Findings, ranked by level when shown.
    pub findings: Vec<FindingSpec>,
    /// What has to hold, in order.
    pub checks: Vec<CheckSpec>,
    /// Paragraphs.
    pub texts: Vec<TextSpec>,
    /// Tables.
    pub tables: Vec<TableSpec>,
    /// Bar charts.
    pub bars: Vec<BarsSpec>,
    /// Figures over time, from the store.
    pub series: Vec<SeriesSpec>,
    /// Monospaced text.
    pub code: Vec<CodeSpec>,
    /// Buttons.
    pub actions: Vec<ActionSpec>,
    /// Take the findings of `Look::Command` steps into this card, ranked.
    pub gather: bool,
}

/// A named number or text on the card.
#[derive(Debug, Clone)]
pub struct FigureSpec {
    /// The name it is judged, remembered and charted by.
    pub name: String,
    /// The label on the card; `None`: worked out but not shown.
    pub label: Option<String>,
    /// CEL giving a number (or text, or nothing).
    pub value: String,
    /// Template; sees `value` too. `None`: the value as it is.
    pub show: Option<String>,
    /// The threshold of the profile that judges it.
    pub judge: Option<String>,
    /// CEL; the figure is left out when false.
    pub when: Option<String>,
    /// Shown in place of a value that could not be worked out; `None`: why it could not.
    pub otherwise: Option<String>,
    /// Remembered, so that the next look can say what changed.
    pub remember: bool,
}

/// A line of a checklist: done where it holds, failed where it does not, and
/// passed over where it cannot be told.
#[derive(Debug, Clone)]
pub struct CheckSpec {
    /// Template: what has to be so.
    pub what: String,
    /// CEL.
    pub holds: String,
    /// CEL; it is checked only where this holds.
    pub when: Option<String>,
    /// Template: said where it does not hold or cannot be checked.
    pub otherwise: Option<String>,
}

/// Something that may be found.
#[derive(Debug, Clone)]
pub struct FindingSpec {
    /// CEL.
    pub when: String,
    /// How bad it is.
    pub level: Level,
    /// Template: what was found.
    pub what: String,
    /// Template: the numbers that show it.
    pub evidence: Option<String>,
    /// Template: what to do next.
    pub next: Option<String>,
}

/// A paragraph.
#[derive(Debug, Clone)]
pub struct TextSpec {
    /// CEL.
    pub when: Option<String>,
    /// Template.
    pub text: String,
}

/// A table.
#[derive(Debug, Clone)]
pub struct TableSpec {
    /// Its title; a template.
    pub title: Option<String>,
    /// CEL giving a list; each element is `row` in the cells' templates.
    pub rows: String,
    /// Columns.
    pub columns: Vec<ColumnSpec>,
    /// At most this many rows; the card says how many there were.
    pub limit: usize,
    /// Said when there are none; a template.
    pub empty: Option<String>,
    /// CEL.
    pub when: Option<String>,
}

/// A column of a table.
#[derive(Debug, Clone)]
pub struct ColumnSpec {
    /// Heading.
    pub title: String,
    /// Template; sees `row`.
    pub cell: String,
    /// Numbers stand right.
    pub align: Align,
    /// CEL giving a number that `judge` judges; sees `row`.
    pub value: Option<String>,
    /// The threshold that judges it.
    pub judge: Option<String>,
}

/// A bar chart.
#[derive(Debug, Clone)]
pub struct BarsSpec {
    /// Title; a template.
    pub title: String,
    /// CEL giving a list; each element is `row`.
    pub rows: String,
    /// Template.
    pub label: String,
    /// CEL giving a number.
    pub value: String,
    /// Template.
    pub show: String,
    /// At most this many bars.
    pub limit: usize,
    /// CEL.
    pub when: Option<String>,
}

/// A figure over time.
#[derive(Debug, Clone)]
pub struct SeriesSpec {
    /// The remembered figure.
    pub figure: String,
    /// Title.
    pub title: String,
    /// Unit.
    pub unit: String,
}

/// Monospaced text.
#[derive(Debug, Clone)]
pub struct CodeSpec {
    /// CEL.
    pub when: Option<String>,
    /// Template.
    pub text: String,
}

/// A button.
#[derive(Debug, Clone)]
pub struct ActionSpec {
    /// What stands on it; a template.
    pub label: String,
    /// The command it types; a template.
    pub command: String,
    /// CEL.
    pub when: Option<String>,
}
