//! Which servers an instance consists of now.

use std::{collections::BTreeMap, future::Future, time::Duration};

use futures_util::stream::{FuturesUnordered, StreamExt};
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    diagnosis::{Explained, Role},
    model::{Address, Deployment},
};

use super::{
    fault::Fault,
    server::{Budget, Kind, Lane},
    site::Site,
};

/// Slots a cluster has.
const SLOTS: usize = 16_384;

/// The servers of an instance, as last told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Topology {
    /// Primaries first.
    pub members: Vec<Member>,
    /// Slot ranges and the index of the member that holds them, for Cluster.
    pub slots: Vec<(u16, u16, usize)>,
    /// What people should know of how this was found out.
    pub note: Option<String>,
}

/// One server of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub address: Address,
    /// What it is supposed to be; `None`: it will say.
    pub role: Option<Role>,
}

impl Topology {
    /// Those who take writes; where roles are not known beforehand, everybody.
    pub(crate) fn primaries(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.role != Some(Role::Replica))
    }

    /// The primary that holds a slot.
    pub(crate) fn holder(&self, slot: u16) -> Option<&Member> {
        let (_, _, index) = self.slots.iter().find(|(from, to, _)| (*from..=*to).contains(&slot))?;
        self.members.get(*index)
    }
}

/// How long an answer about the topology is good for.
pub(crate) fn lifetime(deployment: &Deployment) -> Duration {
    match deployment {
        Deployment::Standalone(_) => Duration::MAX,
        // A failover must be seen by the next look.
        Deployment::Sentinel { .. } => Duration::from_secs(1),
        Deployment::Cluster { .. } => Duration::from_secs(10),
    }
}

/// Asks who belongs to the instance.
pub(crate) async fn discover(site: &Site, before: Option<&Topology>, budget: Budget) -> Result<Topology, Explained> {
    match &site.instance.deployment {
        Deployment::Standalone(address) => {
            Ok(Topology { members: vec![Member { address: address.clone(), role: None }], ..Topology::default() })
        }
        Deployment::Sentinel { sentinels, master, .. } => sentinel(site, sentinels, master, budget)
            .await
            .map_err(|error| from_nobody(error, sentinels.len(), "Sentinel", "which server is the master")),
        Deployment::Cluster { seeds } => {
            // Whom we knew may answer when every seed of the profile has been replaced.
            let mut askable = seeds.clone();
            for member in before.iter().flat_map(|topology| &topology.members) {
                if !askable.contains(&member.address) {
                    askable.push(member.address.clone());
                }
            }
            cluster(site, &askable, budget)
                .await
                .map_err(|error| from_nobody(error, askable.len(), "node", "who holds which slots"))
        }
    }
}

/// Nobody could be asked who belongs to the instance; the first one's reason stands for all.
fn from_nobody(error: Explained, asked: usize, who: &str, told: &str) -> Explained {
    let silent = ["REFUSED", "RESET", "CLOSED", "DNS", "TLS", "TIMEOUT", "UNREACHABLE"].contains(&error.code.as_str());
    let what = match asked {
        _ if !silent => return error,
        1 => format!("the {who} in the profile does not tell {told}: {}", error.what),
        _ => format!("none of the {asked} {who}s in the profile tells {told}: {}", error.what),
    };
    Explained { what, ..error }
}

/// Asks one after the other, the next as soon as the one before has failed or
/// has kept silent for a moment; the first answer counts.
pub(crate) async fn first_of<T, F: Future<Output = Result<T, Explained>>>(
    askable: &[Address],
    ask: impl Fn(Address) -> F,
) -> Result<T, Explained> {
    const PATIENCE: Duration = Duration::from_millis(200);
    let mut waiting = FuturesUnordered::new();
    let mut rest = askable.iter();
    let mut first_error = None;
    loop {
        let next = rest.next();
        if let Some(address) = next {
            waiting.push(ask(address.clone()));
        }
        let patience = Instant::now() + if rest.len() == 0 { Duration::from_secs(86_400) } else { PATIENCE };
        match tokio::time::timeout_at(patience, waiting.next()).await {
            Ok(Some(Ok(found))) => return Ok(found),
            Ok(Some(Err(error))) => first_error = first_error.or(Some(error)),
            Ok(None) if next.is_none() => {
                return Err(first_error.unwrap_or_else(|| Explained {
                    code: "CONFIG".into(),
                    what: "the profile names no server to ask".into(),
                    cause: "the instance's list of addresses is empty".into(),
                    next: "name at least one address in the service's profile".into(),
                }));
            }
            Ok(None) | Err(_) => {}
        }
    }
}

