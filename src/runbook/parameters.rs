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
    /// A number of bytes within bounds.
    Size(i64, i64),
    /// One of these words.
    Word(&'static [&'static str]),
    /// Pairs of seconds and changes, or none.
    Saves,
    /// Hard limit, soft limit and seconds, for each class of clients.
    Buffers,
    /// Letters, each a kind of event, or none.
    Events,
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
const KIB: i64 = 1 << 10;
const GIB: i64 = 1 << 30;

/// Classes of clients, as people call them and as servers tell them.
const CLASSES: &[(&str, &str)] = &[("normal", "normal"), ("replica", "slave"), ("pubsub", "pubsub")];

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
    row(
        "auto-aof-rewrite-min-size",
        Type::Size(KIB, 1 << 40),
        Risk::Medium,
        "The append-only file is not rewritten by itself while it is smaller.",
    ),
    row(
        "auto-aof-rewrite-percentage",
        Type::Number(0, 1_000),
        Risk::Medium,
        "How far the append-only file may grow over what it was after its last rewrite before it is rewritten; 0 never rewrites it.",
    ),
    row(
        "client-output-buffer-limit",
        Type::Buffers,
        Risk::Medium,
        "How much may wait to be read by a client before it is cut: a hard limit, a soft one, and how many seconds above the soft one are borne; 0 is no limit. Each class (normal, replica, pubsub) has its own. Too low for replicas, and they are cut while they copy and begin anew.",
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
        "hz",
        Type::Number(1, 500),
        Risk::Medium,
        "How often a second the server does its own work, such as expiring keys and closing idle clients; higher costs CPU while idle.",
    ),
    row(
        "latency-monitor-threshold",
        Type::Number(0, 60_000),
        Risk::Low,
        "Events slower than this many milliseconds are remembered; 0 switches it off.",
    ),
    row(
        "lazyfree-lazy-eviction",
        Type::Word(YES_NO),
        Risk::Medium,
        "Whether evicted values are freed in the background. Memory then goes down a moment later than keys do.",
    ),
    row(
        "lazyfree-lazy-expire",
        Type::Word(YES_NO),
        Risk::Medium,
        "Whether expired values are freed in the background, so that a large one holds nobody up.",
    ),
    row(
        "lazyfree-lazy-server-del",
        Type::Word(YES_NO),
        Risk::Medium,
        "Whether values that RENAME and the like replace are freed in the background.",
    ),
    row(
        "lazyfree-lazy-user-del",
        Type::Word(YES_NO),
        Risk::Medium,
        "Whether DEL works as UNLINK does, in the background.",
    ),
    row(
        "lazyfree-lazy-user-flush",
        Type::Word(YES_NO),
        Risk::Medium,
        "Whether FLUSHDB and FLUSHALL free in the background where they do not say.",
    ),
    row(
        "lfu-decay-time",
        Type::Number(0, 65_535),
        Risk::Medium,
        "Minutes after which a key counts as used less often, for allkeys-lfu and volatile-lfu.",
    ),
    row(
        "lfu-log-factor",
        Type::Number(0, 255),
        Risk::Medium,
        "How many uses it takes until a key counts as used very often, for allkeys-lfu and volatile-lfu; higher tells busy keys apart better.",
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
        "What goes when memory is full. allkeys-* may evict any key: for a cache whose keys can all be made again. volatile-* evicts only keys with a TTL: for data and cache side by side; where no key has one it refuses writes, as noeviction does. lru drops what was not used for longest, lfu what is used least often.",
    ),
    row(
        "maxmemory-samples",
        Type::Number(1, 64),
        Risk::Medium,
        "How many keys are compared for each that is evicted: more finds better ones and costs CPU while memory is full. 5 is usual, 10 comes close to the best choice.",
    ),
    renamed(
        "min-replicas-max-lag",
        "min-slaves-max-lag",
        Type::Number(0, 3_600),
        Risk::High,
        "Seconds since a replica was last heard of after which it no longer counts for min-replicas-to-write; 0 lets writes through however few there are.",
    ),
    renamed(
        "min-replicas-to-write",
        "min-slaves-to-write",
        Type::Number(0, 64),
        Risk::High,
        "With fewer good replicas than this, every write is refused (NOREPLICAS); 0 switches it off.",
    ),
    row(
        "notify-keyspace-events",
        Type::Events,
        Risk::Medium,
        "Which events of keys are told to subscribers: K by key, E by event; x expired, e evicted, g generic, A all. Every event costs CPU and, where subscribers are slow, their output buffers' memory. Who waits for `__keyevent@0__:expired` hears nothing without Ex. none tells nothing.",
    ),
    row(
        "repl-backlog-size",
        Type::Size(16 * KIB, 64 * GIB),
        Risk::Medium,
        "How much of the stream of writes is kept for replicas that were away. One that missed more copies everything anew. Before Redis 7.0 a change empties it.",
    ),
    row(
        "save",
        Type::Saves,
        Risk::Medium,
        "When a snapshot is written by itself: pairs of seconds and changes, such as 60 1000 for a minute in which a thousand keys changed. none leaves it to people and to the append-only file. A file is written by a fork, which takes memory while writes go on.",
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

    /// The value as the server would tell it: bytes as numbers, words in lower case.
    /// Of a setting with parts, those that were named.
    ///
    /// # Errors
    /// Why it does not fit, in words for the one who typed it.
    pub fn read(&self, typed: &str) -> Result<String, String> {
        let wrong = || format!("it must be {}", self.allowed());
        let number = |min: i64, max: i64, found: Option<i64>| match found {
            Some(found) if (min..=max).contains(&found) => Ok(found.to_string()),
            _ => Err(wrong()),
        };
        match self.of {
            Type::Number(min, max) => number(min, max, typed.parse().ok()),
            Type::Bytes(min, max) => match bytes(typed) {
                Some(0) => Ok("0".to_owned()),
                found => number(min, max, found),
            },
            Type::Size(min, max) => number(min, max, bytes(typed)),
            Type::Word(words) => {
                let word = words.iter().find(|word| word.eq_ignore_ascii_case(typed));
                word.map(|word| (*word).to_owned()).ok_or_else(wrong)
            }
            Type::Saves => saves(typed).ok_or_else(wrong),
            Type::Events => events(typed).ok_or_else(wrong),
            Type::Buffers => {
                let classes = buffers(typed).ok_or_else(wrong)?;
                Ok(classes.iter().map(Class::told).collect::<Vec<_>>().join(" "))
            }
        }
    }

    /// A value as people read it: bytes with a unit, and as the server tells them.
    pub fn show(&self, value: &str) -> String {
        match (self.of, value.parse::<u64>()) {
            (Type::Bytes(..), Ok(0)) => "0 (no limit)".to_owned(),
            (Type::Bytes(..) | Type::Size(..), Ok(bytes)) => format!("{} ({bytes})", super::show_bytes(bytes)),
            _ if value.is_empty() => "none".to_owned(),
            _ => value.to_owned(),
        }
    }

    /// The value the server would hold when `typed` is put over `old`: of a
    /// setting with parts, those that were not named stay as they are.
    ///
    /// # Errors
    /// As for [`Parameter::read`].
    pub fn over(&self, typed: &str, old: &str) -> Result<String, String> {
        if self.of != Type::Buffers {
            return self.read(typed);
        }
        let wrong = || format!("it must be {}", self.allowed());
        let wanted = buffers(typed).ok_or_else(wrong)?;
        let words: Vec<&str> = old.split_whitespace().collect();
        let whole = words.chunks(4).map(|class| match wanted.iter().find(|wanted| wanted.is(class[0])) {
            // The server's own name for the class, which versions differ in.
            Some(wanted) => Class { name: class[0], ..*wanted }.told(),
            None => class.join(" "),
        });
        Ok(whole.collect::<Vec<_>>().join(" "))
    }

    /// How much a change between these values asks of the people who allow it.
    pub fn risk_of(&self, old: &str, new: &str) -> Risk {
        let raised = match self.of {
            // Without snapshots, what is in memory is lost with the process.
            Type::Saves => new.is_empty() && !old.is_empty(),
            // Replicas that are cut copy everything anew.
            Type::Buffers => {
                let [old, new] = [old, new].map(|told| buffers(told).unwrap_or_default());
                new.iter().any(|class| class.is("replica") && !old.contains(class))
            }
            _ => false,
        };
        if raised { self.risk.max(Risk::High) } else { self.risk }
    }

    /// Old and new value as people compare them: of a setting with parts, those that differ.
    pub fn compared(&self, old: &str, new: &str) -> (String, String) {
        if self.of == Type::Buffers
            && let (Some(before), Some(after)) = (buffers(old), buffers(new))
        {
            let differ = |these: &[Class<'_>], others: &[Class<'_>]| {
                let only = these.iter().filter(|class| !others.contains(class));
                only.map(Class::told).collect::<Vec<_>>().join(", ")
            };
            return (differ(&before, &after), differ(&after, &before));
        }
        (self.show(old), self.show(new))
    }

    /// Are these two the same to a server? Some tell letters in another order than they were given.
    pub fn same(&self, one: &str, other: &str) -> bool {
        one == other || (self.of == Type::Events && events(one).is_some() && events(one) == events(other))
    }

    /// What its value may be, in words.
    pub fn allowed(&self) -> String {
        let size = |bytes: i64| super::show_bytes(bytes.unsigned_abs());
        match self.of {
            Type::Number(min, max) => format!("a whole number from {min} to {max}"),
            Type::Bytes(..) => "0 for no limit, or a size of at least 1mb, such as 512mb or 4gb".to_owned(),
            Type::Size(min, max) => format!("a size from {} to {}, such as 64mb", size(min), size(max)),
            Type::Word(words) => format!("one of {}", words.join(", ")),
            Type::Events => {
                "letters for kinds of events with K or E or both, such as KEA or Ex, or none".to_owned()
            }
            Type::Saves => "pairs of seconds and changes, such as \"60 1000\" or \"900 1 60 1000\", or none".to_owned(),
            Type::Buffers => {
                "a class (normal, replica, pubsub), a hard limit, a soft limit of at most that, and seconds, such as \"pubsub 64mb 16mb 60\"; limits are 0 for none, or at least 1mb".to_owned()
            }
        }
    }
}

