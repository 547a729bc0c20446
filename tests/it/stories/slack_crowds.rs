//! Accounts that nobody is named for: a user group or an e-mail address lets them look, and nothing else.

use serde_json::json;

use crate::world::{
    program::Home,
    redis::{RedisServer, free_port},
    slack::{By, FakeSlack},
    slack_bot::{SlackBot, SlackBotBuilder},
};

/// Ana changes things and is named; whoever is in S1, or has Eve's address, looks.
const POLICY: &str = r#"
mode = "normal"
keepers = ["ana"]

[people.ana]
name = "Ana"
roles = ["operator"]
slack = [{ team = "T1", user = "U1" }]

[crowds.developers]
about = "everybody who writes code"
roles = ["operator"]
slack = [{ team = "T1", group = "S1" }, { team = "T1", email = "Eve@Example.com" }]

[roles.operator]
may = [{ commands = ["diagnostics", "group:change", "reload"], services = ["*"], reveal = true }]
approves = [{ commands = ["group:change"], services = ["*"] }]
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
    for scope in ["usergroups:read", "users:read.email"] {
        bot.fake.state().scopes.insert(scope.to_owned());
    }
    bot.fake.state().groups.insert("S1".to_owned(), ["U2".to_owned()].into());
    (server, bot)
}

/// What the next answer to this line says.
async fn says(bot: &SlackBot, user: &str, line: &str) -> String {
    let before = bot.fake.state().by_bot("C1").len();
    bot.fake.slash(user, "C1", line);
    bot.fake.answers("C1", before + 1).await.last().unwrap().words()
}

async fn those_of_a_user_group_look_and_nothing_else(by: By) {
    let (server, bot) = house(by).await;
    let status = says(&bot, "U2", "status shop").await;
    assert!(status.contains("status · shop"), "{status}");
    let whoami = says(&bot, "U2", "whoami").await;
    assert!(whoami.contains("one of a crowd") && whoami.contains("developers (user group slack:T1/S1)"), "{whoami}");
    for line in [
        "set-config timeout 300 shop",
        "inspect shop session:1 --reveal",
        "reload",
        "freeze shop because",
        "severity SEV1 shop it burns",
        "approve 00000000",
    ] {
        let said = says(&bot, "U2", line).await;
        assert!(said.contains("rule: crowds") || said.contains("as one of"), "{line}: {said}");
    }
    let can_i = says(&bot, "U2", "can-i set-config shop").await;
    assert!(can_i.contains("No"), "{can_i}");
    // The group's role approves; the group does not.
    bot.fake.slash("U1", "C1", "set-config timeout 300 shop");
    bot.fake.wait("the plan is shown", |state| plan_of(state).is_some()).await;
    let plan = plan_of(&bot.fake.state()).unwrap();
    bot.fake.react("U2", "C1", &plan, "white_check_mark", true);
    bot.fake
        .wait("the group's word is refused aloud", |state| {
            state.by_bot("C1").iter().any(|said| said.words().contains("consent and stops take a person named"))
        })
        .await;
    let timeout: Vec<String> = server.run(&["CONFIG", "GET", "timeout"]);
    assert_eq!(timeout[1], "0");
    bot.finish().await;
}

