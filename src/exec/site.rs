//! One instance as this room knows it: its servers, its topology, what it lets us ask.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
};

use tokio::time::{Instant, timeout_at};

use crate::{
    diagnosis::{Explained, NetworkFault, redact::KeyBook},
    model::{Address, Deployment, Instance},
};

use super::{
    ExecSettings,
    fault::Fault,
    flight::Flights,
    server::{Budget, Kind, Lane, Server},
    topology::{self, Topology},
};

/// One instance.
#[derive(Debug)]
pub(crate) struct Site {
    pub instance: Arc<Instance>,
    pub settings: Arc<ExecSettings>,
    /// Looks under way, so that the same question is asked once.
    pub flights: Flights,
    /// Surveys of the keyspace that were stopped, or may be paged through.
    pub shelf: super::keyspace::Shelf,
    /// Handles that were shown for keys here, so that people can name those keys.
    pub keys: Mutex<KeyBook>,
    servers: Mutex<HashMap<Address, Arc<Server>>>,
    topology: tokio::sync::Mutex<Option<(Arc<Topology>, Instant)>>,
    /// Is the command flagged as a write by the server? `None` as a value: it would not say.
    flagged: Mutex<HashMap<String, Option<bool>>>,
    client_denied: Arc<AtomicBool>,
}

impl Site {
    pub(crate) fn new(instance: Instance, settings: Arc<ExecSettings>) -> Self {
        Self {
            instance: Arc::new(instance),
            settings,
            flights: Flights::default(),
            shelf: Default::default(),
            keys: Mutex::default(),
            servers: Mutex::default(),
            topology: tokio::sync::Mutex::default(),
            flagged: Mutex::default(),
            client_denied: Arc::default(),
        }
    }

    fn servers(&self) -> MutexGuard<'_, HashMap<Address, Arc<Server>>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server at an address; its connections are made when they are first needed.
    pub(crate) fn server(&self, address: &Address, kind: Kind) -> Arc<Server> {
        let mut servers = self.servers();
        if let Some(server) = servers.get(address) {
            return server.clone();
        }
        let server = Arc::new(Server::new(
            address.clone(),
            kind,
            self.instance.clone(),
            &self.settings,
            self.client_denied.clone(),
        ));
        servers.insert(address.clone(), server.clone());
        server
    }

    /// Who belongs to the instance; asked again when the last answer is old or was doubted.
    pub(crate) async fn topology(&self, budget: Budget) -> Result<Arc<Topology>, Explained> {
        let start = Instant::now();
        let Ok(mut known) = timeout_at(budget.until(), self.topology.lock()).await else {
            let fault = Fault::Network(NetworkFault::Timeout { after: start.elapsed(), connected: false });
            return Err(fault.explain(self.addresses().first(), &self.instance.look, None));
        };
        if let Some((topology, at)) = &*known
            && at.elapsed() < topology::lifetime(&self.instance.deployment)
        {
            return Ok(topology.clone());
        }
        let before = known.as_ref().map(|(topology, _)| topology.clone());
        match (topology::discover(self, before.as_deref(), budget).await, before) {
            (Ok(found), before) => {
                let found = Arc::new(found);
                for member in &found.members {
                    if let Some(role) = member.role {
                        self.server(&member.address, Kind::Data).suppose(role);
                    }
                }
                if before.is_some_and(|before| before != found) {
                    self.drop_strangers(&found);
                }
                *known = Some((found.clone(), Instant::now()));
                Ok(found)
            }
            // Nobody could be asked; those we knew are asked themselves, and will say what they are.
            (Err(error), Some(before)) => Ok(Arc::new(Topology {
                note: Some(format!("as last known, since {}", error.what)),
                ..(*before).clone()
            })),
            (Err(error), None) => Err(error),
        }
    }

    /// The next look asks for the topology again.
    pub(crate) async fn doubt_topology(&self) {
        if matches!(self.instance.deployment, Deployment::Standalone(_)) {
            return;
        }
        let mut known = self.topology.lock().await;
        if let Some((_, at)) = &mut *known {
            *at = Instant::now().checked_sub(std::time::Duration::from_secs(3600)).unwrap_or(*at);
        }
    }

    /// The same, and each server is asked anew what it is: roles have changed, or may have.
    pub(crate) async fn doubt_roles(&self) {
        self.doubt_topology().await;
        self.servers().values().for_each(|server| server.doubt());
    }

    fn drop_strangers(&self, now: &Topology) {
        let configured = self.addresses();
        self.servers()
            .retain(|address, _| configured.contains(address) || now.members.iter().any(|m| &m.address == address));
    }

    /// Whether it is a cluster, which has no logical databases.
    pub(crate) fn is_cluster(&self) -> bool {
        matches!(self.instance.deployment, Deployment::Cluster { .. })
    }

    /// The addresses the profile names: the server, the Sentinels, or the seeds.
    pub(crate) fn addresses(&self) -> Vec<Address> {
        match &self.instance.deployment {
            Deployment::Standalone(address) => vec![address.clone()],
            Deployment::Sentinel { sentinels, .. } => sentinels.clone(),
            Deployment::Cluster { seeds } => seeds.clone(),
        }
    }

    /// Does this server itself flag the command as a write? Asked once per
    /// instance and command; `None` when it may not be asked or does not know.
    pub(crate) async fn flagged_write(
        &self,
        server: &Server,
        name: &str,
        sub: Option<&str>,
        budget: Budget,
    ) -> Option<bool> {
        let key = match sub {
            Some(sub) => format!("{name}|{sub}").to_ascii_lowercase(),
            None => name.to_ascii_lowercase(),
        };
        if let Some(answer) = self.flagged().get(&key) {
            return *answer;
        }
        let mut question = redis::cmd("COMMAND");
        question.arg("INFO").arg(name);
        if sub.is_some() {
            question.arg(&key);
        }
        let answer = match server.ask_one(Lane::Look, &question, budget).await {
            Ok(value) => flags_say_write(&value),
            Err(Fault::Server(_)) => None,
            // No answer is no answer: ask again next time.
            Err(_) => return None,
        };
        self.flagged().insert(key, answer);
        answer
    }

    fn flagged(&self) -> MutexGuard<'_, HashMap<String, Option<bool>>> {
        self.flagged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes connections nobody uses.
    pub(crate) fn sweep(&self) {
        for server in self.servers().values() {
            server.sweep(self.settings.idle);
        }
    }
}

/// Reads COMMAND INFO: each known command is `[name, arity, flags, …]`.
fn flags_say_write(value: &serde_json::Value) -> Option<bool> {
    let known: Vec<&Vec<serde_json::Value>> = value.as_array()?.iter().filter_map(|item| item.as_array()).collect();
    if known.is_empty() {
        return None;
    }
    Some(known.iter().any(|command| {
        command
            .get(2)
            .and_then(|flags| flags.as_array())
            .is_some_and(|flags| flags.iter().any(|flag| flag.as_str() == Some("write")))
    }))
}
