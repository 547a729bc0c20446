//! `doctor --bot`: how the bot itself is.
//!
//! Whoever relies on the bot at night has to be able to ask it whether it can
//! be relied on, from where they stand: does it write its journal, is it heard,
//! is anything it said still on its way.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    Hall,
    command::{Asked, Ended, field},
};
use crate::{
    model::{Action, ActionStyle, Block, Card, Finding, Level, Text, show_duration},
    policy::Verdict,
    runbook::{ArgumentValue, Intent},
    store::{Outcome, Standing, StoreHealth},
};

/// An answer that waits longer than this to be delivered is late.
const LATE: Duration = Duration::from_secs(60);

/// Whether a line asks about the bot: `doctor --bot`.
pub(super) fn is_asked(intent: &Intent) -> bool {
    intent.command.name == "doctor" && matches!(intent.arguments.get("bot"), Some(ArgumentValue::Switch(true)))
}

/// Answers it to whoever may run the doctor anywhere: it tells of no service.
pub(super) async fn answer(hall: &Hall, asked: &Asked<'_>, intent: &Intent) -> Ended {
    let policy = &asked.rules.policy;
    if !policy.may(asked.actor, &intent.command, None, asked.place)
        && let Verdict::Deny(refusal) = asked.decide(&intent.command, None, false)
    {
        return Ended::denied(intent, &refusal);
    }
    let card = card(hall, asked).await;
    Ended { level: card.level, ..Ended::of(intent, Outcome::Answered, card) }
}

