//! The one password of a server that knows no users.
//!
//! It cannot stand beside the old one: what is set is good at once, and the
//! other no longer. Both lie in files that their owner alone can read, so that
//! the way back does not depend on anybody's memory.

use secrecy::{ExposeSecret as _, SecretString};

use super::{Lane, Touched, refused};
use crate::{
    diagnosis::Explained,
    exec::{fault::Fault, secret, wire::Wire},
    model::{Credential, SecretRef},
};

/// Under which name the password before it is kept.
fn before(file: &str) -> String {
    format!("{file}-before")
}

impl Lane<'_> {
    /// Makes a password, keeps the one there is, and sets the new one; the same on every server of the plan.
    pub(super) async fn set_required(&self, file: &str) -> Touched {
        let wire = match self.open().await {
            Ok(wire) => wire,
            Err(error) => return Touched::Untouched(error),
        };
        let handover = self.store.handover();
        let (new, is_new) = match handover.read(file) {
            Ok(Some(secret)) => (secret, false),
            Ok(None) => match self.make(file) {
                Ok(secret) => (secret, true),
                Err(error) => return Touched::Untouched(error),
            },
            Err(error) => return Touched::Untouched(super::password::no_file(&error)),
        };
        let said = format!(
            "it is good and the old one is not; it lies in {}, the old one beside it",
            handover.path(file).display()
        );
        let touched = self.require(&wire, &new, file, &before(file), said).await;
        if is_new && matches!(touched, Touched::Untouched(_)) {
            for name in [file, &before(file)] {
                if let Err(error) = handover.remove(name) {
                    tracing::warn!(%error, "a secret that opens nothing could not be removed");
                }
            }
        }
        touched
    }

    /// Keeps the password that is good now, which is the one this connection came with, and makes another.
    fn make(&self, file: &str) -> Result<SecretString, Explained> {
        let own = self.instance.touch.as_ref().and_then(|credential| credential.password.as_ref());
        let Some(own) = own else {
            return Err(refused(
                "this server needs no password",
                "the profile names none, so there is none to rotate",
                "set one by hand, together with those who use it",
            ));
        };
        let old = secret::read(own).map_err(|error| *error)?;
        let handover = self.store.handover();
        let kept = handover.keep(&before(file), &old).and_then(|()| handover.make(file));
        kept.map_err(|error| super::password::no_file(&error))
    }

    /// Sets the password from before again.
    pub(super) async fn restore_required(&self, file: &str) -> Touched {
        let old = match self.store.handover().read(&before(file)) {
            Ok(Some(old)) => old,
            Ok(None) => {
                return Touched::Untouched(refused(
                    "the old password's file is gone",
                    "somebody removed it from the bot's host",
                    "rotate again instead",
                ));
            }
            Err(error) => return Touched::Untouched(super::password::no_file(&error)),
        };
        if self.log_in(&before(file)).await.is_ok() {
            return Touched::Verified("the old password is good here already".to_owned());
        }
        // The profile may hold either of them by now.
        let wire = match self.log_in(file).await {
            Ok(wire) => wire,
            Err(_) => match self.open().await {
                Ok(wire) => wire,
                Err(error) => return Touched::Untouched(error),
            },
        };
        let said = "the old password is good again, and the new one is not".to_owned();
        self.require(&wire, &old, &before(file), file, said).await
    }

    /// CONFIG SET requirepass, and whether one can log in with it, and no longer with the other.
    async fn require(&self, wire: &Wire, secret: &SecretString, good: &str, bad: &str, said: String) -> Touched {
        let lost = match self.call(wire, &["CONFIG", "SET", "requirepass", secret.expose_secret()]).await {
            Ok(_) => None,
            Err(fault @ Fault::Server(_)) => return Touched::Untouched(self.explain(&fault, "CONFIG")),
            Err(fault) => Some(self.explain(&fault, "CONFIG")),
        };
        match (self.log_in(good).await, self.log_in(bad).await, lost) {
            (Ok(_), Err(_), _) => Touched::Verified(said),
            (Ok(_), Ok(_), _) => Touched::Otherwise { found: "that it takes both passwords".to_owned() },
            (Err(_), Ok(_), None) => {
                Touched::Otherwise { found: "that the password before it is still good".to_owned() }
            }
            (Err(why), _, lost) => Touched::Uncertain(lost.unwrap_or(why)),
        }
    }

    /// A connection with the password handed over under that name.
    async fn log_in(&self, name: &str) -> Result<Wire, Explained> {
        let password = Some(SecretRef::File(self.store.handover().path(name)));
        let credential = Credential { password, ..self.instance.touch.clone().unwrap_or_default() };
        self.open_as(&credential, self.address, Some(&self.target.run_id)).await
    }
}
