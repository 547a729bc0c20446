//! Walks over a keyspace that outlive the process: packed into the store now
//! and then while they go on and when they are stopped, unpacked when the same
//! question is asked again.

use std::{
    io::Read,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use tokio::sync::Mutex;
use tokio_util::task::TaskTracker;

use crate::{keyspace::Checkpoint, store::Store};

/// No unpacked walk is larger; what claims to be is not read.
const LARGEST: u64 = 256 << 20;
/// How hard it is packed: quickly, because a walk is under way.
const PACKING: i32 = 1;

/// Where walks are kept, for those who have a store.
#[derive(Debug, Clone)]
pub(crate) struct Walks {
    store: Store,
    /// What is being written. The house waits for it before it closes.
    writing: TaskTracker,
}

impl Walks {
    pub(crate) fn new(store: Store, writing: TaskTracker) -> Self {
        Self { store, writing }
    }

    /// The place of one question's walk.
    pub(crate) fn of(&self, question: String) -> Arc<Kept> {
        Arc::new(Kept { walks: self.clone(), question, over: Mutex::new(false), busy: AtomicBool::new(false) })
    }
}

/// One question's walk in the store.
#[derive(Debug)]
pub(crate) struct Kept {
    walks: Walks,
    question: String,
    /// It has come to its end: nothing of it is written any more.
    over: Mutex<bool>,
    busy: AtomicBool,
}

impl Kept {
    /// A walk that was kept, not longer ago than `within`, and how long ago.
    pub(crate) async fn find(&self, within: Duration) -> Option<(Duration, Checkpoint)> {
        let found = self.walks.store.walk(&self.question).await;
        let (at, document) = found.inspect_err(|error| tracing::warn!(%error, "a walk cannot be looked up")).ok()??;
        // A clock that was set back makes it young, not old.
        let age = Duration::try_from(Timestamp::now().duration_since(at)).unwrap_or_default();
        if age > within {
            return None;
        }
        let unpacked = tokio::task::spawn_blocking(move || unpack(&document)).await.ok()?;
        let checkpoint = unpacked.inspect_err(|error| tracing::warn!(%error, "a walk that was kept cannot be read"));
        Some((age, checkpoint.ok()?))
    }

    /// Writes it, unless one of it is being written.
    pub(crate) fn keep_now_and_then(self: &Arc<Self>, checkpoint: impl FnOnce() -> Checkpoint) {
        if !self.busy.swap(true, Ordering::AcqRel) {
            self.keep(checkpoint());
        }
    }

    /// Writes it, after whatever of it is being written.
    pub(crate) fn keep(self: &Arc<Self>, checkpoint: Checkpoint) {
        // Without a runtime the process is ending, and what was kept last has to do.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let kept = self.clone();
            self.walks.writing.spawn_on(async move { kept.write(checkpoint).await }, &runtime);
        }
    }

    async fn write(&self, checkpoint: Checkpoint) {
        let over = self.over.lock().await;
        // The next one may be made; it waits for this one.
        self.busy.store(false, Ordering::Release);
        if !*over && checkpoint.is_worth_keeping() {
            let packed = tokio::task::spawn_blocking(move || pack(&checkpoint)).await;
            let written = match packed {
                Ok(Ok(document)) => self.walks.store.walk_keep(&self.question, Timestamp::now(), document).await,
                Ok(Err(error)) => return tracing::warn!(%error, "a walk cannot be packed"),
                Err(_) => return,
            };
            if let Err(error) = written {
                tracing::warn!(%error, "a walk was not kept; it will begin anew");
            }
        }
    }

    /// The walk came to its end.
    pub(crate) async fn forget(&self) {
        let mut over = self.over.lock().await;
        *over = true;
        if let Err(error) = self.walks.store.walk_gone(&self.question).await {
            tracing::warn!(%error, "a walk that is over is still kept");
        }
    }

    /// Held while the walk may still have to be written.
    pub(crate) fn under_way(&self) -> tokio_util::task::task_tracker::TaskTrackerToken {
        self.walks.writing.token()
    }
}

fn pack(checkpoint: &Checkpoint) -> std::io::Result<Vec<u8>> {
    let mut packer = zstd::Encoder::new(Vec::new(), PACKING)?;
    serde_json::to_writer(&mut packer, checkpoint)?;
    packer.finish()
}

fn unpack(document: &[u8]) -> std::io::Result<Checkpoint> {
    let reader = std::io::BufReader::new(zstd::Decoder::new(document)?.take(LARGEST));
    Ok(serde_json::from_reader(reader)?)
}
