//! An export put back: what is missing is restored with its own deadline, what is there is left alone unless it was
//! said that it may be overwritten, and then written down first.

use std::sync::{Arc, Mutex};

use super::{
    Ended, Ground, LARGEST_DUMP, Listed, append,
    choose::fatal,
    frames::{Frames, Unread},
    lane::{Lane, Told},
    refused,
    remove::{clock, read_deadline},
    restore::RESTORE_BYTES,
    retime::is_same,
    swap::{Swapped, To, swap},
    unkept,
    ways::Ways,
    weigh::is_meant,
};
use crate::{
    diagnosis::Explained,
    exec::{Looking, fault::Fault},
    keyspace::{
        rdb::dump::{Fingerprint, fingerprint, format},
        wire::{Batch, Reply},
    },
    model::Address,
    store::snapshot::{Deadline, Over, Record, SnapshotError, SnapshotWriter, Snapshots, StepId},
};

/// What is there and is to be overwritten has to be dumped first; above this it would hold the server up.
const LARGEST_OVER: u64 = 4 * LARGEST_DUMP;

/// What expires within this may be gone when it is asked for again.
const SOON_MS: i64 = 1_000;

/// An export to be put back.
#[derive(Debug)]
pub(in crate::exec) struct Importing<'a> {
    /// Its file.
    pub(in crate::exec) file: &'a StepId,
    /// Only keys that match this glob.
    pub(in crate::exec) only: Option<&'a str>,
    /// What is there with another value is overwritten.
    pub(in crate::exec) overwrite: bool,
    /// It ends before it would put more than this there.
    pub(in crate::exec) most: u64,
    /// How many are expected, for progress.
    pub(in crate::exec) expected: u64,
    /// Where it is written what is put there, and what was there before.
    pub(in crate::exec) keep: SnapshotWriter,
}

/// What putting back came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::exec) struct Imported {
    /// Keys that are there again and were not.
    pub keys: u64,
    /// Keys that were overwritten.
    pub replaced: u64,
    /// Keys that were there already with the same value.
    pub already: u64,
    /// Keys of which the server's answer did not come: they may be there.
    pub unsure: u64,
    /// Keys whose time is over: not revived.
    pub expired: Listed,
    /// Keys that are there with another value, or came while this went on: left alone.
    pub different: Listed,
    /// Keys that are there and too large to be read: left alone.
    pub large: Listed,
    /// Keys the server refused.
    pub refused: Listed,
    /// Keys that are not what was put there when asked again.
    pub unverified: Listed,
    /// Frames of the export that cannot be read.
    pub damaged: u64,
    /// How it ended.
    pub ended: Ended,
}

impl Imported {
    fn nothing(ended: Ended) -> Self {
        Self {
            keys: 0,
            replaced: 0,
            already: 0,
            unsure: 0,
            expired: Listed::default(),
            different: Listed::default(),
            large: Listed::default(),
            refused: Listed::default(),
            unverified: Listed::default(),
            damaged: 0,
            ended,
        }
    }
}

/// A key as the export has it.
struct Kept {
    db: u32,
    key: Vec<u8>,
    deadline: Deadline,
    fingerprint: Fingerprint,
    dump: Vec<u8>,
}

struct Work<'a> {
    ground: &'a Ground,
    ways: Ways<'a>,
    only: Option<&'a str>,
    overwrite: bool,
    left: u64,
    most: u64,
    writer: Arc<Mutex<SnapshotWriter>>,
    told: Told,
    found: Imported,
}

