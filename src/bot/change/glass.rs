//! Going on alone with a change nobody answered, where everything but a second person is there.

use std::sync::Arc;

use jiff::Timestamp;

use super::{bound, cards, carry, consent::named, freeze, severity, tidy, word};
use crate::{
    bot::{
        Hall,
        command::{Asked, plain_card},
    },
    model::{Block, Card, Level, Place, Text},
    policy::{BreakAsk, Broken, Refusal},
    store::{Call, Outcome, PlanRow, PlanState},
};

/// `break-glass RUN SERVICE REASON`
pub(in crate::bot) async fn break_glass(hall: &Arc<Hall>, asked: &Asked<'_>, line: &str) -> (Card, Outcome) {
    let mut words = line.splitn(3, char::is_whitespace);
    let mut next = || words.next().unwrap_or_default().trim();
    let (run, typed, reason) = (next(), next(), next());
    let row = match named(hall, run).await {
        Ok(row) => row,
        Err(said) => return said,
    };
    let (plan, rules) = (&row.plan, asked.rules);
    let refused = async |refusal: Refusal| {
        let entry = word(&row, asked.actor, "break-glass", Outcome::Denied, Some(refusal.why.clone()));
        if let Err(error) = hall.store.record_synced(entry).await {
            tracing::warn!(%error, "a refused break-glass could not be journalled");
        }
        (refusal.card(), Outcome::Denied)
    };
    let no = |why: String, next: &str| Refusal { rule: "break-glass".to_owned(), why, next: next.to_owned() };
    if row.state != PlanState::Pending {
        let why = format!("That plan waits for nobody: it is {}.", row.state.word());
        return refused(no(why, "Ask for the change again if it is still wanted.")).await;
    }
    let Some((command, service, _)) = bound(rules, plan) else {
        let why = "Its command, service or instance is no longer configured.".to_owned();
        return refused(no(why, "Ask for the change again.")).await;
    };
    if let Err(why) = freeze::holds_up(hall, rules, &plan.service).await {
        return refused(no(why, "Not even glass is broken through a stop of all changes.")).await;
    }
    let paged = match hall.store.call(&plan.run, Call::Paged).await {
        Ok(paged) => paged,
        Err(error) => return (cards::unwritten(&error), Outcome::Failed),
    };
    let (declared, trouble) = severity::declared(hall, service).await;
    let ask = BreakAsk {
        actor: asked.actor,
        plan,
        command,
        service,
        place: &row.place,
        typed,
        reason,
        paged,
        wait: rules.settings.consent.break_glass_after,
        declared: &declared,
        now: Timestamp::now(),
    };
    let (person, by) = match rules.policy.break_glass(&ask) {
        Ok(may) => may,
        Err(mut refusal) => {
            if let Some(trouble) = trouble {
                refusal.next = format!("{} Besides, {trouble}.", refusal.next);
            }
            return refused(refusal).await;
        }
    };
    let broken = Broken { person: person.clone(), digest: plan.digest(), reason: tidy(reason), declared: by.words() };
    let said = format!("{}: {}", broken.declared, broken.reason);
    if let Err(error) =
        hall.store.record_synced(word(&row, asked.actor, "break-glass", Outcome::Answered, Some(said))).await
    {
        return (cards::unwritten(&error), Outcome::Failed);
    }
    match hall.store.glass_broken(&plan.run, &broken, ask.now).await {
        Ok(true) => {}
        Ok(false) => {
            let why = "Somebody was faster: the plan is no longer open.";
            return (plain_card("already taken up", why, None), Outcome::Answered);
        }
        Err(error) => return (cards::unwritten(&error), Outcome::Failed),
    }
    tell_owners(hall, asked, &row, service, &broken).await;
    crate::bot::had_its_word();
    let (card, good) = carry::carry(hall, &row).await;
    (card, if good { Outcome::Answered } else { Outcome::Failed })
}

/// The owners are told before anything is done, in the service's channels, or where it was asked for.
async fn tell_owners(hall: &Hall, asked: &Asked<'_>, row: &PlanRow, service: &crate::model::Service, broken: &Broken) {
    let (plan, policy) = (&row.plan, &asked.rules.policy);
    let mut places = policy.channels_of(service);
    if places.is_empty() {
        places.push(Place { via: None, ..row.place.clone() });
    }
    let owners = policy.owners_of(service);
    for place in places {
        let what = format!(
            "{} goes on alone with {} ({}): {}",
            policy.name_of(&broken.person),
            plan.what(),
            broken.declared,
            broken.reason
        );
        let card = Card {
            title: format!("glass is broken · {}", plan.service),
            level: Some(Level::Warn),
            verdict: Some(Text::plain(what)),
            blocks: vec![Block::Text(cards::calling(asked.rules, &place, "Told to its owners:", &owners))],
            footer: Some(format!("run {}", plan.run)),
            ..Card::default()
        };
        super::tell(hall, &place, format!("glass-{}-{}", plan.run, place.channel), card).await;
    }
}
