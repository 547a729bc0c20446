//! What is told of a keyspace: one document, whether it comes from a sample, a walk or a file.
//!
//! Its fields are flat and named for the conditions of command files. Names of
//! keys are as people may see them: prefixes as they are, a handle for the rest.

use std::{
    cmp::{Ordering, Reverse},
    collections::HashSet,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{
    Aim, Ask, Estimate, Figure, Hot, Kind, Outcome, Sample, Tally, Ttl,
    hotkeys::{Tracked, Used},
    pace::Found,
    prefix::{self, Branch, Prefixes, Sums},
    server::Server,
    survey::SCAN,
    tally::LIFETIMES,
    top::Named,
};
use crate::{diagnosis::redact, model::shown_bytes};

/// The version of the document.
pub const VERSION: u32 = 1;
/// Prefixes of a report, where nobody wants more or fewer.
pub(super) const PREFIXES: usize = 12;
/// What no other row is about.
const OTHERS: &str = "(others)";
/// Of each type so many are named before the rest of any: the first of all of them are on one screen.
const OF_EACH_KIND: usize = 3;
/// Branches with less than this share of keys and bytes are not in the tree.
const TREE_SHARE: f64 = 0.005;
/// Branches of the tree at most.
const BRANCHES: usize = 150;
/// Groups of a report at most.
const GROUPS: usize = 20;
/// Names on one page.
pub const PAGE: usize = 15;

/// How a report was come by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// From random samples; every figure has an interval.
    Sample,
    /// Every key was counted.
    Exact,
    /// The walk was stopped; what was counted is told.
    Partial,
    /// The server was too busy; nothing was asked of its keys.
    LeftAlone,
    /// The server counted by itself; no key was asked.
    Tracked,
    /// The server does not let us list its keys; what INFO says is told.
    Denied,
}

/// The document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Of the document.
    pub version: u32,
    /// `bigkeys`, `memkeys` …
    pub survey: String,
    /// How it was come by.
    pub method: Method,
    /// Every key was counted.
    pub exact: bool,
    /// The pattern keys had to match.
    pub pattern: Option<String>,
    /// Keys of the database, whether they match or not.
    pub dbsize: u64,
    /// Names sampled or counted.
    pub seen: u64,
    /// A better answer follows.
    #[serde(default)]
    pub goes_on: bool,
    /// Keys of those seen that our user may not ask about; they are in no figure.
    #[serde(default)]
    pub barred: u64,
    /// What the servers would not tell.
    #[serde(default)]
    pub denied: Option<Denied>,
    /// The part of the walk that is done, 0 to 1.
    pub done: f64,
    /// Matching keys.
    pub keys: f64,
    /// At least.
    pub keys_low: f64,
    /// At most.
    pub keys_high: f64,
    /// Bytes were asked.
    pub weighed: bool,
    /// Their bytes.
    pub bytes: f64,
    /// At least.
    pub bytes_low: f64,
    /// At most.
    pub bytes_high: f64,
    /// Half the interval over the value; 0 when counted.
    pub bytes_error: f64,
    /// Bytes per key.
    pub average: f64,
    /// Lifetimes were asked.
    pub timed: bool,
    /// Keys without TTL.
    pub endless_keys: f64,
    /// At least.
    pub endless_keys_low: f64,
    /// At most.
    pub endless_keys_high: f64,
    /// Their bytes.
    pub endless_bytes: f64,
    /// Their share of the keys, 0 to 1.
    pub endless_share: f64,
    /// Bytes that INFO knows of and no sampled key accounts for: huge keys.
    pub huge_bytes: Option<f64>,
    /// By type.
    pub kinds: Vec<KindRow>,
    /// The few prefixes that say most; together they are everything.
    pub prefixes: Vec<PrefixRow>,
    /// The one of them that holds most and has something below it.
    #[serde(default)]
    pub opens: Option<String>,
    /// The tree of prefixes.
    pub tree: Vec<PrefixRow>,
    /// The characters that part names.
    pub separators: String,
    /// Keys and bytes by time left; keys without TTL first.
    pub lifetimes: Vec<LifetimeRow>,
    /// The largest keys by bytes, over all types.
    pub largest: Vec<KeyRow>,
    /// The largest of each type by bytes: the first few of every type, then the rest of each.
    pub largest_by_kind: Vec<KeyRow>,
    /// The longest by elements, over the types that have them.
    pub longest: Vec<KeyRow>,
    /// The longest of each type by elements, in the same order.
    #[serde(default)]
    pub longest_by_kind: Vec<KeyRow>,
    /// Elements were asked.
    pub lengths: bool,
    /// By the variable part after the pattern's fixed beginning.
    pub groups: Vec<GroupRow>,
    /// That beginning: `tenant:`.
    pub groups_after: Option<String>,
    /// How many groups there are; at least, when `groups_error` is not 0.
    pub groups_distinct: u64,
    /// The most a group's keys may be overstated by.
    pub groups_error: u64,
    /// Some keys, the same at each asking.
    pub names: Vec<KeyRow>,
    /// Which page of them.
    pub page: u64,
    /// How many pages there are.
    pub pages: u64,
    /// The keys used most.
    pub hot: Vec<HotRow>,
    /// How use was found out: `server` (HOTKEYS), `lfu` (its use counters), `idle` (looked at again and again), or nothing.
    pub hot_by: Option<String>,
    /// Names that were gone when they were asked about.
    pub vanished: u64,
    /// How the servers were.
    pub servers: Vec<ServerRow>,
    /// The keys that are named in it, whole: never written anywhere, so that `inspect` can take their handles.
    #[serde(skip)]
    pub named: Vec<Vec<u8>>,
    /// What should be known of how this was found out.
    pub notes: Vec<String>,
    /// Seconds to the first answer.
    pub first_s: Option<f64>,
    /// Seconds to the end of the walk.
    #[serde(default)]
    pub counted_s: Option<f64>,
    /// Seconds in all.
    pub took_s: f64,
}

