//! Databases, one key, and queues.

use serde_json::{Map, Value, json};

use super::{Inputs, count, number, round, text};
use crate::{diagnosis::redact, model::Service};

/// `INFO keyspace` as rows.
pub(super) fn keyspace(info: &Map<String, Value>) -> Value {
    let mut rows: Vec<(i64, Value)> = Vec::new();
    let (mut keys, mut without) = (0, 0);
    for (name, database) in info.get("keyspace").and_then(Value::as_object).into_iter().flatten() {
        let Some(database) = database.as_object() else { continue };
        let (here, expires) = (count(database, "keys"), count(database, "expires"));
        keys += here;
        without += here - expires;
        rows.push((
            here,
            json!({
                "db": name, "keys": here, "expires": expires, "no_ttl": here - expires,
                "no_ttl_share": if here > 0 { round((here - expires) as f64 / here as f64, 4) } else { 0.0 },
                "mean_ttl_s": number(database, "avg_ttl").filter(|ttl| *ttl > 0.0).map(|ttl| round(ttl / 1000.0, 0)),
            }),
        ));
    }
    rows.sort_by_key(|(keys, _)| std::cmp::Reverse(*keys));
    let share = if keys > 0 { round(without as f64 / keys as f64, 4) } else { 0.0 };
    json!({"keys": keys, "no_ttl": without, "no_ttl_share": share, "rows": rows.into_iter().map(|(_, row)| row).collect::<Vec<_>>()})
}

/// What a look at one key means: its TTL explained, and compared with what its pattern promises.
pub(super) fn inspection(
    key: &Map<String, Value>,
    inputs: &Inputs,
    service: &Service,
    args: &Map<String, Value>,
) -> Value {
    let typed = args.get("key").and_then(Value::as_str).unwrap_or("");
    let mut seen = key.clone();
    let ttl_ms = number(key, "ttl_ms");
    let (state, words) = match ttl_ms {
        Some(-2.0) => ("absent", "-2: there is no such key".to_owned()),
        Some(-1.0) => ("forever", "-1: it never expires".to_owned()),
        Some(ms) => ("expires", format!("expires in {}", span(ms / 1000.0))),
        None => ("unknown", "could not be seen".to_owned()),
    };
    seen.insert("ttl".into(), json!({"state": state, "words": words, "seconds": ttl_ms.filter(|ms| *ms >= 0.0).map(|ms| round(ms / 1000.0, 0)),
        "at": ttl_ms.filter(|ms| *ms >= 0.0).zip(inputs.now()).map(|(ms, now)| now + (ms / 1000.0) as i64)}));
    let full = if typed.is_empty() { text(key, "key") } else { typed };
    let pattern = service.patterns.iter().find(|pattern| glob(&pattern.glob, full));
    if let Some(pattern) = pattern {
        let expected = pattern.ttl.map(|ttl| ttl.as_secs_f64());
        let verdict = match (state, expected) {
            ("forever", Some(_)) => "missing",
            ("expires", Some(expected)) if ttl_ms.is_some_and(|ms| ms / 1000.0 > expected * 1.01) => "too long",
            ("expires", None) => "unexpected",
            _ => "as declared",
        };
        seen.insert(
            "pattern".into(),
            json!({"name": pattern.name, "glob": pattern.glob, "about": pattern.about, "ttl_s": expected, "verdict": verdict}),
        );
    }
    let list = matches!(text(key, "type"), "list" | "stream" | "zset");
    seen.insert("queue".into(), json!(list && service.queues.iter().any(|queue| queue.key == full)));
    let exists = match key.get("exists").and_then(Value::as_bool) {
        Some(exists) => exists,
        None => state != "absent",
    };
    seen.insert("exists".into(), exists.into());
    seen.insert("shown".into(), redact::key(full).into());
    Value::Object(seen)
}

