//! Settings of a server that people may change from here, each reviewed.
//!
//! What is not in this table is not set, whoever asks: a parameter can take a
//! server down, open it to strangers or make it write where it should not.

use super::{ArgumentKind, ArgumentValue, Risk, values};

/// What a parameter's value may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    /// A whole number within bounds.
    Number(i64, i64),
    /// A number of bytes within bounds, or 0 for no limit.
    Bytes(i64, i64),
    /// One of these words.
    Word(&'static [&'static str]),
}

/// One setting that may be changed.
#[derive(Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its present name.
    pub name: &'static str,
    /// The name older servers know it by.
    pub older: Option<&'static str>,
    /// How much a change asks of the people who allow it.
    pub risk: Risk,
    /// What it does, and what it is mistaken for.
    pub meaning: &'static str,
    of: Type,
}

const POLICIES: &[&str] = &[
    "noeviction",
    "allkeys-lru",
    "allkeys-lfu",
    "allkeys-random",
    "volatile-lru",
    "volatile-lfu",
    "volatile-random",
    "volatile-ttl",
];
const YES_NO: &[&str] = &["yes", "no"];
const MIB: i64 = 1 << 20;

const fn row(name: &'static str, of: Type, risk: Risk, meaning: &'static str) -> Parameter {
    Parameter { name, older: None, risk, meaning, of }
}

const fn renamed(name: &'static str, older: &'static str, of: Type, risk: Risk, meaning: &'static str) -> Parameter {
    Parameter { name, older: Some(older), risk, meaning, of }
}

/// Every setting that may be changed.
pub const PARAMETERS: &[Parameter] = &[
    row("activedefrag", Type::Word(YES_NO), Risk::Medium, "Gives fragmented memory back while serving; costs CPU."),
    row(
        "appendfsync",
        Type::Word(&["always", "everysec", "no"]),
        Risk::High,
        "How much a power cut may lose, against the speed of writes.",
    ),
    row(
        "appendonly",
        Type::Word(YES_NO),
        Risk::High,
        "Whether every write goes to a log on disk. Switching it off leaves snapshots alone to survive a crash; switching it on writes the whole data set once.",
    ),
    renamed(
        "hash-max-listpack-entries",
        "hash-max-ziplist-entries",
        Type::Number(0, 65_536),
        Risk::Medium,
        "Hashes with fewer fields are kept compact. Holds for hashes written from now on.",
    ),
    renamed(
        "hash-max-listpack-value",
        "hash-max-ziplist-value",
        Type::Number(0, 65_536),
        Risk::Medium,
        "Hashes with shorter fields are kept compact. Holds for hashes written from now on.",
    ),
    row(
        "latency-monitor-threshold",
        Type::Number(0, 60_000),
        Risk::Low,
        "Events slower than this many milliseconds are remembered; 0 switches it off.",
    ),
    row(
        "list-compress-depth",
        Type::Number(0, 1_000),
        Risk::Medium,
        "Inner nodes of lists are compressed; costs CPU on every access to the middle.",
    ),
    row(
        "maxclients",
        Type::Number(32, 1_000_000),
        Risk::High,
        "Connections beyond this are refused. It does not close those that are open.",
    ),
    row(
        "maxmemory",
        Type::Bytes(MIB, 16 << 40),
        Risk::High,
        "Above this, keys are evicted or writes refused, as maxmemory-policy says.",
    ),
    row(
        "maxmemory-policy",
        Type::Word(POLICIES),
        Risk::High,
        "What goes when memory is full: allkeys-* may evict any key, volatile-* only those with a TTL, noeviction refuses writes.",
    ),
    row(
        "slowlog-log-slower-than",
        Type::Number(-1, 600_000_000),
        Risk::Low,
        "Commands slower than this many microseconds are kept in the slow log; 0 keeps all, -1 none.",
    ),
    row("slowlog-max-len", Type::Number(1, 100_000), Risk::Low, "How many slow commands are kept."),
    row(
        "tcp-keepalive",
        Type::Number(0, 86_400),
        Risk::Medium,
        "Seconds between probes of silent connections; 0 switches them off.",
    ),
    row(
        "timeout",
        Type::Number(0, 86_400),
        Risk::Medium,
        "Closes clients that are idle for so many seconds; 0 never does. It does not help long operations.",
    ),
];

