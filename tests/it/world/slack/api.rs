//! The fake's Web API, its response URLs and its upload addresses.

use std::{
    sync::{Arc, Mutex},
    time::Instant,
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, Query, State as Extract},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};

use super::{
    APP_TOKEN, BOT_TOKEN, rules,
    state::{BOT, Call, File, Prank, State, TEAM},
};

#[derive(Clone)]
pub(super) struct Site {
    pub(super) state: Arc<Mutex<State>>,
    pub(super) http: u16,
    pub(super) ws: u16,
}

type Answer = Result<Value, Value>;

pub(super) fn routes(site: Site) -> Router {
    Router::new()
        .route("/api/{method}", post(call).get(call))
        .route("/commands/{route}", post(response_url))
        .route("/upload/{file}", post(upload))
        .route("/alive", get(|| async { "yes" }))
        .with_state(site)
}

fn no(word: &str) -> Value {
    json!({ "ok": false, "error": word })
}

/// The scope a method needs.
fn scope_of(method: &str, channel: &str) -> Option<&'static str> {
    Some(match method {
        "chat.postMessage" | "chat.postEphemeral" | "chat.update" => "chat:write",
        "reactions.add" | "reactions.remove" => "reactions:write",
        "users.info" => "users:read",
        "usergroups.list" | "usergroups.users.list" => "usergroups:read",
        "conversations.open" => "im:write",
        "conversations.history" | "conversations.replies" if channel.starts_with('D') => "im:history",
        "conversations.history" | "conversations.replies" if channel.starts_with('G') => "groups:history",
        "conversations.history" | "conversations.replies" => "channels:history",
        "conversations.info" => "channels:read",
        "files.getUploadURLExternal" | "files.completeUploadExternal" => "files:write",
        _ => return None,
    })
}

async fn call(
    Extract(site): Extract<Site>,
    Path(method): Path<String>,
    Query(query): Query<serde_json::Map<String, Value>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let request = match serde_json::from_slice::<Value>(&body) {
        Ok(Value::Object(request)) => request,
        _ => query,
    };
    let word = |name: &str| request.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let channel = if request.contains_key("channel_id") { word("channel_id") } else { word("channel") };
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (prank, answer, scopes) = {
        let mut state = site.state.lock().unwrap();
        let prank = state.pranks.as_mut().and_then(|pranks| pranks(&method, &channel));
        let answer = match prank {
            Some(Prank::Slow(_)) => Err(no("ratelimited")),
            Some(Prank::Break) => Err(no("broken")),
            _ => carry_out(&mut state, &site, &method, &channel, &request, bearer.trim_start_matches("Bearer ")),
        };
        let error = answer.as_ref().err().map(|error| error["error"].as_str().unwrap_or_default().to_owned());
        state.calls.push(Call {
            method: method.clone(),
            channel: channel.clone(),
            error: error.clone(),
            at: Instant::now(),
        });
        if let (Some(error), None) = (&error, prank)
            && !state.expected.contains(error)
        {
            let detail = answer.as_ref().unwrap_err().clone();
            state.refusals.push(format!("{method} in `{channel}`: {detail}"));
        }
        (prank, answer, state.scopes.iter().cloned().collect::<Vec<_>>().join(","))
    };
    match prank {
        Some(Prank::Swallow) => std::future::pending().await,
        Some(Prank::Slow(seconds)) => {
            (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, seconds.to_string())], Json(no("ratelimited")))
                .into_response()
        }
        Some(Prank::Break) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        None => ([("x-oauth-scopes", scopes)], Json(answer.unwrap_or_else(|error| error))).into_response(),
    }
}

