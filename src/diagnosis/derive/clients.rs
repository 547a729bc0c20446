//! Who is connected, and who was turned away.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{count, text};

/// How many rows of each table are kept.
const MOST: usize = 50;

#[derive(Default)]
struct Group {
    clients: i64,
    blocked: i64,
    idle_max: i64,
    output: i64,
    memory: i64,
    addresses: BTreeMap<String, i64>,
    commands: BTreeMap<String, i64>,
}

/// Groups `CLIENT LIST`. With `args.blocked` only the blocked ones are counted in the groups.
pub(super) fn groups(clients: &[Value], args: &Map<String, Value>) -> Value {
    let only_blocked = args.get("blocked").and_then(Value::as_bool).unwrap_or(false);
    let clients: Vec<&Map<String, Value>> = clients.iter().filter_map(Value::as_object).collect();
    let flagged = |client: &Map<String, Value>, flag: char| text(client, "flags").contains(flag);
    // `b` is waiting in a blocking command; `x` in a transaction; `P` subscribed; `S`, `M` replication.
    let blocked = |client: &Map<String, Value>| flagged(client, 'b');
    let chosen: Vec<&&Map<String, Value>> = clients.iter().filter(|client| !only_blocked || blocked(client)).collect();

    let (mut by_name, mut by_address, mut by_user) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for client in &chosen {
        let name = match text(client, "name") {
            "" => "(unnamed)",
            name => name,
        };
        let host = host(text(client, "addr"));
        let user = match text(client, "user") {
            "" => "(unknown)",
            user => user,
        };
        for (groups, key) in
            [(&mut by_name, name.to_owned()), (&mut by_address, host.clone()), (&mut by_user, user.to_owned())]
        {
            let group: &mut Group = groups.entry(key).or_default();
            group.clients += 1;
            group.blocked += i64::from(blocked(client));
            group.idle_max = group.idle_max.max(count(client, "idle"));
            group.output = group.output.max(count(client, "omem"));
            group.memory += count(client, "tot_mem");
            *group.addresses.entry(host.clone()).or_default() += 1;
            *group.commands.entry(text(client, "cmd").to_owned()).or_default() += 1;
        }
    }
    let row = |client: &Map<String, Value>| {
        json!({
            "addr": text(client, "addr"), "name": text(client, "name"), "user": text(client, "user"), "cmd": text(client, "cmd").replace('|', " "),
            "age_s": count(client, "age"), "idle_s": count(client, "idle"), "flags": text(client, "flags"), "db": count(client, "db"),
            "output": count(client, "omem"), "memory": count(client, "tot_mem"), "node": client.get("node"),
        })
    };
    let largest = |by: &str| {
        let mut sorted: Vec<&Map<String, Value>> = chosen.iter().map(|client| **client).collect();
        sorted.sort_by_key(|client| std::cmp::Reverse(count(client, by)));
        sorted.into_iter().take(10).filter(|client| count(client, by) > 0).map(row).collect::<Vec<_>>()
    };
    let mut waiting: Vec<&Map<String, Value>> = clients.iter().copied().filter(|client| blocked(client)).collect();
    waiting.sort_by_key(|client| std::cmp::Reverse(count(client, "idle")));
    let normal = |client: &&&Map<String, Value>| {
        !flagged(client, 'S') && !flagged(client, 'M') && !flagged(client, 'P') && !blocked(client)
    };
    let idle_over =
        |seconds: i64| clients.iter().filter(normal).filter(|client| count(client, "idle") > seconds).count();
    json!({
        "total": clients.len(),
        "shown": chosen.len(),
        "blocked_count": waiting.len(),
        "blocked": waiting.iter().take(MOST).map(|client| row(client)).collect::<Vec<_>>(),
        "pubsub": clients.iter().filter(|client| flagged(client, 'P')).count(),
        "replicas": clients.iter().filter(|client| flagged(client, 'S')).count(),
        "monitors": clients.iter().filter(|client| flagged(client, 'O')).count(),
        "closing": clients.iter().filter(|client| flagged(client, 'c') || flagged(client, 'A')).count(),
        "unnamed": clients.iter().filter(|client| text(client, "name").is_empty()).count(),
        "idle_5m": idle_over(300),
        "idle_1h": idle_over(3600),
        "largest_output": clients.iter().map(|client| count(client, "omem")).max().unwrap_or(0),
        "memory": clients.iter().map(|client| count(client, "tot_mem")).sum::<i64>(),
        "by_name": rows(by_name),
        "by_address": rows(by_address),
        "by_user": rows(by_user),
        "largest": largest("omem"),
        "idlest": largest("idle"),
    })
}

