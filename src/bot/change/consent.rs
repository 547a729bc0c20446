//! What people say to plans: consent, refusal, and taking consent back.

use std::sync::Arc;

use jiff::Timestamp;

use super::{NO, YES, bound, cards, carry, close, freeze, word};
use crate::{
    bot::{
        Came, Hall, Rules, book,
        command::{Asked, plain_card},
        had_its_word,
    },
    chat::{Event, Inbound},
    model::{Actor, Card, MessageRef, RunId, Service},
    policy::{Consent, Refusal, Said, Vote},
    runbook::{Command, Plan, Risk},
    store::{Outcome, PlanRow, PlanState},
};

/// Somebody reacted to a message.
pub(in crate::bot) async fn reacted(hall: &Arc<Hall>, inbound: Inbound, came: Came) {
    let Event::Reacted { message, emoji, added } = &inbound.what else { return };
    if emoji != YES && emoji != NO {
        return;
    }
    let found = match hall.store.plan_in(message).await {
        // A runbook's own card: it may ask something now.
        Ok(None) => match book::asked_in(hall, message).await {
            Some(run) => hall.store.plan(&run).await,
            None => Ok(None),
        },
        found => found,
    };
    let row = match found {
        Ok(Some(row)) => row,
        // Most reactions are about something else.
        Ok(None) => return,
        Err(error) => {
            tracing::warn!(%error, "a reaction could not be looked up");
            return say(hall, &inbound, message, cards::unwritten(&error)).await;
        }
    };
    // Whether a word that was cut off was heard shows in the plan: while it waits, it is heard again.
    if came != Came::Nowhere && (row.state != PlanState::Pending || came == Came::TooLate) {
        return;
    }
    let rules = hall.rules();
    let (display, badges) = (inbound.display.clone(), inbound.badges.clone());
    let actor = rules.policy.speaker(inbound.from.clone(), inbound.person.clone(), display, badges);
    if let Some(why) = &inbound.barred {
        let card = plain_card("refused", format!("This account's word does not count: {why}."), None);
        return say(hall, &inbound, message, card).await;
    }
    if !added {
        if emoji == YES
            && let Some(card) = taken_back(hall, &rules, &actor, &row).await
        {
            say(hall, &inbound, message, card).await;
        }
        return;
    }
    let (card, _) = vote(hall, &rules, &actor, row, emoji == YES, None).await;
    say(hall, &inbound, message, card).await;
}

async fn say(hall: &Hall, inbound: &Inbound, message: &MessageRef, card: Card) {
    super::tell(hall, &message.place, format!("word-{}", inbound.event), card).await;
}

/// Takes a person's consent back, if they gave one and the run has not begun; what is said to it.
async fn taken_back(hall: &Hall, rules: &Rules, actor: &Actor, row: &PlanRow) -> Option<Card> {
    let person = actor.person.as_ref()?;
    match hall.store.consent_revoke(&row.plan.run, person).await {
        Ok(true) => {}
        Ok(false) => return None,
        Err(error) => return Some(cards::unwritten(&error)),
    }
    if let Err(error) = hall.store.record_synced(word(row, actor, "revoke", Outcome::Answered, None)).await {
        tracing::error!(%error, run = %row.plan.run, "a consent that was taken back could not be journalled");
    }
    Some(plain_card("taken back", format!("{} took their consent back.", rules.policy.name_of(person)), None))
}

/// The plan of a run that somebody names, or what to say to them.
pub(super) async fn named(hall: &Hall, run: &str) -> Result<PlanRow, (Card, Outcome)> {
    let found = match RunId::parse(run) {
        Some(run) => match book::question(hall, &run).await {
            Some(Ok(question)) => hall.store.plan(&question).await,
            Some(Err(card)) => return Err((*card, Outcome::Misunderstood)),
            None => hall.store.plan(&run).await,
        },
        None => Ok(None),
    };
    found.map_err(|error| (cards::unwritten(&error), Outcome::Failed))?.ok_or_else(|| {
        let next = Some("`/redis pending` lists what waits".to_owned());
        (plain_card("which plan?", "No plan has that run id.", next), Outcome::Misunderstood)
    })
}

/// Consent or refusal by its run's id, and the service's name where it is typed.
pub(in crate::bot) async fn by_id(hall: &Arc<Hall>, asked: &Asked<'_>, text: &str, yes: bool) -> (Card, Outcome) {
    let mut words = text.split_whitespace();
    match named(hall, words.next().unwrap_or_default()).await {
        Ok(row) => vote(hall, asked.rules, asked.actor, row, yes, words.next()).await,
        Err(said) => said,
    }
}

/// Takes consent back by its run's id.
pub(in crate::bot) async fn taken_back_by_id(hall: &Hall, asked: &Asked<'_>, run: &str) -> (Card, Outcome) {
    let row = match named(hall, run.trim()).await {
        Ok(row) => row,
        Err(said) => return said,
    };
    match taken_back(hall, asked.rules, asked.actor, &row).await {
        Some(card) => (card, Outcome::Answered),
        None => {
            let why = format!("There is no consent of yours to take back: that plan is {}.", row.state.word());
            let next = format!("`/redis cancel {}` stops it while it runs", row.plan.run);
            (plain_card("not taken back", why, Some(next)), Outcome::Misunderstood)
        }
    }
}

