//! The journal: whole after a kill, and whatever is done to it shows.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use rediscue::store::{Anchor, Fault, FaultKind, Retention, Store, StoreSettings, VerifyReport, verify};

use super::{at, entry, meddle, open};

const DAY: Duration = Duration::from_secs(86_400);

async fn verified(dir: &Path, anchors: &[Anchor]) -> VerifyReport {
    let paths = StoreSettings::in_dir(dir).paths();
    verify(&paths.database, &paths.key, anchors).await.unwrap()
}

/// A closed store with this many rows.
async fn written(rows: u64) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    for n in 1..=rows {
        store.record(entry(n)).await.unwrap();
    }
    store.close().await;
    dir
}

#[tokio::test]
async fn a_running_bot_can_be_verified_and_its_rows_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    assert!(verified(dir.path(), &[]).await.is_whole(), "an empty journal is whole");
    let all = (1..=300).map(|n| {
        let store = store.clone();
        tokio::spawn(async move {
            if n % 10 == 0 { store.record_synced(entry(n)).await } else { store.record(entry(n)).await }
        })
    });
    for one in all.collect::<Vec<_>>() {
        one.await.unwrap().unwrap();
    }
    let report = verified(dir.path(), &[]).await;
    assert_eq!((report.rows, report.end.seq, report.fault), (300, 300, None));

    let rows = store.journal(500).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.seq).collect::<Vec<_>>(), (1..=300).rev().collect::<Vec<_>>());
    let row = rows.iter().find(|row| row.line == "inspect session:* #7").unwrap();
    assert_eq!(row.person.as_deref(), Some("ada"));
    assert_eq!((row.outcome.as_str(), row.level.as_deref(), row.took_ms), ("answered", Some("ok"), 7));
}

#[tokio::test]
async fn whatever_is_done_to_the_journal_shows_and_where() {
    let cases: &[(&str, u64, FaultKind)] = &[
        ("UPDATE journal SET line = 'flushall' WHERE seq = 4", 4, FaultKind::Changed),
        ("UPDATE journal SET person = NULL WHERE seq = 9", 9, FaultKind::Changed),
        ("UPDATE journal SET reveal = 1 WHERE seq = 1", 1, FaultKind::Changed),
        ("UPDATE journal SET took_ms = 'long' WHERE seq = 3", 3, FaultKind::Changed),
        ("UPDATE journal SET mac = x'00' WHERE seq = 3", 3, FaultKind::Changed),
        ("DELETE FROM journal WHERE seq = 5", 5, FaultKind::Missing),
        ("DELETE FROM journal WHERE seq <= 2", 1, FaultKind::Missing),
        ("DELETE FROM journal WHERE seq = 5; UPDATE journal SET seq = seq - 1 WHERE seq > 5", 5, FaultKind::Changed),
        (
            "UPDATE journal SET seq = -1 WHERE seq = 6; UPDATE journal SET seq = 6 WHERE seq = 7; \
             UPDATE journal SET seq = 7 WHERE seq = -1",
            6,
            FaultKind::Changed,
        ),
        ("DELETE FROM journal WHERE seq > 8", 9, FaultKind::Cut),
        ("DELETE FROM journal", 1, FaultKind::Cut),
        ("DELETE FROM journal WHERE seq > 8; UPDATE journal_head SET seq = 8", 8, FaultKind::Head),
        ("DELETE FROM journal WHERE seq > 8; DELETE FROM journal_head", 8, FaultKind::Head),
        ("DELETE FROM journal; DELETE FROM journal_head", 0, FaultKind::Head),
        (
            "DELETE FROM journal WHERE seq <= 3; \
             UPDATE journal_cut SET seq = 3, mac = (SELECT mac FROM journal WHERE seq = 4)",
            0,
            FaultKind::Retention,
        ),
        ("DELETE FROM journal_cut", 0, FaultKind::Retention),
        (
            "INSERT INTO journal SELECT 11, at_ms, kind, run, platform, team, account, person, channel, thread, line, \
             command, service, instance, outcome, why, level, took_ms, reveal, mac FROM journal WHERE seq = 10",
            11,
            FaultKind::Changed,
        ),
    ];
    for &(sql, seq, why) in cases {
        let dir = written(10).await;
        assert!(verified(dir.path(), &[]).await.is_whole());
        meddle(dir.path(), sql).await;
        assert_eq!(verified(dir.path(), &[]).await.fault, Some(Fault { seq, why }), "{sql}");
    }
}

