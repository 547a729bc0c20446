//! Plans that have a server write its data to disk.

use std::time::Duration;

use serde_json::Value;

use super::{Draft, Maker, Unplanned, step, trouble};
use crate::{
    diagnosis::derive::never_saved,
    exec::under_way,
    model::show_duration,
    runbook::{Change, Reach, Risk, Undo, show_bytes},
};

/// The draft of a `bgsave`.
pub(super) async fn snapshot(maker: &Maker<'_>) -> Result<Draft, Unplanned> {
    let mut draft = forked(maker, &Change::SaveSnapshot).await?;
    draft.warnings.push("The snapshot file that is there now is replaced, as soon as the new one is whole.".to_owned());
    let stops = maker.read(&["CONFIG", "GET", "stop-writes-on-bgsave-error"]).await;
    let yes = |answer: &Value| answer.get("stop-writes-on-bgsave-error").and_then(Value::as_str) == Some("yes");
    if stops.iter().any(|answer| answer.as_ref().is_ok_and(yes)) {
        draft.warnings.push(
            "Should it fail, the server refuses writes until a save succeeds: stop-writes-on-bgsave-error is yes, and save points may be set."
                .to_owned(),
        );
    }
    Ok(draft)
}

/// The draft of a `rewrite-aof`.
pub(super) async fn aof(maker: &Maker<'_>) -> Result<Draft, Unplanned> {
    let mut draft = forked(maker, &Change::RewriteAof).await?;
    draft.warnings.push(
        "It is written from what is in memory now. It repairs no file that fails to load: where the file is the good copy, do not run this."
            .to_owned(),
    );
    Ok(draft)
}

/// What both have in common: a fork, the memory it may take, and a disk.
async fn forked(maker: &Maker<'_>, change: &Change) -> Result<Draft, Unplanned> {
    let aof = *change == Change::RewriteAof;
    let mut steps = Vec::new();
    let mut facts = Vec::new();
    let mut warnings = Vec::new();
    let mut risk = Risk::Medium;
    let (mut keys, mut bytes) = (0, 0);
    for (target, answer) in maker.read(&["INFO"]).await.into_iter().enumerate() {
        let info = answer?;
        let address = &maker.primaries[target].target.address;
        let number = |name: &str| info.get(name).and_then(Value::as_u64);
        let text = |name: &str| info.get(name).and_then(Value::as_str).unwrap_or("unknown").to_owned();
        if let Some(what) = under_way(&info) {
            return Err(Unplanned::Failed(trouble(
                format!("{address} is writing {what} already"),
                "somebody else or the server itself began it, and one fork at a time is enough",
                "wait until it is over: `/redis persistence` shows it",
            )));
        }
        if aof && number("aof_enabled") != Some(1) {
            return Err(Unplanned::Failed(trouble(
                format!("{address} keeps no append-only file"),
                "appendonly is no, so there is nothing to write anew",
                "switch it on with `/redis set-config appendonly yes`, which writes it whole",
            )));
        }
        let used = number("used_memory").unwrap_or(0);
        bytes += used;
        keys += info
            .get("keyspace")
            .and_then(Value::as_object)
            .map_or(0, |dbs| dbs.values().filter_map(|db| db.get("keys")?.as_u64()).sum::<u64>());
        let cow = if aof { "aof_last_cow_size" } else { "rdb_last_cow_size" };
        let last = match number(cow).unwrap_or(0) {
            0 => String::new(),
            bytes => format!("; the last one took {}", show_bytes(bytes)),
        };
        facts.push((
            "Memory".to_owned(),
            format!("while it is written, memory that changes is held twice: at worst {} more{last}", show_bytes(used)),
        ));
        let total = number("total_system_memory").filter(|&total| total > 0);
        if let Some(total) = total
            && used.saturating_mul(2) > total
        {
            risk = Risk::High;
            warnings.push(format!(
                "{address} uses {} of the machine's {}: with many writes meanwhile, memory may run out and the server be killed.",
                show_bytes(used),
                show_bytes(total)
            ));
        }
        if let Some(fork) = number("latest_fork_usec").filter(|&micros| micros > 0) {
            let fork = show_duration(Duration::from_micros(fork));
            facts.push((
                "Fork".to_owned(),
                format!("the server stands still for about {fork}, as it did the last time"),
            ));
        }
        let (status, done) = if aof {
            (text("aof_last_bgrewrite_status"), None)
        } else {
            (text("rdb_last_bgsave_status"), info.get("rdb_last_save_time").and_then(Value::as_i64))
        };
        let ago = done
            .and_then(|at| u64::try_from(maker.wish.made_ms / 1000 - at).ok())
            .map_or_else(String::new, |s| format!(", {} ago", show_duration(Duration::from_secs(s))));
        let none = status == "ok" && !aof && info.as_object().is_some_and(never_saved);
        let last = if none { "none since the server started".to_owned() } else { format!("status {status}{ago}") };
        facts.push(("The last one".to_owned(), last));
        if status != "ok" {
            warnings.push(format!(
                "The last one at {address} failed: what was in its way (disk, rights, memory) may still be."
            ));
        }
        if aof && text("aof_last_write_status") != "ok" {
            warnings.push(format!("{address} cannot write to its append-only file now: see that the disk has room."));
        }
        steps.push(step(target, change.clone()));
    }
    let file = if aof { "the append-only file" } else { "the snapshot file" };
    Ok(Draft {
        steps,
        reach: Reach {
            what: format!("{file} of each primary; no data is changed"),
            keys: None,
            bytes: Some(bytes),
            exact: true,
            ..Reach::default()
        },
        facts: std::iter::once(("Keys".to_owned(), crate::runbook::show_number(keys))).chain(facts).collect(),
        warnings,
        undo: Undo::Never("what was written stands for the same data; the file before it is not kept".to_owned()),
        risk,
        undoes: None,
    })
}
