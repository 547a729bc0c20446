//! Plans that take an earlier run back.

use super::{Draft, Maker, Unplanned, password, pause, requirepass, settings, together, trouble};
use crate::{
    bot::{Hall, command::plain_card},
    diagnosis::Explained,
    exec::aside::{WrittenDown, written_down},
    keyspace::glob,
    model::{KeyPattern, RunId, Service},
    runbook::{Change, Deed, Kept, Keys, Parameter, PlanStep, Reach, Retime, Risk, Select, Undo, Wanted},
    store::{
        PlanRow, PlanState, StepState,
        snapshot::{SnapshotError, StepId},
    },
};

/// Why a run is not taken back, and what to do instead where there is something.
#[derive(Debug)]
pub(in crate::bot::change) struct NotBack {
    pub(in crate::bot::change) why: String,
    pub(in crate::bot::change) next: Option<String>,
}

/// The run somebody wants taken back.
///
/// # Errors
/// That there is none, or that there is nothing to take back.
pub(in crate::bot::change) async fn of(hall: &Hall, word: &str) -> Result<PlanRow, NotBack> {
    let not = |why: String, next: Option<String>| Err(NotBack { why, next });
    let found = match RunId::parse(word) {
        Some(run) => hall.store.plan(&run).await,
        None => Ok(None),
    };
    let row = match found {
        Ok(Some(row)) => row,
        Ok(None) => {
            let next = "`/redis undo RUN`, with the id at the foot of the run's card".to_owned();
            return not("No change has that run id; it stands at the foot of the run's card.".to_owned(), Some(next));
        }
        Err(error) => {
            let next = "`/redis doctor --bot` says what is wrong with the store".to_owned();
            return not(format!("The store cannot be read: {error}."), Some(next));
        }
    };
    match (row.state, &row.plan.undo) {
        // What a profile forbade when it was removed was kept all the same: it may be allowed by now.
        (PlanState::Done | PlanState::Failed | PlanState::Uncertain, Undo::Never(_)) if keeps(&row.plan) => Ok(row),
        (PlanState::Done | PlanState::Failed | PlanState::Uncertain, Undo::Never(why)) => {
            not(format!("It cannot be taken back: {why}."), None)
        }
        (PlanState::Done | PlanState::Failed | PlanState::Uncertain, Undo::By(_)) => Ok(row),
        (state, _) => {
            let run = &row.plan.run;
            let next = match state {
                PlanState::Pending => Some(format!("`/redis decline {run}` calls it off")),
                PlanState::Claimed | PlanState::Running => Some(format!("`/redis cancel {run}` stops it")),
                _ => None,
            };
            not(format!("There is nothing to take back: that plan is {}.", state.word()), next)
        }
    }
}

/// Whether something is kept of what it removes.
fn keeps(plan: &crate::runbook::Plan) -> bool {
    let kept = |step: &PlanStep| matches!(&step.change, Change::RemoveKeys { keep, .. } if *keep != Kept::Nothing);
    plan.steps.iter().any(kept)
}

/// The draft that takes the run named by `wanted` back, from what is so now.
pub(super) async fn draft(maker: &Maker<'_>, wanted: &Wanted) -> Result<Draft, Unplanned> {
    let nothing = |why, next| Unplanned::Misunderstood(Box::new(plain_card("undo", why, next)));
    let row = of(maker.hall, wanted.need("run")).await.map_err(|NotBack { why, next }| nothing(why, next))?;
    let plan = &row.plan;
    if (&plan.service, &plan.instance) != (&maker.wish.service.name, &maker.wish.instance.name) {
        return Err(nothing(format!("That run was on {}/{}.", plan.service, plan.instance), None));
    }
    let done = maker.hall.store.steps(&plan.run).await.map_err(|error| {
        trouble(
            format!("the store cannot be read: {error}"),
            "the run's steps are written there",
            "see `/redis doctor --bot`",
        )
    })?;
    let mut drafts = Vec::new();
    let mut already = Vec::new();
    // Backwards: what was changed last is taken back first.
    for row in done.iter().rev().filter(|row| {
        matches!(row.state, StepState::Done | StepState::Failed | StepState::Uncertain | StepState::Begun)
    }) {
        let Some(step) = plan.steps.get(row.seq) else { continue };
        match back(maker, plan, row.seq, step).await {
            Ok(draft) => drafts.push(draft),
            Err(Unplanned::Nothing(why)) => already.push(why),
            Err(other) => return Err(other),
        }
    }
    // Each step knows its own number; what is one draft's is not another's.
    let keys = drafts.iter().filter(|draft| draft.reach.at_most).filter_map(|draft| draft.reach.keys).sum();
    let Some(mut draft) = together(drafts) else {
        let why = if already.is_empty() { "None of its steps was done.".to_owned() } else { already.join(" ") };
        return Err(Unplanned::Nothing(format!("There is nothing to take back. {why}")));
    };
    if draft.reach.at_most {
        draft.reach.keys = Some(keys);
        let facts = std::mem::take(&mut draft.facts);
        for fact in facts {
            if !draft.facts.contains(&fact) {
                draft.facts.push(fact);
            }
        }
    }
    draft.facts.insert(0, ("Takes back".to_owned(), format!("run {}: {}", plan.run, plan.what())));
    draft.undoes = Some(plan.run.clone());
    Ok(draft)
}

