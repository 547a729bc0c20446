//! Removing keys: choose, rename aside, dump, flush, unlink.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use super::{
    Doubts, Ended, Ground, Keep, LARGEST_DUMP, Listed, Removal, append,
    bound::Bound,
    choose::{Chooser, fatal},
    everywhere::{Field, Hand, Outcome, everywhere},
    lane::{HANDS, Lane, Next, SharedWalk, Told},
    measure::is_one,
    name, unkept,
};
use crate::{
    exec::{Looking, fault::Fault},
    keyspace::{
        rdb::dump::{fingerprint, kind},
        wire::{Batch, Reply},
    },
    store::snapshot::{Deadline, Record, SnapshotError, SnapshotWriter, StepId},
};

/// A frame is flushed when it holds so many keys …
pub(super) const FRAME_KEYS: usize = 512;
/// … or was begun so long ago: what is aside is not to stay there because little else is found …
pub(super) const FRAME_FOR: Duration = Duration::from_millis(500);
/// … or so many bytes.
pub(super) const FRAME_BYTES: usize = 1 << 20;
/// No pipeline asks for more bytes of DUMP than 256 KiB, to which each of the hands may add its share.
pub(super) const DUMP_BYTES: u64 = (256 << 10) / HANDS as u64;

/// What a removal came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::exec) struct Removed {
    /// Keys that are gone and can be brought back.
    pub keys: u64,
    /// Bytes of memory they took, as far as the server said.
    pub bytes: u64,
    /// Keys that are kept aside on the server: all of them, or those too large to be dumped.
    pub aside: Listed,
    /// Bytes these still take.
    pub aside_bytes: u64,
    /// Keys that were no longer what was meant when nobody else could change them any more; they have their names again.
    pub changed: u64,
    /// Keys that were gone before they were reached: expired, evicted or deleted by others.
    pub gone: u64,
    /// Keys whose slot is on the move, which were left alone.
    pub elsewhere: u64,
    /// Keys that got their names back because they could not be kept.
    pub put_back: u64,
    /// Keys whose names were taken anew before they could be put back: they are aside still.
    pub stranded: Listed,
    /// Keys that may be aside still: sent to be renamed, and not heard of as removed or put back.
    pub open: u64,
    /// Keys that were sent to be unlinked, of which no answer came.
    pub unsure: u64,
    /// Keys that were not meant because it could not be told.
    pub doubts: Doubts,
    /// How it ended.
    pub ended: Ended,
}

impl Outcome for Removed {
    fn nothing(ended: Ended) -> Self {
        Self {
            keys: 0,
            bytes: 0,
            aside: Listed::default(),
            aside_bytes: 0,
            changed: 0,
            gone: 0,
            elsewhere: 0,
            put_back: 0,
            stranded: Listed::default(),
            open: 0,
            unsure: 0,
            doubts: Doubts::default(),
            ended,
        }
    }

    fn add(&mut self, other: &mut Self) {
        self.keys += other.keys;
        self.bytes += other.bytes;
        self.aside.merge(std::mem::take(&mut other.aside));
        self.aside_bytes += other.aside_bytes;
        self.changed += other.changed;
        self.gone += other.gone;
        self.elsewhere += other.elsewhere;
        self.put_back += other.put_back;
        self.stranded.merge(std::mem::take(&mut other.stranded));
        self.open += other.open;
        self.unsure += other.unsure;
        self.doubts.merge(std::mem::take(&mut other.doubts));
    }

    fn ended(&mut self) -> &mut Ended {
        &mut self.ended
    }
}

/// What all hands of a removal share.
struct Work<'a> {
    ground: &'a Ground,
    step: &'a StepId,
    chooser: Chooser,
    /// `None`: nothing is kept.
    writer: Option<Arc<Mutex<SnapshotWriter>>>,
    /// Nothing is dumped; keys stay aside until then.
    stays: Option<i64>,
    bound: Bound,
    told: Told,
}

pub(in crate::exec) async fn remove(ground: &Ground, removal: Removal<'_>, cx: &Looking) -> Removed {
    let chooser = match Chooser::new(removal.select, removal.now_ms, false) {
        Ok(chooser) => chooser,
        Err(error) => return Removed::nothing(Ended::Failed(error)),
    };
    let (writer, stays) = match removal.keep {
        Keep::Snapshot(writer) => (Some(writer), None),
        Keep::Aside { writer, until_ms } => (Some(writer), Some(until_ms)),
        Keep::Nothing => (None, None),
    };
    let work = Work {
        ground,
        step: removal.step,
        chooser,
        writer: writer.map(|writer| Arc::new(Mutex::new(writer))),
        stays,
        bound: Bound::new(removal.most),
        told: Told::new("removing", Some(removal.expected), cx),
    };
    let (select, chooser, names) = (removal.select, &work.chooser, removal.names);
    let field = Field { ground, select, chooser, names, command: "RENAMENX" };
    let whole = everywhere(&field, &work, cx).await;
    if whole.ended == Ended::Done
        && let Some(writer) = work.writer
        && let Ok(writer) = Arc::try_unwrap(writer)
    {
        let writer = writer.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        // Without its end mark the snapshot is as good; only that the run ended is not in it.
        let _ = tokio::task::spawn_blocking(move || writer.close()).await;
    }
    whole
}

