//! Rediscue runs a team's Redis runbooks from chat.
//!
//! The rooms below are in reading order: words first, then the rooms that
//! think (values and `now` in, values out; no network, database, clock or
//! async), then the rooms that do (each touches one outside), then the hall
//! that joins them. Who may import whom is a table in `ARCHITECTURE.md`,
//! checked by `tests/it/house.rs`.

// Words.
pub mod chart;
pub mod model;

// Thinking.
pub mod alert;
pub mod diagnosis;
pub mod escalation;
pub mod incident;
pub mod keyspace;
pub mod policy;
pub mod runbook;

// Doing.
pub mod chat;
pub mod exec;
pub mod pager;
pub mod store;
pub mod web;

// The hall.
pub mod app;
pub mod bot;
pub mod config;
