//! What an answer says: Redis's replies as objects with names and types.
//!
//! Names keep Redis's own words, with `_` in place of `-` and `.` so that
//! conditions can say them (`row.tot_mem`). CONFIG parameters keep their names
//! as they are, because people type them.
//!
//! | asked | read as |
//! |---|---|
//! | `INFO …` | one object: fields typed; `keyspace.db0.keys`, `commandstats.get.calls`, `latencystats.get.p99`, `errorstats.NOAUTH.count`, `replicas[]`, `modules[]`, `masters[]` |
//! | `CONFIG GET` | object, whole numbers as numbers |
//! | `CLIENT LIST`, `CLIENT INFO` | list of objects; one object |
//! | `SLOWLOG GET` | list of `{id, at, micros, argv, client, name}` |
//! | `ROLE` | `{role, offset, replicas}` · `{role, host, port, state, offset}` · `{role, masters}` |
//! | `LATENCY LATEST` · `HISTORY` · `HISTOGRAM` | list of `{event, at, latest_ms, max_ms}` · `{at, ms}` · object by command |
//! | `MEMORY STATS`, `ACL GETUSER`, `XINFO STREAM`, `SENTINEL MASTER` … | object |
//! | `ACL LOG`, `XINFO GROUPS`, `MODULE LIST`, `SENTINEL MASTERS` … | list of objects |
//! | `CLUSTER INFO` · `NODES` · `SHARDS` · `SLOTS` | object · list of nodes · list of `{slots, nodes}` · list of `{from, to, nodes}` |
//! | `COMMAND`, `COMMAND INFO` | list of `{name, arity, flags, categories}` (`null` where unknown) |
//! | `SCAN` · `SSCAN` · `HSCAN` · `ZSCAN` | `{cursor, items}` |
//! | `ZRANGE … WITHSCORES` | list of `{member, score}` |
//! | `XRANGE` … | list of `{id, fields}` |
//! | `TIME` | `{seconds, micros}` |
//! | anything else | as it came |

mod info;
mod lists;

use serde_json::{Map, Value, json};

/// Reads a reply (RESP as JSON: maps may be objects or flat lists of pairs).
pub fn read(argv: &[String], raw: Value) -> Value {
    let word = |at: usize| argv.get(at).map(|word| word.to_ascii_lowercase()).unwrap_or_default();
    let (name, sub) = (word(0), word(1));
    match (name.as_str(), sub.as_str()) {
        ("info", _) => text(raw, info::read_info),
        ("cluster", "info") => text(raw, info::read_info),
        ("sentinel", "info-cache") => raw,
        ("config", "get") => pairs(raw, |key| key.to_owned()),
        ("client", "list") => text(raw, |list| Value::Array(list.lines().filter_map(lists::client).collect())),
        ("client", "info") => text(raw, |line| lists::client(line).unwrap_or(Value::Null)),
        ("slowlog" | "commandlog", "get") => each(raw, lists::slow),
        ("role", _) => lists::role(raw),
        ("time", _) => lists::time(raw),
        ("latency", "latest") => each(raw, |entry| lists::named(entry, &["event", "at", "latest_ms", "max_ms"])),
        ("latency", "history") => each(raw, |entry| lists::named(entry, &["at", "ms"])),
        ("latency", "histogram") => {
            let map = pairs(raw, |key| key.to_owned());
            values(map, |histogram| values(pairs(histogram, folded), |inner| pairs(inner, |key| key.to_owned())))
        }
        ("memory", "stats") => nested(raw),
        ("acl", "log") => each(raw, |entry| {
            let mut entry = pairs(entry, folded);
            if let Some(client) = entry.get_mut("client_info")
                && let Some(read) = client.as_str().and_then(lists::client)
            {
                *client = read;
            }
            entry
        }),
        ("acl", "getuser") | ("function", "stats") | ("pubsub", "numsub" | "shardnumsub") => pairs(raw, folded),
        ("xinfo", "stream") => nested(raw),
        ("xinfo", _) | ("module", "list") | ("function", "list") | ("cluster", "links") => {
            each(raw, |e| pairs(e, folded))
        }
        ("sentinel", "masters" | "replicas" | "slaves" | "sentinels") => each(raw, |entry| pairs(entry, folded)),
        ("sentinel", "master") => pairs(raw, folded),
        ("sentinel", "get-master-addr-by-name") => lists::named(raw, &["host", "port"]),
        ("cluster", "nodes" | "replicas" | "slaves") => lists::nodes(raw),
        ("cluster", "shards") => each(raw, lists::shard),
        ("cluster", "slots") => each(raw, lists::slot_range),
        ("command", "" | "info") => each(raw, lists::command),
        ("command", "docs") => pairs(raw, |key| key.to_owned()),
        ("scan" | "sscan", _) => lists::page(raw, None),
        ("hscan", _) => lists::page(raw, Some(("field", "value"))),
        ("zscan", _) => lists::page(raw, Some(("member", "score"))),
        ("zrange" | "zrevrange" | "zrangebyscore" | "zrevrangebyscore", _)
            if argv.iter().any(|word| word.eq_ignore_ascii_case("withscores")) =>
        {
            lists::scored(raw)
        }
        ("xrange" | "xrevrange", _) => each(raw, lists::entry),
        _ => raw,
    }
}

