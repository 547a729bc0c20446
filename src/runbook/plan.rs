//! Plans: exactly what would happen, to whom, to how much, and how it is undone.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Change, Risk, Wanted, show_number};
use crate::model::{Identity, InstanceName, PersonId, RunId, ServiceName};

/// The version of [`Plan`] as a document; raised when an old one would be misread.
pub const PLAN_VERSION: u32 = 2;
/// Some may come on top of any count, or a busy handful could never be dealt with.
const FEW: u128 = 10;

/// One server a plan changes, as it was when the plan was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanTarget {
    /// Its address.
    pub address: String,
    /// Redis's own run id; it changes with every start.
    pub run_id: String,
    /// Replicas that follow it, which a change of data reaches too.
    pub replicas: u64,
    /// How far the slowest of them is behind, in bytes.
    pub lag_bytes: Option<u64>,
}

/// One change of one of the plan's servers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanStep {
    /// Which of [`Plan::targets`].
    pub target: usize,
    /// What is changed.
    pub change: Change,
}

/// How much a plan reaches.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Reach {
    /// In words: `the whole server, every database and client`.
    pub what: String,
    /// Keys, where it is about keys.
    pub keys: Option<u64>,
    /// What they hold, in bytes.
    pub bytes: Option<u64>,
    /// Clients that are cut or held up.
    pub clients: Option<u64>,
    /// A few of the keys, by their handles.
    pub sample: Vec<String>,
    /// Counted, not estimated.
    pub exact: bool,
    /// It will be no more than that, and may be less: what it rests on was counted, not the servers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub at_most: bool,
    /// How far `keys` and `clients` may be off when the plan is made again, in per cent.
    pub tolerance_percent: u32,
}

impl Reach {
    /// The most keys a run may touch before it stops by itself: what was shown and the tolerance.
    pub fn most_keys(&self) -> Option<u64> {
        self.most(self.keys?)
    }

    /// The most clients a run may reach, likewise.
    pub fn most_clients(&self) -> Option<u64> {
        self.most(self.clients?)
    }

    fn most(&self, shown: u64) -> Option<u64> {
        let more = (u128::from(shown) * u128::from(self.tolerance_percent)).div_ceil(100).max(FEW);
        Some(shown.saturating_add(u64::try_from(more).unwrap_or(u64::MAX)))
    }

    /// What a run may go beyond what is shown by, in words: `5 %`, or of a handful `10 more`.
    pub fn allowance(&self, shown: u64) -> String {
        let percent = self.tolerance_percent;
        if u128::from(shown) * u128::from(percent) < FEW * 100 { format!("{FEW} more") } else { format!("{percent} %") }
    }

    fn drift(&self, now: &Reach) -> Option<String> {
        // Where nothing is said of a tolerance, how many there are is told and decides nothing.
        let clients = (self.tolerance_percent > 0).then(|| self.most_clients()).flatten();
        let counts = [("keys", self.most_keys(), self.keys, now.keys), ("clients", clients, self.clients, now.clients)];
        counts.into_iter().find_map(|(what, most, shown, found)| {
            let (most, shown, found) = (most?, shown?, found?);
            (found > most).then(|| {
                let (was, is) = (show_number(shown), show_number(found));
                format!(
                    "it was about {was} {what} and is now about {is}, beyond what was shown and {}",
                    self.allowance(shown)
                )
            })
        })
    }
}

/// How a change is taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Undo {
    /// `undo RUN` does it; how, in words.
    By(String),
    /// It cannot be; why, in words.
    Never(String),
}

/// A command with every value filled in for one service: exactly what would happen, and to whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// [`PLAN_VERSION`].
    pub version: u32,
    /// The run it would be.
    pub run: RunId,
    /// The command.
    pub command: String,
    /// What was wanted, so that the plan can be made again.
    pub wanted: Vec<Wanted>,
    /// The service.
    pub service: ServiceName,
    /// The instance.
    pub instance: InstanceName,
    /// The servers that are changed.
    pub targets: Vec<PlanTarget>,
    /// What is changed, in order.
    pub steps: Vec<PlanStep>,
    /// To how much.
    pub reach: Reach,
    /// More of what people should know, as labels and values.
    pub facts: Vec<(String, String)>,
    /// What could surprise them.
    pub warnings: Vec<String>,
    /// How it is taken back.
    pub undo: Undo,
    /// How much harm it could do.
    pub risk: Risk,
    /// Who asked, and never counts.
    pub requester: PersonId,
    /// The account they asked from, for the journal.
    pub asker: Identity,
    /// When it was made, in Unix milliseconds.
    pub made_ms: i64,
    /// Consent after this does not count, in Unix milliseconds.
    pub expires_ms: i64,
    /// It takes itself back so many milliseconds after it was done.
    pub lasts_ms: Option<i64>,
    /// The run it takes back.
    pub undoes: Option<RunId>,
    /// A step of a runbook that takes people's word; it changes nothing itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asks: Option<Box<Asks>>,
    /// The watch of a runbook, in words, whose failure takes it back without another word: consent covers that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolls_back: Option<String>,
}

