//! Having a server write its data: followed to the end, and told as it ended.

use std::{path::Path, time::Duration};

use rediscue::model::Level;

use crate::world::{
    eventually,
    proxy::Proxy,
    redis::RedisServer,
    room::{Room, TOUCHER, house, house_at, setting},
};

#[tokio::test]
async fn p8_a_snapshot_is_written_and_done_when_the_server_says_so() {
    let (server, builder) = house("normal");
    server.fill("key", 1000, 100);
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    let (plan, done) = room.agreed("bgsave shop").await;
    for said in [
        "Keys: 1,000",
        "memory that changes is held twice",
        "The snapshot file that is there now is replaced",
        "LASTSAVE must have moved",
        "Undo: not possible",
    ] {
        assert!(plan.contains(said), "{said} is missing in {plan}");
    }
    assert_eq!(done.level(), Some(Level::Ok), "{}", done.text());
    assert!(done.text().contains("its status is ok and LASTSAVE is"), "{}", done.text());
    assert!(server.dir().join("dump.rdb").metadata().unwrap().len() > 1000);
    assert!(done.card().actions.is_empty(), "there is nothing to take back");
    chat.stop().await;
}

#[tokio::test]
async fn n13_a_save_under_way_is_waited_for_by_people_and_a_slow_one_by_the_bot() {
    let (server, builder) = house("normal");
    server.fill("key", 40, 100);
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    let waiting = room.types("ana", "bgsave shop").await;
    server.run::<()>(&["CONFIG", "SET", "rdb-key-save-delay", "30000"]);
    server.run::<()>(&["BGSAVE"]);
    let busy = room.types("ana", "bgsave shop").await.text();
    assert!(busy.contains("is writing a snapshot already"), "{busy}");
    let void = room.reacts("bo", "✅", &waiting.id()).await.text();
    assert!(void.contains("is writing a snapshot already"), "{void}");
    eventually("the other save is over", Duration::from_secs(20), || server.info("rdb_bgsave_in_progress") == "0");
    // 6.2 does not count its saves; every version counts who asked for one.
    let asked = || {
        let stats: String = server.run(&["INFO", "commandstats"]);
        let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_bgsave:calls="));
        calls.and_then(|rest| rest.split(',').next()).map(str::to_owned)
    };
    let before = (asked(), server.info("rdb_saves"));

    let (_, done) = room.agreed("bgsave shop").await;
    assert_eq!(done.level(), Some(Level::Ok), "{}", done.text());
    assert_eq!(server.info("rdb_bgsave_in_progress"), "0", "it was not called done before it was");
    assert_ne!(asked(), before.0, "and it was this bot's own save");
    if !before.1.is_empty() {
        assert_ne!(server.info("rdb_saves"), before.1, "which came to its end");
    }
    chat.stop().await;
}

#[tokio::test]
async fn a_save_that_fails_on_the_disk_is_a_failure_and_the_next_plan_says_so() {
    let (server, builder) = house("normal");
    server.fill("key", 10, 10);
    // A folder of that name is in the way of the file.
    std::fs::create_dir_all(server.dir().join("dump.rdb/x")).unwrap();
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    let (_, failed) = room.agreed("bgsave shop").await;
    assert!(failed.text().contains("the save failed: its status is err"), "{}", failed.text());
    assert_eq!(failed.level(), Some(Level::Warn));
    let plan = room.types("ana", "bgsave shop --dry-run").await.text();
    assert!(plan.contains("failed: what was in its way") && plan.contains("status err"), "{plan}");
    chat.stop().await;
}

#[tokio::test]
async fn g8_the_append_only_file_is_written_anew_from_memory_and_the_plan_says_what_that_does_not_do() {
    let (server, builder) = house("normal");
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    let off = room.types("ana", "rewrite-aof shop").await.text();
    assert!(off.contains("keeps no append-only file"), "{off}");
    server.run::<()>(&["CONFIG", "SET", "appendonly", "yes"]);
    eventually("it is written once", Duration::from_secs(20), || server.info("aof_rewrite_in_progress") == "0");
    for _ in 0..50 {
        server.fill("key", 100, 100);
    }
    let before: u64 = server.info("aof_current_size").parse().unwrap();
    let (plan, done) = room.agreed("rewrite-aof shop").await;
    assert!(plan.contains("It repairs no file that fails to load"), "{plan}");
    assert!(done.text().contains("the append-only file is written whole"), "{}", done.text());
    assert!(server.info("aof_current_size").parse::<u64>().unwrap() < before);
    chat.stop().await;
}

/// How many files of a snapshot or append-only file a server's folder holds.
fn written(dir: &Path) -> bool {
    dir.join("dump.rdb").exists()
}

#[tokio::test]
async fn a_save_that_breaks_at_any_step_is_told_as_it_is() {
    let server = RedisServer::builder().user(TOUCHER).start();
    server.fill("key", 10, 10);
    let proxy = Proxy::before(&server.address()).await;
    let chat = house_at("normal", &server, &format!("address = \"{}\"", proxy.address())).start().await;
    let mut room = Room::of(&chat);
    let plan = room.types("ana", "bgsave shop").await;
    server.run::<()>(&["ACL", "SETUSER", "toucher", "-bgsave", "-bgrewriteaof"]);
    let denied = room.reacts("bo", "✅", &plan.id()).await;
    assert!(denied.text().contains("Nothing was changed"), "{}", denied.text());
    server.run::<()>(&["ACL", "SETUSER", "toucher", "+@all"]);
    for word in ["touch-secret", "$4\r\nTIME", "$6\r\nBGSAVE"] {
        let plan = room.types("ana", "bgsave shop").await;
        proxy.cut_on(word, false);
        let cut = room.reacts("bo", "✅", &plan.id()).await.text();
        assert!(proxy.has_cut() && (cut.contains("Nothing was changed") || cut.contains("uncertain")), "{word}: {cut}");
        assert!(!written(server.dir()), "{word}");
    }
    // The answer is lost, the save is not: the server itself tells that it was done.
    let plan = room.types("ana", "bgsave shop").await;
    proxy.cut_on("$6\r\nBGSAVE", true);
    let lost = room.reacts("bo", "✅", &plan.id()).await.text();
    eventually("it was written", Duration::from_secs(10), || written(server.dir()));
    assert!(lost.contains("its status is ok") || lost.contains("uncertain"), "{lost}");
    assert_eq!(setting(&server, "save"), "", "nothing else was touched");
    chat.stop().await;
}
