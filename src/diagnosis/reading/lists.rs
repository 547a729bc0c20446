//! Replies that are lists, and lines that are lists of pairs.

use serde_json::{Map, Value, json};

use super::{folded, pairs, typed};

/// A line of `CLIENT LIST`. Names and addresses stay text.
pub(super) fn client(line: &str) -> Option<Value> {
    let mut object = Map::new();
    for pair in line.trim().trim_start_matches("txt:").split(' ') {
        // A client's own name holds no space: Redis refuses such names.
        let Some((key, value)) = pair.split_once('=') else { continue };
        let key = folded(key);
        let text = matches!(
            key.as_str(),
            "addr" | "laddr" | "name" | "flags" | "events" | "cmd" | "user" | "lib_name" | "lib_ver" | "capa"
        );
        object.insert(key, if text { Value::from(value) } else { typed(value) });
    }
    (!object.is_empty()).then_some(Value::Object(object))
}

/// A list with a name for each place; what is missing is `null`.
pub(super) fn named(raw: Value, names: &[&str]) -> Value {
    let Value::Array(list) = raw else { return raw };
    let mut list = list.into_iter();
    Value::Object(names.iter().map(|name| ((*name).to_owned(), list.next().unwrap_or(Value::Null))).collect())
}

/// An entry of `SLOWLOG GET`.
pub(super) fn slow(raw: Value) -> Value {
    named(raw, &["id", "at", "micros", "argv", "client", "name"])
}

/// `ROLE`.
pub(super) fn role(raw: Value) -> Value {
    let Some(list) = raw.as_array() else { return raw };
    let at = |i: usize| list.get(i).cloned().unwrap_or(Value::Null);
    match list.first().and_then(Value::as_str) {
        Some("master") => {
            let replicas = at(2);
            let replicas: Vec<Value> = replicas
                .as_array()
                .into_iter()
                .flatten()
                .map(|replica| {
                    let mut replica = named(replica.clone(), &["ip", "port", "offset"]);
                    retype(&mut replica, &["port", "offset"]);
                    replica
                })
                .collect();
            json!({"role": "master", "offset": at(1), "replicas": replicas})
        }
        Some("slave") => json!({"role": "slave", "host": at(1), "port": at(2), "state": at(3), "offset": at(4)}),
        Some("sentinel") => json!({"role": "sentinel", "masters": at(1)}),
        _ => raw,
    }
}

fn retype(object: &mut Value, names: &[&str]) {
    for name in names {
        if let Some(value) = object.get_mut(*name)
            && let Some(text) = value.as_str()
        {
            *value = typed(text);
        }
    }
}

/// `TIME`.
pub(super) fn time(raw: Value) -> Value {
    let mut time = named(raw, &["seconds", "micros"]);
    retype(&mut time, &["seconds", "micros"]);
    time
}

/// `CLUSTER NODES`, a text, and `CLUSTER REPLICAS`, a list of the same lines.
pub(super) fn nodes(raw: Value) -> Value {
    match &raw {
        Value::String(text) => Value::Array(text.lines().filter_map(node).collect()),
        Value::Array(lines) => Value::Array(lines.iter().filter_map(Value::as_str).filter_map(node).collect()),
        _ => raw,
    }
}

fn node(line: &str) -> Option<Value> {
    let mut words = line.split_whitespace();
    let id = words.next()?;
    let place = words.next()?;
    let flags: Vec<&str> = words.next()?.split(',').collect();
    let primary = words.next().filter(|primary| *primary != "-");
    let (ping, pong, epoch, link) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let (address, hostname) = place.split_once(',').unwrap_or((place, ""));
    let address = address.split('@').next().unwrap_or(address);
    let (moving, slots): (Vec<&str>, Vec<&str>) = words.partition(|slot| slot.starts_with('['));
    Some(json!({
        "id": id,
        "address": address,
        "hostname": hostname.split(',').next().filter(|name| !name.is_empty()),
        "flags": flags,
        "myself": flags.contains(&"myself"),
        "role": if flags.contains(&"master") { "master" } else { "slave" },
        "failing": flags.iter().any(|flag| flag.starts_with("fail")),
        "primary": primary,
        "ping_sent": typed(ping),
        "pong_received": typed(pong),
        "epoch": typed(epoch),
        "link": link,
        "slots": slots,
        "slot_count": slots.iter().map(|range| span(range)).sum::<i64>(),
        "moving": moving,
    }))
}

/// How many slots `0-5460` or `7` names.
fn span(range: &str) -> i64 {
    let number = |text: &str| text.parse::<i64>().ok().filter(|n| (0..16_384).contains(n));
    match range.split_once('-') {
        Some((from, to)) => match (number(from), number(to)) {
            (Some(from), Some(to)) if to >= from => to - from + 1,
            _ => 0,
        },
        None => i64::from(number(range).is_some()),
    }
}

/// An entry of `CLUSTER SHARDS`.
pub(super) fn shard(raw: Value) -> Value {
    let mut shard = pairs(raw, folded);
    if let Some(nodes) = shard.get_mut("nodes").and_then(Value::as_array_mut) {
        for node in nodes {
            *node = pairs(node.take(), folded);
        }
    }
    if let Some(slots) = shard.get_mut("slots")
        && let Some(flat) = slots.as_array()
    {
        let ranges: Vec<Value> = flat.chunks(2).map(|range| json!(range)).collect();
        *slots = Value::Array(ranges);
    }
    shard
}

