//! What `deploy/` ships is what the bot needs, and no more.

use std::{collections::BTreeSet, path::Path, process::Command};

use rediscue::diagnosis::{self, LookVerdict};

fn shipped(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name)).unwrap()
}

/// The rules `+…` of a user of `redis-acl.conf`, as `command` or `command subcommand`.
fn granted(user: &str) -> BTreeSet<String> {
    let text = shipped("redis-acl.conf");
    let line = text.lines().find(|line| line.starts_with(&format!("user {user} "))).expect("the user is there");
    assert!(line.contains(" resetpass ") && line.contains(" -@all "), "no password is shipped, and nothing by default");
    line.split(' ').filter_map(|word| word.strip_prefix('+')).map(|rule| rule.replace('|', " ")).collect()
}

fn looks(command: &str) -> bool {
    let bare: Vec<String> = command.split(' ').map(str::to_owned).collect();
    // Bounds are judged on values; a template stands for values to come.
    let with_values = bare.iter().cloned().chain(["{{ args.any }}".to_owned()]).collect::<Vec<_>>();
    [bare, with_values].iter().any(|argv| matches!(diagnosis::classify(argv), LookVerdict::Look { .. }))
}

/// What a connection needs for itself, and MONITOR, which is a look of its own kind.
const BESIDES: &[&str] =
    &["asking", "auth", "client setname", "hello", "monitor", "quit", "readonly", "readwrite", "reset", "select"];

#[test]
fn the_look_user_is_granted_looks_only() {
    for rule in granted("rediscue-look") {
        assert!(BESIDES.contains(&rule.as_str()) || looks(&rule), "{rule} is no look");
    }
}

#[test]
fn the_touch_user_cannot_raise_itself() {
    let touch = granted("rediscue-touch");
    for never in
        ["acl setuser", "acl load", "module load", "debug", "eval", "shutdown", "migrate", "flushall", "monitor"]
    {
        assert!(!touch.contains(never), "{never}");
    }
    // What it changed it must be able to look at.
    let lacks: Vec<String> = granted("rediscue-look").difference(&touch).cloned().collect();
    assert_eq!(lacks, ["monitor"]);
}

#[test]
fn the_unit_answers_what_is_in_flight_and_may_do_little() {
    let unit = shipped("rediscue.service");
    for line in [
        "DynamicUser=yes",
        "ProtectSystem=strict",
        "NoNewPrivileges=yes",
        "CapabilityBoundingSet=",
        "ExecReload=/bin/kill -HUP $MAINPID",
    ] {
        assert!(unit.lines().any(|there| there == line), "{line}");
    }
    let Ok(checked) = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--threshold=20"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/rediscue.service"))
        .output()
    else {
        println!("skipped: systemd-analyze, which comes with systemd, judges the unit");
        return;
    };
    let said = String::from_utf8_lossy(&checked.stderr);
    if said.contains("unrecognized option") || said.contains("Unknown") {
        println!("skipped: this systemd-analyze cannot judge a file");
        return;
    }
    assert!(checked.status.success(), "{}{said}", String::from_utf8_lossy(&checked.stdout));
}
