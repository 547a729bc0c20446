//! The walk of one change: plan, consent, the plan made again, the run, its end.
//!
//! Each step is a row before it happens. A plan is carried out by whoever
//! moves its row from pending to claimed, which one task alone can; a row that
//! is found claimed or running after a restart is never carried out again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde_json::Value;

use super::{
    Hall, Rules,
    command::{Asked, Ended, explained_card, field, plain_card, target},
    deliver::{self, Answer},
};
use crate::{
    chat::{Event, Inbound},
    diagnosis::{Explained, Role},
    exec::{Touched, touching},
    model::{
        Action, ActionStyle, Actor, Address, Align, Block, Card, Cell, Column, Instance, InstanceName, Level,
        MessageRef, Place, RunId, Service, ServiceName, Table, Text, Tick,
    },
    policy::{Ask, Consent, Permit, Refusal, TouchPermit, Verdict, Vote},
    runbook::{ArgumentValue, Change, Command, Intent, Look, Nodes, PLAN_VERSION, Parameter, Plan, Risk},
    store::{Entry, Outcome, OwedWhat, PlanRow, PlanState, StoreError},
};

/// How long a plan waits for consent.
const CONSENT_WITHIN: Duration = Duration::from_secs(15 * 60);
/// A plan is made, or carried out, within this.
const WITHIN: Duration = Duration::from_secs(15);
/// One call to the server is given up after this.
const CALL: Duration = Duration::from_secs(5);

const YES: &str = "✅";
const NO: &str = "❌";

/// What a plan is made of, each time it is made.
struct Wish<'a> {
    run: &'a RunId,
    command: &'a str,
    service: &'a Arc<Service>,
    instance: &'a Instance,
    parameter: &'static Parameter,
    new: String,
    made_ms: i64,
    expires_ms: i64,
    asker: &'a Actor,
}

fn trouble(what: impl Into<String>, cause: &str, next: &str) -> Explained {
    Explained { code: "UNPLANNED".into(), what: what.into(), cause: cause.to_owned(), next: next.to_owned() }
}

/// A figure as the server wrote it.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Fills everything in from what is so now. The address is the primary's.
async fn make(hall: &Hall, permit: &Permit, wish: &Wish<'_>) -> Result<(Plan, Address, Vec<String>), Explained> {
    let Wish { service, instance, parameter, new, .. } = wish;
    if instance.touch.is_none() {
        return Err(trouble(
            format!("this bot may not change {}/{}", service.name, instance.name),
            "its profile names no user for changes",
            "add `touch` with a user and password to the instance in the service's profile",
        ));
    }
    let cx = touching(Instant::now() + WITHIN, CALL);
    let found = hall.exec.target(permit, service, instance, &cx).await?;
    let primaries: Vec<_> = found.nodes.iter().filter(|node| node.node.role == Some(Role::Primary)).collect();
    let [primary] = primaries[..] else {
        return Err(trouble(
            format!(
                "{}/{} has {} primaries now, and this change is made on exactly one",
                service.name,
                instance.name,
                primaries.len()
            ),
            "a setting belongs to one server; no primary, a replica, or several of a Cluster were found",
            "name an instance with one primary, or wait until it has one",
        ));
    };
    let Some(run_id) = primary.run_id.clone() else {
        return Err(trouble(
            format!("{} does not tell its run id", primary.node.address),
            "without it nobody can say later that it is still the same server",
            "allow INFO for the bot's user, or see why it does not answer with `connectivity`",
        ));
    };
    let read = async |argv: &[&str]| {
        let argv = argv.iter().map(|&word| word.to_owned()).collect();
        hall.exec.look(permit, service, instance, &Look::Redis { argv, nodes: Nodes::Primaries }, &cx).await.merged
    };
    let mut held = None;
    for name in std::iter::once(parameter.name).chain(parameter.older) {
        let answer = read(&["CONFIG", "GET", name]).await?;
        if let Some(value) = answer.get(name).and_then(plain) {
            held = Some((name.to_owned(), value));
            break;
        }
    }
    let Some((name, old)) = held else {
        return Err(trouble(
            format!("this server does not know {}", parameter.name),
            "its version is too old for it, or the bot's user may not read it",
            "see `/redis config`",
        ));
    };
    if parameter.name == "maxmemory"
        && let Ok(limit) = new.parse::<u64>()
        && limit > 0
    {
        let memory = read(&["INFO", "memory"]).await?;
        let used = memory.get("used_memory").and_then(Value::as_u64).ok_or_else(|| {
            trouble("the memory in use cannot be read", "INFO memory did not tell it", "see `/redis memory`")
        })?;
        if limit < used {
            return Err(trouble(
                format!("maxmemory {limit} is below the {used} bytes in use"),
                "the server would evict keys or refuse writes at once, and evicted keys cannot be brought back",
                "free memory first (`/redis memory` says what holds it), or choose a higher limit",
            ));
        }
    }
    let plan = Plan {
        version: PLAN_VERSION,
        run: wish.run.clone(),
        command: wish.command.to_owned(),
        service: service.name.clone(),
        instance: instance.name.clone(),
        address: primary.node.address.to_string(),
        run_id,
        change: Change::SetConfig { parameter: name, old, new: new.clone() },
        risk: parameter.risk,
        requester: permit.person().clone(),
        asker: wish.asker.identity.clone(),
        made_ms: wish.made_ms,
        expires_ms: wish.expires_ms,
    };
    Ok((plan, primary.node.address.clone(), found.context))
}

