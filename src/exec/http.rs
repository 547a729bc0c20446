//! `Look::Http`: an endpoint of the application, as its users would meet it.

use std::time::Duration;

use futures_util::StreamExt;
use reqwest::{
    Method, RequestBuilder, Response,
    header::{HeaderName, HeaderValue as Raw},
};
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};
use tokio::time::{Instant, timeout_at};

use crate::{
    diagnosis::{Explained, Observation, redact},
    model::{Endpoint, HeaderValue, HttpMethod},
};

use super::{Job, dial::ms, failed, request, secret, server::Budget};

/// So much of a body is shown.
const EXCERPT: usize = 300;

/// The parts of the step.
pub(crate) struct Wanted<'a> {
    pub endpoint: &'a str,
    pub arguments: &'a [(String, String)],
    pub pointer: Option<&'a str>,
    pub events: Option<u32>,
}

/// Carries it out.
pub(crate) async fn look(job: &Job, wanted: Wanted<'_>) -> Observation {
    let start = Instant::now();
    let merged = match job.service.endpoints.iter().find(|endpoint| endpoint.name == wanted.endpoint) {
        Some(endpoint) => ask(endpoint, &wanted, job).await,
        None => Err(super::not_in_profile("endpoint", wanted.endpoint, "endpoints")),
    };
    match merged {
        Ok(value) => Observation { nodes: Vec::new(), merged: Ok(value), took: start.elapsed() },
        Err(error) => failed(error, start),
    }
}

async fn ask(endpoint: &Endpoint, wanted: &Wanted<'_>, job: &Job) -> Result<Value, Explained> {
    let url = fill(&endpoint.url, wanted.arguments)?;
    let method = match endpoint.method {
        HttpMethod::Get => Method::GET,
        HttpMethod::Head => Method::HEAD,
        HttpMethod::Post if endpoint.safe => Method::POST,
        HttpMethod::Post => {
            return Err(Explained {
                code: "REFUSED-LOOK".into(),
                what: format!("I do not POST to `{}` in a diagnostic", endpoint.name),
                cause: "a POST may change something, and the profile does not say that this one is safe".into(),
                next: "if calling it changes nothing that matters, say `safe = true` for it in the profile".into(),
            });
        }
    };
    let budget = Budget { call: job.budget.call.min(endpoint.timeout), ..job.budget };
    let until = budget.until();
    let request = dress(request::begin(method, &url, endpoint.allow_private)?, endpoint, wanted.events.is_some())?;
    let begun = Instant::now();
    let response = request::send(request, until).await?;
    let first = begun.elapsed();
    let status = response.status().as_u16();
    let expected = match endpoint.expect.is_empty() {
        true => response.status().is_success(),
        false => endpoint.expect.contains(&status),
    };
    let mut told = Map::new();
    told.insert("status".into(), json!(status));
    told.insert("expected".into(), json!(endpoint.expect));
    let degraded = match wanted.events {
        Some(most) if expected => {
            events(response, most, until, begun, &mut told).await?;
            false
        }
        _ => page(response, endpoint, wanted, job.site.settings.body_bytes, until, &mut told).await?,
    };
    told.insert("ok".into(), json!(expected && !degraded));
    told.insert("degraded".into(), json!(degraded));
    told.insert("ms".into(), json!(ms(first)));
    told.insert("slow".into(), json!(endpoint.slow.is_some_and(|slow| first > slow)));
    Ok(Value::Object(told))
}

/// Headers and body. A secret goes to the host the profile names and, as redirects are not followed, nowhere else.
fn dress(mut request: RequestBuilder, endpoint: &Endpoint, stream: bool) -> Result<RequestBuilder, Explained> {
    if stream {
        request = request.header("accept", "text/event-stream");
    }
    for (name, value) in &endpoint.headers {
        let raw = match value {
            HeaderValue::Plain(text) => Raw::from_str(text),
            HeaderValue::Secret(from) => {
                let secret = secret::read(from).map_err(|error| *error)?;
                Raw::from_str(secret.expose_secret()).map(|mut raw| {
                    raw.set_sensitive(true);
                    raw
                })
            }
        };
        let (Ok(name), Ok(raw)) = (HeaderName::from_bytes(name.as_bytes()), raw) else {
            return Err(Explained {
                code: "CONFIG".into(),
                what: format!("the header `{}` of `{}` cannot be sent", redact::line(name), endpoint.name),
                cause: "its name or value holds characters that HTTP does not allow, perhaps a line break".into(),
                next: "correct it in the service's profile or in the secret's file".into(),
            });
        };
        request = request.header(name, raw);
    }
    Ok(match &endpoint.body {
        Some(body) if endpoint.method == HttpMethod::Post => {
            let json = serde_json::from_str::<serde::de::IgnoredAny>(body).is_ok();
            let has_type = endpoint.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
            let request = request.body(body.clone());
            if json && !has_type { request.header("content-type", "application/json") } else { request }
        }
        _ => request,
    })
}

