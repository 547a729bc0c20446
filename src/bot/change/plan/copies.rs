//! Plans that copy keys into a sealed file, and that put such a copy back.

use std::time::Instant;

use super::{
    Draft, Maker, Unplanned,
    keys::{COUNT_WITHIN, Counted, SAMPLE, TOLERANCE, is_on, misunderstood, room, select},
    step, trouble, undo,
};
use crate::{
    bot::change::CALL,
    diagnosis::Explained,
    exec::{
        aside::{self, ExportFile, LARGEST_COPY, LARGEST_DUMP, Weighed, show_spread},
        touching,
    },
    model::RunId,
    runbook::{Change, Keys, Reach, Risk, Select, Undo, Wanted, show_bytes, show_number},
    store::snapshot::Snapshots,
};

/// So many types and prefixes are named on a card.
const NAMED: usize = 6;

/// The draft of an `export-keys`.
pub(super) async fn export(maker: &Maker<'_>, wanted: &Wanted) -> Result<Draft, Unplanned> {
    let select = select(maker, wanted)?;
    let large = is_on(wanted, "large");
    let found = Counted::of(maker, &select, None).await?;
    if found.keys == 0 {
        return Err(found.nothing(maker, &select, "export"));
    }
    room(maker, &found, if large { 0 } else { found.huge.1 })?;
    let mut facts = found.facts(&select);
    facts.push(("By type".to_owned(), show_spread(&found.spread.types, NAMED)));
    facts.push(("By prefix".to_owned(), show_spread(&found.spread.prefixes, NAMED)));
    let keep = snapshots(maker)?.keep();
    facts.push((
        "Kept".to_owned(),
        format!(
            "{} as export {}: encrypted, readable by the bot alone; `/redis exports` lists it",
            crate::model::show_duration(keep),
            maker.wish.run
        ),
    ));
    let mut warnings =
        vec!["It is a copy of people's data outside of the server; `undo` removes it before its time.".to_owned()];
    if let Some(pattern) = undo::forbidden(maker.wish.service, &select) {
        warnings.push(format!(
            "The profile does not let keys of {} come back (`revive = false` for its {}): while it says so, `import` is refused.",
            pattern.glob, pattern.name
        ));
    }
    if found.huge.0 > 0 {
        let which = format!("{} keys ({}) are larger than", show_number(found.huge.0), show_bytes(found.huge.1));
        warnings.push(match large {
            true => format!(
                "{which} {}: the server answers nobody else while each is dumped. Above {} none is.",
                show_bytes(LARGEST_DUMP),
                show_bytes(LARGEST_COPY)
            ),
            false => format!(
                "{which} {} and would hold the server up while they are dumped: they are not in it. `--large` takes them along; `/redis backup` has them too.",
                show_bytes(LARGEST_DUMP)
            ),
        });
    }
    if matches!(select.keys, Keys::Every) {
        warnings.push("For a copy of all data `/redis backup` is quicker, and of one moment.".to_owned());
    }
    let knows_no_touch = |primary: &super::Primary| primary.version.is_some_and(|version| version >= (7, 2));
    if maker.cluster() || !maker.primaries.iter().all(knows_no_touch) {
        warnings.push(
            "Each key will look used just now (this server knows no NO-TOUCH, or is a cluster), which matters where eviction goes by use."
                .to_owned(),
        );
    }
    let now_ms = maker.wish.made_ms;
    let steps = found.steps(maker, |keys| Change::ExportKeys { select: select.clone(), now_ms, keys, large });
    let undo = Undo::By("the copy is removed; nothing of the server changed".to_owned());
    Ok(Draft { steps, reach: found.reach(&select), facts, warnings, undo, risk: Risk::Medium, undoes: None })
}

fn snapshots(maker: &Maker<'_>) -> Result<Snapshots, Explained> {
    maker.hall.store.snapshots().map_err(|error| {
        trouble(
            format!("exports cannot be kept or read: {error}"),
            "they are beside the bot's store",
            "mend that; `/redis version` says more of the store",
        )
    })
}

