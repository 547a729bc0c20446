//! The configuration of a trial, as files: what a newcomer finds there is
//! what they will write themselves.

use std::io;

use super::{ground::Ground, server::Server};

const FILES: &[(&str, &str)] = &[
    ("bot.toml", include_str!("profile/bot.toml")),
    ("policy.toml", include_str!("profile/policy.toml")),
    ("services/prospectflow.toml", include_str!("profile/services/prospectflow.toml")),
    ("services/godel.toml", include_str!("profile/services/godel.toml")),
    ("services/somabrain.toml", include_str!("profile/services/somabrain.toml")),
    ("services/onesource.toml", include_str!("profile/services/onesource.toml")),
    ("services/olumi.toml", include_str!("profile/services/olumi.toml")),
];

/// Writes them to `config/`, with the addresses of this trial filled in.
pub(super) fn write(ground: &Ground, server: &Server, pages: u16) -> io::Result<()> {
    let dir = ground.path().display().to_string();
    for (name, text) in FILES {
        let text = filled(text, &dir, server.port(), pages);
        ground.write(&format!("config/{name}"), &text)?;
    }
    Ok(())
}

fn filled(text: &str, dir: &str, port: u16, pages: u16) -> String {
    // A path may hold what TOML reads as an escape.
    let dir = dir.replace('\\', "\\\\").replace('"', "\\\"");
    text.replace("@DIR@", &dir).replace("@PORT@", &port.to_string()).replace("@PAGES@", &pages.to_string())
}
