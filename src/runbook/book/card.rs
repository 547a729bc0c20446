//! The one card of a run: every step, who, when, and what can be pressed now.

use std::time::Duration;

use jiff::Timestamp;

use super::{Act, BookRun, How, Phase, StepState};
use crate::model::{Action, ActionStyle, Block, Card, InstanceName, Level, PersonId, Span, Text, Tick, show_duration};

/// What is said of a step is cut to so many characters; its own card has the rest.
const SAID: usize = 240;

/// The card of a run as it stands. `name` is what cards call a person.
pub fn book_card(run: &BookRun, name: &dyn Fn(&PersonId) -> String) -> Card {
    let drawing = Drawing { run, name };
    let mut blocks = vec![Block::Checklist(drawing.steps())];
    if let Some(words) = drawing.words() {
        blocks.push(words);
    }
    if !run.back.is_empty() {
        blocks.push(Block::Heading("Taken back".to_owned()));
        blocks.push(Block::Checklist(drawing.back()));
    }
    if let Some(left) = drawing.left() {
        blocks.push(Block::Text(left));
    }
    let notes = run.notes.iter().rev().take(5).rev();
    blocks
        .extend(notes.map(|note| {
            Block::Text(Text::plain(format!("{} · {} {}.", clock(note.at_ms), name(&note.by), note.what)))
        }));
    Card {
        title: format!("{} · {}", run.command, place(run)),
        level: Some(drawing.level()),
        verdict: Some(drawing.verdict()),
        context: Vec::new(),
        blocks,
        actions: drawing.actions(),
        footer: Some(drawing.footer()),
    }
}

fn place(run: &BookRun) -> String {
    match InstanceName::as_str(&run.instance) {
        "main" => run.service.to_string(),
        instance => format!("{}/{instance}", run.service),
    }
}

struct Drawing<'a> {
    run: &'a BookRun,
    name: &'a dyn Fn(&PersonId) -> String,
}

