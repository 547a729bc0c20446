//! After a start: what the end of the bot cut short is said, and not done again.

use std::{sync::Arc, time::Instant};

use super::{CALL, LATER, PLAN_WITHIN, aside, bound, close};
use crate::{
    bot::{Hall, verify},
    diagnosis::{Observation, Role},
    exec::{touching, under_way},
    model::{Instance, Service},
    policy::Permit,
    runbook::{Change, Look, Nodes, Plan, PlanStep, Risk},
    store::{PlanRow, PlanState, StepState},
};

const BEFORE: &str = "The bot was restarted before anything was changed. Ask again.";

/// Settles every plan that was under way when the bot ended.
pub(in crate::bot) async fn recover(hall: Arc<Hall>) {
    // What an answer was about to say when it was cut short is said now.
    if let Err(error) = hall.store.owed_hasten(hall.since).await {
        tracing::warn!(%error, "what was owed at the last end is said later");
    }
    match hall.store.plans(PlanState::Pending).await {
        Ok(rows) => {
            // These wait for nobody: whoever planned them was about to carry them out.
            let left = |row: &PlanRow| row.plan.risk == Risk::Low && row.plan.made_ms < hall.since.as_millisecond();
            for row in rows.into_iter().filter(left) {
                close(&hall, &row, PlanState::Void, BEFORE).await;
            }
        }
        Err(error) => tracing::warn!(%error, "plans that nobody need consent to could not be read"),
    }
    match hall.store.plans(PlanState::Claimed).await {
        Ok(rows) => {
            for row in rows.into_iter().filter(|row| !hall.touching.is_ours(&row.plan.run)) {
                if row.plan.asks.is_some() {
                    // A word by itself changes nothing: it is judged again by whoever takes its runbook up.
                    let run = &row.plan.run;
                    if let Err(error) = hall.store.plan_move(run, PlanState::Claimed, PlanState::Pending, None).await {
                        tracing::warn!(%error, %run, "a question could not be opened again");
                    }
                    continue;
                }
                close(&hall, &row, PlanState::Void, BEFORE).await;
            }
        }
        Err(error) => tracing::warn!(%error, "plans under way at the last end could not be read"),
    }
    let mut looked_after = Vec::new();
    match hall.store.plans(PlanState::Running).await {
        Ok(rows) => {
            for row in rows.into_iter().filter(|row| !hall.touching.is_ours(&row.plan.run)) {
                let Settled { state, why, changed, left } = settle(&hall, &row).await;
                close(&hall, &row, state, &why).await;
                if left {
                    // The checklist comes once that is tidied up.
                    hall.new_aside.notify_one();
                } else if changed {
                    looked_after.push(row);
                }
            }
        }
        Err(error) => tracing::warn!(%error, "runs under way at the last end could not be read"),
    }
    for row in looked_after {
        verify::after(&hall, &row, verify::When::Run).await;
    }
}

/// What became of a run that was cut short.
struct Settled {
    state: PlanState,
    /// In words.
    why: String,
    /// Something was changed, or may have been.
    changed: bool,
    /// Something is under another name still.
    left: bool,
}

