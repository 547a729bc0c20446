//! What people say to a run: pause, resume, abort, tick, approve.

use super::{Desk, Heard};
use crate::{
    bot::{
        Hall,
        command::{Asked, Ended, plain_card},
    },
    model::{Align, Block, Card, Cell, Column, PersonId, RunId, Table},
    policy::{Refusal, Verdict},
    runbook::{Act, BookRun, Happened, Intent, NotNow, Phase, StepState},
    store::Outcome,
};

/// Something a person says to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::bot) enum Word {
    /// No further step begins.
    Pause,
    /// It goes on.
    Resume,
    /// It ends.
    Abort,
    /// A step is done, by its number from 1; the one that waits when none is given.
    Tick(Option<usize>),
}

/// What a run under way asks people now; or why it asks nothing. `None`: no runbook of that id is under way.
pub(in crate::bot) async fn question(hall: &Hall, run: &RunId) -> Option<Result<RunId, Box<Card>>> {
    hall.books.whole().await;
    let run = hall.books.desk(run)?.run().await;
    let Some((_, question)) = run.asked() else {
        let why = if run.is_over() { NotNow::Over } else { NotNow::NotThatStep };
        return Some(Err(Box::new(not_now_card(&run, why))));
    };
    super::agree::stands(hall, &question).await;
    Some(Ok(question))
}

/// Takes one person's word, and answers it.
pub(in crate::bot) async fn word(
    hall: &Hall,
    asked: &Asked<'_>,
    intent: &Intent,
    run: Option<&str>,
    word: Word,
) -> Ended {
    let said = |outcome, card| Ended::of(intent, outcome, card);
    let Some(id) = run.and_then(RunId::parse) else {
        let next = Some("`/redis runbooks` lists what is under way".to_owned());
        let card = plain_card("which run?", "That is no run's id; it stands at the foot of the runbook's card.", next);
        return said(Outcome::Misunderstood, card).in_private();
    };
    hall.books.whole().await;
    let Some(desk) = hall.books.desk(&id) else {
        let what = match hall.store.book(&id).await {
            Ok(Some(row)) => format!("`{}` of that id has ended; its card says how.", row.run.command),
            Ok(None) => "No runbook has that run id.".to_owned(),
            Err(error) => format!("The bot's store cannot be read ({error})."),
        };
        let next = Some("`/redis runbooks` lists what is under way".to_owned());
        return said(Outcome::Misunderstood, plain_card("not under way", what, next)).in_private();
    };
    let run = desk.run().await;
    let person = match allowed(asked, &run, word) {
        Ok(person) => person,
        // A refusal is said aloud: others may be waiting for that word.
        Err(refusal) => return Ended { private: false, ..Ended::denied(intent, &refusal) },
    };
    let name = asked.rules.policy.name_of(&person).to_owned();
    let (happened, done) = match happening(&run, word, person, &name) {
        Ok(happening) => happening,
        Err(not_now) => return said(Outcome::Misunderstood, not_now_card(&run, not_now)),
    };
    match desk.hear(hall, asked.rules, happened).await {
        Ok(Heard::Taken) => said(Outcome::Answered, plain_card(&run.command, done, None)),
        Ok(Heard::NotNow(not_now)) => said(Outcome::Misunderstood, not_now_card(&run, not_now)),
        Err(error) => {
            let what = format!("The bot's store cannot be written ({error}); the run is as it was.");
            said(Outcome::Failed, plain_card("not taken", what, None))
        }
    }
}

/// Whose word it is, if it counts.
fn allowed(asked: &Asked<'_>, run: &BookRun, word: Word) -> Result<PersonId, Refusal> {
    let policy = &asked.rules.policy;
    if let Some(refusal) = policy.stranger(asked.actor) {
        return Err(refusal);
    }
    let (command, service) = (asked.rules.catalogue.find(&run.command), asked.rules.services.get(&run.service));
    let gone = || Refusal {
        rule: "runbook".to_owned(),
        why: "The runbook or its service is no longer configured, so only whoever began it may end it.".to_owned(),
        next: format!("Ask {} to abort it.", policy.name_of(&run.requester)),
    };
    let (Some(command), Some(service)) = (command, service) else {
        return match &asked.actor.person {
            Some(person) if *person == run.requester && word == Word::Abort => Ok(person.clone()),
            _ => Err(gone()),
        };
    };
    match asked.decide(command, Some(service), false) {
        Verdict::Allow(permit) => Ok(permit.person().clone()),
        Verdict::Deny(refusal) => Err(refusal),
    }
}

