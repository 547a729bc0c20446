//! The changes of a command file, checked.

use std::{collections::BTreeMap, time::Duration};

use super::{
    check::{Checker, SECOND},
    read::At,
    wire::{RiskWord, TouchTable},
};
use crate::runbook::{ArgumentKind, ArgumentSpec, Risk, Touch, TouchKind, words::nearest};

/// A change that takes itself back does so within a week: whatever lasts longer is no temporary change.
const LONGEST_WHILE: Duration = Duration::from_secs(7 * 86_400);

/// What the touches of a file mean.
pub(super) fn touches(checker: &mut Checker, wire: Vec<At<TouchTable>>) -> Vec<Touch> {
    wire.into_iter().filter_map(|At { value, span }| touch(checker, value, &At { value: (), span })).collect()
}

fn touch(checker: &mut Checker, wire: TouchTable, table: &At<()>) -> Option<Touch> {
    let what = checker.need(wire.what, "do", table, "this touch")?;
    let Some(kind) = TouchKind::ALL.iter().copied().find(|kind| kind.word() == what.value) else {
        let known = TouchKind::ALL.iter().map(|kind| kind.word());
        let hint = nearest(&what.value, known.clone()).map_or_else(
            || format!("known: {}", known.collect::<Vec<_>>().join(", ")),
            |near| format!("did you mean `{near}`?"),
        );
        checker.say(&what, format!("nothing is done by `{}`", what.value), &hint);
        return None;
    };
    for (name, template) in &wire.with {
        if kind.words().iter().any(|word| word.name == name) {
            checker.template(Some(template), &format!("with.{name}"), &[]);
        } else {
            let known: Vec<&str> = kind.words().iter().map(|word| word.name).collect();
            let hint = match nearest(name, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None if known.is_empty() => "it takes none".to_owned(),
                None => format!("it takes {}", known.join(", ")),
            };
            checker.say(template, format!("`{}` takes no word `{name}`", kind.word()), &hint);
        }
    }
    for word in kind.words().iter().filter(|word| word.required && !wire.with.contains_key(word.name)) {
        checker.say(
            &what,
            format!("`{}` has no `with.{}`", kind.word(), word.name),
            &format!("add `with = {{ {} = \"…\" }}`", word.name),
        );
    }
    checker.expression(wire.when.as_ref(), "when", &[]);
    let with: BTreeMap<String, String> = wire.with.into_iter().map(|(name, template)| (name, template.value)).collect();
    Some(Touch { kind, with, when: wire.when.map(|when| when.value) })
}

/// What every command that changes something can be asked with besides.
pub(super) fn flags(touches: &[Touch], arguments: &mut Vec<ArgumentSpec>) {
    let mut flag = |name: &str, about: &str, kind: ArgumentKind| {
        if arguments.iter().all(|spec| spec.name != name) {
            let (name, about) = (name.to_owned(), about.to_owned());
            arguments.push(ArgumentSpec { name, about, kind, flag: true, required: false, default: None });
        }
    };
    flag("dry_run", "show the plan and stop there", ArgumentKind::Switch);
    if touches.iter().all(|touch| touch.kind.can_be_for_a_while()) {
        let kind = ArgumentKind::Duration { min: SECOND, max: LONGEST_WHILE };
        flag("for", "take it back by itself after this long", kind);
    }
}

pub(super) fn risk(word: Option<RiskWord>) -> Risk {
    match word {
        None | Some(RiskWord::Low) => Risk::Low,
        Some(RiskWord::Medium) => Risk::Medium,
        Some(RiskWord::High) => Risk::High,
        Some(RiskWord::Critical) => Risk::Critical,
    }
}
