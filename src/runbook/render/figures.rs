//! Figures: worked out in order, judged, and compared with what they were.

use std::collections::BTreeMap;

use jiff::Timestamp;
use minijinja::{Value, value::ValueKind};

use super::Rendering;
use crate::{
    diagnosis::Explained,
    model::{Direction, Field, Level, Threshold},
    runbook::{
        FigureSpec, Figures,
        language::{
            expression::{NoValue, Program, number},
            functions, show,
            template::{NOTHING, clean},
        },
    },
};

/// Changes smaller than this are noise.
const NOISE: f64 = 0.01;

#[derive(Default)]
pub(super) struct Worked {
    pub(super) fields: Vec<Field>,
    pub(super) remembered: BTreeMap<String, f64>,
}

impl Rendering<'_> {
    pub(super) fn figures(&mut self) -> Worked {
        let mut worked = Worked::default();
        let mut known: Vec<(String, Value)> = Vec::new();
        for spec in &self.diagnostic.card.figures {
            if !self.holds(spec.when.as_deref()) || self.unseen(&spec.value) {
                continue;
            }
            let outcome = self.diagnostic.compiled.value(&spec.value, &self.scope);
            let field = match outcome {
                Ok(value) if !value.is_none() && !value.is_undefined() => {
                    if let Some(number) = number(&value)
                        && spec.remember
                    {
                        worked.remembered.insert(spec.name.clone(), number);
                    }
                    known.push((spec.name.clone(), value.clone()));
                    let figures = Value::from_pairs(known.iter().map(|(name, value)| (name.clone(), value.clone())));
                    self.scope.set("figures", figures);
                    spec.label.as_ref().map(|label| self.field(spec, label, &value))
                }
                Ok(_) => self.absent(spec, None),
                Err(error) => self.absent(spec, Some(&error)),
            };
            worked.fields.extend(field);
        }
        worked
    }

    fn field(&mut self, spec: &FigureSpec, label: &str, value: &Value) -> Field {
        let threshold = spec.judge.as_ref().and_then(|name| self.evidence.service.thresholds.get(name)).copied();
        let number = number(value);
        let level = threshold.zip(number).map(|(threshold, number)| judge(threshold, number));
        let shown = match &spec.show {
            Some(template) => {
                let scope = self.scope.with("value", value.clone());
                self.line(template, &format!("the figure `{}`", spec.name), Some(&scope))
            }
            None => match number {
                Some(number) => show::number(number),
                None => show::truncate(&clean(&functions::plain(value)).replace('\n', " "), 200),
            },
        };
        let mut hints = Vec::new();
        if let (Some(threshold), Some(level)) = (threshold, level) {
            hints.extend(self.bounds(spec, threshold, level));
        }
        if let Some(number) = number {
            hints.extend(self.changes(spec, number, level));
        }
        Field {
            label: label.to_owned(),
            value: if shown.is_empty() { NOTHING.to_owned() } else { shown },
            level,
            hint: (!hints.is_empty()).then(|| hints.join(" · ")),
        }
    }

    /// A figure that could not be worked out.
    fn absent(&mut self, spec: &FigureSpec, error: Option<&NoValue>) -> Option<Field> {
        let label = spec.label.clone()?;
        if let Some(otherwise) = &spec.otherwise {
            return Some(Field { label, value: otherwise.clone(), level: None, hint: None });
        }
        let hint = match error {
            // A step that failed says more than the name that is missing for it.
            Some(NoValue::Missing(what)) => {
                Some(self.failed_of(&spec.value).unwrap_or_else(|| format!("{what} is not there")))
            }
            Some(error) => {
                self.trouble(&format!("the figure `{}`", spec.name), &error.to_string());
                Some(error.to_string())
            }
            None => None,
        };
        Some(Field { label, value: NOTHING.to_owned(), level: None, hint })
    }

    /// Whether everything the expression reads was to be seen by steps that failed, and a finding says so
    /// already: then there is nothing to show, and `otherwise` or a default would tell an untruth.
    pub(super) fn unseen(&self, expression: &str) -> bool {
        let error = |id: &str| self.evidence.observations.get(id).and_then(|seen| seen.merged.as_ref().err());
        // Reading the expression again is for the rare card on which something failed.
        if !self.diagnostic.steps.iter().any(|step| !step.optional && error(&step.id).is_some()) {
            return false;
        }
        let names = Program::parse(expression).map(|program| program.names()).unwrap_or_default();
        let mut steps = names.iter().filter(|(root, _)| self.evidence.observations.contains_key(root)).peekable();
        // What a server refuses to tell is worth saying; that it is away has been said.
        let refused = |error: &Explained| matches!(error.code.as_str(), "NOPERM" | "UNKNOWN_COMMAND" | "NOT_ALLOWED");
        let hidden = |root: &str| {
            let required = self.diagnostic.steps.iter().any(|step| step.id == root && !step.optional);
            error(root).is_some_and(|error| required || !refused(error))
        };
        steps.peek().is_some() && steps.all(|(root, _)| hidden(root))
    }

    fn failed_of(&self, expression: &str) -> Option<String> {
        let names = Program::parse(expression).ok()?.names();
        names.iter().find_map(|(root, _)| {
            let seen = self.evidence.observations.get(root)?;
            seen.merged.as_ref().err().map(|error| error.what.clone())
        })
    }

    /// The thresholds, in the figure's own form.
    fn bounds(&mut self, spec: &FigureSpec, threshold: Threshold, level: Level) -> Option<String> {
        let past = match threshold.direction {
            Direction::HighIsBad => "past",
            Direction::LowIsBad => "below",
        };
        let warn = threshold.warn.map(|warn| self.bound(spec, warn));
        let crit = threshold.crit.map(|crit| self.bound(spec, crit));
        match (level, warn, crit) {
            (Level::Crit, _, Some(crit)) => Some(format!("critical {past} {crit}")),
            (Level::Warn, Some(warn), Some(crit)) => Some(format!("warning {past} {warn}, critical {past} {crit}")),
            (_, Some(warn), _) => Some(format!("warning {past} {warn}")),
            (_, None, Some(crit)) => Some(format!("critical {past} {crit}")),
            (_, None, None) => None,
        }
    }

    /// A bound through the part of the figure's template that shows the value itself.
    fn bound(&self, spec: &FigureSpec, bound: f64) -> String {
        let part = spec.show.as_deref().and_then(|show| {
            let from = show
                .match_indices("{{")
                .find(|(at, _)| show[at + 2..].trim_start().trim_start_matches('(').starts_with("value"))?
                .0;
            let length = show[from..].find("}}")? + 2;
            Some(&show[from..from + length])
        });
        let shown = part.and_then(|part| {
            let scope = self.scope.with("value", Value::from(bound));
            self.diagnostic.compiled.render(part, &scope).ok()
        });
        shown.map_or_else(|| show::number(bound), |marked| marked.line())
    }

    /// What changed since the last look, and, when it is not well, since it last was.
    fn changes(&self, spec: &FigureSpec, number: f64, level: Option<Level>) -> Vec<String> {
        let now = self.evidence.now;
        let mut changes = Vec::new();
        let before = |figures: &Option<Figures>| {
            figures.as_ref().and_then(|figures| Some((figures.at, *figures.values.get(&spec.name)?)))
        };
        if let Some((at, old)) = before(&self.evidence.last)
            && let Some(change) = change(old, number)
        {
            changes.push(format!("{change} since {}", ago(at, now)));
        }
        if level > Some(Level::Note)
            && let Some((at, old)) = before(&self.evidence.healthy)
            && self.evidence.last.as_ref().is_none_or(|last| last.at != at)
            && let Some(change) = change(old, number)
        {
            changes.push(format!("{change} since it was healthy {}", ago(at, now)));
        }
        changes
    }
}

