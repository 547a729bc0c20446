//! keyspace

pub mod rdb;
pub mod seen;

pub use seen::{Kind, Seen, Ttl};
