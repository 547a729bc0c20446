//! The directories trials live in, and sweeping those that nobody lives in any more.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    fcntl::{Flock, FlockArg},
    sys::signal::{Signal, kill},
    unistd::{Pid, Uid},
};

use super::TrialError;

/// A directory without a lock is left alone this long: its owner may be about to take it.
const YOUNG: Duration = Duration::from_secs(60);

const LOCK: &str = "lock";
const REDIS: &str = "redis.pid";

/// One trial's directory, removed when dropped. The lock in it is held for as long as the program
/// runs and released by the kernel however it ends, which is how the next
/// trial knows.
pub(super) struct Ground {
    path: PathBuf,
    _lock: Flock<fs::File>,
}

impl Ground {
    /// A fresh directory that only this user can enter.
    pub(super) fn make() -> Result<Self, TrialError> {
        let base = base();
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| TrialError::Directory { path, source }
        };
        match fs::DirBuilder::new().mode(0o700).create(&base) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(&base)(error)),
            _ => {}
        }
        if !is_ours(&base) {
            return Err(TrialError::NotOurs(base));
        }
        let mut builder = tempfile::Builder::new();
        builder.prefix("").permissions(fs::Permissions::from_mode(0o700));
        let path = builder.tempdir_in(&base).map_err(failed(&base))?.keep();
        let mut options = fs::OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        let file = options.open(path.join(LOCK)).map_err(failed(&path))?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, errno)| failed(&path)(io::Error::from(errno)))?;
        Ok(Self { path, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file only this user can read.
    pub(super) fn write(&self, name: &str, text: &str) -> io::Result<PathBuf> {
        let path = self.path.join(name);
        if let Some(dir) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        }
        let mut file = fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&path)?;
        io::Write::write_all(&mut file, text.as_bytes())?;
        Ok(path)
    }

    /// Remembers the server, for a sweep.
    pub(super) fn remember(&self, pid: u32) -> io::Result<()> {
        let start = started(pid).map_or_else(String::new, |start| start.to_string());
        self.write(REDIS, &format!("{pid} {start}\n")).map(|_| ())
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        // What cannot be removed now is swept by the next trial.
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn base() -> PathBuf {
    std::env::temp_dir().join(format!("rediscue-try-{}", Uid::effective()))
}

/// A real directory of this user that nobody else can enter: in a shared
/// temporary directory somebody else may have put another there first.
fn is_ours(dir: &Path) -> bool {
    fs::symlink_metadata(dir)
        .is_ok_and(|about| about.is_dir() && about.uid() == Uid::effective().as_raw() && about.mode() & 0o077 == 0)
}

/// Removes what trials left that ended without cleaning up: kills their
/// server, if it is still the process they started, and their directory.
pub(super) fn sweep() {
    let base = base();
    if !is_ours(&base) {
        return;
    }
    let Ok(entries) = fs::read_dir(&base) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if !is_ours(&path) {
            continue;
        }
        let lock = match fs::OpenOptions::new().write(true).open(path.join(LOCK)) {
            Ok(file) => match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => Some(lock),
                Err(_) => continue,
            },
            Err(_) if is_young(&path) => continue,
            Err(_) => None,
        };
        if let Some(pid) = left_running(&path) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        let _ = fs::remove_dir_all(&path);
        drop(lock);
    }
}

fn is_young(path: &Path) -> bool {
    let age = fs::metadata(path).and_then(|about| about.modified()).ok().and_then(|at| at.elapsed().ok());
    age.is_none_or(|age| age < YOUNG)
}

/// The server of a trial, if the process of that number is still the one that
/// was started: the start time tells it from another that got its number.
fn left_running(path: &Path) -> Option<i32> {
    let text = fs::read_to_string(path.join(REDIS)).ok()?;
    let (pid, start) = text.trim().split_once(' ')?;
    let start: u64 = start.parse().ok()?;
    let pid: u32 = pid.parse().ok()?;
    (started(pid)? == start).then(|| i32::try_from(pid).ok()).flatten()
}

/// When a process started, in the kernel's ticks since boot; `None` when there
/// is none, it is only waiting to be reaped, or the system has no `/proc`.
pub(super) fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything: fields are counted behind it.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    if fields.next()? == "Z" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start_time() {
        let me = std::process::id();
        assert!(started(me).is_some());
        assert_eq!(started(me), started(me));
        assert_eq!(started(u32::MAX), None);
    }

    #[test]
    fn a_sweep_leaves_those_alone_that_are_lived_in() {
        let ground = Ground::make().unwrap();
        sweep();
        assert!(ground.path().is_dir());
        let path = ground.path().to_owned();
        drop(ground);
        assert!(!path.exists());

        // One whose owner died with the lock.
        fs::DirBuilder::new().mode(0o700).create(&path).unwrap();
        fs::write(path.join(LOCK), "").unwrap();
        sweep();
        assert!(!path.exists());
    }

    #[test]
    fn a_number_that_another_process_got_is_not_killed() {
        let ground = Ground::make().unwrap();
        let me = std::process::id();
        ground.write(REDIS, &format!("{me} {}\n", started(me).unwrap() + 1)).unwrap();
        assert_eq!(left_running(ground.path()), None);
        ground.remember(me).unwrap();
        assert_eq!(left_running(ground.path()), i32::try_from(me).ok());
        fs::remove_file(ground.path().join(REDIS)).unwrap();
    }
}
