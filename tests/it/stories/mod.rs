//! One file per story.

mod config_files;
mod deploy;
mod rdb_real;
mod store;
