//! What a valid configuration needs of the machine it runs on.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use super::{Config, SlackTransport};
use crate::{
    model::{Credential, Deployment, HeaderValue, LogFrom, PersonId, Problem, SecretRef, Service, Tls},
    runbook::{Kind, Risk},
};

/// Looks whether what the configuration names is there: secrets that are set,
/// files that can be read. Opens files and reads the environment, and nothing
/// else; no secret is kept or said.
pub fn check_world(config: &Config) -> Vec<Problem> {
    let mut look = Look { problems: Vec::new(), secrets: BTreeMap::new() };
    if let Some(slack) = &config.bot.slack {
        let file = Path::new("bot.toml");
        look.secret(&slack.bot_token, file, "slack.bot_token");
        match &slack.transport {
            SlackTransport::Socket { app_token } => look.secret(app_token, file, "slack.app_token"),
            SlackTransport::Http { signing_secret } => look.secret(signing_secret, file, "slack.signing_secret"),
        }
    }
    let store = &config.bot.store;
    look.file_to_write(&store.path, "store.path", "rediscue.db");
    look.file_to_write(&store.key_file, "store.key_file", "journal.key");
    for service in config.services.values() {
        look.service(service);
        look.approvers(config, service);
    }
    look.problems.sort();
    look.problems
}

struct Look {
    problems: Vec<Problem>,
    /// What each secret turned out to be, so that one used by ten instances is read once.
    secrets: BTreeMap<String, Option<(String, String)>>,
}

impl Look {
    fn service(&mut self, service: &Service) {
        let file = PathBuf::from(format!("services/{}.toml", service.name));
        for instance in &service.instances {
            let what = format!("instance `{}`", instance.name);
            self.credential(&instance.look, &file, &format!("{what}: password"));
            if let Some(touch) = &instance.touch {
                self.credential(touch, &file, &format!("{what}: touch.password"));
            }
            if let Deployment::Sentinel { credential, .. } = &instance.deployment {
                self.credential(credential, &file, &format!("{what}: sentinel_password"));
            }
            if let Some(tls) = &instance.tls {
                self.tls(tls, &file, &what);
            }
        }
        for endpoint in &service.endpoints {
            for (name, value) in &endpoint.headers {
                if let HeaderValue::Secret(secret) = value {
                    self.secret(secret, &file, &format!("endpoints.{}.headers.{name}", endpoint.name));
                }
            }
        }
        for log in &service.logs {
            if let LogFrom::File(path) = &log.from
                && let Err(error) = fs::File::open(path)
            {
                // The application may not have started yet.
                self.say(&file, format!("logs.{}: {} cannot be read: {error}", log.name, path.display()), None, true);
            }
        }
    }

    /// Are there people to consent to the riskiest changes of a service? Without them a plan waits and expires.
    fn approvers(&mut self, config: &Config, service: &Service) {
        if service.instances.iter().all(|instance| instance.touch.is_none()) {
            return;
        }
        for risk in [Risk::Critical, Risk::High] {
            let mut short: Option<(PersonId, Vec<PersonId>)> = None;
            let mut commands: Vec<&str> = Vec::new();
            for command in config.catalogue.all() {
                let Kind::Remediation(remediation) = &command.kind else { continue };
                if remediation.at_least != risk {
                    continue;
                }
                if let Some(found) = config.policy.too_few(command, service, risk) {
                    commands.push(&command.name);
                    short.get_or_insert(found);
                }
            }
            let Some((asker, able)) = short else { continue };
            let there = match able.as_slice() {
                [] => "nobody".to_owned(),
                able => format!("only {}", able.iter().map(PersonId::as_str).collect::<Vec<_>>().join(", ")),
            };
            commands.sort_unstable();
            let reason = format!(
                "service `{}`: a {} change ({}) takes {} besides whoever asks; when {asker} asks, {there} could consent",
                service.name,
                risk.word(),
                commands.join(", "),
                if risk.consents() == 1 { "an approver".to_owned() } else { format!("{} approvers", risk.consents()) },
            );
            let hint =
                format!("give more people a role with `approves` up to `{}` for it, or such plans expire", risk.word());
            self.say(Path::new("policy.toml"), reason, Some(hint), true);
        }
    }

    /// A file of the bot's own: it may not be there yet, but no directory may stand in its place.
    fn file_to_write(&mut self, path: &Path, key: &str, usual: &str) {
        if path.is_dir() {
            let hint = format!("name the file in it: `{}`", path.join(usual).display());
            let reason = format!("`{key}`: {} is a directory", path.display());
            self.say(Path::new("bot.toml"), reason, Some(hint), false);
        }
    }

    fn credential(&mut self, credential: &Credential, file: &Path, what: &str) {
        if let Some(secret) = &credential.password {
            self.secret(secret, file, what);
        }
    }

    fn tls(&mut self, tls: &Tls, file: &Path, what: &str) {
        for (path, key) in [(&tls.ca, "tls_ca"), (&tls.cert, "tls_cert"), (&tls.key, "tls_key")] {
            let Some(path) = path else { continue };
            let problem = match fs::read(path) {
                Err(error) => Some(format!("cannot be read: {error}")),
                Ok(bytes) if !bytes.windows(11).any(|window| window == b"-----BEGIN ") => {
                    Some("holds no PEM".to_owned())
                }
                Ok(_) => None,
            };
            if let Some(problem) = problem {
                let hint = "it must be a PEM file that the bot may read".to_owned();
                self.say(file, format!("{what}: {key}: {} {problem}", path.display()), Some(hint), false);
            }
        }
    }

    fn secret(&mut self, secret: &SecretRef, file: &Path, what: &str) {
        let wrong = self.secrets.entry(secret.to_string()).or_insert_with(|| look_up(secret)).clone();
        if let Some((reason, hint)) = wrong {
            self.say(file, format!("{what}: {reason}"), Some(hint), false);
        }
    }

    fn say(&mut self, file: &Path, reason: String, hint: Option<String>, warning: bool) {
        self.problems.push(Problem { file: file.to_owned(), line: None, reason, hint, warning });
    }
}

/// What is wrong with a secret, and what to do about it.
fn look_up(secret: &SecretRef) -> Option<(String, String)> {
    match secret {
        SecretRef::Env(name) => match std::env::var_os(name) {
            None => Some((format!("{secret} is not set"), format!("set {name} where the bot is started"))),
            Some(value) if value.is_empty() => {
                Some((format!("{secret} is empty"), format!("set {name} where the bot is started")))
            }
            Some(_) => None,
        },
        SecretRef::File(path) => match fs::read(path) {
            Err(error) => Some((
                format!("{secret} cannot be read: {error}"),
                "the bot's user must be allowed to read it".to_owned(),
            )),
            Ok(bytes) if bytes.iter().all(u8::is_ascii_whitespace) => {
                Some((format!("{secret} is empty"), "write the secret into it".to_owned()))
            }
            Ok(_) => None,
        },
    }
}
