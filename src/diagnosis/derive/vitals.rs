//! The figures most cards show, with their guards.

use serde_json::{Map, Value, json};

use super::{Inputs, count, number, round, text};

/// Fewer lookups than these tell nothing, and may be the bot's own.
const LOOKUPS: f64 = 100.0;

/// Figures from INFO. What cannot be told is absent, so that a card shows it as unknown:
///
/// - `memory_percent`: of maxmemory, of the fullest shard; absent when maxmemory is 0 (unlimited).
///   `memory_of_host_percent` stands in for it then.
/// - `clients_percent`: of maxclients. `hit_ratio`: since the server started; absent
///   while there were hardly any lookups.
/// - `keys`, `expires`, `no_ttl_share`; `flushes`: FLUSHALL and FLUSHDB since start.
/// - `replicas`, `replicas_online`, `replica_lag_s`, `replica_lag_bytes` of the worst.
/// - `save_age_s`, absent where `never_saved` since the server started; `fork_ms`; `persistent`: whether anything is written to disk.
/// - `dataset_percent`: of used memory; `program`: `Redis 7.0.15`.
/// - since the last look, where there was one and the server has run throughout:
///   `evicted_per_min`, `expired_per_s`, `rejected_new`.
pub(super) fn vitals(info: &Map<String, Value>, inputs: &Inputs) -> Value {
    let mut vitals = Map::new();
    let mut set = |name: &str, value: Option<f64>| {
        if let Some(value) = value.filter(|value| value.is_finite()) {
            vitals.insert(
                name.to_owned(),
                if value.fract() == 0.0 { json!(value as i64) } else { json!(round(value, 3)) },
            );
        }
    };
    let used = number(info, "used_memory");
    let limit = number(info, "maxmemory");
    set("memory_percent", fullest(info));
    if limit == Some(0.0) {
        let host = number(info, "total_system_memory").filter(|host| *host > 0.0);
        set("memory_of_host_percent", used.zip(host).map(|(used, host)| used / host * 100.0));
    }
    set("memory_left", used.zip(limit.filter(|limit| *limit > 0.0)).map(|(used, limit)| limit - used));
    let percent =
        |part: &str, whole: &str| Some(number(info, part)? / number(info, whole).filter(|whole| *whole > 0.0)? * 100.0);
    set("clients_percent", percent("connected_clients", "maxclients"));
    set("dataset_percent", percent("used_memory_dataset", "used_memory"));
    set("overhead_percent", percent("used_memory_overhead", "used_memory"));
    let (hits, misses) = (number(info, "keyspace_hits"), number(info, "keyspace_misses"));
    set(
        "hit_ratio",
        hits.zip(misses)
            .filter(|(hits, misses)| hits + misses >= LOOKUPS)
            .map(|(hits, misses)| hits / (hits + misses) * 100.0),
    );

    let (keys, expires) = keys(info);
    if info.contains_key("keyspace") || info.contains_key("redis_version") || info.contains_key("used_memory") {
        set("keys", Some(keys as f64));
        set("expires", Some(expires as f64));
        set("databases", Some(info.get("keyspace").and_then(Value::as_object).map_or(0, Map::len) as f64));
    }
    set("no_ttl_share", (keys > 0).then(|| (keys - expires) as f64 / keys as f64));
    set("flushes", info.get("commandstats").map(|stats| calls(stats, "flushall") + calls(stats, "flushdb")));

    let replicas: Vec<&Map<String, Value>> =
        info.get("replicas").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object).collect();
    if info.contains_key("role") || !replicas.is_empty() {
        set("replicas", Some(replicas.len() as f64));
        set(
            "replicas_online",
            Some(replicas.iter().filter(|replica| text(replica, "state") == "online").count() as f64),
        );
    }
    let worst = |name: &str| replicas.iter().filter_map(|replica| number(replica, name)).reduce(f64::max);
    if text(info, "role") == "slave" {
        set("replica_lag_s", number(info, "master_last_io_seconds_ago").filter(|seconds| *seconds >= 0.0));
        set(
            "replica_lag_bytes",
            number(info, "master_repl_offset")
                .zip(number(info, "slave_read_repl_offset"))
                .map(|(ours, read)| (read - ours).max(0.0)),
        );
    } else {
        set("replica_lag_s", worst("lag").filter(|lag| *lag >= 0.0));
        let offset = number(info, "master_repl_offset");
        let slowest = replicas.iter().filter_map(|replica| number(replica, "offset")).reduce(f64::min);
        set("replica_lag_bytes", offset.zip(slowest).map(|(offset, slowest)| (offset - slowest).max(0.0)));
    }
    let saved = number(info, "rdb_last_save_time").filter(|at| *at > 0.0);
    let now =
        number(info, "server_time_usec").map(|micros| (micros / 1e6).floor()).or(inputs.now().map(|now| now as f64));
    let unsaved = never_saved(info);
    let saved = saved.filter(|_| !unsaved);
    set("save_age_s", now.zip(saved).map(|(now, saved)| (now - saved).max(0.0)));
    set("fork_ms", number(info, "latest_fork_usec").map(|micros| micros / 1000.0));

    // Counters since the last look mean something only while the same server has counted throughout.
    let passed =
        inputs.now().zip(inputs.last_at()).map(|(now, last)| (now - last) as f64).filter(|passed| *passed >= 1.0);
    let uptime = number(info, "uptime_in_seconds").unwrap_or(0.0);
    if let Some(passed) = passed.filter(|passed| uptime >= *passed) {
        let grew = |field: &str, figure: &str| Some((number(info, field)? - inputs.last(figure)?).max(0.0));
        set("evicted_per_min", grew("evicted_keys", "evicted_total").map(|grew| grew / passed * 60.0));
        set("expired_per_s", grew("expired_keys", "expired_total").map(|grew| grew / passed));
        set("rejected_new", grew("rejected_connections", "rejected_total"));
        set("since_last_s", Some(passed));
    }
    let name = match (text(info, "server_name"), text(info, "valkey_version"), text(info, "dragonfly_version")) {
        (_, version, _) if !version.is_empty() => format!("Valkey {version}"),
        (_, _, version) if !version.is_empty() => format!("Dragonfly {version}"),
        _ => match text(info, "redis_version") {
            "" => String::new(),
            version => format!("Redis {version}"),
        },
    };
    if !name.is_empty() {
        vitals.insert("program".into(), name.into());
    }
    if info.contains_key("rdb_last_save_time") {
        vitals.insert("never_saved".into(), unsaved.into());
    }
    if info.contains_key("aof_enabled") {
        let aof = number(info, "aof_enabled") == Some(1.0);
        vitals.insert("aof".into(), aof.into());
    }
    vitals.insert(
        "role".into(),
        match text(info, "role") {
            "master" => "primary",
            "slave" => "replica",
            other => other,
        }
        .into(),
    );
    Value::Object(vitals)
}

