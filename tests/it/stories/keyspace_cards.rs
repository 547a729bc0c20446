//! What the cards of surveys say where something is kept from them: by an ACL, by a deadline, by
//! somebody who stops them; and that what people ask for besides does what it says.

use std::time::Duration;

use rediscue::model::{Block, Card, Level, Table};

use super::keyspace_survey::fill;
use crate::world::{
    chat::{Answer, Chat, ChatBuilder, collect, heard, send, text_of},
    proxy::Proxy,
    redis::RedisServer,
};

const SURVEYS: [&str; 5] = ["bigkeys", "memkeys", "ttl-audit", "keys", "hotkeys"];

async fn bot(server: &RedisServer) -> Chat {
    ChatBuilder::new().service("shop", &server.address().to_string(), "").start().await
}

/// A server that lets the bot do what `rule` says.
fn restricted(rule: &str) -> RedisServer {
    RedisServer::builder().user(&format!("default on nopass &* {rule}")).start()
}

#[track_caller]
fn says(text: &str, wanted: &[&str]) {
    for wanted in wanted {
        assert!(text.contains(wanted), "`{wanted}` is not in\n{text}");
    }
}

#[track_caller]
fn says_not(text: &str, unwanted: &[&str]) {
    for unwanted in unwanted {
        assert!(!text.contains(unwanted), "`{unwanted}` is in\n{text}");
    }
}

#[track_caller]
fn table<'a>(card: &'a Card, title: &str) -> &'a Table {
    let tables = card.blocks.iter().filter_map(|block| match block {
        Block::Table(table) => Some(table),
        _ => None,
    });
    let is = |table: &&Table| table.title.as_deref().is_some_and(|told| told.starts_with(title));
    tables.into_iter().find(is).unwrap_or_else(|| panic!("`{title}` is not in\n{}", text_of(card)))
}

