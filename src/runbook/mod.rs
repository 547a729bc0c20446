//! Files to commands, text to intents.
//!
//! `commands/*.toml` declares what people can type ([`Command`]); a line of
//! chat becomes an [`Intent`]; what a diagnostic saw becomes a card through
//! its [`CardSpec`]. This room reads no disk and asks no server: it takes
//! texts and values.

mod command;
mod look;
mod spec;

pub use command::{
    ArgumentKind, ArgumentSpec, ArgumentValue, Arguments, Command, Cost, Diagnostic, Intent, Kind, Step,
};
pub use look::{Look, Nodes};
pub use spec::{
    ActionSpec, BarsSpec, CardSpec, CodeSpec, ColumnSpec, FigureSpec, FindingSpec, SeriesSpec, TableSpec, TextSpec,
};
