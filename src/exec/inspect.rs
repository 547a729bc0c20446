//! `Look::Inspect`: one key, its type first, then what that type allows.
//!
//! Everything goes through [`redis::look`], so each question is judged and
//! each answer redacted like any other. What does not touch the key (type,
//! lifetime, idle time) is asked before what does.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::{
    diagnosis::{Explained, Observation, redact},
    runbook::Nodes,
};

use super::{
    Job, failed, redis,
    server::{Budget, Kind, Lane},
};

/// Bytes of a string that are read.
const MOST: u32 = 65_536;
/// Keys walked while looking for the one a handle stands for.
const WALK: usize = 200_000;

/// Carries it out.
pub(crate) async fn look(job: &Job, key: &str, sample: u32, over: Option<Duration>) -> Observation {
    let start = Instant::now();
    let key = match resolve(job, key).await {
        Ok(key) => key,
        Err(error) => return failed(error, start),
    };
    let ask = |words: &[&str]| {
        let argv: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        async move { redis::look(job, &argv, Nodes::Key).await }
    };
    let first: [&[&str]; 5] =
        [&["PTTL"], &["TYPE"], &["OBJECT", "IDLETIME"], &["OBJECT", "ENCODING"], &["MEMORY", "USAGE"]];
    let mut answers = join_all(first.iter().map(|words| ask(&[*words, &[key.as_str()]].concat()))).await.into_iter();
    let mut next = || answers.next().map(|seen| (seen.merged, seen.nodes));
    let (ttl, kind, idle, encoding, bytes) = (next(), next(), next(), next(), next());
    let (kind, nodes) = match kind {
        Some((Ok(kind), nodes)) => (kind.as_str().unwrap_or("none").to_owned(), nodes),
        Some((Err(error), nodes)) => return Observation { nodes, merged: Err(error), took: start.elapsed() },
        None => return failed(super::nobody(), start),
    };
    let value = |seen: Option<(Result<Value, Explained>, _)>| seen.and_then(|(merged, _)| merged.ok());
    let exists = kind != "none";
    let mut told = Map::new();
    told.insert("key".into(), redact::key(&key).into());
    told.insert("exists".into(), exists.into());
    told.insert("type".into(), kind.clone().into());
    told.insert("ttl_ms".into(), value(ttl).unwrap_or(if exists { Value::Null } else { json!(-2) }));
    if exists {
        let idle = idle.map(|(merged, _)| merged);
        // Under an LFU policy the server counts uses instead of keeping the time.
        if matches!(&idle, Some(Err(error)) if error.code != "NOPERM" && error.code != "UNKNOWN_COMMAND") {
            keep(&mut told, "freq", ask(&["OBJECT", "FREQ", &key]).await.merged.ok());
        }
        keep(&mut told, "idle_s", idle.and_then(Result::ok));
        keep(&mut told, "encoding", value(encoding));
        keep(&mut told, "bytes", value(bytes));
        content(&mut told, &kind, &key, sample, &ask).await;
        if let (Some(over), Some(words)) = (over, length_of(&kind, &key)) {
            let before = told.get("length").cloned();
            let begun = Instant::now();
            tokio::time::sleep_until((begun + over).min(job.budget.end)).await;
            let after = ask(&words).await.merged.ok();
            if let (Some(before), Some(after)) = (before, after) {
                told.insert("length_before".into(), before);
                told.insert("length".into(), after);
                told.insert("seconds".into(), json!((begun.elapsed().as_secs_f64() * 1e3).round() / 1e3));
            }
        }
    }
    Observation { nodes, merged: Ok(Value::Object(told)), took: start.elapsed() }
}

fn keep(told: &mut Map<String, Value>, name: &str, value: Option<Value>) {
    if let Some(value) = value.filter(|value| !value.is_null()) {
        told.insert(name.to_owned(), value);
    }
}

/// The command that tells how long a value of this type is.
fn length_of<'a>(kind: &str, key: &'a str) -> Option<[&'a str; 2]> {
    let name = match kind {
        "string" => "STRLEN",
        "list" => "LLEN",
        "hash" => "HLEN",
        "set" => "SCARD",
        "zset" => "ZCARD",
        "stream" => "XLEN",
        _ => return None,
    };
    Some([name, key])
}