async fn sentinel(site: &Site, sentinels: &[Address], name: &str, budget: Budget) -> Result<Topology, Explained> {
    first_of(sentinels, async |address| {
        let server = site.server(&address, Kind::Sentinel);
        let ask = |words: &[&str]| {
            let mut command = redis::cmd("SENTINEL");
            command.arg(words).arg(name);
            command
        };
        let explain = |fault: &Fault| fault.explain(Some(&address), server.credential(), Some("SENTINEL"));
        let found = server
            .ask_one(Lane::Look, &ask(&["GET-MASTER-ADDR-BY-NAME"]), budget)
            .await
            .map_err(|fault| explain(&fault))?;
        let Some(master) = pair(&found) else {
            return Err(Explained {
                code: "SENTINEL".into(),
                what: format!("the Sentinel at {address} knows no master called `{name}`"),
                cause: "the profile's master name is wrong, or this Sentinel was reset".into(),
                next: "compare with `SENTINEL MASTERS` on that Sentinel".into(),
            });
        };
        let mut members = vec![Member { address: master, role: Some(Role::Primary) }];
        // An old Sentinel knows SLAVES only. Without replicas, the master is still worth looking at.
        let mut replicas = server.ask_one(Lane::Look, &ask(&["REPLICAS"]), budget).await;
        if matches!(&replicas, Err(Fault::Server(_))) {
            replicas = server.ask_one(Lane::Look, &ask(&["SLAVES"]), budget).await;
        }
        for replica in replicas.ok().as_ref().and_then(Value::as_array).into_iter().flatten() {
            let fields = flat(replica);
            if let Some(address) = host_port(fields.get("ip").copied(), fields.get("port").copied())
                && members.iter().all(|member| member.address != address)
            {
                members.push(Member { address, role: Some(Role::Replica) });
            }
        }
        Ok(Topology { members, ..Topology::default() })
    })
    .await
}

async fn cluster(site: &Site, askable: &[Address], budget: Budget) -> Result<Topology, Explained> {
    first_of(askable, async |address| {
        let server = site.server(&address, Kind::Data);
        let explain = |fault: &Fault| fault.explain(Some(&address), server.credential(), Some("CLUSTER"));
        let shards = redis::cmd("CLUSTER").arg("SHARDS").to_owned();
        let told = match server.ask_one(Lane::Look, &shards, budget).await {
            Ok(value) => read_shards(&value, &address, site.instance.tls.is_some()),
            // Before 7.0, and where a managed server allows only the older question.
            Err(Fault::Server(_)) => {
                let slots = redis::cmd("CLUSTER").arg("SLOTS").to_owned();
                let value = server.ask_one(Lane::Look, &slots, budget).await.map_err(|fault| explain(&fault))?;
                read_slots(&value, &address)
            }
            Err(fault) => return Err(explain(&fault)),
        };
        match told.members.is_empty() {
            false => Ok(told),
            true => Err(Explained {
                code: "CLUSTERDOWN".into(),
                what: format!("{address} knows of no node that holds a slot"),
                cause: "the cluster was never created, or this node has left it".into(),
                next: "compare with `CLUSTER NODES` on another node, and correct the seeds of the profile".into(),
            }),
        }
    })
    .await
}

fn pair(value: &Value) -> Option<Address> {
    let items = value.as_array()?;
    host_port(items.first(), items.get(1))
}

fn host_port(host: Option<&Value>, port: Option<&Value>) -> Option<Address> {
    let port = match port? {
        Value::Number(n) => u16::try_from(n.as_u64()?).ok()?,
        Value::String(text) => text.parse().ok()?,
        _ => return None,
    };
    Some(Address::Tcp { host: host?.as_str().filter(|host| !host.is_empty())?.to_owned(), port })
}

/// `[name, value, name, value …]` by name.
fn flat(value: &Value) -> BTreeMap<&str, &Value> {
    value
        .as_array()
        .map(|items| items.chunks_exact(2).filter_map(|pair| Some((pair[0].as_str()?, &pair[1]))).collect())
        .unwrap_or_default()
}

/// A node that does not announce where it listens is where we asked.
fn announced(host: Option<&Value>, asked: &Address) -> Option<String> {
    match host.and_then(Value::as_str) {
        Some(host) if !host.is_empty() && host != "?" => Some(host.to_owned()),
        _ => match asked {
            Address::Tcp { host, .. } => Some(host.clone()),
            Address::Unix(_) => None,
        },
    }
}

