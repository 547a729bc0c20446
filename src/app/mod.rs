//! Builds the house, starts it, empties it.

pub mod cli;
mod completions;
pub mod log;
pub mod rdb;
pub mod serve;
mod signals;
pub mod slack;
pub mod trial;

pub use completions::completions;
