//! The bot's side: who is listening, and what they hear.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use base64::Engine;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use super::{
    CHANNEL, Completions,
    wire::{DidEnd, FromBot, ToBot, VERSION},
};
use crate::{
    chat::{AtTheMachine, Audience, EndAtTheMachine, Event, Gateway, Inbound, Undelivered},
    model::{Card, Identity, MessageRef, PersonId, Place, PlaceKind, Platform, RunId},
};

/// Messages a listener may be behind before it is let go: a stuck terminal must not hold the bot.
const BEHIND: usize = 1024;

/// Messages nobody was there to read, kept for the next one who may.
const UNREAD: usize = 64;

/// Private messages that can still be reacted to.
const PRIVATE: usize = 1024;

/// The name of this machine, which is the console's `team`.
pub fn host_name() -> String {
    nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "localhost".to_owned())
}

/// The gateway of the local chat.
pub struct Console {
    host: String,
    /// Told apart from an earlier process by the message ids the bot stores: `m3` of last week is not `m3` of today.
    epoch: String,
    state: Mutex<State>,
    next_message: AtomicU64,
    next_link: AtomicU64,
}

#[derive(Default)]
struct State {
    completions: Completions,
    listeners: BTreeMap<u64, Listener>,
    /// Event id → the link and line that wait for it.
    waiting: HashMap<String, (u64, u64)>,
    unread: VecDeque<(Place, Audience, FromBot)>,
    /// The latest messages said to one person alone, by number.
    private: BTreeMap<u64, Identity>,
}

impl State {
    fn keep(&mut self, place: &Place, audience: &Audience, event: &FromBot) {
        if let FromBot::Edit { id: edited, card: now } = event {
            // Only the last thing a message says is worth reading later.
            for (.., kept) in &mut self.unread {
                if let FromBot::Say { id, card, .. } | FromBot::Edit { id, card } = kept
                    && id == edited
                {
                    *card = now.clone();
                    return;
                }
            }
        }
        if self.unread.len() == UNREAD {
            self.unread.pop_front();
        }
        self.unread.push_back((place.clone(), audience.clone(), event.clone()));
    }
}

struct Listener {
    identities: Vec<Identity>,
    /// Set for a script: the thread its answers go to.
    thread: Option<String>,
    events: mpsc::Sender<FromBot>,
}

impl Listener {
    fn hears(&self, place: &Place, audience: &Audience) -> bool {
        self.thread == place.thread
            && match audience {
                Audience::All => true,
                Audience::Only(identity) => self.identities.contains(identity),
            }
    }
}

/// A session's end of the conversation.
pub struct Link {
    /// What was typed.
    pub to_bot: mpsc::Sender<ToBot>,
    /// What is said. Closed when the bot has gone.
    pub from_bot: mpsc::Receiver<FromBot>,
}

/// Somebody at the console.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Who.
    pub who: Who,
    /// A script hears the answers to its own lines, in a thread of its own.
    pub script: bool,
}

/// Whom a link may speak for.
#[derive(Debug, Clone)]
pub enum Who {
    /// The operating system's user of that name, and nobody else.
    User(String),
    /// Any of these people; the first speaks unless another is named. For `rediscue try` only.
    People(Vec<PersonId>),
}

impl Console {
    /// A console of this host, with nobody at it.
    pub fn new(host: impl Into<String>) -> Arc<Self> {
        Arc::new(Self {
            host: host.into(),
            epoch: format!("{:010x}", rand::random::<u64>() & 0xff_ffff_ffff),
            state: Mutex::default(),
            next_message: AtomicU64::new(1),
            next_link: AtomicU64::new(1),
        })
    }

    /// What sessions complete from now on; said in the hello of every new link.
    pub fn set_completions(&self, completions: Completions) {
        self.state().completions = completions;
    }

    /// The console's channel, where everybody at a terminal reads along.
    pub fn channel(&self) -> Place {
        Place {
            platform: Platform::Console,
            team: self.host.clone(),
            channel: CHANNEL.to_owned(),
            thread: None,
            kind: PlaceKind::Channel,
            via: None,
        }
    }

