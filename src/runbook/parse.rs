//! Text to intents.
//!
//! The first word is the command. Of the others, `--flag VALUE`,
//! `--flag=VALUE` and `--switch` are flags; the last or the first of the rest
//! may name the service (`service` or `service/instance`); what is left are
//! the arguments by position. A word in quotes, or behind `--`, is always a
//! value: that is how a key called like a service is typed.

use std::sync::Arc;

use super::{
    ArgumentKind, ArgumentSpec, ArgumentValue, Arguments, Command, Intent, Kind, Known, Misunderstood, help, values,
    words::{self, Unsplit, Word, nearest},
};
use crate::model::{InstanceName, ServiceName};

/// The longest line anybody types.
const LONGEST: usize = 2_000;

/// Reads one line, without its `/redis`.
///
/// # Errors
///
/// What was wrong with the line, why, and what to type instead.
pub fn parse(text: &str, known: &Known) -> Result<Intent, Misunderstood> {
    let line = readable(text)?;
    let line =
        line.strip_prefix("/redis").filter(|rest| rest.is_empty() || rest.starts_with(' ')).unwrap_or(line).trim();
    let first = line.split_whitespace().next().unwrap_or("help");
    let Some(command) = known.catalogue.find(&first.to_lowercase()) else { return Err(no_command(first, line, known)) };
    // A command that takes only text gets the rest of the line as it was typed, quotes and flags too.
    if let [only] = command.arguments.as_slice()
        && matches!(only.kind, ArgumentKind::Text(_))
        && matches!(command.kind, Kind::BuiltIn)
    {
        return rest_of_line(command, only, line[first.len()..].trim());
    }
    let words = words::split(line).map_err(|unsplit| unbalanced(&unsplit, command))?;
    Reading { command, known, line, flags: Arguments::new(), positions: Vec::new(), service: None, instance: None }
        .read(words.get(1..).unwrap_or_default())
}

/// The line without its edges, when it can be one.
fn readable(text: &str) -> Result<&str, Misunderstood> {
    let text = text.trim();
    if text.chars().count() > LONGEST {
        return Err(Misunderstood {
            what: format!("the line is longer than {LONGEST} characters"),
            why: Some("No command needs that much.".to_owned()),
            suggestion: None,
            example: "help".to_owned(),
        });
    }
    if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        return Err(Misunderstood {
            what: "the line holds characters that cannot be typed".to_owned(),
            why: Some("They usually come with text copied from a terminal or a web page.".to_owned()),
            suggestion: None,
            example: "help".to_owned(),
        });
    }
    Ok(text)
}

fn no_command(first: &str, line: &str, known: &Known) -> Misunderstood {
    let shown: String = first.chars().take(40).collect();
    let may = |name: &str| known.catalogue.find(name).is_some_and(|command| (known.may)(command));
    // `payments status` is what people type who think of the service first.
    let mut words = line.split_whitespace();
    if let (Some(service), Some(command)) = (words.next(), words.next())
        && known.services.keys().any(|name| name.as_str() == service)
        && may(command)
    {
        return Misunderstood {
            what: format!("`{shown}` is a service; the command stands first"),
            why: None,
            suggestion: Some(format!("{command} {service}")),
            example: format!("{command} {service}"),
        };
    }
    let allowed = known.catalogue.all().filter(|command| (known.may)(command));
    let names = allowed.flat_map(|command| std::iter::once(&command.name).chain(&command.aliases));
    match nearest(first, names.map(String::as_str)) {
        Some(near) => {
            let rest = &line[first.len()..];
            let rest: String =
                if words::split(rest).is_ok() { rest.trim_end().chars().take(200).collect() } else { String::new() };
            Misunderstood {
                what: format!("there is no command `{shown}`; did you mean `{near}`?"),
                why: None,
                suggestion: Some(format!("{near}{rest}")),
                example: known.catalogue.find(near).map_or_else(|| near.to_owned(), |command| help::example(command)),
            }
        }
        None => Misunderstood {
            what: format!("there is no command `{shown}`"),
            why: Some("`help` lists what you may run here.".to_owned()),
            suggestion: Some("help".to_owned()),
            example: if may("status") { "status".to_owned() } else { "help".to_owned() },
        },
    }
}

