//! The outside: servers that are started for a test and end with it.

use std::{
    future::Future,
    time::{Duration, Instant},
};

/// The limits of a policy whose people type faster than people do.
macro_rules! unhurried {
    () => {
        r#"
[limits]
person = { per_minute = 100000, burst = 100000, at_once = 2000 }
instance = { per_minute = 100000, burst = 100000, at_once = 2000 }
cheap = { per_minute = 100000, burst = 100000, at_once = 2000 }
moderate = { per_minute = 100000, burst = 100000, at_once = 2000 }
heavy = { per_minute = 100000, burst = 100000, at_once = 100 }
"#
    };
}

pub(crate) mod book;
pub(crate) mod chat;
pub(crate) mod disk;
pub(crate) mod keys;
pub(crate) mod looking;
pub(crate) mod mortal;
pub(crate) mod program;
pub(crate) mod proxy;
pub(crate) mod redis;
pub(crate) mod room;
pub(crate) mod slack;
pub(crate) mod slack_bot;
pub(crate) mod team;
pub(crate) mod web;

/// Polls until `state` holds. Waits for a state, never for a time.
///
/// # Panics
///
/// When it does not hold within `limit`.
pub(crate) fn eventually(what: &str, limit: Duration, mut state: impl FnMut() -> bool) {
    let start = Instant::now();
    while !state() {
        assert!(start.elapsed() < limit, "within {limit:?} it never happened that {what}");
        pause(Duration::from_millis(10));
    }
}

/// A moment between two looks at a state, on a thread that may wait.
#[expect(clippy::disallowed_methods, reason = "tests poll from threads of their own")]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// The same, for states that must be asked for.
pub(crate) async fn eventually_async<F>(what: &str, limit: Duration, mut state: impl FnMut() -> F)
where
    F: Future<Output = bool>,
{
    let start = Instant::now();
    while !state().await {
        assert!(start.elapsed() < limit, "within {limit:?} it never happened that {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
