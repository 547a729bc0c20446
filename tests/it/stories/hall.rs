//! What people live through at the bot's door: being understood, refused,
//! limited, told that a server is silent, and never left without an answer.

use std::time::{Duration, Instant};

use rediscue::{chat::console::wire::FromBot, model::Level, store};

use crate::world::{
    chat::{Answer, ChatBuilder, ask, collect, heard, send, text_of},
    disk::{fill, inside_own_mounts, mount},
    eventually_async,
    redis::RedisServer,
};

fn address(server: &RedisServer) -> String {
    server.address().to_string()
}

/// A command of the team's own that takes as long as `DEBUG SLEEP` would, without being one.
const SLOW: &str = r#"
name = "vigil"
summary = "watches for a while"
deadline = "30s"
call_deadline = "30s"
cost = "heavy"

[[steps]]
id = "seen"
monitor = { time = "20s", lines = 100000 }

[card]
healthy = "It was watched."
"#;

#[tokio::test]
async fn a_stranger_learns_nothing_and_is_told_whom_to_ask() {
    let server = RedisServer::start();
    let mut chat = ChatBuilder::new().service("shop", &address(&server), "").start().await;
    for line in ["help", "ping shop", "services", "nonsense"] {
        let answer = chat.ask("mallory", line).await;
        assert!(answer.messages[0].private, "{line}");
        let text = answer.text();
        assert!(text.contains("belongs to nobody in policy.toml") && text.contains("Ana"), "{line}: {text}");
        assert!(!text.contains("shop") && !text.contains("ping"), "{line}: {text}");
    }
    let rows = chat.store.journal(10).await.unwrap();
    assert!(rows.iter().all(|row| row.outcome == "denied" && row.account == "mallory"), "{rows:?}");
    chat.stop().await;
}

#[tokio::test]
async fn help_and_buttons_show_only_what_this_person_may_run() {
    let server = RedisServer::start();
    let mut chat = ChatBuilder::new().service("shop", &address(&server), "").start().await;
    let support = chat.ask("cy", "help").await.text();
    let oncall = chat.ask("bo", "help").await.text();
    assert!(oncall.contains("ping") && !support.contains("ping"), "{support}");
    assert!(support.contains("status"), "{support}");
    let refused = chat.ask("cy", "ping shop").await;
    assert!(refused.text().contains("refused") || refused.text().contains("may not"), "{}", refused.text());
    for action in &chat.ask("cy", "status shop").await.card().actions {
        assert!(action.command.starts_with("status"), "cy may only ask for status, and was offered {action:?}");
    }
    let may = chat.ask("cy", "can-i ping shop").await.text();
    assert!(may.contains("No") && may.contains("Ana"), "{may}");
    chat.stop().await;
}

#[tokio::test]
async fn a_mistyped_line_is_answered_with_the_nearest_one_that_works() {
    let server = RedisServer::start();
    let mut chat = ChatBuilder::new().service("shop", &address(&server), "").start().await;
    for (typed, meant) in [("pnig shop", "ping"), ("ping shpo", "shop"), ("ping --sampels 5 shop", "--samples")] {
        let answer = chat.ask("ana", typed).await;
        assert!(answer.text().contains(meant), "{typed}: {}", answer.text());
        assert_eq!(answer.level(), None, "{typed}: {}", answer.text());
    }
    chat.stop().await;
}

#[tokio::test]
async fn without_a_service_the_card_asks_which_and_offers_each() {
    let server = RedisServer::start();
    let mut chat = ChatBuilder::new()
        .service("shop", &address(&server), "")
        .service("search", &address(&server), "")
        .start()
        .await;
    let answer = chat.ask("bo", "ping").await;
    let commands: Vec<&str> = answer.card().actions.iter().map(|action| action.command.as_str()).collect();
    assert_eq!(commands, ["ping search", "ping shop"]);
    let pressed = chat.ask("bo", commands[1]).await;
    assert_eq!(pressed.level(), Some(Level::Ok), "{}", pressed.text());
    chat.stop().await;
}

