//! Plans that wait: their approvers are reminded and called again, and they
//! expire. Rows say when; a timer only wakes us to look.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{bound, cards, close, freeze};
use crate::{
    bot::{Hall, Rules},
    model::{Action, ActionStyle, Block, Card, Level, Place, Text},
    runbook::Risk,
    store::{Call, Owed, OwedWhat, PlanRow, PlanState, StoreError},
};

/// The rows are looked at at least this often: the clock may be set, and the store may have been away.
const PACE: Duration = Duration::from_secs(20);

/// Why the approvers of a plan are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// It is new.
    Shown,
    /// It expires soon.
    Reminded,
    /// Nobody has answered.
    Paged,
}

/// Calls approvers and lets plans expire, until the bot stops.
pub(in crate::bot) async fn keep(hall: Arc<Hall>) {
    loop {
        let wait = match hall.store.plans(PlanState::Pending).await {
            Ok(rows) => {
                let mut next = PACE;
                for row in rows {
                    next = next.min(look(&hall, &row).await.unwrap_or_else(|error| {
                        tracing::warn!(%error, run = %row.plan.run, "a plan that waits could not be looked after");
                        PACE
                    }));
                }
                next
            }
            Err(error) => {
                tracing::warn!(%error, "plans that wait could not be read");
                PACE
            }
        };
        tokio::select! {
            () = hall.stopping.cancelled() => return,
            () = hall.new_wait.notified() => {}
            () = tokio::time::sleep(wait.max(Duration::from_millis(20))) => {}
        }
    }
}

/// Does what is due about one plan; how long until something else is.
async fn look(hall: &Arc<Hall>, row: &PlanRow) -> Result<Duration, StoreError> {
    let plan = &row.plan;
    let now = Timestamp::now();
    if plan.expired(now) {
        close(hall, row, PlanState::Void, "It expired without enough consent. Nothing was changed.").await;
        return Ok(PACE);
    }
    let until = |at_ms: i64| Duration::from_millis(u64::try_from(at_ms - now.as_millisecond()).unwrap_or(0));
    let mut next = until(plan.expires_ms);
    if plan.risk == Risk::Low || row.message.is_none() {
        return Ok(next);
    }
    let rules = hall.rules();
    let times = &rules.settings.consent;
    let ms = |length: Duration| i64::try_from(length.as_millis()).unwrap_or(i64::MAX);
    let due = [
        (plan.made_ms.saturating_add(ms(times.page_after)), Why::Paged, Call::Paged),
        (plan.expires_ms.saturating_sub(ms(times.remind_before)), Why::Reminded, Call::Reminded),
    ];
    // While all changes are stopped nobody's word is taken, so nobody is asked for it.
    let frozen = freeze::holds_up(hall, &rules, &plan.service).await.is_err();
    for (at_ms, why, what) in due {
        if hall.store.call(&plan.run, what).await?.is_some() {
            continue;
        }
        if at_ms > now.as_millisecond() {
            next = next.min(until(at_ms));
            continue;
        }
        // Somebody answered: nobody need be called again for that, and the reminder still comes.
        if frozen || (why == Why::Paged && !hall.store.consents(&plan.run).await?.is_empty()) {
            next = next.min(Duration::from_secs(1));
            continue;
        }
        call(hall, &rules, row, why).await;
        hall.store.called(&plan.run, what, now).await?;
    }
    Ok(next)
}

/// Calls the approvers of a plan, in its place.
pub(super) async fn call(hall: &Hall, rules: &Rules, row: &PlanRow, why: Why) {
    let plan = &row.plan;
    let Some((command, service, _)) = bound(rules, plan) else { return };
    let able = rules.policy.consenters(plan, command, service, &row.place);
    let people = rules.policy.called(&able, plan, why != Why::Shown);
    let (key, title, before) = match why {
        Why::Shown => ("asked", "consent is asked", "Consent is asked of"),
        Why::Reminded => ("remind", "consent is still missing", "It expires soon. Consent is asked of"),
        Why::Paged => ("page", "nobody has answered", "Nobody has answered yet. Called again:"),
    };
    let mut blocks = vec![Block::Text(cards::calling(rules, &row.place, before, &people))];
    let mut actions = Vec::new();
    if plan.risk >= Risk::Critical {
        blocks.push(Block::Text(Text::notation(&cards::how_to_consent(plan))));
    } else {
        let command = format!("approve {}", plan.run);
        actions.push(Action { label: "Consent".to_owned(), command, style: ActionStyle::Danger });
    }
    let command = format!("decline {}", plan.run);
    actions.push(Action { label: "Decline".to_owned(), command, style: ActionStyle::Plain });
    if why == Why::Paged && plan.risk < Risk::Critical {
        let wait = crate::model::show_duration(rules.settings.consent.break_glass_after);
        let line = format!("/redis break-glass {} {} REASON", plan.run, plan.service);
        blocks.push(Block::Text(Text::notation(&format!(
            "In a SEV1, somebody who may run it may go on alone in {wait}, if still nobody has answered: `{line}`"
        ))));
    }
    let what = format!(
        "{} was asked for by {} and waits until {}.",
        plan.what(),
        rules.policy.name_of(&plan.requester),
        cards::until(plan)
    );
    let card = Card {
        title: format!("{title} · {} · {}", plan.command, plan.service),
        level: Some(if why == Why::Paged { Level::Warn } else { Level::Note }),
        verdict: Some(Text::plain(what)),
        blocks,
        actions,
        footer: Some(format!("run {}", plan.run)),
        ..Card::default()
    };
    // Owed first, then marked: a crash in between says it twice, which harms nothing.
    let place = Place { via: None, ..row.place.clone() };
    let owed = Owed {
        key: format!("{key}-{}", plan.run),
        what: OwedWhat::Say { place, card, only: None },
        due: Timestamp::now(),
    };
    if let Err(error) = hall.store.owed_add(owed).await {
        tracing::warn!(%error, run = %plan.run, "approvers could not be called");
    }
}
