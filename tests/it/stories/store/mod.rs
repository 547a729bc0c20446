//! The store, with a real disk: what it holds after a restart, a kill, a
//! full disk, and somebody with a database editor.

mod disk;
mod journal;
mod owed;

use std::{collections::BTreeMap, path::Path, time::Duration};

use jiff::Timestamp;
use rediscue::{
    model::{Card, Identity, Level, Place, PlaceKind, Platform, RunId},
    runbook::{LONG_ANSWER_VERSION, LongAnswer, Part},
    store::{Entry, FiguresRow, Outcome, Store, StoreError, StoreSettings},
};
use sqlx::{ConnectOptions as _, Connection as _, sqlite::SqliteConnectOptions};

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_760_000_000 + seconds).unwrap()
}

pub(crate) fn place() -> Place {
    Place {
        platform: Platform::Slack,
        team: "T1".into(),
        channel: "C1".into(),
        thread: None,
        kind: PlaceKind::Channel,
        via: None,
    }
}

/// The entry of the `n`th command.
pub(crate) fn entry(n: u64) -> Entry {
    Entry {
        at: at(n as i64),
        run: RunId::from_bits(n),
        identity: Identity { platform: Platform::Slack, team: "T1".into(), user: "U1".into() },
        person: Some("ada".parse().unwrap()),
        place: place(),
        line: format!("inspect session:* #{n}"),
        command: "inspect".into(),
        service: Some("prospectflow".parse().unwrap()),
        instance: Some("main".parse().unwrap()),
        outcome: Outcome::Answered,
        why: None,
        level: Some(Level::Ok),
        took: Duration::from_millis(n % 50),
        reveal: false,
    }
}

async fn open(dir: &Path) -> Store {
    Store::open(StoreSettings::in_dir(dir)).await.unwrap()
}

/// Does something to the database file that the bot would not.
async fn meddle(dir: &Path, sql: &'static str) {
    let file = StoreSettings::in_dir(dir).paths().database;
    let mut connection = SqliteConnectOptions::new().filename(file).connect().await.unwrap();
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn a_second_bot_on_one_store_is_refused_and_told_who_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path()).await;
    let refused = Store::open(StoreSettings::in_dir(dir.path())).await.unwrap_err();
    assert!(matches!(&refused, StoreError::InUse { holder, .. } if *holder == format!("pid {}", std::process::id())));
    first.close().await;
    open(dir.path()).await;
}

#[tokio::test]
async fn the_database_and_what_is_beside_it_are_for_its_owner_alone_also_where_they_were_not() {
    let dir = tempfile::tempdir().unwrap();
    let paths = StoreSettings::in_dir(dir.path()).paths();
    let files = ["", "-wal", "-shm"].map(|end| std::path::PathBuf::from(format!("{}{end}", paths.database.display())));
    let mode = |file: &std::path::PathBuf| {
        let permissions = std::fs::metadata(file).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::mode(&permissions) & 0o777
    };
    let first = open(dir.path()).await;
    assert_eq!(files.each_ref().map(mode), [0o600; 3]);
    first.close().await;
    let wide = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(&paths.database, wide).unwrap();
    let _again = open(dir.path()).await;
    assert_eq!(files.each_ref().map(mode), [0o600; 3]);
}

#[tokio::test]
async fn a_store_is_not_opened_without_its_key_or_with_another() {
    let dir = tempfile::tempdir().unwrap();
    let paths = StoreSettings::in_dir(dir.path()).paths();
    open(dir.path()).await.close().await;
    let key = std::fs::read_to_string(&paths.key).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&paths.key).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);

    std::fs::remove_file(&paths.key).unwrap();
    let error = Store::open(StoreSettings::in_dir(dir.path())).await.unwrap_err();
    assert_eq!(error, StoreError::KeyMissing { path: paths.key.clone() });

    std::fs::write(&paths.key, "a".repeat(64)).unwrap();
    let error = Store::open(StoreSettings::in_dir(dir.path())).await.unwrap_err();
    assert_eq!(error, StoreError::WrongKey { path: paths.key.clone() });

    std::fs::write(&paths.key, "hunter2").unwrap();
    let error = Store::open(StoreSettings::in_dir(dir.path())).await.unwrap_err();
    assert_eq!(error, StoreError::BadKey { path: paths.key.clone() });
    assert!(!error.to_string().contains("hunter2"));

    std::fs::write(&paths.key, key).unwrap();
    open(dir.path()).await;
}

#[tokio::test]
async fn a_damaged_file_is_said_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).await.close().await;
    let file = StoreSettings::in_dir(dir.path()).paths().database;
    std::fs::write(&file, "this was a database once, and is not any more ".repeat(200)).unwrap();
    let error = Store::open(StoreSettings::in_dir(dir.path())).await.unwrap_err();
    assert!(error.to_string().contains("restore from a backup"), "{error}");
    assert!(std::fs::read_to_string(&file).unwrap().starts_with("this was"));
}

