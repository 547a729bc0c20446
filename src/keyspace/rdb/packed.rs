//! Elements of packed values: from their heads, or, where the head gives up
//! counting, by walking from element to element without looking at any.

use super::{error::Damage, lzf, window::Step};

/// The packed forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packed {
    Listpack,
    Ziplist,
    Zipmap,
    Intset,
}

/// What a head says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Count {
    /// This many elements.
    Known(u64),
    /// More than the head can say.
    Walk,
}

impl Packed {
    /// Bytes of the head that are looked at.
    pub(super) fn head(self) -> usize {
        match self {
            Packed::Listpack => 6,
            Packed::Ziplist => 10,
            Packed::Zipmap => 1,
            Packed::Intset => 8,
        }
    }

    /// Reads a head of a value that is `length` bytes long.
    pub(super) fn count(self, head: &[u8], length: u64) -> Step<Count> {
        let broken = |what| Err(Damage::Broken(what).into());
        match (self, head) {
            (Packed::Listpack, &[a, b, c, d, low, high, ..]) => {
                if u64::from(u32::from_le_bytes([a, b, c, d])) != length || length < 7 {
                    return broken("a listpack is not as long as it says");
                }
                Ok(known(u16::from_le_bytes([low, high])))
            }
            (Packed::Ziplist, &[a, b, c, d, _, _, _, _, low, high, ..]) => {
                if u64::from(u32::from_le_bytes([a, b, c, d])) != length || length < 11 {
                    return broken("a ziplist is not as long as it says");
                }
                Ok(known(u16::from_le_bytes([low, high])))
            }
            // 254 and 255 mean that it has to be walked; it counts pairs.
            (Packed::Zipmap, &[pairs, ..]) => {
                if pairs < 254 {
                    Ok(Count::Known(u64::from(pairs) * 2))
                } else {
                    Ok(Count::Walk)
                }
            }
            (Packed::Intset, &[width, 0, 0, 0, a, b, c, d, ..]) => {
                let count = u64::from(u32::from_le_bytes([a, b, c, d]));
                if !matches!(width, 2 | 4 | 8) || 8 + count * u64::from(width) != length {
                    return broken("an intset is not as long as it says");
                }
                Ok(Count::Known(count))
            }
            _ => broken("a packed value is shorter than its head"),
        }
    }
}

fn known(count: u16) -> Count {
    if count == u16::MAX { Count::Walk } else { Count::Known(u64::from(count)) }
}

/// Walks a packed value that arrives piece by piece.
#[derive(Debug)]
pub(super) struct Walk {
    packed: Packed,
    unpacker: Option<lzf::Unpacker>,
    count: u64,
    skip: u64,
    /// The element's head, as far as it has arrived.
    head: [u8; 12],
    held: usize,
    /// Zipmaps alternate between names and values.
    value: bool,
    ended: bool,
    broken: bool,
}

impl Walk {
    pub(super) fn new(packed: Packed, compressed: bool) -> Self {
        Self {
            packed,
            unpacker: compressed.then(lzf::Unpacker::default),
            count: 0,
            skip: packed.head() as u64,
            head: [0; 12],
            held: 0,
            value: false,
            ended: false,
            broken: false,
        }
    }

    /// The next piece.
    pub(super) fn feed(&mut self, piece: &[u8]) {
        let Some(mut unpacker) = self.unpacker.take() else { return self.walk(piece) };
        if unpacker.feed(piece, |piece| self.walk(piece)).is_none() {
            self.broken = true;
        }
        self.unpacker = Some(unpacker);
    }

    /// The elements, once everything was fed.
    pub(super) fn finish(self) -> Result<u64, Damage> {
        if self.broken || !self.ended {
            Err(Damage::Broken("a packed value does not end where it should"))
        } else {
            Ok(self.count)
        }
    }

