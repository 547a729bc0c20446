//! `--where`: what must hold of a value for its key to be meant.
//!
//! A small language of its own: `FIELD=VALUE`, `!=`, `<`, `<=`, `>`, `>=`,
//! with `now`, `now-12h` and `now+1d` for times, and `&&` between clauses
//! that must all hold. It is asked of JSON strings and of hashes. Whatever is
//! in doubt does not match: a key is never meant because its value could not
//! be understood.

use std::{borrow::Cow, cmp::Ordering, fmt, time::Duration};

use jiff::{Timestamp, civil, tz::TimeZone};
use serde::de::{Deserializer as _, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

/// A value larger than this is not read; keys that hold one are counted.
pub const LARGEST_VALUE: usize = 256 << 10;
/// More clauses than this are a mistake.
const MOST_CLAUSES: usize = 16;
/// A clause longer than this is a mistake.
const LONGEST_CLAUSE: usize = 512;
/// A path deeper than this is a mistake.
const DEEPEST: usize = 16;
/// Times are 1973 or later: a smaller number, 0 above all, is no time but a number that says "never".
const FIRST_SECONDS: f64 = 1e8;
/// From here on a number is milliseconds: as seconds it would be the year 5138.
const FIRST_MILLISECONDS: f64 = 1e11;
/// From here on it is neither.
const LAST_MILLISECONDS: f64 = 1e14;

/// Clauses that must all hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Predicate {
    clauses: Vec<Clause>,
}

#[derive(Debug, Clone, PartialEq)]
struct Clause {
    path: Vec<String>,
    comparison: Comparison,
    operand: Operand,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    Unequal,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

#[derive(Debug, Clone, PartialEq)]
enum Operand {
    /// Quoted or a plain word.
    Text { text: String, quoted: bool },
    /// A number, with the text it was written as.
    Number(String),
    /// `true`, `false`.
    Switch(bool),
    /// `now` and so many milliseconds.
    Now(i64),
    /// An ISO 8601 time, as written and in milliseconds.
    Time { text: String, ms: i64 },
}

/// What a value said to a predicate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Answer {
    /// Every clause holds.
    Match,
    /// One does not.
    Differs,
    /// A field is not there.
    Missing,
    /// A field is there and cannot be compared with what it was to be compared with.
    NotComparable,
    /// The value is larger than [`LARGEST_VALUE`].
    TooLarge,
    /// The value is neither a JSON object nor a hash.
    NotReadable,
}

/// A clause nobody can carry out, and how it would have to be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}; {next}")]
pub struct NotAPredicate {
    /// What is wrong.
    pub what: String,
    /// What would be right.
    pub next: String,
}

fn wrong<T>(what: impl Into<String>, next: impl Into<String>) -> Result<T, NotAPredicate> {
    Err(NotAPredicate { what: what.into(), next: next.into() })
}

/// Text of somebody's, short enough to be said back to them.
fn cut(text: &str) -> String {
    if text.chars().count() <= 60 { text.to_owned() } else { text.chars().take(60).chain(['…']).collect() }
}

impl Predicate {
    /// Reads `organisationId=acme && createdAt < now-12h`.
    ///
    /// # Errors
    ///
    /// When a clause is none, with what would be right.
    pub fn parse(text: &str) -> Result<Self, NotAPredicate> {
        let parts = split(text)?;
        if parts.len() > MOST_CLAUSES {
            return wrong(
                format!("{} clauses are too many", parts.len()),
                format!("at most {MOST_CLAUSES} may be joined with &&"),
            );
        }
        let clauses = parts.into_iter().map(Clause::parse).collect::<Result<_, _>>()?;
        Ok(Self { clauses })
    }

