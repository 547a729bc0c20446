//! `Look::Redis`: a command that only looks, put to the right servers.

use std::sync::{Arc, PoisonError};

use futures_util::future::join_all;
use redis::Cmd;
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    diagnosis::{
        Explained, Node, NodeOutcome, Observation, Role,
        looks::{self, LookVerdict},
        merge, reading, redact,
    },
    model::{Address, Deployment, Service},
    runbook::Nodes,
};

use super::{
    Job, Target, TargetNode, failed,
    fault::Fault,
    server::{Budget, Kind, Lane, Server},
    site::Site,
    topology::{Member, Topology, slot_of},
    wire::Flavour,
};

/// Commands whose second word is part of their name.
const CONTAINERS: &[&str] = &[
    "ACL",
    "CLIENT",
    "CLUSTER",
    "COMMAND",
    "COMMANDLOG",
    "CONFIG",
    "DEBUG",
    "FUNCTION",
    "LATENCY",
    "MEMORY",
    "MODULE",
    "OBJECT",
    "PUBSUB",
    "SCRIPT",
    "SENTINEL",
    "SLOWLOG",
    "XGROUP",
    "XINFO",
];

/// The command's name and, where it has one, its subcommand.
fn name_of(argv: &[String]) -> (&str, Option<&str>) {
    let name = argv.first().map_or("", String::as_str);
    let sub = CONTAINERS.iter().any(|container| container.eq_ignore_ascii_case(name)).then(|| argv.get(1)).flatten();
    (name, sub.map(String::as_str))
}

/// The words as they are sent.
pub(crate) fn command(argv: &[String]) -> Cmd {
    let mut command = Cmd::new();
    for word in argv {
        command.arg(word);
    }
    command
}

/// Refuses what is no look, before anything is sent.
fn check(argv: &[String]) -> Result<(), Explained> {
    let name = argv.first().map_or_else(String::new, |name| name.to_uppercase());
    match looks::classify(argv) {
        LookVerdict::Look { .. } => Ok(()),
        LookVerdict::Refused { why, instead } => Err(Explained {
            code: "REFUSED-LOOK".into(),
            what: format!("I do not send {name}: {why}"),
            cause: "it would block the server or walk everything it holds".into(),
            next: instead,
        }),
        LookVerdict::Write => Err(Explained {
            code: "REFUSED-LOOK".into(),
            what: format!("I do not send {name}: it changes things"),
            cause: "a diagnostic holds looks only".into(),
            next: "changes need a command of their own, with a plan and consent".into(),
        }),
        LookVerdict::NotListed => Err(Explained {
            code: "REFUSED-LOOK".into(),
            what: format!("I do not send {name}: it is not in the reviewed table of looks"),
            cause: "only commands that were reviewed as harmless are sent".into(),
            next: "use a listed command, or have this one reviewed".into(),
        }),
    }
}

/// What the server itself calls a write is refused, whatever our table says.
async fn check_flags(site: &Site, server: &Server, argv: &[String], budget: Budget) -> Result<(), Explained> {
    let (name, sub) = name_of(argv);
    match site.flagged_write(server, name, sub, budget).await {
        Some(true) => Err(Explained {
            code: "REFUSED-LOOK".into(),
            what: format!("I do not send {}: this server flags it as a write", name.to_uppercase()),
            cause: "the command was renamed or replaced on this server, so it is not what its name says".into(),
            next: "compare `COMMAND INFO` there with the Redis documentation".into(),
        }),
        _ => Ok(()),
    }
}

/// Handles that were shown for keys, turned back into the keys' names.
fn name_keys(site: &Site, argv: &[String]) -> Vec<String> {
    let book = site.keys.lock().unwrap_or_else(PoisonError::into_inner);
    let named = |word: &String| redact::is_handle(word).then(|| book.find(word).map(str::to_owned)).flatten();
    argv.iter().map(|word| named(word).unwrap_or_else(|| word.clone())).collect()
}

