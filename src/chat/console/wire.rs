//! What a session and the bot's side of the console say to each other.
//!
//! Over the socket each message is one line of JSON. The first line from
//! either side is a hello with [`VERSION`]; sides that disagree say so and
//! part, because half-understood chat is worse than none.

use serde::{Deserialize, Serialize};

use super::Completions;
use crate::model::Card;

/// The version of the messages below; raised when an old side would misread them.
pub const VERSION: u32 = 1;

/// The longest line a session may send, in bytes.
pub const LONGEST_TO_BOT: usize = 64 * 1024;

/// The longest line the bot may send, in bytes.
pub const LONGEST_FROM_BOT: usize = 16 * 1024 * 1024;

/// From a session to the bot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "message", rename_all = "snake_case")]
pub enum ToBot {
    /// The first message.
    Hello {
        /// [`VERSION`] of the session.
        version: u32,
        /// A script's answers go to the script alone.
        script: bool,
    },
    /// Somebody typed a command.
    Command {
        /// The session's number of this line, answered with [`FromBot::Settled`].
        line: u64,
        /// Who types, where the link may speak for several people.
        speaker: Option<String>,
        /// What, without `/redis`.
        text: String,
    },
    /// Somebody pressed a button.
    Press {
        /// As above.
        line: u64,
        /// As above.
        speaker: Option<String>,
        /// The message's id: `m3`.
        id: String,
        /// The button's command.
        command: String,
    },
    /// Somebody reacted, or took it back.
    React {
        /// As above.
        line: u64,
        /// As above.
        speaker: Option<String>,
        /// The message's id: `m3`.
        id: String,
        /// The emoji, normalised.
        emoji: String,
        /// Added or taken back.
        added: bool,
    },
    /// Somebody did something at this machine with this program, for the journal. When it is not
    /// to be, or cannot be written, the bot says a card before the line is settled.
    Did {
        /// As above.
        line: u64,
        /// The call's id.
        run: String,
        /// What was called: `rdb-fetch`.
        command: String,
        /// About which service.
        service: String,
        /// And which instance.
        instance: String,
        /// And which server, where one was named.
        node: Option<String>,
        /// How it ended; absent: it begins.
        ended: Option<DidEnd>,
        /// Milliseconds since it began.
        took_ms: u64,
    },
}

/// How something done at this machine ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub enum DidEnd {
    /// As it should.
    Well,
    /// Policy said no, by this rule.
    Denied {
        /// The rule.
        why: String,
    },
    /// It was stopped.
    Stopped,
    /// It failed.
    Failed {
        /// Why.
        why: String,
    },
}

impl ToBot {
    /// Whose line it is said to be.
    pub fn speaker(&self) -> Option<&str> {
        match self {
            ToBot::Hello { .. } | ToBot::Did { .. } => None,
            ToBot::Command { speaker, .. } | ToBot::Press { speaker, .. } | ToBot::React { speaker, .. } => {
                speaker.as_deref()
            }
        }
    }

    /// The number of the line it came from.
    pub fn line(&self) -> Option<u64> {
        match self {
            ToBot::Hello { .. } => None,
            ToBot::Command { line, .. }
            | ToBot::Press { line, .. }
            | ToBot::React { line, .. }
            | ToBot::Did { line, .. } => Some(*line),
        }
    }
}

/// From the bot to a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum FromBot {
    /// The first message.
    Hello {
        /// [`VERSION`] of the bot.
        version: u32,
        /// The program's version.
        program: String,
        /// Whom the bot takes the session for.
        user: String,
        /// What can be completed.
        completions: Completions,
    },
    /// The bot says a card.
    Say {
        /// The message's id: `m3`.
        id: String,
        /// Only this reader sees it.
        private: bool,
        /// What it says.
        card: Card,
    },
    /// A message says something else now.
    Edit {
        /// The message's id.
        id: String,
        /// What it says now.
        card: Card,
    },
    /// The bot reacted to a message, or took it back.
    React {
        /// The message's id.
        id: String,
        /// The emoji.
        emoji: String,
        /// Added or taken back.
        added: bool,
    },
    /// The bot attached a file.
    File {
        /// Its name, as the bot gives it. Not a path.
        name: String,
        /// Its bytes, in base 64.
        base64: String,
    },
    /// Everything about a line has been said.
    Settled {
        /// The line's number.
        line: u64,
    },
    /// A line was not taken.
    Refused {
        /// The line's number; `None` when the session as a whole is refused.
        line: Option<u64>,
        /// Why, and what to do.
        why: String,
    },
}