/// What a runbook asks people for: their word on a step, and on the changes after it whose values are bound.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asks {
    /// The runbook's run.
    pub run: RunId,
    /// The step, from 0.
    pub step: usize,
    /// What it says.
    pub title: String,
    /// The role whose word it takes; `None`: anybody's who may consent.
    pub by: Option<String>,
    /// The changes this word covers, as they were planned when it was asked for.
    pub covers: Vec<Covered>,
}

/// A change of a runbook, as it was shown with the step that asks for consent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Covered {
    /// Its step, from 0.
    pub step: usize,
    /// What is typed.
    pub line: String,
    /// What it came to.
    pub plan: Plan,
}

impl Covered {
    /// Why this word does not cover what the step has come to be; `None` when it does.
    pub fn drift(&self, line: &str, now: &Plan) -> Option<String> {
        let shown = &self.plan;
        if self.line != line || shown.wanted != now.wanted || shown.lasts_ms != now.lasts_ms {
            return Some("its values were not these when the consent was asked for".to_owned());
        }
        if matches!((&shown.undo, &now.undo), (Undo::By(_), Undo::Never(_))) {
            return Some("it could be taken back then, and cannot now".to_owned());
        }
        if shown.rolls_back != now.rolls_back {
            return Some("what takes it back by itself is another".to_owned());
        }
        shown.drift(now)
    }
}

impl Plan {
    /// What consent is bound to: SHA-256, in hexadecimal, over the whole document.
    /// Another server, another value, another count or another asker is another plan.
    pub fn digest(&self) -> String {
        let document = serde_json::to_vec(self).expect("a plan is JSON");
        let mut hash = Sha256::new();
        hash.update(b"rediscue-plan\0");
        hash.update(document);
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Is it too late to consent?
    pub fn expired(&self, now: Timestamp) -> bool {
        now.as_millisecond() >= self.expires_ms
    }

    /// What no longer holds, in words, when the same plan is made again from
    /// what is so now; `None` when all of it does.
    pub fn drift(&self, now: &Plan) -> Option<String> {
        if self.targets.len() != now.targets.len() {
            return Some(format!("it was about {} servers and is now about {}", self.targets.len(), now.targets.len()));
        }
        for (then, present) in self.targets.iter().zip(&now.targets) {
            if then.address != present.address {
                return Some(format!("the primary was {} and is now {}", then.address, present.address));
            }
            if then.run_id != present.run_id {
                return Some(format!("the server at {} has been restarted", then.address));
            }
        }
        if self.steps.len() != now.steps.len() {
            return Some("the steps would be others".to_owned());
        }
        for (then, present) in self.steps.iter().zip(&now.steps) {
            if then.target != present.target {
                return Some("the steps would reach other servers".to_owned());
            }
            if let Some(changed) = then.change.drift(&present.change) {
                return Some(changed);
            }
        }
        if now.risk > self.risk {
            return Some(format!("the risk was {} and is now {}", self.risk.word(), now.risk.word()));
        }
        self.reach.drift(&now.reach)
    }

    /// What it does, in one line.
    pub fn what(&self) -> String {
        if let Some(asks) = &self.asks {
            let (step, title) = (asks.step + 1, &asks.title);
            return format!(
                "the word on step {step} ({title}) of {} on {}/{}",
                self.command, self.service, self.instance
            );
        }
        let mut changes: Vec<String> = Vec::new();
        for step in &self.steps {
            let what = step.change.what();
            if !changes.contains(&what) {
                changes.push(what);
            }
        }
        let servers = if self.targets.len() > 1 { format!(" ({} servers)", self.targets.len()) } else { String::new() };
        format!("{} on {}/{}{servers}", changes.join("; "), self.service, self.instance)
    }

    /// The line that takes it back, to be planned and consented to like any other.
    pub fn undo_line(&self) -> Option<String> {
        match self.undo {
            Undo::By(_) => Some(format!("undo {}", self.run)),
            Undo::Never(_) => None,
        }
    }

    /// The server a step changes.
    pub fn target_of(&self, step: &PlanStep) -> Option<&PlanTarget> {
        self.targets.get(step.target)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn sample() -> Plan {
        Plan {
            version: PLAN_VERSION,
            run: RunId::from_bits(7),
            command: "set-config".to_owned(),
            wanted: Vec::new(),
            service: "shop".parse().unwrap(),
            instance: "main".parse().unwrap(),
            targets: vec![PlanTarget {
                address: "10.0.0.1:6379".to_owned(),
                run_id: "abc".to_owned(),
                replicas: 1,
                lag_bytes: Some(0),
            }],
            steps: vec![step("0", "60")],
            reach: Reach::default(),
            facts: Vec::new(),
            warnings: Vec::new(),
            undo: Undo::By("the old value is set again".to_owned()),
            risk: Risk::Medium,
            requester: "ana".parse().unwrap(),
            asker: Identity { platform: crate::model::Platform::Console, team: "h".into(), user: "ana".into() },
            made_ms: 0,
            expires_ms: 1_000,
            lasts_ms: None,
            undoes: None,
            asks: None,
            rolls_back: None,
        }
    }

    fn step(old: &str, new: &str) -> PlanStep {
        let change = Change::SetConfig { parameter: "timeout".into(), old: old.into(), new: new.into() };
        PlanStep { target: 0, change }
    }

    fn at(address: &str, run_id: &str) -> Vec<PlanTarget> {
        vec![PlanTarget { address: address.into(), run_id: run_id.into(), ..sample().targets[0].clone() }]
    }

    #[test]
    fn whatever_consent_is_about_changes_the_digest() {
        let base = sample();
        let others = [
            Plan { run: RunId::from_bits(8), ..base.clone() },
            Plan { targets: at("10.0.0.2:6379", "abc"), ..base.clone() },
            Plan { targets: at("10.0.0.1:6379", "abd"), ..base.clone() },
            Plan { steps: vec![step("06", "0")], ..base.clone() },
            Plan { steps: vec![step("0", "61")], ..base.clone() },
            Plan { service: "blog".parse().unwrap(), ..base.clone() },
            Plan { requester: "bo".parse().unwrap(), ..base.clone() },
            Plan { risk: Risk::Low, ..base.clone() },
            Plan { expires_ms: 2_000, ..base.clone() },
            Plan { lasts_ms: Some(1), ..base.clone() },
            Plan { undo: Undo::Never("no".into()), ..base.clone() },
            Plan { rolls_back: Some("step 3".into()), ..base.clone() },
            Plan { reach: Reach { keys: Some(1), ..Reach::default() }, ..base.clone() },
        ];
        for other in others {
            assert_ne!(base.digest(), other.digest(), "{other:?}");
        }
        assert_eq!(base.digest(), sample().digest());
    }

    #[test]
    fn the_digest_survives_the_store() {
        let text = serde_json::to_string(&sample()).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&text).unwrap().digest(), sample().digest());
    }

