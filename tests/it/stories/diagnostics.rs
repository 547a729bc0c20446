//! The diagnostics the program comes with, as files.

use std::path::Path;

use rediscue::runbook::{Catalogue, parse_file};

/// Every file of `commands/`, parsed.
fn files() -> Vec<Result<rediscue::runbook::Command, Vec<rediscue::model::Problem>>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("commands");
    let mut paths: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    paths.sort();
    paths.iter().map(|path| parse_file(path, &std::fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn every_diagnostic_of_the_house_is_a_valid_file() {
    let problems: Vec<String> =
        files().into_iter().filter_map(Result::err).flatten().map(|problem| problem.to_string()).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    // With what the bot answers itself: an alias taken twice stops it from starting.
    let catalogue = Catalogue::new(rediscue::runbook::built_in());
    assert!(catalogue.is_ok(), "{:?}", catalogue.err());
}
