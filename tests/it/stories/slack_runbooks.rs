//! A runbook's question in Slack: a reaction on its card is a word.

use crate::world::{
    redis::RedisServer,
    room::TOUCHER,
    slack::By,
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
roles = ["approver"]
slack = [{ team = "T1", user = "U2" }]

[roles.operator]
may = [{ commands = ["diagnostics", "group:change"], services = ["*"] }]

[roles.approver]
may = [{ commands = ["diagnostics"], services = ["*"] }]
approves = [{ commands = ["group:change"], services = ["*"] }]
"#;

const MEND: &str = r#"
name = "mend"
summary = "mends the shop"

[[steps]]
id = "agreed"
say = "Somebody else agrees"
approve = "another"

[[steps]]
id = "limit"
say = "Another limit"
touch = "maxmemory 64mb"
"#;

async fn house(by: By) -> (RedisServer, SlackBot) {
    let server = RedisServer::builder().user(TOUCHER).start();
    let secret = server.dir().join("touch.secret");
    std::fs::write(&secret, "touch-secret\n").unwrap();
    let service = format!(
        "title = \"shop\"\nenvironment = \"prod\"\nowner = \"the tests\"\n\n[[instances]]\naddress = \"{}\"\n\
         touch = {{ user = \"toucher\", password = {{ file = \"{}\" }} }}\n",
        server.address(),
        secret.display()
    );
    let bot = SlackBotBuilder::new()
        .file("policy.toml", POLICY)
        .file("services/shop.toml", &service)
        .file("commands/runbooks/mend.toml", MEND)
        .start(by)
        .await;
    (server, bot)
}

async fn a_reaction_on_a_runbooks_card_is_a_word_and_covers_what_was_shown(by: By) {
    let (server, bot) = house(by).await;
    bot.fake.slash("U1", "C1", "mend shop");
    let card = bot.fake.answers("C1", 1).await.remove(0);
    bot.fake
        .wait("its card shows what to react with", |state| {
            let reactions = &state.message("C1", &card.ts).unwrap().reactions;
            ["white_check_mark", "x"].iter().all(|name| reactions.get(*name).is_some_and(|who| !who.is_empty()))
        })
        .await;
    bot.fake
        .wait("the question says what it covers", |state| {
            state.by_bot("C1").iter().any(|said| said.words().contains("set maxmemory from 0"))
        })
        .await;
    bot.fake.react("UBOT", "C1", &card.ts, "white_check_mark", true);
    bot.fake.react("U1", "C1", &card.ts, "white_check_mark", true);
    bot.fake
        .wait("the asker's own is refused", |state| {
            state.by_bot("C1").iter().any(|said| said.words().contains("your own word does not count"))
        })
        .await;
    let pair: Vec<String> = server.run(&["CONFIG", "GET", "maxmemory"]);
    assert_eq!(pair[1], "0");
    let word = bot.fake.react("U2", "C1", &card.ts, "white_check_mark::skin-tone-2", true);
    bot.fake.redeliver(word);
    bot.fake
        .wait("the runbook says its end", |state| {
            let said = state.message("C1", &card.ts).unwrap().words();
            said.contains("Done. 2 done") && said.contains("by Bo")
        })
        .await;
    let pair: Vec<String> = server.run(&["CONFIG", "GET", "maxmemory"]);
    assert_eq!(pair[1], (64 << 20).to_string());
    bot.fake.wait("all is acknowledged", |state| state.sent.iter().all(|sent| sent.acknowledged.is_some())).await;
    bot.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reaction_on_a_runbooks_card_is_a_word_by_socket() {
    a_reaction_on_a_runbooks_card_is_a_word_and_covers_what_was_shown(By::Socket).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reaction_on_a_runbooks_card_is_a_word_by_http() {
    a_reaction_on_a_runbooks_card_is_a_word_and_covers_what_was_shown(By::Http).await;
}
