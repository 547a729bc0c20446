//! What the server is asked to do, and what of it is slow.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::{Inputs, number, round, text};

/// Commands that hold a server up or empty it, and what serves instead.
const RISKY: &[(&str, &str)] = &[
    ("keys", "KEYS walks everything: SCAN in the application"),
    ("flushall", "FLUSHALL empties every database"),
    ("flushdb", "FLUSHDB empties a database"),
    ("monitor", "MONITOR halves the throughput while it runs"),
    ("debug", "DEBUG is for developers of Redis"),
    ("save", "SAVE blocks until the disk is done: BGSAVE"),
    ("sort", "SORT reads a whole collection"),
    ("smembers", "SMEMBERS reads a whole set: SSCAN"),
    ("hgetall", "HGETALL reads a whole hash: HSCAN, or HMGET of what is needed"),
];

#[derive(Default)]
struct Slow {
    count: i64,
    total: f64,
    max: f64,
    last: i64,
    clients: BTreeSet<String>,
    names: BTreeSet<String>,
    nodes: BTreeSet<String>,
}

/// Groups the slow log by command shape, the one that cost most first.
pub(super) fn slow_groups(entries: &[Value], inputs: &Inputs) -> Value {
    let entries: Vec<&Map<String, Value>> = entries.iter().filter_map(Value::as_object).collect();
    let mut groups: BTreeMap<&str, Slow> = BTreeMap::new();
    for entry in &entries {
        let slow = groups.entry(text(entry, "shape")).or_default();
        let micros = number(entry, "micros").unwrap_or(0.0);
        slow.count += 1;
        slow.total += micros;
        slow.max = slow.max.max(micros);
        slow.last = slow.last.max(entry.get("at").and_then(Value::as_i64).unwrap_or(0));
        for (set, field) in [(&mut slow.clients, "client"), (&mut slow.names, "name"), (&mut slow.nodes, "node")] {
            let value = text(entry, field);
            // The port changes with every connection; the host is who it was.
            let value = if field == "client" { value.rsplit_once(':').map_or(value, |(host, _)| host) } else { value };
            if !value.is_empty() {
                set.insert(value.to_owned());
            }
        }
    }
    let now = inputs.now();
    let mut rows: Vec<(f64, Value)> = groups
        .into_iter()
        .map(|(shape, slow)| {
            let ms = |micros: f64| round(micros / 1000.0, 3);
            let row = json!({
                "shape": shape, "count": slow.count, "max_ms": ms(slow.max), "mean_ms": ms(slow.total / slow.count.max(1) as f64), "total_ms": ms(slow.total),
                "last_at": slow.last, "ago_s": now.map(|now| (now - slow.last).max(0)), "hosts": slow.clients.len(),
                "names": slow.names, "nodes": slow.nodes, "why": why(shape),
            });
            (slow.total, row)
        })
        .collect();
    rows.sort_by(|a, b| b.0.total_cmp(&a.0));
    let at = |entry: &&&Map<String, Value>| entry.get("at").and_then(Value::as_i64).unwrap_or(0);
    let oldest = entries.iter().map(|entry| at(&entry)).min();
    let worst = entries.iter().filter_map(|entry| number(entry, "micros")).reduce(f64::max);
    json!({
        "entries": entries.len(),
        "groups": rows.into_iter().map(|(_, row)| row).collect::<Vec<_>>(),
        "oldest_s": now.zip(oldest).map(|(now, oldest)| (now - oldest).max(0)),
        "newest_s": now.zip(entries.iter().map(|entry| at(&entry)).max()).map(|(now, newest)| (now - newest).max(0)),
        "last_hour": now.map(|now| entries.iter().filter(|entry| now - at(entry) < 3600).count()),
        "worst_ms": worst.map(|micros| round(micros / 1000.0, 3)),
    })
}

