//! Who waits for whom: a slow instance costs another nothing, and the same
//! question asked by many at one moment is one question to the server.

use std::time::{Duration, Instant};

use rediscue::model::Level;

use crate::world::{
    chat::{ChatBuilder, ask},
    proxy::Proxy,
    redis::RedisServer,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_instance_costs_another_nothing() {
    let (far, near) = (RedisServer::start(), RedisServer::start());
    let proxy = Proxy::before(&far.address()).await;
    let mut chat = ChatBuilder::new()
        .service("far", &proxy.address().to_string(), "")
        .service("near", &near.address().to_string(), "")
        .start()
        .await;
    assert_eq!(chat.ask("ana", "ping near").await.level(), Some(Level::Ok));
    proxy.delay(Duration::from_millis(400));
    let waiting: Vec<_> = (0..8)
        .map(|_| {
            let mut link = chat.seat("bo");
            tokio::spawn(async move { ask(&mut link, 1, "memory far").await })
        })
        .collect();
    let begun = Instant::now();
    assert_eq!(chat.ask("ana", "memory near").await.level(), Some(Level::Note));
    assert!(begun.elapsed() < Duration::from_millis(400), "it took {:?}", begun.elapsed());
    for told in waiting {
        let text = told.await.unwrap().text();
        assert!(text.contains("Memory: "), "{text}");
    }
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_question_of_ten_at_one_moment_is_asked_once() {
    let server = RedisServer::start();
    let proxy = Proxy::before(&server.address()).await;
    let mut chat = ChatBuilder::new().service("shop", &proxy.address().to_string(), "").start().await;
    chat.ask("ana", "persistence shop").await;
    // Slow enough that all ten have asked before the first is answered.
    proxy.delay(Duration::from_millis(300));
    server.run::<()>(&["CONFIG", "RESETSTAT"]);
    let asking: Vec<_> = (0..10)
        .map(|_| {
            let mut link = chat.seat("ana");
            tokio::spawn(async move { ask(&mut link, 1, "persistence shop").await.text() })
        })
        .collect();
    for told in asking {
        let text = told.await.unwrap();
        assert!(text.contains("Last snapshot"), "{text}");
    }
    let told = server.info("cmdstat_info");
    let calls: u32 = told.trim_start_matches("calls=").split(',').next().unwrap().parse().unwrap();
    assert!(calls <= 3, "ten people caused {calls} calls of INFO");
    chat.stop().await;
}
