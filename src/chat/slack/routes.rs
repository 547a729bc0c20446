//! Response URLs: answering a slash command where the bot may not write.
//!
//! Each is good for five answers within thirty minutes. The URL is a bearer of
//! authority: it stays in this room, and everybody else has a handle.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde_json::json;

use super::blocks::Message;
use crate::chat::Undelivered;

/// Answers one URL takes.
const USES: u8 = 5;
/// How long it takes them, less a margin.
const LIFE: Duration = Duration::from_secs(29 * 60);
/// One answer is given up after this.
const PATIENCE: Duration = Duration::from_secs(10);

struct Route {
    url: reqwest::Url,
    left: u8,
    until: Instant,
    /// An answer can take the place of the one before. A button's URL cannot do that: it would
    /// replace the card the button is on.
    replaces: bool,
}

/// The URLs that are still good.
#[derive(Default)]
pub(super) struct Routes {
    open: Mutex<HashMap<String, Route>>,
    http: std::sync::OnceLock<reqwest::Client>,
}

impl Routes {
    fn open(&self) -> std::sync::MutexGuard<'_, HashMap<String, Route>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a URL; answers the handle it is known by, or `None` where it is no URL.
    pub(super) fn keep(&self, url: &str, replaces: bool) -> Option<String> {
        let url: reqwest::Url = url.parse().ok()?;
        let handle = format!("{:016x}", rand::random::<u64>());
        let now = Instant::now();
        let mut open = self.open();
        open.retain(|_, route| route.until > now && route.left > 0);
        open.insert(handle.clone(), Route { url, left: USES, until: now + LIFE, replaces });
        Some(handle)
    }

    /// Can it still be answered?
    pub(super) fn is_open(&self, handle: &str) -> bool {
        self.open().get(handle).is_some_and(|route| route.left > 0 && route.until > Instant::now())
    }

    /// Is there a use to spare for progress, with one left for the answer?
    pub(super) fn can_spare(&self, handle: &str) -> bool {
        self.open().get(handle).is_some_and(|route| route.replaces && route.left > 1 && route.until > Instant::now())
    }

    /// Answers, to the asker alone or to the channel, or in place of what was answered before.
    pub(super) async fn answer(
        &self,
        handle: &str,
        message: &Message,
        private: bool,
        replace: bool,
    ) -> Result<(), Undelivered> {
        let replaces = self.open().get(handle).is_some_and(|route| route.replaces);
        self.send(handle, message, private, replace && replaces).await
    }

    /// Changes the card whose button was pressed.
    pub(super) async fn replace_pressed(&self, handle: &str, message: &Message) -> Result<(), Undelivered> {
        self.send(handle, message, true, true).await
    }

    async fn send(&self, handle: &str, message: &Message, private: bool, replace: bool) -> Result<(), Undelivered> {
        let url = {
            let mut open = self.open();
            let route = open
                .get_mut(handle)
                .filter(|route| route.left > 0 && route.until > Instant::now())
                .ok_or_else(|| Undelivered::Gone("the command's response URL is used up or too old".to_owned()))?;
            route.left -= 1;
            route.url.clone()
        };
        let mut body = json!({ "text": message.text, "blocks": message.blocks });
        body["response_type"] = json!(if private { "ephemeral" } else { "in_channel" });
        body["replace_original"] = json!(replace);
        let http = match self.http.get() {
            Some(http) => http,
            None => {
                let made = super::api::plain_client()
                    .map_err(|_| Undelivered::Unreachable("no client can be made for response URLs".to_owned()))?;
                self.http.get_or_init(|| made)
            }
        };
        match http.post(url).timeout(PATIENCE).json(&body).send().await {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) if answer.status() == reqwest::StatusCode::TOO_MANY_REQUESTS => {
                self.give_back(handle);
                let wait = answer.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
                Err(Undelivered::RetryAfter(Duration::from_secs(wait.unwrap_or(1))))
            }
            Ok(answer) if answer.status().is_client_error() => {
                Err(Undelivered::Gone(format!("the response URL was refused with status {}", answer.status().as_u16())))
            }
            // An error's own words would hold the URL.
            Ok(_) | Err(_) => {
                self.give_back(handle);
                Err(Undelivered::Unreachable("the response URL does not answer".to_owned()))
            }
        }
    }

    fn give_back(&self, handle: &str) {
        if let Some(route) = self.open().get_mut(handle) {
            route.left += 1;
        }
    }
}
