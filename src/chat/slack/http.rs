//! Signed HTTP: events as requests that Slack signs.
//!
//! A request is believed when its signature fits the signing secret, its
//! timestamp is not older than five minutes, and it was not seen before. It is
//! then acknowledged at once, and handled after.

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
use slack_morphism::{
    SlackSigningSecret,
    prelude::{SlackCommandEvent, SlackPushEvent},
    signature_verifier::SlackEventSignatureVerifier,
};
use tokio::sync::mpsc;

use super::{
    Slack, StartError,
    inbound::{begun, interaction as read},
};
use crate::chat::Inbound;

/// Slack's own requests are far smaller.
const LARGEST_BODY: usize = 1 << 20;
/// As long as a timestamp is good, a signature is remembered.
const REMEMBERED: Duration = Duration::from_secs(600);

#[derive(Clone)]
struct Door {
    slack: Arc<Slack>,
    verifier: Arc<SlackEventSignatureVerifier>,
    seen: Arc<Mutex<HashMap<String, Instant>>>,
    inbound: mpsc::Sender<Inbound>,
}

/// The routes, to be mounted under `/slack`.
pub(super) fn routes(
    slack: Arc<Slack>,
    signing_secret: &SecretString,
    inbound: mpsc::Sender<Inbound>,
) -> Result<Router, StartError> {
    let secret = signing_secret.expose_secret();
    if secret.trim().is_empty() {
        return Err(StartError::EmptySecret("signing secret"));
    }
    let verifier = Arc::new(SlackEventSignatureVerifier::new(&SlackSigningSecret::new(secret.to_owned())));
    let door = Door { slack, verifier, seen: Arc::default(), inbound };
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

async fn command(State(door): State<Door>, headers: HeaderMap, body: Bytes) -> Response {
    let text = match door.believed(&headers, &body) {
        Ok(text) => text,
        Err(refused) => return refused.into_response(),
    };
    let event: SlackCommandEvent = match serde_urlencoded::from_str(text) {
        Ok(event) => event,
        Err(_) => return (StatusCode::BAD_REQUEST, "not a slash command").into_response(),
    };
    let acknowledged = begun(&event.command.0, event.text.as_deref().unwrap_or_default());
    tokio::spawn(async move { door.slack.on_command(event, &door.inbound).await });
    Json(acknowledged).into_response()
}

async fn interaction(State(door): State<Door>, headers: HeaderMap, body: Bytes) -> Response {
    let text = match door.believed(&headers, &body) {
        Ok(text) => text,
        Err(refused) => return refused.into_response(),
    };
    let form: HashMap<String, String> = serde_urlencoded::from_str(text).unwrap_or_default();
    let event = form.get("payload").and_then(|payload| read(serde_json::from_str(payload).ok()?));
    match event {
        Some(event) => {
            tokio::spawn(async move { door.slack.on_interaction(event, &door.inbound).await });
            StatusCode::OK.into_response()
        }
        None => (StatusCode::BAD_REQUEST, "not an interaction").into_response(),
    }
}

async fn push(State(door): State<Door>, headers: HeaderMap, body: Bytes) -> Response {
    let text = match door.believed(&headers, &body) {
        Ok(text) => text,
        Err(refused) => return refused.into_response(),
    };
    match serde_json::from_str::<SlackPushEvent>(text) {
        Ok(SlackPushEvent::UrlVerification(challenge)) => {
            Json(json!({ "challenge": challenge.challenge })).into_response()
        }
        Ok(SlackPushEvent::EventCallback(event)) => {
            tokio::spawn(async move { door.slack.on_push(event, &door.inbound).await });
            Json(Value::Null).into_response()
        }
        // An event of a kind we do not take is acknowledged, or Slack would send it again and again.
        Ok(_) | Err(_) => StatusCode::OK.into_response(),
    }
}
