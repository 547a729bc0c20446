//! Which of the names that came are meant.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::{
    super::fault::Fault,
    lane::{Host, Lane},
    refused,
};
use crate::{
    diagnosis::Explained,
    keyspace::{
        rdb::dump::{Content, content},
        wire::{Batch, Reply},
    },
    runbook::{Answer, LARGEST_VALUE, Predicate, Select, show_number},
};

/// Keys that were not meant because it could not be told whether they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Doubts {
    /// A field is not there.
    pub missing: u64,
    /// A field cannot be compared with what it was to be compared with.
    pub not_comparable: u64,
    /// The value is too large to be read.
    pub too_large: u64,
    /// The value is neither a JSON object nor a hash.
    pub not_readable: u64,
}

impl Doubts {
    fn count(&mut self, answer: Answer) {
        match answer {
            Answer::Match | Answer::Differs => {}
            Answer::Missing => self.missing += 1,
            Answer::NotComparable => self.not_comparable += 1,
            Answer::TooLarge => self.too_large += 1,
            Answer::NotReadable => self.not_readable += 1,
        }
    }

    /// Adds others.
    pub fn merge(&mut self, other: Doubts) {
        self.missing += other.missing;
        self.not_comparable += other.not_comparable;
        self.too_large += other.too_large;
        self.not_readable += other.not_readable;
    }

    /// In words, when there are any: `3 without the field, 1 too large to be read`.
    pub fn words(&self) -> Option<String> {
        let counts = [
            (self.missing, "without the field"),
            (self.not_comparable, "whose field cannot be compared"),
            (self.too_large, "too large to be read"),
            (self.not_readable, "neither JSON nor a hash"),
        ];
        let parts: Vec<String> = counts
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{} {what}", show_number(count)))
            .collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}

/// A key that is meant, and what was learnt of it on the way.
#[derive(Clone)]
pub(super) struct Chosen {
    pub(super) name: Vec<u8>,
    /// As `PTTL` says it, where it was asked.
    pub(super) ttl_ms: Option<i64>,
    /// As `MEMORY USAGE` says it, where it was asked.
    pub(super) bytes: Option<u64>,
    /// As `TYPE` says it, where it was asked; else empty.
    pub(super) kind: Vec<u8>,
}

/// So many strings in a row, and the next is taken for one too …
const STRINGS: u32 = 200;
/// … until so many were not: each that is read as a string and is none counts as an error in the server's own figures.
const WRONG: u32 = 16;

/// What the values that were met have been: most keyspaces that are asked by a field hold JSON texts and nothing else,
/// and to ask each for its type first would take as long again.
#[derive(Default)]
struct Habit {
    strings: AtomicU32,
    wrong: AtomicU32,
}

impl Habit {
    fn reads_at_once(&self) -> bool {
        self.strings.load(Relaxed) >= STRINGS && self.wrong.load(Relaxed) < WRONG
    }

    fn learn<'a>(&self, mut kinds: impl ExactSizeIterator<Item = &'a [u8]>) {
        let count = kinds.len() as u32;
        if kinds.all(|kind| kind == b"string") {
            self.strings.fetch_add(count, Relaxed);
        } else if !self.reads_at_once() {
            self.strings.store(0, Relaxed);
        }
    }

    fn was_wrong(&self) {
        self.wrong.fetch_add(1, Relaxed);
    }
}

/// What is learnt of keys beyond whether they are meant.
#[derive(Debug, Clone, Copy, Default)]
struct Learnt {
    /// Bytes, kind and lifetime.
    sizes: bool,
    /// Lifetime.
    deadlines: bool,
}

/// Asks of keys what a selection wants to know.
pub(super) struct Chooser {
    habit: Habit,
    predicate: Option<Predicate>,
    fields: Vec<String>,
    now_ms: i64,
    no_ttl: bool,
    idle_s: Option<u64>,
    kind: Option<String>,
    measures: bool,
    deadlines: bool,
}

