//! `Look::Connectivity`: every step to every address of the instance, in order, each timed.

use std::net::SocketAddr;

use futures_util::stream::{self, StreamExt};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    diagnosis::{Explained, Node, NodeOutcome, Observation, Role},
    model::{Address, Deployment},
};

use super::{
    Job,
    dial::{self, Stream},
    fault::Fault,
    latency::since,
    server::{Kind, Lane, Server},
    tls,
    wire::{self, Wire},
};

/// More than this many addresses at once would look like a scan.
const AT_ONCE: usize = 16;

/// What an address is to the instance.
struct Stop {
    address: Address,
    role: &'static str,
    kind: Kind,
}

/// Carries it out. What does not work is a finding, not a failed look.
pub(crate) async fn look(job: &Job) -> Observation {
    let start = Instant::now();
    let mut stops = named(job);
    // The servers that Sentinel or the cluster name, if they can be asked.
    if let Ok(topology) = job.site.topology(job.budget).await {
        for member in &topology.members {
            if stops.iter().all(|stop| stop.address != member.address) {
                let role = if member.role == Some(Role::Replica) { "replica" } else { "primary" };
                stops.push(Stop { address: member.address.clone(), role, kind: Kind::Data });
            }
        }
    }
    let begun: Vec<_> = stops.iter().map(|stop| walk(job, stop)).collect();
    let mut walks: Vec<Walk> = stream::iter(begun).buffered(AT_ONCE).collect().await;
    let first_failure = walks.iter().find_map(|walk| walk.failure.clone());
    let merged = json!({
        "ok": first_failure.is_none(),
        "first_failure": first_failure,
        "ipv4": walks.iter().any(|walk| walk.ipv4),
        "ipv6": walks.iter().any(|walk| walk.ipv6),
        "steps": walks.iter().flat_map(|walk| walk.steps.iter().cloned()).collect::<Vec<_>>(),
    });
    let nodes = walks.iter_mut().map(|walk| walk.outcome()).collect();
    Observation { nodes, merged: Ok(merged), took: start.elapsed() }
}

/// The addresses the profile names.
fn named(job: &Job) -> Vec<Stop> {
    let (role, kind) = match &job.site.instance.deployment {
        Deployment::Standalone(_) => ("server", Kind::Data),
        Deployment::Sentinel { .. } => ("sentinel", Kind::Sentinel),
        Deployment::Cluster { .. } => ("seed", Kind::Data),
    };
    job.site.addresses().into_iter().map(|address| Stop { address, role, kind }).collect()
}

/// The way to one address.
struct Walk {
    node: Node,
    role: &'static str,
    steps: Vec<Value>,
    failure: Option<Value>,
    error: Option<Explained>,
    ipv4: bool,
    ipv6: bool,
    begun: Instant,
}

impl Walk {
    fn step(&mut self, step: &str, begun: Instant, detail: Option<String>) {
        self.note(step, begun, detail, None);
    }

    fn note(&mut self, step: &str, begun: Instant, detail: Option<String>, error: Option<&Explained>) {
        let mut told = json!({
            "address": self.node.address.to_string(),
            "role": self.role,
            "step": step,
            "ok": error.is_none(),
            "ms": since(begun),
        });
        if let Some(detail) = detail {
            told["detail"] = detail.into();
        }
        if let Some(error) = error {
            told["error"] = super::error_json(error);
        }
        self.steps.push(told);
    }

    /// The step that ends the walk.
    fn fail(&mut self, server: &Server, step: &str, begun: Instant, fault: &Fault) {
        let command = match step {
            "auth" => Some("AUTH"),
            "ping" => Some("PING"),
            _ => None,
        };
        let error = fault.explain(Some(&server.address), server.credential(), command);
        self.note(step, begun, None, Some(&error));
        self.failure = self.steps.last().cloned();
        self.error = Some(error);
    }

    fn outcome(&mut self) -> NodeOutcome {
        let result = match self.error.take() {
            Some(error) => Err(error),
            None => Ok(Value::Array(std::mem::take(&mut self.steps))),
        };
        NodeOutcome { node: self.node.clone(), result, took: self.begun.elapsed() }
    }
}

async fn walk(job: &Job, stop: &Stop) -> Walk {
    let server = job.site.server(&stop.address, stop.kind);
    let mut walk = Walk {
        node: server.node(),
        role: stop.role,
        steps: Vec::new(),
        failure: None,
        error: None,
        ipv4: false,
        ipv6: false,
        begun: Instant::now(),
    };
    if let Some(stream) = connect(job, &server, &mut walk).await {
        greet(job, &server, &mut walk, stream).await;
    }
    walk
}

