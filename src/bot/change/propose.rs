//! From what somebody typed to a plan that all can see.

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    PLAN_WITHIN,
    cards::{self, Shown},
    carry, freeze,
    plan::{self, Made, Unplanned, Wish},
    waits,
};
use crate::{
    bot::{
        Hall, Rules, book,
        command::{Asked, Ended, busy_card, explained_card, plain_card, target},
        deliver::Answer,
    },
    exec::aside::CountFor,
    model::{Block, Card, Instance, Level, Place, RunId, Service, Text},
    policy::{Ask, Consent, Said, Verdict, Vote},
    runbook::{self, ArgumentValue, Change, Covered, Intent, Kind, Plan, Remediation, Risk, TouchKind},
    store::{Outcome, PlanRow, PlanState},
};

/// What a runbook lends to a change of its own.
#[derive(Default)]
pub(in crate::bot) struct Under {
    /// A word people gave before.
    pub(in crate::bot) cover: Option<Cover>,
    /// The watch whose failure takes it back, in words.
    pub(in crate::bot) rolls_back: Option<String>,
    /// Nobody typed it just now: where the instance was asked for much, it waits for its turn.
    pub(in crate::bot) in_turn: bool,
}

/// People's word on a runbook, and the change it was given for.
pub(in crate::bot) struct Cover {
    /// The question's id.
    pub(in crate::bot) question: RunId,
    /// The change, as they saw it.
    pub(in crate::bot) shown: Covered,
    /// What is typed now.
    pub(in crate::bot) line: String,
    /// Who gave it.
    pub(in crate::bot) votes: Vec<Vote>,
}

/// Plans what somebody asked for, and shows it, or carries it out where nobody else has to consent.
pub(in crate::bot) async fn propose(
    hall: &Arc<Hall>,
    asked: &Asked<'_>,
    intent: &Intent,
    remediation: &Remediation,
    answer: &Answer,
) -> Ended {
    propose_under(hall, asked, intent, remediation, answer, Under::default()).await
}

/// What a line would come to now. Nothing is written down, and nobody is shown anything.
///
/// # Errors
/// Why it comes to no plan, in a sentence.
pub(in crate::bot) async fn preview(
    hall: &Arc<Hall>,
    asked: &Asked<'_>,
    intent: &Intent,
    remediation: &Remediation,
    rolls_back: Option<String>,
) -> Result<Plan, String> {
    let told = |ended: Ended| ended.card.verdict.map(|verdict| verdict.to_plain()).unwrap_or_default();
    let intent = about_a_run(hall, asked, intent, remediation).await.map_err(|ended| told(*ended))?;
    let (service, instance) =
        target(asked, &intent).map_err(|card| told(Ended::of(&intent, Outcome::Misunderstood, *card)))?;
    let made = planned(hall, asked, &intent, service, instance, rolls_back, false).await;
    let made = made.map_err(|ended| told(*ended))?;
    Ok(made.plan)
}

/// The same for a change of a runbook.
pub(in crate::bot) async fn propose_under(
    hall: &Arc<Hall>,
    asked: &Asked<'_>,
    intent: &Intent,
    remediation: &Remediation,
    answer: &Answer,
    under: Under,
) -> Ended {
    let intent = &match about_a_run(hall, asked, intent, remediation).await {
        Ok(intent) => intent,
        Err(ended) => return *ended,
    };
    let (service, instance) = match target(asked, intent) {
        Ok(target) => target,
        Err(card) => return Ended::of(intent, Outcome::Misunderstood, *card).in_private(),
    };
    let end = |outcome, card| Ended::of(intent, outcome, card).on(service, instance);
    let made = match planned(hall, asked, intent, service, instance, under.rolls_back, under.in_turn).await {
        Ok(made) => made,
        Err(ended) => return *ended,
    };
    let dry = matches!(intent.arguments.get("dry_run"), Some(ArgumentValue::Switch(true)));
    let shown = if dry { Shown::DryRun } else { Shown::ToBeDone };
    let mut card = cards::plan(asked.rules, &intent.command, &made.plan, service, asked.place, made.context, shown);
    if dry {
        card.actions.clear();
        card.footer = Some("dry run: nothing was changed, and this plan cannot be consented to".to_owned());
        return end(Outcome::Answered, card);
    }
    hall.watching.keep(&made.plan.run, made.watched);
    if made.plan.risk > Risk::Low
        && let Some(cover) = under.cover
    {
        match covers(asked, intent, service, &made.plan, &cover) {
            Ok(votes) => return carry_covered(hall, made.plan, &cover.question, &votes, asked, answer, end).await,
            Err(why) => {
                let text = format!("The word given to the runbook (run {}) does not cover it: {why}.", cover.question);
                card.blocks.push(Block::Text(Text::plain(text)));
            }
        }
    }
    show(hall, made.plan, card, asked, answer, end).await
}