pub(in crate::exec) async fn import(
    ground: &Ground,
    snapshots: &Snapshots,
    importing: Importing<'_>,
    cx: &Looking,
) -> Imported {
    let fail = |error| Imported::nothing(Ended::Failed(error));
    let mut frames = match Frames::open(snapshots, importing.file).await.and_then(Frames::whole) {
        Ok(frames) => frames,
        Err(error) => return fail(error),
    };
    let ways = match Ways::of(ground, cx).await {
        Ok(ways) => ways,
        Err(error) => return fail(error),
    };
    let mut work = Work {
        ground,
        ways,
        only: importing.only,
        overwrite: importing.overwrite,
        left: importing.most,
        most: importing.most,
        writer: Arc::new(Mutex::new(importing.keep)),
        told: Told::new("putting back", Some(importing.expected), cx),
        found: Imported::nothing(Ended::Done),
    };
    while let Some(records) = frames.next().await {
        let records = match records {
            Ok(records) => records,
            Err(Unread::Broken(error)) => {
                work.found.ended = Ended::Failed(error);
                break;
            }
            Err(Unread::Damaged) => {
                work.found.damaged += 1;
                continue;
            }
        };
        if let Err((address, fault)) = work.frame(records).await {
            work.found.ended = Ended::Failed(ground.explain(&fault, &address, "RESTORE"));
        }
        if work.found.ended != Ended::Done {
            break;
        }
    }
    let Work { writer, found, .. } = work;
    if found.ended == Ended::Done
        && let Ok(writer) = Arc::try_unwrap(writer)
    {
        let writer = writer.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        // Without its end mark what is written is as good; only that the run ended is not in it.
        let _ = tokio::task::spawn_blocking(move || writer.close()).await;
    }
    found
}

/// A payload this server does not read.
fn too_new(line: &str, dump: &[u8]) -> Option<Explained> {
    let version = line.contains("payload version or checksum");
    (version || line.contains("Bad data format")).then(|| {
        let format = format(dump).map_or_else(|| "another".to_owned(), |format| format.to_string());
        refused(
            &format!(
                "this server does not read what the export holds: it is in format {format} of the server it came from"
            ),
            "a server reads its own format and older ones; the export was made on a newer Redis, or on another program",
            "import it into a server of at least that version; nothing more was put there",
        )
    })
}

