//! Slack, through slack-morphism. Only this room knows Block Kit.
//!
//! What Slack sends, by Socket Mode ([`socket`]) or by signed HTTP ([`http`]),
//! becomes the same [`Inbound`](crate::chat::Inbound) in [`inbound`]; what the
//! bot says is rendered in [`blocks`] and sent here.
//!
//! Where the bot is not in a channel it answers through the slash command's
//! response URL, which Slack allows five times within half an hour. Private
//! answers in a channel are ephemeral messages, which Slack cannot edit: their
//! progress is dropped and their answer is said once.

mod api;
mod arrived;
mod blocks;
mod doubt;
mod http;
mod inbound;
mod people;
mod proof;
mod routes;
mod socket;
mod table;
mod text;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio::{sync::OnceCell, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    chat::{Audience, Ears, Gateway, Undelivered, turns::Turns},
    model::{Card, Identity, MessageRef, PersonId, Place, PlaceKind},
};
pub use people::Wanted;
pub use proof::{CROWD_SCOPES, Expected, Fault, SCOPES};

use api::{Api, Trouble};
use blocks::Message;
use doubt::Doubts;
use inbound::Clicks;
use people::{Groups, People};
use routes::Routes;

/// Slack takes about fifty edits a minute of one app (tier 3).
const EDIT_PACE: Duration = Duration::from_millis(1_500);
/// What an event needs to know before it can be handed in is asked for this long.
const INSISTS: Duration = Duration::from_secs(120);

/// The Slack user of a person in a workspace, for mentions.
pub type Accounts = Arc<dyn Fn(&PersonId, &str) -> Option<String> + Send + Sync>;

/// What the policy wants to know of an account besides its ids.
pub type Wants = Arc<dyn Fn(&Identity) -> Wanted + Send + Sync>;

/// How Slack is spoken to. Secrets are already read.
pub struct Settings {
    /// `https://slack.com/api`, without a trailing slash.
    pub api: String,
    /// The bot token.
    pub bot_token: SecretString,
    /// Who is who.
    pub accounts: Accounts,
    /// Whom groups and addresses stand for.
    pub wanted: Wants,
}

/// How Slack's events arrive.
pub enum Transport {
    /// Over a WebSocket that we open, under the app-level token.
    Socket {
        /// The app-level token.
        app_token: SecretString,
    },
    /// In requests that Slack signs.
    Http {
        /// The signing secret.
        signing_secret: SecretString,
    },
}

