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
mod blocks;
mod http;
mod inbound;
mod people;
mod routes;
mod socket;
mod table;
mod text;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    chat::{Audience, Gateway, Inbound, Undelivered},
    model::{Card, Identity, MessageRef, PersonId, Place, PlaceKind},
};
use api::{Api, Trouble};
use blocks::Message;
use people::People;
use routes::Routes;

/// Slack takes about fifty edits a minute of one app (tier 3).
const EDIT_PACE: Duration = Duration::from_millis(1_500);

/// The Slack user of a person in a workspace, for mentions.
pub type Accounts = Arc<dyn Fn(&PersonId, &str) -> Option<String> + Send + Sync>;

/// How Slack is spoken to. Secrets are already read.
pub struct Settings {
    /// `https://slack.com/api`, without a trailing slash.
    pub api: String,
    /// The bot token.
    pub bot_token: SecretString,
    /// Socket Mode or signed HTTP.
    pub transport: Transport,
    /// The slash command, with its slash.
    pub command: String,
    /// Who is who.
    pub accounts: Accounts,
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
    people: People,
    routes: Routes,
    accounts: Accounts,
    pub(in crate::chat::slack) state: Mutex<State>,
}

/// What is known of the connection.
#[derive(Debug, Default)]
pub(in crate::chat::slack) struct State {
    /// The bot's own user, once `auth.test` told.
    pub(in crate::chat::slack) bot_user: Option<String>,
    /// The workspace.
    pub(in crate::chat::slack) team: Option<String>,
    /// What is wrong with the token or the scopes, in Slack's words.
    pub(in crate::chat::slack) refused: Option<String>,
    /// What is wrong with the socket, since when.
    pub(in crate::chat::slack) socket: Option<String>,
    /// What Slack cannot be reached for.
    pub(in crate::chat::slack) unreachable: Option<String>,
}