fn read_shards(value: &Value, asked: &Address, tls: bool) -> Topology {
    let mut primaries: Vec<(Member, Vec<(u16, u16)>)> = Vec::new();
    let mut replicas = Vec::new();
    // Failed primaries that name no slots: newer servers take them away as soon as it has failed.
    let mut failed = Vec::new();
    for shard in value.as_array().into_iter().flatten() {
        let shard = flat(shard);
        let bounds: Vec<u16> = shard
            .get("slots")
            .and_then(|slots| slots.as_array())
            .into_iter()
            .flatten()
            .filter_map(|slot| slot.as_u64().and_then(|slot| u16::try_from(slot).ok()))
            .collect();
        let ranges: Vec<(u16, u16)> = bounds.chunks_exact(2).map(|range| (range[0], range[1])).collect();
        let nodes: Vec<_> =
            shard.get("nodes").and_then(|nodes| nodes.as_array()).into_iter().flatten().map(flat).collect();
        let is_primary = |node: &BTreeMap<_, &Value>| node.get("role").and_then(|role| role.as_str()) == Some("master");
        let has_failed = |node: &BTreeMap<_, &Value>| {
            node.get("health").and_then(|health| health.as_str()).is_some_and(|health| health.starts_with("fail"))
        };
        let is_led = nodes.iter().any(|node| is_primary(node) && !has_failed(node));
        for node in &nodes {
            let port = if tls { node.get("tls-port").or_else(|| node.get("port")) } else { node.get("port") };
            let Some(host) = announced(node.get("endpoint").or_else(|| node.get("ip")).copied(), asked) else {
                continue;
            };
            let Some(address) = host_port(Some(&Value::from(host)), port.copied()) else { continue };
            match (is_primary(node), has_failed(node)) {
                // Its shard has gone on under another: it will be a replica when it is back.
                (true, true) if is_led => replicas.push(Member { address, role: Some(Role::Replica) }),
                (true, true) if ranges.is_empty() => failed.push(Member { address, role: Some(Role::Primary) }),
                (true, _) if !ranges.is_empty() => {
                    primaries.push((Member { address, role: Some(Role::Primary) }, ranges.clone()));
                }
                // A primary without slots holds nothing: a former one, or one that is joining.
                (true, _) => {}
                (false, _) => replicas.push(Member { address, role: Some(Role::Replica) }),
            }
        }
    }
    let served: usize =
        primaries.iter().flat_map(|(_, ranges)| ranges).map(|(from, to)| usize::from(to - from) + 1).sum();
    if served < SLOTS {
        // What nobody serves was theirs: they are what is missing.
        primaries.extend(failed.into_iter().map(|member| (member, Vec::new())));
    }
    assemble(primaries, replicas)
}

fn read_slots(value: &Value, asked: &Address) -> Topology {
    let mut primaries: Vec<(Member, Vec<(u16, u16)>)> = Vec::new();
    let mut replicas: Vec<Member> = Vec::new();
    for range in value.as_array().into_iter().flatten().filter_map(Value::as_array) {
        let bound = |at: usize| range.get(at).and_then(Value::as_u64).and_then(|slot| u16::try_from(slot).ok());
        let (Some(from), Some(to)) = (bound(0), bound(1)) else { continue };
        for (index, node) in range.iter().skip(2).filter_map(Value::as_array).enumerate() {
            let Some(host) = announced(node.first(), asked) else { continue };
            let Some(address) = host_port(Some(&Value::from(host)), node.get(1)) else { continue };
            if index > 0 {
                if replicas.iter().all(|known| known.address != address) {
                    replicas.push(Member { address, role: Some(Role::Replica) });
                }
            } else if let Some((_, ranges)) = primaries.iter_mut().find(|(known, _)| known.address == address) {
                ranges.push((from, to));
            } else {
                primaries.push((Member { address, role: Some(Role::Primary) }, vec![(from, to)]));
            }
        }
    }
    assemble(primaries, replicas)
}

fn assemble(mut primaries: Vec<(Member, Vec<(u16, u16)>)>, replicas: Vec<Member>) -> Topology {
    // By slot, so that shards keep their order from card to card.
    primaries.sort_by_key(|(_, ranges)| ranges.iter().map(|(from, _)| *from).min().unwrap_or(u16::MAX));
    let mut topology = Topology::default();
    for (index, (member, ranges)) in primaries.into_iter().enumerate() {
        topology.members.push(member);
        topology.slots.extend(ranges.into_iter().map(|(from, to)| (from, to, index)));
    }
    topology.members.extend(replicas);
    topology
}

