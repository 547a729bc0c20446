//! A walk over a keyspace that was stopped goes on where it was, also after the bot was started
//! again; and the keys a survey names can be looked at by the handles it shows.

use std::time::Duration;

use super::keyspace_survey::{fill, weigh};
use crate::world::{
    chat::{ChatBuilder, ask},
    eventually,
    redis::RedisServer,
};

/// How many times the server was asked for a key's bytes.
fn weighed(server: &RedisServer) -> u64 {
    let stats: String = server.run(&["INFO", "commandstats"]);
    // Before 7.0 subcommands are not counted apart; MEMORY is asked for nothing else here.
    let calls = |name: &str| {
        let found = stats.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":calls="))?;
        found.split(',').next()?.parse().ok()
    };
    calls("cmdstat_memory|usage").or_else(|| calls("cmdstat_memory")).unwrap_or(0)
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn builder(server: &RedisServer) -> ChatBuilder {
    ChatBuilder::new()
        .service("shop", &server.address().to_string(), "")
        // The walk would end within the usual grace.
        .file("bot.toml", "[deadlines]\nstop = \"100ms\"\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_walk_stopped_in_the_middle_goes_on_in_the_next_start_of_the_bot() {
    let server = RedisServer::start();
    let truth = fill(&server, 150_000);
    let bytes = weigh(&server);
    server.run::<()>(&["CONFIG", "RESETSTAT"]);
    let chat = builder(&server).start().await;
    let mut link = chat.seat("ana");
    let asking = tokio::spawn(async move { ask(&mut link, 1, "bigkeys shop").await });
    eventually("a third of it is counted", Duration::from_secs(60), || weighed(&server) > 70_000);
    let next = chat.leave().await;
    let answer = asking.await.unwrap();
    assert!(answer.text().contains("stopped before this was answered"), "{}", answer.text());
    let before = weighed(&server);
    assert!(before < 165_000, "it was not stopped in the middle: {before}");

    let mut chat = next.start().await;
    let text = chat.ask("ana", "/redis bigkeys shop").await.text();
    assert!(text.contains("went on where an earlier walk was stopped"), "{text}");
    assert!(text.contains("every key counted"), "{text}");
    assert!(text.contains(&format!("{} keys hold", grouped(truth.keys))), "{text}");
    let again = weighed(&server) - before;
    assert!(again < truth.keys - 40_000, "{again} keys were asked about again");
    assert_eq!(weigh(&server), bytes, "nothing has changed meanwhile");
    // It has come to its end: whoever asks now begins anew.
    let text = chat.ask("ana", "/redis bigkeys shop").await.text();
    assert!(!text.contains("went on where"), "{text}");
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_walk_does_not_go_on_in_a_server_that_was_started_again() {
    let mut server = RedisServer::start();
    fill(&server, 100_000);
    server.run::<()>(&["CONFIG", "RESETSTAT"]);
    let chat = builder(&server).start().await;
    let mut link = chat.seat("ana");
    let asking = tokio::spawn(async move { ask(&mut link, 1, "bigkeys shop").await });
    eventually("a half of it is counted", Duration::from_secs(60), || weighed(&server) > 60_000);
    let next = chat.leave().await;
    asking.await.unwrap();
    server.restart();
    server.fill("other", 500, 10);
    let mut chat = next.start().await;
    let text = chat.ask("ana", "/redis bigkeys shop").await.text();
    assert!(text.contains("500 keys hold") && !text.contains("went on where"), "{text}");
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_a_survey_names_can_be_inspected_by_their_handles() {
    let server = RedisServer::start();
    server.fill("session", 2_000, 20);
    server.run::<()>(&["SET", "session:4f5e6d7c8b9a0f1e2d3c4b5a69788796", &"x".repeat(9_000)]);
    let mut chat = ChatBuilder::new().service("shop", &server.address().to_string(), "").start().await;
    let text = chat.ask("ana", "/redis bigkeys shop --top 1").await.text();
    let handle = text.split_whitespace().find(|word| word.starts_with("session:~")).expect("the largest key is named");
    server.run::<()>(&["CONFIG", "RESETSTAT"]);
    let text = chat.ask("ana", &format!("/redis inspect {handle} shop")).await.text();
    assert!(text.contains("string") && text.contains("8.79 KiB"), "{text}");
    assert!(!text.contains("4f5e6d7c"), "{text}");
    let stats: String = server.run(&["INFO", "commandstats"]);
    assert!(!stats.contains("cmdstat_scan:"), "it was known, and need not be searched for");
    chat.stop().await;
}
