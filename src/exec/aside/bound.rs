//! The bound that was consented to, where several hands take from it at once.

use std::sync::Mutex;

use tokio::sync::Notify;

use super::lock;

/// So many keys may be reached, and not one more.
pub(super) struct Bound {
    most: u64,
    state: Mutex<State>,
    settled: Notify,
}

#[derive(Default)]
struct State {
    /// Reached, or taken to be reached.
    taken: u64,
    /// Of these, how many may still be given back.
    open: u64,
}

/// Keys somebody may reach now. Dropped, all of them count as reached.
pub(super) struct Taken<'a> {
    bound: &'a Bound,
    pub(super) count: u64,
}

impl Bound {
    pub(super) fn new(most: u64) -> Self {
        Self { most, state: Mutex::default(), settled: Notify::new() }
    }

    pub(super) fn most(&self) -> u64 {
        self.most
    }

    /// As many of the wanted as there are. Fewer only when the bound is reached whatever others give back, so that
    /// nobody ends a run because of keys that were not there after all.
    pub(super) async fn take(&self, wanted: u64) -> Taken<'_> {
        loop {
            let settled = self.settled.notified();
            {
                let mut state = lock(&self.state);
                let free = self.most.saturating_sub(state.taken);
                if free >= wanted || state.open == 0 {
                    let count = free.min(wanted);
                    state.taken += count;
                    state.open += count;
                    return Taken { bound: self, count };
                }
            }
            settled.await;
        }
    }
}

impl Taken<'_> {
    /// So many were reached; the others are for whoever finds more.
    pub(super) fn settle(mut self, reached: u64) {
        let back = self.count.saturating_sub(reached);
        let mut state = lock(&self.bound.state);
        state.taken -= back;
        state.open -= back;
        drop(state);
        self.count -= back;
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        lock(&self.bound.state).open -= self.count;
        self.bound.settled.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::poll;

    use super::*;

    #[tokio::test]
    async fn what_others_may_give_back_is_waited_for_and_never_taken_twice() {
        let bound = Bound::new(10);
        let first = bound.take(6).await;
        assert_eq!(first.count, 6);
        let mut second = pin!(bound.take(6));
        assert!(poll!(&mut second).is_pending(), "four are free, and six more may come back");
        first.settle(4);
        assert_eq!(second.await.count, 6);
        let third = bound.take(1).await;
        assert_eq!(third.count, 0, "ten were reached, as the second counts as having reached all it took");
    }

    #[tokio::test]
    async fn whoever_fails_keeps_nobody_waiting() {
        let bound = Bound::new(3);
        let first = bound.take(3).await;
        let mut second = pin!(bound.take(1));
        assert!(poll!(&mut second).is_pending());
        drop(first);
        assert_eq!(second.await.count, 0, "what it had taken may have been reached");
    }
}
