//! A runbook's dry run: every step with its line, and its changes as they would be planned now.

use std::sync::Arc;

use tokio::time::Instant;

use super::{look::errand, now_ms};
use crate::{
    bot::{Hall, Rules, change, command::Asked},
    model::{Block, Card, Place, Service, Span, Text, Tick},
    runbook::{BookRun, Intent, Kind, Plan, Rehearsed, Undo},
};

/// The card of a run that is not begun.
pub(super) async fn card(hall: &Arc<Hall>, rules: &Rules, run: &BookRun, service: &Service, begun: Card) -> Card {
    let steps = run.rehearse(service, now_ms());
    let lines = steps.iter().enumerate().map(|(at, step)| told(rules, run, at, step)).collect();
    let mut blocks = vec![Block::Checklist(lines)];
    for (at, step) in steps.iter().enumerate().filter(|(_, step)| step.changes && step.skipped.is_none()) {
        let Some(Ok(line)) = &step.line else { continue };
        blocks.push(Block::Heading(format!("Step {}, as it would be planned now", at + 1)));
        blocks.push(match planned(hall, rules, run, at, line).await {
            Ok(plan) => Block::Checklist(change(&plan)),
            Err(why) => Block::Text(Text::plain(why)),
        });
    }
    let asks = "Each change is planned anew when its turn comes, and shown with what it reaches before it is done.";
    blocks.push(Block::Text(Text::plain(asks)));
    Card {
        verdict: Some("These are its steps. None was taken.".into()),
        blocks,
        actions: Vec::new(),
        footer: Some("dry run: nothing was begun".to_owned()),
        ..begun
    }
}

fn told(rules: &Rules, run: &BookRun, at: usize, step: &Rehearsed) -> (Tick, Text) {
    let plain = |text: String| Span::Plain(text);
    let mut spans = vec![plain(format!("{}. {}", at + 1, step.title))];
    if let Some(when) = &step.skipped {
        spans.push(plain(" · ".to_owned()));
        spans.push(Span::Strong("left out".to_owned()));
        spans.push(plain(": it is taken only if ".to_owned()));
        spans.push(Span::Code(when.clone()));
        return (Tick::Skipped, Text(spans));
    }
    match &step.line {
        Some(Ok(line)) => {
            // As a person would type it: what a file fills in is in milliseconds and bytes.
            let shown = errand(run)
                .intent(rules, line)
                .map_or_else(|_| line.clone(), |intent| Intent { service: None, instance: None, ..intent }.to_line());
            spans.extend([plain(": ".to_owned()), Span::Code(shown)]);
        }
        Some(Err(template)) => {
            spans.extend([plain(": ".to_owned()), Span::Code(template.clone())]);
            spans.push(plain(", filled in by what is seen before".to_owned()));
        }
        None => {}
    }
    if let Some(more) = &step.more {
        spans.push(plain(format!(" · {more}")));
    }
    if let Some(when) = &step.depends {
        spans.extend([plain(" · only if ".to_owned()), Span::Code(when.clone())]);
    }
    (Tick::Open, Text(spans))
}

async fn planned(hall: &Arc<Hall>, rules: &Rules, run: &BookRun, at: usize, line: &str) -> Result<Plan, String> {
    let intent = errand(run).intent(rules, line)?;
    let command = intent.command.clone();
    let Kind::Remediation(remediation) = &command.kind else {
        return Err(format!("`{}` changes nothing.", command.name));
    };
    let place = Place { via: None, ..run.place.clone() };
    let (actor, id) = (errand(run).actor(), run.touch_plan(at));
    let asked = Asked { rules, actor: &actor, place: &place, run: &id, since: Instant::now() };
    change::preview(hall, &asked, &intent, remediation, run.watched_after(at)).await
}

fn change(plan: &Plan) -> Vec<(Tick, Text)> {
    let mut lines = vec![format!("{} · risk {}", plan.what(), plan.risk.word())];
    for step in &plan.steps {
        for line in step.change.steps() {
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
    }
    lines.push(match &plan.undo {
        Undo::By(how) => format!("undo: {how}"),
        Undo::Never(why) => format!("undo: not possible: {why}"),
    });
    lines.into_iter().map(|line| (Tick::Open, Text::plain(line))).collect()
}
