//! What people may see of an answer.
//!
//! Values are shown as their shape: type, length, the names and types of JSON
//! fields, never the content. Key names are shown by their fixed words with a
//! handle for the variable part. Secrets are never shown, not even revealed.
//! `exec` sends every reply through [`reply`] before anybody else sees it.

mod shapes;
mod words;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

pub use shapes::{PARTING, command_shape, key_shape};
pub use words::{address, line};

/// Whether the asker may see values. Only a person with the role, privately, and it is audited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reveal {
    /// Shapes only.
    #[default]
    No,
    /// Values, bounded.
    Yes,
}

/// The most characters of one value that are shown when revealed.
const MOST_SHOWN: usize = 4_096;

/// Makes a reply (already [`read`](super::read)) fit to be seen.
///
/// Values become `{"type": "string", "bytes": 512, "json": {…shape…}}`; with
/// [`Reveal::Yes`] the object also holds `"value"`, cut to 4,096 characters.
pub fn reply(argv: &[String], value: Value, reveal: Reveal) -> Value {
    let word = |at: usize| argv.get(at).map(|word| word.to_ascii_lowercase()).unwrap_or_default();
    match (word(0).as_str(), word(1).as_str()) {
        ("config", "get") => config(value),
        ("acl", "list") => acl_lines(value),
        ("acl", "getuser") => acl_user(value),
        ("acl", "log") => acl_log(value),
        ("slowlog" | "commandlog", "get") => slowlog(value),
        ("client", "list") => each(value, client),
        ("client", "info") => client(value),
        ("scan", _) => {
            let mut page = value;
            if let Some(items) = page.get_mut("items") {
                *items = each(items.take(), shown_key);
            }
            page
        }
        ("randomkey", _) => shown_key(value),
        ("cluster", "getkeysinslot") | ("pubsub", "channels" | "shardchannels") => each(value, shown_key),
        ("pubsub", "numsub" | "shardnumsub") => match value {
            Value::Object(map) => Value::Object(map.into_iter().map(|(channel, n)| (key(&channel), n)).collect()),
            other => other,
        },
        ("sentinel", _) => sentinel(value),
        _ => match super::classify(argv) {
            super::LookVerdict::Look { reads_values: true } => values(value, reveal),
            super::LookVerdict::Look { reads_values: false } => value,
            // What is not a look should not have been sent; if it was, nothing of it is shown.
            _ => shape(&value),
        },
    }
}

/// A key's name as people may see it: its fixed words, and a handle for the
/// rest: `session:~7K2QX9`. The same key always has the same handle; the
/// handle does not tell the key. A key made of fixed words only is shown whole.
pub fn key(key: &str) -> String {
    let shape = key_shape(key);
    if shape == key {
        return shape;
    }
    // The handle replaces the last variable part; others stay `*`.
    match shape.rfind('*') {
        Some(at) => format!("{}~{}{}", &shape[..at], handle(key), &shape[at + 1..]),
        None => format!("{shape}~{}", handle(key)),
    }
}

/// Six characters that stand for one key: 30 bits of its SHA-256, in Crockford's base 32.
fn handle(key: &str) -> String {
    const LETTERS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let mut hash = Sha256::new();
    hash.update(b"rediscue key handle 1\0");
    hash.update(key.as_bytes());
    let digest = hash.finalize();
    let bits = u64::from_be_bytes(digest[..8].try_into().expect("a SHA-256 digest has 32 bytes"));
    (0..6).map(|i| LETTERS[(bits >> (59 - 5 * i)) as usize & 31] as char).collect()
}

/// Handles that were shown, and the keys they stand for, so that `inspect`
/// can take one. Bounded: the oldest are forgotten.
#[derive(Debug, Default)]
pub struct KeyBook {
    keys: std::collections::HashMap<String, String>,
    order: std::collections::VecDeque<String>,
}

impl KeyBook {
    /// The most handles remembered.
    const MOST: usize = 10_000;

    /// Remembers every key name in a reply that [`reply`] is about to hide.
    pub fn remember(&mut self, argv: &[String], value: &Value) {
        let name = argv.first().map(|word| word.to_ascii_lowercase()).unwrap_or_default();
        let list = match name.as_str() {
            "scan" => value.get("items"),
            "randomkey" | "cluster" => Some(value),
            _ => None,
        };
        match list {
            Some(Value::Array(keys)) => keys.iter().filter_map(Value::as_str).for_each(|key| self.add(key)),
            Some(Value::String(key)) => self.add(key),
            _ => {}
        }
    }

