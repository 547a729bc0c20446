//! A disk that is full or read-only: everything goes on, marked, and comes back by itself.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use rediscue::store::{Store, StoreError, StoreHealth, StoreSettings, verify};

use super::{entry, open};
use crate::world::disk::{fill, inside_own_mounts, mount};

async fn until(store: &Store, state: impl Fn(&StoreHealth) -> bool) -> StoreHealth {
    let mut health = store.watch_health();
    let waiting = health.wait_for(|health| state(health));
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("the state comes").unwrap().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_said_at_once_and_forgotten_when_there_is_room_again() {
    if !inside_own_mounts("stories::store::disk::a_full_disk_is_said_at_once_and_forgotten_when_there_is_room_again") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    mount(dir.path(), "size=4m");
    let store = open(dir.path()).await;
    for n in 1..=20 {
        store.record(entry(n)).await.unwrap();
    }
    assert!(store.first_time("Ev-before").await.unwrap());

    let filler = fill(dir.path());
    let mut refused = 0;
    for n in 0..2_000 {
        let asked = Instant::now();
        match store.record(entry(100 + n)).await {
            Ok(()) => {}
            Err(StoreError::Unwritable(why)) => {
                assert!(why.contains("full"), "{why}");
                refused += 1;
            }
            Err(other) => panic!("{other}"),
        }
        assert!(asked.elapsed() < Duration::from_secs(1), "nobody waits for a full disk");
        if refused == 50 {
            break;
        }
    }
    assert_eq!(refused, 50);
    let health = until(&store, |health| !health.is_ok()).await;
    assert!(
        matches!(&health, StoreHealth::Failing { why, lost, .. } if why.contains("full") && *lost >= 1),
        "{health:?}"
    );

    // Commands are still taken once.
    assert!(store.first_time("Ev-during").await.unwrap());
    assert!(!store.first_time("Ev-during").await.unwrap());
    assert!(!store.first_time("Ev-before").await.unwrap());
    // What is there can be read.
    assert!(store.journal(5).await.unwrap().len() == 5);

    std::fs::remove_file(filler).unwrap();
    until(&store, StoreHealth::is_ok).await;
    store.record_synced(entry(9_999)).await.unwrap();
    let rows = store.journal(5_000).await.unwrap();
    let gaps: Vec<_> = rows.iter().filter(|row| row.kind == "gap").collect();
    assert!(!gaps.is_empty(), "the journal says what it lacks");
    assert!(gaps[0].why.as_deref().unwrap().contains("rows were lost"));
    store.close().await;

    let paths = StoreSettings::in_dir(dir.path()).paths();
    let report = verify(&paths.database, &paths.key, &[]).await.unwrap();
    assert_eq!((report.rows, report.fault), (rows.len() as u64, None));
    let store = open(dir.path()).await;
    assert!(!store.first_time("Ev-during").await.unwrap(), "what was taken meanwhile was written after");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bot_that_starts_on_a_read_only_disk_works_unjournalled_until_it_is_writable() {
    if !inside_own_mounts(
        "stories::store::disk::a_bot_that_starts_on_a_read_only_disk_works_unjournalled_until_it_is_writable",
    ) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    mount(dir.path(), "size=4m");
    let store = open(dir.path()).await;
    store.record(entry(1)).await.unwrap();
    store.close().await;
    let remount = |options: &str| {
        assert!(Command::new("mount").args(["-o", options]).arg(dir.path()).status().unwrap().success());
    };
    remount("remount,ro");

    let store = open(dir.path()).await;
    assert!(!store.health().is_ok());
    assert!(matches!(store.record(entry(2)).await, Err(StoreError::Unwritable(_))));
    assert!(store.first_time("Ev1").await.unwrap());
    assert!(!store.first_time("Ev1").await.unwrap());

    remount("remount,rw");
    until(&store, StoreHealth::is_ok).await;
    store.record(entry(3)).await.unwrap();
    assert!(!store.first_time("Ev1").await.unwrap());
    let paths = StoreSettings::in_dir(dir.path()).paths();
    let report = verify(&paths.database, &paths.key, &[]).await.unwrap();
    assert_eq!((report.rows, report.fault), (3, None), "two rows, and the one that says that one was lost");
}