/// The files of an export, by its name.
async fn named(maker: &Maker<'_>, snapshots: &Snapshots, name: &str) -> Result<(RunId, Vec<ExportFile>), Unplanned> {
    let unknown = || {
        let what = "There is no export of that name here, or its time is over.".to_owned();
        misunderstood(maker, what, "`/redis exports` lists them")
    };
    let run = RunId::parse(name).ok_or_else(unknown)?;
    let (kept, of) = (snapshots.clone(), run.clone());
    let files = tokio::task::spawn_blocking(move || aside::exports(&kept, Some(&of)))
        .await
        .map_err(|_| trouble("the exports were not read", "the bot is being stopped", "ask again"))??;
    if files.is_empty() {
        return Err(match maker.hall.store.plan(&run).await {
            Ok(Some(row)) if row.plan.steps.iter().any(|step| matches!(step.change, Change::RemoveKeys { .. })) => {
                let what = "That run kept what it removed for its undo; it is no export.".to_owned();
                misunderstood(maker, what, &format!("`/redis undo {run}` brings it back"))
            }
            _ => unknown(),
        });
    }
    Ok((run, files))
}

/// What the profile does not let come back does not come back this way either.
async fn revivable(maker: &Maker<'_>, run: &RunId, only: Option<&str>) -> Result<(), Unplanned> {
    let service = maker.wish.service;
    // Of an export whose plan is not known any more, anything could be in it.
    let row = maker.hall.store.plan(run).await.ok().flatten();
    let exported = row.and_then(|row| {
        row.plan.steps.into_iter().find_map(|step| match step.change {
            Change::ExportKeys { select, .. } => Some(select),
            _ => None,
        })
    });
    let exported = exported.unwrap_or_else(|| Select::matching("*"));
    // Either of the two can rule it out.
    let by_only = only.map(|only| undo::forbidden(service, &Select::matching(only)));
    match (undo::forbidden(service, &exported), by_only) {
        (None, _) | (_, Some(None)) => Ok(()),
        (Some(pattern), _) => Err(Unplanned::Failed(undo::may_not_come_back(maker, pattern))),
    }
}

/// The draft of an `import-keys`.
pub(super) async fn import(maker: &Maker<'_>, wanted: &Wanted) -> Result<Draft, Unplanned> {
    let snapshots = snapshots(maker)?;
    let (run, files) = named(maker, &snapshots, wanted.need("export")).await?;
    let wish = maker.wish;
    let header = &files[0].found.header;
    if header.service != wish.service.name {
        let what = format!("That export is of {}, and people's data stays with its service.", header.service);
        return Err(misunderstood(maker, what, "import it into an instance of that service"));
    }
    let only = wanted.get("only").map(str::to_owned);
    revivable(maker, &run, only.as_deref()).await?;
    let overwrite = is_on(wanted, "overwrite");
    let cx = touching(Instant::now() + COUNT_WITHIN, CALL);
    let mut parts = Vec::new();
    for file in &files {
        let step = &file.found.header.step;
        let to = (wish.service, wish.instance);
        let found = maker.hall.exec.weigh(maker.permit, to, &snapshots, step, only.as_deref(), &cx).await?;
        parts.push((step.seq, found));
    }
    let mut found = Weighed { share: 1.0, ..Weighed::default() };
    parts.iter().for_each(|(_, part)| found.merge(part.clone()));
    let written = |part: &Weighed| part.missing.count + if overwrite { part.different.count + part.unread } else { 0 };
    let keys = written(&found);
    if keys == 0 {
        return Err(Unplanned::Nothing(format!("There is nothing to import: {}.", told(&found, overwrite))));
    }
    let mut facts = facts(&run, &files, &found, only.as_deref(), overwrite);
    facts.push(("Left alone".to_owned(), left_alone(&found, overwrite)));
    let warnings = warnings(maker, &files, &found, overwrite);
    let steps = parts.iter().filter(|(_, part)| written(part) > 0).map(|(seq, part)| {
        let (export, only) = (run.clone(), only.clone());
        // Keys find their server by themselves; the step is done by way of one that is there.
        step(0, Change::ImportKeys { export, seq: *seq, only, overwrite, keys: written(part) })
    });
    Ok(Draft {
        steps: steps.collect(),
        reach: Reach {
            what: match overwrite {
                true => "keys of the export that are missing, or hold something else".to_owned(),
                false => "keys of the export that are missing".to_owned(),
            },
            keys: Some(keys),
            bytes: Some(found.missing_bytes + if overwrite { found.different_bytes } else { 0 }),
            clients: None,
            sample: found.missing.handles.iter().take(SAMPLE).cloned().collect(),
            exact: found.share >= 1.0,
            at_most: false,
            tolerance_percent: TOLERANCE,
        },
        facts,
        warnings,
        undo: Undo::By(
            "what was put there is removed where it is unchanged since, and what was overwritten comes back".to_owned(),
        ),
        risk: if overwrite { Risk::High } else { Risk::Medium },
        undoes: None,
    })
}

