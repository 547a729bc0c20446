//! A service's profile: what one team runs on Redis, and what normal is for it.
//!
//! `config` reads it from `services/NAME.toml`; every other room takes it as a
//! value. Nothing here connects to anything.

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use super::{InstanceName, ServiceName};

/// One system that uses Redis.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Its name on the command line.
    pub name: ServiceName,
    /// What people call it.
    pub title: String,
    /// Shown on every card.
    pub environment: Environment,
    /// The team that owns it.
    pub owner: String,
    /// Its Redis deployments, the default one first. Never empty.
    pub instances: Vec<Instance>,
    /// What its keys look like.
    pub patterns: Vec<KeyPattern>,
    /// Its queues.
    pub queues: Vec<Queue>,
    /// What is normal, by name (`memory`, `clients`, `hit_ratio` …). The
    /// defaults of `bot.toml` are already merged in.
    pub thresholds: BTreeMap<String, Threshold>,
    /// What was declared (`maxmemory`, `maxmemory-policy`, `appendonly` …), compared by `drift`.
    pub declared: BTreeMap<String, String>,
    /// The application's HTTP endpoints.
    pub endpoints: Vec<Endpoint>,
    /// Pages in the Prometheus text format.
    pub metrics: Vec<MetricsSource>,
    /// Log files and log endpoints.
    pub logs: Vec<LogSource>,
    /// Dashboards, provider pages, related runbooks.
    pub links: Vec<Link>,
    /// Whom to turn to.
    pub contacts: Vec<Contact>,
    /// What users lose when this Redis is down, each line with whether it still works (O3).
    pub impact: Vec<(bool, String)>,
}

impl Service {
    /// The instance of that name, or the default one.
    pub fn instance(&self, name: Option<&InstanceName>) -> Option<&Instance> {
        match name {
            None => self.instances.first(),
            Some(name) => self.instances.iter().find(|instance| &instance.name == name),
        }
    }

    /// How a line names one of its instances: the service's bare name is the first of several.
    pub fn named(&self, instance: &InstanceName) -> String {
        match self.instances.len() {
            0 | 1 => self.name.to_string(),
            _ => format!("{}/{instance}", self.name),
        }
    }
}

/// How much a mistake costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Environment {
    /// A developer's own.
    Dev,
    /// Shared, without users.
    Staging,
    /// With users.
    Prod,
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Environment::Dev => "dev",
            Environment::Staging => "staging",
            Environment::Prod => "prod",
        })
    }
}

/// One Redis deployment of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Its name; a service's only instance is `main`.
    pub name: InstanceName,
    /// How to find its servers.
    pub deployment: Deployment,
    /// The logical database; always 0 for Cluster.
    pub database: u32,
    /// TLS to every node, when set.
    pub tls: Option<Tls>,
    /// The Redis user for looks.
    pub look: Credential,
    /// The Redis user for touches; `None` means this bot can never change this instance.
    pub touch: Option<Credential>,
    /// Looks that walk the keyspace may use a replica, to spare the primary.
    pub scan_replica: bool,
}

/// How an instance's servers are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deployment {
    /// One server (which may be a replica of another).
    Standalone(Address),
    /// The master that Sentinel names now.
    Sentinel {
        /// The Sentinels.
        sentinels: Vec<Address>,
        /// The name they know the master by.
        master: String,
        /// How to authenticate to the Sentinels themselves.
        credential: Credential,
    },
    /// Every primary and replica that the seeds know.
    Cluster {
        /// Nodes to ask for the topology.
        seeds: Vec<Address>,
    },
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// Host name or IP address, and port.
    Tcp {
        /// Host.
        host: String,
        /// Port.
        port: u16,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Tcp { host, port } => write!(f, "{host}:{port}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A Redis user, or nobody in particular.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Credential {
    /// The ACL user; `None` is the default user.
    pub user: Option<String>,
    /// Where its password is; `None` sends no AUTH.
    pub password: Option<SecretRef>,
}

/// Where a secret is. Never the secret itself; read at the moment of use, so that a rotated one is picked up.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SecretRef {
    /// An environment variable.
    Env(String),
    /// A file; a trailing line break is not part of the secret.
    File(PathBuf),
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretRef::Env(name) => write!(f, "environment variable {name}"),
            SecretRef::File(path) => write!(f, "file {}", path.display()),
        }
    }
}