fn unbalanced(unsplit: &Unsplit, command: &Command) -> Misunderstood {
    let (what, why) = match unsplit {
        Unsplit::Open(quote, position) => (
            format!("the quote {quote} at character {position} has no end"),
            "Quotes keep a word with spaces together and come in pairs; \\ before one makes it an ordinary character.",
        ),
        Unsplit::Backslash => (
            "the line ends in a backslash".to_owned(),
            "A backslash takes the next character as it is; write two for one.",
        ),
    };
    Misunderstood { what, why: Some(why.to_owned()), suggestion: None, example: help::example(command) }
}

fn rest_of_line(command: &Arc<Command>, spec: &ArgumentSpec, rest: &str) -> Result<Intent, Misunderstood> {
    let text = match words::split(rest).as_deref() {
        Ok([word]) if word.quoted => word.text.clone(),
        _ => rest.to_owned(),
    };
    let mut arguments = Arguments::new();
    if !text.is_empty() {
        let value = values::read(&spec.kind, &text).map_err(|why| unfit(command, spec, &text, &why))?;
        arguments.insert(spec.name.clone(), value);
    } else if spec.required {
        return Err(missing(command, spec, None));
    }
    Ok(Intent { command: command.clone(), service: None, instance: None, arguments })
}

struct Reading<'a> {
    command: &'a Arc<Command>,
    known: &'a Known<'a>,
    line: &'a str,
    flags: Arguments,
    /// Words that are no flags, each with whether it may name a service.
    positions: Vec<(&'a Word, bool)>,
    service: Option<ServiceName>,
    instance: Option<InstanceName>,
}

impl<'a> Reading<'a> {
    fn read(mut self, words: &'a [Word]) -> Result<Intent, Misunderstood> {
        let mut rest = words.iter();
        let mut literal = false;
        while let Some(word) = rest.next() {
            let flag = word.text.strip_prefix("--").filter(|_| !word.quoted && !literal);
            match flag {
                Some("") => literal = true,
                Some("help") => return Ok(self.help()),
                Some(flag) => self.flag(flag, &mut rest)?,
                None if !word.quoted && !literal && word.text == "-h" => return Ok(self.help()),
                None => self.positions.push((word, !word.quoted && !literal)),
            }
        }
        if self.command.has_service() && self.service.is_none() {
            self.take_service();
        }
        self.nearly_a_service()?;
        self.take_positions()?;
        self.defaults()?;
        Ok(Intent {
            command: self.command.clone(),
            service: self.service,
            instance: self.instance,
            arguments: self.flags,
        })
    }

    /// `status --help` is `help status`.
    fn help(&self) -> Intent {
        let Some(help) = self.known.catalogue.find("help") else {
            return Intent {
                command: self.command.clone(),
                service: None,
                instance: None,
                arguments: Arguments::new(),
            };
        };
        let topic = ArgumentValue::Text(self.command.name.clone());
        Intent {
            command: help.clone(),
            service: None,
            instance: None,
            arguments: [("command".to_owned(), topic)].into(),
        }
    }

    fn flag(&mut self, flag: &str, rest: &mut std::slice::Iter<'a, Word>) -> Result<(), Misunderstood> {
        let (name, given) = flag.split_once('=').map_or((flag, None), |(name, value)| (name, Some(value.to_owned())));
        let name = name.to_lowercase().replace('-', "_");
        let diagnostic = self.command.has_service();
        let command = self.command;
        let spec = command.arguments.iter().find(|spec| spec.name == name);
        let Some(spec) = spec else {
            if diagnostic && (name == "service" || name == "instance") {
                let value = self.value_of(&name, given, rest)?;
                return self.place(&name, &value);
            }
            return Err(self.unknown_flag(&name));
        };
        let before = match (&spec.kind, self.flags.get(&name)) {
            // Conditions add up: given twice, both must hold.
            (ArgumentKind::Where, Some(ArgumentValue::Text(before))) => format!("{before} && "),
            _ => String::new(),
        };
        if before.is_empty() && self.flags.contains_key(&name) {
            return Err(self.wrong(format!("`--{}` is given twice", shown(&name)), None));
        }
        let value = match (&spec.kind, given) {
            (ArgumentKind::Switch, None) => ArgumentValue::Switch(true),
            (kind, given) => {
                let word = before + &self.value_of(&name, given, rest)?;
                values::read(kind, &word).map_err(|why| unfit(self.command, spec, &word, &why))?
            }
        };
        self.flags.insert(name, value);
        Ok(())
    }