/// Each queue of the profile: depth, rate of change, time to drain. The looks are `ID[QUEUE]`, one for each.
pub(super) fn queues(inputs: &Inputs, service: &Service) -> Value {
    let mut rows = Vec::new();
    let mut total = 0.0;
    for queue in &service.queues {
        let shown = redact::key(&queue.key);
        let suffix = format!("[{}]", queue.name);
        let Some(look) = inputs.0.iter().find(|(id, _)| id.ends_with(&suffix)).and_then(|(_, look)| look.as_object())
        else {
            rows.push(json!({"name": queue.name, "key": shown, "seen": false, "warn": queue.warn_depth, "crit": queue.crit_depth}));
            continue;
        };
        let depth = number(look, "length").unwrap_or(0.0);
        total += depth;
        let per_s = number(look, "length_before")
            .zip(number(look, "seconds").filter(|seconds| *seconds > 0.0))
            .map(|(before, seconds)| round((depth - before) / seconds, 2));
        let drain = per_s.filter(|per_s| *per_s < 0.0).map(|per_s| round(depth / -per_s, 0));
        let level = match (queue.crit_depth, queue.warn_depth) {
            (Some(crit), _) if depth > crit as f64 => "crit",
            (_, Some(warn)) if depth > warn as f64 => "warn",
            _ => "ok",
        };
        rows.push(json!({
            "name": queue.name, "key": shown, "seen": true, "exists": look.get("exists"), "type": look.get("type"), "depth": depth as i64,
            "per_s": per_s, "drain_s": drain, "level": level, "warn": queue.warn_depth, "crit": queue.crit_depth, "groups": look.get("groups"),
            "trend": match per_s { Some(n) if n > 0.0 => "filling", Some(n) if n < 0.0 => "draining", Some(_) => "steady", None if depth == 0.0 => "empty", None => "unknown" },
        }));
    }
    let worst = |level: &str| rows.iter().any(|row| row["level"] == level);
    // Between two looks minutes apart even a slow change shows, which one second hides.
    let since =
        inputs.last("queue_depth_total").zip(inputs.now().zip(inputs.last_at())).and_then(|(before, (now, last))| {
            let passed = (now - last) as f64;
            (passed >= 5.0)
                .then(|| json!({"seconds": passed, "per_s": round((total - before) / passed, 3), "before": before}))
        });
    let level = if worst("crit") {
        "crit"
    } else if worst("warn") {
        "warn"
    } else {
        "ok"
    };
    json!({"rows": rows, "total": total as i64, "worst": level, "since_last": since, "declared": service.queues.len()})
}

/// Seconds for people, two units.
fn span(seconds: f64) -> String {
    let total = seconds.max(0.0) as u64;
    let (days, hours, minutes, seconds) = (total / 86_400, total / 3600 % 24, total / 60 % 60, total % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {seconds} s"),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// Redis's own glob: `*`, `?`, `[a-c]`, `[^x]`, and `\` before a literal.
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    // One way back is enough: a later star makes an earlier one's choice final.
    let (mut p, mut t, mut star) = (0, 0, None);
    loop {
        if t == text.len() {
            return pattern[p..].iter().all(|c| *c == '*');
        }
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
                continue;
            }
            Some(_) => {
                if let Some(next) = one(&pattern, p, text[t]) {
                    p = next;
                    t += 1;
                    continue;
                }
            }
            None => {}
        }
        match star {
            Some((back, from)) => {
                star = Some((back, from + 1));
                p = back + 1;
                t = from + 1;
            }
            None => return false,
        }
    }
}

