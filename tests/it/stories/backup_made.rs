//! Backups as people live through them: made, listed, verified, damaged, restored.

use std::{fs, io::Read as _, os::unix::fs::PermissionsExt as _, path::PathBuf, time::Duration};

use rediscue::{model::Level, store::Manifest};

use crate::world::{
    chat::{Chat, text_of},
    eventually,
    redis::RedisServer,
    room::{Room, TOUCHER, house, house_at},
};

/// Keys of every type, with and without an end, in two databases.
pub(crate) fn fill(server: &RedisServer) {
    server.fill("session:", 300, 200);
    for (at, words) in [
        vec!["HSET", "user:1", "name", "a-secret-name", "age", "41"],
        vec!["RPUSH", "queue", "one", "two", "three"],
        vec!["SADD", "members", "x", "y"],
        vec!["ZADD", "board", "1", "one", "2.5", "two"],
        vec!["XADD", "stream", "1-1", "field", "value"],
        vec!["SET", "passing", "soon", "EX", "5000"],
    ]
    .iter()
    .enumerate()
    {
        let _: redis::Value = server.run(words);
        assert!(at < 10);
    }
    let mut other = server.admin();
    let () = redis::cmd("SELECT").arg(3).query(&mut other).unwrap();
    let () = redis::cmd("SET").arg("elsewhere").arg("here").query(&mut other).unwrap();
}

fn digest(connection: &mut redis::Connection) -> String {
    redis::cmd("DEBUG").arg("DIGEST").query(connection).unwrap()
}

/// The files in the directory of backups of `shop`.
pub(crate) fn files(chat: &Chat) -> Vec<PathBuf> {
    let dir = chat.dir.path().join("store/backups/shop/main");
    let mut files: Vec<PathBuf> =
        fs::read_dir(dir).map_or(Vec::new(), |entries| entries.map(|entry| entry.unwrap().path()).collect());
    files.sort();
    files
}

pub(crate) fn manifests(chat: &Chat) -> Vec<Manifest> {
    chat.store.backups().list(&"shop".parse().unwrap(), &"main".parse().unwrap()).unwrap().manifests
}

