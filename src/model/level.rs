//! How bad a figure, a finding or an incident is.

use serde::{Deserialize, Serialize};

/// The judgement of one figure or one card, mildest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Within the service's thresholds.
    #[default]
    Ok,
    /// Worth knowing; nothing to do now.
    Note,
    /// Could not be looked at, so nothing can be said. Ranks above `Note`: not seeing is not health.
    Unknown,
    /// Past the warning threshold.
    Warn,
    /// Past the critical threshold.
    Crit,
}

impl Level {
    /// One word a person reads without colour.
    pub fn word(self) -> &'static str {
        match self {
            Level::Ok => "OK",
            Level::Note => "NOTE",
            Level::Unknown => "UNKNOWN",
            Level::Warn => "WARNING",
            Level::Crit => "CRITICAL",
        }
    }

    /// The sign that stands before a line of this level.
    pub fn sign(self) -> &'static str {
        match self {
            Level::Ok => "🟢",
            Level::Note => "🔵",
            Level::Unknown => "⚪",
            Level::Warn => "🟡",
            Level::Crit => "🔴",
        }
    }
}

/// The severity of an incident; SEV1 is the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Severity {
    /// Users are losing data or cannot work.
    Sev1,
    /// Users notice.
    Sev2,
    /// Users will notice if nobody acts.
    Sev3,
}

impl Severity {
    /// Its word, as people type it in whatever case.
    pub fn parse(word: &str) -> Option<Self> {
        let all = [("sev1", Self::Sev1), ("sev2", Self::Sev2), ("sev3", Self::Sev3)];
        all.into_iter().find(|(name, _)| word.eq_ignore_ascii_case(name)).map(|(_, severity)| severity)
    }
}

impl std::fmt::Display for Severity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Sev1 => "SEV1",
            Self::Sev2 => "SEV2",
            Self::Sev3 => "SEV3",
        })
    }
}
