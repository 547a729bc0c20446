//! What could not be looked at.

use std::collections::BTreeMap;

use super::scope::each;
use crate::{
    diagnosis::{Explained, Observation},
    model::{Finding, Level, Text},
    runbook::{Diagnostic, Evidence, Step},
};

/// Not seeing is not health: a step that failed is a finding of its own. What
/// was optional comes back as small print instead.
pub(super) fn failures(diagnostic: &Diagnostic, evidence: &Evidence) -> (Vec<Finding>, Vec<String>) {
    let mut found: Vec<Finding> = Vec::new();
    let mut aside: Vec<String> = Vec::new();
    // One cause fails many steps; it is told once, with the steps it took.
    let mut told: BTreeMap<(String, String), (Explained, Vec<String>)> = BTreeMap::new();
    for step in &diagnostic.steps {
        for (id, seen) in seen(step, evidence) {
            match &seen.merged {
                // What it would have been worked out from has failed, and is told itself.
                Err(error) if error.code == "NOT_SEEN" => {}
                Err(error) if step.optional => push(&mut aside, format!("{id} ({})", error.what)),
                Err(error) => {
                    let entry = told
                        .entry((error.code.clone(), error.what.clone()))
                        .or_insert_with(|| (error.clone(), Vec::new()));
                    entry.1.push(id);
                }
                Ok(_) => silent(step, &id, seen, &mut found, &mut aside),
            }
        }
    }
    for (error, steps) in told.into_values() {
        found.push(Finding {
            level: Level::Unknown,
            what: Text::plain(error.what),
            evidence: Some(format!("{} · not seen: {}", error.cause, steps.join(", "))),
            next: (!error.next.is_empty()).then(|| Text::notation(&error.next)),
        });
    }
    (found, aside)
}

fn seen<'a>(step: &'a Step, evidence: &'a Evidence) -> Vec<(String, &'a Observation)> {
    match step.each {
        Some(_) => each(evidence, &step.id).map(|(name, seen)| (name.to_owned(), seen)).collect(),
        None => evidence.observations.get(&step.id).map(|seen| (step.id.clone(), seen)).into_iter().collect(),
    }
}

/// Some servers answered and some did not: those are named.
fn silent(step: &Step, id: &str, seen: &Observation, found: &mut Vec<Finding>, aside: &mut Vec<String>) {
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
        push(aside, format!("{id} on {names} ({})", first.what));
        return;
    }
    let what = format!("{} of {} servers did not answer: {names}", failed.len(), seen.nodes.len());
    found.push(Finding {
        level: Level::Unknown,
        what: Text::plain(what),
        evidence: Some(format!("{}: {}", first.what, first.cause)),
        next: (!first.next.is_empty()).then(|| Text::notation(&first.next)),
    });
}

fn push(aside: &mut Vec<String>, what: String) {
    if aside.len() < 8 && !aside.contains(&what) {
        aside.push(what);
    }
}
