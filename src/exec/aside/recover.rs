//! After a run was cut short: what is aside, and what of it is on the disk.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{
    Ground, Listed,
    choose::fatal,
    lane::{self, Host, Lane, Walk},
    name, primaries, unkept,
};
use crate::{
    diagnosis::Explained,
    exec::{Looking, fault::Fault},
    keyspace::{
        rdb::dump::{Fingerprint, fingerprint},
        wire::{Batch, Reply},
    },
    model::Address,
    store::snapshot::{Record, SnapshotError, Snapshots, StepId},
};

/// What was found of a run that was cut short, and what was done with it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::exec) struct Recovered {
    /// Records in its snapshot.
    pub written: u64,
    /// Keys that were aside and on the disk: they are removed now, and can be brought back.
    pub finished: u64,
    /// Keys that were aside and not on the disk: they have their names again.
    pub put_back: u64,
    /// Keys that are meant to stay aside.
    pub kept: u64,
    /// Of these, how many are written down all the same: they could not be removed.
    pub put_back_written: u64,
    /// Keys that are aside still, because their names were taken anew meanwhile.
    pub stranded: Listed,
    /// Keys that are aside still, because neither could be done with them.
    pub left: u64,
    /// Why; `Some` with none left: not every server could be looked at.
    pub why: Option<Explained>,
    /// The snapshot ended inside a frame, which is as if it had not been written.
    pub torn: bool,
}

/// What a snapshot says of a key.
#[derive(Default)]
struct Written {
    fingerprints: Vec<Fingerprint>,
    aside: bool,
}

pub(in crate::exec) async fn recover(
    ground: &Ground,
    snapshots: &Snapshots,
    step: &StepId,
    cx: &Looking,
) -> Result<Recovered, Explained> {
    let count = count(snapshots, step).await.map_err(|error| unkept(&error))?;
    let mut found = Recovered { written: count, ..Recovered::default() };
    for address in primaries(ground, cx).await? {
        // What one server refuses is no reason to leave what is on the others.
        if let Err(why) = recover_on(ground, snapshots, step, &address, cx, &mut found).await {
            found.why = Some(why);
        }
    }
    Ok(found)
}

async fn recover_on(
    ground: &Ground,
    snapshots: &Snapshots,
    step: &StepId,
    address: &Address,
    cx: &Looking,
    found: &mut Recovered,
) -> Result<(), Explained> {
    let explain = |fault: Fault| ground.explain(&fault, address, "SCAN");
    let host = lane::meet(ground, address, 1, cx).await.map_err(explain)?;
    let names = own(ground, &host, step).await.map_err(explain)?;
    if names.is_empty() {
        return Ok(());
    }
    let originals = names.iter().filter_map(|aside| name::original(step, aside).map(<[u8]>::to_vec)).collect();
    let (written, torn) = written(snapshots, step, originals).await.map_err(|error| unkept(&error))?;
    found.torn |= torn;
    let mut left = names.len() as u64;
    let tidied = tidy(ground, &host, step, names, &written, found, &mut left).await;
    found.left += left;
    tidied.map_err(|fault| ground.explain(&fault, address, "RENAMENX"))
}

/// Every name of a run on a server.
async fn own(ground: &Ground, host: &Arc<Host>, step: &StepId) -> Result<Vec<Vec<u8>>, Fault> {
    let mut lane = Lane::open(ground, host).await?;
    let mut walk = Walk::own(name::glob(step), host.facts.layout());
    let mut names = HashSet::new();
    while !walk.is_over() {
        if let Some(why) = lane.breathe().await? {
            return Err(Fault::Server(format!("ERR {why} before everything was looked at")));
        }
        names.extend(walk.next(&mut lane, usize::MAX).await?);
    }
    Ok(names.into_iter().collect())
}

/// What the snapshot says of these keys, and whether it ends inside a frame.
async fn written(
    snapshots: &Snapshots,
    step: &StepId,
    keys: HashSet<Vec<u8>>,
) -> Result<(HashMap<Vec<u8>, Written>, bool), SnapshotError> {
    let (snapshots, step) = (snapshots.clone(), step.clone());
    let reading = move || {
        let mut written: HashMap<Vec<u8>, Written> = HashMap::new();
        let mut torn = false;
        let reader = match snapshots.read(&step) {
            Ok(reader) => reader,
            // The run was cut before it had written anything.
            Err(SnapshotError::Missing(_)) => return Ok((written, false)),
            Err(error) => return Err(error),
        };
        for frame in reader {
            let records = match frame {
                Ok(frame) => frame.records,
                // What cannot be read is not kept: its keys get their names back.
                Err(SnapshotError::Torn { .. } | SnapshotError::Damaged { .. }) => {
                    torn = true;
                    continue;
                }
                Err(error) => return Err(error),
            };
            for record in records {
                match record {
                    Record::Key { key, fingerprint, .. } if keys.contains(&key) => {
                        written.entry(key).or_default().fingerprints.push(fingerprint);
                    }
                    Record::Aside { key, .. } if keys.contains(&key) => written.entry(key).or_default().aside = true,
                    _ => {}
                }
            }
        }
        Ok((written, torn))
    };
    tokio::task::spawn_blocking(reading).await.unwrap_or(Err(SnapshotError::Broken))
}

