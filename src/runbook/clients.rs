//! Which connections of a server somebody means, and which nobody may mean.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::show_bytes;
use crate::{
    diagnosis::redact,
    model::{Instance, show_duration},
};

/// What a connection is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientKind {
    /// It asks and is answered.
    Normal,
    /// It listens to channels.
    Pubsub,
}

/// The connections somebody means; all that is said must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ClientFilter {
    /// Its own name, `*` standing for anything.
    pub name: Option<String>,
    /// Its address with or without port, `*` standing for anything.
    pub address: Option<String>,
    /// The user it is logged in as.
    pub user: Option<String>,
    /// Silent for at least so many seconds.
    pub idle_s: Option<u64>,
    /// At least so many bytes wait to be read by it.
    pub output_bytes: Option<u64>,
    /// What it is used for.
    pub kind: Option<ClientKind>,
    /// Connected before this moment, in Unix seconds.
    pub before_s: Option<i64>,
}

impl ClientFilter {
    /// Does it say nothing at all? Then it would mean everybody.
    pub fn is_empty(&self) -> bool {
        *self == ClientFilter::default()
    }

    /// Is this one of them? `client` is an entry of `CLIENT LIST` as it was
    /// read, redacted or not; `now_s` is the present in Unix seconds.
    pub fn fits(&self, client: &Value, now_s: i64) -> bool {
        let text = |name: &str| client.get(name).and_then(Value::as_str).unwrap_or_default();
        let number = |name: &str| client.get(name).and_then(Value::as_u64).unwrap_or(0);
        let named = |wanted: &String| {
            let name = text("name");
            // A name that was masked before we saw it is the one whose mask it is.
            like(wanted, name) || (!name.is_empty() && redact::line(wanted) == name)
        };
        let at = |wanted: &String| {
            let address = text("addr");
            like(wanted, address) || address.rsplit_once(':').is_some_and(|(host, _)| like(wanted, host))
        };
        let subscribed = text("flags").contains('P');
        self.name.as_ref().is_none_or(named)
            && self.address.as_ref().is_none_or(at)
            && self.user.as_ref().is_none_or(|wanted| wanted == text("user"))
            && self.idle_s.is_none_or(|least| number("idle") >= least)
            && self.output_bytes.is_none_or(|least| number("omem") >= least)
            && self.kind.is_none_or(|kind| subscribed == (kind == ClientKind::Pubsub))
            && self.before_s.is_none_or(|before| now_s.saturating_sub_unsigned(number("age")) < before)
    }

    /// What it says, as a fragment: `named api-*, idle for 1 h or more`.
    pub fn words(&self) -> String {
        let mut words = Vec::new();
        words.extend(self.name.as_ref().map(|name| format!("named {}", redact::line(name))));
        words.extend(self.address.as_ref().map(|address| format!("from {address}")));
        words.extend(self.user.as_ref().map(|user| format!("logged in as {user}")));
        words.extend(self.idle_s.map(|s| format!("idle for {} or more", show_duration(Duration::from_secs(s)))));
        words.extend(self.output_bytes.map(|bytes| format!("with {} or more waiting to be read", show_bytes(bytes))));
        words.extend(self.kind.map(|kind| match kind {
            ClientKind::Normal => "that do not subscribe".to_owned(),
            ClientKind::Pubsub => "that subscribe to channels".to_owned(),
        }));
        words.extend(self.before_s.map(|_| "connected before the password was changed".to_owned()));
        words.join(", ")
    }
}

/// Whether a connection is never cut: replication, Sentinels, and the bot's own.
pub fn spared(client: &Value, instance: &Instance) -> bool {
    let text = |name: &str| client.get(name).and_then(Value::as_str).unwrap_or_default();
    let (flags, name, user) = (text("flags"), text("name"), text("user"));
    let credentials = std::iter::once(&instance.look).chain(&instance.touch);
    // Where the bot may not name its connections, its user tells them.
    let ours = || credentials.filter_map(|credential| credential.user.as_deref()).any(|own| own == user);
    flags.contains(['S', 'M'])
        || name.starts_with("rediscue")
        || name.starts_with("sentinel-")
        || (name.is_empty() && user != "default" && ours())
}

/// Whether `text` is what `pattern` says; every `*` stands for anything, everything else for itself.
fn like(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::{Address, Credential, Deployment};

    fn client() -> Value {
        json!({"id": 7, "addr": "10.0.3.7:5123", "name": "api-worker-3", "user": "shop", "flags": "N", "idle": 4000, "age": 5000, "omem": 0})
    }

    #[test]
    fn all_that_is_said_must_hold_and_what_is_not_said_does_not_matter() {
        let filter = |set: &dyn Fn(&mut ClientFilter)| {
            let mut filter = ClientFilter::default();
            set(&mut filter);
            filter
        };
        let fitting: [&dyn Fn(&mut ClientFilter); 9] = [
            &|f| f.name = Some("api-*".into()),
            &|f| f.name = Some("*worker*3".into()),
            &|f| f.address = Some("10.0.3.7".into()),
            &|f| f.address = Some("10.0.3.*".into()),
            &|f| f.address = Some("10.0.3.7:5123".into()),
            &|f| f.user = Some("shop".into()),
            &|f| f.idle_s = Some(4000),
            &|f| f.kind = Some(ClientKind::Normal),
            &|f| f.before_s = Some(5001),
        ];
        for set in fitting {
            assert!(filter(set).fits(&client(), 10_000), "{:?}", filter(set));
        }
        let others: [&dyn Fn(&mut ClientFilter); 9] = [
            &|f| f.name = Some("api".into()),
            &|f| f.name = Some("api-*-4".into()),
            &|f| f.address = Some("10.0.3".into()),
            &|f| f.user = Some("sho".into()),
            &|f| f.idle_s = Some(4001),
            &|f| f.output_bytes = Some(1),
            &|f| f.kind = Some(ClientKind::Pubsub),
            &|f| f.before_s = Some(5000),
            &|f| (f.name, f.idle_s) = (Some("api-*".into()), Some(4001)),
        ];
        for set in others {
            assert!(!filter(set).fits(&client(), 10_000), "{:?}", filter(set));
        }
    }

    #[test]
    fn replication_sentinels_and_the_bot_itself_are_spared() {
        let mut instance = Instance {
            name: "main".parse().unwrap(),
            deployment: Deployment::Standalone(Address::Unix("/s".into())),
            database: 0,
            tls: None,
            look: Credential { user: Some("looker".into()), password: None },
            touch: None,
            scan_replica: false,
        };
        let with = |name: &str, value: &str| {
            let mut client = client();
            client[name] = value.into();
            client
        };
        assert!(!spared(&client(), &instance));
        for (name, value) in [("flags", "S"), ("flags", "xM"), ("name", "rediscue-touch"), ("name", "sentinel-ab-cmd")]
        {
            assert!(spared(&with(name, value), &instance), "{name}={value}");
        }
        let mut unnamed = with("name", "");
        unnamed["user"] = "looker".into();
        assert!(spared(&unnamed, &instance));
        unnamed["user"] = "default".into();
        instance.look.user = Some("default".into());
        assert!(!spared(&unnamed, &instance), "the user of everybody tells nothing");
    }
}