/// Carries it out.
pub(crate) async fn look(job: &Job, argv: &[String], nodes: Nodes) -> Observation {
    let start = Instant::now();
    let argv = &name_keys(&job.site, argv);
    if let Err(refusal) = check(argv) {
        return failed(refusal, start);
    }
    let mut outcomes = match ask(job, argv, nodes).await {
        Ok(outcomes) => outcomes,
        Err(error) => return failed(error, start),
    };
    // A failover or a moved slot shows as a failure, or as a role that does not fit: look again who is who.
    if outcomes.iter().any(|outcome| outcome.moved) && job.budget.has_time() {
        job.site.doubt_topology().await;
        for outcome in &outcomes {
            job.site.server(&outcome.inner.node.address, Kind::Data).doubt();
        }
        let before: Vec<Address> = outcomes.iter().map(|outcome| outcome.inner.node.address.clone()).collect();
        if let Ok(again) = ask(job, argv, nodes).await {
            let better = again.iter().filter(|outcome| outcome.inner.result.is_ok()).count()
                >= outcomes.iter().filter(|outcome| outcome.inner.result.is_ok()).count();
            let elsewhere = again.iter().any(|outcome| !before.contains(&outcome.inner.node.address));
            if better || elsewhere {
                outcomes = again;
            }
        }
    }
    let mut parts = Vec::new();
    let mut told = Vec::new();
    for Asked { inner, .. } in outcomes {
        let result = inner.result.map(|raw| {
            let value = reading::read(argv, raw);
            job.site.keys.lock().unwrap_or_else(PoisonError::into_inner).remember(argv, &value);
            redact::reply(argv, value, job.reveal)
        });
        if let Ok(value) = &result {
            parts.push((inner.node.clone(), value.clone()));
        }
        told.push(NodeOutcome { result, ..inner });
    }
    observe(argv, told, parts, start)
}

/// Puts the servers' answers together.
fn observe(argv: &[String], nodes: Vec<NodeOutcome>, parts: Vec<(Node, Value)>, start: Instant) -> Observation {
    let merged = match parts.is_empty() {
        false => Ok(merge::merge(argv, &parts)),
        true => Err(nodes.iter().find_map(|node| node.result.as_ref().err().cloned()).unwrap_or_else(super::nobody)),
    };
    Observation { nodes, merged, took: start.elapsed() }
}

/// One server's answer, and whether it makes us doubt who is who.
struct Asked {
    inner: NodeOutcome,
    moved: bool,
}

async fn ask(job: &Job, argv: &[String], nodes: Nodes) -> Result<Vec<Asked>, Explained> {
    let topology = job.site.topology(job.budget).await?;
    let command = command(argv);
    let members: Vec<&Member> = match nodes {
        Nodes::All => topology.members.iter().collect(),
        Nodes::Primaries => topology.primaries().collect(),
        Nodes::Key => key_holder(argv, &topology)?,
        Nodes::Any => return any(job, argv, &command, &topology).await,
    };
    let expected = match (&job.site.instance.deployment, nodes) {
        (Deployment::Standalone(_), _) | (_, Nodes::All) => None,
        _ => Some(Role::Primary),
    };
    Ok(join_all(members.into_iter().map(|member| ask_member(job, argv, &command, &member.address, expected))).await)
}

fn key_holder<'a>(argv: &[String], topology: &'a Topology) -> Result<Vec<&'a Member>, Explained> {
    if topology.slots.is_empty() {
        return Ok(topology.primaries().collect());
    }
    let (_, sub) = name_of(argv);
    let Some(key) = argv.get(if sub.is_some() { 2 } else { 1 }) else {
        return Err(Explained {
            code: "NOKEY".into(),
            what: "the command names no key, so no server can be chosen".into(),
            cause: "the step says `nodes = \"key\"` but its command has no key".into(),
            next: "correct the command file".into(),
        });
    };
    let slot = slot_of(key.as_bytes());
    topology.holder(slot).map(|member| vec![member]).ok_or_else(|| Explained {
        code: "CLUSTERDOWN".into(),
        what: format!("no node holds hash slot {slot}, to which this key belongs"),
        cause: "the cluster does not cover all slots: a shard is down or a migration was interrupted".into(),
        next: "`replication` shows which primary is missing; bring it or its replica back".into(),
    })
}

/// One after the other until one answers. Each gets a fair share of the time.
async fn any(job: &Job, argv: &[String], command: &Cmd, topology: &Topology) -> Result<Vec<Asked>, Explained> {
    let mut failures = Vec::new();
    for (index, member) in topology.members.iter().enumerate() {
        let left = job.budget.end.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(topology.members.len() - index).unwrap_or(1);
        let asked =
            ask_server(job, argv, command, &member.address, Budget { call: job.budget.call.min(share), ..job.budget })
                .await;
        if asked.result.is_ok() {
            return Ok(vec![Asked { inner: asked, moved: false }]);
        }
        failures.push(Asked { inner: asked, moved: false });
        if !job.budget.has_time() {
            break;
        }
    }
    // Something may have moved; the caller may look again.
    if let Some(first) = failures.first_mut() {
        first.moved = true;
    }
    Ok(failures)
}

async fn ask_member(job: &Job, argv: &[String], command: &Cmd, address: &Address, expected: Option<Role>) -> Asked {
    let inner = ask_server(job, argv, command, address, job.budget).await;
    let elsewhere = match &inner.result {
        Ok(_) => expected.is_some() && inner.node.role.is_some() && inner.node.role != expected,
        Err(error) => {
            expected.is_some()
                && error.code != "REFUSED-LOOK"
                && !matches!(error.code.as_str(), "NOPERM" | "NOAUTH" | "WRONGPASS" | "ERR" | "WRONGTYPE")
        }
    };
    Asked { inner, moved: elsewhere }
}

