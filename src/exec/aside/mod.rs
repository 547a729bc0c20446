//! Keys removed, given other deadlines, and brought back.
//!
//! A key is removed in this order: chosen, renamed aside within its slot,
//! dumped with its deadline, its frame flushed to the snapshot, and only then
//! unlinked. At every moment it is under its own name, aside, or in a frame
//! on the disk; whatever cuts a run short, [`Exec::recover`] tells which, and
//! puts back what is not on the disk. Everything goes in batches paced by
//! what they cost the server, and stops between any two of them.

mod choose;
mod lane;
mod measure;
mod name;
mod point;
mod recover;
mod remove;
mod restore;
mod retime;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Exec, Looking, fault::Fault, foreign, site::Site};
use crate::{
    diagnosis::{Explained, Role},
    model::{Address, Credential, Instance, RunId, Service},
    policy::{Permit, TouchPermit},
    runbook::{Plan, Retime, Select},
    store::snapshot::{SnapshotError, SnapshotWriter, Snapshots},
};

pub use choose::Doubts;
pub use measure::Measured;
pub use recover::Recovered;
pub use remove::Removed;
pub use restore::Restored;
pub use retime::Retimed;

/// A key above this many bytes is not dumped: serialising it would keep the server from others.
pub const LARGEST_DUMP: u64 = 512 << 10;

/// How work over many keys ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// All of it was gone through.
    Done,
    /// It was stopped in good order, for this reason; what it had done is told, and nothing is half done.
    Stopped(String),
    /// Something failed; what it had done is told, and [`Exec::recover`] finds what was left.
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
pub enum Keep {
    /// Their content goes to a snapshot, and they to nothing.
    Snapshot(SnapshotWriter),
    /// They stay on the server under another name, and only that is written down.
    Aside(SnapshotWriter),
}

/// Keys to be removed.
#[derive(Debug)]
pub struct Removal<'a> {
    /// The run.
    pub run: &'a RunId,
    /// Which keys.
    pub select: &'a Select,
    /// What `now` means in its predicate, in milliseconds since 1970.
    pub now_ms: i64,
    /// It ends before it would remove more than this.
    pub most: u64,
    /// How many are expected, for progress.
    pub expected: u64,
    /// What becomes of them.
    pub keep: Keep,
    /// A key above this many bytes is kept aside instead of dumped.
    pub largest_dump: u64,
}

/// Keys to be given another deadline.
#[derive(Debug)]
pub struct Retiming<'a> {
    /// The run.
    pub run: &'a RunId,
    /// Which keys.
    pub select: &'a Select,
    /// What `now` means in its predicate, in milliseconds since 1970.
    pub now_ms: i64,
    /// The deadline.
    pub to: Retime,
    /// It ends before it would change more than this.
    pub most: u64,
    /// How many are expected, for progress.
    pub expected: u64,
    /// Where the deadlines they had are written.
    pub keep: SnapshotWriter,
}

/// Whom the work is done to.
#[derive(Clone)]
struct Ground {
    site: Arc<Site>,
    instance: Arc<Instance>,
    touches: bool,
}

impl Ground {
    fn credential(&self) -> &Credential {
        if self.touches { self.instance.touch.as_ref().unwrap_or(&self.instance.look) } else { &self.instance.look }
    }

