//! From what somebody typed to a plan that all can see.

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    NO, PLAN_WITHIN, YES, cards, carry, freeze,
    plan::{self, Unplanned, Wish},
    waits,
};
use crate::{
    bot::{
        Hall,
        command::{Asked, Ended, busy_card, explained_card, plain_card, target},
        deliver::Answer,
    },
    policy::Verdict,
    runbook::{self, ArgumentValue, Intent, Kind, Remediation, Risk, TouchKind},
    store::{Outcome, PlanRow, PlanState},
};

/// Plans what somebody asked for, and shows it, or carries it out where nobody else has to consent.
pub(in crate::bot) async fn propose(
    hall: &Arc<Hall>,
    asked: &Asked<'_>,
    intent: &Intent,
    remediation: &Remediation,
    answer: &Answer,
) -> Ended {
    let intent = &match about_a_run(hall, asked, intent, remediation).await {
        Ok(intent) => intent,
        Err(ended) => return *ended,
    };
    let (service, instance) = match target(asked, intent) {
        Ok(target) => target,
        Err(card) => return Ended::of(intent, Outcome::Misunderstood, *card).in_private(),
    };
    let now = Timestamp::now();
    let permit = match asked.decide(&intent.command, Some(service), false) {
        Verdict::Allow(permit) => permit,
        Verdict::Deny(refusal) => return Ended::denied(intent, &refusal).on(service, instance),
    };
    let end = |outcome, card| Ended::of(intent, outcome, card).on(service, instance);
    if let Err(why) = freeze::holds_up(hall, asked.rules, &service.name).await {
        let card = plain_card("changes are stopped", format!("{why} Nothing was planned."), None);
        return end(Outcome::Denied, card).in_private();
    }
    let wanted = match runbook::bind_touches(intent, service) {
        Ok(wanted) => wanted,
        Err(error) => {
            return end(Outcome::Misunderstood, explained_card(&intent.command.name, service, &error)).in_private();
        }
    };
    let until = tokio::time::Instant::now() + PLAN_WITHIN;
    let held = match hall.limiter.instance(&service.name, &instance.name, intent.command.cost, until).await {
        Ok(held) => held,
        Err(busy) => return end(Outcome::Limited, busy_card(&busy)).in_private(),
    };
    let lasts_ms = match intent.arguments.get("for") {
        Some(ArgumentValue::Integer(ms)) => Some(*ms),
        _ => None,
    };
    let wish = Wish {
        run: asked.run,
        command: &intent.command,
        service,
        instance,
        wanted: &wanted,
        made_ms: now.as_millisecond(),
        expires_ms: now.as_millisecond() + asked.rules.settings.consent.within.as_millis() as i64,
        lasts_ms,
        asker: asked.actor,
    };
    let made = match plan::make(hall, &permit, &wish).await {
        Ok(made) => made,
        Err(Unplanned::Misunderstood(card)) => return end(Outcome::Misunderstood, *card).in_private(),
        Err(Unplanned::Nothing(why)) => return end(Outcome::Answered, plain_card("nothing to change", why, None)),
        Err(Unplanned::Failed(error)) => {
            return end(Outcome::Failed, explained_card(&intent.command.name, service, &error));
        }
    };
    drop(held);
    let mut card = cards::plan(asked.rules, &intent.command, &made.plan, service, asked.place, made.context);
    if matches!(intent.arguments.get("dry_run"), Some(ArgumentValue::Switch(true))) {
        card.actions.clear();
        card.footer = Some("dry run: nothing was changed, and this plan cannot be consented to".to_owned());
        return end(Outcome::Answered, card);
    }
    show(hall, made.plan, card, asked, answer, end).await
}

