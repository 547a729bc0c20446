//! The commands the program comes with.

use std::{path::Path, sync::LazyLock, time::Duration};

use super::{ArgumentKind, ArgumentSpec, Command, Cost, Kind, parse_book, parse_file};

/// `commands/*.toml` by file name, put here by `build.rs`.
const FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/commands.rs"));
/// `commands/runbooks/*.toml`, likewise.
const BOOKS: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/runbooks.rs"));

const BOOKS_IN: &str = "commands/runbooks";

/// What the bot answers itself, and the diagnostics compiled in from `commands/*.toml`.
pub fn built_in() -> Vec<Command> {
    // Read once: a reload asks again, and files compiled in do not change.
    static COMMANDS: LazyLock<Vec<Command>> = LazyLock::new(|| {
        let files = FILES.iter().filter_map(|(name, text)| match parse_file(&Path::new("commands").join(name), text) {
            Ok(command) => Some(command),
            Err(problems) => {
                // A test reads every file; here the others are worth more than a halt.
                debug_assert!(false, "commands/{name}: {problems:?}");
                None
            }
        });
        let books = BOOKS.iter().filter_map(|(name, text)| match parse_book(&Path::new(BOOKS_IN).join(name), text) {
            Ok(command) => Some(command),
            Err(problems) => {
                debug_assert!(false, "{BOOKS_IN}/{name}: {problems:?}");
                None
            }
        });
        own().into_iter().chain(files).chain(books).collect()
    });
    COMMANDS.clone()
}

/// Files compiled in, by name, for the test that reads them.
#[cfg(test)]
pub(super) fn files() -> &'static [(&'static str, &'static str)] {
    FILES
}

fn own() -> Vec<Command> {
    vec![
        answered(
            "help",
            &[],
            "what you can ask here",
            "Lists what you may run here, or explains one command: its arguments, examples, cost and deadline.",
            &["help", "help status"],
            vec![argument("command", "the command to explain", ArgumentKind::Command, false)],
        ),
        answered(
            "whoami",
            &[],
            "who I think you are, and what you may do here",
            "Says which account you speak from, which person of the policy it belongs to, your roles, and what they let you do in this place.",
            &["whoami"],
            vec![],
        ),
        answered(
            "can-i",
            &["may-i"],
            "whether you may run a line here, and who could allow it",
            "Asks the policy without running anything.",
            &["can-i status", "can-i inspect session:42 --reveal"],
            vec![argument("command", "the line, as you would type it", ArgumentKind::Text(1000), true)],
        ),
        answered(
            "cancel",
            &["stop"],
            "stop a run, or list what is running",
            "The run's id stands at the foot of its card.",
            &["cancel", "cancel 7K2Q9M4X"],
            vec![argument("run", "the run's id", ArgumentKind::Text(16), false)],
        ),
        page(),
        answered(
            "open",
            &[],
            "what lies below a prefix, from a survey that was made",
            "Reads the stored survey of `memkeys`: no key is asked again. Under the rights to the command it was the answer of.",
            &["open 7K2Q9M4X tenant:*"],
            vec![
                argument("run", "the run's id, under its card", ArgumentKind::Text(16), true),
                argument(
                    "prefix",
                    "the prefix as the card names it; everything when not given",
                    ArgumentKind::Pattern,
                    false,
                ),
            ],
        ),
        answered(
            "reload",
            &[],
            "read the configuration again, all of it or none",
            "A configuration with a problem is not taken; every problem is told.",
            &["reload"],
            vec![],
        ),
        answered(
            "services",
            &[],
            "the services there are",
            "Each with its environment, owner and instances.",
            &["services"],
            vec![],
        ),
        answered(
            "pending",
            &[],
            "changes that wait for consent, are queued or run; or one of them, whole",
            "Each with who asked, what it would do, and until when it waits; and what is stopped. With a run's id, its plan as it was shown, how it stands and who has consented.",
            &["pending", "pending 7K2Q9M4X"],
            vec![argument("run", "the run's id: its plan, whole", ArgumentKind::Text(16), false)],
        ),
        answered(
            "approve",
            &[],
            "consent to a change that waits for it",
            "What the ✅ under a plan does. Whoever asked for the change cannot. A critical change takes the service's name typed after the id.",
            &["approve 7K2Q9M4X", "approve 7K2Q9M4X shop"],
            vec![argument(
                "run",
                "the run's id, under its plan; for a critical change the service's name after it",
                ArgumentKind::Text(96),
                true,
            )],
        ),
        answered(
            "decline",
            &[],
            "turn down a change that waits for consent",
            "What the ❌ under a plan does. Whoever asked for the change, and whose word counts, can.",
            &["decline 7K2Q9M4X"],
            vec![argument("run", "the run's id, under its plan", ArgumentKind::Text(16), true)],
        ),
        answered(
            "runbooks",
            &["books"],
            "the runbooks that are under way",
            "Each with where it stands, who began it, and what it waits for.",
            &["runbooks"],
            vec![],
        ),
        answered(
            "pause",
            &[],
            "let no further step of a runbook begin",
            "What is under way goes on: a change that was proposed has a plan of its own. Whoever may run the runbook may pause it.",
            &["pause 7K2Q9M4X"],
            vec![argument("run", "the run's id, on its card", ArgumentKind::Text(16), true)],
        ),
        answered(
            "resume",
            &[],
            "let a paused runbook go on",
            "It goes on at the step it was at; a wait or a watch begins its time anew.",
            &["resume 7K2Q9M4X"],
            vec![argument("run", "the run's id, on its card", ArgumentKind::Text(16), true)],
        ),
        answered(
            "abort",
            &[],
            "end a runbook where it is",
            "A plan that still waits for consent is withdrawn; a change under way comes to its end first. The card then says what was changed and how each is taken back.",
            &["abort 7K2Q9M4X"],
            vec![argument("run", "the run's id, on its card", ArgumentKind::Text(16), true)],
        ),
        answered(
            "tick",
            &[],
            "say that a step done by hand is done",
            "Ticks the step a runbook waits for. Where it can be seen from here, it is looked whether it is so.",
            &["tick 7K2Q9M4X", "tick 7K2Q9M4X 3"],
            vec![
                argument("run", "the run's id, on its card", ArgumentKind::Pattern, true),
                argument(
                    "step",
                    "the step's number; the one that waits when not given",
                    ArgumentKind::Integer { min: 1, max: 1000 },
                    false,
                ),
            ],
        ),
        answered(
            "revoke",
            &[],
            "take your consent to a change back",
            "What taking your ✅ from under a plan does. It counts until the run begins.",
            &["revoke 7K2Q9M4X"],
            vec![argument("line", "the run's id, under its plan", ArgumentKind::Text(16), true)],
        ),
        answered(
            "freeze",
            &[],
            "stop all changes at once, of one service or of all",
            "Runs stop before their next step, nothing new is planned or carried out, and ends of temporary changes wait, until an approver types `unfreeze`. It lasts over a restart of the bot. Whoever may run or approve changes may do it.",
            &["freeze the provider restores a backup", "freeze shop a migration goes on"],
            vec![argument("line", "the service, or none for all, and the reason", ArgumentKind::Text(400), true)],
        ),
        answered(
            "unfreeze",
            &[],
            "let changes go on that were stopped",
            "It takes an approver of every service that was stopped.",
            &["unfreeze", "unfreeze shop"],
            vec![argument("line", "the service, where one alone was stopped", ArgumentKind::Text(80), false)],
        ),
        answered(
            "severity",
            &[],
            "say how bad it is with a service",
            "SEV1: users are losing data or cannot work. SEV2: they notice. SEV3: they will. `over` takes it back. Without an incident it is what break-glass asks for.",
            &["severity SEV1 shop nobody can log in", "severity over shop it was the network"],
            vec![argument(
                "line",
                "SEV1, SEV2, SEV3 or over, the service, and what you see",
                ArgumentKind::Text(400),
                true,
            )],
        ),
        answered(
            "break-glass",
            &[],
            "go on alone with a change nobody answered, in a SEV1",
            "Up to high risk and never for a critical change. The approvers must have been called twice and have had their time; an alert or another person must have declared a SEV1 of the service. The owners are told, and the journal and the change say so.",
            &["break-glass 7K2Q9M4X shop nobody answers and logins fail"],
            vec![argument("line", "the run's id, the service's name, and the reason", ArgumentKind::Text(500), true)],
        ),
        answered("version", &[], "which program answers", "Its version and since when it runs.", &["version"], vec![]),
    ]
}

