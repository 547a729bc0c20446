//! Socket Mode: events over a WebSocket that we open.
//!
//! The connection is ours and not the crate's, because a bot that people call
//! at night must know whether it can hear: the crate tells nobody that a socket
//! was lost or could not be opened, waits a fixed time before the next, and
//! awaits a callback before it reads on. Here every envelope has a task of its
//! own from the moment it is read: it is put on the shelf, acknowledged, and
//! handled, and keeps no other waiting. The state of the socket is one value
//! that health reads.

use std::{sync::Arc, time::Duration};

use futures_util::{SinkExt, StreamExt};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, tungstenite::Message};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Slack, api::Api, inbound};
use crate::chat::Ears;

/// How often it is asked whether the other end is still there.
const PING_EVERY: Duration = Duration::from_secs(4);
/// A socket that says nothing for this long, not even to a ping, is dead.
const SILENCE: Duration = Duration::from_secs(10);
/// A socket that is not open by then is given up.
const TO_OPEN: Duration = Duration::from_secs(10);
/// Acknowledgements that wait for the socket at once; further events wait with theirs.
const ACKNOWLEDGING: usize = 256;
/// The first pause before a new connection, and the longest.
const PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// What Slack sends over the socket.
#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "type")]
    kind: String,
    envelope_id: Option<String>,
    #[serde(default)]
    payload: Value,
}

/// How a connection ended.
enum Ended {
    /// Slack asked for a new one, as it does every few hours.
    Asked,
    /// It was open, and is not any more.
    Lost(String),
    /// It was never open.
    Failed(String),
}

/// Listens until told to stop; what was heard by then is still handed in.
pub(super) async fn listen(
    slack: Arc<Slack>,
    app_token: &SecretString,
    ears: Ears,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let app = Api::new(super::api::client(&slack.address)?, app_token);
    let tasks = TaskTracker::new();
    let mut pause = PAUSE;
    slack.socket_down("it is being opened");
    while !stop.is_cancelled() {
        let ended = tokio::select! {
            () = stop.cancelled() => break,
            ended = connection(&slack, &app, &ears, &tasks) => ended,
        };
        match ended {
            Ended::Asked => {
                tracing::info!("Slack asked for a new socket");
                pause = PAUSE;
                continue;
            }
            Ended::Lost(why) => {
                tracing::warn!(why, "Slack's socket was lost");
                slack.socket_down(&why);
                pause = PAUSE;
            }
            Ended::Failed(why) => {
                tracing::warn!(why, "Slack's socket cannot be opened");
                slack.socket_down(&why);
            }
        }
        // Half of it by chance, so that many bots do not come back at the same moment.
        let now = pause.mul_f64(0.5 + rand::random::<f64>() / 2.0);
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(now) => {}
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    tasks.close();
    let _ = timeout(TO_OPEN, tasks.wait()).await;
    Ok(())
}

/// One connection, from opening to its end.
async fn connection(slack: &Arc<Slack>, app: &Api, ears: &Ears, tasks: &TaskTracker) -> Ended {
    let mut socket = match open(slack, app).await {
        Ok(socket) => socket,
        Err(why) => return Ended::Failed(why),
    };
    let mut greeted = false;
    let mut heard_at = Instant::now();
    let mut ping = interval(PING_EVERY);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ping.tick().await;
    let (acknowledge, mut acknowledged) = mpsc::channel::<String>(ACKNOWLEDGING);
    let lost = |greeted: bool, why: String| if greeted { Ended::Lost(why) } else { Ended::Failed(why) };
    loop {
        let frame = tokio::select! {
            frame = socket.next() => frame,
            Some(answer) = acknowledged.recv() => match timeout(TO_OPEN, socket.send(Message::text(answer))).await {
                Ok(Ok(())) => continue,
                // Slack sends it again, and it is known again by its id.
                _ => return lost(greeted, "an acknowledgement could not be sent".to_owned()),
            },
            _ = ping.tick() => {
                if heard_at.elapsed() > SILENCE {
                    return lost(greeted, format!("nothing was heard on it for {} s", SILENCE.as_secs()));
                }
                match timeout(TO_OPEN, socket.send(Message::Ping(Vec::new().into()))).await {
                    Ok(Ok(())) => continue,
                    _ => return lost(greeted, "it takes nothing any more".to_owned()),
                }
            }
        };
        heard_at = Instant::now();
        let text = match frame {
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(Message::Close(_))) | None => return lost(greeted, "Slack closed it".to_owned()),
            Some(Ok(_)) => continue,
            // The error's own words may hold the socket's address, which is a secret.
            Some(Err(_)) => return lost(greeted, "the connection broke".to_owned()),
        };
        let Ok(envelope) = serde_json::from_str::<Envelope>(&text) else {
            tracing::warn!("Slack's socket sent what is no envelope");
            continue;
        };
        match envelope.kind.as_str() {
            "hello" => {
                greeted = true;
                slack.socket_up();
                tracing::info!("Slack's socket is open");
            }
            "disconnect" => return Ended::Asked,
            _ => hand_on(slack, envelope, ears, tasks, acknowledge.clone()),
        }
    }
}