    fn value_of(
        &self,
        name: &str,
        given: Option<String>,
        rest: &mut std::slice::Iter<'a, Word>,
    ) -> Result<String, Misunderstood> {
        let next = given.or_else(|| {
            let next = rest.clone().next().filter(|word| word.quoted || !word.text.starts_with("--"))?;
            rest.next();
            Some(next.text.clone())
        });
        next.ok_or_else(|| {
            let why = self.command.arguments.iter().find(|spec| spec.name == name);
            let why = why.map(|spec| format!("It takes {}.", values::describe(&spec.kind)));
            self.wrong(format!("`--{}` needs a value", shown(name)), why)
        })
    }

    fn place(&mut self, name: &str, value: &str) -> Result<(), Misunderstood> {
        let (service, instance) = match (name, value.split_once('/')) {
            ("instance", _) => (None, Some(value)),
            (_, Some((service, instance))) => (Some(service), Some(instance)),
            (_, None) => (Some(value), None),
        };
        if let Some(service) = service {
            let found = self.known.services.keys().find(|known| known.as_str() == service.to_lowercase());
            self.service = Some(found.cloned().ok_or_else(|| self.no_service(service))?);
        }
        if let Some(instance) = instance {
            let parsed = instance.to_lowercase().parse();
            let parsed =
                parsed.map_err(|_| self.wrong(format!("`{}` is not an instance's name", cut(instance)), None))?;
            if let Some(found) = self.service.as_ref().and_then(|name| self.known.services.get(name))
                && found.instance(Some(&parsed)).is_none()
            {
                let names: Vec<&str> = found.instances.iter().map(|instance| instance.name.as_str()).collect();
                let why = format!("It has {}.", names.join(", "));
                return Err(self.wrong(format!("{} has no instance `{}`", found.name, cut(instance)), Some(why)));
            }
            self.instance = Some(parsed);
        }
        Ok(())
    }

    /// The last or the first word, when it names a service.
    fn take_service(&mut self) {
        let last = self.positions.len().checked_sub(1);
        for position in last.into_iter().chain(last.map(|_| 0)) {
            let Some((word, true)) = self.positions.get(position).copied() else { continue };
            let text = word.text.to_lowercase();
            let (name, instance) =
                text.split_once('/').map_or((text.as_str(), None), |(name, rest)| (name, Some(rest)));
            let Some((name, service)) = self.known.services.iter().find(|(known, _)| known.as_str() == name) else {
                continue;
            };
            let parsed: Option<InstanceName> = instance.and_then(|instance| instance.parse().ok());
            // `payments/123` may well be a key; only an instance that exists makes it a place.
            if instance.is_some() && parsed.as_ref().is_none_or(|parsed| service.instance(Some(parsed)).is_none()) {
                continue;
            }
            self.service = Some(name.clone());
            self.instance = parsed.or(self.instance.take());
            self.positions.remove(position);
            return;
        }
    }

    /// The only word of a survey's line, when it is nearly a service: as a pattern it would match one key at most, and
    /// that of the wrong service.
    fn nearly_a_service(&self) -> Result<(), Misunderstood> {
        let [(word, true)] = self.positions.as_slice() else { return Ok(()) };
        let mut open = self.command.arguments.iter().filter(|spec| !spec.flag && !self.flags.contains_key(&spec.name));
        let is_pattern = open.next().is_some_and(|spec| spec.kind == ArgumentKind::Pattern);
        if self.service.is_some() || !self.command.surveys() || !is_pattern || word.text.contains(['*', '?', '[']) {
            return Ok(());
        }
        let Some(near) = nearest(&word.text, self.known.services.keys().map(ServiceName::as_str)) else {
            return Ok(());
        };
        let with = |other: &str| format!("{}{other}{}", &self.line[..word.at.start], &self.line[word.at.end..]);
        let what = format!("there is no service `{}`; did you mean `{near}`?", cut(&word.text));
        let why = format!(
            "If it is a pattern, put it in quotes: `{}`. Without * it matches the key of exactly that name.",
            cut(&with(&words::always_quote(&word.text)))
        );
        Err(Misunderstood { suggestion: Some(with(near)), ..self.wrong(what, Some(why)) })
    }

