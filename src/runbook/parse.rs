//! Text to intents.

use super::{Arguments, Intent, Known, Misunderstood};

/// Reads one line, without its `/redis`.
///
/// # Errors
///
/// What was wrong with the line and what to type instead.
pub fn parse(text: &str, known: &Known) -> Result<Intent, Misunderstood> {
    let name = text.split_whitespace().next().unwrap_or("help");
    match known.catalogue.find(name) {
        Some(command) => Ok(Intent {
            command: command.clone(),
            service: text.split_whitespace().nth(1).and_then(|word| word.parse().ok()),
            instance: None,
            arguments: Arguments::new(),
        }),
        None => Err(Misunderstood {
            what: format!("there is no command `{name}`"),
            why: None,
            suggestion: None,
            example: "help".to_owned(),
        }),
    }
}
