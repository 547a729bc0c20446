//! Steps that copy keys into a sealed file, put such a copy back, or drop it: what `exec::aside` does, and how it
//! went in words.

use super::{
    Hands, Settled, Touched,
    keys::{UNSURE, begin, counted, ended, keys, listed, most},
    refused,
};
use crate::{
    diagnosis::Explained,
    exec::{
        Exec,
        aside::{self, Ended, Exported, Exporting, Ground, Imported, Importing, Meant},
    },
    runbook::{Change, Plan, TouchKind, show_bytes, show_number},
    store::snapshot::{Contents, Snapshots, StepId},
};

impl Exec {
    /// Copies, puts back, or drops a copy.
    pub(super) async fn copies(&self, plan: &Plan, seq: usize, change: &Change, hands: &Hands<'_>) -> Touched {
        let step = StepId { run: plan.run.clone(), seq };
        let snapshots = match hands.store.snapshots() {
            Ok(snapshots) => snapshots,
            Err(error) => return Touched::Untouched(aside::unkept(&error)),
        };
        match change {
            Change::ExportKeys { .. } => {
                let ground = self.ground(plan, hands, true);
                export(&ground, plan, &step, change, &snapshots, hands).await
            }
            Change::DropExport { run, seq } => {
                let step = StepId { run: run.clone(), seq: *seq };
                match remove(&snapshots, &step).await {
                    Ok(()) => Touched::Verified("the file is gone".to_owned()),
                    Err(why) => Touched::Untouched(why),
                }
            }
            Change::ImportKeys { export, seq, only, overwrite, keys } => {
                let writer = match begin(&snapshots, plan, &step).await {
                    Ok(writer) => writer,
                    Err(error) => return Touched::Untouched(aside::unkept(&error)),
                };
                let file = StepId { run: export.clone(), seq: *seq };
                let importing = Importing {
                    file: &file,
                    only: only.as_deref(),
                    overwrite: *overwrite,
                    most: most(plan, *keys),
                    expected: *keys,
                    keep: writer,
                };
                // Wherever the keys belong now: that they came from other servers does not matter.
                let ground = Ground { only: None, ..self.ground(plan, hands, true) };
                let found = aside::import(&ground, &snapshots, importing, hands.cx).await;
                let trouble = found.refused.count + found.unverified.count + found.damaged > 0;
                match (&found.ended, trouble) {
                    (Ended::Done, true) => Touched::Partly {
                        why: refused(
                            "not everything could be put back",
                            "what is named below",
                            "look at those keys by their handles; `undo` takes back what was put there",
                        ),
                        left: imported(&found),
                    },
                    (how, _) => ended(how, found.keys + found.replaced + found.unsure > 0, &imported(&found)),
                }
            }
            _ => unreachable!("what is no copy has a lane of its own"),
        }
    }

    /// After the bot was cut short in such a step: what there is, and what was done about it.
    pub(super) async fn settle_copies(
        &self,
        plan: &Plan,
        seq: usize,
        change: &Change,
        hands: &Hands<'_>,
    ) -> Result<Settled, Explained> {
        let snapshots = hands.store.snapshots().map_err(|error| aside::unkept(&error))?;
        let step = StepId { run: plan.run.clone(), seq };
        match change {
            Change::ExportKeys { .. } => match whole(&snapshots, &step, hands).await {
                Ok(contents) => {
                    let said = format!("its file is there, was read to its end and holds {}", keys(contents.keys));
                    Ok(Settled { kept: contents.keys, said, untidied: None })
                }
                // What nobody can rely on is of no use, and holds people's data.
                Err(_) => {
                    remove(&snapshots, &step).await?;
                    let said = "its file was cut short and was removed; nothing of the server changed".to_owned();
                    Ok(Settled { kept: 0, said, untidied: None })
                }
            },
            Change::ImportKeys { export, seq, only, .. } => {
                let written = aside::count(&snapshots, &step).await.map_err(|error| aside::unkept(&error))?;
                let ground = Ground { only: None, ..self.ground(plan, hands, true) };
                let file = StepId { run: export.clone(), seq: *seq };
                let found = aside::weigh(&ground, &snapshots, &file, only.as_deref(), hands.cx).await?;
                let mut parts = vec![
                    format!("{} are written down as put there or about to be", keys(written)),
                    format!("compared with the export, {} hold what it holds", keys(found.equal)),
                ];
                counted(&mut parts, found.missing.count, "of it are missing still");
                counted(&mut parts, found.different.count, "hold something else");
                counted(&mut parts, found.unread, "could not be compared");
                parts.push("asked for again, it goes on with what is missing".to_owned());
                Ok(Settled { kept: written, said: parts.join("; "), untidied: None })
            }
            _ => Ok(Settled { kept: 0, said: "it can be asked for again".to_owned(), untidied: None }),
        }
    }
}

