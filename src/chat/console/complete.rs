//! What the Tab key knows.

use serde::{Deserialize, Serialize};

/// Names a session completes. Given by the hall, which knows the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Completions {
    /// Commands.
    pub commands: Vec<CompletedCommand>,
    /// Services, and `service/instance` where there are several.
    pub services: Vec<String>,
    /// The people `:as` may name; empty where one speaks as oneself.
    pub people: Vec<String>,
}

/// A command and the words that may follow it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CompletedCommand {
    /// What is typed.
    pub name: String,
    /// Shown beside it.
    pub summary: String,
    /// Flags (`--blocked`) and choices, as typed.
    pub words: Vec<String>,
}

/// The console's own lines.
pub(super) const OWN: &[&str] = &[":as", ":help", ":press", ":quit", ":react", ":unreact"];

impl Completions {
    /// The byte where the word before `cursor` starts, and what it could
    /// become: the replacement, and a note shown beside it in a list.
    pub(super) fn complete(&self, line: &str, cursor: usize) -> (usize, Vec<(String, String)>) {
        let before = line.get(..cursor).unwrap_or(line);
        let start = before.rfind(char::is_whitespace).map_or(0, |at| at + 1);
        let word = &before[start..];
        let mut earlier = before[..start].split_whitespace();
        let mut first = earlier.next();
        if first == Some("/redis") {
            first = earlier.next();
        }
        let mut found: Vec<(String, String)> = match first {
            None if start == 0 && (word.starts_with(':') || word.starts_with('/')) => {
                let own = OWN.iter().map(|own| ((*own).to_owned(), String::new()));
                own.chain([("/redis".to_owned(), String::new())]).collect()
            }
            None => self.commands.iter().map(|command| (command.name.clone(), command.summary.clone())).collect(),
            Some(":as") => self.people.iter().map(|person| (person.clone(), String::new())).collect(),
            Some(":react" | ":unreact") => [("✅", "yes"), ("❌", "no")]
                .into_iter()
                .map(|(emoji, means)| (emoji.to_owned(), means.to_owned()))
                .chain([("last".to_owned(), String::new())])
                .collect(),
            Some("help" | "can-i") => {
                self.commands.iter().map(|command| (command.name.clone(), command.summary.clone())).collect()
            }
            Some(name) => {
                let words = self.commands.iter().find(|command| command.name == name).map(|command| &command.words);
                let words = words.into_iter().flatten().map(|word| (word.clone(), String::new()));
                self.services.iter().map(|service| (service.clone(), "service".to_owned())).chain(words).collect()
            }
        };
        found.retain(|(replacement, _)| replacement.starts_with(word));
        (start, found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completions() -> Completions {
        let command = |name: &str, words: &[&str]| CompletedCommand {
            name: name.to_owned(),
            summary: format!("about {name}"),
            words: words.iter().map(|word| (*word).to_owned()).collect(),
        };
        Completions {
            commands: vec![command("status", &[]), command("stats", &[]), command("clients", &["--blocked"])],
            services: vec!["godel".to_owned(), "prospectflow".to_owned()],
            people: vec!["ana".to_owned(), "bo".to_owned()],
        }
    }

    fn words(line: &str) -> Vec<String> {
        completions().complete(line, line.len()).1.into_iter().map(|(replacement, _)| replacement).collect()
    }

    #[test]
    fn commands_complete_with_and_without_the_prefix() {
        assert_eq!(words("/redis sta"), ["status", "stats"]);
        assert_eq!(words("statu"), ["status"]);
        assert_eq!(words("/re"), ["/redis"]);
        assert_eq!(words("help cl"), ["clients"]);
    }

    #[test]
    fn after_a_command_come_its_words_and_the_services() {
        assert_eq!(words("/redis clients --"), ["--blocked"]);
        assert_eq!(words("clients pro"), ["prospectflow"]);
        assert_eq!(words(":as b"), ["bo"]);
        assert_eq!(completions().complete("clients pro", 11).0, 8);
    }
}