    #[test]
    fn drift_is_said_and_a_plan_that_still_holds_has_none() {
        let base = sample();
        assert_eq!(base.drift(&sample()), None);
        let elsewhere = Plan { targets: at("10.0.0.2:6379", "abc"), ..base.clone() };
        assert!(base.drift(&elsewhere).unwrap().contains("10.0.0.2"));
        let restarted = Plan { targets: at("10.0.0.1:6379", "other"), ..base.clone() };
        assert!(base.drift(&restarted).unwrap().contains("restarted"));
        let moved = Plan { steps: vec![step("5", "60")], ..base.clone() };
        assert!(base.drift(&moved).unwrap().contains("is now 5"));
    }

    #[test]
    fn more_keys_than_were_shown_are_drift_and_fewer_are_not() {
        let about =
            |keys| Plan { reach: Reach { keys: Some(keys), tolerance_percent: 5, ..Reach::default() }, ..sample() };
        assert_eq!(about(1_000).reach.most_keys(), Some(1_050));
        assert_eq!(about(3).reach.most_keys(), Some(13));
        assert_eq!(about(1_000).drift(&about(1_050)), None);
        assert_eq!(about(1_000).drift(&about(0)), None);
        assert!(about(1_000).drift(&about(1_051)).unwrap().contains("1,051"));
        let clients = |clients, tolerance_percent| Plan {
            reach: Reach { clients: Some(clients), tolerance_percent, ..Reach::default() },
            ..sample()
        };
        assert_eq!(clients(100, 20).drift(&clients(120, 20)), None);
        assert!(clients(100, 20).drift(&clients(121, 20)).unwrap().contains("121"));
        assert_eq!(clients(100, 0).drift(&clients(500, 0)), None, "a count that is only told decides nothing");
    }

    #[test]
    fn a_word_given_with_a_runbook_covers_what_was_shown_and_nothing_else() {
        let shown = Covered { step: 1, line: "set-config timeout 60".into(), plan: sample() };
        let later = Plan { run: RunId::from_bits(9), made_ms: 5, expires_ms: 9_000, ..sample() };
        assert_eq!(shown.drift("set-config timeout 60", &later), None);
        assert!(shown.drift("set-config timeout 61", &later).is_some(), "another line");
        for other in [
            Plan { lasts_ms: Some(1), ..later.clone() },
            Plan { risk: Risk::High, ..later.clone() },
            Plan { steps: vec![step("0", "61")], ..later.clone() },
            Plan { targets: at("10.0.0.1:6379", "abd"), ..later.clone() },
            Plan { undo: Undo::Never("no".into()), ..later.clone() },
            Plan { rolls_back: Some("step 3".into()), ..later.clone() },
        ] {
            assert!(shown.drift("set-config timeout 60", &other).is_some(), "{other:?}");
        }
    }
}
