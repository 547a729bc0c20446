//! One file per story.

mod config_files;
mod rdb_real;
mod store;
