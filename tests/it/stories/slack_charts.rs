//! Remembered figures as pictures in Slack.

use std::collections::BTreeMap;

use rediscue::store::{FiguresRow, Store, StoreSettings};

use crate::world::{redis::RedisServer, slack::By, slack_bot::SlackBotBuilder};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_remembered_of_memory_is_a_picture_beside_its_card() {
    let server = RedisServer::builder().option("maxmemory", "100mb").start();
    let mut bot = SlackBotBuilder::new().service("godel", &server.address().to_string()).start(By::Socket).await;
    bot.fake.slash("U1", "C1", "memory godel");
    bot.fake.answers("C1", 1).await;
    bot.stop().await;
    assert!(bot.fake.state().files.is_empty(), "one look is no course of things");

    let store = Store::open(StoreSettings::in_dir(bot.store_dir())).await.unwrap();
    for hours in 1..=24 {
        let values = BTreeMap::from([
            ("used_memory".to_owned(), 5e7 - f64::from(hours) * 1e6),
            ("memory_percent".to_owned(), 50.0 - f64::from(hours)),
        ]);
        let at = jiff::Timestamp::now() - std::time::Duration::from_secs(3_600 * hours as u64);
        let (service, instance) = ("godel".parse().unwrap(), "main".parse().unwrap());
        store
            .remember(FiguresRow { at, service, instance, command: "memory".to_owned(), healthy: true, values })
            .await
            .unwrap();
    }
    store.close().await;
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