/// The way back of one step.
async fn back(maker: &Maker<'_>, plan: &crate::runbook::Plan, seq: usize, step: &PlanStep) -> Result<Draft, Unplanned> {
    if let Change::RemoveKeys { select, .. } = &step.change
        && let Some(pattern) = forbidden(maker.wish.service, select)
    {
        return Err(Unplanned::Failed(may_not_come_back(maker, pattern)));
    }
    if let Change::ExportKeys { .. } = &step.change {
        return drop_export(maker, plan, seq).await;
    }
    if let Change::RemoveKeys { .. } | Change::RetimeKeys { .. } | Change::ImportKeys { .. } = &step.change {
        // Keys find their server by themselves, also after a failover; the step is done by way of one that is there.
        let by = on(maker, plan, step).unwrap_or(0);
        return bring_back(maker, plan, seq, step, by).await;
    }
    let on = on(maker, plan, step)?;
    match &step.change {
        Change::SetConfig { parameter, old, new } => {
            let Some(known) = Parameter::find(parameter) else {
                return Err(Unplanned::Failed(never(&format!("{parameter} is no longer among what may be set"))));
            };
            let mut draft = settings::to(maker, known, old, &[on]).await?;
            for step in &draft.steps {
                if let Change::SetConfig { old: present, .. } = &step.change
                    && present != new
                {
                    draft.warnings.push(format!(
                        "Somebody changed {parameter} since: that run set {new}, and it is {present} now."
                    ));
                }
            }
            Ok(draft)
        }
        Change::PauseWrites { ms, all: false } => pause::end(maker, plan, *ms, on).await,
        Change::SetRequirePass { file } => requirepass::back(maker, plan, file, on).await,
        Change::AddPassword { user, file } => password::back(maker, plan, user, file, on).await,
        _ => Err(Unplanned::Failed(never("this kind of change has no way back"))),
    }
}

/// Whether an earlier run took this one back, where the server itself does not tell.
pub(super) async fn taken_back(hall: &Hall, run: &RunId) -> Result<bool, Explained> {
    let done = hall.store.plans(PlanState::Done).await.map_err(|error| {
        trouble(
            format!("the store cannot be read: {error}"),
            "earlier runs are written there",
            "see `/redis doctor --bot`",
        )
    })?;
    Ok(done.iter().any(|row| row.plan.undoes.as_ref() == Some(run)))
}

/// The pattern of the profile whose keys may not come back, where the selection may hold some of them.
pub(super) fn forbidden<'s>(service: &'s Service, select: &Select) -> Option<&'s KeyPattern> {
    let meets = |pattern: &&KeyPattern| match &select.keys {
        Keys::Every => true,
        Keys::One(name) => glob::matches(pattern.glob.as_bytes(), name.as_bytes()),
        // What both could match cannot be ruled out: the safe side.
        Keys::Matching(other) => {
            let (one, other) = (glob::literal_prefix(pattern.glob.as_bytes()), glob::literal_prefix(other.as_bytes()));
            one.starts_with(other) || other.starts_with(one)
        }
    };
    service.patterns.iter().filter(|pattern| !pattern.revive).find(meets)
}

/// Why, and who could lift it.
pub(super) fn may_not_come_back(maker: &Maker<'_>, pattern: &KeyPattern) -> Explained {
    let service = maker.wish.service;
    Explained {
        code: "NO-REVIVAL".into(),
        what: format!("{} does not let keys of {} come back", service.name, pattern.glob),
        cause: format!(
            "its profile says `revive = false` for its {}: what was removed of them may be logins that would work again",
            pattern.name
        ),
        next: format!(
            "{}, its owner, can lift that in services/{}.toml (`[patterns.{}]`), and `/redis reload`; until then what was \
             kept stays sealed as long as snapshots are kept",
            service.owner, service.name, pattern.name
        ),
    }
}

