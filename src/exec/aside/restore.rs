//! Bringing back what a run took: keys with the deadlines they had, or the deadlines alone.

use std::collections::{HashMap, HashSet};

use super::{
    Ended, Ground, LARGEST_DUMP, Listed,
    choose::fatal,
    frames::{Frames, Unread},
    lane::{Lane, Told},
    name, recover,
    remove::{clock, read_deadline},
    retime::{Turn, Turned, deadlines, is_same, turn},
    unmake,
    ways::Ways,
};
use crate::{
    exec::{Looking, fault::Fault},
    keyspace::{
        rdb::dump::{Fingerprint, fingerprint},
        wire::{Batch, Reply},
    },
    model::Address,
    store::snapshot::{Deadline, Record, Snapshots, StepId},
};

/// No pipeline carries more bytes of values than this.
pub(super) const RESTORE_BYTES: usize = 256 << 10;

/// What bringing back came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::exec) struct Restored {
    /// Keys that are there again, or have their deadline again, and were verified.
    pub keys: u64,
    /// Keys that were there already, logically equal.
    pub already: u64,
    /// Keys that would have expired since: not revived.
    pub expired: Listed,
    /// Keys that are there with other data, or another deadline, than the run left: left alone.
    pub different: Listed,
    /// Keys that cannot be brought back: the server refuses them, or they are gone from where they were kept.
    pub lost: Listed,
    /// Keys that were brought back and are not what was kept when asked again.
    pub unverified: Listed,
    /// Keys that were sent to the server, of which its answer did not come: they may be there again.
    pub unsure: u64,
    /// Frames of the snapshot that could not be read.
    pub damaged: u64,
    /// How it ended.
    pub ended: Ended,
}

impl Restored {
    pub(super) fn nothing(ended: Ended) -> Self {
        Self {
            keys: 0,
            already: 0,
            expired: Listed::default(),
            different: Listed::default(),
            lost: Listed::default(),
            unverified: Listed::default(),
            unsure: 0,
            damaged: 0,
            ended,
        }
    }
}

/// A key as the snapshot has it.
struct Kept {
    key: Vec<u8>,
    deadline: Deadline,
    fingerprint: Fingerprint,
    dump: Vec<u8>,
}

struct Work<'a> {
    step: &'a StepId,
    ways: Ways<'a>,
    told: Told,
    found: Restored,
    /// Keys that were about to be put there and were not. What says so comes after what it is about, so that it is
    /// met first.
    unmade: HashSet<Vec<u8>>,
}

pub(in crate::exec) async fn restore(ground: &Ground, snapshots: &Snapshots, step: &StepId, cx: &Looking) -> Restored {
    let fail = |ended| Restored::nothing(Ended::Failed(ended));
    let frames = match Frames::open(snapshots, step).await {
        Ok(frames) => frames,
        Err(error) => return fail(error),
    };
    // A run that was cut short may have left keys aside; they come first.
    let mut found = Restored::nothing(Ended::Done);
    if !frames.closed {
        let tidied = match recover::recover(ground, snapshots, step, cx).await {
            Ok(tidied) => tidied,
            Err(error) => return fail(error),
        };
        // What is written down besides is met again in its frame, and counted there.
        found.keys = tidied.put_back - tidied.put_back_written;
        if let Some(why) = tidied.why {
            return Restored { keys: tidied.put_back, ended: Ended::Failed(why), ..found };
        }
    }
    let ways = match Ways::of(ground, cx).await {
        Ok(ways) => ways,
        Err(error) => return Restored { ended: Ended::Failed(error), ..found },
    };
    let told = Told::new("bringing back", None, cx);
    let mut work = Work { step, ways, told, found, unmade: HashSet::new() };
    // From the last frame to the first: of a key that was taken twice, the newer value is the one to come back.
    let mut frames = frames.backwards();
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
    work.found
}

/// The records of a frame for one server, by kind.
#[derive(Default)]
struct Share {
    keys: Vec<Kept>,
    turns: Vec<Turn>,
    aside: Vec<(Vec<u8>, Deadline)>,
    made: Vec<unmake::Made>,
}

