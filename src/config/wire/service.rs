//! `services/NAME.toml`.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};

use super::{At, SecretWire, bot::ThresholdWire};

/// One system that uses Redis: where it is, and what normal is for it. The file's name is the service's name.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "services/NAME.toml", extend("required" = ["environment", "owner", "instances"]))]
pub(in crate::config) struct ServiceFile {
    /// What people call it; left out: its name.
    pub(in crate::config) title: Option<String>,
    /// `prod`, `staging` or `dev`: shown on every card.
    pub(in crate::config) environment: EnvironmentWord,
    /// The team that owns it.
    pub(in crate::config) owner: String,
    /// Its Redis deployments, the one meant by default first.
    #[schemars(length(min = 1))]
    pub(in crate::config) instances: Vec<At<InstanceWire>>,
    /// What its keys look like, by a name.
    pub(in crate::config) patterns: BTreeMap<String, At<PatternWire>>,
    /// Its queues, by a name.
    pub(in crate::config) queues: BTreeMap<String, At<QueueWire>>,
    /// What is normal for it; each line replaces the default's line in `bot.toml`.
    pub(in crate::config) thresholds: BTreeMap<String, At<ThresholdWire>>,
    /// Configuration parameters of Redis as they were meant to be; `drift` compares.
    pub(in crate::config) declared: BTreeMap<String, At<String>>,
    /// The application's HTTP endpoints, by a name.
    pub(in crate::config) endpoints: BTreeMap<String, At<EndpointWire>>,
    /// Pages in the Prometheus text format, by a name.
    pub(in crate::config) metrics: BTreeMap<String, At<MetricsWire>>,
    /// Logs, by a name.
    pub(in crate::config) logs: BTreeMap<String, At<LogWire>>,
    /// Dashboards, provider pages, related runbooks.
    pub(in crate::config) links: Vec<At<LinkWire>>,
    /// Whom to turn to.
    pub(in crate::config) contacts: Vec<At<ContactWire>>,
    /// What users lose, and what still works, when this Redis is down.
    pub(in crate::config) impact: Vec<ImpactWire>,
}

/// How much a mistake costs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum EnvironmentWord {
    /// A developer's own.
    Dev,
    /// Shared, without users.
    Staging,
    /// With users.
    #[default]
    Prod,
}

/// One Redis deployment. Say how to find it in one of three ways: `address`, `sentinels` with `master`, or `cluster`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct InstanceWire {
    /// Its name; left out: `main`.
    pub(in crate::config) name: Option<At<String>>,
    /// One server: `host:port`, or `unix:/path` for a socket.
    pub(in crate::config) address: Option<At<String>>,
    /// Sentinels, each `host:port`.
    pub(in crate::config) sentinels: Option<Vec<At<String>>>,
    /// The name the Sentinels know the master by.
    pub(in crate::config) master: Option<At<String>>,
    /// The user to authenticate to the Sentinels with, when they ask for one.
    pub(in crate::config) sentinel_user: Option<String>,
    /// The password to the Sentinels.
    pub(in crate::config) sentinel_password: Option<At<SecretWire>>,
    /// Nodes of a Redis Cluster to ask for the others, each `host:port`.
    pub(in crate::config) cluster: Option<Vec<At<String>>>,
    /// The logical database; left out: 0.
    pub(in crate::config) database: Option<At<u32>>,
    /// The Redis user for looks; left out: the default user.
    pub(in crate::config) user: Option<String>,
    /// Its password; left out: no AUTH is sent.
    pub(in crate::config) password: Option<At<SecretWire>>,
    /// The Redis user for changes; left out: this bot can never change this instance.
    pub(in crate::config) touch: Option<TouchWire>,
    /// Speak TLS.
    pub(in crate::config) tls: Option<bool>,
    /// A PEM file of authorities to trust instead of the machine's.
    pub(in crate::config) tls_ca: Option<At<String>>,
    /// A PEM file with the client's certificate chain; needs `tls_key`.
    pub(in crate::config) tls_cert: Option<At<String>>,
    /// A PEM file with the client's key; needs `tls_cert`.
    pub(in crate::config) tls_key: Option<At<String>>,
    /// The name to verify instead of the host.
    pub(in crate::config) tls_server_name: Option<At<String>>,
    /// Looks that walk the keyspace may use a replica, to spare the primary.
    pub(in crate::config) scan_replica: bool,
}

/// The Redis user for changes.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct TouchWire {
    /// The user.
    pub(in crate::config) user: Option<String>,
    /// Its password.
    pub(in crate::config) password: Option<At<SecretWire>>,
}

/// Keys of one kind.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["glob"]))]
pub(in crate::config) struct PatternWire {
    /// A Redis glob: `session:*`.
    pub(in crate::config) glob: At<String>,
    /// How long such a key should live; left out: no TTL is expected.
    pub(in crate::config) ttl: Option<At<String>>,
    /// What they hold.
    pub(in crate::config) about: Option<String>,
    /// `false`: keys of it that were removed are never brought back by `undo`. For sessions and tokens, which are
    /// logins that would work again. Whoever keeps this file can lift it.
    pub(in crate::config) revive: Option<bool>,
    /// They are to be looked at before they go, as dead letters are: a purge offers to export them first.
    pub(in crate::config) review: Option<bool>,
}

