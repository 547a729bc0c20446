//! A Slack on this machine.
//!
//! One state (users, channels, messages, reactions, files) with the Web API,
//! response URLs, upload addresses, Socket Mode and signed HTTP derived from
//! it. It keeps Slack's limits and asks for Slack's scopes, and it can be slow,
//! silent, dead, and back at the same address. [`FakeSlack::finish`] proves
//! that nothing was left unread and nothing was refused that a test did not provoke.

mod api;
pub(crate) mod rules;
pub(crate) mod socket;
pub(crate) mod state;

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::eventually_async;
use socket::{Order, Orders};
use state::{BOT, Prank, Route, Said, Sent, State, TEAM};

pub(crate) const BOT_TOKEN: &str = "xoxb-secret-bot-token";
pub(crate) const APP_TOKEN: &str = "xapp-secret-app-token";
pub(crate) const SIGNING_SECRET: &str = "secret-of-the-signatures";
const PATIENCE: Duration = Duration::from_secs(60);

/// How events reach the bot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Socket,
    Http,
}

/// Where signed requests go.
#[derive(Debug, Clone)]
pub(super) struct Hook {
    base: String,
}

/// The fake.
pub(crate) struct FakeSlack {
    state: Arc<Mutex<State>>,
    by: By,
    http: u16,
    ws: u16,
    hook: Arc<Mutex<Option<Hook>>>,
    orders: Orders,
    /// Everything that serves lives here, so that dying takes all of it.
    runtime: Option<tokio::runtime::Runtime>,
}