    /// The identity of a user of this host.
    pub fn identity(&self, user: &str) -> Identity {
        Identity { platform: Platform::Console, team: self.host.clone(), user: user.to_owned() }
    }

    /// How many sessions are open.
    pub fn listeners(&self) -> usize {
        self.state().listeners.len()
    }

    /// Sits somebody down. What they type becomes [`Inbound`]; what is said
    /// where they may read it comes out of the link, a hello first. The link
    /// is let go when either end drops, or when its reader falls hopelessly
    /// behind. Must be called within a Tokio runtime.
    pub fn attach(self: &Arc<Self>, peer: Peer, inbound: mpsc::Sender<Inbound>) -> Link {
        let number = self.next_link.fetch_add(1, Ordering::Relaxed);
        let (events, from_bot) = mpsc::channel(BEHIND);
        let (to_bot, typed) = mpsc::channel(16);
        let thread = peer.script.then(|| format!("{}-{number}", self.epoch));
        let users: Vec<String> = match &peer.who {
            Who::User(user) => vec![user.clone()],
            Who::People(people) => people.iter().map(ToString::to_string).collect(),
        };
        let listener = Listener {
            identities: users.iter().map(|user| self.identity(user)).collect(),
            thread: thread.clone(),
            events,
        };
        {
            let mut state = self.state();
            let hello = FromBot::Hello {
                version: VERSION,
                program: env!("CARGO_PKG_VERSION").to_owned(),
                user: users.first().cloned().unwrap_or_default(),
                completions: state.completions.clone(),
            };
            let _ = listener.events.try_send(hello);
            let unread = std::mem::take(&mut state.unread);
            for (place, audience, event) in unread {
                if listener.hears(&place, &audience) {
                    let _ = listener.events.try_send(event);
                } else {
                    state.unread.push_back((place, audience, event));
                }
            }
            state.listeners.insert(number, listener);
        }
        let place = Place { thread, ..self.channel() };
        tokio::spawn(listen(Arc::clone(self), number, peer.who, users, place, typed, inbound));
        Link { to_bot, from_bot }
    }

    /// Hangs up: every session reads what has been said so far, and then the end.
    pub fn close(&self) {
        let mut state = self.state();
        state.listeners.clear();
        state.waiting.clear();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Tells everybody who may hear; a listener that does not keep up is let go.
    fn tell(&self, place: &Place, audience: &Audience, event: &FromBot) {
        let mut state = self.state();
        let mut heard = false;
        state.listeners.retain(|number, listener| {
            if !listener.hears(place, audience) {
                return true;
            }
            match listener.events.try_send(event.clone()) {
                Ok(()) => heard = true,
                Err(_) => {
                    tracing::warn!(link = number, "console session let go: it does not read what it is sent");
                    return false;
                }
            }
            true
        });
        // A thread belongs to one script; when that has gone nobody will come back to it.
        if !heard && place.thread.is_none() && !matches!(event, FromBot::React { .. }) {
            state.keep(place, audience, event);
        }
    }

    fn tell_link(&self, link: u64, event: FromBot) {
        let mut state = self.state();
        let gone = state.listeners.get(&link).is_some_and(|listener| listener.events.try_send(event).is_err());
        if gone {
            state.listeners.remove(&link);
        }
    }

    fn leave(&self, link: u64) {
        let mut state = self.state();
        state.listeners.remove(&link);
        state.waiting.retain(|_, (waiting, _)| *waiting != link);
    }

    /// The id people see and who may see it, of a message of this process.
    fn shown<'a>(&self, message: &'a MessageRef) -> Result<(&'a str, Audience), Undelivered> {
        let mut parts = message.id.splitn(3, '.');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(shown), Some(epoch), None) if epoch == self.epoch => Ok((shown, Audience::All)),
            (Some(shown), Some(epoch), Some(user)) if epoch == self.epoch => {
                Ok((shown, Audience::Only(self.identity(user))))
            }
            _ => Err(Undelivered::Gone("it was said before the bot was restarted".to_owned())),
        }
    }

    /// The reference the bot keeps of a message: `m3.EPOCH`, and for a private
    /// one `m3.EPOCH.USER`, so that it is edited for that reader alone and
    /// nobody else can react to it.
    fn message(&self, place: &Place, shown: &str, audience: &Audience) -> MessageRef {
        let id = match audience {
            Audience::All => format!("{shown}.{}", self.epoch),
            Audience::Only(identity) => format!("{shown}.{}.{}", self.epoch, identity.user),
        };
        MessageRef { place: place.clone(), id }
    }

    /// Where something is said now: the thread of a script that an earlier process knew is nobody's, and
    /// what was to be said there is for everybody in the channel, or for whoever comes next.
    fn reachable(&self, place: &Place) -> Place {
        let ours = |thread: &String| thread.split_once('-').is_some_and(|(epoch, _)| epoch == self.epoch);
        Place { thread: place.thread.clone().filter(ours), ..place.clone() }
    }

    /// The message a session means by `m3`.
    fn meant(&self, place: &Place, shown: &str, by: &Identity) -> MessageRef {
        let number: Option<u64> = shown.strip_prefix('m').and_then(|digits| digits.parse().ok());
        let private = number.is_some_and(|number| self.state().private.get(&number) == Some(by));
        let audience = if private { Audience::Only(by.clone()) } else { Audience::All };
        self.message(place, shown, &audience)
    }
}