/// What servers would not tell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Denied {
    /// The commands, as they are called.
    pub commands: Vec<String>,
    /// What is unknown for it: `bytes and lifetimes`.
    pub what: String,
    /// What the ACL of our user lacks, ready to type; empty where that is not the cause.
    pub rules: String,
    /// Who refused what.
    pub evidence: String,
}

impl Denied {
    /// Of what was refused: by whom, which command, in what words.
    fn of<'a>(refused: impl Iterator<Item = (&'a str, &'a (String, String))>) -> Option<Self> {
        let mut denied =
            Self { commands: Vec::new(), what: String::new(), rules: String::new(), evidence: String::new() };
        let (mut what, mut rules, mut evidence) = (Vec::new(), Vec::new(), Vec::new());
        for (address, (command, why)) in refused {
            // The server's own words may repeat what it was asked; its code does not.
            let code = why.split(' ').next().unwrap_or_default();
            evidence.push(format!("{address} refuses {command} ({code})"));
            if denied.commands.contains(command) {
                continue;
            }
            denied.commands.push(command.clone());
            rules.extend((code == "NOPERM").then(|| format!("+{}", command.to_lowercase().replace(' ', "|"))));
            let missing = match command.as_str() {
                "MEMORY USAGE" => "bytes",
                "PTTL" => "lifetimes",
                "TYPE" => "types",
                "OBJECT FREQ" | "OBJECT IDLETIME" => "which keys are used",
                SCAN => "which keys there are",
                _ => "elements",
            };
            if !what.contains(&missing) {
                what.push(missing);
            }
        }
        rules.sort();
        denied.what = match what.split_last() {
            None => return None,
            Some((last, [])) => (*last).to_owned(),
            Some((last, others)) => format!("{} and {last}", others.join(", ")),
        };
        denied.rules = rules.join(" ");
        denied.evidence = evidence.join("; ");
        Some(denied)
    }
}

/// A type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KindRow {
    /// Its word.
    pub kind: String,
    /// Keys.
    pub keys: f64,
    /// Bytes.
    pub bytes: f64,
    /// Share of the bytes, 0 to 1.
    pub share: f64,
    /// Elements, where asked.
    pub elements: u64,
}

/// A prefix.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PrefixRow {
    /// `tenant:*:wm:*`
    pub prefix: String,
    /// How deep in the tree.
    pub depth: usize,
    /// Keys.
    pub keys: f64,
    /// At least.
    pub keys_low: f64,
    /// At most.
    pub keys_high: f64,
    /// Bytes.
    pub bytes: f64,
    /// At least.
    pub bytes_low: f64,
    /// At most.
    pub bytes_high: f64,
    /// Share of all bytes (of all keys where bytes were not asked), 0 to 1.
    pub share: f64,
    /// Bytes per key.
    pub average: f64,
    /// Keys without TTL.
    pub endless_keys: f64,
    /// Their bytes.
    pub endless_bytes: f64,
    /// Their share of the keys, 0 to 1.
    pub endless_share: f64,
    /// There is something below it that is told apart.
    #[serde(default)]
    pub opens: bool,
}

/// Keys that live about as long.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LifetimeRow {
    /// `1–6 h`
    pub label: String,
    /// Keys.
    pub keys: f64,
    /// Bytes.
    pub bytes: f64,
}

/// A key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeyRow {
    /// As people may see it.
    pub key: String,
    /// Its type.
    pub kind: String,
    /// Bytes, where known.
    pub bytes: Option<u64>,
    /// Elements, where asked.
    pub elements: Option<u64>,
    /// What elements of it are called.
    pub unit: String,
    /// Seconds left; -1: never expires; absent: not asked.
    pub ttl_s: Option<i64>,
}

/// A group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupRow {
    /// `tenant:~7K2QX9:*`
    pub group: String,
    /// Keys.
    pub keys: f64,
    /// Bytes.
    pub bytes: f64,
}

/// A key that is used much.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HotRow {
    /// As people may see it.
    pub key: String,
    /// Its type.
    pub kind: String,
    /// Bytes, where known.
    pub bytes: Option<u64>,
    /// The server's counter, 0 to 255, logarithmic.
    pub freq: Option<u64>,
    /// In how many looks it had just been used.
    pub fresh: Option<u32>,
    /// Of so many.
    pub looks: Option<u32>,
    /// Its share of the time all commands took, 0 to 1, where the server counts that.
    pub cpu_share: Option<f64>,
    /// Its share of the bytes all commands moved, 0 to 1, where the server counts that.
    pub net_share: Option<f64>,
}

/// A server that was surveyed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerRow {
    /// Where it listens.
    pub address: String,
    /// Its keys.
    pub keys: u64,
    /// Busy share of a core before, 0 to 1.
    pub busy_before: Option<f64>,
    /// The highest while we worked.
    pub busy_most: Option<f64>,
    /// Microseconds of its time per key.
    pub us_per_key: Option<f64>,
    /// How often we stepped back.
    pub stepped_back: u32,
}

