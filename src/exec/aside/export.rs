//! A copy of keys: dumped with type and deadline into a sealed file. Nothing of the server changes.

use std::{
    collections::{HashSet, VecDeque},
    hash::{BuildHasher as _, RandomState},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    Doubts, Ended, Ground, LARGEST_DUMP, Listed, append,
    choose::{Chooser, Chosen, fatal},
    everywhere::{Field, Hand, Outcome, everywhere},
    lane::{Lane, Next, SharedWalk, Told},
    lock,
    meant::Names,
    remove::{DUMP_BYTES, FRAME_BYTES, FRAME_KEYS, clock, read_deadline},
    retime::is_same,
    spread::Spread,
    unkept,
};
use crate::{
    exec::{Looking, fault::Fault},
    keyspace::{
        rdb::dump::{fingerprint, format},
        wire::{Batch, Reply},
    },
    runbook::Select,
    store::snapshot::{Contents, Deadline, Record, SnapshotError, SnapshotWriter},
};

/// Nothing above this many bytes is dumped, whoever asks: it has to fit into one frame.
pub const LARGEST_COPY: u64 = 32 << 20;
/// A key that is given another deadline while it is copied is copied again, so often.
const TRIES: u32 = 3;

/// Keys to be copied.
#[derive(Debug)]
pub(in crate::exec) struct Exporting<'a> {
    /// Which keys.
    pub(in crate::exec) select: &'a Select,
    /// What `now` means in its predicate, in milliseconds since 1970.
    pub(in crate::exec) now_ms: i64,
    /// Keys too large to be dumped without holding the server up are dumped all the same.
    pub(in crate::exec) large: bool,
    /// It ends before it would copy more than this.
    pub(in crate::exec) most: u64,
    /// How many are expected, for progress.
    pub(in crate::exec) expected: u64,
    /// Their names, where a count has just met them; else the server is walked.
    pub(in crate::exec) names: Option<Arc<Names>>,
    /// Of how many files it is one.
    pub(in crate::exec) files: usize,
    /// Where the copy goes.
    pub(in crate::exec) keep: SnapshotWriter,
}

/// What a copy came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::exec) struct Exported {
    /// Keys in it.
    pub keys: u64,
    /// Bytes of memory they take.
    pub bytes: u64,
    /// Of them, those with a deadline.
    pub expiring: u64,
    /// How they are spread over types and names.
    pub spread: Spread,
    /// Keys that are too large to be dumped.
    pub large: Listed,
    /// Keys that were given other deadlines whenever they were looked at.
    pub restless: Listed,
    /// Keys that were gone before they were reached.
    pub gone: u64,
    /// Keys that were no longer what was meant when they were dumped.
    pub changed: u64,
    /// Keys whose slot is on the move, which their server did not give away.
    pub elsewhere: u64,
    /// Keys that were not meant because it could not be told.
    pub doubts: Doubts,
    /// The version of the format they were dumped in.
    pub format: u16,
    /// How it ended.
    pub ended: Ended,
}

impl Outcome for Exported {
    fn nothing(ended: Ended) -> Self {
        Self {
            keys: 0,
            bytes: 0,
            expiring: 0,
            spread: Spread::default(),
            large: Listed::default(),
            restless: Listed::default(),
            gone: 0,
            changed: 0,
            elsewhere: 0,
            doubts: Doubts::default(),
            format: 0,
            ended,
        }
    }

    fn add(&mut self, other: &mut Self) {
        self.keys += other.keys;
        self.bytes += other.bytes;
        self.expiring += other.expiring;
        self.spread.merge(std::mem::take(&mut other.spread));
        self.large.merge(std::mem::take(&mut other.large));
        self.restless.merge(std::mem::take(&mut other.restless));
        self.gone += other.gone;
        self.changed += other.changed;
        self.elsewhere += other.elsewhere;
        self.doubts.merge(std::mem::take(&mut other.doubts));
        self.format = self.format.max(other.format);
    }

    fn ended(&mut self) -> &mut Ended {
        &mut self.ended
    }
}

impl Exported {
    /// Keys that were meant and are not in it.
    fn left_out(&self) -> u64 {
        self.large.count + self.restless.count + self.elsewhere
    }

