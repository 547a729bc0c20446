//! What `bot.toml` says, checked and without its spelling.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use crate::{
    bot::Schedule,
    model::{Place, SecretRef, Threshold},
    policy::ConsentTimes,
};

/// The settings of the bot itself.
#[derive(Debug, Clone, PartialEq)]
pub struct BotSettings {
    /// How much work is taken on.
    pub work: Work,
    /// How long things may take.
    pub deadlines: Deadlines,
    /// How long changes wait for people.
    pub consent: ConsentTimes,
    /// The file with the alerts that fire now; `None`: no alert declares a severity.
    pub alerts: Option<PathBuf>,
    /// Where and how long is remembered.
    pub store: StoreRoom,
    /// Copies of all data of an instance.
    pub backups: BackupRoom,
    /// The listener for health and metrics (and Slack, in its HTTP mode); `None`: no listener.
    pub web: Option<SocketAddr>,
    /// The socket of the local console; `None`: no console.
    pub console: Option<PathBuf>,
    /// Slack; `None`: not used.
    pub slack: Option<SlackSettings>,
    /// The journal's witness outside.
    pub audit: Audit,
    /// How the log is written.
    pub log: Log,
    /// What is normal for a service that says nothing else, by the figure's name.
    pub thresholds: BTreeMap<String, Threshold>,
}

/// How much work is taken on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    /// Events that may wait for the dispatcher.
    pub queue: usize,
    /// Commands that may run side by side, all instances together.
    pub at_once: usize,
}

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// No command takes longer, whatever its file says.
    pub command: Duration,
    /// No single call takes longer, whatever the command's file says.
    pub call: Duration,
    /// Making a connection, with TLS and AUTH.
    pub connect: Duration,
    /// A command that takes longer than this says how far it is.
    pub progress: Duration,
    /// On SIGTERM, commands in flight are waited for this long, then answered as interrupted.
    pub stop: Duration,
}

/// Where and how long is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreRoom {
    /// The database file.
    pub path: PathBuf,
    /// The file with the key that chains the journal; made at first start.
    pub key_file: PathBuf,
    /// Journal rows older than this are swept.
    pub keep: Duration,
    /// Remembered figures older than this are swept.
    pub keep_figures: Duration,
    /// Snapshots of what changes removed are swept after this.
    pub keep_snapshots: Duration,
    /// All snapshots together take no more bytes than this.
    pub snapshot_bytes: u64,
}

/// Copies of all data of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupRoom {
    /// Their directory; `None`: `backups` beside the store.
    pub dir: Option<PathBuf>,
    /// They are removed when they are older, but never the last good one of an instance.
    pub keep: Duration,
    /// So many good ones of each instance are kept.
    pub keep_last: usize,
    /// Made by the clock.
    pub schedules: Vec<Schedule>,
}

/// The journal's witness outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// The channel that refusals, reveals and the journal's head are told to.
    pub channel: Option<Place>,
    /// How often the head of the journal is written there.
    pub anchor_every: Duration,
}

/// How the log is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// For people or for machines.
    pub format: LogFormat,
    /// What is logged, in the notation of `RUST_LOG`, which overrides it.
    pub filter: String,
}

/// For people or for machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// How Slack is spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlackSettings {
    /// By socket or by signed HTTP.
    pub transport: SlackTransport,
    /// The bot token (`xoxb-…`).
    pub bot_token: SecretRef,
    /// The slash command, with its slash.
    pub command: String,
    /// Where the Web API is, without a trailing slash.
    pub api: String,
}

/// How Slack's events arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SlackTransport {
    /// Socket Mode: no public address needed.
    Socket {
        /// The app-level token (`xapp-…`).
        app_token: SecretRef,
    },
    /// Signed requests on the `web` listener, under `/slack/`.
    Http {
        /// Checks each request's signature.
        signing_secret: SecretRef,
    },
}
