//! Socket Mode: events over a WebSocket that we open.
//!
//! The crate awaits a callback before it reads on, so callbacks here put the
//! event on a queue and return; Slack has its acknowledgement at once, whatever
//! the command does. Reconnecting is the crate's, pings included; what is ours
//! is to notice that it does not get anywhere, to say so, and to begin anew
//! with longer and longer pauses.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use secrecy::SecretString;
use slack_morphism::{
    SlackClientSocketModeConfig, SlackClientSocketModeListener, SlackSocketModeListenerCallbacks,
    errors::SlackClientError,
    listener::{SlackClientEventsListenerEnvironment, SlackClientEventsUserState},
    prelude::{
        SlackClientHyperHttpsConnector, SlackCommandEvent, SlackCommandEventResponse, SlackInteractionEvent,
        SlackInteractionResponse, SlackMessageContent, SlackMessageResponseType, SlackPushEventCallback,
    },
};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{Slack, StartError, api, inbound::begun};
use crate::chat::Inbound;

/// A WebSocket that answers no ping for this long is dead.
const PING_EVERY_S: u64 = 5;
const PINGS_MISSED: u64 = 2;
/// The first pause before a new connection, and the longest.
const PAUSE_S: u64 = 2;
const LONGEST_PAUSE_S: u64 = 60;
/// How often it is looked whether the connection stands.
const LOOK_EVERY: Duration = Duration::from_millis(500);

type ClientArc = Arc<slack_morphism::SlackClient<SlackClientHyperHttpsConnector>>;

enum Event {
    Command(Box<SlackCommandEvent>),
    Interaction(Box<SlackInteractionEvent>),
    Push(Box<SlackPushEventCallback>),
}

/// What the callbacks share; the crate hands it to them by type.
#[derive(Clone)]
struct Ear {
    slack: Arc<Slack>,
    events: mpsc::UnboundedSender<Event>,
    hellos: Arc<AtomicU64>,
    errors: Arc<AtomicU64>,
}

async fn ear(states: &SlackClientEventsUserState) -> Option<Ear> {
    states.read().await.get_user_state::<Ear>().cloned()
}

/// Generic, because the crate does not export the name of its hello event.
async fn on_hello<E>(_: E, _: ClientArc, states: SlackClientEventsUserState) {
    if let Some(ear) = ear(&states).await {
        ear.hellos.fetch_add(1, Ordering::SeqCst);
        ear.slack.state().socket = None;
        tracing::info!("Slack's socket is open");
    }
}

async fn on_command(
    event: SlackCommandEvent,
    _: ClientArc,
    states: SlackClientEventsUserState,
) -> Result<SlackCommandEventResponse, Box<dyn std::error::Error + Send + Sync>> {
    let acknowledged = begun(&event.command.0, event.text.as_deref().unwrap_or_default());
    let line = acknowledged.get("text").and_then(|text| text.as_str()).unwrap_or_default().to_owned();
    if let Some(ear) = ear(&states).await {
        let _ = ear.events.send(Event::Command(Box::new(event)));
    }
    Ok(SlackCommandEventResponse::new(SlackMessageContent::new().with_text(line))
        .with_response_type(SlackMessageResponseType::Ephemeral))
}

async fn on_interaction(
    event: SlackInteractionEvent,
    _: ClientArc,
    states: SlackClientEventsUserState,
) -> Result<SlackInteractionResponse, Box<dyn std::error::Error + Send + Sync>> {
    if let Some(ear) = ear(&states).await {
        let _ = ear.events.send(Event::Interaction(Box::new(event)));
    }
    Ok(SlackInteractionResponse::Empty)
}

async fn on_push(
    event: SlackPushEventCallback,
    _: ClientArc,
    states: SlackClientEventsUserState,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    if let Some(ear) = ear(&states).await {
        let _ = ear.events.send(Event::Push(Box::new(event)));
    }
    Ok(())
}

