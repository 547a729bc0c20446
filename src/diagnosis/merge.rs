//! The answers of several servers as one.
//!
//! How each field of INFO joins is a reviewed table; what the table does not
//! know is kept only where all agree, so that a number is never invented.
//! Lists are joined and each element says which server it came from.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Node, Role};
use crate::model::Address;

/// How a field of several servers becomes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Join {
    Sum,
    Max,
    Min,
    /// Summed; unlimited (0) as soon as one is.
    Limit,
    /// A flag or a status: `err` beats `ok`, so one failing server shows.
    Worst,
}

use Join::{Limit, Max, Min, Sum, Worst};

/// In order of name.
#[rustfmt::skip]
const FIELDS: &[(&str, Join)] = &[
    ("acl_access_denied_auth", Sum), ("acl_access_denied_cmd", Sum), ("acl_access_denied_key", Sum),
    ("allocator_active", Sum), ("allocator_allocated", Sum), ("allocator_frag_bytes", Sum), ("allocator_resident", Sum),
    ("aof_base_size", Sum), ("aof_current_size", Sum), ("aof_delayed_fsync", Sum), ("aof_enabled", Min),
    ("aof_last_bgrewrite_status", Worst), ("aof_last_write_status", Worst), ("aof_rewrite_in_progress", Max),
    ("async_loading", Max), ("blocked_clients", Sum), ("clients_in_timeout_table", Sum), ("connected_clients", Sum),
    ("connected_slaves", Sum), ("current_eviction_exceeded_time", Max), ("current_fork_perc", Max), ("evicted_clients", Sum), ("evicted_keys", Sum),
    ("expired_keys", Sum), ("expired_stale_perc", Max), ("instantaneous_input_kbps", Sum), ("instantaneous_ops_per_sec", Sum),
    ("instantaneous_output_kbps", Sum), ("keyspace_hits", Sum), ("keyspace_misses", Sum), ("latest_fork_usec", Max),
    ("lazyfree_pending_objects", Sum), ("loading", Max), ("master_last_io_seconds_ago", Max), ("master_link_status", Worst),
    ("maxclients", Sum), ("maxmemory", Limit), ("mem_aof_buffer", Sum), ("mem_clients_normal", Sum), ("mem_clients_slaves", Sum),
    ("mem_not_counted_for_evict", Sum), ("mem_replication_backlog", Sum), ("min_slaves_good_slaves", Min), ("number_of_cached_scripts", Max), ("pubsub_channels", Sum),
    ("pubsub_patterns", Sum), ("pubsubclients", Sum), ("rdb_bgsave_in_progress", Max), ("rdb_changes_since_last_save", Sum), ("rdb_last_bgsave_status", Worst),
    ("rdb_last_bgsave_time_sec", Max), ("rdb_last_save_time", Min), ("rdb_saves", Min), ("rejected_connections", Sum), ("repl_backlog_size", Sum), ("sync_full", Sum),
    ("sync_partial_err", Sum), ("sync_partial_ok", Sum), ("total_commands_processed", Sum), ("total_connections_received", Sum),
    ("total_error_replies", Sum), ("total_eviction_exceeded_time", Sum), ("total_forks", Sum), ("total_net_input_bytes", Sum), ("total_net_output_bytes", Sum),
    ("tracking_clients", Sum), ("unexpected_error_replies", Sum), ("uptime_in_days", Min), ("uptime_in_seconds", Min),
    ("used_cpu_sys", Sum), ("used_cpu_sys_children", Sum), ("used_cpu_user", Sum), ("used_cpu_user_children", Sum), ("used_memory", Sum),
    ("used_memory_dataset", Sum), ("used_memory_lua", Sum), ("used_memory_overhead", Sum), ("used_memory_peak", Sum),
    ("used_memory_rss", Sum), ("used_memory_scripts", Sum), ("used_memory_startup", Sum),
];