impl Chooser {
    /// `measures`: bytes and lifetime are asked of every key.
    pub(super) fn new(select: &Select, now_ms: i64, measures: bool) -> Result<Self, Explained> {
        let predicate = select.predicate().map_err(|error| Explained {
            code: "WHERE".into(),
            what: error.what,
            cause: "`--where` takes FIELD=VALUE, FIELD < now-12h, and clauses joined with &&".into(),
            next: error.next,
        })?;
        let fields = predicate.as_ref().map(Predicate::hash_fields).unwrap_or_default();
        let Select { no_ttl, idle_s, kind, .. } = select.clone();
        let habit = Habit::default();
        Ok(Self { habit, predicate, fields, now_ms, no_ttl, idle_s, kind, measures, deadlines: false })
    }

    /// Whether a name alone says that its key is meant, and nothing more is to be told of it.
    pub(super) fn asks_nothing(&self) -> bool {
        let asks = self.measures || self.deadlines || self.no_ttl || self.predicate.is_some();
        !asks && self.idle_s.is_none() && self.kind.is_none()
    }

    /// Lifetime is asked of every key, whether or not it is measured.
    pub(super) fn telling_deadlines(self, deadlines: bool) -> Self {
        Self { deadlines, ..self }
    }

    /// Whether bytes and lifetime are asked of every key.
    pub(super) fn measures(&self) -> bool {
        self.measures
    }

    /// Whether anything has to be asked of a key once nobody else can change it.
    pub(super) fn asks(&self) -> bool {
        self.predicate.is_some() || self.no_ttl
    }

    /// Whether this server can answer it at all.
    pub(super) fn fits(&self, host: &Host) -> Result<(), Explained> {
        if self.idle_s.is_some() && host.facts.counts_use() {
            return Err(refused(
                "this server does not tell how long a key was idle",
                "its maxmemory-policy counts how often keys are used instead (LFU)",
                "choose by `--where` or `--no-ttl`",
            ));
        }
        if self.idle_s.is_some() && self.predicate.is_some() && !host.untouched {
            return Err(refused(
                "`--idle` and `--where` cannot be asked together here",
                "reading a value makes it look used, and this server knows no NO-TOUCH or is a cluster",
                "ask for one of them",
            ));
        }
        Ok(())
    }

    /// Those of the names that are meant.
    pub(super) async fn choose(
        &self,
        lane: &mut Lane,
        names: Vec<Vec<u8>>,
        doubts: &mut Doubts,
    ) -> Result<Vec<Chosen>, Fault> {
        let told = Learnt { sizes: self.measures, deadlines: self.deadlines };
        let Some(predicate) = &self.predicate else { return self.ask(lane, names, told).await };
        let by_value_alone =
            !self.no_ttl && self.idle_s.is_none() && self.kind.as_ref().is_none_or(|kind| kind == "string");
        let (mut kept, names) = match by_value_alone && self.habit.reads_at_once() {
            true => self.read_strings(predicate, lane, names, doubts).await?,
            false => (Vec::new(), names),
        };
        if !names.is_empty() {
            // How large something is, and how long it stays, matters only where it is meant.
            let mut some = self.ask(lane, names, Learnt::default()).await?;
            self.habit.learn(some.iter().map(|chosen| chosen.kind.as_slice()));
            self.ask_values(lane, &mut some, doubts).await?;
            kept.extend(some);
        }
        if kept.is_empty() || !(self.measures || self.deadlines) {
            return Ok(kept);
        }
        self.ask(lane, kept.into_iter().map(|chosen| chosen.name).collect(), told).await
    }