/// What became of a run: which steps were done, which one is uncertain, and how that was checked.
async fn settle(hall: &Arc<Hall>, row: &PlanRow) -> Settled {
    let plan = &row.plan;
    let steps = match hall.store.steps(&plan.run).await {
        Ok(steps) => steps,
        Err(error) => {
            let why = format!("The bot was restarted while this ran, and its steps cannot be read ({error}).");
            return Settled { state: PlanState::Uncertain, why, changed: true, left: false };
        }
    };
    let mut told = vec!["The bot was restarted while this ran; nothing is done twice.".to_owned()];
    let mut uncertain = false;
    let mut left = false;
    let mut changed = false;
    let mut done = 0;
    for known in &steps {
        let Some(step) = plan.steps.get(known.seq) else { continue };
        let name = format!("Step {} ({})", known.seq + 1, step.change.what());
        match known.state {
            StepState::Done => {
                done += 1;
                changed = true;
                told.push(format!("{name} was done."));
            }
            StepState::Begun => {
                let (state, found, aside) = match step.change.is_about_keys() {
                    true => {
                        let settled = aside::settle(hall, plan, known.seq).await;
                        (settled.done, settled.said, settled.left)
                    }
                    false => {
                        let (state, found) = seen(hall, plan, step).await;
                        (state, found, None)
                    }
                };
                left |= aside.is_some();
                changed |= state != Some(false) || step.change.is_about_keys();
                match state {
                    Some(true) => done += 1,
                    Some(false) => {}
                    None => uncertain = true,
                }
                let state = match state {
                    Some(true) => StepState::Done,
                    Some(false) => StepState::Failed,
                    None => StepState::Uncertain,
                };
                if let Err(error) = hall.store.step_left(&plan.run, known.seq, state, Some(&found), aside).await {
                    tracing::warn!(%error, run = %plan.run, "what became of a step could not be written");
                }
                told.push(format!("{name} had begun: {found}."));
            }
            state => {
                changed |= state != StepState::Undone;
                told.push(format!("{name}: {}.", state.word()));
            }
        }
    }
    let unbegun = plan.steps.len() - steps.len().min(plan.steps.len());
    if unbegun > 0 {
        told.push(format!("{unbegun} of {} steps were not begun.", plan.steps.len()));
    }
    if left {
        told.push(LATER.to_owned());
    }
    if done > 0
        && let Some(line) = plan.undo_line()
    {
        told.push(format!("What was done can be taken back: /redis {line}"));
    }
    let state = match (uncertain, done == plan.steps.len()) {
        (true, _) => PlanState::Uncertain,
        (false, true) => PlanState::Done,
        (false, false) => PlanState::Failed,
    };
    Settled { state, why: told.join(" "), changed, left }
}

/// Whether a step that had begun was done, as far as a look can tell, and how that was checked.
async fn seen(hall: &Arc<Hall>, plan: &Plan, step: &PlanStep) -> (Option<bool>, String) {
    let rules = hall.rules();
    let Some((command, service, instance)) = bound(&rules, plan) else {
        return (None, "its service is no longer configured, so it could not be checked".to_owned());
    };
    let permit = rules.policy.aftermath(plan, command, jiff::Timestamp::now());
    match &step.change {
        Change::SetConfig { parameter, old, new } => {
            let argv = ["CONFIG", "GET", parameter].map(str::to_owned).into();
            let look = Look::Redis { argv, nodes: Nodes::Primaries };
            let cx = touching(Instant::now() + PLAN_WITHIN, CALL);
            let seen = hall.exec.look(&permit, service, instance, &look, &cx).await;
            let found = held(&seen, plan, step, parameter);
            match found {
                Some(found) if found == *new => {
                    (Some(true), format!("read again, {parameter} is {new}, so it was done"))
                }
                Some(found) if found == *old => {
                    (Some(false), format!("read again, {parameter} is still {old}, so it was not done"))
                }
                Some(found) => (
                    None,
                    format!("read again, {parameter} is {found}, which is neither what it was nor what was wanted"),
                ),
                None => (
                    None,
                    format!(
                        "{parameter} could not be read again, so it is uncertain whether it was done; `/redis config` tells"
                    ),
                ),
            }
        }
        Change::KillClients { .. } => (
            None,
            "which connections were closed cannot be told from those that came anew; `/redis clients` shows who is there"
                .to_owned(),
        ),
        Change::PauseWrites { .. } => (
            None,
            "whether writes were held back could not be checked; the server ends a pause by itself".to_owned(),
        ),
        Change::ResumeWrites => (
            None,
            "whether the pause was ended could not be checked; the server ends it by itself".to_owned(),
        ),
        Change::SaveSnapshot | Change::RewriteAof => saved(hall, &permit, service, instance, plan, step).await,
        Change::RemoveKeys { .. }
        | Change::RetimeKeys { .. }
        | Change::RestoreKeys { .. }
        | Change::ExportKeys { .. }
        | Change::DropExport { .. }
        | Change::ImportKeys { .. }
        | Change::ClearAside { .. } => unreachable!("steps about keys are settled, not only looked at"),
        Change::SentinelFailover { .. } | Change::ClusterFailover { .. } => {
            let target = hall.exec.target(&permit, service, instance, &touching(Instant::now() + PLAN_WITHIN, CALL)).await;
            let then = plan.target_of(step).map(|target| target.address.as_str()).unwrap_or_default();
            let still = target.as_ref().ok().and_then(|target| {
                let node = target.nodes.iter().find(|node| node.node.address.to_string() == then)?;
                node.node.role.map(|role| role == Role::Primary)
            });
            match still {
                Some(false) => (Some(true), format!("{then} is no longer the primary, so it was done")),
                Some(true) => {
                    (None, format!("{then} is the primary still; it may yet happen, `/redis replication` tells"))
                }
                None => (None, format!("{then} does not tell its role; `/redis replication` tells who is the primary")),
            }
        }
        Change::SetRequirePass { .. } | Change::RestoreRequirePass { .. } => (
            None,
            "which password is good now is told by logging in: both lie in the bot's folder for handing over, and the undo of this run sets the old one".to_owned(),
        ),
        Change::AddPassword { user, .. } | Change::DropPassword { user, .. } | Change::DropOtherPasswords { user, .. } => (
            None,
            format!("which passwords {user} has now is not told by a look; the undo of this run drops the new one where it is"),
        ),
        Change::SaveAcl => (None, "whether the file was written cannot be seen from here".to_owned()),
        Change::RewriteConfig => (None, "whether the file was written cannot be seen from here".to_owned()),
        Change::Backup { .. } => kept(hall, plan, step).await,
        Change::ResetSlowlog { .. } => {
            (None, "whether the slow log was emptied cannot be told from one that filled again".to_owned())
        }
    }
}

