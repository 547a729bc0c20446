//! What the profile declares against what the server says.

use serde_json::{Map, Value, json};

use super::{Inputs, missing};
use crate::{diagnosis::Explained, model::Service};

/// Names that a version renamed: old and new stand for each other.
const RENAMED: &[(&str, &str)] = &[
    ("hash-max-ziplist-entries", "hash-max-listpack-entries"),
    ("hash-max-ziplist-value", "hash-max-listpack-value"),
    ("list-max-ziplist-size", "list-max-listpack-size"),
    ("zset-max-ziplist-entries", "zset-max-listpack-entries"),
    ("zset-max-ziplist-value", "zset-max-listpack-value"),
    ("slave-serve-stale-data", "replica-serve-stale-data"),
    ("slave-read-only", "replica-read-only"),
    ("lua-time-limit", "busy-reply-threshold"),
    ("masterauth", "primaryauth"),
];

/// Settings that INFO tells too, for servers that keep CONFIG to themselves.
const IN_INFO: &[(&str, &str)] = &[
    ("maxmemory", "maxmemory"),
    ("maxmemory-policy", "maxmemory_policy"),
    ("maxclients", "maxclients"),
    ("port", "tcp_port"),
    ("version", "redis_version"),
    ("mode", "redis_mode"),
    ("role", "role"),
    ("hz", "configured_hz"),
    ("replicas", "connected_slaves"),
    ("repl-backlog-size", "repl_backlog_size"),
    ("cluster-enabled", "cluster_enabled"),
];

pub(super) fn drift(inputs: &Inputs, service: &Service) -> Result<Value, Explained> {
    let object = |name: &str| inputs.0.get(name).and_then(Value::as_object);
    let (config, info) = (object("config"), object("info"));
    if config.is_none() && info.is_none() {
        return Err(missing("config"));
    }
    let mut rows = Vec::new();
    let (mut same, mut differs, mut unseen) = (0, 0, 0);
    for (name, declared) in &service.declared {
        let actual = actual(name, config, info);
        let state = match &actual {
            None => {
                unseen += 1;
                "unseen"
            }
            Some(actual) if agrees(name, declared, actual) => {
                same += 1;
                "same"
            }
            Some(_) => {
                differs += 1;
                "differs"
            }
        };
        rows.push(json!({"name": name, "declared": declared, "actual": actual.map(|actual| shown(&actual, declared)), "state": state}));
    }
    let order = |row: &Value| match row["state"].as_str() {
        Some("differs") => 0,
        Some("unseen") => 1,
        _ => 2,
    };
    rows.sort_by_key(order);
    let spread = config.and_then(|config| config.get("differs")).cloned().unwrap_or(Value::Null);
    Ok(json!({
        "rows": rows, "same": same, "differs": differs, "unseen": unseen, "declared": service.declared.len(),
        "between_nodes": spread, "config_seen": config.is_some(),
    }))
}

/// What the server says of a setting: CONFIG first, then INFO.
fn actual(name: &str, config: Option<&Map<String, Value>>, info: Option<&Map<String, Value>>) -> Option<Value> {
    let in_config = |name: &str| config.and_then(|config| config.get(name)).cloned();
    let name = name.to_ascii_lowercase().replace('_', "-");
    if let Some(found) = in_config(&name) {
        return Some(found);
    }
    let renamed = RENAMED.iter().find_map(|(old, new)| match () {
        () if *old == name => in_config(new),
        () if *new == name => in_config(old),
        () => None,
    });
    if renamed.is_some() {
        return renamed;
    }
    if name == "appendonly" {
        let enabled = info?.get("aof_enabled")?.as_i64()?;
        return Some(Value::from(if enabled == 1 { "yes" } else { "no" }));
    }
    let field = IN_INFO.iter().find(|(setting, _)| *setting == name)?.1;
    info?.get(field).cloned()
}

/// Whether two ways of writing a setting mean the same.
fn agrees(name: &str, declared: &str, actual: &Value) -> bool {
    let declared = declared.trim();
    let actual_text = plain(actual);
    let (folded, actual_folded) = (fold(declared), fold(&actual_text));
    if folded == actual_folded {
        return true;
    }
    if let (Some(declared), Some(actual)) = (amount(declared), amount(&actual_text)) {
        return declared == actual;
    }
    // `7` or `7.0` declared agrees with 7.0.15.
    let version = matches!(name, "version" | "redis_version" | "redis-version");
    version && actual_folded.strip_prefix(&folded).is_some_and(|rest| rest.starts_with('.'))
}

