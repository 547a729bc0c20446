//! No wrong target: the next command is about the instance the card is about.
//!
//! Files name the service alone, and a service's bare name is the first of its
//! instances. So what a card offers to press or to type is made to name its own.

use crate::{
    model::{Block, Card, Span, Text},
    runbook::{Evidence, words},
};

pub(super) fn keep(card: &mut Card, evidence: &Evidence) {
    let (service, place) = (evidence.service.name.as_str(), evidence.service.named(&evidence.instance));
    if place == service {
        return;
    }
    for action in &mut card.actions {
        action.command = words::about(&action.command, service, &place);
    }
    let spans = texts(card).flat_map(|text| &mut text.0);
    for span in spans {
        if let Span::Code(code) = span {
            *code = words::shown_about(code, service, &place);
        }
    }
}

/// Every text of a card that may hold a line to type.
fn texts(card: &mut Card) -> impl Iterator<Item = &mut Text> {
    let in_blocks = card.blocks.iter_mut().flat_map(|block| -> Vec<&mut Text> {
        match block {
            Block::Text(text) => vec![text],
            Block::Findings(found) => {
                found.iter_mut().flat_map(|found| std::iter::once(&mut found.what).chain(&mut found.next)).collect()
            }
            Block::Checklist(lines) => lines.iter_mut().map(|(_, text)| text).collect(),
            _ => Vec::new(),
        }
    });
    card.verdict.iter_mut().chain(in_blocks)
}
