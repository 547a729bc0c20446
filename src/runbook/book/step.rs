//! What a runbook is made of.

use serde::{Deserialize, Serialize};

use crate::runbook::{Compiled, Risk};

/// A command of several steps.
#[derive(Debug, Clone)]
pub struct Book {
    /// In order.
    pub steps: Vec<BookStep>,
    /// The expressions and templates of the steps, compiled.
    pub compiled: Compiled,
}

impl Book {
    /// Does any step of it change something?
    pub fn changes(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.act, Act::Touch { .. }))
    }
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BookStep {
    /// The name its result has in conditions and templates.
    pub id: String,
    /// What stands on the card; a template over arguments and service.
    pub say: String,
    /// CEL; the step is skipped when it is false.
    pub when: Option<String>,
    /// What it does.
    pub act: Act,
    /// Said when it fails; a template over earlier results and its own.
    pub otherwise: Option<String>,
    /// What becomes of the run when it fails.
    pub or: Or,
}

/// What becomes of a run when a step of it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Or {
    /// It ends there.
    #[default]
    Stop,
    /// It goes on with the next step.
    Continue,
    /// It waits for a person, who deals with it and ticks the step, or ends the run.
    Manual,
}

/// What a step does. Lengths of time are in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "lowercase")]
pub enum Act {
    /// A diagnostic, by its line.
    Look {
        /// A template.
        line: String,
    },
    /// A remediation, by its line: proposed as if the asker had typed it.
    Touch {
        /// A template.
        line: String,
    },
    /// A condition.
    Check {
        /// CEL.
        holds: String,
    },
    /// A diagnostic, repeated until a condition holds.
    Wait {
        /// A template.
        line: String,
        /// CEL; sees the step's own last look too.
        until: String,
        /// From one look to the next.
        every_ms: i64,
        /// The step fails after so long.
        most_ms: i64,
    },
    /// A diagnostic, repeated for as long as a condition has to hold. When it
    /// does not, what the run changed is taken back.
    Watch {
        /// A template.
        line: String,
        /// CEL; sees the step's own last look too.
        holds: String,
        /// From one look to the next.
        every_ms: i64,
        /// It has to hold for so long.
        lasts_ms: i64,
        /// What was changed under it is taken back without another word: whoever consented was told so.
        #[serde(default)]
        roll_back: bool,
    },
    /// Somebody else's word.
    Approve {
        /// The role whose word it is; `None`: anybody else's who may consent.
        by: Option<String>,
        /// It counts as at least so risky; what it covers may raise it.
        #[serde(default)]
        risk: Option<Risk>,
    },
    /// Something a person does elsewhere, and ticks.
    Manual {
        /// Exactly what; a template.
        words: String,
        /// How it is seen that it was done.
        verify: Option<Verify>,
    },
}

/// How it is seen that something was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verify {
    /// A diagnostic's line; a template.
    pub line: String,
    /// CEL; sees the step's own look.
    pub holds: String,
}

impl Act {
    /// Its key in a file, and its word on a card.
    pub fn word(&self) -> &'static str {
        match self {
            Act::Look { .. } => "look",
            Act::Touch { .. } => "touch",
            Act::Check { .. } => "check",
            Act::Wait { .. } => "wait",
            Act::Watch { .. } => "watch",
            Act::Approve { .. } => "approve",
            Act::Manual { .. } => "manual",
        }
    }

    /// The line it types, where it types one.
    pub fn line(&self) -> Option<&str> {
        match self {
            Act::Look { line } | Act::Touch { line } | Act::Wait { line, .. } | Act::Watch { line, .. } => Some(line),
            Act::Manual { verify, .. } => verify.as_ref().map(|verify| verify.line.as_str()),
            Act::Check { .. } | Act::Approve { .. } => None,
        }
    }
}