/// Plans what somebody asked for, and shows it, or carries it out where nobody else has to consent.
pub(super) async fn propose(hall: &Arc<Hall>, asked: &Asked<'_>, intent: &Intent, answer: &Answer) -> Ended {
    let (service, instance) = match target(asked, intent) {
        Ok(target) => target,
        Err(card) => return Ended::of(intent, Outcome::Misunderstood, *card).in_private(),
    };
    let now = Timestamp::now();
    let ask = Ask {
        actor: asked.actor,
        place: asked.place,
        command: &intent.command,
        service: Some(service.as_ref()),
        run: asked.run,
        reveal: false,
        now,
    };
    let permit = match asked.rules.policy.decide(&ask) {
        Verdict::Allow(permit) => permit,
        Verdict::Deny(refusal) => return Ended::denied(intent, &refusal).on(service, instance),
    };
    let end = |outcome, card| Ended::of(intent, outcome, card).on(service, instance);
    let text = |name: &str| match intent.arguments.get(name) {
        Some(ArgumentValue::Text(text)) => text.as_str(),
        _ => "",
    };
    let Some(parameter) = Parameter::find(text("parameter")) else {
        let card = plain_card(
            "set-config",
            "That setting is not on the list of those that may be changed.",
            Some("see `/redis help set-config`".into()),
        );
        return end(Outcome::Misunderstood, card).in_private();
    };
    let new = match parameter.read(text("value")) {
        Ok(new) => new,
        Err(why) => {
            let card = plain_card("set-config", format!("`{}` cannot be set to that: {why}.", parameter.name), None);
            return end(Outcome::Misunderstood, card).in_private();
        }
    };
    let until = tokio::time::Instant::now() + WITHIN;
    let _held = match hall.limiter.instance(&service.name, &instance.name, intent.command.cost, until).await {
        Ok(held) => held,
        Err(busy) => return end(Outcome::Limited, super::command::busy_card(&busy)).in_private(),
    };
    let wish = Wish {
        run: asked.run,
        command: &intent.command.name,
        service,
        instance,
        parameter,
        new,
        made_ms: now.as_millisecond(),
        expires_ms: now.as_millisecond() + CONSENT_WITHIN.as_millis() as i64,
        asker: asked.actor,
    };
    let (plan, _, context) = match make(hall, &permit, &wish).await {
        Ok(made) => made,
        Err(error) => return end(Outcome::Failed, explained_card(&intent.command.name, service, &error)),
    };
    let Change::SetConfig { old, new, parameter: name } = &plan.change;
    if old == new {
        let card = plain_card("nothing to change", format!("`{name}` is {old} already."), None);
        return end(Outcome::Answered, card);
    }
    let mut card = plan_card(asked.rules, &intent.command, &plan, service, asked.place, context);
    if matches!(intent.arguments.get("dry_run"), Some(ArgumentValue::Switch(true))) {
        card.actions.clear();
        card.footer = Some("dry run: nothing was changed, and this plan cannot be consented to".to_owned());
        return end(Outcome::Answered, card);
    }
    // Before anybody sees it, it is a row: what nobody can write down is not done.
    if let Err(error) = hall.store.plan_add(&plan, asked.place).await {
        return end(Outcome::Failed, unwritten_card(&error));
    }
    if plan.risk == Risk::Low {
        let row = PlanRow { plan, place: asked.place.clone(), message: None, state: PlanState::Pending };
        let (card, good) = carry(hall, &row).await;
        return end(if good { Outcome::Answered } else { Outcome::Failed }, card);
    }
    let Some(message) = answer.show(card.clone()).await else {
        let _ =
            hall.store.plan_move(&plan.run, PlanState::Pending, PlanState::Void, Some("it could not be shown")).await;
        let card = plain_card("not planned", "The plan could not be shown here, so nobody could consent to it.", None);
        return end(Outcome::Failed, card);
    };
    if let Err(error) = hall.store.plan_shown(&plan.run, &message).await {
        return end(Outcome::Failed, unwritten_card(&error));
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

fn plan_card(
    rules: &Rules,
    command: &Command,
    plan: &Plan,
    service: &Service,
    place: &Place,
    context: Vec<String>,
) -> Card {
    let Change::SetConfig { parameter, old, new } = &plan.change;
    let meaning = Parameter::find(parameter).map_or("", |known| known.meaning);
    let undo = match Parameter::find(parameter).map(|known| known.read(old)) {
        Some(Ok(_)) => format!("`/redis {}`, with a plan and consent of its own", plan.undo_line()),
        _ => format!("not from here: {old} is outside what may be set; it has to be set by hand"),
    };
    let mut fields = vec![
        field("Setting", parameter.clone()),
        field("Old → new", format!("{old} → {new}")),
        field("Server", format!("{} · run {}", plan.address, plan.run_id.chars().take(8).collect::<String>())),
        field("Reaches", "the whole server, every database and client (exact)"),
        field("Lasts", "until the server restarts; its configuration file is not rewritten"),
        field("Risk", plan.risk.word()),
    ];
    let mut actions = Vec::new();
    if plan.risk > Risk::Low {
        let who = rules.policy.who_consents(plan, command, service, place);
        fields.push(field("Who may consent", who));
        fields.push(field("Waits until", until(plan)));
        actions.push(Action {
            label: format!("{YES} Consent"),
            command: format!("approve {}", plan.run),
            style: ActionStyle::Danger,
        });
        actions.push(Action {
            label: format!("{NO} Decline"),
            command: format!("decline {}", plan.run),
            style: ActionStyle::Plain,
        });
    }
    Card {
        title: format!("plan · {} · {}", plan.command, plan.service),
        level: Some(Level::Note),
        verdict: Some(Text::plain(format!("Nothing has been changed yet. The plan: {}.", plan.what()))),
        context,
        blocks: vec![
            Block::Fields(fields),
            Block::Text(Text::plain(meaning)),
            Block::Checklist(vec![
                (Tick::Open, Text::plain(format!("read {parameter} and stop unless it is still {old}"))),
                (Tick::Open, Text::plain(format!("CONFIG SET {parameter} {new}"))),
                (Tick::Open, Text::plain(format!("read {parameter} again: it must be {new}"))),
            ]),
            Block::Text(Text::notation(&format!("*Undo:* {undo}"))),
        ],
        actions,
        footer: Some(format!("run {} · plan {}", plan.run, &plan.digest()[..12])),
    }
}

fn until(plan: &Plan) -> String {
    Timestamp::from_millisecond(plan.expires_ms)
        .map_or_else(|_| "unknown".to_owned(), |at| at.strftime("%H:%M:%S UTC").to_string())
}

fn unwritten_card(error: &StoreError) -> Card {
    plain_card(
        "nothing was changed",
        format!("The bot's store cannot be written ({error}), and what cannot be written down is not done."),
        Some("`/redis version` says what is wrong with the store".to_owned()),
    )
}

/// Somebody reacted to a message.
pub(super) async fn reacted(hall: &Arc<Hall>, inbound: Inbound) {
    let Event::Reacted { message, emoji, added } = &inbound.what else { return };
    if emoji != YES && emoji != NO {
        return;
    }
    let row = match hall.store.plan_in(message).await {
        Ok(Some(row)) => row,
        // Most reactions are about something else.
        Ok(None) => return,
        Err(error) => {
            tracing::warn!(%error, "a reaction could not be looked up");
            return say(hall, &inbound, message, unwritten_card(&error)).await;
        }
    };
    let rules = hall.rules();
    let person = inbound.person.clone().or_else(|| rules.policy.person_of(&inbound.from).cloned());
    let actor = Actor { identity: inbound.from.clone(), person, display: inbound.display.clone() };
    if let Some(why) = &inbound.barred {
        let card = plain_card("refused", format!("This account's word does not count: {why}."), None);
        return say(hall, &inbound, message, card).await;
    }
    if !added {
        if emoji == YES
            && let Some(person) = &actor.person
            && hall.store.consent_revoke(&row.plan.run, person).await.unwrap_or(false)
        {
            let _ = hall.store.record_synced(word(&row, &actor, "revoke", Outcome::Answered, None)).await;
            let card =
                plain_card("taken back", format!("{} took their consent back.", rules.policy.name_of(person)), None);
            say(hall, &inbound, message, card).await;
        }
        return;
    }
    let (card, _) = vote(hall, &rules, &actor, row, emoji == YES).await;
    say(hall, &inbound, message, card).await;
}

async fn say(hall: &Hall, inbound: &Inbound, message: &MessageRef, card: Card) {
    let place = Place { via: None, ..message.place.clone() };
    let Some(gateway) = hall.gateway(place.platform) else { return };
    let key = format!("word-{}", inbound.event);
    deliver::deliver(hall, &**gateway, &key, OwedWhat::Say { place, card, only: None }).await;
}

/// Consent or refusal by its run's id.
pub(super) async fn by_id(hall: &Arc<Hall>, asked: &Asked<'_>, run: &str, yes: bool) -> (Card, Outcome) {
    let found = match RunId::parse(run) {
        Some(run) => hall.store.plan(&run).await,
        None => Ok(None),
    };
    match found {
        Ok(Some(row)) => vote(hall, asked.rules, asked.actor, row, yes).await,
        Ok(None) => {
            let next = Some("`/redis pending` lists what waits".to_owned());
            (plain_card("which plan?", "No plan has that run id.", next), Outcome::Misunderstood)
        }
        Err(error) => (unwritten_card(&error), Outcome::Failed),
    }
}

/// One person's word on one plan, and the run when it is enough.
async fn vote(hall: &Arc<Hall>, rules: &Rules, actor: &Actor, row: PlanRow, yes: bool) -> (Card, Outcome) {
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
    if let Err(error) = hall.store.record_synced(word(&row, actor, act, Outcome::Answered, None)).await {
        return (unwritten_card(&error), Outcome::Failed);
    }
    let name = rules.policy.name_of(&person).to_owned();
    if !yes {
        close(hall, &row, PlanState::Declined, &format!("{name} declined it. Nothing was changed.")).await;
        return (
            plain_card("declined", format!("{name} declined the plan. Nothing was changed."), None),
            Outcome::Answered,
        );
    }
    let vote = Vote { person, digest: plan.digest() };
    match hall.store.consent_add(&plan.run, &vote, Timestamp::now()).await {
        Ok(true) => {}
        Ok(false) => return refused(&closed("Somebody was faster: the plan is no longer open.".to_owned())).await,
        Err(error) => return (unwritten_card(&error), Outcome::Failed),
    }
    let (card, good) = carry(hall, &row).await;
    (card, if good { Outcome::Answered } else { Outcome::Failed })
}

/// What a plan is about, as it is configured now.
fn bound<'a>(rules: &'a Rules, plan: &Plan) -> Option<(&'a Arc<Command>, &'a Arc<Service>, &'a Instance)> {
    let command = rules.catalogue.find(&plan.command)?;
    let service = rules.services.get(&plan.service)?;
    Some((command, service, service.instance(Some(&plan.instance))?))
}

/// Carries a plan out if the consents suffice, and says how it ended: in the
/// plan's own message, and by the card that is given back.
async fn carry(hall: &Arc<Hall>, row: &PlanRow) -> (Card, bool) {
    let run = &row.plan.run;
    match hall.store.plan_move(run, PlanState::Pending, PlanState::Claimed, None).await {
        Ok(true) => {}
        Ok(false) => {
            return (plain_card("already taken up", "Somebody else's word has set this plan going.", None), true);
        }
        Err(error) => return (unwritten_card(&error), false),
    }
    let lane = hall.touching.of(&row.plan);
    // One change at a time on an instance; the others wait here.
    let _alone = lane.lock().await;
    let (card, state) = checked(hall, row).await;
    let good = state == PlanState::Done;
    if let Some(message) = &row.message
        && let Some(gateway) = hall.gateway(message.place.platform)
    {
        let what = OwedWhat::Edit { message: message.clone(), card: card.clone() };
        deliver::deliver(hall, &**gateway, &format!("plan-{run}"), what).await;
    }
    (card, good)
}

/// Everything that can still say no, then the change.
async fn checked(hall: &Arc<Hall>, row: &PlanRow) -> (Card, PlanState) {
    let plan = &row.plan;
    let rules = hall.rules();
    let void = async |why: String| {
        let _ = hall.store.plan_move(&plan.run, PlanState::Claimed, PlanState::Void, Some(&why)).await;
        let card = end_card(plan, Level::Note, "not run", &format!("Nothing was changed: {why}"), Vec::new());
        (card, PlanState::Void)
    };
    let Some((command, service, instance)) = bound(&rules, plan) else {
        return void("its command, service or instance is no longer configured.".to_owned()).await;
    };
    let permitted = async || -> Result<TouchPermit, String> {
        let votes = hall.store.consents(&plan.run).await.map_err(|error| error.to_string())?;
        match rules.policy.consent(plan, command, service, &row.place, &votes, Timestamp::now()) {
            Consent::Granted(permit) => Ok(permit),
            Consent::Need(ticket) => Err(format!("consent is missing; one of these could give it: {}.", ticket.who)),
            Consent::Void(refusal) => Err(refusal.why),
        }
    };
    let permit = match permitted().await {
        Ok(permit) => permit,
        Err(why) => return void(why).await,
    };
    // The plan is made again: whoever consented did so to what they saw, and to nothing else.
    let Change::SetConfig { parameter, new, .. } = &plan.change;
    let Some(parameter) = Parameter::find(parameter) else {
        return void("the setting is no longer on the list.".to_owned()).await;
    };
    let asker = Actor { identity: plan.asker.clone(), person: Some(plan.requester.clone()), display: String::new() };
    let wish = Wish {
        run: &plan.run,
        command: &plan.command,
        service,
        instance,
        parameter,
        new: new.clone(),
        made_ms: plan.made_ms,
        expires_ms: plan.expires_ms,
        asker: &asker,
    };
    let (now, address, _) = match make(hall, permit.look(), &wish).await {
        Ok(made) => made,
        Err(error) => return void(format!("{}: {}.", error.what, error.cause)).await,
    };
    if let Some(changed) = plan.drift(&now) {
        return void(format!("{changed}. The consent was for what was shown, so ask again.")).await;
    }
    if hall.stopping.is_cancelled() {
        return void("the bot is being stopped.".to_owned()).await;
    }
    // A word taken back while we looked, or a rule changed, counts until here.
    let permit = match permitted().await {
        Ok(permit) => permit,
        Err(why) => return void(why).await,
    };
    match hall.store.plan_move(&plan.run, PlanState::Claimed, PlanState::Running, None).await {
        Ok(true) => {}
        Ok(false) => return void("its row was moved by somebody else.".to_owned()).await,
        Err(error) => return void(format!("the store cannot be written ({error}).")).await,
    }
    let touched = hall.exec.touch(&permit, plan, instance, &address, &touching(Instant::now() + WITHIN, CALL)).await;
    let (state, card) = told(&rules, plan, &permit, &touched);
    let note = format!("{:?}", state).to_lowercase();
    let entry = Entry {
        outcome: if state == PlanState::Done { Outcome::Answered } else { Outcome::Failed },
        why: Some(match permit.consented() {
            [] => note.clone(),
            people => {
                let people: Vec<&str> = people.iter().map(|person| person.as_str()).collect();
                format!("{note}; consented by {}", people.join(", "))
            }
        }),
        ..word(row, &asker, "run", Outcome::Answered, None)
    };
    for written in [
        hall.store.plan_move(&plan.run, PlanState::Running, state, Some(&note)).await.map(drop),
        hall.store.record_synced(entry).await,
    ] {
        if let Err(error) = written {
            // It is done; after a restart the row will be told as uncertain, which is the safe side.
            tracing::error!(%error, run = %plan.run, "the end of a change could not be written");
        }
    }
    (card, state)
}

fn told(rules: &Rules, plan: &Plan, permit: &TouchPermit, touched: &Touched) -> (PlanState, Card) {
    let Change::SetConfig { parameter, old, new } = &plan.change;
    let steps = |set: Tick, verified: Tick| {
        vec![
            (Tick::Done, Text::plain(format!("captured: {parameter} was {old}"))),
            (set, Text::plain(format!("CONFIG SET {parameter} {new}"))),
            (verified, Text::plain(format!("read again: {parameter} is {new}"))),
        ]
    };
    match touched {
        Touched::Verified => {
            let names: Vec<&str> = permit.consented().iter().map(|person| rules.policy.name_of(person)).collect();
            let by = match names[..] {
                [] => String::new(),
                _ => format!(", with the consent of {}", names.join(", ")),
            };
            let asker = rules.policy.name_of(&plan.requester);
            let what = format!("{parameter} is now {new} (it was {old}): asked for by {asker}{by}.");
            let mut card = end_card(plan, Level::Ok, "done", &what, steps(Tick::Done, Tick::Done));
            if Parameter::find(parameter).is_some_and(|known| known.read(old).is_ok()) {
                card.actions =
                    vec![Action { label: "Undo".to_owned(), command: plan.undo_line(), style: ActionStyle::Danger }];
            }
            (PlanState::Done, card)
        }
        Touched::Untouched(error) => {
            let what = format!("Nothing was changed: {}. {}. Next: {}.", error.what, error.cause, error.next);
            (PlanState::Failed, end_card(plan, Level::Warn, "failed", &what, Vec::new()))
        }
        Touched::Otherwise { found } => {
            let what = format!("The server took the change and tells {found}. To go back: /redis {}", plan.undo_line());
            (PlanState::Failed, end_card(plan, Level::Warn, "not as planned", &what, steps(Tick::Done, Tick::Failed)))
        }
        Touched::Uncertain(error) => {
            let what = format!(
                "The change was sent and it is uncertain whether it was done ({}). It is not sent again. `/redis config` tells what {parameter} is.",
                error.what
            );
            (
                PlanState::Uncertain,
                end_card(plan, Level::Unknown, "uncertain", &what, steps(Tick::Skipped, Tick::Skipped)),
            )
        }
    }
}

fn end_card(plan: &Plan, level: Level, title: &str, what: &str, steps: Vec<(Tick, Text)>) -> Card {
    let mut blocks = vec![Block::Fields(vec![
        field("Plan", plan.what()),
        field("Server", plan.address.clone()),
        field("Risk", plan.risk.word()),
    ])];
    if !steps.is_empty() {
        blocks.push(Block::Checklist(steps));
    }
    Card {
        title: format!("{title} · {} · {}", plan.command, plan.service),
        level: Some(level),
        verdict: Some(Text::plain(what.to_owned())),
        blocks,
        footer: Some(format!("run {}", plan.run)),
        ..Card::default()
    }
}

/// Ends a plan that did not run, in its row and in its message.
async fn close(hall: &Hall, row: &PlanRow, state: PlanState, why: &str) {
    match hall.store.plan_move(&row.plan.run, row.state, state, Some(why)).await {
        Ok(true) => {}
        Ok(false) => return,
        Err(error) => {
            tracing::warn!(%error, run = %row.plan.run, "a plan could not be closed");
            return;
        }
    }
    let level = if state == PlanState::Uncertain { Level::Unknown } else { Level::Note };
    let card = end_card(&row.plan, level, state.word(), why, Vec::new());
    if let Some(message) = &row.message
        && let Some(gateway) = hall.gateway(message.place.platform)
    {
        let what = OwedWhat::Edit { message: message.clone(), card };
        deliver::deliver(hall, &**gateway, &format!("plan-{}", row.plan.run), what).await;
    }
}

/// After a start: what the end of the bot cut short is said, and not done again.
pub(super) async fn recover(hall: Arc<Hall>) {
    for (state, to, why) in [
        (PlanState::Claimed, PlanState::Void, "The bot was restarted before anything was changed. Ask again."),
        (
            PlanState::Running,
            PlanState::Uncertain,
            "The bot was restarted while this ran. It is uncertain whether the server took the change, and it is not sent again; `/redis config` tells what holds now.",
        ),
    ] {
        match hall.store.plans(state).await {
            Ok(rows) => {
                for row in rows {
                    close(&hall, &row, to, why).await;
                }
            }
            Err(error) => tracing::warn!(%error, "plans under way at the last end could not be read"),
        }
    }
}

/// What waits for consent.
pub(super) async fn pending(hall: &Hall) -> Card {
    let rows = match hall.store.plans(PlanState::Pending).await {
        Ok(rows) => rows,
        Err(error) => return unwritten_card(&error),
    };
    let mut waiting = Vec::new();
    for row in rows {
        if row.plan.expired(Timestamp::now()) {
            close(hall, &row, PlanState::Void, "It expired without enough consent. Nothing was changed.").await;
        } else {
            waiting.push(row.plan);
        }
    }
    let cell = |text: String| Cell { text, level: None };
    let column = |title: &str| Column { title: title.to_owned(), align: Align::Left };
    Card {
        title: "waiting for consent".to_owned(),
        blocks: vec![Block::Table(Table {
            title: None,
            columns: ["run", "change", "asked by", "risk", "until"].map(column).into(),
            total: Some(waiting.len() as u64),
            rows: waiting
                .iter()
                .map(|plan| {
                    vec![
                        cell(plan.run.to_string()),
                        cell(plan.what()),
                        cell(plan.requester.to_string()),
                        cell(plan.risk.word().to_owned()),
                        cell(until(plan)),
                    ]
                })
                .collect(),
            empty: Some("Nothing waits for consent.".to_owned()),
        })],
        ..Card::default()
    }
}

/// The journal's row of one person's word on a plan.
fn word(row: &PlanRow, actor: &Actor, act: &str, outcome: Outcome, why: Option<String>) -> Entry {
    let plan = &row.plan;
    Entry {
        at: Timestamp::now(),
        run: plan.run.clone(),
        identity: actor.identity.clone(),
        person: actor.person.clone(),
        place: row.place.clone(),
        line: plan.what(),
        command: act.to_owned(),
        service: Some(plan.service.clone()),
        instance: Some(plan.instance.clone()),
        outcome,
        why,
        level: None,
        took: Duration::ZERO,
        reveal: false,
    }
}

/// Who changes what now: one change at a time on an instance.
#[derive(Default)]
pub(super) struct Touching(Mutex<HashMap<(ServiceName, InstanceName), Alone>>);

/// Held by the one change that goes on.
type Alone = Arc<tokio::sync::Mutex<()>>;

impl Touching {
    fn of(&self, plan: &Plan) -> Alone {
        let key = (plan.service.clone(), plan.instance.clone());
        self.0.lock().expect("nobody panics while looking up a lock").entry(key).or_default().clone()
    }
}
