//! LZF, as far as it is needed: names, the heads of packed values, and, for
//! the rare packed value that does not know its own length, all of it through
//! an 8 KiB window.

/// Unpacks up to `limit` bytes of the beginning into `out` (which is cleared).
/// `whole` says that `packed` is all of it, so that running out is damage.
/// `None` when the bytes are not LZF.
pub(super) fn unpack(packed: &[u8], out: &mut Vec<u8>, limit: usize, whole: bool) -> Option<()> {
    out.clear();
    let mut rest = packed;
    while out.len() < limit {
        let Some((&control, tail)) = rest.split_first() else { return Some(()) };
        let control = usize::from(control);
        if control < 32 {
            let count = control + 1;
            let Some((run, tail)) = tail.split_at_checked(count) else {
                out.extend_from_slice(tail);
                return (!whole).then_some(());
            };
            out.extend_from_slice(run);
            rest = tail;
        } else {
            let need = 1 + usize::from(control >> 5 == 7);
            let Some((tail_head, tail)) = tail.split_at_checked(need) else { return (!whole).then_some(()) };
            let mut count = (control >> 5) + 2;
            if need == 2 {
                count += usize::from(tail_head[0]);
            }
            let back = ((control & 0x1f) << 8 | usize::from(tail_head[need - 1])) + 1;
            let from = out.len().checked_sub(back)?;
            for at in from..from + count {
                out.push(out[at]);
            }
            rest = tail;
        }
    }
    out.truncate(limit);
    Some(())
}

/// Unpacks piece by piece, remembering only what a reference can reach.
#[derive(Debug, Default)]
pub(super) struct Unpacker {
    window: Vec<u8>,
    state: State,
}

#[derive(Debug, Default, Clone, Copy)]
enum State {
    #[default]
    Control,
    Literal(u8),
    Long(u8),
    Back {
        high: u8,
        count: u16,
    },
}

const REACH: usize = 8 * 1024;

impl Unpacker {
    /// Unpacks `packed` and hands the bytes on. `None` when it is not LZF.
    pub(super) fn feed(&mut self, packed: &[u8], mut on: impl FnMut(&[u8])) -> Option<()> {
        let mut told = self.window.len();
        for &byte in packed {
            self.state = match self.state {
                State::Control if byte < 32 => State::Literal(byte + 1),
                State::Control if byte >> 5 == 7 => State::Long(byte & 0x1f),
                State::Control => State::Back { high: byte & 0x1f, count: u16::from(byte >> 5) + 2 },
                State::Literal(left) => {
                    self.window.push(byte);
                    if left > 1 { State::Literal(left - 1) } else { State::Control }
                }
                State::Long(high) => State::Back { high, count: u16::from(byte) + 9 },
                State::Back { high, count } => {
                    let back = (usize::from(high) << 8 | usize::from(byte)) + 1;
                    let from = self.window.len().checked_sub(back)?;
                    for at in from..from + usize::from(count) {
                        self.window.push(self.window[at]);
                    }
                    State::Control
                }
            };
            if self.window.len() >= 4 * REACH {
                on(&self.window[told..]);
                self.window.drain(..self.window.len() - REACH);
                told = self.window.len();
            }
        }
        on(&self.window[told..]);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // "abcabcabcabc" as one literal run of 3 and one reference of 9.
    const ABC: &[u8] = &[2, b'a', b'b', b'c', 7 << 5, 0, 2];

    #[test]
    fn a_reference_may_overlap_what_it_makes() {
        let mut out = Vec::new();
        assert_eq!(unpack(ABC, &mut out, 100, true), Some(()));
        assert_eq!(out, b"abcabcabcabc");
        assert_eq!(unpack(ABC, &mut out, 5, true), Some(()));
        assert_eq!(out, b"abcab");
    }

    #[test]
    fn a_reference_before_the_beginning_is_damage() {
        let mut out = Vec::new();
        assert_eq!(unpack(&[0, b'a', 1 << 5, 9], &mut out, 100, true), None);
        assert_eq!(Unpacker::default().feed(&[0, b'a', 1 << 5, 9], |_| ()), None);
    }

    #[test]
    fn piece_by_piece_gives_the_same() {
        let mut got = Vec::new();
        let mut unpacker = Unpacker::default();
        for byte in ABC {
            unpacker.feed(&[*byte], |piece| got.extend_from_slice(piece)).expect("it is LZF");
        }
        assert_eq!(got, b"abcabcabcabc");
    }
}
