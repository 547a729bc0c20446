//! What a runbook file means, checked.

use std::{collections::BTreeSet, path::Path, time::Duration};

use super::{
    book_wire::{BookFile, BookStepTable, OrWord, VerifyTable},
    check::{Checker, ONLY_ARGS, SECOND},
    read::At,
    wire::{CostWord, Group, RiskWord, Str},
};
use crate::{
    model::Problem,
    runbook::{Act, ArgumentKind, ArgumentSpec, Book, BookStep, Command, Cost, Kind, Or, Risk, Verify},
};

const ACTS: &str = "look, touch, check, wait, watch, approve, manual";
const DAY: Duration = Duration::from_secs(86_400);
/// Names that are no step's here, beside those of every file.
const NAMES: &[&str] = &["args", "service", "instance", "now"];

/// Makes a command of what was read.
pub(super) fn command(file: &Path, text: &str, wire: BookFile) -> (Command, Vec<Problem>) {
    let mut checker = Checker::new(file, text);
    let name = checker.name(wire.name.as_ref());
    for alias in &wire.aliases {
        checker.word(alias, "alias");
    }
    let summary = checker.summary(wire.summary.as_ref());
    let mut arguments = checker.arguments(wire.arguments);
    if !arguments.iter().any(|argument| argument.name == DRY_RUN) {
        arguments.push(dry_run());
        checker.arguments.insert(DRY_RUN.to_owned());
    }
    if wire.steps.is_empty() {
        checker.say_of_file("the file has no steps", "add `[[steps]]`: what is done, in order");
    }
    let steps: Vec<BookStep> = wire.steps.into_iter().filter_map(|at| step(&mut checker, at)).collect();
    let compiled = std::mem::take(&mut checker.compiler).finish();
    let command = Command {
        examples: wire.examples.into_iter().map(|example| example.value).collect(),
        name,
        aliases: wire.aliases.into_iter().map(|alias| alias.value).collect(),
        summary,
        about: wire.about.map(|about| about.trim().to_owned()),
        group: match wire.group.unwrap_or(Group::Change) {
            Group::Look => "look",
            Group::Keys => "keys",
            Group::Change => "change",
            Group::Bot => "bot",
        }
        .to_owned(),
        arguments,
        cost: match wire.cost.unwrap_or(CostWord::Moderate) {
            CostWord::Cheap => Cost::Cheap,
            CostWord::Moderate => Cost::Moderate,
            CostWord::Heavy => Cost::Heavy,
        },
        deadline: Duration::from_secs(20),
        call_deadline: Duration::from_secs(5),
        private: false,
        source: file.display().to_string(),
        kind: Kind::Runbook(Book { steps, compiled }),
    };
    (command, checker.problems)
}

/// Every runbook has it: its steps are shown, and none is taken.
const DRY_RUN: &str = "dry_run";

fn dry_run() -> ArgumentSpec {
    ArgumentSpec {
        name: DRY_RUN.to_owned(),
        about: "show the steps and stop there".to_owned(),
        kind: ArgumentKind::Switch,
        flag: true,
        required: false,
        default: None,
    }
}

