//! Somebody writes a command file, well and badly.
//!
//! Each file of `tests/samples/commands/valid` is read whole; each file of
//! `invalid` has all its problems told, as in `expected/FILE.snap`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rediscue::runbook::{
    Catalogue, Kind, book_schema, built_in, json_schema, parse_book, parse_file, reference_markdown,
};

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples/commands")
}

fn files(kind: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(samples().join(kind)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

#[test]
fn a_good_file_is_a_command() {
    for path in files("valid") {
        let text = fs::read_to_string(&path).unwrap();
        let command = parse_file(Path::new(name(&path)), &text).unwrap_or_else(|problems| {
            let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
            panic!("{}", told.join("\n"))
        });
        assert!(matches!(command.kind, Kind::Diagnostic(_)));
    }
}

#[test]
fn every_problem_of_a_bad_file_is_told_at_once_with_its_line() {
    for path in files("invalid") {
        let text = fs::read_to_string(&path).unwrap();
        let problems = parse_file(Path::new(name(&path)), &text).expect_err(name(&path));
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        let told = told.join("\n");
        insta::with_settings!({
            snapshot_path => samples().join("expected"),
            prepend_module_to_snapshot => false,
            omit_expression => true,
        }, {
            insta::assert_snapshot!(path.file_stem().unwrap().to_str().unwrap(), told);
        });
    }
}

fn runbooks(kind: &str) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples/runbooks").join(kind);
    let mut files: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

#[test]
fn a_good_runbook_is_a_command_and_the_documentations_example_is_one() {
    for path in runbooks("valid") {
        let text = fs::read_to_string(&path).unwrap();
        let command = parse_book(Path::new(name(&path)), &text).unwrap_or_else(|problems| panic!("{problems:?}"));
        assert!(matches!(&command.kind, Kind::Runbook(book) if book.changes()));
        let all = built_in().into_iter().chain([command]).collect();
        Catalogue::new(all).unwrap_or_else(|problems| panic!("{problems:?}"));
    }
    let docs = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/runbooks.md")).unwrap();
    let example = docs.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    parse_book(Path::new("more-room.toml"), example).unwrap_or_else(|problems| panic!("{problems:?}"));
}

#[test]
fn every_problem_of_a_bad_runbook_is_told_at_once_with_its_line() {
    for path in runbooks("invalid") {
        let text = fs::read_to_string(&path).unwrap();
        let told = match parse_book(Path::new(name(&path)), &text) {
            Err(problems) => problems,
            // What only the other commands can tell.
            Ok(command) => Catalogue::new(built_in().into_iter().chain([command]).collect()).expect_err(name(&path)),
        };
        let told = told.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        insta::with_settings!({
            snapshot_path => path.parent().unwrap().with_file_name("expected"),
            prepend_module_to_snapshot => false,
            omit_expression => true,
        }, {
            insta::assert_snapshot!(path.file_stem().unwrap().to_str().unwrap(), told);
        });
    }
    let schema = book_schema();
    let keys = schema["properties"].as_object().unwrap();
    assert!(["name", "arguments", "steps"].iter().all(|key| keys.contains_key(*key)) && !keys.contains_key("card"));
}

#[test]
fn the_example_of_the_documentation_is_a_command() {
    let docs = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/commands.md")).unwrap();
    let example = docs.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let command = parse_file(Path::new("sessions.toml"), example).unwrap_or_else(|problems| panic!("{problems:?}"));
    assert_eq!(command.name, "sessions");
}

#[test]
fn the_schema_and_the_reader_know_the_same_keys() {
    let schema = json_schema();
    let keys = schema["properties"].as_object().unwrap();
    for key in ["name", "summary", "arguments", "steps", "card", "deadline"] {
        assert!(keys.contains_key(key), "{key}");
    }
    assert_eq!(schema["additionalProperties"], false);
}

#[test]
fn the_reference_names_every_command_that_is_compiled_in() {
    let catalogue = Catalogue::new(built_in()).unwrap_or_else(|problems| panic!("{problems:?}"));
    let reference = reference_markdown(&catalogue);
    for command in catalogue.all() {
        assert!(reference.contains(&format!("\n### {}\n", command.name)), "{}", command.name);
    }
}

#[test]
fn the_reference_of_commands_is_true() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/commands.md");
    let catalogue = Catalogue::new(built_in()).expect("the built-in commands fit together");
    let made = reference_markdown(&catalogue);
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == made, "run this test with UPDATE_REFERENCE=1 to write docs/reference/commands.md again");
}