fn bytes(typed: &str) -> Option<i64> {
    match values::read(&ArgumentKind::Bytes, typed) {
        Ok(ArgumentValue::Integer(bytes)) => Some(bytes),
        _ => None,
    }
}

impl Parameter {
    /// The parameter of that name, old or new, however it is capitalised.
    pub fn find(name: &str) -> Option<&'static Parameter> {
        let is = |known: &str| known.eq_ignore_ascii_case(name);
        PARAMETERS.iter().find(|known| is(known.name) || known.older.is_some_and(is))
    }

    /// The value as the server would tell it: bytes as a number, words in lower case.
    ///
    /// # Errors
    /// Why it does not fit, in words for the one who typed it.
    pub fn read(&self, typed: &str) -> Result<String, String> {
        let number = |min: i64, max: i64, found: Option<i64>| match found {
            Some(found) if (min..=max).contains(&found) => Ok(found.to_string()),
            _ => Err(format!("it must be {}", self.allowed())),
        };
        match self.of {
            Type::Number(min, max) => number(min, max, typed.parse().ok()),
            Type::Bytes(min, max) => match bytes(typed) {
                Some(0) => Ok("0".to_owned()),
                found => number(min, max, found),
            },
            Type::Word(words) => {
                let word = words.iter().find(|word| word.eq_ignore_ascii_case(typed));
                word.map(|word| (*word).to_owned()).ok_or_else(|| format!("it must be {}", self.allowed()))
            }
        }
    }

    /// A value as people read it: bytes with a unit, and as the server tells them.
    pub fn show(&self, value: &str) -> String {
        match (self.of, value.parse::<u64>()) {
            (Type::Bytes(..), Ok(0)) => "0 (no limit)".to_owned(),
            (Type::Bytes(..), Ok(bytes)) => format!("{} ({bytes})", super::show_bytes(bytes)),
            _ => value.to_owned(),
        }
    }

    /// What its value may be, in words.
    pub fn allowed(&self) -> String {
        match self.of {
            Type::Number(min, max) => format!("a whole number from {min} to {max}"),
            Type::Bytes(..) => "0 for no limit, or a size of at least 1mb, such as 512mb or 4gb".to_owned(),
            Type::Word(words) => format!("one of {}", words.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_found_by_either_name_and_others_are_not() {
        assert_eq!(Parameter::find("HASH-MAX-ZIPLIST-ENTRIES").unwrap().name, "hash-max-listpack-entries");
        for dangerous in ["dir", "requirepass", "bind", "protected-mode", "save", "dbfilename", ""] {
            assert!(Parameter::find(dangerous).is_none(), "{dangerous}");
        }
    }

    #[test]
    fn a_value_is_read_as_the_server_tells_it_or_refused_with_what_would_do() {
        let maxmemory = Parameter::find("maxmemory").unwrap();
        assert_eq!(maxmemory.read("512mb").unwrap(), (512 * MIB).to_string());
        for bad in ["lots", "-1", "100"] {
            assert!(maxmemory.read(bad).unwrap_err().contains("at least 1mb"), "{bad}");
        }
        assert_eq!(maxmemory.show("536870912"), "512 MiB (536870912)");
        assert_eq!(maxmemory.show("0"), "0 (no limit)");
        let policy = Parameter::find("maxmemory-policy").unwrap();
        assert_eq!(policy.read("AllKeys-LRU").unwrap(), "allkeys-lru");
        assert!(policy.read("lru").is_err());
        assert!(Parameter::find("timeout").unwrap().read("86401").is_err());
    }
}
