//! A backup that nobody asks for at the moment: the configuration did, in somebody's name.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;

use super::{
    cards, carry,
    plan::{self, Unplanned, Wish},
};
use crate::{
    bot::{
        Hall,
        command::{explained_card, plain_card},
        scheduled::Schedule,
    },
    exec::aside::CountFor,
    model::{Actor, Card, Place, RunId},
    policy::{Ask, Verdict},
    runbook::{Risk, TouchKind, Wanted},
    store::{PlanRow, PlanState},
};

/// Plans it and carries it out, by the same rules as if that person had typed
/// it. The card of its end, and whether it is good.
pub(in crate::bot) async fn backup(
    hall: &Arc<Hall>,
    schedule: &Schedule,
    run: &RunId,
    asker: &Actor,
    place: &Place,
) -> (Card, bool) {
    let rules = hall.rules();
    let not = |why: String, next: &str| (plain_card("no backup", why, Some(next.to_owned())), false);
    let service = rules.services.get(&schedule.service);
    let Some((service, instance)) =
        service.and_then(|service| Some((service, service.instance(schedule.instance.as_ref())?)))
    else {
        return not(
            format!("{} is no longer configured.", schedule.service),
            "correct `[[backups.schedules]]` in bot.toml",
        );
    };
    let Some(command) = rules.catalogue.find("backup") else {
        return not("There is no command `backup`.".to_owned(), "report this");
    };
    let now = Timestamp::now();
    let ask = Ask { actor: asker, place, command, service: Some(service.as_ref()), run, reveal: false, now };
    let permit = match rules.policy.decide(&ask) {
        Verdict::Allow(permit) => permit,
        Verdict::Deny(refusal) => return (refusal.card(), false),
    };
    // What a person would be asked about first was accepted when the schedule was written.
    let with = BTreeMap::from([("from".to_owned(), "stream".to_owned()), ("scheduled".to_owned(), "true".to_owned())]);
    let wanted = [Wanted { kind: TouchKind::Backup, with }];
    let wish = Wish {
        run,
        command,
        service,
        instance,
        wanted: &wanted,
        made_ms: now.as_millisecond(),
        expires_ms: now.as_millisecond() + rules.settings.consent.within.as_millis() as i64,
        lasts_ms: None,
        asker,
        count: CountFor::Plan { watched: false },
    };
    let made = match plan::make(hall, &permit, &wish).await {
        Ok(made) => made,
        Err(Unplanned::Misunderstood(card)) => return (*card, false),
        Err(Unplanned::Nothing(why)) => return not(why, "see `/redis help backup`"),
        Err(Unplanned::Failed(error)) => return (explained_card("backup", service, &error), false),
    };
    let plan = made.plan;
    if plan.risk > Risk::Low {
        let next = "ask for it by hand (`/redis backup`), or let the team's own `backup` be of low risk";
        return not(format!("Its risk is {}, and nobody is there to consent.", plan.risk.word()), next);
    }
    if let Err(error) = hall.store.plan_add(&plan, place).await {
        return (cards::unwritten(&error), false);
    }
    let row = PlanRow { plan, place: place.clone(), message: None, state: PlanState::Pending };
    let carried = carry::carry(hall, &row).await;
    // The clock's own card says how it ended.
    super::told(hall, run).await;
    carried
}