/// The votes of a word that covers a plan.
///
/// # Errors
/// Why it does not.
fn covers(
    asked: &Asked<'_>,
    intent: &Intent,
    service: &Service,
    plan: &Plan,
    cover: &Cover,
) -> Result<Vec<Vote>, String> {
    if let Some(why) = cover.shown.drift(&cover.line, plan) {
        return Err(why);
    }
    let digest = plan.digest();
    let votes: Vec<Vote> = cover.votes.iter().map(|vote| Vote { digest: digest.clone(), ..vote.clone() }).collect();
    let said = Said { votes: &votes, broken: None };
    match asked.rules.policy.consent(plan, &intent.command, service, asked.place, said, Timestamp::now()) {
        Consent::Granted(_) => Ok(votes),
        Consent::Need(ticket) => Err(format!("it takes the word of {}", ticket.who)),
        Consent::Void(refusal) => Err(refusal.why.trim_end_matches('.').to_owned()),
    }
}

/// Carries out what people agreed to when the runbook asked them.
async fn carry_covered(
    hall: &Arc<Hall>,
    plan: Plan,
    question: &RunId,
    votes: &[Vote],
    asked: &Asked<'_>,
    answer: &Answer,
    end: impl Fn(Outcome, Card) -> Ended,
) -> Ended {
    if let Err(error) = hall.store.plan_add(&plan, asked.place).await {
        return end(Outcome::Failed, cards::unwritten(&error));
    }
    let names: Vec<&str> = votes.iter().map(|vote| asked.rules.policy.name_of(&vote.person)).collect();
    let what = format!("The word of {} covers it (run {question}); it is carried out now.", names.join(", "));
    let message = answer.show(cards::end(&plan, Level::Note, "agreed before", &what, Vec::new())).await;
    let mut written = match &message {
        Some(message) => hall.store.plan_shown(&plan.run, message).await,
        None => Ok(()),
    };
    let row = PlanRow { plan, place: asked.place.clone(), message, state: PlanState::Pending };
    for vote in votes {
        let by = crate::model::Actor { person: Some(vote.person.clone()), ..super::asker_of(&row.plan) };
        let why = format!("given to run {question}, which covers it");
        let entry = super::word(&row, &by, "consent", Outcome::Answered, Some(why));
        written = match written {
            Ok(()) => hall.store.record_synced(entry).await.map(drop),
            error => error,
        };
        if written.is_ok() {
            written = hall.store.consent_add(&row.plan.run, vote, Timestamp::now()).await.map(drop);
        }
    }
    if let Err(error) = written {
        // What is not carried out now is not carried out later without a word.
        super::close(hall, &row, PlanState::Void, "The word on it could not be written down. Nothing was changed.")
            .await;
        return end(Outcome::Failed, cards::unwritten(&error));
    }
    let (card, good) = carry::carry(hall, &row).await;
    let outcome = if good { Outcome::Answered } else { Outcome::Failed };
    Ended { shown: row.message.is_some(), ends: row.message.is_none(), ..end(outcome, card) }
}

