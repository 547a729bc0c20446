//! Keys removed, given other deadlines, brought back, copied out and put in again.
//!
//! A key is removed in this order: chosen, renamed aside within its slot,
//! dumped with its deadline, its frame flushed to the snapshot, and only then
//! unlinked. At every moment it is under its own name, aside, or in a frame
//! on the disk; whatever cuts a run short, `recover` tells which, and
//! puts back what is not on the disk. Everything goes in batches paced by
//! what they cost the server, and stops between any two of them.

mod bound;
mod choose;
mod everywhere;
mod export;
mod exports;
mod frames;
mod import;
mod kept;
mod lane;
mod meant;
mod measure;
mod name;
mod point;
mod recover;
mod remove;
mod restore;
mod retime;
mod shared;
mod spread;
mod swap;
mod unmake;
mod watch;
mod ways;
mod weigh;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{
    Exec, Looking,
    fault::{Fault, of_a_change},
    foreign,
    site::Site,
};
use crate::{
    diagnosis::{Explained, Role},
    model::{Address, Credential, Instance, Service},
    policy::Permit,
    runbook::{Retime, Select},
    store::snapshot::{SnapshotError, SnapshotWriter, Snapshots, StepId},
};

pub use choose::Doubts;
pub use export::LARGEST_COPY;
pub(super) use export::{Exported, Exporting, export};
pub(super) use exports::read_whole;
pub use exports::{ExportFile, exports};
pub(super) use import::{Imported, Importing, import};
pub use kept::{WrittenDown, written_down};
pub use meant::{Meant, Names};
pub use measure::{CountFor, Measured};
pub(super) use recover::{Recovered, clear, count, recover};
pub(super) use remove::{Removed, remove};
pub(super) use restore::{Restored, restore};
pub(super) use retime::{Retimed, retime};
pub use spread::{Spread, show_spread};
pub use watch::{Watch, Watched};
pub use weigh::Weighed;
pub(super) use weigh::weigh;

/// A key above this many bytes is not dumped: serialising it would keep the server from others.
pub const LARGEST_DUMP: u64 = 512 << 10;

/// How work over many keys ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ended {
    /// All of it was gone through.
    Done,
    /// It was stopped in good order, for this reason; what it had done is told, and nothing is half done.
    Stopped(String),
    /// Something failed; what it had done is told, and what was left is found what was left.
    Failed(Explained),
}

/// Some keys, by their handles, and how many there are in all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listed {
    /// How many.
    pub count: u64,
    /// The first of them, as people may see them.
    pub handles: Vec<String>,
}

/// So many are named.
const NAMED: usize = 20;

impl Listed {
    fn add(&mut self, key: &[u8]) {
        self.count += 1;
        if self.handles.len() < NAMED {
            self.handles.push(handle(key));
        }
    }

    fn merge(&mut self, other: Listed) {
        self.count += other.count;
        self.handles.extend(other.handles);
        self.handles.truncate(NAMED);
    }
}

/// A key's name as people may see it.
fn handle(key: &[u8]) -> String {
    crate::diagnosis::redact::key(&String::from_utf8_lossy(key))
}

/// What becomes of removed keys.
#[derive(Debug)]
pub(super) enum Keep {
    /// Their content goes to a snapshot, and they to nothing.
    Snapshot(SnapshotWriter),
    /// They stay on the server under another name, and only that is written
    /// down. Those that may be freed at one stroke expire there at this moment.
    Aside { writer: SnapshotWriter, until_ms: i64 },
    /// Nothing is kept.
    Nothing,
}

/// Keys to be removed.
#[derive(Debug)]
pub(super) struct Removal<'a> {
    /// The step that removes them.
    pub(super) step: &'a StepId,
    /// Which keys.
    pub(super) select: &'a Select,
    /// What `now` means in its predicate, in milliseconds since 1970.
    pub(super) now_ms: i64,
    /// It ends before it would remove more than this.
    pub(super) most: u64,
    /// How many are expected, for progress.
    pub(super) expected: u64,
    /// Their names, where a count has just met them; else the server is walked.
    pub(super) names: Option<Arc<Names>>,
    /// What becomes of them.
    pub(super) keep: Keep,
}

/// Keys to be given another deadline.
#[derive(Debug)]
pub(super) struct Retiming<'a> {
    /// Which keys.
    pub(super) select: &'a Select,
    /// What `now` means in its predicate, in milliseconds since 1970.
    pub(super) now_ms: i64,
    /// The deadline.
    pub(super) to: Retime,
    /// It ends before it would change more than this.
    pub(super) most: u64,
    /// How many are expected, for progress.
    pub(super) expected: u64,
    /// Their names, where a count has just met them; else the server is walked.
    pub(super) names: Option<Arc<Names>>,
    /// Where the deadlines they had are written.
    pub(super) keep: SnapshotWriter,
}

