//! One key changed only if it still holds what is believed of it: what somebody writes meanwhile is never lost.

use super::{
    choose::fatal,
    lane::Lane,
    remove::{clock, read_deadline},
    retime::is_same,
};
use crate::{
    exec::fault::Fault,
    keyspace::{
        rdb::dump::{Fingerprint, fingerprint},
        wire::{Batch, Reply},
    },
    store::snapshot::Deadline,
};

/// What is to be there.
pub(super) enum To<'a> {
    /// Nothing.
    Nothing,
    /// This, until then.
    Value { dump: &'a [u8], deadline: Deadline },
}

/// How it went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Swapped {
    /// It is there now, or gone.
    Done,
    /// The key held something else, this; or was gone, `None`. It was left alone.
    Otherwise(Option<Fingerprint>),
    /// Somebody wrote it at that very moment. It was left alone.
    Written,
    /// The server refused, for this reason. It was left alone.
    Refused(String),
}

/// Changes a key that holds `is` until `deadline`.
pub(super) async fn swap(
    lane: &mut Lane,
    key: &[u8],
    is: Fingerprint,
    deadline: Deadline,
    to: To<'_>,
) -> Result<Swapped, Fault> {
    let absolute = lane.server.absolute;
    let mut batch = Batch::default();
    if !absolute {
        batch.push(&[b"TIME"]);
    }
    batch.push(&[b"WATCH", key]);
    batch.push(&[if absolute { b"PEXPIRETIME".as_slice() } else { b"PTTL" }, key]);
    batch.push(&[b"DUMP", key]);
    let found = {
        let replies = lane.ask(&batch, 1).await?;
        fatal(replies.iter())?;
        let (clock, replies) = clock(&replies, absolute);
        let [watched, until, dump] = replies else { return Err(crate::exec::line::garbled()) };
        match (watched.error().or_else(|| dump.error()), dump.text()) {
            (Some(line), _) => Swapped::Refused(line),
            (None, None) => Swapped::Otherwise(None),
            (None, Some(dump)) => {
                let found = fingerprint(dump);
                match found == is && is_same(read_deadline(until, clock), deadline) {
                    true => Swapped::Done,
                    false => Swapped::Otherwise(Some(found)),
                }
            }
        }
    };
    let mut batch = Batch::default();
    if found != Swapped::Done {
        batch.push(&[b"UNWATCH"]);
        lane.ask(&batch, 0).await?;
        return Ok(found);
    }
    // By itself: where it is refused, what follows must not be carried out one by one.
    batch.push(&[b"MULTI"]);
    {
        let replies = lane.ask(&batch, 0).await?;
        fatal(replies.iter())?;
        if let Some(line) = replies[0].error() {
            return Err(Fault::Server(line));
        }
    }
    let mut batch = Batch::default();
    match to {
        To::Nothing => batch.push(&[b"UNLINK", key]),
        To::Value { dump, deadline } => {
            let at = match deadline {
                Deadline::At(ms) => ms.to_string(),
                Deadline::Never => "0".to_owned(),
            };
            batch.push(&[b"RESTORE", key, at.as_bytes(), dump, b"REPLACE", b"ABSTTL"]);
        }
    }
    batch.push(&[b"EXEC"]);
    let replies = lane.ask(&batch, 1).await?;
    // Refused while it was queued, the whole of it is; refused when it was carried out, its answer says so.
    fatal(replies.iter())?;
    Ok(match replies.last() {
        Some(Reply::Nil) => Swapped::Written,
        Some(Reply::Array(done)) => {
            fatal(done.iter())?;
            done.iter().find_map(Reply::error).map_or(Swapped::Done, Swapped::Refused)
        }
        Some(other) => Swapped::Refused(
            replies.iter().find_map(Reply::error).unwrap_or_else(|| format!("ERR unexpected answer {other:?}")),
        ),
        None => return Err(crate::exec::line::garbled()),
    })
}