    /// The fields of a hash that have to be read: the path itself, and every beginning of it, whose value may be JSON.
    pub fn hash_fields(&self) -> Vec<String> {
        let mut fields = Vec::new();
        for clause in &self.clauses {
            for end in (1..=clause.path.len()).rev() {
                let name = clause.path[..end].join(".");
                if !fields.contains(&name) {
                    fields.push(name);
                }
            }
        }
        fields
    }

    /// Does it compare with the moment it is asked at?
    pub fn says_now(&self) -> bool {
        self.clauses.iter().any(|clause| matches!(clause.operand, Operand::Now(_)))
    }

    /// Asks a string that should hold a JSON object. `now_ms` is what `now` means.
    pub fn ask_json(&self, text: &[u8], now_ms: i64) -> Answer {
        if text.len() > LARGEST_VALUE {
            return Answer::TooLarge;
        }
        let Some(found) = Heads::read(self, text) else { return Answer::NotReadable };
        self.ask(now_ms, |clause| found.at(&clause.path).map(Cow::Borrowed))
    }

    /// Asks a hash, of which [`Predicate::hash_fields`] were read; a field that is not there is `None`.
    pub fn ask_hash(&self, fields: &[(&str, Option<&[u8]>)], now_ms: i64) -> Answer {
        if fields.iter().any(|(_, value)| value.is_some_and(|value| value.len() > LARGEST_VALUE)) {
            return Answer::TooLarge;
        }
        let get = |name: &str| fields.iter().find(|(other, _)| *other == name).and_then(|(_, value)| *value);
        self.ask(now_ms, |clause| {
            for end in (1..=clause.path.len()).rev() {
                let Some(value) = get(&clause.path[..end].join(".")) else { continue };
                if end == clause.path.len() {
                    return Some(Cow::Owned(Value::String(String::from_utf8(value.to_vec()).ok()?)));
                }
                let inner: Value = serde_json::from_slice(value).ok()?;
                return walk(&inner, &clause.path[end..]).cloned().map(Cow::Owned);
            }
            None
        })
    }

    /// The first clause that does not hold decides; a doubt weighs more than a difference, so that it is told.
    fn ask<'a>(&self, now_ms: i64, field: impl Fn(&Clause) -> Option<Cow<'a, Value>>) -> Answer {
        let mut answer = Answer::Match;
        for clause in &self.clauses {
            let one = match field(clause) {
                None => Answer::Missing,
                Some(value) => clause.ask(&value, now_ms),
            };
            match one {
                Answer::Match => {}
                // A clause that surely differs settles it, whatever the others lack.
                Answer::Differs => return Answer::Differs,
                doubt if answer == Answer::Match => answer = doubt,
                _ => {}
            }
        }
        answer
    }
}

impl fmt::Display for Predicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, clause) in self.clauses.iter().enumerate() {
            let joined = if index == 0 { "" } else { " && " };
            write!(f, "{joined}{} {} {}", clause.path.join("."), clause.comparison.sign(), clause.operand)?;
        }
        Ok(())
    }
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Operand::Text { text, quoted: true } if text.contains('"') => write!(f, "'{text}'"),
            Operand::Text { text, quoted: true } => write!(f, "\"{text}\""),
            Operand::Text { text, .. } | Operand::Number(text) | Operand::Time { text, .. } => f.write_str(text),
            Operand::Switch(value) => write!(f, "{value}"),
            Operand::Now(0) => f.write_str("now"),
            Operand::Now(ms) => write!(f, "now{}{}", if *ms < 0 { '-' } else { '+' }, duration_text(ms.unsigned_abs())),
        }
    }
}

