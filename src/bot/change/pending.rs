//! What waits for consent, is queued, or runs, each by itself or all; what a run left aside; and what is stopped.

use jiff::Timestamp;

use super::{aside, bound, cards, close, consent::named, freeze};
use crate::{
    bot::{
        Hall,
        command::{Asked, plain_card},
    },
    model::{Align, Block, Card, Cell, Column, Level, Table, Text},
    store::{AsideRow, Outcome, PlanRow, PlanState},
};

/// The plan of a run that is named; else the changes that wait, are queued or run.
pub(in crate::bot) async fn pending(hall: &Hall, asked: &Asked<'_>, run: Option<&str>) -> (Card, Outcome) {
    match run {
        Some(run) => one(hall, asked, run).await,
        None => (all(hall).await, Outcome::Answered),
    }
}

/// A plan as it was shown where it was made, how it stands, and who has consented: its message may be far up, or in
/// another channel.
async fn one(hall: &Hall, asked: &Asked<'_>, run: &str) -> (Card, Outcome) {
    let row = match named(hall, run.trim()).await {
        Ok(row) => row,
        Err(said) => return said,
    };
    let PlanRow { plan, place, state, .. } = &row;
    let policy = &asked.rules.policy;
    let waits = *state == PlanState::Pending && !plan.expired(Timestamp::now());
    let Some((command, service, _)) = bound(asked.rules, plan) else {
        let what = format!("{}. Its command, service or instance is no longer configured.", plan.what());
        return (plain_card("a plan", what, None), Outcome::Answered);
    };
    let votes = match hall.store.consents(&plan.run).await {
        Ok(votes) => votes,
        Err(error) => return (cards::unwritten(&error), Outcome::Failed),
    };
    let context = vec![format!("asked by {}", policy.name_of(&plan.requester)), service.environment.to_string()];
    let shown = if waits { cards::Shown::ToBeDone } else { cards::Shown::DryRun };
    let mut card = cards::plan(asked.rules, command, plan, service, place, context, shown);
    if !waits {
        card.actions.clear();
        let stands = match state {
            PlanState::Pending => "It expired without enough consent. Nothing was changed.".to_owned(),
            state => format!("It is {}.", state.word()),
        };
        card.verdict = Some(Text::plain(format!("{stands} The plan was: {}.", plan.what())));
    }
    // What went on under a runbook's consent, or by broken glass, has none of its own.
    if plan.risk.consents() > 0 && (waits || !votes.is_empty()) {
        let names: Vec<&str> = votes.iter().map(|vote| policy.name_of(&vote.person)).collect();
        let so_far = match names.is_empty() {
            true => "Nobody has consented to it.".to_owned(),
            false => format!("Consent so far: {} of {}: {}.", names.len(), plan.risk.consents(), names.join(", ")),
        };
        card.blocks.insert(0, Block::Text(Text::plain(so_far)));
    }
    (card, Outcome::Answered)
}

/// The changes that wait, are queued or run, those that have waited too long closed.
async fn all(hall: &Hall) -> Card {
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
