//! Looking at the world outside: Redis servers, sockets, HTTP endpoints, metrics pages, logs.
//!
//! [`Exec::look`] carries out one bound [`Look`] for somebody whom the policy
//! gave a [`Permit`]. It always returns an [`Observation`] before the deadline
//! it is given, whatever the servers do; what could not be seen is explained
//! in it, per server. People who ask the same at the same moment share one
//! look. Only [`Exec::touch`] changes anything outside, with a permit of its own.
//!
//! # What each look's merged value holds
//!
//! Times are milliseconds as numbers with three decimals unless a name says
//! otherwise. `?` marks fields that may be absent.
//!
//! | look | value |
//! |---|---|
//! | `Redis` | the reply as `diagnosis::reading` reads and merges it, redacted |
//! | `Inspect` | `{key, exists, type, encoding?, ttl_ms, bytes?, idle_s?, freq?, length?, json?, value?, sample?: [{name?, bytes, shape, value?}], groups?, length_before?, seconds?}`; `key` is shown by its handle, `ttl_ms` is -1 without a TTL and -2 without a key, `value` is there only when revealed |
//! | `Latency` | `{samples, failed, p50_ms, p95_ms, p99_ms, max_ms, min_ms, mean_ms}` of PINGs from here; with several servers, the worst of each figure |
//! | `Rates` | `{seconds, <counter>_per_s …, used_cpu_percent, hit_ratio?}` for the counters in `rates::COUNTERS`, without their `total_` prefix: `commands_processed_per_s`, `net_input_bytes_per_s`, `keyspace_hits_per_s`, `evicted_keys_per_s`; several servers are summed (`used_cpu_percent` is the highest) |
//! | `Monitor` | `{seconds, lines, stopped_by, per_s, commands: [{name, count, per_s}], clients: [{client, count}], keys: [{key, count, per_s}], keys_counted, more_keys, sample: [{at, client, db, command}]}`, without what the bot itself asked; `key` is shown by its handle; `stopped_by` is `time`, `lines` or `closed` |
//! | `Connectivity` | `{ok, first_failure, ipv4, ipv6, steps: [{address, role, step, ok, ms, detail?, error?}]}`; `step` is `dns`, `tcp`, `tls`, `auth` or `ping`; `role` is `server`, `sentinel`, `seed`, `primary` or `replica`; `error` is `{code, what, cause, next}`; `first_failure` is the first step that failed (the same object), or null |
//! | `Tcp` | `{ok, address, ms?, error?}` with one address; the same with `targets: [ … ]` beside it with several (`ok` when all are) |
//! | `Http` | `{status, ok, ms, expected, slow, degraded, excerpt?, value?, indicator?, description?, events?, event_types?, stopped_by?, first_event_ms?}`; `ok`: the status is one of the expected ones and it is not degraded; `value` is what the JSON pointer found (null when nothing); `indicator` and `description` come from a Statuspage; `events` counts server-sent events, `stopped_by` is `events`, `time` or `end` |
//! | `Metrics` | `{count, ms, seconds?, truncated?, samples: [{name, series, labels, value, delta?, rate?}]}`; `series` is `name{label="value"}` as written; with a delta, only what is in both scrapes has one; `rate` is per second |
//! | `Logs` | `{source, filter?, matched, scanned_lines, scanned_bytes, truncated, lines: [ … ]}`; the lines are the last that match, oldest first, redacted; `truncated`: only the log's last part was read |
//! | `Backups` | `list`: `{backups: [{name, whole, nodes, files, age_s, made_ms, verified_s, keys, bytes, rdb_bytes, redis, expiring, databases: [{name, keys, expiring}]}], unreadable, bytes, whole, keep_s, keep_last, room}`, the newest first; `show`: one of them; `verify`: the same with `good` and `read: [{file, address, keys, bytes, good, wrong, sha256}]`; `exports`: `{exports: [{name, instance, whole, files, of, age_s, left_s, keys, bytes, disk, expiring, left_out, what, types: [{name, keys, bytes}], prefixes: [{name, keys, bytes}]}], disk, keep_s}`, the newest first, or the one that is named alone |
//! | `Keyspace` | `keyspace::Report` as JSON (`clients`: `keyspace::clients::BigClients`); the same from a sample is the first answer |
//!
//! `Look::Command`, `Look::Derive` ask nobody and are worked out by the bot.

pub mod aside;
pub mod backups;
mod connectivity;
mod dial;
mod exports;
mod fault;
mod flight;
mod guard;
mod hotkeys;
mod http;
mod inspect;
mod keyspace;
mod latency;
mod line;
mod logs;
mod metrics;
mod monitor;
mod rates;
pub mod rdb;
mod redis;
pub mod replication;
mod request;
pub(crate) mod secret;
mod server;
mod site;
mod surveyed;
mod tcp;
mod tls;
mod topology;
mod touch;
mod value;
mod walks;
mod wire;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    diagnosis::redact::Reveal,
    diagnosis::{Explained, Node, Observation},
    keyspace::pace,
    model::{Instance, InstanceName, Progress, Service, ServiceName},
    policy::Permit,
    runbook::{BackupsLook, Look},
    store::{Backups, Store},
};

