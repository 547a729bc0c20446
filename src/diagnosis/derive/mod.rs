//! What can be worked out from earlier looks, without asking anybody.
//!
//! A command file names a derivation and the steps it is worked out from:
//!
//! ```toml
//! [[steps]]
//! id = "vitals"
//! derive = "vitals"
//! from = ["info"]
//! ```
//!
//! | derivation | worked out from | gives |
//! |---|---|---|
//! | `vitals` | `info` | the figures most cards show, with their guards: see [`vitals`] |
//! | `data_loss` | `info` | `{signs: [{level, what, evidence, next}]}`: signs that data was lost since the last look |
//! | `drift` | `config`, `info` | `{rows: [{name, declared, actual, state}], same, differs, unseen}` |
//! | `capacity` | `info` | `{memory: {…}, clients: {…}, advice: [{level, what, evidence, next}]}`: trend and time to full |
//! | `slowlog_groups` | `slow` | `{entries, groups: [{shape, count, max_ms, …}], oldest_s, last_hour}` |
//! | `client_groups` | `clients` | `{total, by_name, by_address, by_user, blocked, largest, idle, …}` |
//! | `command_top` | `info` | `{rows: [{command, calls, share, mean_us, p50_us, p99_us, failed, …}], risky, calls}` |
//! | `latency_events` | `latest` | `{rows: [{event, about, latest_ms, max_ms, ago_s}]}` |
//! | `keyspace_table` | `info` | `{rows: [{db, keys, no_ttl, no_ttl_share, mean_ttl_s}], keys, no_ttl}` |
//! | `acl_groups` | `log` | `{rows: [{reason, object, user, count, from, ago_s}], denied}` |
//! | `inspection` | `key` | the look at one key, its TTL explained and compared with its pattern |
//! | `metric_rows` | `pages` | `{rows: [{page, name, labels, value, delta, rate}], fallback, down, queueing, failed_percent}` |
//! | `queue_rates` | `queues` | `{rows: [{name, depth, per_s, drain_s, level}], worst}` |

mod capacity;
mod clients;
mod commands;
mod drift;
mod keys;
mod loss;
mod pages;
mod vitals;

pub use vitals::never_saved;

use serde_json::{Map, Value};

use super::Explained;
use crate::model::Service;

/// What [`derive()`] can work out, in order of name.
pub const DERIVATIONS: &[&str] = &[
    "acl_groups",
    "capacity",
    "client_groups",
    "command_top",
    "data_loss",
    "drift",
    "inspection",
    "keyspace_table",
    "latency_events",
    "metric_rows",
    "queue_rates",
    "slowlog_groups",
    "vitals",
];

/// Works something out from earlier looks.
///
/// `inputs` holds the merged answer of each step named by the look, by step
/// id; a step that failed is absent. Beside them stand `_now` (Unix seconds),
/// `_series` (remembered figures over time: `{"used_memory": [[unix seconds,
/// value], …]}`), `_last` and `_healthy` (`{at, values}` of the last look, and
/// of the last that was healthy); each may be absent or null. `args` holds the
/// command's arguments.
///
/// # Errors
///
/// When the look it needs failed or was not named, and when there is no such derivation.
pub fn derive(
    what: &str,
    inputs: &Map<String, Value>,
    service: &Service,
    args: &Map<String, Value>,
) -> Result<Value, Explained> {
    let inputs = Inputs(inputs);
    match what {
        "vitals" => Ok(vitals::vitals(inputs.object("info")?, &inputs)),
        "data_loss" => Ok(loss::signs(inputs.object("info")?, &inputs)),
        "drift" => drift::drift(&inputs, service),
        "capacity" => Ok(capacity::capacity(inputs.object("info")?, &inputs, service)),
        "slowlog_groups" => Ok(commands::slow_groups(inputs.list("slow")?, &inputs)),
        "client_groups" => Ok(clients::groups(inputs.list("clients")?, args)),
        "command_top" => Ok(commands::top(inputs.object("info")?)),
        "latency_events" => Ok(commands::latency_events(inputs.list("latest")?, &inputs)),
        "metric_rows" => Ok(pages::metrics(&inputs)),
        "keyspace_table" => Ok(keys::keyspace(inputs.object("info")?)),
        "acl_groups" => Ok(clients::refusals(inputs.list("log")?)),
        "inspection" => Ok(keys::inspection(inputs.object("key")?, &inputs, service, args)),
        "queue_rates" => Ok(keys::queues(&inputs, service)),
        _ => Err(Explained {
            code: "UNKNOWN_DERIVATION".into(),
            what: format!("nothing is known of working out `{what}`"),
            cause: "the command file names a derivation that does not exist".into(),
            next: format!("use one of {}", DERIVATIONS.join(", ")),
        }),
    }
}

/// The earlier looks, by name.
struct Inputs<'a>(&'a Map<String, Value>);

