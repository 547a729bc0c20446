//! A step of a runbook that asks for people's word. It is a plan that changes
//! nothing, so whose word counts, typed names, reminders, expiry, break-glass
//! and taking a word back are those of every plan.

use std::sync::Arc;

use jiff::Timestamp;

use super::{asker_of, bound, cards, edit, freeze, word};
use crate::{
    bot::{Hall, Rules, deliver::Answer},
    model::{Card, Level, MessageRef, RunId},
    policy::{Consent, Said, TouchPermit},
    runbook::{Act, Asks, BookRun, Covered, PLAN_VERSION, Plan, Reach, Risk, Undo},
    store::{Outcome, PlanRow, PlanState},
};

/// What a runbook asks.
pub(in crate::bot) struct Question<'a> {
    /// Its run.
    pub(in crate::bot) run: &'a BookRun,
    /// The step.
    pub(in crate::bot) step: usize,
    /// The id of the question.
    pub(in crate::bot) id: &'a RunId,
    /// The changes a yes covers.
    pub(in crate::bot) covers: Vec<Covered>,
    /// The runbook's own card: a ✅ or ❌ there is heard as well.
    pub(in crate::bot) card: Option<&'a MessageRef>,
}

/// Asks it, in the place of the run.
///
/// # Errors
/// Why nobody was asked, in a sentence.
pub(in crate::bot) async fn ask(hall: &Arc<Hall>, rules: &Rules, question: Question<'_>) -> Result<(), String> {
    let Question { run, step, id, covers, card: own } = question;
    let Act::Approve { by, risk } = &run.steps[step].act else { return Err("that step asks nobody".to_owned()) };
    let least = risk.unwrap_or_default().max(Risk::Medium);
    let now = Timestamp::now();
    let plan = Plan {
        version: PLAN_VERSION,
        run: id.clone(),
        command: run.command.clone(),
        wanted: Vec::new(),
        service: run.service.clone(),
        instance: run.instance.clone(),
        targets: Vec::new(),
        steps: Vec::new(),
        reach: Reach::default(),
        facts: Vec::new(),
        warnings: Vec::new(),
        undo: Undo::Never("a word by itself changes nothing".to_owned()),
        risk: covers.iter().map(|covered| covered.plan.risk).fold(least, Risk::max),
        requester: run.requester.clone(),
        asker: run.asker.clone(),
        made_ms: now.as_millisecond(),
        expires_ms: now.as_millisecond() + rules.settings.consent.within.as_millis() as i64,
        lasts_ms: None,
        undoes: None,
        asks: Some(Box::new(Asks {
            run: run.run.clone(),
            step,
            title: run.progress[step].title.clone(),
            by: by.clone(),
            covers,
        })),
        rolls_back: None,
    };
    let Some((command, service, _)) = bound(rules, &plan) else {
        return Err("the runbook or its service is no longer configured".to_owned());
    };
    let place = crate::model::Place { via: None, ..run.place.clone() };
    let Some(gateway) = hall.gateway(place.platform).cloned() else {
        return Err(format!("{} is not configured, so nobody could answer", place.platform));
    };
    let card = cards::asks(rules, command, &plan, service, &place);
    hall.store.plan_add(&plan, &place).await.map_err(|error| format!("the store cannot be written ({error})"))?;
    let answer = Answer::new(gateway.clone(), &place, id, None);
    let shown = match answer.show(card).await {
        Some(message) => hall.store.plan_shown(id, &message).await.map(|()| message).map_err(|error| error.to_string()),
        None => Err("the question could not be shown here".to_owned()),
    };
    let message = match shown {
        Ok(message) => message,
        Err(why) => {
            if let Err(error) = hall.store.plan_move(id, PlanState::Pending, PlanState::Void, Some(&why)).await {
                tracing::warn!(%error, run = %id, "a question nobody saw could not be closed; it expires");
            }
            return Err(why);
        }
    };
    hall.new_wait.notify_one();
    for message in [Some(&message), own].into_iter().flatten() {
        for &sign in cards::signs(&plan) {
            if let Err(error) = gateway.react(message, sign, true).await {
                tracing::debug!(%error, "a sign to tap could not be put under a question");
            }
        }
    }
    Ok(())
}

