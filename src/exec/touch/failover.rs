//! A replica made the primary: asked for once, and waited for until it is seen and takes writes.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::{Lane, Touched, Write, elsewhere, refused};
use crate::{
    diagnosis::Explained,
    exec::wire::{Setup, Wire},
    model::{Address, Deployment, show_duration},
};

/// How often it is looked whether it has happened.
const PACE: Duration = Duration::from_millis(200);
/// After an order whose answer was lost, nothing having happened for so long is taken for uncertain.
const DOUBT: Duration = Duration::from_secs(20);
/// One server is given this long to answer while it is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// Who is waited for.
enum Awaited<'a> {
    /// Whoever these Sentinels name by that name, when it is another than before.
    Named(&'a [Address], &'a str),
    /// That very replica, by its run id.
    Replica(Address, &'a str),
}

impl Lane<'_> {
    pub(super) async fn sentinel_failover(&self, master: &str) -> Touched {
        let Deployment::Sentinel { sentinels, .. } = &self.instance.deployment else { return elsewhere() };
        // The server the plan names must still be there: a failover of another one was not consented to.
        if let Err(error) = self.open().await {
            return Touched::Untouched(error);
        }
        let mut unheard = None;
        for address in sentinels {
            let wire = match self.sentinel(address).await {
                Ok(wire) => wire,
                Err(error) => {
                    unheard = Some(error);
                    continue;
                }
            };
            return match self.call(&wire, &["SENTINEL", "FAILOVER", master]).await {
                Ok(_) => self.until_promoted(None, &Awaited::Named(sentinels, master)).await,
                Err(fault @ crate::exec::fault::Fault::Server(_)) => {
                    Touched::Untouched(self.explain(&fault, "SENTINEL FAILOVER"))
                }
                // It may have been heard: no other Sentinel is asked.
                Err(fault) => {
                    let why = self.explain(&fault, "SENTINEL FAILOVER");
                    self.until_promoted(Some(why), &Awaited::Named(sentinels, master)).await
                }
            };
        }
        Touched::Untouched(unheard.unwrap_or_else(|| {
            refused("there is no Sentinel to ask", "the profile names none", "name them in the service's profile")
        }))
    }

    async fn sentinel(&self, address: &Address) -> Result<Wire, Explained> {
        let Deployment::Sentinel { credential, .. } = &self.instance.deployment else {
            return Err(refused("there is no Sentinel to ask", "the profile names none", "name them in the profile"));
        };
        let setup = Setup {
            address,
            tls: self.instance.tls.as_ref(),
            credential,
            database: 0,
            name: "rediscue-touch",
            cluster: false,
            client_denied: true,
            sentinel: true,
        };
        let until = self.budget.until().min(Instant::now() + PATIENCE);
        Wire::open(setup, until).await.map_err(|fault| fault.explain(Some(address), credential, None))
    }

    /// Who is to be the primary, as far as it can be told now.
    async fn awaited(&self, who: &Awaited<'_>) -> Option<(Address, Option<String>)> {
        let (sentinels, master) = match who {
            Awaited::Replica(address, run_id) => return Some((address.clone(), Some((*run_id).to_owned()))),
            Awaited::Named(sentinels, master) => (sentinels, master),
        };
        let old = self.address.to_string();
        for address in *sentinels {
            let Ok(wire) = self.sentinel(address).await else { continue };
            let Ok(told) = self.call(&wire, &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", master]).await else { continue };
            let word = |at: usize| told.get(at).and_then(Value::as_str);
            let (Some(host), Some(port)) = (word(0), word(1).and_then(|port| port.parse().ok())) else { continue };
            let named = Address::Tcp { host: host.to_owned(), port };
            return (named.to_string() != old).then_some((named, None));
        }
        None
    }

    pub(super) async fn cluster_failover(&self, replica: &str, run_id: &str) -> Touched {
        let Some((host, port)) = replica.rsplit_once(':') else { return elsewhere() };
        let Ok(port) = port.parse() else { return elsewhere() };
        let address = Address::Tcp { host: host.to_owned(), port };
        // Both ends of it must be those the plan names.
        if let Err(error) = self.open().await {
            return Touched::Untouched(error);
        }
        let wire = match self.open_at(&address, Some(run_id)).await {
            Ok(wire) => wire,
            Err(error) => return Touched::Untouched(error),
        };
        match self.call(&wire, &["ROLE"]).await {
            Ok(role) if role.get(0).and_then(Value::as_str) == Some("slave") => {}
            Ok(_) => {
                return Touched::Untouched(refused(
                    &format!("{replica} is no replica any more"),
                    "roles changed after the plan was made",
                    "see `/redis replication`, and ask again if it is still wanted",
                ));
            }
            Err(fault) => return Touched::Untouched(self.explain(&fault, "ROLE")),
        }
        let lost = match self.call(&wire, &["CLUSTER", "FAILOVER"]).await {
            Ok(_) => None,
            Err(fault @ crate::exec::fault::Fault::Server(_)) => {
                return Touched::Untouched(self.explain(&fault, "CLUSTER FAILOVER"));
            }
            Err(fault) => Some(self.explain(&fault, "CLUSTER FAILOVER")),
        };
        self.until_promoted(lost, &Awaited::Replica(address, run_id)).await
    }

    /// Looks until whoever `who` names is the primary and takes a write.
    async fn until_promoted(&self, lost: Option<Explained>, who: &Awaited<'_>) -> Touched {
        let start = Instant::now();
        let mut last = "no other primary was seen".to_owned();
        loop {
            if let Some((address, run_id)) = self.awaited(who).await
                && let Ok(wire) = self.open_at(&address, run_id.as_deref()).await
                && let Ok(role) = self.call(&wire, &["ROLE"]).await
                && role.get(0).and_then(Value::as_str) == Some("master")
            {
                let took = show_duration(start.elapsed());
                match self.write(&wire, PATIENCE).await {
                    Write::Taken => {
                        return Touched::Verified(format!("{address} is the primary and takes writes, after {took}"));
                    }
                    Write::Unknown => {
                        let said = format!(
                            "{address} is the primary, after {took}; whether it takes writes could not be tried"
                        );
                        return Touched::Verified(said);
                    }
                    Write::Held => last = format!("{address} is the primary and holds writes back"),
                    Write::Refused(why) => last = format!("{address} is the primary and refuses writes ({why})"),
                }
            }
            let elapsed = start.elapsed();
            if let Some(why) = &lost
                && elapsed > DOUBT
            {
                return Touched::Uncertain(why.clone());
            }
            if self.cx.stop.is_cancelled() || !self.budget.has_time() {
                return Touched::Partly {
                    why: refused(
                        &format!("{last} within {}", show_duration(elapsed)),
                        "it was ordered, and it takes longer or was given up",
                        "see `/redis replication`",
                    ),
                    left: "It may still happen.".to_owned(),
                };
            }
            tokio::select! {
                () = tokio::time::sleep(PACE) => {}
                () = self.cx.stop.cancelled() => {}
            }
        }
    }
}
