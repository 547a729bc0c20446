//! What the fake Slack knows: users, channels, messages, reactions, files,
//! and what it has seen the bot do. Everything it answers is derived from this.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::rules;

pub(crate) const BOT: &str = "UBOT";
pub(crate) const TEAM: &str = "T1";

/// A message that stands in a channel.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    pub(crate) ts: String,
    pub(crate) thread: Option<String>,
    pub(crate) user: String,
    pub(crate) text: String,
    pub(crate) blocks: Vec<Value>,
    pub(crate) metadata: Value,
    /// Only this user sees it.
    pub(crate) only: Option<String>,
    /// It came by a response URL.
    pub(crate) via: bool,
    /// What it said before, oldest first.
    pub(crate) before: Vec<String>,
    /// Emoji → who.
    pub(crate) reactions: BTreeMap<String, BTreeSet<String>>,
}

impl Said {
    /// Everything a reader sees.
    pub(crate) fn words(&self) -> String {
        if self.blocks.is_empty() {
            return self.text.clone();
        }
        self.blocks.iter().flat_map(rules::texts).collect::<Vec<_>>().join("\n")
    }

    /// The buttons: what stands on them, and their action id and value.
    pub(crate) fn buttons(&self) -> Vec<(String, String, String)> {
        let elements = self.blocks.iter().filter(|block| block["type"] == "actions");
        let elements = elements.flat_map(|block| block["elements"].as_array().cloned().unwrap_or_default());
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        elements
            .filter(|element| element["type"] == "button")
            .map(|button| (word(&button["text"]["text"]), word(&button["action_id"]), word(&button["value"])))
            .collect()
    }

    /// The options of its menus: what they say, the menu's action id, and their value.
    pub(crate) fn options(&self) -> Vec<(String, String, String)> {
        let rows = self.blocks.iter().filter(|block| block["type"] == "actions");
        let elements = rows.flat_map(|block| block["elements"].as_array().cloned().unwrap_or_default());
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let menus = elements.filter(|element| element["type"] == "static_select");
        menus
            .flat_map(|menu| {
                let options = menu["options"].as_array().cloned().unwrap_or_default();
                options.into_iter().map(move |option| {
                    (word(&option["text"]["text"]), word(&menu["action_id"]), word(&option["value"]))
                })
            })
            .collect()
    }

    /// The action ids of its lines to fill in.
    pub(crate) fn lines_to_fill_in(&self) -> Vec<String> {
        let inputs = self.blocks.iter().filter(|block| block["type"] == "input");
        inputs.map(|block| block["element"]["action_id"].as_str().unwrap_or_default().to_owned()).collect()
    }

    pub(super) fn to_wire(&self) -> Value {
        let mut wire =
            json!({ "type": "message", "ts": self.ts, "user": self.user, "text": self.text, "blocks": self.blocks });
        if let Some(thread) = &self.thread {
            wire["thread_ts"] = json!(thread);
        }
        if !self.metadata.is_null() {
            wire["metadata"] = self.metadata.clone();
        }
        wire
    }
}

/// A channel.
#[derive(Debug, Clone, Default)]
pub(crate) struct Channel {
    pub(crate) name: String,
    pub(crate) members: BTreeSet<String>,
    pub(crate) messages: Vec<Said>,
}

/// A file.
#[derive(Debug, Clone)]
pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    /// Where it was shared, once it was.
    pub(crate) channel: Option<String>,
    pub(crate) thread: Option<String>,
    pub(super) length: usize,
}

/// A response URL.
#[derive(Debug, Clone)]
pub(super) struct Route {
    pub(super) channel: String,
    pub(super) user: String,
    pub(super) uses: usize,
    /// The card the pressed button is on.
    pub(super) source: Option<String>,
    /// The press was one that turns its card's page.
    pub(super) turns: bool,
    /// What was said through it last.
    pub(super) last: Option<String>,
}

/// One event that was sent to the bot.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) kind: &'static str,
    pub(crate) payload: Value,
    pub(crate) at: Instant,
    pub(crate) acknowledged: Option<Duration>,
    pub(crate) answer: Value,
    /// The socket it went over was cut on purpose before it could be acknowledged.
    pub(crate) lost: bool,
}

/// One call the bot made.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) method: String,
    pub(crate) channel: String,
    pub(crate) error: Option<String>,
    pub(crate) at: Instant,
}

/// What to do with a call besides answering it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prank {
    /// Carry it out and never answer.
    Swallow,
    /// Answer 429 with this Retry-After, in seconds.
    Slow(u64),
    /// Answer 500.
    Break,
}

/// Decides what to do with the nth call of a method in a channel.
pub(crate) type Pranks = Box<dyn FnMut(&str, &str) -> Option<Prank> + Send>;

/// All of it.
pub(crate) struct State {
    pub(crate) users: BTreeMap<String, Value>,
    pub(crate) channels: BTreeMap<String, Channel>,
    pub(crate) files: BTreeMap<String, File>,
    pub(crate) scopes: BTreeSet<String>,
    /// User groups, and who is in them.
    pub(crate) groups: BTreeMap<String, BTreeSet<String>>,
    pub(crate) app_scopes: BTreeSet<String>,
    pub(crate) revoked: bool,
    /// What the bot was refused, that the test did not say it would be.
    pub(crate) refusals: Vec<String>,
    /// Refusals a test provokes, by their word.
    pub(crate) expected: BTreeSet<String>,
    pub(crate) calls: Vec<Call>,
    pub(crate) sent: Vec<Sent>,
    pub(crate) pranks: Option<Pranks>,
    /// The sockets neither read nor write, and stay open.
    pub(crate) silent: bool,
    pub(crate) sockets_opened: usize,
    pub(super) routes: HashMap<String, Route>,
    pub(super) outbox: VecDeque<usize>,
    pub(super) unread: Vec<String>,
    /// When a body was signed last, as Slack stamps it: by the second.
    stamps: HashMap<String, i64>,
    pub(super) next: u64,
}

