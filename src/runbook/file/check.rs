//! What a command file means, checked.

use std::{collections::BTreeSet, ops::Range, path::Path, time::Duration};

use super::{
    card,
    read::{At, problem},
    steps, touches,
    wire::{self, ArgumentType, CommandFile, CostWord, Group, Str, Thing},
};
use crate::{
    model::{Problem, parse_duration},
    runbook::{
        ArgumentKind, ArgumentSpec, Command, Cost, Diagnostic, Each, Kind, PARAMETERS, Remediation,
        language::compiled::Compiler, values, words::nearest,
    },
};

/// Names every expression and template can see beside the steps.
pub(super) const ALWAYS: &[&str] =
    &["args", "failed", "figures", "healthy", "instance", "last", "nodes", "now", "run", "service"];
/// Names no step may have: those above, those some places add, and words of the languages.
const RESERVED: &[&str] = &[
    "args", "and", "card", "else", "failed", "false", "figures", "for", "healthy", "if", "in", "instance", "is",
    "item", "last", "loop", "nodes", "none", "not", "now", "null", "or", "row", "run", "self", "service", "true",
    "value",
];
/// Names the bot answers itself.
pub(in crate::runbook) const OWN_NAMES: &[&str] = &[
    "abort", "can-i", "cancel", "help", "open", "page", "pause", "reload", "resume", "runbooks", "services", "tick",
    "version", "whoami",
];
/// Flags the bot reads before any command does.
const OWN_FLAGS: &[&str] = &["help", "instance", "service"];

/// One file being checked.
pub(super) struct Checker<'a> {
    file: &'a Path,
    text: &'a str,
    pub(super) problems: Vec<Problem>,
    pub(super) compiler: Compiler,
    pub(super) arguments: BTreeSet<String>,
    pub(super) steps: BTreeSet<String>,
    /// Figures declared so far.
    pub(super) figures: BTreeSet<String>,
    /// Every figure of the file: `last.NAME` may name a later one.
    pub(super) all_figures: BTreeSet<String>,
}

/// Makes a command of what was read. `None` where nothing could be made.
pub(super) fn command(file: &Path, text: &str, wire: CommandFile) -> (Option<Command>, Vec<Problem>) {
    let mut checker = Checker {
        file,
        text,
        problems: Vec::new(),
        compiler: Compiler::default(),
        arguments: BTreeSet::new(),
        steps: BTreeSet::new(),
        figures: BTreeSet::new(),
        all_figures: BTreeSet::new(),
    };
    let name = checker.name(wire.name.as_ref());
    for alias in &wire.aliases {
        checker.word(alias, "alias");
    }
    let summary = checker.summary(wire.summary.as_ref());
    let deadline = checker.duration(wire.deadline.as_ref(), "deadline", SECOND, 600 * SECOND, 10 * SECOND);
    let call_deadline =
        checker.duration(wire.call_deadline.as_ref(), "call_deadline", SECOND / 20, 600 * SECOND, 3 * SECOND);
    if call_deadline > deadline
        && let Some(at) = wire.call_deadline.as_ref().or(wire.deadline.as_ref())
    {
        checker.say(
            at,
            "one call may take longer than the whole command".to_owned(),
            "make `deadline` longer than `call_deadline`",
        );
    }
    let mut arguments = checker.arguments(wire.arguments);
    let changes = !wire.touches.is_empty();
    let touches = touches::touches(&mut checker, wire.touches);
    if changes {
        if !wire.steps.is_empty() || wire.card.is_some() {
            checker.say_of_file(
                "a command that changes something has steps or a card",
                "drop them: its plan is the card; what should be looked at first is a diagnostic of its own",
            );
        }
        touches::flags(&touches, &mut arguments);
    } else if wire.risk.is_some() {
        checker.say_of_file("`risk` has no meaning without `[[touches]]`", "drop it, or say what is changed");
    }
    let kind = if changes {
        let at_least = touches::risk(wire.risk);
        let compiled = std::mem::take(&mut checker.compiler).finish();
        Kind::Remediation(Remediation { touches, at_least, compiled })
    } else {
        let steps = steps::steps(&mut checker, wire.steps);
        let card = card::card(&mut checker, wire.card);
        let compiled = std::mem::take(&mut checker.compiler).finish();
        Kind::Diagnostic(Diagnostic { steps, card, compiled })
    };
    let problems = checker.problems;
    let command = Command {
        examples: wire.examples.into_iter().map(|example| example.value).collect(),
        name,
        aliases: wire.aliases.into_iter().map(|alias| alias.value).collect(),
        summary,
        about: wire.about.map(|about| about.trim().to_owned()),
        group: match wire.group.unwrap_or(if changes { Group::Change } else { Group::Look }) {
            Group::Look => "look",
            Group::Keys => "keys",
            Group::Change => "change",
            Group::Bot => "bot",
        }
        .to_owned(),
        arguments,
        cost: match wire.cost.unwrap_or(CostWord::Cheap) {
            CostWord::Cheap => Cost::Cheap,
            CostWord::Moderate => Cost::Moderate,
            CostWord::Heavy => Cost::Heavy,
        },
        deadline,
        call_deadline,
        private: wire.private,
        source: file.display().to_string(),
        kind,
    };
    (Some(command), problems)
}

