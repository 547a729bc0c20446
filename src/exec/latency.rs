//! `Look::Latency`: how long a PING takes from here, on a connection of its own.

use futures_util::future::join_all;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::{
    diagnosis::{Explained, NodeOutcome, Observation},
    model::Progress,
};

use super::{
    Job,
    dial::ms,
    failed,
    fault::Fault,
    server::{Kind, Lane, Server},
};

/// Carries it out at every primary, side by side.
pub(crate) async fn look(job: &Job, samples: u32) -> Observation {
    let start = Instant::now();
    let topology = match job.site.topology(job.budget).await {
        Ok(topology) => topology,
        Err(error) => return failed(error, start),
    };
    let servers: Vec<_> = topology.primaries().map(|member| job.site.server(&member.address, Kind::Data)).collect();
    let nodes = join_all(servers.iter().enumerate().map(async |(index, server)| {
        let begun = Instant::now();
        // One server's progress stands for all: they run side by side.
        let result = measure(job, server, samples, index == 0).await;
        NodeOutcome { node: server.node(), result, took: begun.elapsed() }
    }))
    .await;
    let values: Vec<&Value> = nodes.iter().filter_map(|node| node.result.as_ref().ok()).collect();
    let merged = match values.is_empty() {
        false => Ok(worst(&values)),
        true => Err(nodes.iter().find_map(|node| node.result.as_ref().err().cloned()).unwrap_or_else(super::nobody)),
    };
    Observation { nodes, merged, took: start.elapsed() }
}

async fn measure(job: &Job, server: &Server, samples: u32, tell: bool) -> Result<Value, Explained> {
    let explain = |fault: Fault| fault.explain(Some(&server.address), server.credential(), Some("PING"));
    let _turn = super::own_turn(server, job.budget.until()).await.map_err(explain)?;
    let wire = server.open(Lane::Probe, job.budget.until()).await.map_err(explain)?;
    let ping = redis::cmd("PING");
    // The first one pays for warming up both sides.
    refused_only(wire.call(&ping, job.budget.until()).await).map_err(explain)?;
    let mut took = Vec::with_capacity(samples as usize);
    let mut lost = 0u32;
    for done in 0..samples.max(1) {
        if !job.budget.has_time() {
            break;
        }
        let begun = Instant::now();
        match refused_only(wire.call(&ping, job.budget.until()).await) {
            Ok(()) => took.push(begun.elapsed().as_secs_f64() * 1e3),
            Err(fault) if took.is_empty() => return Err(explain(fault)),
            Err(_) => {
                // The wait itself is the finding: it counts with its full length.
                took.push(begun.elapsed().as_secs_f64() * 1e3);
                lost += 1;
                break;
            }
        }
        if tell && done % 16 == 15 {
            let _ = job.progress.send(Some(Progress {
                doing: "measuring latency".into(),
                done: u64::from(done) + 1,
                total: Some(u64::from(samples)),
                unit: "samples".into(),
                rate: None,
                left_s: None,
            }));
        }
    }
    Ok(figures(took, lost))
}

/// A refusal is an answer: its round trip is as good a sample as any.
fn refused_only(reply: Result<redis::Value, Fault>) -> Result<(), Fault> {
    match reply {
        Err(Fault::Server(line)) if line.starts_with("NOPERM") => Ok(()),
        Err(fault) => Err(fault),
        Ok(_) => Ok(()),
    }
}

fn figures(mut took: Vec<f64>, lost: u32) -> Value {
    took.sort_by(f64::total_cmp);
    let round = |x: f64| (x * 1e3).round() / 1e3;
    // The nearest rank: always a time that was really seen.
    let rank = |q: f64| {
        let at = ((q * took.len() as f64).ceil() as usize).clamp(1, took.len().max(1)) - 1;
        took.get(at).copied().map(round)
    };
    let mean = took.iter().sum::<f64>() / took.len().max(1) as f64;
    json!({
        "samples": took.len(),
        "failed": lost,
        "p50_ms": rank(0.5),
        "p95_ms": rank(0.95),
        "p99_ms": rank(0.99),
        "max_ms": took.last().copied().map(round),
        "min_ms": took.first().copied().map(round),
        "mean_ms": round(mean),
    })
}

/// Of several servers, each figure where it is worst; samples are added up.
fn worst(values: &[&Value]) -> Value {
    let mut all = Map::new();
    for (name, value) in values.iter().filter_map(|value| value.as_object()).flatten() {
        let (Some(new), old) = (value.as_f64(), all.get(name).and_then(Value::as_f64)) else { continue };
        let sum = matches!(name.as_str(), "samples" | "failed");
        let joined = match (old, sum) {
            (None, _) => value.clone(),
            (Some(old), true) => json!((old + new) as u64),
            (Some(old), false) => json!(if name == "min_ms" { old.min(new) } else { old.max(new) }),
        };
        all.insert(name.clone(), joined);
    }
    Value::Object(all)
}

/// What a single timed step took, for other looks that measure.
pub(crate) fn since(start: Instant) -> f64 {
    ms(start.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_were_seen() {
        let value = figures((1..=100).map(f64::from).collect(), 0);
        assert_eq!((value["p50_ms"].as_f64(), value["p95_ms"].as_f64()), (Some(50.0), Some(95.0)));
        assert_eq!((value["p99_ms"].as_f64(), value["max_ms"].as_f64()), (Some(99.0), Some(100.0)));
        assert_eq!(figures(vec![0.25], 0)["p99_ms"].as_f64(), Some(0.25));
    }

    #[test]
    fn of_several_servers_the_worst_figure_counts() {
        let (a, b) = (figures(vec![1.0, 2.0], 0), figures(vec![3.0], 1));
        let all = worst(&[&a, &b]);
        assert_eq!(
            (all["samples"].as_u64(), all["failed"].as_u64(), all["p50_ms"].as_f64()),
            (Some(3), Some(1), Some(3.0))
        );
        assert_eq!(all["min_ms"].as_f64(), Some(1.0));
    }
}
