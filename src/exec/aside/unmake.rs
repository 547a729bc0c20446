//! Taking back what an import put there: what is as it was put goes, and what it took the place of comes back.

use super::{
    LARGEST_COPY,
    choose::fatal,
    lane::Lane,
    restore::Restored,
    swap::{Swapped, To, swap},
};
use crate::{
    exec::fault::Fault,
    keyspace::{
        rdb::dump::{Fingerprint, fingerprint},
        wire::{Batch, Reply},
    },
    store::snapshot::{Deadline, Over},
};

/// A key that was put there.
pub(super) struct Made {
    pub(super) key: Vec<u8>,
    pub(super) deadline: Deadline,
    pub(super) fingerprint: Fingerprint,
    pub(super) over: Option<Over>,
}

/// Takes these back, where nobody changed them since.
pub(super) async fn unmake(lane: &mut Lane, keys: &[Made], found: &mut Restored) -> Result<(), Fault> {
    let mut batch = Batch::default();
    for made in keys {
        batch.push(&[b"EXISTS", &made.key]);
        batch.push(&[b"MEMORY", b"USAGE", &made.key]);
    }
    let there: Vec<(bool, u64)> = {
        let replies = lane.ask(&batch, keys.len()).await?;
        fatal(replies.iter().step_by(2))?;
        let read = |pair: &[Reply<'_>]| {
            let bytes = pair.get(1).and_then(Reply::integer).unwrap_or(0).max(0) as u64;
            (pair.first().and_then(Reply::integer) == Some(1), bytes)
        };
        replies.chunks(2).map(read).collect()
    };
    for (made, (there, bytes)) in keys.iter().zip(there) {
        let now = lane.server.now_ms();
        // Its time may be over: then nothing is what was there before.
        let before = made.over.as_ref().filter(|over| over.deadline.is_after(now));
        if !there {
            absent(lane, made, before, found).await?;
            continue;
        }
        // What is larger than it ever was is not what was put there.
        if bytes > 2 * LARGEST_COPY {
            found.different.add(&made.key);
            continue;
        }
        let to = match before {
            Some(over) => To::Value { dump: &over.dump, deadline: over.deadline },
            None => To::Nothing,
        };
        match swap(lane, &made.key, made.fingerprint, made.deadline, to).await? {
            Swapped::Done => match before {
                Some(over) => verify(lane, &made.key, over, found).await?,
                None if made.over.is_some() => found.expired.add(&made.key),
                None => found.keys += 1,
            },
            Swapped::Otherwise(None) => absent(lane, made, before, found).await?,
            // As an undo before this one left it, or as the import never changed it.
            Swapped::Otherwise(Some(held)) if before.is_some_and(|over| over.fingerprint == held) => {
                found.already += 1;
            }
            Swapped::Otherwise(Some(_)) | Swapped::Written => found.different.add(&made.key),
            Swapped::Refused(_) => found.lost.add(&made.key),
        }
    }
    Ok(())
}

/// The name is free: what was there before comes back, if anything was.
async fn absent(lane: &mut Lane, made: &Made, before: Option<&Over>, found: &mut Restored) -> Result<(), Fault> {
    let Some(over) = before else {
        match made.over {
            Some(_) => found.expired.add(&made.key),
            None => found.already += 1,
        }
        return Ok(());
    };
    let at = match over.deadline {
        Deadline::At(ms) => ms.to_string(),
        Deadline::Never => "0".to_owned(),
    };
    let mut batch = Batch::default();
    batch.push(&[b"RESTORE", &made.key, at.as_bytes(), &over.dump, b"ABSTTL"]);
    let refused = {
        let replies = lane.ask(&batch, 1).await?;
        fatal(replies.iter())?;
        replies[0].error()
    };
    match refused {
        None => verify(lane, &made.key, over, found).await?,
        Some(line) if line.starts_with("BUSYKEY") => found.different.add(&made.key),
        Some(_) => found.lost.add(&made.key),
    }
    Ok(())
}

/// What came back must be what was kept.
async fn verify(lane: &mut Lane, key: &[u8], over: &Over, found: &mut Restored) -> Result<(), Fault> {
    let mut batch = Batch::default();
    batch.push(&[b"DUMP", key]);
    let replies = lane.ask(&batch, 1).await?;
    fatal(replies.iter())?;
    found.keys += 1;
    if replies[0].text().map(fingerprint) != Some(over.fingerprint) {
        found.unverified.add(key);
    }
    Ok(())
}
