//! Backups where servers are several, speak TLS, end in the middle, or the disk does.

use std::{fs, path::Path, time::Duration};

use rediscue::{
    model::{Level, RunId},
    store::{PlanState, StepState},
};

use super::backup_made::{files, fill as fill_server, manifests};
use crate::world::{
    chat::{ChatBuilder, text_of},
    disk::{fill, inside_own_mounts, mount},
    eventually_async,
    redis::{ClusterWorld, RedisServer},
    room::{POLICY, Room, house},
};

/// A service written as a profile says it, which `toucher` may change.
fn written(secret: &Path, how: &str) -> ChatBuilder {
    let service = format!(
        "title = \"shop\"\nenvironment = \"prod\"\nowner = \"the tests\"\n\n[[instances]]\n{how}\n\
         touch = {{ user = \"toucher\", password = {{ file = \"{}\" }} }}\n",
        secret.display()
    );
    fs::write(secret, "touch-secret\n").unwrap();
    ChatBuilder::new().file("policy.toml", &POLICY.replace("MODE", "normal")).file("services/shop.toml", &service)
}

#[tokio::test]
async fn of_a_cluster_every_primary_is_in_one_backup_and_without_one_of_its_files_it_is_none() {
    let world = ClusterWorld::start(false);
    for (at, node) in world.primaries().iter().enumerate() {
        let _: String = node.run(&["ACL", "SETUSER", "toucher", "on", ">touch-secret", "~*", "&*", "+@all"]);
        // Their slots lie on the first, second and third.
        let slots = [("{b}", 0), ("{c}", 1), ("{a}", 2)];
        let tag = slots.iter().find(|(_, node)| *node == at).unwrap().0;
        for key in 0..50 {
            let _: String = node.run(&["SET", &format!("{tag}{key}"), "value"]);
        }
    }
    let seeds = world.primaries().iter().map(|node| format!("\"{}\"", node.address())).collect::<Vec<_>>().join(", ");
    let chat = written(&world.nodes[0].dir().join("touch.secret"), &format!("cluster = [{seeds}]")).start().await;
    let mut room = Room::of(&chat);
    let done = room.types("ana", "backup shop").await;
    assert_eq!(done.level(), Some(Level::Ok), "{}", done.text());
    let manifest = manifests(&chat).remove(0);
    assert!(manifest.whole());
    assert_eq!((manifest.nodes, manifest.keys()), (3, 150));
    assert!(manifest.files.iter().all(|file| file.keys() == 50), "{manifest:?}");
    let right = room.types("cy", "backup-verify shop").await;
    assert_eq!(right.level(), Some(Level::Ok), "{}", right.text());
    let held = room.types("cy", "restore-check shop").await;
    assert!(!held.text().contains("missing"), "{}", held.text());

    let backups = chat.store.backups();
    let lacking = rediscue::store::Manifest { files: manifest.files[..2].to_vec(), ..manifest };
    backups.write(&lacking).unwrap();
    let listed = room.types("cy", "backups shop").await.text();
    assert!(listed.contains("lacks some of its primaries") && listed.contains("2 of 3 files"), "{listed}");
    chat.stop().await;
}

#[tokio::test]
async fn a_backup_over_tls_is_as_good() {
    let server = RedisServer::builder().tls().user("toucher on >touch-secret ~* &* +@all").start();
    fill_server(&server);
    let how = format!(
        "address = \"{}\"\ntls = true\ntls_ca = \"{}\"",
        server.tls_address(),
        server.certificates().ca.display()
    );
    let chat = written(&server.dir().join("touch.secret"), &how).start().await;
    let mut room = Room::of(&chat);
    let done = room.types("ana", "backup shop").await;
    assert_eq!(done.level(), Some(Level::Ok), "{}", done.text());
    assert_eq!(manifests(&chat)[0].keys(), 307);
    chat.stop().await;
}

/// Keys whose save takes about `seconds`.
fn slowly(server: &RedisServer, keys: usize, seconds: f64) {
    let mut admin = server.admin();
    for key in 0..keys {
        let value: Vec<u8> = (0..10_000).map(|_| rand::random()).collect();
        let () = redis::cmd("SET").arg(format!("key:{key}")).arg(value).query(&mut admin).unwrap();
    }
    let delay = (seconds * 1e6 / keys as f64) as u64;
    let _: String = server.run(&["CONFIG", "SET", "rdb-key-save-delay", &delay.to_string()]);
}

