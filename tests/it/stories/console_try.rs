//! The newcomer's first minute, with lines piped in, and what it leaves: nothing.

use std::{path::Path, time::Duration};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::world::{
    eventually,
    program::{Home, runs},
};

const SOON: Duration = Duration::from_secs(10);

/// The throw-away Redis of a trial.
fn redis_of(trial: &Path) -> u32 {
    let text = std::fs::read_to_string(trial.join("redis.pid")).expect("a trial that answers has its Redis");
    text.split_whitespace().next().and_then(|pid| pid.parse().ok()).expect("it begins with a number")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[test]
fn piped_lines_are_answered_in_order_as_json() {
    let home = Home::new();
    let ran = home.run(
        &["try", "--output", "json"],
        "/redis whoami\n# a comment\nservices\n:as bo\n/redis whoami\n:react ✅ last\n/redis ping prospectflow\n",
    );
    assert_eq!(ran.code(), 0, "{}", ran.stderr);
    let events = ran.json();
    let said: Vec<&Value> = events.iter().filter(|event| event["event"] == "say").collect();
    let ids: Vec<&str> = said.iter().map(|event| text(&event["id"])).collect();
    assert_eq!(ids, ["m1", "m2", "m3", "m4"]);
    assert!(said[0]["card"].to_string().contains("Ana"));
    for service in ["prospectflow", "godel", "somabrain", "onesource", "olumi"] {
        assert!(said[1]["card"].to_string().contains(service), "{service}");
    }
    assert!(said[2]["card"].to_string().contains("Bo"));
    assert_eq!(said[3]["card"]["level"], "ok", "{}", said[3]);
    assert_eq!(home.trials(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn the_line_that_was_not_answered_is_named() {
    let home = Home::new();
    let ran = home.run(&["try"], "whoami\n:as nobody\n:press Undo m1\nservices\n");
    assert_eq!(ran.code(), 1);
    assert!(ran.stdout.contains("m2"), "the lines after it are still answered: {}", ran.stdout);
    assert!(ran.stderr.contains("line 2 was not answered: :as nobody"), "{}", ran.stderr);
    assert!(ran.stderr.contains("line 3 was not answered: :press Undo m1: m1 has no buttons"), "{}", ran.stderr);
    assert!(!ran.stdout.contains('\u{1b}'), "a pipe gets no escapes");
}

#[test]
fn exit_and_quit_leave_and_what_stands_after_them_is_not_run() {
    for word in ["exit", "quit", ":quit"] {
        let home = Home::new();
        let ran = home.run(&["try"], &format!("whoami\n{word}\nservices\n"));
        assert_eq!(ran.code(), 0, "{word}: {}", ran.stderr);
        assert!(ran.stdout.contains("m1") && !ran.stdout.contains("m2"), "{word}: {}", ran.stdout);
        assert_eq!(home.trials(), Vec::<std::path::PathBuf>::new());
    }
}

#[test]
fn told_to_stop_it_leaves_no_process_and_no_file() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let home = Home::new();
        let mut program = home.start(&["try"]);
        program.type_line("whoami\n");
        program.says("m1");
        let trials = home.trials();
        let redis = redis_of(&trials[0]);
        assert!(runs(redis));
        program.signal(signal);
        let status = program.wait();
        assert_eq!(status.code(), Some(1), "the lines had not ended");
        eventually("the Redis of the trial ends", SOON, || !runs(redis));
        assert_eq!(home.trials(), Vec::<std::path::PathBuf>::new());
    }
}

#[test]
fn what_a_killed_trial_leaves_is_swept_by_the_next_one() {
    let home = Home::new();
    let mut program = home.start(&["try"]);
    program.type_line("whoami\n");
    program.says("m1");
    let left = home.trials();
    let redis = redis_of(&left[0]);
    program.signal(Signal::SIGKILL);
    program.wait();
    assert!(runs(redis), "nobody was left to end it");

    let ran = home.run(&["try"], "whoami\n");
    assert_eq!(ran.code(), 0, "{}", ran.stderr);
    eventually("the Redis of the first trial ends", SOON, || !runs(redis));
    assert_eq!(home.trials(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_server_that_cannot_be_started_is_said_in_one_message() {
    let home = Home::new();
    let ran = home.run(&["try", "--redis-server", "/nowhere/redis-server"], "");
    assert_eq!(ran.code(), 1);
    assert!(ran.stderr.contains("/nowhere/redis-server did not start"), "{}", ran.stderr);
    assert_eq!(home.trials(), Vec::<std::path::PathBuf>::new());
}