#[tokio::test]
async fn twelve_who_ask_a_stopped_redis_are_twelve_who_are_told_while_another_answers_as_ever() {
    let (stopped, lively) = (RedisServer::start(), RedisServer::start());
    let mut chat = ChatBuilder::new()
        .service("stuck", &address(&stopped), "")
        .service("fine", &address(&lively), "")
        .start()
        .await;
    // Connections stand before the server stops, as they do in real life.
    assert_eq!(chat.ask("ana", "ping stuck").await.level(), Some(Level::Ok));
    let usual = Instant::now();
    chat.ask("ana", "ping fine").await;
    let usual = usual.elapsed();
    stopped.freeze();

    let deadline = Duration::from_secs(10);
    let begun = Instant::now();
    let asking: Vec<_> = (0..12)
        .map(|number| {
            let mut link = chat.seat(if number % 2 == 0 { "ana" } else { "bo" });
            tokio::spawn(async move {
                let answer = ask(&mut link, 1, "ping stuck").await;
                (answer, begun.elapsed())
            })
        })
        .collect();
    let asked = Instant::now();
    assert_eq!(chat.ask("bo", "ping fine").await.level(), Some(Level::Ok));
    let meanwhile = asked.elapsed();
    assert!(meanwhile < usual.max(Duration::from_millis(50)) * 20, "usual {usual:?}, meanwhile {meanwhile:?}");
    for told in asking {
        let (answer, took): (Answer, Duration) = told.await.unwrap();
        assert!(took < deadline, "told after {took:?}");
        let text = answer.text();
        assert!(text.contains("accepts connections but did not answer within"), "{text}");
        assert_ne!(answer.level(), Some(Level::Ok), "{text}");
    }
    stopped.thaw();
    eventually_async("it answers again", Duration::from_secs(20), || {
        let mut link = chat.seat("ana");
        async move { ask(&mut link, 1, "ping stuck").await.level() == Some(Level::Ok) }
    })
    .await;
    chat.stop().await;
}

#[tokio::test]
async fn a_long_look_shows_its_progress_in_one_message_and_can_be_cancelled_by_anybody_known() {
    let server = RedisServer::start();
    let mut chat = ChatBuilder::new()
        .service("shop", &address(&server), "")
        .file("commands/vigil.toml", SLOW)
        .file("bot.toml", "[deadlines]\nprogress = \"100ms\"\n")
        .start()
        .await;
    let mut asker = chat.seat("ana");
    send(&mut asker, 1, "vigil shop").await;
    // The first thing said is how far it has come; only then is it cancelled.
    let progress = loop {
        if let FromBot::Say { id, card, .. } = heard(&mut asker).await {
            break (id, text_of(&card));
        }
    };
    let running = chat.ask("bo", "cancel").await.text();
    let line = running.lines().find(|line| line.contains("vigil")).expect("the run is listed");
    let run = line.split(" | ").next().unwrap();
    assert!(progress.1.contains(&format!("/redis cancel {run}")), "{progress:?}");
    chat.ask("bo", &format!("cancel {run}")).await;
    let answer = collect(&mut asker, 1).await;
    assert!(answer.messages.is_empty(), "nothing new is said: {answer:?}");
    let (id, card) = answer.edited.last().expect("the message that showed progress becomes the answer");
    assert_eq!(*id, progress.0);
    assert!(text_of(card).contains("bo cancelled it"), "{}", text_of(card));
    let rows = chat.store.journal(20).await.unwrap();
    assert!(rows.iter().any(|row| row.outcome == "cancelled" && row.command == "vigil"), "{rows:?}");
    chat.stop().await;
}

#[tokio::test]
async fn when_the_bot_stops_every_command_in_flight_is_answered() {
    let server = RedisServer::start();
    let chat = ChatBuilder::new()
        .service("shop", &address(&server), "")
        .file("commands/vigil.toml", SLOW)
        .file("bot.toml", "[deadlines]\nstop = \"200ms\"\n")
        .start()
        .await;
    let asking: Vec<_> = (0..5)
        .map(|_| {
            let mut link = chat.seat("ana");
            tokio::spawn(async move { ask(&mut link, 1, "vigil shop").await })
        })
        .collect();
    let window = chat.bot.window();
    eventually_async("something is in flight", Duration::from_secs(10), || {
        let text = window.metrics();
        async move { !text.contains("rediscue_commands_in_flight 0") }
    })
    .await;
    let begun = Instant::now();
    chat.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(10), "stopping took {:?}", begun.elapsed());
    for told in asking {
        let answer = told.await.unwrap();
        let text = answer.text();
        assert!(text.contains("stopped before this was answered") || text.contains("being stopped"), "{text}");
    }
}

