//! Turns: what is said to one card is heard in the order it came.
//!
//! Events are handled side by side, so two presses of one card within a moment
//! could overtake each other. Whoever takes a turn waits until the one before
//! it has had its word, and no longer than a moment: order is not worth silence.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::oneshot;

/// Nobody is waited for longer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Cards remembered before those that nobody waits at are forgotten.
const MANY: usize = 256;

/// Who was last, by card.
#[derive(Default)]
pub(crate) struct Turns(Mutex<HashMap<String, oneshot::Receiver<()>>>);

/// A place in the row. It ends when it is dropped, if not before.
pub(crate) struct Turn {
    before: Mutex<Option<oneshot::Receiver<()>>>,
    end: Mutex<Option<oneshot::Sender<()>>>,
}

impl Turns {
    /// Stands behind whoever came to the same card before.
    pub(crate) fn enter(&self, card: String) -> Turn {
        let (end, ended) = oneshot::channel();
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() >= MANY {
            last.retain(|_, ended| matches!(ended.try_recv(), Err(oneshot::error::TryRecvError::Empty)));
        }
        let before = last.insert(card, ended);
        Turn { before: Mutex::new(before), end: Mutex::new(Some(end)) }
    }
}

impl Turn {
    /// Waits until those before have had their word.
    pub(crate) fn wait(&self) -> impl Future<Output = ()> + Send + use<> {
        let before = self.before.lock().unwrap_or_else(PoisonError::into_inner).take();
        async move {
            if let Some(before) = before {
                // An error is an end as well: whoever was before is gone.
                let _ = tokio::time::timeout(PATIENCE, before).await;
            }
        }
    }

    /// The next one may.
    pub(crate) fn end(&self) {
        drop(self.end.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn those_at_one_card_come_in_the_order_they_entered_and_others_are_not_waited_for() {
        let turns = Turns::default();
        let (first, second, elsewhere) =
            (turns.enter("a".to_owned()), turns.enter("a".to_owned()), turns.enter("b".to_owned()));
        elsewhere.wait().await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let waiting = tokio::spawn({
            let order = order.clone();
            async move {
                second.wait().await;
                order.lock().unwrap().push(2);
            }
        });
        tokio::task::yield_now().await;
        order.lock().unwrap().push(1);
        first.end();
        waiting.await.unwrap();
        assert_eq!(*order.lock().unwrap(), [1, 2]);
        drop(first);
        // Whoever is gone keeps nobody waiting.
        turns.enter("a".to_owned()).wait().await;
    }
}
