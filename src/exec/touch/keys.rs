//! Steps that are about keys: what `exec::aside` does, and how it went in words.

use std::{sync::Arc, time::Instant};

use super::{Hands, STOPPED, Touched, refused};
use crate::{
    diagnosis::Explained,
    exec::{
        Exec,
        aside::{self, Ended, Ground, Keep, Listed, Meant, Recovered, Removal, Removed, Restored, Retimed, Retiming},
    },
    policy::TouchPermit,
    runbook::{Change, Kept, Plan, Retime, show_bytes, show_number},
    store::snapshot::{Header, SnapshotError, SnapshotWriter, Snapshots, StepId},
};

/// What a step that was cut short left, and what was done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// Keys, or deadlines, that are written down and can be brought back.
    pub kept: u64,
    /// All of it, in words.
    pub said: String,
    /// What could not be tidied up now.
    pub untidied: Option<Untidied>,
}

/// Keys that are under another name still.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Untidied {
    /// How many at most; 0 where nobody could count them.
    pub keys: u64,
    /// Why they could not be tidied up.
    pub why: Explained,
}

impl Exec {
    /// Carries out a change of keys.
    pub(super) async fn keys(&self, plan: &Plan, seq: usize, change: &Change, hands: &Hands<'_>) -> Touched {
        let ground = self.ground(plan, hands, true);
        let step = StepId { run: plan.run.clone(), seq };
        match change {
            Change::RemoveKeys { select, now_ms, keys, keep } => {
                let (snapshots, writer) = match (hands.store.snapshots(), keep) {
                    (snapshots, Kept::Nothing) => (snapshots.ok(), None),
                    (Err(error), _) => return Touched::Untouched(aside::unkept(&error)),
                    (Ok(snapshots), _) => match begin(&snapshots, plan, &step).await {
                        Ok(writer) => (Some(snapshots), Some(writer)),
                        Err(error) => return Touched::Untouched(aside::unkept(&error)),
                    },
                };
                let keep = match (keep, writer) {
                    (Kept::Aside(ms), Some(writer)) => {
                        let now = jiff::Timestamp::now().as_millisecond();
                        Keep::Aside { writer, until_ms: now.saturating_add(i64::try_from(*ms).unwrap_or(i64::MAX / 4)) }
                    }
                    (_, Some(writer)) => Keep::Snapshot(writer),
                    (_, None) => Keep::Nothing,
                };
                let most = most(plan, *keys);
                let names = Meant::find(hands.meant, select, hands.address);
                let removal = Removal { step: &step, select, now_ms: *now_ms, most, expected: *keys, names, keep };
                remove(&ground, removal, &step, snapshots.as_ref(), hands).await
            }
            Change::RetimeKeys { select, now_ms, keys, to } => {
                let opened = match hands.store.snapshots() {
                    Ok(snapshots) => begin(&snapshots, plan, &step).await,
                    Err(error) => Err(error),
                };
                let writer = match opened {
                    Ok(writer) => writer,
                    Err(error) => return Touched::Untouched(aside::unkept(&error)),
                };
                let retiming = Retiming {
                    select,
                    now_ms: *now_ms,
                    to: *to,
                    most: most(plan, *keys),
                    expected: *keys,
                    names: Meant::find(hands.meant, select, hands.address),
                    keep: writer,
                };
                let found = aside::retime(&ground, retiming, hands.cx).await;
                ended(&found.ended, found.keys + found.unsure > 0, &retimed(&found, *to))
            }
            Change::RestoreKeys { run, seq, .. } => {
                let snapshots = match hands.store.snapshots() {
                    Ok(snapshots) => snapshots,
                    Err(error) => return Touched::Untouched(aside::unkept(&error)),
                };
                let step = StepId { run: run.clone(), seq: *seq };
                // Wherever the keys belong now: a failover or a resharding since does not matter.
                let ground = Ground { only: None, ..ground };
                let found = aside::restore(&ground, &snapshots, &step, hands.cx).await;
                let trouble = found.lost.count + found.unverified.count + found.damaged > 0;
                match (&found.ended, trouble) {
                    (Ended::Done, true) => Touched::Partly {
                        why: refused(
                            "not everything could be brought back",
                            "what is named below",
                            "look at those keys by their handles",
                        ),
                        left: restored(&found),
                    },
                    (how, _) => ended(how, found.keys + found.unsure > 0, &restored(&found)),
                }
            }
            Change::ClearAside { run, seq } => {
                let step = StepId { run: run.clone(), seq: *seq };
                match aside::clear(&ground, &step, hands.cx).await {
                    Ok(count) => Touched::Verified(format!("{} were freed", keys(count))),
                    Err(why) => Touched::Partly { why, left: "what was not freed is aside still".to_owned() },
                }
            }
            _ => {
                unreachable!("what is not about keys has a lane of its own")
            }
        }
    }

