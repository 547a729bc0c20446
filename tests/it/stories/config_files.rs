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

/// Everything there is to read about the files is made of what reads them.
#[test]
fn the_reference_of_the_configuration_is_true() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/configuration.md");
    let made = config::reference_markdown();
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        fs::create_dir_all(path.parent().expect("a directory")).expect("docs can be written");
        fs::write(&path, &made).expect("docs can be written");
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == made, "run this test with UPDATE_REFERENCE=1 to write docs/reference/configuration.md again");
}

#[test]
fn the_shipped_configuration_is_taken_without_a_warning() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let config = config::load(&dir).unwrap_or_else(|problems| panic!("{}", say(&problems)));
    let names: Vec<&str> = config.services.keys().map(|name| name.as_str()).collect();
    assert_eq!(names, ["godel", "olumi", "onesource", "prospectflow", "somabrain"]);
    assert_eq!(say(&config.warnings), "");
}

#[test]
fn whatever_lies_in_the_directory_ends_in_a_configuration_or_in_problems() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().expect("a directory to work in");
    lay_over(&samples().join("base"), dir.path());
    let services = dir.path().join("services");
    // A mounted configuration is made of links, through a hidden directory.
    fs::create_dir(services.join("..data")).expect("a directory");
    fs::write(services.join("..data/linked.toml"), fs::read(services.join("shop.toml")).expect("the sample"))
        .expect("a file");
    symlink("..data/linked.toml", services.join("linked.toml")).expect("a link");
    let loaded = config::load(dir.path()).expect("links are followed");
    assert_eq!(loaded.services.len(), 2);

    symlink("nowhere.toml", services.join("dangling.toml")).expect("a link");
    symlink("loop.toml", services.join("loop.toml")).expect("a link");
    fs::create_dir(services.join("folder.toml")).expect("a directory");
    nix::unistd::mkfifo(&services.join("pipe.toml"), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    let huge = fs::File::create(services.join("huge.toml")).expect("a file");
    huge.set_len(1 << 34).expect("a sparse file");
    let Err(problems) = config::load(dir.path()) else { panic!("these are no files of a configuration") };
    let files: Vec<String> = problems
        .iter()
        .filter_map(|problem| problem.file.file_name().map(|name| name.to_string_lossy().into_owned()))
        .collect();
    assert_eq!(files, ["dangling.toml", "folder.toml", "huge.toml", "loop.toml", "pipe.toml"]);

    let Err(problems) = config::load(&dir.path().join("missing")) else { panic!("there is no such directory") };
    assert_eq!(problems.len(), 1);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(48))]

    #[test]
    fn no_bytes_make_reading_panic(
        which in 0usize..4,
        file in proptest::sample::select(vec!["bot.toml", "policy.toml", "services/shop.toml", "commands/mine.toml"]),
        cuts in proptest::collection::vec((0usize..20_000, proptest::prelude::any::<u8>()), 0..6),
        noise in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200),
    ) {
        let dir = tempfile::tempdir().expect("a directory to work in");
        lay_over(&samples().join("base"), dir.path());
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
        let from = [Some("bot.toml"), Some("policy.toml"), Some("services/olumi.toml"), None][which];
        // Bytes of a real file with some of them changed go deeper than noise.
        let mut bytes = from.map_or(noise, |from| fs::read(shipped.join(from)).expect("a shipped file"));
        for (at, byte) in cuts {
            if !bytes.is_empty() {
                let at = at % bytes.len();
                bytes[at] = byte;
            }
        }
        fs::create_dir_all(dir.path().join("commands")).expect("a directory");
        fs::write(dir.path().join(file), bytes).expect("a file");
        if let Err(problems) = config::load(dir.path()) {
            proptest::prop_assert!(problems.iter().any(|problem| !problem.warning));
        }
    }
}

/// A valid configuration can still name what is not there: `check` looks, and says where it is named.
#[test]
fn secrets_and_files_that_are_not_there_are_found() {
    let dir = tempfile::tempdir().expect("a directory to work in");
    lay_over(&samples().join("base"), dir.path());
    let (secret, empty, pem) = (dir.path().join("secret"), dir.path().join("empty"), dir.path().join("ca.pem"));
    fs::write(&secret, "SUPERSECRET\n").expect("a file");
    fs::write(&empty, "\n").expect("a file");
    fs::write(&pem, "no certificate").expect("a file");
    let service = format!(
        "environment = \"staging\"\nowner = \"shop team\"\n\n[[instances]]\naddress = \"127.0.0.1:6379\"\n\
         password = {{ env = \"REDISCUE_TEST_NEVER_SET\" }}\ntouch = {{ user = \"t\", password = {{ file = \"{}\" }} }}\n\
         tls = true\ntls_ca = \"{}\"\n\n[endpoints.a]\nurl = \"https://shop.example/\"\n\
         headers = {{ X-Key = {{ file = \"{}\" }} }}\n\n[logs.app]\nfile = \"/nowhere/app.log\"\n",
        empty.display(),
        pem.display(),
        secret.display(),
    );
    fs::write(dir.path().join("services/shop.toml"), service).expect("a file");
    let here = dir.path().display();
    let bot = format!("[store]\npath = \"{here}\"\nkey_file = \"{here}/not-yet/journal.key\"\n");
    fs::write(dir.path().join("bot.toml"), bot).expect("a file");
    let config = config::load(dir.path()).unwrap_or_else(|problems| panic!("{}", say(&problems)));
    let said = say(&config::check_world(&config)).replace(&dir.path().display().to_string(), "DIR");
    insta::assert_snapshot!("world", said);
}

#[test]
fn too_few_people_for_what_is_critical_are_warned_of_before_a_plan_waits_for_them() {
    use crate::world::{
        room::{POLICY, house},
        team::TEAM,
    };
    let (_server, builder) = house("normal");
    let told = |builder: &crate::world::chat::ChatBuilder| {
        let config = rediscue::config::load(&builder.written("")).unwrap();
        let of_policy = |problem: &&rediscue::model::Problem| problem.file.ends_with("policy.toml");
        let problems = rediscue::config::check_world(&config);
        problems.iter().filter(of_policy).map(|problem| format!("{problem}\n")).collect::<String>()
    };
    // ana asks and approves, bo approves: for two approvers besides ana there is one.
    let two = told(&builder);
    assert!(
        two.contains("a critical change (flushdb") && two.contains("takes 2 approvers besides whoever asks"),
        "{two}"
    );
    assert!(two.contains("when ana asks, only bo could consent"), "{two}");
    assert!(!two.contains("a high change"), "{two}");
    let alone = POLICY.replace("MODE", "normal").replace("roles = [\"approver\"]", "roles = [\"viewer\"]");
    let builder = builder.file("policy.toml", &alone);
    let one = told(&builder);
    assert!(one.contains("a high change (") && one.contains("when ana asks, nobody could consent"), "{one}");
    let builder = builder.file("policy.toml", TEAM);
    assert_eq!(told(&builder), "", "bo and di are enough");
    let observing = POLICY.replace("MODE", "observe");
    assert_eq!(told(&builder.file("policy.toml", &observing)), "", "nothing is changed, so nobody is missing");
}