/// What is known of one server when a report is made.
#[derive(Debug, Clone)]
pub struct Part<T> {
    /// Where it listens.
    pub address: String,
    /// What it came to.
    pub found: T,
}

/// How names are shown, and which page of them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Showing {
    /// The asker may see names whole.
    pub reveal: bool,
    /// From 1; 0 counts as 1.
    pub page: usize,
}

impl Showing {
    fn key(self, name: &[u8]) -> String {
        let text = String::from_utf8_lossy(name);
        if name.is_empty() {
            return "(the empty name)".to_owned();
        }
        if self.reveal { text.chars().take(120).collect() } else { redact::key(&text) }
    }
}

impl Report {
    /// A report with nothing in it yet.
    pub fn empty(survey: &str, method: Method) -> Self {
        Self {
            version: VERSION,
            survey: survey.to_owned(),
            method,
            exact: method == Method::Exact,
            pattern: None,
            dbsize: 0,
            seen: 0,
            goes_on: false,
            barred: 0,
            denied: None,
            done: 0.0,
            keys: 0.0,
            keys_low: 0.0,
            keys_high: 0.0,
            weighed: true,
            bytes: 0.0,
            bytes_low: 0.0,
            bytes_high: 0.0,
            bytes_error: 0.0,
            average: 0.0,
            timed: true,
            endless_keys: 0.0,
            endless_keys_low: 0.0,
            endless_keys_high: 0.0,
            endless_bytes: 0.0,
            endless_share: 0.0,
            huge_bytes: None,
            kinds: Vec::new(),
            prefixes: Vec::new(),
            opens: None,
            tree: Vec::new(),
            separators: String::new(),
            lifetimes: Vec::new(),
            largest: Vec::new(),
            largest_by_kind: Vec::new(),
            longest: Vec::new(),
            longest_by_kind: Vec::new(),
            lengths: false,
            groups: Vec::new(),
            groups_after: None,
            groups_distinct: 0,
            groups_error: 0,
            names: Vec::new(),
            page: 1,
            pages: 0,
            hot: Vec::new(),
            hot_by: None,
            vanished: 0,
            servers: Vec::new(),
            named: Vec::new(),
            notes: Vec::new(),
            first_s: None,
            counted_s: None,
            took_s: 0.0,
        }
    }

    /// The first answer: what the samples of all servers say together.
    pub fn of_samples(ask: &Ask, parts: &[Part<Sample>], showing: Showing) -> Self {
        let mut report = Self::empty(ask.aim.word(), Method::Sample);
        let samples: Vec<Sample> = parts.iter().map(|part| part.found.clone()).collect();
        report.barred = samples.iter().map(|sample| sample.barred).sum();
        let refused = parts.iter().flat_map(|part| part.found.denied.iter().map(|one| (part.address.as_str(), one)));
        report.denied = Denied::of(refused);
        report.goes_on = !ask.sample_only;
        // INFO weighs everything, so it tells something of a sample of everything.
        let whole = ask.glob.is_none() && report.barred == 0 && report.tells("MEMORY USAGE");
        let estimate = Estimate::of(&samples, &ask.wanted, whole);
        report.set_question(ask);
        report.dbsize = samples.iter().map(|sample| sample.dbsize).sum();
        report.seen = estimate.seen;
        report.set_totals(estimate.keys, estimate.bytes, estimate.endless_keys, estimate.endless_bytes);
        report.huge_bytes = estimate.huge;
        let whole = report.bytes;
        report.kinds = Kind::ALL
            .into_iter()
            .zip(&estimate.kinds)
            .filter(|(_, (keys, _))| keys.value > 0.0)
            .map(|(kind, (keys, bytes))| KindRow {
                kind: kind.word().to_owned(),
                keys: keys.value,
                bytes: bytes.value,
                share: share(bytes.value, whole),
                elements: 0,
            })
            .collect();
        report.kinds.sort_by(|a, b| (b.bytes, b.keys).partial_cmp(&(a.bytes, a.keys)).unwrap_or(Ordering::Equal));
        report.set_tree(&estimate.tree, ask.prefixes, |branch, own| {
            if own {
                // What a row stands for without the rows below it that are listed by themselves.
                let mut marks = estimate.tree.is_under(branch.place);
                for &below in &branch.below {
                    for (mark, under) in marks.iter_mut().zip(estimate.tree.is_under(below as u32)) {
                        *mark &= !under;
                    }
                }
                estimate.of_places(&marks)
            } else {
                estimate.at(branch.place)
            }
        });
        report.set_from_tally(&estimate.tally, estimate.weight, showing, ask);
        report.servers =
            parts.iter().map(|part| server_row(&part.address, part.found.dbsize, &part.found.pace)).collect();
        report.took_s = samples.iter().map(|sample| sample.took).max().unwrap_or_default().as_secs_f64();
        report.first_s = Some(report.took_s);
        report.notes.extend(parts.iter().filter_map(|part| {
            Some(format!("{} counts sizes itself: {}", part.address, sizes_note(ask, &part.found.server)?))
        }));
        report.lengths =
            estimate.tally.total.keys > 0 && estimate.tally.kinds.iter().any(|(_, elements)| *elements > 0);
        report.set_asked(ask, false);
        if ask.aim == Aim::Hotkeys {
            report.weighed = false;
            report.timed = false;
            let counted = samples.iter().all(|sample| sample.server.counts_use());
            report.hot_by = Some(if counted { "lfu" } else { "idle" }.to_owned());
            let mut hottest: Vec<_> = samples.iter().flat_map(|sample| &sample.keys).collect();
            hottest.sort_by_key(|key| std::cmp::Reverse(key.heat));
            report.named.extend(hottest.iter().take(ask.wanted.top).map(|key| key.name.clone()));
            report.hot = hottest
                .into_iter()
                .filter(|_| counted)
                .take(ask.wanted.top)
                .map(|key| HotRow {
                    key: showing.key(&key.name),
                    kind: "?".to_owned(),
                    bytes: None,
                    freq: key.heat,
                    fresh: None,
                    looks: None,
                    cpu_share: None,
                    net_share: None,
                })
                .collect();
        }
        report
    }

