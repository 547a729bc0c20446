//! Evidence to cards.
//!
//! Whatever a server answered and however wrong a template is, there is a card
//! in the end: people who ask at three in the morning are always told
//! something, and what could not be worked out is said in its place.

mod body;
mod checks;
mod failures;
mod figures;
mod findings;
mod here;
mod scope;

use std::collections::BTreeMap;

use super::{
    Command, Diagnostic, Evidence, Kind, Part, Rendered,
    language::{Scope, expression::NoValue, show},
};
use crate::model::{Action, ActionStyle, Block, Card, Finding, Level, Span, Text};

/// How many findings a card lists.
const FINDINGS: usize = 25;
/// How many buttons; Slack allows five in a row.
const ACTIONS: usize = 5;
/// What a button's label may hold.
const LABEL: usize = 75;

/// The card of a command. Never fails: a broken template or a missing value is said on the card.
pub fn render(command: &Command, evidence: &Evidence) -> Rendered {
    match &command.kind {
        Kind::Diagnostic(diagnostic) => Rendering::new(command, diagnostic, evidence).card(),
        Kind::BuiltIn | Kind::Remediation(_) | Kind::Runbook(_) => {
            let card = Card { title: title(command, evidence), ..Card::default() };
            Rendered { card, level: Level::Ok, figures: BTreeMap::new(), long: Vec::new(), tree: Vec::new() }
        }
    }
}

struct Rendering<'a> {
    command: &'a Command,
    diagnostic: &'a Diagnostic,
    evidence: &'a Evidence,
    scope: Scope,
    /// What of the card could not be worked out, for whoever wrote the file.
    troubles: Vec<String>,
    /// What does not go on the card whole.
    long: Vec<Part>,
}

fn title(command: &Command, evidence: &Evidence) -> String {
    let several = evidence.service.instances.len() > 1;
    match several {
        true => format!("{} · {}/{}", command.name, evidence.service.name, evidence.instance),
        false => format!("{} · {}", command.name, evidence.service.name),
    }
}

impl<'a> Rendering<'a> {
    fn new(command: &'a Command, diagnostic: &'a Diagnostic, evidence: &'a Evidence) -> Self {
        let scope = scope::scope(diagnostic, evidence);
        Self { command, diagnostic, evidence, scope, troubles: Vec::new(), long: Vec::new() }
    }

    fn card(mut self) -> Rendered {
        let figures = self.figures();
        let (unseen, aside) = failures::failures(self.command, self.diagnostic, self.evidence);
        let (checklist, unmet) = self.checks();
        let mut found = self.findings();
        found.extend(unmet);
        found.extend(unseen);
        if self.diagnostic.card.gather {
            found.extend(findings::gathered(self.diagnostic, self.evidence));
        }
        let found = findings::ranked(found);
        let level = figures
            .fields
            .iter()
            .filter_map(|field| field.level)
            .chain(found.iter().map(|finding| finding.level))
            .max()
            .unwrap_or_default();
        let verdict = self.verdict(level, &figures.fields, &found);
        let spec = &self.diagnostic.card;
        let judges = verdict.is_some()
            || level > Level::Ok
            || spec.gather
            || !spec.findings.is_empty()
            || !spec.checks.is_empty()
            || spec.figures.iter().any(|figure| figure.judge.is_some());
        let mut blocks = Vec::new();
        let more = found.len().saturating_sub(FINDINGS);
        if !found.is_empty() {
            blocks.push(Block::Findings(found.into_iter().take(FINDINGS).collect()));
        }
        if more > 0 {
            blocks.push(Block::Text(Text::plain(format!("and {more} more of the mildest"))));
        }
        if !checklist.is_empty() {
            blocks.push(Block::Checklist(checklist));
        }
        if !figures.fields.is_empty() {
            blocks.push(Block::Fields(figures.fields));
        }
        self.body(&mut blocks);
        let actions = self.actions();
        let footer = self.footer(&aside);
        let mut card = Card {
            title: title(self.command, self.evidence),
            level: judges.then_some(level),
            verdict,
            context: self.context(),
            blocks,
            actions,
            footer: Some(footer),
        };
        here::keep(&mut card, self.evidence);
        let tree = super::long::tree(self.evidence.observations.values());
        Rendered { card, level, figures: figures.remembered, long: self.long, tree }
    }