fn step(checker: &mut Checker, at: At<BookStepTable>) -> Option<BookStep> {
    let At { value: step, span } = at;
    let table = At { value: (), span };
    let earlier: BTreeSet<String> = checker.steps.clone();
    let id = checker.need(step.id.clone(), "id", &table, "this step");
    if let Some(id) = &id {
        checker.step_name(id);
    }
    let shown = id.as_ref().map_or_else(|| "this step".to_owned(), |id| format!("step `{}`", id.value));
    let say = checker.need(step.say.clone(), "say", &table, &shown);
    checker.template(say.as_ref(), "say", &["args", "service", "instance", ONLY_ARGS]);
    // A step sees what came before it, and where it looks again also its own last look.
    let before: Vec<&str> =
        NAMES.iter().copied().chain(earlier.iter().map(String::as_str)).chain([ONLY_ARGS]).collect();
    let own: Vec<&str> = before.iter().copied().chain(id.as_ref().map(|id| id.value.as_str())).collect();
    checker.expression(step.when.as_ref(), "when", &before);
    checker.template(step.otherwise.as_ref(), "otherwise", &own);
    let mut acts = Vec::new();
    if let Some(at) = &step.look {
        acts.push(line(checker, at, &before).map(|line| Act::Look { line }));
    }
    if let Some(at) = &step.touch {
        acts.push(line(checker, at, &before).map(|line| Act::Touch { line }));
    }
    if let Some(at) = &step.check {
        checker.expression(Some(at), "check", &before);
        acts.push(Some(Act::Check { holds: at.value.clone() }));
        if step.otherwise.is_none() {
            checker.say(&table, format!("{shown} does not say what is wrong when it fails"), "add `otherwise = \"…\"`");
        }
    }
    if let Some(At { value, span }) = &step.wait {
        let here = At { value: (), span: span.clone() };
        let look = checker.need(value.look.clone(), "look", &here, "`wait`");
        let until = checker.need(value.until.clone(), "until", &here, "`wait`");
        checker.expression(until.as_ref(), "until", &own);
        let every = checker.duration(value.every.as_ref(), "every", SECOND / 2, 600 * SECOND, 5 * SECOND);
        let most = checker.duration(value.most.as_ref(), "most", SECOND, DAY, 300 * SECOND);
        let look = look.and_then(|look| line(checker, &look, &before));
        acts.push(look.zip(until).map(|(line, until)| Act::Wait {
            line,
            until: until.value,
            every_ms: millis(every),
            most_ms: millis(most),
        }));
    }
    if let Some(At { value, span }) = &step.watch {
        let here = At { value: (), span: span.clone() };
        let look = checker.need(value.look.clone(), "look", &here, "`watch`");
        let holds = checker.need(value.holds.clone(), "holds", &here, "`watch`");
        let lasts = checker.need(value.lasts.clone(), "lasts", &here, "`watch`");
        checker.expression(holds.as_ref(), "holds", &own);
        let every = checker.duration(value.every.as_ref(), "every", SECOND / 2, 600 * SECOND, 10 * SECOND);
        let lasts = checker.duration(lasts.as_ref(), "lasts", SECOND, DAY, 60 * SECOND);
        let look = look.and_then(|look| line(checker, &look, &before));
        acts.push(look.zip(holds).map(|(line, holds)| Act::Watch {
            line,
            holds: holds.value,
            every_ms: millis(every),
            lasts_ms: millis(lasts),
            roll_back: value.roll_back,
        }));
    }
    if let Some(at) = &step.approve {
        if at.value.trim().is_empty() {
            checker.say(
                at,
                "`approve` names nobody".to_owned(),
                "write `another`, or the name of a role of policy.toml",
            );
        }
        let by = (at.value != "another").then(|| at.value.clone());
        let risk = step.risk.as_ref().map(|risk| match risk.value {
            RiskWord::Low | RiskWord::Medium => Risk::Medium,
            RiskWord::High => Risk::High,
            RiskWord::Critical => Risk::Critical,
        });
        acts.push(Some(Act::Approve { by, risk }));
    } else if let Some(risk) = &step.risk {
        checker.say(risk, "`risk` stands without `approve`".to_owned(), "a touch's own plan says how risky it is");
    }
    if let Some(at) = &step.manual {
        checker.template(Some(at), "manual", &before);
        let verify = step.verify.as_ref().and_then(|at| verify(checker, at, &before, &own));
        acts.push(Some(Act::Manual { words: at.value.trim().to_owned(), verify }));
    } else if let Some(at) = &step.verify {
        checker.say(at, "`verify` stands without `manual`".to_owned(), "it says how it is seen that a person did it");
    }
    if let Some(or) = &step.or
        && (step.watch.is_some()
            || step.manual.is_some()
            || (step.approve.is_some() && matches!(or.value, OrWord::Manual)))
    {
        checker.say(
            or,
            format!("`else` has no meaning for {shown}"),
            "a watch that fails takes back what was changed; a manual step waits until it is ticked; nobody's tick stands in for a word that was not given",
        );
    }
    let act = match acts.len() {
        1 => acts.remove(0),
        0 => {
            checker.say(&table, format!("{shown} does not say what is done"), &format!("add one of {ACTS}"));
            return None;
        }
        _ => {
            checker.say(&table, format!("{shown} does several things"), "make a step of each");
            return None;
        }
    };
    Some(BookStep {
        id: id?.value,
        say: say?.value,
        when: step.when.map(|when| when.value),
        act: act?,
        otherwise: step.otherwise.map(|otherwise| otherwise.value),
        or: match step.or.map(|or| or.value) {
            None | Some(OrWord::Stop) => Or::Stop,
            Some(OrWord::Continue) => Or::Continue,
            Some(OrWord::Manual) => Or::Manual,
        },
    })
}

fn verify(checker: &mut Checker, at: &At<VerifyTable>, before: &[&str], own: &[&str]) -> Option<Verify> {
    let here = At { value: (), span: at.span.clone() };
    let look = checker.need(at.value.look.clone(), "look", &here, "`verify`");
    let holds = checker.need(at.value.holds.clone(), "holds", &here, "`verify`");
    checker.expression(holds.as_ref(), "holds", own);
    let line = look.and_then(|look| line(checker, &look, before))?;
    Some(Verify { line, holds: holds?.value })
}

/// A line to type: its command is written out, so that `check` can tell whether there is one.
fn line(checker: &mut Checker, at: &Str, names: &[&str]) -> Option<String> {
    checker.template(Some(at), "the line", names);
    let first = at.value.split_whitespace().next().unwrap_or_default();
    if first.is_empty() || first.contains(['{', '%']) {
        checker.say(at, "the line's command must be written out".to_owned(), "only what follows it may be a template");
        return None;
    }
    Some(at.value.trim().to_owned())
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
