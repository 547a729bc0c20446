//! What can be typed: help for people, and the reference made of the same definitions.

use super::{
    ArgumentKind, ArgumentSpec, Catalogue, Command, Cost, Each, Kind, Known, Look, Nodes,
    parse::shown,
    values,
    words::{nearest, quote},
};
use crate::model::{Action, ActionStyle, Block, Card, Cell, Column, Span, Table, Text, show_duration};

/// Headings of help, in order, with the groups they stand for.
const HEADINGS: &[(&str, &str)] = &[("look", "Look"), ("keys", "Keys"), ("change", "Change"), ("bot", "The bot")];

/// Help: everything this person may run here, or one command.
pub fn help_card(known: &Known, topic: Option<&str>) -> Card {
    let topic = topic.map(str::trim).filter(|topic| !topic.is_empty());
    let Some(topic) = topic else { return overview(known) };
    let topic = topic.trim_start_matches("/redis").trim().to_lowercase();
    match known.catalogue.find(&topic).filter(|command| (known.may)(command)) {
        Some(command) => one(command),
        None => unknown(known, &topic),
    }
}

fn overview(known: &Known) -> Card {
    let allowed: Vec<_> = known.catalogue.all().filter(|command| (known.may)(command)).collect();
    let mut blocks = Vec::new();
    let others = allowed
        .iter()
        .map(|command| command.group.as_str())
        .filter(|group| HEADINGS.iter().all(|(known, _)| known != group));
    let mut groups: Vec<(&str, String)> = HEADINGS.iter().map(|(group, title)| (*group, (*title).to_owned())).collect();
    for group in others {
        if groups.iter().all(|(known, _)| *known != group) {
            groups.push((group, group.to_owned()));
        }
    }
    for (group, title) in groups {
        let rows: Vec<Vec<Cell>> = allowed
            .iter()
            .filter(|command| command.group == group)
            .map(|command| vec![cell(usage(command)), cell(command.summary.clone())])
            .collect();
        if !rows.is_empty() {
            let columns = ["type", "to see"].map(|title| Column { title: title.to_owned(), ..column() }).into();
            blocks.push(Block::Table(Table { title: Some(title), columns, rows, ..Table::default() }));
        }
    }
    if allowed.iter().any(|command| command.name == "help") {
        blocks.push(Block::Text(Text(vec![
            Span::Code("/redis help COMMAND".to_owned()),
            Span::Plain(" explains one. A service is named last: ".to_owned()),
            Span::Code(
                known
                    .services
                    .keys()
                    .next()
                    .map_or_else(|| "/redis status".to_owned(), |service| format!("/redis status {service}")),
            ),
            Span::Plain(".".to_owned()),
        ])));
    }
    let verdict = match allowed.len() {
        0 => "There is nothing you may run here.".to_owned(),
        count => format!("You may run {} here.", super::language::show::plural(count as f64, "command", None)),
    };
    Card { title: "help".to_owned(), verdict: Some(Text::plain(verdict)), blocks, ..Card::default() }
}

fn one(command: &Command) -> Card {
    let mut blocks = Vec::new();
    if let Some(about) = &command.about {
        blocks.push(Block::Text(Text::notation(about)));
    }
    blocks.push(Block::Code(format!("/redis {}", usage(command))));
    if !command.arguments.is_empty() {
        let rows = command.arguments.iter().map(|spec| vec![cell(argument_word(spec)), cell(sentence(spec))]).collect();
        let columns = ["argument", "meaning"].map(|title| Column { title: title.to_owned(), ..column() }).into();
        blocks.push(Block::Table(Table { columns, rows, ..Table::default() }));
    }
    if !command.examples.is_empty() {
        let lines: Vec<String> = command.examples.iter().map(|example| format!("/redis {example}")).collect();
        blocks.push(Block::Code(lines.join("\n")));
    }
    let mut footer = Vec::new();
    if !command.aliases.is_empty() {
        footer.push(format!("also: {}", command.aliases.join(", ")));
    }
    if matches!(command.kind, Kind::Diagnostic(_)) {
        footer.push(cost(command.cost).to_owned());
        footer.push(format!("answers within {}", show_duration(command.deadline)));
        if command.private {
            footer.push("answers you alone".to_owned());
        }
        footer.push(command.source.clone());
    }
    if let Kind::Runbook(book) = &command.kind {
        blocks.push(Block::Heading("Steps".to_owned()));
        blocks.push(Block::Code(book_steps(book).join("\n")));
        footer.push(command.source.clone());
    }
    Card {
        title: format!("help · {}", command.name),
        verdict: Some(Text::plain(capital(&command.summary))),
        blocks,
        actions: command
            .examples
            .iter()
            .take(3)
            .map(|example| Action {
                label: super::language::show::truncate(example, 75),
                command: example.clone(),
                style: ActionStyle::Plain,
            })
            .collect(),
        footer: (!footer.is_empty()).then(|| footer.join(" · ")),
        ..Card::default()
    }
}

