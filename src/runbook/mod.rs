//! Files to commands, text to intents.
//!
//! `commands/*.toml` declares what people can type ([`Command`]); a line of
//! chat becomes an [`Intent`]; what a diagnostic saw becomes a card through
//! its [`CardSpec`]. This room reads no disk and asks no server: it takes
//! texts and values.

mod bind;
mod built_in;
mod catalogue;
mod change;
mod command;
mod evidence;
mod file;
mod help;
mod language;
mod look;
mod misunderstood;
mod parameters;
mod parse;
#[cfg(test)]
mod properties;
mod render;
mod spec;
mod values;
mod view;
mod words;

pub use bind::bind;
pub use built_in::built_in;
pub use catalogue::{Catalogue, Known};
pub use change::{Change, PLAN_VERSION, Plan, Remediation, Risk, Touch};
pub use command::{
    ArgumentKind, ArgumentSpec, ArgumentValue, Arguments, Command, Cost, Diagnostic, Each, Intent, Kind, Step,
};
pub use evidence::{Evidence, Figures, Rendered};
pub use file::{json_schema, parse_file};
pub use help::{help_card, reference_markdown};
pub use language::Compiled;
pub use look::{Look, Nodes, Survey};
pub use misunderstood::Misunderstood;
pub use parameters::{PARAMETERS, Parameter};
pub use parse::parse;
pub use render::render;
pub use spec::{
    ActionSpec, BarsSpec, CardSpec, CodeSpec, ColumnSpec, FigureSpec, FindingSpec, SeriesSpec, TableSpec, TextSpec,
};
