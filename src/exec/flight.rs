//! The same question at the same moment is asked once.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use serde_json::Value;
use tokio::{sync::watch, task::AbortHandle};

use crate::{diagnosis::Observation, model::Progress, runbook::Look};

/// What makes two looks the same. The instance is the one whose site holds the flights.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Question {
    pub look: Look,
    /// A redacted answer never serves somebody who may see values, nor the other way round.
    pub reveal: bool,
}

/// A look under way. Everybody who asked holds it; when the last lets go, it is given up.
#[derive(Debug)]
pub(crate) struct Flight {
    answer: watch::Receiver<Option<Arc<Observation>>>,
    progress: watch::Receiver<Option<Progress>>,
    partial: watch::Receiver<Option<Value>>,
    task: AbortHandle,
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The looks under way at one instance.
#[derive(Debug, Default)]
pub(crate) struct Flights(Mutex<HashMap<Question, Weak<Flight>>>);

impl Flights {
    fn all(&self) -> MutexGuard<'_, HashMap<Question, Weak<Flight>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins the look under way for this question, or starts it.
    pub(crate) fn join<F>(
        &self,
        question: Question,
        start: impl FnOnce(watch::Sender<Option<Progress>>, watch::Sender<Option<Value>>) -> F,
    ) -> Arc<Flight>
    where
        F: Future<Output = Observation> + Send + 'static,
    {
        let mut all = self.all();
        if let Some(flight) = all.get(&question).and_then(Weak::upgrade)
            && flight.answer.borrow().is_none()
            && !flight.task.is_finished()
        {
            return flight;
        }
        // Those that ended leave an entry behind; they go when there are some.
        if all.len() >= 32 {
            all.retain(|_, flight| flight.strong_count() > 0);
        }
        let (answered, answer) = watch::channel(None);
        let (told, progress) = watch::channel(None);
        let (told_first, partial) = watch::channel(None);
        let work = start(told, told_first);
        let task = tokio::spawn(async move {
            let observation = work.await;
            let _ = answered.send(Some(Arc::new(observation)));
        })
        .abort_handle();
        let flight = Arc::new(Flight { answer, progress, partial, task });
        all.insert(question, Arc::downgrade(&flight));
        flight
    }
}

impl Flight {
    /// Waits for the answer, passing progress and a first answer on meanwhile. `None`: the look died (a bug, or shutting down).
    pub(crate) async fn answer(
        &self,
        progress: Option<&watch::Sender<Progress>>,
        partial: Option<&watch::Sender<Option<Value>>>,
    ) -> Option<Arc<Observation>> {
        let mut answer = self.answer.clone();
        let mut steps = self.progress.clone();
        let mut listening = progress.is_some();
        let mut firsts = self.partial.clone();
        // Somebody who joins late is told the first answer too.
        firsts.mark_changed();
        let mut awaiting = partial.is_some();
        loop {
            tokio::select! {
                biased;
                found = answer.wait_for(Option::is_some) => return found.ok().and_then(|found| found.clone()),
                step = steps.changed(), if listening => match (step, progress) {
                    (Ok(()), Some(progress)) => {
                        if let Some(step) = steps.borrow_and_update().clone() {
                            progress.send_replace(step);
                        }
                    }
                    _ => listening = false,
                },
                first = firsts.changed(), if awaiting => match (first, partial) {
                    (Ok(()), Some(partial)) => {
                        let value = firsts.borrow_and_update().clone();
                        if value.is_some() {
                            partial.send_replace(value);
                        }
                    }
                    _ => awaiting = false,
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use super::*;

    fn question(reveal: bool) -> Question {
        Question { look: Look::Latency { samples: 3 }, reveal }
    }

    fn nothing() -> Observation {
        Observation { nodes: Vec::new(), merged: Ok(Value::Null), took: Duration::ZERO }
    }

    #[tokio::test]
    async fn five_who_ask_at_once_cause_one_look() {
        let flights = Flights::default();
        let started = Arc::new(AtomicUsize::new(0));
        let ask = |reveal| {
            flights.join(question(reveal), |_, _| {
                started.fetch_add(1, Ordering::Relaxed);
                async {
                    tokio::time::sleep(Duration::from_millis(30)).await;
                    nothing()
                }
            })
        };
        let joined: Vec<_> = (0..5).map(|_| ask(false)).collect();
        let other = ask(true);
        for flight in &joined {
            assert!(flight.answer(None, None).await.is_some());
        }
        assert!(other.answer(None, None).await.is_some());
        assert_eq!(started.load(Ordering::Relaxed), 2, "one redacted, one revealed");
        // The answer is there; who asks now asks anew.
        ask(false).answer(None, None).await.unwrap();
        assert_eq!(started.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn a_look_nobody_waits_for_any_more_is_given_up() {
        let flights = Flights::default();
        let alive = Arc::new(());
        let held = alive.clone();
        let flight = flights.join(question(false), |_, _| async move {
            let _held = held;
            std::future::pending().await
        });
        tokio::task::yield_now().await;
        drop(flight);
        tokio::time::timeout(Duration::from_secs(1), async {
            while Arc::strong_count(&alive) > 1 {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
    }
}
