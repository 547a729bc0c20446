//! A runbook's question: put once, awaited by its plan's row, and with it the
//! changes it covers, planned when it is asked so that people see what they agree to.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Desk, look::errand, now_ms, touch, wait};
use crate::{
    bot::{Hall, Rules, change, command::Asked},
    model::{MessageRef, Place, RunId},
    runbook::{BookRun, Covered, Happened, Kind},
    store::{PlanRow, PlanState},
};

/// Asks unless it was asked already, and waits for the answer. `None`: the bot stops.
pub(super) async fn agree(
    hall: &Arc<Hall>,
    rules: &Rules,
    desk: &Desk,
    run: &BookRun,
    step: usize,
    id: &RunId,
) -> Option<Happened> {
    let no = |said: String| Some(Happened::Approved { step, by: None, yes: false, said: Some(said) });
    let mut left = true;
    loop {
        match hall.store.plan(id).await {
            Ok(Some(row)) => {
                if let Some(end) = answered(hall, rules, &row, step).await {
                    return Some(end);
                }
                // Words that were given right before the bot ended.
                if row.state == PlanState::Pending && std::mem::take(&mut left) {
                    change::settle_if_enough(hall, &row).await;
                    continue;
                }
            }
            Ok(None) if hall.stopping.is_cancelled() => return None,
            Ok(None) if desk.run().await.is_ending() => return no("nobody was asked: it was aborted".to_owned()),
            Ok(None) => {
                left = false;
                let covers = ahead(hall, rules, run, step).await;
                let card = desk.message.as_ref();
                if let Err(why) = change::ask(hall, rules, change::Question { run, step, id, covers, card }).await {
                    return no(why);
                }
                continue;
            }
            Err(error) => tracing::warn!(%error, %id, "a question's row could not be read"),
        }
        if desk.run().await.is_ending() {
            touch::withdraw(hall, id, "The runbook that asked was aborted.").await;
        }
        if !wait(hall, desk, Some(touch::PACE)).await {
            return None;
        }
    }
}

/// The changes after a step, as they would be planned now. What cannot be planned yet asks for itself when it comes.
async fn ahead(hall: &Arc<Hall>, rules: &Rules, run: &BookRun, step: usize) -> Vec<Covered> {
    let Some(service) = rules.services.get(&run.service) else { return Vec::new() };
    let place = Place { via: None, ..run.place.clone() };
    let mut covers = Vec::new();
    for (at, line) in run.ahead(step, service, now_ms()) {
        let Ok(intent) = errand(run).intent(rules, &line) else { continue };
        let command = intent.command.clone();
        let Kind::Remediation(remediation) = &command.kind else { continue };
        let (actor, id) = (errand(run).actor(), run.touch_plan(at));
        let asked = Asked { rules, actor: &actor, place: &place, run: &id, since: Instant::now() };
        match change::preview(hall, &asked, &intent, remediation, run.watched_after(at)).await {
            Ok(plan) => covers.push(Covered { step: at, line, plan }),
            Err(why) => tracing::debug!(run = %run.run, step = at, %why, "a change cannot be planned ahead"),
        }
    }
    covers
}

/// What became of a question, if it is over.
async fn answered(hall: &Hall, rules: &Rules, row: &PlanRow, step: usize) -> Option<Happened> {
    let no = |said: &str| Some(Happened::Approved { step, by: None, yes: false, said: Some(said.to_owned()) });
    let id = &row.plan.run;
    match row.state {
        PlanState::Pending if row.plan.expired(jiff::Timestamp::now()) => {
            touch::withdraw(hall, id, "It expired without enough consent.").await;
            no("nobody whose word counts gave it in time")
        }
        PlanState::Pending | PlanState::Claimed | PlanState::Running => None,
        PlanState::Done => {
            let broken = hall.store.broken(id).await.ok().flatten();
            let votes = hall.store.consents(id).await.unwrap_or_default();
            let mut names: Vec<&str> = votes.iter().map(|vote| rules.policy.name_of(&vote.person)).collect();
            names.dedup();
            let (by, said) = match (broken, names.len()) {
                (Some(broken), _) => {
                    (Some(broken.person.clone()), Some(format!("glass was broken ({})", broken.declared)))
                }
                (None, 0 | 1) => (votes.last().map(|vote| vote.person.clone()), None),
                (None, _) => (votes.last().map(|vote| vote.person.clone()), Some(format!("by {}", names.join(", ")))),
            };
            Some(Happened::Approved { step, by, yes: true, said })
        }
        PlanState::Declined => no("it was declined"),
        PlanState::Void | PlanState::Failed | PlanState::Uncertain => no("the word was not given, as its card says"),
    }
}

/// Waits a moment for a question to stand there: whoever answers the runbook's card at once is heard too.
pub(super) async fn stands(hall: &Hall, id: &RunId) {
    for _ in 0..50 {
        match hall.store.plan(id).await {
            Ok(Some(row)) if row.message.is_some() || row.state != PlanState::Pending => return,
            Ok(_) => tokio::time::sleep(touch::PACE).await,
            Err(_) => return,
        }
    }
}

/// What a run whose card this is asks now.
pub(in crate::bot) async fn asked_in(hall: &Hall, message: &MessageRef) -> Option<RunId> {
    let same = |own: &MessageRef| {
        let place = |place: &Place| (place.platform, place.team.clone(), place.channel.clone());
        own.id == message.id && place(&own.place) == place(&message.place)
    };
    hall.books.whole().await;
    let desk = hall.books.all().into_iter().find(|desk| desk.message.as_ref().is_some_and(same))?;
    let (_, id) = desk.run().await.asked()?;
    stands(hall, &id).await;
    Some(id)
}