/// Lower case, one space between words, `yes` for every way of saying so.
fn fold(text: &str) -> String {
    let folded = text.trim().trim_matches('"').to_ascii_lowercase().split_whitespace().collect::<Vec<_>>().join(" ");
    match folded.as_str() {
        "true" | "on" | "yes" | "enabled" => "yes".into(),
        "false" | "off" | "no" | "disabled" => "no".into(),
        "master" => "primary".into(),
        "slave" => "replica".into(),
        _ => folded,
    }
}

/// Bytes as people and Redis write them: `256mb`, `1Gi`, `268435456`. Redis's `k` is 1000, `kb` is 1024; Kubernetes's `Ki` too.
fn amount(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = lower[..digits].parse().ok()?;
    let unit: u64 = match lower[digits..].trim() {
        "" | "b" => 1,
        "k" => 1000,
        "kb" | "ki" | "kib" => 1 << 10,
        "m" => 1_000_000,
        "mb" | "mi" | "mib" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" | "gi" | "gib" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(unit)
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The actual value in the way the declared one is written: bytes beside `256mb` are shown as `256mb`-like.
fn shown(actual: &Value, declared: &str) -> String {
    let text = plain(actual);
    let with_unit = declared.trim().ends_with(|c: char| c.is_ascii_alphabetic()) && amount(declared).is_some();
    match amount(&text) {
        Some(0) if with_unit => "0 (unlimited)".into(),
        Some(amount) if with_unit => super::bytes(amount as f64),
        _ if text.is_empty() => "(empty)".into(),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        derive,
        tests::{inputs, service},
    };
    use super::*;

    #[test]
    fn what_means_the_same_agrees_however_it_is_written() {
        for (name, declared, actual) in [
            ("maxmemory", "256mb", json!(268435456)),
            ("maxmemory", "1Gi", json!("1073741824")),
            ("appendonly", "true", json!("yes")),
            ("version", "7", json!("7.0.15")),
            ("save", "900 1  300 10", json!("900 1 300 10")),
            ("role", "primary", json!("master")),
        ] {
            assert!(agrees(name, declared, &actual), "{name} {declared} {actual}");
        }
        assert!(!agrees("version", "7", &json!("71.0")));
        assert!(!agrees("maxmemory", "256mb", &json!(0)));
    }

    #[test]
    fn differences_come_first_and_what_cannot_be_seen_is_said() {
        let mut service = service();
        for (name, declared) in [
            ("maxmemory", "256mb"),
            ("maxmemory-policy", "allkeys-lru"),
            ("volume", "5Gi"),
            ("hash-max-ziplist-entries", "512"),
        ] {
            service.declared.insert(name.into(), declared.into());
        }
        let all = inputs(
            json!({"config": {"maxmemory": 0, "maxmemory-policy": "allkeys-lru", "hash-max-listpack-entries": 512}, "info": {}}),
        );
        let seen = derive("drift", &all, &service, &Map::new()).unwrap();
        let rows: Vec<_> = seen["rows"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| format!("{} {} {}", row["name"], row["state"], row["actual"]))
            .collect();
        assert_eq!(
            rows,
            [
                r#""maxmemory" "differs" "0 (unlimited)""#,
                r#""volume" "unseen" null"#,
                r#""hash-max-ziplist-entries" "same" "512""#,
                r#""maxmemory-policy" "same" "allkeys-lru""#,
            ]
        );
    }

    #[test]
    fn info_stands_in_where_config_is_denied() {
        let mut service = service();
        service.declared.insert("maxmemory".into(), "100mb".into());
        service.declared.insert("appendonly".into(), "yes".into());
        let all = inputs(json!({"info": {"maxmemory": 104857600, "aof_enabled": 0}}));
        let seen = derive("drift", &all, &service, &Map::new()).unwrap();
        assert_eq!((&seen["same"], &seen["differs"], &seen["config_seen"]), (&json!(1), &json!(1), &json!(false)));
    }
}
