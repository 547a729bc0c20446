//! A line nobody could make a command of.

use crate::model::{Action, ActionStyle, Block, Card, Text};

/// What was wrong with a line, why, and what to type instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Misunderstood {
    /// What was wrong, in one sentence.
    pub what: String,
    /// Why that does not work, where it is not plain.
    pub why: Option<String>,
    /// The nearest line that would work, without `/redis`.
    pub suggestion: Option<String>,
    /// A line that works, without `/redis`.
    pub example: String,
}

impl Misunderstood {
    /// The answer to whoever typed it.
    pub fn card(&self) -> Card {
        let mut blocks = Vec::new();
        if let Some(why) = &self.why {
            blocks.push(Block::Text(Text::plain(why.clone())));
        }
        blocks.push(Block::Text(Text(vec![
            crate::model::Span::Plain("For example: ".to_owned()),
            crate::model::Span::Code(format!("/redis {}", self.example)),
        ])));
        Card {
            title: "I did not understand that".to_owned(),
            verdict: Some(Text::plain(self.what.clone())),
            blocks,
            actions: self
                .suggestion
                .iter()
                .map(|line| Action {
                    label: line.chars().take(75).collect(),
                    command: line.clone(),
                    style: ActionStyle::Primary,
                })
                .collect(),
            ..Card::default()
        }
    }
}
