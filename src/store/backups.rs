//! Backups: copies of all data of an instance, sealed, each with a manifest beside it.
//!
//! `DIR/SERVICE/INSTANCE/` holds one sealed RDB a primary and one manifest a
//! backup. A file has another name until it is whole and was read again; the
//! manifest says what must be in it. No key or value is in clear on the disk.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{IdentityError, identity::Identity};
use crate::model::{InstanceName, RunId, ServiceName};

/// The version of [`Manifest`] as a document.
const VERSION: u32 = 1;
/// A file without its manifest is older than this before it is taken for what a crash left.
const LEFT_OVER: Duration = Duration::from_secs(86_400);

/// Where backups are, and how long they are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupSettings {
    /// The directory; made for its owner alone if it is not there.
    pub dir: PathBuf,
    /// The key that opens them.
    pub key: PathBuf,
    /// They are removed when they are older, except the last good one of each instance.
    pub keep: Duration,
    /// So many good ones of each instance are kept; at least one.
    pub keep_last: usize,
}

impl BackupSettings {
    /// The defaults, beside this database: a month, and no more than thirty of each instance.
    pub fn beside(database: &Path) -> Self {
        Self {
            dir: database.with_file_name("backups"),
            key: database.with_file_name("snapshot.key"),
            keep: Duration::from_secs(30 * 86_400),
            keep_last: 30,
        }
    }
}

/// Why a backup could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A file or directory of ours cannot be used.
    #[error("{path} cannot be used: {source}", path = .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The key cannot be used.
    #[error(transparent)]
    Key(#[from] IdentityError),
    /// A file was sealed for another key than the one there is.
    #[error("{path} was sealed for another key than the one in {key}", path = .path.display(), key = .key.display())]
    OtherKey {
        /// The file.
        path: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// A manifest is not what this version reads.
    #[error("{path} is no manifest this version can read", path = .path.display())]
    Manifest {
        /// Which.
        path: PathBuf,
    },
}

fn io_at(path: &Path) -> impl Fn(io::Error) -> BackupError + use<> {
    let path = path.to_owned();
    move |source| BackupError::Io { path: path.clone(), source }
}

/// How the data was had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackupWay {
    /// Over the replication stream, without a file on the server.
    Stream,
    /// The server saved (BGSAVE), and its file was read from here.
    Save,
}

/// Keys of one logical database of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupDatabase {
    /// Its number.
    pub db: u32,
    /// Keys.
    pub keys: u64,
    /// Those that expire.
    pub expiring: u64,
}

/// One sealed file: the data of one primary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupFile {
    /// Its name, in the manifest's directory.
    pub file: String,
    /// The server.
    pub address: String,
    /// Redis's own run id of it.
    pub run_id: String,
    /// Its version, as the file says.
    pub redis: Option<String>,
    /// How the data was had.
    pub way: BackupWay,
    /// Where in the replication history it stands.
    pub position: Option<(String, i64)>,
    /// Keys by database.
    pub databases: Vec<BackupDatabase>,
    /// Bytes of the RDB.
    pub rdb_bytes: u64,
    /// Bytes on the disk, sealed.
    pub bytes: u64,
    /// SHA-256 of what is on the disk, in hexadecimal.
    pub sha256: String,
    /// When it was last read to its end and found whole, in Unix milliseconds.
    pub verified_ms: i64,
}

impl BackupFile {
    /// Keys of all its databases.
    pub fn keys(&self) -> u64 {
        self.databases.iter().map(|database| database.keys).sum()
    }
}

/// What a backup is, in clear beside its files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of this document.
    pub version: u32,
    /// The run that made it, which is its name.
    pub run: RunId,
    /// The service.
    pub service: ServiceName,
    /// The instance.
    pub instance: InstanceName,
    /// When it was asked for, in Unix milliseconds.
    pub made_ms: i64,
    /// How many primaries there were. With fewer files it is not whole.
    pub nodes: usize,
    /// One a primary.
    pub files: Vec<BackupFile>,
}

