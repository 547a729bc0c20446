//! Feeding the reader of snapshots from a file: big blocks, one thread, no more
//! memory than a block.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use tokio_util::sync::CancellationToken;

use crate::keyspace::rdb::{Facts, Key, RdbError, Reader, Reading};

/// Bytes read at a time: enough to make the calls cheap, little enough to stay in the cache.
const BLOCK: usize = 256 * 1024;

/// Why a file could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum RdbFileError {
    /// The operating system said no.
    #[error("cannot read the file")]
    Io(#[from] io::Error),
    /// The file is not a whole snapshot; what was read before is told beside it.
    #[error("the snapshot is damaged")]
    Damaged {
        /// What is wrong, and where.
        #[source]
        error: RdbError,
        /// What was read up to there.
        facts: Box<Facts>,
    },
    /// Somebody asked it to stop.
    #[error("stopped")]
    Stopped,
}

/// Reads the snapshot at `path` and hands each key to `each`; blocking, for a
/// thread of its own. `reading.size` is filled in from the file.
///
/// # Errors
/// See [`RdbFileError`].
pub fn read_file(
    path: &Path,
    mut reading: Reading,
    stop: &CancellationToken,
    mut each: impl FnMut(&Key<'_>),
) -> Result<Facts, RdbFileError> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::Error::from(io::ErrorKind::IsADirectory).into());
    }
    // A pipe has no size to hold a claim against.
    reading.size = metadata.is_file().then_some(metadata.len());
    read(file, reading, stop, &mut each)
}

/// Reads the snapshot that comes out of `from`, as [`read_file`] does.
///
/// # Errors
/// See [`RdbFileError`].
pub fn read(
    mut from: impl Read,
    reading: Reading,
    stop: &CancellationToken,
    mut each: impl FnMut(&Key<'_>),
) -> Result<Facts, RdbFileError> {
    let mut reader = Reader::new(reading);
    let mut block = vec![0; BLOCK];
    loop {
        if stop.is_cancelled() {
            return Err(RdbFileError::Stopped);
        }
        let count = match from.read(&mut block) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        if let Err(error) = reader.feed(&block[..count], &mut each) {
            return Err(RdbFileError::Damaged { error, facts: Box::new(reader.facts()) });
        }
    }
    let facts = reader.facts();
    reader.finish().map_err(|error| RdbFileError::Damaged { error, facts: Box::new(facts) })
}