    fn contents(&self, what: String, files: usize) -> Contents {
        let Spread { types, prefixes } = self.spread.clone();
        Contents {
            what,
            files,
            keys: self.keys,
            bytes: self.bytes,
            expiring: self.expiring,
            left_out: self.left_out(),
            format: self.format,
            types,
            prefixes,
        }
    }
}

struct Work<'a> {
    ground: &'a Ground,
    chooser: Chooser,
    writer: Arc<Mutex<SnapshotWriter>>,
    largest: u64,
    most: u64,
    taken: AtomicU64,
    met: Mutex<Met>,
    told: Told,
}

/// Copies, and ends the file with what is in it; what did not come to its end has no such end.
pub(in crate::exec) async fn export(ground: &Ground, exporting: Exporting<'_>, cx: &Looking) -> Exported {
    let fail = |error| Exported::nothing(Ended::Failed(error));
    let chooser = match Chooser::new(exporting.select, exporting.now_ms, true) {
        Ok(chooser) => chooser,
        Err(error) => return fail(error),
    };
    let work = Work {
        ground,
        chooser,
        writer: Arc::new(Mutex::new(exporting.keep)),
        largest: if exporting.large { LARGEST_COPY } else { LARGEST_DUMP },
        most: exporting.most,
        taken: AtomicU64::new(0),
        met: Mutex::new(Met { keys: [RandomState::new(), RandomState::new()], seen: HashSet::new() }),
        told: Told::new("copying", Some(exporting.expected), cx),
    };
    let (select, chooser, names) = (exporting.select, &work.chooser, exporting.names);
    let field = Field { ground, select, chooser, names, command: "DUMP" };
    let mut whole = everywhere(&field, &work, cx).await;
    if whole.ended == Ended::Done {
        let contents = whole.contents(exporting.select.what(), exporting.files);
        if let Err(error) = close(work.writer, contents).await {
            whole.ended = full(error);
        }
    }
    whole
}

fn full(error: SnapshotError) -> Ended {
    match error {
        SnapshotError::Full { .. } => Ended::Stopped(error.to_string()),
        error => Ended::Failed(unkept(&error)),
    }
}

async fn close(writer: Arc<Mutex<SnapshotWriter>>, contents: Contents) -> Result<(), SnapshotError> {
    append(&writer, vec![Record::Contents(contents)]).await?;
    let Ok(writer) = Arc::try_unwrap(writer) else { return Err(SnapshotError::Broken) };
    let writer = writer.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let closing = tokio::task::spawn_blocking(move || writer.close());
    closing.await.unwrap_or(Err(SnapshotError::Broken))
}

/// Names that came, so that one that comes twice is copied once. Of each only a hash is kept, so wide
/// that two names never share one.
struct Met {
    keys: [RandomState; 2],
    seen: HashSet<(u64, u64)>,
}

impl Met {
    fn is_new(&mut self, name: &[u8]) -> bool {
        self.seen.insert((self.keys[0].hash_one(name), self.keys[1].hash_one(name)))
    }
}

/// What of one hand is not yet on the disk.
#[derive(Default)]
struct Open {
    records: Vec<Record>,
    size: usize,
}

impl Hand for Work<'_> {
    type Found = Exported;

    async fn work(&self, mut lane: Lane, walk: &SharedWalk) -> (Exported, Result<(), Fault>) {
        let mut found = Exported::nothing(Ended::Done);
        let result = async {
            let mut open = Open::default();
            loop {
                let mut names = match walk.next(&mut lane).await? {
                    Next::Names(names) => names,
                    Next::Stop(why) => {
                        found.ended = Ended::Stopped(why);
                        break;
                    }
                    Next::Over => break,
                };
                names.retain(|name| lock(&self.met).is_new(name));
                if names.is_empty() {
                    continue;
                }
                let chosen = self.chooser.choose(&mut lane, names, &mut found.doubts).await?;
                let wanted = chosen.len() as u64;
                if self.taken.fetch_add(wanted, Ordering::Relaxed) + wanted > self.most {
                    found.ended = Ended::Stopped(format!(
                        "it would have reached more than the {} keys that were shown",
                        self.most
                    ));
                    break;
                }
                copy(self, &mut lane, chosen, &mut open, &mut found).await?;
                if found.ended != Ended::Done {
                    break;
                }
            }
            if found.ended == Ended::Done {
                flush(self, &mut open, &mut found).await;
            }
            if found.ended != Ended::Done {
                walk.end();
            }
            Ok(())
        }
        .await;
        if result.is_err() {
            walk.end();
        }
        (found, result)
    }
}