/// Something that should drain.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["key"]))]
pub(in crate::config) struct QueueWire {
    /// The key: a list, stream, set or sorted set.
    pub(in crate::config) key: At<String>,
    /// Deeper than this is a warning.
    pub(in crate::config) warn: Option<u64>,
    /// Deeper than this is critical.
    pub(in crate::config) crit: Option<u64>,
}

/// Which side of a bound is bad.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum BadSide {
    /// High figures are bad.
    High,
    /// Low figures are bad.
    Low,
}

/// An HTTP endpoint of the application.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["url"]))]
pub(in crate::config) struct EndpointWire {
    /// Scheme, host and path. `{argument}` in path or query is replaced by a percent-encoded argument.
    pub(in crate::config) url: At<String>,
    /// `GET` (unless said otherwise), `HEAD` or `POST`.
    pub(in crate::config) method: MethodWord,
    /// A POST that changes nothing that matters, so that a diagnostic may send it.
    pub(in crate::config) safe: bool,
    /// Statuses that mean health; left out: 200.
    pub(in crate::config) expect: Option<Vec<At<u16>>>,
    /// Headers; a value is text or `{ env = "NAME" }`, `{ file = "/path" }`.
    pub(in crate::config) headers: BTreeMap<String, At<HeaderWire>>,
    /// The body of a POST.
    pub(in crate::config) body: Option<At<String>>,
    /// What in a JSON answer means degraded though the status is good.
    pub(in crate::config) degraded: Option<At<DegradedWire>>,
    /// How long it may take; left out: 5s.
    pub(in crate::config) timeout: Option<At<String>>,
    /// Slower than this is a warning.
    pub(in crate::config) slow: Option<At<String>>,
    /// It tells the health of the service, so `health` asks it.
    pub(in crate::config) health: bool,
    /// It answers in Statuspage's format: the state of a provider.
    pub(in crate::config) statuspage: bool,
    /// It may be on a private or loopback address.
    pub(in crate::config) allow_private: bool,
}

/// What means degraded.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["pointer", "is"]))]
pub(in crate::config) struct DegradedWire {
    /// A JSON pointer (RFC 6901): `/status`.
    pub(in crate::config) pointer: String,
    /// The value there that means degraded.
    pub(in crate::config) is: String,
}

/// HTTP methods.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(in crate::config) enum MethodWord {
    /// Safe by definition.
    #[default]
    Get,
    /// Safe by definition.
    Head,
    /// In a diagnostic only with `safe = true`.
    Post,
}

/// A header's value: text, or where it is kept.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::config) enum HeaderWire {
    Plain(String),
    Kept(SecretWire),
}

impl Default for HeaderWire {
    fn default() -> Self {
        Self::Plain(String::new())
    }
}

// By hand, because serde's `untagged` says nothing useful when neither fits.
impl<'de> Deserialize<'de> for HeaderWire {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = HeaderWire;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text or where a secret is")
            }
            fn visit_str<E>(self, text: &str) -> Result<HeaderWire, E> {
                Ok(HeaderWire::Plain(text.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<HeaderWire, A::Error> {
                SecretWire::deserialize(MapAccessDeserializer::new(map)).map(HeaderWire::Kept)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for HeaderWire {
    fn schema_name() -> Cow<'static, str> {
        "HeaderWire".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A header's value: text, or where a secret is kept.",
            "anyOf": [{ "type": "string" }, generator.subschema_for::<SecretWire>()],
        })
    }
}

/// A page in the Prometheus text format.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["url"]))]
pub(in crate::config) struct MetricsWire {
    /// Where it is.
    pub(in crate::config) url: At<String>,
    /// Prefixes of metric names shown when nobody says which.
    pub(in crate::config) select: Vec<String>,
}

/// A log: a `file` on the bot's host, or a `url` that answers plain text.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct LogWire {
    /// An absolute path; only the file's last part is read.
    pub(in crate::config) file: Option<At<String>>,
    /// Where it is.
    pub(in crate::config) url: Option<At<String>>,
    /// Regular expressions by a name.
    pub(in crate::config) filters: BTreeMap<String, At<String>>,
}

/// A link worth having at hand.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["title", "url"]))]
pub(in crate::config) struct LinkWire {
    /// What it is.
    pub(in crate::config) title: String,
    /// Where it is.
    pub(in crate::config) url: At<String>,
}

/// Somebody to turn to.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["role", "who"]))]
pub(in crate::config) struct ContactWire {
    /// `primary on-call`, `infrastructure`, `escalation`.
    pub(in crate::config) role: String,
    /// Who, as your team says it.
    pub(in crate::config) who: String,
}

/// One line of what users notice.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["works", "what"]))]
pub(in crate::config) struct ImpactWire {
    /// It still works.
    pub(in crate::config) works: bool,
    /// What.
    pub(in crate::config) what: String,
}
