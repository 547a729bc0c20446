//! Removals that are cut short: at every moment each key is under its name, aside, or on the disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use rediscue::{
    exec::Touched,
    model::RunId,
    runbook::{Change, Kept, Select},
    store::{
        StoreSettings,
        snapshot::{Record, StepId},
    },
};

use crate::world::{
    disk, eventually_async,
    keys::{Hand, Seen, assert_same, furnish, key, removal, seen},
    proxy::Proxy,
    redis::{RedisServer, instance, local},
};
use rediscue::model::Deployment;

const RUN: u64 = 42;

async fn hand(server: &RedisServer, dir: &Path) -> Hand {
    hand_with(server, StoreSettings::in_dir(dir)).await
}

async fn hand_with(server: &RedisServer, settings: StoreSettings) -> Hand {
    Hand::at(server.instance(), server.address(), &server.info("run_id"), settings).await
}

/// Names of keys that can be brought back from the disk.
async fn on_disk(hand: &Hand) -> BTreeSet<Vec<u8>> {
    let step = StepId { run: RunId::from_bits(RUN), seq: 0 };
    let Ok(reader) = hand.store.snapshots().and_then(|snapshots| snapshots.read(&step)) else {
        return BTreeSet::new();
    };
    let records = reader.filter_map(Result::ok).flat_map(|frame| frame.records);
    records
        .filter_map(|record| match record {
            Record::Key { key, .. } => Some(key),
            _ => None,
        })
        .collect()
}

/// The original names of what is aside.
fn aside(seen: &Seen) -> BTreeSet<Vec<u8>> {
    let name = |name: &[u8]| {
        let rest = name.strip_prefix(b"rediscue:aside:")?;
        let at = rest.windows(2).position(|pair| pair == b"}:")?;
        Some(rest[at + 2..].to_vec())
    };
    seen.keys().filter_map(|aside| name(aside)).collect()
}

/// Each key is somewhere.
fn nothing_is_lost(before: &Seen, now: &Seen, disk: &BTreeSet<Vec<u8>>, when: &str) {
    let aside = aside(now);
    for name in before.keys() {
        let there = now.contains_key(name) || aside.contains(name) || disk.contains(name);
        assert!(there, "{when}: {} is nowhere", String::from_utf8_lossy(name));
    }
}

/// Settled, nothing is aside, and undone, everything is as it was.
async fn comes_back(hand: &Hand, server: &RedisServer, before: &Seen, change: Change, when: &str) {
    nothing_is_lost(before, &seen(server), &on_disk(hand).await, when);
    hand.settle(&hand.plan(RUN, change)).await;
    let settled = seen(server);
    assert!(aside(&settled).is_empty(), "{when}: something is aside still");
    nothing_is_lost(before, &settled, &on_disk(hand).await, when);
    if !on_disk(hand).await.is_empty() {
        for _ in 0..2 {
            let back = hand.restore(RUN).await;
            assert!(matches!(back, Touched::Verified(_)), "{when}: {back:?}");
        }
    }
    assert_same(before, &seen(server));
}

/// Set where this test is to be the process that dies.
const CHILD: &str = "REDISCUE_TEST_PURGE_CHILD";
const KEYS: usize = 700;

#[test]
fn killed_at_any_point_every_key_is_in_redis_aside_or_on_the_disk_and_comes_back() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    if let Some(place) = std::env::var_os(CHILD) {
        let place = place.into_string().unwrap();
        let (port, dir) = place.split_once(' ').unwrap();
        runtime.block_on(async {
            let address = local(port.parse().unwrap());
            let run_id = std::env::var("REDISCUE_TEST_RUN_ID").unwrap();
            let instance = instance(Deployment::Standalone(address.clone()));
            let hand = Hand::at(instance, address, &run_id, StoreSettings::in_dir(dir)).await;
            let done = hand.touch(&hand.plan(RUN, removal("session:*", KEYS as u64))).await;
            assert!(matches!(done, Touched::Verified(_)), "{done:?}");
        });
        return;
    }
    let server = RedisServer::start();
    let itself = std::env::current_exe().unwrap();
    let run_id = server.info("run_id");
    let name = "stories::purge_trouble::killed_at_any_point_every_key_is_in_redis_aside_or_on_the_disk_and_comes_back";
    let mut points = 0;
    let mut with_aside = 0;
    let mut at = 1;
    loop {
        let _: () = server.run(&["FLUSHALL"]);
        furnish(&server, KEYS);
        let before = seen(&server);
        let dir = tempfile::tempdir().unwrap();
        let ended = Command::new(&itself)
            .args(["--exact", name, "--nocapture", "--test-threads=1"])
            .env(CHILD, format!("{} {}", server.port(), dir.path().display()))
            .env("REDISCUE_TEST_RUN_ID", &run_id)
            .env("REDISCUE_DIE_AT_POINT", at.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        if ended.success() {
            break;
        }
        points += 1;
        with_aside += usize::from(!aside(&seen(&server)).is_empty());
        runtime.block_on(async {
            let hand = hand(&server, dir.path()).await;
            comes_back(&hand, &server, &before, removal("session:*", KEYS as u64), &format!("point {at}")).await;
        });
        // Past the first hundreds the run repeats itself; its last points are reached in strides.
        at += if at < 210 { 1 } else { 23 };
    }
    assert!(points >= 200, "only {points} points were reached");
    assert!(with_aside >= 20, "only {with_aside} of {points} points left keys aside");
}