/// How a threshold judges a figure. Bounds are exclusive.
pub(super) fn judge(threshold: Threshold, number: f64) -> Level {
    let past = |bound: f64| match threshold.direction {
        Direction::HighIsBad => number > bound,
        Direction::LowIsBad => number < bound,
    };
    if threshold.crit.is_some_and(past) {
        Level::Crit
    } else if threshold.warn.is_some_and(past) {
        Level::Warn
    } else {
        Level::Ok
    }
}

/// `+12 %`, or nothing when it is about the same.
fn change(old: f64, new: f64) -> Option<String> {
    if !old.is_finite() || !new.is_finite() || old == new {
        return None;
    }
    if old == 0.0 {
        return Some(format!("{}{} from 0", if new > 0.0 { "+" } else { "-" }, show::number(new.abs())));
    }
    let change = (new - old) / old.abs();
    if change.abs() < NOISE {
        None
    } else if change >= 9.0 {
        Some(format!("×{}", show::number((new / old).abs().round())))
    } else {
        let percent = (change.abs() * 100.0).round();
        Some(format!("{}{} %", if change > 0.0 { "+" } else { "-" }, show::number(percent)))
    }
}

fn ago(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_second() - at.as_second();
    if seconds < 1 { "a moment ago".to_owned() } else { format!("{} ago", show::duration(seconds as f64)) }
}

/// A cell or field is text when nothing judges it.
pub(super) fn level_of(threshold: Option<&Threshold>, value: &Value) -> Option<Level> {
    if value.kind() != ValueKind::Number {
        return None;
    }
    Some(judge(*threshold?, number(value)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_past_its_bound_only_beyond_it() {
        let high = Threshold { warn: Some(0.8), crit: Some(0.9), direction: Direction::HighIsBad };
        assert_eq!([0.8, 0.81, 0.9, 0.91].map(|n| judge(high, n)), [Level::Ok, Level::Warn, Level::Warn, Level::Crit]);
        let low = Threshold { warn: Some(0.9), crit: None, direction: Direction::LowIsBad };
        assert_eq!([0.9, 0.89, 0.1].map(|n| judge(low, n)), [Level::Ok, Level::Warn, Level::Warn]);
    }

    #[test]
    fn changes_are_said_when_they_are_more_than_noise() {
        assert_eq!(change(100.0, 112.0).as_deref(), Some("+12 %"));
        assert_eq!(change(100.0, 60.0).as_deref(), Some("-40 %"));
        assert_eq!(change(100.0, 100.5), None);
        assert_eq!(change(0.0, 7.0).as_deref(), Some("+7 from 0"));
        assert_eq!(change(10.0, 1200.0).as_deref(), Some("×120"));
        assert_eq!(change(f64::NAN, 1.0), None);
    }
}
