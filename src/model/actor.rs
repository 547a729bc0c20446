//! Who speaks: an account on a platform, and the person it belongs to.

use std::{collections::BTreeSet, fmt};

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

/// Something a platform vouches for of an account, that `policy.toml` names. Its owner or others may change it, so it
/// grants looks and nothing else.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Badge {
    /// The account is in this user group.
    Group {
        /// The platform.
        platform: Platform,
        /// The workspace the group is of.
        team: String,
        /// The group's id.
        group: String,
    },
    /// The account has this confirmed e-mail address.
    Email {
        /// The platform.
        platform: Platform,
        /// The workspace that says so.
        team: String,
        /// The address, in small letters.
        email: String,
    },
}

impl fmt::Display for Badge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group { platform, team, group } => write!(f, "user group {platform}:{team}/{group}"),
            Self::Email { platform, team, .. } => write!(f, "e-mail address in {platform}:{team}"),
        }
    }
}

/// An address is somebody's data: it stays out of logs.
impl fmt::Debug for Badge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The badges of an account, among those that were asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Badges {
    /// Those it has.
    pub worn: BTreeSet<Badge>,
    /// Why others could not be asked for; those count as not there.
    pub untold: Option<String>,
}

/// Whoever spoke: an identity, and the person of `policy.toml` it belongs to, if any.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Actor {
    /// The account.
    pub identity: Identity,
    /// The person, or [`PersonId::of_account`] for one who is known by a badge; `None` is a stranger, who may do
    /// nothing but be told so.
    pub person: Option<PersonId>,
    /// What the platform calls them. Data, never trusted.
    pub display: String,
    /// What else the platform vouches for, of an account that belongs to no person.
    pub badges: Badges,
}