    /// The last answer: what the walks of all servers came to.
    pub fn of_outcomes(ask: &Ask, parts: Vec<Part<Outcome>>, first: Option<&Report>, showing: Showing) -> Self {
        let left_alone = parts.iter().all(|part| part.found.left_alone);
        let complete = parts.iter().all(|part| part.found.complete);
        let nothing = parts.iter().all(|part| part.found.walked == 0 && !part.found.complete);
        let unlisted = !left_alone && nothing && parts.iter().all(|part| part.found.is_denied(SCAN));
        let mut report = match (first, left_alone) {
            (_, true) => Self::empty(ask.aim.word(), Method::LeftAlone),
            _ if unlisted => Self::empty(ask.aim.word(), Method::Denied),
            // Nothing better than the sample came of it.
            (Some(first), false) if nothing => Self { goes_on: false, ..first.clone() },
            _ => Self::empty(ask.aim.word(), if complete { Method::Exact } else { Method::Partial }),
        };
        report.set_question(ask);
        let refused = parts.iter().flat_map(|part| part.found.denied.iter().map(|one| (part.address.as_str(), one)));
        report.denied = Denied::of(refused);
        report.dbsize = parts.iter().map(|part| part.found.dbsize).sum();
        report.servers =
            parts.iter().map(|part| server_row(&part.address, part.found.dbsize, &part.found.pace)).collect();
        let counted = parts.iter().filter_map(|part| part.found.counted_after).max();
        report.counted_s = counted.map(|took| took.as_secs_f64());
        report.took_s = parts.iter().map(|part| part.found.took).max().unwrap_or_default().as_secs_f64();
        report.first_s = parts.iter().filter_map(|part| part.found.first_after).max().map(|took| took.as_secs_f64());
        let weight = |part: &Part<Outcome>| part.found.dbsize.max(1) as f64;
        let all: f64 = parts.iter().map(weight).sum();
        report.done = parts.iter().map(|part| part.found.done * weight(part)).sum::<f64>() / all;
        report.notes.extend(notes(ask, &parts));
        if left_alone || unlisted {
            report.keys = report.dbsize as f64;
            (report.keys_low, report.keys_high) = (report.keys, report.keys);
            (report.weighed, report.timed) = (false, false);
            return report;
        }
        if report.method == Method::Sample {
            return report;
        }
        report.barred = parts.iter().map(|part| part.found.barred).sum();
        report.exact &= report.barred == 0;
        report.lengths = ask.aim == Aim::Bigkeys && parts.iter().all(|part| part.found.no_touch || ask.lengths);
        let mut whole: Option<Tally> = None;
        let mut hot = Vec::new();
        let mut named = std::collections::HashMap::new();
        let counted = parts.iter().all(|part| part.found.server.counts_use());
        for part in parts {
            report.seen += part.found.walked;
            report.vanished += part.found.vanished;
            hot.extend(part.found.hot);
            named.extend(part.found.named);
            match &mut whole {
                None => whole = Some(part.found.tally),
                Some(whole) => whole.absorb(part.found.tally),
            }
        }
        let Some(tally) = whole else { return report };
        report.set_tally(&tally, showing, ask);
        report.set_asked(ask, true);
        for (row, name) in report.names.iter_mut().zip(page_of(&tally.handful(), showing.page).0) {
            if let Some((kind, bytes, ttl)) = named.get(&name.name) {
                row.kind = kind.map_or("?", Kind::word).to_owned();
                row.bytes = *bytes;
                row.ttl_s = ttl.map(seconds);
            }
        }
        if ask.aim == Aim::Hotkeys {
            report.hot_by = Some(if counted { "lfu" } else { "idle" }.to_owned());
            hot.sort_by(Hot::hotter);
            report.named.extend(hot.iter().take(ask.wanted.top).map(|one| one.name.clone()));
            report.hot = hot
                .into_iter()
                .take(ask.wanted.top)
                .map(|one| {
                    let facts = named.get(&one.name);
                    HotRow {
                        key: showing.key(&one.name),
                        kind: facts.and_then(|(kind, ..)| *kind).map_or("?", Kind::word).to_owned(),
                        bytes: facts.and_then(|(_, bytes, _)| *bytes),
                        freq: one.freq,
                        fresh: one.fresh.map(|(fresh, _)| fresh),
                        looks: one.fresh.map(|(_, looks)| looks),
                        cpu_share: None,
                        net_share: None,
                    }
                })
                .collect();
        }
        // Walks of memory and lifetimes do not ask for types; the few that are named were asked at the end.
        if ask.aim != Aim::Bigkeys {
            let lists = [&mut report.largest, &mut report.largest_by_kind];
            let by_shown: std::collections::HashMap<String, &'static str> =
                named.iter().filter_map(|(name, (kind, ..))| Some((showing.key(name), (*kind)?.word()))).collect();
            for row in lists.into_iter().flatten() {
                if let Some(kind) = by_shown.get(&row.key) {
                    row.kind = (*kind).to_owned();
                }
            }
        }
        report
    }

