//! Making plans: what somebody wants, and what is so now, become exactly what would happen.
//!
//! One file per kind of touch; each looks, and gives a [`Draft`]. A plan is
//! made twice: when it is shown, and again before it is carried out.

mod backup;
mod clients;
mod copies;
mod failover;
mod keys;
mod password;
mod pause;
mod requirepass;
mod rights;
mod save;
mod settings;
mod slowlog;
mod undo;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use serde_json::Value;

use super::{CALL, PLAN_WITHIN};
use crate::{
    bot::Hall,
    diagnosis::{Explained, Role},
    exec::{
        Looking, TargetNode,
        aside::{CountFor, Meant, Watched},
        touching,
    },
    model::{Actor, Address, Card, Deployment, Instance, RunId, Service},
    policy::Permit,
    runbook::{
        Change, Command, Kind, Look, Nodes, PLAN_VERSION, Plan, PlanStep, PlanTarget, Reach, Risk, TouchKind, Undo,
        Wanted,
    },
};

pub(super) use keys::declared;
pub(super) use undo::of as undone_run;

/// What a plan is made of, each time it is made.
pub(super) struct Wish<'a> {
    pub(super) run: &'a RunId,
    pub(super) command: &'a Command,
    pub(super) service: &'a Arc<Service>,
    pub(super) instance: &'a Instance,
    pub(super) wanted: &'a [Wanted],
    pub(super) made_ms: i64,
    pub(super) expires_ms: i64,
    pub(super) lasts_ms: Option<i64>,
    pub(super) asker: &'a Actor,
    /// What it is counted for.
    pub(super) count: CountFor<'a>,
}

/// A plan, and whom it reaches.
pub(super) struct Made {
    pub(super) plan: Plan,
    /// The address of each of the plan's targets.
    pub(super) addresses: Vec<Address>,
    /// The servers as a card names them.
    pub(super) context: Vec<String>,
    /// The keys its count came upon, where it was made to be carried out.
    pub(super) meant: Vec<Meant>,
    /// What keeps the keys it counted true, where it was made to be shown.
    pub(super) watched: Vec<Watched>,
}

/// Why there is no plan.
pub(super) enum Unplanned {
    /// What was asked for cannot be asked for like that.
    Misunderstood(Box<Card>),
    /// All of it is so already, in a sentence.
    Nothing(String),
    /// It could not be found out what would happen.
    Failed(Explained),
}

impl From<Explained> for Unplanned {
    fn from(error: Explained) -> Self {
        Unplanned::Failed(error)
    }
}

/// What one touch comes to on the servers as they are now.
pub(super) struct Draft {
    pub(super) steps: Vec<PlanStep>,
    pub(super) reach: Reach,
    pub(super) facts: Vec<(String, String)>,
    pub(super) warnings: Vec<String>,
    pub(super) undo: Undo,
    pub(super) risk: Risk,
    pub(super) undoes: Option<RunId>,
}

/// One primary of the instance, as it is now.
pub(super) struct Primary {
    pub(super) address: Address,
    pub(super) target: PlanTarget,
    /// Its version, as far as it tells: `(7, 0)`.
    pub(super) version: Option<(u32, u32)>,
}

/// What every kind of touch can ask while its draft is made.
pub(super) struct Maker<'a> {
    pub(super) hall: &'a Arc<Hall>,
    pub(super) permit: &'a Permit,
    pub(super) wish: &'a Wish<'a>,
    /// The servers that are changed: primaries, and after them replicas where those are changed too.
    pub(super) primaries: Vec<Primary>,
    /// Every server of the instance.
    pub(super) nodes: Vec<TargetNode>,
    /// Whether replicas are among those that are changed.
    pub(super) everywhere: bool,
    pub(super) cx: Looking,
    /// The keys that were come upon while they were counted.
    pub(super) meant: Mutex<Vec<Meant>>,
    /// What watches them from now on.
    pub(super) watched: Mutex<Vec<Watched>>,
}

impl Maker<'_> {
    /// Whether the instance is a cluster.
    pub(super) fn cluster(&self) -> bool {
        matches!(self.wish.instance.deployment, Deployment::Cluster { .. })
    }

    /// Asks every primary; the answers stand in the order of [`Maker::primaries`].
    pub(super) async fn read(&self, argv: &[&str]) -> Vec<Result<Value, Explained>> {
        let argv = argv.iter().map(|&word| word.to_owned()).collect();
        let nodes = if self.everywhere { Nodes::All } else { Nodes::Primaries };
        let look = Look::Redis { argv, nodes };
        let Wish { service, instance, .. } = self.wish;
        let seen = self.hall.exec.look(self.permit, service, instance, &look, &self.cx).await;
        let answer = |primary: &Primary| {
            let found = seen.nodes.iter().find(|outcome| outcome.node.address == primary.address);
            match (found, &seen.merged) {
                (Some(outcome), _) => outcome.result.clone(),
                (None, Err(error)) => Err(error.clone()),
                (None, Ok(_)) => Err(trouble(
                    format!("{} was not asked", primary.address),
                    "the instance's servers changed roles while the plan was made",
                    "ask again",
                )),
            }
        };
        self.primaries.iter().map(answer).collect()
    }
}

