//! Answers too long for one message: read on in their place, filtered, opened,
//! as a file, and never asked of a server again.

use crate::world::{
    redis::RedisServer,
    slack::{By, state::Said},
    slack_bot::{SlackBot, SlackBotBuilder},
};

/// Commands whose statistics make a long table.
const USED: &[&str] = &[
    "SET a 1",
    "GET a",
    "STRLEN a",
    "APPEND a x",
    "GETRANGE a 0 1",
    "SETRANGE b 0 x",
    "EXISTS a",
    "TTL a",
    "PTTL a",
    "TYPE a",
    "INCR n",
    "DECR n",
    "INCRBY n 2",
    "DECRBY n 2",
    "INCRBYFLOAT f 1",
    "SETNX a 1",
    "MSET c 1",
    "MGET c",
    "GETSET c 2",
    "EXPIRE a 1000",
    "PERSIST a",
    "LPUSH l 1",
    "RPUSH l 1",
    "LLEN l",
    "LRANGE l 0 1",
    "LINDEX l 0",
    "HSET h f 1",
    "HGET h f",
    "HLEN h",
    "HEXISTS h f",
    "HKEYS h",
    "HVALS h",
    "HGETALL h",
    "HINCRBY h f 1",
    "SADD s 1",
    "SCARD s",
    "SISMEMBER s 1",
    "SMEMBERS s",
    "ZADD z 1 a",
    "ZCARD z",
    "ZSCORE z a",
    "ZRANK z a",
    "ZRANGE z 0 1",
    "PFADD p 1",
    "PFCOUNT p",
    "SETBIT bit 1 1",
    "GETBIT bit 1",
    "BITCOUNT bit",
];

fn busy() -> RedisServer {
    let server = RedisServer::start();
    for line in USED {
        server.run::<redis::Value>(&line.split(' ').collect::<Vec<_>>());
    }
    server
}

fn builder(server: &RedisServer) -> SlackBotBuilder {
    SlackBotBuilder::new().service("godel", &server.address().to_string())
}

/// The same diagnostic as `commandstats`, for the asker's eyes alone.
fn private_command() -> String {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("commands/commandstats.toml");
    let text = std::fs::read_to_string(file).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with("aliases") && !line.starts_with("examples"));
    lines.collect::<Vec<_>>().join("\n").replace("name = \"commandstats\"", "name = \"mystats\"\nprivate = true")
}

fn run_of(said: &Said) -> String {
    let buttons = said.buttons();
    let (_, _, command) = buttons.iter().find(|(label, _, _)| label == "Next ›").expect("it can be read on");
    command.split(' ').nth(1).unwrap().to_owned()
}

async fn turned(bot: &SlackBot, channel: &str, ts: &str, words: &str) -> Said {
    bot.fake
        .wait(&format!("the card says `{words}`"), |state| state.message(channel, ts).unwrap().words().contains(words))
        .await;
    bot.fake.state().message(channel, ts).unwrap().clone()
}