    /// What servers counted by themselves.
    pub fn of_tracked(ask: &Ask, parts: &[Part<Tracked>], showing: Showing) -> Self {
        let mut report = Self::empty(ask.aim.word(), Method::Tracked);
        report.set_question(ask);
        (report.weighed, report.timed) = (false, false);
        report.hot_by = Some("server".to_owned());
        report.took_s = parts.iter().map(|part| part.found.took_ms).max().unwrap_or(0) as f64 / 1e3;
        let wanted = |name: &str| ask.glob.as_deref().is_none_or(|glob| super::glob::matches(glob, name.as_bytes()));
        let keys = parts.iter().flat_map(|part| part.found.keys.iter().map(move |key| (part, key)));
        let mut hot: Vec<_> = keys.filter(|(_, key)| wanted(&key.name)).collect();
        let rank = |(part, key): &(&Part<Tracked>, &Used)| {
            let shares = [part.found.cpu_share(key), part.found.net_share(key)];
            shares.into_iter().flatten().fold(0.0, f64::max)
        };
        hot.sort_by(|a, b| rank(b).total_cmp(&rank(a)).then_with(|| a.1.name.cmp(&b.1.name)));
        hot.truncate(ask.wanted.top);
        report.named = hot.iter().map(|(_, key)| key.name.clone().into_bytes()).collect();
        report.hot = hot
            .into_iter()
            .map(|(part, key)| HotRow {
                key: showing.key(key.name.as_bytes()),
                kind: key.kind.clone().unwrap_or_else(|| "?".to_owned()),
                bytes: key.bytes,
                freq: None,
                fresh: None,
                looks: None,
                cpu_share: part.found.cpu_share(key),
                net_share: part.found.net_share(key),
            })
            .collect();
        for part in parts.iter().filter(|part| part.found.active) {
            report
                .notes
                .push(format!("{}: somebody's HOTKEYS session is under way; it was read and goes on", part.address));
        }
        report
    }

    /// A report of a tally that covers everything: a file's.
    pub fn of_tally(survey: &str, tally: &Tally, showing: Showing) -> Self {
        let mut report = Self::empty(survey, Method::Exact);
        report.seen = tally.total.keys;
        report.dbsize = tally.total.keys;
        report.lengths = true;
        let ask = Ask { wanted: tally.wanted().clone(), ..Ask::new(Aim::Bigkeys) };
        report.set_tally(tally, showing, &ask);
        report
    }

    fn set_question(&mut self, ask: &Ask) {
        self.survey = ask.aim.word().to_owned();
        self.pattern = ask.glob.as_ref().map(|glob| String::from_utf8_lossy(glob).into_owned());
    }

    /// Which figures mean something at all.
    fn set_asked(&mut self, ask: &Ask, walked: bool) {
        // Hot keys are ranked, and walked names only counted.
        let counted = walked && ask.aim == Aim::Keys;
        let nameless = matches!(ask.aim, Aim::Hotkeys) || counted;
        self.weighed = !nameless && self.bytes > 0.0 && self.tells("MEMORY USAGE");
        self.timed = !nameless && self.tells("PTTL");
        if !self.tells("TYPE") {
            self.kinds.clear();
            for row in [&mut self.largest, &mut self.largest_by_kind].into_iter().flatten() {
                row.kind = "?".to_owned();
            }
        }
        if !matches!(ask.aim, Aim::Bigkeys) {
            self.kinds.retain(|row| !walked && row.kind != Kind::Other.word());
        }
    }

    /// Whether servers answered that question.
    fn tells(&self, command: &str) -> bool {
        self.denied.as_ref().is_none_or(|denied| !denied.commands.iter().any(|denied| denied == command))
    }

    fn set_totals(&mut self, keys: Figure, bytes: Figure, endless_keys: Figure, endless_bytes: Figure) {
        let [keys, endless_keys] = [keys, endless_keys].map(Figure::whole);
        (self.keys, self.keys_low, self.keys_high) = (keys.value, keys.low, keys.high);
        (self.bytes, self.bytes_low, self.bytes_high) = (bytes.value, bytes.low, bytes.high);
        self.bytes_error = bytes.relative_error();
        self.average = share(bytes.value, keys.value);
        (self.endless_keys, self.endless_keys_low, self.endless_keys_high) =
            (endless_keys.value, endless_keys.low, endless_keys.high);
        self.endless_bytes = endless_bytes.value;
        self.endless_share = share(endless_keys.value, keys.value);
    }

