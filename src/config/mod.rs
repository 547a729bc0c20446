//! Every room's settings, read from a directory of files, all problems at once.
//!
//! [`load`] takes a whole directory or none of it: `bot.toml` over the
//! compiled-in defaults, `policy.toml`, `services/*.toml`, and the team's own
//! `commands/*.toml` added to the built-in ones. It never stops at the first
//! problem and never panics, whatever the bytes. Secrets are not read here,
//! only where they are; [`check_world`] looks whether they are there.

mod bot;
mod check;
mod files;
mod policy;
mod reference;
mod service;
mod settings;
mod sheet;
mod wire;
mod world;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    model::{Problem, Service, ServiceName},
    policy::{Policy, Rules},
    runbook::{self, Catalogue, Kind},
};
use files::Text;
use sheet::Sheet;

pub use reference::{json_schema, reference_markdown};
pub use settings::{
    Audit, BackupRoom, BotSettings, Deadlines, Log, LogFormat, SlackSettings, SlackTransport, StoreRoom, Work,
};
pub use world::check_world;

/// A whole, valid configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The bot's own settings.
    pub bot: BotSettings,
    /// Who may do what.
    pub policy: Policy,
    /// The services, by name.
    pub services: BTreeMap<ServiceName, Arc<Service>>,
    /// Everything that can be typed.
    pub catalogue: Catalogue,
    /// What is worth mending but stops nothing.
    pub warnings: Vec<Problem>,
}

/// Reads a configuration directory.
///
/// # Errors
/// Every problem of every file at once, in the order of files and lines; the
/// configuration is then not used at all.
pub fn load(dir: &Path) -> Result<Config, Vec<Problem>> {
    let mut problems = Vec::new();
    if !dir.is_dir() {
        return Err(vec![Problem {
            file: dir.to_owned(),
            line: None,
            reason: "is no directory that can be read".to_owned(),
            hint: Some("give the directory that holds policy.toml: `--config DIR`".to_owned()),
            warning: false,
        }]);
    }
    stray_files(dir, &mut problems);
    let bot = read_bot(dir, &mut problems);
    let (services, service_names) = read_services(dir, &bot, &mut problems);
    let (catalogue, command_names) = read_commands(dir, &mut problems);
    let rules = read_policy(dir, &catalogue, &command_names, &service_names, &mut problems);

    check_judges(&catalogue, &bot, &services, &mut problems);
    check_schedules(dir, &bot, &services, &service_names, &rules, &mut problems);

    problems.sort();
    if problems.iter().any(|problem| !problem.warning) {
        return Err(problems);
    }
    Ok(Config { bot, policy: Policy::new(rules), services, catalogue, warnings: problems })
}

/// The settings, whether or not the team has a `bot.toml`. With problems, the
/// defaults: they serve to check the other files.
fn read_bot(dir: &Path, problems: &mut Vec<Problem>) -> BotSettings {
    let text = match files::read(&dir.join("bot.toml")) {
        Ok(None) => return bot::default_settings(),
        Ok(Some(text)) => text,
        Err(problem) => {
            problems.push(problem);
            return bot::default_settings();
        }
    };
    let mut sheet = Sheet::new(text.path, &text.text);
    let settings = bot::read(&mut sheet);
    problems.extend(sheet.problems());
    settings.unwrap_or_else(bot::default_settings)
}

/// The services, and the names of all, also of those with problems.
fn read_services(
    dir: &Path,
    bot: &BotSettings,
    problems: &mut Vec<Problem>,
) -> (BTreeMap<ServiceName, Arc<Service>>, BTreeSet<String>) {
    let dir = dir.join("services");
    let (texts, unread) = files::read_all(&dir, problems);
    let mut names: BTreeSet<String> = unread.into_iter().collect();
    let mut services = BTreeMap::new();
    for Text { path, stem, text } in &texts {
        names.insert(stem.clone());
        let mut sheet = Sheet::new(path.clone(), text);
        match stem.parse::<ServiceName>() {
            Ok(name) => {
                if let Some(service) = service::read(&mut sheet, name.clone(), &bot.thresholds) {
                    services.insert(name, Arc::new(service));
                }
            }
            Err(error) => {
                sheet.wrong(None, format!("the file's name is the service's name, and {error}"), None);
            }
        }
        problems.extend(sheet.problems());
    }
    if names.is_empty() {
        problems.push(Problem {
            file: dir,
            line: None,
            reason: "describes no service, so there is nothing to look at".to_owned(),
            hint: Some("write services/NAME.toml, one for each system that uses Redis".to_owned()),
            warning: true,
        });
    }
    (services, names)
}

/// The built-in commands with the team's own, and the names of all, also of those with problems.
fn read_commands(dir: &Path, problems: &mut Vec<Problem>) -> (Catalogue, BTreeSet<String>) {
    let (texts, unread) = files::read_all(&dir.join("commands"), problems);
    let mut names: BTreeSet<String> = unread.into_iter().collect();
    let mut commands = runbook::built_in();
    for Text { path, stem, text } in &texts {
        match runbook::parse_file(path, text) {
            Ok(command) => {
                // A team's command takes the place of the built-in one of its name.
                commands.retain(|other| other.name != command.name);
                commands.push(command);
            }
            Err(found) => {
                names.insert(stem.clone());
                problems.extend(found);
            }
        }
    }
    let (texts, unread) = files::read_all(&dir.join("commands").join("runbooks"), problems);
    names.extend(unread);
    for Text { path, stem, text } in &texts {
        match runbook::parse_book(path, text) {
            Ok(command) => {
                commands.retain(|other| other.name != command.name);
                commands.push(command);
            }
            Err(found) => {
                names.insert(stem.clone());
                problems.extend(found);
            }
        }
    }
    names.extend(commands.iter().map(|command| command.name.clone()));
    let catalogue = Catalogue::new(commands).unwrap_or_else(|found| {
        problems.extend(found);
        Catalogue::new(runbook::built_in()).unwrap_or_default()
    });
    (catalogue, names)
}

