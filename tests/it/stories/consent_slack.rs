//! Consent in Slack, and what is tried there to get it without a second person.

use serde_json::json;

use crate::world::{
    redis::RedisServer,
    room::{house, setting},
    slack::{
        By,
        state::{BOT, Said},
    },
    slack_bot::{SlackBot, SlackBotBuilder},
    team::{CRITICAL, TEAM},
};

const ASKED: &str = "plan ·";

async fn bot() -> (RedisServer, SlackBot) {
    bot_with("").await
}

async fn bot_with(settings: &str) -> (RedisServer, SlackBot) {
    let (server, builder) = house("normal");
    let profile = std::fs::read_to_string(builder.written("services/shop.toml")).unwrap();
    let bot = SlackBotBuilder::new()
        .file("policy.toml", TEAM)
        .file("bot.toml", settings)
        .file("services/shop.toml", &profile)
        .file("commands/set-hard.toml", CRITICAL)
        .start(By::Socket)
        .await;
    for user in ["U11", "U12", "U4"] {
        bot.fake.state().user(user, json!({}));
    }
    (server, bot)
}

/// The next message the bot says that holds these words.
async fn said(bot: &SlackBot, words: &str) -> Said {
    bot.fake
        .wait(&format!("`{words}` is said"), |state| state.by_bot("C1").iter().any(|said| said.words().contains(words)))
        .await;
    bot.fake.state().by_bot("C1").into_iter().rfind(|said| said.words().contains(words)).cloned().unwrap()
}

fn run_in(plan: &Said) -> String {
    let words = plan.words();
    let foot = words.lines().find(|line| line.starts_with("run ")).unwrap_or_else(|| panic!("no foot: {words}"));
    foot.split_whitespace().nth(1).unwrap().to_owned()
}

fn is_called(said: &Said, user: &str) -> bool {
    let blocks = serde_json::to_string(&said.blocks).unwrap();
    blocks.contains(&format!("\"user_id\":\"{user}\""))
}

