//! `doctor --bot`: the bot is asked how it is itself, by people who rely on it.

use std::time::Duration;

use rediscue::{
    model::{Card, Identity, Level, Place, PlaceKind, Platform},
    store::{Owed, OwedWhat},
};

use crate::world::{
    chat::{ChatBuilder, ask},
    disk::{fill, inside_own_mounts, mount},
    eventually_async,
    redis::RedisServer,
};

#[track_caller]
fn says(text: &str, wanted: &[&str]) {
    for wanted in wanted {
        assert!(text.contains(wanted), "`{wanted}` is not in\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_asked_without_a_service_by_whoever_may_run_the_doctor() {
    // Two services and no default: the doctor of a Redis would have to ask which.
    let server = RedisServer::start();
    let mut chat = ChatBuilder::new()
        .service("shop", &server.address().to_string(), "")
        .service("search", &server.address().to_string(), "")
        .start()
        .await;
    chat.ask("ana", "ping shop").await;
    let answer = chat.ask("bo", "doctor --bot").await;
    assert_eq!(answer.level(), Some(Level::Ok), "{}", answer.text());
    says(
        &answer.text(),
        &[
            "The bot is well: up ",
            "Platforms: console hears and speaks",
            "Journal: row 1 (",
            "its head is told nowhere outside",
            "Owed messages: 0",
            "Plans that wait: 0",
            "Configuration: 2 services, read 0s ago",
            "Memory: ",
            " MiB",
        ],
    );
    assert!(!answer.messages[0].private, "an incident's channel may read it");
    let refused = chat.ask("cy", "doctor --bot").await;
    says(&refused.text(), &["No rule lets you run doctor"]);
    let rows = chat.store.journal(3).await.unwrap();
    let ended: Vec<&str> = rows.iter().map(|row| row.outcome.as_str()).collect();
    assert_eq!(ended, ["denied", "answered", "answered"]);
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_was_not_taken_is_told_until_it_is_mended() {
    let server = RedisServer::start();
    let mut chat = ChatBuilder::new().service("shop", &server.address().to_string(), "").start().await;
    let profile = chat.config_file("services/search.toml");
    let good = "title = \"search\"\nenvironment = \"dev\"\nowner = \"t\"\n[[instances]]\naddress = \"127.0.0.1:1\"\n";
    std::fs::write(&profile, good.replace("owner", "onwer")).unwrap();
    chat.ask("ana", "reload").await;
    let answer = chat.ask("ana", "doctor --bot").await;
    assert_eq!(answer.level(), Some(Level::Warn), "{}", answer.text());
    says(&answer.text(), &["the one before goes on", "search.toml", "2 problems", "/redis reload", "1 service,"]);
    let path = chat.config_file("").display().to_string();
    assert!(!answer.text().contains(&path), "where the files are is the operator's business");
    std::fs::write(&profile, good).unwrap();
    chat.ask("ana", "reload").await;
    let answer = chat.ask("ana", "doctor --bot").await;
    assert_eq!(answer.level(), Some(Level::Ok), "{}", answer.text());
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_platform_has_taken_yet_is_counted_with_its_age_and_the_reason() {
    let server = RedisServer::start();
    let mut chat = ChatBuilder::new().service("shop", &server.address().to_string(), "").start().await;
    // A platform that is switched off for now: what was said there before stays owed.
    let place = Place {
        platform: Platform::Discord,
        team: "G1".into(),
        channel: "C1".into(),
        thread: None,
        kind: PlaceKind::Channel,
        via: None,
    };
    let only = Some(Identity { platform: Platform::Discord, team: "G1".into(), user: "U1".into() });
    let card = Card { title: "late".into(), ..Card::default() };
    let what = OwedWhat::Say { place, card, only };
    chat.store.owed_add(Owed { key: "late".into(), what, due: jiff::Timestamp::now() }).await.unwrap();
    eventually_async("the card says why it waits", Duration::from_secs(20), || {
        let mut link = chat.seat("ana");
        async move { ask(&mut link, 1, "doctor --bot").await.text().contains("the platform is not configured") }
    })
    .await;
    let answer = chat.ask("ana", "doctor --bot").await;
    says(&answer.text(), &["One message waits to be delivered", "the oldest for ", "Owed messages: 1"]);
    assert_eq!(answer.level(), Some(Level::Note), "it has not waited long: {}", answer.text());
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_critical_and_passes() {
    if !inside_own_mounts("stories::bot_health::a_full_disk_is_critical_and_passes") {
        return;
    }
    let server = RedisServer::start();
    let builder = ChatBuilder::new().service("shop", &server.address().to_string(), "");
    let disk = builder.store_dir();
    std::fs::create_dir_all(&disk).unwrap();
    mount(&disk, "size=2m,mode=0700");
    let mut chat = builder.start().await;
    chat.ask("ana", "ping shop").await;
    let filler = fill(&disk);
    // SQLite may have room left in the pages it holds: ask until it has none.
    for _ in 0..2_000 {
        if chat.ask("ana", "help").await.text().contains("`/redis doctor --bot` says why") {
            break;
        }
    }
    let answer = chat.ask("ana", "doctor --bot").await;
    assert_eq!(answer.level(), Some(Level::Crit), "{}", answer.text());
    says(&answer.text(), &["The journal cannot be written", "full", "rows are missing", "looks were answered while"]);
    std::fs::remove_file(filler).unwrap();
    eventually_async("it is well again", Duration::from_secs(20), || {
        let mut link = chat.seat("ana");
        async move { ask(&mut link, 1, "doctor --bot").await.level() < Some(Level::Warn) }
    })
    .await;
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_alerts_that_is_missing_stale_or_open_to_others_is_told_before_it_is_needed() {
    use std::os::unix::fs::PermissionsExt as _;
    let server = RedisServer::start();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("alerts.json");
    let mut chat = ChatBuilder::new()
        .service("shop", &server.address().to_string(), "")
        .file("bot.toml", &format!("[consent]\nalerts = \"{}\"\n", path.display()))
        .start()
        .await;
    let answer = chat.ask("ana", "doctor --bot").await;
    assert_eq!(answer.level(), Some(Level::Warn), "{}", answer.text());
    says(&answer.text(), &["The file of alerts is not there", "File of alerts: not there"]);

    let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    std::fs::write(&path, "{\"alerts\": []}").unwrap();
    mode(0o600);
    let answer = chat.ask("ana", "doctor --bot").await;
    assert_eq!(answer.level(), Some(Level::Ok), "{}", answer.text());
    says(&answer.text(), &["File of alerts: written "]);

    let long_ago = std::time::SystemTime::now() - Duration::from_secs(5 * 3_600);
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(long_ago).unwrap();
    let answer = chat.ask("ana", "doctor --bot").await;
    assert_eq!(answer.level(), Some(Level::Warn), "{}", answer.text());
    says(&answer.text(), &["one older than 4h is not believed", "declared by people alone", "File of alerts: stale"]);

    mode(0o666);
    let answer = chat.ask("ana", "doctor --bot").await;
    says(&answer.text(), &["The file of alerts is not believed: others than root"]);
    assert!(!answer.text().contains(&path.display().to_string()), "where it is is the operator's business");
    chat.stop().await;
}