/// Whom the work is done to.
#[derive(Clone)]
pub(super) struct Ground {
    pub(super) site: Arc<Site>,
    pub(super) instance: Arc<Instance>,
    /// As the user for changes, not the one for looks.
    pub(super) touches: bool,
    /// At the pace of a change people agreed to, not of a look.
    pub(super) agreed: bool,
    /// This server alone; else every primary.
    pub(super) only: Option<Address>,
}

impl Ground {
    fn credential(&self) -> &Credential {
        if self.touches { self.instance.touch.as_ref().unwrap_or(&self.instance.look) } else { &self.instance.look }
    }

    fn explain(&self, fault: &Fault, address: &Address, command: &str) -> Explained {
        let explained = fault.explain(Some(address), self.credential(), Some(command));
        if self.touches { of_a_change(explained) } else { explained }
    }
}

fn refused(what: &str, cause: &str, next: &str) -> Explained {
    Explained { code: "UNTOUCHED".into(), what: what.into(), cause: cause.into(), next: next.into() }
}

/// What went wrong with a snapshot, for people.
pub(super) fn unkept(error: &SnapshotError) -> Explained {
    Explained {
        code: "SNAPSHOT".into(),
        what: format!("what is to be kept cannot be written down or read: {error}"),
        cause: "the snapshots' directory, its bound or its key".into(),
        next: "make room or restore what is missing; nothing was given up that is not kept".into(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Appends a frame where blocking is allowed.
async fn append(
    writer: &Arc<Mutex<SnapshotWriter>>,
    records: Vec<crate::store::snapshot::Record>,
) -> Result<(), SnapshotError> {
    point::point();
    let writer = writer.clone();
    let appended = tokio::task::spawn_blocking(move || lock(&writer).append(&records).map(drop)).await;
    point::point();
    // The task neither panics nor is it aborted; if it were, nothing is known of the frame.
    appended.unwrap_or(Err(SnapshotError::Broken))
}

impl Exec {
    /// The key a handle was shown for, where it is remembered; any other name is itself.
    pub fn named(&self, service: &Service, instance: &Instance, text: &str) -> String {
        if !crate::diagnosis::redact::is_handle(text) {
            return text.to_owned();
        }
        let site = self.0.site(&service.name, instance);
        let book = lock(&site.keys);
        book.find(text).unwrap_or(text).to_owned()
    }

    /// How many keys a selection means now, how much they take, and some of them: primary by primary. Where they are to
    /// get another deadline, those that already are as they would be are counted apart.
    ///
    /// # Errors
    ///
    /// When nothing can be walked at all, or the selection cannot be answered here.
    pub async fn measure(
        &self,
        permit: &Permit,
        of: (&Arc<Service>, &Instance),
        meant: (&Select, Option<Retime>),
        now_ms: i64,
        count: CountFor<'_>,
        cx: &Looking,
    ) -> Result<Vec<(Address, Measured)>, Explained> {
        let (service, instance) = of;
        if let Some(refusal) = foreign(permit, service) {
            return Err(refusal);
        }
        let site = self.0.site(&service.name, instance);
        let (instance, agreed) = (Arc::new(instance.clone()), count.is_for_a_run());
        let ground = Ground { site, instance, touches: false, agreed, only: None };
        measure::measure(&ground, meant, now_ms, count, cx).await
    }
}

impl Exec {
    /// What a file of an export would come to if it were put back now.
    ///
    /// # Errors
    ///
    /// When it is no whole export, or its servers cannot be asked.
    pub async fn weigh(
        &self,
        permit: &Permit,
        to: (&Arc<Service>, &Instance),
        snapshots: &Snapshots,
        file: &StepId,
        only: Option<&str>,
        cx: &Looking,
    ) -> Result<Weighed, Explained> {
        let (service, instance) = to;
        if let Some(refusal) = foreign(permit, service) {
            return Err(refusal);
        }
        let site = self.0.site(&service.name, instance);
        let ground = Ground { site, instance: Arc::new(instance.clone()), touches: false, agreed: false, only: None };
        weigh::weigh(&ground, snapshots, file, only, cx).await
    }
}

/// The primaries of an instance, as they are now.
async fn primaries(ground: &Ground, cx: &Looking) -> Result<Vec<Address>, Explained> {
    if let Some(only) = &ground.only {
        return Ok(vec![only.clone()]);
    }
    let topology = ground.site.topology(super::budget(cx)).await?;
    let found: Vec<Address> = topology
        .members
        .iter()
        .filter(|member| member.role != Some(Role::Replica))
        .map(|member| member.address.clone())
        .collect();
    if found.is_empty() {
        return Err(refused(
            "there is no primary to work on",
            "the instance has none now, or none is known",
            "run `connectivity` to see whom the profile names",
        ));
    }
    Ok(found)
}
