//! Passwords of ACL users. The server is told hashes alone, so that no secret
//! passes its slow log, a MONITOR or the wire; the secret itself lies in a file.

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{Lane, Touched, refused};
use crate::{
    diagnosis::Explained,
    exec::{fault::Fault, secret, wire::Wire},
    runbook::show_count,
};

/// What a user can log in with now.
struct Known {
    hashes: Vec<String>,
    /// Any password does.
    open: bool,
}

impl Known {
    fn has(&self, hash: &str) -> bool {
        self.hashes.iter().any(|known| known == hash)
    }
}

impl Lane<'_> {
    async fn known(&self, wire: &Wire, user: &str) -> Result<Option<Known>, Fault> {
        let told = self.call(wire, &["ACL", "GETUSER", user]).await?;
        let texts = |value: Option<&Value>| -> Vec<String> {
            value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let found = |name: &str| match &told {
            Value::Array(pairs) => {
                pairs.chunks(2).find(|pair| pair[0].as_str() == Some(name)).and_then(|pair| pair.get(1))
            }
            Value::Object(map) => map.get(name),
            _ => None,
        };
        let Some(passwords) = found("passwords") else { return Ok(None) };
        let open = texts(found("flags")).iter().any(|flag| flag == "nopass");
        Ok(Some(Known { hashes: texts(Some(passwords)), open }))
    }

    /// What is needed for any change of a user's passwords.
    async fn begin(&self, user: &str) -> Result<(Wire, Known), Explained> {
        let wire = self.open().await?;
        match self.known(&wire, user).await {
            Ok(Some(known)) if known.open => Err(refused(
                &format!("{user} needs no password"),
                "it is set up with nopass, so there is none to rotate",
                "give it one by hand, together with those who use it",
            )),
            Ok(Some(known)) => Ok((wire, known)),
            Ok(None) => Err(refused(
                &format!("there is no user {user} on this server"),
                "it was removed, or never was on this one",
                "compare with `/redis acl-log`",
            )),
            Err(fault) => Err(self.explain(&fault, "ACL")),
        }
    }

    /// Adds the password handed over in `file` beside those there are; makes it where this is the first server.
    pub(super) async fn add_password(&self, user: &str, file: &str) -> Touched {
        let (wire, known) = match self.begin(user).await {
            Ok(begun) => begun,
            Err(error) => return Touched::Untouched(error),
        };
        let handover = self.store.handover();
        let made = match handover.read(file) {
            Ok(Some(secret)) => Ok((secret, false)),
            Ok(None) => handover.make(file).map(|secret| (secret, true)),
            Err(error) => Err(error),
        };
        let (secret, is_new) = match made {
            Ok(made) => made,
            Err(error) => return Touched::Untouched(no_file(&error)),
        };
        let hash = hash_of(&secret);
        if known.has(&hash) {
            return Touched::Verified(format!("{user} has it here already"));
        }
        let wanted: Vec<String> = known.hashes.iter().cloned().chain([hash.clone()]).collect();
        let said = format!(
            "{user} can log in with {} passwords now; the new one is in {}",
            wanted.len(),
            handover.path(file).display()
        );
        let touched = self.set(&wire, user, &[format!("#{hash}")], &wanted, said).await;
        if is_new
            && matches!(touched, Touched::Untouched(_))
            && let Err(error) = handover.remove(file)
        {
            tracing::warn!(%error, "a secret that opens nothing could not be removed");
        }
        touched
    }

    /// Drops the password handed over in `file`: the way back.
    pub(super) async fn drop_password(&self, user: &str, file: &str) -> Touched {
        let (wire, known) = match self.begin(user).await {
            Ok(begun) => begun,
            Err(error) => return Touched::Untouched(error),
        };
        let hash = match self.handed_over(file) {
            Ok(secret) => hash_of(&secret),
            Err(error) => return Touched::Untouched(error),
        };
        if !known.has(&hash) {
            return Touched::Verified(format!("{user} cannot log in with it here"));
        }
        if known.hashes.len() == 1 {
            return Touched::Untouched(refused(
                &format!("it is the only password {user} has"),
                "the rotation was finished, and without it nobody could log in",
                "rotate again instead",
            ));
        }
        if self.own_secrets(user).iter().any(|own| own.as_ref().is_ok_and(|own| hash_of(own) == hash)) {
            return Touched::Untouched(refused(
                "this bot itself logs in with the new password",
                "its profile's secret was changed already",
                "give the bot the old one back first, or finish the rotation",
            ));
        }
        let wanted: Vec<String> = known.hashes.iter().filter(|known| **known != hash).cloned().collect();
        let said = format!("{user} can log in with {} now, and no longer with the new one", passwords(wanted.len()));
        self.set(&wire, user, &[format!("!{hash}")], &wanted, said).await
    }

    /// Drops every password but the one handed over in `file`.
    pub(super) async fn drop_others(&self, user: &str, file: &str) -> Touched {
        let (wire, known) = match self.begin(user).await {
            Ok(begun) => begun,
            Err(error) => return Touched::Untouched(error),
        };
        let hash = match self.handed_over(file) {
            Ok(secret) => hash_of(&secret),
            Err(error) => return Touched::Untouched(error),
        };
        if !known.has(&hash) {
            return Touched::Untouched(refused(
                &format!("{user} does not know the new password here"),
                "the server was restarted without it being saved, or somebody dropped it",
                "undo the rotation and begin anew",
            ));
        }
        if self.own_secrets(user).iter().any(|own| own.as_ref().map_or(true, |own| hash_of(own) != hash)) {
            return Touched::Untouched(refused(
                "this bot itself still logs in with the old password",
                "the secret its profile names is not the new one, so it would lock itself out",
                "put the new one where the profile's `password` points, then ask again",
            ));
        }
        let others: Vec<String> =
            known.hashes.iter().filter(|known| **known != hash).map(|old| format!("!{old}")).collect();
        if others.is_empty() {
            return Touched::Verified(format!("{user} has no other password here"));
        }
        let said = format!(
            "{} of {user} dropped; only the new one is good now",
            show_count(others.len() as u64, "old password")
        );
        self.set(&wire, user, &others, &[hash], said).await
    }

    /// ACL SETUSER, and a look whether it holds.
    async fn set(&self, wire: &Wire, user: &str, rules: &[String], wanted: &[String], said: String) -> Touched {
        let mut argv = vec!["ACL", "SETUSER", user];
        argv.extend(rules.iter().map(String::as_str));
        let lost = match self.call(wire, &argv).await {
            Ok(_) => None,
            Err(fault @ Fault::Server(_)) => return Touched::Untouched(self.explain(&fault, "ACL")),
            Err(fault) => Some(self.explain(&fault, "ACL")),
        };
        let again = match &lost {
            None => self.known(wire, user).await.ok().flatten(),
            Some(_) => match self.open().await {
                Ok(wire) => self.known(&wire, user).await.ok().flatten(),
                Err(_) => None,
            },
        };
        let holds = again
            .as_ref()
            .is_some_and(|known| known.hashes.len() == wanted.len() && wanted.iter().all(|hash| known.has(hash)));
        match (holds, again, lost) {
            (true, _, _) => Touched::Verified(said),
            (false, Some(known), None) => {
                Touched::Otherwise { found: format!("{} of {user}", passwords(known.hashes.len())) }
            }
            (false, _, lost) => Touched::Uncertain(lost.unwrap_or_else(|| {
                refused(
                    "the server took it and does not tell whether it holds",
                    "ACL GETUSER brought no answer after it",
                    "look at it with `/redis acl-log`",
                )
            })),
        }
    }

    fn handed_over(&self, file: &str) -> Result<SecretString, Explained> {
        match self.store.handover().read(file) {
            Ok(Some(secret)) => Ok(secret),
            Ok(None) => Err(refused(
                "the new password's file is gone",
                "somebody removed it from the bot's host",
                "rotate anew: without it nobody knows which password is the new one",
            )),
            Err(error) => Err(no_file(&error)),
        }
    }

    /// The bot's own secrets for that user, as its profile names them.
    fn own_secrets(&self, user: &str) -> Vec<Result<SecretString, Box<Explained>>> {
        std::iter::once(&self.instance.look)
            .chain(&self.instance.touch)
            .filter(|credential| credential.user.as_deref().unwrap_or("default") == user)
            .filter_map(|credential| credential.password.as_ref())
            .map(secret::read)
            .collect()
    }
}

pub(super) fn no_file(error: &std::io::Error) -> Explained {
    refused(
        &format!("the new password's file cannot be written or read: {}", crate::exec::fault::plain(error)),
        "a secret that cannot be handed over is not set",
        "see that the bot's state folder has room and is its own",
    )
}

/// A password as servers keep it.
fn hash_of(secret: &SecretString) -> String {
    Sha256::digest(secret.expose_secret().as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn passwords(count: usize) -> String {
    show_count(count as u64, "password")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_hashed_as_the_server_does() {
        // From `ACL SETUSER x >p1pp0` and `ACL GETUSER x` of Redis 7.0.15.
        let told = "2d9c75273d72b32df726fb545c8a4edc719f0a95a6fd993950b10c474ad9c927";
        assert_eq!(hash_of(&SecretString::from("p1pp0")), told);
    }
}