#[tokio::test]
async fn a_line_that_is_cut_at_any_moment_loses_nothing() {
    let server = RedisServer::start();
    for cut in 0..12 {
        let _: () = server.run(&["FLUSHALL"]);
        furnish(&server, 2_000);
        let before = seen(&server);
        let proxy = Proxy::before(&server.address()).await;
        let dir = tempfile::tempdir().unwrap();
        let through = instance(Deployment::Standalone(proxy.address()));
        let settings = StoreSettings::in_dir(dir.path());
        let hand = Hand::at(through, proxy.address(), &server.info("run_id"), settings).await;
        let change = removal("session:*", 2_000);
        let plan = hand.plan(RUN, change.clone());
        let all = server.run::<i64>(&["DBSIZE"]);
        let cutting = async {
            // A state of the world each time, not a time: so many keys have gone.
            let so_many = cut * 150;
            eventually_async("the removal has come so far", Duration::from_secs(20), async || {
                server.run::<i64>(&["DBSIZE"]) <= all - so_many
            })
            .await;
            proxy.cut();
        };
        let (touched, ()) = tokio::join!(hand.touch(&plan), cutting);
        assert!(!matches!(touched, Touched::Untouched(_)) || cut == 0, "{touched:?}");
        comes_back(&hand, &server, &before, change, &format!("cut {cut}")).await;
    }
}

#[tokio::test]
async fn a_server_that_is_killed_and_comes_back_has_what_the_disk_has_not() {
    let mut server = RedisServer::builder().option("appendonly", "yes").option("appendfsync", "no").start();
    furnish(&server, 3_000);
    let before = seen(&server);
    let dir = tempfile::tempdir().unwrap();
    let mut hand = hand(&server, dir.path()).await;
    let change = removal("session:*", 3_000);
    let plan = hand.plan(RUN, change.clone());
    let all = server.run::<i64>(&["DBSIZE"]);
    let (touched, ()) = tokio::join!(hand.touch(&plan), async {
        eventually_async("some keys have gone", Duration::from_secs(20), async || {
            server.run::<i64>(&["DBSIZE"]) <= all - 700
        })
        .await;
        server.kill();
    });
    assert!(matches!(touched, Touched::Partly { .. } | Touched::Aside { .. }), "{touched:?}");
    server.restart();
    eventually_async("it has read its file again", Duration::from_secs(20), async || server.info("loading") == "0")
        .await;
    hand.meets_again(&server.info("run_id"));
    comes_back(&hand, &server, &before, change, "killed").await;
}

#[tokio::test]
async fn a_bound_that_is_reached_stops_the_run_and_gives_the_keys_back_that_cannot_be_kept() {
    let server = RedisServer::start();
    furnish(&server, 3_000);
    let before = seen(&server);
    let dir = tempfile::tempdir().unwrap();
    let settings = StoreSettings { snapshot_bytes: 40_000, ..StoreSettings::in_dir(dir.path()) };
    let hand = hand_with(&server, settings).await;
    let change = removal("session:*", 3_000);
    let touched = hand.touch(&hand.plan(RUN, change.clone())).await;
    let Touched::Partly { why, left } = &touched else { panic!("{touched:?}") };
    assert!(why.what.contains("snapshots take") && left.contains("have their names back"), "{touched:?}");
    assert!(aside(&seen(&server)).is_empty());
    comes_back(&hand, &server, &before, change, "bound").await;
}

