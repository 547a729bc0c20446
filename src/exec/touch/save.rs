//! BGSAVE and BGREWRITEAOF, followed to their end: what a server does in the
//! background is done when its own status says so, not when it said "started".

use std::time::Duration;

use serde_json::Value;

use super::{Lane, Touched, refused};
use crate::{
    diagnosis::{Explained, reading},
    exec::{fault::Fault, wire::Wire},
    model::{Progress, show_duration},
    runbook::{show_bytes, show_count},
};

/// How often the server is asked at first, and at last.
const PACE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// What `INFO persistence` tells of something under way.
enum Going {
    /// Not over yet.
    On,
    /// Over, and good; in words.
    Good(String),
    /// Over, and not good; in words.
    Bad(String),
}

impl Lane<'_> {
    async fn written(&self, wire: &Wire) -> Result<Value, Fault> {
        let words = ["INFO", "persistence"];
        let told = self.call(wire, &words).await?;
        Ok(reading::read(&words.map(str::to_owned), told))
    }

    pub(super) async fn save_snapshot(&self) -> Touched {
        let (wire, before) = match self.free_to_save().await {
            Ok(free) => free,
            Err(untouched) => return Touched::Untouched(untouched),
        };
        // The server's own clock: LASTSAVE is told by it, in whole seconds.
        let asked_at = match self.call(&wire, &["TIME"]).await {
            Ok(time) => time.get(0).and_then(Value::as_str).and_then(|s| s.parse::<i64>().ok()).unwrap_or(0),
            Err(fault) => return Touched::Untouched(self.explain(&fault, "TIME")),
        };
        match self.call(&wire, &["BGSAVE"]).await {
            Ok(_) => {}
            Err(fault @ Fault::Server(_)) => return Touched::Untouched(self.explain(&fault, "BGSAVE")),
            Err(fault) => return self.perhaps_begun(&fault, &before, asked_at).await,
        }
        self.follow(wire, "writing a snapshot", |info| snapshot(info, asked_at)).await
    }

    pub(super) async fn rewrite_aof(&self) -> Touched {
        let (wire, _) = match self.free_to_save().await {
            Ok(free) => free,
            Err(untouched) => return Touched::Untouched(untouched),
        };
        match self.call(&wire, &["BGREWRITEAOF"]).await {
            Ok(_) => {}
            Err(fault @ Fault::Server(_)) => return Touched::Untouched(self.explain(&fault, "BGREWRITEAOF")),
            Err(fault) => return Touched::Uncertain(self.explain(&fault, "BGREWRITEAOF")),
        }
        self.follow(wire, "writing the append-only file", aof).await
    }

    /// After `appendonly yes`: the file is of use when the whole data set is in it.
    pub(super) async fn until_aof_is_written(&self, wire: Wire) -> Touched {
        self.follow(wire, "writing the append-only file", |info| {
            match info.get("aof_enabled").and_then(Value::as_u64) {
                Some(0) => Going::Bad("the server says the append-only file is off".to_owned()),
                _ => aof(info),
            }
        })
        .await
    }

    /// A connection to a server that writes nothing in the background now, and what it tells of its saves.
    async fn free_to_save(&self) -> Result<(Wire, Value), Explained> {
        let wire = self.open().await?;
        let info = self.written(&wire).await.map_err(|fault| self.explain(&fault, "INFO"))?;
        match under_way(&info) {
            None => Ok((wire, info)),
            Some(what) => Err(refused(
                &format!("{what} is under way already"),
                "somebody else or the server itself began it after the plan was made",
                "wait until it is over (`/redis persistence` shows it), then ask again",
            )),
        }
    }

    /// The answer to BGSAVE was lost: a save that goes on, or ended well since, says it was done.
    async fn perhaps_begun(&self, fault: &Fault, before: &Value, asked_at: i64) -> Touched {
        let why = self.explain(fault, "BGSAVE");
        let Ok(wire) = self.open().await else { return Touched::Uncertain(why) };
        let Ok(info) = self.written(&wire).await else { return Touched::Uncertain(why) };
        let begun = number(&info, "rdb_bgsave_in_progress") == Some(1);
        match snapshot(&info, asked_at) {
            // A server that has just started tells its start as its last save: only a later one counts.
            Going::Good(said) if number(&info, "rdb_last_save_time") > number(before, "rdb_last_save_time") => {
                Touched::Verified(said)
            }
            Going::On if begun => self.follow(wire, "writing a snapshot", |info| snapshot(info, asked_at)).await,
            _ => Touched::Uncertain(why),
        }
    }

    /// Asks until it is over. A lost connection is made anew: asking changes nothing.
    async fn follow(&self, wire: Wire, doing: &str, judge: impl Fn(&Value) -> Going) -> Touched {
        let start = tokio::time::Instant::now();
        let mut wire = Some(wire);
        let mut pace = PACE.0;
        loop {
            let asked = match &wire {
                Some(wire) => self.written(wire).await.map_err(|fault| self.explain(&fault, "INFO")),
                None => {
                    Err(refused("the server does not answer", "the connection was lost", "see `/redis connectivity`"))
                }
            };
            let took = show_duration(start.elapsed());
            match asked.as_ref().map(&judge) {
                Ok(Going::Good(said)) => return Touched::Verified(format!("{said}, after {took}")),
                Ok(Going::Bad(said)) => {
                    return Touched::Partly {
                        why: refused(
                            &said,
                            "the disk is full or may not be written, or there is no memory for the fork",
                            "see `/redis persistence` and the server's log",
                        ),
                        left: "What was on the disk before is still there.".to_owned(),
                    };
                }
                Ok(Going::On) => self.show(doing, asked.as_ref().ok()),
                Err(_) => {
                    wire = match self.open().await {
                        Ok(wire) => Some(wire),
                        // Restarted: what it did in the background is gone with it.
                        Err(error) if error.code == "UNTOUCHED" => return Touched::Uncertain(error),
                        Err(_) => None,
                    };
                }
            }
            if self.cx.stop.is_cancelled() || !self.budget.has_time() {
                let stopped = self.cx.stop.is_cancelled();
                let what = if stopped {
                    "nobody waits for it any more".to_owned()
                } else {
                    format!("it is not over after {took}")
                };
                let cause = if stopped { "somebody stopped the run" } else { "the data is large, or the disk slow" };
                return Touched::Partly {
                    why: refused(&what, cause, "see `/redis persistence`"),
                    left: "The server goes on with it; `/redis persistence` tells when it is done.".to_owned(),
                };
            }
            tokio::select! {
                () = tokio::time::sleep(pace) => {}
                () = self.cx.stop.cancelled() => {}
            }
            pace = (pace * 3 / 2).min(PACE.1);
        }
    }

    fn show(&self, doing: &str, info: Option<&Value>) {
        let Some(progress) = &self.cx.progress else { return };
        let count = |name| info.and_then(|info| number(info, name)).and_then(|count| u64::try_from(count).ok());
        progress.send_replace(Progress {
            doing: doing.to_owned(),
            done: count("current_save_keys_processed").unwrap_or(0),
            total: count("current_save_keys_total").filter(|&total| total > 0),
            unit: "keys".to_owned(),
            rate: None,
            left_s: None,
        });
    }
}