/// Opens a socket, waits for Slack's greeting, and closes it.
pub(super) async fn try_out(slack: &Slack, app_token: &SecretString) -> Result<(), String> {
    let client = super::api::client(&slack.address).map_err(|error| error.to_string())?;
    let mut socket = open(slack, &Api::new(client, app_token)).await?;
    let greeting = timeout(TO_OPEN, socket.next()).await;
    let _ = timeout(TO_OPEN, socket.close(None)).await;
    match greeting {
        Ok(Some(Ok(Message::Text(_)))) => Ok(()),
        _ => Err("it was opened, and Slack did not greet".to_owned()),
    }
}

async fn open(slack: &Slack, app: &Api) -> Result<Socket, String> {
    let answer = slack.noted("apps.connections.open", app.call("apps.connections.open", "", &json!({})).await);
    let answer = answer.map_err(|trouble| trouble.to_string())?;
    let url = answer.get("url").and_then(Value::as_str).unwrap_or_default();
    // Without Nagle's pause: an acknowledgement is one small packet that somebody waits for.
    match timeout(TO_OPEN, tokio_tungstenite::connect_async_with_config(url, None, true)).await {
        Ok(Ok((socket, _))) => Ok(socket),
        Ok(Err(_)) => Err("the address Slack named for it does not answer".to_owned()),
        Err(_) => Err(format!("the address Slack named for it did not answer within {} s", TO_OPEN.as_secs())),
    }
}

fn acknowledgement(envelope: &Envelope) -> Option<String> {
    let id = envelope.envelope_id.as_ref()?;
    let mut answer = json!({ "envelope_id": id });
    if envelope.kind == "slash_commands" {
        let word = |name: &str| envelope.payload.get(name).and_then(Value::as_str).unwrap_or_default();
        answer["payload"] = inbound::begun(word("command"), word("text"));
    }
    Some(answer.to_string())
}

/// Keeps the event, acknowledges it and hands it in, in a task of its own: one that has to wait does not hold up others.
fn hand_on(
    slack: &Arc<Slack>,
    envelope: Envelope,
    ears: &Ears,
    tasks: &TaskTracker,
    acknowledge: mpsc::Sender<String>,
) {
    let turn = slack.turn_at(&envelope.kind, &envelope.payload);
    let (slack, ears) = (slack.clone(), ears.clone());
    tasks.spawn(async move {
        let answer = acknowledgement(&envelope);
        let Envelope { kind, payload, .. } = envelope;
        let mut arrived = slack.read(&kind, payload, turn);
        if let Some(arrived) = &mut arrived {
            slack.keep(arrived, &ears).await;
        }
        if let Some(answer) = answer {
            // A socket that is gone takes none; Slack sends the event again, and it is known by its id.
            let _ = acknowledge.send(answer).await;
        }
        match arrived {
            Some(arrived) => slack.handle(arrived, &ears).await,
            // Acknowledged all the same: it would read no better the next time.
            None => tracing::warn!(kind, "an event of Slack's could not be read"),
        }
    });
}