    fn set_tally(&mut self, tally: &Tally, showing: Showing, ask: &Ask) {
        let total = tally.total;
        self.set_totals(
            Figure::exact(total.keys),
            Figure::within(total.bytes, tally.bytes_within()),
            Figure::exact(total.endless_keys),
            Figure::exact(total.endless_bytes),
        );
        self.kinds = Kind::ALL
            .into_iter()
            .zip(&tally.kinds)
            .filter(|(_, (sums, _))| sums.keys > 0)
            .map(|(kind, (sums, elements))| KindRow {
                kind: kind.word().to_owned(),
                keys: sums.keys as f64,
                bytes: sums.bytes as f64,
                share: share(sums.bytes as f64, total.bytes as f64),
                elements: *elements,
            })
            .collect();
        self.kinds.sort_by(|a, b| (b.bytes, b.keys).partial_cmp(&(a.bytes, a.keys)).unwrap_or(Ordering::Equal));
        if let Some(tree) = tally.prefixes() {
            self.set_tree(tree, ask.prefixes, |branch, own| {
                let sums = if own { branch.own_and_unlisted } else { branch.sums };
                let count = Figure::exact;
                [count(sums.keys), count(sums.bytes), count(sums.endless_keys), count(sums.endless_bytes)]
            });
        }
        self.set_from_tally(tally, 1.0, showing, ask);
    }

    /// What a tally tells whether it is of everything or of a sample in which one key stands for `weight`.
    fn set_from_tally(&mut self, tally: &Tally, weight: f64, showing: Showing, ask: &Ask) {
        self.lifetimes = std::iter::once(("never", (tally.total.endless_keys, tally.total.endless_bytes)))
            .chain(LIFETIMES.iter().map(|(_, label)| *label).zip(tally.lifetimes))
            .map(|(label, (keys, bytes))| LifetimeRow {
                label: label.to_owned(),
                keys: keys as f64 * weight,
                bytes: bytes as f64 * weight,
            })
            .collect();
        let mut whole = Vec::new();
        let mut rows = |named: Vec<Named>| {
            whole.extend(named.iter().map(|one| one.name.clone()));
            named.into_iter().map(|one| key_row(&one, showing)).collect::<Vec<_>>()
        };
        let mut kinds = Kind::ALL;
        kinds.sort_by_key(|kind| Reverse(tally.kinds[*kind as usize].0.bytes));
        let of_each = |of: &dyn Fn(Kind) -> Vec<Named>| -> Vec<Named> {
            let lists: Vec<Vec<Named>> = kinds.into_iter().map(of).collect();
            let first = lists.iter().flat_map(|list| list.iter().take(OF_EACH_KIND));
            first.chain(lists.iter().flat_map(|list| list.iter().skip(OF_EACH_KIND))).cloned().collect()
        };
        // A string's length adds nothing to its bytes.
        let longest_of = |kind: Kind| if kind == Kind::String { Vec::new() } else { tally.longest(kind) };
        let mut largest = of_each(&|kind| tally.largest(kind));
        // A sample may meet a key twice.
        let mut met = HashSet::new();
        largest.retain(|one| one.bytes > 0 && met.insert(one.name.clone()));
        self.largest_by_kind = rows(largest.clone());
        let mut longest = of_each(&longest_of);
        self.longest_by_kind = rows(longest.clone());
        largest.sort_by(|a, b| b.weight.cmp(&a.weight).then_with(|| a.name.cmp(&b.name)));
        largest.truncate(ask.wanted.top.max(1));
        self.largest = rows(largest);
        longest.sort_by(|a, b| b.weight.cmp(&a.weight).then_with(|| a.name.cmp(&b.name)));
        longest.truncate(ask.wanted.top.max(1));
        self.longest = rows(longest);
        let (names, pages) = page_of(&tally.handful(), showing.page);
        self.names = rows(names);
        self.named = whole;
        self.page = showing.page.max(1) as u64;
        self.pages = pages as u64;
        if let Some(after) = &tally.wanted().group_after {
            let after = String::from_utf8_lossy(after).into_owned();
            let groups = tally.groups();
            self.groups = groups
                .sorted()
                .into_iter()
                .take(GROUPS)
                .map(|(name, group)| {
                    let whole = [after.as_bytes(), &name].concat();
                    GroupRow {
                        group: format!("{}…", showing.key(&whole)),
                        keys: group.sums.keys as f64 * weight,
                        bytes: group.sums.bytes as f64 * weight,
                    }
                })
                .collect();
            self.groups_distinct = groups.distinct();
            self.groups_error = groups.error();
            self.groups_after = Some(after);
        }
    }