/// What a sealed file holds, opened as the program itself opens it.
fn unsealed(chat: &Chat, manifest: &Manifest, file: usize) -> Vec<u8> {
    let backups = chat.store.backups();
    let path = backups.dir(&manifest.service, &manifest.instance).join(&manifest.files[file].file);
    let mut bytes = Vec::new();
    backups.open(&path).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

#[tokio::test]
async fn s9_p8_a_backup_is_whole_sealed_and_restores_to_the_same_data() {
    for from in ["stream", "save"] {
        let (server, builder) = house("normal");
        fill(&server);
        let chat = builder.start().await;
        let mut room = Room::of(&chat);
        let dry = room.types("ana", &format!("backup shop --from {from} --dry-run")).await.text();
        for said in ["Risk: low", "reads all data; nothing of it changes", "the server forks", "read it to its end"] {
            assert!(dry.contains(said), "{said} is missing in {dry}");
        }
        assert_eq!(files(&chat), Vec::<PathBuf>::new());

        let done = room.types("ana", &format!("backup shop --from {from}")).await;
        // Its own message; the checklist that follows every change is the last.
        let card = &done.messages[0].card;
        let text = text_of(card);
        assert_eq!(card.level, Some(Level::Ok), "{text}");
        // The plan's own message says how it went; the checklist that follows every change stands below it.
        let said = |card| text_of(card).contains("307 keys") && text_of(card).contains("its checksum is right");
        let cards = done.edited.iter().map(|(_, card)| card).chain(done.messages.iter().map(|message| &message.card));
        assert!(cards.into_iter().any(said), "{text}");

        let manifest = manifests(&chat).remove(0);
        assert!(manifest.whole());
        assert_eq!((manifest.keys(), manifest.files[0].databases.len()), (307, 2));
        for path in files(&chat) {
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{}", path.display());
            let bytes = fs::read(&path).unwrap();
            for word in ["a-secret-name", "session:", "REDIS00"] {
                assert!(!bytes.windows(word.len()).any(|window| window == word.as_bytes()), "{word} is in clear");
            }
        }
        assert_eq!(files(&chat).len(), 2, "a file and its manifest, and nothing half done: {:?}", files(&chat));

        let before = digest(&mut server.admin());
        let restored = restored(&unsealed(&chat, &manifest, 0));
        assert_eq!(digest(&mut restored.admin()), before);
        let size: u64 = restored.run(&["DBSIZE"]);
        assert_eq!(size, 306);
        chat.stop().await;
    }
}

/// A server that was started on these bytes.
fn restored(rdb: &[u8]) -> RedisServer {
    let mut server = RedisServer::builder().start();
    let path = server.dir().join("dump.rdb");
    server.kill();
    fs::write(path, rdb).unwrap();
    server.restart();
    server
}

#[tokio::test]
async fn backups_are_listed_and_verified_and_damage_is_said_with_its_place() {
    let (server, builder) = house("normal");
    fill(&server);
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    let none = room.types("cy", "backups shop").await;
    assert!(none.text().contains("There is no whole backup"), "{}", none.text());
    let nothing = room.types("cy", "backup-verify shop").await;
    assert!(nothing.text().contains("there is no backup of shop/main"), "{}", nothing.text());

    room.types("ana", "backup shop").await;
    let manifest = manifests(&chat).remove(0);
    let listed = room.types("cy", "backups shop").await.text();
    for said in [manifest.run.as_str(), "307", "1 backup"] {
        assert!(listed.contains(said), "{said} is missing in {listed}");
    }
    let right = room.types("cy", "backup-verify shop").await;
    assert_eq!(right.level(), Some(Level::Ok), "{}", right.text());
    assert!(right.text().contains("db0 306, db3 1"), "{}", right.text());
    assert!(right.text().contains("appendonly no"), "{}", right.text());

    let path = files(&chat).into_iter().find(|path| path.extension().is_some_and(|ending| ending == "age")).unwrap();
    let whole = fs::read(&path).unwrap();
    let mut bent = whole.clone();
    let middle = bent.len() / 2;
    bent[middle] ^= 1;
    let longer = [whole.clone(), b"more".to_vec()].concat();
    for (bytes, what) in [
        (bent, "is damaged at or just before its byte"),
        (whole[..whole.len() / 2].to_vec(), "is damaged at or just before its byte"),
        (whole[..20].to_vec(), "is damaged at its head"),
        (longer, "damaged"),
    ] {
        fs::write(&path, bytes).unwrap();
        let told = room.types("cy", &format!("backup-verify {} shop", manifest.run)).await;
        assert_eq!(told.level(), Some(Level::Crit), "{what}: {}", told.text());
        assert!(told.text().contains(what), "{what}: {}", told.text());
        assert!(!told.text().contains(&chat.dir.path().display().to_string()), "{}", told.text());
    }
    fs::remove_file(&path).unwrap();
    let gone = room.types("cy", "backup-verify shop").await;
    assert_eq!(gone.level(), Some(Level::Crit), "{}", gone.text());
    chat.stop().await;
}

#[tokio::test]
async fn whoever_may_not_copy_is_told_the_rule_that_is_missing_and_nothing_is_left() {
    let (server, builder) = house("normal");
    let _: String = server.run(&["ACL", "SETUSER", "toucher", "-psync", "-sync", "-bgsave"]);
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    let refused = room.types("ana", "backup shop").await;
    assert_eq!(refused.level(), Some(Level::Warn), "{}", refused.text());
    assert!(refused.text().contains("+psync +replconf"), "{}", refused.text());
    let refused = room.types("ana", "backup shop --from save").await;
    assert!(refused.text().contains("lacks `+bgsave`"), "{}", refused.text());
    let clear = room.types("ana", "backup shop --no-encrypt").await;
    assert!(clear.text().contains("Backups are always encrypted"), "{}", clear.text());
    let viewer = room.types("cy", "backup shop").await;
    assert!(viewer.text().contains("No rule lets you run backup"), "{}", viewer.text());
    assert_eq!(files(&chat), Vec::<PathBuf>::new());
    chat.stop().await;
}

#[tokio::test]
async fn a_backup_of_a_service_that_spares_its_primary_comes_from_a_replica_in_step() {
    let server = RedisServer::builder().user(TOUCHER).start();
    fill(&server);
    let replica =
        RedisServer::builder().user(TOUCHER).option("replicaof", &format!("127.0.0.1 {}", server.port())).start();
    eventually("the replica is in step", Duration::from_secs(20), || {
        replica.info("master_link_status") == "up" && server.info("slave0").contains("state=online")
    });
    let found = format!("address = \"{}\"\nscan_replica = true", server.address());
    let chat = house_at("normal", &server, &found).start().await;
    let mut room = Room::of(&chat);
    let copies = server.info("sync_full");
    let done = room.types("ana", "backup shop").await;
    let text: String = done.messages.iter().map(|message| text_of(&message.card)).collect();
    let told = format!("taken from its replica {}", replica.address());
    assert!(text.contains(&told) || done.edited.iter().any(|(_, card)| text_of(card).contains(&told)), "{text}");
    assert_eq!(server.info("sync_full"), copies, "the primary made no copy for it");
    let kept = manifests(&chat);
    assert_eq!((kept.len(), kept[0].whole(), kept[0].keys()), (1, true, 307));

    // Without a replica to turn to it is the primary again.
    drop(replica);
    eventually("the replica is gone", Duration::from_secs(20), || server.info("connected_slaves") == "0");
    room.types("ana", "backup shop").await;
    assert_eq!(manifests(&chat).iter().filter(|manifest| manifest.whole()).count(), 2);
    chat.stop().await;
}

#[tokio::test]
async fn reading_a_backup_outlives_the_deadline_of_commands_and_says_how_far_it_is() {
    let (server, builder) = house("normal");
    server.fill("big:", 2_400, 40_000);
    let chat = builder.file("bot.toml", "[deadlines]\ncommand = \"1s\"\nprogress = \"100ms\"\n").start().await;
    let mut room = Room::of(&chat);
    room.types("ana", "backup shop").await;
    assert_eq!(manifests(&chat).len(), 1);
    let read = room.types("ana", "backup-verify shop").await;
    assert_eq!(read.level(), Some(Level::Ok), "{}", read.text());
    assert!(read.text().contains("every byte read"), "{}", read.text());
    let progress = read.edited.iter().filter(|(_, card)| text_of(card).contains("MiB")).count();
    assert!(progress > 0, "{:?}", read.edited.iter().map(|(_, card)| text_of(card)).collect::<Vec<_>>());
    chat.stop().await;
}
