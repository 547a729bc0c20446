//! Gateways to the places where people talk.
//!
//! A gateway does two things: it turns what a platform sends into [`Inbound`],
//! and it renders [`Card`]s. It decides nothing. Only `chat::slack` knows
//! Block Kit, only `chat::discord` knows embeds, only `chat::console` knows
//! terminals.

pub mod console;
pub mod discord;
pub mod slack;

use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::model::{Card, Identity, MessageRef, PersonId, Place};

/// Something a platform told us.
#[derive(Debug, Clone)]
pub struct Inbound {
    /// The platform's id of this event; seen twice, it is handled once.
    pub event: String,
    /// Who.
    pub from: Identity,
    /// What the platform calls them. Data.
    pub display: String,
    /// The person the gateway itself can vouch for (the console's own
    /// people); `None` lets policy look the identity up.
    pub person: Option<PersonId>,
    /// Why the platform's own word on the account (a guest, a bot, a stranger
    /// of a shared channel, deactivated) keeps it from giving commands; `None`
    /// when nothing does.
    pub barred: Option<String>,
    /// Where.
    pub place: Place,
    /// What.
    pub what: Event,
}

/// What happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// Somebody typed a command. What the platform does to text (`&lt;`, smart
    /// quotes, dashes, links) is already undone.
    Command {
        /// The words after `/redis` or the mention.
        text: String,
        /// The message they stand in, where there is one to react to.
        message: Option<MessageRef>,
    },
    /// Somebody pressed a button; its command runs under their own rights.
    Pressed {
        /// The message the button is on.
        message: MessageRef,
        /// The button's command.
        command: String,
    },
    /// Somebody reacted, or took a reaction back.
    Reacted {
        /// The message reacted to.
        message: MessageRef,
        /// The emoji, normalised: no variation selector, no skin tone.
        emoji: String,
        /// Added or removed.
        added: bool,
    },
}

/// Who can read an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// Everybody in the place.
    All,
    /// Only the one who asked.
    Only(Identity),
}

/// Why something was not delivered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undelivered {
    /// The platform said to come back later.
    #[error("the platform asks to wait {0:?}")]
    RetryAfter(Duration),
    /// The platform cannot be reached now.
    #[error("the platform cannot be reached: {0}")]
    Unreachable(String),
    /// It will never arrive: the channel or message is gone, or we may not write there.
    #[error("it cannot be delivered there: {0}")]
    Gone(String),
}

/// A way to talk to one platform.
pub trait Gateway: Send + Sync {
    /// Says a card. `key` is stable for this saying: a platform that can deduplicate by it, does.
    fn say<'a>(
        &'a self,
        place: &'a Place,
        card: &'a Card,
        audience: &'a Audience,
        key: &'a str,
    ) -> BoxFuture<'a, Result<MessageRef, Undelivered>>;

    /// Says what may have been said before: the platform was not heard to take it. A platform
    /// that can look, looks first.
    fn say_again<'a>(
        &'a self,
        place: &'a Place,
        card: &'a Card,
        audience: &'a Audience,
        key: &'a str,
    ) -> BoxFuture<'a, Result<MessageRef, Undelivered>> {
        self.say(place, card, audience, key)
    }

    /// Replaces what a message says.
    fn edit<'a>(&'a self, message: &'a MessageRef, card: &'a Card) -> BoxFuture<'a, Result<(), Undelivered>>;

    /// Shows how far a run has come, in its message. Unlike an edit it may be
    /// dropped: the next one, or the answer, replaces it. A platform that allows
    /// only so many edits of a message keeps one for the answer.
    fn progress<'a>(&'a self, message: &'a MessageRef, card: &'a Card) -> BoxFuture<'a, Result<(), Undelivered>> {
        self.edit(message, card)
    }

    /// Adds (or takes back) the bot's own reaction.
    fn react<'a>(
        &'a self,
        message: &'a MessageRef,
        emoji: &'a str,
        add: bool,
    ) -> BoxFuture<'a, Result<(), Undelivered>>;

    /// Attaches a file.
    fn upload<'a>(
        &'a self,
        place: &'a Place,
        name: &'a str,
        bytes: Vec<u8>,
        audience: &'a Audience,
    ) -> BoxFuture<'a, Result<(), Undelivered>>;

    /// Do reactions to this message reach the bot?
    fn hears_reactions(&self, message: &MessageRef) -> bool {
        let _ = message;
        true
    }

    /// Does a picture say more there than a line of blocks?
    fn shows_pictures(&self) -> bool {
        false
    }

    /// The shortest time between two edits of one message that the platform likes.
    fn edit_pace(&self) -> Duration;

    /// What is wrong with the connection to the platform now, in one sentence
    /// for an operator; `None` when nothing is.
    fn ailment(&self) -> Option<String> {
        None
    }

    /// The bot is through with an event: everything it will say about it has
    /// been said. The local chat waits for this before it sends a script's
    /// next line; other platforms have no use for it.
    fn settled(&self, event: &str) {
        let _ = event;
    }
}
