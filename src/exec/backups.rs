//! Reading backups: whether a file is whole, and `Look::Backups`. No server is asked.

use std::{
    collections::BTreeMap,
    io::{self, Read},
    path::Path,
};

use jiff::Timestamp;
use nix::sys::statvfs::statvfs;
use serde_json::{Value, json};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    Job, failed,
    fault::plain,
    rdb::{self, RdbFileError},
};
use crate::{
    diagnosis::{Explained, Observation},
    keyspace::rdb::{Allocator, Checksum, Facts, RdbError, Reading},
    model::Progress,
    runbook::BackupsLook,
    store::{BackupDatabase, BackupError, BackupFile, Backups, Manifest},
};

/// A file that was read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verified {
    /// What was in it.
    pub facts: Facts,
    /// Bytes of the sealed file.
    pub bytes: u64,
    /// SHA-256 of them, in hexadecimal.
    pub sha256: String,
}

/// How a snapshot is read where nobody is shown what its keys take.
pub(crate) fn reading() -> Reading {
    let now = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0);
    Reading { now, allocator: Allocator::Jemalloc, checksum: true, size: None }
}

/// Opens a sealed file and reads it to its end: the seal, the format and the
/// checksum must be right. Blocking, for a thread of its own.
///
/// # Errors
/// What is wrong with it, and at which byte.
pub(crate) fn read_whole(
    backups: &Backups,
    path: &Path,
    total: u64,
    stop: &CancellationToken,
    tell: &dyn Fn(Progress),
) -> Result<Verified, Explained> {
    let mut file = match backups.open(path) {
        Err(BackupError::Io { source, .. }) if is_damage(&source) => {
            return Err(damaged(path, format!("at its head: {}", of_seal(&source))));
        }
        opened => opened.map_err(|error| explain(&error))?,
    };
    let telling = Telling { inner: &mut file, done: 0, total, tell };
    let facts = match rdb::read(telling, reading(), stop, |_| {}) {
        Ok(facts) => facts,
        Err(RdbFileError::Stopped) => return Err(super::stopped("reading the backup was stopped")),
        Err(RdbFileError::Io(error)) => {
            let at = file.place();
            return Err(damaged(path, format!("at or just before its byte {at}: {}", of_seal(&error))));
        }
        Err(RdbFileError::Damaged { error, .. }) => return Err(unlike(path, &error)),
    };
    Ok(Verified { facts, bytes: file.place(), sha256: file.sum() })
}

fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

fn of_seal(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "it ends too early".to_owned(),
        // What age says of a block that was changed since.
        io::ErrorKind::InvalidData => "what is there is not what was sealed".to_owned(),
        _ => plain(error),
    }
}

fn damaged(path: &Path, what: String) -> Explained {
    Explained {
        code: "DAMAGED".into(),
        what: format!("{} is damaged {what}", name(path)),
        cause: "the file was changed or cut since it was written, or its disk returns something else".into(),
        next: "do not restore from it; take an older one (`/redis backups`), and look at the disk".into(),
    }
}

fn unlike(path: &Path, error: &RdbError) -> Explained {
    Explained {
        code: "RDB".into(),
        what: format!("{} is sealed as it was, and what is in it is no whole snapshot: {error}", name(path)),
        cause: "the server wrote it so, or writes a newer format".into(),
        next: error.next().into(),
    }
}

fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// What the directory of backups refused, for people: the file by its name alone.
pub(crate) fn explain(error: &BackupError) -> Explained {
    let explained = |what: String, cause: &str, next: &str| Explained {
        code: "BACKUP".into(),
        what,
        cause: cause.into(),
        next: next.into(),
    };
    match error {
        BackupError::Io { path, source } if source.kind() == io::ErrorKind::StorageFull => explained(
            format!("there is no room for {}", name(path)),
            "the disk with the bot's backups is full",
            "free some of it, or name another directory under `[backups]` in bot.toml; nothing half done was kept",
        ),
        BackupError::Io { path, source } => explained(
            format!("{} cannot be used: {}", name(path), of_seal(source)),
            "the disk with the bot's backups, or its rights",
            "see the bot's log, and `[backups]` in bot.toml",
        ),
        BackupError::Key(_) => explained(
            "the key that opens backups cannot be used".to_owned(),
            "its file is missing, or holds no key",
            "restore it from its copy; the bot's log names the file. Without it no backup can be opened",
        ),
        BackupError::OtherKey { path, .. } => explained(
            format!("{} was sealed for another key than the bot has now", name(path)),
            "the key file was lost and made anew, or the backup comes from another bot",
            "put the key file it was made with in its place (`snapshot.key` beside the store) to read it",
        ),
        BackupError::Manifest { path } => explained(
            format!("{} is no manifest that can be read", name(path)),
            "it was changed since, or a newer version of the bot wrote it",
            "see the bot's log",
        ),
    }
}

