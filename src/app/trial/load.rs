//! The applications of a trial, as far as a newcomer sees them: a little
//! traffic, workers that wait, pages and a log.

use std::{
    io,
    path::Path,
    sync::mpsc::{RecvTimeoutError, Sender, channel},
    time::Duration,
};

use axum::{Json, Router, http::header, routing::get};
use serde_json::json;
use tokio::{net::TcpListener, task::JoinSet};

use super::{
    resp::Conversation,
    seed::{GODEL, ONESOURCE, PROSPECTFLOW, SOMABRAIN, session_keys},
};

const BEAT: Duration = Duration::from_millis(200);

/// Everything that runs beside the server until the trial ends.
pub(super) struct Load {
    tasks: JoinSet<()>,
    /// Dropped, the traffic ends.
    _beating: Sender<()>,
    /// Connections that do nothing but be there: pools, and workers that wait.
    _idle: Vec<Conversation>,
    pages: u16,
}

impl Load {
    pub(super) async fn start(port: u16, password: &str, dir: &Path) -> io::Result<Self> {
        let password = password.to_owned();
        let opened = {
            let password = password.clone();
            tokio::task::spawn_blocking(move || {
                Ok::<_, io::Error>((idle(port, &password)?, Traffic::open(port, &password)?))
            })
        };
        let (idle, mut traffic) = opened.await.map_err(io::Error::other)??;
        let mut tasks = JoinSet::new();
        // A thread of its own: it waits for answers, and the server may be made
        // to wait. When the server has gone, so has the reason to go on.
        let (beating, ended) = channel::<()>();
        std::thread::spawn(move || {
            while ended.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) && traffic.beat().is_ok() {}
        });
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let pages = listener.local_addr()?.port();
        tasks.spawn(async move {
            let _ = axum::serve(listener, routes()).await;
        });
        std::fs::write(dir.join("onesource.log"), LOG)?;
        Ok(Self { tasks, _beating: beating, _idle: idle, pages })
    }

    /// The port of the applications' pages.
    pub(super) fn pages(&self) -> u16 {
        self.pages
    }

    pub(super) fn stop(mut self) {
        self.tasks.abort_all();
    }
}

/// Named connections, as pools leave them, and three workers blocked on an empty queue.
fn idle(port: u16, password: &str) -> io::Result<Vec<Conversation>> {
    let mut open = Vec::new();
    for (name, count, database) in [
        ("prospectflow-api", 6, PROSPECTFLOW),
        ("godel-api", 3, GODEL),
        ("somabrain-agent", 4, SOMABRAIN),
        ("onesource-app", 2, ONESOURCE),
    ] {
        for _ in 0..count {
            let mut connection = Conversation::open(port, password, name)?;
            connection.ask(&["SELECT", &database.to_string()])?;
            open.push(connection);
        }
    }
    for _ in 0..3 {
        let mut worker = Conversation::open(port, password, "godel-worker")?;
        worker.ask(&["SELECT", &GODEL.to_string()])?;
        worker.send(&["BLPOP", "godel:queue:retry", "0"])?;
        open.push(worker);
    }
    Ok(open)
}

/// A handful of commands five times a second: enough for rates to be more than zero.
struct Traffic {
    api: Conversation,
    queue: Conversation,
    keys: Vec<String>,
    beats: usize,
}

impl Traffic {
    fn open(port: u16, password: &str) -> io::Result<Self> {
        let api = Conversation::open(port, password, "prospectflow-api")?;
        let mut queue = Conversation::open(port, password, "godel-api")?;
        queue.ask(&["SELECT", &GODEL.to_string()])?;
        Ok(Self { api, queue, keys: session_keys(200), beats: 0 })
    }

    fn beat(&mut self) -> io::Result<()> {
        self.beats += 1;
        for at in 0..6 {
            let key = &self.keys[(self.beats * 7 + at * 31) % self.keys.len()];
            self.api.ask(&["GET", key])?;
        }
        self.api.ask(&["GET", "session:nobody-has-this-one"])?;
        // The queue fills a little faster than it drains, and not for ever.
        if self.beats.is_multiple_of(5) && self.beats < 5_000 {
            let event = format!(r#"{{"id":"live-{}","kind":"page_view"}}"#, self.beats);
            self.queue.ask(&["RPUSH", "godel:queue:pending", &event])?;
        }
        Ok(())
    }
}

fn routes() -> Router {
    let healthy = || async { Json(json!({"status": "ok"})) };
    let degraded = || async { Json(json!({"status": "degraded", "redis": "slow", "sse_resume": true})) };
    let metrics = || async { ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], METRICS) };
    Router::new()
        .route("/olumi/healthz", get(degraded))
        .route("/prospectflow/health", get(healthy))
        .route("/onesource/health", get(healthy))
        .route("/godel/metrics", get(metrics))
}

const METRICS: &str = "\
# HELP redis_fallback_active Whether events go to memory instead of Redis.
# TYPE redis_fallback_active gauge
redis_fallback_active 0
# HELP redis_fallback_total Times the fallback was entered.
# TYPE redis_fallback_total counter
redis_fallback_total 3
# HELP memory_cache_entries Events held in memory.
# TYPE memory_cache_entries gauge
memory_cache_entries{queue=\"pending\"} 0
memory_cache_entries{queue=\"retry\"} 14
# HELP queued_events_total Events queued.
# TYPE queued_events_total counter
queued_events_total 91840
";

const LOG: &str = "\
2026-03-02T08:11:02Z INFO  conversation store: redis, ttl 2592000
2026-03-02T08:14:40Z WARN  redis_error op=RPUSH code=OOM retry=1
2026-03-02T08:14:41Z INFO  redis write ok after 1 retry
2026-03-02T08:20:09Z ERROR redis_error op=EXPIRE code=TIMEOUT after_ms=500
2026-03-02T08:20:09Z WARN  history persisted to fallback store=mongo
2026-03-02T08:31:55Z INFO  msg_count_before=8
";