    fn walk(&mut self, mut piece: &[u8]) {
        while !piece.is_empty() && !self.ended && !self.broken {
            if self.skip > 0 {
                let jump = usize::try_from(self.skip).unwrap_or(usize::MAX).min(piece.len());
                self.skip -= jump as u64;
                piece = &piece[jump..];
                continue;
            }
            self.head[self.held] = piece[0];
            self.held += 1;
            piece = &piece[1..];
            if self.head[0] == 0xff && self.held == 1 {
                self.ended = true;
                return;
            }
            let head = &self.head[..self.held];
            let size = match self.packed {
                Packed::Ziplist => ziplist(head),
                Packed::Zipmap => zipmap(head, self.value),
                Packed::Listpack | Packed::Intset => listpack(head),
            };
            match size {
                Ok(Some(size)) => {
                    // What of the element has not been passed yet.
                    self.skip = size.saturating_sub(self.held as u64);
                    self.held = 0;
                    self.count += 1;
                    self.value = !self.value;
                }
                Ok(None) if self.held < self.head.len() => {}
                Ok(None) | Err(()) => self.broken = true,
            }
        }
    }
}

/// The size of an element, its length at the end included; `None` when more of it is needed.
fn listpack(head: &[u8]) -> Result<Option<u64>, ()> {
    let size: u64 = match head {
        [0..=0x7f, ..] => 1,
        [first @ 0x80..=0xbf, ..] => 1 + u64::from(first & 0x3f),
        [0xc0..=0xdf, ..] => 2,
        [first @ 0xe0..=0xef, low, ..] => 2 + (u64::from(first & 0x0f) << 8 | u64::from(*low)),
        [0xf0, a, b, c, d, ..] => 5 + u64::from(u32::from_le_bytes([*a, *b, *c, *d])),
        [0xf1, ..] => 3,
        [0xf2, ..] => 4,
        [0xf3, ..] => 5,
        [0xf4, ..] => 9,
        [0xe0..=0xf0, ..] | [] => return Ok(None),
        [0xf5..=0xff, ..] => return Err(()),
    };
    let back = match size {
        0..=127 => 1,
        128..=16_383 => 2,
        16_384..=2_097_151 => 3,
        2_097_152..=268_435_455 => 4,
        _ => 5,
    };
    Ok(Some(size + back))
}

fn ziplist(head: &[u8]) -> Result<Option<u64>, ()> {
    let before = match head {
        [0..=0xfd, ..] => 1,
        [0xfe, ..] => 5,
        [] => return Ok(None),
        [0xff, ..] => return Err(()),
    };
    let size = match head.get(before..).unwrap_or(&[]) {
        [] => return Ok(None),
        [first @ 0..=0x3f, ..] => 1 + u64::from(first & 0x3f),
        [first @ 0x40..=0x7f, low, ..] => 2 + (u64::from(first & 0x3f) << 8 | u64::from(*low)),
        [0x80, a, b, c, d, ..] => 5 + u64::from(u32::from_be_bytes([*a, *b, *c, *d])),
        [0x40..=0x80, ..] => return Ok(None),
        [0xc0, ..] => 3,
        [0xd0, ..] => 5,
        [0xe0, ..] => 9,
        [0xf0, ..] => 4,
        [0xfe, ..] => 2,
        [0xf1..=0xfd, ..] => 1,
        _ => return Err(()),
    };
    Ok(Some(before as u64 + size))
}

fn zipmap(head: &[u8], value: bool) -> Result<Option<u64>, ()> {
    let (length, after) = match head {
        [first @ 0..=0xfd, ..] => (u64::from(*first), 1),
        [0xfe, a, b, c, d, ..] => (u64::from(u32::from_le_bytes([*a, *b, *c, *d])), 5),
        [0xfe, ..] | [] => return Ok(None),
        [0xff, ..] => return Err(()),
    };
    if !value {
        return Ok(Some(after as u64 + length));
    }
    // A value says how many unused bytes follow it.
    match head.get(after) {
        Some(free) => Ok(Some(after as u64 + 1 + length + u64::from(*free))),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listpack_is_walked_in_any_pieces() {
        // A small number, a 2-byte string, a 64-bit number.
        let mut bytes = vec![0, 0, 0, 0, 0xff, 0xff, 5, 1, 0x82, b'a', b'b', 3, 0xf4];
        bytes.extend([0; 8]);
        bytes.extend([9, 0xff]);
        let mut walk = Walk::new(Packed::Listpack, false);
        for byte in &bytes {
            walk.feed(&[*byte]);
        }
        assert_eq!(walk.finish(), Ok(3));
    }

    #[test]
    fn a_value_that_ends_early_is_damage() {
        let mut walk = Walk::new(Packed::Listpack, false);
        walk.feed(&[0, 0, 0, 0, 0xff, 0xff, 5, 1]);
        assert!(walk.finish().is_err());
    }
}
