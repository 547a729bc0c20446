//! What is worked out from what the bot remembers of earlier looks.

use std::collections::BTreeMap;

use jiff::{Timestamp, ToSpan as _};
use rediscue::{model::Level, store::FiguresRow};

use crate::world::{
    chat::{Chat, ChatBuilder},
    redis::RedisServer,
};

const MIB: f64 = (1 << 20) as f64;

/// A look of so many minutes ago, as `status` remembers it.
async fn remember(chat: &Chat, minutes: i64, used: f64) {
    let row = FiguresRow {
        at: Timestamp::now() - minutes.minutes(),
        service: "shop".parse().unwrap(),
        instance: "main".parse().unwrap(),
        question: "status".to_owned(),
        healthy: true,
        values: BTreeMap::from([("used_memory".to_owned(), used)]),
    };
    chat.store.remember(row).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn capacity_tells_the_time_to_full_from_the_looks_of_the_last_day() {
    let server = RedisServer::builder().option("maxmemory", "100mb").start();
    server.fill("session", 2_000, 10_000);
    let used: f64 = server.info("used_memory").parse().unwrap();
    let mut chat = ChatBuilder::new().service("shop", &server.address().to_string(), "").start().await;
    let unknown = chat.ask("ana", "capacity shop").await;
    assert!(unknown.text().contains("a trend needs looks over at least ten minutes"), "{}", unknown.text());

    // Half a MiB an hour, an hour apart, with one look that a flush made small.
    for hour in 1..=24 {
        let then = if hour == 7 { MIB } else { used - 0.5 * MIB * hour as f64 };
        remember(&chat, hour * 60, then).await;
    }
    let slowly = chat.ask("ana", "capacity shop").await;
    assert_eq!(slowly.level(), Some(Level::Ok), "{}", slowly.text());
    let days = (100.0 * MIB - used) / (0.5 * MIB) / 24.0;
    let told = format!("{} d", days.floor());
    assert!(slowly.text().contains("KiB an hour, over "), "{}", slowly.text());
    let line = slowly.text().lines().find(|line| line.starts_with("Full in: ")).expect("it grows").to_owned();
    assert!(line.contains(&told), "{told}: {line}");
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn capacity_warns_when_memory_is_full_before_the_next_day() {
    let server = RedisServer::builder().option("maxmemory", "100mb").start();
    server.fill("session", 4_000, 10_000);
    let used: f64 = server.info("used_memory").parse().unwrap();
    let mut chat = ChatBuilder::new().service("shop", &server.address().to_string(), "").start().await;
    for tick in 1..=12 {
        remember(&chat, tick * 15, used - MIB * tick as f64).await;
    }
    // Four MiB an hour into what is left of a hundred.
    let hours = (100.0 * MIB - used) / (4.0 * MIB);
    let answer = chat.ask("ana", "capacity shop").await;
    let text = answer.text();
    assert_eq!(answer.level(), Some(Level::Warn), "{text}");
    assert!((12.0..72.0).contains(&hours), "the example is one to be warned of");
    assert!(
        text.contains("at the present rate memory is full in") && text.contains("writes will be refused"),
        "{text}"
    );
    let line = text.lines().find(|line| line.starts_with("Full in: ")).expect("it grows");
    assert!(line.contains(&format!("{} h", hours.floor())), "{hours}: {line}");
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_are_compared_between_answers_to_the_same_question_only() {
    let server = RedisServer::start();
    server.fill("session", 300, 20);
    server.fill("tenant:acme", 100, 20);
    let node = server.address().to_string();
    let mut chat = ChatBuilder::new().service("shop", &node, "").start().await;
    let keys =
        |text: &str| text.lines().find(|line| line.starts_with("Keys: ")).map(str::to_owned).expect("keys are counted");
    let first = keys(&chat.ask("ana", "memkeys shop").await.text());
    for other in ["tenant:*".to_owned(), "nosuch*".to_owned(), format!("--node {node}"), "--separators /".to_owned()] {
        let told = keys(&chat.ask("ana", &format!("memkeys shop {other}")).await.text());
        assert!(!told.contains("since"), "{other}: {told}");
    }
    let again = keys(&chat.ask("ana", "memkeys shop").await.text());
    assert_eq!(first.split(' ').nth(1), Some("400"));
    assert!(again.starts_with("Keys: 400") && !again.contains("% since"), "{again}");
    // A chart of all keys has no point of a part of them.
    let (service, instance) = ("shop".parse().unwrap(), "main".parse().unwrap());
    let points = chat.store.series(&service, &instance, None, "keys", Timestamp::UNIX_EPOCH).await.unwrap();
    assert_eq!(points.iter().map(|(_, keys)| *keys).collect::<Vec<_>>(), [400.0, 400.0]);
    // The same question in other words is the same one.
    for i in 0..50 {
        server.run::<u64>(&["DEL", &format!("tenant:acme:{i}")]);
    }
    let told = keys(&chat.ask("ana", "prefixes tenant:* shop --top 12").await.text());
    assert!(told.starts_with("Keys: ") && told.contains("since"), "{told}");
    chat.stop().await;
}