    fn take_positions(&mut self) -> Result<(), Misunderstood> {
        let command = self.command;
        let mut words = std::mem::take(&mut self.positions).into_iter().map(|(word, _)| word).peekable();
        let open: Vec<&ArgumentSpec> =
            command.arguments.iter().filter(|spec| !spec.flag && !self.flags.contains_key(&spec.name)).collect();
        for (at, spec) in open.iter().enumerate() {
            let Some(word) = words.next() else { break };
            let mut text = word.text.clone();
            let last = at + 1 == open.len();
            if matches!(spec.kind, ArgumentKind::Text(_)) && last && words.peek().is_some() {
                // Free text at the end needs no quotes: it is the rest of the line as it was typed.
                text = self.rest(word, &words.by_ref().collect::<Vec<_>>());
            }
            let value = values::read(&spec.kind, &text).map_err(|why| unfit(command, spec, &text, &why))?;
            self.flags.insert(spec.name.clone(), value);
        }
        match words.next() {
            Some(extra) => Err(self.too_much(extra)),
            None => Ok(()),
        }
    }

    fn rest(&self, first: &Word, more: &[&Word]) -> String {
        let mut text = self.line.get(first.at.clone()).unwrap_or(&first.text).to_owned();
        for word in more {
            text.push(' ');
            text.push_str(self.line.get(word.at.clone()).unwrap_or(&word.text));
        }
        text
    }

    fn defaults(&mut self) -> Result<(), Misunderstood> {
        for spec in &self.command.arguments {
            if self.flags.contains_key(&spec.name) {
                continue;
            }
            if spec.required {
                return Err(missing(self.command, spec, self.service.as_ref()));
            }
            if spec.kind == ArgumentKind::Switch {
                // There or not: conditions may say `!args.blocked`.
                self.flags.insert(spec.name.clone(), ArgumentValue::Switch(false));
            } else if let Some(Ok(value)) = spec.default.as_ref().map(|default| values::read(&spec.kind, default)) {
                self.flags.insert(spec.name.clone(), value);
            }
        }
        Ok(())
    }

    fn wrong(&self, what: String, why: Option<String>) -> Misunderstood {
        Misunderstood { what, why, suggestion: None, example: help::example(self.command) }
    }

    fn unknown_flag(&self, name: &str) -> Misunderstood {
        let own = ["service", "instance"].into_iter().filter(|_| self.command.has_service());
        let known: Vec<&str> = self.command.arguments.iter().map(|spec| spec.name.as_str()).chain(own).collect();
        let what = format!("`{}` has no `--{}`", self.command.name, cut(&shown(name)));
        match nearest(name, known.iter().copied()) {
            Some(near) => self.wrong(format!("{what}; did you mean `--{}`?", shown(near)), None),
            None if known.is_empty() => self.wrong(what, Some("It takes no arguments.".to_owned())),
            None => {
                let names: Vec<String> = known.iter().map(|name| format!("--{}", shown(name))).collect();
                self.wrong(what, Some(format!("It knows {}.", names.join(", "))))
            }
        }
    }

    fn no_service(&self, name: &str) -> Misunderstood {
        let what = format!("there is no service `{}`", cut(name));
        match nearest(name, self.known.services.keys().map(ServiceName::as_str)) {
            Some(near) => self.wrong(format!("{what}; did you mean `{near}`?"), None),
            None => self.wrong(what, Some(self.services())),
        }
    }

    fn services(&self) -> String {
        let names: Vec<&str> = self.known.services.keys().map(ServiceName::as_str).take(20).collect();
        if names.is_empty() {
            "No service is configured.".to_owned()
        } else {
            format!("The services are {}.", names.join(", "))
        }
    }

    fn too_much(&self, extra: &Word) -> Misunderstood {
        let command = self.command;
        let takes = command.arguments.iter().filter(|spec| !spec.flag).count();
        let (name, instance) =
            extra.text.split_once('/').map_or((extra.text.as_str(), None), |(name, rest)| (name, Some(rest)));
        let services = || self.known.services.keys().map(ServiceName::as_str);
        if let (Some(instance), Some(service)) =
            (instance, self.known.services.iter().find(|(known, _)| known.as_str() == name).map(|(_, service)| service))
        {
            let names: Vec<&str> = service.instances.iter().map(|instance| instance.name.as_str()).collect();
            let what = format!("{} has no instance `{}`", service.name, cut(instance));
            return self.wrong(what, Some(format!("It has {}.", names.join(", "))));
        }
        let flag =
            command.arguments.iter().find(|spec| spec.flag && spec.name == extra.text.to_lowercase().replace('-', "_"));
        let what = format!("I do not know what `{}` is here", cut(&extra.text));
        if let Some(flag) = flag {
            return self.wrong(format!("{what}; did you mean `--{}`?", shown(&flag.name)), None);
        }
        if command.has_service() && self.service.is_none() {
            let mut misunderstood = match nearest(name, services()) {
                Some(near) => {
                    let line = format!("{}{near}{}", &self.line[..extra.at.start], &self.line[extra.at.end..]);
                    let mut wrong =
                        self.wrong(format!("there is no service `{}`; did you mean `{near}`?", cut(name)), None);
                    wrong.suggestion = Some(line);
                    return wrong;
                }
                None => self.wrong(what, None),
            };
            misunderstood.why = Some(match takes {
                0 => format!("`{}` takes only a service. {}", command.name, self.services()),
                _ => format!("It is one word too many, and no service. {}", self.services()),
            });
            return misunderstood;
        }
        let why = match takes {
            0 => format!("`{}` takes nothing more.", command.name),
            _ => format!("It is one word too many for `{}`; a value with spaces needs quotes.", help::usage(command)),
        };
        self.wrong(what, Some(why))
    }
}

