//! Changes made for a while take themselves back: a row says when, a timer only wakes us to look.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::{CALL, PLAN_WITHIN, asker_of, bound, cards, freeze, sentence, word};
use crate::{
    bot::{Hall, verify},
    exec::{Hands, Touched, touching},
    model::{Card, Level, Text, Tick},
    store::{Call, Outcome, PlanRow, StepState},
};

/// The rows are looked at at least this often: the clock may be set, and the store may have been away.
const PACE: Duration = Duration::from_secs(20);

/// Takes back what is due, until the bot stops.
pub(in crate::bot) async fn keep(hall: Arc<Hall>) {
    loop {
        let wait = match hall.store.ends().await {
            Ok(ends) => {
                let now = Timestamp::now();
                let mut next = PACE;
                for (due, _, row) in ends {
                    if due <= now {
                        take_back(&hall, &row).await;
                    } else {
                        next = next.min(Duration::try_from(due.duration_since(now)).unwrap_or(PACE));
                    }
                }
                next
            }
            Err(error) => {
                tracing::warn!(%error, "changes that end by themselves could not be read");
                PACE
            }
        };
        tokio::select! {
            () = hall.stopping.cancelled() => return,
            () = hall.new_end.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Whether a step may have been done. The way back is harmless where it was not.
fn may_hold(state: StepState) -> bool {
    matches!(state, StepState::Done | StepState::Uncertain | StepState::Begun)
}

/// One change's own end. What somebody changed since is left as it is, and said.
async fn take_back(hall: &Arc<Hall>, row: &PlanRow) {
    let plan = &row.plan;
    let rules = hall.rules();
    let lane = hall.touching.of(plan);
    let _alone = lane.alone.lock().await;
    if let Err(why) = freeze::holds_up(hall, &rules, &plan.service).await {
        // It stays due; lifting the stop wakes us.
        return waits(hall, row, &why).await;
    }
    // A row that had begun is gone on with: the way back is only ever gone from the value this run set.
    if let Err(error) = hall.store.end_begin(&plan.run).await {
        tracing::warn!(%error, run = %plan.run, "a change's end could not be begun; it is tried again");
        return;
    }
    let (good, lines) = match (bound(&rules, plan), rules.policy.own_end(plan, Timestamp::now())) {
        (Some((_, service, instance)), Some(permit)) => {
            let cx = touching(Instant::now() + PLAN_WITHIN, CALL);
            match hall.exec.target(permit.look(), service, instance, &cx).await {
                Ok(found) => {
                    let mut lines = Vec::new();
                    let mut good = true;
                    let steps = hall.store.steps(&plan.run).await.unwrap_or_default();
                    for known in steps.iter().rev().filter(|step| may_hold(step.state)) {
                        let Some(step) = plan.steps.get(known.seq) else { continue };
                        let at = plan.target_of(step).map(|target| target.address.clone()).unwrap_or_default();
                        let what = step.change.back().map_or_else(|| step.change.what(), |back| back.what());
                        let node = found.nodes.iter().find(|node| node.node.address.to_string() == at);
                        let touched = match node {
                            None => Err(format!("{at} is no longer part of the instance")),
                            Some(node) => {
                                let address = &node.node.address;
                                let hands = Hands { instance, address, store: &hall.store, meant: &[], cx: &cx };
                                match hall.exec.touch_back(&permit, plan, known.seq, &hands).await {
                                    Touched::Verified(said) => Ok(said),
                                    Touched::Untouched(why)
                                    | Touched::Uncertain(why)
                                    | Touched::Partly { why, .. }
                                    | Touched::Aside { why, .. } => Err(format!("{}: {}", why.what, why.cause)),
                                    Touched::Otherwise { found } => Err(format!("the server tells {found} now")),
                                }
                            }
                        };
                        match touched {
                            Ok(said) => {
                                if let Err(error) =
                                    hall.store.step(&plan.run, known.seq, StepState::Undone, Some(&said)).await
                                {
                                    tracing::warn!(%error, run = %plan.run, "a step taken back could not be written");
                                }
                                lines.push((Tick::Done, Text::plain(format!("{what}: {said}"))));
                            }
                            Err(why) => {
                                good = false;
                                lines.push((Tick::Failed, Text::plain(format!("{what}: {why}"))));
                            }
                        }
                    }
                    (good, lines)
                }
                Err(error) => (false, vec![(Tick::Failed, Text::plain(format!("{}: {}", error.what, error.cause)))]),
            }
        }
        _ => (false, vec![(Tick::Failed, Text::plain("its command, service or instance is no longer configured"))]),
    };
    let note = if good { "taken back" } else { "not taken back, or not all of it" };
    if let Err(error) = hall.store.end_over(&plan.run, good, note).await {
        tracing::warn!(%error, run = %plan.run, "a change's end could not be written");
    }
    let outcome = if good { Outcome::Answered } else { Outcome::Failed };
    let entry = word(row, &asker_of(plan), "end", outcome, Some(note.to_owned()));
    if let Err(error) = hall.store.record_synced(entry).await {
        tracing::error!(%error, run = %plan.run, "a change's end could not be journalled");
    }
    tell(hall, row, good, lines).await;
    verify::after(hall, row, verify::When::End).await;
}

/// Its time is up, and all changes are stopped: said once, until they go on.
async fn waits(hall: &Arc<Hall>, row: &PlanRow, why: &str) {
    match hall.store.called(&row.plan.run, Call::EndWaits, Timestamp::now()).await {
        Ok(true) => {}
        Ok(false) => return,
        Err(error) => {
            tracing::warn!(%error, run = %row.plan.run, "an end that waits could not be noted; it is said again");
        }
    }
    let what = format!("Its time is up, and it is not taken back yet. {why} It is taken back as soon as they go on.");
    let card = cards::end(&row.plan, Level::Warn, "its end waits", &what, Vec::new());
    super::tell(hall, &row.place, format!("end-waits-{}", row.plan.run), card).await;
}

async fn tell(hall: &Arc<Hall>, row: &PlanRow, good: bool, lines: Vec<(Tick, Text)>) {
    let plan = &row.plan;
    let early = plan.lasts_ms.is_none_or(|ms| Timestamp::now().as_millisecond() < plan.made_ms.saturating_add(ms));
    let why = match &plan.rolls_back {
        Some(watch) if early => format!("{} did not hold", sentence(watch)),
        _ => "Its time is up".to_owned(),
    };
    let (level, title, what) = if good {
        (Level::Ok, "taken back", format!("{why}, and it has been taken back."))
    } else {
        let next = format!("see /redis config, and set by hand what is still wanted; or /redis undo {}", plan.run);
        (Level::Warn, "not taken back", format!("{why}, and it could not be taken back whole. Next: {next}"))
    };
    let card: Card = cards::end(plan, level, title, &what, lines);
    super::tell(hall, &row.place, format!("end-{}", plan.run), card).await;
}
