//! The diagnostics the program comes with, as files.

use std::path::Path;

use rediscue::{
    diagnosis::{
        LookVerdict, classify,
        looks::{listed, names_key},
    },
    model::{Block, Card},
    runbook::{Catalogue, parse_file},
};

use crate::world::{chat::ChatBuilder, redis::RedisServer};

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

/// What of a card is the same at every look: numbers are masked, and of tables only their headings are kept.
fn still(card: &Card) -> String {
    let numbers =
        regex::Regex::new(r"[<×+-]?\d[\d.,]*( ?(%|ms|s|min|h|d|B|KiB|MiB|GiB)\b| %)?( \d+ (s|min|h)\b)?(/s)?").unwrap();
    let mask = |text: &str| numbers.replace_all(text, "N").into_owned();
    let mut lines = vec![card.title.clone(), format!("level {:?}", card.level)];
    for block in &card.blocks {
        match block {
            Block::Fields(fields) => {
                lines.extend(fields.iter().map(|field| format!("  {}: {}", field.label, mask(&field.value))))
            }
            Block::Table(table) => {
                let columns: Vec<&str> = table.columns.iter().map(|column| column.title.as_str()).collect();
                lines.push(format!("  [{}] {}", table.title.as_deref().unwrap_or_default(), columns.join(" | ")));
            }
            Block::Findings(findings) => {
                lines.extend(
                    findings
                        .iter()
                        .map(|finding| format!("  {}: {}", finding.level.word(), mask(&finding.what.to_plain()))),
                );
            }
            Block::Text(text) => lines.push(format!("  {}", mask(&text.to_plain()))),
            _ => {}
        }
    }
    // How much there is to read on follows the server's version; that it can be read on is told elsewhere.
    let own = card.actions.iter().filter(|action| !action.command.starts_with("page "));
    lines.extend(own.map(|action| format!("  ({}) {}", action.label, action.command)));
    lines.join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_diagnostic_has_its_card() {
    let server = RedisServer::builder()
        .option("maxmemory", "100mb")
        .option("slowlog-log-slower-than", "1000000")
        .option("latency-monitor-threshold", "100")
        .start();
    server.fill("session", 500, 100);
    // An event for certain; otherwise there is one only where the machine is slow.
    server.run::<()>(&["DEBUG", "SLEEP", "0.12"]);
    server.run::<String>(&["SET", "session:one", r#"{"createdAt":1,"roles":["a"]}"#]);
    server.run::<i64>(&["RPUSH", "jobs:pending", "a", "b"]);
    let profile = "[patterns.sessions]\nglob = \"session:*\"\nttl = \"24h\"\nabout = \"logins\"\n\n[queues.pending]\nkey = \"jobs:pending\"\nwarn = 10\ncrit = 100\n\n[declared]\nmaxmemory = \"100mb\"\n\n[[contacts]]\nrole = \"primary on-call\"\nwho = \"the team\"\n";
    let mut chat = ChatBuilder::new().service("shop", &server.address().to_string(), profile).start().await;
    let mut cards = Vec::new();
    for command in [
        "status",
        "memory",
        "clients",
        "latency --samples 20",
        "slowlog",
        "inspect session:one",
        "queue",
        "stats",
        "keyspace",
        "commandstats",
        "replication",
        "persistence",
        "config maxmemory*",
        "monitor 1s",
        "acl-log",
        "connectivity",
        "health",
        "metrics",
        "logs",
        "drift",
        "capacity",
        "profile",
        "doctor",
    ] {
        let answer = chat.ask("bo", &format!("{command} shop")).await;
        let footer = answer.card().footer.clone().unwrap_or_default();
        assert!(!footer.contains("incomplete"), "{command}: {footer}");
        // What the doctor finds depends on how busy the machine is.
        if command != "doctor" {
            cards.push(still(answer.card()));
        }
    }
    // What other versions tell besides, or do not, is theirs.
    if server.info("redis_version").starts_with("7.0") {
        insta::assert_snapshot!(cards.join("\n\n"));
    }
    chat.stop().await;
}

fn words(value: &redis::Value) -> Vec<redis::Value> {
    match value {
        redis::Value::Array(list) | redis::Value::Set(list) => list.clone(),
        _ => Vec::new(),
    }
}

fn word(value: &redis::Value) -> String {
    match value {
        redis::Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        redis::Value::SimpleString(text) => text.clone(),
        _ => String::new(),
    }
}

#[test]
fn every_command_of_a_real_server_was_judged_and_no_write_is_a_look() {
    let server = RedisServer::start();
    let mut waiting = words(&server.run::<redis::Value>(&["COMMAND"]));
    assert!(waiting.len() > 200, "COMMAND lists {} commands", waiting.len());
    let mut trouble = Vec::new();
    while let Some(command) = waiting.pop() {
        let command = words(&command);
        let subcommands = command.get(9).map(words).unwrap_or_default();
        let name = command.first().map(word).unwrap_or_default().to_ascii_lowercase();
        if !subcommands.is_empty() {
            waiting.extend(subcommands);
            continue;
        }
        let write = command.get(2).map(words).unwrap_or_default().iter().any(|flag| word(flag) == "write");
        let first_key = match command.get(3) {
            Some(redis::Value::Int(at)) => *at,
            _ => 0,
        };
        let argv: Vec<String> = name.split('|').map(str::to_owned).collect();
        match classify(&argv) {
            LookVerdict::Look { .. } if write => trouble.push(format!("{name} writes and is a look")),
            // Modules bring commands of their own, which are not sent.
            // Before 7.0 a command is listed without its subcommands; these two answer what speaks HTTP.
            _ if listed().any(|judged| judged.starts_with(&format!("{name} "))) => {}
            _ if ["host:", "post"].contains(&name.as_str()) => {}
            LookVerdict::Look { .. } if names_key(&argv) != (first_key == i64::try_from(argv.len()).unwrap()) => {
                trouble.push(format!("{name} has its first key at {first_key}"));
            }
            LookVerdict::NotListed if !name.contains('.') => trouble.push(format!("{name} is not in the table")),
            _ => {}
        }
    }
    assert!(trouble.is_empty(), "{}", trouble.join("\n"));
}