fn page() -> Command {
    let flag = |name, about, kind| ArgumentSpec { flag: true, ..argument(name, about, kind, false) };
    let number = ArgumentKind::Integer { min: 1, max: 10_000 };
    answered(
        "page",
        &["more"],
        "read a long answer on, from what was kept of it",
        "Nothing is asked of a server again: what is read was kept when the answer was made, for a day. It takes the \
         rights to the command and the service it is the answer of; what was said to one person is read on by that \
         person alone.",
        &["page 7K2Q9M4X 2", "page 7K2Q9M4X --filter session", "page 7K2Q9M4X --file"],
        vec![
            argument("run", "the run's id, under its card", ArgumentKind::Text(16), true),
            ArgumentSpec {
                default: Some("1".to_owned()),
                ..argument("number", "which page; the first is the card", number, false)
            },
            flag("filter", "only rows and lines that hold this text", ArgumentKind::Text(100)),
            flag("file", "all of it, as a file", ArgumentKind::Switch),
        ],
    )
}

fn argument(name: &str, about: &str, kind: ArgumentKind, required: bool) -> ArgumentSpec {
    ArgumentSpec { name: name.to_owned(), about: about.to_owned(), kind, flag: false, required, default: None }
}

fn answered(
    name: &str,
    aliases: &[&str],
    summary: &str,
    about: &str,
    examples: &[&str],
    arguments: Vec<ArgumentSpec>,
) -> Command {
    Command {
        name: name.to_owned(),
        aliases: aliases.iter().map(|&alias| alias.to_owned()).collect(),
        summary: summary.to_owned(),
        about: Some(about.to_owned()),
        examples: examples.iter().map(|&example| example.to_owned()).collect(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runbook::Catalogue;

    #[test]
    fn every_command_compiled_in_is_whole() {
        for (name, text) in files() {
            let read = parse_file(&Path::new("commands").join(name), text);
            let told = read.err().unwrap_or_default().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
            assert!(told.is_empty(), "{told}");
        }
        for (name, text) in BOOKS {
            let read = parse_book(&Path::new(BOOKS_IN).join(name), text);
            let told = read.err().unwrap_or_default().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
            assert!(told.is_empty(), "{told}");
        }
        let problems = Catalogue::new(built_in()).err().unwrap_or_default();
        assert!(problems.is_empty(), "{problems:?}");
    }
}
