//! `policy.toml`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{At, service::EnvironmentWord};

/// Who may run what, on which services, from where. What no rule allows is refused.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "policy.toml")]
pub(in crate::config) struct PolicyFile {
    /// `normal`, or `observe`: looks only, whatever the rules allow.
    pub(in crate::config) mode: ModeWord,
    /// People to ask for a change of this file; refusals name them.
    pub(in crate::config) keepers: Vec<At<String>>,
    /// The people, by a short id of your own.
    pub(in crate::config) people: BTreeMap<String, At<PersonWire>>,
    /// Accounts known by a user group or an e-mail address, by a name of your own: they look, whatever their roles say
    /// besides. Whoever is in `people` has what stands there.
    pub(in crate::config) crowds: BTreeMap<String, At<CrowdWire>>,
    /// What each role may do.
    pub(in crate::config) roles: BTreeMap<String, At<RoleWire>>,
    /// The tiers of escalation, the first to be asked first; left out: `L1`, `L2`, `L3`, `DBA`.
    pub(in crate::config) tiers: Option<Vec<At<String>>>,
    /// Who is on call now, by a name of your own for the duty: `redis = ["ada"]`.
    pub(in crate::config) on_call: BTreeMap<String, Vec<At<String>>>,
    /// Who answers for a service, by its name, and is told when its glass is broken; left out: the keepers.
    pub(in crate::config) owners: BTreeMap<String, Vec<At<String>>>,
    /// Channels with a rule or a default service, by a name of your own.
    pub(in crate::config) channels: BTreeMap<String, At<ChannelWire>>,
    /// How much at once. A command is counted under each.
    pub(in crate::config) limits: LimitsWire,
}

/// Whether changes are possible at all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum ModeWord {
    /// What the rules allow.
    #[default]
    Normal,
    /// Looks only.
    Observe,
}

/// Somebody, whichever account they speak from.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct PersonWire {
    /// What cards call them.
    pub(in crate::config) name: Option<String>,
    /// Their roles.
    pub(in crate::config) roles: Vec<At<String>>,
    /// Their Slack accounts.
    pub(in crate::config) slack: Vec<At<AccountWire>>,
    /// Their Discord accounts; `team` is the guild.
    pub(in crate::config) discord: Vec<At<AccountWire>>,
    /// Their user names on the bot's host, for the local console.
    pub(in crate::config) console: Vec<At<String>>,
}

/// An account, by ids. Never by e-mail or display name: their owner can change those.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["team", "user"]))]
pub(in crate::config) struct AccountWire {
    /// Workspace (`T…`) or guild id.
    pub(in crate::config) team: String,
    /// User id (`U…`).
    pub(in crate::config) user: String,
}

/// Those who may look without being named one by one.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["roles", "slack"]))]
pub(in crate::config) struct CrowdWire {
    /// Who they are.
    pub(in crate::config) about: Option<String>,
    /// The roles whose looks they have.
    pub(in crate::config) roles: Vec<At<String>>,
    /// Who is one of them in Slack; one of these is enough.
    pub(in crate::config) slack: Vec<At<BadgeWire>>,
}

/// A user group, or an e-mail address: one of the two.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["team"]))]
pub(in crate::config) struct BadgeWire {
    /// Workspace (`T…`).
    pub(in crate::config) team: String,
    /// User group id (`S…`).
    pub(in crate::config) group: Option<At<String>>,
    /// A confirmed e-mail address of a full member of that workspace.
    pub(in crate::config) email: Option<At<String>>,
}

/// What people hold by name.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["may"]))]
pub(in crate::config) struct RoleWire {
    /// What it is for.
    pub(in crate::config) about: Option<String>,
    /// What it allows; each entry stands alone.
    pub(in crate::config) may: Vec<At<GrantWire>>,
    /// Changes it may consent to when others ask for them.
    pub(in crate::config) approves: Vec<At<ApprovalWire>>,
    /// Its tier, one of `tiers`: of those who may consent, the first tier is asked first.
    pub(in crate::config) tier: Option<At<String>>,
    /// A duty of `[on_call]`: whoever is on call for it holds this role for as long as they are.
    pub(in crate::config) on_call: Option<At<String>>,
}

/// Consent to changes by these commands, on these services, said from these places.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["commands", "services"]))]
pub(in crate::config) struct ApprovalWire {
    /// Names of commands, `group:NAME`, or `*`.
    pub(in crate::config) commands: Vec<At<String>>,
    /// Names of services, or `*`.
    pub(in crate::config) services: Vec<At<String>>,
    /// `prod`, `staging`, `dev`; left out: any.
    pub(in crate::config) environments: Option<Vec<EnvironmentWord>>,
    /// Names of channels below, `direct`, `console`; left out: anywhere.
    pub(in crate::config) from: Option<Vec<At<String>>>,
    /// The highest risk it may consent to: `medium`, `high` or `critical`; left out: `critical`.
    pub(in crate::config) up_to: RiskWord,
}

/// How risky a change may be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum RiskWord {
    /// What another person who may run it consents to as well.
    Medium,
    /// What takes one approver.
    High,
    /// What takes two approvers.
    #[default]
    Critical,
}

/// These commands, on these services, from these places.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["commands", "services"]))]
pub(in crate::config) struct GrantWire {
    /// Names of commands, `group:NAME`, `diagnostics` (all that only look), or `*`.
    pub(in crate::config) commands: Vec<At<String>>,
    /// Names of services, or `*`.
    pub(in crate::config) services: Vec<At<String>>,
    /// `prod`, `staging`, `dev`; left out: any.
    pub(in crate::config) environments: Option<Vec<EnvironmentWord>>,
    /// Names of channels below, `direct`, `console`; left out: anywhere.
    pub(in crate::config) from: Option<Vec<At<String>>>,
    /// `--reveal` may be used: values instead of shapes, privately and journalled.
    pub(in crate::config) reveal: bool,
}

/// A channel: what it is about, and what may be done there. Its rules only narrow.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct ChannelWire {
    /// `slack` (unless said otherwise), `discord`, or `console`, which is one place and needs no ids.
    pub(in crate::config) platform: super::bot::ChatPlatform,
    /// Workspace (`T…`) or guild id; must be there, but for the console.
    pub(in crate::config) team: String,
    /// Channel id (`C…`); must be there, but for the console.
    pub(in crate::config) channel: String,
    /// The service meant when none is named.
    pub(in crate::config) service: Option<At<String>>,
    /// Only these services here; left out: any.
    pub(in crate::config) services: Option<Vec<At<String>>>,
    /// Only these commands here, written as in a role; left out: any.
    pub(in crate::config) commands: Option<Vec<At<String>>>,
}

/// How much at once.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct LimitsWire {
    /// For each person.
    pub(in crate::config) person: Option<LimitWire>,
    /// For each instance, whoever asks.
    pub(in crate::config) instance: Option<LimitWire>,
    /// For each instance: commands of a few quick calls.
    pub(in crate::config) cheap: Option<LimitWire>,
    /// For each instance: lists, logs, samples.
    pub(in crate::config) moderate: Option<LimitWire>,
    /// For each instance: walks and monitors.
    pub(in crate::config) heavy: Option<LimitWire>,
}

/// A rate, and a number at the same time.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct LimitWire {
    /// Sustained, in commands a minute.
    #[schemars(range(min = 1))]
    pub(in crate::config) per_minute: Option<u32>,
    /// So many may come at once before the rate holds.
    #[schemars(range(min = 1))]
    pub(in crate::config) burst: Option<u32>,
    /// So many may run side by side.
    #[schemars(range(min = 1))]
    pub(in crate::config) at_once: Option<u32>,
}
