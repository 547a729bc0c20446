//! `Look::Tcp`: can a TCP connection be made from here?

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    diagnosis::{Explained, Observation},
    model::{Address, Credential},
};

use super::{Job, dial, failed, fault::Fault, guard, latency::since};

/// Carries it out. An address that does not accept is a finding, not a failed look.
pub(crate) async fn look(job: &Job, address: &str) -> Observation {
    let start = Instant::now();
    let own = address.is_empty();
    let addresses = match (own, parse(address)) {
        (true, _) => match job.site.topology(job.budget).await {
            Ok(topology) => topology.members.iter().map(|member| member.address.clone()).collect(),
            // Who belongs to the instance cannot be asked; whom the profile names can be tried.
            Err(_) => job.site.addresses(),
        },
        (false, Some(address)) => vec![address],
        (false, None) => {
            return failed(
                Explained {
                    code: "ADDRESS".into(),
                    what: "the step's address is not `host:port`".into(),
                    cause: "the command file gives an address that cannot be read".into(),
                    next: "write `host:port`, or `[ipv6]:port`".into(),
                },
                start,
            );
        }
    };
    let targets = join_all(addresses.iter().map(|address| attempt(job, address, own))).await;
    let merged = match <[Value; 1]>::try_from(targets) {
        Ok([only]) => only,
        Err(targets) => {
            let worst = targets.iter().find(|target| target["ok"] != true).or(targets.first());
            let mut value = worst.cloned().unwrap_or_else(|| json!({"ok": false, "address": null}));
            value["targets"] = Value::Array(targets);
            value
        }
    };
    Observation { nodes: Vec::new(), merged: Ok(merged), took: start.elapsed() }
}

async fn attempt(job: &Job, address: &Address, own: bool) -> Value {
    let start = Instant::now();
    match connect(job, address, own).await {
        Ok(()) => json!({"ok": true, "address": address.to_string(), "ms": since(start)}),
        Err(fault) => {
            let error = fault.explain(Some(address), &Credential::default(), None);
            json!({"ok": false, "address": address.to_string(), "ms": since(start), "error": super::error_json(&error)})
        }
    }
}

async fn connect(job: &Job, address: &Address, own: bool) -> Result<(), Fault> {
    let until = job.budget.until();
    match address {
        Address::Unix(path) => dial::unix(path, until).await.map(drop),
        Address::Tcp { host, port } => {
            let found = dial::resolve(host, *port, until).await?;
            // The instance's own addresses are the profile's; any other is looked at twice.
            if !own {
                guard::check_all(host, &found, true).map_err(|refusal| Fault::Setup(Box::new(refusal)))?;
            }
            dial::tcp_any(&found, until).await.map(drop)
        }
    }
}

fn parse(text: &str) -> Option<Address> {
    let (host, port) = text.trim().rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let port = port.parse().ok()?;
    (!host.is_empty()).then(|| Address::Tcp { host: host.to_owned(), port })
}