/// The word is there, as far as the votes tell: judged once more, and the runbook goes on.
pub(super) async fn settle(hall: &Arc<Hall>, row: &PlanRow) -> (Card, bool) {
    let run = &row.plan.run;
    // What a restart left claimed is opened again; this is not.
    hall.touching.take_up(&row.plan);
    let settled = claimed(hall, row).await;
    hall.touching.put_down(run);
    settled
}

async fn claimed(hall: &Arc<Hall>, row: &PlanRow) -> (Card, bool) {
    let run = &row.plan.run;
    match hall.store.plan_move(run, PlanState::Pending, PlanState::Claimed, None).await {
        Ok(true) => {}
        Ok(false) => {
            let why = "Somebody else's word was enough, or it was withdrawn.";
            return (crate::bot::command::plain_card("already answered", why, None), true);
        }
        Err(error) => return (cards::unwritten(&error), false),
    }
    let rules = hall.rules();
    let (state, card, why) = match judged(hall, &rules, row).await {
        Ok(permit) => {
            let said = said(&rules, &row.plan, &permit);
            (PlanState::Done, cards::end(&row.plan, Level::Ok, "approved", &said, Vec::new()), said)
        }
        Err(why) => {
            let said = format!("It does not count: {why}");
            (PlanState::Void, cards::end(&row.plan, Level::Note, "not approved", &said, Vec::new()), said)
        }
    };
    let good = state == PlanState::Done;
    let outcome = if good { Outcome::Answered } else { Outcome::Failed };
    let entry = word(row, &asker_of(&row.plan), "agreed", outcome, Some(why.clone()));
    if let Err(error) = hall.store.record_synced(entry).await {
        tracing::warn!(%error, %run, "the end of a question could not be journalled");
    }
    if let Err(error) = hall.store.plan_move(run, PlanState::Claimed, state, Some(&why)).await {
        // Whoever takes the run up next finds the votes, and asks nobody twice.
        tracing::warn!(%error, %run, "the end of a question could not be written");
        return (cards::unwritten(&error), false);
    }
    edit(hall, row, card.clone()).await;
    (card, good)
}

/// After a restart: a word that was given and not yet acted upon.
pub(in crate::bot) async fn settle_if_enough(hall: &Arc<Hall>, row: &PlanRow) {
    if row.state == PlanState::Pending && judged(hall, &hall.rules(), row).await.is_ok() {
        settle(hall, row).await;
    }
}

async fn judged(hall: &Hall, rules: &Rules, row: &PlanRow) -> Result<TouchPermit, String> {
    let plan = &row.plan;
    let Some((command, service, _)) = bound(rules, plan) else {
        return Err("the runbook or its service is no longer configured.".to_owned());
    };
    let votes = hall.store.consents(&plan.run).await.map_err(|error| error.to_string())?;
    let broken = hall.store.broken(&plan.run).await.map_err(|error| error.to_string())?;
    freeze::holds_up(hall, rules, &plan.service).await?;
    let said = Said { votes: &votes, broken: broken.as_ref() };
    match rules.policy.consent(plan, command, service, &row.place, said, Timestamp::now()) {
        Consent::Granted(permit) => Ok(*permit),
        Consent::Need(ticket) => Err(format!("one of these could give it: {}.", ticket.who)),
        Consent::Void(refusal) => Err(refusal.why),
    }
}

fn said(rules: &Rules, plan: &Plan, permit: &TouchPermit) -> String {
    let step = plan.asks.as_ref().map_or(0, |asks| asks.step + 1);
    match permit.broken() {
        Some(broken) => format!(
            "Step {step} goes on: glass was broken by {} alone ({}): {}",
            rules.policy.name_of(&broken.person),
            broken.declared,
            broken.reason
        ),
        None => {
            let names: Vec<&str> = permit.consented().iter().map(|person| rules.policy.name_of(person)).collect();
            format!("Step {step} was approved by {}.", names.join(", "))
        }
    }
}