    /// After a step about keys was cut short: what is aside and on the disk is
    /// finished, what is aside and not on the disk gets its name back, as far as
    /// the server lets us.
    ///
    /// # Errors
    ///
    /// When the server or the snapshot cannot be asked now. Nothing is lost by that.
    pub async fn settle(
        &self,
        permit: &TouchPermit,
        plan: &Plan,
        seq: usize,
        hands: &Hands<'_>,
    ) -> Result<Settled, Explained> {
        let step = plan.steps.get(seq).filter(|_| permit.covers_way_back(plan));
        let (Some(step), true) = (step, plan.instance == hands.instance.name) else {
            return Err(refused(
                "the permit is for another plan",
                "what would be settled is not its step",
                "report this",
            ));
        };
        let snapshots = hands.store.snapshots().map_err(|error| aside::unkept(&error))?;
        if step.change.is_copy() {
            return self.settle_copies(plan, seq, &step.change, hands).await;
        }
        // Wherever the keys are now: there may have been a failover since.
        let ground = Ground { only: None, ..self.ground(plan, hands, true) };
        let id = StepId { run: plan.run.clone(), seq };
        match &step.change {
            Change::RemoveKeys { .. } => {
                let found = aside::recover(&ground, &snapshots, &id, hands.cx).await?;
                let said =
                    format!("{} are written down and can be brought back; {}", keys(found.written), recovered(&found));
                let untidied = found.why.map(|why| Untidied { keys: found.left, why });
                Ok(Settled { kept: found.written, said, untidied })
            }
            Change::RetimeKeys { .. } => {
                let written = aside::count(&snapshots, &id).await.map_err(|error| aside::unkept(&error))?;
                let said =
                    format!("the deadlines of {} are written down; some of these may not have changed", keys(written));
                Ok(Settled { kept: written, said, untidied: None })
            }
            _ => {
                let said = "it can be asked for again: what was done is left as it is".to_owned();
                Ok(Settled { kept: 0, said, untidied: None })
            }
        }
    }

    pub(super) fn ground(&self, plan: &Plan, hands: &Hands<'_>, touches: bool) -> Ground {
        Ground {
            site: self.0.site(&plan.service, hands.instance),
            instance: Arc::new(hands.instance.clone()),
            touches,
            agreed: touches,
            only: Some(hands.address.clone()),
        }
    }
}

