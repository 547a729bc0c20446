//! The bytes at hand, and what is read from them in one go.

use super::{error::Damage, lzf, packed::Walk};

/// Why a step ended early.
#[derive(Debug)]
pub(super) enum Stop {
    /// The rest has not arrived yet: the step is taken again from its mark.
    More,
    /// The bytes cannot be what they claim.
    Bad(Damage),
}

impl From<Damage> for Stop {
    fn from(damage: Damage) -> Self {
        Stop::Bad(damage)
    }
}

/// The result of reading from a window.
pub(super) type Step<T> = Result<T, Stop>;

/// The bytes at hand. `mark` is how far everything has been understood.
pub(super) struct Window<'a> {
    bytes: &'a [u8],
    at: usize,
    mark: usize,
    /// Bytes of the file from the first of these on, when it is known.
    file_left: Option<u64>,
}

/// Bytes that are passed over without being looked at, beyond the window if need be.
#[derive(Debug, Default)]
pub(super) struct Pass {
    /// How many are still to come.
    pub(super) left: u64,
    /// Who counts elements in them.
    pub(super) walk: Option<Walk>,
}

/// A string's head: what follows it is `stored` bytes that are passed over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    /// Its length when unpacked.
    pub(super) length: u64,
    /// Bytes that follow the head.
    pub(super) stored: u64,
    /// How it is stored.
    pub(super) form: Form,
}

/// How a string is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As it is.
    Raw,
    /// As a number, part of the head.
    Int(i32),
    /// Compressed.
    Lzf,
}

/// The most one control sequence of LZF yields, per stored byte (three bytes
/// give at most 264): a claim above it is a lie.
const LZF_YIELD: u64 = 88;

impl<'a> Window<'a> {
    pub(super) fn new(bytes: &'a [u8], file_left: Option<u64>) -> Self {
        Self { bytes, at: 0, mark: 0, file_left }
    }

    pub(super) fn mark(&self) -> usize {
        self.mark
    }

    /// Everything up to here is understood; a step that needs more starts here again.
    #[inline]
    pub(super) fn commit(&mut self) {
        self.mark = self.at;
    }

    /// Back to the mark.
    pub(super) fn rewind(&mut self) {
        self.at = self.mark;
    }

    /// The bytes already read.
    pub(super) fn before(&self) -> &'a [u8] {
        &self.bytes[..self.at]
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    #[inline]
    pub(super) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// Commits and passes over `count` bytes. When not all are here the rest is
    /// left to `pass` and the step ends: whatever comes after them must be in
    /// the reader's state before this is called.
    #[inline]
    pub(super) fn over(&mut self, count: u64, pass: &mut Pass) -> Step<()> {
        let here = self.bytes.len() - self.at;
        if count <= here as u64 {
            self.at += count as usize;
            self.mark = self.at;
            return Ok(());
        }
        self.check_left(count, "a string")?;
        self.at = self.bytes.len();
        self.mark = self.at;
        pass.left = count - here as u64;
        Err(Stop::More)
    }