/// DNS, TCP and TLS.
async fn connect(job: &Job, server: &Server, walk: &mut Walk) -> Option<Stream> {
    let (host, port) = match &server.address {
        Address::Unix(path) => {
            let begun = Instant::now();
            return match dial::unix(path, job.budget.until()).await {
                Ok(stream) => {
                    walk.step("tcp", begun, Some("Unix socket".into()));
                    Some(Box::pin(stream))
                }
                Err(fault) => {
                    walk.fail(server, "tcp", begun, &fault);
                    None
                }
            };
        }
        Address::Tcp { host, port } => (host, *port),
    };
    let begun = Instant::now();
    let found = match dial::resolve(host, port, job.budget.until()).await {
        Ok(found) => found,
        Err(fault) => {
            walk.fail(server, "dns", begun, &fault);
            return None;
        }
    };
    walk.ipv4 = found.iter().any(SocketAddr::is_ipv4);
    walk.ipv6 = found.iter().any(SocketAddr::is_ipv6);
    let told: Vec<String> = found.iter().map(|address| address.ip().to_string()).collect();
    walk.step("dns", begun, Some(told.join(", ")));
    let stream = any_address(job, server, walk, &found).await?;
    let Some(settings) = &job.site.instance.tls else { return Some(Box::pin(stream)) };
    let begun = Instant::now();
    let secured = match tls::client_config(settings) {
        Ok(config) => dial::secure(stream, host, settings, config, job.budget.until()).await,
        Err(fault) => Err(fault),
    };
    match secured {
        Ok(stream) => {
            walk.step("tls", begun, settings.server_name.clone());
            Some(stream)
        }
        Err(fault) => {
            walk.fail(server, "tls", begun, &fault);
            None
        }
    }
}

/// Every address the name stands for is tried, so that one family that is cut off shows;
/// it is a failure only when none accepts.
async fn any_address(
    job: &Job,
    server: &Server,
    walk: &mut Walk,
    found: &[SocketAddr],
) -> Option<tokio::net::TcpStream> {
    let mut stream = None;
    let mut last = None;
    for (index, address) in found.iter().enumerate() {
        let begun = Instant::now();
        let left = job.budget.until().saturating_duration_since(begun);
        let share = left / u32::try_from(found.len() - index).unwrap_or(1);
        match dial::tcp(*address, begun + share).await {
            Ok(made) => {
                walk.step("tcp", begun, Some(address.ip().to_string()));
                stream = stream.or(Some(made));
            }
            Err(fault) => {
                let error = fault.explain(Some(&server.address), server.credential(), None);
                walk.note("tcp", begun, Some(address.ip().to_string()), Some(&error));
                last = walk.steps.last().cloned().map(|step| (step, error));
            }
        }
    }
    if stream.is_none()
        && let Some((step, error)) = last
    {
        walk.failure = Some(step);
        walk.error = Some(error);
    }
    stream
}

/// AUTH and PING.
async fn greet(job: &Job, server: &Server, walk: &mut Walk, stream: Stream) {
    let begun = Instant::now();
    let setup = server.setup(Lane::Probe);
    let made = match Wire::bare(stream, &setup).await {
        Ok(made) => made,
        Err(fault) => return walk.fail(server, "ping", begun, &fault),
    };
    if setup.credential.password.is_some() {
        if let Err(fault) = made.authenticate(&setup, job.budget.until()).await {
            return match fault.is_stale() && setup.tls.is_some() {
                true => walk.fail(server, "tls", begun, &wire::hung_up()),
                false => walk.fail(server, "auth", begun, &fault),
            };
        }
        walk.step("auth", begun, Some(setup.credential.user.clone().unwrap_or_else(|| "default".into())));
    }
    let begun = Instant::now();
    match made.call(&redis::cmd("PING"), job.budget.until()).await {
        Ok(_) => walk.step("ping", begun, None),
        // Being allowed nothing but to connect is still a connection that works.
        Err(Fault::Server(line)) if line.starts_with("NOPERM") => {
            walk.step("ping", begun, Some("answered NOPERM: this user may not PING".into()));
        }
        Err(fault) if fault.is_stale() && setup.tls.is_some() => walk.fail(server, "tls", begun, &wire::hung_up()),
        Err(fault) => walk.fail(server, "ping", begun, &fault),
    }
}
