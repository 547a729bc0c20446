//! Who gets in: signatures, secrets, and what the log says of either.

use std::time::Duration;

use serde_json::json;

use crate::world::{
    eventually_async,
    program::Home,
    redis::{RedisServer, free_port},
    slack::{
        APP_TOKEN, BOT_TOKEN, By, FakeSlack, SIGNING_SECRET,
        socket::{request, sign},
    },
    slack_bot::{POLICY, SlackBotBuilder},
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

/// A configuration on disk for the built program, with its secrets in files.
pub(super) fn write_config(home: &Home, api: &str, mode: &str, web: u16, redis: &str) -> String {
    let dir = home.path().join("config");
    std::fs::create_dir_all(dir.join("services")).unwrap();
    let secret = |name: &str, text: &str| {
        let path = dir.join(name);
        std::fs::write(&path, format!("{text}\n")).unwrap();
        format!("{{ file = \"{}\" }}", path.display())
    };
    let (bot, app, signing) =
        (secret("bot-token", BOT_TOKEN), secret("app-token", APP_TOKEN), secret("signing-secret", SIGNING_SECRET));
    let state = home.path().join("state");
    std::fs::create_dir_all(&state).unwrap();
    let state = state.display();
    let text = format!(
        "[store]\npath = \"{state}/r.db\"\nkey_file = \"{state}/j.key\"\n[web]\nlisten = \"127.0.0.1:{web}\"\n\
         [console]\nsocket = \"{state}/c.sock\"\n[log]\nfilter = \"trace\"\n\
         [slack]\nenabled = true\nmode = \"{mode}\"\napi = \"{api}\"\nbot_token = {bot}\napp_token = {app}\nsigning_secret = {signing}\n"
    );
    std::fs::write(dir.join("bot.toml"), text).unwrap();
    let channels =
        "\n[channels.ops]\nteam = \"T1\"\nchannel = \"C1\"\n[channels.far]\nteam = \"T1\"\nchannel = \"C9\"\n";
    std::fs::write(dir.join("policy.toml"), format!("{POLICY}{channels}")).unwrap();
    let service = format!(
        "title = \"godel\"\nenvironment = \"staging\"\nowner = \"the tests\"\n\n[[instances]]\naddress = \"{redis}\"\n"
    );
    std::fs::write(dir.join("services/godel.toml"), service).unwrap();
    dir.display().to_string()
}

async fn no_secret_in_the_log(by: By, mode: &str) {
    let server = RedisServer::start();
    let fake = FakeSlack::start(by).await;
    let home = Home::new();
    let web = free_port();
    let dir = write_config(&home, &fake.api(), mode, web, &server.address().to_string());
    let program = home.start(&["serve", "--config", &dir]);
    fake.point_to(&format!("http://127.0.0.1:{web}"));
    let client = reqwest::Client::new();
    eventually_async("the bot is well", Duration::from_secs(30), || async {
        let answer = client.get(format!("http://127.0.0.1:{web}/healthz")).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    })
    .await;
    fake.slash("U1", "C1", "status godel");
    fake.answers("C1", 1).await;
    fake.slash("U1", "C1", "help");
    fake.answers("C1", 2).await;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(program.pid() as i32), nix::sys::signal::Signal::SIGTERM)
        .unwrap();
    let ran = program.end();
    assert_eq!(ran.code(), 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("rediscue is up"), "{}", ran.stderr);
    for secret in [BOT_TOKEN, APP_TOKEN, SIGNING_SECRET, "ticket=", "-secret"] {
        assert!(!ran.stderr.contains(secret), "`{secret}` is in the log:\n{}", ran.stderr);
    }
    fake.finish();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_holds_no_secret_however_much_it_says_by_socket() {
    no_secret_in_the_log(By::Socket, "socket").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_holds_no_secret_however_much_it_says_by_http() {
    no_secret_in_the_log(By::Http, "http").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_signing_secret_the_bot_does_not_start() {
    let home = Home::new();
    let dir = write_config(&home, "http://127.0.0.1:9/api", "http", free_port(), "127.0.0.1:9");
    for (text, word) in [(Some(" \n"), "is empty"), (None, "cannot be read")] {
        let path = home.path().join("config/signing-secret");
        match text {
            Some(text) => std::fs::write(path, text).unwrap(),
            None => std::fs::remove_file(path).unwrap(),
        }
        let ran = home.run(&["serve", "--config", &dir], "");
        assert_ne!(ran.code(), 0);
        assert!(ran.stderr.contains("slack.signing_secret") && ran.stderr.contains(word), "{}", ran.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_online_names_what_slack_does_not_give() {
    let fake = FakeSlack::start(By::Socket).await;
    let home = Home::new();
    let dir = write_config(&home, &fake.api(), "socket", free_port(), "127.0.0.1:9");
    fake.expect("missing_scope");
    fake.expect("token_revoked");
    let check = || home.run(&["check", "--online", "--config", &dir], "");
    let ran = check();
    assert!(ran.stdout.contains("not in the channel C9") && !ran.stdout.contains("channel C1"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("scope"), "{}", ran.stdout);
    fake.state().channels.get_mut("C9").unwrap().members.insert("UBOT".to_owned());
    fake.state().scopes.remove("reactions:write");
    fake.state().app_scopes.clear();
    let ran = check();
    assert_ne!(ran.code(), 0);
    for word in ["`reactions:write`", "`connections:write`"] {
        assert!(ran.stdout.contains(word), "{}", ran.stdout);
    }
    fake.state().revoked = true;
    let ran = check();
    assert!(ran.stdout.contains("`token_revoked`"), "{}", ran.stdout);
    assert!(!ran.stdout.contains(BOT_TOKEN) && !ran.stderr.contains(BOT_TOKEN));
    fake.finish();
}

#[test]
fn the_manifest_asks_for_the_scopes_the_bot_uses_and_no_others() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/slack-manifest.yaml");
    let text = std::fs::read_to_string(path).unwrap();
    let scopes = text.split("    bot:\n").nth(1).unwrap().split("settings:").next().unwrap();
    let mut asked: Vec<(&str, &str)> =
        scopes.lines().filter_map(|line| line.trim().strip_prefix("- ")?.split_once('#')).collect();
    asked.iter_mut().for_each(|(scope, reason)| {
        *scope = scope.trim();
        assert!(!reason.trim().is_empty(), "{scope} has no reason");
    });
    let asked: std::collections::BTreeSet<&str> = asked.into_iter().map(|(scope, _)| scope).collect();
    let used: std::collections::BTreeSet<&str> =
        rediscue::chat::slack::SCOPES.iter().map(|(scope, _)| *scope).collect();
    assert_eq!(asked, used);
    assert_eq!(used, crate::world::slack::state::SCOPES.iter().copied().collect());
    // What crowds take stands there as comments: who has none does not ask for it.
    let of_crowds = scopes.lines().filter_map(|line| line.trim().strip_prefix("# - ")?.split_once('#'));
    let of_crowds: std::collections::BTreeSet<&str> = of_crowds.map(|(scope, _)| scope.trim()).collect();
    assert_eq!(of_crowds, rediscue::chat::slack::CROWD_SCOPES.iter().map(|(scope, _)| *scope).collect());
}
