//! Changing something from Slack: reactions are words, each counted once, and not everybody's counts.

use crate::world::{
    eventually_async,
    redis::RedisServer,
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

[people.cy]
name = "Cy"
roles = ["viewer"]
slack = [{ team = "T1", user = "U3" }]

[roles.operator]
may = [{ commands = ["diagnostics", "group:change"], services = ["*"] }]

[roles.approver]
may = [{ commands = ["diagnostics"], services = ["*"] }]
approves = [{ commands = ["group:change"], services = ["*"] }]

[roles.viewer]
may = [{ commands = ["diagnostics"], services = ["*"] }]
"#;

async fn house(by: By) -> (RedisServer, SlackBot) {
    let server = RedisServer::builder().user("toucher on >touch-secret ~* &* +@all").start();
    let secret = server.dir().join("touch.secret");
    std::fs::write(&secret, "touch-secret\n").unwrap();
    let service = format!(
        "title = \"shop\"\nenvironment = \"prod\"\nowner = \"the tests\"\n\n[[instances]]\naddress = \"{}\"\n\
         touch = {{ user = \"toucher\", password = {{ file = \"{}\" }} }}\n",
        server.address(),
        secret.display()
    );
    let bot = SlackBotBuilder::new().file("policy.toml", POLICY).file("services/shop.toml", &service).start(by).await;
    (server, bot)
}

fn setting(server: &RedisServer, name: &str) -> String {
    let pair: Vec<String> = server.run(&["CONFIG", "GET", name]);
    pair[1].clone()
}

async fn a_plan_is_carried_out_on_a_second_persons_reaction_and_on_nobody_elses(by: By) {
    let (server, bot) = house(by).await;
    let before = setting(&server, "maxmemory-policy");
    bot.fake.slash("U1", "C1", "set-config maxmemory-policy allkeys-lru shop");
    let plan = bot.fake.answers("C1", 1).await.remove(0);
    assert!(plan.words().contains("noeviction → allkeys-lru") && plan.only.is_none(), "{}", plan.words());
    bot.fake
        .wait("it shows what to react with", |state| {
            let reactions = &state.message("C1", &plan.ts).unwrap().reactions;
            ["white_check_mark", "x"].iter().all(|name| reactions.get(*name).is_some_and(|who| !who.is_empty()))
        })
        .await;
    // The bot's own seeds are no consent; the asker's is not; a viewer's and a stranger's are not.
    bot.fake.react("UBOT", "C1", &plan.ts, "white_check_mark", true);
    let mut refusals = 0;
    for (user, why) in
        [("U1", "your own word does not count"), ("U3", "Your word does not count"), ("U4", "belongs to nobody")]
    {
        bot.fake.react(user, "C1", &plan.ts, "white_check_mark", true);
        refusals += 1;
        bot.fake
            .wait(&format!("{user} is refused"), |state| {
                state.by_bot("C1").iter().any(|said| said.words().contains(why))
            })
            .await;
        assert_eq!(bot.fake.state().by_bot("C1").len(), 1 + refusals, "each is told once");
        assert_eq!(setting(&server, "maxmemory-policy"), before);
    }
    let consent = bot.fake.react("U2", "C1", &plan.ts, "white_check_mark::skin-tone-4", true);
    bot.fake.redeliver(consent);
    bot.fake
        .wait("the plan says its end", |state| {
            state.message("C1", &plan.ts).unwrap().words().contains("with the consent of Bo")
        })
        .await;
    assert_eq!(setting(&server, "maxmemory-policy"), "allkeys-lru");
    // What comes twice is heard once: nobody is told that the plan is done already.
    bot.fake.slash("U2", "C2", "ping shop");
    bot.fake.answers("C2", 1).await;
    bot.fake.wait("all is acknowledged", |state| state.sent.iter().all(|sent| sent.acknowledged.is_some())).await;
    let said = bot.fake.state().by_bot("C1").iter().filter(|said| said.words().contains("it is done")).count();
    assert_eq!(said, 0);
    bot.finish().await;
}

async fn a_no_ends_a_plan_and_a_yes_after_it_comes_too_late(by: By) {
    let (server, bot) = house(by).await;
    bot.fake.slash("U1", "C1", "set-config timeout 300 shop");
    let plan = bot.fake.answers("C1", 1).await.remove(0);
    bot.fake.react("U2", "C1", &plan.ts, "x", true);
    bot.fake.wait("it is declined", |state| state.message("C1", &plan.ts).unwrap().words().contains("declined")).await;
    bot.fake.react("U2", "C1", &plan.ts, "white_check_mark", true);
    bot.fake
        .wait("late is said to be late", |state| {
            state.by_bot("C1").iter().any(|said| said.words().contains("it is declined"))
        })
        .await;
    assert_eq!(setting(&server, "timeout"), "0");
    bot.finish().await;
}

async fn where_the_bot_is_not_a_plan_asks_for_an_invitation_and_its_buttons_are_heard(by: By) {
    let (server, bot) = house(by).await;
    bot.fake.expect("not_in_channel");
    bot.fake.slash("U1", "C9", "set-config timeout 300 shop");
    bot.fake
        .wait("it asks to be invited", |state| {
            state.by_bot("C9").first().is_some_and(|said| said.words().contains("/invite @rediscue"))
        })
        .await;
    let plan = bot.fake.answers("C9", 1).await.remove(0);
    let buttons = plan.buttons();
    let (label, _, _) =
        buttons.iter().find(|(_, _, command)| command.starts_with("approve ")).expect("it has a button");
    bot.fake.press("U2", "C9", &plan.ts, label);
    eventually_async("it is carried out", std::time::Duration::from_secs(30), || async {
        setting(&server, "timeout") == "300"
    })
    .await;
    bot.fake.answers("C9", 2).await;
    bot.finish().await;
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
    a_plan_is_carried_out_on_a_second_persons_reaction_and_on_nobody_elses,
    a_no_ends_a_plan_and_a_yes_after_it_comes_too_late,
    where_the_bot_is_not_a_plan_asks_for_an_invitation_and_its_buttons_are_heard,
);