    /// Passes over up to `count` bytes, and says how many these were.
    pub(super) fn drop_up_to(&mut self, count: u64) -> &'a [u8] {
        let rest = self.rest();
        let dropped = &rest[..usize::try_from(count).unwrap_or(usize::MAX).min(rest.len())];
        self.at += dropped.len();
        self.mark = self.at;
        dropped
    }

    /// Refuses what claims to be longer than the file.
    pub(super) fn check_left(&self, claimed: u64, what: &'static str) -> Step<()> {
        let Some(left) = self.file_left.map(|left| left.saturating_sub(self.at as u64)) else { return Ok(()) };
        if claimed > left { Err(Damage::LongerThanFile { what, claimed, left }.into()) } else { Ok(()) }
    }

    /// Refuses what claims to have more elements than the file has room for, each of so many bytes at least.
    pub(super) fn check_elements(&self, claimed: u64, each: u64, what: &'static str) -> Step<()> {
        let Some(left) = self.file_left.map(|left| left.saturating_sub(self.at as u64)) else { return Ok(()) };
        let fits = claimed.checked_mul(each).is_some_and(|bytes| bytes <= left);
        if fits { Ok(()) } else { Err(Damage::MoreThanFile { what, claimed, left }.into()) }
    }

    /// The first `count` bytes of what follows, which stays where it is.
    #[inline]
    pub(super) fn peek(&self, count: usize) -> Step<&'a [u8]> {
        self.rest().get(..count).ok_or(Stop::More)
    }

    /// The beginning of a string whose head has just been read, up to `limit`
    /// bytes of it, unpacked into `out`. The string itself stays where it is.
    pub(super) fn beginning(&self, head: Head, limit: usize, out: &mut Vec<u8>) -> Step<()> {
        let stored = usize::try_from(head.stored).unwrap_or(usize::MAX);
        match head.form {
            Form::Raw => {
                out.clear();
                out.extend_from_slice(self.peek(stored.min(limit)).or_else(|stop| {
                    self.check_left(head.stored, "a string")?;
                    Err(stop)
                })?);
            }
            Form::Int(number) => {
                use std::io::Write;
                out.clear();
                let _ = write!(out, "{number}");
            }
            Form::Lzf => {
                // A literal of one byte takes two: no form is longer.
                let enough = limit.saturating_mul(2).saturating_add(64);
                let packed = self.peek(stored.min(enough))?;
                if lzf::unpack(packed, out, limit, stored <= enough).is_none() {
                    return Err(Damage::Broken("a compressed string is not LZF").into());
                }
                if (out.len() as u64) < head.length.min(limit as u64) {
                    return Err(Damage::Broken("a compressed string is shorter than it says").into());
                }
            }
        }
        Ok(())
    }

    #[inline]
    pub(super) fn byte(&mut self) -> Step<u8> {
        let byte = *self.bytes.get(self.at).ok_or(Stop::More)?;
        self.at += 1;
        Ok(byte)
    }

    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> Step<[u8; N]> {
        let chunk = self.rest().first_chunk::<N>().ok_or(Stop::More)?;
        self.at += N;
        Ok(*chunk)
    }

    #[inline]
    pub(super) fn slice(&mut self, count: usize) -> Step<&'a [u8]> {
        let slice = self.rest().get(..count).ok_or(Stop::More)?;
        self.at += count;
        Ok(slice)
    }

    /// A plain length.
    #[inline]
    pub(super) fn length(&mut self, what: &'static str) -> Step<u64> {
        let first = self.byte()?;
        match first >> 6 {
            0 => Ok(u64::from(first)),
            1 => Ok(u64::from(first & 0x3f) << 8 | u64::from(self.byte()?)),
            _ => self.long_length(first, what),
        }
    }

    fn long_length(&mut self, first: u8, what: &'static str) -> Step<u64> {
        match first {
            0x80 => Ok(u64::from(u32::from_be_bytes(self.array()?))),
            0x81 => Ok(u64::from_be_bytes(self.array()?)),
            _ => Err(Damage::Length { what, length: u64::from(first) }.into()),
        }
    }

    /// A string's head.
    #[inline]
    pub(super) fn string(&mut self) -> Step<Head> {
        let first = *self.bytes.get(self.at).ok_or(Stop::More)?;
        if first < 0xc0 {
            let length = self.length("a string")?;
            return Ok(Head { length, stored: length, form: Form::Raw });
        }
        self.at += 1;
        let number = match first & 0x3f {
            0 => i32::from(i8::from_le_bytes(self.array()?)),
            1 => i32::from(i16::from_le_bytes(self.array()?)),
            2 => i32::from_le_bytes(self.array()?),
            3 => {
                let stored = self.length("a compressed string")?;
                let length = self.length("a compressed string")?;
                if length == 0 || length > stored.saturating_mul(LZF_YIELD) {
                    return Err(Damage::Bomb { claimed: length, stored }.into());
                }
                self.check_left(stored, "a string")?;
                return Ok(Head { length, stored, form: Form::Lzf });
            }
            _ => return Err(Damage::Broken("a string has an unknown encoding").into()),
        };
        Ok(Head { length: digits(i64::from(number)), stored: 0, form: Form::Int(number) })
    }
}

/// How many characters a number has in decimal.
pub(super) fn digits(number: i64) -> u64 {
    u64::from(number.unsigned_abs().checked_ilog10().unwrap_or(0)) + 1 + u64::from(number < 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_long_as_they_print() {
        for number in [0, 1, 9, 10, -1, -10, 99, 100, i64::from(i32::MIN), i64::from(i32::MAX)] {
            assert_eq!(digits(number), number.to_string().len() as u64, "{number}");
        }
    }
}
