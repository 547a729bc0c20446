//! After a run was cut short: what is aside, and what of it is on the disk.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{
    Ground, Listed,
    choose::fatal,
    lane::{self, Host, Lane, Walk},
    name, primaries,
    remove::put_back,
    unkept,
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
    /// Keys that are aside still, because their names were taken anew meanwhile.
    pub stranded: Listed,
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
        let explain = |fault: Fault| ground.explain(&fault, &address, "SCAN");
        let host = lane::meet(ground, &address, 1, cx).await.map_err(explain)?;
        let explain = |fault: Fault| ground.explain(&fault, &address, "SCAN");
        let names = own(ground, &host, step).await.map_err(explain)?;
        if names.is_empty() {
            continue;
        }
        let originals = names.iter().filter_map(|aside| name::original(step, aside).map(<[u8]>::to_vec)).collect();
        let (written, torn) = written(snapshots, step, originals).await.map_err(|error| unkept(&error))?;
        found.torn |= torn;
        tidy(ground, &host, step, names, &written, &mut found)
            .await
            .map_err(|fault| ground.explain(&fault, &address, "RENAMENX"))?;
    }
    Ok(found)
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
) -> Result<(), Fault> {
    let mut lane = Lane::open(ground, host).await?;
    let (mut back, mut check) = (Vec::new(), Vec::new());
    for aside in names {
        let Some(original) = name::original(step, &aside).map(<[u8]>::to_vec) else { continue };
        match written.get(&original) {
            Some(written) if written.aside => found.kept += 1,
            Some(written) => check.push((original, aside, &written.fingerprints)),
            None => back.push((original, aside)),
        }
    }
    for some in check.chunks(lane.keys().max(8)) {
        let mut batch = Batch::default();
        some.iter().for_each(|(_, aside, _)| batch.push(&[b"DUMP", aside]));
        let mut done = Batch::default();
        {
            let replies = lane.ask(&batch, some.len()).await?;
            fatal(replies.iter())?;
            for ((original, aside, fingerprints), reply) in some.iter().zip(&replies) {
                match reply {
                    // It has expired where it was.
                    Reply::Nil => {}
                    // The very value that is on the disk, and not one that took its name later.
                    reply if reply.text().is_some_and(|dump| fingerprints.contains(&fingerprint(dump))) => {
                        done.push(&[b"UNLINK", aside]);
                    }
                    _ => back.push((original.clone(), aside.clone())),
                }
            }
        }
        found.finished += done.replies as u64;
        let count = done.replies;
        fatal(lane.ask(&done, count).await?.iter())?;
    }
    found.put_back += put_back(&mut lane, back, &mut found.stranded).await?;
    Ok(())
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
