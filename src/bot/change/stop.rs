//! Stopping one change: while it is queued nothing was done, while it runs its next step is not begun.

use super::{bound, cards, end, say_last};
use crate::{
    bot::{
        Hall,
        command::{Asked, plain_card},
        runs,
    },
    model::{Card, Level, RunId},
    store::{Outcome, PlanState},
};

/// Stops a change that is queued or running; `None` when that run is no change.
pub(in crate::bot) async fn stop(hall: &Hall, asked: &Asked<'_>, run: &RunId) -> Option<(Card, Outcome)> {
    let row = match hall.store.plan(run).await {
        Ok(row) => row?,
        Err(error) => return Some((cards::unwritten(&error), Outcome::Failed)),
    };
    let (plan, policy) = (&row.plan, &asked.rules.policy);
    match row.state {
        PlanState::Claimed | PlanState::Running => {}
        PlanState::Pending => {
            let next = format!("`/redis decline {run}` calls it off");
            let card = plain_card("not running", "That change has not begun: it waits for consent.", Some(next));
            return Some((card, Outcome::Misunderstood));
        }
        over => {
            let card = plain_card("not running", format!("Run `{run}` is over: it is {}.", over.word()), None);
            return Some((card, Outcome::Answered));
        }
    }
    let may = match bound(asked.rules, plan) {
        Some((command, service, _)) => policy.may_stop(asked.actor, plan, command, service, &row.place),
        // What is no longer configured is stopped by whoever asked for it.
        None => asked.actor.person.as_ref() == Some(&plan.requester),
    };
    if !may {
        let why = "A change that goes on is stopped by whoever asked for it, may run it, or may consent to it.";
        let next = format!("tell one of them; {} asked for it", policy.name_of(&plan.requester));
        return Some((plain_card("refused", why, Some(next)), Outcome::Denied));
    }
    let who = asked.actor.person.as_ref().map_or("somebody", |person| policy.name_of(person));
    let note = format!("{who} called it off while it was queued. Nothing was changed.");
    let last = cards::end(plan, Level::Note, "called off", &note, Vec::new());
    match end(hall, &row, PlanState::Claimed, PlanState::Void, &note, &last).await {
        Ok(true) => {
            say_last(hall, &row, last).await;
            return Some((plain_card("called off", &note, None), Outcome::Answered));
        }
        Ok(false) => {}
        // What cannot be written down is stopped all the same: nothing worse can come of it.
        Err(error) => tracing::warn!(%error, %run, "a change that is called off could not be closed"),
    }
    let card = if hall.runs.cancel(run, runs::Why::By(who.to_owned())) {
        let what = "It was asked to stop: it does not begin its next step, what one call can take back is taken back, \
                    and its own message says how it ended.";
        plain_card("stopping", what, None)
    } else {
        plain_card("not running", format!("Run `{run}` has ended meanwhile; its own message says how."), None)
    };
    Some((card, Outcome::Answered))
}