    /// Remembers one key.
    pub fn add(&mut self, name: &str) {
        let shown = key(name);
        if shown != name && self.keys.insert(shown.clone(), name.to_owned()).is_none() {
            self.order.push_back(shown);
            if self.order.len() > Self::MOST
                && let Some(oldest) = self.order.pop_front()
            {
                self.keys.remove(&oldest);
            }
        }
    }

    /// The key that was shown like this.
    pub fn find(&self, shown: &str) -> Option<&str> {
        self.keys.get(shown).map(String::as_str)
    }
}

/// Whether a name like `session:~7K2QX9` may be a handle rather than a key.
pub fn is_handle(name: &str) -> bool {
    name.rfind('~').is_some_and(|at| {
        let rest = &name.as_bytes()[at + 1..];
        rest.len() >= 6 && rest[..6].iter().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase())
    })
}

/// A glob that matches the key a handle stands for, among others.
pub fn handle_glob(handle: &str) -> String {
    match handle.rfind('~') {
        Some(at) => {
            let rest = handle.get(at + 7..).unwrap_or("");
            format!("{}*{rest}", &handle[..at])
        }
        None => handle.to_owned(),
    }
}

/// A list's elements, each made fit; what should have been a list and is not shows its shape.
fn each(value: Value, seen: impl Fn(Value) -> Value) -> Value {
    match value {
        Value::Array(list) => Value::Array(list.into_iter().map(seen).collect()),
        other => shape(&other),
    }
}

fn shown_key(value: Value) -> Value {
    match value {
        Value::String(name) => Value::String(key(&name)),
        other => other,
    }
}

/// Settings that are secrets, or may hold one.
const SECRET_SETTINGS: &[&str] = &[
    "requirepass",
    "masterauth",
    "primaryauth",
    "tls-key-file-pass",
    "tls-client-key-file-pass",
    "sentinel-pass",
    "auth-pass",
];

fn config(value: Value) -> Value {
    let Value::Object(map) = value else { return shape(&value) };
    let hide = |name: String, value: Value| {
        let lower = name.to_ascii_lowercase();
        let secret = SECRET_SETTINGS.contains(&lower.as_str())
            || lower.contains("pass") && lower != "replica-serve-stale-data"
            || lower.contains("secret")
            || lower.contains("token");
        let value = match value {
            Value::String(text) if secret && text.is_empty() => Value::from("(not set)"),
            _ if secret => Value::from("(set, hidden)"),
            Value::Object(nested) if name == "differs" => config(Value::Object(nested)),
            other => other,
        };
        (name, value)
    };
    Value::Object(map.into_iter().map(|(name, value)| hide(name, value)).collect())
}

fn acl_lines(value: Value) -> Value {
    each(value, |line| match line {
        Value::String(line) => Value::String(acl_rule(&line)),
        other => shape(&other),
    })
}

