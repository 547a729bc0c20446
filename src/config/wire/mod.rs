//! The files as they are written. Every type here is a shape of TOML and
//! nothing more; its doc comments are what the reference and the editors show.
//!
//! Everything may be missing as far as serde is concerned (`default`): what
//! must be there is said by `required`, and told with all other problems.

mod bot;
mod policy;
mod service;

use schemars::JsonSchema;
use serde::Deserialize;

pub(super) use bot::{BotFile, ChatPlatform, LogFormatWord, ScheduleWire, SlackMode, ThresholdWire};
pub(super) use policy::{
    AccountWire, ApprovalWire, BadgeWire, ChannelWire, GrantWire, LimitWire, ModeWord, PolicyFile, RiskWord, RoleWire,
};
pub(super) use service::{
    BadSide, EndpointWire, EnvironmentWord, HeaderWire, InstanceWire, LogWire, MethodWord, ServiceFile,
};

use super::sheet::At;

/// Where a secret is: `{ env = "NAME" }` or `{ file = "/path" }`. Never the secret itself.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-secret" = true))]
pub(super) struct SecretWire {
    /// The environment variable that holds it.
    pub(super) env: Option<At<String>>,
    /// The file that holds it; a trailing line break is not part of it.
    pub(super) file: Option<At<String>>,
}
