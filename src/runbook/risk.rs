//! How much harm a change could do.

use serde::{Deserialize, Serialize};

/// How much harm a change could do, and so who must consent to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Risk {
    /// Nobody but the one who asks.
    #[default]
    Low,
    /// One other person who may run the command.
    Medium,
    /// One approver.
    High,
    /// Two approvers.
    Critical,
}

impl Risk {
    /// The word on cards.
    pub fn word(self) -> &'static str {
        match self {
            Risk::Low => "low",
            Risk::Medium => "medium",
            Risk::High => "high",
            Risk::Critical => "critical",
        }
    }

    /// How many people other than the asker have to consent.
    pub fn consents(self) -> usize {
        match self {
            Risk::Low => 0,
            Risk::Medium | Risk::High => 1,
            Risk::Critical => 2,
        }
    }

    /// One level up: where a change cannot be undone as it usually could.
    #[must_use]
    pub fn raised(self) -> Self {
        match self {
            Risk::Low => Risk::Medium,
            Risk::Medium => Risk::High,
            Risk::High | Risk::Critical => Risk::Critical,
        }
    }
}