/// Password hashes (`#…`), and anything that adds or removes a password.
fn acl_rule(rule: &str) -> String {
    let words = rule.split(' ').map(|word| if word.starts_with(['#', '>', '<', '!']) { "#(hidden)" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

fn acl_user(value: Value) -> Value {
    let Value::Object(mut map) = value else { return shape(&value) };
    if let Some(passwords) = map.get_mut("passwords") {
        *passwords = json!(passwords.as_array().map_or(0, Vec::len));
    }
    Value::Object(map)
}

fn acl_log(value: Value) -> Value {
    each(value, |mut entry| {
        if !entry.is_object() {
            return shape(&entry);
        }
        let about_key = matches!(entry["reason"].as_str(), Some("key" | "channel"));
        if about_key && let Some(object) = entry.get_mut("object") {
            *object = shown_key(object.take());
        }
        if let Some(info) = entry.get_mut("client_info") {
            *info = if info.is_object() { client(info.take()) } else { Value::Null };
        }
        entry
    })
}

fn slowlog(value: Value) -> Value {
    each(value, |entry| {
        let Value::Object(entry) = entry else { return shape(&entry) };
        let argv: Vec<String> = entry.get("argv").and_then(Value::as_array).map_or_else(Vec::new, |argv| {
            argv.iter().map(|word| word.as_str().map_or_else(|| word.to_string(), str::to_owned)).collect()
        });
        let mut seen = Map::new();
        for name in ["id", "at", "micros", "client"] {
            seen.insert(name.to_owned(), entry.get(name).cloned().unwrap_or(Value::Null));
        }
        seen.insert("name".to_owned(), json!(entry.get("name").and_then(Value::as_str).map(line)));
        seen.insert("shape".to_owned(), Value::from(command_shape(&argv)));
        seen.insert("words".to_owned(), json!(argv.len()));
        Value::Object(seen)
    })
}

/// A client's own name is chosen by the application; what looks like a person's data in it is masked.
fn client(mut entry: Value) -> Value {
    if !entry.is_object() {
        return shape(&entry);
    }
    if let Some(name) = entry.get_mut("name")
        && let Some(text) = name.as_str()
    {
        *name = Value::from(line(text));
    }
    entry
}

fn sentinel(value: Value) -> Value {
    match value {
        Value::Array(list) => Value::Array(list.into_iter().map(sentinel).collect()),
        Value::Object(mut map) => {
            for (name, value) in &mut map {
                if name.contains("pass") || name.contains("auth") {
                    *value = Value::from("(hidden)");
                }
            }
            Value::Object(map)
        }
        other => other,
    }
}

/// What users stored: shapes all the way down, values only when revealed.
fn values(value: Value, reveal: Reveal) -> Value {
    match value {
        // The frame of a page, a pair, a stream entry is ours, not the users'.
        Value::Object(map) if map.contains_key("cursor") && map.contains_key("items") => {
            let mut page = map;
            if let Some(items) = page.get_mut("items") {
                *items = values(items.take(), reveal);
            }
            Value::Object(page)
        }
        Value::Object(map) => Value::Object(map.into_iter().map(|(name, value)| framed(name, value, reveal)).collect()),
        Value::Array(list) => Value::Array(list.into_iter().map(|value| values(value, reveal)).collect()),
        Value::String(text) => string(&text, reveal),
        other => other,
    }
}

/// A named part of an answer: names we gave are kept, names users gave are masked.
fn framed(name: String, value: Value, reveal: Reveal) -> (String, Value) {
    match name.as_str() {
        "field" => {
            let shown = value.as_str().map(|field| if reveal == Reveal::Yes { cut(field) } else { field_name(field) });
            (name, shown.map_or(Value::Null, Value::from))
        }
        // Ranks, lengths and ids are the server's, not the users'.
        "id"
        | "score"
        | "length"
        | "radix_tree_keys"
        | "radix_tree_nodes"
        | "groups"
        | "entries_added"
        | "last_generated_id"
        | "max_deleted_entry_id"
        | "recorded_first_entry_id" => (name, value),
        _ if reveal == Reveal::Yes => (cut(&name), values(value, reveal)),
        _ => (field_name(&name), values(value, reveal)),
    }
}

/// A field's name, when it is a word of the programme; its shape otherwise.
fn field_name(name: &str) -> String {
    let word = (1..=40).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphabetic() || b"_-.".contains(&b))
        && !name.contains("..");
    if word { name.to_owned() } else { format!("({} characters)", name.chars().count()) }
}

fn string(text: &str, reveal: Reveal) -> Value {
    let mut shown = Map::new();
    shown.insert("type".into(), "string".into());
    shown.insert("bytes".into(), json!(text.len()));
    let parsed = text.trim_start().starts_with(['{', '[']).then(|| serde_json::from_str::<Value>(text).ok()).flatten();
    if let Some(parsed) = &parsed {
        shown.insert("json".into(), shape(parsed));
    }
    if reveal == Reveal::Yes {
        let pretty = parsed.and_then(|parsed| serde_json::to_string_pretty(&parsed).ok());
        shown.insert("value".into(), Value::from(cut(pretty.as_deref().unwrap_or(text))));
    }
    Value::Object(shown)
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(MOST_SHOWN) {
        Some((at, _)) => format!("{}… ({} more bytes)", &text[..at], text.len() - at),
        None => text.to_owned(),
    }
}

/// The shape of a JSON value: `{"createdAt": "number", "roles": ["string (5)"]}`.
pub fn shape(value: &Value) -> Value {
    match value {
        Value::Null => "null".into(),
        Value::Bool(_) => "boolean".into(),
        Value::Number(_) => "number".into(),
        Value::String(text) => format!("text of {}", text.chars().count()).into(),
        Value::Array(list) => match list.first() {
            None => "empty list".into(),
            Some(first) => json!({"list of": list.len(), "first": shape(first)}),
        },
        Value::Object(map) => {
            let mut shown = Map::new();
            for (name, value) in map.iter().take(40) {
                shown.insert(field_name(name), shape(value));
            }
            if map.len() > 40 {
                shown.insert("…".into(), format!("{} more", map.len() - 40).into());
            }
            Value::Object(shown)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn a_value_is_shown_as_its_shape_and_only_revealed_on_purpose() {
        let session =
            json!(r#"{"userId":"u-77","email":"bo@example.com","createdAt":1700000000000,"roles":["admin"]}"#);
        let shown = reply(&words("GET session:1"), session.clone(), Reveal::No);
        assert_eq!(
            shown,
            json!({"type": "string", "bytes": 86, "json": {"userId": "text of 4", "email": "text of 14", "createdAt": "number", "roles": {"list of": 1, "first": "text of 5"}}})
        );
        let shown = reply(&words("GET session:1"), session, Reveal::Yes);
        assert!(shown["value"].as_str().unwrap().contains("bo@example.com"));
    }

    #[test]
    fn pages_keep_their_frame_and_lose_their_content() {
        let page = json!({"cursor": "0", "items": [{"field": "email", "value": "bo@example.com"}, {"field": "bo@example.com", "value": "1"}]});
        let shown = reply(&words("HSCAN k 0"), page, Reveal::No);
        assert_eq!(shown["items"][0], json!({"field": "email", "value": {"type": "string", "bytes": 14}}));
        assert!(!shown.to_string().contains("bo@"), "{shown}");
    }

    #[test]
    fn secrets_of_the_configuration_are_hidden_even_when_revealed() {
        let config = json!({"requirepass": "s3cret", "masterauth": "", "tls-key-file-pass": "s3cret", "maxmemory": 5});
        let shown = reply(&words("CONFIG GET *"), config, Reveal::Yes);
        assert_eq!(
            shown,
            json!({"requirepass": "(set, hidden)", "masterauth": "(not set)", "tls-key-file-pass": "(set, hidden)", "maxmemory": 5})
        );
    }

    #[test]
    fn hashes_of_passwords_never_leave() {
        let lines = json!(["user default on #5e88 ~* &* +@all", "user bo on nopass -@all"]);
        let shown = reply(&words("ACL LIST"), lines, Reveal::Yes);
        assert_eq!(shown, json!(["user default on #(hidden) ~* &* +@all", "user bo on nopass -@all"]));
        let user = reply(&words("ACL GETUSER bo"), json!({"flags": ["on"], "passwords": ["5e88", "ab"]}), Reveal::Yes);
        assert_eq!(user["passwords"], 2);
    }

    #[test]
    fn slow_commands_keep_their_shape_and_lose_their_arguments() {
        let entry = json!([{"id": 1, "at": 2, "micros": 3, "argv": ["SET", "session:bo@example.com", "s3cret"], "client": "10.0.0.1:5", "name": ""}]);
        let shown = reply(&words("SLOWLOG GET"), entry, Reveal::Yes);
        assert_eq!(shown[0]["shape"], "SET session:* …");
        assert!(!shown.to_string().contains("s3cret") && !shown.to_string().contains("bo@"), "{shown}");
    }

    #[test]
    fn a_key_shows_its_fixed_words_and_a_stable_handle_that_is_taken_back() {
        let shown = key("session:4f1c-99");
        assert!(shown.starts_with("session:~") && shown.len() == "session:~".len() + 6, "{shown}");
        assert_eq!(shown, key("session:4f1c-99"));
        assert_ne!(shown, key("session:4f1c-98"));
        assert!(is_handle(&shown) && !is_handle("session:4f1c-99"));
        assert_eq!(handle_glob(&shown), "session:*");
        assert_eq!(key("godel:queue:pending"), "godel:queue:pending");
        let mut book = KeyBook::default();
        book.remember(&words("SCAN 0"), &json!({"cursor": "0", "items": ["session:4f1c-99"]}));
        assert_eq!(book.find(&shown), Some("session:4f1c-99"));
    }

    #[test]
    fn what_should_not_have_been_sent_shows_nothing() {
        assert_eq!(reply(&words("HGETALL k"), json!({"a": "s3cret"}), Reveal::Yes), json!({"a": "text of 6"}));
    }

    proptest::proptest! {
        #[test]
        fn no_secret_survives_any_redaction(secret in "[a-z0-9@]{12,30}S3CRET", which in 0usize..8) {
            let asked = ["GET k", "LRANGE k 0 9", "HSCAN k 0", "SLOWLOG GET", "XRANGE k - + COUNT 1", "FROB", "ZRANGE k 0 9", "HGETALL k"][which];
            for value in [json!(secret), json!([secret]), json!({"items": [{"field": secret, "value": secret}], "cursor": "0"}),
                json!([{"argv": ["SET", secret, secret], "id": 1}]), json!([{"id": "1-1", "fields": {secret.clone(): secret}}])] {
                let read = super::super::read(&words(asked), value);
                let shown = reply(&words(asked), read, Reveal::No).to_string();
                proptest::prop_assert!(!shown.contains("S3CRET"), "{asked}: {shown}");
            }
        }
    }
}