/// A key that is aside.
struct Moved {
    name: Vec<u8>,
    aside: Vec<u8>,
    deadline: Deadline,
    bytes: u64,
}

/// What of one hand is aside and not yet on the disk.
struct Open {
    records: Vec<Record>,
    aside: Vec<(Vec<u8>, Vec<u8>, u64)>,
    /// Aside, and when they are to expire there.
    expiring: Vec<(Vec<u8>, i64)>,
    size: usize,
    /// When it was empty for the last time.
    since: Instant,
}

impl Default for Open {
    fn default() -> Self {
        Self { records: Vec::new(), aside: Vec::new(), expiring: Vec::new(), size: 0, since: Instant::now() }
    }
}

impl Hand for Work<'_> {
    type Found = Removed;

    async fn work(&self, mut lane: Lane, walk: &SharedWalk) -> (Removed, Result<(), Fault>) {
        let mut found = Removed::nothing(Ended::Done);
        let result = async {
            let mut open = Open::default();
            loop {
                let names = match walk.next(&mut lane).await? {
                    Next::Names(names) => names,
                    Next::Stop(why) => {
                        found.ended = Ended::Stopped(why);
                        break;
                    }
                    Next::Over => break,
                };
                let mut chosen = self.chooser.choose(&mut lane, names, &mut found.doubts).await?;
                // What was shown is the bound; it is taken from before anything is touched.
                let taken = self.bound.take(chosen.len() as u64).await;
                let over = taken.count < chosen.len() as u64;
                chosen.truncate(taken.count as usize);
                let names = chosen.into_iter().map(|chosen| chosen.name);
                if self.writer.is_none() && !self.chooser.asks() {
                    // Nothing is kept and nothing is asked of them: there is no reason to set them aside.
                    unlink(self, &mut lane, &names.collect::<Vec<_>>(), &mut found).await?;
                    if over {
                        found.ended = Ended::Stopped(beyond(self.bound.most()));
                        break;
                    }
                    continue;
                }
                let moved = set_aside(self, &mut lane, names, &mut found).await?;
                // Those that were not there after all are given back to the bound.
                taken.settle(moved.len() as u64);
                capture(self, &mut lane, moved, &mut open, &mut found).await?;
                let held = open.records.len().max(open.aside.len());
                if held == 0 {
                    open.since = Instant::now();
                } else if held >= FRAME_KEYS || open.size >= FRAME_BYTES || open.since.elapsed() >= FRAME_FOR {
                    flush(self, &mut lane, &mut open, &mut found).await?;
                }
                if over {
                    found.ended = Ended::Stopped(beyond(self.bound.most()));
                }
                if found.ended != Ended::Done {
                    break;
                }
            }
            if found.ended != Ended::Done {
                walk.end();
            }
            flush(self, &mut lane, &mut open, &mut found).await
        }
        .await;
        if result.is_err() {
            walk.end();
        }
        (found, result)
    }
}

fn beyond(most: u64) -> String {
    format!("it would have reached more than the {most} keys that were consented to")
}

/// Unlinks keys by their own names.
async fn unlink(work: &Work<'_>, lane: &mut Lane, names: &[Vec<u8>], found: &mut Removed) -> Result<(), Fault> {
    let mut batch = Batch::default();
    names.iter().for_each(|name| batch.push(&[b"UNLINK", name]));
    let count = names.len();
    found.unsure += count as u64;
    let replies = lane.ask(&batch, count).await?;
    found.unsure -= count as u64;
    fatal(replies.iter())?;
    let gone = replies.iter().filter(|reply| is_one(reply)).count() as u64;
    let elsewhere = replies.iter().filter(|reply| reply.error().is_some()).count() as u64;
    found.keys += gone;
    found.elsewhere += elsewhere;
    found.gone += count as u64 - gone - elsewhere;
    work.told.add(count as u64);
    Ok(())
}