/// The shortest way to write it: `12h`, `1d12h`.
fn duration_text(mut ms: u64) -> String {
    let mut text = String::new();
    for (unit, size) in UNITS {
        if ms >= size {
            text.push_str(&format!("{}{unit}", ms / size));
            ms %= size;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

const UNITS: [(&str, u64); 6] =
    [("w", 7 * 86_400_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Cuts at `&&` outside quotes.
fn split(text: &str) -> Result<Vec<&str>, NotAPredicate> {
    let (mut parts, mut from, mut quote) = (Vec::new(), 0, None);
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match (quote, bytes[at]) {
            (Some(open), byte) if byte == open => quote = None,
            (Some(_), _) => {}
            // A quote opens a value; one inside a word (`o'neill`) is part of it.
            (None, byte @ (b'"' | b'\'')) if opens_value(&text[from..at]) => quote = Some(byte),
            (None, b'&') if bytes.get(at + 1) == Some(&b'&') => {
                parts.push(&text[from..at]);
                at += 1;
                from = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    if quote.is_some() {
        return wrong(format!("`{}` has a quote that is not closed", cut(text.trim())), "close it, or leave it out");
    }
    parts.push(&text[from..]);
    Ok(parts)
}

fn opens_value(before: &str) -> bool {
    before.trim_end().ends_with(['=', '<', '>'])
}

impl Comparison {
    fn sign(self) -> &'static str {
        match self {
            Comparison::Equal => "=",
            Comparison::Unequal => "!=",
            Comparison::Less => "<",
            Comparison::AtMost => "<=",
            Comparison::Greater => ">",
            Comparison::AtLeast => ">=",
        }
    }

    fn orders(self) -> bool {
        !matches!(self, Comparison::Equal | Comparison::Unequal)
    }

    fn holds(self, order: Ordering) -> Answer {
        let holds = match self {
            Comparison::Equal => order.is_eq(),
            Comparison::Unequal => order.is_ne(),
            Comparison::Less => order.is_lt(),
            Comparison::AtMost => order.is_le(),
            Comparison::Greater => order.is_gt(),
            Comparison::AtLeast => order.is_ge(),
        };
        if holds { Answer::Match } else { Answer::Differs }
    }
}

impl Clause {
    fn parse(text: &str) -> Result<Self, NotAPredicate> {
        const EXAMPLE: &str = "write FIELD=VALUE, or FIELD < now-12h";
        let text = text.trim();
        let shown = cut(text);
        if text.len() > LONGEST_CLAUSE {
            return wrong(format!("`{shown}` is too long"), format!("a clause has at most {LONGEST_CLAUSE} bytes"));
        }
        let Some(at) = text.find(['=', '!', '<', '>']) else {
            return wrong(format!("`{shown}` compares nothing"), EXAMPLE);
        };
        let (field, rest) = text.split_at(at);
        let signs = [
            ("==", Comparison::Equal),
            ("!=", Comparison::Unequal),
            ("<=", Comparison::AtMost),
            (">=", Comparison::AtLeast),
            ("=", Comparison::Equal),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ];
        let Some((sign, comparison)) = signs.into_iter().find(|(sign, _)| rest.starts_with(sign)) else {
            return wrong(format!("`{shown}` has a `!` that is no comparison"), "comparisons are = != < <= > >=");
        };
        let value = rest[sign.len()..].trim();
        let field = field.trim();
        if field.is_empty() {
            return wrong(format!("`{shown}` names no field"), EXAMPLE);
        }
        if value.starts_with(['=', '<', '>', '!']) {
            return wrong(
                format!("`{shown}` has a comparison I do not know"),
                "comparisons are = != < <= > >=; quote a value that begins with one",
            );
        }
        let path: Vec<String> = field.split('.').map(|part| part.trim().to_owned()).collect();
        if path.iter().any(|part| part.is_empty() || part.contains(char::is_whitespace)) || path.len() > DEEPEST {
            return wrong(
                format!("`{}` is not a field", cut(field)),
                "a field is a name, or names joined by dots: `user.id`",
            );
        }
        let operand = Operand::parse(value).map_err(|next| NotAPredicate {
            what: format!("`{}` cannot be compared with", if value.is_empty() { &shown } else { value }),
            next,
        })?;
        // `createdAt < yesterday` would compare letters, and mean nearly everything.
        if comparison.orders() && matches!(operand, Operand::Text { quoted: false, .. } | Operand::Switch(_)) {
            return wrong(
                format!("`{}` is neither a number nor a time, so nothing is before or after it", cut(value)),
                "times are now-12h, 2026-01-31T10:00:00Z, or seconds or milliseconds since 1970; quote it to compare letters",
            );
        }
        Ok(Self { path, comparison, operand })
    }

    fn ask(&self, value: &Value, now_ms: i64) -> Answer {
        let compared = match &self.operand {
            Operand::Now(offset) => time_of(value).map(|ms| ms.cmp(&now_ms.saturating_add(*offset))),
            Operand::Time { text, ms } => match value {
                Value::String(found) if found == text => Some(Ordering::Equal),
                value => time_of(value).map(|found| found.cmp(ms)).or_else(|| self.unequal(value, text)),
            },
            Operand::Switch(wanted) => match value {
                Value::Bool(found) => Some(found.cmp(wanted)),
                value => self.as_text(value, if *wanted { "true" } else { "false" }),
            },
            Operand::Number(wanted) => match value {
                Value::Number(found) => compare_numbers(&found.to_string(), wanted),
                Value::String(found) if is_number(found) => compare_numbers(found, wanted),
                // A time as text, and a number that can only be one.
                Value::String(found) => match (iso(found), number_as_time(wanted)) {
                    (Some(found), Some(wanted)) => Some(found.cmp(&wanted)),
                    _ => self.unequal(value, wanted),
                },
                value => self.unequal(value, wanted),
            },
            Operand::Text { text, .. } => self.as_text(value, text),
        };
        compared.map_or(Answer::NotComparable, |order| self.comparison.holds(order))
    }

    fn as_text(&self, value: &Value, wanted: &str) -> Option<Ordering> {
        match value {
            Value::String(found) => Some(found.as_str().cmp(wanted)),
            value => self.unequal(value, wanted),
        }
    }

    /// Things of different kinds are surely not equal, and neither before nor after each other.
    fn unequal(&self, value: &Value, wanted: &str) -> Option<Ordering> {
        let found = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Bool(value) => value.to_string(),
            _ => return None,
        };
        (!self.comparison.orders()).then(|| found.as_str().cmp(wanted))
    }
}

impl Operand {
    fn parse(value: &str) -> Result<Self, String> {
        if value.is_empty() {
            return Err("write a value after the comparison; the empty text is \"\"".to_owned());
        }
        for quote in ['"', '\''] {
            if let Some(rest) = value.strip_prefix(quote) {
                return match rest.strip_suffix(quote) {
                    Some(text) if !text.contains(quote) => Ok(Operand::Text { text: text.to_owned(), quoted: true }),
                    _ => Err("something follows the closing quote; clauses are joined with &&".to_owned()),
                };
            }
        }
        if value == "true" || value == "false" {
            return Ok(Operand::Switch(value == "true"));
        }
        if let Some(rest) = value.strip_prefix("now")
            && !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_')
        {
            return now(rest.trim()).map(Operand::Now);
        }
        if is_number(value) {
            return Ok(Operand::Number(value.to_owned()));
        }
        match iso(value) {
            Some(ms) => Ok(Operand::Time { text: value.to_owned(), ms }),
            None => Ok(Operand::Text { text: value.to_owned(), quoted: false }),
        }
    }
}

/// What follows `now`: nothing, `-12h`, `+1d12h`.
fn now(rest: &str) -> Result<i64, String> {
    const EXAMPLE: &str = "write now, now-12h or now+1d; units are ms, s, m, h, d, w";
    let (sign, amount) = match rest.as_bytes().first() {
        None => return Ok(0),
        Some(b'-') => (-1, rest[1..].trim()),
        Some(b'+') => (1, rest[1..].trim()),
        Some(_) => return Err(EXAMPLE.to_owned()),
    };
    let amount = duration(amount).ok_or(EXAMPLE)?;
    let ms = i64::try_from(amount.as_millis()).ok().filter(|ms| *ms < LAST_MILLISECONDS as i64);
    ms.map(|ms| sign * ms).ok_or_else(|| "that is longer than there has been time".to_owned())
}

/// `12h`, `1d12h`.
fn duration(text: &str) -> Option<Duration> {
    let (mut rest, mut total) = (text, Duration::ZERO);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (_, size) = UNITS.into_iter().find(|(unit, _)| *unit == &rest[..end])?;
        total = total.checked_add(Duration::from_millis(number.checked_mul(size)?))?;
        rest = &rest[end..];
    }
    Some(total)
}

/// Whether it is a number as one would write it: no exponent, no leading zero, which an id may have.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, part) = digits.split_once('.').map_or((digits, None), |(whole, part)| (whole, Some(part)));
    let all = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    all(whole) && (whole == "0" || !whole.starts_with('0')) && part.is_none_or(all) && text.len() <= 40
}

/// Whole numbers exactly, however long; others as floating point. `None` where that could mistake one id for another.
fn compare_numbers(found: &str, wanted: &str) -> Option<Ordering> {
    if let (Ok(found), Ok(wanted)) = (found.parse::<i128>(), wanted.parse::<i128>()) {
        return Some(found.cmp(&wanted));
    }
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let (found, wanted): (f64, f64) = (found.parse().ok()?, wanted.parse().ok()?);
    if found.abs() >= EXACT && wanted.abs() >= EXACT {
        return None;
    }
    found.partial_cmp(&wanted)
}

/// The time a value is, in milliseconds since 1970.
fn time_of(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number_as_time(&number.to_string()),
        Value::String(text) => number_as_time(text).or_else(|| iso(text)),
        _ => None,
    }
}

fn number_as_time(text: &str) -> Option<i64> {
    let number: f64 = if is_number(text) { text.parse().ok()? } else { return None };
    if (FIRST_SECONDS..FIRST_MILLISECONDS).contains(&number) {
        Some((number * 1_000.0) as i64)
    } else if (FIRST_MILLISECONDS..LAST_MILLISECONDS).contains(&number) {
        Some(number as i64)
    } else {
        None
    }
}

/// ISO 8601, with a zone or without one, which then means UTC.
fn iso(text: &str) -> Option<i64> {
    if !(10..=40).contains(&text.len()) || !text.as_bytes()[0].is_ascii_digit() {
        return None;
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time.as_millisecond());
    }
    let civil: civil::DateTime = text.parse().ok()?;
    Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond())
}