fn unfit(command: &Command, spec: &ArgumentSpec, word: &str, why: &str) -> Misunderstood {
    let name = if spec.flag { format!("--{}", shown(&spec.name)) } else { spec.name.clone() };
    if spec.name == "parameter" && ["requirepass", "masterauth", "masteruser"].contains(&word.to_lowercase().as_str()) {
        return Misunderstood {
            what: format!("`{}` is not set from here: what is typed in a chat is a secret no more", cut(word)),
            why: Some("`rotate-password` makes a new password and hands it over in a file.".to_owned()),
            suggestion: None,
            example: "rotate-password default".to_owned(),
        };
    }
    Misunderstood {
        what: format!("`{}` does not fit `{name}`: {why}", cut(word)),
        why: Some(format!("`{name}`: {}.", spec.about.trim_end_matches('.'))),
        suggestion: None,
        example: help::example(command),
    }
}

fn missing(command: &Command, spec: &ArgumentSpec, service: Option<&ServiceName>) -> Misunderstood {
    let name = if spec.flag { format!("--{}", shown(&spec.name)) } else { spec.name.clone() };
    let mut why = format!("`{name}`: {}, {}.", spec.about.trim_end_matches('.'), values::describe(&spec.kind));
    if let Some(service) = service.filter(|_| !spec.flag) {
        why.push_str(&format!(
            " I took `{service}` for the service; if it is meant as the {}, type `{} -- {service}`.",
            spec.name, command.name
        ));
    }
    Misunderstood {
        what: format!("`{}` needs `{name}`", command.name),
        why: Some(why),
        suggestion: None,
        example: help::example(command),
    }
}

/// A name as it is typed.
pub(super) fn shown(name: &str) -> String {
    name.replace('_', "-")
}

fn cut(text: &str) -> String {
    super::language::show::truncate(text, 60)
}

impl Intent {
    /// The line that says the same, without `/redis`. Reading it again gives
    /// this intent; defaults are left out.
    pub fn to_line(&self) -> String {
        let mut line = self.command.name.clone();
        let mut in_order = true;
        let mut push = |part: String| {
            line.push(' ');
            line.push_str(&part);
        };
        for spec in &self.command.arguments {
            let Some(value) = self.arguments.get(&spec.name) else {
                in_order &= spec.flag;
                continue;
            };
            let default = spec.default.as_ref().and_then(|default| values::read(&spec.kind, default).ok());
            if value == &ArgumentValue::Switch(false) || (default.as_ref() == Some(value) && !spec.required) {
                in_order &= spec.flag;
                continue;
            }
            let text = values::show(&spec.kind, value);
            match (value, spec.flag || !in_order) {
                (ArgumentValue::Switch(_), _) => push(format!("--{}", shown(&spec.name))),
                (_, true) => push(format!("--{} {}", shown(&spec.name), words::quote(&text))),
                // What looks like a service, or is free text, is one only in quotes.
                (_, false) if matches!(spec.kind, ArgumentKind::Text(_)) || like_a_service(&text) => {
                    push(words::always_quote(&text));
                }
                (_, false) => push(words::quote(&text)),
            }
        }
        match (&self.service, &self.instance) {
            (Some(service), Some(instance)) => push(format!("{service}/{instance}")),
            (Some(service), None) => push(service.to_string()),
            (None, Some(instance)) => push(format!("--instance {instance}")),
            (None, None) => {}
        }
        line
    }
}

fn like_a_service(text: &str) -> bool {
    let name = text.split('/').next().unwrap_or_default().to_lowercase();
    name.parse::<ServiceName>().is_ok()
}