/// Writes the plan down, shows it, and carries it out at once where nobody has to consent.
async fn show(
    hall: &Arc<Hall>,
    plan: runbook::Plan,
    card: crate::model::Card,
    asked: &Asked<'_>,
    answer: &Answer,
    end: impl Fn(Outcome, crate::model::Card) -> Ended,
) -> Ended {
    // Before anybody sees it, it is a row: what nobody can write down is not done.
    if let Err(error) = hall.store.plan_add(&plan, asked.place).await {
        return end(Outcome::Failed, cards::unwritten(&error));
    }
    if plan.risk == Risk::Low {
        // What takes longer than a moment is watched in a message of its own.
        let long = plan.steps.iter().any(|step| step.change.longest() > PLAN_WITHIN);
        let message = if long { answer.show(card).await } else { None };
        if let Some(message) = &message
            && let Err(error) = hall.store.plan_shown(&plan.run, message).await
        {
            return end(Outcome::Failed, cards::unwritten(&error));
        }
        let row = PlanRow { plan, place: asked.place.clone(), message, state: PlanState::Pending };
        let (card, good) = carry::carry(hall, &row).await;
        let outcome = if good { Outcome::Answered } else { Outcome::Failed };
        return Ended { shown: row.message.is_some(), ..end(outcome, card) };
    }
    // An edit calls nobody: where something was said before, the approvers are called beside it.
    let edited = answer.has_said().await;
    let Some(message) = answer.show(card.clone()).await else {
        let why = "it could not be shown";
        if let Err(error) = hall.store.plan_move(&plan.run, PlanState::Pending, PlanState::Void, Some(why)).await {
            tracing::warn!(%error, run = %plan.run, "a plan nobody saw could not be closed; it expires");
        }
        let card = plain_card("not planned", "The plan could not be shown here, so nobody could consent to it.", None);
        return end(Outcome::Failed, card);
    };
    if let Err(error) = hall.store.plan_shown(&plan.run, &message).await {
        return end(Outcome::Failed, cards::unwritten(&error));
    }
    hall.new_wait.notify_one();
    let row = PlanRow { plan, place: asked.place.clone(), message: Some(message.clone()), state: PlanState::Pending };
    if edited {
        waits::call(hall, asked.rules, &row, waits::Why::Shown).await;
    }
    if let Some(gateway) = hall.gateway(message.place.platform) {
        for sign in [YES, NO] {
            if let Err(error) = gateway.react(&message, sign, true).await {
                tracing::debug!(%error, "a sign to tap could not be put under a plan");
            }
        }
    }
    Ended { shown: true, ..end(Outcome::Answered, card) }
}

/// An undo is about the service of the run it takes back, and only for those who may run that command.
async fn about_a_run(
    hall: &Hall,
    asked: &Asked<'_>,
    intent: &Intent,
    remediation: &Remediation,
) -> Result<Intent, Box<Ended>> {
    if remediation.touches.iter().all(|touch| touch.kind != TouchKind::Undo) {
        return Ok(intent.clone());
    }
    let misunderstood = |why: String| {
        let next = "`/redis undo RUN`, with the id at the foot of the run's card".to_owned();
        Box::new(Ended::of(intent, Outcome::Misunderstood, plain_card("undo", why, Some(next))).in_private())
    };
    let word = intent.arguments.values().find_map(|value| match value {
        ArgumentValue::Text(text) => Some(text.as_str()),
        _ => None,
    });
    let row = plan::undone_run(hall, word.unwrap_or_default()).await.map_err(misunderstood)?;
    let plan = &row.plan;
    let service = asked.rules.services.get(&plan.service);
    let command =
        asked.rules.catalogue.find(&plan.command).filter(|command| matches!(command.kind, Kind::Remediation(_)));
    let (Some(service), Some(command)) = (service, command) else {
        return Err(misunderstood("Its command or service is no longer configured.".to_owned()));
    };
    if !asked.rules.policy.may(asked.actor.person.as_ref(), command, Some(service), asked.place) {
        return Err(misunderstood(format!(
            "You may not run `{}` on {}, so you may not take it back either.",
            plan.command, plan.service
        )));
    }
    if intent.service.as_ref().is_some_and(|named| *named != plan.service) {
        return Err(misunderstood(format!("That run was on {}/{}.", plan.service, plan.instance)));
    }
    Ok(Intent { service: Some(plan.service.clone()), instance: Some(plan.instance.clone()), ..intent.clone() })
}
