//! BGSAVE, and when it is over: its status and LASTSAVE say so, not its answer.

use std::time::Duration;

use super::{Hands, Lane, Touched, refused};
use crate::{
    diagnosis::Explained,
    exec::{fault::Fault, wire::Wire},
    model::Progress,
};

/// How often a server that saves is asked how far it is.
const PACE: Duration = Duration::from_millis(250);

/// A save that is over and good, by the server's own clock, in Unix seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Saved {
    /// It began no earlier.
    pub(super) from: i64,
    /// It was over then: LASTSAVE.
    pub(super) at: i64,
}

/// What `INFO persistence` says of saves.
struct Persistence(String);

impl Persistence {
    fn field(&self, name: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.field(name)?.parse().ok()
    }

    fn child(&self) -> bool {
        ["rdb_bgsave_in_progress", "aof_rewrite_in_progress"].iter().any(|name| self.number(name) == Some(1))
    }
}

impl Lane<'_> {
    /// Has the server save and waits until it is over. A save or rewrite that
    /// is under way is waited for first: this one begins after it was asked for.
    ///
    /// # Errors
    /// How it ended otherwise, as the step's own end.
    pub(super) async fn save(&self, wire: &Wire, hands: &Hands<'_>) -> Result<Saved, Touched> {
        let before = self.asked_to_save(wire, hands).await?;
        loop {
            let now = self.persistence(wire).await.map_err(|fault| Touched::Uncertain(self.explain(&fault, "INFO")))?;
            if !now.child() || now.number("rdb_bgsave_in_progress") != Some(1) {
                let at = now.number("rdb_last_save_time").unwrap_or_default();
                let status = now.field("rdb_last_bgsave_status").unwrap_or("unknown");
                return if status == "ok" && at >= before {
                    Ok(Saved { from: before, at })
                } else {
                    Err(Touched::Untouched(refused(
                        &format!("the server's save failed: its status is {status}"),
                        "its disk is full or read-only, or there was no memory for the fork",
                        "see its log (`/redis logs`) and `/redis persistence`; the last good file is as it was",
                    )))
                };
            }
            if let Some(progress) = &hands.cx.progress {
                let count = |name| now.number(name).and_then(|count| u64::try_from(count).ok());
                progress.send_replace(Progress {
                    doing: "the server saves".to_owned(),
                    done: count("current_save_keys_processed").unwrap_or(0),
                    total: count("current_save_keys_total").filter(|&total| total > 0),
                    unit: "keys".to_owned(),
                    rate: None,
                    left_s: None,
                });
            }
            if !self.pause(hands, PACE).await {
                let why = refused("it is no longer waited for", "somebody stopped it, or its time is up", "wait");
                return Err(Touched::Partly { why, left: "The server goes on saving by itself.".to_owned() });
            }
        }
    }

    /// Sends BGSAVE as soon as nothing else is written. The server's clock when it was sent.
    async fn asked_to_save(&self, wire: &Wire, hands: &Hands<'_>) -> Result<i64, Touched> {
        let untouched = |fault: &Fault, command: &str| Touched::Untouched(self.explain(fault, command));
        loop {
            let now = self.persistence(wire).await.map_err(|fault| untouched(&fault, "INFO"))?;
            let clock = self.clock(wire).await.map_err(|fault| untouched(&fault, "TIME"))?;
            // LASTSAVE counts seconds: one that ends in the second of the last would not be seen to move.
            let same_second = now.number("rdb_last_save_time").is_some_and(|last| last >= clock);
            if !now.child() && !same_second {
                match self.call(wire, &["BGSAVE"]).await {
                    Ok(_) => return Ok(clock),
                    // Somebody else's began in between.
                    Err(Fault::Server(line)) if line.contains("in progress") || line.contains("active") => {}
                    Err(fault @ Fault::Server(_)) => return Err(Touched::Untouched(self.may_not_save(&fault))),
                    Err(fault) => return Err(Touched::Uncertain(self.explain(&fault, "BGSAVE"))),
                }
            }
            if !self.pause(hands, PACE).await {
                return Err(Touched::Untouched(refused(
                    "the server was not asked to save",
                    "another save or rewrite was under way until this was stopped or its time was up",
                    "see `/redis persistence`, and ask again when it is over",
                )));
            }
        }
    }

    /// Why the server does not save, with the rule of its ACL that is missing.
    fn may_not_save(&self, fault: &Fault) -> Explained {
        let mut explained = self.explain(fault, "BGSAVE");
        if let Fault::Server(line) = fault
            && line.starts_with("NOPERM")
        {
            let user = self.instance.touch.as_ref().and_then(|touch| touch.user.as_deref()).unwrap_or("default");
            explained.cause = format!("the ACL of {user} lacks `+bgsave`");
            explained.next = format!("whoever keeps the server can run `ACL SETUSER {user} +bgsave +info +time`");
        }
        explained
    }

    async fn persistence(&self, wire: &Wire) -> Result<Persistence, Fault> {
        let answer = self.call(wire, &["INFO", "persistence"]).await?;
        Ok(Persistence(answer.as_str().unwrap_or_default().to_owned()))
    }

    /// The server's clock in Unix seconds.
    async fn clock(&self, wire: &Wire) -> Result<i64, Fault> {
        let answer = self.call(wire, &["TIME"]).await?;
        let seconds = answer.get(0).and_then(|seconds| match seconds {
            serde_json::Value::String(text) => text.parse().ok(),
            other => other.as_i64(),
        });
        Ok(seconds.unwrap_or_default())
    }

    /// Waits a little; `false`: it was stopped, or the step's time is up.
    pub(super) async fn pause(&self, hands: &Hands<'_>, length: Duration) -> bool {
        if !self.budget.has_time() {
            return false;
        }
        tokio::select! {
            () = hands.cx.stop.cancelled() => false,
            () = tokio::time::sleep(length) => true,
        }
    }
}