/// Why a command of this shape is slow, where its name tells.
fn why(shape: &str) -> Option<&'static str> {
    let name = shape.split(' ').next()?.to_ascii_lowercase();
    Some(match name.as_str() {
        "keys" => "walks every key: use SCAN",
        "hgetall" | "hkeys" | "hvals" | "smembers" | "lrange" | "zrange" | "sunion" | "sinter" | "sdiff" | "sort" => {
            "reads a whole collection: read pages, or keep it smaller"
        }
        "del" => "frees a large value at once: UNLINK frees it in the background",
        "flushall" | "flushdb" => "empties everything at once",
        "eval" | "evalsha" | "fcall" => "a script: nothing else runs meanwhile",
        "scan" | "hscan" | "sscan" | "zscan" => "a large COUNT: ask for fewer at a time",
        "mget" | "mset" | "hmget" => "many keys in one command: smaller batches",
        "save" => "writes to disk while everybody waits: BGSAVE",
        "debug" => "a developer's command: nobody should need it",
        "slowlog" | "client" | "info" | "command" | "config" => "monitoring itself: ask less often",
        _ => return None,
    })
}

/// Commands by the time they took, with percentiles where the server keeps them.
pub(super) fn top(info: &Map<String, Value>) -> Value {
    let empty = Map::new();
    let group = |name: &str| info.get(name).and_then(Value::as_object).unwrap_or(&empty);
    let (stats, latency) = (group("commandstats"), group("latencystats"));
    let field = |stat: &Value, name: &str| stat.get(name).and_then(Value::as_f64);
    let all_time: f64 = stats.values().filter_map(|stat| field(stat, "usec")).sum();
    let all_calls: f64 = stats.values().filter_map(|stat| field(stat, "calls")).sum();
    let mut rows: Vec<Value> = stats
        .iter()
        .map(|(command, stat)| {
            let took = latency.get(command);
            let percentile = |name: &str| took.and_then(|took| field(took, name));
            let (calls, micros) = (field(stat, "calls").unwrap_or(0.0), field(stat, "usec").unwrap_or(0.0));
            json!({
                "command": command.replace('|', " ").to_uppercase(),
                "calls": calls as i64,
                "calls_share": if all_calls > 0.0 { round(calls / all_calls, 4) } else { 0.0 },
                "time_share": if all_time > 0.0 { round(micros / all_time, 4) } else { 0.0 },
                "total_ms": round(micros / 1000.0, 1),
                "mean_us": round(if calls > 0.0 { micros / calls } else { 0.0 }, 1),
                "p50_us": percentile("p50"), "p99_us": percentile("p99"), "p999_us": percentile("p99_9"),
                "failed": field(stat, "failed_calls").unwrap_or(0.0) as i64,
                "rejected": field(stat, "rejected_calls").unwrap_or(0.0) as i64,
            })
        })
        .collect();
    let by = |field: &'static str| {
        move |a: &Value, b: &Value| b[field].as_f64().unwrap_or(-1.0).total_cmp(&a[field].as_f64().unwrap_or(-1.0))
    };
    let mut slowest: Vec<Value> = rows.iter().filter(|row| row["p99_us"].is_number()).cloned().collect();
    slowest.sort_by(by("p99_us"));
    slowest.truncate(10);
    rows.sort_by(by("total_ms"));
    let risky: Vec<Value> = RISKY
        .iter()
        .filter_map(|(command, why)| {
            let calls = field(stats.get(*command)?, "calls").filter(|calls| *calls > 0.0)?;
            Some(json!({"command": command.to_uppercase(), "calls": calls as i64, "why": why}))
        })
        .collect();
    let mut errors: Vec<Value> = group("errorstats")
        .iter()
        .map(|(code, stat)| json!({"code": code, "count": field(stat, "count").unwrap_or(0.0) as i64}))
        .collect();
    errors.sort_by(by("count"));
    let reads_all =
        |names: &[&str]| names.iter().filter_map(|name| field(stats.get(*name)?, "calls")).sum::<f64>() as i64;
    json!({
        "calls": all_calls as i64, "total_ms": round(all_time / 1000.0, 1), "rows": rows, "slowest": slowest, "risky": risky, "errors": errors,
        "keys_calls": reads_all(&["keys"]), "flush_calls": reads_all(&["flushall", "flushdb"]),
        "failed": stats.values().filter_map(|stat| field(stat, "failed_calls")).sum::<f64>() as i64,
        "percentiles": !latency.is_empty(),
    })
}

