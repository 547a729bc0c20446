//! What Slack sends, from being read to being handed in.
//!
//! Slack does not send again what was acknowledged. So an event is put on the
//! shelf first, then acknowledged, then looked at; what a crash cut off in
//! between is taken up by the next start.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use slack_morphism::prelude::{
    SlackCommandEvent, SlackInteractionActionContainer, SlackInteractionEvent, SlackPushEventCallback,
};

use super::{Slack, inbound};
use crate::{
    chat::{Arrival, Ears, Kept, LeftOver, turns::Turn},
    model::Platform,
};

/// The shelf is waited for so long; Slack waits three seconds.
const TO_KEEP: Duration = Duration::from_secs(1);
/// Stands where a response URL was: those are not kept.
const NO_URL: &str = "https://slack.com/response-url-was-not-kept";

/// An event that was read.
pub(super) struct Arrived {
    told: Told,
    /// What is kept of it; `None`: nothing comes of it.
    arrival: Option<Arrival>,
    turn: Option<Turn>,
    kept: Option<Kept>,
}

/// What it is.
pub(super) enum Told {
    /// A slash command.
    Command(Box<SlackCommandEvent>),
    /// A pressed button, a chosen option.
    Interaction(Box<SlackInteractionEvent>),
    /// A mention, a direct message, a reaction.
    Push(Box<SlackPushEventCallback>),
    /// Something we have no use for.
    Nothing,
}

impl Arrived {
    /// Was it left by an earlier process?
    pub(super) fn is_left(&self) -> bool {
        matches!(self.kept, Some(Kept::Left { .. }))
    }
}

impl Slack {
    /// The turn at the card an event is about. Taken the moment it is heard, before anything is waited for.
    pub(super) fn turn_at(&self, kind: &str, payload: &Value) -> Option<Turn> {
        let word = |path: &str| payload.pointer(path).and_then(Value::as_str);
        let card = match kind {
            "interactive" => (word("/container/channel_id")?, word("/container/message_ts")?),
            "events_api" => (word("/event/item/channel")?, word("/event/item/ts")?),
            _ => return None,
        };
        Some(self.turns.enter(format!("{}/{}", card.0, card.1)))
    }

    /// Reads an event; `None` when it cannot be read.
    pub(super) fn read(&self, kind: &str, mut payload: Value, turn: Option<Turn>) -> Option<Arrived> {
        if kind == "events_api" && (self.forget_what_changed(&payload) || !is_for_us(&payload)) {
            return Some(Arrived { told: Told::Nothing, arrival: None, turn: None, kept: None });
        }
        if kind == "interactive" {
            inbound::tidy(&mut payload);
        }
        let arrival = event_id(kind, &payload).map(|event| Arrival {
            event,
            platform: Platform::Slack,
            kind: kind.to_owned(),
            document: without_secrets(&mut payload),
        });
        let told = match kind {
            "slash_commands" => Told::Command(Box::new(serde_json::from_value(payload).ok()?)),
            "interactive" => Told::Interaction(Box::new(serde_json::from_value(payload).ok()?)),
            "events_api" => Told::Push(Box::new(serde_json::from_value(payload).ok()?)),
            _ => return Some(Arrived { told: Told::Nothing, arrival: None, turn: None, kept: None }),
        };
        let pressed = |event: &SlackInteractionEvent| match event {
            SlackInteractionEvent::BlockActions(pressed) => {
                matches!(pressed.container, SlackInteractionActionContainer::Message(_))
            }
            _ => false,
        };
        let arrival = arrival.filter(|_| match &told {
            Told::Interaction(event) => pressed(event),
            _ => true,
        });
        Some(Arrived { told, arrival, turn, kept: None })
    }

    /// Puts it on the shelf, before it is acknowledged. A shelf that does not answer keeps nobody waiting.
    pub(super) async fn keep(&self, arrived: &mut Arrived, ears: &Ears) {
        let Some(arrival) = &arrived.arrival else { return };
        match tokio::time::timeout(TO_KEEP, ears.shelf.keep(arrival)).await {
            Ok(true) => arrived.kept = Some(Kept::Now),
            Ok(false) => {}
            Err(_) => {
                tracing::warn!(event = arrival.event, "an event is acknowledged without being kept");
                // It may come to stand there yet, and is taken off when it was handled.
                arrived.kept = Some(Kept::Now);
            }
        }
    }

