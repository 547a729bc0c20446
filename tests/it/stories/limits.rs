//! What people are told when an instance has been asked enough, by all or by
//! commands of one cost, and that nobody else pays for it.

use std::time::Duration;

use rediscue::model::Level;

use crate::world::{
    chat::{Answer, ChatBuilder, collect, send},
    eventually_async,
    redis::RedisServer,
};

/// Watches for a long while, and for a short one.
const VIGIL: &str = r#"
name = "vigil"
summary = "watches for a while"
deadline = "30s"
call_deadline = "30s"
cost = "heavy"

[[steps]]
id = "seen"
monitor = { time = "20s", lines = 100000 }

[card]
healthy = "It was watched."
"#;

fn glimpse() -> String {
    VIGIL.replace("vigil", "glimpse").replace("deadline = \"30s\"", "deadline = \"1s\"").replace("20s", "100ms")
}

fn builder(shop: &RedisServer, search: &RedisServer) -> ChatBuilder {
    ChatBuilder::new()
        .service("shop", &shop.address().to_string(), "")
        .service("search", &search.address().to_string(), "")
        .file("commands/vigil.toml", VIGIL)
        .file("commands/glimpse.toml", &glimpse())
}

#[track_caller]
fn says(answer: &Answer, wanted: &[&str]) {
    for wanted in wanted {
        assert!(answer.text().contains(wanted), "`{wanted}` is not in\n{}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_was_asked_enough_is_said_to_be_to_everybody_and_another_answers() {
    let (shop, search) = (RedisServer::start(), RedisServer::start());
    let mut chat = builder(&shop, &search).limit("instance", 30, 2, 100).start().await;
    chat.ask("ana", "ping shop").await;
    chat.ask("bo", "memory shop").await;
    for who in ["ana", "bo"] {
        let limited = chat.ask(who, "ping shop").await;
        says(&limited, &["shop/main has been asked as much as it may be in a minute", "Nothing was run"]);
        says(&limited, &["ask again in 2 s"]);
        assert!(limited.messages[0].private, "who asked too much is nobody else's business");
    }
    assert_ne!(chat.ask("ana", "ping search").await.text().find("Median"), None);
    let rows = chat.store.journal(10).await.unwrap();
    assert_eq!(rows.iter().filter(|row| row.outcome == "limited").count(), 2, "{rows:?}");
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_an_instance_had_its_heavy_commands_the_card_says_so_and_light_ones_still_run() {
    let (shop, search) = (RedisServer::start(), RedisServer::start());
    let mut chat = builder(&shop, &search).limit("heavy", 2, 1, 100).start().await;
    chat.ask("ana", "glimpse shop").await;
    let limited = chat.ask("bo", "glimpse shop").await;
    says(
        &limited,
        &["shop/main has been asked for as many heavy commands as it may be in a minute", "Nothing was run"],
    );
    says(&limited, &["others than heavy ones still run", "ask again in "]);
    says(&chat.ask("bo", "ping shop").await, &["Median"]);
    says(&chat.ask("bo", "glimpse search").await, &["It was watched."]);
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_seat_is_told_within_the_deadline_what_it_was_busy_with() {
    let (shop, search) = (RedisServer::start(), RedisServer::start());
    let mut chat = builder(&shop, &search).limit("heavy", 1000, 1000, 1).start().await;
    let mut watcher = chat.seat("ana");
    send(&mut watcher, 1, "vigil shop").await;
    let window = chat.bot.window();
    eventually_async("it is watched", Duration::from_secs(10), || {
        let text = window.metrics();
        async move { text.contains("rediscue_commands_in_flight 1") }
    })
    .await;
    let begun = std::time::Instant::now();
    let late = chat.ask("bo", "glimpse shop").await;
    assert!(begun.elapsed() < Duration::from_secs(5), "told after {:?}", begun.elapsed());
    says(&late, &["shop/main was busy with other heavy commands until this one's time was up", "/redis cancel"]);
    says(&chat.ask("bo", "ping shop").await, &["Median"]);
    let running = chat.ask("bo", "cancel").await.text();
    let line = running.lines().find(|line| line.contains("vigil")).expect("the run is listed");
    let cancelled = chat.ask("bo", &format!("cancel {}", line.split(" | ").next().unwrap())).await;
    assert_eq!(cancelled.level(), None::<Level>);
    says(&collect(&mut watcher, 1).await, &["bo cancelled it"]);
    says(&chat.ask("bo", "glimpse shop").await, &["It was watched."]);
    chat.stop().await;
}