pub(crate) use keyspace::COUNTING;
pub use keyspace::survey;
pub(crate) use touch::save::under_way;
pub use touch::{Hands, STOPPED, Settled, Touched, Untidied, hidden, touching};
pub use wire::Flavour;

use flight::Question;
use server::Budget;
use site::Site;

/// What looks that were given up leave to be written is waited for this long.
const CLOSING: Duration = Duration::from_secs(3);

/// What this room may spend.
#[derive(Debug, Clone, PartialEq)]
pub struct ExecSettings {
    /// Making a connection to a Redis may take this long, with TLS and AUTH, and never longer than its call.
    pub connect: Duration,
    /// After a server kept silent for a whole call, others who ask it within
    /// this time are told so at once.
    pub breaker: Duration,
    /// Connections nobody used for this long are closed.
    pub idle: Duration,
    /// Connections of their own (latency, monitor) that one server bears at once.
    pub own_connections: usize,
    /// MONITOR is refused when the server's CPU is busier than this percentage of one core.
    pub monitor_cpu_percent: f64,
    /// At most this many bytes from the end of a log are read.
    pub log_bytes: u64,
    /// At most this many bytes of an HTTP answer are read.
    pub body_bytes: usize,
    /// How fast surveys of the keyspace may go.
    pub pace: pace::Limits,
    /// How fast many keys may be changed.
    pub changing: pace::Limits,
}

impl Default for ExecSettings {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(2),
            breaker: Duration::from_secs(1),
            idle: Duration::from_secs(300),
            own_connections: 2,
            monitor_cpu_percent: 70.0,
            log_bytes: 8 << 20,
            body_bytes: 4 << 20,
            pace: pace::Limits::default(),
            changing: pace::Limits::changing(),
        }
    }
}

/// The conditions of one look.
#[derive(Debug, Clone)]
pub struct Looking {
    /// The answer is there by then.
    pub deadline: Instant,
    /// One call to one server or endpoint is given up after this.
    pub call: Duration,
    /// Cancelled: the look ends at once.
    pub stop: CancellationToken,
    /// Told how a long look goes on.
    pub progress: Option<watch::Sender<Progress>>,
    /// Told what a long look knows before it knows everything: a value of the
    /// same shape as its last one.
    pub partial: Option<watch::Sender<Option<serde_json::Value>>>,
}

/// Who would be asked, so that nobody looks at the wrong system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Every server of the instance that is known now, primaries first.
    pub nodes: Vec<TargetNode>,
    /// The same for a card: one line for the instance, then one per server.
    pub context: Vec<String>,
}

/// One server of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetNode {
    /// Address and role.
    pub node: Node,
    /// Redis's `run_id`, which changes with every start; `None` when it does not answer or tell.
    pub run_id: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// Which program it is.
    pub flavour: Flavour,
    /// Why it did not answer, when it did not.
    pub silent: Option<Explained>,
}

/// The one who looks. Cheap to clone; all clones share their connections.
#[derive(Debug, Clone)]
pub struct Exec(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Arc<ExecSettings>,
    sites: Mutex<HashMap<(ServiceName, InstanceName), Arc<Site>>>,
    swept: Mutex<tokio::time::Instant>,
    closing: CancellationToken,
    /// Where walks that are stopped are kept; without it they are kept by this process alone.
    walks: OnceLock<walks::Walks>,
    /// The copies of what instances hold.
    backups: OnceLock<Backups>,
    /// Where exports are.
    store: OnceLock<Store>,
    /// What must be written before the house closes.
    writing: TaskTracker,
}

/// Everything one look needs to know.
pub(crate) struct Job {
    pub service: Arc<Service>,
    pub site: Arc<Site>,
    pub look: Look,
    pub reveal: Reveal,
    pub budget: Budget,
    pub walks: Option<walks::Walks>,
    pub backups: Option<Backups>,
    pub store: Option<Store>,
    pub progress: watch::Sender<Option<Progress>>,
    pub partial: watch::Sender<Option<serde_json::Value>>,
}

