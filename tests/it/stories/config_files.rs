//! Somebody writes configuration files, well and badly.
//!
//! Each directory of `tests/samples/config/{valid,invalid}` is one case, laid
//! over `base` (the least that works). What `check` would say of it stands in
//! `expected/CASE.snap`.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use rediscue::{
    config::{self, Config},
    model::Problem,
};

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples/config")
}

fn cases(kind: &str) -> Vec<PathBuf> {
    let mut cases: Vec<PathBuf> = fs::read_dir(samples().join(kind))
        .expect("a readable sample")
        .map(|entry| entry.expect("a readable sample").path())
        .collect();
    cases.sort();
    cases
}

fn lay_over(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("a readable sample") {
        let path = entry.expect("a readable sample").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("a sample with a name");
        if path.is_dir() {
            fs::create_dir_all(to.join(name)).expect("a readable sample");
            lay_over(&path, &to.join(name));
        } else if let Some(absent) = name.strip_suffix(".absent") {
            fs::remove_file(to.join(absent)).expect("a readable sample");
        } else {
            fs::copy(&path, to.join(name)).expect("a readable sample");
        }
    }
}

fn load(case: &Path) -> Result<Config, Vec<Problem>> {
    let dir = tempfile::tempdir().expect("a directory to work in");
    lay_over(&samples().join("base"), dir.path());
    lay_over(case, dir.path());
    let relative = |problem: Problem| Problem {
        file: problem.file.strip_prefix(dir.path()).map(Path::to_owned).unwrap_or(problem.file),
        ..problem
    };
    let mut loaded = config::load(dir.path());
    match &mut loaded {
        Ok(config) => config.warnings = std::mem::take(&mut config.warnings).into_iter().map(relative).collect(),
        Err(problems) => *problems = std::mem::take(problems).into_iter().map(relative).collect(),
    }
    loaded
}

fn say(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_valid_sample_is_taken_without_a_warning() {
    for case in cases("valid") {
        match load(&case) {
            Ok(config) => assert_eq!(say(&config.warnings), "", "{}", case.display()),
            Err(problems) => panic!("{}:\n{}", case.display(), say(&problems)),
        }
    }
}

#[test]
fn every_problem_of_an_invalid_sample_is_told_at_once_with_line_reason_and_hint() {
    let mut names = BTreeSet::new();
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(samples().join("expected"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        for case in cases("invalid") {
            let name = case.file_name().and_then(|name| name.to_str()).expect("a case with a name").to_owned();
            let said = match load(&case) {
                Ok(config) => format!("(taken)\n{}", say(&config.warnings)),
                Err(problems) => say(&problems),
            };
            assert!(!said.contains("SUPERSECRET"), "{name} shows a secret:\n{said}");
            insta::assert_snapshot!(name.as_str(), said);
            names.insert(format!("{name}.snap"));
        }
    });
    let expected: BTreeSet<String> = fs::read_dir(samples().join("expected"))
        .expect("a readable sample")
        .map(|entry| entry.expect("a snapshot").file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(expected, names, "a snapshot without its case, or the other way round");
}
