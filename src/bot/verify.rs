//! The checklist that follows every change (`commands/verify.toml`).

use std::{sync::Arc, time::Duration};

use super::{Hall, command::plain_card, deliver, errand::Errand};
use crate::{
    model::{Place, RunId},
    store::{Entry, Outcome, OwedWhat, PlanRow},
};

/// The command, which a team may replace by a file of its own.
const VERIFY: &str = "verify";

/// After what of a change it is looked: each is said once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// Its run.
    Run,
    /// Its own end, which took it back.
    End,
    /// What it had left aside was tidied up.
    Tidied,
}

impl When {
    fn key(self, run: &RunId) -> String {
        match self {
            When::Run => format!("verify-{run}"),
            When::End => format!("verify-end-{run}"),
            When::Tidied => format!("verify-tidied-{run}"),
        }
    }
}

/// Looks whether all is well after a change, and says so where it was asked for.
pub(super) async fn after(hall: &Arc<Hall>, row: &PlanRow, when: When) {
    let plan = &row.plan;
    let rules = hall.rules();
    let place = Place { via: None, ..row.place.clone() };
    let errand = Errand {
        person: &plan.requester,
        identity: &plan.asker,
        place: &place,
        run: &plan.run,
        service: &plan.service,
        instance: &plan.instance,
        // Whoever may change something may see whether it went well.
        lender: Some(&plan.command),
    };
    let since = tokio::time::Instant::now();
    let looked = errand.look(hall, &rules, VERIFY).await;
    let (card, outcome, level) = match looked {
        Ok(rendered) => (rendered.card, Outcome::Answered, Some(rendered.level)),
        Err(why) => {
            let next = format!("look by hand: `/redis {VERIFY} {}/{}`", plan.service, plan.instance);
            let what = format!("What follows run {} could not be looked at: {why}.", plan.run);
            (plain_card(VERIFY, what, Some(next)), Outcome::Failed, None)
        }
    };
    let entry = Entry {
        at: jiff::Timestamp::now(),
        run: plan.run.clone(),
        identity: plan.asker.clone(),
        person: Some(plan.requester.clone()),
        place: row.place.clone(),
        line: VERIFY.to_owned(),
        command: VERIFY.to_owned(),
        service: Some(plan.service.clone()),
        instance: Some(plan.instance.clone()),
        outcome,
        why: Some("after a change".to_owned()),
        level,
        took: since.elapsed().min(Duration::from_secs(3600)),
        reveal: false,
    };
    if let Err(error) = hall.store.record(entry).await {
        tracing::warn!(%error, run = %plan.run, "a checklist could not be journalled");
    }
    if let Some(gateway) = hall.gateway(place.platform) {
        let what = OwedWhat::Say { place: place.clone(), card, only: None };
        deliver::deliver(hall, &**gateway, &when.key(&plan.run), what).await;
    }
}
