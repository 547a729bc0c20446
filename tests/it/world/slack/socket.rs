//! The fake's end of Socket Mode, and of signed HTTP.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures_util::{SinkExt, StreamExt};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;

use super::{
    Hook, SIGNING_SECRET,
    state::{Sent, State},
};

/// What a socket is told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Say that a new one is wanted, and close.
    Refresh,
    /// Break without a word.
    Cut,
}

pub(super) type Orders = Arc<Mutex<Vec<Order>>>;

pub(super) async fn serve(listener: TcpListener, state: Arc<Mutex<State>>, orders: Orders) {
    while let Ok((stream, _)) = listener.accept().await {
        let (state, orders) = (state.clone(), orders.clone());
        tokio::spawn(async move {
            let mut carried = Vec::new();
            let _ = link(stream, &state, &orders, &mut carried).await;
            // What was not acknowledged on this socket goes over the next one.
            let mut state = state.lock().unwrap();
            for id in carried {
                if state.sent[id].acknowledged.is_none() {
                    state.outbox.push_back(id);
                }
            }
        });
    }
}

async fn link(
    stream: TcpStream,
    state: &Mutex<State>,
    orders: &Mutex<Vec<Order>>,
    carried: &mut Vec<usize>,
) -> Option<()> {
    let mut socket = tokio_tungstenite::accept_async(stream).await.ok()?;
    let debug_info = json!({ "host": "applink-1", "approximate_connection_time": 18060 });
    let hello = json!({ "type": "hello", "num_connections": 1, "debug_info": debug_info, "connection_info": { "app_id": "A1" } });
    socket.send(Message::text(hello.to_string())).await.ok()?;
    state.lock().unwrap().sockets_opened += 1;
    loop {
        let silent = state.lock().unwrap().silent;
        if silent {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        }
        let order = orders.lock().unwrap().pop();
        match order {
            Some(Order::Cut) => return None,
            Some(Order::Refresh) => {
                let bye = json!({ "type": "disconnect", "reason": "refresh_requested", "debug_info": debug_info });
                socket.send(Message::text(bye.to_string())).await.ok()?;
                socket.close(None).await.ok()?;
                return None;
            }
            None => {}
        }
        let next = {
            let mut state = state.lock().unwrap();
            state.outbox.pop_front().map(|id| {
                state.sent[id].at = Instant::now();
                let sent = &state.sent[id];
                let retry = sent.lost;
                let accepts = sent.kind != "events_api";
                (id, json!({ "envelope_id": format!("env-{id}"), "type": sent.kind, "payload": sent.payload, "accepts_response_payload": accepts, "retry_attempt": u8::from(retry) }))
            })
        };
        if let Some((id, envelope)) = next {
            carried.push(id);
            socket.send(Message::text(envelope.to_string())).await.ok()?;
            continue;
        }
        let Ok(frame) = tokio::time::timeout(Duration::from_millis(2), socket.next()).await else { continue };
        match frame?.ok()? {
            Message::Text(text) => {
                let answer: Value = serde_json::from_str(&text).ok()?;
                let id = answer["envelope_id"].as_str().and_then(|id| id.strip_prefix("env-")?.parse::<usize>().ok());
                let mut state = state.lock().unwrap();
                match id.filter(|id| carried.contains(id)) {
                    Some(id) => acknowledge(&mut state.sent[id], answer["payload"].clone()),
                    None => state.unread.push(format!("an acknowledgement of nothing: {answer}")),
                }
            }
            Message::Close(_) => return None,
            _ => {}
        }
    }
}

fn acknowledge(sent: &mut Sent, answer: Value) {
    if sent.acknowledged.is_none() {
        sent.acknowledged = Some(sent.at.elapsed());
        sent.answer = answer;
    }
}

/// `v0=` and the HMAC, as Slack signs.
pub(crate) fn sign(secret: &str, timestamp: i64, body: &str) -> String {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(format!("v0:{timestamp}:{body}").as_bytes());
    let digest = mac.finalize().into_bytes();
    format!("v0={}", digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// Sends what waits by signed HTTP, each in a task of its own; what is not taken is sent again.
pub(super) async fn post_all(state: Arc<Mutex<State>>, hook: Arc<Mutex<Option<Hook>>>) {
    let client = reqwest::Client::new();
    loop {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let Some(Hook { base }) = hook.lock().unwrap().clone() else { continue };
        let due: Vec<usize> = state.lock().unwrap().outbox.drain(..).collect();
        for id in due {
            let (client, state, base) = (client.clone(), state.clone(), base.clone());
            tokio::spawn(async move {
                let (kind, payload) = {
                    let mut state = state.lock().unwrap();
                    state.sent[id].at = Instant::now();
                    (state.sent[id].kind, state.sent[id].payload.clone())
                };
                for _ in 0..4 {
                    let (path, body, content) = request(kind, &payload);
                    let timestamp = state.lock().unwrap().stamp(&body);
                    let request = client
                        .post(format!("{base}{path}"))
                        .timeout(Duration::from_secs(3))
                        .header("content-type", content)
                        .header("x-slack-request-timestamp", timestamp.to_string())
                        .header("x-slack-signature", sign(SIGNING_SECRET, timestamp, &body))
                        .body(body);
                    match request.send().await {
                        Ok(answer) if answer.status().is_success() => {
                            let text = answer.text().await.unwrap_or_default();
                            let answer = serde_json::from_str(&text).unwrap_or(Value::Null);
                            acknowledge(&mut state.lock().unwrap().sent[id], answer);
                            return;
                        }
                        Ok(answer) => {
                            let status = answer.status();
                            state.lock().unwrap().unread.push(format!("{kind} was answered {status}"));
                        }
                        Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                    }
                }
            });
        }
    }
}

/// Path, body and content type of an event by HTTP.
pub(crate) fn request(kind: &str, payload: &Value) -> (&'static str, String, &'static str) {
    let form = "application/x-www-form-urlencoded";
    match kind {
        "slash_commands" => {
            let pairs: Vec<(&str, &str)> = payload
                .as_object()
                .unwrap()
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
                .collect();
            ("/slack/commands", serde_urlencoded::to_string(pairs).unwrap(), form)
        }
        "interactive" => {
            ("/slack/interactivity", serde_urlencoded::to_string([("payload", payload.to_string())]).unwrap(), form)
        }
        _ => ("/slack/events", payload.to_string(), "application/json"),
    }
}
