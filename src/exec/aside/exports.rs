//! Exports as files: which there are, what is in them, whether they are whole. No server is asked.

use tokio_util::sync::CancellationToken;

use super::{refused, unkept};
use crate::{
    diagnosis::Explained,
    keyspace::rdb::dump::{fingerprint, is_whole},
    model::RunId,
    store::snapshot::{Contents, Found, Record, Snapshots, StepId},
};

/// One file of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportFile {
    /// Whose it is, and how large.
    pub found: Found,
    /// What is in it.
    pub contents: Contents,
}

/// Every file of every export that was written to its end, or of one run alone; the oldest first. It blocks.
///
/// # Errors
/// When the directory cannot be read.
pub fn exports(snapshots: &Snapshots, run: Option<&RunId>) -> Result<Vec<ExportFile>, Explained> {
    let mut files = Vec::new();
    for found in snapshots.list().map_err(|error| unkept(&error))? {
        if run.is_some_and(|run| *run != found.header.step.run) {
            continue;
        }
        // What cannot be read is no export that anybody could use; reading it whole says why.
        if let Ok(Some(contents)) = snapshots.contents(&found.header.step) {
            files.push(ExportFile { found, contents });
        }
    }
    files.sort_by_key(|file| file.found.header.step.seq);
    Ok(files)
}

/// Reads an export to its end: every frame, every value by the checksum its server gave it. It blocks.
///
/// # Errors
/// What is wrong with it, and where.
pub(in crate::exec) fn read_whole(
    snapshots: &Snapshots,
    step: &StepId,
    stop: &CancellationToken,
) -> Result<Contents, Explained> {
    let mut reader = snapshots.read(step).map_err(|error| unkept(&error))?;
    let (mut keys, mut contents) = (0_u64, None);
    let wrong = |what: &str| {
        refused(
            &format!("the export is not what was written: {what}"),
            "its disk returns something else, or it was cut",
            "look at that disk, and export again",
        )
    };
    for frame in reader.by_ref() {
        if stop.is_cancelled() {
            return Err(refused("reading it again was stopped", "somebody asked for it", "export again"));
        }
        for record in frame.map_err(|error| wrong(&error.to_string()))?.records {
            match record {
                Record::Key { dump, fingerprint: said, .. } if is_whole(&dump) && fingerprint(&dump) == said => {
                    keys += 1;
                }
                Record::Key { .. } => return Err(wrong("a value does not fit its checksum")),
                Record::Contents(found) => contents = Some(found),
                _ => {}
            }
        }
    }
    match contents.filter(|_| reader.is_closed()) {
        None => Err(wrong("it does not come to its end")),
        Some(contents) if contents.keys != keys => {
            Err(wrong(&format!("it holds {keys} keys and says {}", contents.keys)))
        }
        Some(contents) => Ok(contents),
    }
}
