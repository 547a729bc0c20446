//! Commands the bot answers by itself.

use std::sync::Arc;

use super::{
    Hall,
    book::{self, Word},
    change,
    command::{Asked, Ended, field, plain_card, target},
    results,
    runs::Why,
};
use crate::{
    model::{Align, Block, Card, Cell, Column, Finding, Level, RunId, Service, Table, Text},
    policy::Verdict,
    runbook::{self, ArgumentValue, Intent, Known},
    store::Outcome,
};

/// Answers a built-in command.
pub(super) async fn answer(hall: &Arc<Hall>, asked: &Asked<'_>, known: &Known<'_>, intent: &Intent) -> Ended {
    if let Verdict::Deny(refusal) = asked.decide(&intent.command, None, false) {
        return Ended::denied(intent, &refusal);
    }
    let text = |name: &str| match intent.arguments.get(name) {
        Some(ArgumentValue::Text(text)) => Some(text.as_str()),
        _ => None,
    };
    let answered = |card: Card| Ended::of(intent, Outcome::Answered, card).in_private();
    match intent.command.name.as_str() {
        "help" => answered(runbook::help_card(known, text("command"))),
        "whoami" => answered(asked.rules.policy.whoami(asked.actor, asked.place)),
        "can-i" => answered(can_i(asked, known, text("command").unwrap_or_default())),
        "cancel" => {
            let (card, outcome) = cancel(hall, asked, text("run")).await;
            Ended::of(intent, outcome, card).in_private()
        }
        "reload" => answered(reload(hall)),
        "services" => answered(services(asked)),
        "version" => answered(version(hall).await),
        "pending" => {
            let (card, outcome) = change::pending(hall, asked, text("run")).await;
            Ended::of(intent, outcome, card).in_private()
        }
        "runbooks" => answered(book::list(hall, asked).await),
        "pause" => book::word(hall, asked, intent, text("run"), Word::Pause).await,
        "resume" => book::word(hall, asked, intent, text("run"), Word::Resume).await,
        "abort" => book::word(hall, asked, intent, text("run"), Word::Abort).await,
        "tick" => {
            let step = match intent.arguments.get("step") {
                Some(ArgumentValue::Integer(step)) => usize::try_from(*step).ok(),
                _ => None,
            };
            book::word(hall, asked, intent, text("run"), Word::Tick(step)).await
        }
        "approve" | "decline" => {
            let yes = intent.command.name == "approve";
            let (card, outcome) = change::by_id(hall, asked, text("run").unwrap_or_default(), yes).await;
            Ended::of(intent, outcome, card)
        }
        "page" => results::page(hall, asked, intent).await,
        "open" => results::open(hall, asked, intent).await,
        word @ ("revoke" | "freeze" | "unfreeze" | "severity" | "break-glass") => {
            let line = text("line").unwrap_or_default();
            let (card, outcome) = match word {
                "revoke" => change::taken_back_by_id(hall, asked, line).await,
                "freeze" => change::freeze(hall, asked, line).await,
                "unfreeze" => change::unfreeze(hall, asked, line).await,
                "severity" => change::severity(hall, asked, line).await,
                _ => change::break_glass(hall, asked, line).await,
            };
            Ended::of(intent, outcome, card)
        }
        other => answered(plain_card(
            "not built in",
            format!("`{other}` is declared as built in, and this bot does not know it."),
            Some("update the bot, or remove the command's file".to_owned()),
        )),
    }
}

/// Would this line be allowed, and by which rule?
fn can_i(asked: &Asked<'_>, known: &Known<'_>, text: &str) -> Card {
    // People ask about commands they may not run: the parser must know them all here.
    let everything = Known { may: &|_| true, ..*known };
    let usual = || asked.rules.policy.default_service(asked.place).and_then(|name| asked.rules.services.get(name));
    let answer = |command, service: Option<&Arc<Service>>, reveal| {
        asked.rules.policy.can_i(asked.actor, asked.place, command, service.map(AsRef::as_ref), reveal)
    };
    let intent = match runbook::parse(text, &everything) {
        Ok(intent) => intent,
        // A right does not depend on values: `can-i delete shop` needs no key.
        Err(misunderstood) => {
            let mut words = text.trim().trim_start_matches("/redis ").split_whitespace();
            let command = words.next().and_then(|name| known.catalogue.find(&name.to_lowercase()));
            let named = words.next().map(|name| name.parse().ok().and_then(|name| asked.rules.services.get(&name)));
            return match (command, named, words.next()) {
                (Some(command), None, _) => answer(command, usual(), false),
                (Some(command), Some(Some(service)), None) => answer(command, Some(service), false),
                _ => misunderstood.card(),
            };
        }
    };
    let service = match intent.service {
        Some(_) => target(asked, &intent).ok().map(|(service, _)| service),
        None => usual(),
    };
    let reveal = matches!(intent.arguments.get("reveal"), Some(ArgumentValue::Switch(true)));
    answer(&intent.command, service, reveal)
}

