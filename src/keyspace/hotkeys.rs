//! Hot keys as the server itself counts them: `HOTKEYS GET` of Redis 8.6 and later.

use serde_json::Value;

/// What one server tracked.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tracked {
    /// Tracking goes on.
    pub active: bool,
    /// When it began, in milliseconds since 1970.
    pub began_ms: i64,
    /// For so long, in milliseconds.
    pub took_ms: u64,
    /// One of so many commands was looked at.
    pub ratio: u64,
    /// Microseconds all commands took meanwhile.
    pub cpu_us: u64,
    /// Bytes all commands moved meanwhile.
    pub net_bytes: u64,
    /// The keys that took or moved most.
    pub keys: Vec<Used>,
}

/// A key that was used much.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Used {
    /// Its name.
    pub name: String,
    /// Microseconds its commands took, where that was tracked.
    pub cpu_us: Option<u64>,
    /// Bytes its commands moved, where that was tracked.
    pub net_bytes: Option<u64>,
    /// Its type, once it was asked for.
    pub kind: Option<String>,
    /// Its bytes, once they were asked for and told.
    pub bytes: Option<u64>,
}

impl Tracked {
    /// Reads the reply: an array of one map, or the map alone; `None` when there is no session, or it is something else.
    pub fn read(reply: &Value) -> Option<Self> {
        let map = match reply {
            Value::Array(list) => match list.as_slice() {
                [one @ (Value::Object(_) | Value::Array(_))] => pairs(one)?,
                _ => pairs(reply)?,
            },
            _ => pairs(reply)?,
        };
        let field = |name: &str| map.iter().find(|(field, _)| field == name).map(|(_, value)| *value);
        let number = |name: &str| field(name).and_then(Value::as_u64);
        let mut tracked = Self {
            active: number("tracking-active")? == 1,
            began_ms: number("collection-start-time-unix-ms").and_then(|ms| i64::try_from(ms).ok()).unwrap_or(0),
            took_ms: number("collection-duration-ms").unwrap_or(0),
            ratio: number("sample-ratio").unwrap_or(1).max(1),
            cpu_us: number("all-commands-all-slots-us").unwrap_or(0),
            net_bytes: number("net-bytes-all-commands-all-slots").unwrap_or(0),
            keys: Vec::new(),
        };
        for (name, count) in list_of(field("by-cpu-time-us")) {
            tracked.key(name).cpu_us = Some(count);
        }
        for (name, count) in list_of(field("by-net-bytes")) {
            tracked.key(name).net_bytes = Some(count);
        }
        Some(tracked)
    }

    fn key(&mut self, name: String) -> &mut Used {
        let at = self.keys.iter().position(|key| key.name == name).unwrap_or_else(|| {
            self.keys.push(Used { name, ..Used::default() });
            self.keys.len() - 1
        });
        &mut self.keys[at]
    }

    /// The share of all time a key's commands took, 0 to 1. Only some commands were looked at when sampling.
    pub fn cpu_share(&self, key: &Used) -> Option<f64> {
        share(key.cpu_us?, self.ratio, self.cpu_us)
    }

    /// The share of all bytes a key's commands moved, 0 to 1.
    pub fn net_share(&self, key: &Used) -> Option<f64> {
        share(key.net_bytes?, self.ratio, self.net_bytes)
    }
}

fn share(part: u64, ratio: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| (part as f64 * ratio as f64 / whole as f64).min(1.0))
}

/// A map's fields, also where it came as a list of names and values in turn.
fn pairs(value: &Value) -> Option<Vec<(String, &Value)>> {
    match value {
        Value::Object(map) => Some(map.iter().map(|(name, value)| (name.clone(), value)).collect()),
        Value::Array(list) if !list.is_empty() && list.len().is_multiple_of(2) => {
            list.chunks(2).map(|pair| Some((pair[0].as_str()?.to_owned(), &pair[1]))).collect()
        }
        _ => None,
    }
}

fn list_of(value: Option<&Value>) -> Vec<(String, u64)> {
    let pairs = value.and_then(pairs).unwrap_or_default();
    pairs.into_iter().filter_map(|(name, count)| Some((name, count.as_u64()?))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_shapes_of_the_reply_say_the_same() {
        let flat = json!([
            "tracking-active",
            0,
            "sample-ratio",
            1,
            "selected-slots",
            [[0, 16383]],
            "all-commands-all-slots-us",
            220,
            "net-bytes-all-commands-all-slots",
            200,
            "collection-start-time-unix-ms",
            1_769_420_604_522_u64,
            "collection-duration-ms",
            6408,
            "by-cpu-time-us",
            ["x", 110, "y", 98],
            "by-net-bytes",
            ["y", 150]
        ]);
        let tracked = Tracked::read(&flat).unwrap();
        assert_eq!(Tracked::read(&json!([flat])), Some(tracked.clone()));
        assert_eq!((tracked.active, tracked.took_ms, tracked.keys.len()), (false, 6408, 2));
        assert_eq!(tracked.cpu_share(&tracked.keys[0]), Some(0.5));
        assert_eq!(tracked.net_share(&tracked.keys[1]), Some(0.75));
        assert_eq!(tracked.net_share(&tracked.keys[0]), None);
    }

    #[test]
    fn no_session_and_nonsense_are_nothing() {
        for reply in [Value::Null, json!([]), json!(["a"]), json!("OK"), json!([[1, 2]]), json!({ "a": 1 })] {
            assert_eq!(Tracked::read(&reply), None, "{reply}");
        }
    }
}
