//! One server of an instance: its connections by lane, and what is known of it.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use redis::{Cmd, Value as Reply};
use serde_json::Value;
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};

use crate::{
    diagnosis::{Node, Role},
    model::{Address, Credential, Instance},
};

use super::{
    ExecSettings,
    fault::{Fault, silence},
    value::to_json,
    wire::{Setup, Wire},
};

/// Why a connection exists. Work of one lane never waits behind another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Short looks, many people at once.
    Look,
    /// Walks over the keyspace.
    Scan,
    /// Measuring: latency and connectivity. Opened for one measurement, then closed.
    Probe,
    /// MONITOR. Opened for one look, then closed.
    Monitor,
}

impl Lane {
    /// Its name in the server's CLIENT LIST.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Lane::Look => "rediscue-look",
            Lane::Scan => "rediscue-scan",
            Lane::Probe => "rediscue-probe",
            Lane::Monitor => "rediscue-monitor",
        }
    }
}

/// How long one call may take: the call's own limit, and the whole look's end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    /// The look as a whole ends here.
    pub end: Instant,
    /// One call takes no longer than this.
    pub call: Duration,
}

impl Budget {
    /// When a call that starts now is given up.
    pub(crate) fn until(&self) -> Instant {
        self.end.min(Instant::now() + self.call)
    }

    /// Is there time for anything more?
    pub(crate) fn has_time(&self) -> bool {
        self.end > Instant::now() + Duration::from_millis(5)
    }
}

/// Is it one of the instance's own servers, or a Sentinel that watches them?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Data,
    Sentinel,
}

#[derive(Debug, Default)]
struct Slot {
    wire: Option<Arc<Wire>>,
}

#[derive(Debug, Default)]
struct Known {
    /// The last silence, and until when it is taken as the answer.
    trouble: Option<(Instant, Fault)>,
    role: Option<(Role, Instant)>,
    used: Option<Instant>,
}

/// One server.
#[derive(Debug)]
pub(crate) struct Server {
    pub address: Address,
    kind: Kind,
    instance: Arc<Instance>,
    connect: Duration,
    breaker: Duration,
    look: tokio::sync::Mutex<Slot>,
    scan: tokio::sync::Mutex<Slot>,
    known: Mutex<Known>,
    role_denied: AtomicBool,
    /// Connections of their own (latency, monitor) that may be open at once.
    pub own: Semaphore,
    client_denied: Arc<AtomicBool>,
}

/// A silence shorter than this is the asker's hurry, not the server's trouble.
const HURRY: Duration = Duration::from_millis(200);
/// A role older than this is asked for again.
const ROLE_AGE: Duration = Duration::from_secs(1);

impl Server {
    pub(crate) fn new(
        address: Address,
        kind: Kind,
        instance: Arc<Instance>,
        settings: &ExecSettings,
        client_denied: Arc<AtomicBool>,
    ) -> Self {
        Self {
            address,
            kind,
            instance,
            connect: settings.connect,
            breaker: settings.breaker,
            own: Semaphore::new(settings.own_connections),
            look: Default::default(),
            scan: Default::default(),
            known: Default::default(),
            role_denied: AtomicBool::new(false),
            client_denied,
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self, lane: Lane) -> &tokio::sync::Mutex<Slot> {
        match lane {
            Lane::Scan => &self.scan,
            _ => &self.look,
        }
    }

    /// The user this server is spoken to as.
    pub(crate) fn credential(&self) -> &Credential {
        match (self.kind, &self.instance.deployment) {
            (Kind::Sentinel, crate::model::Deployment::Sentinel { credential, .. }) => credential,
            _ => &self.instance.look,
        }
    }

    /// How a connection to it is set up.
    pub(crate) fn setup(&self, lane: Lane) -> Setup<'_> {
        let cluster = matches!(self.instance.deployment, crate::model::Deployment::Cluster { .. });
        Setup {
            address: &self.address,
            tls: self.instance.tls.as_ref(),
            credential: self.credential(),
            database: if cluster { 0 } else { self.instance.database },
            name: lane.name(),
            cluster,
            client_denied: self.client_denied.load(Ordering::Relaxed),
            sentinel: self.kind == Kind::Sentinel,
        }
    }

    /// The server as an answer names it, with the role it was last seen in.
    pub(crate) fn node(&self) -> Node {
        let role = match self.kind {
            Kind::Sentinel => Some(Role::Sentinel),
            Kind::Data => self.known().role.map(|(role, _)| role),
        };
        Node { address: self.address.clone(), role }
    }

    /// The silence it was found in a moment ago, if it was.
    fn trouble(&self) -> Option<Fault> {
        let known = self.known();
        known.trouble.as_ref().filter(|(until, _)| *until > Instant::now()).map(|(_, fault)| fault.clone())
    }

    /// Remembers a silence, so that the next who ask are told at once instead of each waiting it out.
    fn note(&self, fault: &Fault, waited: Duration) {
        if fault.is_silence() && waited >= HURRY {
            self.known().trouble = Some((Instant::now() + self.breaker, fault.clone()));
        }
    }