fn carry_out(
    state: &mut State,
    site: &Site,
    method: &str,
    channel: &str,
    request: &serde_json::Map<String, Value>,
    token: &str,
) -> Answer {
    let wanted = if method == "apps.connections.open" { APP_TOKEN } else { BOT_TOKEN };
    if token.is_empty() {
        return Err(no("not_authed"));
    }
    if token != wanted {
        return Err(no("invalid_auth"));
    }
    if state.revoked {
        return Err(no("token_revoked"));
    }
    if method == "apps.connections.open" {
        if !state.app_scopes.contains("connections:write") {
            return Err(
                json!({ "ok": false, "error": "missing_scope", "needed": "connections:write", "provided": "" }),
            );
        }
        let ticket = state.fresh();
        return Ok(json!({ "ok": true, "url": format!("ws://127.0.0.1:{}/link/?ticket=secret-{ticket}", site.ws) }));
    }
    if let Some(scope) = scope_of(method, channel).filter(|scope| !state.scopes.contains(*scope)) {
        let provided = state.scopes.iter().cloned().collect::<Vec<_>>().join(",");
        return Err(json!({ "ok": false, "error": "missing_scope", "needed": scope, "provided": provided }));
    }
    let word = |name: &str| request.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let blocks = || request.get("blocks").and_then(Value::as_array).cloned().unwrap_or_default();
    let refuse_bad = |text: &str, blocks: &[Value]| {
        rules::check(text, blocks).map_err(|(error, errors)| json!({ "ok": false, "error": error, "errors": errors }))
    };
    match method {
        "auth.test" => Ok(
            json!({ "ok": true, "url": "https://example.slack.com/", "team": "Example", "user": "rediscue", "team_id": TEAM, "user_id": BOT, "bot_id": "B1" }),
        ),
        "users.info" => match state.users.get(&word("user")) {
            Some(user) => {
                let mut user = user.clone();
                // Slack leaves the address out, and says nothing.
                if let Some(profile) =
                    user["profile"].as_object_mut().filter(|_| !state.scopes.contains("users:read.email"))
                {
                    profile.remove("email");
                }
                Ok(json!({ "ok": true, "user": user }))
            }
            None => Err(no("user_not_found")),
        },
        "usergroups.list" => {
            let groups: Vec<Value> =
                state.groups.keys().map(|id| json!({ "id": id, "team_id": TEAM, "date_delete": 0 })).collect();
            Ok(json!({ "ok": true, "usergroups": groups }))
        }
        "usergroups.users.list" => match state.groups.get(&word("usergroup")) {
            Some(users) => Ok(json!({ "ok": true, "users": users })),
            None => Err(no("no_such_subteam")),
        },
        "chat.postMessage" => {
            writable(state, channel)?;
            let (text, blocks) = (word("text"), blocks());
            refuse_bad(&text, &blocks)?;
            let mut said = state.new_message(BOT, &text, blocks);
            said.thread = Some(word("thread_ts")).filter(|thread| !thread.is_empty());
            said.metadata = request.get("metadata").cloned().unwrap_or(Value::Null);
            let wire = said.to_wire();
            let ts = state.put(channel, said);
            Ok(json!({ "ok": true, "channel": channel, "ts": ts, "message": wire }))
        }
        "chat.postEphemeral" => {
            writable(state, channel)?;
            if !state.channels[channel].members.contains(&word("user")) {
                return Err(no("user_not_in_channel"));
            }
            let (text, blocks) = (word("text"), blocks());
            refuse_bad(&text, &blocks)?;
            let mut said = state.new_message(BOT, &text, blocks);
            said.thread = Some(word("thread_ts")).filter(|thread| !thread.is_empty());
            said.only = Some(word("user"));
            let ts = state.put(channel, said);
            Ok(json!({ "ok": true, "message_ts": ts }))
        }
        "chat.update" => {
            let (text, blocks) = (word("text"), blocks());
            refuse_bad(&text, &blocks)?;
            let ts = word("ts");
            match state.message_mut(channel, &ts) {
                Some(said) if said.user != BOT => Err(no("cant_update_message")),
                // What came by a response URL is changed by one alone.
                Some(said) if said.via => Err(no("message_not_found")),
                Some(said) if said.only.is_none() => {
                    let before = said.words();
                    said.before.push(before);
                    said.text = text;
                    said.blocks = blocks;
                    let wire = said.to_wire();
                    Ok(json!({ "ok": true, "channel": channel, "ts": ts, "text": wire["text"], "message": wire }))
                }
                _ => Err(no("message_not_found")),
            }
        }
        "reactions.add" | "reactions.remove" => {
            member(state, channel)?;
            let name = word("name");
            let Some(said) = state.message_mut(channel, &word("timestamp")) else {
                return Err(no("message_not_found"));
            };
            let known = ["hourglass_flowing_sand", "white_check_mark", "x", "eyes"];
            if !known.contains(&name.as_str()) {
                return Err(no("invalid_name"));
            }
            let who = said.reactions.entry(name).or_default();
            let changed = if method == "reactions.add" { who.insert(BOT.to_owned()) } else { who.remove(BOT) };
            match (changed, method) {
                (true, _) => Ok(json!({ "ok": true })),
                (false, "reactions.add") => Err(no("already_reacted")),
                (false, _) => Err(no("no_reaction")),
            }
        }
        "conversations.history" | "conversations.replies" => {
            member(state, channel)?;
            let thread = word("ts");
            let with_metadata = word("include_all_metadata") == "true";
            let messages = state.channels[channel].messages.iter().rev().filter(|said| {
                said.only.is_none()
                    && !said.via
                    && match method {
                        "conversations.replies" => said.ts == thread || said.thread.as_ref() == Some(&thread),
                        _ => said.thread.is_none(),
                    }
            });
            let messages: Vec<Value> = messages
                .map(|said| {
                    let mut wire = said.to_wire();
                    if !with_metadata {
                        wire.as_object_mut().unwrap().remove("metadata");
                    }
                    wire
                })
                .collect();
            // A file that was shared is a message of its own.
            let shared = state.files.iter().filter(|(_, file)| file.channel.as_deref() == Some(channel));
            let shared = shared.map(|(id, file)| {
                json!({ "type": "message", "ts": "1.1", "user": BOT, "text": "", "files": [{ "id": id, "name": file.name }] })
            });
            let messages: Vec<Value> = shared.chain(messages).collect();
            Ok(json!({ "ok": true, "messages": messages, "has_more": false }))
        }
        "conversations.info" => match state.channels.get(channel) {
            Some(known) => Ok(
                json!({ "ok": true, "channel": { "id": channel, "name": known.name, "is_member": known.members.contains(BOT) } }),
            ),
            None => Err(no("channel_not_found")),
        },
        "conversations.open" => {
            let user = word("users");
            let id = format!("D{}", user.trim_start_matches('U'));
            if !state.channels.contains_key(&id) {
                state.channel(&id, &[&user, BOT]);
            }
            Ok(json!({ "ok": true, "channel": { "id": id } }))
        }
        "files.getUploadURLExternal" => {
            let length = word("length").parse().map_err(|_| no("invalid_arguments"))?;
            let id = format!("F{}", state.fresh());
            let file = File { name: word("filename"), bytes: Vec::new(), channel: None, thread: None, length };
            state.files.insert(id.clone(), file);
            Ok(
                json!({ "ok": true, "upload_url": format!("http://127.0.0.1:{}/upload/{id}", site.http), "file_id": id }),
            )
        }
        "files.completeUploadExternal" => {
            writable(state, channel)?;
            let id = request.get("files").and_then(|files| files[0]["id"].as_str()).unwrap_or_default();
            let thread = Some(word("thread_ts")).filter(|thread| !thread.is_empty());
            match state.files.get_mut(id) {
                Some(file) if file.bytes.len() == file.length => {
                    file.channel = Some(channel.to_owned());
                    file.thread = thread;
                    Ok(json!({ "ok": true, "files": [{ "id": id, "title": file.name }] }))
                }
                _ => Err(no("file_not_found")),
            }
        }
        _ => Err(no("unknown_method")),
    }
}

