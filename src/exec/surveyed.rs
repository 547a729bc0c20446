//! Which servers of an instance a survey walks.

use std::{collections::HashMap, sync::Arc};

use futures_util::future::join_all;

use super::{
    Job,
    server::{Kind, Lane, Server},
    topology::{Member, Topology},
};
use crate::{
    diagnosis::{Explained, Role, redact},
    model::Address,
};

/// There is none.
pub(super) fn nobody() -> Explained {
    Explained {
        code: "NOBODY".into(),
        what: "there is no server to survey".into(),
        cause: "the instance has no primary now".into(),
        next: "run `connectivity` to see whom the profile names".into(),
    }
}

/// A server that is surveyed.
pub(super) struct Surveyed {
    pub server: Arc<Server>,
    pub role: Option<Role>,
    /// Those it holds, where they are known.
    pub slots: Vec<(u16, u16)>,
    /// Why it, where that is not plain.
    pub note: Option<String>,
}

/// The one server of the instance that people name.
pub(super) fn named<'a>(job: &Job, topology: &'a Topology, wanted: &str) -> Result<(usize, &'a Member), Explained> {
    let same = |member: &Member| member.address.to_string().eq_ignore_ascii_case(wanted);
    topology.members.iter().enumerate().find(|(_, member)| same(member)).ok_or_else(|| {
        let known: Vec<String> = topology.members.iter().map(|member| member.address.to_string()).collect();
        Explained {
            code: "NODE".into(),
            what: format!("{} is no server of {}/{}", redact::line(wanted), job.service.name, job.site.instance.name),
            cause: "`--node` takes one of the instance's own servers".into(),
            next: format!("name one of these: {}", known.join(", ")),
        }
    })
}

/// The server that is named; else each primary, or a replica of it where that is allowed and one is there.
pub(super) async fn targets(job: &Job, node: Option<&str>) -> Result<Vec<Surveyed>, Explained> {
    let topology = job.site.topology(job.budget).await?;
    if let Some(wanted) = node {
        let (mut index, member) = named(job, &topology, wanted)?;
        if member.role == Some(Role::Replica)
            && let Some(primary) = primary_of(job, member).await
        {
            // It holds the slots of its primary.
            index = topology.members.iter().position(|other| other.address == primary).unwrap_or(index);
        }
        let slots = topology.slots.iter().filter(|(.., holder)| *holder == index).map(|&(from, to, _)| (from, to));
        let server = job.site.server(&member.address, Kind::Data);
        let note = (topology.members.len() > 1).then(|| format!("{} alone was counted, as asked", member.address));
        return Ok(vec![Surveyed { server, role: member.role, slots: slots.collect(), note }]);
    }
    let mut spare = if job.site.instance.scan_replica { replicas(job, &topology).await } else { HashMap::new() };
    let mut found = Vec::new();
    for (index, member) in topology.members.iter().enumerate() {
        if member.role == Some(Role::Replica) {
            continue;
        }
        let slots = topology.slots.iter().filter(|(.., holder)| *holder == index).map(|&(from, to, _)| (from, to));
        let (address, role, note) = match spare.remove(&member.address.to_string()) {
            Some(replica) => {
                let note = format!("counted on the replica {replica}, to spare its primary");
                (replica, Some(Role::Replica), Some(note))
            }
            None => (member.address.clone(), member.role, None),
        };
        found.push(Surveyed { server: job.site.server(&address, Kind::Data), role, slots: slots.collect(), note });
    }
    if found.is_empty() { Err(nobody()) } else { Ok(found) }
}

/// Whom a replica that keeps up follows, as it says itself.
async fn primary_of(job: &Job, replica: &Member) -> Option<Address> {
    let server = job.site.server(&replica.address, Kind::Data);
    let role = server.ask_one(Lane::Look, &::redis::cmd("ROLE"), job.budget).await.ok()?;
    let word = |at: usize| role.get(at)?.as_str().map(str::to_owned);
    let port = role.get(2)?.as_i64()?;
    (word(0)? == "slave" && word(3)? == "connected").then_some(())?;
    Some(Address::Tcp { host: word(1)?, port: u16::try_from(port).ok()? })
}

/// A replica that keeps up, by its primary's address.
async fn replicas(job: &Job, topology: &Topology) -> HashMap<String, Address> {
    let asked = topology
        .members
        .iter()
        .filter(|member| member.role == Some(Role::Replica))
        .map(async |member| Some((primary_of(job, member).await?.to_string(), member.address.clone())));
    let mut spare: HashMap<String, Address> = join_all(asked).await.into_iter().flatten().collect();
    // A single primary needs no matching of names, which may differ from what replicas call it.
    let primaries: Vec<_> = topology.primaries().collect();
    if let [only] = primaries.as_slice()
        && let Some(replica) = spare.values().next().cloned()
    {
        spare = HashMap::from([(only.address.to_string(), replica)]);
    }
    spare
}
