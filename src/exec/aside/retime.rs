//! Other deadlines for keys: what they had is written down first.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use super::{
    Doubts, Ended, Ground, Listed, Retiming, append,
    choose::{Chooser, fatal},
    everywhere::{Field, Hand, Outcome, everywhere},
    lane::{Lane, Next, SharedWalk, Told},
    remove::{FRAME_FOR, FRAME_KEYS, clock, read_deadline},
    unkept,
};
use crate::{
    exec::{Looking, fault::Fault},
    keyspace::wire::{Batch, Reply},
    runbook::Retime,
    store::snapshot::{Deadline, Record, SnapshotError, SnapshotWriter},
};

/// Deadlines are the same when they differ by no more than this.
pub(super) const SAME_MS: i64 = 1_000;

/// What a change of deadlines came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::exec) struct Retimed {
    /// Keys that have the new deadline, and could be given the old one again.
    pub keys: u64,
    /// Keys that had such a deadline already, or were not to get this one.
    pub unchanged: u64,
    /// Keys that were gone before they were reached.
    pub gone: u64,
    /// Keys whose slot is on the move, which were left alone.
    pub elsewhere: u64,
    /// Keys of which the server's answer did not come: they may have the new deadline.
    pub unsure: u64,
    /// Keys that have yet another deadline when asked again.
    pub unverified: Listed,
    /// Keys that were not meant because it could not be told.
    pub doubts: Doubts,
    /// How it ended.
    pub ended: Ended,
}

impl Outcome for Retimed {
    fn nothing(ended: Ended) -> Self {
        Self {
            keys: 0,
            unchanged: 0,
            gone: 0,
            elsewhere: 0,
            unsure: 0,
            unverified: Listed::default(),
            doubts: Doubts::default(),
            ended,
        }
    }

    fn add(&mut self, other: &mut Self) {
        self.keys += other.keys;
        self.unchanged += other.unchanged;
        self.gone += other.gone;
        self.elsewhere += other.elsewhere;
        self.unsure += other.unsure;
        self.unverified.merge(std::mem::take(&mut other.unverified));
        self.doubts.merge(std::mem::take(&mut other.doubts));
    }

    fn ended(&mut self) -> &mut Ended {
        &mut self.ended
    }
}

struct Work<'a> {
    ground: &'a Ground,
    chooser: Chooser,
    writer: Arc<Mutex<SnapshotWriter>>,
    to: Retime,
    most: u64,
    taken: AtomicU64,
    told: Told,
}

pub(in crate::exec) async fn retime(ground: &Ground, retiming: Retiming<'_>, cx: &Looking) -> Retimed {
    let chooser = match Chooser::new(retiming.select, retiming.now_ms, false) {
        Ok(chooser) => chooser,
        Err(error) => return Retimed::nothing(Ended::Failed(error)),
    };
    let work = Work {
        ground,
        chooser,
        writer: Arc::new(Mutex::new(retiming.keep)),
        to: retiming.to,
        most: retiming.most,
        taken: AtomicU64::new(0),
        told: Told::new("setting deadlines", Some(retiming.expected), cx),
    };
    let (select, chooser, names) = (retiming.select, &work.chooser, retiming.names);
    let field = Field { ground, select, chooser, names, command: "PEXPIREAT" };
    let whole = everywhere(&field, &work, cx).await;
    if whole.ended == Ended::Done
        && let Ok(writer) = Arc::try_unwrap(work.writer)
    {
        let writer = writer.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        // Without its end mark the snapshot is as good; only that the run ended is not in it.
        let _ = tokio::task::spawn_blocking(move || writer.close()).await;
    }
    whole
}

/// A key, the deadline it has, and the one it is to get.
pub(super) struct Turn {
    pub(super) key: Vec<u8>,
    pub(super) old: Deadline,
    pub(super) new: Deadline,
}