/// One answer of all. One part is itself. Parts of replicas are left out of
/// INFO when a primary answered too, because their data is the same data.
pub fn merge(argv: &[String], parts: &[(Node, Value)]) -> Value {
    let word = |at: usize| argv.get(at).map(|word| word.to_ascii_lowercase()).unwrap_or_default();
    if let [(_, only)] = parts {
        return only.clone();
    }
    let primaries: Vec<&(Node, Value)> = parts.iter().filter(|(node, _)| node.role == Some(Role::Primary)).collect();
    let counted: Vec<&(Node, Value)> = if primaries.is_empty() { parts.iter().collect() } else { primaries };
    match (word(0).as_str(), word(1).as_str()) {
        ("info", _) => merge_info(&counted, parts),
        ("cluster", "info") => counted.first().map_or(Value::Null, |(_, value)| value.clone()),
        ("dbsize" | "lastsave", _) => {
            let numbers = counted.iter().filter_map(|(_, value)| value.as_i64());
            if word(0) == "dbsize" { json!(numbers.sum::<i64>()) } else { json!(numbers.min()) }
        }
        ("config", "get") => agreed(parts),
        _ => merge_any(parts),
    }
}

fn merge_info(counted: &[&(Node, Value)], parts: &[(Node, Value)]) -> Value {
    let objects: Vec<&Map<String, Value>> = counted.iter().filter_map(|(_, value)| value.as_object()).collect();
    let mut merged = Map::new();
    let Some(first) = objects.first() else { return Value::Object(merged) };
    for (name, value) in *first {
        let all: Vec<&Value> = objects.iter().filter_map(|object| object.get(name)).collect();
        let joined = match name.as_str() {
            "keyspace" | "commandstats" | "latencystats" | "errorstats" => continue,
            "replicas" | "modules" | "masters" => {
                Some(Value::Array(all.iter().filter_map(|v| v.as_array()).flatten().cloned().collect()))
            }
            "total_system_memory" => Some(host_memory(counted)),
            _ => match FIELDS.binary_search_by(|(field, _)| (*field).cmp(name.as_str())) {
                Ok(at) => Some(join(FIELDS[at].1, &all)),
                Err(_) => all.iter().all(|other| *other == value).then(|| value.clone()),
            },
        };
        if let Some(joined) = joined {
            merged.insert(name.clone(), joined);
        }
    }
    for group in ["keyspace", "commandstats", "latencystats", "errorstats"] {
        let joined = merge_group(group, &objects);
        if !joined.is_empty() {
            merged.insert(group.to_owned(), Value::Object(joined));
        }
    }
    recompute(&mut merged);
    merged.insert("nodes".into(), json!(parts.len()));
    merged.insert("shards".into(), Value::Array(counted.iter().map(|(node, value)| shard(node, value)).collect()));
    Value::Object(merged)
}

/// The memory of all hosts; servers that share one share its memory.
fn host_memory(counted: &[&(Node, Value)]) -> Value {
    let mut hosts: BTreeMap<Option<&str>, u64> = BTreeMap::new();
    for (node, value) in counted {
        let host = match &node.address {
            Address::Tcp { host, .. } => Some(host.as_str()),
            Address::Unix(_) => None,
        };
        let told = hosts.entry(host).or_default();
        *told = (*told).max(value["total_system_memory"].as_u64().unwrap_or(0));
    }
    json!(hosts.values().sum::<u64>())
}

/// What stands out per server: the fullest one decides when a cluster is full.
fn shard(node: &Node, value: &Value) -> Value {
    let keys: i64 = value["keyspace"].as_object().into_iter().flatten().filter_map(|(_, db)| db["keys"].as_i64()).sum();
    let mut shard = json!({"node": node.address.to_string(), "keys": keys});
    for field in [
        "role",
        "used_memory",
        "maxmemory",
        "connected_clients",
        "instantaneous_ops_per_sec",
        "evicted_keys",
        "redis_version",
    ] {
        if let Some(found) = value.get(field) {
            shard[field] = found.clone();
        }
    }
    shard
}

fn join(how: Join, all: &[&Value]) -> Value {
    let numbers: Vec<f64> = all.iter().filter_map(|value| value.as_f64()).collect();
    let whole = all.iter().all(|value| value.is_i64() || value.is_u64());
    let number = |n: f64| if whole { json!(n as i64) } else { json!((n * 1e6).round() / 1e6) };
    match how {
        Sum => number(numbers.iter().sum()),
        Limit if numbers.contains(&0.0) => json!(0),
        Limit => number(numbers.iter().sum()),
        Max => number(numbers.iter().copied().fold(f64::MIN, f64::max)),
        Min => number(numbers.iter().copied().fold(f64::MAX, f64::min)),
        Worst => {
            let bad = all.iter().find(|value| !matches!(value.as_str(), Some("ok" | "up")));
            (*bad.unwrap_or(&all[0])).clone()
        }
    }
}

