//! An export held against what is there now, before anything is put back.

use super::{
    Ground, LARGEST_DUMP, Listed,
    choose::fatal,
    frames::{Frames, Unread},
    lane::{Lane, Told},
    spread::Spread,
    ways::Ways,
};
use crate::{
    diagnosis::Explained,
    exec::{Looking, fault::Fault},
    keyspace::{
        glob,
        rdb::dump::{Fingerprint, fingerprint},
        wire::{Batch, Reply},
    },
    model::Address,
    store::snapshot::{Deadline, Record, Snapshots, StepId},
};

/// What an export would come to if it were put back now.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Weighed {
    /// Keys of it that are meant.
    pub keys: u64,
    /// Keys that are not there: they would be put back.
    pub missing: Listed,
    /// Bytes of values these take in the export.
    pub missing_bytes: u64,
    /// How these are spread, by bytes of values.
    pub spread: Spread,
    /// Of these, how many have a deadline.
    pub expiring: u64,
    /// Keys that are there with the same value.
    pub equal: u64,
    /// Keys that are there with another value, and the bytes they take now.
    pub different: Listed,
    /// Bytes of memory these take now.
    pub different_bytes: u64,
    /// Keys that are there, and could not be compared: too large, or the right to `DUMP` lacks.
    pub unread: u64,
    /// Keys whose time is over since: they would not be revived.
    pub expired: Listed,
    /// Frames that cannot be read.
    pub damaged: u64,
    /// Everything was looked at; else figures are estimated from this share.
    pub share: f64,
    /// Why not everything was.
    pub stopped: Option<String>,
}

impl Weighed {
    /// What was counted in a share of it, for all of it.
    fn extrapolate(&mut self) {
        if self.share <= 0.0 || self.share >= 1.0 {
            return;
        }
        let whole = |count: &mut u64| *count = (*count as f64 / self.share).round() as u64;
        for count in [
            &mut self.keys,
            &mut self.missing.count,
            &mut self.missing_bytes,
            &mut self.expiring,
            &mut self.equal,
            &mut self.different.count,
            &mut self.different_bytes,
            &mut self.unread,
            &mut self.expired.count,
        ] {
            whole(count);
        }
        self.spread.extrapolate(self.share);
    }

    /// Adds another file of the same export.
    pub fn merge(&mut self, other: Weighed) {
        self.keys += other.keys;
        self.missing.merge(other.missing);
        self.missing_bytes += other.missing_bytes;
        self.spread.merge(other.spread);
        self.expiring += other.expiring;
        self.equal += other.equal;
        self.different.merge(other.different);
        self.different_bytes += other.different_bytes;
        self.unread += other.unread;
        self.expired.merge(other.expired);
        self.damaged += other.damaged;
        self.share = self.share.min(other.share);
        self.stopped = self.stopped.take().or(other.stopped);
    }
}

/// A key of an export, as far as it has to be known to be compared.
struct Kept {
    key: Vec<u8>,
    kind: String,
    deadline: Deadline,
    fingerprint: Fingerprint,
    bytes: u64,
}

/// Whether a key is among those that are meant.
pub(super) fn is_meant(only: Option<&str>, key: &[u8]) -> bool {
    only.is_none_or(|only| glob::matches(only.as_bytes(), key))
}

pub(in crate::exec) async fn weigh(
    ground: &Ground,
    snapshots: &Snapshots,
    step: &StepId,
    only: Option<&str>,
    cx: &Looking,
) -> Result<Weighed, Explained> {
    let mut frames = Frames::open(snapshots, step).await?.whole()?;
    let told = Told::new("comparing", None, cx);
    let mut work = Work { ways: Ways::of(ground, cx).await?, only, may_dump: true, found: Weighed::default(), told };
    while let Some(records) = frames.next().await {
        match records {
            Ok(records) => {
                work.frame(records).await.map_err(|(address, fault)| ground.explain(&fault, &address, "EXISTS"))?
            }
            Err(Unread::Broken(error)) => return Err(error),
            Err(Unread::Damaged) => work.found.damaged += 1,
        }
        if work.found.stopped.is_some() {
            break;
        }
        work.found.share = frames.share();
    }
    work.found.extrapolate();
    Ok(work.found)
}

struct Work<'a> {
    ways: Ways<'a>,
    only: Option<&'a str>,
    may_dump: bool,
    found: Weighed,
    told: Told,
}

impl Work<'_> {
    async fn frame(&mut self, records: Vec<Record>) -> Result<(), (Address, Fault)> {
        let kept = records.into_iter().filter_map(|record| match record {
            Record::Key { key, kind, deadline, fingerprint, dump, .. } if is_meant(self.only, &key) => {
                Some(Kept { key, kind, deadline, fingerprint, bytes: dump.len() as u64 })
            }
            _ => None,
        });
        let (shares, nowhere) = self.ways.sort(kept.collect::<Vec<_>>(), |kept| &kept.key);
        self.found.keys += nowhere.len() as u64;
        self.found.unread += nowhere.len() as u64;
        for (address, share) in shares {
            let told = |fault| (address.clone(), fault);
            let mut lane = self.ways.take(&address).await.map_err(told)?;
            let mut rest = share.into_iter();
            loop {
                let some: Vec<Kept> = rest.by_ref().take(lane.keys().max(8)).collect();
                if some.is_empty() {
                    break;
                }
                if let Some(why) = lane.breathe().await.map_err(told)? {
                    self.found.stopped = Some(why);
                    return Ok(());
                }
                let count = some.len() as u64;
                self.some(&mut lane, some).await.map_err(told)?;
                self.told.add(count);
            }
            self.ways.put(&address, lane);
        }
        Ok(())
    }

    async fn some(&mut self, lane: &mut Lane, keys: Vec<Kept>) -> Result<(), Fault> {
        let now = lane.server.now_ms();
        self.found.keys += keys.len() as u64;
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
                let bytes = bytes.integer().unwrap_or(0).max(0) as u64;
                match (exists.integer(), kept.deadline) {
                    (_, Deadline::At(ms)) if ms <= now => self.found.expired.add(&kept.key),
                    (Some(0), deadline) => {
                        self.found.missing.add(&kept.key);
                        self.found.missing_bytes += kept.bytes;
                        self.found.expiring += u64::from(deadline != Deadline::Never);
                        self.found.spread.add(&kept.kind, &kept.key, kept.bytes);
                    }
                    (Some(_), _) if self.may_dump && bytes <= LARGEST_DUMP => there.push((kept, bytes)),
                    _ => self.found.unread += 1,
                }
            }
        }
        let mut batch = Batch::default();
        there.iter().for_each(|(kept, _)| batch.push(&[b"DUMP", &kept.key]));
        let replies = lane.ask(&batch, there.len()).await?;
        for ((kept, bytes), reply) in there.iter().zip(&replies) {
            match reply {
                Reply::Error(line) if line.starts_with(b"NOPERM") => {
                    self.may_dump = false;
                    self.found.unread += 1;
                }
                Reply::Nil => self.found.missing.add(&kept.key),
                reply => match reply.text().map(fingerprint) {
                    Some(found) if found == kept.fingerprint => self.found.equal += 1,
                    Some(_) => {
                        self.found.different.add(&kept.key);
                        self.found.different_bytes += bytes;
                    }
                    None => self.found.unread += 1,
                },
            }
        }
        Ok(())
    }
}