impl Manifest {
    /// The beginning of one.
    pub fn new(run: RunId, service: ServiceName, instance: InstanceName, made_ms: i64, nodes: usize) -> Self {
        Self { version: VERSION, run, service, instance, made_ms, nodes, files: Vec::new() }
    }

    /// Is there a file of every primary?
    pub fn whole(&self) -> bool {
        self.nodes > 0 && self.files.len() == self.nodes
    }

    /// Keys of all files.
    pub fn keys(&self) -> u64 {
        self.files.iter().map(BackupFile::keys).sum()
    }

    /// Bytes on the disk.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// When the one of its files was read again that was so least recently.
    pub fn verified_ms(&self) -> Option<i64> {
        self.files.iter().map(|file| file.verified_ms).min()
    }

    /// What the names of its files begin with.
    fn stem(&self) -> String {
        let made = Timestamp::from_millisecond(self.made_ms).unwrap_or(Timestamp::UNIX_EPOCH);
        format!("{}-{}", made.strftime("%Y%m%dT%H%M%SZ"), self.run)
    }
}

/// What there is of an instance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    /// The newest first.
    pub manifests: Vec<Manifest>,
    /// Manifests that cannot be read, by their names.
    pub unreadable: Vec<String>,
}

/// The directory of backups. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Backups {
    settings: Arc<BackupSettings>,
}

impl Backups {
    pub(super) fn new(settings: BackupSettings) -> Self {
        Self { settings: Arc::new(settings) }
    }

    /// Where they are, and how long they are kept.
    pub fn settings(&self) -> &BackupSettings {
        &self.settings
    }

    /// The directory of an instance.
    pub fn dir(&self, service: &ServiceName, instance: &InstanceName) -> PathBuf {
        self.settings.dir.join(service.as_str()).join(instance.as_str())
    }