/// How many records the snapshot of a step holds; 0 when there is none.
pub(in crate::exec) async fn count(snapshots: &Snapshots, step: &StepId) -> Result<u64, SnapshotError> {
    let (snapshots, step) = (snapshots.clone(), step.clone());
    let counting = move || match snapshots.read(&step) {
        Ok(reader) => {
            let good = reader.filter_map(Result::ok).flat_map(|frame| frame.records);
            let said =
                |record: &Record| matches!(record, Record::End { .. } | Record::Contents(_) | Record::Unmade { .. });
            Ok(good.filter(|record| !said(record)).count() as u64)
        }
        Err(SnapshotError::Missing(_)) => Ok(0),
        Err(error) => Err(error),
    };
    tokio::task::spawn_blocking(counting).await.unwrap_or(Err(SnapshotError::Broken))
}

async fn tidy(
    ground: &Ground,
    host: &Arc<Host>,
    step: &StepId,
    names: Vec<Vec<u8>>,
    written: &HashMap<Vec<u8>, Written>,
    found: &mut Recovered,
    left: &mut u64,
) -> Result<(), Fault> {
    let mut lane = Lane::open(ground, host).await?;
    let (mut back, mut check) = (Vec::new(), Vec::new());
    for aside in names {
        match name::original(step, &aside).map(<[u8]>::to_vec) {
            None => *left -= 1,
            Some(original) => match written.get(&original) {
                Some(written) if written.aside => {
                    found.kept += 1;
                    *left -= 1;
                }
                Some(written) => check.push((original, aside, &written.fingerprints)),
                None => back.push(Back { original, aside, written: false }),
            },
        }
    }
    for some in check.chunks(lane.keys().max(8)) {
        let mut batch = Batch::default();
        some.iter().for_each(|(_, aside, _)| batch.push(&[b"DUMP", aside]));
        let (mut done, mut removed) = (Batch::default(), Vec::new());
        {
            let replies = lane.ask(&batch, some.len()).await?;
            for ((original, aside, fingerprints), reply) in some.iter().zip(&replies) {
                match reply {
                    // It has expired where it was.
                    Reply::Nil => *left -= 1,
                    // The very value that is on the disk, and not one that took its name later.
                    reply if reply.text().is_some_and(|dump| fingerprints.contains(&fingerprint(dump))) => {
                        done.push(&[b"UNLINK", aside]);
                        removed.push(Back { original: original.clone(), aside: aside.clone(), written: true });
                    }
                    _ => back.push(Back { original: original.clone(), aside: aside.clone(), written: true }),
                }
            }
        }
        let replies = lane.ask(&done, removed.len()).await?;
        for (key, reply) in removed.into_iter().zip(&replies) {
            // Where it may not be removed, it is to be seen again rather than hidden.
            if reply.error().is_some() {
                back.push(key);
            } else {
                found.finished += 1;
                *left -= 1;
            }
        }
    }
    names_back(&mut lane, back, found, left).await
}

/// A key that is to have its name back.
struct Back {
    original: Vec<u8>,
    aside: Vec<u8>,
    written: bool,
}

/// Gives each its name back that may have it; what the server refuses of one is no reason to leave the others.
async fn names_back(lane: &mut Lane, back: Vec<Back>, found: &mut Recovered, left: &mut u64) -> Result<(), Fault> {
    let mut refused = None;
    for some in back.chunks(lane.keys().max(16)) {
        let mut batch = Batch::default();
        some.iter().for_each(|key| batch.push(&[b"RENAMENX", &key.aside, &key.original]));
        let replies = lane.ask(&batch, some.len()).await?;
        for (key, reply) in some.iter().zip(&replies) {
            match (reply.integer(), reply.error()) {
                (Some(1), _) => {
                    found.put_back += 1;
                    found.put_back_written += u64::from(key.written);
                }
                (Some(_), _) => found.stranded.add(&key.original),
                (None, Some(line)) if !line.starts_with("ERR no such key") => {
                    refused = Some(Fault::Server(line));
                    continue;
                }
                // It has expired where it was.
                (None, _) => {}
            }
            *left -= 1;
        }
    }
    refused.map_or(Ok(()), Err)
}

/// Unlinks every name of a run; how many there were.
pub(in crate::exec) async fn clear(ground: &Ground, step: &StepId, cx: &Looking) -> Result<u64, Explained> {
    let mut count = 0;
    for address in primaries(ground, cx).await? {
        count +=
            clear_one(ground, &address, step, cx).await.map_err(|fault| ground.explain(&fault, &address, "UNLINK"))?;
    }
    Ok(count)
}

async fn clear_one(ground: &Ground, address: &Address, step: &StepId, cx: &Looking) -> Result<u64, Fault> {
    let host = lane::meet(ground, address, 1, cx).await?;
    let mut lane = Lane::open(ground, &host).await?;
    let mut walk = Walk::own(name::glob(step), host.facts.layout());
    let mut count = 0;
    while !walk.is_over() {
        if let Some(why) = lane.breathe().await? {
            return Err(Fault::Server(format!("ERR {why} before everything was unlinked")));
        }
        let keys = lane.keys();
        let names = walk.next(&mut lane, keys).await?;
        let mut batch = Batch::default();
        names.iter().for_each(|aside| batch.push(&[b"UNLINK", aside]));
        let replies = lane.ask(&batch, names.len()).await?;
        fatal(replies.iter())?;
        count += replies.iter().filter(|reply| reply.integer() == Some(1)).count() as u64;
    }
    Ok(count)
}
