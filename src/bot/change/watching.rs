//! What plans that wait have counted, kept true for when they are carried out.
//!
//! Nothing depends on it: a plan whose count is not kept, be it that the bot
//! was started anew or that others came after it, is counted by walking.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::{exec::aside::Watched, model::RunId};

/// The counts of so many plans are kept true at once: each has a connection to its servers, and its names in memory.
const MOST: usize = 4;

/// Plans that wait, and their counts; the newest last.
#[derive(Default)]
pub(in crate::bot) struct Watching(Mutex<Vec<(RunId, Vec<Watched>)>>);

impl Watching {
    /// Keeps what a plan counted. The oldest gives way.
    pub(super) fn keep(&self, run: &RunId, watched: Vec<Watched>) {
        if watched.iter().all(|watched| watched.on.is_empty()) {
            return;
        }
        let mut all = self.all();
        all.push((run.clone(), watched));
        let over = all.len().saturating_sub(MOST);
        all.drain(..over);
    }

    /// Takes what a plan counted, to carry it out or because it is over.
    pub(super) fn take(&self, run: &RunId) -> Vec<Watched> {
        let mut all = self.all();
        let at = all.iter().position(|(one, _)| one == run);
        at.map(|at| all.remove(at).1).unwrap_or_default()
    }

    fn all(&self) -> MutexGuard<'_, Vec<(RunId, Vec<Watched>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