/// The plan of what somebody asked for, from what is so now.
async fn planned(
    hall: &Arc<Hall>,
    asked: &Asked<'_>,
    intent: &Intent,
    service: &Arc<Service>,
    instance: &Instance,
    rolls_back: Option<String>,
    in_turn: bool,
) -> Result<Made, Box<Ended>> {
    let now = Timestamp::now();
    let permit = match asked.decide(&intent.command, Some(service), false) {
        Verdict::Allow(permit) => permit,
        Verdict::Deny(refusal) => return Err(Box::new(Ended::denied(intent, &refusal).on(service, instance))),
    };
    let end = |outcome, card| Ended::of(intent, outcome, card).on(service, instance);
    if let Err(why) = freeze::holds_up(hall, asked.rules, &service.name).await {
        let card = plain_card("changes are stopped", format!("{why} Nothing was planned."), None);
        return Err(Box::new(end(Outcome::Denied, card).in_private()));
    }
    let wanted = match runbook::bind_touches(intent, service) {
        Ok(wanted) => wanted,
        Err(error) => {
            let card = explained_card(&intent.command.name, service, &error);
            return Err(Box::new(end(Outcome::Misunderstood, card).in_private()));
        }
    };
    let (name, cost) = (&instance.name, intent.command.cost);
    let held = match in_turn {
        true => hall.limiter.instance_in_turn(&service.name, name, cost, PLAN_WITHIN, &hall.stopping).await,
        false => {
            let until = tokio::time::Instant::now() + PLAN_WITHIN;
            hall.limiter.instance(&service.name, name, cost, until).await
        }
    };
    let held = match held {
        Ok(held) => held,
        Err(busy) => return Err(Box::new(end(Outcome::Limited, busy_card(&busy)).in_private())),
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
        count: CountFor::Plan { watched: true },
    };
    let made = plan::make(hall, &permit, &wish).await;
    drop(held);
    let mut made = made.map_err(|unplanned| {
        Box::new(match unplanned {
            Unplanned::Misunderstood(card) => end(Outcome::Misunderstood, *card).in_private(),
            Unplanned::Nothing(why) => end(Outcome::Answered, plain_card("nothing to change", why, None)),
            Unplanned::Failed(error) => end(Outcome::Failed, explained_card(&intent.command.name, service, &error)),
        })
    })?;
    // Settings alone know the way back to where they were from where this change puts them.
    if made.plan.steps.iter().all(|step| matches!(step.change, Change::SetConfig { .. })) {
        made.plan.rolls_back = rolls_back;
    }
    Ok(made)
}

/// Writes the plan down, shows it, and carries it out at once where nobody has to consent.
async fn show(
    hall: &Arc<Hall>,
    plan: Plan,
    card: Card,
    asked: &Asked<'_>,
    answer: &Answer,
    end: impl Fn(Outcome, Card) -> Ended,
) -> Ended {
    // An edit calls nobody: where something was said before, the approvers are called beside it.
    let edited = answer.has_said().await;
    let row = match put_up(hall, plan, &card, asked.place, answer).await {
        Ok(row) => row,
        Err(card) => return end(Outcome::Failed, *card),
    };
    if row.plan.risk == Risk::Low {
        // Its message becomes that of the run.
        let (card, good) = carry::carry(hall, &row).await;
        let outcome = if good { Outcome::Answered } else { Outcome::Failed };
        return Ended { shown: true, ..end(outcome, card) };
    }
    ask(hall, asked.rules, &row, edited).await;
    Ended { shown: true, ..end(Outcome::Answered, card) }
}

/// Writes a plan down and shows it; the card that says why not.
async fn put_up(
    hall: &Arc<Hall>,
    plan: Plan,
    card: &Card,
    place: &Place,
    answer: &Answer,
) -> Result<PlanRow, Box<Card>> {
    // Before anybody sees it, it is a row: what nobody can write down is not done.
    if let Err(error) = hall.store.plan_add(&plan, place).await {
        drop(hall.watching.take(&plan.run));
        return Err(Box::new(cards::unwritten(&error)));
    }
    let Some(message) = answer.show(card.clone()).await else {
        drop(hall.watching.take(&plan.run));
        let why = "it could not be shown";
        if let Err(error) = hall.store.plan_move(&plan.run, PlanState::Pending, PlanState::Void, Some(why)).await {
            tracing::warn!(%error, run = %plan.run, "a plan nobody saw could not be closed; it expires");
        }
        let why = "The plan could not be shown here, and what nobody could see is not done.";
        return Err(Box::new(plain_card("not planned", why, None)));
    };
    hall.store.plan_shown(&plan.run, &message).await.map_err(|error| Box::new(cards::unwritten(&error)))?;
    Ok(PlanRow { plan, place: place.clone(), message: Some(message), state: PlanState::Pending })
}

/// Has a plan that is shown wait for people's word.
async fn ask(hall: &Arc<Hall>, rules: &Rules, row: &PlanRow, edited: bool) {
    hall.new_wait.notify_one();
    if edited {
        waits::call(hall, rules, row, waits::Why::Shown).await;
    }
    if let Some(message) = &row.message
        && let Some(gateway) = hall.gateway(message.place.platform)
    {
        for &sign in cards::signs(&row.plan) {
            if let Err(error) = gateway.react(message, sign, true).await {
                tracing::debug!(%error, "a sign to tap could not be put under a plan");
            }
        }
    }
}

/// Whether a plan that no longer holds is made anew by itself: people agreed to one, and no runbook asks again.
pub(super) async fn may_be_anew(hall: &Arc<Hall>, row: &PlanRow) -> bool {
    row.plan.risk > Risk::Low && row.plan.rolls_back.is_none() && !book::waits_for(hall, &row.plan.run).await
}