/// Reads a page; true when it says that the application is degraded.
async fn page(
    response: Response,
    endpoint: &Endpoint,
    wanted: &Wanted<'_>,
    most: usize,
    until: Instant,
    told: &mut Map<String, Value>,
) -> Result<bool, Explained> {
    let (body, cut) = request::body(response, most, until).await?;
    let text = String::from_utf8_lossy(&body);
    told.insert("excerpt".into(), json!(excerpt(&text, cut)));
    let json: Option<Value> = serde_json::from_str(&text).ok();
    let at = |pointer: &str| json.as_ref().and_then(|json| json.pointer(pointer));
    if let Some(pointer) = wanted.pointer {
        told.insert("value".into(), at(pointer).map_or(Value::Null, seen));
    }
    if endpoint.statuspage {
        let text = |pointer: &str| at(pointer).and_then(Value::as_str).map(redact::line);
        told.insert("indicator".into(), json!(text("/status/indicator")));
        told.insert("description".into(), json!(text("/status/description")));
    }
    Ok(endpoint.degraded.as_ref().is_some_and(|(pointer, means)| {
        at(pointer).is_some_and(|found| match found {
            Value::String(text) => text == means,
            Value::Bool(yes) => means == if *yes { "true" } else { "false" },
            Value::Null => means == "null",
            Value::Number(number) => *means == number.to_string(),
            Value::Array(_) | Value::Object(_) => false,
        })
    }))
}

/// Counts server-sent events until there are enough, the stream ends or the time is up.
async fn events(
    response: Response,
    most: u32,
    until: Instant,
    begun: Instant,
    told: &mut Map<String, Value>,
) -> Result<(), Explained> {
    let mut stream = response.bytes_stream();
    let mut reader = Events::default();
    let mut first: Option<Duration> = None;
    let stopped_by = loop {
        if reader.count >= most {
            break "events";
        }
        match timeout_at(until, stream.next()).await {
            // A stream need not end: what came in time is the answer.
            Err(_) => break "time",
            Ok(None | Some(Err(_))) => {
                reader.end();
                break "end";
            }
            Ok(Some(Ok(chunk))) => {
                reader.take(&chunk, most);
                if reader.count > 0 {
                    first.get_or_insert_with(|| begun.elapsed());
                }
            }
        }
    };
    told.insert("events".into(), json!(reader.count));
    told.insert("event_types".into(), json!(reader.types));
    told.insert("stopped_by".into(), json!(stopped_by));
    told.insert("first_event_ms".into(), json!(first.map(ms)));
    Ok(())
}

/// Reads the `text/event-stream` format. Keeps counts and the names of types, never data.
#[derive(Debug, Default)]
struct Events {
    count: u32,
    types: Vec<String>,
    line: Vec<u8>,
    has_data: bool,
    kind: Option<String>,
}

/// Of a line only its beginning matters: `data:` or `event: NAME`.
const FIELD: usize = 128;

impl Events {
    fn take(&mut self, chunk: &[u8], most: u32) {
        for &byte in chunk {
            if self.count >= most {
                return;
            }
            match byte {
                b'\n' => self.close_line(),
                b'\r' => {}
                byte if self.line.len() < FIELD => self.line.push(byte),
                _ => {}
            }
        }
    }

    fn close_line(&mut self) {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
        if line.is_empty() {
            self.dispatch();
        } else if line.starts_with("data") {
            self.has_data = true;
        } else if let Some(kind) = line.strip_prefix("event:") {
            self.kind = Some(redact::line(kind.trim()));
        }
    }

    fn dispatch(&mut self) {
        let kind = self.kind.take();
        if std::mem::take(&mut self.has_data) {
            self.count += 1;
            let kind = kind.unwrap_or_else(|| "message".into());
            if self.types.len() < 10 && !self.types.contains(&kind) {
                self.types.push(kind);
            }
        }
    }

