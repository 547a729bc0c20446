//! Changing something: the touch lane, opened for one step of one plan and closed after it.
//!
//! One file per kind of change. Each captures what is so, changes it, and
//! looks whether it holds; none sends anything twice.

mod backup;
mod clients;
mod copies;
mod failover;
mod keys;
mod password;
mod pause;
mod requirepass;
pub(crate) mod save;
mod saving;
mod settings;
mod slowlog;

pub use keys::{Settled, Untidied, hidden};

use std::time::{Duration, Instant};

use serde_json::Value;

use super::{
    Exec, Looking,
    aside::Meant,
    budget,
    fault::{Fault, of_a_change},
    server::{Budget, one},
    wire::{Setup, Wire},
};
use crate::{
    diagnosis::Explained,
    model::{Address, Credential, Deployment, Instance},
    policy::TouchPermit,
    runbook::{Change, Plan, PlanTarget},
    store::Store,
};

/// The code of a touch that ended before its time, in good order.
pub const STOPPED: &str = "STOPPED";

/// How a touch ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Touched {
    /// Done, and the server says so when asked again. What it says, in words.
    Verified(String),
    /// Nothing was changed, for this reason.
    Untouched(Explained),
    /// The server took it and holds something else now.
    Otherwise {
        /// What it holds.
        found: String,
    },
    /// It was stopped or failed on the way.
    Partly {
        /// Why it went no further.
        why: Explained,
        /// What was done and what is left, in words.
        left: String,
    },
    /// It was stopped or failed on the way, and left keys under another name.
    Aside {
        /// Why it went no further.
        why: Explained,
        /// What was done and what is left, in words.
        left: String,
        /// How many keys at most; 0 where nobody could count them.
        keys: u64,
        /// Why these could not be tidied up.
        untidied: Explained,
    },
    /// It was sent and no answer came, not even when the server was asked again.
    Uncertain(Explained),
}

/// What a touch works with.
pub struct Hands<'a> {
    /// The instance the plan is for.
    pub instance: &'a Instance,
    /// The address of the step's server, as it is now.
    pub address: &'a Address,
    /// What is set aside is kept here before it goes.
    pub store: &'a Store,
    /// What the count right before this came upon; empty where there was none.
    pub meant: &'a [Meant],
    /// Until when, and whom to tell how far it is.
    pub cx: &'a Looking,
}

impl Exec {
    /// Carries out one step of a plan, once. Never repeats what may have been done.
    ///
    /// Nothing is sent unless the permit is for this very plan, the server is
    /// the one the plan names, and it holds what was shown.
    pub async fn touch(&self, permit: &TouchPermit, plan: &Plan, seq: usize, hands: &Hands<'_>) -> Touched {
        let Some(step) = plan.steps.get(seq).filter(|_| permit.covers(plan)) else { return elsewhere() };
        self.make(permit, plan, seq, &step.change, hands).await
    }

    /// Takes one step of a plan back, where one call can. The same conditions hold:
    /// what somebody changed since is left as it is.
    pub async fn touch_back(&self, permit: &TouchPermit, plan: &Plan, seq: usize, hands: &Hands<'_>) -> Touched {
        let Some(step) = plan.steps.get(seq).filter(|_| permit.covers_way_back(plan)) else { return elsewhere() };
        match step.change.back() {
            Some(back) => self.make(permit, plan, seq, &back, hands).await,
            None => Touched::Untouched(refused(
                "this change has no way back",
                "its plan said so when it was consented to",
                "see the plan's card for what can be done instead",
            )),
        }
    }

    async fn make(&self, permit: &TouchPermit, plan: &Plan, seq: usize, change: &Change, hands: &Hands<'_>) -> Touched {
        let Some(target) = plan.steps.get(seq).and_then(|step| plan.target_of(step)) else { return elsewhere() };
        if target.address != hands.address.to_string() || plan.instance != hands.instance.name {
            return elsewhere();
        }
        let lane = Lane {
            instance: hands.instance,
            address: hands.address,
            target,
            budget: budget(hands.cx),
            cx: hands.cx,
            store: hands.store,
        };
        match change {
            Change::SetConfig { parameter, old, new } => lane.set_config(parameter, old, new).await,
            Change::RewriteConfig => lane.rewrite_config().await,
            Change::ResetSlowlog { .. } => lane.reset_slowlog().await,
            Change::Backup { save } => lane.backup(permit.look(), plan, *save, hands).await,
            Change::KillClients { filter, most, .. } => lane.kill_clients(filter, *most).await,
            Change::PauseWrites { ms, all } => lane.pause_writes(*ms, *all).await,
            Change::ResumeWrites => lane.resume_writes().await,
            Change::SaveSnapshot => lane.save_snapshot().await,
            Change::RewriteAof => lane.rewrite_aof().await,
            Change::RemoveKeys { .. }
            | Change::RetimeKeys { .. }
            | Change::RestoreKeys { .. }
            | Change::ClearAside { .. } => {
                // The very server the plan names: a look before the long work begins.
                match lane.open().await {
                    Ok(_) => self.keys(plan, seq, change, hands).await,
                    Err(why) => Touched::Untouched(why),
                }
            }
            Change::ExportKeys { .. } | Change::ImportKeys { .. } => match lane.open().await {
                Ok(_) => self.copies(plan, seq, change, hands).await,
                Err(why) => Touched::Untouched(why),
            },
            // A file of our own: no server has to be there for it to go.
            Change::DropExport { .. } => self.copies(plan, seq, change, hands).await,
            Change::SentinelFailover { .. } | Change::ClusterFailover { .. } => {
                let touched = match change {
                    Change::ClusterFailover { replica, run_id } => lane.cluster_failover(replica, run_id).await,
                    Change::SentinelFailover { master } => lane.sentinel_failover(master).await,
                    _ => elsewhere(),
                };
                // Whatever came of it, who is who is asked anew before anything else is looked at or planned.
                self.0.site(&plan.service, hands.instance).doubt_roles().await;
                touched
            }
            Change::SetRequirePass { file } => lane.set_required(file).await,
            Change::RestoreRequirePass { file } => lane.restore_required(file).await,
            Change::AddPassword { user, file } => lane.add_password(user, file).await,
            Change::DropPassword { user, file } => lane.drop_password(user, file).await,
            Change::DropOtherPasswords { user, file } => lane.drop_others(user, file).await,
            Change::SaveAcl => lane.save_acl().await,
        }
    }
}

