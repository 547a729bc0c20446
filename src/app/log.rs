//! The bot's own log, on standard error.

use std::io::IsTerminal as _;

use tracing_subscriber::{EnvFilter, fmt, prelude::*};

use crate::config::{Log, LogFormat};

/// Starts logging as the settings say; `RUST_LOG` overrides their filter.
/// A second call changes nothing.
pub fn start(settings: &Log) {
    let filter = EnvFilter::try_from_default_env()
        .or_else(|_| EnvFilter::try_new(&settings.filter))
        .unwrap_or_else(|_| EnvFilter::new("info"));
    // These write whole addresses and frames, with the secrets in them, when asked for detail.
    let filter = ["tungstenite", "tokio_tungstenite", "h2", "hyper", "hyper_util", "reqwest"]
        .into_iter()
        .filter_map(|target| format!("{target}=warn").parse().ok())
        .fold(filter, EnvFilter::add_directive)
        .add_directive("slack_morphism=off".parse().unwrap_or_default());
    let registry = tracing_subscriber::registry().with(filter);
    let colour = std::io::stderr().is_terminal();
    let layer = fmt::layer().with_writer(std::io::stderr).with_target(false).with_ansi(colour);
    // An error means that a logger is there already, as in tests: it stays.
    let _ = match settings.format {
        LogFormat::Text => registry.with(layer).try_init(),
        LogFormat::Json => registry.with(layer.json()).try_init(),
    };
}
