//! How much an earlier run kept, before anybody brings it back.

use super::{recover, unkept};
use crate::{
    diagnosis::Explained,
    store::snapshot::{Record, SnapshotError, Snapshots, StepId},
};

/// What the snapshot of a step holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenDown {
    /// Keys, or deadlines of keys.
    pub keys: u64,
    /// The run came to its end; else some of its keys may be aside still, and not among these.
    pub whole: bool,
    /// The one type they all have, where they are few.
    pub kind: Option<String>,
}

/// What a step wrote down, by the snapshot's own last word where it has one; `None`: there is no snapshot of it any more.
///
/// # Errors
///
/// When it is there and cannot be read.
pub async fn written_down(snapshots: &Snapshots, step: &StepId) -> Result<Option<WrittenDown>, Explained> {
    let (of, id) = (snapshots.clone(), step.clone());
    let said = tokio::task::spawn_blocking(move || last_word(&of, &id)).await.unwrap_or(Err(SnapshotError::Broken));
    match said {
        Err(SnapshotError::Missing(_)) => Ok(None),
        Err(error) => Err(unkept(&error)),
        Ok(Some(written)) => Ok(Some(written)),
        Ok(None) => {
            let keys = recover::count(snapshots, step).await.map_err(|error| unkept(&error))?;
            Ok(Some(WrittenDown { keys, whole: false, kind: None }))
        }
    }
}

fn last_word(snapshots: &Snapshots, step: &StepId) -> Result<Option<WrittenDown>, SnapshotError> {
    let mut reader = snapshots.read(step)?;
    let places = reader.frames()?;
    let Some(last) = places.last() else { return Ok(None) };
    let number = u32::try_from(places.len()).unwrap_or(u32::MAX);
    // What cannot be read is counted without it.
    let Ok(frame) = reader.frame_at(*last, number) else { return Ok(None) };
    let Some(Record::End { records: keys }) = frame.records.last() else { return Ok(None) };
    let first = match places.as_slice() {
        [first, _] => reader.frame_at(*first, 1).ok(),
        _ => None,
    };
    let mut kinds: Vec<String> = first.into_iter().flat_map(|frame| frame.records).filter_map(kind).collect();
    kinds.dedup();
    Ok(Some(WrittenDown { keys: *keys, whole: true, kind: kinds.pop().filter(|_| kinds.is_empty()) }))
}

fn kind(record: Record) -> Option<String> {
    match record {
        Record::Key { kind, .. } => Some(kind),
        _ => None,
    }
}