pub(super) fn trouble(what: impl Into<String>, cause: &str, next: &str) -> Explained {
    Explained { code: "UNPLANNED".into(), what: what.into(), cause: cause.to_owned(), next: next.to_owned() }
}

/// Fills everything in from what is so now.
pub(super) async fn make(hall: &Arc<Hall>, permit: &Permit, wish: &Wish<'_>) -> Result<Made, Unplanned> {
    let Wish { service, instance, .. } = wish;
    if instance.touch.is_none() {
        return Err(Unplanned::Failed(trouble(
            format!("this bot may not change {}/{}", service.name, instance.name),
            "its profile names no user for changes",
            "add `touch` with a user and password to the instance in the service's profile",
        )));
    }
    let cx = touching(Instant::now() + PLAN_WITHIN, CALL);
    let found = hall.exec.target(permit, service, instance, &cx).await?;
    let mut everywhere = wish.wanted.iter().any(|wanted| wanted.kind.reaches_replicas());
    for wanted in wish.wanted.iter().filter(|wanted| wanted.kind == TouchKind::Undo) {
        let undone = undo::of(hall, wanted.need("run")).await;
        everywhere |= undone.is_ok_and(|row| row.plan.steps.iter().any(|step| step.change.kind().reaches_replicas()));
    }
    let mut primaries = Vec::new();
    let meant = |node: &&TargetNode| {
        node.node.role == Some(Role::Primary) || (everywhere && node.node.role == Some(Role::Replica))
    };
    for node in found.nodes.iter().filter(meant) {
        let Some(run_id) = node.run_id.clone() else {
            if let Some(why) = node.silent.clone() {
                return Err(Unplanned::Failed(why));
            }
            return Err(Unplanned::Failed(trouble(
                format!("{} does not tell its run id", node.node.address),
                "without it nobody can say later that it is still the same server",
                "allow INFO for the bot's user, or see why it does not answer with `connectivity`",
            )));
        };
        let address = node.node.address.clone();
        let target = PlanTarget { address: address.to_string(), run_id, replicas: 0, lag_bytes: None };
        primaries.push(Primary { address, target, version: node.version.as_deref().and_then(version) });
    }
    if found.nodes.iter().all(|node| node.node.role != Some(Role::Primary)) {
        return Err(Unplanned::Failed(trouble(
            format!("{}/{} has no primary now", service.name, instance.name),
            "changes are made on primaries; only replicas, or nobody, answered",
            "see `/redis replication`, and wait until it has one",
        )));
    }
    let (meant, watched) = (Mutex::default(), Mutex::default());
    let mut maker = Maker { hall, permit, wish, primaries, nodes: found.nodes, everywhere, cx, meant, watched };
    let followers = maker.read(&["INFO", "replication"]).await;
    for (primary, told) in maker.primaries.iter_mut().zip(followers) {
        if let Ok(told) = told {
            (primary.target.replicas, primary.target.lag_bytes) = followed(&told);
        }
    }
    let mut drafts = Vec::new();
    let mut already = Vec::new();
    for wanted in wish.wanted {
        match draft(&maker, wanted).await {
            Ok(draft) => drafts.push(draft),
            Err(Unplanned::Nothing(why)) => already.push(why),
            Err(other) => return Err(other),
        }
    }
    let Some(draft) = together(drafts) else {
        return Err(Unplanned::Nothing(if already.is_empty() {
            "This command changes nothing as it was asked for.".to_owned()
        } else {
            already.join(" ")
        }));
    };
    rights::held(&maker, &draft.steps).await?;
    let no_way_back = match draft.undo {
        Undo::By(_) => rights::way_back(&maker, &draft.steps).await,
        Undo::Never(_) => None,
    };
    let at_least = match &wish.command.kind {
        Kind::Remediation(remediation) => remediation.at_least,
        _ => Risk::Low,
    };
    let meant = maker.meant.into_inner().unwrap_or_else(PoisonError::into_inner);
    let watched = maker.watched.into_inner().unwrap_or_else(PoisonError::into_inner);
    let (addresses, targets) = maker.primaries.into_iter().map(|primary| (primary.address, primary.target)).unzip();
    let plan = Plan {
        version: PLAN_VERSION,
        run: wish.run.clone(),
        command: wish.command.name.clone(),
        wanted: wish.wanted.to_vec(),
        service: service.name.clone(),
        instance: instance.name.clone(),
        targets,
        steps: draft.steps,
        reach: draft.reach,
        facts: draft.facts,
        warnings: draft.warnings.into_iter().chain(no_way_back).chain(already).collect(),
        undo: draft.undo,
        risk: draft.risk.max(at_least),
        requester: permit.person().clone(),
        asker: wish.asker.identity.clone(),
        made_ms: wish.made_ms,
        expires_ms: wish.expires_ms,
        lasts_ms: wish.lasts_ms,
        undoes: draft.undoes,
        asks: None,
        rolls_back: None,
    };
    Ok(Made { plan, addresses, context: found.context, meant, watched })
}