/// One person's word on one plan, and the run when it is enough.
async fn vote(
    hall: &Arc<Hall>,
    rules: &Rules,
    actor: &Actor,
    row: PlanRow,
    yes: bool,
    typed: Option<&str>,
) -> (Card, Outcome) {
    let plan = &row.plan;
    let act = if yes { "consent" } else { "decline" };
    let refused = async |refusal: &Refusal| {
        let entry = word(&row, actor, act, Outcome::Denied, Some(refusal.rule.clone()));
        if let Err(error) = hall.store.record_synced(entry).await {
            tracing::warn!(%error, "a refused consent could not be journalled");
        }
        (refusal.card(), Outcome::Denied)
    };
    if let Some(refusal) = rules.policy.stranger(actor) {
        return refused(&refusal).await;
    }
    let closed = |why: String| Refusal {
        rule: "consent".to_owned(),
        why,
        next: format!("Ask anew if it is still wanted: `/redis {}` was the command.", plan.command),
    };
    if row.state != PlanState::Pending {
        return refused(&closed(format!("That plan waits for nobody: it is {}.", row.state.word()))).await;
    }
    if plan.expired(Timestamp::now()) {
        close(hall, &row, PlanState::Void, "It expired without enough consent. Nothing was changed.").await;
        return refused(&closed("That plan has expired. Nothing was changed.".to_owned())).await;
    }
    let Some((command, service, _)) = bound(rules, plan) else {
        return refused(&closed("Its command, service or instance is no longer configured.".to_owned())).await;
    };
    let own = actor.person.as_ref() == Some(&plan.requester);
    let person = match rules.policy.may_consent(actor, plan, command, service, &row.place) {
        Ok(person) => person.clone(),
        // Whoever asked may always think better of it.
        Err(_) if own && !yes => plan.requester.clone(),
        Err(refusal) => return refused(&refusal).await,
    };
    if yes && let Err(refusal) = typed_right(plan, typed) {
        return refused(&refusal).await;
    }
    if yes && let Err(why) = freeze::holds_up(hall, rules, &plan.service).await {
        let next = "Consent once they go on, if the plan still waits then.".to_owned();
        return refused(&Refusal { rule: "freeze".to_owned(), why, next }).await;
    }
    if let Err(error) = hall.store.record_synced(word(&row, actor, act, Outcome::Answered, None)).await {
        return (cards::unwritten(&error), Outcome::Failed);
    }
    let name = rules.policy.name_of(&person).to_owned();
    if !yes {
        close(hall, &row, PlanState::Declined, &format!("{name} declined it. Nothing was changed.")).await;
        return (
            plain_card("declined", format!("{name} declined the plan. Nothing was changed."), None),
            Outcome::Answered,
        );
    }
    let vote = Vote { person, digest: plan.digest(), typed: typed.map(str::to_owned) };
    match hall.store.consent_add(&plan.run, &vote, Timestamp::now()).await {
        Ok(true) => {}
        Ok(false) => return refused(&closed("Somebody was faster: the plan is no longer open.".to_owned())).await,
        Err(error) => return (cards::unwritten(&error), Outcome::Failed),
    }
    if row.plan.risk.consents() > 1
        && let Some(card) = not_enough_yet(hall, rules, &row, command, service).await
    {
        return (card, Outcome::Answered);
    }
    had_its_word();
    let (card, good) = carry::carry(hall, &row).await;
    (card, if good { Outcome::Answered } else { Outcome::Failed })
}

/// A critical change takes the service's name typed; a name that is typed must be the right one anyway.
fn typed_right(plan: &Plan, typed: Option<&str>) -> Result<(), Refusal> {
    let why = match typed {
        Some(typed) if typed == plan.service.as_str() => return Ok(()),
        None if plan.risk < Risk::Critical => return Ok(()),
        Some(_) => "The name you typed is not the service of that plan, so nothing was taken down.",
        None => "That change is critical: a tap is not enough, and nothing was taken down.",
    };
    let next = format!("If you mean it, type `/redis approve {} {}`.", plan.run, plan.service);
    Err(Refusal { rule: "consent".to_owned(), why: why.to_owned(), next })
}

/// One word of several that a plan needs: whose is missing.
async fn not_enough_yet(
    hall: &Hall,
    rules: &Rules,
    row: &PlanRow,
    command: &Command,
    service: &Service,
) -> Option<Card> {
    let votes = hall.store.consents(&row.plan.run).await.ok()?;
    let said = Said { votes: &votes, broken: None };
    match rules.policy.consent(&row.plan, command, service, &row.place, said, Timestamp::now()) {
        Consent::Need(ticket) => Some(plain_card(
            "consent taken down",
            format!("It takes {} more. These could give it: {}.", ticket.missing, ticket.who),
            None,
        )),
        Consent::Granted(_) | Consent::Void(_) => None,
    }
}