/// Every command of the statistics a message's table names.
fn named(said: &Said) -> Vec<String> {
    let words = said.words();
    let lines: Vec<&str> = words.lines().collect();
    // The heading of a row, not a command that is spoken of.
    let rows = lines.windows(2).filter(|pair| pair[1].trim_start().starts_with("Calls:"));
    let first = rows.map(|pair| pair[0].trim());
    let known = |word: &&str| USED.iter().any(|line| line.split(' ').next().unwrap().eq_ignore_ascii_case(word));
    let mut named: Vec<String> = first.filter(known).map(str::to_lowercase).collect();
    named.sort();
    named.dedup();
    named
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

over_both!(a_long_answer_is_read_on_in_its_place_while_its_server_is_gone, of_many_services_one_is_chosen_from_a_menu);

async fn a_long_answer_is_read_on_in_its_place_while_its_server_is_gone(by: By) {
    let mut server = busy();
    let mut bot = builder(&server).start(by).await;
    bot.fake.slash("U1", "C1", "commandstats godel");
    let card = bot.fake.answers("C1", 1).await.remove(0);
    // Whatever is read from here on, no server can be asked for.
    server.kill();
    let mut seen = named(&card);
    let mut pages = 1;
    let mut said = card.clone();
    while said.buttons().iter().any(|(label, _, _)| label == "Next ›") {
        pages += 1;
        bot.fake.press("U2", "C1", &card.ts, "Next ›");
        said = turned(&bot, "C1", &card.ts, &format!("page {pages} of")).await;
        let more = named(&said);
        assert!(more.iter().all(|command| !seen.contains(command)), "{more:?} of page {pages} stood before: {seen:?}");
        seen.extend(more);
    }
    assert!(pages >= 3, "{pages} pages");
    let mut all: Vec<String> = USED.iter().map(|line| line.split(' ').next().unwrap().to_lowercase()).collect();
    all.sort();
    seen.sort();
    assert_eq!(seen, all);

    bot.fake.press("U2", "C1", &card.ts, "‹ Previous");
    turned(&bot, "C1", &card.ts, &format!("page {} of", pages - 1)).await;
    bot.fake.fill_in("U1", "C1", &card.ts, "hinc\"\\");
    turned(&bot, "C1", &card.ts, "None of").await;
    bot.fake.fill_in("U1", "C1", &card.ts, "HINC");
    let filtered = turned(&bot, "C1", &card.ts, "rows holds “HINC”").await.words();
    assert!(filtered.contains("HINCRBY") && !filtered.contains("HGETALL"), "{filtered}");
    bot.fake.press("U1", "C1", &card.ts, "All rows");
    let back = turned(&bot, "C1", &card.ts, "Worth a question").await;
    assert_eq!(back.words(), card.words(), "the first page is the card itself");

    // A restart forgets nothing; typed, a page is a message of its own.
    bot.stop().await;
    bot.start().await;
    bot.fake.mention("U1", "C1", None, &format!("page {} 2", run_of(&card).to_lowercase()));
    let answers = bot.fake.answers("C1", 2).await;
    assert!(answers[1].words().contains("page 2 of"), "{}", answers[1].words());
    bot.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_takes_the_rights_to_its_command_and_a_private_one_its_reader() {
    let server = busy();
    let mut bot = builder(&server).file("commands/mystats.toml", &private_command()).start(By::Socket).await;
    bot.fake.slash("U1", "C1", "commandstats godel");
    let card = bot.fake.answers("C1", 1).await.remove(0);
    // Cy may ask for `status` alone.
    bot.fake.press("U3", "C1", &card.ts, "Next ›");
    let refused = bot.fake.answers("C1", 2).await.remove(1);
    assert_eq!(refused.only.as_deref(), Some("U3"));
    assert!(refused.words().contains("commandstats") && named(&refused).is_empty(), "{}", refused.words());
    assert_eq!(bot.fake.state().message("C1", &card.ts).unwrap().words(), card.words());

    bot.fake.slash("U1", "C1", "mystats godel");
    let own = bot.fake.answers("C1", 3).await.remove(2);
    assert_eq!(own.only.as_deref(), Some("U1"));
    bot.fake.press("U1", "C1", &own.ts, "Next ›");
    let turned = turned(&bot, "C1", &own.ts, "page 2 of").await;
    assert_eq!(turned.only.as_deref(), Some("U1"));
    bot.fake.slash("U2", "C1", &format!("page {} 2", run_of(&own)));
    let foreign = bot.fake.answers("C1", 4).await.remove(3);
    assert!(foreign.words().contains("for one person alone") && named(&foreign).is_empty(), "{}", foreign.words());

    for (typed, why) in [
        (format!("page {} --file", "00000000"), "nothing is kept"),
        ("page nonsense!".to_owned(), "not a run's id"),
        (format!("open {}", run_of(&card)), "no survey by prefix"),
    ] {
        let before = bot.fake.state().by_bot("C1").len();
        bot.fake.slash("U1", "C1", &typed);
        let said = bot.fake.answers("C1", before + 1).await.remove(before);
        assert!(said.words().contains(why), "{typed}: {}", said.words());
        assert_eq!(said.only.as_deref(), Some("U1"));
    }
    bot.stop().await;
    bot.start().await;
    bot.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_bot_is_not_a_page_is_turned_by_the_press_and_a_file_asks_for_an_invitation() {
    let server = busy();
    let bot = builder(&server).start(By::Socket).await;
    bot.fake.expect("not_in_channel");
    bot.fake.expect("message_not_found");
    bot.fake.slash("U1", "C9", "commandstats godel");
    let card = bot.fake.answers("C9", 1).await.remove(0);
    assert!(card.via);
    bot.fake.press("U2", "C9", &card.ts, "Next ›");
    turned(&bot, "C9", &card.ts, "page 2 of").await;
    assert_eq!(bot.fake.state().by_bot("C9").len(), 1);
    bot.fake.press("U2", "C9", &card.ts, "As a file");
    let said = bot.fake.answers("C9", 2).await.remove(1);
    assert!(said.words().contains("invite the bot"), "{}", said.words());
    bot.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_a_file_on_demand_in_the_thread_it_was_asked_in() {
    let server = busy();
    let bot = builder(&server).file("commands/mystats.toml", &private_command()).start(By::Socket).await;
    let (thread, _) = bot.fake.mention("U1", "C1", None, "commandstats godel");
    let card = bot.fake.answers("C1", 1).await.remove(0);
    bot.fake.mention("U1", "C1", Some(&thread), &format!("page {} --file", run_of(&card)));
    bot.fake.wait("the file is there", |state| state.files.values().any(|file| file.channel.is_some())).await;
    bot.fake.answers("C1", 2).await;
    {
        let state = bot.fake.state();
        let file = state.files.values().next().unwrap();
        assert_eq!((file.channel.as_deref(), file.thread.as_ref()), (Some("C1"), Some(&thread)));
        let text = String::from_utf8(file.bytes.clone()).unwrap();
        for line in USED {
            let command = line.split(' ').next().unwrap().to_lowercase();
            assert!(
                text.lines()
                    .any(|row| row.split_whitespace().next().is_some_and(|first| first.eq_ignore_ascii_case(&command))),
                "{command} is not in\n{text}"
            );
        }
        assert_eq!(file.name, format!("commandstats-godel-{}.txt", run_of(&card)));
    }
    // What one person alone may see goes to that person alone.
    bot.fake.slash("U1", "C2", "mystats godel");
    let own = bot.fake.answers("C2", 1).await.remove(0);
    bot.fake.press("U1", "C2", &own.ts, "As a file");
    bot.fake
        .wait("the file is there", |state| state.files.values().any(|file| file.channel.as_deref() == Some("D1")))
        .await;
    assert!(bot.fake.state().files.values().all(|file| file.channel.as_deref() != Some("C2")));
    bot.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_is_opened_from_the_survey_that_was_made() {
    let mut server = RedisServer::start();
    for tenant in ["acme", "globex", "initech", "umbrella", "hooli"] {
        server.fill(&format!("tenant:{tenant}:wm"), 200, 20);
        server.fill(&format!("tenant:{tenant}:cache"), 100, 50);
    }
    server.fill("session", 400, 30);
    let bot = builder(&server).start(By::Socket).await;
    bot.fake.slash("U1", "C1", "memkeys godel");
    let card = bot.fake.answers("C1", 1).await.remove(0);
    bot.fake
        .wait("every key is counted", |state| {
            state.by_bot("C1").iter().any(|said| said.words().contains("every key counted"))
        })
        .await;
    let whole = bot.fake.state().message("C1", &card.ts).unwrap().clone();
    server.kill();
    let buttons = whole.buttons();
    let (label, _, command) =
        buttons.iter().find(|(label, _, _)| label.starts_with("Open ")).unwrap_or_else(|| panic!("{buttons:?}"));
    let run = command.split(' ').nth(1).unwrap().to_owned();
    // Every button that opens leads somewhere; the first to the first level of the tree.
    bot.fake.press("U2", "C1", &card.ts, label);
    let root = turned(&bot, "C1", &card.ts, "Directly below it: 2").await;
    let deeper = root.buttons().into_iter().find(|(label, _, _)| label.starts_with("Open ")).expect("it goes deeper");
    bot.fake.press("U2", "C1", &card.ts, &deeper.0);
    let opened = turned(&bot, "C1", &card.ts, "tenant:*: 1,500 keys").await;
    assert!(!opened.words().contains("Nothing below it"), "{}", opened.words());
    bot.fake.press("U2", "C1", &card.ts, "Back to the card");
    turned(&bot, "C1", &card.ts, "every key counted").await;
    assert!(opened.buttons().iter().any(|(label, _, _)| label.starts_with("Up to ")), "{:?}", opened.buttons());
    bot.fake.slash("U2", "C1", &format!("open {run}"));
    let root = bot.fake.answers("C1", 2).await.remove(1);
    for prefix in ["tenant:*", "session:*"] {
        assert!(root.words().contains(prefix), "{prefix} is not in {}", root.words());
    }
    bot.fake.slash("U2", "C1", &format!("open {run} nothing:*"));
    let said = bot.fake.answers("C1", 3).await.remove(2);
    assert!(said.words().contains("memkeys nothing:* godel"), "{}", said.words());
    bot.finish().await;
}

async fn of_many_services_one_is_chosen_from_a_menu(by: By) {
    let server = RedisServer::start();
    let mut builder = SlackBotBuilder::new();
    for at in 0..120 {
        builder = builder.service(&format!("shop{at:03}"), &server.address().to_string());
    }
    let bot = builder.start(by).await;
    bot.fake.slash("U1", "C1", "status");
    let asked = bot.fake.answers("C1", 1).await.remove(0);
    let options = asked.options();
    assert_eq!((options.len(), asked.buttons().len()), (120, 0));
    bot.fake.choose("U2", "C1", &asked.ts, "shop117");
    let answer = bot.fake.answers("C1", 2).await.remove(1);
    assert!(answer.words().contains("status · shop117"), "{}", answer.words());
    bot.finish().await;
}