    /// A connection that is ready, and whether it was made just now.
    pub(crate) async fn wire(&self, lane: Lane, until: Instant) -> Result<(Arc<Wire>, bool), Fault> {
        if let Some(fault) = self.trouble() {
            return Err(fault);
        }
        let start = Instant::now();
        let Ok(mut slot) = timeout_at(until, self.slot(lane).lock()).await else {
            // Somebody else has been trying to connect all this time.
            return Err(silence(start.elapsed()));
        };
        self.known().used = Some(Instant::now());
        if let Some(wire) = &slot.wire {
            return Ok((wire.clone(), false));
        }
        // While we waited for the lock, the one before us may have found it silent.
        if let Some(fault) = self.trouble() {
            return Err(fault);
        }
        let begun = Instant::now();
        match self.open(lane, until).await {
            Ok(wire) => {
                let wire = Arc::new(wire);
                slot.wire = Some(wire.clone());
                Ok((wire, true))
            }
            Err(fault) => {
                self.note(&fault, begun.elapsed());
                Err(fault)
            }
        }
    }

    /// A connection of one's own, closed when dropped.
    pub(crate) async fn open(&self, lane: Lane, until: Instant) -> Result<Wire, Fault> {
        let wire = Wire::open(self.setup(lane), until.min(Instant::now() + self.connect)).await?;
        if wire.client_denied {
            self.client_denied.store(true, Ordering::Relaxed);
        }
        Ok(wire)
    }

    async fn discard(&self, lane: Lane, wire: &Arc<Wire>) {
        let mut slot = self.slot(lane).lock().await;
        if slot.wire.as_ref().is_some_and(|held| Arc::ptr_eq(held, wire)) {
            slot.wire = None;
        }
    }

    /// Sends commands at once and returns their replies, errors among them. A
    /// connection found dead is replaced once; one found silent is dropped, so
    /// that nobody queues behind what will not be answered.
    pub(crate) async fn ask(&self, lane: Lane, commands: &[Cmd], budget: Budget) -> Result<Vec<Reply>, Fault> {
        let until = budget.until();
        let start = Instant::now();
        let mut retried = false;
        loop {
            let (wire, fresh) = self.wire(lane, until).await?;
            match wire.pipeline(commands, until).await {
                Ok(replies) => return Ok(replies),
                Err(fault) if fault.is_network() => {
                    self.discard(lane, &wire).await;
                    if fault.is_stale() && !fresh && !retried {
                        retried = true;
                        continue;
                    }
                    self.note(&fault, start.elapsed());
                    return Err(fault);
                }
                Err(fault) => return Err(fault),
            }
        }
    }

    /// Sends one command and reads its reply; its error reply is an `Err`.
    pub(crate) async fn ask_one(&self, lane: Lane, command: &Cmd, budget: Budget) -> Result<Value, Fault> {
        let replies = self.ask(lane, std::slice::from_ref(command), budget).await?;
        one(replies.into_iter().next())
    }

    /// Sends a command, and asks the server's role beside it when that is not fresh.
    pub(crate) async fn ask_with_role(&self, lane: Lane, command: &Cmd, budget: Budget) -> Result<Value, Fault> {
        if self.kind == Kind::Sentinel || self.known().role.is_some_and(|(_, at)| at.elapsed() < ROLE_AGE) {
            return self.ask_one(lane, command, budget).await;
        }
        let denied = self.role_denied.load(Ordering::Relaxed);
        let question = if denied { redis::cmd("INFO").arg("replication").to_owned() } else { redis::cmd("ROLE") };
        let mut replies = self.ask(lane, &[command.clone(), question], budget).await?.into_iter();
        let reply = one(replies.next());
        match one(replies.next()) {
            Ok(value) => {
                if let Some(role) = read_role(&value) {
                    self.known().role = Some((role, Instant::now()));
                }
            }
            Err(_) if !denied => {
                // Managed servers deny ROLE; INFO says it too. The next look asks that way.
                self.role_denied.store(true, Ordering::Relaxed);
                let info = redis::cmd("INFO").arg("replication").to_owned();
                if let Ok(value) = self.ask_one(lane, &info, budget).await
                    && let Some(role) = read_role(&value)
                {
                    self.known().role = Some((role, Instant::now()));
                }
            }
            Err(_) => {}
        }
        reply
    }

    /// What the topology says its role is, until it is asked itself.
    pub(crate) fn suppose(&self, role: Role) {
        let mut known = self.known();
        if known.role.is_none() {
            // An old date: it is asked again with the next look.
            known.role = Instant::now().checked_sub(ROLE_AGE).map(|at| (role, at));
        }
    }

    /// Forgets role and silence: the topology has changed under us.
    pub(crate) fn doubt(&self) {
        self.known().role = None;
    }

    /// Closes connections that nobody has used for `idle`.
    pub(crate) fn sweep(&self, idle: Duration) {
        if self.known().used.is_some_and(|at| at.elapsed() > idle) {
            for slot in [&self.look, &self.scan] {
                if let Ok(mut slot) = slot.try_lock() {
                    slot.wire = None;
                }
            }
        }
    }
}

/// One reply of a pipeline, its error as an `Err`.
pub(crate) fn one(reply: Option<Reply>) -> Result<Value, Fault> {
    match reply {
        Some(Reply::ServerError(error)) => Err(Fault::Server(super::value::error_line(&error))),
        Some(reply) => Ok(to_json(reply)),
        None => Err(Fault::Network(crate::diagnosis::errors::NetworkFault::Closed)),
    }
}

/// Reads the answer of ROLE, or of INFO replication.
fn read_role(value: &Value) -> Option<Role> {
    let word = match value {
        Value::Array(items) => items.first()?.as_str()?,
        Value::String(info) => info.lines().find_map(|line| line.strip_prefix("role:"))?.trim(),
        _ => return None,
    };
    match word {
        "master" => Some(Role::Primary),
        "slave" | "replica" => Some(Role::Replica),
        "sentinel" => Some(Role::Sentinel),
        _ => None,
    }
}