/// Dumps keys, a few at a time, until all were read at one moment each.
async fn copy(
    work: &Work<'_>,
    lane: &mut Lane,
    chosen: Vec<Chosen>,
    open: &mut Open,
    found: &mut Exported,
) -> Result<(), Fault> {
    let mut rest: VecDeque<(Chosen, u32)> = chosen.into_iter().map(|key| (key, 0)).collect();
    while !rest.is_empty() {
        let (mut some, mut size) = (Vec::new(), 0);
        while let Some((key, tries)) = rest.pop_front() {
            let bytes = key.bytes.unwrap_or(0);
            if bytes > work.largest {
                found.large.add(&key.name);
                continue;
            }
            if !some.is_empty() && size + bytes > DUMP_BYTES {
                rest.push_front((key, tries));
                break;
            }
            size += bytes.max(1);
            some.push((key, tries));
        }
        for (key, tries) in dump(work, lane, some, open, found).await? {
            match tries < TRIES {
                true => rest.push_back((key, tries)),
                false => found.restless.add(&key.name),
            }
        }
        if open.records.len() >= FRAME_KEYS || open.size >= FRAME_BYTES {
            flush(work, open, found).await;
            if found.ended != Ended::Done {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Dumps these keys; gives back those that got another deadline meanwhile.
async fn dump(
    work: &Work<'_>,
    lane: &mut Lane,
    keys: Vec<(Chosen, u32)>,
    open: &mut Open,
    found: &mut Exported,
) -> Result<Vec<(Chosen, u32)>, Fault> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let db = if work.ground.site.is_cluster() { 0 } else { work.ground.instance.database };
    let absolute = lane.server.absolute;
    let until: &[u8] = if absolute { b"PEXPIRETIME" } else { b"PTTL" };
    let mut batch = Batch::default();
    if !absolute {
        batch.push(&[b"TIME"]);
    }
    for (key, _) in &keys {
        // Others write between any two commands: a deadline that is the same before and after is the value's.
        batch.push(&[until, &key.name]);
        batch.push(&[b"DUMP", &key.name]);
        batch.push(&[b"TYPE", &key.name]);
        batch.push(&[until, &key.name]);
    }
    let count = keys.len();
    let replies = lane.ask(&batch, count).await?;
    fatal(replies.iter())?;
    let (clock, replies) = clock(&replies, absolute);
    let mut again = Vec::new();
    for ((key, tries), replies) in keys.into_iter().zip(replies.chunks(4)) {
        let [before, dump, kind, after] = replies else { break };
        let (value, kind) = match (dump, dump.text()) {
            (_, Some(value)) => (value, String::from_utf8_lossy(kind.text().unwrap_or_default()).into_owned()),
            (Reply::Nil, _) => {
                found.gone += 1;
                continue;
            }
            _ => {
                found.elsewhere += 1;
                continue;
            }
        };
        let deadline = read_deadline(before, clock);
        if !is_same(deadline, read_deadline(after, clock)) || kind == "none" {
            again.push((key, tries + 1));
            continue;
        }
        if !work.chooser.still_meant(value, deadline != Deadline::Never) {
            found.changed += 1;
            continue;
        }
        let bytes = key.bytes.unwrap_or(0);
        found.keys += 1;
        found.bytes += bytes;
        found.expiring += u64::from(deadline != Deadline::Never);
        found.format = found.format.max(format(value).unwrap_or(0));
        found.spread.add(&kind, &key.name, bytes);
        let record =
            Record::Key { db, key: key.name, deadline, kind, fingerprint: fingerprint(value), dump: value.to_vec() };
        open.size += record.size();
        open.records.push(record);
    }
    Ok(again)
}

async fn flush(work: &Work<'_>, open: &mut Open, found: &mut Exported) {
    let Open { records, .. } = std::mem::take(open);
    if records.is_empty() {
        return;
    }
    let count = records.len() as u64;
    match append(&work.writer, records).await {
        Ok(()) => drop(work.told.add(count)),
        Err(error) => found.ended = full(error),
    }
}
