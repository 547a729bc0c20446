//! `rediscue try`: the newcomer's first minute.
//!
//! A throw-away Redis with the data of five services and some trouble, a
//! configuration of its own, and the local chat with two people in it.
//! Nothing is asked for and nothing is left behind: the directory and the
//! server go when this program goes, in whichever way it goes (`server`), and
//! what even that leaves is swept at the next start (`ground`).

mod chat;
mod ground;
mod load;
mod profile;
mod resp;
mod seed;
mod server;

use std::{
    io,
    path::{Path, PathBuf},
};

pub use chat::run;
use ground::Ground;
use load::Load;
use server::Server;

use crate::model::PersonId;

/// The lines a newcomer is given to type.
pub const FIRST_LINES: [&str; 3] = ["/redis status", "/redis doctor", "/redis help"];

/// Why there is nothing to try.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// No server program.
    #[error(
        "there is no redis-server or valkey-server on this machine, and `try` starts one of its own.\n\
         Next: `sudo apt install redis-server` (Debian, Ubuntu), `sudo dnf install valkey` (Fedora) or \
         `brew install redis` (macOS), and try again; or name one with --redis-server PATH"
    )]
    NoServer,
    /// The server does not start.
    #[error("{} did not start: {why}", program.display())]
    NotStarted {
        /// The program.
        program: PathBuf,
        /// What it said.
        why: String,
    },
    /// The throw-away directory cannot be made.
    #[error("{}: {source}", path.display())]
    Directory {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The directory of all trials is somebody else's.
    #[error("{} is not a directory of yours alone; remove it, or set TMPDIR to another place", .0.display())]
    NotOurs(PathBuf),
    /// The server does not take its data.
    #[error("the throw-away Redis could not be filled: {0}")]
    Seed(#[from] io::Error),
}

/// A throw-away Redis with data, trouble and a little traffic, and the
/// configuration that describes it.
pub struct Trial {
    // In the order they are taken down.
    load: Load,
    server: Server,
    ground: Ground,
}

impl Trial {
    /// Starts one. Sweeps what earlier ones left first.
    ///
    /// # Errors
    /// See [`TrialError`].
    pub async fn start(program: Option<&Path>) -> Result<Self, TrialError> {
        let program = server::find(program)?;
        ground::sweep();
        let ground = Ground::make()?;
        let server = Server::start(&program, &ground).await?;
        let (port, password) = (server.port(), server.password().to_owned());
        let filled = tokio::task::spawn_blocking(move || seed::fill(port, &password));
        filled.await.map_err(io::Error::other)??;
        let load = Load::start(server.port(), server.password(), ground.path()).await?;
        profile::write(&ground, &server, load.pages())?;
        Ok(Self { load, server, ground })
    }

    /// The directory to load the configuration from.
    pub fn config(&self) -> PathBuf {
        self.ground.path().join("config")
    }

    /// The people in the chat; the first one speaks first.
    pub fn people() -> Vec<PersonId> {
        ["ana", "bo", "cy"].iter().filter_map(|name| name.parse().ok()).collect()
    }

    /// What is said before the first prompt.
    pub fn greeting(&self) -> String {
        let [status, doctor, help] = FIRST_LINES;
        format!(
            "A throw-away Redis with the data of five services is up on 127.0.0.1:{}.\n\
             You are ana, an operator; `:as bo` makes you bo, who sees no values and approves changes; cy approves\n\
             them too, for what takes two.\n\
             Nothing you do here lasts; `exit` or Ctrl-D leaves. Type, for a start:\n\
             \n    {status}      is it healthy, and why not\
             \n    {doctor}      what to do first\
             \n    {help}        everything else\n",
            self.server.port()
        )
    }

    /// Takes it all down: no process and no file is left.
    pub async fn stop(self) {
        self.load.stop();
        self.server.stop().await;
        drop(self.ground);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_trial_starts_fast_and_leaves_nothing() {
        let began = std::time::Instant::now();
        let trial = Trial::start(None).await.unwrap();
        let took = began.elapsed();
        let dir = trial.ground.path().to_owned();
        let pid = trial.server.pid();
        let config = crate::config::load(&trial.config());
        let config = config.unwrap_or_else(|problems| {
            panic!("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
        });
        assert_eq!(config.services.len(), 5);
        assert_eq!(config.warnings, []);
        let flush = config.catalogue.find("flushdb").unwrap();
        for service in config.services.values() {
            let lacking = config.policy.too_few(flush, service, crate::runbook::Risk::Critical);
            assert_eq!(lacking, None, "a critical change of {} can be made", service.name);
        }
        assert!(took.as_secs_f64() < 4.0, "{took:?}");
        trial.stop().await;
        assert!(!dir.exists());
        assert!(ground::started(pid).is_none());
    }
}