/// TLS to a server.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tls {
    /// A PEM file of authorities to trust instead of the machine's.
    pub ca: Option<PathBuf>,
    /// A PEM file with the client's certificate chain, with `key`.
    pub cert: Option<PathBuf>,
    /// A PEM file with the client's key.
    pub key: Option<PathBuf>,
    /// The name to verify instead of the host.
    pub server_name: Option<String>,
}

/// Keys of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPattern {
    /// `sessions`
    pub name: String,
    /// Redis glob: `session:*`.
    pub glob: String,
    /// How long such a key should live; `None`: no TTL is expected.
    pub ttl: Option<Duration>,
    /// What they hold, for people.
    pub about: String,
    /// May keys of it that were removed be brought back? Sessions are logins that would work again.
    pub revive: bool,
    /// Somebody should look at them before they go, as at dead letters: a purge offers to export them first.
    pub review: bool,
}

/// A queue: a list, stream or sorted set that should drain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// `pending`
    pub name: String,
    /// The key.
    pub key: String,
    /// Deeper than this is a warning.
    pub warn_depth: Option<u64>,
    /// Deeper than this is critical.
    pub crit_depth: Option<u64>,
}

/// Whether a high or a low figure is bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Memory, clients, latency.
    HighIsBad,
    /// Hit ratio.
    LowIsBad,
}

/// Where a figure stops being normal. Bounds are exclusive: a figure must be past them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Threshold {
    /// Warning past this.
    pub warn: Option<f64>,
    /// Critical past this.
    pub crit: Option<f64>,
    /// Which side is past.
    pub direction: Direction,
}

/// HTTP methods a step may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpMethod {
    /// Safe by definition.
    Get,
    /// Safe by definition.
    Head,
    /// In a diagnostic only when the profile declares it safe.
    Post,
}

/// An HTTP endpoint of the application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// `healthz`
    pub name: String,
    /// Scheme, host, port and path, fixed here. `{argument}` in the path or
    /// query is replaced by a percent-encoded argument.
    pub url: String,
    /// The method.
    pub method: HttpMethod,
    /// The team says that calling this changes nothing that matters, so a diagnostic may.
    pub safe: bool,
    /// Statuses that mean health.
    pub expect: Vec<u16>,
    /// Headers; values may be secrets, which are bound to this endpoint's host.
    pub headers: Vec<(String, HeaderValue)>,
    /// The body of a POST.
    pub body: Option<String>,
    /// A JSON path (RFC 6901 pointer) and the value that means degraded though the status is good.
    pub degraded: Option<(String, String)>,
    /// How long it may take.
    pub timeout: Duration,
    /// Slower than this is a warning.
    pub slow: Option<Duration>,
    /// Shown as the health of the service by `health`.
    pub health: bool,
    /// A Statuspage-format JSON endpoint (O5): its `status.indicator` is read.
    pub statuspage: bool,
    /// May this endpoint be on a private or loopback address? Link-local never may.
    pub allow_private: bool,
}

/// A header's value: written in the profile, or kept elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderValue {
    /// As written.
    Plain(String),
    /// Read when the request is made, never shown.
    Secret(SecretRef),
}

/// A page in the Prometheus text format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsSource {
    /// `api`
    pub name: String,
    /// Where it is.
    pub url: String,
    /// Shown by `/redis metrics` when nobody says what to select: metric name prefixes.
    pub select: Vec<String>,
}

/// Log lines from somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSource {
    /// `app`
    pub name: String,
    /// Where they come from.
    pub from: LogFrom,
    /// Named filters (regular expressions): `pool` → `Redis pool`.
    pub filters: BTreeMap<String, String>,
}

/// Where log lines come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogFrom {
    /// A file on this machine; only its last part is read.
    File(PathBuf),
    /// An HTTP endpoint that answers plain text.
    Http(String),
}

/// A link worth having at hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// What it is.
    pub title: String,
    /// Where it is.
    pub url: String,
}

/// Somebody to turn to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// `primary on-call`, `infrastructure`, `escalation`.
    pub role: String,
    /// Who, as the team writes it.
    pub who: String,
}