    /// Makes that directory, for its owner alone.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make_dir(&self, service: &ServiceName, instance: &InstanceName) -> Result<PathBuf, BackupError> {
        let dir = self.dir(service, instance);
        DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(io_at(&dir))?;
        Ok(dir)
    }

    /// Begins the sealed file of one primary.
    ///
    /// # Errors
    /// When the key or the disk refuses.
    pub fn begin(&self, manifest: &Manifest, node: usize) -> Result<BackupWriter, BackupError> {
        let dir = self.make_dir(&manifest.service, &manifest.instance)?;
        let key = self.key()?;
        let whole = dir.join(format!("{}.{node}.rdb.age", manifest.stem()));
        let part = Part { path: dir.join(format!("{}.{node}.rdb.age.part", manifest.stem())), kept: false };
        // What a crash left of the same file is of no use to anybody.
        let opened = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part.path);
        let file = opened.map_err(io_at(&part.path))?;
        let sealing = key.seal(Hashing::new(file)).map_err(io_at(&part.path))?;
        Ok(BackupWriter { sealing, part, whole })
    }

    /// Opens a file of a backup for reading what was sealed.
    ///
    /// # Errors
    /// When it or the key cannot be read.
    pub fn open(&self, path: &Path) -> Result<BackupReader, BackupError> {
        let key = Identity::open(&self.settings.key, false)?;
        let file = File::open(path).map_err(io_at(path))?;
        let place = Arc::<Mutex<Place>>::default();
        let opened = key.unseal(Counting { file, place: place.clone() }).map_err(io_at(path))?;
        let other = || BackupError::OtherKey { path: path.to_owned(), key: self.settings.key.clone() };
        let opened = opened.ok_or_else(other)?;
        Ok(BackupReader { opened, place })
    }

    /// Writes a manifest in the place of the one of the same run, whole or not at all.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write(&self, manifest: &Manifest) -> Result<(), BackupError> {
        let dir = self.make_dir(&manifest.service, &manifest.instance)?;
        let path = dir.join(format!("{}.json", manifest.stem()));
        let part = Part { path: path.with_extension("json.part"), kept: false };
        let text = serde_json::to_vec_pretty(manifest).expect("a manifest is JSON");
        let write = || {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part.path)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&part.path, &path)?;
            File::open(&dir)?.sync_all()
        };
        write().map_err(io_at(&path))
    }

    /// Every backup of an instance, the newest first.
    ///
    /// # Errors
    /// When the directory cannot be read; one that is not there holds none.
    pub fn list(&self, service: &ServiceName, instance: &InstanceName) -> Result<Kept, BackupError> {
        let mut kept = Kept::default();
        for path in files_of(&self.dir(service, instance))? {
            if path.extension().is_none_or(|ending| ending != "json") {
                continue;
            }
            match read_manifest(&path) {
                Ok(manifest) => kept.manifests.push(manifest),
                Err(error) => {
                    tracing::warn!(%error, "a manifest could not be read");
                    kept.unreadable.push(name_of(&path));
                }
            }
        }
        kept.manifests.sort_by_key(|manifest| std::cmp::Reverse(manifest.made_ms));
        Ok(kept)
    }

    /// The newest backup of an instance that is whole, as its manifest says.
    ///
    /// # Errors
    /// As [`Backups::list`].
    pub fn newest(&self, service: &ServiceName, instance: &InstanceName) -> Result<Option<Manifest>, BackupError> {
        Ok(self.list(service, instance)?.manifests.into_iter().find(Manifest::whole))
    }

    /// Removes what is older than it is to be kept, what is more than is to be
    /// kept, and what crashes left; never the newest one that is whole. How many backups went.
    ///
    /// # Errors
    /// When the directory or a file in it refuses.
    pub fn sweep(&self, service: &ServiceName, instance: &InstanceName, now: Timestamp) -> Result<usize, BackupError> {
        let dir = self.dir(service, instance);
        let kept = self.list(service, instance)?;
        let (mut good, mut removed) = (0, 0);
        let mut known: Vec<String> = Vec::new();
        for manifest in kept.manifests {
            let age = now.as_millisecond().saturating_sub(manifest.made_ms);
            let older_than = |length: Duration| i128::from(age) > length.as_millis() as i128;
            let goes = if manifest.whole() {
                good += 1;
                good > 1 && (good > self.settings.keep_last.max(1) || older_than(self.settings.keep))
            } else {
                older_than(LEFT_OVER)
            };
            if !goes {
                known.push(manifest.stem());
                continue;
            }
            // The manifest first: without it the files are what nobody relies on, and go by their age.
            let path = dir.join(format!("{}.json", manifest.stem()));
            fs::remove_file(&path).map_err(io_at(&path))?;
            removed += 1;
            for file in &manifest.files {
                let path = dir.join(&file.file);
                match fs::remove_file(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_at(&path)(error)),
                    _ => {}
                }
            }
        }
        if kept.unreadable.is_empty() {
            remove_left_over(&dir, &known, now)?;
        }
        Ok(removed)
    }

    /// Sweeps every instance there is a directory of, also of services that are gone from the configuration.
    ///
    /// # Errors
    /// As [`Backups::sweep`]; instances before the one that refuses are swept.
    pub fn sweep_all(&self, now: Timestamp) -> Result<usize, BackupError> {
        let mut removed = 0;
        for service in files_of(&self.settings.dir)?.into_iter().filter(|path| path.is_dir()) {
            for instance in files_of(&service)?.into_iter().filter(|path| path.is_dir()) {
                if let (Ok(service), Ok(instance)) = (name_of(&service).parse(), name_of(&instance).parse()) {
                    removed += self.sweep(&service, &instance, now)?;
                }
            }
        }
        Ok(removed)
    }

    /// The key; made when nothing was ever sealed here.
    fn key(&self) -> Result<Identity, BackupError> {
        let key = &self.settings.key;
        if let Some(dir) = key.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io_at(dir))?;
        }
        let used = || -> Result<bool, BackupError> {
            for service in files_of(&self.settings.dir)?.into_iter().filter(|path| path.is_dir()) {
                for instance in files_of(&service)?.into_iter().filter(|path| path.is_dir()) {
                    if files_of(&instance)?.iter().any(|path| path.extension().is_some_and(|ending| ending == "age")) {
                        return Ok(true);
                    }
                }
            }
            Ok(false)
        };
        Ok(Identity::open(key, !used()?)?)
    }
}

