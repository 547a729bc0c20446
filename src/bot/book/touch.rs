//! A runbook's touch: a remediation, proposed as if whoever began the run had
//! typed its line, and awaited by its plan's row.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{Desk, look::errand, wait};
use crate::{
    bot::{
        Hall, Rules,
        change::{self, Cover, Under},
        command::{self, Asked, plain_card},
        deliver::{self, Answer},
    },
    chat::Audience,
    model::{Place, RunId},
    runbook::{BookRun, Kind, Slot, TouchEnd},
    store::{Outcome, OwedWhat, PlanRow, PlanState},
};

/// How often a plan's row is looked at when nobody says that it moved.
pub(super) const PACE: Duration = Duration::from_millis(300);

/// A change that is wanted.
pub(super) struct Wanted<'a> {
    /// Whose it is.
    pub(super) slot: Slot,
    /// What is typed.
    pub(super) line: &'a str,
    /// Its plan's id.
    pub(super) plan: &'a RunId,
}

/// Proposes a change unless its plan exists already, and waits for its end. `None`: the bot stops.
pub(super) async fn touch(
    hall: &Arc<Hall>,
    rules: &Rules,
    desk: &Desk,
    run: &BookRun,
    wanted: &Wanted<'_>,
) -> Option<TouchEnd> {
    let plan = wanted.plan;
    loop {
        match hall.store.plan(plan).await {
            Ok(Some(row)) => {
                if let Some(end) = ended(hall, &row).await {
                    return Some(end);
                }
            }
            Ok(None) if hall.stopping.is_cancelled() => return None,
            // Somebody ended the run before anything of this was seen.
            Ok(None) if desk.run().await.is_ending() => {
                let said = "it was not proposed: the runbook was aborted".to_owned();
                return Some(TouchEnd::Not { said, untouched: true });
            }
            Ok(None) => {
                if let Some(end) = propose(hall, rules, run, wanted).await {
                    return Some(end);
                }
                continue;
            }
            Err(error) => tracing::warn!(%error, %plan, "a plan's row could not be read"),
        }
        if desk.run().await.is_ending() {
            withdraw(hall, plan, "The runbook that asked for it was aborted. Nothing was changed.").await;
        }
        if !wait(hall, desk, Some(PACE)).await {
            return None;
        }
    }
}

/// Proposes it; an end when it did not become a plan.
async fn propose(hall: &Arc<Hall>, rules: &Rules, run: &BookRun, wanted: &Wanted<'_>) -> Option<TouchEnd> {
    let Wanted { slot, line, plan } = *wanted;
    let not = |said: String| Some(TouchEnd::Not { said, untouched: true });
    let intent = match errand(run).intent(rules, line) {
        Ok(intent) => intent,
        Err(why) => return not(why),
    };
    let command = intent.command.clone();
    let Kind::Remediation(remediation) = &command.kind else {
        return not(format!("`{}` changes nothing", command.name));
    };
    let place = Place { via: None, ..run.place.clone() };
    let Some(gateway) = hall.gateway(place.platform).cloned() else {
        return not(format!("{} is not configured, so nobody could consent", place.platform));
    };
    let actor = errand(run).actor();
    let since = Instant::now();
    let asked = Asked { rules, actor: &actor, place: &place, run: plan, since };
    let answer = Answer::new(gateway, &place, plan, None);
    let under = match slot {
        Slot::Step(step) => {
            Under { cover: cover(hall, run, step, line).await, rolls_back: run.watched_after(step), in_turn: true }
        }
        Slot::Back(_) => Under { in_turn: true, ..Under::default() },
    };
    let ended = change::propose_under(hall, &asked, &intent, remediation, &answer, under).await;
    if let Err(error) = hall.store.record(command::entry(&asked, &ended, since.elapsed())).await {
        tracing::warn!(%error, %plan, "a proposal could not be journalled");
    }
    let planned = match hall.store.plan(plan).await {
        Ok(row) => row.is_some(),
        // It is asked for once more when the row can be read.
        Err(_) => true,
    };
    if !planned && hall.stopping.is_cancelled() {
        // It may have been waiting for its turn: whether it becomes a plan is for the next start to see.
        return None;
    }
    let said = ended.card.verdict.as_ref().map(crate::model::Text::to_plain).unwrap_or_default();
    if !ended.shown && planned {
        answer.finish(hall, ended.card, Audience::All, ended.outcome == Outcome::Answered).await;
        if ended.ends {
            change::told(hall, plan).await;
        }
    }
    match (planned, ended.outcome) {
        (true, _) => None,
        // It is so already: nothing to plan.
        (false, Outcome::Answered) => Some(TouchEnd::Done { said, undo: None, changed: false, own_way_back: false }),
        (false, _) => not(said),
    }
}

/// The word people gave to the runbook before that step, where it was given for this very change.
async fn cover(hall: &Hall, run: &BookRun, step: usize, line: &str) -> Option<Cover> {
    let (_, question) = run.agreed_before(step)?;
    let row = hall.store.plan(&question).await.ok()??;
    let shown = row.plan.asks?.covers.into_iter().find(|covered| covered.step == step)?;
    let votes = hall.store.consents(&question).await.ok()?;
    (row.state == PlanState::Done).then(|| Cover { question, shown, line: line.to_owned(), votes })
}

/// How a plan ended, if it has.
async fn ended(hall: &Hall, row: &PlanRow) -> Option<TouchEnd> {
    let not = |said: &str, untouched| Some(TouchEnd::Not { said: said.to_owned(), untouched });
    match row.state {
        PlanState::Pending if row.plan.expired(jiff::Timestamp::now()) => {
            withdraw(hall, &row.plan.run, "It expired without enough consent. Nothing was changed.").await;
            not("nobody consented in time; nothing was changed", true)
        }
        PlanState::Done => Some(TouchEnd::Done {
            said: row.plan.what(),
            undo: row.plan.undo_line(),
            changed: true,
            own_way_back: row.plan.rolls_back.is_some(),
        }),
        PlanState::Declined => not("its plan was declined; nothing was changed", true),
        PlanState::Void => not("its plan was not carried out, as its own card says; nothing was changed", true),
        PlanState::Failed => not("it failed, as its own card says", false),
        PlanState::Uncertain => not("it is uncertain whether it was done, as its own card says", false),
        _ => None,
    }
}

/// Takes a plan back that still waits for consent.
pub(super) async fn withdraw(hall: &Hall, plan: &RunId, why: &str) {
    match hall.store.plan_move(plan, PlanState::Pending, PlanState::Void, Some(why)).await {
        Ok(true) => {}
        Ok(false) => return,
        Err(error) => {
            tracing::warn!(%error, %plan, "a plan could not be withdrawn");
            return;
        }
    }
    let Ok(Some(row)) = hall.store.plan(plan).await else { return };
    if let Some(message) = row.message
        && let Some(gateway) = hall.gateway(message.place.platform)
    {
        let card = plain_card(&format!("withdrawn · {} · {}", row.plan.command, row.plan.service), why, None);
        deliver::deliver(hall, &**gateway, &format!("plan-{plan}"), OwedWhat::Edit { message, card }).await;
    }
}