impl Exec {
    /// Opens nothing yet: connections are made when they are first needed.
    pub fn new(settings: ExecSettings) -> Self {
        // reqwest and tokio-rustls both look for the process's default; a second call finds it set.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self(Arc::new(Inner {
            settings: Arc::new(settings),
            sites: Mutex::default(),
            swept: Mutex::new(tokio::time::Instant::now()),
            closing: CancellationToken::new(),
            walks: OnceLock::new(),
            backups: OnceLock::new(),
            store: OnceLock::new(),
            writing: TaskTracker::new(),
        }))
    }

    /// From now on, walks over a keyspace that are stopped are kept in this store, so that they go on
    /// after a restart; and its backups and exports are those that are looked at.
    pub fn keep_walks_in(&self, store: Store) {
        self.0.backups.get_or_init(|| store.backups());
        self.0.store.get_or_init(|| store.clone());
        self.0.walks.get_or_init(|| walks::Walks::new(store, self.0.writing.clone()));
    }

    /// Looks. Always answers before `cx.deadline`; never panics on what a server says.
    ///
    /// The permit says whether values may be revealed. A permit for another
    /// service is refused.
    pub async fn look(
        &self,
        permit: &Permit,
        service: &Arc<Service>,
        instance: &Instance,
        look: &Look,
        cx: &Looking,
    ) -> Observation {
        let start = tokio::time::Instant::now();
        if let Some(refusal) = foreign(permit, service) {
            return failed(refusal, start);
        }
        let site = self.0.site(&service.name, instance);
        let reveal = permit.reveal();
        let budget = budget(cx);
        let question = Question { look: look.clone(), reveal };
        let flight = site.flights.join(question, |progress, partial| {
            let job = Job {
                service: service.clone(),
                site: site.clone(),
                look: look.clone(),
                reveal: if reveal { Reveal::Yes } else { Reveal::No },
                budget,
                walks: self.0.walks.get().cloned(),
                backups: self.0.backups.get().cloned(),
                store: self.0.store.get().cloned(),
                progress,
                partial,
            };
            carry_out(job)
        });
        tokio::select! {
            biased;
            found = flight.answer(cx.progress.as_ref(), cx.partial.as_ref()) => match found {
                Some(found) => (*found).clone(),
                None => failed(stopped("the look ended without an answer"), start),
            },
            () = cx.stop.cancelled() => failed(stopped("it was stopped before it was done"), start),
            () = self.0.closing.cancelled() => failed(stopped("the bot is shutting down"), start),
            () = tokio::time::sleep_until(tokio::time::Instant::from_std(cx.deadline)) => failed(late(start), start),
        }
    }

    /// Resolves who would be asked now: address, role, version and run id of every server.
    ///
    /// # Errors
    ///
    /// Only when the instance's servers cannot be found out at all. A server
    /// that is known and does not answer is part of the target, with the reason.
    pub async fn target(
        &self,
        permit: &Permit,
        service: &Arc<Service>,
        instance: &Instance,
        cx: &Looking,
    ) -> Result<Target, Explained> {
        let start = tokio::time::Instant::now();
        if let Some(refusal) = foreign(permit, service) {
            return Err(refusal);
        }
        let site = self.0.site(&service.name, instance);
        tokio::select! {
            biased;
            found = redis::target(&site, service, budget(cx)) => found,
            () = cx.stop.cancelled() => Err(stopped("it was stopped before it was done")),
            () = self.0.closing.cancelled() => Err(stopped("the bot is shutting down")),
            () = tokio::time::sleep_until(tokio::time::Instant::from_std(cx.deadline)) => Err(late(start)),
        }
    }

    /// Closes the connections of a service whose profile has changed or gone.
    pub fn forget(&self, service: &ServiceName) {
        self.0.sites().retain(|(name, _), _| name != service);
    }

    /// Ends every look under way and closes every connection.
    pub async fn close(self) {
        self.0.closing.cancel();
        self.0.sites().clear();
        // Let the tasks that were just given up run to their end, and write what they leave.
        tokio::task::yield_now().await;
        self.0.writing.close();
        if tokio::time::timeout(CLOSING, self.0.writing.wait()).await.is_err() {
            tracing::warn!("a walk that was stopped could not be kept in time");
        }
    }
}

impl Inner {
    fn sites(&self) -> MutexGuard<'_, HashMap<(ServiceName, InstanceName), Arc<Site>>> {
        self.sites.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn site(&self, service: &ServiceName, instance: &Instance) -> Arc<Site> {
        self.sweep();
        let mut sites = self.sites();
        let key = (service.clone(), instance.name.clone());
        if let Some(site) = sites.get(&key)
            && *site.instance == *instance
        {
            return site.clone();
        }
        // New, or its profile changed without anybody telling us.
        let site = Arc::new(Site::new(instance.clone(), self.settings.clone()));
        sites.insert(key, site.clone());
        site
    }

    /// Now and then, closes what is idle. Done in passing, so that no timer wakes an idle bot.
    fn sweep(&self) {
        let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        if swept.elapsed() < Duration::from_secs(30) {
            return;
        }
        *swept = tokio::time::Instant::now();
        for site in self.sites().values() {
            site.sweep();
        }
    }
}