#[tokio::test]
async fn an_older_copy_put_back_is_told_by_the_anchor_kept_outside() {
    let dir = written(5).await;
    let paths = StoreSettings::in_dir(dir.path()).paths();
    let older = std::fs::read(&paths.database).unwrap();

    let store = open(dir.path()).await;
    for n in 6..=9 {
        store.record(entry(n)).await.unwrap();
    }
    let anchor = store.anchor_due(at(0), DAY).await.unwrap().expect("the first day has an anchor");
    store.anchored(&anchor, at(0)).await.unwrap();
    assert_eq!(store.anchor_due(at(60), DAY).await.unwrap(), None, "once a day");
    assert_eq!(store.anchor_due(at(86_400), DAY).await.unwrap(), None, "and only when something was written");
    store.record(entry(10)).await.unwrap();
    assert_eq!(store.anchor_due(at(60), DAY).await.unwrap(), None);
    assert_eq!(store.anchor_due(at(86_400), DAY).await.unwrap().unwrap().seq, 10);
    store.close().await;

    let line = anchor.to_string();
    let kept: Anchor = line.parse().unwrap();
    let report = verified(dir.path(), std::slice::from_ref(&kept)).await;
    assert_eq!((report.anchors, report.fault), (1, None));

    std::fs::write(&paths.database, older).unwrap();
    assert!(verified(dir.path(), &[]).await.is_whole(), "by itself, an older copy is whole");
    let report = verified(dir.path(), std::slice::from_ref(&kept)).await;
    assert_eq!(report.fault, Some(Fault { seq: 6, why: FaultKind::Cut }));

    // The bot goes on from the old copy: other rows stand where the anchored ones stood.
    let store = open(dir.path()).await;
    for n in 20..30 {
        store.record(entry(n)).await.unwrap();
    }
    store.close().await;
    assert_eq!(verified(dir.path(), &[kept]).await.fault, Some(Fault { seq: 9, why: FaultKind::Anchor }));
}

#[tokio::test]
async fn retention_cuts_the_beginning_and_the_rest_stays_verifiable() {
    let dir = tempfile::tempdir().unwrap();
    let keep = Duration::from_secs(100);
    let retention = Retention { journal: keep, ..Retention::default() };
    let store = Store::open(StoreSettings { retention, ..StoreSettings::in_dir(dir.path()) }).await.unwrap();
    let mut anchors = Vec::new();
    for n in 1..=4_500 {
        let record = store.record(entry(n));
        if n % 1_500 == 0 {
            record.await.unwrap();
            anchors.push(store.anchor_due(at(86_400 * n as i64), DAY).await.unwrap().unwrap());
        } else {
            record.await.unwrap();
        }
    }
    store.sweep(at(4_500 - 300 + 100)).await.unwrap();
    let report = verified(dir.path(), &anchors).await;
    assert_eq!((report.cut, report.rows, report.end.seq, &report.fault), (4_199, 301, 4_500, &None));
    assert_eq!((report.anchors, report.anchors_too_old), (1, 2));

    store.sweep(at(90_000)).await.unwrap();
    store.record(entry(4_501)).await.unwrap();
    let report = verified(dir.path(), &anchors).await;
    assert_eq!((report.cut, report.rows, report.fault, report.anchors), (4_500, 1, None, 1), "the cut is anchored too");
    store.close().await;

    meddle(dir.path(), "DELETE FROM journal").await;
    assert_eq!(verified(dir.path(), &[]).await.fault, Some(Fault { seq: 4_501, why: FaultKind::Cut }));
}

/// Not a test: what [`a_bot_killed_while_it_writes_leaves_a_whole_journal`] kills.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "runs until it is killed, as a child of another test"]
async fn writes_until_it_is_killed() {
    let Some(dir) = std::env::var_os("REDISCUE_TEST_STORE") else { return };
    let store = open(Path::new(&dir)).await;
    for batch in 0.. {
        let all = (0..50).map(|n| {
            let store = store.clone();
            tokio::spawn(async move { store.record(entry(batch * 50 + n)).await })
        });
        for one in all.collect::<Vec<_>>() {
            one.await.unwrap().unwrap();
        }
        println!("committed {}", (batch + 1) * 50);
    }
}

#[tokio::test]
async fn a_bot_killed_while_it_writes_leaves_a_whole_journal() {
    let dir = tempfile::tempdir().unwrap();
    let mut promised = 0;
    for kill in 1..=3 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "stories::store::journal::writes_until_it_is_killed", "--ignored", "--nocapture"])
            .env("REDISCUE_TEST_STORE", dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let before = promised;
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        while promised < before + 400 {
            let line = lines.next().expect("the child writes until it is killed").unwrap();
            if let Some(count) = line.strip_prefix("committed ") {
                promised = before + count.parse::<u64>().unwrap();
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let report = verified(dir.path(), &[]).await;
        assert_eq!(report.fault, None, "kill {kill}");
        assert!(report.rows >= promised, "{} rows of {promised} acknowledged ones", report.rows);
        promised = report.rows;
    }
    // And the next start goes on with the same chain.
    let store = open(dir.path()).await;
    store.record(entry(1)).await.unwrap();
    assert_eq!(verified(dir.path(), &[]).await.rows, promised + 1);
}