/// Length, and a first page of the content.
async fn content<F>(told: &mut Map<String, Value>, kind: &str, key: &str, sample: u32, ask: &impl Fn(&[&str]) -> F)
where
    F: Future<Output = Observation>,
{
    if let Some(words) = length_of(kind, key) {
        keep(told, "length", ask(&words).await.merged.ok());
    }
    if kind == "stream" {
        keep(told, "groups", ask(&["XINFO", "GROUPS", key]).await.merged.ok());
    }
    if sample == 0 {
        return;
    }
    let (count, last, end) = (sample.to_string(), (sample - 1).to_string(), (MOST - 1).to_string());
    let page = match kind {
        "string" => ask(&["GETRANGE", key, "0", &end]).await,
        "list" => ask(&["LRANGE", key, "0", &last]).await,
        "hash" => ask(&["HSCAN", key, "0", "COUNT", &count]).await,
        "set" => ask(&["SSCAN", key, "0", "COUNT", &count]).await,
        "zset" => ask(&["ZRANGE", key, "0", &last, "WITHSCORES"]).await,
        "stream" => ask(&["XRANGE", key, "-", "+", "COUNT", &count]).await,
        _ => return,
    };
    let Ok(page) = page.merged else { return };
    if kind == "string" {
        if let Some(shape) = page.get("json") {
            keep(told, "json", serde_json::to_string_pretty(shape).ok().map(Value::from));
        }
        keep(told, "value", page.get("value").cloned());
        return;
    }
    let items = page.get("items").unwrap_or(&page).as_array().cloned().unwrap_or_default();
    let rows: Vec<Value> = items.iter().take(sample as usize).enumerate().map(|(at, item)| row(at, item)).collect();
    told.insert("sample".into(), Value::Array(rows));
}

/// One element: what it is called, how long it is, what it looks like.
fn row(at: usize, item: &Value) -> Value {
    let (name, inner) = match item {
        Value::Object(map) if map.contains_key("field") => {
            (map["field"].clone(), map.get("value").unwrap_or(&Value::Null))
        }
        Value::Object(map) if map.contains_key("score") => {
            (json!(format!("score {}", plain(&map["score"]))), map.get("member").unwrap_or(&Value::Null))
        }
        Value::Object(map) if map.contains_key("id") => (map["id"].clone(), map.get("fields").unwrap_or(&Value::Null)),
        other => (json!(format!("#{at}")), other),
    };
    let mut told = Map::new();
    told.insert("name".into(), name);
    keep(&mut told, "bytes", inner.get("bytes").cloned());
    let shape = match (inner.get("json"), inner.get("type")) {
        (Some(shape), _) => format!("JSON {shape}"),
        (None, Some(_)) => "text".to_owned(),
        (None, None) => inner.as_object().map_or_else(String::new, |fields| {
            format!("fields {}", fields.keys().map(String::as_str).collect::<Vec<_>>().join(", "))
        }),
    };
    told.insert("shape".into(), shape.into());
    keep(&mut told, "value", inner.get("value").filter(|value| value.is_string()).cloned());
    Value::Object(told)
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The key a handle stands for: remembered, or found by a bounded walk. What is no handle is itself.
async fn resolve(job: &Job, typed: &str) -> Result<String, Explained> {
    if !redact::is_handle(typed) {
        return Ok(typed.to_owned());
    }
    let remembered = || {
        let keys = job.site.keys.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        keys.find(typed).map(str::to_owned)
    };
    if let Some(key) = remembered() {
        return Ok(key);
    }
    let pattern = redact::handle_glob(typed);
    let topology = job.site.topology(job.budget).await?;
    // Half of the time is for finding it, half for looking at it.
    let now = Instant::now();
    let budget = Budget { end: now + job.budget.end.saturating_duration_since(now) / 2, ..job.budget };
    let mut walked = 0;
    for member in topology.primaries() {
        let server = job.site.server(&member.address, Kind::Data);
        let mut cursor = "0".to_owned();
        loop {
            let mut scan = ::redis::cmd("SCAN");
            scan.arg(&cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(500);
            let Ok(page) = server.ask_one(Lane::Look, &scan, budget).await else { break };
            let Some([next, keys]) = page.as_array().map(Vec::as_slice) else { break };
            for key in keys.as_array().into_iter().flatten().filter_map(Value::as_str) {
                if redact::key(key) == typed {
                    let mut book = job.site.keys.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    book.add(key);
                    return Ok(key.to_owned());
                }
            }
            walked += 500;
            cursor = plain(next);
            if cursor == "0" || walked >= WALK || !budget.has_time() {
                break;
            }
        }
    }
    Err(Explained {
        code: "NO_SUCH_HANDLE".into(),
        what: "no key here has this handle".into(),
        cause: if walked >= WALK {
            format!("the first {WALK} keys were looked through; it is further on, or gone")
        } else {
            "the key it stood for has expired or was deleted, or lives in another service or database".into()
        },
        next: "name the key itself, or list keys again for a fresh handle".into(),
    })
}
