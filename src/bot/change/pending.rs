//! What waits for consent, is queued, or runs; what a run left aside; and what is stopped.

use jiff::Timestamp;

use super::{aside, cards, close, freeze};
use crate::{
    bot::Hall,
    model::{Align, Block, Card, Cell, Column, Level, Table, Text},
    store::{AsideRow, PlanRow, PlanState},
};

/// The changes that wait, are queued or run, those that have waited too long closed.
pub(in crate::bot) async fn pending(hall: &Hall) -> Card {
    let mut shown: Vec<(PlanRow, String)> = Vec::new();
    for state in [PlanState::Running, PlanState::Claimed, PlanState::Pending] {
        let rows = match hall.store.plans(state).await {
            Ok(rows) => rows,
            Err(error) => return cards::unwritten(&error),
        };
        for row in rows {
            // What an earlier process left under way does not go on: it is settled, and told of, by itself.
            if state != PlanState::Pending && !hall.touching.is_ours(&row.plan.run) {
                continue;
            }
            let how = match state {
                PlanState::Running => "running".to_owned(),
                PlanState::Claimed if hall.touching.of(&row.plan).holder().as_ref() == Some(&row.plan.run) => {
                    "looked at once more, about to run".to_owned()
                }
                PlanState::Claimed => "queued, has consent".to_owned(),
                _ if row.plan.expired(Timestamp::now()) => {
                    close(hall, &row, PlanState::Void, "It expired without enough consent. Nothing was changed.").await;
                    continue;
                }
                _ => format!("waits for consent until {}", cards::until(&row.plan)),
            };
            shown.push((row, how));
        }
    }
    let asides = match hall.store.asides().await {
        Ok(asides) => asides,
        Err(error) => return cards::unwritten(&error),
    };
    let hidden = !asides.is_empty();
    shown.extend(asides.into_iter().map(|AsideRow { row, left, .. }| (row, aside::shown(&left))));
    let freezes = freeze::shown(hall).await;
    let cell = |text: String| Cell { text, level: None };
    let column = |title: &str| Column { title: title.to_owned(), align: Align::Left };
    let table = Block::Table(Table {
        title: None,
        columns: ["run", "change", "asked by", "risk", "state"].map(column).into(),
        total: Some(shown.len() as u64),
        rows: shown
            .iter()
            .map(|(PlanRow { plan, .. }, how)| {
                vec![
                    cell(plan.run.to_string()),
                    cell(plan.what()),
                    cell(plan.requester.to_string()),
                    cell(plan.risk.word().to_owned()),
                    cell(how.clone()),
                ]
            })
            .collect(),
        empty: Some("Nothing waits for consent, is queued or runs.".to_owned()),
    });
    Card {
        title: "changes under way".to_owned(),
        level: (hidden || !freezes.is_empty()).then_some(Level::Warn),
        blocks: freezes.into_iter().map(|freeze| Block::Text(Text::plain(freeze))).chain([table]).collect(),
        ..Card::default()
    }
}
