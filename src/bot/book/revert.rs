//! A change that takes itself back because a watch it was made under does not
//! hold: by its own end, which those who consented to it were told of.

use std::sync::Arc;

use super::{Desk, touch::PACE, wait};
use crate::{bot::Hall, model::RunId, runbook::TouchEnd, store::EndState};

/// Has it take itself back, unless that is under way, and waits for its end. `None`: the bot stops.
pub(super) async fn revert(hall: &Arc<Hall>, desk: &Desk, plan: &RunId) -> Option<TouchEnd> {
    let mut told = false;
    loop {
        match hall.store.end_of(plan).await {
            Ok(Some(EndState::Over { good: true, note })) => {
                return Some(TouchEnd::Done { said: note, undo: None, changed: true, own_way_back: false });
            }
            Ok(Some(EndState::Over { good: false, note })) => {
                return Some(TouchEnd::Not { said: note, untouched: false });
            }
            Ok(_) if !told => match hall.store.end_now(plan, jiff::Timestamp::now()).await {
                Ok(()) => {
                    told = true;
                    hall.new_end.notify_one();
                }
                // Asked for again: what cannot be written down is not done.
                Err(error) => tracing::warn!(%error, %plan, "a change's own end could not be brought forward"),
            },
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, %plan, "a change's own end could not be read"),
        }
        if desk.run().await.is_ending() {
            let said = "the runbook was aborted; the change still takes itself back".to_owned();
            return Some(TouchEnd::Not { said, untouched: false });
        }
        if !wait(hall, desk, Some(PACE)).await {
            return None;
        }
    }
}
