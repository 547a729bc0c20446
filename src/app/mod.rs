//! Builds the house, starts it, empties it.

pub mod log;
pub mod serve;
pub mod trial;