/// The slot a key belongs to: CRC16 (XMODEM) of the key, or of its hash tag, modulo 16384.
pub(crate) fn slot_of(key: &[u8]) -> u16 {
    let tag = key.iter().position(|&byte| byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        rest.iter().position(|&byte| byte == b'}').filter(|&length| length > 0).map(|length| &rest[..length])
    });
    let mut crc: u16 = 0;
    for &byte in tag.unwrap_or(key) {
        crc ^= u16::from(byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
        }
    }
    crc % SLOTS as u16
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn slots_are_those_the_server_computes() {
        // From `CLUSTER KEYSLOT` of Redis 7.0.15.
        assert_eq!(slot_of(b"123456789"), 12_739);
        assert_eq!(slot_of(b"foo"), 12_182);
        assert_eq!(slot_of(b"{user1000}.following"), slot_of(b"{user1000}.followers"));
        assert_eq!(slot_of(b"foo{}{bar}"), 8_363);
        assert_eq!(slot_of(b""), 0);
    }

    fn asked() -> Address {
        Address::Tcp { host: "10.0.0.9".into(), port: 7000 }
    }

    #[test]
    fn shards_are_read_with_announced_names_and_former_primaries_left_out() {
        let node = |endpoint: Value, port: u16, role: &str| {
            json!(["id", "x", "port", port, "ip", "10.0.0.1", "endpoint", endpoint, "role", role, "health", "online"])
        };
        let shards = json!([
            ["slots", [8192, 16383], "nodes", [node(json!("redis-b.internal"), 7001, "master")]],
            ["slots", [0, 8191], "nodes", [node(json!("?"), 7000, "master"), node(json!("10.0.0.3"), 7003, "replica")]],
            ["slots", [], "nodes", [node(json!("10.0.0.4"), 7004, "master")]],
        ]);
        let topology = read_shards(&shards, &asked(), false);
        let told: Vec<String> = topology.members.iter().map(|m| m.address.to_string()).collect();
        assert_eq!(told, ["10.0.0.9:7000", "redis-b.internal:7001", "10.0.0.3:7003"]);
        assert_eq!(topology.holder(9000).map(|m| m.address.to_string()).as_deref(), Some("redis-b.internal:7001"));
        assert_eq!(topology.primaries().count(), 2);
    }

    #[test]
    fn a_failed_primary_is_missed_while_its_slots_are_and_a_replica_once_another_serves_them() {
        let node = |port: u16, role: &str, health: &str| {
            json!(["id", "x", "port", port, "endpoint", "10.0.0.1", "role", role, "health", health])
        };
        let told = |shards: Value| {
            let topology = read_shards(&shards, &asked(), false);
            let role = |member: &Member| if member.role == Some(Role::Primary) { 'p' } else { 'r' };
            let told = topology.members.iter().map(|member| format!("{}{}", role(member), member.address));
            (told.map(|told| told.replace("10.0.0.1:", "")).collect::<Vec<_>>().join(" "), topology)
        };
        // As Redis 7.0 tells it, and as newer ones do.
        let half = json!(["slots", [0, 8191], "nodes", [node(1, "master", "online")]]);
        for slots in [json!([8192, 16383]), json!([])] {
            let (members, topology) = told(json!([["slots", slots, "nodes", [node(2, "master", "fail")]], half]));
            assert_eq!(members, "p1 p2");
            assert_eq!(topology.holder(1).map(|member| member.address.to_string()).as_deref(), Some("10.0.0.1:1"));
        }
        // After a failover: in a shard of its own, or still beside its successor.
        let successor = json!(["slots", [8192, 16383], "nodes", [node(3, "master", "online")]]);
        let alone = json!(["slots", [], "nodes", [node(2, "master", "fail")]]);
        assert_eq!(told(json!([alone, half, successor])).0, "p1 p3");
        let beside = json!(["slots", [8192, 16383], "nodes", [node(2, "master", "fail"), node(3, "master", "online")]]);
        let (members, topology) = told(json!([half, beside]));
        assert_eq!(members, "p1 p3 r2");
        assert_eq!(topology.holder(9000).map(|member| member.address.to_string()).as_deref(), Some("10.0.0.1:3"));
    }

    #[test]
    fn slots_of_older_servers_are_read_too() {
        let slots = json!([
            [0, 100, ["", 7000, "a"], ["10.0.0.2", 7002, "b"]],
            [200, 300, ["", 7000, "a"], ["10.0.0.2", 7002, "b"]],
            [101, 199, ["10.0.0.1", 7001, "c"]],
        ]);
        let topology = read_slots(&slots, &asked());
        assert_eq!(topology.members.len(), 3);
        assert_eq!(topology.holder(250).map(|m| m.address.to_string()).as_deref(), Some("10.0.0.9:7000"));
        assert!(topology.holder(301).is_none());
    }
}
