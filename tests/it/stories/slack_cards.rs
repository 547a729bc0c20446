//! Every diagnostic's card is one that Slack takes.

use rediscue::runbook::{self, Kind};

use crate::world::{redis::RedisServer, slack::By, slack_bot::SlackBotBuilder};

#[tokio::test(flavor = "multi_thread")]
async fn every_diagnostic_is_answered_with_a_card_that_slack_takes() {
    let server = RedisServer::builder().option("maxmemory", "100mb").start();
    for prefix in ["session:", "<!channel>:", "*bold*:", "`code`:"] {
        server.fill(prefix, 300, 50);
    }
    for at in 0..300 {
        server.run::<i64>(&["RPUSH", "queue:jobs", &"x".repeat(at)]);
    }
    server.run::<String>(&["XADD", "stream:events", "*", "a", "1"]);
    let bot = SlackBotBuilder::new().service("godel", &server.address().to_string()).start(By::Socket).await;
    let commands: Vec<String> = runbook::built_in()
        .into_iter()
        .filter(|command| matches!(command.kind, Kind::Diagnostic(_)))
        .map(|command| command.name)
        .collect();
    assert!(commands.len() > 25, "{commands:?}");
    for (at, name) in commands.iter().enumerate() {
        let channel = format!("C{}", 200 + at);
        bot.fake.state().channel(&channel, &["U1", "UBOT"]);
        let rest = match name.as_str() {
            "inspect" => " session:1",
            "stream" => " stream:events",
            "monitor" => " 1s",
            _ => "",
        };
        bot.fake.slash("U1", &channel, &format!("{name} godel{rest}"));
        bot.fake.answers(&channel, 1).await;
        let state = bot.fake.state();
        assert!(state.refusals.is_empty(), "{name}: {:?}", state.refusals);
        let said = state.by_bot(&channel)[0];
        let words = said.words();
        assert!(!words.contains("did not understand"), "{name}: {words}");
        // One line of a table fits a phone.
        let widest = said.blocks.iter().flat_map(preformatted).map(|line| line.chars().count()).max().unwrap_or(0);
        assert!(widest <= 120, "{name}: a line of {widest} characters");
    }
    bot.finish().await;
}

/// The lines of monospaced text in a block.
fn preformatted(block: &serde_json::Value) -> Vec<String> {
    let elements = block["elements"].as_array().into_iter().flatten();
    elements
        .filter(|element| element["type"] == "rich_text_preformatted")
        .flat_map(|element| element["elements"].as_array().cloned().unwrap_or_default())
        .flat_map(|text| text["text"].as_str().unwrap_or_default().lines().map(str::to_owned).collect::<Vec<_>>())
        .collect()
}
