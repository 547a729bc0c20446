//! One connection that several hands share.
//!
//! Work on keys goes through stages, and each stage needs the answers of the
//! one before. One pair of hands would pay a round trip for every stage; so
//! several are at work, each with keys of its own, and what they ask while the
//! connection is taken goes out together as soon as it is free. The order of
//! the stages is kept for each of them, and what is in flight is one batch.

use std::sync::Mutex;

use tokio::{
    sync::{MutexGuard, oneshot},
    time::Instant,
};

use super::{
    super::{fault::Fault, line::Line},
    lock,
};
use crate::{diagnosis::errors::NetworkFault, keyspace::wire::Batch};

/// The connection, and what is to go out over it next.
pub(super) struct SharedLine {
    next: Mutex<Next>,
    /// Once it has failed, what comes back next may answer something else: nothing more is asked over it.
    line: tokio::sync::Mutex<Result<Line, Fault>>,
}

/// What goes out together.
#[derive(Default)]
struct Next {
    batch: Batch,
    keys: usize,
    /// How many replies are whose.
    whose: Vec<(usize, Tell)>,
}

/// Where the bytes that answer somebody go.
type Tell = oneshot::Sender<Result<Vec<u8>, Fault>>;

/// Nobody answers: whoever had the connection was dropped before the answers came.
fn cut() -> Fault {
    Fault::Network(NetworkFault::Closed)
}

impl SharedLine {
    pub(super) fn new(line: Line) -> Self {
        Self { next: Mutex::default(), line: tokio::sync::Mutex::new(Ok(line)) }
    }

    /// Asks something about so many keys, together with what others ask; the bytes that answer it.
    ///
    /// `went` is told of every batch that went out, and of how many keys it was.
    pub(super) async fn ask(
        &self,
        batch: &Batch,
        keys: usize,
        until: impl Fn() -> Instant,
        went: impl FnOnce(usize),
    ) -> Result<Vec<u8>, Fault> {
        let (tell, mut told) = oneshot::channel();
        {
            let mut next = lock(&self.next);
            next.batch.bytes.extend_from_slice(&batch.bytes);
            next.batch.replies += batch.replies;
            next.keys += keys;
            next.whose.push((batch.replies, tell));
        }
        // Taken in turn, so that by the time it is ours again everybody who was answered has asked anew.
        let mut line = self.line.lock().await;
        match told.try_recv() {
            Ok(answer) => return answer,
            Err(oneshot::error::TryRecvError::Closed) => return Err(cut()),
            Err(oneshot::error::TryRecvError::Empty) => {}
        }
        let Next { batch, keys, whose } = std::mem::take(&mut *lock(&self.next));
        let (counts, whose): (Vec<usize>, Vec<Tell>) = whose.into_iter().unzip();
        match together(&mut line, &batch, &counts, until()).await {
            Ok(line) => {
                went(keys);
                whose.into_iter().zip(line.shares()).for_each(|(tell, share)| drop(tell.send(Ok(share.to_vec()))));
            }
            Err(fault) => whose.into_iter().for_each(|tell| drop(tell.send(Err(fault.clone())))),
        }
        told.try_recv().unwrap_or_else(|_| Err(cut()))
    }

    /// The connection for oneself alone; what others ask meanwhile waits.
    pub(super) async fn taken(&self) -> MutexGuard<'_, Result<Line, Fault>> {
        self.line.lock().await
    }
}

/// Asks over a connection that is ours now; what comes back holds the answers. When this fails or is dropped, the
/// connection is of no use any more.
pub(super) async fn alone<'a>(
    line: &'a mut Result<Line, Fault>,
    batch: &Batch,
    until: Instant,
) -> Result<&'a Line, Fault> {
    together(line, batch, &[batch.replies], until).await
}

async fn together<'a>(
    line: &'a mut Result<Line, Fault>,
    batch: &Batch,
    counts: &[usize],
    until: Instant,
) -> Result<&'a Line, Fault> {
    let held = std::mem::replace(line, Err(cut()));
    *line = match held {
        Ok(mut held) => held.ask_together(batch, counts, until).await.map(|()| held),
        Err(fault) => Err(fault),
    };
    line.as_ref().map_err(Fault::clone)
}