#[test]
fn a_disk_that_is_full_costs_no_key() {
    if !disk::inside_own_mounts("stories::purge_trouble::a_disk_that_is_full_costs_no_key") {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = RedisServer::start();
    furnish(&server, 3_000);
    let before = seen(&server);
    let dir = tempfile::tempdir().unwrap();
    disk::mount(dir.path(), "size=1m");
    runtime.block_on(async {
        let hand = hand(&server, dir.path()).await;
        hand.store.snapshots().unwrap();
        let filler = disk::fill(dir.path());
        let change = removal("session:*", 3_000);
        let touched = hand.touch(&hand.plan(RUN, change.clone())).await;
        assert!(matches!(touched, Touched::Untouched(_)), "{touched:?}");
        assert_same(&before, &seen(&server));
        // Room for a frame or two, and no more.
        std::fs::write(&filler, vec![0; 0]).unwrap();
        let used = std::fs::File::create(dir.path().join("filler")).unwrap();
        let _ = used.set_len(0);
        std::fs::write(dir.path().join("filler"), vec![0; 500 << 10]).unwrap();
        let touched = hand.touch(&hand.plan(RUN, change.clone())).await;
        assert!(!matches!(touched, Touched::Uncertain(_)), "{touched:?}");
        std::fs::remove_file(&filler).unwrap();
        comes_back(&hand, &server, &before, change, "full").await;
    });
}

#[tokio::test]
async fn stopped_between_batches_nothing_is_half_done() {
    let server = RedisServer::start();
    furnish(&server, 5_000);
    let before = seen(&server);
    let dir = tempfile::tempdir().unwrap();
    let hand = hand(&server, dir.path()).await;
    let change = removal("session:*", 5_000);
    let plan = hand.plan(RUN, change.clone());
    let all = server.run::<i64>(&["DBSIZE"]);
    let (touched, ()) = tokio::join!(hand.touch(&plan), async {
        eventually_async("some keys have gone", Duration::from_secs(20), async || {
            server.run::<i64>(&["DBSIZE"]) <= all - 600
        })
        .await;
        hand.cx.stop.cancel();
    });
    let Touched::Partly { why, .. } = &touched else { panic!("{touched:?}") };
    assert!(why.what.contains("it was stopped"), "{touched:?}");
    let now = seen(&server);
    assert!(aside(&now).is_empty() && now.len() > 9, "{}", now.len());
    let mut hand = hand;
    hand.cx.stop = Default::default();
    comes_back(&hand, &server, &before, change, "stopped").await;
}

#[tokio::test]
async fn a_run_stops_before_it_would_reach_more_than_was_consented_to() {
    let server = RedisServer::start();
    furnish(&server, 1_000);
    let dir = tempfile::tempdir().unwrap();
    let hand = hand(&server, dir.path()).await;
    let touched = hand.touch(&hand.plan(RUN, removal("session:*", 100))).await;
    let Touched::Partly { why, .. } = &touched else { panic!("{touched:?}") };
    assert!(why.what.contains("more than the 110 keys"), "{touched:?}");
    assert_eq!(server.run::<i64>(&["DBSIZE"]), 1_009 - 110);
}

#[tokio::test]
async fn a_key_that_changes_while_it_is_removed_is_kept_as_it_is() {
    let server = RedisServer::start();
    for i in 0..=400 {
        let _: () = server.run(&["SET", &key(i), r#"{"state":"old"}"#]);
    }
    let select = Select { predicate: Some("state = old".into()), ..Select::matching("session:*") };
    let change = Change::RemoveKeys { select, now_ms: 0, keys: 401, keep: Kept::Snapshot };
    let dir = tempfile::tempdir().unwrap();
    let hand = hand(&server, dir.path()).await;
    let plan = hand.plan(RUN, change);
    // Somebody writes every session anew while the run goes on.
    let writer = async {
        let mut written = BTreeMap::new();
        let mut admin = server.admin();
        for i in 0..=400 {
            let value = format!(r#"{{"state":"new","i":{i}}}"#);
            redis::cmd("SET").arg(key(i)).arg(&value).exec(&mut admin).unwrap();
            written.insert(key(i), value);
            tokio::task::yield_now().await;
        }
        written
    };
    let (touched, written) = tokio::join!(hand.touch(&plan), writer);
    assert!(matches!(touched, Touched::Verified(_)), "{touched:?}");
    for (name, value) in written {
        assert_eq!(
            server.run::<Option<String>>(&["GET", &name]).as_deref(),
            Some(value.as_str()),
            "{name}: what is newer stays"
        );
    }
}
