//! The runbooks that ship, each gone through against a real server by people
//! who do what it says. The names are the rows of the procedures they stand for.

use std::{fs, time::Duration};

use rediscue::{model::Level, runbook::StepState};

use crate::world::{
    book::Stage,
    chat::{Answer, ChatBuilder},
    eventually,
    redis::RedisServer,
    room::{Room, house, setting},
    team::team,
};

/// The limit of which the server has used that much of a hundred.
fn limit(server: &RedisServer, percent: u64) {
    let used: u64 = server.info("used_memory").parse().unwrap();
    let _: String = server.run(&["CONFIG", "SET", "maxmemory", &(used * 100 / percent).to_string()]);
}

/// A server that is nearly full, and refuses to evict.
fn full() -> (RedisServer, ChatBuilder) {
    let (server, builder) = house("normal");
    server.fill("old:", 4_000, 1_000);
    limit(&server, 96);
    (server, builder)
}

fn keys(server: &RedisServer) -> u64 {
    server.run(&["DBSIZE"])
}

fn matching(server: &RedisServer, pattern: &str) -> Vec<String> {
    server.run(&["KEYS", pattern])
}

fn saved(server: &RedisServer, status: &str) {
    eventually("the save has ended", Duration::from_secs(30), || {
        server.info("rdb_bgsave_in_progress") == "0" && server.info("rdb_last_bgsave_status") == status
    });
}

#[tokio::test]
async fn s18_a_memory_emergency_is_over_when_a_higher_limit_is_enough_and_the_limit_ends_by_itself() {
    let (server, builder) = full();
    let before = setting(&server, "maxmemory");
    let mut stage = Stage::begin(builder, "memory-emergency --limit 64mb --for 10m --flush shop").await;
    stage.consents("raise").await;
    assert_eq!(setting(&server, "maxmemory"), (64 << 20).to_string());
    stage.waits("lasting").await;
    for rung in ["cut", "evict", "expire", "purge", "copy", "flush"] {
        assert_eq!(stage.state(rung).await, StepState::Skipped, "{rung}: nothing harsher than it takes");
    }
    stage.ticks("lasting").await;
    let end = stage.ends().await;
    assert!(end.contains("Done. "), "{end}");
    let ends = stage.chat.store.ends().await.unwrap();
    assert_eq!(ends.len(), 1, "the limit takes itself back");
    assert_ne!(before, setting(&server, "maxmemory"));
    assert_eq!(keys(&server), 4_000, "nothing was deleted");
    stage.chat.stop().await;
}

/// Somebody who listens and never reads: what is said to them stays in the server's memory.
fn deaf(server: &RedisServer) -> std::net::TcpStream {
    use std::io::Write as _;
    let mut deaf = std::net::TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    deaf.write_all(b"CLIENT SETNAME deaf\r\nSUBSCRIBE news\r\n").unwrap();
    eventually("it listens", Duration::from_secs(10), || {
        server.run::<Vec<(String, u64)>>(&["PUBSUB", "NUMSUB", "news"]) == [("news".to_owned(), 1)]
    });
    let news = "x".repeat(1 << 20);
    for _ in 0..24 {
        let _: u64 = server.run(&["PUBLISH", "news", &news]);
    }
    deaf
}

#[tokio::test]
async fn s18_connections_that_leave_their_answers_unread_go_before_any_data_does() {
    let (server, builder) = house("normal");
    let _: String = server.run(&["CONFIG", "SET", "client-output-buffer-limit", "pubsub 0 0 0"]);
    server.fill("old:", 100, 1_000);
    let _deaf = deaf(&server);
    limit(&server, 96);
    let mut stage = Stage::begin(builder, "memory-emergency --output 4mb --flush shop").await;
    stage.consents("cut").await;
    assert!(!server.run::<String>(&["CLIENT", "LIST"]).contains("name=deaf"), "it was closed");
    stage.ticks("lasting").await;
    let end = stage.ends().await;
    assert!(end.contains("Done. "), "{end}");
    for rung in ["raise", "evict", "expire", "purge", "flush"] {
        assert_eq!(stage.state(rung).await, StepState::Skipped, "{rung}");
    }
    assert_eq!((keys(&server), setting(&server, "maxmemory-policy").as_str()), (100, "noeviction"));
    stage.chat.stop().await;
}

