//! What expressions and templates of a card see.

use minijinja::{Value, value::Serde};
use serde_json::{Map, json};

use crate::{
    diagnosis::{Explained, NodeOutcome, Observation, Role},
    runbook::{Diagnostic, Evidence, Figures, Rendered, language::Scope, view},
};

pub(super) fn scope(diagnostic: &Diagnostic, evidence: &Evidence) -> Scope {
    let mut scope = Scope::default();
    let mut nodes = Vec::new();
    let mut failed = Vec::new();
    for step in &diagnostic.steps {
        if step.each.is_some() {
            let all: Vec<Value> = each(evidence, &step.id).map(|(name, seen)| one_of_each(name, seen)).collect();
            scope.set(&step.id, Value::from(all));
            if let Some(error) = each(evidence, &step.id).find_map(|(_, seen)| seen.merged.as_ref().err()) {
                failed.push((step.id.clone(), explained(error)));
            }
        } else if let Some(rendered) = evidence.nested.get(&step.id) {
            scope.set(&step.id, nested(rendered));
        } else if let Some(seen) = evidence.observations.get(&step.id) {
            match &seen.merged {
                Ok(value) => scope.set(&step.id, Value::from(Serde(value))),
                Err(error) => failed.push((step.id.clone(), explained(error))),
            }
            nodes.push((step.id.clone(), Value::from(seen.nodes.iter().map(node).collect::<Vec<_>>())));
        }
    }
    scope.set("nodes", Value::from_pairs(nodes));
    scope.set("failed", Value::from_pairs(failed));
    scope.set("args", Value::from(Serde(view::arguments(&evidence.arguments))));
    scope.set("service", Value::from(Serde(view::service(&evidence.service))));
    if let Some(instance) = evidence.service.instance(Some(&evidence.instance)) {
        scope.set("instance", Value::from(Serde(view::instance(instance))));
    }
    scope.set("figures", Value::from(Serde(json!({}))));
    scope.set("last", figures(evidence.last.as_ref()));
    scope.set("healthy", figures(evidence.healthy.as_ref()));
    scope.set("run", Value::from(evidence.run.as_str()));
    scope.set("now", Value::from(evidence.now.as_second()));
    scope
}

/// What the bound steps `ID[NAME]` saw, with their names.
pub(super) fn each<'a>(evidence: &'a Evidence, id: &'a str) -> impl Iterator<Item = (&'a str, &'a Observation)> {
    evidence.observations.iter().filter_map(move |(bound, seen)| {
        let name = bound.strip_prefix(id)?.strip_prefix('[')?.strip_suffix(']')?;
        Some((name, seen))
    })
}

fn one_of_each(name: &str, seen: &Observation) -> Value {
    let (value, error) = match &seen.merged {
        Ok(value) => (Value::from(Serde(value)), Value::from(())),
        Err(error) => (Value::from(()), explained(error)),
    };
    Value::from_pairs([
        ("name", Value::from(name)),
        ("ok", Value::from(seen.merged.is_ok())),
        ("value", value),
        ("error", error),
        ("took_ms", Value::from(seen.took.as_secs_f64() * 1000.0)),
    ])
}

fn node(outcome: &NodeOutcome) -> Value {
    let role = match outcome.node.role {
        Some(Role::Primary) => Value::from("primary"),
        Some(Role::Replica) => Value::from("replica"),
        Some(Role::Sentinel) => Value::from("sentinel"),
        None => Value::from(()),
    };
    let (value, error) = match &outcome.result {
        Ok(value) => (Value::from(Serde(value)), Value::from(())),
        Err(error) => (Value::from(()), explained(error)),
    };
    Value::from_pairs([
        ("address", Value::from(outcome.node.address.to_string())),
        ("role", role),
        ("ok", Value::from(outcome.result.is_ok())),
        ("value", value),
        ("error", error),
        ("took_ms", Value::from(outcome.took.as_secs_f64() * 1000.0)),
    ])
}

fn explained(error: &Explained) -> Value {
    Value::from(Serde(json!({"code": error.code, "what": error.what, "cause": error.cause, "next": error.next})))
}

fn nested(rendered: &Rendered) -> Value {
    let findings = super::findings::of(&rendered.card).count();
    Value::from(Serde(json!({
        "level": rendered.level,
        "word": rendered.level.word(),
        "verdict": rendered.card.verdict.as_ref().map(crate::model::Text::to_plain),
        "findings": findings,
        "figures": rendered.figures,
    })))
}

fn figures(figures: Option<&Figures>) -> Value {
    let mut values = Map::new();
    if let Some(figures) = figures {
        values.extend(figures.values.iter().map(|(name, value)| (name.clone(), json!(value))));
        values.insert("at".to_owned(), json!(figures.at.as_second()));
    }
    Value::from(Serde(values))
}