#[tokio::test]
async fn an_event_is_taken_once_whoever_asks_and_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let asked = (0..60).map(|n| {
        let store = store.clone();
        tokio::spawn(async move { (n % 3, store.first_time(&format!("Ev{}", n % 3)).await.unwrap()) })
    });
    let mut taken = BTreeMap::<i32, usize>::new();
    for task in asked.collect::<Vec<_>>() {
        let (event, first) = task.await.unwrap();
        *taken.entry(event).or_default() += usize::from(first);
    }
    assert_eq!(taken, BTreeMap::from([(0, 1), (1, 1), (2, 1)]));
    store.close().await;

    let store = open(dir.path()).await;
    assert!(!store.first_time("Ev1").await.unwrap());
    assert!(store.first_time("Ev9").await.unwrap());
    store.sweep(Timestamp::now() + Duration::from_secs(8 * 86_400)).await.unwrap();
    assert!(store.first_time("Ev9").await.unwrap(), "retention forgets what no platform redelivers any more");
}

#[tokio::test]
async fn the_next_look_knows_the_last_one_and_the_last_healthy_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let (service, instance) = ("prospectflow".parse().unwrap(), "main".parse().unwrap());
    let row = |n: i64, healthy| FiguresRow {
        at: at(n),
        service: "prospectflow".parse().unwrap(),
        instance: "main".parse().unwrap(),
        question: "status".into(),
        healthy,
        values: BTreeMap::from([("memory".into(), n as f64 / 2.0), ("broken".into(), f64::NAN)]),
    };
    assert_eq!(store.last_figures(&service, &instance, "status", false).await.unwrap(), None);
    for n in 0..5 {
        store.remember(row(n, n < 3)).await.unwrap();
    }
    let last = store.last_figures(&service, &instance, "status", false).await.unwrap().unwrap();
    assert_eq!(last, (at(4), BTreeMap::from([("memory".into(), 2.0)])));
    let healthy = store.last_figures(&service, &instance, "status", true).await.unwrap().unwrap();
    assert_eq!(healthy.0, at(2));
    let points = store.series(&service, &instance, Some("status"), "memory", at(2)).await.unwrap();
    let seconds = at(0).as_second();
    assert_eq!(points, [(seconds + 2, 1.0), (seconds + 3, 1.5), (seconds + 4, 2.0)]);
    assert_eq!(store.series(&service, &instance, Some("memory"), "memory", at(0)).await.unwrap(), []);

    store.sweep(at(35 * 86_400 + 3)).await.unwrap();
    assert_eq!(store.series(&service, &instance, Some("status"), "memory", at(0)).await.unwrap().len(), 2);
}

#[tokio::test]
async fn every_migration_runs_on_what_the_one_before_it_left() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("rediscue.db");
    let options = SqliteConnectOptions::new().filename(&file).create_if_missing(true);
    let migrations = sqlx::migrate!();
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples/migrations");
    for migration in migrations.iter() {
        migrations.run_to(migration.version, &pool).await.unwrap();
        let name = format!("{:04}_{}.sql", migration.version, migration.description.replace(' ', "_"));
        let sample = std::fs::read_to_string(samples.join(&name)).expect("every migration has a sample of its rows");
        sqlx::raw_sql(sqlx::AssertSqlSafe(sample)).execute(&pool).await.unwrap();
    }
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM journal").fetch_one(&pool).await.unwrap();
    assert!(rows > 0);
}

#[tokio::test]
async fn a_long_answer_is_read_back_for_a_day_and_the_oldest_make_room() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let answer = |n: u64, text: &str| LongAnswer {
        version: LONG_ANSWER_VERSION,
        run: RunId::from_bits(n),
        command: "slowlog".into(),
        service: "prospectflow".parse().unwrap(),
        instance: "main".parse().unwrap(),
        at_ms: at(n as i64).as_millisecond(),
        reader: None,
        card: Card { title: format!("answer {n}"), ..Card::default() },
        parts: vec![Part::Code { text: text.to_owned(), shown: 1 }],
        tree: Vec::new(),
    };
    assert!(store.result_keep(&answer(1, "short")).await.unwrap());
    store.close().await;
    let store = open(dir.path()).await;
    let day = 86_400;
    assert_eq!(store.result(&RunId::from_bits(1), at(day)).await.unwrap(), Some(answer(1, "short")));
    assert_eq!(store.result(&RunId::from_bits(2), at(day)).await.unwrap(), None, "there was no such run");
    assert_eq!(store.result(&RunId::from_bits(1), at(day + 2)).await.unwrap(), None, "a day is over");
    store.sweep(at(day + 2)).await.unwrap();
    assert_eq!(store.result(&RunId::from_bits(1), at(2)).await.unwrap(), None, "swept");

    // One that is too large is not kept; of many large ones the newest are.
    assert!(!store.result_keep(&answer(3, &"x".repeat(3 << 20))).await.unwrap());
    for n in 10..60 {
        assert!(store.result_keep(&answer(n, &"y".repeat(3 << 19))).await.unwrap());
    }
    let mut kept = Vec::new();
    for n in 10..60 {
        if store.result(&RunId::from_bits(n), at(100)).await.unwrap().is_some() {
            kept.push(n);
        }
    }
    assert_eq!(kept.last(), Some(&59));
    let bytes = kept.len() * (3 << 19);
    assert!(bytes <= 64 << 20 && bytes > 60 << 20, "{bytes} bytes are kept");
    assert!(kept.windows(2).all(|pair| pair[1] == pair[0] + 1), "{kept:?}");
    store.close().await;
}
