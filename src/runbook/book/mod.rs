//! Runbooks: commands of several steps with gates.
//!
//! A file of `commands/runbooks/` becomes a [`Book`]. One going through it is a
//! [`BookRun`]: a document that holds the steps it began with, so neither a
//! reload nor a new version changes what somebody is in the middle of. The
//! engine is two functions without IO: [`BookRun::advance`] says what is to be
//! done now, [`BookRun::hear`] takes in what happened. Whoever drives it writes
//! the document down between the two, and may begin again from what was
//! written at any moment.

mod card;
mod engine;
#[cfg(test)]
mod properties;
mod rehearse;
mod scope;
mod state;
mod step;

pub use card::book_card;
pub use engine::{Happened, Next, NotNow, Slot, TouchEnd};
pub use rehearse::Rehearsed;
pub use scope::seen;
pub use state::{BOOK_VERSION, Back, BookRun, BookStart, How, Note, Phase, StepRun, StepState};
pub use step::{Act, Book, BookStep, Or, Verify};
