//! What Slack sends, by whichever transport, as the bot's events.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde_json::Value;
use slack_morphism::prelude::{
    SlackCommandEvent, SlackEventCallbackBody, SlackInteractionActionContainer, SlackInteractionEvent,
    SlackPushEventCallback, SlackReactionsItem,
};

use super::{Id, Slack, blocks::ASK, text};
use crate::{
    chat::{Ears, Event, Inbound, Kept},
    model::{Identity, MessageRef, Place, PlaceKind, Platform},
};

/// An event before it is known what Slack says of its account.
pub(super) struct Heard {
    pub(super) event: String,
    user: String,
    team: String,
    place: Place,
    what: Event,
}

fn place(team: &str, channel: &str, thread: Option<String>, via: Option<String>) -> Place {
    // Slack's ids of direct messages begin with D; those of group messages do not.
    let kind = if channel.starts_with('D') { PlaceKind::Direct } else { PlaceKind::Channel };
    Place { platform: Platform::Slack, team: team.to_owned(), channel: channel.to_owned(), thread, kind, via }
}

impl Slack {
    /// A slash command; one that an earlier process left has no response URL any more.
    pub(super) fn on_command(&self, event: SlackCommandEvent, left: bool) -> Heard {
        let via = if left { None } else { self.routes.keep(event.response_url.0.as_str(), true) };
        Heard {
            event: command_event(&event.trigger_id.0),
            place: place(&event.team_id.0, &event.channel_id.0, None, via),
            user: event.user_id.0,
            team: event.team_id.0,
            what: Event::Command { text: text::typed(event.text.as_deref().unwrap_or_default()), message: None },
        }
    }

    /// A pressed button or a chosen option.
    pub(super) fn on_interaction(&self, event: SlackInteractionEvent) -> Vec<Heard> {
        let mut all = Vec::new();
        let SlackInteractionEvent::BlockActions(pressed) = event else { return all };
        let SlackInteractionActionContainer::Message(container) = &pressed.container else { return all };
        let Some(user) = &pressed.user else { return all };
        let Some(channel) = container.channel_id.as_ref().or(pressed.channel.as_ref().map(|channel| &channel.id))
        else {
            return all;
        };
        let thread =
            pressed.message.as_ref().and_then(|message| message.origin.thread_ts.as_ref()).map(|ts| ts.0.clone());
        let via = pressed.response_url.as_ref().and_then(|url| self.routes.keep(url.0.as_str(), false));
        let place = place(&pressed.team.id.0, &channel.0, thread, via);
        // What one person alone sees can be changed through the press's own response URL only.
        let id = match container.is_ephemeral {
            Some(true) => Id::Here(container.message_ts.0.clone()).to_string(),
            _ => container.message_ts.0.clone(),
        };
        for action in pressed.actions.iter().flatten() {
            let chosen = action.selected_option.as_ref().map(|option| option.value.clone());
            let Some(given) = action.value.clone().or(chosen) else { continue };
            let command = match action.action_id.0.strip_prefix(ASK) {
                // A line that was emptied asks nothing.
                Some(_) if given.trim().is_empty() => continue,
                Some(command) => format!("{command} {}", quoted(given.trim())),
                None => given,
            };
            if !self.clicks.first(&format!("{}/{}/{}/{command}", user.id.0, container.message_ts.0, action.action_id.0))
            {
                tracing::info!("a double click was handled once");
                continue;
            }
            all.push(Heard {
                event: press_event(&pressed.trigger_id.0, &action.action_id.0),
                user: user.id.0.clone(),
                team: pressed.team.id.0.clone(),
                place: place.clone(),
                what: Event::Pressed { message: MessageRef { place: place.clone(), id: id.clone() }, command },
            });
        }
        all
    }

    /// A mention, a direct message, a reaction.
    pub(super) async fn on_push(&self, callback: SlackPushEventCallback) -> Option<Heard> {
        let team = callback.team_id.0;
        let event = push_event(&callback.event_id.0);
        let Some(own) = self.own_user().await else {
            tracing::warn!(event, "an event came while Slack would not tell who we are; it was dropped");
            return None;
        };
        Some(match callback.event {
            SlackEventCallbackBody::AppMention(mention) => {
                let said = mention.content.text.unwrap_or_default();
                let command = text::after_mention(&said, &own)?;
                let (ts, thread) = (mention.origin.ts.0, mention.origin.thread_ts.map(|ts| ts.0));
                let place = place(&team, &mention.channel.0, thread, None);
                Heard { event, user: mention.user.0, team, what: command_in(&place, ts, command), place }
            }
            SlackEventCallbackBody::Message(message) => {
                let channel = message.origin.channel.map(|channel| channel.0)?;
                // In channels a mention is an event of its own; edits, joins and bots are not commands.
                if !channel.starts_with('D') || message.subtype.is_some() || message.sender.bot_id.is_some() {
                    return None;
                }
                let user = message.sender.user.map(|user| user.0).filter(|user| *user != own)?;
                let said = message.content.and_then(|content| content.text).unwrap_or_default();
                let command = text::after_mention(&said, &own).unwrap_or(&said).to_owned();
                let place = place(&team, &channel, message.origin.thread_ts.map(|ts| ts.0), None);
                Heard { event, user, team, what: command_in(&place, message.origin.ts.0, &command), place }
            }
            SlackEventCallbackBody::ReactionAdded(reaction) => {
                reacted(event, team, &own, reaction.user.0, &reaction.reaction.0, reaction.item, true)?
            }
            SlackEventCallbackBody::ReactionRemoved(reaction) => {
                reacted(event, team, &own, reaction.user.0, &reaction.reaction.0, reaction.item, false)?
            }
            _ => return None,
        })
    }

