//! The way in when chat itself is down: `rediscue console`, through the running bot's socket.

use std::{os::unix::fs::PermissionsExt, time::Duration};

use nix::{
    sys::signal::Signal,
    unistd::{Uid, User},
};

use crate::world::{
    eventually,
    program::{Home, Program},
};

const SOON: Duration = Duration::from_secs(20);

/// A bot that nobody can reach but through its console.
fn serve(home: &Home, policy: &str) -> (Program, String) {
    let dir = home.path().join("config");
    std::fs::create_dir_all(dir.join("services")).unwrap();
    let state = home.path().display();
    let socket = format!("{state}/run/console.sock");
    std::fs::write(
        dir.join("bot.toml"),
        format!(
            "[store]\npath = \"{state}/store/rediscue.db\"\nkey_file = \"{state}/store/journal.key\"\n\
             [web]\nenabled = false\n[console]\nsocket = \"{socket}\"\n"
        ),
    )
    .unwrap();
    std::fs::write(dir.join("policy.toml"), policy).unwrap();
    let program = home.start(&["serve", "--config", &dir.display().to_string()]);
    eventually("the bot listens", SOON, || std::os::unix::net::UnixStream::connect(&socket).is_ok());
    (program, socket)
}

fn me() -> String {
    User::from_uid(Uid::effective()).unwrap().unwrap().name
}

#[test]
fn one_is_whoever_the_operating_system_says() {
    let home = Home::new();
    let policy = format!("keepers = [\"ada\"]\n[people.ada]\nname = \"Ada\"\nroles = []\nconsole = [\"{}\"]\n", me());
    let (bot, socket) = serve(&home, &policy);
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);

    let ran = home.run(&["console", "--socket", &socket, "--output", "json"], "whoami\n:as bo\nservices\n");
    assert_eq!(ran.code(), 1);
    assert!(ran.stderr.contains("line 2 was not answered: :as bo"), "{}", ran.stderr);
    let said = ran.json();
    assert_eq!(said.len(), 2);
    assert!(said[0]["card"].to_string().contains("Ada"), "{}", said[0]);

    bot.signal(Signal::SIGTERM);
    assert_eq!(bot.end().code(), 0);
    assert!(!std::path::Path::new(&socket).exists());
    let ran = home.run(&["console", "--socket", &socket], "whoami\n");
    assert_eq!(ran.code(), 1);
    assert!(ran.stderr.contains("no bot listens"), "{}", ran.stderr);
}

#[test]
fn a_stranger_is_answered_too() {
    let home = Home::new();
    let (_bot, socket) = serve(&home, "keepers = [\"ada\"]\n[people.ada]\nconsole = [\"somebody-else\"]\n");
    let ran = home.run(&["console", "--socket", &socket, "--output", "json"], "services\n");
    assert_eq!(ran.code(), 0, "{}", ran.stderr);
    assert_eq!(ran.json().len(), 1);
}

#[test]
fn a_script_whose_bot_dies_is_told_which_line_was_not_answered() {
    let home = Home::new();
    let (mut bot, socket) = serve(&home, "keepers = [\"ada\"]\n[people.ada]\nconsole = [\"ada\"]\n");
    let mut script = home.start(&["console", "--socket", &socket]);
    script.type_line("services\n");
    script.says("m1");
    bot.signal(Signal::SIGKILL);
    bot.wait();
    script.type_line("services\n");
    let ran = script.end();
    assert_eq!(ran.code(), 1);

    // The dead bot's socket is in nobody's way.
    let (_bot, socket) = serve(&home, "keepers = [\"ada\"]\n[people.ada]\nconsole = [\"ada\"]\n");
    assert_eq!(home.run(&["console", "--socket", &socket], "services\n").code(), 0);
}