#[tokio::test]
async fn s18_the_ladder_is_climbed_rung_by_rung_and_a_flush_is_the_last_backed_up_and_agreed_to_by_two() {
    let (server, builder) = team();
    // Enough that connections alone do not make the server evict what just got a deadline.
    server.fill("old:", 40_000, 1_000);
    server.fill("sse:", 40, 10);
    server.fill("report:", 30, 10);
    limit(&server, 93);
    let line = "memory-emergency --policy volatile-lru --expire sse:* --ttl 1h --purge report:* --flush shop";
    let mut stage = Stage::begin(builder, line).await;
    stage.consents("evict").await;
    assert_eq!(setting(&server, "maxmemory-policy"), "volatile-lru");
    stage.consents("expire").await;
    assert!(server.run::<i64>(&["TTL", "sse:7"]) > 3_000, "what never expired has a deadline");
    stage.both_consent("purge").await;
    assert_eq!(matching(&server, "report:*"), [] as [String; 0]);

    let plan = stage.plan("flush").await;
    assert_eq!((stage.state("copy").await, stage.state("size").await), (StepState::Done, StepState::Done));
    let shown = stage.shows("How many keys would go (DBSIZE) · done").await;
    assert!(shown.contains("40,040 keys"), "{shown}");
    let alone = stage.says("bo", &format!("approve {plan}")).await;
    assert!(alone.text().contains("a tap is not enough"), "{}", alone.text());
    let own = stage.says("ana", &format!("approve {plan} shop")).await;
    assert!(own.text().contains("your own word does not count"), "{}", own.text());
    assert_eq!(keys(&server), 40_040);
    stage.both_consent("flush").await;
    let left = matching(&server, "*");
    assert!(left.is_empty(), "{left:?} {:#?}", stage.chat.store.steps(&plan).await.unwrap());
    stage.ticks("lasting").await;
    let end = stage.ends().await;
    assert!(end.contains("Done. ") && end.contains(&format!("/redis undo {plan}")), "{end}");
    let kept = stage.says("cy", "backups shop").await.text();
    assert!(kept.contains("40,040"), "the copy holds what was there before the flush: {kept}");
    stage.chat.stop().await;
}

#[tokio::test]
async fn s18_a_rung_that_is_declined_is_passed_by_and_without_a_flag_no_data_is_touched() {
    let (server, builder) = full();
    let mut stage = Stage::begin(builder, "memory-emergency --limit 64mb shop").await;
    for rung in ["raise", "evict"] {
        let plan = stage.plan(rung).await;
        stage.says("bo", &format!("decline {plan}")).await;
    }
    stage
        .until("what it comes to is looked at", |run| {
            run.at().is_some_and(|at| run.steps[at].id == "below" && run.progress[at].looks > 0)
        })
        .await;
    for rung in ["expire", "purge", "copy", "flush"] {
        assert_eq!(stage.state(rung).await, StepState::Skipped, "{rung}: nobody said what it may reach");
    }
    stage.says("ana", &format!("abort {}", stage.run)).await;
    assert!(stage.ends().await.contains("Aborted by Ana"));
    assert_eq!((keys(&server), setting(&server, "maxmemory-policy").as_str()), (4_000, "noeviction"));
    stage.chat.stop().await;
}

#[tokio::test]
async fn s18_is_no_emergency_where_memory_is_not_short() {
    let (server, builder) = house("normal");
    let _: String = server.run(&["CONFIG", "SET", "maxmemory", "64mb"]);
    let mut stage = Stage::begin(builder, "memory-emergency --limit 128mb shop").await;
    let end = stage.ends().await;
    assert!(end.contains("Stopped at step 2 of") && end.contains("below 90 %"), "{end}");
    assert_eq!(setting(&server, "maxmemory"), (64 << 20).to_string());
    stage.chat.stop().await;
}

