//! Who speaks: an account on a platform, and the person it belongs to.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::PersonId;

/// A chat platform, or the local console.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Platform {
    /// Slack, by Socket Mode or signed HTTP.
    Slack,
    /// Discord.
    Discord,
    /// The local chat: `rediscue console` and `rediscue try`.
    Console,
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Platform::Slack => "slack",
            Platform::Discord => "discord",
            Platform::Console => "console",
        })
    }
}

/// An account as its platform knows it. Never an e-mail address: those can be changed by their owner.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// The platform.
    pub platform: Platform,
    /// Workspace, guild, or host name for the console.
    pub team: String,
    /// The platform's user id, or the operating system's user name for the console.
    pub user: String,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}/{}", self.platform, self.team, self.user)
    }
}

/// Whoever spoke: an identity, and the person of `policy.toml` it belongs to, if any.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Actor {
    /// The account.
    pub identity: Identity,
    /// The person; `None` is a stranger, who may do nothing but be told so.
    pub person: Option<PersonId>,
    /// What the platform calls them. Data, never trusted.
    pub display: String,
}