#[tokio::test]
async fn a_server_that_is_killed_while_it_is_copied_leaves_no_file_and_says_so() {
    for from in ["stream", "save"] {
        let (mut server, builder) = house("normal");
        slowly(&server, 200, 20.0);
        let chat = builder.start().await;
        let mut room = Room::of(&chat);
        let line = format!("backup shop --from {from}");
        let (done, ()) = tokio::join!(room.types("ana", &line), async {
            eventually_async("the server saves", Duration::from_secs(20), async || {
                let admin = server.admin();
                tokio::task::spawn_blocking(move || {
                    let mut admin = admin;
                    let info: String = redis::cmd("INFO").arg("persistence").query(&mut admin).unwrap();
                    info.contains("rdb_bgsave_in_progress:1")
                })
                .await
                .unwrap()
            })
            .await;
            server.kill();
        });
        // A checklist may have come after it.
        let own = done.messages.iter().map(|message| &message.card).find(|card| !card.title.starts_with("verify ·"));
        let text = text_of(own.expect("it is told how it ended"));
        assert_ne!(own.and_then(|card| card.level), Some(Level::Ok), "{text}");
        assert!(text.contains("hung up") || text.contains("uncertain") || text.contains("closed"), "{text}");
        assert!(manifests(&chat).is_empty() && files(&chat).is_empty(), "{:?}", files(&chat));
        chat.stop().await;
    }
}

#[tokio::test]
async fn a_disk_that_is_too_small_is_refused_and_one_that_fills_up_keeps_the_last_backup() {
    if !inside_own_mounts(
        "stories::backup_trouble::a_disk_that_is_too_small_is_refused_and_one_that_fills_up_keeps_the_last_backup",
    ) {
        return;
    }
    let (server, builder) = house("normal");
    let dir = builder.store_dir().join("backups");
    fs::create_dir_all(&dir).unwrap();
    mount(&dir, "size=12m,mode=0700");
    slowly(&server, 300, 0.0);
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    let filler = fill(&dir);
    let refused = room.types("ana", "backup shop").await;
    assert!(
        refused.text().contains("a backup needs about") && refused.text().contains("too small"),
        "{}",
        refused.text()
    );
    fs::remove_file(filler).unwrap();

    let first = room.types("ana", "backup shop").await;
    assert_eq!(first.level(), Some(Level::Ok), "{}", first.text());
    let _: String = server.run(&["CONFIG", "SET", "rdb-key-save-delay", "20000"]);
    let (full, ()) = tokio::join!(room.types("ana", "backup shop"), async {
        let parts = || {
            let dir = dir.join("shop/main");
            fs::read_dir(dir).unwrap().any(|entry| entry.unwrap().path().extension().is_some_and(|end| end == "part"))
        };
        eventually_async("a copy has begun", Duration::from_secs(20), async || parts()).await;
        fill(&dir);
    });
    assert!(full.text().contains("the disk with the bot's backups is full"), "{}", full.text());
    assert_eq!(manifests(&chat).len(), 1, "the last one is as it was");
    assert_eq!(files(&chat).len(), 2, "nothing half done is left: {:?}", files(&chat));
    let _: String = server.run(&["CONFIG", "SET", "rdb-key-save-delay", "0"]);
    let right = room.types("cy", "backup-verify shop").await;
    assert_eq!(right.level(), Some(Level::Ok), "{}", right.text());
    chat.stop().await;
}

#[tokio::test]
async fn p12_a_server_that_ignored_its_snapshot_is_told_from_one_that_loaded_it() {
    let (server, builder) = house("normal");
    fill_server(&server);
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    room.types("ana", "backup shop").await;
    let same = room.types("cy", "restore-check shop").await;
    assert_eq!(same.level(), Some(Level::Note), "{}", same.text());
    assert!(
        same.text().contains("The server holds what backup") && same.text().contains("307 keys"),
        "{}",
        same.text()
    );

    // One may be the key that expires; two cannot.
    let _: i64 = server.run(&["DEL", "user:1", "members"]);
    let fewer = room.types("cy", "restore-check shop").await;
    assert_eq!(fewer.level(), Some(Level::Crit), "{}", fewer.text());
    assert!(fewer.text().contains("Keys that never expire are missing"), "{}", fewer.text());
    let _: i64 = server.run(&["HSET", "user:1", "name", "again"]);
    let _: i64 = server.run(&["SADD", "members", "x"]);
    let _: i64 = server.run(&["DEL", "passing"]);
    let expired = room.types("cy", "restore-check shop").await;
    assert!(expired.text().contains("no more than what expires"), "{}", expired.text());

    let _: String = server.run(&["FLUSHALL"]);
    let empty = room.types("cy", "restore-check shop").await;
    assert!(empty.text().contains("The server is empty"), "{}", empty.text());
    assert!(!empty.text().contains("ignored dump.rdb"), "{}", empty.text());
    let _: String = server.run(&["CONFIG", "SET", "appendonly", "yes"]);
    let trap = room.types("cy", "restore-check shop").await;
    assert!(trap.text().contains("ignored dump.rdb") && trap.text().contains("SHUTDOWN NOSAVE"), "{}", trap.text());
    chat.stop().await;
}