    /// The stream ended: an event without its blank line still came.
    fn end(&mut self) {
        if !self.line.is_empty() {
            self.close_line();
        }
        self.dispatch();
    }
}

/// Puts arguments into `{name}`, percent-encoded, so that they stay inside their part of the path or query.
fn fill(url: &str, arguments: &[(String, String)]) -> Result<String, Explained> {
    // Scheme and host are the profile's alone.
    let host_end =
        url.find("://").map(|at| at + 3).map_or(0, |at| url[at..].find(['/', '?']).map_or(url.len(), |i| at + i));
    let (host, mut rest) = (url[..host_end].to_owned(), url[host_end..].to_owned());
    for (name, value) in arguments {
        // A segment of dots would climb the path even when encoded.
        if value == "." || value == ".." {
            return Err(bad_argument(name, "it would change the path"));
        }
        rest = rest.replace(&format!("{{{name}}}"), &encode(value));
    }
    match rest.contains('{') && rest.contains('}') {
        true => Err(bad_argument("", "the URL names an argument that was not given")),
        false => Ok(host + &rest),
    }
}

fn bad_argument(name: &str, why: &str) -> Explained {
    Explained {
        code: "ARGUMENT".into(),
        what: match name {
            "" => why.to_owned(),
            name => format!("the argument `{name}` cannot be used in a URL: {why}"),
        },
        cause: "arguments fill one part of the endpoint's path or query each".into(),
        next: "give another value, or correct the step".into(),
    }
}

/// Everything but unreserved characters is encoded.
fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// The beginning of a body, line by line masked. What looks like markup is not worth showing.
fn excerpt(text: &str, cut: bool) -> String {
    let trimmed = text.trim();
    if trimmed.starts_with('<') {
        return "(HTML)".into();
    }
    let start: String = trimmed.chars().take(4 * EXCERPT).collect();
    let masked: Vec<String> = start.lines().map(redact::line).collect();
    let masked = masked.join("\n");
    let mut shown: String = masked.chars().take(EXCERPT).collect();
    if cut || shown.len() < masked.len() || start.len() < trimmed.len() {
        shown.push('…');
    }
    shown
}

/// A value somebody asked for by pointer: numbers and flags as they are, texts masked, structures by their shape.
fn seen(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(redact::line(text).chars().take(EXCERPT).collect()),
        Value::Array(_) | Value::Object(_) => redact::shape(value),
        plain => plain.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(url: &str, value: &str) -> Result<String, String> {
        fill(url, &[("id".into(), value.into())]).map_err(|error| error.code)
    }

    #[test]
    fn an_argument_stays_inside_its_part_of_the_url() {
        let url = "https://api.example.com/v1/{id}/state?x={id}";
        assert_eq!(
            filled(url, "a b/../c?d#e&f").unwrap(),
            "https://api.example.com/v1/a%20b%2F..%2Fc%3Fd%23e%26f/state?x=a%20b%2F..%2Fc%3Fd%23e%26f"
        );
        assert_eq!(filled(url, "..").unwrap_err(), "ARGUMENT");
        assert_eq!(filled("https://{id}/x", "evil.example").unwrap(), "https://{id}/x", "a host is never filled in");
        assert_eq!(filled("https://h/{other}", "x").unwrap_err(), "ARGUMENT");
    }

    #[test]
    fn events_are_counted_across_chunks_and_only_as_many_as_wanted() {
        let mut events = Events::default();
        for chunk in [": hello\n\nev", "ent: token\r\nda", "ta: s3cret\r\n\r\ndata: 2\ndata: 2b\n", "\ndata: 3"] {
            events.take(chunk.as_bytes(), 10);
        }
        assert_eq!(events.count, 2);
        events.end();
        assert_eq!((events.count, events.types.as_slice()), (3, &["token".to_owned(), "message".to_owned()][..]));
        let mut few = Events::default();
        few.take(b"data: 1\n\ndata: 2\n\ndata: 3\n\n", 2);
        assert_eq!(few.count, 2);
    }

    #[test]
    fn an_excerpt_holds_no_secret_and_no_markup() {
        assert_eq!(excerpt("<html><body>hi", false), "(HTML)");
        let shown = excerpt("{\"password\": \"s3cret99\", \"status\": \"ok\"}", false);
        assert!(!shown.contains("s3cret99") && shown.contains("status"), "{shown}");
        assert!(excerpt(&"a ".repeat(400), false).ends_with('…'));
    }
}
