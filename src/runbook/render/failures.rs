//! What could not be looked at.

use std::collections::BTreeMap;

use super::scope::each;
use crate::{
    diagnosis::{Explained, NodeOutcome, Observation, Role},
    model::{Finding, Level, ServiceName, Span, Text},
    runbook::{Command, Diagnostic, Evidence, Step},
};

/// The diagnostics that an error's next step may name.
const NAMED: &[&str] =
    &["acl-log", "clients", "connectivity", "latency", "memory", "persistence", "replication", "slowlog", "status"];

/// Not seeing is not health: a step that failed is a finding of its own. What
/// was optional comes back as small print instead.
pub(super) fn failures(command: &Command, diagnostic: &Diagnostic, evidence: &Evidence) -> (Vec<Finding>, Vec<String>) {
    let next = |error: &Explained| next_step(error, &command.name, &evidence.service.name);
    let mut found: Vec<Finding> = Vec::new();
    let mut aside: Vec<(String, &Explained)> = Vec::new();
    // One cause fails many steps; it is told once, with the steps it took.
    let mut told: BTreeMap<(String, String), (Explained, Level, Vec<String>)> = BTreeMap::new();
    for step in &diagnostic.steps {
        for (id, seen) in seen(step, evidence) {
            match &seen.merged {
                // What it would have been worked out from has failed, and is told itself.
                Err(error) if error.code == "NOT_SEEN" => {}
                Err(error) if step.optional => aside.push((id, error)),
                Err(error) => {
                    let entry = told
                        .entry((error.code.clone(), error.what.clone()))
                        .or_insert_with(|| (error.clone(), Level::Unknown, Vec::new()));
                    entry.1 = entry.1.max(level_of(seen));
                    if !entry.2.contains(&id) {
                        entry.2.push(id);
                    }
                }
                Ok(_) => silent(step, &id, seen, &mut found, &mut aside, &next),
            }
        }
    }
    for (error, level, steps) in told.into_values() {
        found.push(Finding {
            level,
            next: next(&error),
            what: Text::plain(error.what),
            // Where nothing else is looked at, a step's name says nothing.
            evidence: Some(match diagnostic.steps.as_slice() {
                [_] => error.cause,
                _ => format!("{} · not seen: {}", error.cause, steps.join(", ")),
            }),
        });
    }
    // A cause that stands above is not told again in small print.
    let told: Vec<String> = found.iter().map(|finding| finding.what.to_plain()).collect();
    let mut small: Vec<String> = Vec::new();
    for (what, error) in aside {
        let line = format!("{what} ({})", error.what);
        if small.len() < 8 && !told.contains(&error.what) && !small.contains(&line) {
            small.push(line);
        }
    }
    (found, small)
}

/// How bad it is that servers did not answer. Not to see is unknown; but a Redis that turns
/// everybody away is down, whatever else could not be seen.
fn level_of(seen: &Observation) -> Level {
    let out = |outcome: &&NodeOutcome| outcome.result.as_ref().is_err_and(Explained::is_outage);
    let mut down = seen.nodes.iter().filter(out).peekable();
    if down.peek().is_none() {
        return Level::Unknown;
    }
    // A replica's end costs redundancy, as long as another still answers.
    let answered = seen.nodes.iter().any(|outcome| outcome.result.is_ok());
    match answered && down.all(|outcome| outcome.node.role == Some(Role::Replica)) {
        true => Level::Warn,
        false => Level::Crit,
    }
}

/// What to do next, with its commands ready to type, and without those the reader has just typed.
fn next_step(error: &Explained, command: &str, service: &ServiceName) -> Option<Text> {
    let next = error.next_besides(command);
    let mut text = Text::notation(&next);
    for span in &mut text.0 {
        if let Span::Code(code) = span
            && (NAMED.contains(&code.as_str()) || code == "inspect KEY")
        {
            *code = format!("/redis {code} {service}");
        }
    }
    (!next.is_empty()).then_some(text)
}

fn seen<'a>(step: &'a Step, evidence: &'a Evidence) -> Vec<(String, &'a Observation)> {
    match step.each {
        Some(_) => each(evidence, &step.id).map(|(name, seen)| (name.to_owned(), seen)).collect(),
        // A step's id is a word of the file's author; people read what it looks at.
        None => evidence.observations.get(&step.id).map(|seen| (step.look.what(), seen)).into_iter().collect(),
    }
}

/// Some servers answered and some did not: those are named.
fn silent<'a>(
    step: &Step,
    id: &str,
    seen: &'a Observation,
    found: &mut Vec<Finding>,
    aside: &mut Vec<(String, &'a Explained)>,
    next: &dyn Fn(&Explained) -> Option<Text>,
) {
    let failed: Vec<(String, &Explained)> = seen
        .nodes
        .iter()
        .filter_map(|outcome| Some((outcome.node.address.to_string(), outcome.result.as_ref().err()?)))
        .collect();
    let Some((_, first)) = failed.first() else { return };
    let names: Vec<&str> = failed.iter().take(5).map(|(address, _)| address.as_str()).collect();
    let more = failed.len().saturating_sub(names.len());
    let names = if more > 0 { format!("{} and {more} more", names.join(", ")) } else { names.join(", ") };
    if step.optional {
        aside.push((format!("{id} on {names}"), first));
        return;
    }
    let share = format!("{} of {} servers", failed.len(), seen.nodes.len());
    // One silent server is told in the same words as when it is asked alone, so that both are one finding.
    let (what, evidence) = match failed.len() {
        1 => (first.what.clone(), format!("{share} · {}", first.cause)),
        _ => (format!("{share} did not answer: {names}"), format!("{}: {}", first.what, first.cause)),
    };
    found.push(Finding { level: level_of(seen), what: Text::plain(what), evidence: Some(evidence), next: next(first) });
}
