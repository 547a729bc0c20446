//! One file per story.

mod command_files;
mod config_files;
mod console_socket;
mod console_try;
mod deploy;
mod deployments;
mod diagnostics;
mod errors;
mod exec_deployments;
mod exec_outside;
mod exec_trouble;
mod hall;
mod keyspace_procedures;
mod keyspace_survey;
mod procedures_diagnose;
mod rdb_damage;
mod rdb_formats;
mod rdb_real;
mod rdb_replication;
mod slack_cards;
mod slack_doors;
mod slack_many;
mod slack_talk;
mod slack_trouble;
mod store;
mod waiting;