/// Keyspace, commandstats, latencystats and errorstats: by name, then by field.
fn merge_group(group: &str, objects: &[&Map<String, Value>]) -> Map<String, Value> {
    let mut joined: Map<String, Value> = Map::new();
    for entries in objects.iter().filter_map(|object| object.get(group)).filter_map(Value::as_object) {
        for (name, fields) in entries {
            let Some(fields) = fields.as_object() else { continue };
            let Some(into) = joined.entry(name.clone()).or_insert_with(|| json!({})).as_object_mut() else { continue };
            // An average is weighted by what it is an average of.
            let expires = |object: &Map<String, Value>| object.get("expires").and_then(Value::as_f64).unwrap_or(0.0);
            let (before, here) = (expires(into), expires(fields));
            for (field, value) in fields {
                let (old, new) = (into.get(field).and_then(Value::as_f64), value.as_f64());
                let (Some(old), Some(new)) = (old, new) else {
                    into.insert(field.clone(), value.clone());
                    continue;
                };
                let both = match (group, field.as_str()) {
                    ("latencystats", _) => json!(old.max(new)),
                    (_, "avg_ttl") if before + here > 0.0 => {
                        json!(((old * before + new * here) / (before + here)) as i64)
                    }
                    _ if value.is_f64() => json!(old + new),
                    _ => json!((old + new) as i64),
                };
                into.insert(field.clone(), both);
            }
            if let (Some(calls), Some(micros)) =
                (into.get("calls").and_then(Value::as_f64), into.get("usec").and_then(Value::as_f64))
                && calls > 0.0
            {
                into.insert("usec_per_call".into(), json!((micros / calls * 100.0).round() / 100.0));
            }
        }
    }
    joined
}

/// Ratios of sums, not sums of ratios.
fn recompute(info: &mut Map<String, Value>) {
    let number = |info: &Map<String, Value>, name: &str| info.get(name).and_then(Value::as_f64);
    if let (Some(rss), Some(used)) = (number(info, "used_memory_rss"), number(info, "used_memory"))
        && used > 0.0
    {
        info.insert("mem_fragmentation_ratio".into(), json!((rss / used * 100.0).round() / 100.0));
    }
    if let (Some(used), Some(peak)) = (number(info, "used_memory"), number(info, "used_memory_peak"))
        && peak > 0.0
    {
        info.insert("used_memory_peak_perc".into(), json!((used / peak * 10_000.0).round() / 100.0));
    }
}

/// Settings: what all agree on; where they differ, each distinct value by server.
fn agreed(parts: &[(Node, Value)]) -> Value {
    let mut merged = Map::new();
    let mut differs = Map::new();
    let objects: Vec<(&Node, &Map<String, Value>)> =
        parts.iter().filter_map(|(node, value)| Some((node, value.as_object()?))).collect();
    let Some((_, first)) = objects.first() else { return Value::Object(merged) };
    for (name, value) in *first {
        if objects.iter().all(|(_, object)| object.get(name) == Some(value)) {
            merged.insert(name.clone(), value.clone());
        } else {
            merged.insert(name.clone(), value.clone());
            let each = objects
                .iter()
                .map(|(node, object)| (node.address.to_string(), object.get(name).cloned().unwrap_or(Value::Null)));
            differs.insert(name.clone(), Value::Object(each.collect()));
        }
    }
    if !differs.is_empty() {
        merged.insert("differs".into(), Value::Object(differs));
    }
    Value::Object(merged)
}

