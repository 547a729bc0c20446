//! A command of several steps in Slack: one card that goes with it, and buttons for whoever it waits for.

use crate::world::{
    redis::RedisServer,
    slack::{By, state::Said},
    slack_bot::{SlackBot, SlackBotBuilder},
};

const POLICY: &str = r#"
mode = "normal"
keepers = ["ana"]

[people.ana]
name = "Ana"
roles = ["operator"]
slack = [{ team = "T1", user = "U1" }]

[people.bo]
name = "Bo"
roles = ["operator"]
slack = [{ team = "T1", user = "U2" }]

[people.cy]
name = "Cy"
roles = ["viewer"]
slack = [{ team = "T1", user = "U3" }]

[roles.operator]
may = [{ commands = ["*"], services = ["*"] }]
approves = [{ commands = ["*"], services = ["*"] }]

[roles.viewer]
may = [{ commands = ["diagnostics"], services = ["*"] }]
"#;

const MEND: &str = r#"
name = "mend"
summary = "mends the shop"

[[steps]]
id = "memory"
say = "How full is it"
look = "memory"

[[steps]]
id = "hand"
say = "Turn the key"
manual = "Turn the key of {{ service.name }}. <!channel> *now*"

[[steps]]
id = "agreed"
say = "Somebody else agrees"
approve = "another"

[[steps]]
id = "again"
say = "Turn it back"
manual = "Turn it back."
"#;

async fn house(by: By) -> (RedisServer, SlackBot) {
    let server = RedisServer::start();
    let bot = SlackBotBuilder::new()
        .file("policy.toml", POLICY)
        .file("commands/runbooks/mend.toml", MEND)
        .service("shop", &server.address().to_string())
        .start(by)
        .await;
    (server, bot)
}

/// The runbook's own card: the first thing said.
fn card(bot: &SlackBot) -> Said {
    bot.fake.state().by_bot("C1").into_iter().find(|said| said.words().contains("How full is it")).cloned().unwrap()
}

async fn shows(bot: &SlackBot, words: &str) -> Said {
    bot.fake
        .wait(&format!("the card shows `{words}`"), |state| {
            let card = state.by_bot("C1").into_iter().find(|said| said.words().contains("How full is it"));
            card.is_some_and(|card| card.words().contains(words))
        })
        .await;
    card(bot)
}

/// The button of a card whose command begins with this word.
fn button(card: &Said, word: &str) -> String {
    let buttons = card.buttons();
    let found = buttons.iter().find(|(_, _, command)| command.starts_with(word));
    found.unwrap_or_else(|| panic!("`{word}` is no button of {buttons:?}")).0.clone()
}

async fn said(bot: &SlackBot, words: &str) {
    bot.fake
        .wait(&format!("`{words}` is said"), |state| state.by_bot("C1").iter().any(|said| said.words().contains(words)))
        .await;
}

async fn a_runbook_is_ticked_approved_and_aborted_by_its_buttons(by: By) {
    let (_server, bot) = house(by).await;
    bot.fake.slash("U1", "C1", "mend shop");
    let waiting = shows(&bot, "Turn the key of shop").await;
    assert!(waiting.only.is_none() && waiting.thread.is_none());
    // Whoever may not run it may not tick it, and is told aloud.
    let tick = button(&waiting, "tick");
    bot.fake.press("U3", "C1", &waiting.ts, &tick);
    said(&bot, "No rule lets you run").await;
    bot.fake.press("U1", "C1", &waiting.ts, &tick);
    said(&bot, "Step 2 was ticked by Ana").await;

    let asking = shows(&bot, "Somebody else agrees").await;
    assert_eq!(asking.ts, waiting.ts, "one card goes with the run");
    bot.fake
        .wait("it asks for a word", |state| {
            let card = state.message("C1", &waiting.ts).unwrap();
            card.buttons().iter().any(|(_, _, command)| command.starts_with("approve"))
        })
        .await;
    let approve = button(&card(&bot), "approve");
    bot.fake.press("U1", "C1", &waiting.ts, &approve);
    said(&bot, "your own word does not count").await;
    bot.fake.press("U2", "C1", &waiting.ts, &approve);
    said(&bot, "Step 3 was approved by Bo").await;

    shows(&bot, "Turn it back.").await;
    bot.fake
        .wait("it can be ended", |state| {
            let card = state.message("C1", &waiting.ts).unwrap();
            card.buttons().iter().any(|(_, _, command)| command.starts_with("abort"))
        })
        .await;
    let abort = button(&card(&bot), "abort");
    bot.fake.press("U2", "C1", &waiting.ts, &abort);
    said(&bot, "Aborted by Bo").await;
    let end = shows(&bot, "borted").await;
    assert_eq!(end.ts, waiting.ts);
    bot.fake.wait("nothing is left to press", |state| state.message("C1", &end.ts).unwrap().buttons().is_empty()).await;
    // `finish` proves that the step's own words neither mention nor format.
    bot.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runbook_is_ticked_approved_and_aborted_by_its_buttons_by_socket() {
    a_runbook_is_ticked_approved_and_aborted_by_its_buttons(By::Socket).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runbook_is_ticked_approved_and_aborted_by_its_buttons_by_http() {
    a_runbook_is_ticked_approved_and_aborted_by_its_buttons(By::Http).await;
}

/// A bot that starts anew goes on with the same card.
#[tokio::test(flavor = "multi_thread")]
async fn a_runbook_goes_on_in_its_card_after_a_restart() {
    let (_server, mut bot) = house(By::Socket).await;
    bot.fake.mention("U1", "C1", None, "mend shop");
    let waiting = shows(&bot, "Turn the key of shop").await;
    bot.stop().await;
    bot.start().await;
    bot.fake.press("U1", "C1", &waiting.ts, &button(&waiting, "tick"));
    said(&bot, "Step 2 was ticked by Ana").await;
    let asking = shows(&bot, "Somebody else agrees").await;
    assert_eq!(asking.ts, waiting.ts);
    bot.finish().await;
}
