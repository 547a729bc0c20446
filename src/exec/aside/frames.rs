//! The frames of a snapshot, read one after the other where blocking is allowed.

use std::collections::VecDeque;

use super::{refused, unkept};
use crate::{
    diagnosis::Explained,
    store::snapshot::{Record, SnapshotError, SnapshotReader, Snapshots, StepId},
};

/// Frames that are still to be read.
pub(super) struct Frames {
    reader: Option<SnapshotReader>,
    /// The number of each, and where it begins.
    left: VecDeque<(u32, u64)>,
    count: usize,
    /// The run came to its end.
    pub(super) closed: bool,
}

/// Why a frame was not read.
pub(super) enum Unread {
    /// It is damaged; the others may be good.
    Damaged,
    /// Nothing more can be read.
    Broken(Explained),
}

impl Frames {
    pub(super) async fn open(snapshots: &Snapshots, step: &StepId) -> Result<Self, Explained> {
        let (snapshots, step) = (snapshots.clone(), step.clone());
        let opening = move || {
            let mut reader = snapshots.read(&step)?;
            let places = reader.frames()?;
            let last = places.last().map(|place| reader.frame_at(*place, places.len() as u32));
            let closed = last.is_some_and(|last| last.is_ok()) && reader.is_closed();
            Ok(Self { reader: Some(reader), count: places.len(), left: (1..).zip(places).collect(), closed })
        };
        let opened = tokio::task::spawn_blocking(opening).await.unwrap_or(Err(SnapshotError::Broken));
        opened.map_err(|error| unkept(&error))
    }

    /// Only if the run came to its end: an export that was cut short is none.
    pub(super) fn whole(self) -> Result<Self, Explained> {
        if self.closed {
            return Ok(self);
        }
        Err(refused(
            "the export does not come to its end",
            "it was cut short, or is still being written",
            "export again: `/redis exports` lists those that are whole",
        ))
    }

    /// From the last to the first.
    pub(super) fn backwards(mut self) -> Self {
        self.left = self.left.into_iter().rev().collect();
        self
    }

    /// The records of the next one; `None` when there are no more.
    pub(super) async fn next(&mut self) -> Option<Result<Vec<Record>, Unread>> {
        let (number, place) = self.left.pop_front()?;
        let mut reader = self.reader.take()?;
        let reading = move || {
            let frame = reader.frame_at(place, number);
            (reader, frame)
        };
        // The task neither panics nor is it aborted; if it were, there is no reader any more.
        let (reader, frame) = match tokio::task::spawn_blocking(reading).await {
            Ok(read) => read,
            Err(_) => return Some(Err(Unread::Broken(unkept(&SnapshotError::Broken)))),
        };
        self.reader = Some(reader);
        Some(match frame {
            Ok(frame) => Ok(frame.records),
            Err(error @ (SnapshotError::Io { .. } | SnapshotError::Broken)) => Err(Unread::Broken(unkept(&error))),
            Err(_) => Err(Unread::Damaged),
        })
    }

    /// How much of it was read, 0 to 1.
    pub(super) fn share(&self) -> f64 {
        1.0 - self.left.len() as f64 / self.count.max(1) as f64
    }
}
