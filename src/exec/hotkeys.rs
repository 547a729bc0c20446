//! Hot keys from servers that count them: HOTKEYS of Redis 8.6 and later, found out by asking.
//!
//! A session somebody else began is read and left as it is. Where there is
//! none, one is begun that ends by itself, and is cleared away when it was read.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use crate::{
    keyspace::{
        Part,
        hotkeys::{Tracked, Used},
    },
    model::Progress,
};

use super::{
    Job, redis,
    server::{Lane, Server},
};

/// How long the server counts for us.
const WATCH: Duration = Duration::from_secs(5);
/// How many keys it keeps.
const KEYS: &str = "32";
/// What is older says nothing of now.
const OLD_MS: i64 = 600_000;

/// What all servers counted; `Err`: at least one does not, with what is worth saying about that.
pub(super) async fn tracked(job: &Job, servers: &[&Server], top: usize) -> Result<Vec<Part<Tracked>>, Option<String>> {
    let asked = join_all(servers.iter().map(async |server| {
        let mut tracked = of_server(job, server).await?;
        describe(job, server, &mut tracked, top).await;
        Ok(Part { address: server.address.to_string(), found: tracked })
    }));
    asked.await.into_iter().collect()
}

async fn of_server(job: &Job, server: &Server) -> Result<Tracked, Option<String>> {
    let ask = async |words: &[&str]| {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        server.ask_one(Lane::Look, &redis::command(&words), job.budget).await
    };
    let denied = |fault: super::fault::Fault| match fault {
        super::fault::Fault::Server(line) if line.starts_with("NOPERM") => Some(format!(
            "{} counts hot keys itself, and the user for looks may not ask: it lacks `+hotkeys`",
            server.address
        )),
        // A server that does not know it, or does not answer: nothing to tell.
        _ => None,
    };
    let found = ask(&["HOTKEYS", "GET"]).await.map_err(denied)?;
    if let Some(tracked) = Tracked::read(&found) {
        let ended_ms = tracked.began_ms.saturating_add(i64::try_from(tracked.took_ms).unwrap_or(i64::MAX));
        let age_ms = jiff::Timestamp::now().as_millisecond().saturating_sub(ended_ms);
        return if tracked.active || age_ms <= OLD_MS {
            Ok(tracked)
        } else {
            Err(Some(format!(
                "{} still holds what somebody tracked {} min ago; it was left as it is (`HOTKEYS RESET` clears it)",
                server.address,
                age_ms / 60_000
            )))
        };
    }
    if !found.is_null() {
        return Err(None);
    }
    let left = job.budget.end.saturating_duration_since(Instant::now());
    let watch = WATCH.min(left / 2);
    if watch < Duration::from_secs(1) {
        return Err(None);
    }
    let seconds = watch.as_secs().to_string();
    let start = ["HOTKEYS", "START", "METRICS", "2", "CPU", "NET", "COUNT", KEYS, "DURATION", &seconds];
    ask(&start).await.map_err(denied)?;
    let until = Instant::now() + Duration::from_secs(watch.as_secs());
    while Instant::now() < until {
        let left = until.saturating_duration_since(Instant::now());
        job.progress.send_replace(Some(Progress {
            doing: "the server counts which keys are used (HOTKEYS)".to_owned(),
            done: (watch.as_secs_f64() - left.as_secs_f64()).max(0.0) as u64,
            total: Some(watch.as_secs()),
            unit: "s".to_owned(),
            rate: None,
            left_s: Some(left.as_secs_f64()),
        }));
        tokio::time::sleep(left.min(Duration::from_millis(500))).await;
    }
    let found = ask(&["HOTKEYS", "GET"]).await;
    // It was ours: whatever became of it, it goes.
    let _ = ask(&["HOTKEYS", "STOP"]).await;
    let _ = ask(&["HOTKEYS", "RESET"]).await;
    found.ok().as_ref().and_then(Tracked::read).ok_or(None)
}

/// Asks for type and bytes of those that will be named; neither touches a key.
async fn describe(job: &Job, server: &Server, tracked: &mut Tracked, top: usize) {
    tracked.keys.sort_by_key(|key| std::cmp::Reverse((key.cpu_us, key.net_bytes)));
    let named: &mut [Used] = {
        let count = tracked.keys.len().min(top);
        &mut tracked.keys[..count]
    };
    let commands: Vec<_> = named
        .iter()
        .flat_map(|key| {
            let words =
                |words: &[&str]| redis::command(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
            [words(&["TYPE", &key.name]), words(&["MEMORY", "USAGE", &key.name])]
        })
        .collect();
    if commands.is_empty() {
        return;
    }
    let Ok(replies) = server.ask(Lane::Look, &commands, job.budget).await else { return };
    let mut replies = replies.into_iter().map(|reply| super::server::one(Some(reply)).unwrap_or_default());
    for key in named {
        let (kind, bytes) = (replies.next(), replies.next());
        key.kind = kind.and_then(|kind| kind.as_str().map(str::to_owned)).filter(|kind| kind != "none");
        key.bytes = bytes.and_then(|bytes| bytes.as_u64());
    }
}
