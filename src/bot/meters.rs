//! What the bot counts of itself.

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use crate::store::Outcome;

/// Every way a command can end.
const OUTCOMES: [Outcome; 8] = [
    Outcome::Answered,
    Outcome::Denied,
    Outcome::Limited,
    Outcome::Misunderstood,
    Outcome::Cancelled,
    Outcome::TimedOut,
    Outcome::Failed,
    Outcome::Begun,
];

/// Upper bounds of the latency histogram, in milliseconds.
const BOUNDS_MS: [u64; 10] = [1, 5, 10, 50, 100, 500, 1_000, 5_000, 10_000, 60_000];

/// Counters since the start.
#[derive(Default)]
pub struct Meters {
    events: AtomicU64,
    redeliveries: AtomicU64,
    outcomes: [AtomicU64; OUTCOMES.len()],
    buckets: [AtomicU64; BOUNDS_MS.len()],
    took_us: AtomicU64,
    unjournalled: AtomicU64,
    retried: AtomicU64,
    owed: AtomicU64,
}

impl Meters {
    pub(super) fn event(&self) {
        self.events.fetch_add(1, Relaxed);
    }

    pub(super) fn redelivery(&self) {
        self.redeliveries.fetch_add(1, Relaxed);
    }

    pub(super) fn command(&self, outcome: Outcome, took: Duration) {
        self.outcomes[outcome as usize].fetch_add(1, Relaxed);
        self.took_us.fetch_add(took.as_micros() as u64, Relaxed);
        let took_ms = took.as_millis() as u64;
        for (bucket, bound) in self.buckets.iter().zip(BOUNDS_MS) {
            if took_ms <= bound {
                bucket.fetch_add(1, Relaxed);
            }
        }
    }

    pub(super) fn unjournalled(&self) {
        self.unjournalled.fetch_add(1, Relaxed);
    }

    pub(super) fn retried(&self) {
        self.retried.fetch_add(1, Relaxed);
    }

    pub(super) fn owed(&self) {
        self.owed.fetch_add(1, Relaxed);
    }

    /// Looks answered while the journal could not be written.
    pub(super) fn unjournalled_so_far(&self) -> u64 {
        self.unjournalled.load(Relaxed)
    }

    /// Commands that ended, however they did.
    pub fn commands(&self) -> u64 {
        self.outcomes.iter().map(|count| count.load(Relaxed)).sum()
    }

    pub(super) fn to_text(&self, in_flight: usize, store_failing: bool) -> String {
        let mut text = String::new();
        let mut counter = |name: &str, help: &str, value: u64| {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} counter\n{name} {value}");
        };
        counter("rediscue_events_total", "Events that gateways handed in.", self.events.load(Relaxed));
        counter("rediscue_redeliveries_total", "Events seen before.", self.redeliveries.load(Relaxed));
        counter(
            "rediscue_unjournalled_total",
            "Looks answered while the journal could not be written.",
            self.unjournalled.load(Relaxed),
        );
        counter("rediscue_deliveries_retried_total", "Deliveries tried again.", self.retried.load(Relaxed));
        counter("rediscue_deliveries_owed_total", "Deliveries put down to be made later.", self.owed.load(Relaxed));
        let _ = writeln!(
            text,
            "# HELP rediscue_commands_total Commands that ended.\n# TYPE rediscue_commands_total counter"
        );
        for (outcome, count) in OUTCOMES.iter().zip(&self.outcomes) {
            let _ = writeln!(text, "rediscue_commands_total{{outcome=\"{}\"}} {}", outcome.word(), count.load(Relaxed));
        }
        let name = "rediscue_command_duration_seconds";
        let _ = writeln!(text, "# HELP {name} From the event to the answer.\n# TYPE {name} histogram");
        for (bucket, bound) in self.buckets.iter().zip(BOUNDS_MS) {
            let _ = writeln!(text, "{name}_bucket{{le=\"{}\"}} {}", bound as f64 / 1e3, bucket.load(Relaxed));
        }
        let count = self.commands();
        let _ = writeln!(text, "{name}_bucket{{le=\"+Inf\"}} {count}\n{name}_count {count}");
        let _ = writeln!(text, "{name}_sum {}", self.took_us.load(Relaxed) as f64 / 1e6);
        for (name, help, value) in [
            ("rediscue_commands_in_flight", "Commands being carried out now.", in_flight as u64),
            ("rediscue_store_failing", "1 when the journal cannot be written.", u64::from(store_failing)),
        ] {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
        }
        text
    }
}