/// The draft that brings back what a step did to keys.
async fn bring_back(
    maker: &Maker<'_>,
    plan: &crate::runbook::Plan,
    seq: usize,
    step: &PlanStep,
    by: usize,
) -> Result<Draft, Unplanned> {
    let what = step.change.what();
    let did = match &step.change {
        Change::RetimeKeys { .. } => Deed::Retimed,
        Change::ImportKeys { overwrite: false, .. } => Deed::Imported,
        Change::ImportKeys { overwrite: true, .. } => Deed::Overwrote,
        _ => Deed::Removed,
    };
    let written = written(maker, plan, seq).await?;
    if written.keys == 0 && (written.whole || did != Deed::Removed) {
        return Err(Unplanned::Nothing(format!("It had changed no key yet when it ended: {what}.")));
    }
    super::rights::held_for_the_way_back(maker, &step.change).await?;
    let mut facts = vec![("Left alone".to_owned(), left_alone(did).to_owned())];
    if !written.whole && did == Deed::Removed {
        let more = "keys that are aside since it was cut short get their names back too; they are not counted here";
        facts.push(("Besides".to_owned(), more.to_owned()));
    }
    let mut warnings = Vec::new();
    match did {
        // Nobody keeps sessions or tokens in a stream.
        Deed::Removed if written.kind.as_deref() != Some("stream") => {
            warnings.push("Sessions and tokens that come back are logins that work again.".to_owned());
        }
        Deed::Overwrote => warnings.push("What it overwrote comes back: logins among it work again.".to_owned()),
        Deed::Removed | Deed::Retimed | Deed::Imported => {}
    }
    let again = match &step.change {
        Change::RetimeKeys { to: Retime::Persist, .. } => "`/redis persist` takes the deadlines away again".to_owned(),
        Change::RetimeKeys { .. } => "`/redis expire` sets such a deadline again".to_owned(),
        Change::ImportKeys { export, .. } => {
            format!("`/redis import {export}` puts the same there again, as long as that export is kept")
        }
        _ => format!("what comes back can be removed again, by `/redis {}`", plan.command),
    };
    Ok(Draft {
        steps: vec![super::step(by, Change::RestoreKeys { run: plan.run.clone(), seq, what: what.clone(), did })],
        reach: Reach {
            what: format!("what that run wrote down when it did this: {what}"),
            keys: Some(written.keys),
            at_most: true,
            exact: true,
            tolerance_percent: plan.reach.tolerance_percent,
            ..Reach::default()
        },
        facts,
        warnings,
        undo: Undo::Never(format!("an undo is not taken back by another; {again}")),
        risk: Risk::Medium,
        undoes: None,
    })
}

/// How much a step wrote down of what it did.
async fn written(maker: &Maker<'_>, plan: &crate::runbook::Plan, seq: usize) -> Result<WrittenDown, Unplanned> {
    let snapshots = maker.hall.store.snapshots().map_err(|error| {
        trouble(
            format!("what that run kept cannot be read: {error}"),
            "it is beside the bot's store",
            "mend that; `/redis version` says more of the store",
        )
    })?;
    let id = StepId { run: plan.run.clone(), seq };
    written_down(&snapshots, &id).await?.ok_or_else(|| {
        Unplanned::Nothing(format!(
            "Nothing is kept of it: it changed nothing, or that is more than {} ago.",
            crate::model::show_duration(snapshots.keep())
        ))
    })
}

/// What of it an undo does not touch.
fn left_alone(did: Deed) -> &'static str {
    match did {
        Deed::Removed => "names that hold newer data; what would have expired since",
        Deed::Retimed => "keys that were given yet another deadline since, or are gone",
        Deed::Imported | Deed::Overwrote => "keys that somebody changed since they were put there",
    }
}

/// The draft that removes one file of an export.
async fn drop_export(maker: &Maker<'_>, plan: &crate::runbook::Plan, seq: usize) -> Result<Draft, Unplanned> {
    let store = maker.hall.store.clone();
    let id = StepId { run: plan.run.clone(), seq };
    let found = tokio::task::spawn_blocking(move || store.snapshots().and_then(|snapshots| snapshots.contents(&id)));
    let contents = match found.await {
        Ok(Ok(Some(contents))) => contents,
        Ok(Ok(None) | Err(SnapshotError::Missing(_))) => {
            return Err(Unplanned::Nothing("That export is gone already.".to_owned()));
        }
        Ok(Err(error)) => {
            return Err(Unplanned::Failed(trouble(
                format!("the export cannot be read: {error}"),
                "it is beside the bot's store",
                "see `/redis version`",
            )));
        }
        Err(_) => {
            return Err(Unplanned::Failed(trouble("the export was not read", "the bot is being stopped", "ask again")));
        }
    };
    Ok(Draft {
        steps: vec![super::step(0, Change::DropExport { run: plan.run.clone(), seq })],
        reach: Reach {
            what: "the copy alone; nothing of the server".to_owned(),
            keys: Some(contents.keys),
            exact: true,
            tolerance_percent: 5,
            ..Reach::default()
        },
        facts: vec![("In it".to_owned(), contents.what)],
        warnings: vec![
            "What was removed from the server since is then nowhere but in that removal's own undo.".to_owned(),
        ],
        undo: Undo::Never("a copy that was removed is gone; export again".to_owned()),
        risk: Risk::Medium,
        undoes: None,
    })
}

/// Which of the primaries of now a step was done on.
pub(super) fn on(maker: &Maker<'_>, plan: &crate::runbook::Plan, step: &PlanStep) -> Result<usize, Explained> {
    let then = plan.target_of(step).map(|target| target.address.as_str()).unwrap_or_default();
    let same = |primary: &super::Primary| primary.target.address == then;
    maker.primaries.iter().position(same).ok_or_else(|| {
        trouble(
            format!("{then}, where it was done, is no primary now"),
            "the instance failed over or was changed since",
            "set what is wanted on the present primary, by the command itself",
        )
    })
}

fn never(cause: &str) -> Explained {
    trouble("it cannot be taken back from here", cause, "see the run's card for what it did")
}