/// Removes keys, and tidies up after a failure where the server can be reached.
async fn remove(
    ground: &Ground,
    removal: Removal<'_>,
    step: &StepId,
    snapshots: Option<&Snapshots>,
    hands: &Hands<'_>,
) -> Touched {
    let found = aside::remove(ground, removal, hands.cx).await;
    let mut said = removed(&found);
    let done = found.keys + found.aside.count + found.stranded.count;
    if found.open == 0 {
        let anything = done + found.unsure > 0;
        counted(&mut said, found.unsure, "may be gone too: the server did not say whether it removed them");
        return ended(&found.ended, anything, &said.join("; "));
    }
    let cx = super::touching(Instant::now() + hands.cx.call * 4, hands.cx.call);
    // A slot on the move took what is aside along with it.
    let ground = Ground { only: ground.only.clone().filter(|_| found.ended != Ended::Done), ..ground.clone() };
    let tidied = match snapshots {
        Some(snapshots) => aside::recover(&ground, snapshots, step, &cx).await,
        None => Err(refused(
            "what is written down of the run cannot be read now",
            "the bot's directory of snapshots cannot be used",
            "see `/redis version`",
        )),
    };
    let (anything, untidied) = match tidied {
        // It could not be looked at: what was counted on the way is all there is.
        Ok(aside::Recovered { why: Some(why), left: 0, .. }) => (true, Some(Untidied { keys: found.open, why })),
        Ok(tidied) => {
            // What was sent to be removed, is not aside, and does not have its name again.
            let gone = found.unsure.saturating_sub(tidied.finished + tidied.put_back_written + tidied.left);
            counted(&mut said, gone, "are gone too: the server's answer was lost");
            said.push(recovered(&tidied));
            let untidied =
                tidied.why.map(|why| Untidied { keys: if tidied.left > 0 { tidied.left } else { found.open }, why });
            (done + gone + tidied.finished + tidied.stranded.count > 0, untidied)
        }
        Err(why) => (true, Some(Untidied { keys: found.open, why })),
    };
    match untidied {
        Some(Untidied { keys, why: untidied }) => {
            said.push(hidden(keys));
            let why = match found.ended {
                Ended::Failed(why) => why,
                Ended::Done | Ended::Stopped(_) => untidied.clone(),
            };
            Touched::Aside { why, left: said.join("; "), keys, untidied }
        }
        None => match (&found.ended, anything) {
            (Ended::Failed(why), false) => {
                Touched::Untouched(Explained { cause: format!("{}; {}", why.cause, said.join("; ")), ..why.clone() })
            }
            (how, anything) => ended(how, anything, &said.join("; ")),
        },
    }
}

/// What it means for applications that keys are aside.
pub fn hidden(count: u64) -> String {
    match count {
        0 => "keys may be under another name on the server, where applications do not see them".to_owned(),
        1 => "up to 1 key is under another name on the server, where applications do not see it".to_owned(),
        count => {
            format!("up to {} are under another name on the server, where applications do not see them", keys(count))
        }
    }
}

/// The most keys a step may touch: its share of what was shown, and the tolerance.
pub(super) fn most(plan: &Plan, keys: u64) -> u64 {
    let more = (u128::from(keys) * u128::from(plan.reach.tolerance_percent)).div_ceil(100).max(10);
    keys.saturating_add(u64::try_from(more).unwrap_or(u64::MAX))
}

pub(super) async fn begin(snapshots: &Snapshots, plan: &Plan, step: &StepId) -> Result<SnapshotWriter, SnapshotError> {
    let header = Header {
        step: step.clone(),
        service: plan.service.clone(),
        instance: plan.instance.clone(),
        created_ms: jiff::Timestamp::now().as_millisecond(),
    };
    let snapshots = snapshots.clone();
    tokio::task::spawn_blocking(move || snapshots.begin(&header)).await.unwrap_or(Err(SnapshotError::Broken))
}

pub(super) fn ended(how: &Ended, anything: bool, said: &str) -> Touched {
    match how {
        Ended::Done => Touched::Verified(said.to_owned()),
        Ended::Stopped(why) if anything => Touched::Partly {
            why: stopped(
                &format!("it went no further: {why}"),
                "it stopped in good order, with nothing half done",
                "undo it, or ask for the rest",
            ),
            left: said.to_owned(),
        },
        Ended::Stopped(why) => Touched::Untouched(stopped(why, "it stopped before anything was done", "ask again")),
        Ended::Failed(why) if anything => Touched::Partly { why: why.clone(), left: said.to_owned() },
        Ended::Failed(why) => Touched::Untouched(why.clone()),
    }
}

fn stopped(what: &str, cause: &str, next: &str) -> Explained {
    Explained { code: STOPPED.into(), ..refused(what, cause, next) }
}

/// What is said of keys that were sent to the server, when its answer did not come whole.
pub(super) const UNSURE: &str = "may be among these: no answer about them can be relied on";

pub(super) fn keys(count: u64) -> String {
    if count == 1 { "1 key".to_owned() } else { format!("{} keys", show_number(count)) }
}