async fn ask_server(job: &Job, argv: &[String], command: &Cmd, address: &Address, budget: Budget) -> NodeOutcome {
    let start = Instant::now();
    let server = job.site.server(address, Kind::Data);
    let name = argv.first().map(String::as_str);
    let result = match check_flags(&job.site, &server, argv, budget).await {
        Err(refusal) => Err(refusal),
        Ok(()) => match server.ask_with_role(Lane::Look, command, budget).await {
            Ok(value) => Ok(value),
            Err(fault) => match follow(job, &fault, command, budget).await {
                Some(value) => Ok(value),
                None => Err(fault.explain(Some(address), server.credential(), name)),
            },
        },
    };
    NodeOutcome { node: server.node(), result, took: start.elapsed() }
}

/// A key on its way to another node is asked for there, once, as ASK demands.
async fn follow(job: &Job, fault: &Fault, command: &Cmd, budget: Budget) -> Option<Value> {
    let Fault::Server(line) = fault else { return None };
    let mut words = line.split(' ');
    if words.next() != Some("ASK") {
        return None;
    }
    let (host, port) = words.nth(1)?.rsplit_once(':')?;
    let address = Address::Tcp { host: host.to_owned(), port: port.parse().ok()? };
    let server = job.site.server(&address, Kind::Data);
    let replies = server.ask(Lane::Look, &[redis::cmd("ASKING"), command.clone()], budget).await.ok()?;
    super::server::one(replies.into_iter().nth(1)).ok()
}

/// Who would be asked: every server, with what it says of itself.
pub(crate) async fn target(site: &Arc<Site>, service: &Service, budget: Budget) -> Result<Target, Explained> {
    let topology = site.topology(budget).await?;
    let nodes = join_all(topology.members.iter().map(async |member| {
        let server = site.server(&member.address, Kind::Data);
        let ping = redis::cmd("PING");
        let silent = match server.ask_with_role(Lane::Look, &ping, budget).await {
            Ok(_) => None,
            // It answered, if only to refuse: it is there.
            Err(Fault::Server(line)) if !line.starts_with("NOAUTH") && !line.starts_with("WRONGPASS") => None,
            Err(fault) => Some(fault.explain(Some(&member.address), server.credential(), None)),
        };
        let identity = match &silent {
            None => server.wire(Lane::Look, budget.until()).await.map(|(wire, _)| wire.identity.clone()).ok(),
            Some(_) => None,
        }
        .unwrap_or_default();
        let mut node = server.node();
        node.role = node.role.or(member.role);
        TargetNode { node, run_id: identity.run_id, version: identity.version, flavour: identity.flavour, silent }
    }))
    .await;
    let context = context(site, service, &topology, &nodes);
    Ok(Target { nodes, context })
}

/// At most this many servers are named one by one on a card.
const NAMED: usize = 6;

fn context(site: &Site, service: &Service, topology: &Topology, nodes: &[TargetNode]) -> Vec<String> {
    let primaries = topology.primaries().count();
    let kind = match &site.instance.deployment {
        Deployment::Standalone(_) => "standalone".to_owned(),
        Deployment::Sentinel { master, .. } => format!("Sentinel master {master}"),
        Deployment::Cluster { .. } => {
            format!("cluster of {primaries} primaries and {} replicas", topology.members.len() - primaries)
        }
    };
    let database = match site.instance.database {
        0 => String::new(),
        n => format!(" · db {n}"),
    };
    let mut lines =
        vec![format!("{}/{} · {} · {kind}{database}", service.name, site.instance.name, service.environment)];
    lines.extend(topology.note.clone());
    for node in nodes.iter().take(NAMED) {
        lines.push(describe(node));
    }
    if nodes.len() > NAMED {
        lines.push(format!("and {} more servers", nodes.len() - NAMED));
    }
    lines
}

fn describe(target: &TargetNode) -> String {
    let role = match target.node.role {
        Some(Role::Primary) => "primary",
        Some(Role::Replica) => "replica",
        Some(Role::Sentinel) => "sentinel",
        None => "server",
    };
    let mut line = format!("{role} {}", target.node.address);
    match (&target.silent, &target.version) {
        (Some(error), _) => line.push_str(&format!(" · {}", error.code)),
        (None, Some(version)) => {
            let flavour: Flavour = target.flavour;
            line.push_str(&format!(" · {flavour} {version}"));
        }
        (None, None) => {}
    }
    if let Some(run_id) = &target.run_id {
        line.push_str(&format!(" · run {}", run_id.chars().take(8).collect::<String>()));
    }
    line
}