/// Stops a run, or lists what could be stopped.
async fn cancel(hall: &Hall, asked: &Asked<'_>, run: Option<&str>) -> (Card, Outcome) {
    let me = asked.actor.person.as_ref();
    let Some(text) = run else {
        let rows: Vec<Vec<Cell>> = hall
            .runs
            .list()
            .into_iter()
            .map(|flight| {
                let cell = |text: String| Cell { text, level: None };
                vec![
                    cell(flight.run.to_string()),
                    cell(flight.line),
                    cell(flight.asker.map_or_else(|| "–".to_owned(), |person| person.to_string())),
                    cell(format!("{:.1} s", flight.since.elapsed().as_secs_f64())),
                ]
            })
            .collect();
        let column = |title: &str, align| Column { title: title.to_owned(), align };
        let card = Card {
            title: "running now".to_owned(),
            blocks: vec![Block::Table(Table {
                title: None,
                columns: vec![
                    column("run", Align::Left),
                    column("command", Align::Left),
                    column("asked by", Align::Left),
                    column("for", Align::Right),
                ],
                total: Some(rows.len() as u64),
                rows,
                empty: Some("Nothing is running.".to_owned()),
            })],
            ..Card::default()
        };
        return (card, Outcome::Answered);
    };
    let Some(run) = RunId::parse(text) else {
        let card = plain_card(
            "which run?",
            format!("`{text}` is not a run's id; an id has eight letters and digits and stands under every card."),
            Some("type `/redis cancel` to see what is running".to_owned()),
        );
        return (card, Outcome::Answered);
    };
    if let Some(said) = change::stop(hall, asked, &run).await {
        return said;
    }
    // Anybody the policy knows may stop a look: it changes nothing, and whoever
    // sees it hurt a server must not have to find the one who asked.
    let who = me.map_or_else(|| asked.actor.identity.user.clone(), ToString::to_string);
    let card = if hall.runs.cancel(&run, Why::By(who)) {
        plain_card("cancelled", format!("Run `{run}` was asked to stop."), None)
    } else {
        plain_card("not running", format!("Run `{run}` is not running: it has ended, or never was."), None)
    };
    (card, Outcome::Answered)
}

/// All of a valid configuration, or none of it and every problem.
fn reload(hall: &Hall) -> Card {
    match hall.reload() {
        Ok(services) => {
            plain_card("reloaded", format!("The configuration was read again and holds: {services} services."), None)
        }
        Err(problems) => Card {
            title: "not reloaded".to_owned(),
            level: Some(Level::Warn),
            verdict: Some(Text::plain(format!(
                "{} problems; nothing of the new configuration was taken, the old one goes on.",
                problems.len()
            ))),
            blocks: vec![Block::Findings(
                problems
                    .iter()
                    .map(|problem| Finding {
                        level: if problem.warning { Level::Note } else { Level::Warn },
                        what: Text::plain(problem.reason.clone()),
                        // The name is enough to find it; the path is the operator's own business.
                        evidence: Some(match (problem.file.file_name(), problem.line) {
                            (Some(file), Some(line)) => format!("{}:{line}", file.to_string_lossy()),
                            (Some(file), None) => file.to_string_lossy().into_owned(),
                            (None, _) => String::new(),
                        }),
                        next: problem.hint.clone().map(Text::plain),
                    })
                    .collect(),
            )],
            ..Card::default()
        },
    }
}

/// What can be asked about.
fn services(asked: &Asked<'_>) -> Card {
    let cell = |text: String| Cell { text, level: None };
    let column = |title: &str| Column { title: title.to_owned(), align: Align::Left };
    let default = asked.rules.policy.default_service(asked.place);
    let rows: Vec<Vec<Cell>> = asked
        .rules
        .services
        .values()
        .map(|service| {
            let mark = if default == Some(&service.name) { " (default here)" } else { "" };
            let instances: Vec<&str> = service.instances.iter().map(|instance| instance.name.as_str()).collect();
            vec![
                cell(format!("{}{mark}", service.name)),
                cell(service.environment.to_string()),
                cell(service.owner.clone()),
                cell(instances.join(", ")),
            ]
        })
        .collect();
    Card {
        title: "services".to_owned(),
        blocks: vec![Block::Table(Table {
            title: None,
            columns: vec![column("service"), column("environment"), column("owner"), column("instances")],
            total: Some(rows.len() as u64),
            rows,
            empty: Some("No service is configured.".to_owned()),
        })],
        ..Card::default()
    }
}

async fn version(hall: &Hall) -> Card {
    let mut ailments = hall.ailments();
    ailments.extend(change::freezes_shown(hall).await);
    Card {
        title: format!("Rediscue {}", env!("CARGO_PKG_VERSION")),
        level: Some(if ailments.is_empty() { Level::Ok } else { Level::Warn }),
        blocks: vec![Block::Fields(vec![
            field("Runs in flight", hall.runs.in_flight().to_string()),
            field("Commands answered since the start", hall.meters.commands().to_string()),
        ])]
        .into_iter()
        .chain(ailments.into_iter().map(|ailment| Block::Text(Text::plain(ailment))))
        .collect(),
        ..Card::default()
    }
}