fn unknown(known: &Known, topic: &str) -> Card {
    let allowed = known.catalogue.all().filter(|command| (known.may)(command));
    let names = allowed.flat_map(|command| std::iter::once(&command.name).chain(&command.aliases));
    let topic_shown = super::language::show::truncate(topic, 40);
    let (said, line) = match nearest(topic, names.map(String::as_str)) {
        Some(near) => (format!("There is no command `{topic_shown}`; did you mean `{near}`?"), format!("help {near}")),
        None => (format!("There is no command `{topic_shown}` that you may run here."), "help".to_owned()),
    };
    Card {
        title: "help".to_owned(),
        verdict: Some(Text::plain(said)),
        actions: vec![Action { label: line.clone(), command: line, style: ActionStyle::Primary }],
        ..Card::default()
    }
}

/// `inspect KEY [--reveal] [SERVICE]`
pub(super) fn usage(command: &Command) -> String {
    let mut usage = command.name.clone();
    for spec in command.arguments.iter().filter(|spec| !spec.flag) {
        let name = shown(&spec.name).to_uppercase();
        let name = if matches!(spec.kind, ArgumentKind::Text(_)) { format!("{name}…") } else { name };
        usage.push_str(&if spec.required { format!(" {name}") } else { format!(" [{name}]") });
    }
    for spec in command.arguments.iter().filter(|spec| spec.flag) {
        let word = argument_word(spec);
        usage.push_str(&if spec.required { format!(" {word}") } else { format!(" [{word}]") });
    }
    if command.has_service() {
        usage.push_str(" [SERVICE]");
    }
    usage
}

/// A line that works: the command's own first example, or one made of its arguments.
pub(super) fn example(command: &Command) -> String {
    if let Some(example) = command.examples.first() {
        return example.clone();
    }
    let mut line = command.name.clone();
    for spec in command.arguments.iter().filter(|spec| spec.required) {
        let value = spec.default.clone().unwrap_or_else(|| match &spec.kind {
            ArgumentKind::Integer { min, .. } => min.to_string(),
            ArgumentKind::Duration { min, .. } => show_duration((*min).max(std::time::Duration::from_secs(5))),
            ArgumentKind::Bytes => "100mb".to_owned(),
            ArgumentKind::Choice(choices) => choices.first().cloned().unwrap_or_default(),
            ArgumentKind::Switch => String::new(),
            ArgumentKind::Key => "session:42".to_owned(),
            ArgumentKind::Pattern => "session:*".to_owned(),
            ArgumentKind::Where => "organisationId=acme".to_owned(),
            ArgumentKind::Text(_) => "status".to_owned(),
            ArgumentKind::Command => "status".to_owned(),
            ArgumentKind::Of(what) => what.trim_end_matches('s').to_owned(),
        });
        let value = quote(&value);
        line.push_str(&if spec.flag { format!(" --{} {value}", shown(&spec.name)) } else { format!(" {value}") });
    }
    line
}

fn argument_word(spec: &ArgumentSpec) -> String {
    let name = shown(&spec.name);
    match (&spec.kind, spec.flag) {
        (ArgumentKind::Switch, _) => format!("--{name}"),
        (_, true) => format!("--{name} VALUE"),
        (_, false) => name.to_uppercase(),
    }
}

fn sentence(spec: &ArgumentSpec) -> String {
    let mut said = spec.about.trim_end_matches('.').to_owned();
    if spec.kind != ArgumentKind::Switch {
        said.push_str(&format!("; {}", values::describe(&spec.kind)));
    }
    match (&spec.default, spec.required) {
        (Some(default), _) => said.push_str(&format!("; {default} when not given")),
        (None, true) => said.push_str("; required"),
        (None, false) => {}
    }
    said
}

