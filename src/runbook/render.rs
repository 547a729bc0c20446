//! Evidence to cards.

use super::{Command, Evidence, Rendered};
use crate::model::{Card, Level};

/// The card of a command. Never fails: a broken template or a missing value is said on the card.
pub fn render(command: &Command, evidence: &Evidence) -> Rendered {
    let card = Card {
        title: format!("{} · {}", command.name, evidence.service.name),
        level: Some(Level::Ok),
        context: evidence.context.clone(),
        ..Card::default()
    };
    Rendered { card, level: Level::Ok, figures: Default::default() }
}