pub(super) const SECOND: Duration = Duration::from_secs(1);

impl<'a> Checker<'a> {
    pub(super) fn new(file: &'a Path, text: &'a str) -> Self {
        Self {
            file,
            text,
            problems: Vec::new(),
            compiler: Compiler::default(),
            arguments: BTreeSet::new(),
            steps: BTreeSet::new(),
            figures: BTreeSet::new(),
            all_figures: BTreeSet::new(),
        }
    }

    /// Notes a problem at a value.
    pub(super) fn say<T>(&mut self, at: &At<T>, reason: String, hint: &str) {
        self.say_at(at.span.clone(), reason, Some(hint.to_owned()));
    }

    pub(super) fn say_at(&mut self, span: Range<usize>, reason: String, hint: Option<String>) {
        self.problems.push(problem(self.file, self.text, Some(span), reason, hint));
    }

    pub(super) fn say_of_file(&mut self, reason: &str, hint: &str) {
        self.problems.push(problem(self.file, self.text, None, reason.to_owned(), Some(hint.to_owned())));
    }

    /// A value that must be there; `table` is where it is missing.
    pub(super) fn need<V, T>(&mut self, value: Option<V>, key: &str, table: &At<T>, of: &str) -> Option<V> {
        if value.is_none() {
            self.say(table, format!("{of} has no `{key}`"), &format!("add `{key} = …`"));
        }
        value
    }

    pub(super) fn name(&mut self, name: Option<&Str>) -> String {
        let Some(name) = name else {
            self.say_of_file("the file has no `name`", "begin it with `name = \"…\"`: what people type");
            return String::new();
        };
        self.word(name, "name");
        let stem = self.file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        if !stem.is_empty() && stem != name.value {
            self.say(
                name,
                format!("`{}` stands in a file called `{stem}.toml`", name.value),
                "give both the same name",
            );
        }
        name.value.clone()
    }

    /// A word people type in place of a command.
    pub(super) fn word(&mut self, word: &Str, what: &str) {
        let text = &word.value;
        let fits = (2..=32).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        if !fits {
            self.say(
                word,
                format!("`{text}` cannot be a command's {what}"),
                "use 2 to 32 of a-z, 0-9 and `-`, a letter first",
            );
        } else if OWN_NAMES.contains(&text.as_str()) {
            self.say(word, format!("`{text}` is answered by the bot itself"), "choose another word");
        }
    }

    pub(super) fn summary(&mut self, summary: Option<&Str>) -> String {
        let Some(summary) = summary else {
            self.say_of_file("the file has no `summary`", "add `summary = \"…\"`: one line for help");
            return String::new();
        };
        if summary.value.trim().is_empty() || summary.value.chars().count() > 100 || summary.value.contains('\n') {
            self.say(
                summary,
                "`summary` must be one line of 1 to 100 characters".to_owned(),
                "put the rest into `about`",
            );
        }
        summary.value.trim().to_owned()
    }