    /// Finds out what Slack says of the account, and hands the event in.
    pub(super) async fn hand_in(&self, heard: Heard, kept: Option<Kept>, ears: &Ears) {
        let account = self.account(&heard.user, &heard.team).await;
        let badges = self.badges(&heard.user, &account).await;
        let event = Inbound {
            event: heard.event,
            from: Identity { platform: Platform::Slack, team: account.team, user: heard.user },
            display: account.display,
            person: None,
            badges,
            barred: account.barred,
            place: heard.place,
            what: heard.what,
            kept,
        };
        if ears.inbound.send(event).await.is_err() {
            tracing::warn!("an event came after the bot had stopped");
        }
    }
}

/// A text as one word of a command.
fn quoted(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn command_in(place: &Place, ts: String, command: &str) -> Event {
    // `@rediscue /redis status` is what people type who know the slash command.
    let typed = text::typed(command);
    let words = typed.trim();
    let words = words.strip_prefix("/redis").filter(|rest| rest.is_empty() || rest.starts_with(' ')).unwrap_or(words);
    Event::Command { text: words.trim().to_owned(), message: Some(MessageRef { place: place.clone(), id: ts }) }
}

fn reacted(
    event: String,
    team: String,
    own: &str,
    user: String,
    name: &str,
    item: SlackReactionsItem,
    added: bool,
) -> Option<Heard> {
    let SlackReactionsItem::Message(message) = item else { return None };
    if user == own {
        return None;
    }
    let channel = message.origin.channel?.0;
    let place = place(&team, &channel, None, None);
    let message = MessageRef { place: place.clone(), id: message.origin.ts.0 };
    let what = Event::Reacted { message, emoji: text::emoji(name), added };
    Some(Heard { event, user, team, place, what })
}

/// The id of a slash command.
pub(super) fn command_event(trigger: &str) -> String {
    format!("slack-{trigger}")
}

/// The id of a press.
pub(super) fn press_event(trigger: &str, action: &str) -> String {
    format!("slack-{trigger}-{action}")
}

/// The id of what was said or reacted.
pub(super) fn push_event(event: &str) -> String {
    format!("slack-{event}")
}

/// An interaction as the crate reads it. Slack leaves the workspace out where an app is installed for
/// a whole organisation, and the crate insists on it: the user's own is put in its place.
pub(super) fn tidy(payload: &mut Value) {
    if payload.get("team").is_none_or(Value::is_null) {
        let team = payload.pointer("/user/team_id").cloned().unwrap_or(Value::Null);
        payload["team"] = serde_json::json!({ "id": team, "domain": "" });
    }
    // The card itself is ours, and newer than the crate's types of it.
    if let Some(message) = payload.get_mut("message").and_then(Value::as_object_mut) {
        message.retain(|name, _| matches!(name.as_str(), "type" | "ts" | "thread_ts" | "user"));
    }
    if let Some(payload) = payload.as_object_mut() {
        payload.remove("state");
    }
}

/// Presses seen lately: two of the same person on the same button within a moment are one.
#[derive(Default)]
pub(super) struct Clicks(Mutex<HashMap<String, Instant>>);

impl Clicks {
    /// Fingers that press twice do so within this time.
    const MOMENT: Duration = Duration::from_secs(2);

    fn first(&self, press: &str) -> bool {
        let now = Instant::now();
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|_, at| now.duration_since(*at) < Self::MOMENT);
        match seen.get(press) {
            Some(_) => false,
            None => {
                seen.insert(press.to_owned(), now);
                true
            }
        }
    }
}

/// Slack's words for an acknowledgement that says the work has begun.
pub(super) fn begun(command: &str, text: &str) -> Value {
    let line = super::blocks::cut(&text::typed(text), 200);
    serde_json::json!({
        "response_type": "ephemeral",
        "text": super::blocks::escape(&format!("⏳ {command} {line}")),
    })
}
