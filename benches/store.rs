//! How fast the journal is written: in groups, one after the other, and synced.
//!
//! `cargo bench --bench store`. The disk is whatever `TMPDIR` is on.

#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a bench prints what it measured")]

use std::{
    path::Path,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use rediscue::{
    model::{Identity, Level, Place, PlaceKind, Platform, RunId},
    store::{Entry, Outcome, Store, StoreSettings, verify},
};

fn entry(n: u64) -> Entry {
    Entry {
        at: Timestamp::now(),
        run: RunId::from_bits(n),
        identity: Identity { platform: Platform::Slack, team: "T024BE7LD".into(), user: "U2147483697".into() },
        person: Some("ada".parse().expect("a name")),
        place: Place {
            platform: Platform::Slack,
            team: "T024BE7LD".into(),
            channel: "C2147483705".into(),
            thread: None,
            kind: PlaceKind::Channel,
            via: None,
        },
        line: "status prospectflow".into(),
        command: "status".into(),
        service: Some("prospectflow".parse().expect("a name")),
        instance: Some("main".parse().expect("a name")),
        outcome: Outcome::Answered,
        why: None,
        level: Some(Level::Ok),
        took: Duration::from_millis(3),
        reveal: false,
    }
}

fn percentile(sorted: &[Duration], percent: f64) -> Duration {
    sorted[((sorted.len() - 1) as f64 * percent / 100.0) as usize]
}

async fn at_once(store: &Store, callers: u64, total: u64, with_event: bool) {
    let started = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|caller| {
            let store = store.clone();
            tokio::spawn(async move {
                for n in 0..total / callers {
                    if with_event {
                        store.first_time(&format!("Ev{caller}-{n}-{with_event}")).await.expect("taken");
                    }
                    store.record(entry(n)).await.expect("written");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    let what = if with_event { "event taken and row" } else { "row" };
    let rate = total as f64 / started.elapsed().as_secs_f64();
    println!("{callers:>4} at once, {what:<19}  {rate:>9.0} /s");
}

async fn alone(store: &Store, total: u64, synced: bool) {
    let mut took = Vec::new();
    for n in 0..total {
        let started = Instant::now();
        let written = if synced { store.record_synced(entry(n)).await } else { store.record(entry(n)).await };
        written.expect("written");
        took.push(started.elapsed());
    }
    took.sort();
    let what = if synced { "one after the other, synced" } else { "one after the other" };
    println!(
        "{what:<27}  p50 {:>7.0?}  p99 {:>7.0?}  worst {:>7.0?}",
        percentile(&took, 50.0),
        percentile(&took, 99.0),
        took[took.len() - 1]
    );
}

async fn all(dir: &Path) {
    let started = Instant::now();
    let settings = StoreSettings::in_dir(dir);
    let paths = settings.paths();
    Store::open(settings.clone()).await.expect("a first start").close().await;
    println!("{:<27}  {:?}", "first start", started.elapsed());
    let started = Instant::now();
    let store = Store::open(settings).await.expect("a second start");
    println!("{:<27}  {:?}", "next start", started.elapsed());

    alone(&store, 5_000, false).await;
    alone(&store, 1_000, true).await;
    at_once(&store, 100, 200_000, false).await;
    at_once(&store, 1_000, 200_000, false).await;
    at_once(&store, 100, 100_000, true).await;

    let started = Instant::now();
    let report = verify(&paths.database, &paths.key, &[]).await.expect("readable");
    assert!(report.is_whole());
    println!("verified {} rows in {:?}", report.rows, started.elapsed());
    store.close().await;
}

fn main() {
    let dir = tempfile::tempdir().expect("a directory");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(all(dir.path()));
}