    /// A length of time between two bounds.
    pub(super) fn duration(
        &mut self,
        at: Option<&Str>,
        key: &str,
        min: Duration,
        max: Duration,
        otherwise: Duration,
    ) -> Duration {
        let Some(at) = at else { return otherwise };
        match parse_duration(&at.value) {
            Some(duration) if (min..=max).contains(&duration) => duration,
            Some(_) => {
                let (min, max) = (crate::model::show_duration(min), crate::model::show_duration(max));
                self.say(at, format!("`{key}` is out of bounds"), &format!("it can be {min} to {max}"));
                otherwise
            }
            None => {
                self.say(
                    at,
                    format!("`{key}` is not a length of time: `{}`", at.value),
                    "write it like `500ms`, `10s` or `2m`",
                );
                otherwise
            }
        }
    }

    /// A whole number between two bounds.
    pub(super) fn count(&mut self, at: Option<&At<u32>>, key: &str, min: u32, max: u32, otherwise: u32) -> u32 {
        match at {
            None => otherwise,
            Some(at) if (min..=max).contains(&at.value) => at.value,
            Some(at) => {
                self.say(at, format!("`{key}` is out of bounds"), &format!("it can be {min} to {max}"));
                otherwise
            }
        }
    }

    pub(super) fn arguments(&mut self, wire: Vec<At<wire::Argument>>) -> Vec<ArgumentSpec> {
        let mut specs: Vec<ArgumentSpec> = Vec::new();
        for At { value: argument, span } in wire {
            let table = At { value: (), span };
            let Some(name) = self.need(argument.name.clone(), "name", &table, "this argument") else { continue };
            let spec = self.argument(argument, &name, &table);
            if specs.iter().any(|other| other.name == spec.name) {
                self.say(&name, format!("there are two arguments called `{}`", name.value), "rename one of them");
            }
            if spec.required && !spec.flag && specs.iter().any(|other| !other.flag && !other.required) {
                self.say(
                    &name,
                    format!("`{}` is required and stands after one that is not", name.value),
                    "put what is required first",
                );
            }
            self.arguments.insert(spec.name.clone());
            specs.push(spec);
        }
        let texts = specs.iter().rposition(|spec| matches!(spec.kind, ArgumentKind::Text(_)) && !spec.flag);
        let last = specs.iter().rposition(|spec| !spec.flag);
        if texts.is_some() && texts != last {
            self.say_of_file(
                "free text stands before another argument",
                "make the text the last argument: it takes the rest of the line",
            );
        }
        specs
    }

    fn argument(&mut self, argument: wire::Argument, name: &Str, table: &At<()>) -> ArgumentSpec {
        let text = &name.value;
        let fits = !text.is_empty()
            && text.len() <= 32
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if !fits {
            self.say(
                name,
                format!("`{text}` cannot be an argument's name"),
                "use a-z, 0-9 and `_`, a letter first; people may type `-` for `_`",
            );
        } else if OWN_FLAGS.contains(&text.as_str()) {
            self.say(name, format!("`--{text}` is read by the bot itself"), "choose another name");
        }
        if argument.about.as_ref().is_none_or(|about| about.trim().is_empty()) {
            self.say(table, format!("the argument `{text}` has no `about`"), "add `about = \"…\"`: one line for help");
        }
        let kind = self.argument_kind(&argument, table, text);
        let switch = kind == ArgumentKind::Switch;
        if switch && (argument.required || argument.default.is_some()) {
            self.say(
                name,
                format!("the switch `{text}` cannot be required or have a default"),
                "it is there or it is not",
            );
        }
        if argument.required
            && let Some(default) = &argument.default
        {
            self.say(default, format!("`{text}` is required and has a default"), "drop one of the two");
        }
        if let Some(default) = &argument.default
            && !switch
            && !matches!(kind, ArgumentKind::Of(_) | ArgumentKind::Command)
            && let Err(why) = values::read(&kind, &default.value)
        {
            self.say_at(default.span.clone(), format!("the default of `{text}` does not fit its type: {why}"), None);
        }
        ArgumentSpec {
            name: text.clone(),
            about: argument.about.unwrap_or_default().trim().to_owned(),
            kind,
            flag: argument.flag || switch,
            required: argument.required,
            default: argument.default.map(|default| default.value),
        }
    }

