//! The plan that makes a replica the primary.

use serde_json::Value;

use super::{Draft, Maker, Unplanned, step, trouble};
use crate::{
    bot::command::plain_card,
    diagnosis::Explained,
    model::Deployment,
    runbook::{Change, Reach, Risk, Undo, Wanted, show_bytes},
};

/// A replica that is further behind is not in step: what it lacks would be lost, or long waited for.
const MOST_BEHIND: u64 = 1 << 20;
/// A replica that was not heard of for longer, in seconds, may be gone.
const LONGEST_SILENT: i64 = 10;

/// A replica as its primary tells of it.
struct Follower {
    address: String,
    online: bool,
    /// Seconds since it was heard of.
    silent_s: i64,
    behind: u64,
}

impl Follower {
    fn in_step(&self) -> bool {
        self.online && (0..=LONGEST_SILENT).contains(&self.silent_s) && self.behind <= MOST_BEHIND
    }

    fn words(&self) -> String {
        let online = if self.online { "" } else { ", copying or not connected" };
        format!("{}, {} behind, heard of {} s ago{online}", self.address, show_bytes(self.behind), self.silent_s)
    }
}

/// The draft of a `failover`.
pub(super) async fn failover(maker: &Maker<'_>, wanted: &Wanted) -> Result<Draft, Unplanned> {
    let deployment = &maker.wish.instance.deployment;
    if let Deployment::Standalone(_) = deployment {
        return Err(Unplanned::Failed(trouble(
            "nobody would follow a failover of this instance",
            "its profile names one server, and neither Sentinels nor a cluster: applications would go on asking the old one",
            "put Sentinels before it and name them in the profile, or change roles by hand together with the applications",
        )));
    }
    let mut shards = Vec::new();
    for answer in maker.read(&["INFO", "replication"]).await {
        shards.push(followers(&answer?));
    }
    let target = shard(maker, wanted, &shards)?;
    let primary = &maker.primaries[target].target.address;
    let named = wanted.get("shard").filter(|named| named != primary);
    let mut able: Vec<&Follower> = shards[target].iter().filter(|follower| follower.in_step()).collect();
    able.retain(|follower| named.is_none_or(|named| follower.address == *named));
    able.sort_by_key(|follower| follower.behind);
    let Some(best) = able.first() else { return Err(Unplanned::Failed(nobody(primary, &shards[target]))) };
    let (change, warning) = match deployment {
        Deployment::Sentinel { master, .. } => (
            Change::SentinelFailover { master: master.clone() },
            format!(
                "Sentinel chooses among the replicas and does not wait for the one it takes: what that lacks then is lost. The best one is {} behind now.",
                show_bytes(best.behind)
            ),
        ),
        _ => {
            let node = maker.nodes.iter().find(|node| node.node.address.to_string() == best.address);
            let Some(run_id) = node.and_then(|node| node.run_id.clone()) else {
                return Err(Unplanned::Failed(trouble(
                    format!("{} does not answer this bot", best.address),
                    "a failover is asked for at the replica itself",
                    "see `/redis connectivity`, or name another with --shard",
                )));
            };
            (
                Change::ClusterFailover { replica: best.address.clone(), run_id },
                "The primary holds writes back until the replica has all of them: nothing is lost.".to_owned(),
            )
        }
    };
    let candidates: Vec<String> = shards[target].iter().map(Follower::words).collect();
    Ok(Draft {
        steps: vec![step(target, change)],
        reach: Reach {
            what: format!("every client of {primary}: writes fail or wait for some seconds, and all connect anew"),
            exact: true,
            ..Reach::default()
        },
        facts: vec![("Replicas".to_owned(), candidates.join("\n"))],
        warnings: vec![warning],
        undo: Undo::Never(
            "failing back is another failover: `/redis failover` again, once the old primary follows the new one and is in step".to_owned(),
        ),
        risk: Risk::High,
        undoes: None,
    })
}

/// Which shard is meant: the one named by its primary or by one of its replicas, or the only one.
fn shard(maker: &Maker<'_>, wanted: &Wanted, shards: &[Vec<Follower>]) -> Result<usize, Unplanned> {
    let primary = |at: usize| maker.primaries[at].target.address.as_str();
    let named = wanted.get("shard");
    let found = (0..shards.len()).find(|&at| {
        named.is_some_and(|named| primary(at) == named || shards[at].iter().any(|follower| follower.address == named))
    });
    match (found, named) {
        (Some(at), _) => Ok(at),
        (None, None) if shards.len() == 1 => Ok(0),
        (None, _) => {
            let what = if named.is_some() {
                "No shard of this instance has a server of that address."
            } else {
                "This instance has several shards, and one is failed over at a time."
            };
            let known: Vec<String> = (0..shards.len()).map(|at| format!("`--shard {}`", primary(at))).collect();
            let next = format!("say which: {}, or the address of a replica", known.join(", "));
            Err(Unplanned::Misunderstood(Box::new(plain_card(&maker.wish.command.name, what, Some(next)))))
        }
    }
}

fn nobody(primary: &str, followers: &[Follower]) -> Explained {
    let told: Vec<String> = followers.iter().map(Follower::words).collect();
    let cause = if told.is_empty() { "it has no replicas".to_owned() } else { told.join("; ") };
    trouble(
        format!("no replica of {primary} is in step, so none is made the primary"),
        &cause,
        "see `/redis replication`, and wait until one has caught up",
    )
}

fn followers(info: &Value) -> Vec<Follower> {
    let head = info.get("master_repl_offset").and_then(Value::as_u64).unwrap_or(0);
    let read = |replica: &Value| {
        let offset = replica.get("offset").and_then(Value::as_u64).unwrap_or(0);
        Some(Follower {
            address: format!("{}:{}", replica.get("ip")?.as_str()?, replica.get("port")?.as_u64()?),
            online: replica.get("state").and_then(Value::as_str) == Some("online"),
            silent_s: replica.get("lag").and_then(Value::as_i64).unwrap_or(-1),
            behind: head.saturating_sub(offset),
        })
    };
    info.get("replicas").and_then(Value::as_array).into_iter().flatten().filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_replica_is_in_step_when_it_is_online_heard_of_and_close() {
        let told = |state: &str, lag: i64, offset: u64| {
            let replica = json!({"ip": "10.0.0.2", "port": 6379, "state": state, "lag": lag, "offset": offset});
            followers(&json!({"master_repl_offset": 5_000_000, "replicas": [replica]})).remove(0)
        };
        assert!(told("online", 1, 4_999_000).in_step());
        assert!(!told("wait_bgsave", 0, 5_000_000).in_step());
        assert!(!told("online", 11, 5_000_000).in_step());
        assert!(!told("online", 0, 3_000_000).in_step());
        assert!(told("online", 0, 3_000_000).words().contains("1.91 MiB behind"));
    }
}
