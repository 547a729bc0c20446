//! Changing something: the touch lane, opened for one plan and closed after it.

use std::time::Instant;

use serde_json::Value;

use super::{
    Exec, Looking, budget,
    fault::Fault,
    server::{Budget, one},
    wire::{Setup, Wire},
};
use crate::{
    diagnosis::Explained,
    model::{Address, Deployment, Instance},
    policy::TouchPermit,
    runbook::{Change, Plan},
};

/// How a touch ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Touched {
    /// Done, and the server says so when asked again.
    Verified,
    /// Nothing was changed, for this reason.
    Untouched(Explained),
    /// The server took it and holds something else now.
    Otherwise {
        /// What it holds.
        found: String,
    },
    /// It was sent and no answer came, not even when the server was asked again.
    Uncertain(Explained),
}

impl Exec {
    /// Carries out a plan's change at `address`, once. Never repeats what may have been done.
    ///
    /// Nothing is sent unless the permit is for this very plan, the server is
    /// the one the plan names, and its value is the one that was shown.
    pub async fn touch(
        &self,
        permit: &TouchPermit,
        plan: &Plan,
        instance: &Instance,
        address: &Address,
        cx: &Looking,
    ) -> Touched {
        let budget = budget(cx);
        if !permit.covers(plan) || plan.address != address.to_string() || plan.instance != instance.name {
            return Touched::Untouched(refused(
                "the permit is for another plan",
                "what was consented to is not what would be done",
                "ask for the change again",
            ));
        }
        let lane = Lane { instance, address, budget };
        match &plan.change {
            Change::SetConfig { parameter, old, new } => lane.set_config(plan, parameter, old, new).await,
        }
    }
}

struct Lane<'a> {
    instance: &'a Instance,
    address: &'a Address,
    budget: Budget,
}

impl Lane<'_> {
    /// A connection of its own, under the touch user.
    async fn open(&self) -> Result<Wire, Explained> {
        let Some(credential) = &self.instance.touch else {
            return Err(refused(
                "this bot has no user for changes on this instance",
                "its profile has no `touch`",
                "add `touch = { user = \"…\", password = { … } }` to the instance in the service's profile",
            ));
        };
        let setup = Setup {
            address: self.address,
            tls: self.instance.tls.as_ref(),
            credential,
            database: self.instance.database,
            name: "rediscue-touch",
            cluster: matches!(self.instance.deployment, Deployment::Cluster { .. }),
            client_denied: false,
            sentinel: false,
        };
        let opened = Wire::open(setup, self.budget.until()).await;
        opened.map_err(|fault| fault.explain(Some(self.address), credential, None))
    }

    async fn read(&self, wire: &Wire, parameter: &str) -> Result<Option<String>, Fault> {
        let mut command = redis::cmd("CONFIG");
        command.arg("GET").arg(parameter);
        let reply = one(Some(wire.call(&command, self.budget.until()).await?))?;
        Ok(match reply {
            Value::Array(pair) => pair.get(1).and_then(Value::as_str).map(str::to_owned),
            Value::Object(map) => map.get(parameter).and_then(Value::as_str).map(str::to_owned),
            _ => None,
        })
    }

    async fn set_config(&self, plan: &Plan, parameter: &str, old: &str, new: &str) -> Touched {
        let wire = match self.open().await {
            Ok(wire) => wire,
            Err(error) => return Touched::Untouched(error),
        };
        if wire.identity.run_id.as_deref() != Some(plan.run_id.as_str()) {
            return Touched::Untouched(refused(
                "another server answers at this address",
                "it was restarted or replaced after the plan was made",
                "ask for the change again",
            ));
        }
        let explain = |fault: &Fault| {
            let credential = self.instance.touch.as_ref().unwrap_or(&self.instance.look);
            fault.explain(Some(self.address), credential, Some("CONFIG"))
        };
        match self.read(&wire, parameter).await {
            Ok(Some(found)) if found == old => {}
            Ok(found) => {
                return Touched::Untouched(refused(
                    &format!("{parameter} is {} now, not {old}", found.as_deref().unwrap_or("unknown")),
                    "somebody changed it after the plan was made",
                    "ask for the change again",
                ));
            }
            Err(fault) => return Touched::Untouched(explain(&fault)),
        }
        let mut command = redis::cmd("CONFIG");
        command.arg("SET").arg(parameter).arg(new);
        let set = wire.call(&command, self.budget.until()).await.and_then(|reply| one(Some(reply)));
        match set {
            Ok(_) => {}
            // The server itself said no: it did nothing.
            Err(Fault::Server(line)) => return Touched::Untouched(explain(&Fault::Server(line))),
            Err(fault) => return self.look_again(plan, parameter, old, new, explain(&fault)).await,
        }
        match self.read(&wire, parameter).await {
            Ok(Some(found)) if found == new => Touched::Verified,
            Ok(Some(found)) => Touched::Otherwise { found },
            Ok(None) => Touched::Uncertain(refused(
                &format!("the server no longer tells {parameter}"),
                "it took the change and may not say so",
                "look at it with `/redis config`",
            )),
            Err(fault) => self.look_again(plan, parameter, old, new, explain(&fault)).await,
        }
    }

    /// The answer was lost: the value itself tells whether it was done.
    async fn look_again(&self, plan: &Plan, parameter: &str, old: &str, new: &str, why: Explained) -> Touched {
        let Ok(wire) = self.open().await else { return Touched::Uncertain(why) };
        let same = wire.identity.run_id.as_deref() == Some(plan.run_id.as_str());
        match self.read(&wire, parameter).await {
            Ok(Some(found)) if same && found == new => Touched::Verified,
            // The old value is no proof: what was sent may still be on its way.
            Ok(Some(found)) if found != old => Touched::Otherwise { found },
            _ => Touched::Uncertain(why),
        }
    }
}

fn refused(what: &str, cause: &str, next: &str) -> Explained {
    Explained { code: "UNTOUCHED".into(), what: what.into(), cause: cause.into(), next: next.into() }
}

/// The conditions of a touch: it must end by `deadline`.
pub fn touching(deadline: Instant, call: std::time::Duration) -> Looking {
    Looking { deadline, call, stop: Default::default(), progress: None, partial: None }
}
