//! Where something is said.

use serde::{Deserialize, Serialize};

use super::Platform;

/// What kind of conversation a place is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PlaceKind {
    /// Several people can read it.
    Channel,
    /// One person and the bot.
    Direct,
}

/// A channel, thread or direct message on some platform.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// The platform.
    pub platform: Platform,
    /// Workspace, guild, or host name for the console.
    pub team: String,
    /// The platform's channel id.
    pub channel: String,
    /// The message that heads the thread, when it is one.
    pub thread: Option<String>,
    /// Channel or direct message.
    pub kind: PlaceKind,
    /// A handle the gateway knows, under which one event can be answered where
    /// the bot may not write by itself (a slash command in a channel it is not in).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<String>,
}

/// One message that was said, so that it can be edited or reacted to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MessageRef {
    /// Where it stands.
    pub place: Place,
    /// The platform's id of it (Slack's `ts`, Discord's snowflake, the console's `m1`).
    pub id: String,
}
