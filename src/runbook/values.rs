//! Words to typed values and back.

use super::{ArgumentKind, ArgumentValue, Predicate};
use crate::model::{parse_bytes, parse_duration, show_duration};

/// The longest key, pattern or name a person may type; Redis allows longer ones.
const LONGEST: usize = 512;

/// Reads a word as the argument's type. Names of commands and of things of a
/// profile are checked where those are known.
///
/// # Errors
///
/// Why it does not fit, as a fragment: `it must be a whole number from 1 to 100`.
pub(super) fn read(kind: &ArgumentKind, word: &str) -> Result<ArgumentValue, String> {
    let text = |limit: usize| {
        if word.is_empty() {
            Err("it may not be empty".to_owned())
        } else if word.chars().count() > limit {
            Err(format!("it may have at most {limit} characters"))
        } else {
            Ok(ArgumentValue::Text(word.to_owned()))
        }
    };
    match kind {
        ArgumentKind::Integer { min, max } => {
            let number: i64 = word.parse().map_err(|_| format!("it must be {}", describe(kind)))?;
            if (*min..=*max).contains(&number) {
                Ok(ArgumentValue::Integer(number))
            } else {
                Err(format!("it must be {}", describe(kind)))
            }
        }
        ArgumentKind::Duration { min, max } => {
            let Some(duration) = parse_duration(word) else {
                // `monitor 10` is what everybody types first.
                return match word.parse::<u64>().ok().and_then(|seconds| parse_duration(&format!("{seconds}s"))) {
                    Some(duration) if (*min..=*max).contains(&duration) => Ok(milliseconds(duration)),
                    _ => Err(format!("it must be {}", describe(kind))),
                };
            };
            if (*min..=*max).contains(&duration) {
                Ok(milliseconds(duration))
            } else {
                Err(format!("it must be {}", describe(kind)))
            }
        }
        ArgumentKind::Bytes => match parse_bytes(word).and_then(|bytes| i64::try_from(bytes).ok()) {
            Some(bytes) => Ok(ArgumentValue::Integer(bytes)),
            None => Err(format!("it must be {}", describe(kind))),
        },
        ArgumentKind::Choice(choices) => {
            let wanted = word.to_lowercase();
            match choices.iter().find(|choice| choice.to_lowercase() == wanted) {
                Some(choice) => Ok(ArgumentValue::Text(choice.clone())),
                None => Err(match super::words::nearest(word, choices.iter().map(String::as_str)) {
                    Some(near) => format!("did you mean `{near}`? It can be {}", choices.join(", ")),
                    None => format!("it can be {}", choices.join(", ")),
                }),
            }
        }
        ArgumentKind::Switch => match word {
            "true" | "yes" | "on" => Ok(ArgumentValue::Switch(true)),
            "false" | "no" | "off" => Ok(ArgumentValue::Switch(false)),
            _ => Err("it is a switch and takes no value".to_owned()),
        },
        // Kept as it is read, so that the same wish is always the same text.
        ArgumentKind::Where => match Predicate::parse(word) {
            Ok(predicate) => Ok(ArgumentValue::Text(predicate.to_string())),
            Err(error) => Err(error.to_string()),
        },
        ArgumentKind::Key | ArgumentKind::Pattern | ArgumentKind::Of(_) | ArgumentKind::Command => text(LONGEST),
        ArgumentKind::Text(limit) => text(*limit),
    }
}

fn milliseconds(duration: std::time::Duration) -> ArgumentValue {
    ArgumentValue::Integer(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
}

/// The value as it would be typed, without quotes.
pub(super) fn show(kind: &ArgumentKind, value: &ArgumentValue) -> String {
    match (kind, value) {
        (ArgumentKind::Duration { .. }, ArgumentValue::Integer(ms)) => {
            // The people's form has two units; a value must not lose its rest on the way.
            let shown = show_duration(std::time::Duration::from_millis(ms.unsigned_abs()));
            let exact = parse_duration(&shown).is_some_and(|back| back.as_millis() == u128::from(ms.unsigned_abs()));
            if exact { shown } else { format!("{ms}ms") }
        }
        (_, ArgumentValue::Integer(number)) => number.to_string(),
        (_, ArgumentValue::Switch(on)) => on.to_string(),
        (_, ArgumentValue::Text(text)) => text.clone(),
    }
}

/// What a value may be, for help and mistakes: `a whole number from 1 to 100`.
pub(super) fn describe(kind: &ArgumentKind) -> String {
    match kind {
        ArgumentKind::Integer { min, max: i64::MAX } => format!("a whole number, at least {min}"),
        ArgumentKind::Integer { min, max } => format!("a whole number from {min} to {max}"),
        ArgumentKind::Duration { min, max } if min.is_zero() => {
            format!("a length of time like 30s, 5m or 2h, at most {}", show_duration(*max))
        }
        ArgumentKind::Duration { min, max } => {
            format!("a length of time like 30s or 5m, from {} to {}", show_duration(*min), show_duration(*max))
        }
        ArgumentKind::Bytes => "a number of bytes like 512, 100mb or 2gb".to_owned(),
        ArgumentKind::Choice(choices) => format!("one of {}", choices.join(", ")),
        ArgumentKind::Switch => "a switch".to_owned(),
        ArgumentKind::Key => "a key's exact name, or a handle the bot gave for one".to_owned(),
        ArgumentKind::Pattern => "a Redis glob like session:*".to_owned(),
        ArgumentKind::Where => "a condition like organisationId=acme or createdAt < now-12h".to_owned(),
        ArgumentKind::Text(limit) => format!("text of at most {limit} characters"),
        ArgumentKind::Command => "a command".to_owned(),
        ArgumentKind::Of(what) => format!("one of the service's {what}"),
    }
}
