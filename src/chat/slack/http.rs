//! Signed HTTP: events as requests that Slack signs.
//!
//! A request is believed when its signature fits the signing secret, its
//! timestamp is not older than five minutes, and it was not seen before. It is
//! then put on the shelf, acknowledged, and handled after.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use slack_morphism::{SlackSigningSecret, signature_verifier::SlackEventSignatureVerifier};

use super::{Slack, StartError, inbound::begun};
use crate::chat::Ears;

/// Slack's own requests are far smaller.
const LARGEST_BODY: usize = 1 << 20;
/// As long as a timestamp is good, a signature is remembered.
const REMEMBERED: Duration = Duration::from_secs(600);

#[derive(Clone)]
struct Door {
    slack: Arc<Slack>,
    verifier: Arc<SlackEventSignatureVerifier>,
    seen: Arc<Mutex<HashMap<String, Instant>>>,
    ears: Ears,
}

/// The routes, to be mounted under `/slack`.
pub(super) fn routes(slack: Arc<Slack>, signing_secret: &SecretString, ears: Ears) -> Result<Router, StartError> {
    let secret = signing_secret.expose_secret();
    if secret.trim().is_empty() {
        return Err(StartError::EmptySecret("signing secret"));
    }
    let verifier = Arc::new(SlackEventSignatureVerifier::new(&SlackSigningSecret::new(secret.to_owned())));
    let door = Door { slack, verifier, seen: Arc::default(), ears };
    Ok(Router::new()
        .route("/commands", post(command))
        .route("/events", post(push))
        .route("/interactivity", post(interaction))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .with_state(door))
}

impl Door {
    /// The body, if Slack sent it, now, and for the first time.
    fn believed<'b>(&self, headers: &HeaderMap, body: &'b Bytes) -> Result<&'b str, (StatusCode, &'static str)> {
        let refused = |why: &'static str| {
            tracing::warn!(why, "a request that claims to be Slack's was refused");
            (StatusCode::UNAUTHORIZED, why)
        };
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let signature = header(SlackEventSignatureVerifier::SLACK_SIGNED_HASH_HEADER);
        let timestamp = header(SlackEventSignatureVerifier::SLACK_SIGNED_TIMESTAMP);
        let text = std::str::from_utf8(body).map_err(|_| refused("the body is not text"))?;
        if signature.is_empty() || timestamp.is_empty() {
            return Err(refused("the request is not signed"));
        }
        self.verifier
            .verify(signature, text, timestamp)
            .map_err(|_| refused("the signature does not fit, or is too old"))?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        seen.retain(|_, at| now.duration_since(*at) < REMEMBERED);
        if seen.insert(signature.to_owned(), now).is_some() {
            // A replay. Slack's own retries are signed anew and told apart by their event's id.
            return Err(refused("the request was sent before"));
        }
        Ok(text)
    }
}

impl Door {
    /// Keeps the event and has it handled; `false` when it cannot be read. The answer to this is the acknowledgement.
    async fn takes(self, kind: &'static str, payload: Value) -> bool {
        let turn = self.slack.turn_at(kind, &payload);
        let Some(mut arrived) = self.slack.read(kind, payload, turn) else { return false };
        self.slack.keep(&mut arrived, &self.ears).await;
        tokio::spawn(async move { self.slack.handle(arrived, &self.ears).await });
        true
    }
}

async fn command(State(door): State<Door>, headers: HeaderMap, body: Bytes) -> Response {
    let text = match door.believed(&headers, &body) {
        Ok(text) => text,
        Err(refused) => return refused.into_response(),
    };
    let form: HashMap<String, String> = serde_urlencoded::from_str(text).unwrap_or_default();
    let word = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    let acknowledged = begun(word("command"), word("text"));
    match door.takes("slash_commands", json!(form)).await {
        true => Json(acknowledged).into_response(),
        false => (StatusCode::BAD_REQUEST, "not a slash command").into_response(),
    }
}

async fn interaction(State(door): State<Door>, headers: HeaderMap, body: Bytes) -> Response {
    let text = match door.believed(&headers, &body) {
        Ok(text) => text,
        Err(refused) => return refused.into_response(),
    };
    let form: HashMap<String, String> = serde_urlencoded::from_str(text).unwrap_or_default();
    let payload = form.get("payload").and_then(|payload| serde_json::from_str(payload).ok()).unwrap_or(Value::Null);
    match door.takes("interactive", payload).await {
        true => StatusCode::OK.into_response(),
        false => (StatusCode::BAD_REQUEST, "not an interaction").into_response(),
    }
}

async fn push(State(door): State<Door>, headers: HeaderMap, body: Bytes) -> Response {
    let text = match door.believed(&headers, &body) {
        Ok(text) => text,
        Err(refused) => return refused.into_response(),
    };
    let payload: Value = serde_json::from_str(text).unwrap_or(Value::Null);
    if payload["type"] == "url_verification" {
        return Json(json!({ "challenge": payload["challenge"] })).into_response();
    }
    if payload["type"] == "event_callback" && !door.takes("events_api", payload).await {
        tracing::warn!("an event of Slack's could not be read");
    }
    // An event of a kind we do not take is acknowledged, or Slack would send it again and again.
    StatusCode::OK.into_response()
}