fn plan_of(state: &crate::world::slack::state::State) -> Option<String> {
    state.by_bot("C1").iter().find(|said| said.words().contains("plan ·")).map(|said| said.ts.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn those_of_a_user_group_look_and_nothing_else_by_socket() {
    those_of_a_user_group_look_and_nothing_else(By::Socket).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn those_of_a_user_group_look_and_nothing_else_by_http() {
    those_of_a_user_group_look_and_nothing_else(By::Http).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_leaves_the_group_or_the_company_is_refused_at_once() {
    let (_server, bot) = house(By::Socket).await;
    assert!(says(&bot, "U2", "status shop").await.contains("status · shop"));
    assert!(says(&bot, "U3", "status shop").await.contains("belongs to nobody"));
    let told = bot.fake.group("S1", &["U3"]);
    bot.fake.wait("the bot was told", |state| state.sent[told].acknowledged.is_some()).await;
    assert!(says(&bot, "U2", "status shop").await.contains("belongs to nobody"));
    assert!(says(&bot, "U3", "status shop").await.contains("status · shop"));
    // One question for all of them: what was learned is believed until Slack tells otherwise.
    let asked = bot.fake.state().count("usergroups.users.list");
    assert_eq!(asked, 2);
    let told = bot.fake.account_changes("U3", json!({ "deleted": true }));
    bot.fake.wait("the bot was told", |state| state.sent[told].acknowledged.is_some()).await;
    assert!(says(&bot, "U3", "status shop").await.contains("deactivated"));
    bot.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_counts_when_it_was_confirmed_and_slack_tells_it() {
    let (_server, bot) = house(By::Socket).await;
    let profile = json!({ "email": "eve@example.com" });
    bot.fake.state().user("U2", json!({ "profile": profile, "is_email_confirmed": true }));
    bot.fake.state().user("U3", json!({ "profile": profile }));
    bot.fake.state().groups.insert("S1".to_owned(), Default::default());
    assert!(says(&bot, "U2", "status shop").await.contains("status · shop"));
    let whoami = says(&bot, "U2", "whoami").await;
    assert!(whoami.contains("developers (e-mail address in slack:T1)"), "{whoami}");
    assert!(!whoami.to_lowercase().contains("eve@"), "an address is nobody else's business: {whoami}");
    let unconfirmed = says(&bot, "U3", "status shop").await;
    assert!(unconfirmed.contains("never confirmed"), "{unconfirmed}");
    bot.fake.state().scopes.remove("users:read.email");
    bot.fake.state().user("U4", json!({ "profile": profile, "is_email_confirmed": true }));
    let untold = says(&bot, "U4", "status shop").await;
    assert!(untold.contains("users:read.email"), "{untold}");
    bot.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_slack_cannot_be_asked_nobody_is_in_a_group_and_that_is_said() {
    let (_server, bot) = house(By::Socket).await;
    bot.fake.expect("missing_scope");
    bot.fake.state().scopes.remove("usergroups:read");
    let refused = says(&bot, "U2", "status shop").await;
    assert!(refused.contains("could not be asked") && refused.contains("usergroups:read"), "{refused}");
    assert!(bot.ailments().join("\n").contains("usergroups:read"), "{:?}", bot.ailments());
    // Whoever is named is asked nothing about, and served.
    assert!(says(&bot, "U1", "status shop").await.contains("status · shop"));
    bot.fake.state().scopes.insert("usergroups:read".to_owned());
    assert!(says(&bot, "U2", "status shop").await.contains("status · shop"));
    bot.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn check_online_proves_groups_and_their_scopes() {
    let fake = FakeSlack::start(By::Socket).await;
    let home = Home::new();
    let dir = super::slack_doors::write_config(&home, &fake.api(), "socket", free_port(), "127.0.0.1:9");
    let path = home.path().join("config/policy.toml");
    let policy =
        std::fs::read_to_string(&path).unwrap().replace("[channels.far]\nteam = \"T1\"\nchannel = \"C9\"\n", "");
    let crowd = "[crowds.developers]\nroles = [\"support\"]\n\
                 slack = [{ team = \"T1\", group = \"S1\" }, { team = \"T1\", email = \"eve@example.com\" }]\n";
    std::fs::write(&path, format!("{policy}\n{crowd}")).unwrap();
    fake.expect("missing_scope");
    let check = || home.run(&["check", "--online", "--config", &dir], "");
    let ran = check();
    for word in ["`usergroups:read`", "`users:read.email`"] {
        assert!(ran.stdout.contains(word), "{}", ran.stdout);
    }
    for scope in ["usergroups:read", "users:read.email"] {
        fake.state().scopes.insert(scope.to_owned());
    }
    let ran = check();
    assert!(ran.stdout.contains("there is no user group S1") && !ran.stdout.contains("scope"), "{}", ran.stdout);
    fake.state().groups.insert("S1".to_owned(), Default::default());
    let ran = check();
    assert_eq!(ran.code(), 0, "{}", ran.stdout);
    fake.finish();
}
