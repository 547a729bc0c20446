//! What a server's answers mean.
//!
//! `exec` asks, this room understands: which commands only look
//! ([`looks`]), what an error means and what to do next ([`errors`]), what an
//! answer says ([`reading`]), how the answers of several shards
//! become one ([`merge`](merge::merge)), and what of it people may see
//! ([`redact`]). No network, clock or async here.
//!
//! Why it is a room of its own, which the house's first plan does not have:
//! `docs/decisions/0001-diagnosis-is-a-room.md`.

pub mod derive;
pub mod errors;
pub mod looks;
pub mod merge;
pub mod reading;
pub mod redact;

pub use derive::{DERIVATIONS, derive};
pub use errors::{ErrorContext, NetworkFault, explain, explain_network};
pub use looks::{LookVerdict, classify};
pub use merge::merge;
pub use reading::read;

use std::time::Duration;

use serde_json::Value;

use crate::model::Address;

/// The part a server plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Takes writes.
    Primary,
    /// Follows a primary.
    Replica,
    /// Watches others.
    Sentinel,
}

/// One server that was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Where it listens.
    pub address: Address,
    /// What it said it is; `None` when it could not be asked.
    pub role: Option<Role>,
}

/// An error a person can act on: what happened, why, and what to do next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Explained {
    /// Redis's own code (`NOAUTH`, `LOADING` …) or ours in the same style (`REFUSED`, `TIMEOUT`, `DNS`, `TLS`).
    pub code: String,
    /// What happened, in one sentence; never holds a secret or a value.
    pub what: String,
    /// The usual cause.
    pub cause: String,
    /// What to do next.
    pub next: String,
}

impl Explained {
    /// Whether it shows that the server answers nobody, rather than that we cannot see it: it is
    /// down, full of clients, held by a script, or part of a cluster that is down.
    pub fn is_outage(&self) -> bool {
        ["REFUSED", "MAXCLIENTS", "BUSY", "CLUSTERDOWN"].contains(&self.code.as_str())
    }

    /// The next step without the parts that send the reader to `command`: for that command's own card.
    pub fn next_besides(&self, command: &str) -> String {
        let itself = format!("`{command}`");
        self.next.split("; ").filter(|part| !part.contains(&itself)).collect::<Vec<_>>().join("; ")
    }
}

/// What one server answered to one look.
#[derive(Debug, Clone)]
pub struct NodeOutcome {
    /// Who.
    pub node: Node,
    /// What it said, read and redacted.
    pub result: Result<Value, Explained>,
    /// How long it took, as seen from here.
    pub took: Duration,
}

/// What one look saw.
#[derive(Debug, Clone)]
pub struct Observation {
    /// Each server asked (empty for looks that ask no Redis).
    pub nodes: Vec<NodeOutcome>,
    /// All answers as one. `Err` only when nobody answered; where some did,
    /// `nodes` tells who did not.
    pub merged: Result<Value, Explained>,
    /// From the first byte sent to the last answer.
    pub took: Duration,
}