fn column(table: &Table, at: usize) -> Vec<&str> {
    table.rows.iter().map(|row| row[at].text.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn where_bytes_are_denied_they_are_unknown_and_not_nothing() {
    let server = restricted("~* +@all -memory");
    fill(&server, 2_000);
    let mut chat = bot(&server).await;
    for command in ["bigkeys", "memkeys", "ttl-audit"] {
        let answer = chat.ask("ana", &format!("/redis {command} shop")).await;
        let text = answer.text();
        assert_eq!(answer.level(), Some(Level::Unknown), "{text}");
        says(&text, &["Not known: bytes", "+memory|usage", "refuses MEMORY USAGE (NOPERM)", "2,002"]);
        says_not(&text, &[" 0 B", "hold", "no key was met", "incomplete"]);
    }
    let answer = chat.ask("ana", "/redis keys shop").await;
    assert!(column(table(answer.card(), "Some of them"), 2).iter().all(|bytes| *bytes == "?"), "{}", answer.text());
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_lifetimes_are_denied_no_key_is_said_to_expire_or_not_to() {
    let server = restricted("~* +@all -pttl");
    fill(&server, 2_000);
    let mut chat = bot(&server).await;
    for command in ["bigkeys", "memkeys", "ttl-audit"] {
        let answer = chat.ask("ana", &format!("/redis {command} shop")).await;
        let text = answer.text();
        assert_eq!(answer.level(), Some(Level::Unknown), "{text}");
        says(&text, &["Not known: lifetimes", "+pttl"]);
        says_not(&text, &["never", "Without TTL", "incomplete"]);
    }
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_of_some_keys_reads_of_those_and_how_many_are_kept_from_it() {
    let server = RedisServer::start();
    fill(&server, 2_000);
    server.run::<()>(&["ACL", "SETUSER", "default", "resetkeys", "~session:*"]);
    let mut chat = bot(&server).await;
    for command in ["bigkeys", "memkeys", "ttl-audit", "hotkeys"] {
        let answer = chat.ask("ana", &format!("/redis {command} shop")).await;
        let text = answer.text();
        assert_eq!(answer.level(), Some(Level::Unknown), "{text}");
        says(&text, &["802 keys may not be read by the bot's user", "every key that may be read counted"]);
        says_not(&text, &["other |", "hold 0 B", "| 0 B", "tenant", "Not known", "incomplete"]);
        if command != "hotkeys" {
            says(&text, &["1,200"]);
        }
    }
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_use_is_denied_no_key_is_said_to_be_unused() {
    let server = restricted("~* +@all -object");
    server.fill("session", 200, 10);
    let mut chat = bot(&server).await;
    let answer = chat.ask("ana", "/redis hotkeys shop").await;
    let text = answer.text();
    assert_eq!(answer.level(), Some(Level::Unknown), "{text}");
    says(&text, &["Not known: which keys are used", "+object|idletime"]);
    says_not(&text, &["No key stands out", "none was used", "incomplete"]);
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_keys_may_not_be_listed_the_card_says_what_info_tells() {
    let server = restricted("~* +@all -scan");
    fill(&server, 2_000);
    let mut chat = bot(&server).await;
    for command in SURVEYS {
        let answer = chat.ask("ana", &format!("/redis {command} shop")).await;
        let text = answer.text();
        assert_eq!(answer.level(), Some(Level::Unknown), "{text}");
        says(
            &text,
            &["Not known: which keys there are", "+scan", "from INFO alone", "2002 keys, 1200 of them with a TTL"],
        );
        says_not(&text, &["rest of the card", " 0 B", "No key", "not seen", "incomplete"]);
    }
    let text = chat.ask("ana", "/redis memkeys session:* shop").await.text();
    says(&text, &["2,002 in all, matching or not"]);
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bigkeys_names_the_first_of_each_type_by_bytes_and_by_elements() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let mut pipe = redis::pipe();
    for n in 1..=12_usize {
        let items: Vec<String> = (0..n * 10).map(|item| format!("item{item}")).collect();
        // Numbers: on later servers a list of the same words is as large as a set of them.
        pipe.cmd("RPUSH").arg(format!("queue:{n:03}")).arg((0..n * 10).collect::<Vec<_>>()).ignore();
        pipe.cmd("SADD").arg(format!("members:{n:03}")).arg(&items).ignore();
        pipe.cmd("SET").arg(format!("cache:{n:03}")).arg("x".repeat(n * 3_000)).ignore();
    }
    pipe.exec(&mut admin).unwrap();
    let mut chat = bot(&server).await;
    let answer = chat.ask("ana", "/redis bigkeys shop --lengths --top 5").await;
    let card = answer.card();
    assert_eq!(column(table(card, "By type"), 0), ["string", "set", "list"], "{}", answer.text());
    let kinds = [&["string"; 3][..], &["set"; 3], &["list"; 3], &["string"; 2], &["set"; 2], &["list"; 2]].concat();
    let by_bytes = table(card, "Of each type, by bytes");
    assert_eq!(column(by_bytes, 0), kinds, "{}", answer.text());
    let by_elements = table(card, "Of each type, by elements");
    assert_eq!(column(by_elements, 0), [&["set"; 3][..], &["list"; 3], &["set"; 2], &["list"; 2]].concat());
    assert_eq!(column(by_elements, 2)[..3], ["120 members", "110 members", "100 members"]);
    assert_eq!(column(by_elements, 2)[8..], ["90 items", "80 items"]);
    // The rest of a long ranking is on the next pages.
    let answer = chat.ask("ana", "/redis bigkeys shop --lengths --top 12").await;
    assert_eq!(table(answer.card(), "Of each type, by bytes").rows.len(), 18);
    says(&answer.text(), &["[Next ›]", "[As a file]"]);
    let text = chat.ask("ana", "/redis keys queue:001 shop").await.text();
    says(&text, &["1 key matches queue:001"]);
    // A key may be called nothing; it is told like any other.
    server.run::<()>(&["FLUSHALL"]);
    server.run::<()>(&["SET", "", "nameless"]);
    let text = chat.ask("ana", "/redis bigkeys shop").await.text();
    says(&text, &["1 key holds ", "(the empty name) | string | "]);
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn separators_are_punctuation_and_the_card_says_which_were_used() {
    let server = RedisServer::start();
    server.fill("shop/cart", 300, 20);
    server.fill("shop/user", 100, 20);
    let mut admin = server.admin();
    for n in 0..400 {
        redis::cmd("RENAME").arg(format!("shop/cart:{n}")).arg(format!("shop/cart/{n}")).exec(&mut admin).ok();
        redis::cmd("RENAME").arg(format!("shop/user:{n}")).arg(format!("shop/user/{n}")).exec(&mut admin).ok();
    }
    let mut chat = bot(&server).await;
    let text = chat.ask("ana", "/redis memkeys shop").await.text();
    says(&text, &["Names parted at: /, as found in them", "shop/cart/*", "shop/user/*"]);
    let text = chat.ask("ana", "/redis memkeys shop --separators :").await.text();
    says(&text, &["Names parted at: :", "400 keys hold"]);
    says_not(&text, &["as found in them", "(others)", "shop/cart/*"]);
    for refused in ["abc", "a:", ":x"] {
        for command in ["memkeys", "keys", "ttl-audit"] {
            let answer = chat.ask("ana", &format!("/redis {command} shop --separators {refused}")).await;
            says(&answer.text(), &["separators are punctuation", "parts no names"]);
        }
    }
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memkeys_tells_as_many_prefixes_as_are_wanted() {
    let server = RedisServer::start();
    for prefix in ["session", "cart", "user", "cache", "lock", "queue"] {
        server.fill(prefix, 50, 20);
    }
    let mut chat = bot(&server).await;
    for (top, rows, last) in [(1, 1, "*"), (3, 3, "(others)"), (6, 6, "user:*"), (100, 6, "user:*")] {
        let answer = chat.ask("ana", &format!("/redis memkeys shop --top {top}")).await;
        let told = column(table(answer.card(), "By prefix"), 0);
        assert_eq!((told.len(), told[told.len() - 1]), (rows, last), "{}", answer.text());
    }
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn monitor_tells_which_keys_are_asked_for_and_leaves_our_own_questions_out() {
    let server = RedisServer::start();
    server.fill("cold", 3_000, 10);
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (mut admin, end) = (server.admin(), stop.clone());
    let user = std::thread::spawn(move || {
        while !end.load(std::sync::atomic::Ordering::Relaxed) {
            redis::cmd("GET").arg("session:4f5e6d7c8b9a0f1e").exec(&mut admin).unwrap();
            crate::world::pause(Duration::from_millis(5));
        }
    });
    let mut chat = bot(&server).await;
    let answer = chat.ask("ana", "/redis hotkeys shop --monitor 1s").await;
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    user.join().unwrap();
    let text = answer.text();
    let keys = table(answer.card(), "Keys asked for while MONITOR watched");
    assert!(keys.rows[0][0].text.starts_with("session:~"), "{text}");
    assert!(keys.rows[0][1].text.parse::<u32>().unwrap() > 10, "{text}");
    assert_eq!(column(table(answer.card(), "Commands while MONITOR watched"), 0), ["GET"], "{text}");
    assert_eq!(keys.rows.len(), 1, "{text}");
    says_not(&text, &["4f5e6d7c", "not seen"]);
    chat.stop().await;
}

/// A server far enough away that walking over it takes seconds.
async fn far_away(server: &RedisServer) -> Proxy {
    let proxy = Proxy::before(&server.address()).await;
    proxy.delay(Duration::from_millis(1));
    proxy
}

#[tokio::test(flavor = "multi_thread")]
async fn a_walk_cut_by_its_deadline_tells_what_it_counted_and_goes_on_when_asked_again() {
    let server = RedisServer::start();
    server.fill("session", 30_000, 20);
    let proxy = far_away(&server).await;
    proxy.delay(Duration::from_millis(100));
    let deadlines = "[deadlines]\ncommand = \"3s\"\n";
    let builder = ChatBuilder::new().service("shop", &proxy.address().to_string(), "").file("bot.toml", deadlines);
    let mut chat = builder.start().await;
    let answer = chat.ask("ana", "/redis memkeys shop").await;
    let text = answer.text();
    says(&text, &["The walk is not complete", "of the keys", "type the same again within 15 minutes", "stopped at"]);
    assert_eq!(answer.level(), Some(Level::Note), "{text}");
    proxy.delay(Duration::ZERO);
    // On a slow machine it may take more than one deadline.
    let mut text = String::new();
    for _ in 0..20 {
        text = chat.ask("ana", "/redis memkeys shop").await.text();
        says(&text, &["went on where an earlier walk was stopped"]);
        if !text.contains("The walk is not complete") {
            break;
        }
    }
    says(&text, &["30,000 keys hold", "every key counted"]);
    chat.stop().await;
}

/// Asks, and does something once the first answer stands there and the walk has begun.
async fn cut_off(chat: &mut Chat, line: &str, proxy: &Proxy, then: impl AsyncFnOnce(&mut Chat)) -> Answer {
    let mut link = chat.seat("ana");
    proxy.delay(Duration::from_millis(1));
    send(&mut link, 1, line).await;
    loop {
        let said = match heard(&mut link).await {
            rediscue::chat::console::wire::FromBot::Say { card, .. }
            | rediscue::chat::console::wire::FromBot::Edit { card, .. } => text_of(&card),
            _ => continue,
        };
        if said.contains("Bytes by prefix") {
            // The sample is taken; from here on there is time.
            proxy.delay(Duration::from_millis(60));
            if said.contains("counting every key") {
                break;
            }
        }
    }
    then(chat).await;
    collect(&mut link, 1).await
}

fn last(answer: &Answer) -> String {
    answer.edited.last().map(|(_, card)| text_of(card)).unwrap_or_else(|| answer.text())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_shown_of_a_survey_stays_when_it_is_cancelled_or_the_server_falls_silent() {
    let server = RedisServer::start();
    server.fill("session", 100_000, 20);
    let proxy = far_away(&server).await;
    let times = "[deadlines]\nprogress = \"100ms\"\ncall = \"1s\"\n";
    let builder = ChatBuilder::new().service("shop", &proxy.address().to_string(), "").file("bot.toml", times);
    let mut chat = builder.start().await;
    let cancels = async |chat: &mut Chat| {
        let running = chat.ask("bo", "cancel").await.text();
        let run = running.lines().find_map(|line| line.split_once(" | ")).expect("it is under way").0.to_owned();
        chat.ask("bo", &format!("cancel {run}")).await;
    };
    let text = last(&cut_off(&mut chat, "memkeys shop", &proxy, cancels).await);
    says(&text, &["bo cancelled it", "it goes on from there", "Known by then, from a sample: ", "session:*", "± "]);
    says_not(&text, &["counting every key ·", "incomplete"]);
    let answer = cut_off(&mut chat, "bigkeys shop", &proxy, async |_: &mut Chat| server.freeze()).await;
    server.thaw();
    let text = last(&answer);
    says_not(&text, &["not seen"]);
    says(&text, &["did not answer", "it goes on from there", "Known by then, from a sample: ", "session:*"]);
    proxy.delay(Duration::ZERO);
    let text = chat.ask("ana", "/redis memkeys shop").await.text();
    says(&text, &["went on where an earlier walk was stopped", "100,000 keys hold"]);
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_audit_only_lifetimes_that_occur_are_listed() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    for n in 0..20 {
        redis::cmd("SET").arg(format!("session:{n}")).arg("x").arg("EX").arg(7_200).exec(&mut admin).unwrap();
    }
    let mut chat = bot(&server).await;
    let text = chat.ask("ana", "/redis ttl-audit shop").await.text();
    says(&text, &["0 of 20 keys never expire", "1–6 h: 20"]);
    says_not(&text, &["over a year", "under 1 min", "never: 0"]);
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_survey_watches_is_told_while_it_watches() {
    let server = RedisServer::start();
    server.fill("session", 500, 20);
    let chat = ChatBuilder::new()
        .service("shop", &server.address().to_string(), "")
        .file("bot.toml", "[deadlines]\nprogress = \"100ms\"\n")
        .start()
        .await;
    let mut link = chat.seat("ana");
    let answer = crate::world::chat::ask(&mut link, 1, "hotkeys shop").await;
    let told: Vec<String> = answer.edited.iter().map(|(_, card)| text_of(card)).collect();
    assert!(told.iter().any(|text| text.contains("watching who is used · 3")), "{told:#?}");
    says(&answer.text(), &["every key counted in", "the least idle then watched for "]);
    chat.stop().await;
}
