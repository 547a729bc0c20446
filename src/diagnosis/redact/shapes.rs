//! Keys and commands without what people put into them.

/// Words that name a kind of thing rather than one thing. A part of a key is
/// shown when it is one of these, or is the key's first word.
#[rustfmt::skip]
const KINDS: &[&str] = &[
    "access", "account", "active", "api", "archive", "auth", "batch", "bucket", "cache", "cart", "chat", "config", "conv", "conversation", "count",
    "counter", "cursor", "data", "day", "dead", "default", "delayed", "dlq", "done", "draft", "email", "event", "events", "expires", "failed", "feature",
    "flag", "flags", "hash", "health", "heartbeat", "history", "hour", "idempotency", "idx", "inbox", "index", "info", "item", "items", "job",
    "jobs", "jwt", "key", "keys", "last", "lease", "limit", "list", "live", "lock", "locks", "log", "logs", "main", "map", "member", "members",
    "memory", "message", "messages", "meta", "metadata", "metrics", "minute", "month", "msg", "offset", "online", "order", "org", "outbox", "page", "pending",
    "presence", "priority", "processing", "product", "profile", "pubsub", "query", "queue", "queues", "rate", "ratelimit", "recent", "refresh",
    "replay", "request", "result", "results", "retry", "room", "running", "schedule", "scheduled", "schema", "search", "seq", "sequence", "session",
    "sessions", "set", "settings", "shard", "snapshot", "sse", "state", "stats", "status", "stream", "streams", "string", "sum", "task", "tasks", "temp", "tenant",
    "thread", "tmp", "token", "tokens", "total", "ttl", "user", "users", "value", "version", "view", "wm", "worker", "workers", "zset",
];

/// Only these part the words of a key from one another; a dash or dot is part of an id.
pub const PARTING: &[u8] = b":/|{}";

/// The fixed words of a key, with `*` for each variable part: `tenant:42:wm:7` → `tenant:*:wm:*`.
pub fn key_shape(key: &str) -> String {
    let mut shape = String::new();
    let mut first = true;
    let mut part = String::new();
    let close = |part: &mut String, shape: &mut String, first: &mut bool| {
        if part.is_empty() {
            return;
        }
        let fixed = KINDS.binary_search(&part.to_ascii_lowercase().as_str()).is_ok() || (*first && is_word(part));
        // `*-*-*` of one variable part cut at its dashes says no more than `*`.
        if fixed {
            shape.push_str(part);
        } else if !shape.ends_with(['*', '-', '_', '.']) || !shape.contains('*') {
            shape.push('*');
        } else if !shape.ends_with('*') {
            let kept = shape.trim_end_matches(['-', '_', '.']).len();
            if shape[..kept].ends_with('*') { shape.truncate(kept) } else { shape.push('*') }
        }
        *first = false;
        part.clear();
    };
    for c in key.chars() {
        if u8::try_from(c).is_ok_and(|byte| PARTING.contains(&byte)) {
            close(&mut part, &mut shape, &mut first);
            shape.push(c);
        } else {
            part.push(c);
        }
    }
    close(&mut part, &mut shape, &mut first);
    shape
}

/// A word a programmer would start a key with: letters, perhaps a version at its end.
fn is_word(part: &str) -> bool {
    let stem = part.trim_end_matches(|c: char| c.is_ascii_digit());
    part.len() - stem.len() <= 2
        && (2..=24).contains(&stem.len())
        && stem.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_' || b == b'-')
}

/// Commands whose words after the name are words of the protocol, safe to show one deep.
const CONTAINERS: &[&str] = &[
    "ACL", "CLIENT", "CLUSTER", "COMMAND", "CONFIG", "DEBUG", "FUNCTION", "LATENCY", "MEMORY", "MODULE", "OBJECT",
    "PUBSUB", "SCRIPT", "SENTINEL", "SLOWLOG", "XGROUP", "XINFO",
];

/// Commands of which nothing after the name is shown.
const SILENT: &[&str] = &["AUTH", "HELLO", "MIGRATE", "REPLICAOF", "SLAVEOF", "PSYNC", "REPLCONF"];

/// Commands without a key; their arguments are not shown.
const KEYLESS: &[&str] = &[
    "BGSAVE",
    "DBSIZE",
    "ECHO",
    "EXEC",
    "FLUSHALL",
    "FLUSHDB",
    "INFO",
    "LASTSAVE",
    "MONITOR",
    "MULTI",
    "PING",
    "PSUBSCRIBE",
    "PUBLISH",
    "SCAN",
    "SELECT",
    "SUBSCRIBE",
    "TIME",
    "WAIT",
];

