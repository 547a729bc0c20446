//! One file per story.

mod rdb_real;
mod store;
