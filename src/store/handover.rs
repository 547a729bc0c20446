//! Secrets made here, handed over in files that their owner alone can read.
//!
//! They lie beside the database, in a folder of their own. A secret is never
//! a row, a line of a log or a word of a card; its file's name is.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::PathBuf,
};

use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};

use super::{Store, chain};

/// The folder of such files.
#[derive(Debug, Clone)]
pub struct Handover {
    dir: PathBuf,
}

impl Store {
    /// Where secrets are handed over.
    pub fn handover(&self) -> Handover {
        Handover { dir: self.settings.database.with_file_name("handover") }
    }
}

impl Handover {
    /// Where the secret of that name lies, for people. Whatever is no letter, digit, `.` or `-` is made one.
    pub fn path(&self, name: &str) -> PathBuf {
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '.' { c } else { '_' };
        self.dir.join(name.chars().map(plain).collect::<String>() + ".secret")
    }

    /// Makes a secret of 256 random bits and writes it, before anybody hears of it.
    ///
    /// # Errors
    /// When it cannot be written, or there is one of that name already: then nothing is to rely on it.
    pub fn make(&self, name: &str) -> io::Result<SecretString> {
        let secret = SecretString::from(chain::hex(&rand::random::<[u8; 32]>()));
        self.keep(name, &secret)?;
        Ok(secret)
    }

    /// Writes down a secret that is known, before what replaces it is set.
    ///
    /// # Errors
    /// When it cannot be written, or there is one of that name already.
    pub fn keep(&self, name: &str, secret: &SecretString) -> io::Result<()> {
        if !self.dir.exists() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.path(name))?;
        writeln!(file, "{}", secret.expose_secret())?;
        file.sync_all()?;
        File::open(&self.dir)?.sync_all()
    }

    /// The secret of that name, if there is one.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn read(&self, name: &str) -> io::Result<Option<SecretString>> {
        match fs::read_to_string(self.path(name)) {
            Ok(mut text) => {
                text.truncate(text.trim_end_matches(['\r', '\n']).len());
                Ok(Some(SecretString::from(text)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// When the secret of that name was made.
    pub fn made(&self, name: &str) -> Option<Timestamp> {
        let at = fs::metadata(self.path(name)).and_then(|file| file.modified()).ok()?;
        Timestamp::try_from(at).ok()
    }

    /// Removes a secret that opens nothing.
    ///
    /// # Errors
    /// When it is there and cannot be removed.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.path(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_secret_is_long_made_once_and_readable_by_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let handover = Handover { dir: dir.path().join("handover") };
        assert!(handover.read("shop").unwrap().is_none());
        let secret = handover.make("shop").unwrap();
        assert!(secret.expose_secret().len() >= 32);
        assert_eq!(handover.read("shop").unwrap().unwrap().expose_secret(), secret.expose_secret());
        assert_eq!(handover.path("shop").metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(handover.dir.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        assert!(handover.make("shop").is_err(), "what was handed over is not written over");
        assert!(handover.path("../x/y").starts_with(&handover.dir), "no name leads out of the folder");
        handover.remove("shop").unwrap();
        handover.remove("shop").unwrap();
        assert!(handover.read("shop").unwrap().is_none());
    }
}
