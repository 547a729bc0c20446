//! Asking in Slack and reading the answer there.

use crate::world::{
    redis::RedisServer,
    slack::By,
    slack_bot::{SlackBot, SlackBotBuilder},
};

async fn bot(by: By, server: &RedisServer) -> SlackBot {
    SlackBotBuilder::new().service("godel", &server.address().to_string()).start(by).await
}

/// Each of these is lived through over both transports.
macro_rules! over_both {
    ($($story:ident),* $(,)?) => {
        mod by_socket {
            $(#[tokio::test(flavor = "multi_thread")] async fn $story() { super::$story(super::By::Socket).await; })*
        }
        mod by_http {
            $(#[tokio::test(flavor = "multi_thread")] async fn $story() { super::$story(super::By::Http).await; })*
        }
    };
}

over_both!(
    a_slash_command_is_answered_in_its_channel,
    a_mention_is_answered_where_it_stands_and_marked,
    a_direct_message_needs_no_mention,
    private_answers_are_seen_by_the_asker_alone,
    a_channel_the_bot_is_not_in_is_answered_by_the_response_url,
    a_button_runs_under_the_rights_of_whoever_presses_it,
    whoever_may_not_speak_is_told_why,
    text_from_redis_stays_text,
    a_long_look_is_one_message_that_becomes_the_answer,
    a_channel_has_a_service_of_its_own_and_rules_that_narrow,
);

async fn a_slash_command_is_answered_in_its_channel(by: By) {
    let server = RedisServer::start();
    let bot = bot(by, &server).await;
    let id = bot.fake.slash("U1", "C1", "status godel");
    let answers = bot.fake.answers("C1", 1).await;
    assert!(answers[0].words().contains("status · godel"), "{}", answers[0].words());
    assert_eq!((answers[0].only.as_deref(), answers[0].thread.as_deref()), (None, None));
    // A slash command leaves no message to react to; the acknowledgement says it was seen.
    let answer = bot.fake.state().sent[id].answer.clone();
    assert_eq!(answer["response_type"], "ephemeral");
    assert!(answer["text"].as_str().unwrap().contains("status godel"), "{answer}");
    bot.finish().await;
}

async fn a_mention_is_answered_where_it_stands_and_marked(by: By) {
    let server = RedisServer::start();
    let bot = bot(by, &server).await;
    let (top, _) = bot.fake.mention("U1", "C1", None, "status godel");
    bot.fake.answers("C1", 1).await;
    let (inside, _) = bot.fake.mention("U2", "C1", Some(&top), "memory godel");
    let answers = bot.fake.answers("C1", 2).await;
    assert_eq!(answers[0].thread, None);
    assert_eq!(answers[1].thread.as_ref(), Some(&top));
    assert!(answers[1].words().contains("memory · godel"), "{}", answers[1].words());
    let (bad, _) = bot.fake.mention("U1", "C1", None, "no-such-command");
    for (ts, name) in [(&top, "white_check_mark"), (&inside, "white_check_mark"), (&bad, "x")] {
        bot.fake
            .wait(&format!("{name} stands on the question, and the hourglass is gone"), |state| {
                let reactions = &state.message("C1", ts).unwrap().reactions;
                let has = |name: &str| reactions.get(name).is_some_and(|who| !who.is_empty());
                has(name) && !has("hourglass_flowing_sand")
            })
            .await;
    }
    bot.finish().await;
}

async fn a_direct_message_needs_no_mention(by: By) {
    let server = RedisServer::start();
    let bot = bot(by, &server).await;
    bot.fake.direct("U1", "status godel");
    bot.fake.direct("U1", "/redis memory godel");
    let answers = bot.fake.answers("D1", 2).await;
    let words: String = answers.iter().map(|said| said.words()).collect();
    assert!(words.contains("status · godel") && words.contains("memory · godel"), "{words}");
    bot.finish().await;
}

async fn private_answers_are_seen_by_the_asker_alone(by: By) {
    let server = RedisServer::start();
    let bot = bot(by, &server).await;
    bot.fake.slash("U1", "C1", "help");
    bot.fake.mention("U2", "C1", None, "whoami");
    let answers = bot.fake.answers("C1", 2).await;
    let mut seen_by: Vec<_> = answers.iter().filter_map(|said| said.only.clone()).collect();
    seen_by.sort();
    assert_eq!(seen_by, ["U1", "U2"]);
    bot.finish().await;
}

async fn a_channel_the_bot_is_not_in_is_answered_by_the_response_url(by: By) {
    let server = RedisServer::start();
    let bot = bot(by, &server).await;
    bot.fake.expect("not_in_channel");
    bot.fake.slash("U1", "C9", "status godel");
    let answers = bot.fake.answers("C9", 1).await;
    assert!(answers[0].via && answers[0].only.is_none());
    assert!(answers[0].words().contains("status · godel"));
    bot.finish().await;
}

async fn a_button_runs_under_the_rights_of_whoever_presses_it(by: By) {
    let server = RedisServer::start();
    let bot = bot(by, &server).await;
    bot.fake.slash("U1", "C1", "status godel");
    let card = bot.fake.answers("C1", 1).await.remove(0);
    let (label, _, command) = card.buttons().first().cloned().expect("a status card has buttons");
    bot.fake.press("U2", "C1", &card.ts, &label);
    let answers = bot.fake.answers("C1", 2).await;
    assert!(!answers[1].words().contains("refused"), "{}", answers[1].words());
    // Cy may only ask for `status`.
    assert!(!command.starts_with("status"), "{command}");
    bot.fake.press("U3", "C1", &card.ts, &label);
    let answers = bot.fake.answers("C1", 3).await;
    assert_eq!(answers[2].only.as_deref(), Some("U3"), "{}", answers[2].words());
    // The card with the button still says what it said.
    assert!(bot.fake.state().message("C1", &card.ts).unwrap().before.is_empty() || card.before.len() < 2);
    bot.finish().await;
}

async fn whoever_may_not_speak_is_told_why(by: By) {
    let server = RedisServer::start();
    let bot = bot(by, &server).await;
    {
        let mut state = bot.fake.state();
        state.user("U5", serde_json::json!({ "is_restricted": true }));
        state.user("U6", serde_json::json!({ "is_bot": true }));
        state.user("U7", serde_json::json!({ "team_id": "T2", "is_stranger": true }));
        state.user("U8", serde_json::json!({ "deleted": true }));
    }
    for (user, why) in
        [("U5", "guests"), ("U6", "bots"), ("U7", "other workspaces"), ("U8", "deactivated"), ("U4", "policy")]
    {
        let before = bot.fake.state().by_bot("C1").len();
        bot.fake.slash(user, "C1", "status godel");
        let answers = bot.fake.answers("C1", before + 1).await;
        let said = answers.last().unwrap();
        assert_eq!(said.only.as_deref(), Some(user));
        assert!(said.words().contains(why), "{user}: {}", said.words());
        assert!(!said.words().contains("status · godel"), "{}", said.words());
    }
    bot.finish().await;
}

async fn text_from_redis_stays_text(by: By) {
    let server = RedisServer::start();
    for key in ["<!channel>", "*x*", "`y`", "<https://evil.example|click>", ":boom:"] {
        server.run::<()>(&["SET", key, "1"]);
    }
    let bot = bot(by, &server).await;
    for key in ["<!channel>", "*x*", "`y`", "<https://evil.example|click>", ":boom:"] {
        let typed = key.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        bot.fake.slash("U1", "C1", &format!("inspect godel '{typed}'"));
    }
    bot.fake.slash("U1", "C1", "*bold* <!channel> `x`");
    // `finish` proves that no message has a control sequence or a mark where Slack reads one.
    bot.fake.answers("C1", 6).await;
    bot.finish().await;
}

async fn a_channel_has_a_service_of_its_own_and_rules_that_narrow(by: By) {
    let server = RedisServer::start();
    let rules = "\n[channels.ops]\nteam = \"T1\"\nchannel = \"C1\"\nservice = \"godel\"\nservices = [\"godel\"]\n\
                 commands = [\"status\", \"ping\"]\n";
    let bot = SlackBotBuilder::new()
        .file("policy.toml", &format!("{}{rules}", crate::world::slack_bot::POLICY))
        .service("godel", &server.address().to_string())
        .service("other", &server.address().to_string())
        .start(by)
        .await;
    bot.fake.slash("U1", "C1", "status");
    let top = bot.fake.answers("C1", 1).await.remove(0);
    assert!(top.words().contains("status · godel"), "{}", top.words());
    // A thread belongs to its channel.
    bot.fake.mention("U1", "C1", Some(&top.ts), "ping");
    let inside = bot.fake.answers("C1", 2).await.remove(1);
    assert!(inside.words().contains("ping · godel") && inside.thread == Some(top.ts), "{}", inside.words());
    for (at, line, why) in
        [(3, "memory godel", "This channel is not for"), (4, "status other", "This channel is for godel only")]
    {
        bot.fake.slash("U1", "C1", line);
        let refused = bot.fake.answers("C1", at).await.remove(at - 1);
        assert!(refused.words().contains(why) && refused.only.as_deref() == Some("U1"), "{}", refused.words());
    }
    bot.fake.slash("U1", "C2", "status");
    let asks = bot.fake.answers("C2", 1).await.remove(0);
    assert!(asks.words().contains("which service?"), "{}", asks.words());
    bot.fake.press("U1", "C2", &asks.ts, "other");
    bot.fake
        .wait("the chosen service is looked at", |state| {
            state.by_bot("C2").iter().any(|said| said.words().contains("status · other"))
        })
        .await;
    bot.finish().await;
}

async fn a_long_look_is_one_message_that_becomes_the_answer(by: By) {
    let server = RedisServer::start();
    server.fill("session:", 100, 10);
    let bot = bot(by, &server).await;
    bot.fake.slash("U1", "C1", "monitor godel 4s");
    bot.fake
        .wait("its progress is shown", |state| {
            state.by_bot("C1").first().is_some_and(|said| said.words().contains("Looking …"))
        })
        .await;
    let answers = bot.fake.answers("C1", 1).await;
    assert_eq!(answers.len(), 1);
    assert!(answers[0].words().contains("monitor · godel"), "{}", answers[0].words());
    assert!(!answers[0].before.is_empty());
    bot.finish().await;
}
