//! What can be typed.

use super::{Catalogue, Known};
use crate::model::Card;

/// Help: everything this person may run here, or one command.
pub fn help_card(_known: &Known, _topic: Option<&str>) -> Card {
    Card { title: "help".to_owned(), ..Card::default() }
}

/// The reference of all commands, as Markdown.
pub fn reference_markdown(catalogue: &Catalogue) -> String {
    catalogue.all().map(|command| format!("## {}\n\n{}\n", command.name, command.summary)).collect()
}
