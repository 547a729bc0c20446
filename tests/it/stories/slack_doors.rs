//! Who gets in: signatures, secrets, and what the log says of either.

use serde_json::json;

use crate::world::{
    redis::RedisServer,
    slack::{
        By, SIGNING_SECRET,
        socket::{request, sign},
    },
    slack_bot::SlackBotBuilder,
};

#[tokio::test(flavor = "multi_thread")]
async fn only_what_slack_signed_just_now_is_heard() {
    let server = RedisServer::start();
    let bot = SlackBotBuilder::new().service("godel", &server.address().to_string()).start(By::Http).await;
    let id = bot.fake.slash("U1", "C1", "status godel");
    bot.fake.answers("C1", 1).await;
    let mut payload = bot.fake.state().sent[id].payload.clone();
    let now = jiff::Timestamp::now().as_second();
    let client = reqwest::Client::new();
    let base = bot.fake.hook();
    let mut fresh = 0;
    let mut post = async |timestamp: Option<i64>, secret: &str, signed_at: i64, tamper: bool| {
        fresh += 1;
        payload["trigger_id"] = json!(format!("99.{fresh}"));
        let (path, body, content) = request("slash_commands", &payload);
        let signature = sign(secret, signed_at, &body);
        let body = if tamper { body.replace("status", "memory") } else { body };
        let mut sent = client.post(format!("{base}{path}")).header("content-type", content).body(body);
        if let Some(timestamp) = timestamp {
            sent = sent.header("x-slack-request-timestamp", timestamp.to_string());
            if !secret.is_empty() {
                sent = sent.header("x-slack-signature", signature);
            }
        }
        sent.send().await.unwrap().status().as_u16()
    };
    assert_eq!(post(None, "x", now, false).await, 401, "not signed");
    assert_eq!(post(Some(now), "another", now, false).await, 401, "by another secret");
    assert_eq!(post(Some(now), SIGNING_SECRET, now, true).await, 401, "changed on the way");
    assert_eq!(post(Some(now), SIGNING_SECRET, now - 1, false).await, 401, "stamped anew");
    assert_eq!(post(Some(now - 400), SIGNING_SECRET, now - 400, false).await, 401, "old");
    assert_eq!(post(Some(now + 400), SIGNING_SECRET, now + 400, false).await, 401, "from the future");
    drop(post);
    // The same request again, to the letter.
    let (path, body, content) = request("slash_commands", &payload);
    let signature = sign(SIGNING_SECRET, now, &body);
    for wanted in [200, 401] {
        let sent = client
            .post(format!("{base}{path}"))
            .header("content-type", content)
            .header("x-slack-request-timestamp", now.to_string())
            .header("x-slack-signature", &signature)
            .body(body.clone());
        assert_eq!(sent.send().await.unwrap().status().as_u16(), wanted);
    }
    bot.fake.answers("C1", 2).await;
    bot.finish().await;
}