fn happening(run: &BookRun, word: Word, by: PersonId, name: &str) -> Result<(Happened, String), NotNow> {
    let waiting = || run.waits_for_a_person().ok_or_else(|| not_waiting(run));
    Ok(match word {
        Word::Pause => {
            let goes_on = match run.plan_in_flight() {
                Some(plan) => format!(" Plan {plan} is under way and goes on; decline it if it must not happen."),
                None => String::new(),
            };
            (Happened::Paused(by), format!("Paused by {name}: no further step begins.{goes_on}"))
        }
        Word::Resume => (Happened::Resumed(by), format!("Resumed by {name}.")),
        Word::Abort => {
            (Happened::Aborted(by), format!("Aborted by {name}. Its card says what was done and what was left."))
        }
        Word::Tick(step) => {
            let step = match step {
                Some(step) => step.checked_sub(1).filter(|&step| step < run.steps.len()).ok_or(NotNow::NotThatStep)?,
                None => waiting()?,
            };
            let checked = match &run.steps[step].act {
                Act::Manual { verify: Some(_), .. } => " It is now looked whether it is so.",
                _ => "",
            };
            (Happened::Ticked { step, by }, format!("Step {} was ticked by {name}.{checked}", step + 1))
        }
    })
}

fn not_waiting(run: &BookRun) -> NotNow {
    match run.phase {
        Phase::Paused { .. } => NotNow::Paused,
        Phase::Ended { .. } => NotNow::Over,
        _ => NotNow::NotThatStep,
    }
}

fn not_now_card(run: &BookRun, why: NotNow) -> Card {
    let next = match why {
        NotNow::Paused => Some(format!("`/redis resume {}` lets it go on", run.run)),
        NotNow::NotPaused => Some(format!("`/redis pause {}` holds it", run.run)),
        NotNow::NotThatStep => run.waits_for_a_person().map(|step| format!("step {} is the one that waits", step + 1)),
        NotNow::Over | NotNow::Ending => None,
    };
    plain_card(&run.command, format!("That has no place now: {why}."), next)
}

/// The runs under way.
pub(in crate::bot) async fn list(hall: &Hall, asked: &Asked<'_>) -> Card {
    hall.books.whole().await;
    let mut runs = Vec::new();
    for desk in hall.books.all() {
        runs.push(Desk::run(&desk).await);
    }
    runs.sort_by(|a, b| (a.begun_ms, &a.run).cmp(&(b.begun_ms, &b.run)));
    let cell = |text: String| Cell { text, level: None };
    let column = |title: &str| Column { title: title.to_owned(), align: Align::Left };
    Card {
        title: "runbooks under way".to_owned(),
        blocks: vec![Block::Table(Table {
            title: None,
            columns: ["run", "runbook", "where", "asked by", "at"].map(column).into(),
            total: Some(runs.len() as u64),
            rows: runs
                .iter()
                .map(|run| {
                    vec![
                        cell(run.run.to_string()),
                        cell(run.command.clone()),
                        cell(format!("{}/{}", run.service, run.instance)),
                        cell(asked.rules.policy.name_of(&run.requester).to_owned()),
                        cell(stands(run)),
                    ]
                })
                .collect(),
            empty: Some("No runbook is under way.".to_owned()),
        })],
        ..Card::default()
    }
}

fn stands(run: &BookRun) -> String {
    let at = run.at().map_or_else(
        || "its end".to_owned(),
        |at| format!("step {} of {}, {}", at + 1, run.steps.len(), run.progress[at].title),
    );
    let held = run.at().is_some_and(|at| run.progress[at].state == StepState::Held);
    match &run.phase {
        Phase::Paused { .. } => format!("{at}; paused"),
        Phase::Returning { .. } => "taking back what was changed".to_owned(),
        Phase::Aborting { .. } => format!("{at}; ending"),
        _ if held => format!("{at}; failed, waits for a person"),
        _ if run.waits_for_a_person().is_some() => format!("{at}; waits for a person"),
        _ => at,
    }
}