/// An entry of `CLUSTER SLOTS`.
pub(super) fn slot_range(raw: Value) -> Value {
    let Some(list) = raw.as_array() else { return raw };
    let nodes: Vec<Value> = list.iter().skip(2).map(|node| named(node.clone(), &["host", "port", "id"])).collect();
    json!({"from": list.first(), "to": list.get(1), "nodes": nodes})
}

/// An entry of `COMMAND INFO`; `null` for a command the server does not know.
pub(super) fn command(raw: Value) -> Value {
    let Some(list) = raw.as_array() else { return raw };
    json!({
        "name": list.first(),
        "arity": list.get(1),
        "flags": list.get(2),
        "first_key": list.get(3),
        "categories": list.get(6),
        "subcommands": list.get(9).and_then(Value::as_array).map(|subs| subs.iter().cloned().map(command).collect::<Vec<_>>()),
    })
}

/// A page of the SCAN family; with names, its items are pairs.
pub(super) fn page(raw: Value, pair: Option<(&str, &str)>) -> Value {
    let Some([cursor, items]) = raw.as_array().map(Vec::as_slice) else { return raw };
    let items = match (pair, items) {
        (Some((first, second)), Value::Array(flat)) => {
            Value::Array(flat.chunks(2).map(|two| json!({first: two.first(), second: two.get(1)})).collect())
        }
        (Some((first, second)), Value::Object(map)) => {
            Value::Array(map.iter().map(|(key, value)| json!({first: key, second: value})).collect())
        }
        _ => items.clone(),
    };
    json!({"cursor": cursor, "items": items})
}

/// Members with their scores: pairs in RESP3, one flat list before.
pub(super) fn scored(raw: Value) -> Value {
    let Some(list) = raw.as_array() else { return raw };
    let pair = |two: &[Value]| json!({"member": two.first(), "score": two.get(1)});
    let pairs = match list.first() {
        Some(Value::Array(_)) => list.iter().filter_map(Value::as_array).map(|two| pair(two)).collect(),
        _ => list.chunks(2).map(pair).collect(),
    };
    Value::Array(pairs)
}

/// An entry of a stream.
pub(super) fn entry(raw: Value) -> Value {
    let Some([id, fields]) = raw.as_array().map(Vec::as_slice) else { return raw };
    let fields = match fields {
        Value::Array(flat) => {
            let pairs = flat.chunks(2).filter_map(|two| Some((two.first()?.as_str()?.to_owned(), two.get(1)?.clone())));
            Value::Object(pairs.collect())
        }
        other => other.clone(),
    };
    json!({"id": id, "fields": fields})
}

#[cfg(test)]
mod tests {
    use super::super::read;
    use serde_json::json;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn a_client_line_becomes_an_object_whose_names_can_be_said() {
        let line = "id=3 addr=127.0.0.1:5 laddr=127.0.0.1:6379 fd=8 name=api age=9 idle=2 flags=N db=0 qbuf-free=20 omem=0 tot-mem=22298 cmd=client|list user=default redir=-1 resp=2\n";
        let list = read(&words("CLIENT LIST"), json!(line));
        assert_eq!(list[0]["tot_mem"], 22298);
        assert_eq!(list[0]["cmd"], "client|list");
        assert_eq!(list[0]["name"], "api");
        assert_eq!(list.as_array().unwrap().len(), 1);
    }

    #[test]
    fn slow_entries_of_old_servers_have_no_client() {
        let list = read(&words("SLOWLOG GET 1"), json!([[14, 1309448221, 15, ["PING"]]]));
        assert_eq!(
            list[0],
            json!({"id": 14, "at": 1309448221, "micros": 15, "argv": ["PING"], "client": null, "name": null})
        );
    }

    #[test]
    fn roles_are_told_apart() {
        let primary = read(&words("ROLE"), json!(["master", 99, [["10.0.0.2", "6380", "98"]]]));
        assert_eq!(primary["replicas"][0], json!({"ip": "10.0.0.2", "port": 6380, "offset": 98}));
        let replica = read(&words("ROLE"), json!(["slave", "10.0.0.1", 6379, "connected", 98]));
        assert_eq!(replica["state"], "connected");
    }

    #[test]
    fn cluster_nodes_count_their_slots() {
        let text = "07c3 127.0.0.1:30004@31004,host4 slave e7d1 0 1426238317239 4 connected\n67ed 127.0.0.1:30002@31002,host2 myself,master - 0 1426238316232 2 connected 5461-10922 77 [93-<-292f]\n";
        let nodes = read(&words("CLUSTER NODES"), json!(text));
        assert_eq!(nodes[0]["primary"], "e7d1");
        assert_eq!(nodes[1]["slot_count"], 5463);
        assert_eq!(nodes[1]["address"], "127.0.0.1:30002");
        assert_eq!(nodes[1]["moving"], json!(["[93-<-292f]"]));
    }

    #[test]
    fn a_page_of_a_hash_holds_fields_and_values() {
        let page = read(&words("HSCAN k 0"), json!(["17", ["a", "1", "b", "2"]]));
        assert_eq!(
            page,
            json!({"cursor": "17", "items": [{"field": "a", "value": "1"}, {"field": "b", "value": "2"}]})
        );
    }
}
