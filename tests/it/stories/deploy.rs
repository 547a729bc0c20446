//! What `deploy/` ships is what the bot needs, and no more.

use std::{collections::BTreeSet, path::Path, process::Command};

use rediscue::diagnosis::{self, LookVerdict};

use crate::world::redis::RedisServer;

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

/// What a connection needs for itself or to be told which names are written, and MONITOR, which is a look of its own kind.
const BESIDES: &[&str] = &[
    "asking",
    "auth",
    "client setname",
    "client tracking",
    "hello",
    "monitor",
    "quit",
    "readonly",
    "readwrite",
    "reset",
    "select",
    "subscribe",
];

#[test]
fn the_look_user_is_granted_looks_only() {
    for rule in granted("rediscue-look") {
        assert!(BESIDES.contains(&rule.as_str()) || looks(&rule), "{rule} is no look");
    }
}

/// Every command and subcommand of a server, with words enough to be well-formed.
fn commands(server: &RedisServer) -> Vec<(String, Vec<String>)> {
    fn entry(reply: &redis::Value, into: &mut Vec<(String, Vec<String>)>) {
        let redis::Value::Array(fields) = reply else { panic!("{reply:?}") };
        let (name, arity): (String, i64) =
            (redis::from_redis_value(fields[0].clone()).unwrap(), redis::from_redis_value(fields[1].clone()).unwrap());
        if let Some(redis::Value::Array(subcommands)) = fields.get(9).filter(|v| **v != redis::Value::Array(vec![])) {
            subcommands.iter().for_each(|subcommand| entry(subcommand, into));
            return;
        }
        let mut argv: Vec<String> = name.split('|').map(str::to_owned).collect();
        argv.resize(argv.len().max(arity.unsigned_abs() as usize), "1".into());
        into.push((name.replace('|', " "), argv));
    }
    let redis::Value::Array(all) = server.run(&["COMMAND"]) else { panic!("COMMAND answers a list") };
    let mut commands = Vec::new();
    all.iter().for_each(|one| entry(one, &mut commands));
    commands
}

#[test]
fn a_server_lets_the_look_user_look_and_nothing_else() {
    let plain = RedisServer::start();
    if plain.info("redis_version").starts_with("6.") {
        println!("skipped: ACL DRYRUN comes with Redis 7.0");
        return;
    }
    let text = shipped("redis-acl.conf");
    let rules = text.lines().filter_map(|line| line.strip_prefix("user "));
    let server = rules.fold(RedisServer::builder(), |server, rule| server.user(rule)).start();
    let known = granted("rediscue-look");
    let mut wrong = Vec::new();
    for (name, argv) in commands(&server) {
        let words: Vec<&str> =
            ["ACL", "DRYRUN", "rediscue-look"].into_iter().chain(argv.iter().map(String::as_str)).collect();
        let allowed = server.run::<String>(&words) == "OK";
        let may = looks(&name) || BESIDES.contains(&name.as_str());
        if allowed && !may {
            wrong.push(format!("{name} is allowed and is no look"));
        }
        // Later servers know more looks than the file grants; its comment says which are worth adding.
        let spared = name == "lolwut" || name.ends_with(" help");
        if !allowed && looks(&name) && !spared && plain.info("redis_version").starts_with("7.0.") {
            wrong.push(format!("{name} is a look and refused"));
        }
        // It may listen where names are told, and nowhere else.
        if !allowed && known.contains(&name) && name != "subscribe" {
            wrong.push(format!("{name} is granted and refused all the same"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let hears = |channel| server.run::<String>(&["ACL", "DRYRUN", "rediscue-look", "SUBSCRIBE", channel]) == "OK";
    assert!(hears("__redis__:invalidate") && !hears("orders"));
}

#[test]
fn the_touch_user_cannot_raise_itself() {
    let touch = granted("rediscue-touch");
    for never in
        ["acl setuser", "acl load", "module load", "debug", "eval", "shutdown", "migrate", "flushall", "monitor"]
    {
        assert!(!touch.contains(never), "{never}");
    }
    // What it changed it must be able to look at; it is no plan of its own that it would have to keep true.
    let lacks: Vec<String> = granted("rediscue-look").difference(&touch).cloned().collect();
    assert_eq!(lacks, ["client tracking", "monitor", "subscribe"]);
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