/// Makes a plan that no longer holds anew, from what is so now, and asks for consent to it.
pub(super) async fn anew(hall: &Arc<Hall>, row: &PlanRow, changed: &str) {
    let rules = hall.rules();
    let old = &row.plan;
    let Some(gateway) = hall.gateway(row.place.platform).cloned() else { return };
    let place = Place { via: None, ..row.place.clone() };
    let run = RunId::from_bits(rand::random());
    let answer = Answer::new(gateway, &place, &run, None);
    let card = match renewed(hall, &rules, old, &place, &run).await {
        Ok((plan, mut card)) => {
            let why = format!("It takes the place of run {}, which was not carried out: {changed}.", old.run);
            card.blocks.insert(0, Block::Text(Text::plain(why)));
            match put_up(hall, plan, &card, &place, &answer).await {
                Ok(row) => return ask(hall, &rules, &row, false).await,
                Err(card) => *card,
            }
        }
        Err(why) => plain_card("not planned anew", format!("In the place of run {}: {why}", old.run), None),
    };
    super::tell(hall, &place, format!("anew-{}", old.run), card).await;
}

/// The same wish, planned now, and the card that shows it; why there is none.
async fn renewed(
    hall: &Arc<Hall>,
    rules: &Rules,
    old: &Plan,
    place: &Place,
    run: &RunId,
) -> Result<(Plan, Card), String> {
    let gone = || "its command, service or instance is no longer configured.".to_owned();
    let (command, service, instance) = super::bound(rules, old).ok_or_else(gone)?;
    let (asker, now) = (super::asker_of(old), Timestamp::now());
    let ask = Ask { actor: &asker, place, command, service: Some(service.as_ref()), run, reveal: false, now };
    let permit = match rules.policy.decide(&ask) {
        Verdict::Allow(permit) => permit,
        Verdict::Deny(refusal) => return Err(refusal.why),
    };
    let wish = Wish {
        run,
        command,
        service,
        instance,
        wanted: &old.wanted,
        made_ms: now.as_millisecond(),
        expires_ms: now.as_millisecond() + rules.settings.consent.within.as_millis() as i64,
        lasts_ms: old.lasts_ms,
        asker: &asker,
        count: CountFor::Plan { watched: true },
    };
    let made = plan::make(hall, &permit, &wish).await.map_err(|unplanned| match unplanned {
        Unplanned::Failed(error) => format!("{}: {}.", error.what, error.cause),
        Unplanned::Nothing(why) => why,
        Unplanned::Misunderstood(card) => card.verdict.map(|verdict| verdict.to_plain()).unwrap_or_default(),
    })?;
    if made.plan.risk == Risk::Low {
        return Err("nobody would have to consent to it now; ask for it again.".to_owned());
    }
    let card = cards::plan(rules, command, &made.plan, service, place, made.context, Shown::ToBeDone);
    hall.watching.keep(run, made.watched);
    Ok((made.plan, card))
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
    let refused = |why: String, next: Option<String>| {
        Box::new(Ended::of(intent, Outcome::Misunderstood, plain_card("undo", why, next)).in_private())
    };
    let word = intent.arguments.values().find_map(|value| match value {
        ArgumentValue::Text(text) => Some(text.as_str()),
        _ => None,
    });
    let row = plan::undone_run(hall, word.unwrap_or_default()).await;
    let row = row.map_err(|not| refused(not.why, not.next))?;
    let plan = &row.plan;
    let service = asked.rules.services.get(&plan.service);
    let command =
        asked.rules.catalogue.find(&plan.command).filter(|command| matches!(command.kind, Kind::Remediation(_)));
    let (Some(service), Some(command)) = (service, command) else {
        return Err(refused("Its command or service is no longer configured.".to_owned(), None));
    };
    if !asked.rules.policy.may(asked.actor, command, Some(service), asked.place) {
        let why =
            format!("You may not run `{}` on {}, so you may not take it back either.", plan.command, plan.service);
        let next = format!("ask {}, whose run it was", asked.rules.policy.name_of(&plan.requester));
        return Err(refused(why, Some(next)));
    }
    if intent.service.as_ref().is_some_and(|named| *named != plan.service) {
        let next = "leave the service out: the run knows its own".to_owned();
        return Err(refused(format!("That run was on {}/{}.", plan.service, plan.instance), Some(next)));
    }
    Ok(Intent { service: Some(plan.service.clone()), instance: Some(plan.instance.clone()), ..intent.clone() })
}