/// A figure that names a threshold nobody has would never be judged.
fn check_judges(
    catalogue: &Catalogue,
    bot: &BotSettings,
    services: &BTreeMap<ServiceName, Arc<Service>>,
    problems: &mut Vec<Problem>,
) {
    let thresholds = services.values().flat_map(|service| service.thresholds.keys());
    let known: BTreeSet<&str> = thresholds.chain(bot.thresholds.keys()).map(String::as_str).collect();
    for command in catalogue.all() {
        let Kind::Diagnostic(diagnostic) = &command.kind else { continue };
        let figures = diagnostic.card.figures.iter().filter_map(|figure| figure.judge.as_deref());
        let columns = diagnostic.card.tables.iter().flat_map(|table| &table.columns);
        let judges = figures.chain(columns.filter_map(|column| column.judge.as_deref()));
        for judge in judges.filter(|judge| !known.contains(judge)) {
            problems.push(Problem {
                file: PathBuf::from(&command.source),
                line: None,
                reason: format!("judges by `{judge}`, which is no threshold of bot.toml or of any service"),
                hint: sheet::suggest(judge, known.iter().copied()),
                warning: false,
            });
        }
    }
}

/// What a schedule names must be there: it fails when nobody looks.
fn check_schedules(
    dir: &Path,
    bot: &BotSettings,
    services: &BTreeMap<ServiceName, Arc<Service>>,
    names: &BTreeSet<String>,
    rules: &Rules,
    problems: &mut Vec<Problem>,
) {
    for schedule in &bot.backups.schedules {
        let mut say = |reason: String, hint: Option<String>| {
            problems.push(Problem { file: dir.join("bot.toml"), line: None, reason, hint, warning: false });
        };
        if !names.contains(schedule.service.as_str()) {
            let hint = sheet::suggest(schedule.service.as_str(), names.iter().map(String::as_str));
            say(format!("`backups.schedules` names the service `{}`, and there is none", schedule.service), hint);
        }
        if let Some(service) = services.get(&schedule.service)
            && service.instance(schedule.instance.as_ref()).is_none()
        {
            let what = schedule.instance.as_ref().map(ToString::to_string).unwrap_or_default();
            say(format!("`backups.schedules`: `{}` has no instance `{what}`", schedule.service), None);
        }
        if !rules.people.contains_key(&schedule.by) {
            let hint = sheet::suggest(schedule.by.as_str(), rules.people.keys().map(|person| person.as_str()));
            say(
                format!("`backups.schedules` is in the name of `{}`, whom policy.toml does not know", schedule.by),
                hint,
            );
        }
    }
}

fn read_policy(
    dir: &Path,
    catalogue: &Catalogue,
    commands: &BTreeSet<String>,
    services: &BTreeSet<String>,
    problems: &mut Vec<Problem>,
) -> Rules {
    let path = dir.join("policy.toml");
    let text = match files::read(&path) {
        Ok(Some(text)) => text,
        Ok(None) => {
            problems.push(Problem {
                file: path,
                line: None,
                reason: "is missing, and without it everybody is refused everything".to_owned(),
                hint: Some("begin with a copy of the sample config/policy.toml".to_owned()),
                warning: false,
            });
            return Rules::default();
        }
        Err(problem) => {
            problems.push(problem);
            return Rules::default();
        }
    };
    let aliases = catalogue
        .all()
        .flat_map(|command| command.aliases.iter().map(|alias| (alias.clone(), command.name.clone())))
        .collect();
    let names = policy::Names {
        services,
        commands,
        aliases: &aliases,
        groups: &catalogue.all().map(|command| command.group.clone()).collect(),
    };
    let mut sheet = Sheet::new(text.path, &text.text);
    let rules = policy::read(&mut sheet, &names);
    problems.extend(sheet.problems());
    rules.unwrap_or_default()
}

/// A misspelt name would silently mean nothing: `polices.toml`, `service/`.
fn stray_files(dir: &Path, problems: &mut Vec<Problem>) {
    const KNOWN: [&str; 4] = ["bot.toml", "policy.toml", "services", "commands"];
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for path in entries.filter_map(|entry| entry.ok().map(|entry| entry.path())) {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let readable = path.is_dir() || name.ends_with(".toml");
        if readable && !name.starts_with('.') && !KNOWN.contains(&name) {
            problems.push(Problem {
                hint: sheet::suggest(name, KNOWN),
                file: path,
                line: None,
                reason: "is not read: it is none of the names that mean something here".to_owned(),
                warning: true,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_policy_shows_the_limits_that_hold_without_it() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
        let config = load(&dir).expect("the shipped files are valid");
        assert_eq!(config.policy.limits(), &crate::policy::Limits::default());
    }

    #[test]
    fn the_compiled_in_defaults_are_valid_without_any_file() {
        let mut sheet = Sheet::new("bot.toml".into(), "");
        assert!(bot::read(&mut sheet).is_some());
        assert_eq!(sheet.problems(), Vec::new());
    }
}
