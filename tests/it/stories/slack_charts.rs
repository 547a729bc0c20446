//! Remembered figures as pictures in Slack.

use std::time::Duration;

use rediscue::store::{FiguresRow, Store, StoreSettings};

use crate::world::{
    redis::RedisServer,
    slack::By,
    slack_bot::{SlackBot, SlackBotBuilder},
};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_remembered_of_memory_is_a_picture_beside_its_card() {
    let server = RedisServer::builder().option("maxmemory", "100mb").start();
    let mut bot = SlackBotBuilder::new().service("godel", &server.address().to_string()).start(By::Socket).await;
    bot.fake.slash("U1", "C1", "memory godel");
    bot.fake.answers("C1", 1).await;
    bot.stop().await;
    assert!(bot.fake.state().files.is_empty(), "one look is no course of things");

    let share = |hours: u32| 50.0 - f64::from(hours);
    remember(&bot, "memory", &[("used_memory", &|hours| 5e7 - f64::from(hours) * 1e6), ("memory_percent", &share)])
        .await;
    bot.start().await;
    let (thread, _) = bot.fake.mention("U1", "C1", None, "memory godel");
    bot.fake.wait("the picture is there", |state| state.files.values().any(|file| file.channel.is_some())).await;
    let (top, _) = bot.fake.mention("U1", "C1", Some(&thread), "memory godel");
    bot.fake.wait("the thread has its own", |state| state.files.values().any(|file| file.thread.is_some())).await;
    assert_ne!(top, thread);
    {
        let state = bot.fake.state();
        for file in state.files.values() {
            assert!(file.name.ends_with(".png") && file.bytes.starts_with(b"\x89PNG\r\n\x1a\n"), "{}", file.name);
            // Width and height stand behind the first chunk's name.
            let side = |at: usize| u32::from_be_bytes(file.bytes[at..at + 4].try_into().unwrap());
            assert_eq!((side(16), side(20)), rediscue::chart::SIZE);
            assert_eq!(file.channel.as_deref(), Some("C1"));
        }
        // The line of blocks stays on the card, for whoever sees no pictures.
        assert!(state.by_bot("C1").iter().any(|said| said.words().contains('█')));
    }
    bot.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_hit_ratio_and_latency_over_the_last_looks_are_pictures_too() {
    let server = RedisServer::start();
    server.fill("k", 50, 10);
    let mut bot = SlackBotBuilder::new().service("godel", &server.address().to_string()).start(By::Socket).await;
    bot.stop().await;
    let wave = |middle: f64| move |hours: u32| middle + f64::from(hours % 5);
    remember(&bot, "stats", &[("ops_per_s", &wave(900.0)), ("hit_ratio", &wave(90.0))]).await;
    remember(&bot, "latency", &[("latency_p99_ms", &wave(2.0))]).await;
    bot.start().await;
    for (command, pictures) in [("stats", &["commands.png", "hit-ratio.png"][..]), ("latency", &["latency-p99.png"])] {
        bot.fake.mention("U1", "C1", None, &format!("{command} godel"));
        bot.fake
            .wait(&format!("{command} has its pictures"), |state| {
                let there =
                    |name: &&str| state.files.values().any(|file| file.name == **name && file.channel.is_some());
                pictures.iter().all(there)
            })
            .await;
    }
    assert_eq!(bot.fake.state().files.len(), 3);
    bot.finish().await;
}

/// Puts 24 hours of a command's figures into the store of a bot that does not run.
async fn remember(bot: &SlackBot, command: &str, figures: &[(&str, &dyn Fn(u32) -> f64)]) {
    let store = Store::open(StoreSettings::in_dir(bot.store_dir())).await.unwrap();
    for hours in 1..=24_u32 {
        let values = figures.iter().map(|(name, value)| ((*name).to_owned(), value(hours))).collect();
        let at = jiff::Timestamp::now() - Duration::from_secs(3_600 * u64::from(hours));
        let (service, instance) = ("godel".parse().unwrap(), "main".parse().unwrap());
        store
            .remember(FiguresRow { at, service, instance, question: command.to_owned(), healthy: true, values })
            .await
            .unwrap();
    }
    store.close().await;
}
