//! What a step left under another name: tidied up as soon as its server lets us, and told.
//!
//! A row says that there is something; a timer only wakes us to look. Nobody has to ask for it: whoever consented to
//! the run consented to each of its keys being removed or left alone, and to none being hidden.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{CALL, asker_of, bound, cards, freeze, sentence, word};
use crate::{
    bot::{Hall, verify},
    exec::{Hands, Looking, Untidied, hidden, touching},
    model::{Level, RunId},
    runbook::{Change, Plan},
    store::{AsideRow, LeftAside, Outcome},
};

/// What a run left aside is tidied up within this.
const SETTLE_WITHIN: Duration = Duration::from_secs(600);
/// So often it is tried again while the servers do not answer.
const PACE: Duration = Duration::from_secs(3);
/// Each try walks the keyspace: after one that was refused, the next comes twice as late, up to this.
const SLOWEST: Duration = Duration::from_secs(600);
/// Where nothing is left aside it is looked this often all the same.
const IDLE: Duration = Duration::from_secs(60);

/// What became of a step about keys that was cut short.
pub(super) struct Settling {
    /// Whether it was done; `None`: nobody knows.
    pub(super) done: Option<bool>,
    /// How that was found out, in words.
    pub(super) said: String,
    /// What is under another name still.
    pub(super) left: Option<LeftAside>,
    /// The servers could be asked.
    asked: bool,
}

/// Finishes or puts back what a step about keys left half done, and says what is certain.
pub(super) async fn settle(hall: &Arc<Hall>, plan: &Plan, seq: usize) -> Settling {
    let change = &plan.steps[seq].change;
    let hides = matches!(change, Change::RemoveKeys { .. });
    let unasked = |said: String, why: String| Settling {
        done: None,
        said: if hides { format!("{said}; {}", hidden(0)) } else { said },
        left: hides.then_some(LeftAside { keys: 0, why }),
        asked: false,
    };
    let rules = hall.rules();
    let Some((command, service, instance)) = bound(&rules, plan) else {
        let why = "its service is no longer configured";
        return unasked(format!("{why}, so it could not be checked"), why.to_owned());
    };
    let now = jiff::Timestamp::now();
    let (permit, tidy) = (rules.policy.aftermath(plan, command, now), rules.policy.tidying(plan, now));
    let cx = Looking { stop: hall.stopping.clone(), ..touching(Instant::now() + SETTLE_WITHIN, CALL) };
    let nodes = match hall.exec.target(&permit, service, instance, &cx).await {
        Ok(found) => found.nodes,
        Err(why) => return unasked("its servers cannot be asked now".to_owned(), why.what),
    };
    if let Some(why) =
        nodes.iter().find_map(|node| node.silent.as_ref()).filter(|_| nodes.iter().all(|node| node.silent.is_some()))
    {
        return unasked(format!("its servers cannot be asked now ({})", why.what), why.what.clone());
    }
    let Some(address) = nodes.into_iter().next().map(|node| node.node.address) else {
        return unasked(
            "its servers cannot be asked now".to_owned(),
            "no server of the instance is known now".to_owned(),
        );
    };
    let hands = Hands { instance, address: &address, store: &hall.store, meant: &[], cx: &cx };
    let settled = match hall.exec.settle(&tidy, plan, seq, &hands).await {
        Ok(settled) => settled,
        Err(why) => return unasked(format!("{}: {}", why.what, why.cause), why.what),
    };
    let known = |done: bool, said: String| Settling { done: Some(done), said, left: None, asked: true };
    if let Some(Untidied { keys, why }) = settled.untidied {
        let said = format!("{}; {}, because {}: {}", settled.said, hidden(keys), why.what, why.cause);
        return Settling { done: None, left: Some(LeftAside { keys, why: why.what }), ..known(false, said) };
    }
    match change {
        // A copy is done when it is whole.
        Change::ExportKeys { .. } => known(settled.kept > 0, settled.said),
        Change::ImportKeys { .. } if settled.kept > 0 => {
            known(false, format!("{}; `/redis undo {}` takes back what it put there", settled.said, plan.run))
        }
        _ if settled.kept > 0 && plan.undo_line().is_some() => {
            known(false, format!("{}; `/redis undo {}` brings them back", settled.said, plan.run))
        }
        _ => known(false, settled.said),
    }
}

