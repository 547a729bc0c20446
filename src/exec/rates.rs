//! `Look::Rates`: the same INFO twice, so that counters become rates.

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::join_all;
use redis::Cmd;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::diagnosis::{Explained, NodeOutcome, Observation};

use super::{
    Job, failed,
    server::{Budget, Kind, Lane, Server, one},
};

/// INFO's counters, and what a second of each is called.
pub(crate) const COUNTERS: &[(&str, &str)] = &[
    ("total_commands_processed", "commands_processed_per_s"),
    ("total_connections_received", "connections_received_per_s"),
    ("total_net_input_bytes", "net_input_bytes_per_s"),
    ("total_net_output_bytes", "net_output_bytes_per_s"),
    ("total_error_replies", "error_replies_per_s"),
    ("total_reads_processed", "reads_processed_per_s"),
    ("total_writes_processed", "writes_processed_per_s"),
    ("keyspace_hits", "keyspace_hits_per_s"),
    ("keyspace_misses", "keyspace_misses_per_s"),
    ("evicted_keys", "evicted_keys_per_s"),
    ("expired_keys", "expired_keys_per_s"),
    ("rejected_connections", "rejected_connections_per_s"),
];

/// Carries it out at every primary, side by side.
pub(crate) async fn look(job: &Job, over: Duration) -> Observation {
    let start = Instant::now();
    let topology = match job.site.topology(job.budget).await {
        Ok(topology) => topology,
        Err(error) => return failed(error, start),
    };
    let servers: Vec<_> = topology.primaries().map(|member| job.site.server(&member.address, Kind::Data)).collect();
    let nodes = join_all(servers.iter().map(async |server| {
        let begun = Instant::now();
        let result = measure(server, over, job.budget).await;
        NodeOutcome { node: server.node(), result, took: begun.elapsed() }
    }))
    .await;
    let values: Vec<&Value> = nodes.iter().filter_map(|node| node.result.as_ref().ok()).collect();
    let merged = match values.is_empty() {
        false => Ok(sum(&values)),
        true => Err(nodes.iter().find_map(|node| node.result.as_ref().err().cloned()).unwrap_or_else(super::nobody)),
    };
    Observation { nodes, merged, took: start.elapsed() }
}

/// Counters by name, and when they were read.
struct Reading {
    at: Instant,
    counters: BTreeMap<String, f64>,
}

/// Percentage of one core a server used, measured over `over`.
pub(crate) async fn cpu_percent(server: &Server, over: Duration, budget: Budget) -> Result<Option<f64>, Explained> {
    let value = measure(server, over, budget).await?;
    Ok(value.get("used_cpu_percent").and_then(Value::as_f64))
}

async fn measure(server: &Server, over: Duration, budget: Budget) -> Result<Value, Explained> {
    let first = read(server, budget).await?;
    // Leaves time for the second reading.
    let left = budget.end.saturating_duration_since(Instant::now());
    tokio::time::sleep(over.min(left.saturating_sub(budget.call.min(left / 2)))).await;
    let second = read(server, budget).await?;
    Ok(between(&first, &second))
}

async fn read(server: &Server, budget: Budget) -> Result<Reading, Explained> {
    let explain = |fault: super::fault::Fault| fault.explain(Some(&server.address), server.credential(), Some("INFO"));
    let ask: [Cmd; 2] = ["stats", "cpu"].map(|section| redis::cmd("INFO").arg(section).to_owned());
    let replies = server.ask(Lane::Look, &ask, budget).await.map_err(explain)?;
    let at = Instant::now();
    let mut counters = BTreeMap::new();
    for reply in replies {
        let text = one(Some(reply)).map_err(explain)?;
        for (name, value) in text.as_str().into_iter().flat_map(str::lines).filter_map(|line| line.split_once(':')) {
            if let Ok(number) = value.trim().parse() {
                counters.insert(name.to_owned(), number);
            }
        }
    }
    Ok(Reading { at, counters })
}

fn between(first: &Reading, second: &Reading) -> Value {
    let seconds = second.at.duration_since(first.at).as_secs_f64().max(1e-6);
    // A counter that went back was reset, by CONFIG RESETSTAT or a restart: it tells nothing.
    let grew = |name: &str| Some(second.counters.get(name)? - first.counters.get(name)?).filter(|by| *by >= 0.0);
    let round = |x: f64| (x * 1e3).round() / 1e3;
    let mut out = Map::from_iter([("seconds".to_owned(), json!(round(seconds)))]);
    for (counter, rate) in COUNTERS {
        if let Some(by) = grew(counter) {
            out.insert((*rate).to_owned(), json!(round(by / seconds)));
        }
    }
    if let (Some(sys), Some(user)) = (grew("used_cpu_sys"), grew("used_cpu_user")) {
        out.insert("used_cpu_percent".into(), json!(round((sys + user) / seconds * 100.0)));
    }
    hit_ratio(&mut out);
    Value::Object(out)
}

fn hit_ratio(rates: &mut Map<String, Value>) {
    let rate = |name: &str| rates.get(name).and_then(Value::as_f64);
    if let (Some(hits), Some(misses)) = (rate("keyspace_hits_per_s"), rate("keyspace_misses_per_s"))
        && hits + misses > 0.0
    {
        let percent = hits / (hits + misses) * 100.0;
        rates.insert("hit_ratio".into(), json!((percent * 100.0).round() / 100.0));
    }
}

fn sum(values: &[&Value]) -> Value {
    let mut all = Map::new();
    for (name, value) in values.iter().filter_map(|value| value.as_object()).flatten() {
        let (Some(new), old) = (value.as_f64(), all.get(name).and_then(Value::as_f64).unwrap_or(0.0)) else { continue };
        let highest = matches!(name.as_str(), "seconds" | "used_cpu_percent");
        let joined = if highest { old.max(new) } else { ((old + new) * 1e3).round() / 1e3 };
        all.insert(name.clone(), json!(joined));
    }
    all.remove("hit_ratio");
    hit_ratio(&mut all);
    Value::Object(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(at: Instant, counters: &[(&str, f64)]) -> Reading {
        Reading { at, counters: counters.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect() }
    }

    #[test]
    fn counters_become_rates_and_one_that_went_back_says_nothing() {
        let now = Instant::now();
        let first = reading(now, &[("keyspace_hits", 10.0), ("keyspace_misses", 0.0), ("evicted_keys", 9.0)]);
        let then = now + Duration::from_secs(2);
        let second = reading(then, &[("keyspace_hits", 40.0), ("keyspace_misses", 10.0), ("evicted_keys", 1.0)]);
        let value = between(&first, &second);
        assert_eq!(
            value,
            json!({"seconds": 2.0, "keyspace_hits_per_s": 15.0, "keyspace_misses_per_s": 5.0, "hit_ratio": 75.0})
        );
        let twice = sum(&[&value, &value]);
        assert_eq!((twice["seconds"].as_f64(), twice["keyspace_hits_per_s"].as_f64()), (Some(2.0), Some(30.0)));
        assert_eq!(twice["hit_ratio"].as_f64(), Some(75.0));
    }
}