impl Slack {
    /// A gateway that listens to nothing yet.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn new(settings: &Settings) -> Result<Arc<Self>, StartError> {
        let client = api::client(&settings.api)?;
        Ok(Arc::new(Self {
            api: Api::new(client, &settings.bot_token),
            people: People::default(),
            routes: Routes::default(),
            accounts: settings.accounts.clone(),
            state: Mutex::default(),
        }))
    }

    /// Listens by Socket Mode until told to stop.
    ///
    /// # Errors
    /// When the machine has no trust store.
    pub async fn listen(
        self: Arc<Self>,
        api: String,
        app_token: SecretString,
        inbound: mpsc::Sender<Inbound>,
        stop: CancellationToken,
    ) -> Result<(), StartError> {
        socket::listen(self, &api, &app_token, inbound, stop).await
    }

    /// The routes of signed HTTP, to be mounted under `/slack`.
    ///
    /// # Errors
    /// Without a signing secret nothing could be told from a forgery: refused.
    pub fn http_routes(
        self: &Arc<Self>,
        signing_secret: &SecretString,
        inbound: mpsc::Sender<Inbound>,
    ) -> Result<axum::Router, StartError> {
        http::routes(self.clone(), signing_secret, inbound)
    }

    /// Asks Slack who we are. Needed before mentions can be told from other text.
    pub(in crate::chat::slack) async fn introduce(&self) -> Result<String, Trouble> {
        if let Some(user) = self.state().bot_user.clone() {
            return Ok(user);
        }
        let answer = self.noted(self.api.call("auth.test", "", &json!({})).await)?;
        let word = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut state = self.state();
        state.bot_user = Some(word("user_id"));
        state.team = Some(word("team_id"));
        Ok(word("user_id"))
    }

    pub(in crate::chat::slack) fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what an answer says about the app itself, for health.
    fn noted(&self, answer: Result<Value, Trouble>) -> Result<Value, Trouble> {
        let mut state = self.state();
        match &answer {
            Ok(_) => {
                state.unreachable = None;
                state.refused = None;
            }
            Err(trouble) if trouble.is_about_the_app() => state.refused = Some(trouble.to_string()),
            Err(Trouble::Unreachable(why)) => state.unreachable = Some(why.clone()),
            Err(_) => {}
        }
        drop(state);
        answer
    }

    async fn call(&self, method: &str, channel: &str, request: &Value) -> Result<Value, Trouble> {
        self.noted(self.api.call(method, channel, request).await)
    }

    fn render(&self, card: &Card, team: &str) -> Message {
        blocks::render(card, &|person| (self.accounts)(person, team))
    }

    /// Says a message to everybody in a place; answers Slack's `ts` of it.
    async fn post(&self, place: &Place, message: &Message, key: &str) -> Result<String, Trouble> {
        let mut request = json!({
            "channel": place.channel,
            "text": message.text,
            "blocks": message.blocks,
            "unfurl_links": false,
            "unfurl_media": false,
            // Found again by this after a crash between sending and noting it down.
            "metadata": { "event_type": "rediscue_message", "event_payload": { "key": key } },
        });
        if let Some(thread) = &place.thread {
            request["thread_ts"] = json!(thread);
        }
        let answer = self.call("chat.postMessage", &place.channel, &request).await?;
        Ok(answer.get("ts").and_then(Value::as_str).unwrap_or_default().to_owned())
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
                if let Some(via) = place.via.as_ref().filter(|via| self.routes.is_open(via)) {
                    self.routes.answer(via, &message, true, false).await?;
                    return Ok(reference(Id::Via(via.clone()).to_string()));
                }
                let ts = self.whisper(place, &identity.user, &message).await?;
                Ok(reference(Id::Ephemeral { user: identity.user.clone(), ts }.to_string()))
            }
            _ => match self.post(place, &message, key).await {
                Ok(ts) => Ok(reference(ts)),
                Err(trouble) => {
                    let elsewhere = matches!(trouble.code(), "not_in_channel" | "channel_not_found" | "is_archived");
                    match place.via.as_ref().filter(|via| elsewhere && self.routes.is_open(via)) {
                        Some(via) => {
                            self.routes.answer(via, &message, false, false).await?;
                            Ok(reference(Id::Via(via.clone()).to_string()))
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
            Id::Via(via) if last => Ok(self.routes.answer(&via, &message, false, true).await?),
            // Five uses are all there are: progress may have the middle ones, the answer has the last.
            Id::Via(via) => match self.routes.can_spare(&via) {
                true => Ok(self.routes.answer(&via, &message, false, true).await?),
                false => Ok(()),
            },
            Id::Ephemeral { user, .. } if last => Ok(self.whisper(place, &user, &message).await.map(|_| ())?),
            Id::Ephemeral { .. } => Ok(()),
            Id::Message(ts) => {
                let request = json!({
                    "channel": place.channel,
                    "ts": ts,
                    "text": message.text,
                    "blocks": message.blocks,
                });
                Ok(self.call("chat.update", &place.channel, &request).await.map(|_| ())?)
            }
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
        let answer =
            self.noted(self.api.read("files.getUploadURLExternal", &[("filename", name), ("length", &length)]).await)?;
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
        self.call("files.completeUploadExternal", &channel, &request).await?;
        Ok(())
    }
}

/// What a [`MessageRef`] of this gateway names.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Id {
    /// A message, by Slack's `ts`.
    Message(String),
    /// What was answered through a response URL, by its handle.
    Via(String),
    /// A message only one user sees.
    Ephemeral { user: String, ts: String },
}

impl Id {
    fn read(text: &str) -> Self {
        if let Some(via) = text.strip_prefix("via:") {
            return Self::Via(via.to_owned());
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
            Self::Via(via) => write!(f, "via:{via}"),
            Self::Ephemeral { user, ts } => write!(f, "only:{user}:{ts}"),
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

    fn edit_pace(&self) -> Duration {
        EDIT_PACE
    }

    fn ailment(&self) -> Option<String> {
        let state = self.state();
        let said = |what: &Option<String>| what.as_ref().map(|what| format!("Slack: {what}"));
        said(&state.refused).or_else(|| said(&state.socket)).or_else(|| said(&state.unreachable))
    }
}
