//! The commands the program comes with.

use std::time::Duration;

use super::{ArgumentKind, ArgumentSpec, Command, Cost, Kind};

/// What the bot answers itself, and the diagnostics compiled in from `commands/*.toml`.
pub fn built_in() -> Vec<Command> {
    vec![
        answered(
            "help",
            &["?", "commands"],
            "what you can ask here",
            vec![argument("command", "the command to explain", ArgumentKind::Command, false)],
        ),
        answered("whoami", &[], "who I think you are, and what you may do here", vec![]),
        answered(
            "can-i",
            &["may-i"],
            "whether you may run a line here, and who could allow it",
            vec![argument("line", "the line, as you would type it", ArgumentKind::Text(1000), true)],
        ),
        answered(
            "cancel",
            &["stop"],
            "stop a run",
            vec![argument("run", "the run's id, from the foot of its card", ArgumentKind::Text(16), true)],
        ),
        answered("reload", &[], "read the configuration again, all of it or none", vec![]),
        answered("services", &[], "the services there are", vec![]),
        answered("version", &[], "which program answers", vec![]),
    ]
}

fn argument(name: &str, about: &str, kind: ArgumentKind, required: bool) -> ArgumentSpec {
    ArgumentSpec { name: name.to_owned(), about: about.to_owned(), kind, flag: false, required, default: None }
}

fn answered(name: &str, aliases: &[&str], summary: &str, arguments: Vec<ArgumentSpec>) -> Command {
    Command {
        name: name.to_owned(),
        aliases: aliases.iter().map(|&alias| alias.to_owned()).collect(),
        summary: summary.to_owned(),
        about: None,
        examples: Vec::new(),
        group: "bot".to_owned(),
        arguments,
        cost: Cost::Cheap,
        deadline: Duration::from_secs(10),
        call_deadline: Duration::from_secs(5),
        private: false,
        source: "built in".to_owned(),
        kind: Kind::BuiltIn,
    }
}