fn rows(groups: BTreeMap<String, Group>) -> Vec<Value> {
    let mut groups: Vec<(String, Group)> = groups.into_iter().collect();
    groups.sort_by(|a, b| b.1.clients.cmp(&a.1.clients).then_with(|| a.0.cmp(&b.0)));
    let most = |counts: &BTreeMap<String, i64>| {
        counts.iter().max_by_key(|(_, count)| **count).map(|(name, _)| name.replace('|', " "))
    };
    groups
        .iter()
        .take(MOST)
        .map(|(name, group)| {
            json!({
                "name": name, "clients": group.clients, "blocked": group.blocked, "idle_max_s": group.idle_max, "output_max": group.output,
                "memory": group.memory, "addresses": group.addresses.len(), "mostly": most(&group.commands),
            })
        })
        .collect()
}

/// An address without its port.
fn host(address: &str) -> String {
    match address.rsplit_once(':') {
        Some((host, _)) if !host.is_empty() => host.trim_matches(['[', ']']).to_owned(),
        _ if address.is_empty() => "(unknown)".to_owned(),
        _ => address.to_owned(),
    }
}

/// Groups `ACL LOG`.
pub(super) fn refusals(log: &[Value]) -> Value {
    let mut rows: Vec<Value> = log
        .iter()
        .filter_map(Value::as_object)
        .map(|entry| {
            let client = entry.get("client_info").and_then(Value::as_object);
            json!({
                "reason": text(entry, "reason"), "object": text(entry, "object"), "context": text(entry, "context"), "user": text(entry, "username"),
                "count": count(entry, "count"), "ago_s": entry.get("age_seconds"),
                "from": client.map(|client| text(client, "addr")), "name": client.map(|client| text(client, "name")), "node": entry.get("node"),
            })
        })
        .collect();
    rows.sort_by(|a, b| a["ago_s"].as_f64().unwrap_or(f64::MAX).total_cmp(&b["ago_s"].as_f64().unwrap_or(f64::MAX)));
    let of = |reason: &str| {
        rows.iter().filter(|row| row["reason"] == reason).map(|row| row["count"].as_i64().unwrap_or(0)).sum::<i64>()
    };
    let wrong_passwords = of("auth");
    let hour = rows.iter().filter(|row| row["ago_s"].as_f64().is_some_and(|ago| ago < 3600.0)).count();
    let total: i64 = rows.iter().map(|row| row["count"].as_i64().unwrap_or(0)).sum();
    json!({"denied": total, "wrong_passwords": wrong_passwords, "last_hour": hour, "entries": rows.len(), "rows": rows})
}

#[cfg(test)]
mod tests {
    use super::super::{
        derive,
        tests::{inputs, service},
    };
    use super::*;

    #[test]
    fn clients_are_grouped_and_the_blocked_are_told_by_their_flag() {
        let clients = json!([
            {"addr": "10.0.0.1:5", "name": "api", "flags": "N", "idle": 4, "omem": 0, "tot_mem": 100, "cmd": "get", "user": "app"},
            {"addr": "10.0.0.1:6", "name": "api", "flags": "N", "idle": 4000, "omem": 99, "tot_mem": 100, "cmd": "get", "user": "app"},
            {"addr": "10.0.0.2:7", "name": "", "flags": "b", "idle": 30, "omem": 0, "tot_mem": 100, "cmd": "blpop", "user": "default"},
        ]);
        let all = inputs(json!({"clients": clients}));
        let seen = derive("client_groups", &all, &service(), &Map::new()).unwrap();
        assert_eq!(
            (&seen["total"], &seen["blocked_count"], &seen["idle_1h"], &seen["largest_output"]),
            (&json!(3), &json!(1), &json!(1), &json!(99))
        );
        assert_eq!(seen["by_name"][0]["name"], "api");
        assert_eq!(seen["by_address"][0]["clients"], 2);
        let args = inputs(json!({"blocked": true}));
        let seen = derive("client_groups", &all, &service(), &args).unwrap();
        assert_eq!((&seen["shown"], &seen["blocked"][0]["cmd"]), (&json!(1), &json!("blpop")));
    }

    #[test]
    fn refusals_are_counted_by_reason() {
        let log = json!([{"reason": "auth", "count": 3, "username": "bo", "age_seconds": 5.5, "client_info": {"addr": "10.0.0.9:1"}}, {"reason": "command", "count": 1, "object": "flushall"}]);
        let seen = derive("acl_groups", &inputs(json!({"log": log})), &service(), &Map::new()).unwrap();
        assert_eq!(
            (&seen["denied"], &seen["wrong_passwords"], &seen["rows"][0]["from"]),
            (&json!(4), &json!(3), &json!("10.0.0.9:1"))
        );
    }
}