#[tokio::test]
async fn a_reload_takes_all_of_a_valid_configuration_or_none_of_it() {
    let server = RedisServer::start();
    let mut chat = ChatBuilder::new().service("shop", &address(&server), "").start().await;
    let profile = chat.config_file("services/search.toml");
    let good = format!(
        "title = \"search\"\nenvironment = \"dev\"\nowner = \"t\"\n[[instances]]\naddress = \"{}\"\n",
        address(&server)
    );
    std::fs::write(&profile, good.replace("owner", "onwer")).unwrap();
    let answer = chat.ask("ana", "reload").await;
    assert!(answer.text().contains("search.toml") && answer.text().contains("onwer"), "{}", answer.text());
    assert!(!chat.ask("ana", "services").await.text().contains("search"));
    std::fs::write(&profile, good).unwrap();
    assert!(chat.ask("ana", "reload").await.text().contains("2 services"));
    assert!(chat.ask("ana", "services").await.text().contains("search"));
    let refused = chat.ask("bo", "reload").await;
    assert!(refused.text().contains("refused") || refused.text().contains("may not"), "{}", refused.text());
    chat.stop().await;
}

#[tokio::test]
async fn a_person_over_the_limit_is_told_when_to_ask_again() {
    let server = RedisServer::start();
    let builder = ChatBuilder::new().service("shop", &address(&server), "");
    let mut chat = builder.limit("person", 60, 2, 1000).start().await;
    chat.ask("ana", "ping shop").await;
    chat.ask("ana", "ping shop").await;
    let limited = chat.ask("ana", "ping shop").await;
    assert!(
        limited.text().contains("ask again in") && limited.text().contains("Nothing was run"),
        "{}",
        limited.text()
    );
    assert_eq!(chat.ask("bo", "ping shop").await.level(), Some(Level::Ok));
    chat.stop().await;
}

#[tokio::test]
async fn every_command_is_a_row_of_a_journal_that_proves_itself() {
    let server = RedisServer::start();
    let mut chat = ChatBuilder::new().service("shop", &address(&server), "").start().await;
    for line in ["ping shop", "help", "nonsense", "whoami", "reload"] {
        chat.ask("ana", line).await;
    }
    chat.ask("bo", "reload").await;
    let rows = chat.store.journal(10).await.unwrap();
    let mut seen: Vec<(String, String)> = rows.iter().map(|row| (row.command.clone(), row.outcome.clone())).collect();
    seen.reverse();
    let expected = [
        ("ping", "answered"),
        ("help", "answered"),
        ("", "misunderstood"),
        ("whoami", "answered"),
        ("reload", "answered"),
        ("reload", "denied"),
    ];
    assert_eq!(seen, expected.map(|(command, outcome)| (command.to_owned(), outcome.to_owned())));
    let dir = chat.dir.path().join("store");
    let paths = store::StoreSettings::in_dir(&dir).paths();
    let report = store::verify(&paths.database, &paths.key, &[]).await.unwrap();
    assert!(report.is_whole(), "{report:?}");
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_disk_is_full_looks_go_on_and_say_that_they_are_not_journalled() {
    if !inside_own_mounts("stories::hall::when_the_disk_is_full_looks_go_on_and_say_that_they_are_not_journalled") {
        return;
    }
    let server = RedisServer::start();
    let builder = ChatBuilder::new().service("shop", &address(&server), "");
    let disk = builder.store_dir();
    std::fs::create_dir_all(&disk).unwrap();
    mount(&disk, "size=2m,mode=0700");
    let mut chat = builder.start().await;
    assert!(!chat.ask("ana", "ping shop").await.text().contains("not journalled"));
    let filler = fill(&disk);
    // SQLite may have room left in the pages it holds: ask until it has none.
    let mut text = String::new();
    for _ in 0..2_000 {
        let asked = Instant::now();
        let answer = chat.ask("ana", "ping shop").await;
        assert_eq!(answer.level(), Some(Level::Ok), "{}", answer.text());
        assert!(asked.elapsed() < Duration::from_secs(10), "a full disk must not make the bot slow");
        text = answer.text();
        if text.contains("not journalled") {
            break;
        }
    }
    assert!(text.contains("not journalled"), "{text}");
    let why = chat.ask("bo", "version").await.text();
    assert!(why.contains("the journal cannot be written") && why.contains("full"), "{why}");
    std::fs::remove_file(filler).unwrap();
    eventually_async("rows are written again", Duration::from_secs(20), || {
        let mut link = chat.seat("ana");
        async move { !ask(&mut link, 1, "ping shop").await.text().contains("not journalled") }
    })
    .await;
    chat.stop().await;
}