/// Turns what one link says into [`Inbound`], until it hangs up.
async fn listen(
    console: Arc<Console>,
    link: u64,
    who: Who,
    users: Vec<String>,
    place: Place,
    mut typed: mpsc::Receiver<ToBot>,
    inbound: mpsc::Sender<Inbound>,
) {
    while let Some(said) = typed.recv().await {
        let Some(line) = said.line() else { continue };
        let speaker = said.speaker().map(str::to_owned);
        let user = match (&who, speaker) {
            (_, None) => users.first().cloned(),
            (Who::People(_), Some(speaker)) => users.iter().find(|user| **user == speaker).cloned(),
            // Whoever the operating system says, and nobody else.
            (Who::User(_), Some(_)) => None,
        };
        let Some(user) = user else {
            let why = "you speak as yourself here; another person's name is not taken".to_owned();
            console.tell_link(link, FromBot::Refused { line: Some(line), why });
            continue;
        };
        let identity = console.identity(&user);
        let what = match said {
            ToBot::Hello { .. } => continue,
            ToBot::Command { text, .. } => Event::Command { text, message: None },
            ToBot::Press { id, command, .. } => {
                Event::Pressed { message: console.meant(&place, &id, &identity), command }
            }
            ToBot::React { id, emoji, added, .. } => {
                Event::Reacted { message: console.meant(&place, &id, &identity), emoji, added }
            }
            ToBot::Did { run, command, service, instance, node, ended, took_ms, .. } => {
                let named = (RunId::parse(&run), service.parse().ok(), instance.parse().ok());
                let (Some(run), Some(service), Some(instance)) = named else {
                    let why = "what was done names no run, service or instance".to_owned();
                    console.tell_link(link, FromBot::Refused { line: Some(line), why });
                    continue;
                };
                let ended = ended.map(|end| match end {
                    DidEnd::Well => EndAtTheMachine::Well,
                    DidEnd::Denied { why } => EndAtTheMachine::Denied(why),
                    DidEnd::Stopped => EndAtTheMachine::Stopped,
                    DidEnd::Failed { why } => EndAtTheMachine::Failed(why),
                });
                let took = Duration::from_millis(took_ms);
                Event::AtTheMachine(AtTheMachine { run, command, service, instance, node, ended, took })
            }
        };
        let event = format!("console-{}-{link}-{line}", console.epoch);
        let said = Inbound {
            badges: Default::default(),
            kept: None,
            event: event.clone(),
            from: identity,
            display: user.clone(),
            barred: None,
            person: match &who {
                Who::People(_) => user.parse().ok(),
                Who::User(_) => None,
            },
            place: place.clone(),
            what,
        };
        console.state().waiting.insert(event, (link, line));
        if inbound.send(said).await.is_err() {
            let why = "the bot is stopping and takes no more commands".to_owned();
            console.tell_link(link, FromBot::Refused { line: Some(line), why });
        }
    }
    console.leave(link);
}

