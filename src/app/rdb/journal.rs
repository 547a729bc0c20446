//! The journal's rows of a full copy: one before it begins, one when it has ended.
//!
//! A bot that runs is asked through its console's socket; it has the store.
//! Where none runs, this program writes the journal itself, holding the store's
//! lock for that moment only. Where neither can be done there is no copy:
//! all data of a server would leave it with nobody able to say who took it.

use std::{
    os::unix::fs::MetadataExt,
    path::Path,
    time::{Duration, Instant},
};

use nix::unistd::{Uid, User};

use crate::{
    app::serve,
    chat::console::{
        client::{self, ConnectError},
        wire::{DidEnd, FromBot, ToBot},
    },
    config::BotSettings,
    diagnosis::{Explained, redact},
    model::{Actor, InstanceName, Place, RunId, ServiceName},
    store::{Entry, Outcome, Store},
};

/// The bot has answered by then.
const PATIENCE: Duration = Duration::from_secs(15);

/// One copy, as the journal knows it.
pub(super) struct Copying<'a> {
    pub(super) bot: &'a BotSettings,
    pub(super) actor: &'a Actor,
    pub(super) place: &'a Place,
    pub(super) run: &'a RunId,
    pub(super) command: &'a str,
    pub(super) service: &'a ServiceName,
    pub(super) instance: &'a InstanceName,
    pub(super) node: Option<&'a str>,
    pub(super) since: Instant,
}

impl Copying<'_> {
    /// Before anything is asked of a server.
    ///
    /// # Errors
    /// When the bot says no, or nothing can be written.
    pub(super) async fn begins(&self) -> Result<(), Explained> {
        self.write(None, true).await
    }

    /// Policy said no. Nothing is made for it: where there is no journal yet, there is none now.
    pub(super) async fn denied(&self, rule: &str) {
        let _ = self.write(Some(DidEnd::Denied { why: rule.to_owned() }), false).await;
    }

    /// When it is over.
    ///
    /// # Errors
    /// When it could not be written; the copy is what it is.
    pub(super) async fn ended(&self, end: DidEnd) -> Result<(), Explained> {
        self.write(Some(end), true).await
    }

    async fn write(&self, ended: Option<DidEnd>, make: bool) -> Result<(), Explained> {
        if let Some(path) = &self.bot.console {
            match client::connect(path, true).await {
                Ok(link) => return self.tell(link, ended).await,
                Err(ConnectError::Nobody(_)) => {}
                Err(error) => {
                    let next = "run it as the user the bot runs as, or as one who may use `rediscue console`";
                    return Err(not(error.to_string(), next));
                }
            }
        }
        self.record(ended, make).await
    }

    /// Through the running bot.
    async fn tell(&self, mut link: crate::chat::console::Link, ended: Option<DidEnd>) -> Result<(), Explained> {
        let did = ToBot::Did {
            line: 1,
            run: self.run.as_str().to_owned(),
            command: self.command.to_owned(),
            service: self.service.to_string(),
            instance: self.instance.to_string(),
            node: self.node.map(str::to_owned),
            ended,
            took_ms: u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        let gone = || not("the running bot did not answer", "is it of this version? `rediscue console` says more");
        link.to_bot.send(did).await.map_err(|_| gone())?;
        let mut refused = None;
        let heard = async {
            while let Some(event) = link.from_bot.recv().await {
                match event {
                    FromBot::Say { card, .. } => refused = Some(card),
                    FromBot::Refused { why, .. } => return Err(not(why, "`rediscue console` says more")),
                    FromBot::Settled { .. } => return Ok(()),
                    _ => {}
                }
            }
            Err(gone())
        };
        tokio::time::timeout(PATIENCE, heard).await.unwrap_or_else(|_| Err(gone()))?;
        match refused {
            None => Ok(()),
            Some(card) => {
                let what = card.verdict.map(|verdict| verdict.to_plain()).unwrap_or(card.title);
                let rule = card.footer.unwrap_or_default();
                Err(not(format!("the running bot says no: {what} {rule}"), "ask whoever keeps policy.toml"))
            }
        }
    }

    /// Into the store, while no bot has it.
    async fn record(&self, ended: Option<DidEnd>, make: bool) -> Result<(), Explained> {
        let settings = serve::store_settings(self.bot);
        if !make && !settings.database.exists() {
            return Ok(());
        }
        owned(&settings.database)?;
        let store = Store::open(settings).await.map_err(|error| {
            let next = "where a bot runs, set console.socket in its bot.toml, so that it can be asked";
            not(error.to_string(), next)
        })?;
        let (outcome, why) = match ended {
            None => (Outcome::Begun, None),
            Some(DidEnd::Well) => (Outcome::Answered, None),
            Some(DidEnd::Denied { why }) => (Outcome::Denied, Some(why)),
            Some(DidEnd::Stopped) => (Outcome::Cancelled, None),
            Some(DidEnd::Failed { why }) => (Outcome::Failed, Some(redact::line(&why))),
        };
        let node = self.node.map(|node| format!(" --node {}", redact::line(node))).unwrap_or_default();
        let written = store
            .record_synced(Entry {
                at: jiff::Timestamp::now(),
                run: self.run.clone(),
                identity: self.actor.identity.clone(),
                person: self.actor.person.clone(),
                place: self.place.clone(),
                line: format!("{} {}/{}{node}", self.command, self.service, self.instance),
                command: self.command.to_owned(),
                service: Some(self.service.clone()),
                instance: Some(self.instance.clone()),
                outcome,
                why,
                level: None,
                took: self.since.elapsed(),
                reveal: matches!(outcome, Outcome::Begun | Outcome::Answered),
            })
            .await;
        store.close().await;
        written.map_err(|error| not(error.to_string(), "make room on its disk, or let its owner write there"))
    }
}

/// A store written by another user would be of no more use to the bot that owns it.
fn owned(database: &Path) -> Result<(), Explained> {
    let me = Uid::effective();
    let there = database.ancestors().find_map(|path| std::fs::metadata(path).ok().map(|about| (path, about.uid())));
    match there {
        Some((path, owner)) if owner != me.as_raw() => {
            let name =
                User::from_uid(Uid::from_raw(owner)).ok().flatten().map_or_else(|| owner.to_string(), |u| u.name);
            let what = format!("{} belongs to {name}", path.display());
            Err(not(what, &format!("run it as {name}, or start the bot: it then writes the journal")))
        }
        _ => Ok(()),
    }
}

fn not(cause: impl Into<String>, next: &str) -> Explained {
    Explained {
        code: "JOURNAL".into(),
        what: "the copy cannot be written down in the journal, so none is made".into(),
        cause: cause.into(),
        next: next.into(),
    }
}