async fn carry_out(job: Job) -> Observation {
    let start = tokio::time::Instant::now();
    match &job.look {
        Look::Redis { argv, nodes } => redis::look(&job, argv, *nodes).await,
        Look::Keyspace { survey, options } => keyspace::look(&job, *survey, options).await,
        Look::Inspect { key, sample, over } => inspect::look(&job, key, *sample, *over).await,
        Look::Latency { samples } => latency::look(&job, *samples).await,
        Look::Monitor { time, lines } => monitor::look(&job, *time, *lines).await,
        Look::Connectivity => connectivity::look(&job).await,
        Look::Rates { over } => rates::look(&job, *over).await,
        Look::Tcp { address } => tcp::look(&job, address).await,
        Look::Http { endpoint, arguments, pointer, events } => {
            let wanted = http::Wanted { endpoint, arguments, pointer: pointer.as_deref(), events: *events };
            http::look(&job, wanted).await
        }
        Look::Metrics { source, select, delta } => metrics::look(&job, source, select, *delta).await,
        Look::Backups { what: BackupsLook::Exports, name } => exports::look(&job, name).await,
        Look::Backups { what, name } => backups::look(&job, *what, name).await,
        Look::Logs { source, filter, last } => logs::look(&job, source, filter.as_deref(), *last).await,
        _ => failed(
            Explained {
                code: "UNSUPPORTED".into(),
                what: "this kind of look is not carried out here".into(),
                cause: "it is worked out from other looks".into(),
                next: "report this: the bot asked the wrong room".into(),
            },
            start,
        ),
    }
}

/// A little before the deadline, so that what the last call found can still be told.
fn budget(cx: &Looking) -> Budget {
    let deadline = tokio::time::Instant::from_std(cx.deadline);
    let left = deadline.saturating_duration_since(tokio::time::Instant::now());
    let margin = (left / 20).min(Duration::from_millis(100));
    Budget { end: deadline - margin, call: cx.call }
}

/// A look that asked nobody, or found nothing but this.
pub(crate) fn failed(error: Explained, start: tokio::time::Instant) -> Observation {
    Observation { nodes: Vec::new(), merged: Err(error), took: start.elapsed() }
}

fn foreign(permit: &Permit, service: &Service) -> Option<Explained> {
    match permit.service() {
        Some(allowed) if allowed != &service.name => Some(Explained {
            code: "NOPERMIT".into(),
            what: format!("the permit is for `{allowed}`, not for `{}`", service.name),
            cause: "one command was allowed on one service and asked about another".into(),
            next: "report this: the policy was not asked".into(),
        }),
        _ => None,
    }
}

/// An error as other looks tell it inside their values.
pub(crate) fn error_json(error: &Explained) -> serde_json::Value {
    serde_json::json!({"code": error.code, "what": error.what, "cause": error.cause, "next": error.next})
}

/// Waits for one of the few connections of their own that a server bears.
pub(crate) async fn own_turn(
    server: &server::Server,
    until: tokio::time::Instant,
) -> Result<tokio::sync::SemaphorePermit<'_>, fault::Fault> {
    match tokio::time::timeout_at(until, server.own.acquire()).await {
        Ok(Ok(turn)) => Ok(turn),
        _ => Err(fault::Fault::Setup(Box::new(Explained {
            code: "BUSY-HERE".into(),
            what: "other measurements of this server are still running".into(),
            cause: "only a few connections of their own are opened to one server at once".into(),
            next: "wait for them to end, or cancel one".into(),
        }))),
    }
}

pub(crate) fn nobody() -> Explained {
    Explained {
        code: "NOBODY".into(),
        what: "there is no server to ask".into(),
        cause: "the instance has no server in the role that was asked for".into(),
        next: "run `connectivity` to see whom the profile names".into(),
    }
}

/// The step names something the profile does not have.
pub(crate) fn not_in_profile(kind: &str, name: &str, table: &str) -> Explained {
    Explained {
        code: "PROFILE".into(),
        what: format!("the service's profile has no {kind} called `{name}`"),
        cause: "the step names one that is not there".into(),
        next: format!("add it under `{table}` in the service's profile, or name one that is there"),
    }
}

fn stopped(what: &str) -> Explained {
    Explained {
        code: "STOPPED".into(),
        what: what.into(),
        cause: "somebody cancelled the run, or the bot is ending".into(),
        next: "ask again when you want the answer".into(),
    }
}

fn late(start: tokio::time::Instant) -> Explained {
    Explained {
        code: "TIMEOUT".into(),
        what: format!("there was no answer within {} ms", start.elapsed().as_millis()),
        cause: "the whole command's time was used up before this look was done".into(),
        next: "run `connectivity` to see which step is slow, or ask for less".into(),
    }
}
