//! A runbook file as it is written. The documentation of each key here is
//! what editors show, through the JSON Schema.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    read::At,
    wire::{Argument, CostWord, Group, RiskWord, Str},
};

/// A runbook: a command of several steps, done in order, with gates.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "Rediscue runbook file")]
pub(super) struct BookFile {
    /// What is typed after `/redis`: lowercase letters, digits and `-`.
    pub(super) name: Option<Str>,
    /// Other words for it.
    pub(super) aliases: Vec<Str>,
    /// One line for help.
    pub(super) summary: Option<Str>,
    /// A paragraph for `help NAME`.
    pub(super) about: Option<String>,
    /// Lines to type, without `/redis`.
    pub(super) examples: Vec<Str>,
    /// The heading it stands under in help; `change` when not said.
    pub(super) group: Option<Group>,
    /// How much it asks of a server; `moderate` when not said.
    pub(super) cost: Option<CostWord>,
    /// Words it takes.
    pub(super) arguments: Vec<At<Argument>>,
    /// What is done, in order.
    pub(super) steps: Vec<At<BookStepTable>>,
}

/// One step. Exactly one of `look`, `touch`, `check`, `wait`, `watch`, `approve` and `manual` says what is done.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct BookStepTable {
    /// The name its result has in conditions and templates.
    pub(super) id: Option<Str>,
    /// What stands on the card; a template over `args`, `service` and `instance`.
    pub(super) say: Option<Str>,
    /// CEL over arguments and earlier results; the step is skipped when it is false.
    pub(super) when: Option<Str>,
    /// The line of a diagnostic, a template: its figures and findings are what later steps see.
    pub(super) look: Option<Str>,
    /// The line of a remediation, a template: proposed as if whoever began the runbook had typed it.
    pub(super) touch: Option<Str>,
    /// CEL that has to hold.
    pub(super) check: Option<Str>,
    /// A look repeated until a condition holds.
    pub(super) wait: Option<At<WaitTable>>,
    /// A look repeated for as long as a condition has to hold; when it does not, what was changed is taken back.
    pub(super) watch: Option<At<WatchTable>>,
    /// Other people's word, which covers the changes after it whose values are known: `another`, or the name of a role.
    pub(super) approve: Option<Str>,
    /// With `approve`: it takes at least the consent of a change of this risk. What it covers may raise it.
    pub(super) risk: Option<At<RiskWord>>,
    /// Exactly what a person does elsewhere, and ticks; a template.
    pub(super) manual: Option<Str>,
    /// With `manual`: how it is seen that it was done.
    pub(super) verify: Option<At<VerifyTable>>,
    /// Said when the step fails; a template that sees the step's own result too.
    pub(super) otherwise: Option<Str>,
    /// What becomes of the run when the step fails; it stops when not said.
    #[serde(rename = "else")]
    pub(super) or: Option<At<OrWord>>,
}

/// What becomes of a run when a step fails.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum OrWord {
    /// It ends there.
    Stop,
    /// It goes on.
    Continue,
    /// It waits until a person has dealt with it.
    Manual,
}

/// Options of `wait`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WaitTable {
    /// The line of a diagnostic; a template.
    pub(super) look: Option<Str>,
    /// CEL; sees the step's own last look by its id.
    pub(super) until: Option<Str>,
    /// From one look to the next, `500ms` to `10m`; `5s` when not said.
    pub(super) every: Option<Str>,
    /// The step fails after this, at most `1d`; `5m` when not said.
    pub(super) most: Option<Str>,
}

/// Options of `watch`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WatchTable {
    /// The line of a diagnostic; a template.
    pub(super) look: Option<Str>,
    /// CEL; sees the step's own last look by its id.
    pub(super) holds: Option<Str>,
    /// From one look to the next, `500ms` to `10m`; `10s` when not said.
    pub(super) every: Option<Str>,
    /// It has to hold for so long, at most `1d`.
    pub(super) lasts: Option<Str>,
    /// Settings changed before it are taken back without another word when it does not hold; their plans say so.
    pub(super) roll_back: bool,
}

/// Options of `verify`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct VerifyTable {
    /// The line of a diagnostic; a template.
    pub(super) look: Option<Str>,
    /// CEL; sees the step's own look by its id.
    pub(super) holds: Option<Str>,
}