/// The kinds of events, in the order in which servers tell them.
const EVENTS: &str = "AKEg$lshzxetdm";
/// Those that `A` stands for.
const ALL_EVENTS: &str = "g$lshzxetd";

/// Kinds of events as the server tells them; none is the empty text.
fn events(typed: &str) -> Option<String> {
    if ["", "none", "off", "\"\""].iter().any(|none| none.eq_ignore_ascii_case(typed.trim())) {
        return Some(String::new());
    }
    if !typed.chars().all(|letter| EVENTS.contains(letter)) {
        return None;
    }
    let all = typed.contains('A') || ALL_EVENTS.chars().all(|letter| typed.contains(letter));
    let kinds: String =
        if all { "A".to_owned() } else { ALL_EVENTS.chars().filter(|letter| typed.contains(*letter)).collect() };
    let besides: String = "KEm".chars().filter(|letter| typed.contains(*letter)).collect();
    // Without K or E nothing is told, and without a kind there is nothing to tell.
    let where_to = besides.contains(['K', 'E']);
    let what = !kinds.is_empty() || besides.contains('m');
    (where_to && what).then(|| format!("{kinds}{besides}"))
}

/// Pairs of seconds and changes; none is the empty text.
fn saves(typed: &str) -> Option<String> {
    if ["", "none", "off", "\"\""].iter().any(|none| none.eq_ignore_ascii_case(typed.trim())) {
        return Some(String::new());
    }
    let numbers: Vec<u32> = typed.split_whitespace().map(|word| word.parse().ok()).collect::<Option<_>>()?;
    let fits = |pair: &[u32]| matches!(pair, [1..=31_536_000, 1..=1_000_000_000]);
    let good = numbers.len() <= 16 && numbers.len().is_multiple_of(2) && numbers.chunks(2).all(fits);
    good.then(|| numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(" "))
}

