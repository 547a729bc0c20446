//! One file per story.

mod store;