/// What the server writes in the background now, if anything.
pub(crate) fn under_way(info: &Value) -> Option<&'static str> {
    let on = |name| number(info, name) == Some(1);
    if on("rdb_bgsave_in_progress") {
        Some("a snapshot")
    } else if on("aof_rewrite_in_progress") || on("aof_rewrite_scheduled") {
        Some("a rewrite of the append-only file")
    } else {
        None
    }
}

fn snapshot(info: &Value, asked_at: i64) -> Going {
    let status = info.get("rdb_last_bgsave_status").and_then(Value::as_str).unwrap_or("unknown");
    if number(info, "rdb_bgsave_in_progress") != Some(0) {
        return Going::On;
    }
    match (status, number(info, "rdb_last_save_time")) {
        ("ok", Some(at)) if at >= asked_at => {
            let changes = number(info, "rdb_changes_since_last_save").unwrap_or(0);
            let when = jiff::Timestamp::from_second(at)
                .map_or_else(|_| at.to_string(), |at| at.strftime("%H:%M:%S UTC").to_string());
            let changes = show_count(u64::try_from(changes).unwrap_or(0), "change");
            Going::Good(format!("its status is ok and LASTSAVE is {when}; {changes} came since"))
        }
        // It said it began, and nothing of it can be seen yet.
        ("ok", _) => Going::On,
        (status, _) => Going::Bad(format!("the save failed: its status is {status}")),
    }
}

fn aof(info: &Value) -> Going {
    let status = info.get("aof_last_bgrewrite_status").and_then(Value::as_str).unwrap_or("unknown");
    if number(info, "aof_rewrite_in_progress") != Some(0) || number(info, "aof_rewrite_scheduled") == Some(1) {
        return Going::On;
    }
    match status {
        "ok" => {
            let size = number(info, "aof_current_size").and_then(|bytes| u64::try_from(bytes).ok()).map(show_bytes);
            Going::Good(format!(
                "the append-only file is written whole, {}",
                size.unwrap_or_else(|| "its size is not told".to_owned())
            ))
        }
        status => Going::Bad(format!("writing the append-only file failed: its status is {status}")),
    }
}

fn number(info: &Value, name: &str) -> Option<i64> {
    info.get(name).and_then(Value::as_i64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_save_is_over_when_its_status_is_ok_and_the_last_save_is_no_older_than_the_asking() {
        let told = |busy: u8, status: &str, at: i64| json!({"rdb_bgsave_in_progress": busy, "rdb_last_bgsave_status": status, "rdb_last_save_time": at});
        assert!(matches!(snapshot(&told(1, "ok", 100), 100), Going::On));
        assert!(matches!(snapshot(&told(0, "ok", 99), 100), Going::On), "an older save is not this one");
        assert!(matches!(snapshot(&told(0, "ok", 100), 100), Going::Good(_)));
        assert!(matches!(snapshot(&told(0, "err", 99), 100), Going::Bad(_)));
    }

    #[test]
    fn whatever_forks_is_under_way() {
        assert_eq!(under_way(&json!({"rdb_bgsave_in_progress": 0, "aof_rewrite_in_progress": 0})), None);
        assert_eq!(under_way(&json!({"rdb_bgsave_in_progress": 1})), Some("a snapshot"));
        assert!(under_way(&json!({"aof_rewrite_scheduled": 1})).is_some());
    }
}