/// `LATENCY LATEST` with what each event means.
pub(super) fn latency_events(latest: &[Value], inputs: &Inputs) -> Value {
    let about = |event: &str| match event {
        "command" => "a command that is not constant-time took long",
        "fast-command" => "a command that should be fast took long: the machine was busy",
        "fork" => "making the copy for a save: grows with memory, shrinks without huge pages",
        "rdb-unlink-temp-file" => "deleting a temporary snapshot",
        "aof-write" | "aof-write-pending-fsync" | "aof-write-active-child" | "aof-write-alone" | "aof-fsync-always" => {
            "the disk was slow to take the append-only file"
        }
        "aof-fstat" | "aof-rename" | "aof-rewrite-diff-write" => "work on the append-only file",
        "expire-cycle" => "many keys expired at once: spread their TTLs",
        "eviction-cycle" | "eviction-del" => "keys had to be evicted to make room",
        "active-defrag-cycle" => "defragmenting memory",
        "module-acquire-GIL" => "a module held the server",
        "while-blocked-cron" => "the server was kept from its own work, by loading or a script",
        _ => "",
    };
    let now = inputs.now();
    let mut rows: Vec<Value> = latest
        .iter()
        .filter_map(Value::as_object)
        .map(|entry| {
            let at = entry.get("at").and_then(Value::as_i64);
            json!({
                "event": text(entry, "event"), "about": about(text(entry, "event")), "latest_ms": entry.get("latest_ms"), "max_ms": entry.get("max_ms"),
                "at": at, "ago_s": now.zip(at).map(|(now, at)| (now - at).max(0)), "node": entry.get("node"),
            })
        })
        .collect();
    rows.sort_by(|a, b| b["max_ms"].as_f64().unwrap_or(0.0).total_cmp(&a["max_ms"].as_f64().unwrap_or(0.0)));
    json!({"rows": rows})
}

#[cfg(test)]
mod tests {
    use super::super::{
        derive,
        tests::{inputs, service},
    };
    use super::*;

    #[test]
    fn the_slow_log_is_grouped_by_what_was_done_and_the_costliest_comes_first() {
        let slow = json!([
            {"id": 1, "at": 900, "micros": 20000, "shape": "GET session:*", "client": "10.0.0.1:5", "name": "api"},
            {"id": 2, "at": 950, "micros": 90000, "shape": "KEYS session:*", "client": "10.0.0.2:5", "name": ""},
            {"id": 3, "at": 990, "micros": 10000, "shape": "GET session:*", "client": "10.0.0.1:6", "name": "api"},
        ]);
        let seen =
            derive("slowlog_groups", &inputs(json!({"slow": slow, "_now": 1000})), &service(), &Map::new()).unwrap();
        assert_eq!(seen["groups"][0]["shape"], "KEYS session:*");
        assert_eq!(seen["groups"][0]["why"], "walks every key: use SCAN");
        assert_eq!(
            (&seen["groups"][1]["count"], &seen["groups"][1]["mean_ms"], &seen["groups"][1]["hosts"]),
            (&json!(2), &json!(15.0), &json!(1))
        );
        assert_eq!((&seen["last_hour"], &seen["oldest_s"], &seen["worst_ms"]), (&json!(3), &json!(100), &json!(90.0)));
    }

    #[test]
    fn commands_are_ranked_by_the_time_they_took() {
        let info = json!({
            "commandstats": {"get": {"calls": 900, "usec": 900, "failed_calls": 0}, "keys": {"calls": 1, "usec": 90000}},
            "latencystats": {"get": {"p50": 1.0, "p99": 2.0, "p99_9": 9.0}},
            "errorstats": {"NOAUTH": {"count": 4}},
        });
        let seen = derive("command_top", &inputs(json!({"info": info})), &service(), &Map::new()).unwrap();
        assert_eq!((&seen["rows"][0]["command"], &seen["rows"][1]["p99_us"]), (&json!("KEYS"), &json!(2.0)));
        assert_eq!(seen["risky"][0]["calls"], 1);
        assert_eq!(seen["errors"][0], json!({"code": "NOAUTH", "count": 4}));
    }
}
