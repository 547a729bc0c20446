//! Signs that data was lost, most of them between the last look and this one.
//!
//! Needs the figures `keys`, `uptime`, `repl_offset`, `replid`, `flushes`,
//! `evicted_total` and `expired_total` remembered by the command.

use serde_json::{Map, Value, json};

use super::{Inputs, finding, number, text, vitals};

pub(super) fn signs(info: &Map<String, Value>, inputs: &Inputs) -> Value {
    let mut signs = Vec::new();
    let (keys, _) = vitals::keys(info);
    let keys = keys as f64;
    let uptime = number(info, "uptime_in_seconds");
    let restarted = uptime
        .zip(inputs.now().zip(inputs.last_at()))
        .is_some_and(|(uptime, (now, last))| uptime + 2.0 < (now - last) as f64);
    let stats = info.get("commandstats");
    let flushes = stats.map(|stats| vitals::calls(stats, "flushall") + vitals::calls(stats, "flushdb"));

    if text(info, "rdb_last_bgsave_status") == "err" {
        signs.push(finding(
            "crit",
            "the last snapshot failed: what was written since the one before is only in memory".into(),
            format!(
                "rdb_last_bgsave_status=err, {} changes unsaved",
                number(info, "rdb_changes_since_last_save").unwrap_or(0.0)
            ),
            "look at disk and memory with `persistence`, before anything restarts this server",
        ));
    }
    if text(info, "aof_last_write_status") == "err" {
        signs.push(finding(
            "crit",
            "the append-only file cannot be written: new writes are refused or only in memory".into(),
            "aof_last_write_status=err".into(),
            "free the disk; `persistence` shows when writing succeeds again",
        ));
    }
    if let (Some(before), false) = (inputs.last("keys"), keys.is_nan()) {
        let gone = before - keys;
        if restarted && gone > 0.0 && keys < before * 0.9 {
            signs.push(finding(
                "crit",
                "the server restarted and came back with fewer keys".into(),
                format!("{before:.0} keys at the last look, {keys:.0} now, up for {:.0} s", uptime.unwrap_or(0.0)),
                "stop what writes to it, and compare with the last backup before anything is saved over it: `persistence`",
            ));
        } else if !restarted && before >= 100.0 && keys < before / 2.0 {
            let grew = |field: &str, figure: &str| Some((number(info, field)? - inputs.last(figure)?).max(0.0));
            let explained = grew("expired_keys", "expired_total").unwrap_or(0.0)
                + grew("evicted_keys", "evicted_total").unwrap_or(0.0);
            if explained < gone / 2.0 {
                signs.push(finding(
                    "crit",
                    "more than half of the keys are gone, and neither expiry nor eviction explains it".into(),
                    format!("{before:.0} keys at the last look, {keys:.0} now; {explained:.0} expired or were evicted"),
                    "look for deletions in `commandstats` and `slowlog`, and who made them in `clients`",
                ));
            }
        }
    }
    match (flushes, inputs.last("flushes")) {
        (Some(now), Some(before)) if !restarted && now > before => signs.push(finding(
            "crit",
            "the database was emptied since the last look".into(),
            format!("FLUSHALL and FLUSHDB ran {:.0} times more", now - before),
            "`acl-log` and `clients` for who may have; restore before new data is saved over the last snapshot",
        )),
        (Some(now), None) if now > 0.0 => signs.push(finding(
            "note",
            "the database has been emptied since this server started".into(),
            format!("FLUSHALL and FLUSHDB ran {now:.0} times"),
            "`commandstats` counts them; if nobody knows of it, look at `acl-log`",
        )),
        _ => {}
    }
    if let (Some(offset), Some(before), Some(id), Some(id_before)) =
        (number(info, "master_repl_offset"), inputs.last("repl_offset"), replid(info), inputs.last("replid"))
        && id != id_before
        && offset < before
    {
        signs.push(finding(
            "crit",
            "this primary has a new history that begins behind the old one".into(),
            format!("master_replid changed and master_repl_offset went back from {before:.0} to {offset:.0}"),
            "a restart or failover dropped writes the old primary had taken: `replication`; keep the old primary's disk",
        ));
    }
    let of = |level: &str| signs.iter().filter(|sign| sign["level"] == level).cloned().collect::<Vec<_>>();
    json!({
        "crit": of("crit"), "note": of("note"),
        "signs": signs,
        "keys": keys,
        "restarted": restarted,
        "flushes": flushes,
        "repl_offset": number(info, "master_repl_offset"),
        "replid": replid(info),
    })
}

/// The replication id as a number that can be remembered: its first 48 bits.
fn replid(info: &Map<String, Value>) -> Option<f64> {
    u64::from_str_radix(text(info, "master_replid").get(..12)?, 16).ok().map(|bits| bits as f64)
}

#[cfg(test)]
mod tests {
    use super::super::{
        derive,
        tests::{inputs, service},
    };
    use serde_json::{Map, Value, json};

    fn signs(info: Value, last: Value) -> Vec<String> {
        let all = json!({"info": info, "_now": 2000, "_last": {"at": 1000, "values": last}});
        let seen = derive("data_loss", &inputs(all), &service(), &Map::new()).unwrap();
        seen["signs"].as_array().unwrap().iter().map(|sign| sign["what"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn a_quiet_server_shows_no_sign() {
        let info =
            json!({"uptime_in_seconds": 9999, "keyspace": {"db0": {"keys": 900, "expires": 0}}, "commandstats": {}});
        assert_eq!(signs(info, json!({"keys": 1000, "flushes": 0})), Vec::<String>::new());
    }

    #[test]
    fn keys_that_vanish_are_a_sign_unless_they_expired() {
        let info = |expired: i64| json!({"uptime_in_seconds": 9999, "keyspace": {"db0": {"keys": 100, "expires": 0}}, "expired_keys": expired});
        let last = json!({"keys": 1000, "expired_total": 0, "evicted_total": 0});
        assert!(signs(info(0), last.clone())[0].contains("more than half"));
        assert_eq!(signs(info(880), last), Vec::<String>::new());
    }

    #[test]
    fn a_restart_with_fewer_keys_a_flush_and_a_new_history_are_told() {
        let info = json!({"uptime_in_seconds": 5, "keyspace": {}});
        assert!(signs(info, json!({"keys": 1000}))[0].contains("restarted"));
        let info = json!({"uptime_in_seconds": 9999, "commandstats": {"flushall": {"calls": 2}}});
        assert!(signs(info, json!({"flushes": 1}))[0].contains("emptied"));
        let info = json!({"uptime_in_seconds": 9999, "master_replid": "ffffffffffff0000", "master_repl_offset": 5});
        assert!(signs(info, json!({"replid": 1.0, "repl_offset": 500}))[0].contains("new history"));
    }
}
