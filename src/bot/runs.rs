//! What is in flight now, so that it can be cancelled and waited for.

use std::{collections::HashMap, fmt, sync::Mutex, time::Instant};

use tokio_util::sync::CancellationToken;

use crate::model::{PersonId, RunId};

/// Why a run was stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Why {
    /// A person cancelled it.
    By(String),
    /// The bot is stopping.
    Stopping,
    /// All changes were stopped, in these words.
    Frozen(String),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::By(who) => write!(f, "cancelled by {who}"),
            Self::Stopping => f.write_str("the bot was stopped"),
            Self::Frozen(why) => f.write_str(why),
        }
    }
}

struct Run {
    stop: CancellationToken,
    why: Option<Why>,
    asker: Option<PersonId>,
    line: String,
    since: Instant,
}

/// Runs in flight.
#[derive(Default)]
pub(super) struct Runs(Mutex<HashMap<RunId, Run>>);

/// One run in flight, as others may see it.
pub(super) struct Flight {
    /// Its id.
    pub(super) run: RunId,
    /// Who asked.
    pub(super) asker: Option<PersonId>,
    /// What was asked, redacted.
    pub(super) line: String,
    /// For how long it has been going.
    pub(super) since: Instant,
}

/// Leaves the register when dropped.
pub(super) struct Entered<'a> {
    runs: &'a Runs,
    run: RunId,
    /// Cancelled when the run should stop.
    pub(super) stop: CancellationToken,
}

impl Runs {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<RunId, Run>> {
        self.0.lock().expect("nobody panics while holding the register")
    }

    /// Enters a run.
    pub(super) fn enter(&self, run: &RunId, asker: Option<PersonId>, line: &str) -> Entered<'_> {
        let stop = CancellationToken::new();
        let entry = Run { stop: stop.clone(), why: None, asker, line: line.to_owned(), since: Instant::now() };
        self.lock().insert(run.clone(), entry);
        Entered { runs: self, run: run.clone(), stop }
    }

    /// Stops a run; `false` when it is not in flight.
    pub(super) fn cancel(&self, run: &RunId, why: Why) -> bool {
        match self.lock().get_mut(run) {
            Some(entry) => {
                entry.why.get_or_insert(why);
                entry.stop.cancel();
                true
            }
            None => false,
        }
    }

    /// Why a run was stopped, if it was.
    pub(super) fn why(&self, run: &RunId) -> Option<Why> {
        self.lock().get(run).and_then(|entry| entry.why.clone())
    }

    /// Stops everything.
    pub(super) fn cancel_all(&self, why: Why) {
        for entry in self.lock().values_mut() {
            entry.why.get_or_insert_with(|| why.clone());
            entry.stop.cancel();
        }
    }

    /// How many are in flight.
    pub(super) fn in_flight(&self) -> usize {
        self.lock().len()
    }

    /// Everything in flight, oldest first.
    pub(super) fn list(&self) -> Vec<Flight> {
        let mut flights: Vec<Flight> = self
            .lock()
            .iter()
            .map(|(run, entry)| Flight {
                run: run.clone(),
                asker: entry.asker.clone(),
                line: entry.line.clone(),
                since: entry.since,
            })
            .collect();
        flights.sort_by_key(|flight| flight.since);
        flights
    }
}

impl Entered<'_> {
    /// Why it was stopped, if it was.
    pub(super) fn why(&self) -> Option<Why> {
        self.runs.why(&self.run)
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.runs.lock().remove(&self.run);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_leaves_the_register_when_it_ends_and_the_first_reason_to_stop_is_kept() {
        let runs = Runs::default();
        let run = RunId::from_bits(7);
        let entered = runs.enter(&run, None, "status");
        assert!(runs.cancel(&run, Why::By("ana".into())));
        runs.cancel_all(Why::Stopping);
        assert!(entered.stop.is_cancelled());
        assert_eq!(entered.why(), Some(Why::By("ana".into())));
        drop(entered);
        assert_eq!(runs.in_flight(), 0);
        assert!(!runs.cancel(&run, Why::Stopping));
    }
}