fn writable(state: &State, channel: &str) -> Result<(), Value> {
    member(state, channel)
}

fn member(state: &State, channel: &str) -> Result<(), Value> {
    match state.channels.get(channel) {
        None => Err(no("channel_not_found")),
        Some(known) if !known.members.contains(BOT) => Err(no("not_in_channel")),
        Some(_) => Ok(()),
    }
}

/// Five uses, and what each may do.
async fn response_url(Extract(site): Extract<Site>, Path(id): Path<String>, Json(request): Json<Value>) -> Response {
    let mut state = site.state.lock().unwrap();
    let Some(mut route) = state.routes.get(&id).cloned() else {
        state.refusals.push(format!("response URL {id}: there is none"));
        return StatusCode::NOT_FOUND.into_response();
    };
    if route.uses >= 5 {
        state.refusals.push(format!("response URL {id}: used up"));
        return (StatusCode::NOT_FOUND, "used_url").into_response();
    }
    route.uses += 1;
    let text = request["text"].as_str().unwrap_or_default().to_owned();
    let blocks = request["blocks"].as_array().cloned().unwrap_or_default();
    if let Err((error, errors)) = rules::check(&text, &blocks) {
        state.refusals.push(format!("response URL {id}: {error} {errors:?}"));
        return (StatusCode::BAD_REQUEST, error).into_response();
    }
    let replaced = route.last.clone().or(route.source.clone()).filter(|_| request["replace_original"] == true);
    match replaced {
        Some(ts) => {
            if route.source.as_ref() == Some(&ts) && !route.turns {
                state.refusals.push(format!("response URL {id}: the card with the button was overwritten"));
            }
            if let Some(said) = state.message_mut(&route.channel, &ts) {
                let before = said.words();
                said.before.push(before);
                said.text = text;
                said.blocks = blocks;
            }
        }
        None => {
            let mut said = state.new_message(BOT, &text, blocks);
            said.via = true;
            said.only = (request["response_type"] != "in_channel").then(|| route.user.clone());
            let channel = route.channel.clone();
            route.last = Some(state.put(&channel, said));
        }
    }
    state.routes.insert(id, route);
    "ok".into_response()
}

async fn upload(Extract(site): Extract<Site>, Path(id): Path<String>, body: Bytes) -> Response {
    let mut state = site.state.lock().unwrap();
    match state.files.get_mut(&id) {
        Some(file) => {
            file.bytes = body.to_vec();
            format!("OK - {}", body.len()).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