impl Drawing<'_> {
    fn steps(&self) -> Vec<(Tick, Text)> {
        (0..self.run.steps.len()).map(|step| self.step(step)).collect()
    }

    fn step(&self, step: usize) -> (Tick, Text) {
        let (spec, run) = (&self.run.steps[step], &self.run.progress[step]);
        let tick = match run.state {
            StepState::Open | StepState::Working | StepState::Held => Tick::Open,
            StepState::Done => Tick::Done,
            StepState::Failed => Tick::Failed,
            StepState::Skipped => Tick::Skipped,
        };
        let mut spans = vec![Span::Plain(format!("{}. {}", step + 1, run.title))];
        match run.state {
            StepState::Open => {}
            StepState::Working => {
                let what = match &spec.act {
                    Act::Touch { .. } => "its plan decides",
                    Act::Approve { .. } => "waits for a word",
                    Act::Manual { .. } if run.by.is_some() => "ticked, being looked at",
                    Act::Manual { .. } => "waits for a person",
                    Act::Wait { .. } => "waiting",
                    Act::Watch { .. } => "watching",
                    Act::Look { .. } | Act::Check { .. } => "working",
                };
                spans.push(Span::Plain(" · ".to_owned()));
                spans.push(Span::Strong(format!("now: {what}")));
                if let Some(begun) = run.begun_ms {
                    spans.push(Span::Plain(format!(" since {}", clock(begun))));
                }
                if run.looks > 1 {
                    spans.push(Span::Plain(format!(", looked {} times", run.looks)));
                }
            }
            StepState::Held => {
                spans.push(Span::Plain(" · ".to_owned()));
                spans.push(Span::Strong("failed, waits for a person".to_owned()));
            }
            StepState::Done | StepState::Failed | StepState::Skipped => {
                spans.push(Span::Plain(format!(" · {}", run.state.word())));
                if let Some(ended) = run.ended_ms {
                    spans.push(Span::Plain(format!(" {}", clock(ended))));
                }
                if let Some(by) = &run.by {
                    spans.push(Span::Plain(format!(" by {}", (self.name)(by))));
                }
            }
        }
        // The words of a manual step stand below while it waits, and are not repeated afterwards.
        let said = run
            .said
            .as_ref()
            .filter(|_| !matches!((&spec.act, run.state), (Act::Manual { .. }, StepState::Working | StepState::Done)));
        if let Some(said) = said {
            spans.push(Span::Plain(format!(": {}", cut(said))));
        }
        (tick, Text(spans))
    }

    fn words(&self) -> Option<Block> {
        let step = self.run.at()?;
        let run = &self.run.progress[step];
        let manual = matches!(self.run.steps[step].act, Act::Manual { .. }) && run.state == StepState::Working;
        if self.run.is_over() || !manual {
            return None;
        }
        Some(Block::Code(run.said.clone()?))
    }

    fn back(&self) -> Vec<(Tick, Text)> {
        self.run
            .back
            .iter()
            .map(|back| {
                let tick = match back.state {
                    StepState::Done => Tick::Done,
                    StepState::Failed => Tick::Failed,
                    StepState::Skipped => Tick::Skipped,
                    _ => Tick::Open,
                };
                let title = &self.run.progress[back.step].title;
                let said = back.said.as_ref().map(|said| format!(": {}", cut(said))).unwrap_or_default();
                (tick, Text::plain(format!("{}. {title} · {}{said}", back.step + 1, back.state.word())))
            })
            .collect()
    }

    /// After the end: what the run changed, and how each is taken back.
    fn left(&self) -> Option<Text> {
        if !self.run.is_over() {
            return None;
        }
        let gone = |step: usize| self.run.back.iter().any(|back| back.step == step && back.state == StepState::Done);
        let mut spans = Vec::new();
        for (step, run) in self.run.progress.iter().enumerate().filter(|(step, _)| !gone(*step)) {
            if let Some(undo) = run.undo.as_ref().filter(|_| run.state == StepState::Done) {
                let lead = if spans.is_empty() { "To take back: " } else { ", " };
                spans.push(Span::Plain(format!("{lead}step {} by ", step + 1)));
                spans.push(Span::Code(format!("/redis {undo}")));
            }
        }
        (!spans.is_empty()).then_some(Text(spans))
    }

    fn level(&self) -> Level {
        let failed = self.run.progress.iter().any(|step| step.state == StepState::Failed);
        match &self.run.phase {
            Phase::Ended { how: How::Done } if failed => Level::Warn,
            Phase::Ended { how: How::Done } => Level::Ok,
            Phase::Ended { how: How::Returned { whole: false, .. } } => Level::Crit,
            Phase::Ended { how: How::Stopped { .. } | How::Returned { .. } | How::Lost { .. } } => Level::Warn,
            Phase::Returning { .. } => Level::Warn,
            Phase::Going if self.run.at().is_some_and(|at| self.run.progress[at].state == StepState::Held) => {
                Level::Warn
            }
            _ => Level::Note,
        }
    }

    fn verdict(&self) -> Text {
        let run = self.run;
        let steps = run.steps.len();
        let step = |at: usize| format!("step {} of {steps} ({})", at + 1, run.progress[at].title);
        let why = |at: usize| run.progress[at].said.as_ref().map(|said| format!(": {}", cut(said))).unwrap_or_default();
        let told = match &run.phase {
            Phase::Paused { by } => format!("Paused by {}: no step begins until it is resumed.", (self.name)(by)),
            Phase::Aborting { by } => {
                format!("{} aborted it; it ends when it is known what became of the change under way.", (self.name)(by))
            }
            Phase::Returning { step: at } => {
                format!("{} failed; what was changed is being taken back.", up(&step(*at)))
            }
            Phase::Ended { how } => return Text::plain(self.end(how, &step, &why)),
            Phase::Going => match run.at() {
                None => "It ends.".to_owned(),
                Some(at) => match (run.waits_for_a_person(), run.progress[at].state) {
                    (Some(_), StepState::Held) => {
                        format!("{} failed{} Tick it once it is dealt with, or abort.", up(&step(at)), dotted(&why(at)))
                    }
                    (Some(_), _) => match &run.steps[at].act {
                        Act::Approve { by: Some(role), .. } => {
                            format!("{} waits for the word of somebody else who is {role}.", up(&step(at)))
                        }
                        Act::Approve { by: None, .. } => {
                            format!("{} waits for the word of somebody else.", up(&step(at)))
                        }
                        _ => format!("{} is done by a person, and ticked.", up(&step(at))),
                    },
                    (None, _) => format!("At {}.", step(at)),
                },
            },
        };
        Text::plain(told)
    }

    fn end(&self, how: &How, step: &dyn Fn(usize) -> String, why: &dyn Fn(usize) -> String) -> String {
        let count = |state: StepState| self.run.progress.iter().filter(|step| step.state == state).count();
        let (done, failed, skipped) = (count(StepState::Done), count(StepState::Failed), count(StepState::Skipped));
        let left = self.run.steps.len() - done - failed - skipped;
        let took = self.run.ended_ms.map_or(0, |ended| ended - self.run.begun_ms);
        let took = show_duration(Duration::from_millis(u64::try_from(took).unwrap_or(0) / 1000 * 1000));
        let counts: Vec<String> = [(done, "done"), (failed, "failed"), (skipped, "skipped"), (left, "left undone")]
            .into_iter()
            .filter(|(count, word)| *count > 0 || *word == "done")
            .map(|(count, word)| format!("{count} {word}"))
            .collect();
        let lead = match how {
            How::Done => "Done".to_owned(),
            How::Stopped { step: at } => format!("Stopped at {}{}", step(*at), why(*at)),
            How::Aborted { by } => format!("Aborted by {}", (self.name)(by)),
            How::Returned { step: at, whole: true } => {
                format!("{} failed{}. Everything that was changed was taken back", up(&step(*at)), why(*at))
            }
            How::Returned { step: at, whole: false } => {
                format!("{} failed{}. Not everything could be taken back", up(&step(*at)), why(*at))
            }
            How::Lost { why } => format!("It cannot go on: {why}"),
        };
        format!("{}. {} in {took}.", lead.trim_end_matches('.'), counts.join(", "))
    }

    fn actions(&self) -> Vec<Action> {
        let run = &self.run.run;
        let action = |label: &str, command: String, style| Action { label: label.to_owned(), command, style };
        let abort = || action("Abort", format!("abort {run}"), ActionStyle::Danger);
        match &self.run.phase {
            Phase::Ended { .. } | Phase::Aborting { .. } => Vec::new(),
            Phase::Returning { .. } => vec![abort()],
            Phase::Paused { .. } => {
                vec![action("Resume", format!("resume {run}"), ActionStyle::Primary), abort()]
            }
            Phase::Going => {
                let mut actions = Vec::new();
                if let Some(step) = self.run.waits_for_a_person() {
                    let held = self.run.progress[step].state == StepState::Held;
                    if matches!(self.run.steps[step].act, Act::Approve { .. }) && !held {
                        actions.push(action("✅ Approve", format!("approve {run}"), ActionStyle::Primary));
                        actions.push(action("❌ Decline", format!("decline {run}"), ActionStyle::Plain));
                    } else {
                        let label = if held { "Dealt with" } else { "☑ Done" };
                        actions.push(action(label, format!("tick {run} {}", step + 1), ActionStyle::Primary));
                    }
                }
                actions.push(action("Pause", format!("pause {run}"), ActionStyle::Plain));
                actions.push(abort());
                actions
            }
        }
    }

    fn footer(&self) -> String {
        let begun = clock(self.run.begun_ms);
        format!("run {} · begun {begun} by {}", self.run.run, (self.name)(&self.run.requester))
    }
}

fn clock(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map_or_else(|_| "–".to_owned(), |at| at.strftime("%H:%M:%S").to_string())
}

fn cut(text: &str) -> String {
    crate::runbook::language::show::truncate(text, SAID)
}

fn dotted(text: &str) -> String {
    format!("{}.", text.trim_end_matches('.'))
}

fn up(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default()
}
