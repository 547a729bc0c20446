//! Slack, from what the configuration says to a gateway that listens.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, PoisonError, RwLock},
};

use anyhow::{Context as _, bail};
use secrecy::{ExposeSecret, SecretString};

use crate::{
    chat::slack::{Expected, Settings, Slack, Transport, Wanted},
    config::{Config, SlackSettings, SlackTransport},
    exec,
    model::{Badge, Identity, PersonId, Platform, Problem, SecretRef},
    policy::Policy,
};

/// Who has which Slack account, and what crowds are known by: follows the policy, also when it is read again.
#[derive(Default)]
pub struct Directory(RwLock<Known>);

#[derive(Default)]
struct Known {
    accounts: BTreeMap<(PersonId, String), String>,
    named: BTreeSet<Identity>,
    badges: BTreeSet<Badge>,
}

impl Directory {
    /// Takes over the accounts of a policy.
    pub fn learn(&self, policy: &Policy) {
        let mut known = Known::default();
        for (person, who) in &policy.rules().people {
            for identity in who.identities.iter().filter(|identity| identity.platform == Platform::Slack) {
                known.accounts.insert((person.clone(), identity.team.clone()), identity.user.clone());
                known.named.insert(identity.clone());
            }
        }
        known.badges = policy.rules().crowds.values().flat_map(|crowd| crowd.badges.iter().cloned()).collect();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = known;
    }

    /// What is to be asked of Slack about an account.
    pub fn wanted(&self, identity: &Identity) -> Wanted {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut wanted = Wanted { named: known.named.contains(identity), ..Wanted::default() };
        for badge in &known.badges {
            match badge {
                Badge::Group { team, group, .. } if *team == identity.team => wanted.groups.insert(group.clone()),
                Badge::Email { team, email, .. } if *team == identity.team => wanted.emails.insert(email.clone()),
                Badge::Group { .. } | Badge::Email { .. } => false,
            };
        }
        wanted
    }

    /// The account of a person in a workspace.
    pub fn account(&self, person: &PersonId, team: &str) -> Option<String> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.accounts.get(&(person.clone(), team.to_owned())).cloned()
    }
}

/// What was read, and the gateway made of it.
pub struct Opened {
    /// The gateway; it does not listen yet.
    pub slack: Arc<Slack>,
    /// How it is to listen.
    pub transport: Transport,
}

/// Reads the secrets and makes the gateway. Nothing is sent yet.
///
/// # Errors
/// A missing or empty secret, by the setting's name and where it should be.
pub fn open(settings: &SlackSettings, directory: Arc<Directory>) -> anyhow::Result<Opened> {
    // A second one, or one that is there already, is no matter.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let bot_token = secret("slack.bot_token", &settings.bot_token)?;
    let transport = match &settings.transport {
        SlackTransport::Socket { app_token } => Transport::Socket { app_token: secret("slack.app_token", app_token)? },
        SlackTransport::Http { signing_secret } => {
            Transport::Http { signing_secret: secret("slack.signing_secret", signing_secret)? }
        }
    };
    let settings = Settings {
        api: settings.api.clone(),
        bot_token,
        wanted: Arc::new({
            let directory = directory.clone();
            move |identity| directory.wanted(identity)
        }),
        accounts: Arc::new(move |person, team| directory.account(person, team)),
    };
    let slack = Slack::new(&settings).context("the Slack gateway cannot be made")?;
    Ok(Opened { slack, transport })
}

/// Asks Slack whether it takes what the configuration holds; one problem for each thing it does not.
pub async fn prove(config: &Config, file: &Path) -> Vec<Problem> {
    let Some(settings) = &config.bot.slack else { return Vec::new() };
    let problem = |reason: String, hint: Option<String>| Problem {
        file: file.to_owned(),
        line: None,
        reason,
        hint,
        warning: false,
    };
    let opened = match open(settings, Arc::default()) {
        Ok(opened) => opened,
        // A secret that is not there is among what `check` says anyway.
        Err(error) => return vec![problem(format!("{error:#}"), None)],
    };
    let app_token = match &opened.transport {
        Transport::Socket { app_token } => Some(app_token),
        Transport::Http { .. } => None,
    };
    let channels = config.policy.rules().channels.values().filter(|channel| channel.platform == Platform::Slack);
    let mut channels: BTreeSet<String> = channels.map(|channel| channel.channel.clone()).collect();
    channels.extend(
        config
            .bot
            .audit
            .channel
            .iter()
            .filter(|place| place.platform == Platform::Slack)
            .map(|place| place.channel.clone()),
    );
    let mut expected = Expected { channels: channels.into_iter().collect(), ..Expected::default() };
    let badges: BTreeSet<&Badge> =
        config.policy.rules().crowds.values().flat_map(|crowd| crowd.badges.iter()).collect();
    for badge in badges {
        match badge {
            Badge::Group { group, .. } => expected.groups.push(group.clone()),
            Badge::Email { .. } => expected.emails = true,
        }
    }
    let faults = opened.slack.prove(app_token, &expected).await;
    faults.into_iter().map(|fault| problem(fault.what, Some(fault.next))).collect()
}

fn secret(setting: &str, from: &SecretRef) -> anyhow::Result<SecretString> {
    let secret = exec::secret::read(from).map_err(|explained| anyhow::anyhow!("`{setting}`: {}", explained.what))?;
    if secret.expose_secret().trim().is_empty() {
        bail!("`{setting}`: the secret in {from} is empty; with it nothing of Slack's could be told from a forgery");
    }
    Ok(secret)
}