impl FakeSlack {
    /// Starts on free ports.
    pub(crate) async fn start(by: By) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (http, ws) = (super::redis::free_port(), super::redis::free_port());
        let state = Arc::new(Mutex::new(State::new()));
        let mut fake = Self { state, by, http, ws, hook: Arc::default(), orders: Orders::default(), runtime: None };
        fake.revive().await;
        fake
    }

    /// Dies: nothing listens, every connection breaks.
    pub(crate) fn die(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    /// Comes back at the same addresses, knowing what it knew.
    pub(crate) async fn revive(&mut self) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (state, orders, hook, by) = (self.state.clone(), self.orders.clone(), self.hook.clone(), self.by);
        let (http, ws) = (self.http, self.ws);
        let (ready, up) = tokio::sync::oneshot::channel();
        runtime.spawn(async move {
            let (pages, links) = (bind(http).await, bind(ws).await);
            tokio::spawn(socket::serve(links, state.clone(), orders));
            if by == By::Http {
                tokio::spawn(socket::post_all(state.clone(), hook));
            }
            let _ = ready.send(());
            let site = api::Site { state, http, ws };
            let _ = axum::serve(pages, api::routes(site)).await;
        });
        up.await.unwrap();
        self.runtime = Some(runtime);
    }

    /// Where the Web API is.
    pub(crate) fn api(&self) -> String {
        format!("http://127.0.0.1:{}/api", self.http)
    }

    /// The port of the Web API.
    pub(crate) fn api_port(&self) -> u16 {
        self.http
    }

    /// How events reach the bot.
    pub(crate) fn by(&self) -> By {
        self.by
    }

    /// Where the bot takes signed requests.
    pub(crate) fn point_to(&self, base: &str) {
        *self.hook.lock().unwrap() = Some(Hook { base: base.to_owned() });
    }

    /// Where signed requests go.
    pub(crate) fn hook(&self) -> String {
        self.hook.lock().unwrap().clone().expect("it was pointed somewhere").base
    }

    /// Everything it knows.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// What is done to calls, besides answering them.
    pub(crate) fn prank(&self, pranks: impl FnMut(&str, &str) -> Option<Prank> + Send + 'static) {
        self.state().pranks = Some(Box::new(pranks));
    }

    /// Answers as it should again.
    pub(crate) fn behave(&self) {
        self.state().pranks = None;
    }

    /// The bot may be refused with this word.
    pub(crate) fn expect(&self, word: &str) {
        self.state().expected.insert(word.to_owned());
    }

    /// Tells the socket something.
    pub(crate) fn order(&self, order: Order) {
        self.orders.lock().unwrap().push(order);
    }

    fn send(&self, kind: &'static str, payload: Value) -> usize {
        let mut state = self.state();
        let id = state.sent.len();
        let at = Instant::now();
        state.sent.push(Sent { kind, payload, at, acknowledged: None, answer: Value::Null, lost: false });
        state.outbox.push_back(id);
        id
    }

    /// Sends an event once more, as Slack does when it heard no acknowledgement.
    pub(crate) fn redeliver(&self, id: usize) -> usize {
        let (kind, payload) = {
            let state = self.state();
            (state.sent[id].kind, state.sent[id].payload.clone())
        };
        self.send(kind, payload)
    }

    fn route(&self, channel: &str, user: &str, source: Option<String>, turns: bool) -> String {
        let mut state = self.state();
        let id = format!("route-{}-secret", state.fresh());
        let route = Route { channel: channel.to_owned(), user: user.to_owned(), uses: 0, source, turns, last: None };
        state.routes.insert(id.clone(), route);
        format!("http://127.0.0.1:{}/commands/{id}", self.http)
    }

    /// Somebody types `/redis …`.
    pub(crate) fn slash(&self, user: &str, channel: &str, text: &str) -> usize {
        let response_url = self.route(channel, user, None, false);
        let trigger = self.state().fresh();
        self.send(
            "slash_commands",
            json!({
                "token": "old", "team_id": TEAM, "team_domain": "example", "channel_id": channel,
                "channel_name": "name", "user_id": user, "user_name": "name", "command": "/redis",
                "text": text, "api_app_id": "A1", "response_url": response_url, "trigger_id": format!("13.{trigger}"),
            }),
        )
    }

    fn event(&self, event: Value) -> usize {
        let id = self.state().fresh();
        self.send(
            "events_api",
            json!({
                "token": "old", "team_id": TEAM, "api_app_id": "A1", "event": event, "type": "event_callback",
                "event_id": format!("Ev{id}"), "event_time": jiff::Timestamp::now().as_second(),
            }),
        )
    }

    fn say(&self, user: &str, channel: &str, thread: Option<&str>, text: &str) -> String {
        let mut state = self.state();
        let mut said = state.new_message(user, text, Vec::new());
        said.thread = thread.map(str::to_owned);
        state.put(channel, said)
    }

    /// Somebody mentions the bot; the message's ts and the event.
    pub(crate) fn mention(&self, user: &str, channel: &str, thread: Option<&str>, text: &str) -> (String, usize) {
        let text = format!("<@{BOT}> {text}");
        let ts = self.say(user, channel, thread, &text);
        let mut event =
            json!({ "type": "app_mention", "user": user, "text": text, "ts": ts, "channel": channel, "event_ts": ts });
        if let Some(thread) = thread {
            event["thread_ts"] = json!(thread);
        }
        let id = self.event(event);
        (ts, id)
    }

    /// Somebody writes to the bot alone; the message's ts and the event.
    pub(crate) fn direct(&self, user: &str, text: &str) -> (String, usize) {
        let channel = format!("D{}", user.trim_start_matches('U'));
        if !self.state().channels.contains_key(&channel) {
            self.state().channel(&channel, &[user, BOT]);
        }
        let ts = self.say(user, &channel, None, text);
        let id = self.event(json!({
            "type": "message", "user": user, "text": text, "ts": ts, "channel": channel, "event_ts": ts, "channel_type": "im",
        }));
        (ts, id)
    }

    /// Somebody presses the button with this label on a message.
    pub(crate) fn press(&self, user: &str, channel: &str, ts: &str, label: &str) -> usize {
        let said = self.said(channel, ts);
        let buttons = said.buttons();
        let (text, action, value) = buttons
            .iter()
            .find(|(text, _, _)| text == label)
            .unwrap_or_else(|| panic!("`{label}` is no button of {buttons:?}"));
        let turns = ["page ", "open "].iter().any(|command| value.starts_with(command));
        let done = json!({
            "type": "button", "action_id": action, "block_id": "b1", "value": value, "action_ts": "1.1",
            "text": { "type": "plain_text", "text": text },
        });
        self.interact(user, channel, &said, done, turns)
    }

    /// Somebody chooses an option of a menu on a message.
    pub(crate) fn choose(&self, user: &str, channel: &str, ts: &str, label: &str) -> usize {
        let said = self.said(channel, ts);
        let options = said.options();
        let (text, action, value) = options
            .iter()
            .find(|(text, _, _)| text == label)
            .unwrap_or_else(|| panic!("`{label}` is no option of {options:?}"));
        let done = json!({
            "type": "static_select", "action_id": action, "block_id": "b1", "action_ts": "1.1",
            "selected_option": { "text": { "type": "plain_text", "text": text, "emoji": false }, "value": value },
            "placeholder": { "type": "plain_text", "text": "Choose …", "emoji": false },
        });
        self.interact(user, channel, &said, done, false)
    }

    /// Somebody fills in the first line of a message, and presses Enter.
    pub(crate) fn fill_in(&self, user: &str, channel: &str, ts: &str, text: &str) -> usize {
        let said = self.said(channel, ts);
        let action = said.lines_to_fill_in().first().cloned().expect("there is a line to fill in");
        let done = json!({
            "type": "plain_text_input", "action_id": action, "block_id": "b2", "value": text, "action_ts": "1.1",
        });
        self.interact(user, channel, &said, done, true)
    }

    fn said(&self, channel: &str, ts: &str) -> Said {
        self.state().message(channel, ts).cloned().expect("the message is there")
    }

    fn interact(&self, user: &str, channel: &str, said: &Said, action: Value, turns: bool) -> usize {
        let ts = said.ts.as_str();
        let response_url = self.route(channel, user, Some(ts.to_owned()), turns);
        let trigger = self.state().fresh();
        self.send(
            "interactive",
            json!({
                "type": "block_actions", "user": { "id": user, "username": "name", "team_id": TEAM },
                "api_app_id": "A1", "token": "old",
                "container": { "type": "message", "message_ts": ts, "channel_id": channel, "is_ephemeral": said.only.is_some() },
                "trigger_id": format!("13.{trigger}"), "team": { "id": TEAM, "domain": "example" },
                "channel": { "id": channel, "name": "name" }, "message": said.to_wire(), "response_url": response_url,
                "actions": [action],
            }),
        )
    }

    /// The members of a user group change, and Slack tells.
    pub(crate) fn group(&self, id: &str, members: &[&str]) -> usize {
        self.state().groups.insert(id.to_owned(), members.iter().map(|user| (*user).to_owned()).collect());
        self.event(json!({ "type": "subteam_members_changed", "subteam_id": id, "team_id": TEAM, "event_ts": "1.1" }))
    }

    /// Something of an account changes, and Slack tells.
    pub(crate) fn account_changes(&self, user: &str, flags: Value) -> usize {
        self.state().user(user, flags);
        let account = self.state().users[user].clone();
        self.event(json!({ "type": "user_change", "user": account, "event_ts": "1.1" }))
    }

    /// Somebody reacts, or takes it back.
    pub(crate) fn react(&self, user: &str, channel: &str, ts: &str, name: &str, add: bool) -> usize {
        let kind = if add { "reaction_added" } else { "reaction_removed" };
        self.event(json!({
            "type": kind, "user": user, "reaction": name, "item_user": BOT, "event_ts": ts,
            "item": { "type": "message", "channel": channel, "ts": ts },
        }))
    }

    /// Waits for a state.
    pub(crate) async fn wait(&self, what: &str, mut holds: impl FnMut(&State) -> bool) {
        eventually_async(what, PATIENCE, || {
            let held = holds(&self.state());
            async move { held }
        })
        .await;
    }

    /// Waits until the bot has said this much in a channel, and none of it is still progress.
    pub(crate) async fn answers(&self, channel: &str, many: usize) -> Vec<Said> {
        self.wait(&format!("{many} answers stand in {channel}"), |state| {
            let said = state.by_bot(channel);
            said.len() >= many && said.iter().all(|said| !said.words().contains("Looking …"))
        })
        .await;
        self.state().by_bot(channel).into_iter().cloned().collect()
    }

    /// Proves that every event was acknowledged in time and that nothing was refused unprovoked.
    #[track_caller]
    pub(crate) fn finish(self) {
        let state = self.state.lock().unwrap();
        let unacknowledged: Vec<&Value> = state
            .sent
            .iter()
            .filter(|sent| sent.acknowledged.is_none() && !sent.lost)
            .map(|sent| &sent.payload)
            .collect();
        assert!(unacknowledged.is_empty(), "never acknowledged: {unacknowledged:?}");
        for sent in &state.sent {
            let took = sent.acknowledged.unwrap_or_default();
            assert!(took < Duration::from_secs(3), "acknowledged after {took:?}: {}", sent.payload);
        }
        assert!(state.refusals.is_empty(), "refused: {:#?}", state.refusals);
        assert!(state.unread.is_empty(), "left over: {:#?}", state.unread);
        for channel in state.channels.values() {
            for said in channel.messages.iter().filter(|said| said.user == BOT) {
                let formatted = rules::formatted(&said.text, &said.blocks);
                assert!(formatted.is_empty(), "{formatted:?}");
            }
        }
    }
}

impl Drop for FakeSlack {
    fn drop(&mut self) {
        self.die();
    }
}

async fn bind(port: u16) -> TcpListener {
    let begun = Instant::now();
    loop {
        match TcpListener::bind(("127.0.0.1", port)).await {
            Ok(listener) => return listener,
            Err(error) => assert!(begun.elapsed() < Duration::from_secs(10), "port {port}: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