/// An error of the connection. Its own words may hold the socket's address, which is a secret, or a
/// whole event, which is people's text; neither is logged.
fn on_error(
    error: Box<dyn std::error::Error + Send + Sync>,
    _: ClientArc,
    states: SlackClientEventsUserState,
) -> http::StatusCode {
    let kind = match error.downcast_ref::<SlackClientError>() {
        Some(SlackClientError::ProtocolError(_)) => "an event that could not be read; it was acknowledged",
        Some(_) => "the connection failed",
        None => "the socket failed",
    };
    tracing::warn!(kind, "Slack's socket");
    tokio::spawn(async move {
        if let Some(ear) = ear(&states).await {
            ear.errors.fetch_add(1, Ordering::SeqCst);
        }
    });
    http::StatusCode::OK
}

/// Listens until told to stop.
pub(super) async fn listen(
    slack: Arc<Slack>,
    address: &str,
    app_token: &SecretString,
    inbound: mpsc::Sender<Inbound>,
    stop: CancellationToken,
) -> Result<(), StartError> {
    let (events, queue) = mpsc::unbounded_channel();
    let handling = tokio::spawn(hand_on(slack.clone(), queue, inbound));
    let mut pause = PAUSE_S;
    loop {
        let client = Arc::new(api::client(address)?);
        let ear = Ear { slack: slack.clone(), events: events.clone(), hellos: Arc::default(), errors: Arc::default() };
        let (hellos, errors) = (ear.hellos.clone(), ear.errors.clone());
        let environment = Arc::new(
            SlackClientEventsListenerEnvironment::new(client).with_error_handler(on_error).with_user_state(ear),
        );
        let callbacks = SlackSocketModeListenerCallbacks::new()
            .with_hello_events(on_hello)
            .with_command_events(on_command)
            .with_interaction_events(on_interaction)
            .with_push_events(on_push);
        let config = SlackClientSocketModeConfig::new()
            .with_max_connections_count(1)
            .with_initial_backoff_in_seconds(0)
            .with_reconnect_timeout_in_seconds(pause)
            .with_ping_interval_in_seconds(PING_EVERY_S)
            .with_ping_failure_threshold_times(PINGS_MISSED);
        let listener = SlackClientSocketModeListener::new(&config, environment, callbacks);
        let begun = Instant::now();
        let up = async {
            if listener.listen_for(&api::token(app_token)).await.is_ok() {
                listener.start().await;
            }
            // The crate goes on trying by itself, with the same pause; so long as it gets anywhere, it is left to.
            let mut seen = (0, Instant::now());
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                let now = hellos.load(Ordering::SeqCst);
                let failed = errors.load(Ordering::SeqCst);
                if now > seen.0 {
                    seen = (now, Instant::now());
                }
                let down = now == 0 || failed > 0 && slack.state().socket.is_some();
                if down && seen.1.elapsed() > Duration::from_secs(pause * 2 + 10) {
                    break now > 0;
                }
                if failed > 0 && now == seen.0 && slack.state().socket.is_none() && now == 0 {
                    slack.state().socket = Some("the socket cannot be opened; trying again".to_owned());
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => {
                listener.shutdown().await;
                break;
            }
            got_anywhere = up => {
                listener.shutdown().await;
                slack.state().socket = Some(format!("no socket since {} s; trying again", begun.elapsed().as_secs()));
                pause = if got_anywhere { PAUSE_S } else { (pause * 2).min(LONGEST_PAUSE_S) };
            }
        }
    }
    drop(events);
    let _ = handling.await;
    Ok(())
}

/// Looks up who speaks and hands the event in. One that has to wait for Slack does not hold up the others.
async fn hand_on(slack: Arc<Slack>, mut queue: mpsc::UnboundedReceiver<Event>, inbound: mpsc::Sender<Inbound>) {
    let tasks = tokio_util::task::TaskTracker::new();
    while let Some(event) = queue.recv().await {
        let (slack, inbound) = (slack.clone(), inbound.clone());
        tasks.spawn(async move {
            match event {
                Event::Command(event) => slack.on_command(*event, &inbound).await,
                Event::Interaction(event) => slack.on_interaction(*event, &inbound).await,
                Event::Push(event) => slack.on_push(*event, &inbound).await,
            }
        });
    }
    tasks.close();
    tasks.wait().await;
}