/// Whether no snapshot was written since the server started: what it calls its last save then is its start.
pub fn never_saved(info: &Map<String, Value>) -> bool {
    if let Some(saves) = number(info, "rdb_saves") {
        return saves == 0.0;
    }
    // Before 7.0 nobody counts them, but how long the last one took in the background is told, or -1.
    if number(info, "rdb_last_bgsave_time_sec").is_some_and(|seconds| seconds >= 0.0) {
        return false;
    }
    // Of several servers' answers, their starts are not told one by one.
    let start = number(info, "server_time_usec").zip(number(info, "uptime_in_seconds"));
    let start = start.map(|(micros, uptime)| (micros / 1e6).floor() - uptime);
    let last = number(info, "rdb_last_save_time");
    !info.contains_key("nodes") && last.zip(start).is_some_and(|(last, start)| last <= start + 1.0)
}

/// Percent of maxmemory of the fullest shard.
fn fullest(info: &Map<String, Value>) -> Option<f64> {
    let percent = |object: &Map<String, Value>| {
        Some(number(object, "used_memory")? / number(object, "maxmemory").filter(|limit| *limit > 0.0)? * 100.0)
    };
    let shards = info.get("shards").and_then(Value::as_array);
    let worst = shards.into_iter().flatten().filter_map(Value::as_object).filter_map(percent).reduce(f64::max);
    worst.or_else(|| percent(info))
}

