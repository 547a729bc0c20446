//! Files to commands, text to intents.
//!
//! `commands/*.toml` declares what people can type ([`Command`]); a line of
//! chat becomes an [`Intent`]; what a diagnostic saw becomes a card through
//! its [`CardSpec`]. This room reads no disk and asks no server: it takes
//! texts and values.

mod bind;
mod book;
mod built_in;
mod catalogue;
mod change;
mod clients;
mod command;
mod evidence;
mod file;
mod help;
mod language;
mod long;
mod look;
mod misunderstood;
mod parameters;
mod parse;
mod plan;
mod predicate;
#[cfg(test)]
mod properties;
mod render;
mod risk;
mod select;
mod spec;
mod values;
mod view;
mod words;

pub use bind::{bind, bind_touches};
pub use book::{
    Act, BOOK_VERSION, Back, Book, BookRun, BookStart, BookStep, Happened, How, Next, NotNow, Note, Or, Phase,
    Rehearsed, Slot, StepRun, StepState, TouchEnd, Verify, book_card, seen,
};
pub use built_in::built_in;
pub use catalogue::{Catalogue, Known};
pub use change::{Change, Deed, Kept, Remediation, Touch, TouchKind, TouchWord, Wanted};
pub use clients::{ClientFilter, ClientKind, spared};
pub use command::{
    ArgumentKind, ArgumentSpec, ArgumentValue, Arguments, Command, Cost, Diagnostic, Each, Intent, Kind, Step,
};
pub use evidence::{Evidence, Figures, Rendered};
pub use file::{book_schema, json_schema, parse_book, parse_file};
pub use help::{help_card, reference_markdown};
pub use language::Compiled;
pub use long::{Branch, LONG_ANSWER_VERSION, LongAnswer, Part};
pub use look::{BackupsLook, Look, Nodes, Survey};
pub use misunderstood::Misunderstood;
pub use parameters::{PARAMETERS, Parameter};
pub use parse::parse;
#[cfg(test)]
pub(crate) use plan::tests::sample as sample_plan;
pub use plan::{Asks, Covered, PLAN_VERSION, Plan, PlanStep, PlanTarget, Reach, Undo};
pub use predicate::{Answer, LARGEST_VALUE, NotAPredicate, Predicate};
pub use render::render;
pub use risk::Risk;
pub use select::{Keys, Retime, Select};
pub use spec::{
    ActionSpec, BarsSpec, CardSpec, CheckSpec, CodeSpec, ColumnSpec, FigureSpec, FindingSpec, SeriesSpec, TableSpec,
    TextSpec,
};

/// Bytes as cards show them: `812 MiB`.
pub fn show_bytes(count: u64) -> String {
    language::show::bytes(count as f64)
}

/// A count and what it counts: `1 key`, `12,400 keys`.
pub fn show_count(count: u64, one: &str) -> String {
    language::show::plural(count as f64, one, None)
}

/// `1 entry`, `12,400 entries`.
pub fn show_entries(count: u64) -> String {
    language::show::plural(count as f64, "entry", Some("entries"))
}

/// A count as cards show it: `12,400`.
pub fn show_number(count: u64) -> String {
    language::show::number(count as f64)
}
