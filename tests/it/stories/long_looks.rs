//! A look that takes its time says how far it is, how fast, and for how long still.

use std::time::Duration;

use rediscue::model::{Block, Card, Progress};

use crate::world::{
    chat::{ChatBuilder, ask},
    proxy::Proxy,
    redis::RedisServer,
};

fn progress(card: &Card) -> Option<&Progress> {
    card.blocks.iter().find_map(|block| match block {
        Block::Progress(progress) => Some(progress),
        _ => None,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_walk_over_many_keys_shows_its_progress_with_rate_and_time_left_and_becomes_the_answer() {
    const KEYS: usize = 30_000;
    let server = RedisServer::start();
    server.fill("session", KEYS, 100);
    // Far enough away that the walk takes seconds, whatever this machine can do.
    let proxy = Proxy::before(&server.address()).await;
    proxy.delay(Duration::from_millis(1));
    let chat = ChatBuilder::new()
        .service("shop", &proxy.address().to_string(), "")
        .file("bot.toml", "[deadlines]\nprogress = \"100ms\"\n")
        .start()
        .await;
    let mut link = chat.seat("ana");
    let answer = ask(&mut link, 1, "memkeys shop").await;
    assert_eq!(answer.messages.len(), 1, "one message from the first word to the last");
    let told: Vec<&Progress> = answer.edited.iter().filter_map(|(_, card)| progress(card)).collect();
    let whole: Vec<&&Progress> = told
        .iter()
        .filter(|progress| progress.total.is_some() && progress.rate.is_some() && progress.left_s.is_some())
        .collect();
    assert!(whole.len() >= 2, "{told:?}");
    for pair in whole.windows(2) {
        assert!(pair[0].done <= pair[1].done, "it goes forward: {told:?}");
    }
    let (first, last) = (whole[0], whole[whole.len() - 1]);
    assert!(first.done < last.done && first.unit == "keys", "{told:?}");
    assert!(whole.iter().all(|progress| progress.rate > Some(0.0) && progress.left_s < Some(600.0)), "{told:?}");
    assert!(progress(answer.card()).is_none(), "the answer stands where the progress stood");
    assert!(answer.text().contains("30,000 keys"), "{}", answer.text());
    chat.stop().await;
}
