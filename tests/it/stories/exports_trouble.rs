//! Exports and imports that are cut short: a copy is whole or not there, and what was put back can be taken back.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use rediscue::{
    exec::Touched,
    model::{Deployment, RunId},
    runbook::{Change, Select},
    store::{StoreSettings, snapshot::StepId},
};

use crate::world::{
    disk, eventually_async,
    keys::{Hand, Seen, assert_same, furnish, key, seen},
    proxy::Proxy,
    redis::{RedisServer, instance, local},
};

const EXPORT: u64 = 42;
const IMPORT: u64 = 43;
const KEYS: usize = 120;

fn exporting(pattern: &str, keys: u64) -> Change {
    Change::ExportKeys { select: Select::matching(pattern), now_ms: 0, keys, large: false }
}

fn importing(overwrite: bool, keys: u64) -> Change {
    Change::ImportKeys { export: RunId::from_bits(EXPORT), seq: 0, only: None, overwrite, keys }
}

async fn hand_with(server: &RedisServer, settings: StoreSettings) -> Hand {
    Hand::at(server.instance(), server.address(), &server.info("run_id"), settings).await
}

async fn hand(server: &RedisServer, dir: &Path) -> Hand {
    hand_with(server, StoreSettings::in_dir(dir)).await
}

async fn export(hand: &Hand, keys: u64) -> Touched {
    hand.touch(&hand.plan(EXPORT, exporting("session:*", keys))).await
}

/// How many keys the export holds; `None`: there is none.
fn held(hand: &Hand) -> Option<u64> {
    let step = StepId { run: RunId::from_bits(EXPORT), seq: 0 };
    hand.store.snapshots().unwrap().contents(&step).ok().flatten().map(|contents| contents.keys)
}

/// Whether anything of the export is on the disk.
fn anything(hand: &Hand) -> bool {
    hand.store.snapshots().unwrap().read(&StepId { run: RunId::from_bits(EXPORT), seq: 0 }).is_ok()
}

/// Some sessions are lost and some hold something newer since the export was made.
fn damage(server: &RedisServer) {
    let mut pipe = redis::pipe();
    for i in 0..KEYS {
        if i % 4 < 2 {
            pipe.cmd("DEL").arg(key(i)).ignore();
        } else if i % 4 == 2 {
            pipe.cmd("SET").arg(key(i)).arg(format!("newer {i}")).ignore();
        }
    }
    pipe.exec(&mut server.admin()).unwrap();
}

/// Set where this test is to be the process that dies.
const CHILD: &str = "REDISCUE_TEST_EXPORT_CHILD";

/// In the child: does the one thing it was started for.
fn child(place: &str) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let parts: Vec<&str> = place.splitn(3, ' ').collect();
    let [what, port, dir] = parts[..] else { panic!("{place}") };
    runtime.block_on(async {
        let address = local(port.parse().unwrap());
        let run_id = std::env::var("REDISCUE_TEST_RUN_ID").unwrap();
        let instance = instance(Deployment::Standalone(address.clone()));
        let hand = Hand::at(instance, address, &run_id, StoreSettings::in_dir(dir)).await;
        let done = match what {
            "export" => export(&hand, KEYS as u64).await,
            _ => hand.touch(&hand.plan(IMPORT, importing(true, KEYS as u64))).await,
        };
        assert!(matches!(done, Touched::Verified(_)), "{done:?}");
    });
}

/// Whether a child that dies at that point came to its end all the same.
fn ran(test: &str, what: &str, server: &RedisServer, dir: &Path, at: u64) -> bool {
    let ended = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("stories::exports_trouble::{test}"), "--nocapture", "--test-threads=1"])
        .env(CHILD, format!("{what} {} {}", server.port(), dir.display()))
        .env("REDISCUE_TEST_RUN_ID", server.info("run_id"))
        .env("REDISCUE_DIE_AT_POINT", at.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    ended.success()
}

