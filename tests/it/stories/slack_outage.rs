//! Slack away for a whole minute, and the five uses of a response URL.

use std::time::Duration;

use crate::world::{
    eventually_async,
    redis::RedisServer,
    slack::{By, state::Prank},
    slack_bot::SlackBotBuilder,
};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_decided_in_a_minute_without_slack_is_said_after_it_once_and_in_that_order() {
    let server = RedisServer::start();
    let address = server.address().to_string();
    let mut builder = SlackBotBuilder::new();
    for name in ["last", "middle", "first"] {
        builder = builder.service(name, &address);
    }
    let mut bot = builder.start(By::Socket).await;
    // Nothing of them is said before Slack is gone, or they would be edits.
    bot.fake.prank(|method, _| (method == "chat.postMessage").then_some(Prank::Slow(1)));
    for (service, seconds) in [("last", 20), ("middle", 14), ("first", 8)] {
        bot.fake.slash("U1", "C1", &format!("monitor {service} {seconds}s"));
    }
    bot.fake.wait("they have begun", |state| state.sent.iter().all(|sent| sent.acknowledged.is_some())).await;
    bot.fake.die();
    bot.fake.behave();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!bot.ailments().is_empty(), "a minute without Slack is an ailment");
    bot.fake.revive().await;
    let answers = bot.fake.answers("C1", 3).await;
    eventually_async("the bot is well again", Duration::from_secs(60), || async { bot.ailments().is_empty() }).await;
    bot.fake.slash("U2", "C1", "ping first");
    bot.fake.answers("C1", 4).await;
    let said: Vec<String> = answers.iter().map(|said| said.words()).collect();
    for (said, service) in said.iter().zip(["first", "middle", "last"]) {
        assert!(said.contains(&format!("monitor · {service}")), "{service} is not next: {said}");
    }
    assert_eq!(bot.fake.state().by_bot("C1").len(), 4);
    bot.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_has_four_uses_of_a_response_url_and_the_answer_the_last() {
    let server = RedisServer::start();
    let bot = SlackBotBuilder::new().service("godel", &server.address().to_string()).start(By::Socket).await;
    bot.fake.expect("not_in_channel");
    bot.fake.slash("U1", "C9", "monitor godel 25s");
    let answers = bot.fake.answers("C9", 1).await;
    assert_eq!(answers.len(), 1);
    assert!(answers[0].words().contains("monitor · godel"), "{}", answers[0].words());
    // It was said once and edited three times before the answer: what progress came after was dropped.
    assert_eq!((bot.fake.state().uses(), answers[0].before.len()), (vec![5], 4));
    // The sixth that would be said is an answer to something else, by its own URL.
    bot.fake.slash("U1", "C9", "ping godel");
    bot.fake.answers("C9", 2).await;
    bot.finish().await;
}