/// Renames keys aside; those that were there.
async fn set_aside(
    work: &Work<'_>,
    lane: &mut Lane,
    names: impl Iterator<Item = Vec<u8>>,
    found: &mut Removed,
) -> Result<Vec<Moved>, Fault> {
    let pairs: Vec<(Vec<u8>, Vec<u8>)> =
        names.map(|name| (name::aside(work.step, &name), name)).map(|(aside, name)| (name, aside)).collect();
    let absolute = lane.server.absolute;
    let mut batch = Batch::default();
    if !absolute {
        batch.push(&[b"TIME"]);
    }
    for (name, aside) in &pairs {
        // By its own name: the other one is longer, and would be counted as freed.
        batch.push(&[b"MEMORY", b"USAGE", name]);
        batch.push(&[b"RENAMENX", name, aside]);
        batch.push(&[if absolute { b"PEXPIRETIME".as_slice() } else { b"PTTL" }, aside]);
    }
    if pairs.is_empty() {
        return Ok(Vec::new());
    }
    let count = pairs.len();
    found.open += count as u64;
    let replies = lane.ask(&batch, count).await?;
    let mut trouble = if absolute { Ok(()) } else { fatal(replies.iter().take(1)) };
    let (clock, replies) = clock(&replies, absolute);
    let mut moved = Vec::with_capacity(count);
    for ((name, aside), replies) in pairs.into_iter().zip(replies.chunks(3)) {
        let [bytes, renamed, deadline] = replies else { break };
        if is_one(renamed) {
            // A deadline that was not told must not be taken for none.
            if let Some(line) = deadline.error() {
                trouble = Err(Fault::Server(line));
            }
            moved.push(Moved {
                name,
                aside,
                deadline: read_deadline(deadline, clock),
                bytes: bytes.integer().unwrap_or(0).max(0) as u64,
            });
            continue;
        }
        match renamed.error() {
            Some(line) if line.starts_with("ERR no such key") => found.gone += 1,
            Some(line) if ["MOVED", "ASK", "TRYAGAIN", "CROSSSLOT"].iter().any(|code| line.starts_with(code)) => {
                found.elsewhere += 1;
            }
            Some(line) => trouble = fatal(std::iter::once(renamed)).and(Err(Fault::Server(line))),
            // An older copy of it is aside already, and is not overwritten.
            None => found.changed += 1,
        }
    }
    found.open -= (count - moved.len()) as u64;
    if trouble.is_err() && !moved.is_empty() {
        // What was renamed before the trouble came must not stay aside unsaid.
        let back: Vec<_> = moved.drain(..).map(|moved| (moved.name, moved.aside)).collect();
        let count = back.len() as u64;
        found.put_back += put_back(lane, back, &mut found.stranded).await?;
        found.open -= count;
    }
    trouble.map(|()| moved)
}

/// The server's clock at the head of the replies, where deadlines are told as time left.
pub(super) fn clock<'a, 'b>(replies: &'a [Reply<'b>], absolute: bool) -> (i64, &'a [Reply<'b>]) {
    if absolute {
        return (0, replies);
    }
    let Some((first, rest)) = replies.split_first() else { return (0, replies) };
    let parts = first.array().and_then(|parts| Some((parts.first()?.integer()?, parts.get(1)?.integer()?)));
    (parts.map_or(0, |(seconds, micros)| seconds * 1_000 + micros / 1_000), rest)
}

/// A deadline as the server told it, added to its clock.
pub(super) fn read_deadline(reply: &Reply<'_>, clock: i64) -> Deadline {
    match reply.integer() {
        Some(left) if left >= 0 => Deadline::At(left + clock),
        _ => Deadline::Never,
    }
}

/// Gives keys their names back; how many got them.
pub(super) async fn put_back(
    lane: &mut Lane,
    keys: Vec<(Vec<u8>, Vec<u8>)>,
    stranded: &mut Listed,
) -> Result<u64, Fault> {
    let mut count = 0;
    for keys in keys.chunks(lane.keys().max(16)) {
        let mut batch = Batch::default();
        for (name, aside) in keys {
            batch.push(&[b"RENAMENX", aside, name]);
        }
        let replies = lane.ask(&batch, keys.len()).await?;
        fatal(replies.iter())?;
        for ((name, _), reply) in keys.iter().zip(&replies) {
            match reply.integer() {
                Some(1) => count += 1,
                Some(_) => stranded.add(name),
                // It has expired where it was.
                None => {}
            }
        }
    }
    Ok(count)
}

