//! The reader, from the program's own files.

#[path = "../src/keyspace/rdb/mod.rs"]
pub(crate) mod rdb;
#[path = "../src/keyspace/seen.rs"]
pub(crate) mod seen;