/// A count of keys and what is said of them, as of many; of one it is said of one.
pub(super) fn said(count: u64, what: &str) -> String {
    let one = [("are ", "is "), ("were ", "was "), ("have ", "has "), ("hold ", "holds ")];
    let found = one.iter().find_map(|(many, one)| Some((*one, what.strip_prefix(many)?))).filter(|_| count == 1);
    match found {
        Some((one, rest)) => format!("{} {one}{rest}", keys(count)),
        None => format!("{} {what}", keys(count)),
    }
}

/// A count, what it counts, and some of them.
pub(super) fn listed(parts: &mut Vec<String>, list: &Listed, what: &str) {
    if list.count > 0 {
        let some: Vec<&str> = list.handles.iter().take(5).map(String::as_str).collect();
        let more = if list.count > some.len() as u64 { " …" } else { "" };
        parts.push(format!("{}: {}{more}", said(list.count, what), some.join(", ")));
    }
}

pub(super) fn counted(parts: &mut Vec<String>, count: u64, what: &str) {
    if count > 0 {
        parts.push(said(count, what));
    }
}

fn removed(found: &Removed) -> Vec<String> {
    let mut parts = vec![format!("{} removed ({})", keys(found.keys), show_bytes(found.bytes))];
    if found.aside.count > 0 {
        parts.push(format!(
            "{} ({}) are kept aside on the server",
            keys(found.aside.count),
            show_bytes(found.aside_bytes)
        ));
    }
    counted(&mut parts, found.changed, "had changed and were left alone");
    counted(&mut parts, found.gone, "had gone when their turn came (a walk may meet a name twice)");
    counted(&mut parts, found.elsewhere, "were on the move to another server and left alone");
    counted(&mut parts, found.put_back, "could not be kept and have their names back");
    listed(&mut parts, &found.stranded, "are aside still, because their names were taken anew");
    if let Some(doubts) = found.doubts.words() {
        parts.push(format!("not meant: {doubts}"));
    }
    parts
}

fn retimed(found: &Retimed, to: Retime) -> String {
    let now = if to == Retime::Persist { "have no deadline any more" } else { "have the new deadline" };
    let mut parts = vec![said(found.keys, now)];
    counted(&mut parts, found.unsure, UNSURE);
    counted(&mut parts, found.unchanged, "were left as they are");
    counted(&mut parts, found.gone, "had gone when their turn came (a walk may meet a name twice)");
    counted(&mut parts, found.elsewhere, "were on the move to another server and left alone");
    listed(&mut parts, &found.unverified, "have yet another deadline when asked again");
    if let Some(doubts) = found.doubts.words() {
        parts.push(format!("not meant: {doubts}"));
    }
    parts.join("; ")
}

fn restored(found: &Restored) -> String {
    let mut parts =
        vec![if found.keys == 1 { "1 key is as it was".to_owned() } else { said(found.keys, "are as they were") }];
    counted(&mut parts, found.unsure, UNSURE);
    counted(&mut parts, found.already, "were so already");
    listed(&mut parts, &found.expired, "would have expired since, and are not revived");
    listed(&mut parts, &found.different, "hold something newer, and were left alone");
    listed(&mut parts, &found.lost, "cannot be brought back");
    listed(&mut parts, &found.unverified, "came back and changed at once");
    if found.damaged > 0 {
        parts.push(format!("{} frames of the snapshot cannot be read", found.damaged));
    }
    parts.join("; ")
}

fn recovered(found: &Recovered) -> String {
    let mut parts = Vec::new();
    counted(&mut parts, found.put_back, "were aside and have their names back");
    counted(&mut parts, found.finished, "were aside and written down, and are removed now");
    counted(&mut parts, found.kept, "are kept aside on the server");
    listed(&mut parts, &found.stranded, "are aside still, because their names were taken anew");
    match (parts.is_empty(), &found.why) {
        (false, _) => parts.join("; "),
        (true, None) => "no key was left aside".to_owned(),
        (true, Some(_)) => "what is aside could not be tidied up".to_owned(),
    }
}