async fn card(hall: &Hall, asked: &Asked<'_>) -> Card {
    let now = Timestamp::now();
    let standing = hall.store.standing().await;
    let mut findings: Vec<Finding> = of_the_store(&hall.store.health()).into_iter().collect();
    findings.extend(hall.gateways.values().filter_map(|gateway| gateway.ailment()).map(|ailment| Finding {
        level: Level::Warn,
        what: Text::plain(ailment),
        evidence: None,
        next: Some(Text::notation(
            "answers wait in the store until it is back; meanwhile `rediscue console` on the bot's machine answers",
        )),
    }));
    match &standing {
        Ok(standing) => findings.extend(of_what_waits(standing, now)),
        Err(error) => findings.push(Finding {
            level: Level::Warn,
            what: Text::plain(format!("The store cannot be read: {error}")),
            evidence: Some("what is owed and what waits for consent is not known".to_owned()),
            next: Some(Text::plain("look at the disk of the store, and at the bot's log")),
        }),
    }
    let alerts = match asked.rules.settings.alerts.clone() {
        Some(path) => {
            let holds = asked.rules.settings.consent.severity_for;
            let read = tokio::task::spawn_blocking(move || super::change::alerts_written(&path, holds)).await;
            let (told, finding) = of_the_alerts(read.unwrap_or_else(|error| Err(error.to_string())), holds);
            findings.extend(finding);
            Some(told)
        }
        None => None,
    };
    findings.extend(super::change::freezes_shown(hall).await.into_iter().map(|freeze| Finding {
        level: Level::Warn,
        what: Text::plain(freeze),
        evidence: None,
        next: None,
    }));
    let reloaded = hall.reloaded();
    findings.extend(reloaded.problems.first().map(|problem| Finding {
        level: Level::Warn,
        what: Text::plain(match reloaded.problems.len() {
            1 => "The configuration was read again and has a problem: the one before goes on".to_owned(),
            count => format!("The configuration was read again and has {count} problems: the one before goes on"),
        }),
        evidence: Some(format!("{} ago: {}", since(reloaded.at, now), said(problem))),
        next: Some(Text::notation("mend the files, then `/redis reload`; `rediscue check` prints every problem")),
    }));
    let unjournalled = hall.meters.unjournalled_so_far();
    if unjournalled > 0 {
        findings.push(Finding {
            level: Level::Note,
            what: Text::plain(format!("{unjournalled} looks were answered while the journal could not be written")),
            evidence: Some("since the bot started; each said so on its card".to_owned()),
            next: None,
        });
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    let level = findings.iter().map(|finding| finding.level).max().unwrap_or_default();
    let up = since(hall.since, now);
    let attention: Vec<&Finding> = findings.iter().filter(|finding| finding.level > Level::Note).collect();
    let verdict = match attention.as_slice() {
        [] => format!("The bot is well: up {up}, {} commands answered.", hall.meters.commands()),
        [one] => format!("One thing needs attention: {}", one.what.to_plain()),
        [first, ..] => format!("{} things need attention: {}", attention.len(), first.what.to_plain()),
    };

    let platforms: Vec<String> = hall
        .gateways
        .iter()
        .map(|(platform, gateway)| {
            format!("{platform} {}", if gateway.ailment().is_none() { "hears and speaks" } else { "ails" })
        })
        .collect();
    let mut fields = vec![
        field("Program", format!("Rediscue {}, up {up}", env!("CARGO_PKG_VERSION"))),
        field("Platforms", platforms.join(", ")),
        field("In flight", hall.runs.in_flight().to_string()),
    ];
    if let Ok(standing) = &standing {
        fields.push(field("Journal", journal(standing, asked.rules.settings.audit.is_some(), now)));
        fields.push(field("Owed messages", standing.owed.to_string()));
        fields.push(field("Plans that wait", standing.pending.to_string()));
    }
    fields.extend(alerts.map(|told| field("File of alerts", told)));
    let services = match asked.rules.services.len() {
        1 => "1 service".to_owned(),
        count => format!("{count} services"),
    };
    fields.push(field("Configuration", format!("{services}, read {} ago", since(reloaded.taken, now))));
    fields.extend(resident_bytes().map(|bytes| field("Memory", format!("{} MiB", bytes >> 20))));

    let blocks = (!findings.is_empty()).then_some(Block::Findings(findings)).into_iter();
    let action = |label: &str, command: &str| Action {
        label: label.to_owned(),
        command: command.to_owned(),
        style: ActionStyle::Plain,
    };
    Card {
        title: "doctor · the bot itself".to_owned(),
        level: Some(level),
        verdict: Some(Text::plain(verdict)),
        blocks: blocks.chain([Block::Fields(fields)]).collect(),
        actions: vec![action("What runs", "cancel"), action("What waits for consent", "pending")],
        footer: Some(format!("run {}", asked.run)),
        ..Card::default()
    }
}

/// Whether the file that declares a SEV1 is kept up to date: without it, break-glass has people's word alone.
fn of_the_alerts(written: Result<Option<Duration>, String>, holds: Duration) -> (String, Option<Finding>) {
    let finding = |what: String, next: &str| Finding {
        level: Level::Warn,
        what: Text::plain(what),
        evidence: Some("until then a SEV1 is declared by people alone".to_owned()),
        next: Some(Text::notation(next)),
    };
    match written {
        Ok(Some(age)) if age < holds => (format!("written {} ago", whole_seconds(age)), None),
        Ok(Some(age)) => {
            let what = format!(
                "The file of alerts was written {} ago, and one older than {} is not believed",
                whole_seconds(age),
                show_duration(holds)
            );
            (
                format!("stale, written {} ago", whole_seconds(age)),
                Some(finding(what, "see whether whatever writes `consent.alerts` still runs")),
            )
        }
        Ok(None) => (
            "not there".to_owned(),
            Some(finding(
                "The file of alerts is not there".to_owned(),
                "have Alertmanager's webhook written there, or leave `consent.alerts` empty",
            )),
        ),
        Err(why) => {
            let what = format!("The file of alerts is not believed: {why}");
            ("not believed".to_owned(), Some(finding(what, "mend it, or leave `consent.alerts` empty")))
        }
    }
}

fn whole_seconds(age: Duration) -> String {
    show_duration(Duration::from_secs(age.as_secs()))
}

/// Whether the journal is written.
fn of_the_store(health: &StoreHealth) -> Option<Finding> {
    let StoreHealth::Failing { since, why, lost } = health else { return None };
    Some(Finding {
        level: Level::Crit,
        what: Text::plain("The journal cannot be written: looks are answered and marked, changes are refused"),
        evidence: Some(format!("since {since:.0}: {why}; {lost} rows are missing")),
        next: Some(Text::plain("make room or mend the disk of the store; writing goes on by itself")),
    })
}

/// What was decided and is not done yet.
fn of_what_waits(standing: &Standing, now: Timestamp) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(oldest) = standing.owed_since {
        let late = passed(oldest, now) > LATE;
        findings.push(Finding {
            level: if late { Level::Warn } else { Level::Note },
            what: Text::plain(match standing.owed {
                1 => "One message waits to be delivered".to_owned(),
                count => format!("{count} messages wait to be delivered"),
            }),
            evidence: Some(match &standing.owed_trouble {
                Some(trouble) => format!("the oldest for {}: {trouble}", since(oldest, now)),
                None => format!("the oldest for {}", since(oldest, now)),
            }),
            next: Some(Text::plain("nothing: each is tried again until its platform takes it")),
        });
    }
    if standing.uncertain > 0 {
        findings.push(Finding {
            level: Level::Warn,
            what: Text::plain(match standing.uncertain {
                1 => "Of one change nobody knows whether it was made: the bot stopped in the middle".to_owned(),
                count => {
                    format!("Of {count} changes nobody knows whether they were made: the bot stopped in the middle")
                }
            }),
            evidence: None,
            next: Some(Text::plain("its plan's message says which; look at the server and ask for it anew if need be")),
        });
    }
    findings
}

fn journal(standing: &Standing, audited: bool, now: Timestamp) -> String {
    let Some(head) = &standing.head else { return "no row yet".to_owned() };
    let witness = match (audited, standing.anchored) {
        (false, _) => "its head is told nowhere outside: `[audit]` in bot.toml names a channel".to_owned(),
        (true, None) => "its head was not told outside yet".to_owned(),
        (true, Some((seq, at))) => format!("row {seq} told outside {} ago", since(at, now)),
    };
    // Enough of it to compare with a line of the audit channel.
    format!("row {} ({}…), {witness}", head.seq, head.hash.get(..12).unwrap_or(&head.hash))
}

/// One problem of the configuration; the file's name is enough to find it, its path is the operator's own business.
fn said(problem: &crate::model::Problem) -> String {
    let name = problem.file.file_name().unwrap_or_default().to_string_lossy();
    match problem.line {
        Some(line) => format!("{name}:{line}: {}", problem.reason),
        None => format!("{name}: {}", problem.reason),
    }
}

fn passed(from: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(from)).unwrap_or_default()
}

fn since(from: Timestamp, now: Timestamp) -> String {
    show_duration(Duration::from_secs(passed(from, now).as_secs()))
}

/// What this process holds of the machine's memory, where the system tells.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib << 10)
}
