//! What a run would do, told before any of it is done.

use super::{Act, BookRun};
use crate::{
    model::{Service, show_duration},
    runbook::{Compiled, language::Scope},
};

/// A step as far as it can be told beforehand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rehearsed {
    /// What stands on the card.
    pub title: String,
    /// It would not be taken as the runbook was asked for, whatever the steps before it see: its condition.
    pub skipped: Option<String>,
    /// It depends on what steps before it see: the condition.
    pub depends: Option<String>,
    /// The line it types; `Err`: as the file has it, because what steps before it see goes into it.
    pub line: Option<Result<String, String>>,
    /// It changes something.
    pub changes: bool,
    /// What else there is to it.
    pub more: Option<String>,
}

impl BookRun {
    /// Every step, with its line, and those that are left out as the runbook was asked for.
    pub fn rehearse(&self, service: &Service, now_ms: i64) -> Vec<Rehearsed> {
        let scope = self.scope(service, now_ms);
        (0..self.steps.len()).map(|step| self.rehearse_step(step, &scope)).collect()
    }

    fn rehearse_step(&self, step: usize, scope: &Scope) -> Rehearsed {
        let spec = &self.steps[step];
        let compiled = Compiled::default();
        let unknown = |name: &str| self.steps.iter().any(|step| step.id == name);
        let decided = spec.when.as_ref().map(|when| compiled.decided(when, scope, &unknown));
        let filled = |template: &str| {
            let known = compiled.reads(template).is_some_and(|names| !names.iter().any(|name| unknown(name)));
            let filled = if known { compiled.render(template, scope).ok() } else { None };
            filled.map(|marked| marked.command()).ok_or_else(|| template.to_owned())
        };
        Rehearsed {
            title: self.progress[step].title.clone(),
            skipped: spec.when.clone().filter(|_| decided == Some(Some(false))),
            depends: spec.when.clone().filter(|_| decided == Some(None)),
            line: spec.act.line().map(filled),
            changes: matches!(spec.act, Act::Touch { .. }),
            more: more(&spec.act),
        }
    }
}

/// What a step is besides the line it types.
fn more(act: &Act) -> Option<String> {
    let length = |ms: i64| show_duration(std::time::Duration::from_millis(u64::try_from(ms).unwrap_or(0)));
    match act {
        Act::Look { .. } | Act::Touch { .. } => None,
        Act::Check { holds } => Some(format!("goes on only if {holds}")),
        Act::Wait { until, every_ms, most_ms, .. } => {
            Some(format!("every {}, for up to {}, until {until}", length(*every_ms), length(*most_ms)))
        }
        Act::Watch { holds, every_ms, lasts_ms, .. } => Some(format!(
            "every {} for {}: if not {holds}, what was changed is taken back",
            length(*every_ms),
            length(*lasts_ms)
        )),
        Act::Approve { by, .. } => {
            Some(format!("waits for the word of {}", by.as_deref().unwrap_or("somebody else who may consent")))
        }
        Act::Manual { verify, .. } => Some(match verify {
            Some(verify) => format!("a person does it and ticks it; then {} must hold", verify.holds),
            None => "a person does it and ticks it".to_owned(),
        }),
    }
}
