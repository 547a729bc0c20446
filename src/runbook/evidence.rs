//! What a diagnostic saw, and what became of it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{Arguments, Branch, Part};
use crate::{
    diagnosis::Observation,
    model::{Card, InstanceName, Level, RunId, Service},
};

/// Everything a card is made of. `exec` and `store` gather it; [`render`](super::render()) only reads it.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// The service that was asked about.
    pub service: Arc<Service>,
    /// Which of its instances.
    pub instance: InstanceName,
    /// The values the person gave, defaults filled in.
    pub arguments: Arguments,
    /// What each step saw, by the id of the bound step.
    pub observations: BTreeMap<String, Observation>,
    /// What the diagnostics this one runs came to, by the id of the step that ran them.
    pub nested: BTreeMap<String, Rendered>,
    /// The remembered figures of the last look.
    pub last: Option<Figures>,
    /// The remembered figures of the last look that was healthy.
    pub healthy: Option<Figures>,
    /// Remembered figures over time, oldest first: Unix seconds and value.
    pub series: BTreeMap<String, Vec<(i64, f64)>>,
    /// When the card is made.
    pub now: Timestamp,
    /// No wrong target: environment, role, address and run id of what was looked at.
    pub context: Vec<String>,
    /// The run the card belongs to.
    pub run: RunId,
    /// From the question to the answer.
    pub took: Duration,
}

/// Figures as they were at some moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// When.
    pub at: Timestamp,
    /// By name.
    pub values: BTreeMap<String, f64>,
}

/// A card, its judgement, and the figures worth remembering.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendered {
    /// What is said.
    pub card: Card,
    /// The worst of its figures and findings.
    pub level: Level,
    /// The figures marked `remember`, by name.
    pub figures: BTreeMap<String, f64>,
    /// What the card shows the beginning of, whole; empty when it shows everything.
    pub long: Vec<Part>,
    /// The tree of a survey by prefix; empty for other looks.
    pub tree: Vec<Branch>,
}