/// Why the gateway could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No trust store.
    #[error("the machine's certificates cannot be read: {0}")]
    TrustStore(#[from] std::io::Error),
    /// A secret is there and empty.
    #[error("the {0} is empty: Slack would refuse everything")]
    EmptySecret(&'static str),
}

/// The gateway to one Slack workspace (or one enterprise grid).
pub struct Slack {
    api: Api,
    /// Where the Web API is.
    address: String,
    token: SecretString,
    people: People,
    groups: Groups,
    wanted: Wants,
    routes: Routes,
    clicks: Clicks,
    turns: Turns,
    doubts: Doubts,
    accounts: Accounts,
    /// The bot's own user, once `auth.test` told.
    own: OnceCell<String>,
    state: Mutex<State>,
}

/// What is known of the connection.
#[derive(Debug, Default)]
struct State {
    /// What is wrong with the token or the scopes, in Slack's words, by method.
    refused: BTreeMap<String, String>,
    /// What is wrong with the socket, since when.
    socket: Option<(jiff::Timestamp, String)>,
    /// What Slack cannot be reached for.
    unreachable: Option<String>,
}

impl Slack {
    /// A gateway that listens to nothing yet.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn new(settings: &Settings) -> Result<Arc<Self>, StartError> {
        let client = api::client(&settings.api)?;
        if settings.bot_token.expose_secret().trim().is_empty() {
            return Err(StartError::EmptySecret("bot token"));
        }
        Ok(Arc::new(Self {
            api: Api::new(client, &settings.bot_token),
            address: settings.api.clone(),
            token: settings.bot_token.clone(),
            people: People::default(),
            groups: Groups::default(),
            wanted: settings.wanted.clone(),
            routes: Routes::default(),
            clicks: Clicks::default(),
            turns: Turns::default(),
            doubts: Doubts::default(),
            accounts: settings.accounts.clone(),
            own: OnceCell::new(),
            state: Mutex::default(),
        }))
    }

    /// Listens by Socket Mode until told to stop.
    ///
    /// # Errors
    /// When the machine has no trust store, or the token is empty.
    pub async fn listen(
        self: Arc<Self>,
        app_token: SecretString,
        ears: Ears,
        stop: CancellationToken,
    ) -> Result<(), StartError> {
        if app_token.expose_secret().trim().is_empty() {
            return Err(StartError::EmptySecret("app-level token"));
        }
        Ok(socket::listen(self, &app_token, ears, stop).await?)
    }

    /// The routes of signed HTTP, to be mounted under `/slack`.
    ///
    /// # Errors
    /// Without a signing secret nothing could be told from a forgery: refused.
    pub fn http_routes(
        self: &Arc<Self>,
        signing_secret: &SecretString,
        ears: Ears,
    ) -> Result<axum::Router, StartError> {
        http::routes(self.clone(), signing_secret, ears)
    }

    /// Asks Slack who we are, so that a bad token shows before the first command; keeps asking while
    /// Slack cannot be reached. What came of it is in [`Gateway::ailment`].
    pub async fn introduce(&self) {
        if self.own_user().await.is_some() {
            tracing::info!("Slack knows us");
        }
    }

    /// The bot's own user. Needed before mentions can be told from other text.
    async fn own_user(&self) -> Option<String> {
        let own = self.own.get_or_try_init(|| async {
            let asked = || async { self.noted("auth.test", self.api.call("auth.test", "", &json!({})).await) };
            let answer = self.patiently(asked).await?;
            Ok::<_, Trouble>(answer.get("user_id").and_then(Value::as_str).unwrap_or_default().to_owned())
        });
        own.await.ok().cloned()
    }

    /// Asks again while Slack cannot answer: what was acknowledged is not sent again, so it must not be dropped.
    async fn patiently<F>(&self, ask: impl Fn() -> F) -> Result<Value, Trouble>
    where
        F: Future<Output = Result<Value, Trouble>>,
    {
        let until = Instant::now() + INSISTS;
        let mut pause = Duration::from_millis(200);
        loop {
            let answer = ask().await;
            let wait = match &answer {
                Err(Trouble::Wait(wait)) => *wait,
                Err(Trouble::Unreachable(_)) => {
                    pause = (pause * 2).min(Duration::from_secs(5));
                    pause
                }
                _ => return answer,
            };
            if Instant::now() + wait > until {
                return answer;
            }
            tokio::time::sleep(wait).await;
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn socket_up(&self) {
        self.state().socket = None;
    }

    /// The moment it went down is kept over what is said about it later.
    fn socket_down(&self, why: &str) {
        let mut state = self.state();
        let since = state.socket.as_ref().map_or_else(jiff::Timestamp::now, |(since, _)| *since);
        state.socket = Some((since, why.to_owned()));
    }

    /// Keeps what an answer says about the app itself, for health.
    fn noted(&self, method: &str, answer: Result<Value, Trouble>) -> Result<Value, Trouble> {
        let mut state = self.state();
        match &answer {
            Ok(_) => {
                state.unreachable = None;
                state.refused.remove(method);
            }
            Err(trouble) if trouble.is_about_the_app() => {
                state.refused.insert(method.to_owned(), trouble.to_string());
            }
            Err(Trouble::Unreachable(why)) => state.unreachable = Some(why.clone()),
            Err(_) => {}
        }
        drop(state);
        answer
    }

    async fn call(&self, method: &str, channel: &str, request: &Value) -> Result<Value, Trouble> {
        self.noted(method, self.api.call(method, channel, request).await)
    }

    fn render(&self, card: &Card, team: &str) -> Message {
        blocks::render(card, &|person| (self.accounts)(person, team))
    }

    /// Says a message to everybody in a place; answers Slack's `ts` of it.
    async fn post(&self, place: &Place, message: &Message, key: &str) -> Result<String, Trouble> {
        if self.doubts.about(key)
            && let Some(ts) = self.find(place, key).await?
        {
            // It had arrived. It may have been progress, so it is made to say what is to be said now.
            self.update(place, &ts, message).await?;
            self.doubts.settle(key);
            return Ok(ts);
        }
        let mut request = json!({
            "channel": place.channel,
            "text": message.text,
            "blocks": message.blocks,
            "unfurl_links": false,
            "unfurl_media": false,
            "metadata": doubt::mark(key),
        });
        if let Some(thread) = &place.thread {
            request["thread_ts"] = json!(thread);
        }
        let answer = self.call("chat.postMessage", &place.channel, &request).await;
        match &answer {
            Err(Trouble::Unreachable(_)) => self.doubts.raise(key),
            Err(Trouble::Wait(_)) => self.doubts.deny(key),
            Ok(_) | Err(Trouble::Refused { .. }) => self.doubts.settle(key),
        }
        Ok(answer?.get("ts").and_then(Value::as_str).unwrap_or_default().to_owned())
    }

    async fn update(&self, place: &Place, ts: &str, message: &Message) -> Result<(), Trouble> {
        let request = json!({
            "channel": place.channel,
            "ts": ts,
            "text": message.text,
            "blocks": message.blocks,
        });
        self.call("chat.update", &place.channel, &request).await.map(|_| ())
    }

    async fn say_now(
        &self,
        place: &Place,
        card: &Card,
        audience: &Audience,
        key: &str,
    ) -> Result<MessageRef, Undelivered> {
        let message = self.render(card, &place.team);
        let reference = |id: String| MessageRef { place: place.clone(), id };
        match audience {
            // In a direct message everybody is the one who asked.
            Audience::Only(identity) if place.kind == PlaceKind::Channel => {
                let again = self.doubts.about(key);
                let said = match place.via.as_ref().filter(|via| self.routes.is_open(via)) {
                    Some(via) => {
                        // In the place of the one that may have arrived, where the URL can do that.
                        let id = Id::Via { handle: via.clone(), private: true };
                        self.routes.answer(via, &message, true, again).await.map(|()| id)
                    }
                    None => {
                        let message = if again { message.said_again() } else { message };
                        let whispered = self.whisper(place, &identity.user, &message).await;
                        let id = |ts| Id::Ephemeral { user: identity.user.clone(), ts };
                        whispered.map(id).map_err(Undelivered::from)
                    }
                };
                match &said {
                    Err(Undelivered::Unreachable(_)) => self.doubts.raise(key),
                    Err(Undelivered::RetryAfter(_)) => self.doubts.deny(key),
                    Ok(_) | Err(Undelivered::Gone(_)) => self.doubts.settle(key),
                }
                Ok(reference(said?.to_string()))
            }
            _ => match self.post(place, &message, key).await {
                Ok(ts) => Ok(reference(ts)),
                Err(trouble) => {
                    let elsewhere = is_elsewhere(trouble.code());
                    match place.via.as_ref().filter(|via| elsewhere && self.routes.is_open(via)) {
                        Some(via) => {
                            self.routes.answer(via, &message, false, false).await?;
                            Ok(reference(Id::Via { handle: via.clone(), private: false }.to_string()))
                        }
                        None => Err(trouble.into()),
                    }
                }
            },
        }
    }

    async fn whisper(&self, place: &Place, user: &str, message: &Message) -> Result<String, Trouble> {
        let mut request = json!({
            "channel": place.channel,
            "user": user,
            "text": message.text,
            "blocks": message.blocks,
        });
        if let Some(thread) = &place.thread {
            request["thread_ts"] = json!(thread);
        }
        let answer = self.call("chat.postEphemeral", &place.channel, &request).await?;
        Ok(answer.get("message_ts").and_then(Value::as_str).unwrap_or_default().to_owned())
    }

    async fn edit_now(&self, reference: &MessageRef, card: &Card, last: bool) -> Result<(), Undelivered> {
        let place = &reference.place;
        let message = self.render(card, &place.team);
        match Id::read(&reference.id) {
            // Five uses are all there are: progress may have the middle ones, the answer has the last.
            Id::Via { handle, .. } if !last && !self.routes.can_spare(&handle) => Ok(()),
            Id::Via { handle, private } => Ok(self.routes.answer(&handle, &message, private, true).await?),
            Id::Ephemeral { user, .. } if last => Ok(self.whisper(place, &user, &message).await.map(|_| ())?),
            Id::Ephemeral { .. } => Ok(()),
            Id::Here(_) => self.change_by_press(place, &message).await,
            Id::Message(ts) => match self.update(place, &ts, &message).await {
                // Said through a response URL, it is a message that only a press can change.
                Err(Trouble::Refused { code, .. })
                    if place.via.is_some()
                        && (is_elsewhere(&code)
                            || matches!(code.as_str(), "message_not_found" | "cant_update_message")) =>
                {
                    self.change_by_press(place, &message).await
                }
                answer => Ok(answer?),
            },
        }
    }

    /// Changes the card whose button was pressed, through the press's own response URL.
    async fn change_by_press(&self, place: &Place, message: &Message) -> Result<(), Undelivered> {
        match &place.via {
            Some(via) => self.routes.replace_pressed(via, message).await,
            None => Err(Undelivered::Gone("no press came with it".to_owned())),
        }
    }

    async fn react_now(&self, message: &MessageRef, emoji: &str, add: bool) -> Result<(), Undelivered> {
        let Id::Message(ts) = Id::read(&message.id) else { return Ok(()) };
        let method = if add { "reactions.add" } else { "reactions.remove" };
        let request = json!({
            "channel": message.place.channel,
            "timestamp": ts,
            "name": text::emoji_name(emoji),
        });
        match self.call(method, &message.place.channel, &request).await {
            Ok(_) => Ok(()),
            // It is as it should be already.
            Err(trouble) if matches!(trouble.code(), "already_reacted" | "no_reaction") => Ok(()),
            Err(trouble) => Err(trouble.into()),
        }
    }

    async fn upload_now(
        &self,
        place: &Place,
        name: &str,
        bytes: Vec<u8>,
        audience: &Audience,
    ) -> Result<(), Undelivered> {
        let length = bytes.len().to_string();
        let answer = self.api.read("files.getUploadURLExternal", &[("filename", name), ("length", &length)]).await;
        let answer = self.noted("files.getUploadURLExternal", answer)?;
        let word = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default();
        self.api.send_bytes(word("upload_url"), &bytes).await?;
        let channel = match audience {
            Audience::Only(Identity { user, .. }) if place.kind == PlaceKind::Channel => {
                let opened = self.call("conversations.open", "", &json!({ "users": user })).await?;
                opened.pointer("/channel/id").and_then(Value::as_str).unwrap_or_default().to_owned()
            }
            _ => place.channel.clone(),
        };
        let mut request = json!({ "files": [{ "id": word("file_id"), "title": name }], "channel_id": channel });
        if let Some(thread) = place.thread.as_ref().filter(|_| channel == place.channel) {
            request["thread_ts"] = json!(thread);
        }
        match self.call("files.completeUploadExternal", &channel, &request).await {
            Ok(_) => Ok(()),
            // It may stand there all the same, and a second one beside it would not say which is which.
            Err(trouble @ Trouble::Unreachable(_)) => {
                let place = Place { channel, ..place.clone() };
                let there = self.finds_file(&place, word("file_id")).await;
                if there { Ok(()) } else { Err(trouble.into()) }
            }
            Err(trouble) => Err(trouble.into()),
        }
    }
}

/// Slack's words for a channel where the bot may not write.
fn is_elsewhere(code: &str) -> bool {
    matches!(code, "not_in_channel" | "channel_not_found" | "is_archived")
}

/// What a [`MessageRef`] of this gateway names.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Id {
    /// A message, by Slack's `ts`.
    Message(String),
    /// What was answered through a response URL, by its handle, to the asker alone or to all.
    Via { handle: String, private: bool },
    /// A message only one user sees.
    Ephemeral { user: String, ts: String },
    /// The same, whose button was just pressed: the press can change it.
    Here(String),
}

impl Id {
    fn read(text: &str) -> Self {
        if let Some(handle) = text.strip_prefix("via:") {
            return Self::Via { handle: handle.to_owned(), private: false };
        }
        if let Some(handle) = text.strip_prefix("via-only:") {
            return Self::Via { handle: handle.to_owned(), private: true };
        }
        if let Some(ts) = text.strip_prefix("here:") {
            return Self::Here(ts.to_owned());
        }
        match text.strip_prefix("only:").and_then(|rest| rest.split_once(':')) {
            Some((user, ts)) => Self::Ephemeral { user: user.to_owned(), ts: ts.to_owned() },
            None => Self::Message(text.to_owned()),
        }
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Message(ts) => f.write_str(ts),
            Self::Via { handle, private } => write!(f, "via{}:{handle}", if *private { "-only" } else { "" }),
            Self::Ephemeral { user, ts } => write!(f, "only:{user}:{ts}"),
            Self::Here(ts) => write!(f, "here:{ts}"),
        }
    }
}