/// The limits of one class of clients.
#[derive(Debug, Clone, Copy)]
struct Class<'a> {
    name: &'a str,
    hard: i64,
    soft: i64,
    seconds: i64,
}

impl PartialEq for Class<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.is(other.name) && (self.hard, self.soft, self.seconds) == (other.hard, other.soft, other.seconds)
    }
}

impl Class<'_> {
    /// Is it the class of that name? `replica` and `slave` are one.
    fn is(&self, name: &str) -> bool {
        let one = |name: &str| {
            CLASSES.iter().find(|(ours, told)| [ours, told].iter().any(|known| known.eq_ignore_ascii_case(name)))
        };
        one(self.name).is_some() && one(self.name) == one(name)
    }

    fn told(&self) -> String {
        format!("{} {} {} {}", self.name, self.hard, self.soft, self.seconds)
    }
}

/// One or more classes with their limits.
fn buffers(typed: &str) -> Option<Vec<Class<'_>>> {
    let words: Vec<&str> = typed.split_whitespace().collect();
    let limit = |word: &str| bytes(word).filter(|&bytes| bytes == 0 || (MIB..=16 << 40).contains(&bytes));
    let mut classes: Vec<Class<'_>> = Vec::new();
    for four in words.chunks(4) {
        let &[name, hard, soft, seconds] = four else { return None };
        let class = Class {
            name: CLASSES
                .iter()
                .flat_map(|(ours, told)| [*ours, *told])
                .find(|known| known.eq_ignore_ascii_case(name))?,
            hard: limit(hard)?,
            soft: limit(soft)?,
            seconds: seconds.parse().ok().filter(|seconds| (0..=86_400).contains(seconds))?,
        };
        if (class.hard > 0 && class.soft > class.hard) || classes.iter().any(|known| known.is(name)) {
            return None;
        }
        classes.push(class);
    }
    (!classes.is_empty()).then_some(classes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_found_by_either_name_and_others_are_not() {
        assert_eq!(Parameter::find("HASH-MAX-ZIPLIST-ENTRIES").unwrap().name, "hash-max-listpack-entries");
        for dangerous in ["dir", "requirepass", "bind", "protected-mode", "dbfilename", "enable-debug-command", ""] {
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

    #[test]
    fn names_stand_in_order_and_once_and_every_row_says_what_it_does() {
        let names: Vec<&str> = PARAMETERS.iter().map(|parameter| parameter.name).collect();
        assert!(names.windows(2).all(|two| two[0] < two[1]), "{names:?}");
        assert!(PARAMETERS.iter().all(|parameter| parameter.meaning.ends_with('.') && parameter.meaning.len() > 30));
    }

    #[test]
    fn snapshots_are_pairs_and_switching_them_off_is_high_risk() {
        let save = Parameter::find("save").unwrap();
        assert_eq!(save.read("60  1000").unwrap(), "60 1000");
        assert_eq!(save.read("none").unwrap(), "");
        for bad in ["60", "60 0", "0 10", "60 ten", "60 1000 9"] {
            assert!(save.read(bad).unwrap_err().contains("pairs of seconds and changes"), "{bad}");
        }
        assert_eq!(save.risk_of("60 1000", ""), Risk::High);
        assert_eq!(save.risk_of("", "60 1000"), Risk::Medium);
        assert_eq!(save.compared("60 1000", ""), ("60 1000".to_owned(), "none".to_owned()));
    }

    #[test]
    fn one_class_of_buffers_is_put_over_the_others() {
        let limits = Parameter::find("client-output-buffer-limit").unwrap();
        let told = "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60";
        let new = limits.over("pubsub 64mb 16mb 30", told).unwrap();
        assert_eq!(new, "normal 0 0 0 slave 268435456 67108864 60 pubsub 67108864 16777216 30");
        assert_eq!(
            limits.compared(told, &new),
            ("pubsub 33554432 8388608 60".into(), "pubsub 67108864 16777216 30".into())
        );
        assert_eq!(limits.over(told, &new).unwrap(), told, "the whole of it goes back");
        assert_eq!(limits.risk_of(told, &new), Risk::Medium);
        let replicas = limits.over("replica 512mb 0 0", told).unwrap();
        assert!(replicas.contains("slave 536870912 0 0"), "the server's own word stays: {replicas}");
        assert_eq!(limits.risk_of(told, &replicas), Risk::High);
        for bad in [
            "64mb 16mb 60",
            "pubsub 64mb 16mb",
            "pubsub 16mb 64mb 60",
            "other 0 0 0",
            "pubsub 0 0 0 pubsub 0 0 0",
            "pubsub 10 0 0",
            "",
        ] {
            assert!(limits.read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn kinds_of_events_are_told_as_servers_tell_them() {
        let events = Parameter::find("notify-keyspace-events").unwrap();
        for (typed, told) in
            [("KEA", "AKE"), ("Ex", "xE"), ("xE", "xE"), ("none", ""), ("", ""), ("Kg$lshzxetd", "AK"), ("Km", "Km")]
        {
            assert_eq!(events.read(typed).as_deref(), Ok(told), "{typed}");
        }
        for wrong in ["x", "K", "KEq", "K E x"] {
            assert!(events.read(wrong).is_err(), "{wrong}");
        }
        assert!(events.same("AKE", "KEA") && !events.same("AKE", "AK") && events.same("", ""));
    }
}
