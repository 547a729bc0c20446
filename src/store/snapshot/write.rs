//! Writing: a frame is on the disk before its caller hears of it.

use std::{
    fs::{File, OpenOptions},
    io::{self, Seek as _, SeekFrom, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
};

use super::{
    Header, Record, SnapshotError, Snapshots, StepId,
    frame::{self, Head},
    io_at, sync_dir,
};

/// How hard frames are compressed: the fastest is enough, and nobody should wait for it.
const LEVEL: i32 = 1;

/// The snapshot of a run that goes on. It blocks: call it where blocking is allowed.
#[derive(Debug)]
pub struct SnapshotWriter {
    home: Snapshots,
    path: PathBuf,
    file: File,
    mark: [u8; 16],
    /// Frames on the disk.
    frames: u32,
    /// Records in them.
    records: u64,
    /// Bytes on the disk.
    bytes: u64,
    broken: bool,
}

impl SnapshotWriter {
    pub(super) fn begin(home: &Snapshots, header: &Header) -> Result<Self, SnapshotError> {
        let path = home.path(&header.step);
        let mark: [u8; 16] = rand::random();
        let bytes = frame::header(header, &mark);
        home.take(bytes.len() as u64)?;
        let made = || -> io::Result<File> {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            Ok(file)
        };
        let made = made().map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => SnapshotError::There(header.step.clone()),
            _ => io_at(&path)(error),
        });
        match made.and_then(|file| sync_dir(&home.settings.dir).map(|()| file)) {
            Ok(file) => Ok(Self {
                home: home.clone(),
                path,
                file,
                mark,
                frames: 0,
                records: 0,
                bytes: bytes.len() as u64,
                broken: false,
            }),
            Err(error) => {
                home.give_back(bytes.len() as u64);
                if !matches!(error, SnapshotError::There(_)) {
                    // Half a header is of no use to anybody, and would be in the way of the next try.
                    let _ = std::fs::remove_file(&path);
                }
                Err(error)
            }
        }
    }

    pub(super) fn resume(home: &Snapshots, step: &StepId) -> Result<Self, SnapshotError> {
        let mut reader = home.read(step)?;
        let (mut frames, mut records) = (0, 0);
        loop {
            match reader.next() {
                None | Some(Err(SnapshotError::Torn { .. })) => break,
                Some(Ok(frame)) => {
                    frames = frame.number;
                    records += frame.records.len() as u64;
                }
                Some(Err(error)) => return Err(error),
            }
        }
        let (good, mark) = (reader.good(), reader.mark());
        let path = home.path(step);
        let open = || {
            let mut file = OpenOptions::new().write(true).open(&path)?;
            let before = file.metadata()?.len();
            file.set_len(good)?;
            file.sync_all()?;
            file.seek(SeekFrom::Start(good))?;
            Ok((file, before))
        };
        let (file, before) = open().map_err(io_at(&path))?;
        home.give_back(before.saturating_sub(good));
        Ok(Self { home: home.clone(), path, file, mark, frames, records, bytes: good, broken: false })
    }

    /// Appends a frame; returns its number once it is on the disk.
    ///
    /// # Errors
    ///
    /// When the bound or the disk refuses: then nothing was appended, and
    /// what stands in the records must not be given up.
    pub fn append(&mut self, records: &[Record]) -> Result<u32, SnapshotError> {
        if self.broken {
            return Err(SnapshotError::Broken);
        }
        let number = self.frames + 1;
        // Bound to this file and this place in it: a frame moved elsewhere does not fit.
        let mut plain = self.mark.to_vec();
        plain.extend(number.to_le_bytes());
        plain.extend((records.len() as u32).to_le_bytes());
        records.iter().for_each(|record| record.put(&mut plain));
        if plain.len() > frame::LARGEST {
            return Err(SnapshotError::TooLarge { bytes: plain.len() });
        }
        let at = io_at(&self.path);
        let packed = zstd::bulk::compress(&plain, LEVEL).map_err(&at)?;
        let sealed = self.home.key.seal_whole(&packed).map_err(&at)?;
        let mut bytes = Head::of(number, plain.len(), &sealed).bytes().to_vec();
        bytes.extend(sealed);
        self.home.take(bytes.len() as u64)?;
        let written = self.file.write_all(&bytes).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            self.home.give_back(bytes.len() as u64);
            // What is there of it is taken off again; where even that fails, nothing is written behind it.
            let taken_off = self.file.set_len(self.bytes).and_then(|()| self.file.seek(SeekFrom::Start(self.bytes)));
            self.broken = taken_off.is_err();
            return Err(at(error));
        }
        self.frames = number;
        self.records += records.len() as u64;
        self.bytes += bytes.len() as u64;
        Ok(number)
    }

    /// Says that the run came to its end.
    ///
    /// # Errors
    ///
    /// As [`SnapshotWriter::append`]; the frames before are good all the same.
    pub fn close(mut self) -> Result<(), SnapshotError> {
        let records = self.records;
        self.append(&[Record::End { records }]).map(drop)
    }

    /// Records on the disk.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Bytes on the disk.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}