#[tokio::test]
async fn p9_a_scheduled_backup_is_made_in_somebodys_name_and_one_that_was_missed_is_said() {
    let (server, builder) = house("normal");
    fill_server(&server);
    // Due now, or so many minutes ago that it is late: the row below says when it was last made.
    let schedule =
        |by: &str| format!("[backups]\nschedules = [{{ service = \"shop\", at = \"00:00\", by = \"{by}\" }}]\n");
    let chat = builder.file("bot.toml", &schedule("ana")).start().await;
    let store = chat.store.clone();
    eventually_async("the new schedule is a row", Duration::from_secs(20), async || {
        store.schedule("backup shop 00:00").await.unwrap().is_some()
    })
    .await;
    assert!(manifests(&chat).is_empty(), "a new one begins with the next time it is due");
    let long_ago = jiff::Timestamp::now() - Duration::from_secs(3 * 86_400 + 60);
    store.schedule_taken("backup shop 00:00", long_ago).await.unwrap();
    drop(store);

    let chat = chat.leave().await.start().await;
    let store = chat.store.clone();
    eventually_async("it is made up for", Duration::from_secs(30), async || {
        store.journal(20).await.unwrap().iter().any(|row| row.command == "schedule")
    })
    .await;
    let rows = store.journal(20).await.unwrap();
    let row = rows.iter().find(|row| row.command == "schedule").unwrap();
    assert_eq!((row.person.as_deref(), row.outcome.as_str()), (Some("ana"), "answered"), "{row:?}");
    let why = row.why.clone().unwrap();
    assert!(why.contains("of its times were missed") && why.contains("made now"), "{why}");
    assert!(rows.iter().any(|row| row.command == "run" && row.person.as_deref() == Some("ana")));
    assert_eq!(manifests(&chat)[0].keys(), 307);

    // In the name of somebody who may not, nothing is done, and that is a row too.
    store.schedule_taken("backup shop 00:00", long_ago).await.unwrap();
    drop(store);
    let chat = chat.leave().await.file("bot.toml", &schedule("cy")).start().await;
    let store = chat.store.clone();
    eventually_async("it is refused", Duration::from_secs(30), async || {
        let rows = store.journal(20).await.unwrap();
        rows.iter()
            .any(|row| row.command == "schedule" && row.outcome == "failed" && row.person.as_deref() == Some("cy"))
    })
    .await;
    assert_eq!(manifests(&chat).len(), 1);
    drop(store);
    chat.stop().await;
}

#[tokio::test]
async fn after_a_crash_a_backup_counts_when_its_file_has_its_name_and_is_not_made_again() {
    let (server, builder) = house("normal");
    fill_server(&server);
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    room.types("ana", "backup shop").await;
    let manifest = manifests(&chat).remove(0);
    let row = chat.store.plan(&manifest.run).await.unwrap().unwrap();
    let cut = |bits| rediscue::runbook::Plan { run: RunId::from_bits(bits), ..row.plan.clone() };
    let (kept, lost) = (cut(1), cut(2));
    chat.store.backups().write(&rediscue::store::Manifest { run: kept.run.clone(), ..manifest }).unwrap();
    for plan in [&kept, &lost] {
        chat.store.plan_add(plan, &row.place).await.unwrap();
        for (from, to) in [(PlanState::Pending, PlanState::Claimed), (PlanState::Claimed, PlanState::Running)] {
            assert!(chat.store.plan_move(&plan.run, from, to, None).await.unwrap());
        }
        chat.store.step(&plan.run, 0, StepState::Begun, None).await.unwrap();
    }

    let chat = chat.leave().await.start().await;
    for (plan, state, said) in
        [(&kept, PlanState::Done, "its file is there"), (&lost, PlanState::Failed, "no file of it was kept")]
    {
        let store = chat.store.clone();
        eventually_async("the run is settled", Duration::from_secs(20), async || {
            store.plan(&plan.run).await.unwrap().unwrap().state != PlanState::Running
        })
        .await;
        assert_eq!(chat.store.plan(&plan.run).await.unwrap().unwrap().state, state);
        let note = chat.store.steps(&plan.run).await.unwrap().remove(0).note.unwrap_or_default();
        assert!(note.contains(said), "{note}");
    }
    assert_eq!(manifests(&chat).len(), 2, "nothing was made again");
    chat.stop().await;
}
