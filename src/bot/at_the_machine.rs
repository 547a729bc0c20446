//! What somebody does at the bot's machine with a program beside it: it goes
//! by the same policy, and stands in the same journal.
//!
//! The program asks before it begins and is told no by a card; it tells how it
//! ended afterwards. Whose call it is, the operating system says.

use std::sync::Arc;

use tokio::time::Duration;

use super::{
    Hall,
    command::{busy_card, plain_card, who},
};
use crate::{
    chat::{AtTheMachine, Audience, EndAtTheMachine, Event, Inbound},
    diagnosis::redact,
    model::{Actor, Card},
    policy::{self, Ask, Verdict},
    store::{Entry, Outcome},
};

/// The longest reason that is kept of what a program says.
const WHY: usize = 300;
/// A call cannot have begun longer ago.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// Writes it down, or says why it may not be.
pub(super) async fn hear(hall: &Arc<Hall>, inbound: Inbound) {
    let Inbound { from, display, person, badges, place, what: Event::AtTheMachine(done), event, .. } = inbound else {
        return;
    };
    let rules = hall.rules();
    let actor = rules.policy.speaker(from, person, display, badges);
    let (outcome, why, refused) = if hall.stopping.is_cancelled() && done.ended.is_none() {
        let card = plain_card("not now", "The bot is stopping.", Some("ask again in a minute".to_owned()));
        (Outcome::Cancelled, Some("stopping".to_owned()), Some(card))
    } else {
        judge(hall, &actor, &place, &done)
    };
    let reveal = matches!(outcome, Outcome::Begun | Outcome::Answered);
    let entry = Entry {
        at: jiff::Timestamp::now(),
        run: done.run.clone(),
        identity: actor.identity.clone(),
        person: actor.person.clone(),
        place: place.clone(),
        line: line(&done),
        command: done.command.chars().take(40).collect(),
        service: Some(done.service.clone()),
        instance: Some(done.instance.clone()),
        outcome,
        why: why.map(|why| short(&why)),
        level: None,
        took: done.took.min(LONGEST),
        reveal,
    };
    // All data of a server leaves it: that is on the disk before it begins.
    let written = hall.store.record_synced(entry).await;
    let card = match (refused, written) {
        (Some(card), _) => card,
        (None, Ok(())) => return,
        (None, Err(error)) => {
            hall.meters.unjournalled();
            plain_card(
                "not journalled",
                format!("The journal cannot be written: {error}."),
                Some("`/redis doctor --bot` says what is wrong with the store".to_owned()),
            )
        }
    };
    let Some(gateway) = hall.gateway(place.platform) else { return };
    if let Err(error) = gateway.say(&place, &card, &Audience::Only(actor.identity), &event).await {
        tracing::warn!(%error, event, "somebody at the machine could not be told");
    }
}

/// What the journal says, and the card of a refusal.
fn judge(
    hall: &Hall,
    actor: &Actor,
    place: &crate::model::Place,
    done: &AtTheMachine,
) -> (Outcome, Option<String>, Option<Card>) {
    let rules = hall.rules();
    if let Some(refusal) = rules.policy.stranger(actor) {
        return (Outcome::Denied, Some(refusal.rule.clone()), Some(refusal.card()));
    }
    match &done.ended {
        Some(EndAtTheMachine::Well) => return (Outcome::Answered, None, None),
        Some(EndAtTheMachine::Denied(why)) => return (Outcome::Denied, Some(why.clone()), None),
        Some(EndAtTheMachine::Stopped) => return (Outcome::Cancelled, None, None),
        Some(EndAtTheMachine::Failed(why)) => return (Outcome::Failed, Some(why.clone()), None),
        None => {}
    }
    let _held = match hall.limiter.person(&who(actor)) {
        Ok(held) => held,
        Err(busy) => return (Outcome::Limited, None, Some(busy_card(&busy))),
    };
    let (command, service) = match (policy::at_the_machine(&done.command), rules.services.get(&done.service)) {
        (Some(command), Some(service)) if service.instance(Some(&done.instance)).is_some() => (command, service),
        (command, _) => {
            let what = match command {
                Some(_) => format!("The bot knows no {}/{}.", done.service, done.instance),
                None => "The bot does not know that call.".to_owned(),
            };
            let next = Some("compare the configuration with the one the bot runs (`/redis services`)".to_owned());
            return (Outcome::Misunderstood, None, Some(plain_card("not known", what, next)));
        }
    };
    let ask = Ask {
        actor,
        place,
        command: &command,
        service: Some(service.as_ref()),
        run: &done.run,
        reveal: true,
        now: jiff::Timestamp::now(),
    };
    match rules.policy.decide(&ask) {
        Verdict::Allow(_) => (Outcome::Begun, None, None),
        Verdict::Deny(refusal) => (Outcome::Denied, Some(refusal.rule.clone()), Some(refusal.card())),
    }
}

fn line(done: &AtTheMachine) -> String {
    let node = done.node.as_deref().map(|node| format!(" --node {}", short(node))).unwrap_or_default();
    let command = policy::at_the_machine(&done.command).map(|command| command.name).unwrap_or_default();
    format!("{command} {}/{}{node}", done.service, done.instance)
}

fn short(text: &str) -> String {
    redact::line(text).chars().take(WHY).collect()
}
