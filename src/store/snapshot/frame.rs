//! The bytes of a file: its header, and the head of each frame.

use crc_fast::{CrcAlgorithm, checksum};

use super::{Header, StepId};
use crate::model::RunId;

/// The first bytes of a snapshot.
pub(super) const MAGIC: &[u8; 8] = b"RDSQSNAP";
/// The version of this form.
pub(super) const VERSION: u16 = 1;
/// The first bytes of a frame.
const FRAME: &[u8; 4] = b"FRAM";
/// Bytes of a frame's head.
pub(super) const HEAD: usize = 36;
/// The most a frame holds before it is compressed.
pub(super) const LARGEST: usize = 64 << 20;

/// The head of a frame. What it says is checked by a sum of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// Its number, from 1.
    pub(super) number: u32,
    /// Bytes after opening and unpacking.
    pub(super) plain: u32,
    /// Bytes that follow.
    pub(super) sealed: u32,
    /// Checksum of these.
    pub(super) sum: u64,
}

fn sum(bytes: &[u8]) -> u64 {
    checksum(CrcAlgorithm::Crc64Nvme, bytes)
}

impl Head {
    pub(super) fn of(number: u32, plain: usize, sealed: &[u8]) -> Self {
        Self { number, plain: plain as u32, sealed: sealed.len() as u32, sum: sum(sealed) }
    }

    pub(super) fn fits(&self, sealed: &[u8]) -> bool {
        self.sealed as usize == sealed.len() && self.sum == sum(sealed)
    }

    pub(super) fn bytes(&self) -> [u8; HEAD] {
        let mut bytes = [0; HEAD];
        bytes[..4].copy_from_slice(FRAME);
        bytes[4..8].copy_from_slice(&self.number.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.plain.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.sealed.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.sum.to_le_bytes());
        let sum = sum(&bytes[..28]);
        bytes[28..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// `None`: these are not the bytes of a head.
    pub(super) fn read(bytes: &[u8; HEAD]) -> Option<Self> {
        let four = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let eight = |at: usize| u64::from(four(at)) | u64::from(four(at + 4)) << 32;
        let head = Self { number: four(4), plain: four(8), sealed: four(12), sum: eight(16) };
        let fits = &bytes[..4] == FRAME && bytes[24..28] == [0; 4] && eight(28) == sum(&bytes[..28]);
        (fits && head.plain as usize <= LARGEST).then_some(head)
    }
}

/// The header in clear, and its length and checksum.
pub(super) fn header(header: &Header, mark: &[u8; 16]) -> Vec<u8> {
    let document = serde_json::json!({
        "run": header.step.run.as_str(),
        "step": header.step.seq,
        "service": header.service.as_str(),
        "instance": header.instance.as_str(),
        "created_ms": header.created_ms,
    })
    .to_string();
    let mut bytes = MAGIC.to_vec();
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend((document.len() as u16).to_le_bytes());
    bytes.extend(mark);
    bytes.extend(document.as_bytes());
    let sum = sum(&bytes);
    bytes.extend(sum.to_le_bytes());
    bytes
}

/// What stands before a header's document.
pub(super) const BEFORE: usize = 28;

/// Reads a header of which the first [`BEFORE`] bytes say how long it is.
pub(super) fn length(before: &[u8; BEFORE]) -> Result<usize, &'static str> {
    if &before[..8] != MAGIC {
        return Err("it begins otherwise");
    }
    if u16::from_le_bytes([before[8], before[9]]) != VERSION {
        return Err("its version is another");
    }
    Ok(usize::from(u16::from_le_bytes([before[10], before[11]])) + 8)
}

/// Reads the whole of it: the header, and the mark that every frame repeats.
pub(super) fn read_header(bytes: &[u8]) -> Result<(Header, [u8; 16]), &'static str> {
    let (said, stored) = bytes.split_last_chunk::<8>().ok_or("its header is cut")?;
    if sum(said) != u64::from_le_bytes(*stored) {
        return Err("its header is damaged");
    }
    let mark = said[12..BEFORE].try_into().map_err(|_| "its header is cut")?;
    let document: serde_json::Value =
        serde_json::from_slice(&said[BEFORE..]).map_err(|_| "its header cannot be read")?;
    let text = |name: &str| document.get(name).and_then(serde_json::Value::as_str);
    let read = || {
        Some(Header {
            step: StepId {
                run: RunId::parse(text("run")?)?,
                seq: usize::try_from(document.get("step")?.as_u64()?).ok()?,
            },
            service: text("service")?.parse().ok()?,
            instance: text("instance")?.parse().ok()?,
            created_ms: document.get("created_ms")?.as_i64()?,
        })
    };
    Ok((read().ok_or("its header lacks something")?, mark))
}
