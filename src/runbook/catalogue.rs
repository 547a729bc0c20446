//! The commands there are.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    path::PathBuf,
    sync::Arc,
};

use super::{Command, Kind};
use crate::model::{Problem, Service, ServiceName};

/// Every command, by name and by alias.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    commands: BTreeMap<String, Arc<Command>>,
    aliases: BTreeMap<String, String>,
}

impl Catalogue {
    /// Takes commands in order of growing precedence: a later diagnostic
    /// replaces an earlier one of the same name.
    ///
    /// # Errors
    ///
    /// One problem for each name or alias two commands claim, and for each
    /// command that takes the name of one the bot answers itself.
    pub fn new(commands: Vec<Command>) -> Result<Self, Vec<Problem>> {
        let mut catalogue = Self::default();
        let mut problems = Vec::new();
        for command in commands {
            let reserved = catalogue
                .commands
                .get(&command.name)
                .is_some_and(|old| matches!(old.kind, Kind::BuiltIn | Kind::Remediation(_)));
            if reserved {
                problems.push(clash(
                    &command,
                    format!("`{}` is answered by the bot itself", command.name),
                    "choose another name for the command".to_owned(),
                ));
                continue;
            }
            catalogue.commands.insert(command.name.clone(), Arc::new(command));
        }
        for command in catalogue.commands.values() {
            for alias in &command.aliases {
                if let Some(other) = catalogue.commands.get(alias) {
                    problems.push(clash(
                        command,
                        format!("the alias `{alias}` of `{}` is the name of another command", command.name),
                        format!("`{alias}` comes from {}; drop the alias here", other.source),
                    ));
                    continue;
                }
                match catalogue.aliases.entry(alias.clone()) {
                    Entry::Vacant(free) => {
                        free.insert(command.name.clone());
                    }
                    Entry::Occupied(taken) if taken.get() == &command.name => {}
                    Entry::Occupied(taken) => problems.push(clash(
                        command,
                        format!("the alias `{alias}` of `{}` already stands for `{}`", command.name, taken.get()),
                        "drop the alias from one of the two".to_owned(),
                    )),
                }
            }
        }
        for command in catalogue.commands.values() {
            problems.extend(catalogue.unknown_nested(command));
            problems.extend(catalogue.unknown_lines(command));
        }
        if problems.is_empty() { Ok(catalogue) } else { Err(problems) }
    }

    fn unknown_nested(&self, command: &Command) -> Vec<Problem> {
        let Kind::Diagnostic(diagnostic) = &command.kind else { return Vec::new() };
        let mut problems = Vec::new();
        for step in &diagnostic.steps {
            let super::Look::Command { name } = &step.look else { continue };
            match self.commands.get(name).map(|nested| &nested.kind) {
                Some(Kind::Diagnostic(nested)) => {
                    if nested.steps.iter().any(|inner| matches!(inner.look, super::Look::Command { .. })) {
                        problems.push(clash(
                            command,
                            format!("step `{}` runs `{name}`, which runs commands itself", step.id),
                            "name the inner commands as steps here: one level is all there is".to_owned(),
                        ));
                    }
                }
                Some(Kind::BuiltIn | Kind::Remediation(_) | Kind::Runbook(_)) => problems.push(clash(
                    command,
                    format!("step `{}` runs `{name}`, which is no diagnostic", step.id),
                    "only diagnostics can be run as a step".to_owned(),
                )),
                None => problems.push(clash(
                    command,
                    format!("step `{}` runs `{name}`, which is no command", step.id),
                    "write the name of a diagnostic, not an alias".to_owned(),
                )),
            }
        }
        problems
    }

    /// The lines of a runbook's steps begin with commands of the right kind.
    fn unknown_lines(&self, command: &Command) -> Vec<Problem> {
        let Kind::Runbook(book) = &command.kind else { return Vec::new() };
        let mut problems = Vec::new();
        for step in &book.steps {
            let Some(line) = step.act.line() else { continue };
            let name = line.split_whitespace().next().unwrap_or_default();
            let touch = matches!(step.act, super::Act::Touch { .. });
            let (wanted, fits) = match self.commands.get(name).map(|found| &found.kind) {
                Some(Kind::Remediation(_)) => ("is no diagnostic", touch),
                Some(Kind::Diagnostic(_)) => ("changes nothing", !touch),
                Some(Kind::BuiltIn | Kind::Runbook(_)) => ("is neither a diagnostic nor a change", false),
                None => ("is no command", false),
            };
            if !fits {
                let names = self.commands.values().filter(|other| match other.kind {
                    Kind::Remediation(_) => touch,
                    Kind::Diagnostic(_) => !touch,
                    Kind::BuiltIn | Kind::Runbook(_) => false,
                });
                let hint = super::words::nearest(name, names.map(|other| other.name.as_str())).map_or_else(
                    || "write the name of a command, not an alias; `/redis help` lists them".to_owned(),
                    |near| format!("did you mean `{near}`?"),
                );
                let reason = format!("step `{}` types `{name}`, which {wanted}", step.id);
                problems.push(clash(command, reason, hint));
            }
        }
        problems
    }

    /// The command of that name or alias.
    pub fn find(&self, name: &str) -> Option<&Arc<Command>> {
        self.commands.get(name).or_else(|| self.commands.get(self.aliases.get(name)?))
    }

    /// Every command, by name.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Command>> {
        self.commands.values()
    }
}

fn clash(command: &Command, reason: String, hint: String) -> Problem {
    Problem { file: PathBuf::from(&command.source), line: None, reason, hint: Some(hint), warning: false }
}

/// What the parser and the help may draw on.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    /// The commands there are.
    pub catalogue: &'a Catalogue,
    /// The services there are.
    pub services: &'a BTreeMap<ServiceName, Arc<Service>>,
    /// May whoever asks run this command here? Others are neither listed nor suggested.
    pub may: &'a (dyn Fn(&Command) -> bool + Sync),
}