impl<'a> Inputs<'a> {
    /// The answer of that step; of the only step there is, whatever it is called.
    fn get(&self, name: &str) -> Option<&'a Value> {
        self.0.get(name).or_else(|| {
            let mut steps = self.0.iter().filter(|(id, _)| !id.starts_with('_'));
            match (steps.next(), steps.next()) {
                (Some((_, only)), None) => Some(only),
                _ => None,
            }
        })
    }

    fn object(&self, name: &str) -> Result<&'a Map<String, Value>, Explained> {
        self.get(name).and_then(Value::as_object).ok_or_else(|| missing(name))
    }

    fn list(&self, name: &str) -> Result<&'a [Value], Explained> {
        self.get(name).and_then(Value::as_array).map(Vec::as_slice).ok_or_else(|| missing(name))
    }

    /// Unix seconds, where the caller has them.
    fn now(&self) -> Option<i64> {
        self.0.get("_now").and_then(Value::as_i64)
    }

    /// A figure of the last look.
    fn last(&self, figure: &str) -> Option<f64> {
        self.0.get("_last")?.get("values")?.get(figure)?.as_f64()
    }

    /// When the last look was, in Unix seconds.
    fn last_at(&self) -> Option<i64> {
        self.0.get("_last")?.get("at")?.as_i64()
    }

    /// A remembered figure over time, oldest first.
    fn series(&self, figure: &str) -> Vec<(f64, f64)> {
        let points = self.0.get("_series").and_then(|series| series.get(figure)).and_then(Value::as_array);
        points
            .into_iter()
            .flatten()
            .filter_map(|point| Some((point.get(0)?.as_f64()?, point.get(1)?.as_f64()?)))
            .collect()
    }
}

fn missing(name: &str) -> Explained {
    Explained {
        code: "NOT_SEEN".into(),
        what: format!("it cannot be worked out: `{name}` was not seen"),
        cause: format!("the step `{name}` failed, or is not among those it is worked out from"),
        next: "the card says what could not be looked at, and why".into(),
    }
}

/// A number of an object.
fn number(object: &Map<String, Value>, name: &str) -> Option<f64> {
    object.get(name).and_then(Value::as_f64)
}

/// A whole number of an object, 0 where it is missing.
fn count(object: &Map<String, Value>, name: &str) -> i64 {
    object.get(name).and_then(Value::as_i64).unwrap_or(0)
}

/// A text of an object, empty where it is missing.
fn text<'a>(object: &'a Map<String, Value>, name: &str) -> &'a str {
    object.get(name).and_then(Value::as_str).unwrap_or("")
}

/// A sign or an advice, in the shape of a card's finding.
fn finding(level: &str, what: String, evidence: String, next: &str) -> Value {
    serde_json::json!({"level": level, "what": what, "evidence": evidence, "next": next})
}

/// Rounds to so many decimals.
fn round(value: f64, places: i32) -> f64 {
    let scale = 10f64.powi(places);
    (value * scale).round() / scale
}

/// Bytes for people, inside sentences made here.
fn bytes(count: f64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut size, mut unit) = (count.abs(), 0);
    while size >= 999.5 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    let sign = if count < 0.0 { "-" } else { "" };
    let places = if unit == 0 || size >= 99.95 {
        0
    } else if size >= 9.995 {
        1
    } else {
        2
    };
    format!("{sign}{size:.places$} {}", UNITS[unit])
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::{Address, Credential, Deployment, Environment, Instance, Threshold};
    use serde_json::json;

    /// A profile with nothing special in it.
    pub(crate) fn service() -> Service {
        Service {
            name: "payments".parse().unwrap(),
            title: "Payments".into(),
            environment: Environment::Prod,
            owner: "payments team".into(),
            instances: vec![Instance {
                name: "main".parse().unwrap(),
                deployment: Deployment::Standalone(Address::Tcp { host: "127.0.0.1".into(), port: 6379 }),
                database: 0,
                tls: None,
                look: Credential::default(),
                touch: None,
                scan_replica: false,
            }],
            patterns: Vec::new(),
            queues: Vec::new(),
            thresholds: BTreeMap::<String, Threshold>::new(),
            declared: BTreeMap::new(),
            endpoints: Vec::new(),
            metrics: Vec::new(),
            logs: Vec::new(),
            links: Vec::new(),
            contacts: Vec::new(),
            impact: Vec::new(),
        }
    }

    pub(crate) fn inputs(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn every_derivation_named_is_known_and_says_what_it_lacks() {
        for what in DERIVATIONS.iter().filter(|what| !["queue_rates", "metric_rows"].contains(what)) {
            let error = derive(what, &Map::new(), &service(), &Map::new()).unwrap_err();
            assert_eq!(error.code, "NOT_SEEN", "{what}");
        }
        assert!(DERIVATIONS.is_sorted());
        assert_eq!(derive("nothing", &Map::new(), &service(), &Map::new()).unwrap_err().code, "UNKNOWN_DERIVATION");
    }

    #[test]
    fn an_empty_answer_is_survived_by_all() {
        for what in DERIVATIONS {
            for empty in
                [json!({}), json!([]), json!(null), json!([{}]), json!([null]), json!({"keyspace": 3, "shards": [1]})]
            {
                let all = json!({"info": empty, "config": empty, "slow": empty, "clients": empty, "latest": empty, "log": empty, "key": empty, "queues": empty});
                let _ = derive(what, &inputs(all), &service(), &Map::new());
            }
        }
    }

    #[test]
    fn bytes_have_three_digits() {
        assert_eq!([bytes(0.0), bytes(1536.0), bytes(851_443_712.0)], ["0 B", "1.50 KiB", "812 MiB"]);
    }
}
