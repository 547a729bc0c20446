//! Findings: the command's own, those of the commands it ran, and their order.

use super::Rendering;
use crate::{
    model::{Block, Card, Field, Finding, Level, Span, Text},
    runbook::{Diagnostic, Evidence, Look, Rendered},
};

impl Rendering<'_> {
    pub(super) fn findings(&mut self) -> Vec<Finding> {
        let mut found = Vec::new();
        for spec in &self.diagnostic.card.findings {
            if !self.holds(Some(&spec.when)) {
                continue;
            }
            let what = self.text(&spec.what, "a finding");
            let evidence = spec.evidence.as_ref().map(|template| self.line(template, "a finding's evidence", None));
            let next = spec.next.as_ref().map(|template| self.text(template, "a finding's next step"));
            found.push(Finding { level: spec.level, what, evidence, next });
        }
        found
    }
}

/// The findings of a card.
pub(super) fn of(card: &Card) -> impl Iterator<Item = &Finding> {
    card.blocks.iter().flat_map(|block| match block {
        Block::Findings(findings) => findings.as_slice(),
        _ => &[],
    })
}

/// What the commands this one ran found, each said with its command.
pub(super) fn gathered(diagnostic: &Diagnostic, evidence: &Evidence) -> Vec<Finding> {
    let mut found: Vec<Finding> = Vec::new();
    let mut figures: Vec<(String, usize)> = Vec::new();
    for step in &diagnostic.steps {
        let (Look::Command { name }, Some(rendered)) = (&step.look, evidence.nested.get(&step.id)) else { continue };
        let service = &evidence.service.name;
        let leading = |mut finding: Finding| {
            if !mentions(finding.next.as_ref(), name) {
                let mut next = finding.next.take().map(|text| text.0).unwrap_or_default();
                next.push(Span::Plain(if next.is_empty() { "look closer: " } else { " · more: " }.to_owned()));
                next.push(Span::Code(format!("/redis {name} {service}")));
                finding.next = Some(Text(next));
            }
            finding
        };
        found.extend(of(&rendered.card).cloned().map(leading));
        for field in judged(rendered) {
            let finding = leading(finding_of(field));
            // The same figure on two cards, seen a moment apart, is one fact. The later command is
            // about that figure alone, and its card goes further.
            match figures.iter().find(|(label, _)| *label == field.label) {
                Some(&(_, at)) if found[at].level <= finding.level => found[at] = finding,
                Some(_) => {}
                None => {
                    figures.push((field.label.clone(), found.len()));
                    found.push(finding);
                }
            }
        }
    }
    found
}

fn mentions(next: Option<&Text>, command: &str) -> bool {
    next.is_some_and(|next| {
        next.0
            .iter()
            .any(|span| matches!(span, Span::Code(code) if code.split_whitespace().any(|word| word == command)))
    })
}

/// Figures past their thresholds, where no finding of that command says it.
fn judged(rendered: &Rendered) -> Vec<&Field> {
    let said = of(&rendered.card).map(|finding| finding.level).max().unwrap_or_default();
    if rendered.level <= Level::Note || said >= rendered.level {
        return Vec::new();
    }
    let fields = rendered.card.blocks.iter().flat_map(|block| match block {
        Block::Fields(fields) => fields.as_slice(),
        _ => &[],
    });
    fields.filter(|field| field.level > Some(Level::Note)).collect()
}

fn finding_of(field: &Field) -> Finding {
    Finding {
        level: field.level.unwrap_or_default(),
        what: Text::plain(format!("{} is {}", field.label, field.value)),
        evidence: field.hint.clone(),
        next: None,
    }
}

/// Worst first, in the order of the file within a level, each said once.
pub(super) fn ranked(mut found: Vec<Finding>) -> Vec<Finding> {
    found.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    let mut said: Vec<String> = Vec::new();
    found.retain(|finding| {
        let what = finding.what.to_plain();
        // One that names another as its reason (`It fails at TCP: …`) tells the same fact.
        let told = |said: &String| said.ends_with(&what) || what.ends_with(said);
        let new = !said.iter().any(told);
        if new {
            said.push(what);
        }
        new
    });
    found
}
