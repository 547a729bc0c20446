//! The walk of one change: plan, consent, the plan made again, the run, its end.
//!
//! Each step is a row before it happens. A plan is carried out by whoever
//! moves its row from pending to claimed, which one task alone can; a row that
//! is found claimed or running after a restart is never carried out again.
//!
//! [`plan`] makes plans and makes them again; [`mod@propose`] shows them;
//! [`mod@agree`] asks for people's word where a runbook does; [`consent`] hears what people say to them, [`glass`] whoever goes on alone;
//! [`watching`] keeps true what they counted; [`waits`] calls the approvers and lets plans expire; [`carry`] carries them
//! out; [`mod@freeze`] and [`mod@stop`] halt them;
//! [`ends`] takes back what was made for a while; [`mod@aside`] tidies up what was left under another name; [`mod@recover`] tells after a
//! restart what its end cut short; [`cards`] is what people read.

mod agree;
mod aside;
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
mod watching;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use jiff::Timestamp;

use super::{Hall, Rules, deliver};
use crate::{
    model::{Actor, Badges, Card, Instance, InstanceName, Level, Place, RunId, Service, ServiceName},
    runbook::{Command, Plan},
    store::{Entry, Outcome, Owed, OwedWhat, PlanRow, PlanState, StoreError},
};

pub(super) use agree::{Question, ask, settle_if_enough};
pub(super) use aside::keep as keep_aside;
pub(super) use by_the_clock::backup as backup_by_the_clock;
pub(super) use consent::{by_id, reacted, taken_back_by_id};
pub(super) use ends::keep as keep_ends;
pub(super) use freeze::{freeze, shown as freezes_shown, unfreeze};
pub(super) use glass::break_glass;
pub(super) use pending::pending;
pub(super) use propose::{Cover, Under, preview, propose, propose_under};
pub(super) use recover::recover;
pub(super) use severity::{alerts_written, severity};
pub(super) use stop::stop;
pub(super) use waits::keep as keep_waits;
pub(super) use watching::Watching;

/// A plan is made within this, unless it has to walk over keys.
const PLAN_WITHIN: Duration = Duration::from_secs(15);
/// One call to the server is given up after this.
const CALL: Duration = Duration::from_secs(5);

/// The answer to a line comes within this of the end of its change, or never.
const ANSWERED_BY: Duration = Duration::from_secs(120);

/// What becomes of keys that are under another name.
const LATER: &str = "They get their names back, or are removed for good where they are written down, as soon as the \
                     server lets us: that is tried again by itself, also after a restart, and said here when it is done.";

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
        let what = OwedWhat::Last { message: message.clone(), card };
        deliver::deliver(hall, &**gateway, &key_of(&row.plan.run), what).await;
    }
}

/// Under which key the last word on a plan is owed.
fn key_of(run: &RunId) -> String {
    format!("plan-{run}")
}

/// The last word on a plan: in the place of its own message, or said where it was asked for.
fn last_word(row: &PlanRow, card: Card) -> OwedWhat {
    match &row.message {
        Some(message) => OwedWhat::Last { message: message.clone(), card },
        None => OwedWhat::Say { place: Place { via: None, ..row.place.clone() }, card, only: None },
    }
}

/// Ends a plan. Its row and what is owed to those who wait for it are written at one stroke, so that a
/// bot that dies before it has said so has told the next one to. `false`: it was not there any more.
async fn end(
    hall: &Hall,
    row: &PlanRow,
    from: PlanState,
    to: PlanState,
    why: &str,
    card: &Card,
) -> Result<bool, StoreError> {
    // What has no message of its own is said by the answer to the line itself, which comes after the checklist.
    let due = if row.message.is_some() { deliver::soon() } else { Timestamp::now() + ANSWERED_BY };
    let owed = Owed { key: key_of(&row.plan.run), what: last_word(row, card.clone()), due };
    hall.store.plan_end(&row.plan.run, from, to, why, Some(owed)).await
}

/// Says the last word on a plan, which [`end`] has put down.
async fn say_last(hall: &Hall, row: &PlanRow, card: Card) {
    if let Some(gateway) = hall.gateway(row.place.platform) {
        deliver::deliver_promised(hall, &**gateway, &key_of(&row.plan.run), last_word(row, card)).await;
    }
}

/// The answer to the line has said the last word on its plan.
pub(super) async fn told(hall: &Hall, run: &RunId) {
    deliver::kept(hall, &key_of(run)).await;
}

/// Ends a plan that did not run, or no longer does, in its row and in its message.
async fn close(hall: &Hall, row: &PlanRow, state: PlanState, why: &str) {
    drop(hall.watching.take(&row.plan.run));
    let level = if state == PlanState::Uncertain { Level::Unknown } else { Level::Note };
    let mut card = cards::end(&row.plan, level, state.word(), why, Vec::new());
    if row.state == PlanState::Running && why.contains("/redis undo") {
        card.actions.extend(cards::undo(&row.plan));
    }
    match end(hall, row, row.state, state, why, &card).await {
        Ok(true) => say_last(hall, row, card).await,
        Ok(false) => {}
        Err(error) => tracing::warn!(%error, run = %row.plan.run, "a plan could not be closed"),
    }
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

/// With a capital letter in front.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// The one who asked for a plan, as the journal names them.
fn asker_of(plan: &Plan) -> Actor {
    Actor {
        identity: plan.asker.clone(),
        person: Some(plan.requester.clone()),
        display: String::new(),
        badges: Badges::default(),
    }
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
