//! Getting hold of the store: its directory, its lock, its key, its connections.

use std::{
    fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use sqlx::{
    ConnectOptions as _, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};

use super::{
    StoreError,
    chain::{self, Key},
};

/// The numbered SQL, compiled in.
pub(super) static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

/// Where the store's files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorePaths {
    /// The database.
    pub database: PathBuf,
    /// The journal's key.
    pub key: PathBuf,
    /// Locked by the one process that writes.
    pub lock: PathBuf,
}

/// Makes the directory a file is to be in, for its owner alone.
pub(super) fn make_parent(file: &Path) -> Result<(), StoreError> {
    let Some(dir) = file.parent().filter(|dir| !dir.as_os_str().is_empty()) else { return Ok(()) };
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| cannot(dir, &error))
}

/// Makes the database's file readable by its owner alone, whatever the umask; SQLite makes those beside it alike.
pub(super) fn keep_private(database: &Path) -> Result<(), StoreError> {
    let made = OpenOptions::new().append(true).create(true).mode(0o600).open(database);
    match made.and_then(|file| Ok((file.metadata()?.permissions().mode(), file))) {
        // An earlier version left it, and what was beside it then, open to others.
        Ok((mode, _)) if mode & 0o077 != 0 => {
            for end in ["", "-wal", "-shm"] {
                let mut path = database.as_os_str().to_owned();
                path.push(end);
                match std::fs::set_permissions(&path, Permissions::from_mode(0o600)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        tracing::warn!(%error, path = %path.display(), "others may read the store's file");
                    }
                    _ => {}
                }
            }
            Ok(())
        }
        Ok(_) => Ok(()),
        // A disk that is full or read-only still lets a store that is there be read.
        Err(_) if database.exists() => Ok(()),
        Err(error) => Err(cannot(database, &error)),
    }
}

/// Takes the lock, which ends with the process whatever ends it.
pub(super) fn lock(paths: &StorePaths) -> Result<File, StoreError> {
    let path = &paths.lock;
    // A full or read-only disk still lets an existing file be locked.
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .or_else(|_| File::open(path))
        .map_err(|error| cannot(path, &error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            let holder = holder.trim();
            let holder = if holder.is_empty() { "unknown" } else { holder }.chars().take(40).collect();
            return Err(StoreError::InUse { database: paths.database.clone(), holder });
        }
        Err(TryLockError::Error(error)) => return Err(cannot(path, &error)),
    }
    // Who holds it is a courtesy to the reader of an error; the lock itself is what counts.
    let _ = file.set_len(0).and_then(|()| write!(file, "pid {}", std::process::id()));
    Ok(file)
}

/// Reads the key file; `None` when there is none.
pub(super) fn read_key(path: &Path) -> Result<Option<Key>, StoreError> {
    match std::fs::read_to_string(path) {
        Ok(text) => match chain::unhex(text.trim()) {
            Some(bytes) => Ok(Some(Key::new(&bytes))),
            None => Err(StoreError::BadKey { path: path.to_owned() }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(cannot(path, &error)),
    }
}

/// Makes a key and its file, readable by its owner alone, whole or not at all.
pub(super) fn make_key(path: &Path) -> Result<Key, StoreError> {
    let bytes: [u8; 32] = rand::random();
    let unfinished = path.with_extension("key.new");
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        writeln!(file, "{}", chain::hex(&bytes))?;
        file.sync_all()?;
        std::fs::rename(&unfinished, path)?;
        // The name must survive a power cut as surely as the content.
        path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
    };
    write().map_err(|error: io::Error| cannot(path, &error))?;
    Ok(Key::new(&bytes))
}

/// How the one writing connection is opened.
pub(super) fn writing(database: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(database)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal)
        .busy_timeout(Duration::from_millis(500))
        .foreign_keys(true)
        .disable_statement_logging()
}

/// How the reading connections are opened.
pub(super) fn reading(database: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(database)
        .read_only(true)
        .busy_timeout(Duration::from_millis(500))
        .disable_statement_logging()
}

/// Connects, and brings the tables up to date.
pub(super) async fn connect(options: &SqliteConnectOptions) -> Result<SqliteConnection, sqlx::Error> {
    let mut connection = options.connect().await?;
    MIGRATIONS.run_direct(None, &mut connection, false).await.map_err(|error| match error {
        sqlx::migrate::MigrateError::Execute(error) | sqlx::migrate::MigrateError::ExecuteMigration(error, _) => error,
        other => sqlx::Error::Migrate(Box::new(other)),
    })?;
    Ok(connection)
}

pub(super) fn cannot(path: &Path, error: &io::Error) -> StoreError {
    StoreError::Open { path: path.to_owned(), why: error.to_string() }
}