/// Keys, and keys with a TTL, of all databases.
pub(super) fn keys(info: &Map<String, Value>) -> (i64, i64) {
    let databases = info.get("keyspace").and_then(Value::as_object);
    databases
        .into_iter()
        .flatten()
        .filter_map(|(_, database)| database.as_object())
        .fold((0, 0), |(keys, expires), database| {
            (keys + count(database, "keys"), expires + count(database, "expires"))
        })
}

/// How often a command was called.
pub(super) fn calls(stats: &Value, command: &str) -> f64 {
    stats.get(command).and_then(|stat| stat.get("calls")).and_then(Value::as_f64).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::super::{
        derive,
        tests::{inputs, service},
    };
    use serde_json::{Map, Value, json};

    fn vitals(all: Value) -> Value {
        derive("vitals", &inputs(all), &service(), &Map::new()).unwrap()
    }

    #[test]
    fn an_unlimited_server_has_no_share_of_its_limit() {
        let seen = vitals(json!({"info": {"used_memory": 500, "maxmemory": 0, "total_system_memory": 1000}}));
        assert_eq!(seen.get("memory_percent"), None);
        assert_eq!(seen["memory_of_host_percent"], 50);
    }

    #[test]
    fn a_server_that_never_saved_has_no_last_save_though_it_tells_one() {
        let told = |saves: Option<u64>, last: u64| {
            let mut info = json!({
                "rdb_last_save_time": last, "server_time_usec": 1_000_000_000_u64, "uptime_in_seconds": 50
            });
            if let Some(saves) = saves {
                info["rdb_saves"] = json!(saves);
            }
            vitals(json!({"info": info}))
        };
        for never in [told(Some(0), 950), told(None, 950), told(None, 951)] {
            assert_eq!((&never["never_saved"], never.get("save_age_s")), (&json!(true), None));
        }
        for saved in [told(Some(1), 990), told(None, 990)] {
            assert_eq!((&saved["never_saved"], &saved["save_age_s"]), (&json!(false), &json!(10)));
        }
        // Saved in the second in which it started, and nobody counts.
        let at_once = vitals(json!({"info": {
            "rdb_last_save_time": 950, "server_time_usec": 1_000_000_000_u64, "uptime_in_seconds": 50,
            "rdb_last_bgsave_time_sec": 0
        }}));
        assert_eq!((&at_once["never_saved"], &at_once["save_age_s"]), (&json!(false), &json!(50)));
    }

    #[test]
    fn the_fullest_shard_speaks_for_the_cluster() {
        let shards = json!([{"used_memory": 10, "maxmemory": 100}, {"used_memory": 95, "maxmemory": 100}]);
        assert_eq!(
            vitals(json!({"info": {"used_memory": 105, "maxmemory": 200, "shards": shards}}))["memory_percent"],
            95
        );
    }

    #[test]
    fn rates_since_the_last_look_need_a_server_that_ran_throughout() {
        let info = |uptime: i64| json!({"evicted_keys": 160, "uptime_in_seconds": uptime});
        let last = json!({"at": 1000, "values": {"evicted_total": 100}});
        assert_eq!(vitals(json!({"info": info(9999), "_now": 1060, "_last": last}))["evicted_per_min"], 60);
        assert_eq!(vitals(json!({"info": info(30), "_now": 1060, "_last": last})).get("evicted_per_min"), None);
        assert_eq!(vitals(json!({"info": info(30), "_now": 1060})).get("evicted_per_min"), None);
    }

    #[test]
    fn a_replica_s_lag_is_told_from_both_ends() {
        let primary = json!({"role": "master", "master_repl_offset": 100, "replicas": [{"state": "online", "offset": 90, "lag": 3}, {"state": "wait_bgsave", "offset": 0, "lag": 0}]});
        let seen = vitals(json!({"info": primary}));
        assert_eq!(
            (&seen["replicas"], &seen["replicas_online"], &seen["replica_lag_s"]),
            (&json!(2), &json!(1), &json!(3))
        );
        let replica = json!({"role": "slave", "master_last_io_seconds_ago": 7});
        assert_eq!(vitals(json!({"info": replica}))["replica_lag_s"], 7);
    }
}
