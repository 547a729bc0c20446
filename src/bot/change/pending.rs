//! What waits for consent.

use jiff::Timestamp;

use super::{cards, close};
use crate::{
    bot::Hall,
    model::{Align, Block, Card, Cell, Column, Table},
    store::PlanState,
};

/// The plans that wait, those that have waited too long closed.
pub(in crate::bot) async fn pending(hall: &Hall) -> Card {
    let rows = match hall.store.plans(PlanState::Pending).await {
        Ok(rows) => rows,
        Err(error) => return cards::unwritten(&error),
    };
    let mut waiting = Vec::new();
    for row in rows {
        if row.plan.expired(Timestamp::now()) {
            close(hall, &row, PlanState::Void, "It expired without enough consent. Nothing was changed.").await;
        } else {
            waiting.push(row.plan);
        }
    }
    let cell = |text: String| Cell { text, level: None };
    let column = |title: &str| Column { title: title.to_owned(), align: Align::Left };
    Card {
        title: "waiting for consent".to_owned(),
        blocks: vec![Block::Table(Table {
            title: None,
            columns: ["run", "change", "asked by", "risk", "until"].map(column).into(),
            total: Some(waiting.len() as u64),
            rows: waiting
                .iter()
                .map(|plan| {
                    vec![
                        cell(plan.run.to_string()),
                        cell(plan.what()),
                        cell(plan.requester.to_string()),
                        cell(plan.risk.word().to_owned()),
                        cell(cards::until(plan)),
                    ]
                })
                .collect(),
            empty: Some("Nothing waits for consent.".to_owned()),
        })],
        ..Card::default()
    }
}