/// Copies, reads the copy again, and only then calls it done; what is not whole is not kept.
async fn export(
    ground: &Ground,
    plan: &Plan,
    step: &StepId,
    change: &Change,
    snapshots: &Snapshots,
    hands: &Hands<'_>,
) -> Touched {
    let Change::ExportKeys { select, now_ms, keys: expected, large } = change else {
        unreachable!("it was asked for by this very change")
    };
    let writer = match begin(snapshots, plan, step).await {
        Ok(writer) => writer,
        Err(error) => return Touched::Untouched(aside::unkept(&error)),
    };
    let exporting = Exporting {
        select,
        now_ms: *now_ms,
        large: *large,
        most: most(plan, *expected),
        expected: *expected,
        names: Meant::find(hands.meant, select, hands.address),
        files: plan.steps.iter().filter(|step| step.change.kind() == TouchKind::ExportKeys).count(),
        keep: writer,
    };
    let found = aside::export(ground, exporting, hands.cx).await;
    let read = match &found.ended {
        Ended::Done => whole(snapshots, step, hands).await,
        Ended::Stopped(why) => {
            Err(refused(why, "it stopped in good order", "nothing was kept; ask for it again, or for less"))
        }
        Ended::Failed(why) => Err(why.clone()),
    };
    match read {
        Ok(_) => {
            let bytes = size(snapshots, step).await;
            Touched::Verified(exported(&found, bytes, &plan.run.to_string()))
        }
        Err(why) => match remove(snapshots, step).await {
            Ok(()) => Touched::Untouched(why),
            Err(also) => Touched::Partly { why, left: format!("its unfinished file is there still: {}", also.what) },
        },
    }
}

async fn whole(snapshots: &Snapshots, step: &StepId, hands: &Hands<'_>) -> Result<Contents, Explained> {
    let (snapshots, step, stop) = (snapshots.clone(), step.clone(), hands.cx.stop.clone());
    let reading = tokio::task::spawn_blocking(move || aside::read_whole(&snapshots, &step, &stop));
    reading.await.unwrap_or_else(|_| Err(given_up()))
}

async fn remove(snapshots: &Snapshots, step: &StepId) -> Result<(), Explained> {
    let (snapshots, step) = (snapshots.clone(), step.clone());
    let removing = tokio::task::spawn_blocking(move || snapshots.remove(&step));
    removing.await.map_or_else(|_| Err(given_up()), |removed| removed.map_err(|error| aside::unkept(&error)))
}

async fn size(snapshots: &Snapshots, step: &StepId) -> u64 {
    let (snapshots, run) = (snapshots.clone(), step.run.clone());
    let seq = step.seq;
    let listing = tokio::task::spawn_blocking(move || aside::exports(&snapshots, Some(&run)));
    let files = listing.await.ok().and_then(Result::ok).unwrap_or_default();
    files.into_iter().find(|file| file.found.header.step.seq == seq).map_or(0, |file| file.found.bytes)
}

fn given_up() -> Explained {
    refused("it was given up", "the bot is being stopped", "ask for it again")
}

fn exported(found: &Exported, bytes: u64, name: &str) -> String {
    let mut parts = vec![format!(
        "{} ({}) copied, {} of them with a deadline, sealed in {}; read again to its end; export {name}",
        keys(found.keys),
        show_bytes(found.bytes),
        show_number(found.expiring),
        show_bytes(bytes),
    )];
    listed(&mut parts, &found.large, "are too large to be dumped and are not in it");
    listed(&mut parts, &found.restless, "got another deadline whenever they were looked at, and are not in it");
    counted(&mut parts, found.elsewhere, "were on the move to another server and are not in it");
    counted(&mut parts, found.changed, "had changed and were no longer meant");
    counted(&mut parts, found.gone, "had gone when their turn came");
    if let Some(doubts) = found.doubts.words() {
        parts.push(format!("not meant: {doubts}"));
    }
    parts.join("; ")
}

fn imported(found: &Imported) -> String {
    let mut parts = vec![format!("{} put there that were missing", keys(found.keys))];
    counted(&mut parts, found.replaced, "overwritten");
    counted(&mut parts, found.already, "were there already");
    counted(&mut parts, found.unsure, UNSURE);
    listed(&mut parts, &found.expired, "would have expired since, and are not revived");
    listed(&mut parts, &found.different, "hold something else, and were left alone");
    listed(&mut parts, &found.large, "are there and too large to be compared, and were left alone");
    listed(&mut parts, &found.refused, "were refused by the server");
    listed(&mut parts, &found.unverified, "were put there and changed at once");
    if found.damaged > 0 {
        parts.push(format!("{} frames of the export cannot be read", found.damaged));
    }
    parts.join("; ")
}