fn facts(
    run: &RunId,
    files: &[ExportFile],
    found: &Weighed,
    only: Option<&str>,
    overwrite: bool,
) -> Vec<(String, String)> {
    let made = jiff::Timestamp::from_millisecond(files[0].found.header.created_ms)
        .map_or_else(|_| "unknown".to_owned(), |at| at.strftime("%Y-%m-%d %H:%M UTC").to_string());
    let all: u64 = files.iter().map(|file| file.contents.keys).sum();
    let mut facts = vec![
        ("Export".to_owned(), format!("{run} of {made}: {}, {} keys", files[0].contents.what, show_number(all))),
        ("Would be put there".to_owned(), format!("{} that are missing", show_number(found.missing.count))),
        ("By type".to_owned(), show_spread(&found.spread.types, NAMED)),
        ("By prefix".to_owned(), show_spread(&found.spread.prefixes, NAMED)),
    ];
    if let Some(only) = only {
        facts.insert(1, ("Only".to_owned(), format!("keys matching {only}: {}", show_number(found.keys))));
    }
    if overwrite {
        let over = format!("{} that hold something else", show_number(found.different.count));
        facts.push(("Would be overwritten".to_owned(), over));
    }
    facts.retain(|(_, value)| !value.is_empty());
    facts
}

/// What of an export is not put there, and why.
fn left_alone(found: &Weighed, overwrite: bool) -> String {
    let mut parts = vec![format!("{} there already with the same value", show_number(found.equal))];
    if !overwrite && found.different.count > 0 {
        let some = found.different.handles.iter().take(SAMPLE).cloned().collect::<Vec<_>>().join(", ");
        parts.push(format!("{} that hold something else ({some})", show_number(found.different.count)));
    }
    if found.unread > 0 {
        parts.push(format!("{} there and not compared yet", show_number(found.unread)));
    }
    if found.expired.count > 0 {
        parts.push(format!("{} that would have expired since", show_number(found.expired.count)));
    }
    parts.join("; ")
}

fn told(found: &Weighed, overwrite: bool) -> String {
    match found.keys {
        0 => "no key of it is meant by that".to_owned(),
        keys => format!("of its {} keys, {}", show_number(keys), left_alone(found, overwrite)),
    }
}

fn warnings(maker: &Maker<'_>, files: &[ExportFile], found: &Weighed, overwrite: bool) -> Vec<String> {
    let mut warnings = vec!["Sessions and tokens that come back are logins that work again.".to_owned()];
    let header = &files[0].found.header;
    if header.instance != maker.wish.instance.name {
        warnings.push(format!("The export is of another instance: {}/{}.", header.service, header.instance));
    }
    if files.len() < files[0].contents.files {
        warnings.push(format!(
            "The export lacks some of its primaries: {} of {} files are there.",
            files.len(),
            files[0].contents.files
        ));
    }
    let left_out: u64 = files.iter().map(|file| file.contents.left_out).sum();
    if left_out > 0 {
        warnings.push(format!("{} keys that were meant are not in the export.", show_number(left_out)));
    }
    if found.damaged > 0 {
        warnings.push(format!("{} frames of the export cannot be read; their keys are lost.", found.damaged));
    }
    if overwrite && found.different.count > 0 {
        warnings.push("What was written since the export was made is overwritten, and kept for the undo.".to_owned());
    }
    if let Some(why) = &found.stopped {
        warnings
            .push(format!("Not all of it was compared: {why}. What is there is compared again when it is put there."));
    }
    warnings
}