#[tokio::test]
async fn s13_high_memory_is_looked_into_and_every_remedy_that_was_named_has_its_own_plan() {
    let (server, builder) = team();
    server.fill("old:", 4_000, 1_000);
    limit(&server, 96);
    let line = "high-memory --limit 64mb --expire old:1* --ttl 1h --remove old:2* shop";
    let mut stage = Stage::begin(builder, line).await;
    stage.consents("raise").await;
    stage.consents("expire").await;
    assert!(server.run::<i64>(&["TTL", "old:1"]) > 3_000);
    assert_eq!(server.run::<i64>(&["TTL", "old:3"]), -1);
    stage.both_consent("unused").await;
    assert_eq!((matching(&server, "old:2*").len(), keys(&server)), (0, 4_000 - 1_111));
    let end = stage.ends().await;
    assert!(end.contains("Done. ") && end.contains("To take back"), "{end}");
    stage.chat.stop().await;
}

#[tokio::test]
async fn s13_without_a_remedy_named_the_choices_are_shown_with_what_was_found() {
    let (server, builder) = full();
    let mut stage = Stage::begin(builder, "high-memory shop").await;
    stage.waits("choose").await;
    let card = stage.shows("keys of shop never expire").await;
    // A sample tells how many there are within its interval, not to the key.
    let (before, _) = card.split_once(" keys of shop never expire").expect("it was just found");
    let told: f64 = before.rsplit(char::is_whitespace).next().unwrap().replace(',', "").parse().expect("a count");
    assert!((3_600.0..=4_400.0).contains(&told), "{card}");
    for remedy in ["--limit 4gb", "--expire", "--remove"] {
        assert!(card.contains(remedy), "{remedy} is missing in {card}");
    }
    stage.says("ana", &format!("abort {}", stage.run)).await;
    assert_eq!(keys(&server), 4_000);
    stage.chat.stop().await;
}