/// The scopes of `deploy/slack-manifest.yaml`.
pub(crate) const SCOPES: &[&str] = &[
    "commands",
    "chat:write",
    "app_mentions:read",
    "reactions:read",
    "reactions:write",
    "files:write",
    "channels:read",
    "groups:read",
    "channels:history",
    "groups:history",
    "im:history",
    "im:write",
    "users:read",
];

impl State {
    pub(super) fn new() -> Self {
        let scopes = SCOPES.iter().map(|scope| (*scope).to_owned()).collect();
        let mut state = Self {
            users: BTreeMap::new(),
            channels: BTreeMap::new(),
            files: BTreeMap::new(),
            scopes,
            groups: BTreeMap::new(),
            app_scopes: BTreeSet::from(["connections:write".to_owned()]),
            revoked: false,
            refusals: Vec::new(),
            expected: BTreeSet::new(),
            calls: Vec::new(),
            sent: Vec::new(),
            pranks: None,
            silent: false,
            sockets_opened: 0,
            routes: HashMap::new(),
            outbox: VecDeque::new(),
            unread: Vec::new(),
            stamps: HashMap::new(),
            next: 1,
        };
        for (id, name) in [("U1", "ana"), ("U2", "bo"), ("U3", "cy"), ("U4", "dee")] {
            state.user(id, json!({ "name": name, "real_name": name }));
        }
        state.user(BOT, json!({ "name": "rediscue", "is_bot": true }));
        for (id, name, with_bot) in [("C1", "ops", true), ("C2", "dev", true), ("C9", "elsewhere", false)] {
            let mut members: BTreeSet<String> = ["U1", "U2", "U3", "U4"].map(str::to_owned).into();
            if with_bot {
                members.insert(BOT.to_owned());
            }
            state.channels.insert(id.to_owned(), Channel { name: name.to_owned(), members, messages: Vec::new() });
        }
        state.channel("D1", &["U1", BOT]);
        state
    }

    /// The moment a body is signed at. What is sent again is signed at another, as it is a while later.
    pub(super) fn stamp(&mut self, body: &str) -> i64 {
        let now = jiff::Timestamp::now().as_second();
        let stamp = self.stamps.get(body).map_or(now, |last| now.min(last - 1));
        self.stamps.insert(body.to_owned(), stamp);
        stamp
    }

    /// Adds or changes an account.
    pub(crate) fn user(&mut self, id: &str, more: Value) {
        let mut user = json!({ "id": id, "team_id": TEAM, "deleted": false, "is_bot": false, "profile": {} });
        for (name, value) in more.as_object().into_iter().flatten() {
            user[name] = value.clone();
        }
        self.users.insert(id.to_owned(), user);
    }

    /// Adds a channel with these members.
    pub(crate) fn channel(&mut self, id: &str, members: &[&str]) {
        let members = members.iter().map(|member| (*member).to_owned()).collect();
        self.channels.insert(id.to_owned(), Channel { name: id.to_lowercase(), members, messages: Vec::new() });
    }

    /// A number that was not given before.
    pub(super) fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(super) fn ts(&mut self) -> String {
        let at = jiff::Timestamp::now().as_second();
        format!("{at}.{:06}", self.fresh())
    }

    /// What the bot said in a channel, as it stands now.
    pub(crate) fn by_bot(&self, channel: &str) -> Vec<&Said> {
        let messages = self.channels.get(channel).map(|channel| &channel.messages);
        messages.into_iter().flatten().filter(|said| said.user == BOT).collect()
    }

    pub(crate) fn message(&self, channel: &str, ts: &str) -> Option<&Said> {
        self.channels.get(channel)?.messages.iter().find(|said| said.ts == ts)
    }

    pub(super) fn message_mut(&mut self, channel: &str, ts: &str) -> Option<&mut Said> {
        self.channels.get_mut(channel)?.messages.iter_mut().find(|said| said.ts == ts)
    }

    /// Puts a message into a channel; its ts.
    pub(super) fn put(&mut self, channel: &str, said: Said) -> String {
        let ts = said.ts.clone();
        self.channels.get_mut(channel).expect("it was looked for").messages.push(said);
        ts
    }

    pub(super) fn new_message(&mut self, user: &str, text: &str, blocks: Vec<Value>) -> Said {
        Said {
            ts: self.ts(),
            thread: None,
            user: user.to_owned(),
            text: text.to_owned(),
            blocks,
            metadata: Value::Null,
            only: None,
            via: false,
            before: Vec::new(),
            reactions: BTreeMap::new(),
        }
    }

    /// How often each response URL was used.
    pub(crate) fn uses(&self) -> Vec<usize> {
        self.routes.values().map(|route| route.uses).collect()
    }

    /// How often a method was called.
    pub(crate) fn count(&self, method: &str) -> usize {
        self.calls.iter().filter(|call| call.method == method).count()
    }
}