    /// Those of the names whose keys are there and fit in all but their values.
    async fn ask(&self, lane: &mut Lane, names: Vec<Vec<u8>>, learnt: Learnt) -> Result<Vec<Chosen>, Fault> {
        let Learnt { sizes: measures, deadlines } = learnt;
        let asks_type = self.predicate.is_some() || self.kind.is_some() || measures;
        let asks_ttl = self.no_ttl || deadlines || measures;
        let mut batch = Batch::default();
        for name in &names {
            if asks_type {
                batch.push(&[b"TYPE", name]);
            }
            if asks_ttl {
                batch.push(&[b"PTTL", name]);
            }
            if self.idle_s.is_some() {
                batch.push(&[b"OBJECT", b"IDLETIME", name]);
            }
            if measures {
                batch.push(&[b"MEMORY", b"USAGE", name]);
            }
        }
        let mut kept: Vec<Chosen> = Vec::with_capacity(names.len());
        if batch.is_empty() {
            kept.extend(names.into_iter().map(|name| Chosen { name, ttl_ms: None, bytes: None, kind: Vec::new() }));
            return Ok(kept);
        }
        let count = names.len();
        let replies = lane.ask(&batch, count).await?;
        let mut replies = replies.iter();
        for name in names {
            let mut next = |wanted: bool| wanted.then(|| replies.next()).flatten();
            let (kind, ttl) = (next(asks_type), next(asks_ttl));
            let (idle, bytes) = (next(self.idle_s.is_some()), next(measures));
            fatal([kind, ttl, idle].into_iter().flatten())?;
            let kind = kind.and_then(Reply::text).unwrap_or_default().to_vec();
            let ttl_ms = ttl.and_then(Reply::integer);
            let idle = idle.map(|reply| reply.integer().unwrap_or(0));
            let gone = kind == b"none" || ttl_ms == Some(-2);
            let fits = (!self.no_ttl || ttl_ms == Some(-1))
                && self.kind.as_ref().is_none_or(|wanted| wanted.as_bytes() == kind)
                && self.idle_s.is_none_or(|wanted| idle.is_some_and(|idle| idle >= wanted as i64));
            if !gone && fits {
                // Without the right to ask, sizes are unknown, not zero.
                let bytes = bytes.and_then(Reply::integer).map(|bytes| bytes.max(0) as u64);
                kept.push(Chosen { name, ttl_ms, bytes, kind });
            }
        }
        Ok(kept)
    }

    /// Reads values that are strings in all likelihood, without asking for types first: those that match, and the
    /// names that have to be asked all the same.
    async fn read_strings(
        &self,
        predicate: &Predicate,
        lane: &mut Lane,
        names: Vec<Vec<u8>>,
        doubts: &mut Doubts,
    ) -> Result<(Vec<Chosen>, Vec<Vec<u8>>), Fault> {
        let last = LARGEST_VALUE.to_string();
        let mut batch = Batch::default();
        names.iter().for_each(|name| batch.push(&[b"GETRANGE", name, b"0", last.as_bytes()]));
        let replies = lane.ask(&batch, names.len()).await?;
        let (mut kept, mut rest) = (Vec::new(), Vec::new());
        for (name, reply) in names.into_iter().zip(&replies) {
            fatal(std::iter::once(reply))?;
            match reply.text() {
                // Empty, or gone: only its type tells.
                Some([]) => rest.push(name),
                Some(text) => {
                    let answer = predicate.ask_json(text, self.now_ms);
                    doubts.count(answer);
                    if answer == Answer::Match {
                        kept.push(Chosen { name, ttl_ms: None, bytes: None, kind: b"string".to_vec() });
                    }
                }
                None => {
                    self.habit.was_wrong();
                    rest.push(name);
                }
            }
        }
        Ok((kept, rest))
    }