impl Gateway for Slack {
    fn say<'a>(
        &'a self,
        place: &'a Place,
        card: &'a Card,
        audience: &'a Audience,
        key: &'a str,
    ) -> BoxFuture<'a, Result<MessageRef, Undelivered>> {
        self.say_now(place, card, audience, key).boxed()
    }

    fn say_again<'a>(
        &'a self,
        place: &'a Place,
        card: &'a Card,
        audience: &'a Audience,
        key: &'a str,
    ) -> BoxFuture<'a, Result<MessageRef, Undelivered>> {
        // What one person alone sees is not to be found: whether it was begun is a row.
        if self.finds(place, audience) {
            self.doubts.suspect(key);
        }
        self.say_now(place, card, audience, key).boxed()
    }

    fn edit<'a>(&'a self, message: &'a MessageRef, card: &'a Card) -> BoxFuture<'a, Result<(), Undelivered>> {
        self.edit_now(message, card, true).boxed()
    }

    fn progress<'a>(&'a self, message: &'a MessageRef, card: &'a Card) -> BoxFuture<'a, Result<(), Undelivered>> {
        self.edit_now(message, card, false).boxed()
    }

    fn react<'a>(
        &'a self,
        message: &'a MessageRef,
        emoji: &'a str,
        add: bool,
    ) -> BoxFuture<'a, Result<(), Undelivered>> {
        self.react_now(message, emoji, add).boxed()
    }

    fn upload<'a>(
        &'a self,
        place: &'a Place,
        name: &'a str,
        bytes: Vec<u8>,
        audience: &'a Audience,
    ) -> BoxFuture<'a, Result<(), Undelivered>> {
        self.upload_now(place, name, bytes, audience).boxed()
    }

    fn hears_reactions(&self, message: &MessageRef) -> bool {
        // What was said through a response URL stands in a channel the bot is not in, or is private.
        matches!(Id::read(&message.id), Id::Message(_))
    }

    fn finds(&self, place: &Place, audience: &Audience) -> bool {
        place.kind == PlaceKind::Direct || matches!(audience, Audience::All)
    }

    fn shows_pictures(&self) -> bool {
        true
    }

    fn edit_pace(&self) -> Duration {
        EDIT_PACE
    }

    fn ailment(&self) -> Option<String> {
        let state = self.state();
        if let Some((method, why)) = state.refused.iter().next() {
            return Some(format!("Slack: `{method}` is refused: {why}"));
        }
        if let Some((since, why)) = &state.socket {
            return Some(format!("Slack: no socket since {since:.0}: {why}"));
        }
        state.unreachable.as_ref().map(|why| format!("Slack: {why}"))
    }
}
