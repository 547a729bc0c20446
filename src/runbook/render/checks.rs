//! Checklists: what has to hold after something was done.

use minijinja::value::ValueKind;

use super::Rendering;
use crate::model::{Finding, Level, Span, Text, Tick};

impl Rendering<'_> {
    /// The lines with their ticks, and a finding for each that does not hold.
    pub(super) fn checks(&mut self) -> (Vec<(Tick, Text)>, Vec<Finding>) {
        let (mut lines, mut unmet) = (Vec::new(), Vec::new());
        for spec in &self.diagnostic.card.checks {
            let holds = match self.holds(spec.when.as_deref()) {
                true => self.diagnostic.compiled.value(&spec.holds, &self.scope).ok(),
                false => None,
            };
            let tick = match holds.filter(|value| value.kind() == ValueKind::Bool) {
                Some(value) if value.is_true() => Tick::Done,
                Some(_) => Tick::Failed,
                None => Tick::Skipped,
            };
            let mut line = self.text(&spec.what, "a check");
            let otherwise = spec.otherwise.as_ref().filter(|_| tick != Tick::Done);
            let otherwise = otherwise.map(|template| self.text(template, "a check"));
            match (tick, otherwise) {
                (Tick::Failed, otherwise) => unmet.push(Finding {
                    level: Level::Warn,
                    what: Text([Span::Plain("Not so: ".to_owned())].into_iter().chain(line.0.clone()).collect()),
                    evidence: otherwise.map(|text| text.to_plain()),
                    next: None,
                }),
                (_, Some(otherwise)) => {
                    line.0.push(Span::Plain(": ".to_owned()));
                    line.0.extend(otherwise.0);
                }
                (_, None) => {}
            }
            lines.push((tick, line));
        }
        (lines, unmet)
    }
}
