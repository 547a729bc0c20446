//! `bot.toml`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{At, SecretWire, service::BadSide};

/// The settings of the bot itself. Every key has a default; the compiled-in `bot.toml` shows them all.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "bot.toml")]
pub(in crate::config) struct BotFile {
    /// How much work is taken on.
    pub(in crate::config) work: WorkWire,
    /// How long things may take.
    pub(in crate::config) deadlines: DeadlinesWire,
    /// How long changes wait for people.
    pub(in crate::config) consent: ConsentWire,
    /// Where and how long is remembered.
    pub(in crate::config) store: StoreWire,
    /// Copies of all data of an instance.
    pub(in crate::config) backups: BackupsWire,
    /// Health, metrics, and Slack's requests in its HTTP mode.
    pub(in crate::config) web: WebWire,
    /// The local chat.
    pub(in crate::config) console: ConsoleWire,
    /// Slack.
    pub(in crate::config) slack: SlackWire,
    /// The journal's witness outside.
    pub(in crate::config) audit: AuditWire,
    /// The bot's own log.
    pub(in crate::config) log: LogWire,
    /// What is normal, by the figure's name, for a service whose profile says nothing else.
    pub(in crate::config) thresholds: BTreeMap<String, At<ThresholdWire>>,
}

/// How much work is taken on.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct WorkWire {
    /// Events that may wait for their turn.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(in crate::config) queue: u32,
    /// Commands that may run side by side.
    #[schemars(range(min = 1, max = 100_000))]
    pub(in crate::config) at_once: u32,
}

/// How long things may take.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct DeadlinesWire {
    /// No command takes longer.
    pub(in crate::config) command: At<String>,
    /// No single call takes longer.
    pub(in crate::config) call: At<String>,
    /// Making a connection to a Redis.
    pub(in crate::config) connect: At<String>,
    /// A command that takes longer than this says how far it is.
    pub(in crate::config) progress: At<String>,
    /// On SIGTERM, commands in flight are waited for this long.
    pub(in crate::config) stop: At<String>,
}

/// How long changes wait for people.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct ConsentWire {
    /// A plan waits for consent so long, and then expires.
    pub(in crate::config) within: At<String>,
    /// Approvers are reminded so long before that.
    pub(in crate::config) remind_before: At<String>,
    /// When no approver has answered for so long, all of them are called again.
    pub(in crate::config) page_after: At<String>,
    /// So long after that break-glass is open, for a SEV1 and up to high risk.
    pub(in crate::config) break_glass_after: At<String>,
    /// A severity that somebody declared holds so long.
    pub(in crate::config) severity_for: At<String>,
    /// A file with the alerts that fire now; empty: none.
    pub(in crate::config) alerts: At<String>,
}

/// Where and how long is remembered.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct StoreWire {
    /// The SQLite database.
    pub(in crate::config) path: At<String>,
    /// The key that chains the journal; made at first start.
    pub(in crate::config) key_file: At<String>,
    /// Rows of the journal older than this are swept.
    pub(in crate::config) keep: At<String>,
    /// Remembered figures older than this are swept.
    pub(in crate::config) keep_figures: At<String>,
    /// Snapshots of what changes removed are swept after this.
    pub(in crate::config) keep_snapshots: At<String>,
    /// All snapshots together take no more than this.
    pub(in crate::config) snapshot_bytes: At<String>,
}

/// Copies of all data of an instance.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct BackupsWire {
    /// Their directory; empty: `backups` beside the store.
    pub(in crate::config) dir: At<String>,
    /// They are removed when they are older, but never the last good one of an instance.
    pub(in crate::config) keep: At<String>,
    /// So many good ones of each instance are kept.
    #[schemars(range(min = 1, max = 10_000))]
    pub(in crate::config) keep_last: u32,
    /// Made by the clock.
    pub(in crate::config) schedules: Vec<At<ScheduleWire>>,
}

/// A backup that is made every day.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["service", "at", "by"]))]
pub(in crate::config) struct ScheduleWire {
    /// The service.
    pub(in crate::config) service: At<String>,
    /// Its instance; left out: the first.
    pub(in crate::config) instance: Option<At<String>>,
    /// When, in UTC: `03:00`.
    pub(in crate::config) at: At<String>,
    /// The person in whose name, who must be allowed to run `backup` there.
    pub(in crate::config) by: At<String>,
}

/// The listener.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct WebWire {
    /// Whether there is one.
    pub(in crate::config) enabled: bool,
    /// Address and port.
    pub(in crate::config) listen: At<String>,
}

/// The local chat.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct ConsoleWire {
    /// Whether there is one.
    pub(in crate::config) enabled: bool,
    /// The Unix socket.
    pub(in crate::config) socket: At<String>,
}

/// Slack.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct SlackWire {
    /// Whether it is used.
    pub(in crate::config) enabled: bool,
    /// How events arrive.
    pub(in crate::config) mode: At<SlackMode>,
    /// The bot token, `xoxb-…`.
    pub(in crate::config) bot_token: At<SecretWire>,
    /// The app-level token, `xapp-…`, for `socket`.
    pub(in crate::config) app_token: At<SecretWire>,
    /// The signing secret, for `http`.
    pub(in crate::config) signing_secret: At<SecretWire>,
    /// The slash command.
    pub(in crate::config) command: At<String>,
    /// Where the Web API is.
    pub(in crate::config) api: At<String>,
}

/// How Slack's events arrive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum SlackMode {
    /// Socket Mode.
    #[default]
    Socket,
    /// Signed requests.
    Http,
}

/// The journal's witness outside.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct AuditWire {
    /// The platform of the channel: `slack` or `discord`.
    pub(in crate::config) platform: At<ChatPlatform>,
    /// The workspace or guild; empty: nothing is written anywhere.
    pub(in crate::config) team: At<String>,
    /// The channel's id.
    pub(in crate::config) channel: At<String>,
    /// How often the head of the journal is written there.
    pub(in crate::config) anchor_every: At<String>,
}

/// A platform with channels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum ChatPlatform {
    /// Slack.
    #[default]
    Slack,
    /// Discord.
    Discord,
    /// The local chat, whose only channel is `console`.
    Console,
}

/// The bot's own log.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct LogWire {
    /// For people or for machines.
    pub(in crate::config) format: LogFormatWord,
    /// What is logged, in the notation of RUST_LOG.
    pub(in crate::config) filter: At<String>,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum LogFormatWord {
    /// For people.
    #[default]
    Text,
    /// For machines.
    Json,
}

/// Where a figure stops being normal. Without `warn` and `crit` it is shown and never judged.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct ThresholdWire {
    /// Past this is a warning.
    pub(in crate::config) warn: Option<f64>,
    /// Past this is critical.
    pub(in crate::config) crit: Option<f64>,
    /// Which side is bad; left out, as in `bot.toml`, or `high`.
    pub(in crate::config) bad: Option<BadSide>,
    /// What the figure is: declares a name that `bot.toml` does not know.
    pub(in crate::config) about: Option<String>,
}
