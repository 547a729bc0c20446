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
};

/// A server that is nearly full, and refuses to evict.
fn full() -> (RedisServer, ChatBuilder) {
    let (server, builder) = house("normal");
    server.fill("old:", 4_000, 1_000);
    let used: u64 = server.info("used_memory").parse().unwrap();
    let _: String = server.run(&["CONFIG", "SET", "maxmemory", &(used * 100 / 96).to_string()]);
    (server, builder)
}

fn keys(server: &RedisServer) -> u64 {
    server.run(&["DBSIZE"])
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
    let mut stage = Stage::begin(builder, "memory-emergency --limit 64mb --for 10m shop").await;
    stage.consents("raise").await;
    assert_eq!(setting(&server, "maxmemory"), (64 << 20).to_string());
    stage.waits("lasting").await;
    for rung in ["evict", "agreed", "delete"] {
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

#[tokio::test]
async fn s18_data_goes_last_and_only_when_somebody_else_agrees() {
    let (server, builder) = full();
    let mut stage = Stage::begin(builder, "memory-emergency --policy volatile-lru shop").await;
    stage.consents("evict").await;
    assert_eq!(setting(&server, "maxmemory-policy"), "volatile-lru");
    stage.approves("agreed").await;
    stage.waits("delete").await;
    stage.says("ana", &format!("tick {}", stage.run)).await;
    stage.until("the tick was looked into", |run| !run.notes.is_empty()).await;
    stage.shows("but memory is still at").await;
    let _: String = server.run(&["FLUSHALL", "SYNC"]);
    stage.ticks("delete").await;
    stage.ticks("lasting").await;
    assert!(stage.ends().await.contains("Done. "));
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
async fn s13_high_memory_is_looked_into_and_the_mildest_thing_that_helps_is_done() {
    let (server, builder) = full();
    let mut stage = Stage::begin(builder, "high-memory --limit 64mb shop").await;
    stage.consents("raise").await;
    stage.waits("expire").await;
    let card = stage.shows("keys of shop never expire").await;
    // A sample tells how many there are within its interval, not to the key.
    let (before, _) = card.split_once(" keys of shop never expire").expect("it was just found");
    let told: f64 = before.rsplit(char::is_whitespace).next().unwrap().replace(',', "").parse().expect("a count");
    assert!((3_600.0..=4_400.0).contains(&told), "{card}");
    stage.ticks("expire").await;
    let end = stage.ends().await;
    assert!(end.contains("Done. ") && end.contains("7. Delete what nobody needs"), "{end}");
    assert_eq!((stage.state("unused").await, keys(&server)), (StepState::Skipped, 4_000));
    stage.chat.stop().await;
}

#[tokio::test]
async fn p11_memory_that_is_used_up_gets_a_limit_that_lasts_without_a_restart() {
    let (mut server, builder) = full();
    let mut stage = Stage::begin(builder, "memory-full 64mb shop").await;
    stage.ticks("old").await;
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
    stage.approves("agreed").await;
    stage.consents("log_off").await;
    stage.consents("log_off_kept").await;
    stage.waits("swap").await;
    swap(&mut server);
    stage.ticks("swap").await;
    stage.consents("log_on").await;
    assert_eq!(keys(&server), 300, "the file was read, not the log");
    stage.consents("log_on_kept").await;
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
    stage.consents("log_off").await;
    stage.consents("log_off_kept").await;
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
    stage.says("ana", &format!("tick {}", stage.run)).await;
    stage.until("the tick was looked into", |run| !run.notes.is_empty()).await;
    fs::remove_dir_all(&way).unwrap();
    let _: String = server.run(&["BGSAVE"]);
    saved(&server, "ok");
    stage.ticks("disk").await;
    let end = stage.ends().await;
    assert!(end.contains("Done. ") && end.contains("Ana ticked step 3, but the last snapshot still failed"), "{end}");
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
    let mut stage = Stage::begin(builder, "data-loss --keys 100 shop").await;
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
async fn s20_after_a_breach_every_door_is_closed_and_what_people_do_elsewhere_is_ticked_and_looked_at() {
    let (_server, builder) = house("normal");
    let mut stage = Stage::begin(builder, "breach shop").await;
    for step in ["told", "kept", "network"] {
        stage.ticks(step).await;
    }
    stage.approves("agreed").await;
    for step in ["rotated", "cut", "audited", "credentials"] {
        stage.ticks(step).await;
    }
    let end = stage.ends().await;
    assert!(end.contains("Done. "), "{end}");
    assert!(!stage.heard().contains("touch-secret"));
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