/// What a key with this deadline is to get; `None`: it is left alone.
fn decide(to: Retime, old: Deadline, now_ms: i64) -> Option<Deadline> {
    let at = |ms: u64| now_ms.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX / 4));
    // As `PTTL` would say it.
    let left_ms = match old {
        Deadline::Never => -1,
        Deadline::At(old) => old.saturating_sub(now_ms).max(0),
    };
    to.changes(left_ms).then(|| match to {
        Retime::Persist => Deadline::Never,
        Retime::Set(ms) | Retime::Extend(ms) | Retime::Shorten(ms) => Deadline::At(at(ms)),
    })
}

impl Hand for Work<'_> {
    type Found = Retimed;

    async fn work(&self, mut lane: Lane, walk: &SharedWalk) -> (Retimed, Result<(), Fault>) {
        let mut found = Retimed::nothing(Ended::Done);
        // One moment for all keys, as their server's own clock has it.
        let now_ms = lane.server.now_ms();
        let result = async {
            let mut open: Vec<Turn> = Vec::new();
            let mut since = Instant::now();
            loop {
                let names = match walk.next(&mut lane).await? {
                    Next::Names(names) => names,
                    Next::Stop(why) => {
                        found.ended = Ended::Stopped(why);
                        break;
                    }
                    Next::Over => break,
                };
                let chosen = self.chooser.choose(&mut lane, names, &mut found.doubts).await?;
                let names: Vec<Vec<u8>> = chosen.into_iter().map(|chosen| chosen.name).collect();
                for (key, old) in deadlines(&mut lane, names, &mut found.gone).await? {
                    match decide(self.to, old, now_ms) {
                        None => found.unchanged += 1,
                        Some(_) if self.taken.fetch_add(1, Ordering::Relaxed) >= self.most => {
                            let why = format!("it would have reached more than the {} keys that were shown", self.most);
                            found.ended = Ended::Stopped(why);
                            break;
                        }
                        Some(new) => open.push(Turn { key, old, new }),
                    }
                }
                if open.is_empty() {
                    since = Instant::now();
                } else if open.len() >= FRAME_KEYS || since.elapsed() >= FRAME_FOR {
                    flush(self, &mut lane, &mut open, &mut found).await?;
                }
                if found.ended != Ended::Done {
                    break;
                }
            }
            if found.ended != Ended::Done {
                walk.end();
            }
            flush(self, &mut lane, &mut open, &mut found).await
        }
        .await;
        if result.is_err() {
            walk.end();
        }
        (found, result)
    }
}

/// The deadlines keys have; those that are gone are counted.
pub(super) async fn deadlines(
    lane: &mut Lane,
    names: Vec<Vec<u8>>,
    gone: &mut u64,
) -> Result<Vec<(Vec<u8>, Deadline)>, Fault> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let absolute = lane.server.absolute;
    let mut batch = Batch::default();
    if !absolute {
        batch.push(&[b"TIME"]);
    }
    names.iter().for_each(|name| batch.push(&[if absolute { b"PEXPIRETIME".as_slice() } else { b"PTTL" }, name]));
    let replies = lane.ask(&batch, names.len()).await?;
    fatal(replies.iter())?;
    let (clock, replies) = clock(&replies, absolute);
    let mut found = Vec::with_capacity(names.len());
    for (name, reply) in names.into_iter().zip(replies) {
        match reply.integer() {
            Some(-2) | None => *gone += 1,
            Some(_) => found.push((name, read_deadline(reply, clock))),
        }
    }
    Ok(found)
}

