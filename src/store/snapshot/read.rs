//! Reading: frame by frame, never more than one in memory.

use std::{
    fs::File,
    io::{self, BufReader, Read as _, Seek as _, SeekFrom},
    path::PathBuf,
    sync::Arc,
};

use super::{
    Header, Record, SnapshotError,
    frame::{self, BEFORE, HEAD, Head},
    io_at,
};
use crate::store::identity::Identity;

/// What was appended in one go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its number, from 1.
    pub number: u32,
    /// What it holds.
    pub records: Vec<Record>,
}

/// Reads a snapshot from its first frame to its last. It blocks: use it where blocking is allowed.
///
/// A damaged frame is an error among the frames, and those after it are read
/// all the same, as far as they can be found.
#[derive(Debug)]
pub struct SnapshotReader {
    path: PathBuf,
    key: Arc<Identity>,
    file: BufReader<File>,
    header: Header,
    mark: [u8; 16],
    /// The number the next frame must have.
    next: u32,
    /// Where the last good frame ends.
    good: u64,
    length: u64,
    at: u64,
    ended: bool,
    closed: bool,
}

impl SnapshotReader {
    pub(super) fn open(path: PathBuf, key: Arc<Identity>) -> Result<Self, SnapshotError> {
        let at = io_at(&path);
        let file = File::open(&path).map_err(&at)?;
        let length = file.metadata().map_err(&at)?.len();
        let mut file = BufReader::with_capacity(1 << 18, file);
        let not = |why| SnapshotError::NotASnapshot { path: path.clone(), why };
        let cut = |error: io::Error| match error.kind() {
            io::ErrorKind::UnexpectedEof => not("its header is cut"),
            _ => at(error),
        };
        let mut before = [0; BEFORE];
        file.read_exact(&mut before).map_err(cut)?;
        let mut bytes = before.to_vec();
        bytes.resize(BEFORE + frame::length(&before).map_err(not)?, 0);
        file.read_exact(&mut bytes[BEFORE..]).map_err(cut)?;
        let (header, mark) = frame::read_header(&bytes).map_err(not)?;
        let good = bytes.len() as u64;
        Ok(Self { path, key, file, header, mark, next: 1, good, length, at: good, ended: false, closed: false })
    }

    /// What it says of itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// After the last frame: whether the run came to its end.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Where the good frames end.
    pub(super) fn good(&self) -> u64 {
        self.good
    }

    pub(super) fn mark(&self) -> [u8; 16] {
        self.mark
    }

    /// Where each frame begins, found by their heads alone: for reading from the last to the first.
    ///
    /// # Errors
    ///
    /// When the disk refuses. An unfinished or damaged head ends the list.
    pub fn frames(&mut self) -> Result<Vec<u64>, SnapshotError> {
        let error = io_at(&self.path);
        let (mut found, mut at) = (Vec::new(), self.good);
        let start = at;
        while at + HEAD as u64 <= self.length {
            self.file.seek(SeekFrom::Start(at)).map_err(&error)?;
            let mut bytes = [0; HEAD];
            self.file.read_exact(&mut bytes).map_err(&error)?;
            let Some(head) = Head::read(&bytes) else { break };
            let end = at + HEAD as u64 + u64::from(head.sealed);
            if end > self.length {
                break;
            }
            found.push(at);
            at = end;
        }
        self.file.seek(SeekFrom::Start(start)).map_err(&error)?;
        Ok(found)
    }

    /// Reads the frame that begins there, one of [`SnapshotReader::frames`]; `number` is its place among them, from 1.
    ///
    /// # Errors
    ///
    /// When it is damaged.
    pub fn frame_at(&mut self, at: u64, number: u32) -> Result<Frame, SnapshotError> {
        self.file.seek(SeekFrom::Start(at)).map_err(io_at(&self.path))?;
        (self.at, self.next, self.ended) = (at, number, false);
        self.next().unwrap_or(Err(SnapshotError::Torn { frame: number }))
    }

    fn torn(&mut self) -> SnapshotError {
        self.ended = true;
        SnapshotError::Torn { frame: self.next }
    }

    fn read(&mut self) -> Result<Option<Frame>, SnapshotError> {
        let number = self.next;
        let left = self.length.saturating_sub(self.at);
        if left == 0 {
            self.ended = true;
            return Ok(None);
        }
        if left < HEAD as u64 {
            return Err(self.torn());
        }
        let error = io_at(&self.path);
        let mut bytes = [0; HEAD];
        self.file.read_exact(&mut bytes).map_err(&error)?;
        let Some(head) = Head::read(&bytes) else {
            // Where the next frame begins is not known.
            self.ended = true;
            return Err(SnapshotError::Damaged { frame: number, why: "its head is not what was written" });
        };
        if left - (HEAD as u64) < u64::from(head.sealed) {
            return Err(self.torn());
        }
        let mut sealed = vec![0; head.sealed as usize];
        self.file.read_exact(&mut sealed).map_err(&error)?;
        self.at += HEAD as u64 + u64::from(head.sealed);
        self.next += 1;
        let records =
            self.contents(&head, number, &sealed).map_err(|why| SnapshotError::Damaged { frame: number, why })?;
        self.good = self.at;
        self.closed = matches!(records.last(), Some(Record::End { .. }));
        Ok(Some(Frame { number, records }))
    }

    fn contents(&self, head: &Head, number: u32, sealed: &[u8]) -> Result<Vec<Record>, &'static str> {
        if head.number != number {
            return Err("it stands in the place of another");
        }
        if !head.fits(sealed) {
            return Err("its checksum does not fit");
        }
        let packed = self.key.unseal_whole(sealed).ok_or("the key does not open it")?;
        let plain = zstd::bulk::decompress(&packed, head.plain as usize).map_err(|_| "it cannot be unpacked")?;
        let mut rest = plain.strip_prefix(&self.mark).ok_or("it belongs to another snapshot")?;
        let mut four = || {
            let (taken, left) = rest.split_first_chunk::<4>().ok_or("it is too short")?;
            rest = left;
            Ok::<u32, &'static str>(u32::from_le_bytes(*taken))
        };
        if four()? != number {
            return Err("it stands in the place of another");
        }
        let count = four()?;
        let mut records = Vec::with_capacity((count as usize).min(rest.len()));
        for _ in 0..count {
            records.push(Record::take(&mut rest).ok_or("a record in it cannot be read")?);
        }
        if rest.is_empty() { Ok(records) } else { Err("bytes follow its last record") }
    }
}

impl Iterator for SnapshotReader {
    type Item = Result<Frame, SnapshotError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let read = self.read();
        if matches!(read, Err(SnapshotError::Io { .. })) {
            self.ended = true;
        }
        read.transpose()
    }
}