fn walk<'a>(value: &'a Value, path: &[String]) -> Option<&'a Value> {
    let Some(first) = path.first() else { return Some(value) };
    match value {
        Value::Object(map) => {
            // A name that holds a dot is one name, where there is such a one.
            if path.len() > 1
                && let Some(found) = map.get(&path.join("."))
            {
                return Some(found);
            }
            walk(map.get(first)?, &path[1..])
        }
        Value::Array(items) => walk(items.get(first.parse::<usize>().ok()?)?, &path[1..]),
        _ => None,
    }
}

/// The fields of a JSON object that a predicate asks for; the others are passed over.
struct Heads<'p> {
    predicate: &'p Predicate,
    found: Vec<(String, Value)>,
}

impl<'p> Heads<'p> {
    fn read(predicate: &'p Predicate, text: &[u8]) -> Option<Self> {
        let mut json = serde_json::Deserializer::from_slice(text);
        let found = json.deserialize_map(Heads { predicate, found: Vec::new() }).ok()?;
        // Something behind the object: it is not JSON.
        json.end().ok()?;
        Some(found)
    }

    fn wants(&self, name: &str) -> bool {
        self.predicate.clauses.iter().any(|clause| clause.path[0] == name || clause.path.join(".") == name)
    }

    fn at(&self, path: &[String]) -> Option<&Value> {
        // Of a name that stands twice the last counts, as most programs have it.
        let get = |name: &str| self.found.iter().rev().find(|(other, _)| other == name).map(|(_, value)| value);
        match path {
            [only] => get(only),
            [first, rest @ ..] => get(&path.join(".")).or_else(|| walk(get(first)?, rest)),
            [] => None,
        }
    }
}