/// What the disk said to a write.
pub(crate) fn unwritten(error: &io::Error) -> Explained {
    explain(&BackupError::Io { path: "the copy".into(), source: io::Error::from(error.kind()) })
}

/// Tells how far it is.
struct Telling<'a, R> {
    inner: R,
    done: u64,
    total: u64,
    tell: &'a dyn Fn(Progress),
}

impl<R: Read> Read for Telling<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(into)?;
        self.done += count as u64;
        (self.tell)(mebibytes("reading it again", self.done, (self.total > 0).then_some(self.total)));
        Ok(count)
    }
}

/// How far bytes are, for people.
pub(crate) fn mebibytes(doing: &str, done: u64, total: Option<u64>) -> Progress {
    Progress {
        doing: doing.to_owned(),
        done: done >> 20,
        total: total.map(|total| total >> 20),
        unit: "MiB".to_owned(),
        rate: None,
        left_s: None,
    }
}

/// Bytes free for us on the disk that holds `dir`, or would.
pub fn room(dir: &Path) -> Option<u64> {
    let there = dir.ancestors().find(|dir| dir.exists())?;
    let about = statvfs(there).ok()?;
    // The types differ between systems.
    #[allow(clippy::unnecessary_cast)]
    let free = (about.blocks_available() as u64).saturating_mul(about.fragment_size() as u64);
    Some(free)
}

/// Keys by database, as a manifest holds them.
pub(crate) fn databases(facts: &Facts) -> Vec<BackupDatabase> {
    let of = |found: &crate::keyspace::rdb::Database| BackupDatabase {
        db: found.db,
        keys: found.keys,
        expiring: found.expiring,
    };
    facts.databases.iter().filter(|found| found.keys > 0).map(of).collect()
}

/// Carries out a look at what is kept of the instance.
pub(crate) async fn look(job: &Job, what: BackupsLook, run: &str) -> Observation {
    let start = Instant::now();
    let Some(backups) = job.backups.clone() else {
        return failed(super::nobody(), start);
    };
    let (service, instance) = (job.service.name.clone(), job.site.instance.name.clone());
    let run = run.to_owned();
    let stop = CancellationToken::new();
    // Dropped with this look, also when it is given up: the thread then ends at its next block.
    let _stopping = stop.clone().drop_guard();
    let progress = job.progress.clone();
    let work = tokio::task::spawn_blocking(move || {
        let kept = backups.list(&service, &instance).map_err(|error| explain(&error))?;
        let listed: Vec<Value> = kept.manifests.iter().map(told).collect();
        let nothing = || Explained {
            code: "BACKUP".into(),
            what: format!("there is no backup of {service}/{instance}"),
            cause: "none was made yet, or none is whole".into(),
            next: "make one: `/redis backup`".into(),
        };
        match what {
            BackupsLook::List => {
                let settings = backups.settings();
                Ok(json!({
                    "backups": listed,
                    "unreadable": kept.unreadable,
                    "bytes": kept.manifests.iter().map(Manifest::bytes).sum::<u64>(),
                    "whole": kept.manifests.iter().filter(|manifest| manifest.whole()).count(),
                    "keep_s": settings.keep.as_secs(),
                    "keep_last": settings.keep_last,
                    "room": room(&settings.dir),
                }))
            }
            BackupsLook::Show => Ok(told(&named(&kept.manifests, &run)?.ok_or_else(nothing)?)),
            // They lie elsewhere, and have a look of their own.
            BackupsLook::Exports => Err(nothing()),
            BackupsLook::Verify => {
                let manifest = named(&kept.manifests, &run)?.ok_or_else(nothing)?;
                Ok(verify(&backups, manifest, &stop, &progress))
            }
        }
    });
    let merged = match tokio::time::timeout_at(job.budget.end, work).await {
        Ok(Ok(merged)) => merged,
        Ok(Err(_)) => Err(super::stopped("reading the backups was given up")),
        Err(_) => Err(super::late(start)),
    };
    match merged {
        Ok(value) => Observation { nodes: Vec::new(), merged: Ok(value), took: start.elapsed() },
        Err(error) => failed(error, start),
    }
}

