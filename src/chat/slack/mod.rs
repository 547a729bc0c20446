//! Slack, through slack-morphism. Only this room knows Block Kit.

mod blocks;
mod table;
mod text;