/// Lists are joined, each object told its server; what is the same is said once; the rest by server.
fn merge_any(parts: &[(Node, Value)]) -> Value {
    let Some((_, first)) = parts.first() else { return Value::Null };
    if parts.iter().all(|(_, value)| value.is_array()) {
        let all = parts.iter().flat_map(|(node, value)| {
            value.as_array().into_iter().flatten().map(move |element| {
                let mut element = element.clone();
                if let Value::Object(object) = &mut element {
                    object.insert("node".into(), json!(node.address.to_string()));
                }
                element
            })
        });
        return Value::Array(all.collect());
    }
    if parts.iter().all(|(_, value)| value == first) {
        return first.clone();
    }
    if parts.iter().all(|(_, value)| value.is_number()) {
        return join(Sum, &parts.iter().map(|(_, value)| value).collect::<Vec<_>>());
    }
    Value::Object(parts.iter().map(|(node, value)| (node.address.to_string(), value.clone())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(port: u16, role: Role) -> Node {
        Node { address: Address::Tcp { host: "10.0.0.1".into(), port }, role: Some(role) }
    }

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn the_field_table_is_sorted() {
        for pair in FIELDS.windows(2) {
            assert!(pair[0].0 < pair[1].0, "{} stands before {}", pair[0].0, pair[1].0);
        }
    }

    #[test]
    fn shards_add_up_and_the_worst_status_shows() {
        let info = |used: i64, max: i64, status: &str, keys: i64| {
            json!({"used_memory": used, "used_memory_rss": used * 2, "maxmemory": max, "uptime_in_seconds": used, "rdb_last_bgsave_status": status,
                "redis_version": "7.0.15", "run_id": format!("r{used}"),
                "keyspace": {"db0": {"keys": keys, "expires": keys, "avg_ttl": keys * 10}},
                "commandstats": {"get": {"calls": 10, "usec": used, "usec_per_call": 1.0}}})
        };
        let parts = [
            (node(1, Role::Primary), info(100, 1000, "ok", 1)),
            (node(2, Role::Primary), info(300, 1000, "err", 3)),
            (node(3, Role::Replica), info(900, 1000, "ok", 9)),
        ];
        let merged = merge(&words("INFO"), &parts);
        assert_eq!(merged["used_memory"], 400);
        assert_eq!(merged["maxmemory"], 2000);
        assert_eq!(merged["uptime_in_seconds"], 100);
        assert_eq!(merged["rdb_last_bgsave_status"], "err");
        assert_eq!(merged["mem_fragmentation_ratio"], 2.0);
        assert_eq!(merged["redis_version"], "7.0.15");
        assert_eq!(merged.get("run_id"), None, "what differs is not invented");
        assert_eq!(merged["keyspace"]["db0"], json!({"keys": 4, "expires": 4, "avg_ttl": 25}));
        assert_eq!(merged["commandstats"]["get"]["usec_per_call"], 20.0);
        assert_eq!(merged["nodes"], 3);
        assert_eq!(merged["shards"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn one_unlimited_shard_makes_the_whole_unlimited() {
        let parts =
            [(node(1, Role::Primary), json!({"maxmemory": 0})), (node(2, Role::Primary), json!({"maxmemory": 5}))];
        assert_eq!(merge(&words("INFO"), &parts)["maxmemory"], 0);
    }

    #[test]
    fn servers_on_one_host_share_its_memory() {
        let told = |host: &str, port: u16| {
            let address = Address::Tcp { host: host.into(), port };
            (Node { address, role: Some(Role::Primary) }, json!({"total_system_memory": 64}))
        };
        let parts = [told("10.0.0.1", 1), told("10.0.0.1", 2), told("10.0.0.2", 1)];
        assert_eq!(merge(&words("INFO"), &parts)["total_system_memory"], 128);
    }

    #[test]
    fn lists_are_joined_and_say_where_each_element_came_from() {
        let parts = [(node(1, Role::Primary), json!([{"id": 1}])), (node(2, Role::Primary), json!([{"id": 2}]))];
        assert_eq!(
            merge(&words("SLOWLOG GET"), &parts),
            json!([{"id": 1, "node": "10.0.0.1:1"}, {"id": 2, "node": "10.0.0.1:2"}])
        );
    }

    #[test]
    fn settings_that_differ_are_told_apart() {
        let parts = [
            (node(1, Role::Primary), json!({"save": "", "hz": 10})),
            (node(2, Role::Primary), json!({"save": "60 1", "hz": 10})),
        ];
        let merged = merge(&words("CONFIG GET *"), &parts);
        assert_eq!(merged["hz"], 10);
        assert_eq!(merged["differs"]["save"]["10.0.0.1:2"], "60 1");
    }
}
