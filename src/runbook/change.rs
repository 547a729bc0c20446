//! Commands that change something, and the plans they become.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::model::{Identity, InstanceName, PersonId, RunId, ServiceName};

/// The version of [`Plan`] as a document; raised when an old one would be misread.
pub const PLAN_VERSION: u32 = 1;

/// What a remediation does. A closed set: `exec` has a file per variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Touch {
    /// Sets a parameter of the server, from the arguments `parameter` and `value`.
    SetConfig,
}

/// Touches, planned, consented to, and carried out in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remediation {
    /// What is changed.
    pub touches: Vec<Touch>,
}

/// How much harm a change could do, and so who must consent to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Risk {
    /// Nobody but the one who asks.
    Low,
    /// One other person who may run the command.
    Medium,
    /// One approver.
    High,
}

impl Risk {
    /// The word on cards.
    pub fn word(self) -> &'static str {
        match self {
            Risk::Low => "low",
            Risk::Medium => "medium",
            Risk::High => "high",
        }
    }
}

/// One bound touch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "touch", rename_all = "kebab-case")]
pub enum Change {
    /// A parameter, from one value to another.
    SetConfig {
        /// The name this server knows it by.
        parameter: String,
        /// What it is now: also the undo.
        old: String,
        /// What it is to be.
        new: String,
    },
}

/// A command with every value filled in for one service: exactly what would happen, and to whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// [`PLAN_VERSION`].
    pub version: u32,
    /// The run it would be.
    pub run: RunId,
    /// The command.
    pub command: String,
    /// The service.
    pub service: ServiceName,
    /// The instance.
    pub instance: InstanceName,
    /// The primary's address when the plan was made.
    pub address: String,
    /// Redis's own run id then; it changes with every start.
    pub run_id: String,
    /// What is changed.
    pub change: Change,
    /// How much harm it could do.
    pub risk: Risk,
    /// Who asked, and never counts.
    pub requester: PersonId,
    /// The account they asked from, for the journal.
    pub asker: Identity,
    /// When it was made, in Unix milliseconds.
    pub made_ms: i64,
    /// Consent after this does not count, in Unix milliseconds.
    pub expires_ms: i64,
}

impl Plan {
    /// What consent is bound to: SHA-256, in hexadecimal, over everything the
    /// consent is about. Another master, another value or another asker is another plan.
    pub fn digest(&self) -> String {
        let Change::SetConfig { parameter, old, new } = &self.change;
        let parts = [
            "rediscue-plan",
            self.run.as_str(),
            &self.command,
            self.service.as_str(),
            self.instance.as_str(),
            &self.address,
            &self.run_id,
            "set-config",
            parameter,
            old,
            new,
            self.risk.word(),
            self.requester.as_str(),
        ];
        let mut hash = Sha256::new();
        for part in parts {
            // The length first, so that no two lists of parts read the same.
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        hash.update(self.expires_ms.to_be_bytes());
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Is it too late to consent?
    pub fn expired(&self, now: Timestamp) -> bool {
        now.as_millisecond() >= self.expires_ms
    }

    /// What no longer holds, in words, when the same plan is made again from
    /// what is so now; `None` when all of it does.
    pub fn drift(&self, now: &Plan) -> Option<String> {
        let (Change::SetConfig { old: then, .. }, Change::SetConfig { old: present, .. }) = (&self.change, &now.change);
        if self.address != now.address {
            return Some(format!("the primary was {} and is now {}", self.address, now.address));
        }
        if self.run_id != now.run_id {
            return Some(format!("the server at {} has been restarted", self.address));
        }
        if then != present {
            return Some(format!("the value was {then} and is now {present}"));
        }
        if self.risk != now.risk {
            return Some(format!("the risk was {} and is now {}", self.risk.word(), now.risk.word()));
        }
        (self.change != now.change).then(|| "the change itself would be another".to_owned())
    }

    /// The line that takes it back, to be planned and consented to like any other.
    pub fn undo_line(&self) -> String {
        let Change::SetConfig { parameter, old, .. } = &self.change;
        format!("set-config {parameter} {old} {}/{}", self.service, self.instance)
    }

    /// What it does, in one line.
    pub fn what(&self) -> String {
        let Change::SetConfig { parameter, old, new } = &self.change;
        format!("set {parameter} from {old} to {new} on {}/{}", self.service, self.instance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan {
            version: PLAN_VERSION,
            run: RunId::from_bits(7),
            command: "set-config".to_owned(),
            service: "shop".parse().unwrap(),
            instance: "main".parse().unwrap(),
            address: "10.0.0.1:6379".to_owned(),
            run_id: "abc".to_owned(),
            change: Change::SetConfig { parameter: "timeout".into(), old: "0".into(), new: "60".into() },
            risk: Risk::Medium,
            requester: "ana".parse().unwrap(),
            asker: Identity { platform: crate::model::Platform::Console, team: "h".into(), user: "ana".into() },
            made_ms: 0,
            expires_ms: 1_000,
        }
    }

    #[test]
    fn whatever_consent_is_about_changes_the_digest() {
        let base = plan();
        let set =
            |old: &str, new: &str| Change::SetConfig { parameter: "timeout".into(), old: old.into(), new: new.into() };
        let others = [
            Plan { run: RunId::from_bits(8), ..base.clone() },
            Plan { address: "10.0.0.2:6379".into(), ..base.clone() },
            Plan { run_id: "abd".into(), ..base.clone() },
            Plan { change: set("06", "0"), ..base.clone() },
            Plan { change: set("0", "61"), ..base.clone() },
            Plan { service: "blog".parse().unwrap(), ..base.clone() },
            Plan { requester: "bo".parse().unwrap(), ..base.clone() },
            Plan { risk: Risk::Low, ..base.clone() },
            Plan { expires_ms: 2_000, ..base.clone() },
        ];
        for other in others {
            assert_ne!(base.digest(), other.digest(), "{other:?}");
        }
        assert_eq!(base.digest(), plan().digest());
    }

    #[test]
    fn drift_is_said_and_a_plan_that_still_holds_has_none() {
        let base = plan();
        assert_eq!(base.drift(&plan()), None);
        let elsewhere = Plan { address: "10.0.0.2:6379".into(), ..base.clone() };
        assert!(base.drift(&elsewhere).unwrap().contains("10.0.0.2"));
        let restarted = Plan { run_id: "other".into(), ..base.clone() };
        assert!(base.drift(&restarted).unwrap().contains("restarted"));
    }
}
