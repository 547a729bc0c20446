//! Gateways to the places where people talk.
//!
//! A gateway does two things: it turns what a platform sends into [`Inbound`],
//! and it renders [`Card`]s. It decides nothing. Only `chat::slack` knows
//! Block Kit, only `chat::discord` knows embeds, only `chat::console` knows
//! terminals.

pub mod console;
pub mod discord;
pub mod slack;
pub(crate) mod turns;

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use crate::model::{Badges, Card, Identity, InstanceName, MessageRef, PersonId, Place, Platform, RunId, ServiceName};

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
    /// What else the platform vouches for, where nobody is named for the account.
    pub badges: Badges,
    /// Why the platform's own word on the account (a guest, a bot, a stranger
    /// of a shared channel, deactivated) keeps it from giving commands; `None`
    /// when nothing does.
    pub barred: Option<String>,
    /// Where.
    pub place: Place,
    /// What.
    pub what: Event,
    /// It stands on the shelf until it has been handled; `None` where the platform keeps none there.
    pub kept: Option<Kept>,
}

/// How an event came to stand on the shelf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It has just come.
    Now,
    /// An earlier process left it: it ended before it was through with it.
    Left {
        /// So long ago, or after so many starts, that it is told of and not done.
        late: bool,
        /// An answer to one person alone was about to be said.
        said: bool,
    },
}

/// An event as a gateway read it, in its own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// Its id, as [`Inbound::event`] says it.
    pub event: String,
    /// The platform it came from.
    pub platform: Platform,
    /// What kind it is.
    pub kind: String,
    /// What it says, without secrets.
    pub document: String,
}

/// An event that an earlier process left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOver {
    /// The event.
    pub arrival: Arrival,
    /// See [`Kept::Left`].
    pub late: bool,
    /// See [`Kept::Left`].
    pub said: bool,
}

/// Where events stand from before they are acknowledged until they have been handled.
///
/// A platform does not send again what was acknowledged: what a crash cuts off is found here.
pub trait Shelf: Send + Sync {
    /// Puts an event there. `false`: that could not be done, and it is taken all the same.
    fn keep<'a>(&'a self, arrival: &'a Arrival) -> BoxFuture<'a, bool>;
    /// What an earlier process left of a platform's, in the order it came.
    fn left(&self, platform: Platform) -> BoxFuture<'_, Vec<LeftOver>>;
    /// It has been handled.
    fn done<'a>(&'a self, event: &'a str) -> BoxFuture<'a, ()>;
}

/// What a gateway needs to hear for the bot.
#[derive(Clone)]
pub struct Ears {
    /// Where events are put.
    pub inbound: mpsc::Sender<Inbound>,
    /// Where they stand until they have been handled.
    pub shelf: Arc<dyn Shelf>,
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
    /// Somebody did something at the bot's machine with a program of ours, and says so for the journal.
    AtTheMachine(AtTheMachine),
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

/// A call of a program beside the bot that the journal should have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AtTheMachine {
    /// The call, the same of its begin and its end.
    pub run: RunId,
    /// What was called: `rdb-fetch`.
    pub command: String,
    /// About which service.
    pub service: ServiceName,
    /// And which instance of it.
    pub instance: InstanceName,
    /// And which of its servers, where one was named. Data.
    pub node: Option<String>,
    /// How it ended; `None`: it begins, if it may.
    pub ended: Option<EndAtTheMachine>,
    /// Since it began.
    pub took: Duration,
}

/// How such a call ended. What is said why is data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndAtTheMachine {
    /// As it should.
    Well,
    /// Policy, as that program read it, said no.
    Denied(String),
    /// Whoever began it stopped it.
    Stopped,
    /// It failed.
    Failed(String),
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

    /// Could an answer be found again there, of which it is not known whether it arrived? What cannot be is not said
    /// again after a crash.
    fn finds(&self, place: &Place, audience: &Audience) -> bool {
        let _ = (place, audience);
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