    /// Keeps those whose values match.
    async fn ask_values(&self, lane: &mut Lane, kept: &mut Vec<Chosen>, doubts: &mut Doubts) -> Result<(), Fault> {
        let Some(predicate) = &self.predicate else { return Ok(()) };
        let last = LARGEST_VALUE.to_string();
        let mut batch = Batch::default();
        for chosen in kept.iter() {
            match chosen.kind.as_slice() {
                // One byte more than is read shows that it is too large, and no more than that is copied.
                b"string" => batch.push(&[b"GETRANGE", &chosen.name, b"0", last.as_bytes()]),
                b"hash" => {
                    self.fields.iter().for_each(|field| batch.push(&[b"HSTRLEN", &chosen.name, field.as_bytes()]))
                }
                _ => {}
            }
        }
        let mut answers = Vec::with_capacity(kept.len());
        {
            let count = kept.len();
            let replies = lane.ask(&batch, count).await?;
            let mut replies = replies.iter();
            for chosen in kept.iter() {
                answers.push(match chosen.kind.as_slice() {
                    b"string" => {
                        let reply = replies.next();
                        fatal(reply.into_iter())?;
                        // Gone or replaced since: it differs from what was there.
                        Some(reply.and_then(Reply::text).map_or(Answer::Differs, |text| match text.len() {
                            0 => Answer::NotReadable,
                            _ => predicate.ask_json(text, self.now_ms),
                        }))
                    }
                    b"hash" => {
                        let lengths: Vec<&Reply<'_>> = replies.by_ref().take(self.fields.len()).collect();
                        fatal(lengths.iter().copied())?;
                        let large =
                            |reply: &&Reply<'_>| reply.integer().is_some_and(|length| length > LARGEST_VALUE as i64);
                        lengths.iter().any(large).then_some(Answer::TooLarge)
                    }
                    _ => Some(Answer::NotReadable),
                });
            }
        }
        let mut batch = Batch::default();
        for (chosen, _) in kept.iter().zip(&answers).filter(|(_, answer)| answer.is_none()) {
            let mut words: Vec<&[u8]> = vec![b"HMGET", &chosen.name];
            words.extend(self.fields.iter().map(String::as_bytes));
            batch.push(&words);
        }
        if !batch.is_empty() {
            let replies = lane.ask(&batch, batch.replies).await?;
            for (answer, reply) in answers.iter_mut().filter(|answer| answer.is_none()).zip(&replies) {
                fatal(std::iter::once(reply))?;
                *answer = Some(match reply.array() {
                    Some(values) => {
                        let fields: Vec<(&str, Option<&[u8]>)> =
                            self.fields.iter().map(String::as_str).zip(values.iter().map(Reply::text)).collect();
                        predicate.ask_hash(&fields, self.now_ms)
                    }
                    None => Answer::Differs,
                });
            }
        }
        let mut answers = answers.into_iter();
        kept.retain(|_| {
            let answer = answers.next().flatten().unwrap_or(Answer::Differs);
            doubts.count(answer);
            answer == Answer::Match
        });
        Ok(())
    }

    /// Whether a key that nobody else can reach any more is still what was meant, by what DUMP says of it.
    pub(super) fn still_meant(&self, dump: &[u8], has_deadline: bool) -> bool {
        if self.no_ttl && has_deadline {
            return false;
        }
        let Some(predicate) = &self.predicate else { return true };
        match content(dump) {
            Some(Content::String(text)) => predicate.ask_json(&text, self.now_ms) == Answer::Match,
            Some(Content::Hash(all)) => {
                let find = |field: &String| {
                    all.iter().find(|(name, ..)| name == field.as_bytes()).map(|(_, value, _)| value.as_slice())
                };
                let fields: Vec<(&str, Option<&[u8]>)> =
                    self.fields.iter().map(|field| (field.as_str(), find(field))).collect();
                predicate.ask_hash(&fields, self.now_ms) == Answer::Match
            }
            _ => false,
        }
    }
}

/// An error that is not about the one key it answers: no right, not a primary, no memory, the cluster
/// down, or one nobody expected. A key must never be passed over because of it.
pub(super) fn fatal<'a, 'b: 'a>(replies: impl Iterator<Item = &'a Reply<'b>>) -> Result<(), Fault> {
    const OF_ONE_KEY: [&str; 9] = [
        "MOVED ",
        "ASK ",
        "TRYAGAIN",
        "CROSSSLOT",
        "WRONGTYPE",
        "BUSYKEY",
        "ERR no such key",
        "ERR DUMP payload",
        "ERR Bad data format",
    ];
    for reply in replies {
        if let Some(line) = reply.error()
            && !OF_ONE_KEY.iter().any(|code| line.starts_with(code))
        {
            return Err(Fault::Server(line));
        }
    }
    Ok(())
}