#[tokio::test]
async fn p11_memory_that_is_used_up_loses_its_old_sessions_and_gets_a_limit_that_lasts_without_a_restart() {
    let (mut server, builder) = full();
    let now = jiff::Timestamp::now().as_millisecond();
    for i in 0..60 {
        let hours = if i % 3 == 0 { 1 } else { 13 };
        let session = format!(r#"{{"createdAt":{},"user":"u{i}"}}"#, now - hours * 3_600_000);
        let _: String = server.run(&["SET", &format!("session:{i}"), &session]);
    }
    let mut stage = Stage::begin(builder, "memory-full 64mb --old session:* shop").await;
    stage.consents("old").await;
    let left = matching(&server, "session:*");
    assert!(left.len() == 20 && left.contains(&"session:3".to_owned()), "those of the last 12 hours: {left:?}");
    stage.consents("raise").await;
    stage.consents("keep").await;
    let end = stage.ends().await;
    assert!(end.contains("Done. ") && end.contains("6. There is room again, and nothing is evicted · done"), "{end}");
    server.restart();
    assert_eq!(setting(&server, "maxmemory"), (64 << 20).to_string(), "the file keeps it");
    stage.chat.stop().await;
}

/// A server with a log and a snapshot, and a backup of so many keys.
fn backed_up(count: usize) -> (RedisServer, ChatBuilder) {
    let (server, builder) = house("normal");
    let _: String = server.run(&["CONFIG", "SET", "appendonly", "yes"]);
    let _: String = server.run(&["CONFIG", "REWRITE"]);
    server.fill("good:", count, 20);
    eventually("the log is written", Duration::from_secs(30), || server.info("aof_rewrite_in_progress") == "0");
    let _: String = server.run(&["SAVE"]);
    fs::copy(server.dir().join("dump.rdb"), server.dir().join("backup.rdb")).unwrap();
    (server, builder)
}

/// What the person at the host does: the old data aside, the backup in its place, a new start.
fn swap(server: &mut RedisServer) {
    server.kill();
    let aside = server.dir().join("aside");
    fs::create_dir(&aside).unwrap();
    for old in ["dump.rdb", "appendonlydir", "appendonly.aof"] {
        if server.dir().join(old).exists() {
            fs::rename(server.dir().join(old), aside.join(old)).unwrap();
        }
    }
    fs::copy(server.dir().join("backup.rdb"), server.dir().join("dump.rdb")).unwrap();
    server.restart();
}

#[tokio::test]
async fn s10_p9_a_backup_is_restored_though_the_server_has_a_log_and_stays_over_the_next_restart() {
    let (mut server, builder) = backed_up(300);
    let _: String = server.run(&["FLUSHALL"]);
    let mut stage = Stage::begin(builder, "restore --keys 300 shop").await;
    stage.waits("file").await;
    stage.shows("count 300 keys").await;
    stage.ticks("file").await;
    let asked = stage.asked().await;
    assert_eq!(stage.state("kept").await, StepState::Done, "what is there now was copied");
    let question = stage.chat.store.plan(&asked).await.unwrap().unwrap().plan;
    let covers: Vec<String> = question.asks.unwrap().covers.into_iter().map(|covered| covered.line).collect();
    assert_eq!(covers, ["set-config appendonly no", "rewrite-config", "rewrite-config"], "what can be planned by now");
    stage.approves("agreed").await;
    stage.waits("swap").await;
    for step in ["log_off", "log_off_kept"] {
        assert_eq!(stage.state(step).await, StepState::Done, "{step}: the word covered it");
    }
    assert_eq!(setting(&server, "appendonly"), "no");
    swap(&mut server);
    stage.ticks("swap").await;
    stage.consents("log_on").await;
    assert_eq!(keys(&server), 300, "the file was read, not the log");
    // The server is another since the restart, so the word from before does not cover this.
    stage.plan("log_on_kept").await;
    let heard = stage.listens().await;
    stage.consents("log_on_kept").await;
    assert!(heard.contains("does not cover it"), "{heard}");
    let end = stage.ends().await;
    assert!(end.contains("Done. "), "{end}");
    server.restart();
    assert_eq!((keys(&server), setting(&server, "appendonly").as_str()), (300, "yes"));
    stage.chat.stop().await;
}

#[tokio::test]
async fn s10_another_number_of_keys_than_the_backup_holds_waits_for_a_person() {
    let (mut server, builder) = backed_up(50);
    let mut stage = Stage::begin(builder, "restore --keys 300 shop").await;
    stage.ticks("file").await;
    stage.approves("agreed").await;
    stage.waits("swap").await;
    swap(&mut server);
    stage.ticks("swap").await;
    stage.waits("count").await;
    stage.shows("there are 50 keys, and the backup holds 300").await;
    stage.says("ana", &format!("abort {}", stage.run)).await;
    let end = stage.ends().await;
    assert!(end.contains("Aborted by Ana") && end.contains("To take back"), "{end}");
    stage.chat.stop().await;
}

#[tokio::test]
async fn p12_misconf_is_mended_on_the_disk_and_the_only_good_copy_is_not_restarted() {
    let (server, builder) = house("normal");
    server.fill("k:", 100, 10);
    let started = server.info("run_id");
    // Something is in the way where the snapshot has to go.
    let way = server.dir().join("dump.rdb");
    fs::create_dir_all(way.join("in the way")).unwrap();
    let _: String = server.run(&["BGSAVE"]);
    saved(&server, "err");
    let mut stage = Stage::begin(builder, "corruption shop").await;
    stage.waits("disk").await;
    stage.shows("Do not restart it").await;
    stage.ticks("disk").await;
    let plan = stage.plan("saved").await;
    let failed = stage.says("bo", &format!("approve {plan}")).await;
    assert_eq!(failed.level(), Some(Level::Warn), "{}", failed.text());
    stage.waits("saved").await;
    stage.shows("the snapshot failed again").await;
    fs::remove_dir_all(&way).unwrap();
    let asked = stage.says("ana", "bgsave shop").await;
    let plan = asked.messages.iter().find(|message| message.card.title.starts_with("plan ·")).expect("it is planned");
    stage.reacts("bo", "✅", &plan.id).await;
    saved(&server, "ok");
    stage.ticks("saved").await;
    let end = stage.ends().await;
    assert!(end.contains("Done. ") && end.contains("dealt with by hand"), "{end}");
    for step in ["stopped", "repaired", "log_on"] {
        assert_eq!(stage.state(step).await, StepState::Skipped, "{step}");
    }
    assert_eq!(server.info("run_id"), started);
    stage.chat.stop().await;
}

#[tokio::test]
async fn s16_a_server_whose_log_does_not_load_comes_back_from_its_snapshot_and_not_empty() {
    let (mut server, builder) = backed_up(120);
    server.kill();
    let mut stage = Stage::begin(builder, "corruption --keys 120 shop").await;
    for step in ["stopped", "copied", "judged"] {
        stage.ticks(step).await;
    }
    stage.approves("agreed").await;
    stage.waits("repaired").await;
    stage.says("ana", &format!("tick {}", stage.run)).await;
    stage.until("the tick was looked into", |run| !run.notes.is_empty()).await;
    let config = server.dir().join("redis.conf");
    let text = fs::read_to_string(&config).unwrap().replace("appendonly yes", "appendonly no");
    fs::write(&config, text).unwrap();
    swap(&mut server);
    stage.ticks("repaired").await;
    stage.consents("log_on").await;
    let end = stage.ends().await;
    assert!(end.contains("Done. ") && end.contains("the server does not answer yet"), "{end}");
    assert_eq!((keys(&server), setting(&server, "appendonly").as_str()), (120, "yes"));
    stage.chat.stop().await;
}

#[tokio::test]
async fn s19_data_that_is_missing_is_measured_put_back_and_told() {
    let (server, builder) = house("normal");
    server.fill("tenant:", 60, 10);
    let mut stage = Stage::begin(builder, "data-loss --keys 100 --pause 2s shop").await;
    stage.consents("hold").await;
    stage.ticks("writes").await;
    stage.waits("agreed").await;
    assert_eq!(stage.state("kept").await, StepState::Done, "what is left is copied first");
    stage.shows("there are 60 keys where there were 100").await;
    stage.approves("agreed").await;
    stage.waits("restore").await;
    server.fill("tenant:", 100, 10);
    for step in ["restore", "resume", "told", "written"] {
        stage.ticks(step).await;
    }
    let end = stage.ends().await;
    assert!(end.contains("Done. "), "{end}");
    let heard = stage.heard();
    assert!(heard.contains("the owner, the tests") && heard.contains("60 were left of 100"), "{heard}");
    stage.chat.stop().await;
}

#[tokio::test]
async fn s20_after_a_breach_one_word_of_two_closes_the_doors_and_the_password_goes_without_being_seen() {
    let (server, builder) = team();
    let _: String = server.run(&["ACL", "SETUSER", "shop", "on", ">old-secret", "~*", "&*", "+@all"]);
    server.fill("session:", 25, 10);
    let login = |password: &str| {
        let at = redis::Client::open(format!("redis://shop:{password}@127.0.0.1:{}", server.port())).unwrap();
        at.get_connection().ok()
    };
    let (mut theirs, intruder) = (login("old-secret").unwrap(), {
        let stream = std::net::TcpStream::connect(("127.0.0.1", server.port())).unwrap();
        (stream.local_addr().unwrap().to_string(), stream)
    });
    let line = format!("breach --user shop --address {} --sessions session:* shop", intruder.0);
    let mut stage = Stage::begin(builder, &line).await;
    for step in ["told", "kept", "network"] {
        stage.ticks(step).await;
    }
    let question = stage.asked().await;
    let tapped = stage.says("bo", &format!("approve {question}")).await;
    assert!(tapped.text().contains("a tap is not enough"), "ending every login is critical: {}", tapped.text());
    assert!(!server.run::<String>(&["CLIENT", "LIST"]).is_empty());
    stage.both_approve("agreed").await;
    stage.waits("switched").await;
    assert_eq!((stage.state("out").await, stage.state("rotate").await), (StepState::Done, StepState::Done));
    assert!(!server.run::<String>(&["CLIENT", "LIST"]).contains(&intruder.0), "the connection from there is closed");
    let rotated = stage.now().await;
    let at = rotated.steps.iter().position(|step| step.id == "rotate").unwrap();
    let row = stage.chat.store.plan(rotated.progress[at].plan.as_ref().unwrap()).await.unwrap().unwrap();
    let facts = format!("{:?}", row.plan.facts);
    let from = facts.find("; in /").expect("the plan names the file") + 5;
    let secret = fs::read_to_string(facts[from..].split_whitespace().next().unwrap()).unwrap().trim().to_owned();
    assert!(login("old-secret").is_some() && login(&secret).is_some(), "both are good until everybody has switched");

    stage.ticks("switched").await;
    stage.consents("finish").await;
    assert!(login("old-secret").is_none() && login(&secret).is_some());
    assert!(redis::cmd("PING").query::<String>(&mut theirs).is_err(), "who came with the old one was cut");
    stage.ticks("rotated").await;
    for step in ["audited", "credentials"] {
        stage.ticks(step).await;
    }
    let end = stage.ends().await;
    assert!(end.contains("Done. "), "{end}");
    assert_eq!(keys(&server), 0, "the logins ended, by the word that was given");
    assert_eq!(stage.state("config_kept").await, StepState::Done, "a restart does not bring the old one back");
    let heard = stage.heard();
    assert!(!heard.contains(&secret) && !heard.contains("touch-secret") && !heard.contains("old-secret"));
    stage.chat.stop().await;
}

#[tokio::test]
async fn s20_where_nobody_is_named_what_is_to_be_rotated_is_ticked_and_looked_at() {
    let (_server, builder) = house("normal");
    let mut stage = Stage::begin(builder, "breach shop").await;
    for step in ["told", "kept", "network"] {
        stage.ticks(step).await;
    }
    stage.approves("agreed").await;
    for step in ["rotated", "audited", "credentials"] {
        stage.ticks(step).await;
    }
    let end = stage.ends().await;
    assert!(end.contains("Done. "), "{end}");
    stage.chat.stop().await;
}

fn ticks(answer: &Answer) -> Vec<(String, rediscue::model::Tick)> {
    let blocks = answer.messages.iter().flat_map(|message| &message.card.blocks);
    blocks
        .filter_map(|block| match block {
            rediscue::model::Block::Checklist(lines) => Some(lines),
            _ => None,
        })
        .flatten()
        .map(|(tick, line)| (line.to_plain(), *tick))
        .collect()
}

#[tokio::test]
async fn s21_the_checklist_ticks_what_holds_and_says_what_does_not_and_what_cannot_be_seen() {
    use rediscue::model::Tick;
    let (server, builder) = full();
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    let short = room.types("cy", "verify shop").await;
    let lines = ticks(&short);
    let tick = |what: &str| lines.iter().find(|(line, _)| line.starts_with(what)).map(|(_, tick)| *tick);
    assert_eq!(tick("Redis answers and is not loading"), Some(Tick::Done), "{lines:?}");
    assert_eq!(tick("Memory is normal"), Some(Tick::Failed), "{lines:?}");
    assert_eq!(
        tick("The application can connect: the profile names no health endpoint"),
        Some(Tick::Skipped),
        "{lines:?}"
    );
    assert_eq!(short.level(), Some(Level::Warn));
    assert!(short.text().contains("Not so: Memory is normal"), "{}", short.text());

    // It follows every change by itself, in the place it was asked for.
    let _: String = server.run(&["CONFIG", "SET", "maxmemory", "0"]);
    let done = room.types("ana", "set-config slowlog-max-len 99 shop").await;
    let lines = ticks(&done);
    assert!(lines.iter().any(|(line, tick)| line == "Memory is normal" && *tick == Tick::Done), "{lines:?}");
    assert_eq!(done.level(), Some(Level::Ok), "the change's own answer comes last: {}", done.text());
    let rows = chat.store.journal(10).await.unwrap();
    assert!(rows.iter().any(|row| row.command == "verify" && row.why.as_deref() == Some("after a change")));
    chat.stop().await;
}
