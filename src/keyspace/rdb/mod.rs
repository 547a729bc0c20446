//! The reading of RDB files: what a backup holds, without a server and without
//! loading it.
//!
//! [`Reader`] is fed blocks of bytes, of any size, and hands out one [`Key`] a
//! key. It keeps counts, never values: a value is measured from its framing
//! and passed over, so 1 GiB of hash costs what 1 KiB does in memory. What it
//! holds is bounded by constants below whatever a file claims; a file that
//! lies ends in a [`RdbError`] with the byte it was found at.
//!
//! This room does no IO. `exec::rdb` feeds it from a file, `exec::replication`
//! from a server that was asked for a full synchronisation.

pub mod dump;
mod error;
mod facts;
mod key;
mod lzf;
mod memory;
mod module;
mod packed;
mod radix;
mod reader;
mod stream;
mod value;
mod window;

pub use error::{Damage, RdbError};
pub use facts::{Checksum, Database, Facts};
pub use key::{Encoding, Key};
pub use memory::{Allocator, Rules};
pub use reader::{Reader, Reading};

/// Names longer than this are handed out cut; [`Key::name_length`] says how long they were.
pub const NAME_MAX: usize = 16 * 1024;
/// Databases told apart in one file.
pub const DATABASES_MAX: usize = 16 * 1024;
