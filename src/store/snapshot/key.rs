//! The key that opens snapshots: an X25519 identity of age, in a file of its owner's.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use age::{
    secrecy::ExposeSecret as _,
    x25519::{Identity, Recipient},
};

use super::{SnapshotError, io_at};

/// It opens and closes frames.
pub(super) struct Key {
    identity: Identity,
    recipient: Recipient,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(…)")
    }
}

impl Key {
    fn new(identity: Identity) -> Self {
        Self { recipient: identity.to_public(), identity }
    }

    pub(super) fn seal(&self, plain: &[u8]) -> io::Result<Vec<u8>> {
        age::encrypt(&self.recipient, plain).map_err(io::Error::other)
    }

    /// `None`: it was sealed with another key, or is not what was sealed.
    pub(super) fn open(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        age::decrypt(&self.identity, sealed).ok()
    }
}

/// Reads the key file; `None` when there is none.
pub(super) fn read(path: &Path) -> Result<Option<Key>, SnapshotError> {
    let bad = || SnapshotError::BadKey { path: path.to_owned() };
    let text = match fs::read(path) {
        Ok(bytes) => String::from_utf8(bytes).map_err(|_| bad())?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_at(path)(error)),
    };
    // Files that age's own program made begin with comments.
    let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    let identity = line.and_then(|line| line.parse().ok()).ok_or_else(bad)?;
    Ok(Some(Key::new(identity)))
}

/// Makes a key and its file, readable by its owner alone, whole or not at all.
pub(super) fn make(path: &Path) -> Result<Key, SnapshotError> {
    let identity = Identity::generate();
    let unfinished = path.with_extension("key.new");
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        writeln!(file, "# Opens the snapshots of what was deleted. Keep a copy elsewhere; show it to nobody.")?;
        writeln!(file, "{}", identity.to_string().expose_secret())?;
        file.sync_all()?;
        fs::rename(&unfinished, path)?;
        path.parent().filter(|dir| !dir.as_os_str().is_empty()).map_or(Ok(()), |dir| File::open(dir)?.sync_all())
    };
    write().map_err(io_at(path))?;
    Ok(Key::new(identity))
}
