//! Slack, through slack-morphism. Only this room knows Block Kit.

mod api;
mod blocks;
mod table;
mod text;
