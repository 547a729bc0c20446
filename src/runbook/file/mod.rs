//! Command files: TOML in, a [`Command`] or every problem out.

mod book;
mod book_wire;
mod card;
mod check;
mod read;
mod steps;
mod touches;
mod wire;

use std::path::Path;

use super::Command;
use crate::model::Problem;

/// Reads a command file, compiles what it holds and checks what can be checked without a server.
///
/// # Errors
///
/// Every problem of the file, in the order of its lines.
pub fn parse_file(file: &Path, text: &str) -> Result<Command, Vec<Problem>> {
    let read::Document { value, mut problems, taken_out } = read::read::<wire::CommandFile>(file, text);
    let Some(wire) = value else { return Err(problems) };
    let (command, found) = check::command(file, text, wire);
    problems.extend(found.into_iter().filter(|problem| !hidden(problem, &taken_out, text)));
    problems.sort_by_key(|problem| problem.line.unwrap_or(0));
    problems.dedup();
    match command {
        Some(command) if problems.iter().all(|problem| problem.warning) => Ok(command),
        _ => Err(problems),
    }
}

/// Reads a runbook file, as [`parse_file`] reads a command file.
///
/// # Errors
///
/// Every problem of the file, in the order of its lines.
pub fn parse_book(file: &Path, text: &str) -> Result<Command, Vec<Problem>> {
    let read::Document { value, mut problems, taken_out } = read::read::<book_wire::BookFile>(file, text);
    let Some(wire) = value else { return Err(problems) };
    let (command, found) = book::command(file, text, wire);
    problems.extend(found.into_iter().filter(|problem| !hidden(problem, &taken_out, text)));
    problems.sort_by_key(|problem| problem.line.unwrap_or(0));
    problems.dedup();
    if problems.iter().all(|problem| problem.warning) { Ok(command) } else { Err(problems) }
}

/// The JSON Schema of runbook files, for editors.
pub fn book_schema() -> serde_json::Value {
    schemars::schema_for!(book_wire::BookFile).to_value()
}

/// Whether something is only missing because it could not be read, which was told already.
fn hidden(problem: &Problem, taken_out: &[(String, usize)], text: &str) -> bool {
    let missing = |key: &str| problem.reason.ends_with(&format!(" has no `{key}`"));
    let from = problem.line.unwrap_or(0);
    taken_out.iter().any(|(key, line)| {
        // Between the head of the table and the key no other table begins.
        let between = text.lines().skip(from).take(line.saturating_sub(from));
        missing(key) && *line >= from && !between.into_iter().any(|line| line.trim_start().starts_with("[["))
    })
}

/// The JSON Schema of command files, for editors.
pub fn json_schema() -> serde_json::Value {
    schemars::schema_for!(wire::CommandFile).to_value()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_file_is_read() {
        let text = include_str!("../../../commands/ping.toml");
        let command = parse_file(Path::new("commands/ping.toml"), text).unwrap();
        assert_eq!(command.name, "ping");
        assert_eq!(command.arguments.len(), 1);
    }
}
