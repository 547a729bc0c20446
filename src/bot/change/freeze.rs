//! Stopping all changes at once, and letting them go on.

use jiff::Timestamp;

use super::{cards, tidy};
use crate::{
    bot::{
        Hall, Rules,
        command::{Asked, plain_card},
        runs,
    },
    model::{Card, Place, Service, ServiceName},
    policy::Freeze,
    store::Outcome,
};

/// Are the changes of a service stopped? Why, as a sentence.
///
/// # Errors
/// The stop, or that it cannot be told whether there is one: nothing is changed then either.
pub(super) async fn holds_up(hall: &Hall, rules: &Rules, service: &ServiceName) -> Result<(), String> {
    let freezes = hall.store.freezes().await.map_err(|error| format!("the store cannot be read ({error})."))?;
    let of = |freeze: &&Freeze| freeze.service.as_ref().is_none_or(|frozen| frozen == service);
    freezes.iter().find(of).map_or(Ok(()), |freeze| Err(sentence(rules, freeze)))
}

fn sentence(rules: &Rules, freeze: &Freeze) -> String {
    format!(
        "All changes of {} were stopped by {} at {}: {}. An approver lifts it with /redis {}.",
        freeze.what(),
        rules.policy.name_of(&freeze.person),
        cards::clock(freeze.at.as_millisecond()),
        freeze.reason,
        freeze.lifted_by()
    )
}

/// Every stop that holds, one sentence each.
pub(in crate::bot) async fn shown(hall: &Hall) -> Vec<String> {
    let rules = hall.rules();
    match hall.store.freezes().await {
        Ok(freezes) => freezes.iter().map(|freeze| sentence(&rules, freeze)).collect(),
        Err(error) => vec![format!("Whether changes are stopped cannot be read ({error}), so none is carried out.")],
    }
}

/// The service a line begins with, if it does, and the rest of the line.
pub(super) fn service_first<'a, 'r>(rules: &'r Rules, line: &'a str) -> (Option<&'r Service>, &'a str) {
    let line = line.trim();
    let (first, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let found = rules.services.values().find(|service| service.name.as_str() == first.to_lowercase());
    found.map_or((None, line), |service| (Some(service.as_ref()), rest.trim()))
}

/// Stops all changes of a service, or of all.
pub(in crate::bot) async fn freeze(hall: &Hall, asked: &Asked<'_>, line: &str) -> (Card, Outcome) {
    let rules = asked.rules;
    let (service, reason) = service_first(rules, line);
    let commands = rules.catalogue.all().map(|command| command.as_ref());
    let person = match rules.policy.may_freeze(asked.actor, commands, service) {
        Ok(person) => person.clone(),
        Err(refusal) => return (refusal.card(), Outcome::Denied),
    };
    if reason.is_empty() {
        let next =
            format!("type `/redis freeze {} REASON`: others will read it", service.map_or("", |one| one.name.as_str()));
        return (plain_card("why?", "A stop of all changes needs a reason.", Some(next)), Outcome::Misunderstood);
    }
    let name = service.map(|service| service.name.clone());
    let freeze = Freeze { service: name, person, reason: tidy(reason), at: Timestamp::now() };
    let new = match hall.store.freeze(&freeze).await {
        Ok(new) => new,
        Err(error) => return (cards::unwritten(&error), Outcome::Failed),
    };
    // The row is written first: a run that begins now finds it, one that has begun is told here.
    let running = hall.touching.under_way(freeze.service.as_ref());
    let why = format!("all changes were stopped by {}", rules.policy.name_of(&freeze.person));
    let stopped = running.iter().filter(|run| hall.runs.cancel(run, runs::Why::Frozen(why.clone()))).count();
    let mut what = if new {
        sentence(rules, &freeze)
    } else {
        format!("They were stopped already. {}", shown(hall).await.join(" "))
    };
    if stopped > 0 {
        what += &format!(" {stopped} of them had begun: each stops before its next step and says how far it came.");
    }
    let card = plain_card(if new { "changes are stopped" } else { "stopped already" }, what, None);
    if new {
        tell_others(hall, asked, service, &card, &format!("freeze-{}", asked.run)).await;
    }
    (card, Outcome::Answered)
}

/// Lets the changes of a service go on, or of all.
pub(in crate::bot) async fn unfreeze(hall: &Hall, asked: &Asked<'_>, line: &str) -> (Card, Outcome) {
    let rules = asked.rules;
    let (service, rest) = service_first(rules, line);
    if !rest.is_empty() {
        let next = "type `/redis unfreeze`, or a service's name after it; `/redis pending` says what is stopped";
        let card = plain_card("which service?", "That is no service I know.", Some(next.to_owned()));
        return (card, Outcome::Misunderstood);
    }
    let services: Vec<&Service> =
        service.map_or_else(|| rules.services.values().map(AsRef::as_ref).collect(), |service| vec![service]);
    let person = match rules.policy.may_unfreeze(asked.actor, &services) {
        Ok(person) => person.clone(),
        Err(refusal) => return (refusal.card(), Outcome::Denied),
    };
    let lifted = match hall.store.unfreeze(service.map(|service| &service.name)).await {
        Ok(lifted) => lifted,
        Err(error) => return (cards::unwritten(&error), Outcome::Failed),
    };
    // Ends that waited are due.
    hall.new_end.notify_one();
    hall.new_aside.notify_one();
    let left = shown(hall).await.join(" ");
    let what = service.map_or_else(|| "everything".to_owned(), |service| service.name.to_string());
    let said = match (lifted, left.is_empty()) {
        (true, true) => format!(
            "{} lets changes of {what} go on. What was stopped on the way is asked for anew.",
            rules.policy.name_of(&person)
        ),
        (true, false) => format!("That stop of {what} is lifted, and another holds. {left}"),
        (false, true) => "Nothing was stopped.".to_owned(),
        (false, false) => format!("There was no such stop. {left}"),
    };
    let card = plain_card(if lifted { "changes go on" } else { "not stopped by that" }, said, None);
    if lifted {
        tell_others(hall, asked, service, &card, &format!("unfreeze-{}", asked.run)).await;
    }
    (card, if lifted { Outcome::Answered } else { Outcome::Misunderstood })
}

/// Says it in the channels of the services it is about, but for the one it was said in.
async fn tell_others(hall: &Hall, asked: &Asked<'_>, service: Option<&Service>, card: &Card, key: &str) {
    let mut places: Vec<Place> = match service {
        Some(service) => asked.rules.policy.channels_of(service),
        None => asked.rules.services.values().flat_map(|service| asked.rules.policy.channels_of(service)).collect(),
    };
    let here = |place: &Place| {
        (place.platform, &place.team, &place.channel) == (asked.place.platform, &asked.place.team, &asked.place.channel)
    };
    places.retain(|place| !here(place));
    for place in places {
        super::tell(hall, &place, format!("{key}-{}", place.channel), card.clone()).await;
    }
}
