//! What is in a Redis, found out without harm.
//!
//! Bytes in, findings out: nothing here connects to anything. A survey of a
//! server is a state machine that says what to send next and is told what
//! came back; `exec` carries the bytes. The same [`Tally`] and report are made
//! of a server's answers and of an RDB file's contents.

mod ask;
mod bytes;
mod checkpoint;
pub mod clients;
pub mod cursor;
pub mod edge;
pub mod file;
pub mod glob;
pub mod hotkeys;
pub mod name;
pub mod pace;
pub mod prefix;
pub mod rdb;
pub mod report;
pub mod sample;
pub mod seen;
mod server;
mod survey;
#[cfg(test)]
mod survey_tests;
pub mod tally;
pub mod top;
pub mod wire;

use bytes::{bytes_as_option_text, bytes_as_text};

pub use ask::{Aim, Ask};
pub use checkpoint::{Checkpoint, Piece};
pub use report::{Method, Part, Report, Showing};
pub use sample::{Estimate, Figure, Sample, Sampled};
pub use seen::{Kind, Seen, Ttl};
pub use server::Server;
pub use survey::{Doing, Hot, LANES, NamedFacts, Outcome, Step, Survey};
pub use tally::{Tally, Wanted};
