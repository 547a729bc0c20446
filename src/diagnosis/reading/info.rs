//! `INFO` and its relatives: `name:value` lines.

use serde_json::{Map, Value, json};

use super::{folded, typed};

/// Names whose value is text, whatever it looks like.
const TEXTS: &[&str] = &[
    "redis_version",
    "valkey_version",
    "server_name",
    "redis_git_sha1",
    "redis_build_id",
    "redis_mode",
    "server_mode",
    "os",
    "arch_bits",
    "multiplexing_api",
    "gcc_version",
    "run_id",
    "executable",
    "config_file",
    "master_replid",
    "master_replid2",
    "master_host",
    "role",
    "maxmemory_policy",
    "mem_allocator",
    "availability_zone",
];

/// One object of all sections.
pub(super) fn read_info(text: &str) -> Value {
    let mut info = Map::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let Some((name, value)) = line.split_once(':') else { continue };
        place(&mut info, name, value);
    }
    Value::Object(info)
}

fn place(info: &mut Map<String, Value>, name: &str, value: &str) {
    let mut into = |group: &str, key: &str, value: Value| {
        let entry = info.entry(group).or_insert_with(|| json!({}));
        if let Value::Object(group) = entry {
            group.insert(key.to_owned(), value);
        }
    };
    if let Some(command) = name.strip_prefix("cmdstat_") {
        return into("commandstats", command, fields(value));
    }
    if let Some(command) = name.strip_prefix("latency_percentiles_usec_") {
        return into("latencystats", command, fields(value));
    }
    if let Some(code) = name.strip_prefix("errorstat_") {
        return into("errorstats", code, fields(value));
    }
    if numbered(name, "db") && value.contains("keys=") {
        return into("keyspace", name, fields(value));
    }
    // `db0_distrib_strings_sizes` and the like of `INFO keysizes` (Redis 8).
    if name.starts_with("db") && name.contains("_distrib_") {
        return into("keysizes", name, fields(value));
    }
    let list = match () {
        () if numbered(name, "slave") && value.contains('=') => Some("replicas"),
        () if numbered(name, "master") && value.contains("name=") => Some("masters"),
        () if name == "module" => Some("modules"),
        () => None,
    };
    if let Some(list) = list {
        if let Value::Array(entries) = info.entry(list).or_insert_with(|| json!([])) {
            entries.push(fields(value));
        }
        return;
    }
    let read = if TEXTS.contains(&name) {
        Value::from(value)
    } else if let Some(number) = value.strip_suffix('%') {
        typed(number)
    } else {
        typed(value)
    };
    info.insert(name.to_owned(), read);
}

/// `slave0`, `db15`: the prefix and a number.
fn numbered(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
}

/// `keys=5,expires=3` → an object. `p99.9` becomes `p99_9`.
fn fields(value: &str) -> Value {
    let pairs = value.split(',').filter_map(|pair| pair.split_once('='));
    Value::Object(
        pairs
            .map(|(key, value)| {
                let text = matches!(key, "ip" | "name" | "address");
                (folded(key), if text { Value::from(value) } else { typed(value) })
            })
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn info_becomes_typed_fields_with_nested_sections() {
        let text = "# Server\r\nredis_version:7.0.15\r\nredis_git_sha1:00000000\r\nuptime_in_seconds:93\r\n\r\n# Memory\r\nused_memory:1048576\r\nused_memory_peak_perc:95.50%\r\nmem_fragmentation_ratio:1.31\r\n# Replication\r\nrole:master\r\nslave0:ip=10.0.0.7,port=6380,state=online,offset=42,lag=1\r\n# Commandstats\r\ncmdstat_config|get:calls=2,usec=10,usec_per_call=5.00,rejected_calls=0,failed_calls=0\r\n# Latencystats\r\nlatency_percentiles_usec_get:p50=1.003,p99=2.007,p99.9=3.01\r\n# Errorstats\r\nerrorstat_NOAUTH:count=7\r\n# Keyspace\r\ndb0:keys=10,expires=4,avg_ttl=1000\r\n";
        let info = read_info(text);
        assert_eq!(info["redis_version"], "7.0.15");
        assert_eq!(info["redis_git_sha1"], "00000000");
        assert_eq!(info["uptime_in_seconds"], 93);
        assert_eq!(info["used_memory_peak_perc"], 95.5);
        assert_eq!(info["replicas"][0]["ip"], "10.0.0.7");
        assert_eq!(info["replicas"][0]["lag"], 1);
        assert_eq!(info["commandstats"]["config|get"]["usec_per_call"], 5.0);
        assert_eq!(info["latencystats"]["get"]["p99_9"], 3.01);
        assert_eq!(info["errorstats"]["NOAUTH"]["count"], 7);
        assert_eq!(info["keyspace"]["db0"], json!({"keys": 10, "expires": 4, "avg_ttl": 1000}));
    }
}