/// Whether the manifest names a file of the step's server: a file gets its name when it is whole.
async fn kept(hall: &Arc<Hall>, plan: &Plan, step: &PlanStep) -> (Option<bool>, String) {
    let backups = hall.store.backups();
    let (service, instance) = (plan.service.clone(), plan.instance.clone());
    let listed = tokio::task::spawn_blocking(move || backups.list(&service, &instance)).await;
    let Ok(Ok(listed)) = listed else {
        return (None, "the directory of backups cannot be read".to_owned());
    };
    let manifest = listed.manifests.iter().find(|manifest| manifest.run == plan.run);
    let address = plan.target_of(step).map(|target| target.address.as_str());
    if manifest.is_some_and(|manifest| manifest.files.iter().any(|file| Some(file.address.as_str()) == address)) {
        (Some(true), "its file is there and named in the manifest".to_owned())
    } else {
        (Some(false), "no file of it was kept, and nothing of the server was changed".to_owned())
    }
}

/// What the server tells of a save that had begun.
async fn saved(
    hall: &Arc<Hall>,
    permit: &Permit,
    service: &Arc<Service>,
    instance: &Instance,
    plan: &Plan,
    step: &PlanStep,
) -> (Option<bool>, String) {
    let look = Look::Redis { argv: ["INFO", "persistence"].map(str::to_owned).into(), nodes: Nodes::Primaries };
    let seen = hall.exec.look(permit, service, instance, &look, &touching(Instant::now() + PLAN_WITHIN, CALL)).await;
    let told = plan.target_of(step).and_then(|target| {
        let found = seen.nodes.iter().find(|outcome| outcome.node.address.to_string() == target.address)?;
        found.result.as_ref().ok()
    });
    let Some(told) = told else {
        return (None, "the server could not be asked; `/redis persistence` tells".to_owned());
    };
    if let Some(what) = under_way(told) {
        return (None, format!("the server is writing {what} now; `/redis persistence` tells when it is done"));
    }
    let text = |name: &str| told.get(name).and_then(serde_json::Value::as_str).unwrap_or("unknown").to_owned();
    let saved_at = told.get("rdb_last_save_time").and_then(serde_json::Value::as_i64).unwrap_or(0);
    match step.change {
        Change::SaveSnapshot if text("rdb_last_bgsave_status") == "ok" && saved_at > plan.made_ms / 1000 => {
            (Some(true), "the server tells of a good save since the plan was made".to_owned())
        }
        Change::SaveSnapshot => (Some(false), "the server tells of no good save since the plan was made".to_owned()),
        _ => (
            None,
            format!(
                "nothing is being written now, and the last rewrite's status is {}",
                text("aof_last_bgrewrite_status")
            ),
        ),
    }
}

fn held(seen: &Observation, plan: &Plan, step: &PlanStep, parameter: &str) -> Option<String> {
    let address = &plan.target_of(step)?.address;
    let outcome = seen.nodes.iter().find(|outcome| outcome.node.address.to_string() == *address)?;
    match outcome.result.as_ref().ok()?.get(parameter)? {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