fn cost(cost: Cost) -> &'static str {
    match cost {
        Cost::Cheap => "cheap: a few quick calls",
        Cost::Moderate => "moderate: bounded work for the server",
        Cost::Heavy => "heavy: many looks, or a walk over the keys",
    }
}

fn cell(text: String) -> Cell {
    Cell { text, level: None }
}

fn column() -> Column {
    Column { title: String::new(), align: crate::model::Align::Left }
}

fn capital(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default()
}

/// The reference of all commands, as Markdown for `docs/reference/commands.md`.
pub fn reference_markdown(catalogue: &Catalogue) -> String {
    let mut text = String::from(
        "# Commands\n\nMade from the command files by `rediscue reference`; do not edit. \
         How such a file is written: [commands.md](../commands.md).\n",
    );
    for (group, title) in HEADINGS {
        let commands: Vec<_> = catalogue.all().filter(|command| command.group == *group).collect();
        if commands.is_empty() {
            continue;
        }
        text.push_str(&format!("\n## {title}\n"));
        for command in commands {
            reference(&mut text, command);
        }
    }
    text
}

fn reference(text: &mut String, command: &Command) {
    text.push_str(&format!("\n### {}\n\n{}.\n", command.name, capital(command.summary.trim_end_matches('.'))));
    if let Some(about) = &command.about {
        text.push_str(&format!("\n{about}\n"));
    }
    text.push_str(&format!("\n```text\n/redis {}\n```\n", usage(command)));
    if !command.arguments.is_empty() {
        text.push_str("\n| argument | meaning |\n|---|---|\n");
        for spec in &command.arguments {
            let meaning = sentence(spec).replace('|', "\\|");
            text.push_str(&format!("| `{}` | {meaning} |\n", argument_word(spec)));
        }
    }
    if !command.examples.is_empty() {
        let lines: Vec<String> = command.examples.iter().map(|example| format!("`/redis {example}`")).collect();
        text.push_str(&format!("\nFor example: {}\n", lines.join(", ")));
    }
    let mut facts = Vec::new();
    if !command.aliases.is_empty() {
        facts.push(format!(
            "Also: {}",
            command.aliases.iter().map(|alias| format!("`{alias}`")).collect::<Vec<_>>().join(", ")
        ));
    }
    if let Kind::Diagnostic(diagnostic) = &command.kind {
        facts.push(format!("Cost: {}", cost(command.cost).split(':').next().unwrap_or_default()));
        facts.push(format!("Deadline: {}", show_duration(command.deadline)));
        let looks: Vec<String> = diagnostic.steps.iter().map(|step| look(&step.look, step.each)).collect();
        if !looks.is_empty() {
            let mut unique: Vec<String> = Vec::new();
            for look in looks {
                if !unique.contains(&look) {
                    unique.push(look);
                }
            }
            facts.push(format!("Looks at: {}", unique.join(", ")));
        }
    }
    if let Kind::Runbook(book) = &command.kind {
        text.push_str(&format!("\nSteps:\n\n{}\n", book_steps(book).join("\n")));
    }
    if !facts.is_empty() {
        text.push_str(&format!("\n{}.\n", facts.join(". ")));
    }
}

/// The steps of a runbook, a line each: what kind, and what stands on the card.
fn book_steps(book: &super::Book) -> Vec<String> {
    let words = |text: &str| text.replace("{{ ", "").replace(" }}", "");
    book.steps
        .iter()
        .enumerate()
        .map(|(at, step)| {
            let line = match &step.act {
                super::Act::Touch { line } => format!(": {}", words(line)),
                _ => String::new(),
            };
            format!("{}. {} ({}{line})", at + 1, words(&step.say), step.act.word())
        })
        .collect()
}

fn look(look: &Look, each: Option<Each>) -> String {
    let what = match look {
        Look::Redis { argv, nodes } => {
            let whom = match nodes {
                Nodes::Primaries | Nodes::Any | Nodes::Key => "",
                Nodes::All => " (replicas too)",
            };
            format!("`{}`{whom}", argv.join(" ").replace('|', "\\|"))
        }
        Look::Rates { .. } => "`INFO` twice".to_owned(),
        Look::Command { name } => format!("`{name}`"),
        look => look.what(),
    };
    each.map_or_else(|| what.clone(), |each| format!("{what} for each of the service's {}", each.word()))
}
