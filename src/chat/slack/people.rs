//! What Slack says of an account: is it a full member of the workspace, and which badges does it wear?
//!
//! Whose account it is, and what they may do, is the policy's business. Here
//! it is only found out whether the account may speak at all: guests, bots,
//! people of other workspaces in shared channels and deactivated accounts may
//! not, and are told why. For an account that nobody is named for, the user
//! groups and e-mail addresses that the policy names are asked for: see [`Slack::badges`].
//!
//! What was learned is believed for a while, and forgotten at once when Slack
//! tells of a change.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{Slack, api::Trouble};
use crate::model::{Badge, Badges, Identity, Platform};

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
    /// Its address, where Slack tells it.
    email: Email,
}

/// What Slack tells of an address. Only one whose owner answered there is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Email {
    Confirmed(String),
    Unconfirmed,
    Untold,
}

/// What the policy wants to know of an account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Somebody is named for it: nothing else is asked.
    pub named: bool,
    /// Is it in these user groups?
    pub groups: BTreeSet<String>,
    /// Is its address one of these?
    pub emails: BTreeSet<String>,
}

/// Things looked at lately, by their ids.
pub(super) struct Lately<T> {
    known: Mutex<HashMap<String, (Instant, T)>>,
    /// Those being looked at now: a hundred commands of one person are one question.
    asking: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    /// Counts what was forgotten: an answer that was on its way then is not kept.
    forgotten: AtomicU64,
}

/// Accounts, by user.
pub(super) type People = Lately<Account>;
/// Members of user groups, by group.
pub(super) type Groups = Lately<Arc<BTreeSet<String>>>;

impl<T> Default for Lately<T> {
    fn default() -> Self {
        Self { known: Mutex::default(), asking: Mutex::default(), forgotten: AtomicU64::new(0) }
    }
}

impl<T: Clone> Lately<T> {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, (Instant, T)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn(&self, user: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        asking.retain(|_, turn| Arc::strong_count(turn) > 1);
        asking.entry(user.to_owned()).or_default().clone()
    }

    fn fresh(&self, id: &str) -> Option<T> {
        self.lock().get(id).filter(|(at, _)| at.elapsed() < FRESH).map(|(_, found)| found.clone())
    }

    fn keep(&self, id: &str, found: &T, asked_at: u64) {
        let mut known = self.lock();
        if self.forgotten.load(Ordering::Relaxed) != asked_at {
            return;
        }
        if known.len() >= MANY {
            known.retain(|_, (at, _)| at.elapsed() < FRESH);
        }
        known.insert(id.to_owned(), (Instant::now(), found.clone()));
    }

    fn forget(&self, id: &str) {
        let mut known = self.lock();
        self.forgotten.fetch_add(1, Ordering::Relaxed);
        known.remove(id);
    }

    /// What is known of it, or is found out now; asked once at a time.
    async fn get_or_ask<F>(&self, id: &str, ask: impl FnOnce() -> F) -> Result<T, Trouble>
    where
        F: Future<Output = Result<T, Trouble>>,
    {
        if let Some(found) = self.fresh(id) {
            return Ok(found);
        }
        let turn = self.turn(id);
        let _turn = turn.lock().await;
        if let Some(found) = self.fresh(id) {
            return Ok(found);
        }
        let asked_at = self.forgotten.load(Ordering::Relaxed);
        let found = ask().await?;
        self.keep(id, &found, asked_at);
        Ok(found)
    }
}

