//! The walk of one change: plan, consent, the plan made again, the run, its end.
//!
//! Each step is a row before it happens. A plan is carried out by whoever
//! moves its row from pending to claimed, which one task alone can; a row that
//! is found claimed or running after a restart is never carried out again.
//!
//! [`plan`] makes plans and makes them again; [`mod@propose`] shows them;
//! [`consent`] hears what people say to them, [`glass`] whoever goes on alone;
//! [`waits`] calls the approvers and lets plans expire; [`carry`] carries them
//! out; [`mod@freeze`] and [`mod@stop`] halt them;
//! [`ends`] takes back what was made for a while; [`mod@recover`] tells after a
//! restart what its end cut short; [`cards`] is what people read.

mod by_the_clock;
mod cards;
mod carry;
mod consent;
mod ends;
mod freeze;
mod glass;
mod pending;
mod plan;
mod propose;
mod recover;
mod severity;
mod stop;
mod waits;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use jiff::Timestamp;

use super::{Hall, Rules, deliver};
use crate::{
    model::{Actor, Card, Instance, InstanceName, Level, Place, RunId, Service, ServiceName},
    runbook::{Command, Plan},
    store::{Entry, Outcome, OwedWhat, PlanRow, PlanState},
};

pub(super) use by_the_clock::backup as backup_by_the_clock;
pub(super) use consent::{by_id, reacted, taken_back_by_id};
pub(super) use ends::keep as keep_ends;
pub(super) use freeze::{freeze, shown as freezes_shown, unfreeze};
pub(super) use glass::break_glass;
pub(super) use pending::pending;
pub(super) use propose::propose;
pub(super) use recover::recover;
pub(super) use severity::severity;
pub(super) use stop::stop;
pub(super) use waits::keep as keep_waits;

/// A plan is made within this, unless it has to walk over keys.
const PLAN_WITHIN: Duration = Duration::from_secs(15);
/// One call to the server is given up after this.
const CALL: Duration = Duration::from_secs(5);

const YES: &str = "✅";
const NO: &str = "❌";

/// What a plan is about, as it is configured now.
fn bound<'a>(rules: &'a Rules, plan: &Plan) -> Option<(&'a Arc<Command>, &'a Arc<Service>, &'a Instance)> {
    let command = rules.catalogue.find(&plan.command)?;
    let service = rules.services.get(&plan.service)?;
    Some((command, service, service.instance(Some(&plan.instance))?))
}

/// Puts a card in the place of a plan's own message, now or as soon as it can be.
async fn edit(hall: &Hall, row: &PlanRow, card: Card) {
    if let Some(message) = &row.message
        && let Some(gateway) = hall.gateway(message.place.platform)
    {
        let what = OwedWhat::Edit { message: message.clone(), card };
        deliver::deliver(hall, &**gateway, &format!("plan-{}", row.plan.run), what).await;
    }
}

/// Ends a plan that did not run, in its row and in its message.
async fn close(hall: &Hall, row: &PlanRow, state: PlanState, why: &str) {
    match hall.store.plan_move(&row.plan.run, row.state, state, Some(why)).await {
        Ok(true) => {}
        Ok(false) => return,
        Err(error) => {
            tracing::warn!(%error, run = %row.plan.run, "a plan could not be closed");
            return;
        }
    }
    let level = if state == PlanState::Uncertain { Level::Unknown } else { Level::Note };
    edit(hall, row, cards::end(&row.plan, level, state.word(), why, Vec::new())).await;
}

/// The journal's row of one person's word on a plan, or of what the bot did about it.
fn word(row: &PlanRow, actor: &Actor, act: &str, outcome: Outcome, why: Option<String>) -> Entry {
    let plan = &row.plan;
    Entry {
        at: Timestamp::now(),
        run: plan.run.clone(),
        identity: actor.identity.clone(),
        person: actor.person.clone(),
        place: row.place.clone(),
        line: plan.what(),
        command: act.to_owned(),
        service: Some(plan.service.clone()),
        instance: Some(plan.instance.clone()),
        outcome,
        why,
        level: None,
        took: Duration::ZERO,
        reveal: false,
    }
}

/// Says a card in the place of a plan, now or as soon as it can be; said again under the same key, it is said once.
async fn tell(hall: &Hall, place: &Place, key: String, card: Card) {
    let place = Place { via: None, ..place.clone() };
    let Some(gateway) = hall.gateway(place.platform) else { return };
    deliver::deliver(hall, &**gateway, &key, OwedWhat::Say { place, card, only: None }).await;
}

/// Words of a person that others will read and the journal keeps: no secrets, no emphasis of their own.
fn tidy(words: &str) -> String {
    crate::diagnosis::redact::line(words.trim()).replace(['`', '*'], "").chars().take(300).collect()
}

/// The one who asked for a plan, as the journal names them.
fn asker_of(plan: &Plan) -> Actor {
    Actor { identity: plan.asker.clone(), person: Some(plan.requester.clone()), display: String::new() }
}

/// Who changes what now: one change at a time on an instance.
#[derive(Default)]
pub(super) struct Touching {
    lanes: Mutex<HashMap<(ServiceName, InstanceName), Lane>>,
    /// Runs this process has taken up, and whose changes they are: what a restart left is every other one.
    ours: Mutex<HashMap<RunId, ServiceName>>,
}

/// The one lane for changes of an instance.
#[derive(Clone, Default)]
struct Lane {
    /// Held by the one change that goes on.
    alone: Arc<tokio::sync::Mutex<()>>,
    /// Which run that is, for those who wait.
    holder: Arc<Mutex<Option<RunId>>>,
}

impl Touching {
    fn of(&self, plan: &Plan) -> Lane {
        let key = (plan.service.clone(), plan.instance.clone());
        self.lanes.lock().expect("nobody panics while looking up a lock").entry(key).or_default().clone()
    }

    /// This process takes the run up; said before its row is.
    fn take_up(&self, plan: &Plan) {
        let mut ours = self.ours.lock().expect("nobody panics while naming a run");
        ours.insert(plan.run.clone(), plan.service.clone());
    }

    fn is_ours(&self, run: &RunId) -> bool {
        self.ours.lock().expect("nobody panics while naming a run").contains_key(run)
    }

    /// The runs this process has taken up, of one service or of all.
    fn under_way(&self, service: Option<&ServiceName>) -> Vec<RunId> {
        let ours = self.ours.lock().expect("nobody panics while naming a run");
        let of = |one: &&ServiceName| service.is_none_or(|service| service == *one);
        ours.iter().filter(|(_, one)| of(one)).map(|(run, _)| run.clone()).collect()
    }

    fn put_down(&self, run: &RunId) {
        self.ours.lock().expect("nobody panics while naming a run").remove(run);
    }
}

impl Lane {
    fn holder(&self) -> Option<RunId> {
        self.holder.lock().expect("nobody panics while naming a run").clone()
    }

    fn hold(&self, run: Option<RunId>) {
        *self.holder.lock().expect("nobody panics while naming a run") = run;
    }
}