    fn set_tree(&mut self, tree: &Prefixes, limit: usize, figures: impl Fn(&Listed, bool) -> [Figure; 4]) {
        let branches = tree.branches(TREE_SHARE);
        self.separators = tree.separators().characters();
        let by_keys = branches.first().is_none_or(|root| root.sums.bytes == 0) || !self.tells("MEMORY USAGE");
        let whole = if by_keys { self.keys } else { self.bytes };
        let row = |branch: &Branch, left: Sums, own: bool| {
            let listed = Listed {
                place: branch.place,
                sums: branch.sums,
                own_and_unlisted: left,
                below: branch.below.iter().map(|&below| branches[below].place as usize).collect(),
            };
            let [keys, bytes, endless_keys, endless_bytes] = figures(&listed, own);
            let path = String::from_utf8_lossy(&branch.path).into_owned();
            PrefixRow {
                prefix: if own && !branch.below.is_empty() {
                    if path.is_empty() { OTHERS.to_owned() } else { format!("{path}… (others)") }
                } else {
                    format!("{path}*")
                },
                depth: branch.depth,
                keys: keys.value,
                keys_low: keys.low,
                keys_high: keys.high,
                bytes: bytes.value,
                bytes_low: bytes.low,
                bytes_high: bytes.high,
                share: share(if by_keys { keys.value } else { bytes.value }, whole),
                average: share(bytes.value, keys.value),
                endless_keys: endless_keys.value,
                endless_bytes: endless_bytes.value,
                endless_share: share(endless_keys.value, keys.value),
                opens: !own && !branch.below.is_empty(),
            }
        };
        // Few are the first of many, and the others together; one is everything.
        let cut = if limit > 1 { limit.max(PREFIXES) } else { limit };
        self.prefixes = prefix::cut(&branches, cut)
            .into_iter()
            .map(|(index, left)| {
                let branch = &branches[index];
                row(branch, left, left != branch.sums)
            })
            .collect();
        self.prefixes.sort_by(|a, b| b.share.total_cmp(&a.share).then_with(|| a.prefix.cmp(&b.prefix)));
        fold(&mut self.prefixes, limit);
        self.opens = self.prefixes.iter().find(|row| row.opens).map(|row| row.prefix.clone());
        // A sample's rows each cost a pass over it; its tree is the few rows that say most.
        let most = if self.method == Method::Sample { 40 } else { BRANCHES };
        self.tree = branches.iter().take(most).map(|branch| row(branch, branch.sums, false)).collect();
        if let Some((above, words)) = tree.merged(&branches) {
            let above = String::from_utf8_lossy(&above.path);
            self.notes.push(format!(
                "{words} words {} are one *, for they may be somebody's names; a pattern of the profile that spells one out tells it apart",
                if above.is_empty() { "at the beginning".to_owned() } else { format!("below {above}") },
            ));
        }
        if tree.crowded {
            self.notes.push("there are more prefixes than are told apart; the rest counts as *".to_owned());
        }
    }
}

/// A branch as figures are asked for it.
struct Listed {
    place: u32,
    sums: Sums,
    own_and_unlisted: Sums,
    below: Vec<usize>,
}

/// Makes one row of those after the first, so that there are no more than `limit`.
fn fold(rows: &mut Vec<PrefixRow>, limit: usize) {
    if rows.len() <= limit {
        return;
    }
    // There is one row of the others already, or none.
    rows.sort_by_key(|row| row.prefix == OTHERS);
    let rest = rows.split_off(limit.saturating_sub(1));
    let sum = |figure: fn(&PrefixRow) -> f64| rest.iter().map(figure).sum::<f64>();
    let (keys, bytes, endless_keys) = (sum(|row| row.keys), sum(|row| row.bytes), sum(|row| row.endless_keys));
    rows.push(PrefixRow {
        prefix: OTHERS.to_owned(),
        depth: 0,
        keys,
        keys_low: sum(|row| row.keys_low),
        keys_high: sum(|row| row.keys_high),
        bytes,
        bytes_low: sum(|row| row.bytes_low),
        bytes_high: sum(|row| row.bytes_high),
        share: sum(|row| row.share),
        average: share(bytes, keys),
        endless_keys,
        endless_bytes: sum(|row| row.endless_bytes),
        endless_share: share(endless_keys, keys),
        opens: false,
    });
}

fn page_of(names: &[Named], page: usize) -> (Vec<Named>, usize) {
    let from = (page.max(1) - 1) * PAGE;
    (names.iter().skip(from).take(PAGE).cloned().collect(), names.len().div_ceil(PAGE))
}

fn key_row(named: &Named, showing: Showing) -> KeyRow {
    KeyRow {
        key: showing.key(&named.name),
        kind: named.kind.word().to_owned(),
        // No key takes nothing: it was not asked.
        bytes: (named.bytes > 0).then_some(named.bytes),
        elements: named.elements,
        unit: named.kind.elements().to_owned(),
        ttl_s: named.ttl.map(seconds),
    }
}

fn seconds(ttl: Ttl) -> i64 {
    match ttl {
        Ttl::Never => -1,
        Ttl::Left(left) => (left / 1_000) as i64,
    }
}

fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

fn server_row(address: &str, keys: u64, pace: &Found) -> ServerRow {
    ServerRow {
        address: address.to_owned(),
        keys,
        busy_before: pace.busy_before,
        busy_most: pace.busy_most,
        us_per_key: pace.us_per_key,
        stepped_back: pace.stepped_back,
    }
}

fn notes(ask: &Ask, parts: &[Part<Outcome>]) -> Vec<String> {
    let mut notes = Vec::new();
    let mut note = |text: String| {
        if !notes.contains(&text) {
            notes.push(text);
        }
    };
    for part in parts {
        let (address, found) = (&part.address, &part.found);
        let busy = found.pace.busy_before.map_or(String::new(), |busy| format!("{:.0} % busy", busy * 100.0));
        if found.left_alone {
            note(format!("{address} is {busy}: it was left alone, nothing was asked of its keys"));
        } else if found.skipped_walk {
            note(format!("{address} is {busy}: there is no room for a walk over every key, so this is the sample"));
        }
        if found.pace.stepped_back > 0 {
            note(format!(
                "{address} answered PING slowly {} times; each time we stepped back",
                found.pace.stepped_back
            ));
        }
        if let Some(told) = sizes_note(ask, &found.server) {
            note(format!("{address} counts sizes itself: {told}"));
        }
        if let Some(age) = found.resumed {
            note(format!(
                "{address}: went on where an earlier walk was stopped {}; what it had counted is as it was then",
                ago(age)
            ));
        }
        if found.is_denied(SCAN) {
            note(from_info(address, found));
        }
        if ask.aim == Aim::Bigkeys && !found.no_touch && !found.left_alone {
            let why = match &found.server {
                server if server.is_before_no_touch() => "CLIENT NO-TOUCH needs 7.2",
                server if server.cluster => "CLIENT NO-TOUCH is not used in a cluster, where Redis 8.0 crashed on it",
                _ => "CLIENT NO-TOUCH is refused",
            };
            note(match ask.lengths {
                true => format!("elements were asked for, which resets idle times here: {why}"),
                false => {
                    format!("elements are left out: asking resets idle times here ({why}); `--lengths` asks anyway")
                }
            });
        }
        if found.complete && found.vanished > 0 {
            note(format!("{} keys were gone before they could be asked about", found.vanished));
        }
        let before = found.dbsize.max(1) as f64;
        if found.complete && ask.glob.is_none() && (found.walked as f64) < before / 8.0 {
            note(format!("{address}: the keyspace shrank while it was walked; a few keys may be counted twice"));
        }
    }
    notes
}