#[test]
fn killed_at_any_point_an_export_is_whole_or_not_there_and_no_key_was_touched() {
    if let Some(place) = std::env::var_os(CHILD) {
        return child(&place.into_string().unwrap());
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = RedisServer::start();
    furnish(&server, KEYS);
    let before = seen(&server);
    let test = "killed_at_any_point_an_export_is_whole_or_not_there_and_no_key_was_touched";
    let mut cut = 0;
    for at in 1.. {
        let dir = tempfile::tempdir().unwrap();
        if ran(test, "export", &server, dir.path(), at) {
            break;
        }
        assert_same(&before, &seen(&server));
        runtime.block_on(async {
            let hand = hand(&server, dir.path()).await;
            let whole = held(&hand);
            cut += usize::from(whole.is_none());
            let settled = hand.settle(&hand.plan(EXPORT, exporting("session:*", KEYS as u64))).await;
            assert_eq!(settled.kept, whole.unwrap_or(0), "point {at}: {}", settled.said);
            assert_eq!(anything(&hand), whole.is_some(), "point {at}: half an export is not kept");
            if whole.is_none() {
                let done = export(&hand, KEYS as u64).await;
                assert!(matches!(done, Touched::Verified(_)), "point {at}: asked for again: {done:?}");
            }
            assert_eq!(held(&hand), Some(KEYS as u64), "point {at}");
        });
    }
    assert!(cut >= 5, "only {cut} points were before the end");
}

#[test]
fn killed_at_any_point_an_import_is_told_taken_back_whole_and_done_again() {
    if let Some(place) = std::env::var_os(CHILD) {
        return child(&place.into_string().unwrap());
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = RedisServer::start();
    furnish(&server, KEYS);
    let exported = seen(&server);
    let sealed = tempfile::tempdir().unwrap();
    runtime.block_on(async {
        let hand = hand(&server, sealed.path()).await;
        assert!(matches!(export(&hand, KEYS as u64).await, Touched::Verified(_)));
        hand.store.close().await;
    });
    damage(&server);
    let before = seen(&server);
    let test = "killed_at_any_point_an_import_is_told_taken_back_whole_and_done_again";
    let mut at = 1;
    let (mut points, mut halfway) = (0, 0);
    loop {
        let dir = tempfile::tempdir().unwrap();
        copy(sealed.path(), dir.path());
        if ran(test, "import", &server, dir.path(), at) {
            break;
        }
        points += 1;
        let now = seen(&server);
        halfway += usize::from(now != before);
        let when = format!("point {at}");
        for (name, (digest, _)) in &before {
            let there = now.get(name).unwrap_or_else(|| panic!("{when}: a key is gone"));
            let right = there.0 == *digest || exported.get(name).is_some_and(|(wanted, _)| there.0 == *wanted);
            assert!(right, "{when}: {} is neither as it was nor as it was to be", String::from_utf8_lossy(name));
        }
        runtime.block_on(async {
            let hand = hand(&server, dir.path()).await;
            let settled = hand.settle(&hand.plan(IMPORT, importing(true, KEYS as u64))).await;
            assert!(settled.said.contains("compared with the export"), "{when}: {}", settled.said);
            if settled.kept > 0 {
                for _ in 0..2 {
                    let back = hand.restore(IMPORT).await;
                    assert!(matches!(back, Touched::Verified(_)), "{when}: {back:?}");
                }
            }
            assert_same(&before, &seen(&server));
        });
        // The keys that are overwritten go one by one, each like the other.
        at += if at < 24 { 1 } else { 9 };
    }
    assert_same(&exported, &seen(&server));
    assert!(points >= 20 && halfway >= 5, "{points} points, {halfway} of them halfway");
}

fn copy(from: &Path, to: &Path) {
    for name in ["snapshot.key", "snapshots"] {
        let (from, to) = (from.join(name), to.join(name));
        if from.is_dir() {
            std::fs::create_dir_all(&to).unwrap();
            for entry in std::fs::read_dir(&from).unwrap() {
                let entry = entry.unwrap();
                std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
            }
        } else {
            std::fs::copy(from, to).unwrap();
        }
    }
}

#[tokio::test]
async fn a_line_that_is_cut_in_an_import_loses_nothing_and_what_was_done_is_taken_back() {
    let server = RedisServer::start();
    furnish(&server, 2_000);
    let exported = seen(&server);
    let dir = tempfile::tempdir().unwrap();
    let proxy = Proxy::before(&server.address()).await;
    let through = instance(Deployment::Standalone(proxy.address()));
    let settings = StoreSettings::in_dir(dir.path());
    let hand = Hand::at(through, proxy.address(), &server.info("run_id"), settings).await;
    assert!(matches!(export(&hand, 2_000).await, Touched::Verified(_)));
    let _: () = server.run(&["FLUSHALL"]);
    let before = seen(&server);
    let cutting = async {
        eventually_async("it has come so far", Duration::from_secs(20), async || server.run::<i64>(&["DBSIZE"]) >= 700)
            .await;
        proxy.cut();
    };
    let import = hand.plan(IMPORT, importing(false, 2_000));
    let (touched, ()) = tokio::join!(hand.touch(&import), cutting);
    assert!(matches!(touched, Touched::Partly { .. }), "{touched:?}");
    let back = hand.restore(IMPORT).await;
    assert!(matches!(back, Touched::Verified(_)), "{back:?}");
    assert_same(&before, &seen(&server));
    let again = hand.touch(&hand.plan(IMPORT + 1, importing(false, 2_000))).await;
    assert!(matches!(again, Touched::Verified(_)), "{again:?}");
    let sessions = exported.into_iter().filter(|(name, _)| name.starts_with(b"session:")).collect::<Seen>();
    assert_same(&sessions, &seen(&server));
}

#[tokio::test]
async fn stopped_or_without_room_nothing_of_an_export_is_kept() {
    let server = RedisServer::start();
    furnish(&server, 6_000);
    let before = seen(&server);
    let dir = tempfile::tempdir().unwrap();
    let settings = StoreSettings { snapshot_bytes: 40_000, ..StoreSettings::in_dir(dir.path()) };
    let narrow = hand_with(&server, settings).await;
    let touched = export(&narrow, 6_000).await;
    let Touched::Untouched(why) = &touched else { panic!("{touched:?}") };
    assert!(why.what.contains("snapshots take") && why.next.contains("nothing was kept"), "{why:?}");
    assert!(!anything(&narrow));

    let dir = tempfile::tempdir().unwrap();
    let hand = hand(&server, dir.path()).await;
    let stopping = async {
        eventually_async("the file has grown", Duration::from_secs(20), async || {
            let snapshots = hand.store.snapshots().unwrap();
            snapshots.list().unwrap().iter().any(|found| found.bytes > 2_000)
        })
        .await;
        hand.cx.stop.cancel();
    };
    let (touched, ()) = tokio::join!(export(&hand, 6_000), stopping);
    let Touched::Untouched(why) = &touched else { panic!("{touched:?}") };
    assert!(why.what.contains("stopped"), "{why:?}");
    assert!(!anything(&hand));

    // More than was shown is not copied.
    let dir = tempfile::tempdir().unwrap();
    let hand = hand_with(&server, StoreSettings::in_dir(dir.path())).await;
    let touched = export(&hand, 100).await;
    let Touched::Untouched(why) = &touched else { panic!("{touched:?}") };
    assert!(why.what.contains("more than the 110 keys"), "{why:?}");
    assert!(!anything(&hand));
    assert_same(&before, &seen(&server));
}

#[test]
fn a_disk_that_is_full_keeps_no_half_export_and_an_import_puts_nothing_there_that_is_not_written_down() {
    let name = "a_disk_that_is_full_keeps_no_half_export_and_an_import_puts_nothing_there_that_is_not_written_down";
    if !disk::inside_own_mounts(&format!("stories::exports_trouble::{name}")) {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = RedisServer::start();
    furnish(&server, 1_500);
    let dir = tempfile::tempdir().unwrap();
    disk::mount(dir.path(), "size=2m");
    runtime.block_on(async {
        let hand = hand(&server, dir.path()).await;
        hand.store.snapshots().unwrap();
        let filler = disk::fill(dir.path());
        let before = seen(&server);
        let touched = export(&hand, 1_500).await;
        assert!(matches!(touched, Touched::Untouched(_)), "{touched:?}");
        assert!(!anything(&hand));
        assert_same(&before, &seen(&server));
        std::fs::remove_file(&filler).unwrap();
        assert!(matches!(export(&hand, 1_500).await, Touched::Verified(_)));
        let _: () = server.run(&["FLUSHALL"]);
        let filler = disk::fill(dir.path());
        let touched = hand.touch(&hand.plan(IMPORT, importing(false, 1_500))).await;
        assert!(matches!(touched, Touched::Untouched(_)), "{touched:?}");
        assert_eq!(server.run::<i64>(&["DBSIZE"]), 0);
        std::fs::remove_file(&filler).unwrap();
        let touched = hand.touch(&hand.plan(IMPORT + 1, importing(false, 1_500))).await;
        assert!(matches!(touched, Touched::Verified(_)), "{touched:?}");
        assert_eq!(server.run::<i64>(&["DBSIZE"]), 1_500);
    });
}

#[tokio::test]
async fn what_is_written_while_it_is_overwritten_is_never_lost() {
    let server = RedisServer::start();
    furnish(&server, 400);
    let dir = tempfile::tempdir().unwrap();
    let hand = hand(&server, dir.path()).await;
    assert!(matches!(export(&hand, 400).await, Touched::Verified(_)));
    let mut pipe = redis::pipe();
    for i in 0..400 {
        pipe.cmd("SET").arg(key(i)).arg("0").ignore();
    }
    pipe.exec(&mut server.admin()).unwrap();
    // Every key is counted up, by somebody who reads what it was and would see a step lost.
    let counting = async {
        let mut admin = server.admin();
        let mut counted = Vec::new();
        for i in 0..400 {
            let name = key(i);
            // After it was overwritten it is no number any more, or a hash.
            if redis::cmd("INCR").arg(&name).query::<i64>(&mut admin).is_ok() {
                counted.push(name);
            }
            tokio::task::yield_now().await;
        }
        counted
    };
    let import = hand.plan(IMPORT, importing(true, 400));
    let (touched, counted) = tokio::join!(hand.touch(&import), counting);
    assert!(matches!(touched, Touched::Verified(_)), "{touched:?}");
    let back = hand.restore(IMPORT).await;
    assert!(matches!(back, Touched::Verified(_)), "{back:?}");
    for name in &counted {
        assert_eq!(server.run::<String>(&["GET", name]), "1", "{name}: a step that was counted is lost");
    }
}

#[tokio::test]
async fn whatever_the_server_refuses_is_told_and_leaves_the_world_as_it_was() {
    let server = RedisServer::start();
    furnish(&server, 50);
    let exported = seen(&server);
    let dir = tempfile::tempdir().unwrap();
    let hand = hand(&server, dir.path()).await;
    for right in ["scan", "type", "dump"] {
        let _: () = server.run(&["ACL", "SETUSER", "default", &format!("-{right}")]);
        let touched = export(&hand, 50).await;
        assert!(matches!(touched, Touched::Untouched(_)), "{right}: {touched:?}");
        assert!(!anything(&hand), "{right}");
        let _: () = server.run(&["ACL", "SETUSER", "default", &format!("+{right}")]);
        assert_same(&exported, &seen(&server));
    }
    assert!(matches!(export(&hand, 50).await, Touched::Verified(_)));
    let _: i64 = server.run(&["DEL", &key(1), &key(2)]);
    let _: () = server.run(&["SET", &key(3), "newer"]);
    let before = seen(&server);
    for (number, right) in ["exists", "dump", "restore", "watch", "multi", "exec"].into_iter().enumerate() {
        let _: () = server.run(&["ACL", "SETUSER", "default", &format!("-{right}")]);
        let run = IMPORT + number as u64;
        let touched = hand.touch(&hand.plan(run, importing(true, 3))).await;
        assert!(!matches!(touched, Touched::Verified(_)), "{right}: {touched:?}");
        let _: () = server.run(&["ACL", "SETUSER", "default", &format!("+{right}")]);
        for _ in 0..2 {
            let back = hand.restore(run).await;
            assert!(matches!(back, Touched::Verified(_)), "{right}: {back:?}");
        }
        assert_same(&before, &seen(&server));
    }
    let _: () = server.run(&["CONFIG", "SET", "maxmemory", "1"]);
    let touched = hand.touch(&hand.plan(IMPORT + 100, importing(true, 3))).await;
    assert!(format!("{touched:?}").contains("OOM"), "{touched:?}");
    let _: () = server.run(&["CONFIG", "SET", "maxmemory", "0"]);
    assert_same(&before, &seen(&server));
}