/// `-` and `.` become `_`: `tot-mem` → `tot_mem`, `peak.allocated` → `peak_allocated`.
fn folded(key: &str) -> String {
    key.replace(['-', '.'], "_")
}

/// A number where the text is one and nothing but one; else the text.
fn typed(text: &str) -> Value {
    let numeric = text.len() <= 24 && text.bytes().all(|b| b.is_ascii_digit() || b"+-.e".contains(&b));
    if !numeric || text.is_empty() {
        return Value::from(text);
    }
    if let Ok(whole) = text.parse::<i64>() {
        // `00000000` is a name, not a number.
        return if text.len() > 1 && text.starts_with('0') { Value::from(text) } else { Value::from(whole) };
    }
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && !text.contains('e') => json!(number),
        _ => Value::from(text),
    }
}

fn text(raw: Value, read: impl Fn(&str) -> Value) -> Value {
    match raw.as_str() {
        Some(text) => read(text),
        None => raw,
    }
}

fn each(raw: Value, read: impl Fn(Value) -> Value) -> Value {
    match raw {
        Value::Array(entries) => Value::Array(entries.into_iter().map(read).collect()),
        other => other,
    }
}

fn values(raw: Value, read: impl Fn(Value) -> Value) -> Value {
    match raw {
        Value::Object(map) => Value::Object(map.into_iter().map(|(key, value)| (key, read(value))).collect()),
        other => other,
    }
}

/// A map, or a flat list of pairs, as an object; texts that are numbers become numbers.
fn pairs(raw: Value, name: impl Fn(&str) -> String) -> Value {
    let retyped = |value: Value| match value {
        Value::String(text) => typed(&text),
        other => other,
    };
    match raw {
        Value::Object(map) => Value::Object(map.into_iter().map(|(key, value)| (name(&key), retyped(value))).collect()),
        Value::Array(list) if list.len().is_multiple_of(2) && list.iter().step_by(2).all(Value::is_string) => {
            let mut object = Map::new();
            let mut list = list.into_iter();
            while let (Some(key), Some(value)) = (list.next(), list.next()) {
                object.insert(name(key.as_str().unwrap_or_default()), retyped(value));
            }
            Value::Object(object)
        }
        other => other,
    }
}

/// [`pairs`], and maps inside maps too.
fn nested(raw: Value) -> Value {
    values(pairs(raw, folded), |inner| match inner {
        Value::Array(ref list) if list.len() >= 2 && list.iter().step_by(2).all(Value::is_string) => {
            pairs(inner, folded)
        }
        Value::Object(_) => pairs(inner, folded),
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn pairs_read_the_same_from_both_protocols() {
        let flat = json!(["maxmemory", "104857600", "save", "60 1000", "requirepass", ""]);
        let map = json!({"maxmemory": "104857600", "save": "60 1000", "requirepass": ""});
        let read_flat = read(&words("CONFIG GET *"), flat);
        assert_eq!(read_flat, json!({"maxmemory": 104857600, "save": "60 1000", "requirepass": ""}));
        assert_eq!(read_flat, read(&words("config get *"), map));
    }

    #[test]
    fn memory_stats_names_can_be_said_in_a_condition() {
        let raw = json!(["peak.allocated", 5, "db.0", ["overhead.hashtable.main", 72], "fragmentation", "1.5"]);
        assert_eq!(
            read(&words("MEMORY STATS"), raw),
            json!({"peak_allocated": 5, "db_0": {"overhead_hashtable_main": 72}, "fragmentation": 1.5})
        );
    }

    #[test]
    fn text_that_only_looks_like_a_number_stays_text() {
        assert_eq!(typed("00000000"), json!("00000000"));
        assert_eq!(typed("1e10"), json!("1e10"));
        assert_eq!(typed("7.0.15"), json!("7.0.15"));
        assert_eq!(typed("-1"), json!(-1));
        assert_eq!(typed("0"), json!(0));
        assert_eq!(typed("0.00"), json!(0.0));
    }

    proptest::proptest! {
        #[test]
        fn reading_never_panics_whatever_the_server_says(line in "[ -~\n]{0,200}", at in 0usize..20) {
            let asked = ["INFO", "CLIENT LIST", "CLIENT INFO", "CONFIG GET x", "SLOWLOG GET", "ROLE", "TIME", "LATENCY LATEST",
                "LATENCY HISTOGRAM", "MEMORY STATS", "ACL LOG", "XINFO STREAM k", "CLUSTER NODES", "CLUSTER SHARDS", "CLUSTER SLOTS",
                "COMMAND", "SCAN 0", "HSCAN k 0", "XRANGE k - +", "SENTINEL MASTERS"][at];
            read(&words(asked), json!(line));
            read(&words(asked), json!([line, [line, 1, [line]], {"a": line}, null]));
            read(&words(asked), json!([[line], [[line, line]], 3]));
        }
    }
}