fn elsewhere() -> Touched {
    Touched::Untouched(refused(
        "the permit is for another plan",
        "what was consented to is not what would be done",
        "ask for the change again",
    ))
}

/// The way to the one server a step changes.
struct Lane<'a> {
    instance: &'a Instance,
    address: &'a Address,
    target: &'a PlanTarget,
    budget: Budget,
    cx: &'a Looking,
    store: &'a Store,
}

/// What became of a write that was tried.
enum Write {
    /// The server took it.
    Taken,
    /// It kept silent.
    Held,
    /// It said no, and why.
    Refused(String),
    /// It could not be tried: the touch user may not, or the slot is another server's.
    Unknown,
}

impl Lane<'_> {
    /// A connection of its own, under the touch user, to the very server the plan names.
    ///
    /// # Errors
    /// Why nothing can be changed; nothing was.
    async fn open(&self) -> Result<Wire, Explained> {
        self.open_at(self.address, Some(&self.target.run_id)).await
    }

    /// The same to another server of the instance; with a run id, to that very process.
    async fn open_at(&self, address: &Address, run_id: Option<&str>) -> Result<Wire, Explained> {
        let Some(credential) = &self.instance.touch else {
            return Err(refused(
                "this bot has no user for changes on this instance",
                "its profile has no `touch`",
                "add `touch = { user = \"…\", password = { … } }` to the instance in the service's profile",
            ));
        };
        self.open_as(credential, address, run_id).await
    }

    /// The same as somebody else than the profile says.
    async fn open_as(
        &self,
        credential: &Credential,
        address: &Address,
        run_id: Option<&str>,
    ) -> Result<Wire, Explained> {
        let setup = Setup {
            address,
            tls: self.instance.tls.as_ref(),
            credential,
            database: self.instance.database,
            name: "rediscue-touch",
            cluster: matches!(self.instance.deployment, Deployment::Cluster { .. }),
            client_denied: false,
            sentinel: false,
        };
        let opened = Wire::open(setup, self.budget.until()).await;
        let wire = opened.map_err(|fault| fault.explain(Some(address), credential, None))?;
        if run_id.is_some() && wire.identity.run_id.as_deref() != run_id {
            return Err(refused(
                "another server answers at this address",
                "it was restarted or replaced after the plan was made",
                "ask for the change again",
            ));
        }
        Ok(wire)
    }

    /// Sends one command and reads its answer; an error the server answers is a fault.
    async fn call(&self, wire: &Wire, argv: &[&str]) -> Result<Value, Fault> {
        let (name, arguments) = argv.split_first().expect("a command has a name");
        let mut command = redis::cmd(name);
        command.arg(arguments);
        one(Some(wire.call(&command, self.budget.until()).await?))
    }

    /// Tries a write that changes nothing: the removal of a key nobody has.
    async fn write(&self, wire: &Wire, patience: Duration) -> Write {
        // In a cluster some names belong to other shards; soon one is this one's.
        for _ in 0..500 {
            let key = format!("rediscue:probe:{:032x}", rand::random::<u128>());
            let until = self.budget.until().min(tokio::time::Instant::now() + patience);
            let fault = match wire.call(redis::cmd("UNLINK").arg(key), until).await {
                Ok(_) => return Write::Taken,
                Err(fault) => fault,
            };
            match fault {
                fault if fault.is_silence() => return Write::Held,
                Fault::Server(line) if line.starts_with("MOVED") || line.starts_with("ASK ") => {}
                Fault::Server(line) if line.starts_with("NOPERM") || line.contains("unknown command") => {
                    return Write::Unknown;
                }
                Fault::Server(line) => return Write::Refused(line),
                _ => return Write::Unknown,
            }
        }
        Write::Unknown
    }

    /// A fault as people read it.
    fn explain(&self, fault: &Fault, command: &str) -> Explained {
        let credential = self.instance.touch.as_ref().unwrap_or(&self.instance.look);
        of_a_change(fault.explain(Some(self.address), credential, Some(command)))
    }
}

fn refused(what: &str, cause: &str, next: &str) -> Explained {
    Explained { code: "UNTOUCHED".into(), what: what.into(), cause: cause.into(), next: next.into() }
}

/// The conditions of a touch: it must end by `deadline`.
pub fn touching(deadline: Instant, call: Duration) -> Looking {
    Looking { deadline, call, stop: Default::default(), progress: None, partial: None }
}