/// Files no manifest names, once they are too old to be at work on.
fn remove_left_over(dir: &Path, known: &[String], now: Timestamp) -> Result<(), BackupError> {
    let now = SystemTime::from(now);
    for path in files_of(dir)? {
        let name = name_of(&path);
        let ours = [".age", ".part"].iter().any(|ending| name.ends_with(ending));
        let of_a_backup = known.iter().any(|stem| name.starts_with(stem.as_str())) && !name.ends_with(".part");
        if !ours || of_a_backup {
            continue;
        }
        let changed = fs::metadata(&path).and_then(|about| about.modified()).map_err(io_at(&path))?;
        if now.duration_since(changed).is_ok_and(|age| age > LEFT_OVER) {
            fs::remove_file(&path).map_err(io_at(&path))?;
        }
    }
    Ok(())
}

fn read_manifest(path: &Path) -> Result<Manifest, BackupError> {
    let bytes = fs::read(path).map_err(io_at(path))?;
    match serde_json::from_slice::<Manifest>(&bytes) {
        Ok(manifest) if manifest.version == VERSION => Ok(manifest),
        _ => Err(BackupError::Manifest { path: path.to_owned() }),
    }
}

/// What a directory holds, by name; nothing when it is not there.
fn files_of(dir: &Path) -> Result<Vec<PathBuf>, BackupError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io_at(dir)(error)),
    };
    let paths: Result<Vec<PathBuf>, io::Error> = entries.map(|entry| Ok(entry?.path())).collect();
    let mut paths = paths.map_err(io_at(dir))?;
    paths.sort();
    Ok(paths)
}

fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// A file under its unfinished name. Dropped, it is removed: half a backup is worth nothing and takes as much room.
#[derive(Debug)]
struct Part {
    path: PathBuf,
    kept: bool,
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.kept {
            // Nobody can be told more than that the backup failed, which they are.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The sealed file of one primary, while it is written. It blocks: use it where blocking is allowed.
pub struct BackupWriter {
    sealing: age::stream::StreamWriter<Hashing<File>>,
    part: Part,
    whole: PathBuf,
}

impl Write for BackupWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.sealing.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sealing.flush()
    }
}

impl BackupWriter {
    /// All of it was written: it is put on the disk, still under its unfinished name.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn finish(self) -> Result<Sealed, BackupError> {
        let Self { sealing, part, whole } = self;
        let written = || -> io::Result<(u64, String)> {
            let hashing = sealing.finish()?;
            hashing.inner.sync_all()?;
            Ok((hashing.count, hashing.sum()))
        };
        let (bytes, sha256) = written().map_err(io_at(&part.path))?;
        Ok(Sealed { part, whole, bytes, sha256 })
    }
}

/// A sealed file that is on the disk and was not read again yet.
#[derive(Debug)]
pub struct Sealed {
    part: Part,
    whole: PathBuf,
    /// Bytes on the disk.
    pub bytes: u64,
    /// SHA-256 of them, in hexadecimal.
    pub sha256: String,
}

impl Sealed {
    /// Where it is now.
    pub fn path(&self) -> &Path {
        &self.part.path
    }

    /// Gives it its name, which survives a power cut. The name.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn keep(mut self) -> Result<String, BackupError> {
        let dir = self.whole.parent().unwrap_or(Path::new("."));
        fs::rename(&self.part.path, &self.whole).map_err(io_at(&self.whole))?;
        self.part.kept = true;
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(io_at(dir))?;
        Ok(name_of(&self.whole))
    }
}