/// When a step is tried again.
struct Wait {
    at: Instant,
    refused: Duration,
}

/// Tidies up what is left aside, until the bot stops.
pub(in crate::bot) async fn keep(hall: Arc<Hall>) {
    let mut waits: HashMap<(RunId, usize), Wait> = HashMap::new();
    loop {
        let rows = match hall.store.asides().await {
            Ok(rows) => rows,
            Err(error) => {
                tracing::warn!(%error, "what was left aside could not be read; it is tried again");
                Vec::new()
            }
        };
        let pace = if rows.is_empty() { IDLE } else { PACE };
        for row in rows {
            if hall.stopping.is_cancelled() {
                return;
            }
            let key = (row.row.plan.run.clone(), row.seq);
            if waits.get(&key).is_some_and(|wait| Instant::now() < wait.at) {
                continue;
            }
            let refused = match attempt(&hall, &row).await {
                Tried::Tidied => {
                    waits.remove(&key);
                    continue;
                }
                Tried::Later => PACE,
                Tried::Refused => waits.get(&key).map_or(PACE, |wait| (wait.refused * 2).min(SLOWEST)),
            };
            waits.insert(key, Wait { at: Instant::now() + refused, refused });
        }
        tokio::select! {
            () = hall.stopping.cancelled() => return,
            // Something changed: whatever waits is worth a try.
            () = hall.new_aside.notified() => waits.clear(),
            () = tokio::time::sleep(pace) => {}
        }
    }
}

/// What came of one try.
enum Tried {
    /// Nothing is aside any more.
    Tidied,
    /// It was not the time for it: another change goes on, all are stopped, or nobody answers.
    Later,
    /// The servers answered and did not let us.
    Refused,
}

async fn attempt(hall: &Arc<Hall>, left: &AsideRow) -> Tried {
    let (row, seq, plan) = (&left.row, left.seq, &left.row.plan);
    if hall.touching.is_ours(&plan.run) || plan.steps.get(seq).is_none() {
        return Tried::Later;
    }
    let lane = hall.touching.of(plan);
    let Ok(_alone) = lane.alone.try_lock() else { return Tried::Later };
    if freeze::holds_up(hall, &hall.rules(), &plan.service).await.is_err() {
        return Tried::Later;
    }
    let settled = settle(hall, plan, seq).await;
    let still = settled.left.map(|now| match now.keys {
        // What was known before is known still.
        0 => LeftAside { keys: left.left.keys, ..now },
        _ => now,
    });
    let written = match &still {
        Some(now) if *now == left.left => Ok(()),
        still => hall.store.step_aside(&plan.run, seq, still.clone()).await,
    };
    if let Err(error) = written {
        tracing::warn!(%error, run = %plan.run, "what is left aside could not be written down; it is tried again");
        return Tried::Later;
    }
    if still.is_some() {
        return if settled.asked { Tried::Refused } else { Tried::Later };
    }
    let what = format!("What run {} left under another name was tidied up: {}.", plan.run, settled.said);
    let entry = word(row, &asker_of(plan), "tidy", Outcome::Answered, Some(what.clone()));
    if let Err(error) = hall.store.record_synced(entry).await {
        tracing::error!(%error, run = %plan.run, "what was tidied up could not be journalled");
    }
    let mut card = cards::end(plan, Level::Ok, "tidied up", &sentence(&what), Vec::new());
    card.actions.extend(cards::undo(plan));
    super::tell(hall, &row.place, format!("tidied-{}-{seq}", plan.run), card).await;
    verify::after(hall, row, verify::When::Tidied).await;
    Tried::Tidied
}

/// What a step left, as `pending` shows it.
pub(super) fn shown(left: &LeftAside) -> String {
    format!("{}; it is tidied up by itself as soon as the server lets us ({})", hidden(left.keys), left.why)
}