    /// Hands it in, in its turn.
    pub(super) async fn handle(&self, arrived: Arrived, ears: &Ears) {
        let left = arrived.is_left();
        let Arrived { told, arrival, turn, kept } = arrived;
        if let Some(turn) = &turn {
            turn.wait().await;
        }
        let heard = match told {
            Told::Command(event) => vec![self.on_command(*event, left)],
            Told::Interaction(event) => self.on_interaction(*event),
            Told::Push(event) => self.on_push(*event).await.into_iter().collect(),
            Told::Nothing => Vec::new(),
        };
        let Some(arrival) = arrival else {
            for heard in heard {
                self.hand_in(heard, None, ears).await;
            }
            return;
        };
        if kept.is_some() && !heard.iter().any(|heard| heard.event == arrival.event) {
            ears.shelf.done(&arrival.event).await;
        }
        for heard in heard {
            let kept = kept.filter(|_| heard.event == arrival.event);
            self.hand_in(heard, kept, ears).await;
        }
    }

    /// Takes up what an earlier process acknowledged and did not live to handle.
    pub async fn take_up(self: Arc<Self>, ears: Ears) {
        for LeftOver { arrival, late, said } in ears.shelf.left(Platform::Slack).await {
            tracing::info!(event = arrival.event, late, "an event that an earlier process left is taken up");
            let payload = serde_json::from_str::<Value>(&arrival.document).ok().map(with_a_url);
            let Some(mut arrived) = payload.and_then(|payload| self.read(&arrival.kind, payload, None)) else {
                tracing::warn!(event = arrival.event, "an event that was left cannot be read any more");
                ears.shelf.done(&arrival.event).await;
                continue;
            };
            arrived.arrival = Some(arrival);
            arrived.kept = Some(Kept::Left { late, said });
            self.handle(arrived, &ears).await;
        }
    }
}

/// Mentions, what is said to the bot alone, and reactions. The rest is acknowledged, or Slack would send it again.
fn is_for_us(payload: &Value) -> bool {
    let word = |path: &str| payload.pointer(path).and_then(Value::as_str);
    match word("/event/type") {
        Some("app_mention" | "reaction_added" | "reaction_removed") => true,
        // In channels a mention is an event of its own; edits, joins and bots are not commands.
        Some("message") => {
            word("/event/channel").is_some_and(|channel| channel.starts_with('D'))
                && word("/event/subtype").is_none()
                && word("/event/bot_id").is_none()
        }
        _ => false,
    }
}

/// The id an event is known by.
fn event_id(kind: &str, payload: &Value) -> Option<String> {
    let word = |path: &str| payload.pointer(path).and_then(Value::as_str);
    Some(match kind {
        "slash_commands" => inbound::command_event(word("/trigger_id")?),
        "interactive" => inbound::press_event(word("/trigger_id")?, word("/actions/0/action_id")?),
        "events_api" => inbound::push_event(word("/event_id")?),
        _ => return None,
    })
}

/// The event as it is kept: a response URL and the old verification token let whoever has them speak.
fn without_secrets(payload: &mut Value) -> String {
    let Some(fields) = payload.as_object_mut() else { return String::new() };
    let url = fields.remove("response_url");
    fields.remove("response_urls");
    let token = fields.remove("token");
    let text = Value::Object(std::mem::take(fields));
    let document = text.to_string();
    if let Value::Object(whole) = text {
        *fields = whole;
    }
    for (name, value) in [("response_url", url), ("token", token)] {
        if let Some(value) = value {
            fields.insert(name.to_owned(), value);
        }
    }
    document
}

/// The crate insists on a URL; nothing is ever sent to this one.
fn with_a_url(mut payload: Value) -> Value {
    if payload.get("command").is_some() {
        payload["response_url"] = json!(NO_URL);
    }
    payload
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_holds_neither_token_nor_response_url() {
        let mut payload =
            json!({ "token": "old", "response_url": "https://x/secret", "text": "status", "command": "/redis" });
        let kept = without_secrets(&mut payload);
        assert!(!kept.contains("old") && !kept.contains("secret") && kept.contains("status"), "{kept}");
        assert_eq!(payload["response_url"], "https://x/secret");
        assert_eq!(with_a_url(serde_json::from_str(&kept).unwrap())["response_url"], NO_URL);
    }
}