impl<'de> Visitor<'de> for Heads<'_> {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self, A::Error> {
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            if self.wants(&name) {
                let value = map.next_value()?;
                self.found.push((name.into_owned(), value));
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 2026-01-02T03:04:05Z.
    const NOW: i64 = 1_767_323_045_000;

    fn ask(clause: &str, json: &str) -> Answer {
        Predicate::parse(clause).unwrap_or_else(|error| panic!("{clause}: {error}")).ask_json(json.as_bytes(), NOW)
    }

    #[test]
    fn a_value_matches_when_every_clause_holds() {
        for (clause, json, expected) in [
            ("org=acme", r#"{"org":"acme","x":1}"#, Answer::Match),
            ("org = acme", r#"{"org":"acme corp"}"#, Answer::Differs),
            ("org='acme corp'", r#"{"org":"acme corp"}"#, Answer::Match),
            ("org=acme corp", r#"{"org":"acme corp"}"#, Answer::Match),
            ("org=o'neill && n=1", r#"{"org":"o'neill","n":1}"#, Answer::Match),
            ("org!=acme", r#"{"org":"other"}"#, Answer::Match),
            ("org!=acme", r#"{"org":7}"#, Answer::Match),
            ("org!=acme", r#"{"org":null}"#, Answer::NotComparable),
            ("org!=acme", "{}", Answer::Missing),
            ("org=acme", r#"{"org":["acme"]}"#, Answer::NotComparable),
            ("n=7", r#"{"n":7.0}"#, Answer::Match),
            ("n=7", r#"{"n":"7"}"#, Answer::Match),
            ("n>=7 && n<8", r#"{"n":7.5}"#, Answer::Match),
            ("n>7", r#"{"n":"seven"}"#, Answer::NotComparable),
            ("zip=007", r#"{"zip":"007"}"#, Answer::Match),
            ("zip=007", r#"{"zip":7}"#, Answer::Differs),
            ("on=true", r#"{"on":true}"#, Answer::Match),
            ("on=true", r#"{"on":"true"}"#, Answer::Match),
            ("on!=true", r#"{"on":false}"#, Answer::Match),
            ("a.b=1", r#"{"a":{"b":1}}"#, Answer::Match),
            ("a.b=1", r#"{"a.b":1,"a":{"b":2}}"#, Answer::Match),
            ("a.1.c=x", r#"{"a":[{},{"c":"x"}]}"#, Answer::Match),
            ("a.b=1", r#"{"a":5}"#, Answer::Missing),
            ("s<\"m\"", r#"{"s":"abc"}"#, Answer::Match),
            ("s=\"a && b\"", r#"{"s":"a && b"}"#, Answer::Match),
            ("x=1 && y=2", r#"{"x":9}"#, Answer::Differs),
            ("x=1 && y=2", r#"{"x":1}"#, Answer::Missing),
        ] {
            assert_eq!(ask(clause, json), expected, "{clause} of {json}");
        }
    }

    #[test]
    fn times_are_milliseconds_seconds_or_iso_on_either_side() {
        let before = [
            r#"{"t":1767000000000}"#,
            r#"{"t":1767000000}"#,
            r#"{"t":1767000000.5}"#,
            r#"{"t":"1767000000"}"#,
            r#"{"t":"2026-01-01T00:00:00Z"}"#,
            r#"{"t":"2026-01-01T00:00:00.123+02:00"}"#,
            r#"{"t":"2026-01-01"}"#,
            r#"{"t":"2026-01-01 12:00:00"}"#,
        ];
        for json in before {
            for clause in ["t < now-12h", "t<=now - 12h", "t < 2026-01-02", "t < 2026-01-02T03:04:05Z"] {
                assert_eq!(ask(clause, json), Answer::Match, "{clause} of {json}");
            }
            assert_eq!(ask("t > now-12h", json), Answer::Differs, "{json}");
            assert_eq!(ask("t < now-1w", json), Answer::Differs, "{json}");
        }
        assert_eq!(ask("t < 1767300000000", r#"{"t":"2026-01-01T00:00:00Z"}"#), Answer::Match);
        assert_eq!(ask("t < now+1h", r#"{"t":"2026-01-02T03:30:00Z"}"#), Answer::Match);
        assert_eq!(ask("t=2026-01-01", r#"{"t":"2026-01-01"}"#), Answer::Match);
    }

    #[test]
    fn what_is_no_time_is_not_older_than_anything() {
        for json in [
            r#"{"t":0}"#,
            r#"{"t":-1}"#,
            r#"{"t":12}"#,
            r#"{"t":""}"#,
            r#"{"t":"never"}"#,
            r#"{"t":1e300}"#,
            r#"{"t":true}"#,
        ] {
            assert_eq!(ask("t < now-12h", json), Answer::NotComparable, "{json}");
        }
    }

    #[test]
    fn long_ids_are_not_mistaken_for_their_neighbours() {
        assert_eq!(ask("id=9007199254740993", r#"{"id":9007199254740993}"#), Answer::Match);
        assert_eq!(ask("id=9007199254740993", r#"{"id":9007199254740992}"#), Answer::Differs);
        assert_eq!(ask("id=9007199254740993", r#"{"id":"9007199254740992"}"#), Answer::Differs);
        assert_eq!(ask("id=99999999999999999999999", r#"{"id":99999999999999999999998}"#), Answer::NotComparable);
    }

    #[test]
    fn what_cannot_be_read_does_not_match() {
        assert_eq!(ask("a=1", "not json"), Answer::NotReadable);
        assert_eq!(ask("a=1", "[1]"), Answer::NotReadable);
        assert_eq!(ask("a=1", r#"{"a":1} trailing"#), Answer::NotReadable);
        let large = format!(r#"{{"a":1,"b":"{}"}}"#, "x".repeat(LARGEST_VALUE));
        assert_eq!(ask("a=1", &large), Answer::TooLarge);
        let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(5_000), "]".repeat(5_000));
        assert_eq!(ask("a=1", &deep), Answer::NotReadable);
    }

    #[test]
    fn hashes_are_asked_by_field_and_by_json_within_a_field() {
        let predicate = Predicate::parse("createdAt < now-12h && user.org=acme").unwrap();
        assert_eq!(predicate.hash_fields(), ["createdAt", "user.org", "user"]);
        let old = Some(&b"1767000000"[..]);
        let ask = |user: Option<&[u8]>, direct: Option<&[u8]>| {
            predicate.ask_hash(&[("createdAt", old), ("user.org", direct), ("user", user)], NOW)
        };
        assert_eq!(ask(None, Some(b"acme")), Answer::Match);
        assert_eq!(ask(Some(br#"{"org":"acme"}"#), None), Answer::Match);
        assert_eq!(ask(Some(b"no json"), None), Answer::Missing);
        assert_eq!(ask(None, None), Answer::Missing);
        assert_eq!(ask(None, Some(&[0xff, 0xfe])), Answer::Missing);
    }

    #[test]
    fn mistakes_are_said_with_what_would_be_right() {
        for (clause, what) in [
            ("org", "compares nothing"),
            ("=acme", "names no field"),
            ("org=", "empty text"),
            ("org!acme", "no comparison"),
            ("org=>3", "comparison I do not know"),
            ("t < yesterday", "neither a number nor a time"),
            ("t < now-12", "now-12h"),
            ("t < now-12x", "units are"),
            ("t < now 12h", "now-12h"),
            ("t < 2026-13-45", "neither a number nor a time"),
            ("t < true", "neither a number nor a time"),
            ("t=\"a", "not closed"),
            ("t=\"a\"b", "closing quote"),
            ("a..b=1", "not a field"),
            ("a b=1", "not a field"),
            ("a=1 && ", "compares nothing"),
            ("", "compares nothing"),
        ] {
            let error = Predicate::parse(clause).expect_err(clause).to_string();
            assert!(error.contains(what), "{clause}: {error}");
        }
        assert!(Predicate::parse(&"a=1 && ".repeat(40)).is_err());
        assert!(Predicate::parse(&format!("a={}", "x".repeat(600))).is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_out_is_read_back_the_same(
            fields in prop::collection::vec(("[a-zA-Z_]{1,8}(\\.[a-z]{1,4}){0,2}", 0_usize..6, 0_usize..5, "[a-z]{1,6}", any::<i32>(), 0_u64..1_000_000_000), 1..5)
        ) {
            let signs = ["=", "!=", "<", "<=", ">", ">="];
            let clauses: Vec<String> = fields.iter().map(|(field, sign, kind, word, number, ms)| {
                let value = match kind {
                    0 => format!("\"{word} && {word}\""),
                    1 => number.to_string(),
                    2 => format!("now-{ms}ms"),
                    3 => "2026-01-02T03:04:05Z".to_owned(),
                    _ => "now".to_owned(),
                };
                format!("{field}{}{value}", signs[*sign])
            }).collect();
            let predicate = Predicate::parse(&clauses.join("&&")).unwrap();
            let again = Predicate::parse(&predicate.to_string()).unwrap();
            prop_assert_eq!(again, predicate);
        }

        #[test]
        fn no_text_makes_it_panic(clause in ".{0,80}", json in ".{0,80}") {
            if let Ok(predicate) = Predicate::parse(&clause) {
                let _ = predicate.ask_json(json.as_bytes(), NOW);
                let fields = predicate.hash_fields();
                let given: Vec<(&str, Option<&[u8]>)> = fields.iter().map(|name| (name.as_str(), Some(json.as_bytes()))).collect();
                let _ = predicate.ask_hash(&given, NOW);
            }
        }

        #[test]
        fn a_hash_and_a_json_object_of_the_same_texts_answer_alike(
            value in prop_oneof!["[a-z]{0,5}", "-?[0-9]{1,18}", "20[0-9]{2}-0[1-9]-1[0-9]", "true"],
            operand in prop_oneof!["[a-z]{1,5}", "-?[0-9]{1,18}", Just("now-12h".to_owned()), "20[0-9]{2}-0[1-9]-1[0-9]", Just("true".to_owned())],
            sign in prop::sample::select(vec!["=", "!=", "<", "<=", ">", ">="]),
        ) {
            if let Ok(predicate) = Predicate::parse(&format!("f{sign}{operand}")) {
                let json = serde_json::json!({ "f": value }).to_string();
                let answer = predicate.ask_json(json.as_bytes(), NOW);
                prop_assert_eq!(answer, predicate.ask_hash(&[("f", Some(value.as_bytes()))], NOW));
            }
        }

        #[test]
        fn before_and_not_before_are_never_both_true(value in any::<i64>(), operand in any::<i64>()) {
            let json = format!(r#"{{"f":{value}}}"#);
            let holds = |sign: &str| ask(&format!("f{sign}{operand}"), &json) == Answer::Match;
            prop_assert!(holds("<") != holds(">="));
            prop_assert!(holds(">") != holds("<="));
            prop_assert!(holds("=") != holds("!="));
            prop_assert_eq!(holds("="), value == operand);
        }
    }
}