    fn argument_kind(&mut self, argument: &wire::Argument, table: &At<()>, name: &str) -> ArgumentKind {
        let Some(kind) =
            self.need(argument.kind.as_ref().map(|kind| kind.value), "type", table, &format!("the argument `{name}`"))
        else {
            return ArgumentKind::Text(200);
        };
        let mut extra = |given: bool, key: &str, of: ArgumentType| {
            if given && kind != of {
                let word = format!("{of:?}").to_lowercase();
                self.say(
                    table,
                    format!("`{key}` of the argument `{name}` has no meaning for its type"),
                    &format!("it belongs to `type = \"{word}\"`"),
                );
            }
        };
        extra(argument.min.is_some() || argument.max.is_some(), "min` or `max", ArgumentType::Integer);
        extra(
            argument.shortest.is_some() || argument.longest.is_some(),
            "shortest` or `longest",
            ArgumentType::Duration,
        );
        extra(argument.choices.is_some(), "choices", ArgumentType::Choice);
        extra(argument.length.is_some(), "length", ArgumentType::Text);
        extra(argument.of.is_some(), "of", ArgumentType::Of);
        match kind {
            ArgumentType::Integer => {
                let (min, max) = (
                    argument.min.as_ref().map_or(0, |at| at.value),
                    argument.max.as_ref().map_or(i64::MAX, |at| at.value),
                );
                if min > max {
                    self.say(table, format!("the argument `{name}` has a `min` above its `max`"), "swap them");
                }
                ArgumentKind::Integer { min, max: max.max(min) }
            }
            ArgumentType::Duration => {
                let day = 86_400 * SECOND;
                let min =
                    self.duration(argument.shortest.as_ref(), "shortest", Duration::ZERO, 366 * day, Duration::ZERO);
                let max = self.duration(argument.longest.as_ref(), "longest", Duration::ZERO, 366 * day, day);
                if min > max {
                    self.say(table, format!("the argument `{name}` has a `shortest` above its `longest`"), "swap them");
                }
                ArgumentKind::Duration { min, max: max.max(min) }
            }
            ArgumentType::Bytes => ArgumentKind::Bytes,
            ArgumentType::Choice => {
                let choices = argument.choices.as_ref().map(|at| at.value.clone()).unwrap_or_default();
                if choices.is_empty() {
                    self.say(
                        table,
                        format!("the argument `{name}` has no `choices`"),
                        "add `choices = [\"…\", \"…\"]`",
                    );
                }
                ArgumentKind::Choice(choices)
            }
            ArgumentType::Switch => ArgumentKind::Switch,
            ArgumentType::Key => ArgumentKind::Key,
            ArgumentType::Pattern => ArgumentKind::Pattern,
            ArgumentType::Where => ArgumentKind::Where,
            ArgumentType::Text => {
                ArgumentKind::Text(self.count(argument.length.as_ref(), "length", 1, 2000, 200) as usize)
            }
            ArgumentType::Command => ArgumentKind::Command,
            ArgumentType::Parameter => {
                let names = PARAMETERS.iter().flat_map(|known| std::iter::once(known.name).chain(known.older));
                ArgumentKind::Choice(names.map(str::to_owned).collect())
            }
            ArgumentType::Of => match &argument.of {
                Some(of) => ArgumentKind::Of(each(of.value).word().to_owned()),
                None => {
                    self.say(
                        table,
                        format!("the argument `{name}` does not say `of` what"),
                        "add `of = \"queues\"`, endpoints, metrics, logs or patterns",
                    );
                    ArgumentKind::Text(200)
                }
            },
        }
    }