/// What was sealed in a file of a backup. It blocks.
pub struct BackupReader {
    opened: age::stream::StreamReader<Counting>,
    place: Arc<Mutex<Place>>,
}

/// How far a file was read.
#[derive(Debug, Clone, Default)]
struct Place {
    bytes: u64,
    sum: Sha256,
}

impl BackupReader {
    /// Bytes of the sealed file that were read.
    pub fn place(&self) -> u64 {
        self.place.lock().unwrap_or_else(PoisonError::into_inner).bytes
    }

    /// SHA-256 of what was read, in hexadecimal.
    pub fn sum(&self) -> String {
        let place = self.place.lock().unwrap_or_else(PoisonError::into_inner).clone();
        hex(&place.sum.finalize())
    }
}

impl Read for BackupReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.opened.read(into)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Counts and sums what passes through on its way to the disk.
struct Hashing<T> {
    inner: T,
    count: u64,
    sum: Sha256,
}

impl<T> Hashing<T> {
    fn new(inner: T) -> Self {
        Self { inner, count: 0, sum: Sha256::new() }
    }

    fn sum(&self) -> String {
        hex(&self.sum.clone().finalize())
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.count += count as u64;
        self.sum.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Tells from outside what was read of a file, whoever holds the reader.
struct Counting {
    file: File,
    place: Arc<Mutex<Place>>,
}

impl Read for Counting {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(into)?;
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        place.bytes += count as u64;
        place.sum.update(&into[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: i64 = 86_400_000;

    fn home(keep_last: usize) -> (tempfile::TempDir, Backups) {
        let dir = tempfile::TempDir::new().unwrap();
        let settings = BackupSettings { keep_last, ..BackupSettings::beside(&dir.path().join("rediscue.db")) };
        (dir, Backups::new(settings))
    }

    /// A backup of `made` days, with the files of so many of its two primaries.
    fn backup(home: &Backups, made: i64, files: usize) -> RunId {
        let run = RunId::from_bits(made.unsigned_abs());
        let (service, instance) = ("shop".parse().unwrap(), "main".parse().unwrap());
        let mut manifest = Manifest::new(run.clone(), service, instance, made * DAY_MS, 2);
        for node in 0..files {
            let mut writer = home.begin(&manifest, node).unwrap();
            writer.write_all(b"REDIS0011 and more").unwrap();
            let sealed = writer.finish().unwrap();
            let (bytes, sha256) = (sealed.bytes, sealed.sha256.clone());
            manifest.files.push(BackupFile {
                file: sealed.keep().unwrap(),
                address: format!("10.0.0.{node}:6379"),
                run_id: "abc".to_owned(),
                redis: None,
                way: BackupWay::Stream,
                position: None,
                databases: vec![BackupDatabase { db: 0, keys: 1, expiring: 0 }],
                rdb_bytes: 18,
                bytes,
                sha256,
                verified_ms: made * DAY_MS,
            });
        }
        home.write(&manifest).unwrap();
        run
    }

    fn sweep(home: &Backups, day: i64) -> Vec<RunId> {
        let (service, instance) = ("shop".parse().unwrap(), "main".parse().unwrap());
        home.sweep(&service, &instance, Timestamp::from_millisecond(day * DAY_MS).unwrap()).unwrap();
        home.list(&service, &instance).unwrap().manifests.into_iter().map(|manifest| manifest.run).collect()
    }

    fn count(home: &Backups) -> usize {
        files_of(&home.dir(&"shop".parse().unwrap(), &"main".parse().unwrap())).unwrap().len()
    }

    #[test]
    fn what_was_sealed_comes_out_again_and_is_counted_and_summed() {
        let (_dir, home) = home(3);
        backup(&home, 1, 1);
        let manifest = home.list(&"shop".parse().unwrap(), &"main".parse().unwrap()).unwrap().manifests.remove(0);
        let path = home.dir(&manifest.service, &manifest.instance).join(&manifest.files[0].file);
        let mut reader = home.open(&path).unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "REDIS0011 and more");
        assert_eq!((reader.place(), reader.sum()), (manifest.files[0].bytes, manifest.files[0].sha256.clone()));
        assert!(!manifest.whole(), "one file of two");
    }

    #[test]
    fn retention_goes_by_count_and_age_and_never_takes_the_last_good_one() {
        let (_dir, home) = home(3);
        let runs: Vec<RunId> = (1..=5).map(|day| backup(&home, day, 2)).collect();
        assert_eq!(sweep(&home, 6), [runs[4].clone(), runs[3].clone(), runs[2].clone()]);
        assert_eq!(count(&home), 9, "what goes takes its files along");
        // A newer one that is not whole does not count as good, and is swept after a day.
        let torn = backup(&home, 300, 1);
        assert_eq!(sweep(&home, 300), [torn, runs[4].clone()]);
        assert_eq!(sweep(&home, 302), [runs[4].clone()]);
        assert_eq!(sweep(&home, 9_000), [runs[4].clone()]);
        assert_eq!(home.sweep_all(Timestamp::from_millisecond(9_000 * DAY_MS).unwrap()).unwrap(), 0);
    }

    #[test]
    fn what_a_crash_left_goes_after_a_day_and_what_is_not_ours_stays() {
        let (_dir, home) = home(3);
        let run = backup(&home, 1, 2);
        let dir = home.dir(&"shop".parse().unwrap(), &"main".parse().unwrap());
        for name in ["20200101T000000Z-AAAAAAAA.0.rdb.age", "20200101T000000Z-AAAAAAAA.0.rdb.age.part", "notes.txt"] {
            fs::write(dir.join(name), "left").unwrap();
        }
        let today = Timestamp::now().as_millisecond() / DAY_MS;
        sweep(&home, today);
        assert_eq!(count(&home), 6, "it may be at work on");
        assert_eq!(sweep(&home, today + 3), [run]);
        assert_eq!(count(&home), 4);
    }

    #[test]
    fn a_file_that_is_given_up_is_not_there_any_more() {
        let (_dir, home) = home(3);
        let manifest = Manifest::new(RunId::from_bits(1), "shop".parse().unwrap(), "main".parse().unwrap(), 0, 1);
        let mut writer = home.begin(&manifest, 0).unwrap();
        writer.write_all(b"half of it").unwrap();
        drop(writer);
        let sealed = home.begin(&manifest, 0).unwrap().finish().unwrap();
        assert_eq!(count(&home), 1);
        drop(sealed);
        assert_eq!(count(&home), 0);
    }

    #[test]
    fn a_lost_key_is_said_and_never_replaced() {
        let (_dir, home) = home(3);
        backup(&home, 1, 2);
        fs::remove_file(&home.settings().key).unwrap();
        let manifest = Manifest::new(RunId::from_bits(9), "shop".parse().unwrap(), "main".parse().unwrap(), 0, 1);
        assert!(matches!(home.begin(&manifest, 0), Err(BackupError::Key(IdentityError::Missing { .. }))));
        fs::write(&home.settings().key, "nonsense").unwrap();
        assert!(matches!(home.begin(&manifest, 0), Err(BackupError::Key(IdentityError::Bad { .. }))));
        // Somebody made another one: what it does not open is not called damaged.
        fs::remove_file(&home.settings().key).unwrap();
        Identity::open(&home.settings().key, true).unwrap();
        let kept = home.list(&manifest.service, &manifest.instance).unwrap().manifests.remove(0);
        let path = home.dir(&kept.service, &kept.instance).join(&kept.files[0].file);
        assert!(matches!(home.open(&path), Err(BackupError::OtherKey { .. })));
    }
}