/// What INFO tells of a server whose keys may not be listed.
fn from_info(address: &str, found: &Outcome) -> String {
    let expiring = match found.server.databases.len() {
        // Those with a TTL are told over all databases.
        0 | 1 => format!(", {} of them with a TTL", found.server.expires),
        _ => String::new(),
    };
    let bytes = found.server.dataset.map(|bytes| format!("; all data takes {}", shown_bytes(bytes as f64)));
    let bytes = bytes.unwrap_or_default();
    format!("INFO of {address} tells {} keys{expiring}{bytes}", found.dbsize)
}

/// The largest there are of each type, as the server's own histogram has it (`INFO keysizes`, Redis 8.0 and later).
fn sizes_note(ask: &Ask, server: &Server) -> Option<String> {
    if ask.aim != Aim::Bigkeys {
        return None;
    }
    let largest = server.sizes.iter().filter(|((db, _), _)| *db == ask.db).filter_map(|((_, kind), sizes)| {
        let (from, keys) = sizes.last()?;
        // Below this nobody would call it big.
        let (least, unit) = if kind == "strings" { (1 << 20, "bytes") } else { (10_000, "elements") };
        (*from >= least).then(|| format!("{keys} {kind} of {from} {unit} or more"))
    });
    let largest: Vec<String> = largest.collect();
    (!largest.is_empty()).then(|| largest.join(", "))
}

fn ago(age: Duration) -> String {
    match age.as_secs() {
        0..120 => format!("{} s ago", age.as_secs()),
        seconds => format!("{} min ago", seconds / 60),
    }
}

/// From the first byte, as text: `0.21 s`.
pub fn seconds_text(took: Duration) -> String {
    format!("{:.2} s", took.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::{super::Seen, *};

    fn tally(keys: &[(&str, Kind, u64, u64)]) -> Tally {
        let mut tally = Tally::new(super::super::Wanted::default());
        for (name, kind, bytes, elements) in keys {
            tally.add(&Seen {
                db: 0,
                name: name.as_bytes(),
                kind: *kind,
                bytes: *bytes,
                elements: Some(*elements),
                ttl: Some(Ttl::Never),
                stands_for: 1,
            });
        }
        tally.settle();
        tally
    }

    #[test]
    fn of_each_type_the_first_few_come_before_the_rest_of_any() {
        let mut keys = Vec::new();
        for (kind, word, size) in [(Kind::List, "queue", 1_000), (Kind::Hash, "user", 10)] {
            keys.extend(
                (0..5).map(|n| (format!("{word}:{}", "a".repeat(n + 1)), kind, size + n as u64, 50 - n as u64)),
            );
        }
        keys.push(("text".to_owned(), Kind::String, 5, 9_000));
        let keys: Vec<_> = keys.iter().map(|(name, kind, bytes, n)| (name.as_str(), *kind, *bytes, *n)).collect();
        let report = Report::of_tally("rdb", &tally(&keys), Showing { reveal: true, page: 1 });
        let shown = |rows: &[KeyRow]| rows.iter().map(|row| (row.kind.clone(), row.bytes)).collect::<Vec<_>>();
        let kinds = |rows: &[KeyRow]| rows.iter().map(|row| row.kind.clone()).collect::<Vec<_>>().join(" ");
        assert_eq!(kinds(&report.largest_by_kind), "list list list hash hash hash string list list hash hash");
        assert_eq!(
            shown(&report.largest_by_kind)[..2],
            [("list".to_owned(), Some(1_004)), ("list".to_owned(), Some(1_003))]
        );
        // A string's bytes are no elements, in a file as on a server.
        assert_eq!(kinds(&report.longest_by_kind), "list list list hash hash hash list list hash hash");
        assert!(report.longest.iter().all(|row| row.kind != "string"));
        assert_eq!(report.longest_by_kind[0].elements, Some(50));
        // Types by what they hold.
        let kinds: Vec<&str> = report.kinds.iter().map(|row| row.kind.as_str()).collect();
        assert_eq!(kinds, ["list", "hash", "string"]);
    }

    #[test]
    fn there_are_no_parts_of_keys_and_a_key_without_a_name_is_told() {
        let mut report = Report::empty("memkeys", Method::Sample);
        let figure = Figure { value: 12.4, low: 0.2, high: 29.97 };
        report.set_totals(figure, figure, figure, figure);
        assert_eq!((report.keys, report.endless_keys_low, report.endless_keys_high), (12.0, 0.0, 30.0));
        assert_eq!(report.bytes, 12.4);
        for reveal in [true, false] {
            assert_eq!(Showing { reveal, page: 1 }.key(b""), "(the empty name)");
        }
    }
}