/// A command as its kind: name, subcommand, the shape of its key, and that
/// there is more. `SET session:* …`, `CONFIG SET …`, `EVAL (script) …`.
pub fn command_shape(argv: &[String]) -> String {
    let Some(name) = argv.first() else { return "(nothing)".into() };
    let upper = name.to_ascii_uppercase();
    if !(1..=32).contains(&upper.len()) || !upper.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-|".contains(&b)) {
        return "(not a command)".into();
    }
    let more = |used: usize| if argv.len() > used { " …" } else { "" };
    let upper = upper.replace('|', " ");
    if SILENT.contains(&upper.as_str()) || KEYLESS.contains(&upper.as_str()) {
        if upper == "SCAN"
            && let Some(at) = argv.iter().position(|word| word.eq_ignore_ascii_case("match"))
            && let Some(glob) = argv.get(at + 1)
        {
            return format!("SCAN … MATCH {}", key_shape(glob));
        }
        return format!("{upper}{}", more(1));
    }
    if CONTAINERS.contains(&upper.as_str()) {
        let Some(sub) = argv.get(1) else { return upper };
        let sub = sub.to_ascii_uppercase();
        if sub.len() > 24 || !sub.bytes().all(|b| b.is_ascii_alphabetic() || b == b'-') {
            return format!("{upper} …");
        }
        let keyed = matches!(upper.as_str(), "OBJECT" | "XINFO" | "XGROUP") || (upper == "MEMORY" && sub == "USAGE");
        return match argv.get(2) {
            Some(key) if keyed => format!("{upper} {sub} {}{}", key_shape(key), more(3)),
            _ => format!("{upper} {sub}{}", more(2)),
        };
    }
    if upper.starts_with("EVAL") || upper.starts_with("FCALL") {
        let keys: usize = argv.get(2).and_then(|n| n.parse().ok()).unwrap_or(0);
        let key = argv.get(3).filter(|_| keys > 0).map(|key| format!(" {}", key_shape(key))).unwrap_or_default();
        return format!("{upper} (script){key}{}", more(if keys > 0 { 4 } else { 3 }));
    }
    match argv.get(1) {
        // The slow log ends a long command with "... (n more arguments)".
        Some(key) if key.starts_with("... (") => format!("{upper} …"),
        Some(key) => format!("{upper} {}{}", key_shape(key), more(2)),
        None => upper,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(line: &str) -> String {
        command_shape(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn the_words_are_sorted() {
        assert!(KINDS.is_sorted());
    }

    #[test]
    fn fixed_words_stay_and_variable_parts_go() {
        for (key, expected) in [
            ("session:4f1c9a", "session:*"),
            ("session:alice", "session:*"),
            ("tenant:acme:wm:7", "tenant:*:wm:*"),
            ("godel:queue:pending", "godel:queue:pending"),
            ("sse:state:0f-1b-2c", "sse:state:*"),
            ("conv:{42}:messages", "conv:{*}:messages"),
            ("bo@example.com", "*"),
            ("1234", "*"),
            ("v2", "*"),
            ("cache_v2:x", "cache_v2:*"),
            ("", ""),
        ] {
            assert_eq!(key_shape(key), expected, "{key}");
        }
    }

    #[test]
    fn commands_are_grouped_by_what_they_do() {
        for (line, expected) in [
            ("GET session:1", "GET session:*"),
            ("set session:1 s3cret EX 5", "SET session:* …"),
            ("AUTH s3cret", "AUTH …"),
            ("CONFIG SET requirepass s3cret", "CONFIG SET …"),
            ("ACL SETUSER bo >s3cret", "ACL SETUSER …"),
            ("HELLO 3 AUTH bo s3cret", "HELLO …"),
            ("EVAL return{s3cret} 1 tenant:4:wm:2 x", "EVAL (script) tenant:*:wm:* …"),
            ("MEMORY USAGE session:1", "MEMORY USAGE session:*"),
            ("SCAN 0 MATCH session:* COUNT 10", "SCAN … MATCH session:*"),
            ("KEYS *", "KEYS *"),
            ("PING", "PING"),
            ("config|get maxmemory", "CONFIG GET maxmemory"),
        ] {
            assert_eq!(shape(line), expected, "{line}");
        }
    }
}
