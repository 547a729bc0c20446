//! Answers no platform took, and the bot that owed them gone: its next start says them.

use std::time::Duration;

use crate::world::{
    eventually_async,
    redis::RedisServer,
    slack::{By, state::Prank},
    slack_bot::SlackBotBuilder,
};

#[tokio::test(flavor = "multi_thread")]
async fn what_slack_did_not_take_is_said_by_the_next_start_of_the_bot_once_and_in_order() {
    let server = RedisServer::start();
    let address = server.address().to_string();
    let mut bot = SlackBotBuilder::new().service("godel", &address).service("olumi", &address).start(By::Socket).await;
    // Nothing of them is said before Slack is gone, or they would be edits.
    bot.fake.prank(|method, _| (method == "chat.postMessage").then_some(Prank::Slow(1)));
    bot.fake.slash("U1", "C1", "monitor godel 2s");
    bot.fake.slash("U2", "C1", "monitor olumi 4s");
    bot.fake.wait("they have begun", |state| state.sent.iter().all(|sent| sent.acknowledged.is_some())).await;
    bot.fake.die();
    bot.fake.behave();
    eventually_async("both answers are owed", Duration::from_secs(60), || async {
        bot.metrics().lines().any(|line| line == "rediscue_deliveries_owed_total 2")
    })
    .await;
    bot.stop().await;
    bot.fake.revive().await;
    bot.start().await;
    let said: Vec<String> = bot.fake.answers("C1", 2).await.iter().map(|said| said.words()).collect();
    for (said, service) in said.iter().zip(["godel", "olumi"]) {
        assert!(said.contains(&format!("monitor · {service}")), "{service} is not next: {said}");
    }
    bot.fake.slash("U1", "C1", "ping godel");
    bot.fake.answers("C1", 3).await;
    assert_eq!(bot.fake.state().by_bot("C1").len(), 3, "nothing was said twice");
    bot.finish().await;
}
