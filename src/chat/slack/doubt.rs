//! Sayings of which it is not known whether they arrived.
//!
//! A call that is not answered may have had its effect. Every message carries
//! its key as metadata, so before the same thing is said again it is looked for
//! where it would stand; so is a file, by its id. Ephemeral messages leave
//! nothing to look for: within a process such an answer is said again and says
//! so; after a crash it is not.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use serde_json::{Value, json};

use super::{Slack, api::Trouble};
use crate::model::Place;

/// Sayings remembered at once.
const MANY: usize = 10_000;
/// How far back is looked. Slack gives the newest first.
const LOOKED_AT: &str = "200";
const EVENT_TYPE: &str = "rediscue_message";

/// Key → may it have arrived?
#[derive(Default)]
pub(super) struct Doubts(Mutex<HashMap<String, bool>>);

impl Doubts {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, bool>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, key: &str, may_have_arrived: bool) {
        let mut known = self.lock();
        if known.len() >= MANY {
            // What is forgotten is looked for once too often.
            known.retain(|_, may_have_arrived| *may_have_arrived);
        }
        known.insert(key.to_owned(), may_have_arrived);
    }

    /// It was sent and not answered.
    pub(super) fn raise(&self, key: &str) {
        self.set(key, true);
    }

    /// It certainly was not taken this time; an older doubt stays.
    pub(super) fn deny(&self, key: &str) {
        self.lock().entry(key.to_owned()).or_insert(false);
    }

    /// It is said again, by a process that may not have been the first to say it.
    pub(super) fn suspect(&self, key: &str) {
        self.lock().entry(key.to_owned()).or_insert(true);
    }

    /// It is known what became of it.
    pub(super) fn settle(&self, key: &str) {
        self.lock().remove(key);
    }

    pub(super) fn about(&self, key: &str) -> bool {
        self.lock().get(key).copied().unwrap_or(false)
    }
}

/// What a message carries, to be found by.
pub(super) fn mark(key: &str) -> Value {
    json!({ "event_type": EVENT_TYPE, "event_payload": { "key": key } })
}

impl Slack {
    /// Does a file stand in a channel? Where that cannot be looked up, it does not.
    pub(super) async fn finds_file(&self, place: &Place, file: &str) -> bool {
        let query = [("channel", place.channel.as_str()), ("limit", LOOKED_AT)];
        let (method, thread) = match &place.thread {
            Some(thread) => ("conversations.replies", Some(("ts", thread.as_str()))),
            None => ("conversations.history", None),
        };
        let query: Vec<(&str, &str)> = query.into_iter().chain(thread).collect();
        let Ok(answer) = self.noted(method, self.api.read(method, &query).await) else { return false };
        let messages = answer.get("messages").and_then(Value::as_array);
        let mut files = messages
            .into_iter()
            .flatten()
            .flat_map(|message| message.get("files").and_then(Value::as_array).into_iter().flatten());
        files.any(|one| one.get("id").and_then(Value::as_str) == Some(file))
    }

    /// The message that carries this key, if it stands there.
    pub(super) async fn find(&self, place: &Place, key: &str) -> Result<Option<String>, Trouble> {
        let mut query =
            vec![("channel", place.channel.as_str()), ("include_all_metadata", "true"), ("limit", LOOKED_AT)];
        let method = match &place.thread {
            Some(thread) => {
                query.push(("ts", thread));
                "conversations.replies"
            }
            None => "conversations.history",
        };
        let answer = match self.noted(method, self.api.read(method, &query).await) {
            Ok(answer) => answer,
            // We may not look, which health says. An answer twice is better than none.
            Err(Trouble::Refused { code, .. }) => {
                tracing::warn!(code, "it cannot be looked up whether an answer had arrived; it is said again");
                return Ok(None);
            }
            Err(trouble) => return Err(trouble),
        };
        let messages = answer.get("messages").and_then(Value::as_array);
        let found = messages.into_iter().flatten().find(|message| {
            message.pointer("/metadata/event_type").and_then(Value::as_str) == Some(EVENT_TYPE)
                && message.pointer("/metadata/event_payload/key").and_then(Value::as_str) == Some(key)
        });
        Ok(found.and_then(|message| message.get("ts")).and_then(Value::as_str).map(str::to_owned))
    }
}