impl Gateway for Console {
    fn say<'a>(
        &'a self,
        place: &'a Place,
        card: &'a Card,
        audience: &'a Audience,
        _key: &'a str,
    ) -> BoxFuture<'a, Result<MessageRef, Undelivered>> {
        let number = self.next_message.fetch_add(1, Ordering::Relaxed);
        let id = format!("m{number}");
        let private = match audience {
            Audience::All => false,
            Audience::Only(identity) => {
                let mut state = self.state();
                state.private.insert(number, identity.clone());
                if state.private.len() > PRIVATE {
                    state.private.pop_first();
                }
                true
            }
        };
        let place = self.reachable(place);
        self.tell(&place, audience, &FromBot::Say { id: id.clone(), private, card: card.clone() });
        let message = self.message(&place, &id, audience);
        Box::pin(async move { Ok(message) })
    }

    fn edit<'a>(&'a self, message: &'a MessageRef, card: &'a Card) -> BoxFuture<'a, Result<(), Undelivered>> {
        let told = self.shown(message).map(|(id, audience)| {
            let edit = FromBot::Edit { id: id.to_owned(), card: card.clone() };
            self.tell(&message.place, &audience, &edit);
        });
        Box::pin(async move { told })
    }

    fn react<'a>(
        &'a self,
        message: &'a MessageRef,
        emoji: &'a str,
        added: bool,
    ) -> BoxFuture<'a, Result<(), Undelivered>> {
        let told = self.shown(message).map(|(id, audience)| {
            let react = FromBot::React { id: id.to_owned(), emoji: emoji.to_owned(), added };
            self.tell(&message.place, &audience, &react);
        });
        Box::pin(async move { told })
    }

    fn upload<'a>(
        &'a self,
        place: &'a Place,
        name: &'a str,
        bytes: Vec<u8>,
        audience: &'a Audience,
    ) -> BoxFuture<'a, Result<(), Undelivered>> {
        let base64 = base64::engine::general_purpose::STANDARD.encode(bytes);
        self.tell(place, audience, &FromBot::File { name: name.to_owned(), base64 });
        Box::pin(async move { Ok(()) })
    }

    fn edit_pace(&self) -> Duration {
        Duration::from_millis(100)
    }

    fn settled(&self, event: &str) {
        let waiting = self.state().waiting.remove(event);
        if let Some((link, line)) = waiting {
            self.tell_link(link, FromBot::Settled { line });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str, script: bool) -> Peer {
        Peer { who: Who::User(name.to_owned()), script }
    }

    fn heard(link: &mut Link) -> Vec<String> {
        let mut heard = Vec::new();
        while let Ok(event) = link.from_bot.try_recv() {
            heard.push(match event {
                FromBot::Say { id, private, .. } => format!("say {id}{}", if private { " private" } else { "" }),
                FromBot::Edit { id, card } => format!("edit {id} {}", card.title),
                FromBot::React { id, emoji, .. } => format!("react {id} {emoji}"),
                FromBot::Refused { line, .. } => format!("refused {line:?}"),
                FromBot::Settled { line } => format!("settled {line}"),
                FromBot::Hello { user, .. } => format!("hello {user}"),
                FromBot::File { name, .. } => format!("file {name}"),
            });
        }
        heard
    }

    #[tokio::test]
    async fn what_is_private_reaches_its_reader_alone_edits_and_all() {
        let console = Console::new("h");
        let (inbound, _inbox) = mpsc::channel(8);
        let mut ana = console.attach(user("ana", false), inbound.clone());
        let mut bo = console.attach(user("bo.admin", false), inbound);
        let card = Card::default();
        let only = Audience::Only(console.identity("bo.admin"));
        let said = console.say(&console.channel(), &card, &only, "k").await.unwrap();
        console.edit(&said, &card).await.unwrap();
        console.react(&said, "✅", true).await.unwrap();
        console.say(&console.channel(), &card, &Audience::All, "k").await.unwrap();
        assert_eq!(heard(&mut ana), ["hello ana", "say m2"]);
        assert_eq!(heard(&mut bo), ["hello bo.admin", "say m1 private", "edit m1 ", "react m1 ✅", "say m2"]);
    }

    #[tokio::test]
    async fn a_reaction_names_the_message_that_was_said_and_no_other_persons() {
        let console = Console::new("h");
        let (inbound, mut inbox) = mpsc::channel(8);
        let ana = console.attach(user("ana", false), inbound.clone());
        let bo = console.attach(user("bo", false), inbound);
        let only = Audience::Only(console.identity("bo"));
        let said = console.say(&console.channel(), &Card::default(), &only, "k").await.unwrap();
        for (link, same) in [(&bo, true), (&ana, false)] {
            let react =
                ToBot::React { line: 1, speaker: None, id: "m1".to_owned(), emoji: "✅".to_owned(), added: true };
            link.to_bot.send(react).await.unwrap();
            let Event::Reacted { message, .. } = inbox.recv().await.unwrap().what else { panic!("a reaction") };
            assert_eq!(message == said, same);
        }
    }

    #[tokio::test]
    async fn a_user_cannot_speak_as_another() {
        let console = Console::new("h");
        let (inbound, mut inbox) = mpsc::channel(8);
        let mut ana = console.attach(user("ana", false), inbound);
        let text = "status".to_owned();
        let speaker = Some("bo".to_owned());
        ana.to_bot.send(ToBot::Command { line: 1, speaker, text: text.clone() }).await.unwrap();
        ana.to_bot.send(ToBot::Command { line: 2, speaker: None, text }).await.unwrap();
        let inbound = inbox.recv().await.unwrap();
        assert_eq!((inbound.from, inbound.person), (console.identity("ana"), None));
        assert!(inbound.event.ends_with("-2"));
        console.settled(&inbound.event);
        assert_eq!(heard(&mut ana), ["hello ana", "refused Some(1)", "settled 2"]);
    }

    #[tokio::test]
    async fn a_script_hears_its_own_thread_and_nobody_else_does() {
        let console = Console::new("h");
        let (inbound, mut inbox) = mpsc::channel(8);
        let mut terminal = console.attach(user("ana", false), inbound.clone());
        let mut script = console.attach(user("ana", true), inbound);
        let asks = ToBot::Command { line: 1, speaker: None, text: "status".to_owned() };
        script.to_bot.send(asks).await.unwrap();
        let place = inbox.recv().await.unwrap().place;
        console.say(&place, &Card::default(), &Audience::All, "k").await.unwrap();
        console.say(&console.channel(), &Card::default(), &Audience::All, "k").await.unwrap();
        assert_eq!(heard(&mut script), ["hello ana", "say m1"]);
        assert_eq!(heard(&mut terminal), ["hello ana", "say m2"]);
    }

    #[tokio::test]
    async fn a_listener_that_does_not_read_is_let_go_and_what_nobody_read_waits() {
        let console = Console::new("h");
        let (inbound, _inbox) = mpsc::channel(8);
        let stuck = console.attach(user("ana", false), inbound.clone());
        let place = console.channel();
        let mut said = None;
        for _ in 0..BEHIND + 3 {
            said = Some(console.say(&place, &Card::default(), &Audience::All, "k").await.unwrap());
        }
        assert_eq!(console.listeners(), 0);
        drop(stuck);
        let now = Card { title: "done".to_owned(), ..Card::default() };
        console.edit(&said.unwrap(), &now).await.unwrap();
        let mut later = console.attach(user("bo", false), inbound);
        let heard = heard(&mut later);
        assert!(heard.len() > 1 && heard.len() <= UNREAD + 1, "{heard:?}");
        assert_eq!(heard.last().map(String::as_str), Some(format!("say m{}", BEHIND + 3).as_str()));
    }

    #[tokio::test]
    async fn a_message_of_an_earlier_process_is_gone() {
        let (before, now) = (Console::new("h"), Console::new("h"));
        let said = before.say(&before.channel(), &Card::default(), &Audience::All, "k").await.unwrap();
        assert!(matches!(now.edit(&said, &Card::default()).await, Err(Undelivered::Gone(_))));
    }
}