    /// No wrong target: what `exec` found, or at least what the profile says.
    fn context(&self) -> Vec<String> {
        if !self.evidence.context.is_empty() {
            return self.evidence.context.clone();
        }
        let service = &self.evidence.service;
        vec![service.environment.to_string(), format!("{}/{}", service.name, self.evidence.instance)]
    }

    fn verdict(&mut self, level: Level, fields: &[crate::model::Field], found: &[Finding]) -> Option<Text> {
        if level <= Level::Note {
            let healthy = self.diagnostic.card.healthy.as_deref()?;
            return Some(self.text(healthy, "healthy"));
        }
        let attention: Vec<&Finding> = found.iter().filter(|finding| finding.level > Level::Note).collect();
        let worst_field = fields
            .iter()
            .filter(|field| field.level > Some(Level::Note))
            .max_by_key(|field| field.level)
            // A figure past its threshold usually has its finding; only a figure worse than all of them leads.
            .filter(|field| attention.first().is_none_or(|finding| Some(finding.level) < field.level));
        let bad_fields = fields.iter().filter(|field| field.level > Some(Level::Note)).count();
        let (count, first) = match (worst_field, attention.first()) {
            (Some(field), first) => {
                let count = if first.is_none() { bad_fields } else { attention.len() + 1 };
                (count, Text::plain(format!("{} is {}", field.label, field.value)))
            }
            (None, Some(finding)) => (attention.len(), finding.what.clone()),
            (None, None) => return None,
        };
        let lead = match count {
            1 => "One thing needs attention: ".to_owned(),
            count => format!("{count} things need attention: "),
        };
        let mut spans = vec![Span::Plain(lead)];
        spans.extend(first.0);
        Some(Text(spans))
    }

    fn actions(&mut self) -> Vec<Action> {
        let mut actions: Vec<Action> = Vec::new();
        for spec in &self.diagnostic.card.actions {
            if actions.len() == ACTIONS || !self.holds(spec.when.as_deref()) {
                continue;
            }
            let label = show::truncate(&self.line(&spec.label, "an action's label", None), LABEL);
            let command = match self.diagnostic.compiled.render(&spec.command, &self.scope) {
                Ok(marked) => marked.command(),
                Err(why) => {
                    self.troubles.push(format!("the action `{label}`: {why}"));
                    continue;
                }
            };
            if !command.is_empty() && actions.iter().all(|action| action.command != command) {
                actions.push(Action { label, command, style: ActionStyle::Plain });
            }
        }
        actions
    }

    fn footer(&self, aside: &[String]) -> String {
        let mut parts = vec![format!("run {}", self.evidence.run), show::duration(self.evidence.took.as_secs_f64())];
        if !aside.is_empty() {
            parts.push(format!("not seen: {}", aside.join("; ")));
        }
        if !self.troubles.is_empty() {
            parts.push(format!("this card is incomplete ({}): {}", self.command.source, self.troubles.join("; ")));
        }
        show::truncate(&parts.join(" · "), 1_000)
    }

    fn holds(&self, when: Option<&str>) -> bool {
        self.diagnostic.compiled.holds(when, &self.scope)
    }

    /// A template as a line; what is wrong with it is said in the footer.
    fn line(&mut self, source: &str, place: &str, scope: Option<&Scope>) -> String {
        match self.diagnostic.compiled.render(source, scope.unwrap_or(&self.scope)) {
            Ok(marked) => marked.line(),
            Err(why) => {
                self.trouble(place, &why);
                "?".to_owned()
            }
        }
    }

    fn text(&mut self, source: &str, place: &str) -> Text {
        match self.diagnostic.compiled.render(source, &self.scope) {
            Ok(marked) => marked.text(),
            Err(why) => {
                self.trouble(place, &why);
                Text::plain("?")
            }
        }
    }

    fn trouble(&mut self, place: &str, why: &str) {
        let trouble = format!("{place}: {why}");
        if self.troubles.len() < 5 && !self.troubles.contains(&trouble) {
            self.troubles.push(trouble);
        }
    }

    /// A list for a table or bars. What is missing is an empty list; a mistake is said.
    fn rows(&mut self, source: &str, place: &str) -> Vec<minijinja::Value> {
        let outcome = self.diagnostic.compiled.value(source, &self.scope);
        match outcome.and_then(|value| super::language::functions::elements(&value)) {
            Ok(rows) => rows,
            Err(NoValue::Missing(_)) => Vec::new(),
            Err(error) => {
                self.trouble(place, &error.to_string());
                Vec::new()
            }
        }
    }
}