#[tokio::test(flavor = "multi_thread")]
async fn approvers_are_mentioned_and_only_another_persons_reaction_counts() {
    let (server, bot) = bot().await;
    bot.fake.slash("U1", "C1", "set-config maxmemory-policy allkeys-lru shop");
    let plan = said(&bot, ASKED).await;
    assert!(is_called(&plan, "U2") || is_called(&plan, "U12"), "Bo is mentioned: {:?}", plan.blocks);
    bot.fake.state().user("UROBOT", json!({ "is_bot": true }));
    bot.fake.react(BOT, "C1", &plan.ts, "white_check_mark", true);
    for (user, why) in [
        ("U1", "your own word does not count"),
        ("U11", "from whichever account"),
        ("U3", "Your word does not count"),
        ("UROBOT", "This account's word does not count"),
    ] {
        bot.fake.react(user, "C1", &plan.ts, "white_check_mark", true);
        said(&bot, why).await;
    }
    assert_eq!(setting(&server, "maxmemory-policy"), "noeviction");
    let id = bot.fake.react("U2", "C1", &plan.ts, "white_check_mark::skin-tone-3", true);
    said(&bot, "with the consent of Bo").await;
    assert_eq!(setting(&server, "maxmemory-policy"), "allkeys-lru");
    let _: String = server.run(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    bot.fake.redeliver(id);
    bot.fake.react("U4", "C1", &plan.ts, "white_check_mark", true);
    said(&bot, "That plan waits for nobody: it is done").await;
    assert_eq!(setting(&server, "maxmemory-policy"), "noeviction", "an old plan and a replayed event change nothing");
    bot.fake.slash("U1", "C1", "set-config timeout 300 shop");
    said(&bot, "Lou (no account here: tell them)").await;
    bot.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_critical_change_in_slack_takes_two_people_however_many_accounts_they_have() {
    let (server, bot) = bot().await;
    bot.fake.slash("U1", "C1", "set-hard timeout 300 shop");
    let plan = said(&bot, ASKED).await;
    let run = run_in(&plan);
    assert!(is_called(&plan, "U4"), "Di is mentioned too: {:?}", plan.blocks);
    bot.fake.react("U2", "C1", &plan.ts, "white_check_mark", true);
    said(&bot, &format!("/redis approve {run} shop")).await;
    said(&bot, "a tap is not enough").await;
    bot.fake.slash("U2", "C1", &format!("approve {run} shop"));
    said(&bot, "It takes 1 more").await;
    let before = bot.fake.state().by_bot("C1").len();
    bot.fake.slash("U12", "C1", &format!("approve {run} shop"));
    bot.fake.wait("the second account is answered", |state| state.by_bot("C1").len() > before).await;
    assert_eq!(setting(&server, "timeout"), "0", "one person, two accounts");
    bot.fake.react("U2", "C1", &plan.ts, "white_check_mark", false);
    said(&bot, "Bo took their consent back").await;
    bot.fake.slash("U4", "C1", &format!("approve {run} shop"));
    said(&bot, "These could give it: Bo (L2)").await;
    assert_eq!(setting(&server, "timeout"), "0");
    bot.fake.slash("U12", "C1", &format!("approve {run} shop"));
    said(&bot, "with the consent of Bo, Di").await;
    assert_eq!(setting(&server, "timeout"), "300");
    bot.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_slack_too_consent_is_to_what_was_shown_by_people_who_may_and_counts_once() {
    let (server, bot) = bot().await;
    // What was shown is no longer so.
    bot.fake.slash("U1", "C1", "set-config timeout 300 shop");
    let drifts = said(&bot, "0 → 300").await;
    let _: String = server.run(&["CONFIG", "SET", "timeout", "77"]);
    bot.fake.react("U2", "C1", &drifts.ts, "white_check_mark", true);
    said(&bot, "timeout was 0 and is now 77").await;
    assert_eq!(setting(&server, "timeout"), "77");

    // Two people at the same moment, and both events once more.
    bot.fake.slash("U1", "C1", "set-config maxmemory-policy allkeys-lru shop");
    let plan = said(&bot, "noeviction → allkeys-lru").await;
    let words = [
        bot.fake.react("U2", "C1", &plan.ts, "white_check_mark", true),
        bot.fake.react("U4", "C1", &plan.ts, "white_check_mark", true),
    ];
    said(&bot, "Done: set maxmemory-policy").await;
    let _: String = server.run(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    for word in words {
        bot.fake.redeliver(word);
    }
    bot.fake.slash("U1", "C1", "ping shop");
    bot.fake.wait("all is acknowledged", |state| state.sent.iter().all(|sent| sent.acknowledged.is_some())).await;
    assert_eq!(setting(&server, "maxmemory-policy"), "noeviction", "it ran once");
    let checked = bot.fake.state().by_bot("C1").iter().filter(|said| said.words().contains("verify")).count();
    assert!(checked <= 1, "{checked} checklists for one run");

    // An approver who is none any more by the time the second one speaks.
    bot.fake.slash("U1", "C1", "set-hard tcp-keepalive 60 shop");
    let hard = said(&bot, "300 → 60").await;
    let run = run_in(&hard);
    bot.fake.slash("U2", "C1", &format!("approve {run} shop"));
    said(&bot, "It takes 1 more").await;
    bot.rewrite("policy.toml", &TEAM.replacen("roles = [\"l2\"]", "roles = [\"viewer\"]", 1));
    bot.fake.slash("U1", "C1", "reload");
    said(&bot, "was read again").await;
    bot.fake.slash("U4", "C1", &format!("approve {run} shop"));
    said(&bot, "These could give it: nobody").await;
    assert_eq!(setting(&server, "tcp-keepalive"), "300");
    bot.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_slack_too_a_plan_expires_in_its_own_message_and_a_late_word_is_told_so() {
    let short = "[consent]\nwithin = \"5s\"\nremind_before = \"2s\"\npage_after = \"1s\"\nbreak_glass_after = \"1s\"\n";
    let (server, bot) = bot_with(short).await;
    bot.fake.slash("U1", "C1", "set-config maxmemory-policy allkeys-lru shop");
    let plan = said(&bot, ASKED).await;
    let reminded = said(&bot, "It expires soon").await;
    assert!(is_called(&reminded, "U2") || is_called(&reminded, "U12"), "{:?}", reminded.blocks);
    said(&bot, "It expired without enough consent").await;
    bot.fake.react("U2", "C1", &plan.ts, "white_check_mark", true);
    said(&bot, "it is void").await;
    assert_eq!(setting(&server, "maxmemory-policy"), "noeviction");
    bot.finish().await;
}
