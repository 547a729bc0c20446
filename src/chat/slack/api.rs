//! Slack's Web API, a call at a time.
//!
//! Requests are built here as JSON rather than by the crate's request types:
//! Block Kit grows faster than any types, and answers need only a field or two.
//! What the crate does for us is the transport, the token and the errors.
//!
//! A 429 is kept per method and channel, so that a busy channel does not slow
//! another one; calls that come before their time are not sent at all.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use slack_morphism::{
    SlackApiToken, SlackApiTokenValue, SlackClient,
    errors::SlackClientError,
    prelude::{SlackClientHyperConnector, SlackClientHyperHttpsConnector},
};

use crate::chat::Undelivered;

/// A call that is not answered by then is taken for lost.
const PATIENCE: Duration = Duration::from_secs(10);
/// Waited where Slack does not say how long.
const RETRY: Duration = Duration::from_secs(5);

/// The client of the production wiring.
pub(super) type Client = SlackClient<SlackClientHyperHttpsConnector>;

/// Why a call did not work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Trouble {
    /// Slack asks to wait.
    #[error("Slack asks to wait {0:?}")]
    Wait(Duration),
    /// Slack cannot be reached, or does not answer as Slack does. The call may have had its effect.
    #[error("Slack cannot be reached: {0}")]
    Unreachable(String),
    /// Slack says no, by its own word for it (`channel_not_found`), with what is needed where it tells.
    #[error("Slack says `{code}`{}", .needed.as_ref().map(|scope| format!(": the app needs the scope `{scope}`")).unwrap_or_default())]
    Refused {
        /// Slack's word.
        code: String,
        /// The missing scope, for `missing_scope`.
        needed: Option<String>,
    },
}

impl Trouble {
    /// Slack's word, if it was Slack that said no.
    pub(super) fn code(&self) -> &str {
        match self {
            Self::Refused { code, .. } => code,
            _ => "",
        }
    }

    /// The word is about the whole connection, not about one place.
    pub(super) fn is_about_the_app(&self) -> bool {
        matches!(
            self.code(),
            "invalid_auth" | "not_authed" | "account_inactive" | "token_revoked" | "token_expired" | "missing_scope"
        )
    }
}

impl From<Trouble> for Undelivered {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Wait(wait) => Self::RetryAfter(wait),
            Trouble::Unreachable(why) => Self::Unreachable(why),
            // What an operator can mend is worth waiting for.
            Trouble::Refused { .. } if trouble.is_about_the_app() => Self::Unreachable(trouble.to_string()),
            Trouble::Refused { ref code, .. }
                if matches!(
                    code.as_str(),
                    "internal_error" | "fatal_error" | "service_unavailable" | "request_timeout"
                ) =>
            {
                Self::Unreachable(trouble.to_string())
            }
            Trouble::Refused { .. } => Self::Gone(trouble.to_string()),
        }
    }
}

/// The Web API, under one token.
pub(super) struct Api {
    client: Client,
    token: SlackApiToken,
    /// Method and channel → not before.
    held: Mutex<HashMap<(String, String), Instant>>,
}

/// The client, with the machine's trust store, speaking plain HTTP only where the address says so.
///
/// # Errors
/// When the machine has no trust store.
pub(super) fn client(api: &str) -> std::io::Result<Client> {
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_native_roots()?
        .https_or_http()
        .enable_http1()
        .enable_http2()
        .build();
    let connector = SlackClientHyperConnector::with_connector(connector).with_slack_api_url(api);
    Ok(SlackClient::new(connector))
}

/// A client for what the crate has no call for. It follows no redirect: addresses and tokens here
/// are secrets meant for one host.
///
/// # Errors
/// When the machine has no trust store.
pub(super) fn plain_client() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build()
}

/// A token as the crate takes it.
pub(super) fn token(secret: &SecretString) -> SlackApiToken {
    SlackApiToken::new(SlackApiTokenValue::new(secret.expose_secret().to_owned()))
}

impl Api {
    pub(super) fn new(client: Client, secret: &SecretString) -> Self {
        Self { client, token: token(secret), held: Mutex::default() }
    }

