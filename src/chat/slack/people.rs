//! What Slack says of an account: is it a full member of the workspace?
//!
//! Whose account it is, and what they may do, is the policy's business. Here
//! it is only found out whether the account may speak at all: guests, bots,
//! people of other workspaces in shared channels and deactivated accounts may
//! not, and are told why.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{Slack, api::Trouble};

/// What was learned is believed for this long.
const FRESH: Duration = Duration::from_secs(300);
/// Accounts remembered at once.
const MANY: usize = 10_000;

/// An account, as Slack knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    /// The workspace it belongs to, which in a shared channel is not where it speaks.
    pub(super) team: String,
    /// What Slack calls it.
    pub(super) display: String,
    /// Why it may not speak, if it may not.
    pub(super) barred: Option<String>,
}

/// Accounts looked at lately.
#[derive(Default)]
pub(super) struct People {
    known: Mutex<HashMap<String, (Instant, Account)>>,
    /// Those being looked at now: a hundred commands of one person are one question.
    asking: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl People {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, (Instant, Account)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn(&self, user: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        asking.retain(|_, turn| Arc::strong_count(turn) > 1);
        asking.entry(user.to_owned()).or_default().clone()
    }

    fn fresh(&self, user: &str) -> Option<Account> {
        self.lock().get(user).filter(|(at, _)| at.elapsed() < FRESH).map(|(_, account)| account.clone())
    }

    fn keep(&self, user: &str, account: &Account) {
        let mut known = self.lock();
        if known.len() >= MANY {
            known.retain(|_, (at, _)| at.elapsed() < FRESH);
        }
        known.insert(user.to_owned(), (Instant::now(), account.clone()));
    }
}

impl Slack {
    /// The account of a user who spoke in the workspace `team`.
    ///
    /// Where Slack cannot tell just now, the account is barred: an identity
    /// nobody vouches for is nobody's.
    pub(super) async fn account(&self, user: &str, team: &str) -> Account {
        if let Some(account) = self.people.fresh(user) {
            return account;
        }
        let turn = self.people.turn(user);
        let _turn = turn.lock().await;
        if let Some(account) = self.people.fresh(user) {
            return account;
        }
        let asked =
            self.patiently(|| async { self.noted("users.info", self.api.read("users.info", &[("user", user)]).await) });
        match asked.await {
            Ok(answer) => {
                let account = read(answer.get("user").unwrap_or(&Value::Null), team);
                self.people.keep(user, &account);
                account
            }
            Err(trouble) => Account {
                team: team.to_owned(),
                display: user.to_owned(),
                barred: Some(match &trouble {
                    Trouble::Refused { code, .. } if code == "user_not_found" => {
                        "Slack does not know this account".to_owned()
                    }
                    _ => format!(
                        "the account could not be looked up ({trouble}), and an account nobody vouches for may do nothing"
                    ),
                }),
            },
        }
    }
}

fn read(user: &Value, here: &str) -> Account {
    let is = |flag: &str| user.get(flag).and_then(Value::as_bool).unwrap_or(false);
    let word = |name: &str| user.get(name).and_then(Value::as_str).filter(|word| !word.is_empty());
    let team = word("team_id").unwrap_or(here).to_owned();
    let profile_name = user.pointer("/profile/display_name").and_then(Value::as_str).filter(|name| !name.is_empty());
    let display = profile_name.or(word("real_name")).or(word("name")).unwrap_or("somebody").to_owned();
    let barred = if is("deleted") {
        Some("this account is deactivated")
    } else if is("is_bot") || is("is_workflow_bot") {
        Some("bots may not give commands")
    } else if is("is_restricted") || is("is_ultra_restricted") {
        Some("guests of the workspace may not give commands")
    } else if is("is_stranger") || (team != here && user.get("enterprise_user").is_none()) {
        Some("people of other workspaces may not give commands in a shared channel")
    } else {
        None
    };
    Account { team, display, barred: barred.map(str::to_owned) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_full_members_of_the_workspace_may_speak() {
        let member = json!({ "id": "U1", "team_id": "T1", "real_name": "Ana" });
        assert_eq!(read(&member, "T1").barred, None);
        for (flag, word) in [
            ("deleted", "deactivated"),
            ("is_bot", "bots"),
            ("is_restricted", "guests"),
            ("is_ultra_restricted", "guests"),
            ("is_stranger", "other workspaces"),
        ] {
            let mut user = member.clone();
            user[flag] = json!(true);
            assert!(read(&user, "T1").barred.unwrap().contains(word), "{flag}");
        }
        assert!(read(&member, "T2").barred.unwrap().contains("other workspaces"));
    }
}