impl Slack {
    /// The account of a user who spoke in the workspace `team`.
    ///
    /// Where Slack cannot tell just now, the account is barred: an identity
    /// nobody vouches for is nobody's.
    pub(super) async fn account(&self, user: &str, team: &str) -> Account {
        let ask = async || {
            let asked = || async { self.noted("users.info", self.api.read("users.info", &[("user", user)]).await) };
            let answer = self.patiently(asked).await?;
            Ok(read(answer.get("user").unwrap_or(&Value::Null), team))
        };
        match self.people.get_or_ask(user, ask).await {
            Ok(account) => account,
            Err(trouble) => Account {
                email: Email::Untold,
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

    /// The badges the policy asks about, of an account that nobody is named for.
    ///
    /// What Slack cannot tell just now counts as not there, and is said.
    pub(super) async fn badges(&self, user: &str, account: &Account) -> Badges {
        let (platform, team) = (Platform::Slack, account.team.clone());
        let wanted = (self.wanted)(&Identity { platform, team: team.clone(), user: user.to_owned() });
        let mut badges = Badges::default();
        let mut untold = Vec::new();
        if wanted.named || account.barred.is_some() {
            return badges;
        }
        for group in wanted.groups {
            match self.members(&group, &team).await {
                Ok(members) if members.contains(user) => {
                    badges.worn.insert(Badge::Group { platform, team: team.clone(), group });
                }
                Ok(_) => {}
                Err(trouble) => {
                    untold.push(format!("the user group {group} could not be looked up ({trouble})"));
                }
            }
        }
        match &account.email {
            _ if wanted.emails.is_empty() => {}
            Email::Confirmed(email) if wanted.emails.contains(email) => {
                badges.worn.insert(Badge::Email { platform, team, email: email.clone() });
            }
            Email::Confirmed(_) => {}
            Email::Unconfirmed => {
                untold.push("the account's e-mail address was never confirmed in Slack".to_owned());
            }
            Email::Untold => {
                let why = "Slack does not tell the account's e-mail address (the scope `users:read.email` lets it)";
                untold.push(why.to_owned());
            }
        }
        badges.untold = (!untold.is_empty()).then(|| untold.join("; "));
        badges
    }

    async fn members(&self, group: &str, team: &str) -> Result<Arc<BTreeSet<String>>, Trouble> {
        let ask = async || {
            let query = [("usergroup", group), ("team_id", team)];
            let method = "usergroups.users.list";
            let asked = || async { self.noted(method, self.api.read(method, &query).await) };
            let answer = self.patiently(asked).await?;
            let users = answer.get("users").and_then(Value::as_array).into_iter().flatten();
            Ok(Arc::new(users.filter_map(Value::as_str).map(str::to_owned).collect()))
        };
        self.groups.get_or_ask(group, ask).await
    }

    /// Forgets what Slack says has changed. `true`: the event was about that, and nothing else comes of it.
    pub(super) fn forget_what_changed(&self, payload: &Value) -> bool {
        let event = payload.get("event").unwrap_or(&Value::Null);
        let word = |path: &str| event.pointer(path).and_then(Value::as_str);
        match word("/type") {
            Some("user_change") => {
                if let Some(user) = word("/user/id") {
                    self.people.forget(user);
                }
                true
            }
            Some("subteam_members_changed" | "subteam_updated") => {
                if let Some(group) = word("/subteam_id").or(word("/subteam/id")) {
                    self.groups.forget(group);
                }
                true
            }
            _ => false,
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
    let address = user.pointer("/profile/email").and_then(Value::as_str).filter(|address| !address.is_empty());
    let email = match address {
        Some(address) if is("is_email_confirmed") => Email::Confirmed(address.trim().to_lowercase()),
        Some(_) => Email::Unconfirmed,
        None => Email::Untold,
    };
    Account { team, display, barred: barred.map(str::to_owned), email }
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

    #[test]
    fn an_address_counts_once_its_owner_confirmed_it() {
        let mut user = json!({ "id": "U1", "team_id": "T1", "profile": { "email": "Ana@Example.com" } });
        assert_eq!(read(&user, "T1").email, Email::Unconfirmed);
        user["is_email_confirmed"] = json!(true);
        assert_eq!(read(&user, "T1").email, Email::Confirmed("ana@example.com".to_owned()));
        user["profile"] = json!({});
        assert_eq!(read(&user, "T1").email, Email::Untold);
    }

    #[test]
    fn what_was_forgotten_while_it_was_asked_for_is_not_kept() {
        let people: Lately<u8> = Lately::default();
        people.keep("U1", &1, 0);
        assert_eq!(people.fresh("U1"), Some(1));
        people.forget("U1");
        people.keep("U1", &1, 0);
        assert_eq!(people.fresh("U1"), None);
    }
}
