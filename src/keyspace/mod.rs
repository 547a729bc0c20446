//! What is in a Redis, found out without harm.
//!
//! Bytes in, findings out: nothing here connects to anything. A survey of a
//! server is a state machine that says what to send next and is told what
//! came back; `exec` carries the bytes. The same [`Tally`] and report are made
//! of a server's answers and of an RDB file's contents.

mod bytes;
pub mod cursor;
pub mod glob;
pub mod name;
pub mod prefix;
pub mod rdb;
pub mod seen;
pub mod tally;
pub mod top;

use bytes::{bytes_as_option_text, bytes_as_text};

pub use seen::{Kind, Seen, Ttl};
pub use tally::{Tally, Wanted};