/// The one that is named, or the newest whole one.
fn named(manifests: &[Manifest], run: &str) -> Result<Option<Manifest>, Explained> {
    if run.is_empty() {
        return Ok(manifests.iter().find(|manifest| manifest.whole()).cloned());
    }
    let found = manifests.iter().find(|manifest| manifest.run.as_str().eq_ignore_ascii_case(run));
    found.cloned().map(Some).ok_or_else(|| Explained {
        code: "BACKUP".into(),
        what: "there is no backup of that name".into(),
        cause: "it was never made here, or its retention is over".into(),
        next: "`/redis backups` lists them".into(),
    })
}

/// A backup as a card tells it.
fn told(manifest: &Manifest) -> Value {
    let age = |ms: i64| Timestamp::now().as_millisecond().saturating_sub(ms).max(0) / 1_000;
    let mut databases = BTreeMap::<u32, (u64, u64)>::new();
    for database in manifest.files.iter().flat_map(|file| &file.databases) {
        let (keys, expiring) = databases.entry(database.db).or_default();
        *keys += database.keys;
        *expiring += database.expiring;
    }
    let databases: Vec<Value> = databases
        .into_iter()
        .map(|(db, (keys, expiring))| json!({"name": format!("db{db}"), "keys": keys, "expiring": expiring}))
        .collect();
    json!({
        "name": manifest.run.as_str(),
        "whole": manifest.whole(),
        "nodes": manifest.nodes,
        "files": manifest.files.len(),
        "age_s": age(manifest.made_ms),
        "made_ms": manifest.made_ms,
        "verified_s": manifest.verified_ms().map(age),
        "keys": manifest.keys(),
        "bytes": manifest.bytes(),
        "rdb_bytes": manifest.files.iter().map(|file| file.rdb_bytes).sum::<u64>(),
        "redis": manifest.files.iter().find_map(|file| file.redis.clone()),
        "expiring": databases.iter().filter_map(|database| database["expiring"].as_u64()).sum::<u64>(),
        "databases": databases,
    })
}

/// Reads every file of a backup to its end and holds it against the manifest.
fn verify(
    backups: &Backups,
    mut manifest: Manifest,
    stop: &CancellationToken,
    progress: &watch::Sender<Option<Progress>>,
) -> Value {
    let dir = backups.dir(&manifest.service, &manifest.instance);
    let tell = |now: Progress| drop(progress.send_replace(Some(now)));
    let mut files = Vec::new();
    let mut good = manifest.whole();
    let mut told_of = manifest.files.clone();
    for file in &mut told_of {
        let found = read_whole(backups, &dir.join(&file.file), file.rdb_bytes, stop, &tell);
        let wrong = match found {
            Ok(found) => wrong(file, &found),
            Err(error) => Some(format!("{}. {}", error.what, error.cause)),
        };
        match &wrong {
            None => file.verified_ms = Timestamp::now().as_millisecond(),
            Some(_) => good = false,
        }
        files.push(json!({
            "file": file.file, "address": file.address, "keys": file.keys(), "bytes": file.bytes,
            "good": wrong.is_none(), "wrong": wrong, "sha256": file.sha256,
        }));
    }
    manifest.files = told_of;
    if good && let Err(error) = backups.write(&manifest) {
        // It was verified all the same; the list goes on showing when it was so before.
        tracing::warn!(%error, "that a backup was verified could not be written");
    }
    let mut value = told(&manifest);
    if let Value::Object(value) = &mut value {
        value.insert("good".to_owned(), json!(good));
        value.insert("read".to_owned(), json!(files));
    }
    value
}

/// What does not fit the manifest, in words.
fn wrong(file: &BackupFile, found: &Verified) -> Option<String> {
    if found.bytes != file.bytes {
        return Some(format!("it has {} bytes, and had {} when it was written", found.bytes, file.bytes));
    }
    if found.sha256 != file.sha256 {
        return Some("its SHA-256 is another than when it was written".to_owned());
    }
    let now = databases(&found.facts);
    if now != file.databases {
        let keys: u64 = now.iter().map(|database| database.keys).sum();
        return Some(format!("it holds {keys} keys, and the manifest says {}", file.keys()));
    }
    None
}

/// Whether the server writes checksums at all.
pub(crate) fn unchecked(facts: &Facts) -> bool {
    facts.checksum == Checksum::Disabled
}