/// Where the pattern goes on when its element at `p` matches `c`.
fn one(pattern: &[char], p: usize, c: char) -> Option<usize> {
    match pattern[p] {
        '?' => Some(p + 1),
        '\\' if p + 1 < pattern.len() => (pattern[p + 1] == c).then_some(p + 2),
        '[' => {
            let negated = pattern.get(p + 1) == Some(&'^');
            let mut at = p + 1 + usize::from(negated);
            let mut found = false;
            while at < pattern.len() && pattern[at] != ']' {
                if pattern[at] == '\\' && at + 1 < pattern.len() {
                    at += 1;
                    found |= pattern[at] == c;
                } else if pattern.get(at + 1) == Some(&'-') && pattern.get(at + 2).is_some_and(|end| *end != ']') {
                    let (low, high) = (pattern[at].min(pattern[at + 2]), pattern[at].max(pattern[at + 2]));
                    found |= (low..=high).contains(&c);
                    at += 2;
                } else {
                    found |= pattern[at] == c;
                }
                at += 1;
            }
            (found != negated).then_some((at + 1).min(pattern.len()))
        }
        literal => (literal == c).then_some(p + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        derive,
        tests::{inputs, service},
    };
    use super::*;
    use crate::model::{KeyPattern, Queue};
    use std::time::Duration;

    #[test]
    fn globs_match_as_redis_does() {
        for (pattern, text, expected) in [
            ("session:*", "session:1", true),
            ("session:*", "sessions:1", false),
            ("tenant:*:wm:*", "tenant:a:b:wm:c", true),
            ("a?c", "abc", true),
            ("a[b-d]e", "ace", true),
            ("a[^b]e", "abe", false),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
            ("*", "", true),
            ("", "", true),
            ("**a", "bba", true),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_ttl_is_explained_and_held_against_the_pattern() {
        let mut service = service();
        service.patterns.push(KeyPattern {
            name: "sessions".into(),
            glob: "session:*".into(),
            ttl: Some(Duration::from_secs(86_400)),
            about: "logins".into(),
            revive: true,
            review: false,
        });
        let look = |ttl: i64| {
            let all = inputs(json!({"key": {"type": "string", "ttl_ms": ttl}, "_now": 1000}));
            derive("inspection", &all, &service, &inputs(json!({"key": "session:bo"}))).unwrap()
        };
        assert_eq!(look(-1)["ttl"]["words"], "-1: it never expires");
        assert_eq!(look(-1)["pattern"]["verdict"], "missing");
        assert_eq!(
            (&look(-2)["exists"], &look(-2)["ttl"]["words"]),
            (&json!(false), &json!("-2: there is no such key"))
        );
        assert_eq!(
            look(3_600_000)["ttl"],
            json!({"state": "expires", "words": "expires in 1 h 0 min", "seconds": 3600.0, "at": 4600})
        );
        assert_eq!(look(999_999_000)["pattern"]["verdict"], "too long");
        assert!(!look(-1).to_string().contains("session:bo"), "the key's own name is not repeated");
    }

    #[test]
    fn a_queue_says_how_fast_it_moves_and_when_it_is_empty() {
        let mut service = service();
        service.queues.push(Queue {
            name: "pending".into(),
            key: "godel:queue:pending".into(),
            warn_depth: Some(100),
            crit_depth: Some(1000),
        });
        service.queues.push(Queue {
            name: "dead".into(),
            key: "godel:queue:dead".into(),
            warn_depth: None,
            crit_depth: None,
        });
        let look = json!({"type": "list", "exists": true, "length": 500, "length_before": 550, "seconds": 1.0});
        let seen = derive("queue_rates", &inputs(json!({"queues[pending]": look})), &service, &Map::new()).unwrap();
        let pending = &seen["rows"][0];
        assert_eq!(
            (&pending["per_s"], &pending["drain_s"], &pending["level"], &pending["trend"]),
            (&json!(-50.0), &json!(10.0), &json!("warn"), &json!("draining"))
        );
        assert_eq!(seen["rows"][1]["seen"], false);
    }

    #[test]
    fn databases_say_what_never_expires() {
        let info = json!({"keyspace": {"db0": {"keys": 10, "expires": 4, "avg_ttl": 5000}, "db3": {"keys": 2, "expires": 2, "avg_ttl": 0}}});
        let seen = derive("keyspace_table", &inputs(json!({"info": info})), &service(), &Map::new()).unwrap();
        assert_eq!(
            (&seen["keys"], &seen["no_ttl"], &seen["rows"][0]["db"], &seen["rows"][0]["mean_ttl_s"]),
            (&json!(12), &json!(6), &json!("db0"), &json!(5.0))
        );
    }
}