    /// Calls a method. `channel` is what its rate is counted by; empty for the workspace as a whole.
    pub(super) async fn call(&self, method: &str, channel: &str, request: &Value) -> Result<Value, Trouble> {
        let session = self.client.open_session(&self.token);
        self.held_to_its_pace(method, channel, session.http_session_api.http_post(method, request, None)).await
    }

    /// Reads by GET, as Slack's reading methods want it.
    pub(super) async fn read(&self, method: &str, query: &[(&str, &str)]) -> Result<Value, Trouble> {
        let session = self.client.open_session(&self.token);
        let params: Vec<(&str, Option<&str>)> = query.iter().map(|(name, value)| (*name, Some(*value))).collect();
        self.held_to_its_pace(method, "", session.http_session_api.http_get(method, &params, None)).await
    }

    /// Sends a call, unless Slack asked to wait with its like; an answer that asks to is remembered.
    async fn held_to_its_pace(
        &self,
        method: &str,
        channel: &str,
        sending: impl Future<Output = Result<Value, SlackClientError>>,
    ) -> Result<Value, Trouble> {
        let lane = (method.to_owned(), channel.to_owned());
        self.may_go(&lane)?;
        let answer = match tokio::time::timeout(PATIENCE, sending).await {
            Ok(answer) => answer.map_err(trouble),
            Err(_) => Err(Trouble::Unreachable(format!("`{method}` was not answered within {PATIENCE:?}"))),
        };
        if let Err(Trouble::Wait(wait)) = &answer {
            self.held().insert(lane, Instant::now() + *wait);
        }
        answer
    }

    /// Sends the bytes of a file where Slack said they go.
    pub(super) async fn send_bytes(&self, url: &str, bytes: &[u8]) -> Result<(), Trouble> {
        let url: reqwest::Url =
            url.parse().map_err(|_| Trouble::Unreachable("Slack named no address to upload to".to_owned()))?;
        let request = slack_morphism::prelude::SlackApiFilesUploadViaUrlRequest::new(
            slack_morphism::SlackFileUploadUrl(url),
            bytes.to_vec(),
            "application/octet-stream".to_owned(),
        );
        let session = self.client.open_session(&self.token);
        match tokio::time::timeout(PATIENCE * 3, session.files_upload_via_url(&request)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(trouble(error)),
            Err(_) => Err(Trouble::Unreachable("the upload was not taken in time".to_owned())),
        }
    }

    fn held(&self) -> std::sync::MutexGuard<'_, HashMap<(String, String), Instant>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn may_go(&self, lane: &(String, String)) -> Result<(), Trouble> {
        let now = Instant::now();
        let mut held = self.held();
        match held.get(lane) {
            Some(until) if *until > now => Err(Trouble::Wait(*until - now)),
            Some(_) => {
                held.remove(lane);
                Ok(())
            }
            None => Ok(()),
        }
    }
}

fn trouble(error: SlackClientError) -> Trouble {
    match error {
        SlackClientError::RateLimitError(limit) => Trouble::Wait(limit.retry_after.unwrap_or(RETRY)),
        SlackClientError::ApiError(error) => {
            let body: Option<Value> =
                error.http_response_body.as_deref().and_then(|body| serde_json::from_str(body).ok());
            let needed = body.and_then(|body| body.get("needed").and_then(Value::as_str).map(str::to_owned));
            Trouble::Refused { code: error.code, needed }
        }
        // The crate's own words for these hold whole bodies and addresses; ours hold neither.
        SlackClientError::HttpError(error) => {
            Trouble::Unreachable(format!("HTTP status {}", error.status_code.as_u16()))
        }
        SlackClientError::ProtocolError(_) => Trouble::Unreachable("an answer that is not Slack's".to_owned()),
        SlackClientError::HttpProtocolError(_) | SlackClientError::EndOfStream(_) => {
            Trouble::Unreachable("the connection failed".to_owned())
        }
        _ => Trouble::Unreachable("the client failed".to_owned()),
    }
}
