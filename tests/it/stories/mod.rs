//! One file per story.

mod rdb_real;
mod config_files;
mod store;