/// Dumps what is aside. What is too large stays there; what is no longer meant gets its name back.
async fn capture(
    work: &Work<'_>,
    lane: &mut Lane,
    moved: Vec<Moved>,
    open: &mut Open,
    found: &mut Removed,
) -> Result<(), Fault> {
    let db = if work.ground.site.is_cluster() { 0 } else { work.ground.instance.database };
    let mut rest = moved.into_iter().peekable();
    let mut back = Vec::new();
    while rest.peek().is_some() {
        let (mut some, mut size, mut batch) = (Vec::new(), 0, Batch::default());
        while let Some(key) = rest.next_if(|key| size == 0 || size + key.bytes <= DUMP_BYTES) {
            let huge = key.bytes > LARGEST_DUMP;
            if work.writer.is_none() && huge {
                // It was asked a moment ago; to ask it again as a whole would keep the server from others.
                open.aside.push((key.name, key.aside, key.bytes));
                continue;
            }
            if work.stays.is_some() || huge {
                found.aside.add(&key.name);
                found.aside_bytes += key.bytes;
                if let Some(until) = work.stays.filter(|until| !huge && key.deadline.is_after(*until)) {
                    open.expiring.push((key.aside, until));
                }
                let record = Record::Aside { db, key: key.name, deadline: key.deadline };
                open.size += record.size();
                open.records.push(record);
                continue;
            }
            size += key.bytes.max(1);
            batch.push(&[b"DUMP", &key.aside]);
            some.push(key);
        }
        if some.is_empty() {
            continue;
        }
        let count = some.len();
        let replies = lane.ask(&batch, count).await?;
        fatal(replies.iter())?;
        for (key, reply) in some.into_iter().zip(&replies) {
            let Some(dump) = reply.text() else {
                match reply {
                    // Expired or evicted, there as anywhere.
                    Reply::Nil => {
                        found.gone += 1;
                        found.open -= 1;
                    }
                    // What cannot be dumped cannot be kept, and so is not removed.
                    _ => {
                        found.changed += 1;
                        back.push((key.name, key.aside));
                    }
                }
                continue;
            };
            if !work.chooser.still_meant(dump, key.deadline != Deadline::Never) {
                found.changed += 1;
                back.push((key.name, key.aside));
                continue;
            }
            if work.writer.is_none() {
                open.aside.push((key.name, key.aside, key.bytes));
                continue;
            }
            let record = Record::Key {
                db,
                key: key.name.clone(),
                deadline: key.deadline,
                kind: kind(dump).word().to_owned(),
                fingerprint: fingerprint(dump),
                dump: dump.to_vec(),
            };
            open.size += record.size();
            open.records.push(record);
            open.aside.push((key.name, key.aside, key.bytes));
        }
    }
    let count = back.len() as u64;
    put_back(lane, back, &mut found.stranded).await?;
    found.open -= count;
    Ok(())
}

/// Writes the frame, and only then unlinks what it holds. What cannot be written gets its name back.
async fn flush(work: &Work<'_>, lane: &mut Lane, open: &mut Open, found: &mut Removed) -> Result<(), Fault> {
    let Open { records, aside, expiring, .. } = std::mem::take(open);
    if records.is_empty() && aside.is_empty() {
        return Ok(());
    }
    let kept: Vec<Vec<u8>> = records
        .iter()
        .filter_map(|record| match record {
            Record::Aside { key, .. } => Some(key.clone()),
            _ => None,
        })
        .collect();
    if let Some(writer) = &work.writer
        && let Err(error) = append(writer, records).await
    {
        found.ended = match error {
            SnapshotError::Full { .. } => Ended::Stopped(error.to_string()),
            error => Ended::Failed(unkept(&error)),
        };
        let kept =
            kept.into_iter().map(|name| (name::aside(work.step, &name), name)).map(|(aside, name)| (name, aside));
        let back: Vec<_> = aside.into_iter().map(|(name, aside, _)| (name, aside)).chain(kept).collect();
        let count = back.len() as u64;
        found.put_back += put_back(lane, back, &mut found.stranded).await?;
        found.open -= count;
        return Ok(());
    }
    // What is written down as kept aside is meant to be there.
    found.open -= kept.len() as u64;
    work.told.add(kept.len() as u64);
    for some in expiring.chunks(lane.keys().max(8)) {
        let mut batch = Batch::default();
        for (aside, until) in some {
            batch.push(&[b"PEXPIREAT", aside, until.to_string().as_bytes()]);
        }
        let replies = lane.ask(&batch, some.len()).await?;
        fatal(replies.iter())?;
    }
    for keys in aside.chunks(lane.keys().max(8)) {
        let mut batch = Batch::default();
        let mut words: Vec<&[u8]> = vec![b"UNLINK"];
        if work.ground.site.is_cluster() {
            // Names of several slots are not taken in one command.
            keys.iter().for_each(|(_, aside, _)| batch.push(&[b"UNLINK", aside]));
        } else {
            words.extend(keys.iter().map(|(_, aside, _)| aside.as_slice()));
            batch.push(&words);
        }
        let count = keys.len() as u64;
        found.unsure += count;
        let replies = lane.ask(&batch, keys.len()).await?;
        found.unsure -= count;
        fatal(replies.iter())?;
        // One whose slot is on the move is aside still.
        let elsewhere = replies.iter().filter(|reply| reply.error().is_some()).count() as u64;
        found.open -= count - elsewhere;
        found.keys += count - elsewhere;
        found.bytes += keys.iter().map(|(.., bytes)| bytes).sum::<u64>();
        work.told.add(keys.len() as u64);
    }
    Ok(())
}