impl Work<'_> {
    async fn frame(&mut self, records: Vec<Record>) -> Result<(), (Address, Fault)> {
        let kept: Vec<Kept> = records
            .into_iter()
            .filter_map(|record| match record {
                Record::Key { db, key, deadline, fingerprint, dump, .. } if is_meant(self.only, &key) => {
                    Some(Kept { db, key, deadline, fingerprint, dump })
                }
                _ => None,
            })
            .collect();
        let (shares, nowhere) = self.ways.sort(kept, |kept| &kept.key);
        nowhere.iter().for_each(|kept| self.found.refused.add(&kept.key));
        for (address, share) in shares {
            let told = |fault| (address.clone(), fault);
            let mut lane = self.ways.take(&address).await.map_err(told)?;
            self.share(&mut lane, share).await.map_err(told)?;
            self.ways.put(&address, lane);
            if self.found.ended != Ended::Done {
                break;
            }
        }
        Ok(())
    }

    /// What of a frame belongs to one server: looked at, written down, and only then put there.
    async fn share(&mut self, lane: &mut Lane, share: Vec<Kept>) -> Result<(), Fault> {
        let count = share.len() as u64;
        let mut fresh = Vec::new();
        let mut over = Vec::new();
        let mut rest = share.into_iter();
        loop {
            let some: Vec<Kept> = rest.by_ref().take(lane.keys().max(8)).collect();
            if some.is_empty() {
                break;
            }
            if let Some(why) = lane.breathe().await? {
                self.found.ended = Ended::Stopped(why);
                return Ok(());
            }
            self.sort(lane, some, &mut fresh, &mut over).await?;
        }
        let wanted = (fresh.len() + over.len()) as u64;
        if wanted > self.left {
            self.found.ended =
                Ended::Stopped(format!("it would have put more than the {} keys there that were shown", self.most));
            return Ok(());
        }
        if wanted > 0 {
            self.left -= wanted;
            let made = |kept: &Kept, over: Option<Over>| Record::Made {
                db: self.db(kept),
                key: kept.key.clone(),
                deadline: kept.deadline,
                fingerprint: kept.fingerprint,
                over,
            };
            let written: Vec<Record> = fresh
                .iter()
                .map(|kept| made(kept, None))
                .chain(over.iter().map(|(kept, over)| made(kept, Some(over.clone()))))
                .collect();
            if let Err(error) = append(&self.writer, written).await {
                self.found.ended = match error {
                    SnapshotError::Full { .. } => Ended::Stopped(error.to_string()),
                    error => Ended::Failed(unkept(&error)),
                };
                return Ok(());
            }
            let before = self.found.keys + self.found.replaced;
            let put = self.put(lane, fresh, over).await;
            if put.is_err() {
                let known = self.found.keys + self.found.replaced - before;
                self.found.unsure = wanted.saturating_sub(known);
            }
            put?;
        }
        self.told.add(count);
        Ok(())
    }

    fn db(&self, kept: &Kept) -> u32 {
        if self.ground.site.is_cluster() { 0 } else { kept.db }
    }

    /// Which of these are missing, which are there with something else, and which need nothing.
    async fn sort(
        &mut self,
        lane: &mut Lane,
        keys: Vec<Kept>,
        fresh: &mut Vec<Kept>,
        over: &mut Vec<(Kept, Over)>,
    ) -> Result<(), Fault> {
        let now = lane.server.now_ms();
        let mut batch = Batch::default();
        for kept in &keys {
            batch.push(&[b"EXISTS", &kept.key]);
            batch.push(&[b"MEMORY", b"USAGE", &kept.key]);
        }
        let mut there = Vec::new();
        {
            let replies = lane.ask(&batch, keys.len()).await?;
            fatal(replies.iter().step_by(2))?;
            for (kept, replies) in keys.into_iter().zip(replies.chunks(2)) {
                let [exists, bytes] = replies else { break };
                let small = bytes.integer().is_none_or(|bytes| bytes as u64 <= LARGEST_OVER);
                match (exists.integer(), kept.deadline) {
                    // Restored with a deadline in the past it would be deleted at once, and that replicated.
                    (_, Deadline::At(ms)) if ms <= now => self.found.expired.add(&kept.key),
                    (Some(0), _) => fresh.push(kept),
                    (Some(_), _) if small => there.push(kept),
                    (Some(_), _) => self.found.large.add(&kept.key),
                    (None, _) => self.found.refused.add(&kept.key),
                }
            }
        }
        if there.is_empty() {
            return Ok(());
        }
        let absolute = lane.server.absolute;
        let mut batch = Batch::default();
        if !absolute {
            batch.push(&[b"TIME"]);
        }
        for kept in &there {
            batch.push(&[if absolute { b"PEXPIRETIME".as_slice() } else { b"PTTL" }, &kept.key]);
            batch.push(&[b"DUMP", &kept.key]);
        }
        let count = there.len();
        let replies = lane.ask(&batch, count).await?;
        fatal(replies.iter())?;
        let (clock, replies) = clock(&replies, absolute);
        for (kept, replies) in there.into_iter().zip(replies.chunks(2)) {
            let [until, dump] = replies else { break };
            let Some(dump) = dump.text() else {
                // It went at this very moment, or is on the move.
                self.found.different.add(&kept.key);
                continue;
            };
            let held = fingerprint(dump);
            if held == kept.fingerprint {
                self.found.already += 1;
            } else if self.overwrite {
                let deadline = read_deadline(until, clock);
                over.push((kept, Over { deadline, fingerprint: held, dump: dump.to_vec() }));
            } else {
                self.found.different.add(&kept.key);
            }
        }
        Ok(())
    }

    /// Puts there what is written down, and writes down what of it was not put there after all.
    async fn put(&mut self, lane: &mut Lane, fresh: Vec<Kept>, over: Vec<(Kept, Over)>) -> Result<(), Fault> {
        let mut unmade = Vec::new();
        let mut fresh = fresh.into_iter().peekable();
        while fresh.peek().is_some() {
            // What is written down is put there, also when somebody stops it: a stop is heeded between frames.
            lane.breathe().await?;
            let most = lane.keys().max(8);
            let (mut some, mut size) = (Vec::new(), 0);
            while let Some(kept) =
                fresh.next_if(|kept| some.is_empty() || (some.len() < most && size + kept.dump.len() <= RESTORE_BYTES))
            {
                size += kept.dump.len();
                some.push(kept);
            }
            self.restore(lane, some, &mut unmade).await?;
            if matches!(self.found.ended, Ended::Failed(_)) {
                unmade.extend(fresh.by_ref());
                unmade.extend(over.into_iter().map(|(kept, _)| kept));
                return self.unmade(unmade).await;
            }
        }
        let mut done = Vec::new();
        for (kept, before) in over {
            lane.breathe().await?;
            let to = To::Value { dump: &kept.dump, deadline: kept.deadline };
            match swap(lane, &kept.key, before.fingerprint, before.deadline, to).await? {
                Swapped::Done => done.push(kept),
                Swapped::Otherwise(_) | Swapped::Written => {
                    self.found.different.add(&kept.key);
                    unmade.push(kept);
                }
                Swapped::Refused(line) => {
                    if let Some(error) = too_new(&line, &kept.dump) {
                        self.found.ended = Ended::Failed(error);
                    }
                    self.found.refused.add(&kept.key);
                    unmade.push(kept);
                }
            }
        }
        self.found.replaced += done.len() as u64;
        self.verify(lane, &done).await?;
        self.unmade(unmade).await
    }

    async fn restore(&mut self, lane: &mut Lane, keys: Vec<Kept>, unmade: &mut Vec<Kept>) -> Result<(), Fault> {
        let mut batch = Batch::default();
        for kept in &keys {
            let at = match kept.deadline {
                Deadline::At(ms) => ms.to_string(),
                Deadline::Never => "0".to_owned(),
            };
            batch.push(&[b"RESTORE", &kept.key, at.as_bytes(), &kept.dump, b"ABSTTL"]);
        }
        let mut done = Vec::new();
        {
            let replies = lane.ask(&batch, keys.len()).await?;
            fatal(replies.iter())?;
            for (kept, reply) in keys.into_iter().zip(&replies) {
                match reply.error() {
                    None => done.push(kept),
                    // Somebody was first.
                    Some(line) if line.starts_with("BUSYKEY") => {
                        self.found.different.add(&kept.key);
                        unmade.push(kept);
                    }
                    Some(line) => {
                        if let Some(error) = too_new(&line, &kept.dump) {
                            self.found.ended = Ended::Failed(error);
                        }
                        self.found.refused.add(&kept.key);
                        unmade.push(kept);
                    }
                }
            }
        }
        self.found.keys += done.len() as u64;
        self.verify(lane, &done).await
    }

    /// What was put there is what the export holds, with its deadline.
    async fn verify(&mut self, lane: &mut Lane, done: &[Kept]) -> Result<(), Fault> {
        let absolute = lane.server.absolute;
        let now = lane.server.now_ms();
        for some in done.chunks(lane.keys().max(8)) {
            let mut batch = Batch::default();
            if !absolute {
                batch.push(&[b"TIME"]);
            }
            for kept in some {
                batch.push(&[if absolute { b"PEXPIRETIME".as_slice() } else { b"PTTL" }, &kept.key]);
                batch.push(&[b"DUMP", &kept.key]);
            }
            let replies = lane.ask(&batch, some.len()).await?;
            fatal(replies.iter())?;
            let (clock, replies) = clock(&replies, absolute);
            for (kept, replies) in some.iter().zip(replies.chunks(2)) {
                let [until, dump] = replies else { break };
                let equal = match dump {
                    // Its time came meanwhile.
                    Reply::Nil => matches!(kept.deadline, Deadline::At(ms) if ms <= now + SOON_MS),
                    reply => {
                        reply.text().map(fingerprint) == Some(kept.fingerprint)
                            && is_same(read_deadline(until, clock), kept.deadline)
                    }
                };
                if !equal {
                    self.found.unverified.add(&kept.key);
                }
            }
        }
        Ok(())
    }

    async fn unmade(&mut self, keys: Vec<Kept>) -> Result<(), Fault> {
        if keys.is_empty() {
            return Ok(());
        }
        let records = keys.into_iter().map(|kept| Record::Unmade { db: kept.db, key: kept.key }).collect();
        if let Err(error) = append(&self.writer, records).await
            && self.found.ended == Ended::Done
        {
            self.found.ended = Ended::Failed(unkept(&error));
        }
        Ok(())
    }
}
