//! What conditions and templates of a runbook see.

use minijinja::{Value, value::Serde};
use serde_json::json;

use super::BookRun;
use crate::{
    model::{Block, Level, Service},
    runbook::{Rendered, language::Scope, view},
};

/// Findings of a look that later steps see.
const FINDINGS: usize = 25;

/// What later steps see of a diagnostic: its judgement, findings and figures. Never a value of a key.
pub fn seen(rendered: &Rendered) -> serde_json::Value {
    let findings: Vec<serde_json::Value> = rendered
        .card
        .blocks
        .iter()
        .flat_map(|block| match block {
            Block::Findings(findings) => findings.as_slice(),
            _ => &[],
        })
        .take(FINDINGS)
        .map(|finding| json!({"level": finding.level, "what": finding.what.to_plain()}))
        .collect();
    json!({
        // Nothing may be concluded from a look that could not see.
        "ok": rendered.level != Level::Unknown,
        "level": rendered.level,
        "good": rendered.level <= Level::Note,
        "verdict": rendered.card.verdict.as_ref().map(crate::model::Text::to_plain),
        "findings": findings,
        "figures": rendered.figures,
    })
}

impl BookRun {
    /// Arguments, profile, and the results of the steps so far.
    pub(super) fn scope(&self, service: &Service, now_ms: i64) -> Scope {
        let mut scope = Scope::default();
        scope.set("args", Value::from(Serde(&self.arguments)));
        scope.set("service", Value::from(Serde(view::service(service))));
        if let Some(instance) = service.instance(Some(&self.instance)) {
            scope.set("instance", Value::from(Serde(view::instance(instance))));
        }
        scope.set("now", Value::from(now_ms.div_euclid(1000)));
        for (id, result) in self.results() {
            scope.set(&id, Value::from(Serde(result)));
        }
        scope
    }
}
