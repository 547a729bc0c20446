//! Is everything there that Slack must give? Asked before the bot is started.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::{Slack, api::Trouble, socket};

/// Given up after this.
const PATIENCE: Duration = Duration::from_secs(10);

/// The bot's scopes, and what each is for. `deploy/slack-manifest.yaml` asks for the same ones.
pub const SCOPES: &[(&str, &str)] = &[
    ("commands", "the slash command"),
    ("chat:write", "answers"),
    ("app_mentions:read", "mentions"),
    ("reactions:read", "reactions on cards"),
    ("reactions:write", "the marks on questions"),
    ("files:write", "what is too long for a message"),
    ("users:read", "telling guests, bots and strangers from members"),
    ("im:history", "direct messages to the bot"),
    ("im:write", "files for one person alone"),
    ("channels:read", "this check"),
    ("groups:read", "this check, in private channels"),
    ("channels:history", "looking up an answer whose sending was not confirmed"),
    ("groups:history", "the same, in private channels"),
];

/// Scopes that are needed where `policy.toml` has crowds, each with its reason. The manifest names them as comments.
pub const CROWD_SCOPES: &[(&str, &str)] =
    &[("usergroups:read", "crowds known by a user group"), ("users:read.email", "crowds known by an e-mail address")];

/// What the configuration counts on.
#[derive(Debug, Clone, Default)]
pub struct Expected {
    /// Channels the bot is to be in.
    pub channels: Vec<String>,
    /// User groups that crowds are known by.
    pub groups: Vec<String>,
    /// Crowds are known by e-mail addresses.
    pub emails: bool,
}

/// Something Slack does not give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub next: String,
}

impl Slack {
    /// Proves the token, its scopes, the socket (with an app-level token), the membership of channels and
    /// the user groups. Says nothing in any of them.
    pub async fn prove(&self, app_token: Option<&SecretString>, expected: &Expected) -> Vec<Fault> {
        let mut faults = Vec::new();
        match self.granted().await {
            Ok(granted) => {
                let of_crowds = CROWD_SCOPES.iter().filter(|(scope, _)| match *scope {
                    "usergroups:read" => !expected.groups.is_empty(),
                    _ => expected.emails,
                });
                for (scope, reason) in
                    SCOPES.iter().chain(of_crowds).filter(|(scope, _)| !granted.iter().any(|one| one == scope))
                {
                    faults.push(Fault {
                        what: format!("Slack: the app lacks the scope `{scope}` ({reason})"),
                        next: "add it under \"OAuth & Permissions\" and install the app again".to_owned(),
                    });
                }
            }
            Err(why) => {
                let next = "copy the bot token from \"OAuth & Permissions\" again".to_owned();
                return vec![Fault { what: format!("Slack does not take the bot token: {why}"), next }];
            }
        }
        if let Some(token) = app_token
            && let Err(why) = socket::try_out(self, token).await
        {
            faults.push(Fault {
                what: format!("Slack opens no socket: {why}"),
                next: "make an app-level token with `connections:write`, and turn Socket Mode on".to_owned(),
            });
        }
        faults.extend(self.prove_groups(&expected.groups).await);
        for channel in &expected.channels {
            match self.api.read("conversations.info", &[("channel", channel)]).await {
                Ok(answer) if answer.pointer("/channel/is_member").and_then(Value::as_bool) == Some(true) => {}
                Ok(_) => faults.push(Fault {
                    what: format!("Slack: the bot is not in the channel {channel}"),
                    next: "type `/invite @rediscue` there".to_owned(),
                }),
                // Said already, with the scope's name.
                Err(Trouble::Refused { code, .. }) if code == "missing_scope" => {}
                Err(trouble) => faults.push(Fault {
                    what: format!("Slack: the channel {channel} cannot be looked at: {trouble}"),
                    next: "compare its id with the one in Slack; a private channel needs `/invite @rediscue` first"
                        .to_owned(),
                }),
            }
        }
        faults
    }

    /// The user groups that are not there, or switched off.
    async fn prove_groups(&self, groups: &[String]) -> Vec<Fault> {
        let next = "compare its id (`S…`) with the one at the end of the address of the group's page in Slack";
        if groups.is_empty() {
            return Vec::new();
        }
        let answer = match self.api.read("usergroups.list", &[("include_disabled", "true")]).await {
            Ok(answer) => answer,
            // Said already, with the scope's name.
            Err(Trouble::Refused { code, .. }) if code == "missing_scope" => return Vec::new(),
            Err(trouble) => {
                let what = format!("Slack: the user groups cannot be looked at: {trouble}");
                return vec![Fault { what, next: "try again".to_owned() }];
            }
        };
        let there = answer.get("usergroups").and_then(Value::as_array).cloned().unwrap_or_default();
        let named = |group: &&String| there.iter().find(|one| one.get("id").and_then(Value::as_str) == Some(group));
        let faults = groups.iter().filter_map(|group| match named(&group) {
            None => Some(format!("Slack: there is no user group {group}, so nobody is in its crowd")),
            Some(one) if one.get("date_delete").and_then(Value::as_i64).unwrap_or(0) != 0 => {
                Some(format!("Slack: the user group {group} is switched off, so nobody is in its crowd"))
            }
            Some(_) => None,
        });
        faults.map(|what| Fault { what, next: next.to_owned() }).collect()
    }

    /// The token's scopes, which stand in a header the crate does not show.
    async fn granted(&self) -> Result<Vec<String>, String> {
        let client = super::api::plain_client().map_err(|_| "no client can be made for it".to_owned())?;
        let asked = client
            .post(format!("{}/auth.test", self.address))
            .bearer_auth(self.token.expose_secret())
            .timeout(PATIENCE)
            .send()
            .await;
        // The error's own words may hold more than is good for a terminal.
        let answer = asked.map_err(|_| "it cannot be reached".to_owned())?;
        let scopes = answer.headers().get("x-oauth-scopes").and_then(|value| value.to_str().ok());
        let scopes = scopes.unwrap_or_default().split(',').map(|scope| scope.trim().to_owned()).collect();
        let body: Value = answer.json().await.map_err(|_| "its answer is not Slack's".to_owned())?;
        match body.get("error").and_then(Value::as_str) {
            Some(error) => Err(format!("it says `{error}`")),
            None => Ok(scopes),
        }
    }
}