/// Writes down what deadlines keys have, and only then gives them others.
async fn flush(work: &Work<'_>, lane: &mut Lane, open: &mut Vec<Turn>, found: &mut Retimed) -> Result<(), Fault> {
    let turns = std::mem::take(open);
    if turns.is_empty() {
        return Ok(());
    }
    let db = if work.ground.site.is_cluster() { 0 } else { work.ground.instance.database };
    let records =
        turns.iter().map(|turn| Record::Retimed { db, key: turn.key.clone(), old: turn.old, new: turn.new }).collect();
    if let Err(error) = append(&work.writer, records).await {
        found.ended = match error {
            SnapshotError::Full { .. } => Ended::Stopped(error.to_string()),
            error => Ended::Failed(unkept(&error)),
        };
        return Ok(());
    }
    let limit = match work.to {
        Retime::Extend(_) => Some(b"GT".as_slice()),
        Retime::Shorten(_) => Some(b"LT".as_slice()),
        Retime::Set(_) | Retime::Persist => None,
    };
    for turns in turns.chunks(lane.keys().max(8)) {
        found.unsure = turns.len() as u64;
        let counts = turn(lane, turns, limit).await?;
        found.unsure = 0;
        for (turn, how) in turns.iter().zip(counts) {
            match how {
                Turned::Done => found.keys += 1,
                Turned::Refused => found.unchanged += 1,
                Turned::Gone => found.gone += 1,
                Turned::Elsewhere => found.elsewhere += 1,
                Turned::Otherwise => {
                    found.keys += 1;
                    found.unverified.add(&turn.key);
                }
            }
        }
        work.told.add(turns.len() as u64);
    }
    Ok(())
}

/// How it went with one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turned {
    Done,
    Refused,
    Gone,
    Elsewhere,
    Otherwise,
}

/// Gives keys their new deadlines, and asks for them again.
pub(super) async fn turn(lane: &mut Lane, turns: &[Turn], limit: Option<&[u8]>) -> Result<Vec<Turned>, Fault> {
    let absolute = lane.server.absolute;
    let mut batch = Batch::default();
    for turn in turns {
        match turn.new {
            Deadline::Never => batch.push(&[b"PERSIST", &turn.key]),
            Deadline::At(ms) => {
                let ms = ms.to_string();
                let mut words: Vec<&[u8]> = vec![b"PEXPIREAT", &turn.key, ms.as_bytes()];
                // Known since 7.0, as PEXPIRETIME is; older servers go by what was read a moment ago.
                words.extend(limit.filter(|_| absolute));
                batch.push(&words);
            }
        }
    }
    if !absolute {
        batch.push(&[b"TIME"]);
    }
    for turn in turns {
        batch.push(&[if absolute { b"PEXPIRETIME".as_slice() } else { b"PTTL" }, &turn.key]);
    }
    let replies = lane.ask(&batch, turns.len()).await?;
    fatal(replies.iter())?;
    let (done, asked) = replies.split_at(turns.len());
    let (clock, asked) = clock(asked, absolute);
    let how = |((turn, done), asked): ((&Turn, &Reply<'_>), &Reply<'_>)| {
        if done.error().is_some() {
            return Turned::Elsewhere;
        }
        match asked.integer() {
            Some(-2) | None => Turned::Gone,
            Some(_) if is_same(read_deadline(asked, clock), turn.new) => Turned::Done,
            Some(_) if done.integer() == Some(0) => Turned::Refused,
            Some(_) => Turned::Otherwise,
        }
    };
    Ok(turns.iter().zip(done).zip(asked).map(how).collect())
}

/// Whether two deadlines are the same, as far as clocks tell.
pub(super) fn is_same(one: Deadline, other: Deadline) -> bool {
    match (one, other) {
        (Deadline::Never, Deadline::Never) => true,
        (Deadline::At(one), Deadline::At(other)) => (one - other).abs() <= SAME_MS,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extending_never_shortens_and_shortening_never_extends() {
        const NOW: i64 = 1_000_000;
        let at = |ms| Deadline::At(NOW + ms);
        for (to, old, new) in [
            (Retime::Set(500), Deadline::Never, Some(at(500))),
            (Retime::Set(500), at(900), Some(at(500))),
            (Retime::Extend(500), at(100), Some(at(500))),
            (Retime::Extend(500), at(900), None),
            (Retime::Extend(500), Deadline::Never, None),
            (Retime::Shorten(500), at(900), Some(at(500))),
            (Retime::Shorten(500), at(100), None),
            (Retime::Shorten(500), Deadline::Never, Some(at(500))),
            (Retime::Persist, at(5), Some(Deadline::Never)),
            (Retime::Persist, Deadline::Never, None),
        ] {
            assert_eq!(decide(to, old, NOW), new, "{to:?} {old:?}");
        }
    }
}