impl Work<'_> {
    async fn frame(&mut self, records: Vec<Record>) -> Result<(), (Address, Fault)> {
        let mut shares: HashMap<Address, Share> = HashMap::new();
        for record in records {
            let key = match &record {
                Record::Key { key, .. } | Record::Retimed { key, .. } | Record::Aside { key, .. } => key,
                Record::Made { key, .. } if self.unmade.contains(key) => continue,
                Record::Made { key, .. } => key,
                Record::Unmade { key, .. } => {
                    self.unmade.insert(key.clone());
                    continue;
                }
                Record::Contents(_) | Record::End { .. } => continue,
            };
            let Some(address) = self.ways.holder(key) else {
                self.found.lost.add(key);
                continue;
            };
            let share = shares.entry(address).or_default();
            match record {
                Record::Key { key, deadline, fingerprint, dump, .. } => {
                    share.keys.push(Kept { key, deadline, fingerprint, dump });
                }
                // What it was set to is what has to be there still; what it was before is where it goes.
                Record::Retimed { key, old, new, .. } => share.turns.push(Turn { key, old: new, new: old }),
                Record::Aside { key, deadline, .. } => share.aside.push((key, deadline)),
                Record::Made { key, deadline, fingerprint, over, .. } => {
                    share.made.push(unmake::Made { key, deadline, fingerprint, over });
                }
                Record::Unmade { .. } | Record::Contents(_) | Record::End { .. } => {}
            }
        }
        for (address, share) in shares {
            self.share(&address, share).await.map_err(|fault| (address.clone(), fault))?;
            if self.found.ended != Ended::Done {
                break;
            }
        }
        Ok(())
    }

    async fn share(&mut self, address: &Address, share: Share) -> Result<(), Fault> {
        let mut lane = self.ways.take(address).await?;
        let mut keys = share.keys.into_iter().peekable();
        while keys.peek().is_some() {
            if self.rest(&mut lane).await? {
                return Ok(());
            }
            let most = lane.keys().max(8);
            let (mut some, mut size) = (Vec::new(), 0);
            while let Some(key) =
                keys.next_if(|key| some.is_empty() || (some.len() < most && size + key.dump.len() <= RESTORE_BYTES))
            {
                size += key.dump.len();
                some.push(key);
            }
            let count = some.len() as u64;
            self.found.unsure = count;
            self.keys(&mut lane, some).await?;
            self.found.unsure = 0;
            self.told.add(count);
        }
        for turns in share.turns.chunks(lane.keys().max(8)) {
            if self.rest(&mut lane).await? {
                return Ok(());
            }
            self.found.unsure = turns.len() as u64;
            self.turns(&mut lane, turns).await?;
            self.found.unsure = 0;
            self.told.add(turns.len() as u64);
        }
        for aside in share.aside.chunks(lane.keys().max(8)) {
            if self.rest(&mut lane).await? {
                return Ok(());
            }
            self.found.unsure = aside.len() as u64;
            self.aside(&mut lane, aside).await?;
            self.found.unsure = 0;
            self.told.add(aside.len() as u64);
        }
        for made in share.made.chunks(lane.keys().max(8)) {
            if self.rest(&mut lane).await? {
                return Ok(());
            }
            self.found.unsure = made.len() as u64;
            unmake::unmake(&mut lane, made, &mut self.found).await?;
            self.found.unsure = 0;
            self.told.add(made.len() as u64);
        }
        self.ways.put(address, lane);
        Ok(())
    }

    /// Whether it is time to stop.
    async fn rest(&mut self, lane: &mut Lane) -> Result<bool, Fault> {
        let stopped = lane.breathe().await?;
        Ok(match stopped {
            Some(why) => {
                self.found.ended = Ended::Stopped(why);
                true
            }
            None => false,
        })
    }

    async fn keys(&mut self, lane: &mut Lane, keys: Vec<Kept>) -> Result<(), Fault> {
        let now = lane.server.now_ms();
        let absolute = lane.server.absolute;
        let mut batch = Batch::default();
        let mut tried = Vec::with_capacity(keys.len());
        for key in keys {
            let at = match key.deadline {
                // Restored with a deadline in the past it would be deleted at once, and that replicated.
                Deadline::At(ms) if ms <= now => {
                    self.found.expired.add(&key.key);
                    continue;
                }
                Deadline::At(ms) => ms.to_string(),
                Deadline::Never => "0".to_owned(),
            };
            batch.push(&[b"RESTORE", &key.key, at.as_bytes(), &key.dump, b"ABSTTL"]);
            batch.push(&[b"MEMORY", b"USAGE", &key.key]);
            tried.push(key);
        }
        if tried.is_empty() {
            return Ok(());
        }
        let mut there: Vec<(Kept, bool)> = Vec::new();
        {
            let replies = lane.ask(&batch, tried.len()).await?;
            fatal(replies.iter().step_by(2))?;
            for (key, replies) in tried.into_iter().zip(replies.chunks(2)) {
                let error = replies[0].error();
                let small =
                    replies.get(1).and_then(Reply::integer).is_none_or(|bytes| bytes as u64 <= 4 * LARGEST_DUMP);
                match error.as_deref() {
                    None => there.push((key, true)),
                    Some(line) if line.starts_with("BUSYKEY") && small => there.push((key, false)),
                    // Too large to be compared: it is not what was removed.
                    Some(line) if line.starts_with("BUSYKEY") => self.found.different.add(&key.key),
                    Some(_) => self.found.lost.add(&key.key),
                }
            }
        }
        let mut batch = Batch::default();
        if !absolute {
            batch.push(&[b"TIME"]);
        }
        for (key, _) in &there {
            batch.push(&[if absolute { b"PEXPIRETIME".as_slice() } else { b"PTTL" }, &key.key]);
            batch.push(&[b"DUMP", &key.key]);
        }
        if there.is_empty() {
            return Ok(());
        }
        let replies = lane.ask(&batch, there.len()).await?;
        let (clock, replies) = clock(&replies, absolute);
        for ((key, restored), replies) in there.iter().zip(replies.chunks(2)) {
            let [deadline, dump] = replies else { break };
            let equal = dump.text().is_some_and(|dump| fingerprint(dump) == key.fingerprint);
            match (restored, equal && is_same(read_deadline(deadline, clock), key.deadline)) {
                (true, true) => self.found.keys += 1,
                (true, false) => {
                    self.found.keys += 1;
                    self.found.unverified.add(&key.key);
                }
                (false, _) if equal => self.found.already += 1,
                (false, _) => self.found.different.add(&key.key),
            }
        }
        Ok(())
    }

    async fn turns(&mut self, lane: &mut Lane, turns: &[Turn]) -> Result<(), Fault> {
        let names = turns.iter().map(|turn| turn.key.clone()).collect();
        let mut gone = 0;
        let held: HashMap<Vec<u8>, Deadline> = deadlines(lane, names, &mut gone).await?.into_iter().collect();
        let now = lane.server.now_ms();
        let mut back = Vec::new();
        for wanted in turns {
            match held.get(&wanted.key) {
                None => self.found.expired.add(&wanted.key),
                Some(held) if is_same(*held, wanted.new) => self.found.already += 1,
                // Somebody has given it yet another one since.
                Some(held) if !is_same(*held, wanted.old) => self.found.different.add(&wanted.key),
                // It would have expired by now, and would do so at once.
                Some(_) if matches!(wanted.new, Deadline::At(ms) if ms <= now) => self.found.expired.add(&wanted.key),
                Some(_) => back.push(Turn { key: wanted.key.clone(), old: wanted.old, new: wanted.new }),
            }
        }
        if back.is_empty() {
            return Ok(());
        }
        for (wanted, how) in back.iter().zip(turn(lane, &back, None).await?) {
            match how {
                Turned::Done => self.found.keys += 1,
                Turned::Gone => self.found.expired.add(&wanted.key),
                Turned::Elsewhere => self.found.lost.add(&wanted.key),
                Turned::Refused | Turned::Otherwise => self.found.unverified.add(&wanted.key),
            }
        }
        Ok(())
    }

    async fn aside(&mut self, lane: &mut Lane, keys: &[(Vec<u8>, Deadline)]) -> Result<(), Fault> {
        let now = lane.server.now_ms();
        let mut batch = Batch::default();
        let names: Vec<Vec<u8>> = keys.iter().map(|(key, _)| name::aside(self.step, key)).collect();
        for ((key, deadline), aside) in keys.iter().zip(&names) {
            // The deadline it had comes first, so that it never has its name and another deadline.
            match deadline {
                Deadline::Never => batch.push(&[b"PERSIST", aside]),
                Deadline::At(ms) => batch.push(&[b"PEXPIREAT", aside, ms.to_string().as_bytes()]),
            }
            batch.push(&[b"RENAMENX", aside, key]);
            batch.push(&[b"EXISTS", key]);
        }
        let mut taken = Vec::new();
        {
            let replies = lane.ask(&batch, keys.len()).await?;
            fatal(replies.iter())?;
            for (((key, deadline), aside), replies) in keys.iter().zip(&names).zip(replies.chunks(3)) {
                let [_, renamed, exists] = replies else { break };
                match renamed.integer() {
                    Some(1) => self.found.keys += 1,
                    Some(_) => taken.push((key, aside)),
                    // It is not aside any more, and has its name: as an undo before this one left it.
                    None if exists.integer() == Some(1) => self.found.already += 1,
                    None if matches!(deadline, Deadline::At(ms) if *ms <= now) => self.found.expired.add(key),
                    None => self.found.lost.add(key),
                }
            }
        }
        // Both are there. They were too large to be read, so that they are equal cannot be seen: nothing is given up.
        for (key, aside) in taken {
            let mut sizes = Batch::default();
            sizes.push(&[b"MEMORY", b"USAGE", key]);
            sizes.push(&[b"MEMORY", b"USAGE", aside]);
            let small = {
                let replies = lane.ask(&sizes, 1).await?;
                replies.iter().all(|reply| reply.integer().is_some_and(|bytes| bytes as u64 <= LARGEST_DUMP))
            };
            if !small {
                self.found.different.add(key);
                continue;
            }
            let mut both = Batch::default();
            both.push(&[b"DUMP", key]);
            both.push(&[b"DUMP", aside]);
            let equal = {
                let replies = lane.ask(&both, 1).await?;
                let prints: Vec<Fingerprint> = replies.iter().filter_map(Reply::text).map(fingerprint).collect();
                matches!(prints[..], [one, other] if one == other)
            };
            if equal {
                let mut rid = Batch::default();
                rid.push(&[b"UNLINK", aside]);
                lane.ask(&rid, 1).await?;
                self.found.already += 1;
            } else {
                self.found.different.add(key);
            }
        }
        Ok(())
    }
}