    /// Compiles an expression and checks the names in it; `more` are names this place adds.
    pub(super) fn expression(&mut self, at: Option<&Str>, key: &str, more: &[&str]) {
        let Some(at) = at else { return };
        let names = match self.compiler.expression(&at.value) {
            Ok(program) => program.names(),
            Err(why) => {
                self.say_at(
                    at.span.clone(),
                    format!("`{key}` is not an expression: {why}"),
                    Some("conditions and values are CEL, see docs/commands.md".to_owned()),
                );
                return;
            }
        };
        for (root, field) in names {
            self.name_known(at, key, &root, field.as_deref(), more);
        }
    }

    /// Compiles a template and checks the names in it.
    pub(super) fn template(&mut self, at: Option<&Str>, key: &str, more: &[&str]) {
        let Some(at) = at else { return };
        match self.compiler.template(&at.value) {
            Ok(names) => {
                for name in names {
                    let mut parts = name.split('.');
                    let root = parts.next().unwrap_or_default();
                    self.name_known(at, key, root, parts.next(), more);
                }
            }
            Err(why) => self.say_at(
                at.span.clone(),
                format!("`{key}` is not a template: {why}"),
                Some("texts are minijinja templates, see docs/commands.md".to_owned()),
            ),
        }
    }

    fn name_known(&mut self, at: &Str, key: &str, root: &str, field: Option<&str>, more: &[&str]) {
        let known = |name: &str| {
            more.contains(&name)
                || (!more.contains(&ONLY_ARGS) && (ALWAYS.contains(&name) || self.steps.contains(name)))
        };
        if !known(root) {
            let words: Vec<&str> = match more.contains(&ONLY_ARGS) {
                true => more.iter().copied().filter(|name| *name != ONLY_ARGS).collect(),
                false => more.iter().chain(ALWAYS).copied().chain(self.steps.iter().map(String::as_str)).collect(),
            };
            let hint = match nearest(root, words.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known here: {}", words.join(", ")),
            };
            self.say_at(
                at.span.clone(),
                format!("`{key}` names `{root}`, which is neither a step nor a name known here"),
                Some(hint),
            );
            return;
        }
        let Some(field) = field else { return };
        let (of, names) = match root {
            "args" => ("an argument", &self.arguments),
            "failed" | "nodes" => ("a step", &self.steps),
            "figures" => ("a figure declared before", &self.figures),
            "last" | "healthy" => ("a figure", &self.all_figures),
            _ => return,
        };
        // `last.at` and `healthy.at` are the time of that look, in Unix seconds.
        if names.contains(field) || (matches!(root, "last" | "healthy") && field == "at") {
            return;
        }
        let hint = match nearest(field, names.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{root}.{near}`?"),
            None if names.is_empty() => format!("this file has no such names: {of} is what `{root}` holds"),
            None => format!("known: {}", names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")),
        };
        self.say_at(at.span.clone(), format!("`{key}` names `{root}.{field}`, which is not {of}"), Some(hint));
    }

    /// Whether a step may have this name.
    pub(super) fn step_name(&mut self, id: &Str) {
        let text = &id.value;
        let fits = !text.is_empty()
            && text.len() <= 32
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if !fits {
            self.say(
                id,
                format!("`{text}` cannot be a step's id"),
                "use a-z, 0-9 and `_`, a letter first: it is a name in expressions",
            );
        } else if RESERVED.contains(&text.as_str()) {
            self.say(id, format!("`{text}` means something else in expressions"), "choose another id");
        }
        if !self.steps.insert(text.clone()) {
            self.say(id, format!("there are two steps called `{text}`"), "rename one of them");
        }
    }
}

/// A mark in `more`: here steps have not run yet, so nothing but what is listed is known.
pub(super) const ONLY_ARGS: &str = "\0";

pub(super) fn each(thing: Thing) -> Each {
    match thing {
        Thing::Endpoints => Each::Endpoints,
        Thing::Metrics => Each::Metrics,
        Thing::Logs => Each::Logs,
        Thing::Queues => Each::Queues,
        Thing::Patterns => Each::Patterns,
    }
}