    fn explain(&self, fault: &Fault, address: &Address, command: &str) -> Explained {
        fault.explain(Some(address), self.credential(), Some(command))
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
async fn append(writer: &Arc<Mutex<SnapshotWriter>>, records: Vec<crate::store::snapshot::Record>) -> Result<(), SnapshotError> {
    point::point();
    let writer = writer.clone();
    let appended = tokio::task::spawn_blocking(move || lock(&writer).append(&records).map(drop)).await;
    point::point();
    // The task neither panics nor is it aborted; if it were, nothing is known of the frame.
    appended.unwrap_or(Err(SnapshotError::Broken))
}

impl Exec {
    /// How many keys a selection means now, how much they take, and some of them.
    ///
    /// # Errors
    ///
    /// When nothing can be walked at all, or the selection cannot be answered here.
    pub async fn measure(
        &self,
        permit: &Permit,
        service: &Arc<Service>,
        instance: &Instance,
        select: &Select,
        now_ms: i64,
        cx: &Looking,
    ) -> Result<Measured, Explained> {
        if let Some(refusal) = foreign(permit, service) {
            return Err(refusal);
        }
        let ground = self.ground(service, instance, false);
        measure::measure(&ground, select, now_ms, cx).await
    }

    /// Removes keys. The permit must be for this very plan.
    pub async fn remove(
        &self,
        permit: &TouchPermit,
        plan: &Plan,
        service: &Arc<Service>,
        instance: &Instance,
        removal: Removal<'_>,
        cx: &Looking,
    ) -> Removed {
        match self.touching(permit, plan, service, instance) {
            Ok(ground) => remove::remove(&ground, removal, cx).await,
            Err(refusal) => Removed::nothing(Ended::Failed(refusal)),
        }
    }

    /// Gives keys another deadline. The permit must be for this very plan.
    pub async fn retime(
        &self,
        permit: &TouchPermit,
        plan: &Plan,
        service: &Arc<Service>,
        instance: &Instance,
        retiming: Retiming<'_>,
        cx: &Looking,
    ) -> Retimed {
        match self.touching(permit, plan, service, instance) {
            Ok(ground) => retime::retime(&ground, retiming, cx).await,
            Err(refusal) => Retimed::nothing(Ended::Failed(refusal)),
        }
    }

    /// Brings back what a run removed, or the deadlines it changed. Twice does no more than once.
    #[expect(clippy::too_many_arguments, reason = "a permit, its plan, where, what from, and the conditions")]
    pub async fn restore(
        &self,
        permit: &TouchPermit,
        plan: &Plan,
        service: &Arc<Service>,
        instance: &Instance,
        snapshots: &Snapshots,
        run: &RunId,
        cx: &Looking,
    ) -> Restored {
        match self.touching(permit, plan, service, instance) {
            Ok(ground) => restore::restore(&ground, snapshots, run, cx).await,
            Err(refusal) => Restored::nothing(Ended::Failed(refusal)),
        }
    }

    /// Tidies up after a run that was cut short: what is aside and on the disk
    /// is unlinked, what is aside and not on the disk gets its name back.
    ///
    /// # Errors
    ///
    /// When the servers or the snapshot cannot be asked. It may be asked again.
    #[expect(clippy::too_many_arguments, reason = "a permit, its plan, where, what from, and the conditions")]
    pub async fn recover(
        &self,
        permit: &TouchPermit,
        plan: &Plan,
        service: &Arc<Service>,
        instance: &Instance,
        snapshots: &Snapshots,
        run: &RunId,
        cx: &Looking,
    ) -> Result<Recovered, Explained> {
        let ground = self.touching(permit, plan, service, instance)?;
        recover::recover(&ground, snapshots, run, cx).await
    }

    /// Unlinks what a run kept aside: its time is over. How many keys.
    ///
    /// # Errors
    ///
    /// When a server cannot be asked. It may be asked again.
    pub async fn clear_aside(
        &self,
        permit: &TouchPermit,
        plan: &Plan,
        service: &Arc<Service>,
        instance: &Instance,
        run: &RunId,
        cx: &Looking,
    ) -> Result<u64, Explained> {
        let ground = self.touching(permit, plan, service, instance)?;
        recover::clear(&ground, run, cx).await
    }

    fn ground(&self, service: &Service, instance: &Instance, touches: bool) -> Ground {
        Ground { site: self.0.site(service, instance), instance: Arc::new(instance.clone()), touches }
    }

    fn touching(
        &self,
        permit: &TouchPermit,
        plan: &Plan,
        service: &Arc<Service>,
        instance: &Instance,
    ) -> Result<Ground, Explained> {
        if let Some(refusal) = foreign(permit.look(), service) {
            return Err(refusal);
        }
        if !permit.covers(plan) || plan.instance != instance.name {
            return Err(refused(
                "the permit is for another plan",
                "what was consented to is not what would be done",
                "ask for the change again",
            ));
        }
        if instance.touch.is_none() {
            return Err(refused(
                "this bot has no user for changes on this instance",
                "its profile has no `touch`",
                "add `touch = { user = \"…\", password = { … } }` to the instance in the service's profile",
            ));
        }
        Ok(self.ground(service, instance, true))
    }
}

/// The primaries of an instance, as they are now.
async fn primaries(ground: &Ground, cx: &Looking) -> Result<Vec<Address>, Explained> {
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
