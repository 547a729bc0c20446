//! Who moves the bytes: connections by what they read and write, as far as the server tells.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What is told of the connections of an instance.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct BigClients {
    /// What they are ranked by: `rate` (bytes moved while we looked), `total` (since they
    /// connected) or `memory` (what the server holds for them: it does not count bytes moved).
    pub by: String,
    /// Connections there are.
    pub clients: u64,
    /// Seconds between the two looks.
    pub seconds: f64,
    /// Bytes per second moved by all of them, when told.
    pub per_s: Option<f64>,
    /// Bytes the server holds for all of them.
    pub memory: u64,
    /// The largest first.
    pub largest: Vec<ClientRow>,
    /// What should be known of how this was found out.
    pub notes: Vec<String>,
}

/// A connection.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ClientRow {
    /// The name it gave itself, or its user.
    pub name: String,
    /// Its address, masked.
    pub address: String,
    /// The server it is connected to.
    pub server: String,
    /// Its last command.
    pub command: String,
    /// Bytes in and out since it connected, when told.
    pub moved: Option<u64>,
    /// Bytes per second while we looked, when told.
    pub per_s: Option<f64>,
    /// Bytes the server holds for it.
    pub memory: u64,
    /// Of those, what waits to be read by it.
    pub waiting: u64,
    /// Seconds since it last asked anything.
    pub idle_s: u64,
}

/// One `CLIENT LIST`, with the server it is of.
#[derive(Debug, Clone)]
pub struct Listing {
    /// Where the server listens.
    pub server: String,
    /// Its text.
    pub text: String,
}

type Fields<'a> = BTreeMap<&'a str, &'a str>;

fn fields(line: &str) -> Fields<'_> {
    line.split(' ').filter_map(|field| field.split_once('=')).collect()
}

fn number(fields: &Fields<'_>, name: &str) -> Option<u64> {
    fields.get(name)?.parse().ok()
}

/// Ranks connections by two listings of each server, `seconds` apart. `mask` makes an address fit to be seen.
pub fn rank(
    before: &[Listing],
    after: &[Listing],
    seconds: f64,
    top: usize,
    mask: impl Fn(&str) -> String,
) -> BigClients {
    let mut moved_before = BTreeMap::new();
    for listing in before {
        for line in listing.text.lines() {
            let fields = fields(line);
            if let Some(id) = fields.get("id") {
                moved_before.insert((listing.server.clone(), (*id).to_owned()), moved(&fields));
            }
        }
    }
    let mut rows = Vec::new();
    for listing in after {
        for line in listing.text.lines().filter(|line| !line.trim().is_empty()) {
            let fields = fields(line);
            let text = |name: &str| fields.get(name).map(|value| (*value).to_owned()).unwrap_or_default();
            // Our own connections are not what anybody asks about.
            if text("name").starts_with("rediscue-") {
                continue;
            }
            let now = moved(&fields);
            let key = (listing.server.clone(), text("id"));
            let then = moved_before.get(&key).copied().flatten();
            let name = if text("name").is_empty() { text("user") } else { text("name") };
            rows.push(ClientRow {
                name: name.chars().take(40).collect(),
                address: mask(&text("addr")),
                server: listing.server.clone(),
                command: text("cmd").replace('|', " "),
                moved: now,
                // A connection that is new moved everything while we looked.
                per_s: now.map(|now| now.saturating_sub(then.unwrap_or(0)) as f64 / seconds.max(0.001)),
                memory: number(&fields, "tot-mem").unwrap_or_else(|| {
                    ["qbuf", "qbuf-free", "omem", "argv-mem", "multi-mem"]
                        .iter()
                        .filter_map(|name| number(&fields, name))
                        .sum()
                }),
                waiting: number(&fields, "omem").unwrap_or(0),
                idle_s: number(&fields, "idle").unwrap_or(0),
            });
        }
    }
    let told = rows.iter().any(|row| row.moved.is_some());
    let per_s = told.then(|| rows.iter().filter_map(|row| row.per_s).sum::<f64>());
    let mut report = BigClients {
        by: if told { if per_s > Some(0.0) { "rate" } else { "total" } } else { "memory" }.to_owned(),
        clients: rows.len() as u64,
        seconds,
        per_s,
        memory: rows.iter().map(|row| row.memory).sum(),
        ..BigClients::default()
    };
    if !told {
        report.notes.push(
            "this server does not count bytes per connection (Redis 8 and Valkey 8 do): ranked by the memory it holds for them"
                .to_owned(),
        );
    }
    rows.sort_by(|a, b| {
        let key = |row: &ClientRow| match report.by.as_str() {
            "rate" => row.per_s.unwrap_or(0.0),
            "total" => row.moved.unwrap_or(0) as f64,
            _ => row.memory as f64,
        };
        key(b).total_cmp(&key(a)).then(b.memory.cmp(&a.memory)).then_with(|| a.address.cmp(&b.address))
    });
    rows.truncate(top);
    report.largest = rows;
    report
}

fn moved(fields: &Fields<'_>) -> Option<u64> {
    Some(number(fields, "tot-net-in")? + number(fields, "tot-net-out").unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(text: &str) -> Vec<Listing> {
        vec![Listing { server: "s".into(), text: text.into() }]
    }

    #[test]
    fn clients_are_ranked_by_what_they_moved_where_the_server_tells() {
        let before = listing(
            "id=1 addr=a:1 name=api tot-net-in=10 tot-net-out=10 cmd=get\nid=2 addr=b:1 name=etl tot-net-in=900000 tot-net-out=0 cmd=set\n",
        );
        let after = listing(
            "id=1 addr=a:1 name=api tot-net-in=510 tot-net-out=510 cmd=get\nid=2 addr=b:1 name=etl tot-net-in=900100 tot-net-out=0 cmd=set\nid=3 addr=c:1 name=rediscue-scan tot-net-in=9 tot-net-out=9999999 cmd=client|list\n",
        );
        let report = rank(&before, &after, 1.0, 10, str::to_owned);
        assert_eq!(report.by, "rate");
        assert_eq!(report.largest.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["api", "etl"]);
        assert_eq!(report.largest[0].per_s, Some(1_000.0));
    }

    #[test]
    fn where_it_does_not_tell_they_are_ranked_by_memory() {
        let after = listing(
            "id=1 addr=a:1 user=default omem=0 tot-mem=1928 idle=3 cmd=get\nid=2 addr=b:1 name=slow omem=5000000 tot-mem=5001928 cmd=lrange\n",
        );
        let report = rank(&after, &after, 1.0, 1, str::to_owned);
        assert_eq!((report.by.as_str(), report.clients, report.largest.len()), ("memory", 2, 1));
        assert_eq!(report.largest[0].waiting, 5_000_000);
        assert_eq!(report.notes.len(), 1);
    }
}
