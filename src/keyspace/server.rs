//! What a server says of itself in INFO, as far as a survey needs it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::cursor::Layout;

/// One server's facts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Server {
    /// Its version.
    pub version: String,
    /// Which start of it this is.
    pub run_id: String,
    /// Bytes that are data and not overhead; `None` where INFO does not say.
    pub dataset: Option<u64>,
    /// Eviction policy.
    pub policy: Option<String>,
    /// It is a node of a cluster.
    pub cluster: bool,
    /// `master` or `slave`.
    pub role: String,
    /// Keys by logical database.
    pub databases: BTreeMap<u32, u64>,
    /// Keys with TTL, over all databases.
    pub expires: u64,
    /// CPU seconds used so far, of the main thread where it is told.
    pub cpu: Option<f64>,
    /// By logical database and type (`strings`, `lists` …): a size and how many keys are at least
    /// that large but not twice as large, smallest first. Redis 8.0 and later tell it.
    #[serde(default)]
    pub sizes: BTreeMap<(u32, String), Vec<(u64, u64)>>,
}

impl Server {
    /// Reads INFO.
    pub fn read(info: &str) -> Self {
        let mut server = Server::default();
        let (mut valkey, mut main, mut whole) = (None, 0.0, 0.0);
        for line in info.lines() {
            let Some((field, value)) = line.trim_end().split_once(':') else { continue };
            let seconds = || value.parse::<f64>().unwrap_or(0.0);
            match field {
                "redis_version" => server.version = value.to_owned(),
                "valkey_version" => valkey = Some(value.to_owned()),
                "run_id" => server.run_id = value.to_owned(),
                "used_memory_dataset" => server.dataset = value.parse().ok(),
                "maxmemory_policy" => server.policy = Some(value.to_owned()),
                "cluster_enabled" => server.cluster = value == "1",
                "role" => server.role = value.to_owned(),
                "used_cpu_sys_main_thread" | "used_cpu_user_main_thread" => main += seconds(),
                "used_cpu_sys" | "used_cpu_user" => whole += seconds(),
                _ if field.contains("_distrib_") => {
                    if let Some((place, sizes)) = histogram(field, value) {
                        server.sizes.insert(place, sizes);
                    }
                }
                _ => {
                    if let Some(db) = field.strip_prefix("db").and_then(|db| db.parse().ok())
                        && let Some(keys) = value.strip_prefix("keys=").and_then(|rest| rest.split(',').next())
                    {
                        server.databases.insert(db, keys.parse().unwrap_or(0));
                        let expires = value.split(',').find_map(|field| field.strip_prefix("expires=")?.parse().ok());
                        server.expires += expires.unwrap_or(0);
                    }
                }
            }
        }
        if let Some(valkey) = valkey {
            server.version = format!("valkey {valkey}");
        }
        server.cpu = [main, whole].into_iter().find(|seconds| *seconds > 0.0);
        server
    }

    /// How its keys lie: newer servers keep a cluster's keys by slot.
    pub fn layout(&self) -> Layout {
        let by_slot = if self.is_valkey() { self.number() >= (8, 0) } else { self.number() >= (7, 4) };
        if self.cluster && by_slot { Layout::Slots } else { Layout::Plain }
    }

    /// Whether a key's name lies in its table's entry, so that `MEMORY USAGE` counts that entry as it is.
    pub fn entries_hold_keys(&self) -> bool {
        self.is_valkey() && self.number() >= (8, 0)
    }

    /// Whether it is old enough to have no `CLIENT NO-TOUCH`.
    pub fn is_before_no_touch(&self) -> bool {
        self.number() < (7, 2)
    }

    fn is_valkey(&self) -> bool {
        self.version.starts_with("valkey ")
    }

    fn number(&self) -> (u32, u32) {
        let number = self.version.trim_start_matches("valkey ");
        let mut parts = number.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
        (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
    }

    /// Whether `OBJECT FREQ` is kept.
    pub fn counts_use(&self) -> bool {
        self.policy.as_deref().is_some_and(|policy| policy.ends_with("lfu"))
    }

    /// The dataset's bytes for one database, where only that one holds keys.
    pub fn dataset_of(&self, db: u32) -> Option<u64> {
        let others: u64 = self.databases.iter().filter(|(other, _)| **other != db).map(|(_, keys)| keys).sum();
        self.dataset.filter(|_| others == 0)
    }
}

/// A size, and how many keys are at least that large but not twice as large.
type Bin = (u64, u64);

/// `db0_distrib_strings_sizes:2=1,1K=3`
fn histogram(field: &str, value: &str) -> Option<((u32, String), Vec<Bin>)> {
    let (db, rest) = field.strip_prefix("db")?.split_once("_distrib_")?;
    let kind = rest.strip_suffix("_sizes").or_else(|| rest.strip_suffix("_items"))?;
    let bins = value.split(',').filter_map(|bin| {
        let (from, keys) = bin.split_once('=')?;
        let units = [('K', 10), ('M', 20), ('G', 30), ('T', 40)];
        let (digits, shift) =
            units.into_iter().find_map(|(unit, shift)| Some((from.strip_suffix(unit)?, shift))).unwrap_or((from, 0));
        Some((digits.parse::<u64>().ok()?.checked_shl(shift)?, keys.parse().ok()?))
    });
    let mut bins: Vec<Bin> = bins.collect();
    bins.sort_unstable();
    Some(((db.parse().ok()?, kind.to_owned()), bins))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_of_sizes_are_read_where_they_are_told() {
        let server = Server::read(
            "# Keysizes\r\ndb0_distrib_strings_sizes:2=1,1K=3,16M=2\r\ndb1_distrib_lists_items:64K=1,4=9\r\n\
             db0_distrib_odd:7\r\ndbX_distrib_sets_items:1=1\r\ndb0_distrib_sets_items:a=b,8=x\r\n",
        );
        assert_eq!(server.sizes[&(0, "strings".to_owned())], [(2, 1), (1024, 3), (16 << 20, 2)]);
        assert_eq!(server.sizes[&(1, "lists".to_owned())], [(4, 9), (64 << 10, 1)]);
        assert_eq!(server.sizes[&(0, "sets".to_owned())], []);
        assert_eq!(server.sizes.len(), 3);
    }

    #[test]
    fn info_tells_what_a_survey_needs() {
        let server = Server::read(
            "# Server\r\nredis_version:7.0.15\r\nrun_id:abc\r\n# Memory\r\nused_memory_dataset:123\r\nmaxmemory_policy:allkeys-lfu\r\n\
             # CPU\r\nused_cpu_sys:1.5\r\nused_cpu_user:2.0\r\nused_cpu_sys_main_thread:1.0\r\nused_cpu_user_main_thread:2.0\r\n\
             # Cluster\r\ncluster_enabled:1\r\n# Keyspace\r\ndb0:keys=10,expires=4,avg_ttl=1\r\n",
        );
        assert_eq!((server.dataset_of(0), server.cpu), (Some(123), Some(3.0)));
        assert!(server.counts_use() && server.expires == 4);
        assert_eq!(server.layout(), Layout::Plain);
        let valkey = Server::read("redis_version:7.2.4\r\nvalkey_version:8.1.0\r\ncluster_enabled:1\r\n");
        assert_eq!(valkey.layout(), Layout::Slots);
        assert!(valkey.entries_hold_keys() && !valkey.is_before_no_touch());
        assert!(!server.entries_hold_keys() && server.is_before_no_touch());
        assert_eq!(Server::read("db1:keys=3,expires=0\r\nused_memory_dataset:5\r\n").dataset_of(0), None);
    }
}