async fn draft(maker: &Maker<'_>, wanted: &Wanted) -> Result<Draft, Unplanned> {
    match wanted.kind {
        TouchKind::SetConfig => settings::set(maker, wanted).await,
        TouchKind::RewriteConfig => settings::rewrite(maker),
        TouchKind::ResetSlowlog => slowlog::reset(maker).await,
        TouchKind::Backup => backup::draft(maker, wanted).await,
        TouchKind::KillClients => clients::kill(maker, wanted).await,
        TouchKind::PauseWrites => pause::writes(maker, wanted).await,
        TouchKind::SaveSnapshot => save::snapshot(maker).await,
        TouchKind::RewriteAof => save::aof(maker).await,
        TouchKind::RemoveKeys => keys::remove(maker, wanted).await,
        TouchKind::RetimeKeys => keys::retime(maker, wanted).await,
        TouchKind::ClearAside => keys::clear(maker, wanted).await,
        TouchKind::ExportKeys => copies::export(maker, wanted).await,
        TouchKind::ImportKeys => copies::import(maker, wanted).await,
        TouchKind::Failover => failover::failover(maker, wanted).await,
        TouchKind::RotatePassword => password::rotate(maker, wanted).await,
        TouchKind::SaveAcl => password::save(maker).await,
        TouchKind::Undo => undo::draft(maker, wanted).await,
    }
}

/// What several touches come to as one plan; `None` when there are none.
pub(super) fn together(drafts: Vec<Draft>) -> Option<Draft> {
    let mut drafts = drafts.into_iter();
    let mut whole = drafts.next()?;
    for next in drafts {
        whole.steps.extend(next.steps);
        if whole.reach.what != next.reach.what {
            whole.reach.what = format!("{}; {}", whole.reach.what, next.reach.what);
        }
        let most = |one: Option<u64>, other: Option<u64>| one.max(other);
        whole.reach = Reach {
            keys: most(whole.reach.keys, next.reach.keys),
            bytes: most(whole.reach.bytes, next.reach.bytes),
            clients: most(whole.reach.clients, next.reach.clients),
            exact: whole.reach.exact && next.reach.exact,
            at_most: whole.reach.at_most || next.reach.at_most,
            tolerance_percent: whole.reach.tolerance_percent.max(next.reach.tolerance_percent),
            sample: if whole.reach.sample.is_empty() { next.reach.sample } else { whole.reach.sample },
            what: whole.reach.what,
        };
        whole.facts.extend(next.facts);
        for warning in next.warnings {
            if !whole.warnings.contains(&warning) {
                whole.warnings.push(warning);
            }
        }
        whole.undo = match (whole.undo, next.undo) {
            (Undo::By(how), Undo::By(other)) if how != other => Undo::By(format!("{how}; {other}")),
            (Undo::By(how), Undo::By(_)) => Undo::By(how),
            // What cannot be taken back whole is not promised to be.
            (Undo::Never(why), _) | (_, Undo::Never(why)) => Undo::Never(why),
        };
        whole.risk = whole.risk.max(next.risk);
        whole.undoes = whole.undoes.or(next.undoes);
    }
    Some(whole)
}

/// How many follow a primary, and how far the slowest is behind, from `INFO replication`.
fn followed(info: &Value) -> (u64, Option<u64>) {
    let count = info.get("connected_slaves").and_then(Value::as_u64).unwrap_or(0);
    let head = info.get("master_repl_offset").and_then(Value::as_u64);
    let offsets = info.get("replicas").and_then(Value::as_object).into_iter().flat_map(|replicas| replicas.values());
    let slowest = offsets.filter_map(|replica| replica.get("offset").and_then(Value::as_u64)).min();
    (count, head.zip(slowest).map(|(head, slowest)| head.saturating_sub(slowest)))
}

/// `7.0.15` as `(7, 0)`.
fn version(told: &str) -> Option<(u32, u32)> {
    let mut parts = told.split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??))
}

/// The same change of one target.
pub(super) fn step(target: usize, change: Change) -> PlanStep {
    PlanStep { target, change }
}
