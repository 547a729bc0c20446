//! The key under which copies of data are sealed: an X25519 identity of age, in a file of its owner's.
//!
//! The sealed files are plain age files: `age -d -i KEYFILE FILE` opens them
//! where there is no Rediscue.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use age::{
    Decryptor, Encryptor,
    secrecy::ExposeSecret as _,
    stream::{StreamReader, StreamWriter},
    x25519::{self, Recipient},
};

/// It seals and opens.
#[derive(Clone)]
pub(super) struct Identity {
    identity: x25519::Identity,
    recipient: Recipient,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity(…)")
    }
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file cannot be read or made.
    #[error("{path} cannot be used: {source}", path = .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file holds something else.
    #[error("{path} does not hold a key of age (AGE-SECRET-KEY-…): restore it from its copy", path = .path.display())]
    Bad {
        /// Which.
        path: PathBuf,
    },
    /// It is gone, and what it seals is not.
    #[error("{path} is missing although there are files it opens: restore it from its copy; nothing else opens them", path = .path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
}

impl Identity {
    /// Reads the key file, and makes it where there may be none yet.
    pub(super) fn open(path: &Path, may_make: bool) -> Result<Self, IdentityError> {
        match read(path)? {
            Some(identity) => Ok(identity),
            None if may_make => make(path),
            None => Err(IdentityError::Missing { path: path.to_owned() }),
        }
    }

    /// What is written to the answer arrives sealed in `to`; it has to be finished.
    pub(super) fn seal<W: Write>(&self, to: W) -> io::Result<StreamWriter<W>> {
        let recipient: &dyn age::Recipient = &self.recipient;
        Encryptor::with_recipients(std::iter::once(recipient)).map_err(io::Error::other)?.wrap_output(to)
    }

    /// What was sealed in `from`; `None`: it was sealed for another key.
    pub(super) fn unseal<R: Read>(&self, from: R) -> io::Result<Option<StreamReader<R>>> {
        let bad = |error: age::DecryptError| match error {
            age::DecryptError::Io(error) => error,
            other => io::Error::new(io::ErrorKind::InvalidData, other.to_string()),
        };
        let identity: &dyn age::Identity = &self.identity;
        match Decryptor::new(from).map_err(bad)?.decrypt(std::iter::once(identity)) {
            Err(age::DecryptError::NoMatchingKeys) => Ok(None),
            opened => opened.map(Some).map_err(bad),
        }
    }

    /// A short text, sealed whole.
    pub(super) fn seal_whole(&self, plain: &[u8]) -> io::Result<Vec<u8>> {
        age::encrypt(&self.recipient, plain).map_err(io::Error::other)
    }

    /// What was sealed whole; `None`: it was sealed with another key, or is not what was sealed.
    pub(super) fn unseal_whole(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        age::decrypt(&self.identity, sealed).ok()
    }

    fn of(identity: x25519::Identity) -> Self {
        Self { recipient: identity.to_public(), identity }
    }
}

fn at(path: &Path) -> impl Fn(io::Error) -> IdentityError + use<> {
    let path = path.to_owned();
    move |source| IdentityError::Io { path: path.clone(), source }
}

fn read(path: &Path) -> Result<Option<Identity>, IdentityError> {
    let bad = || IdentityError::Bad { path: path.to_owned() };
    let text = match fs::read(path) {
        Ok(bytes) => String::from_utf8(bytes).map_err(|_| bad())?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(at(path)(error)),
    };
    // Files that age's own program made begin with comments.
    let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(Some(Identity::of(line.and_then(|line| line.parse().ok()).ok_or_else(bad)?)))
}

/// Makes a key and its file, readable by its owner alone, whole or not at all; one that is there already wins.
fn make(path: &Path) -> Result<Identity, IdentityError> {
    let made = x25519::Identity::generate();
    let unfinished = path.with_extension(format!("{:08x}.new", rand::random::<u32>()));
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
        writeln!(file, "# Opens the copies of data that are kept here. Keep a copy elsewhere; show it to nobody.")?;
        writeln!(file, "{}", made.to_string().expose_secret())?;
        file.sync_all()?;
        let linked = fs::hard_link(&unfinished, path);
        fs::remove_file(&unfinished)?;
        match linked {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        path.parent().filter(|dir| !dir.as_os_str().is_empty()).map_or(Ok(()), |dir| File::open(dir)?.sync_all())
    };
    write().map_err(at(path))?;
    read(path)?.ok_or_else(|| IdentityError::Missing { path: path.to_owned() })
}
