//! The chain over the journal's rows. Pure: keys and rows in, macs out.
//!
//! Each row's mac is HMAC-SHA256 over the mac before it and the row, every
//! field with its length in front, so that no two rows encode alike. Where the
//! chain ends and where retention cut it are signed with the same key, each
//! under a label of its own.

use std::{fmt, str::FromStr};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use super::entry::{JournalRow, Part};

/// A row's mac.
pub(super) type Mac = [u8; 32];

/// What stands before the first row.
pub(super) const GENESIS: Mac = [0; 32];

/// The key of the journal. Not printable, on purpose.
#[derive(Clone)]
pub(super) struct Key {
    // The key schedule is done once; every row clones it.
    keyed: Hmac<Sha256>,
}

impl Key {
    /// A key of these bytes.
    pub(super) fn new(bytes: &[u8; 32]) -> Self {
        Self { keyed: Hmac::new_from_slice(bytes).expect("HMAC takes keys of any length") }
    }

    /// Names the key without giving it away: a wrong key is told from an edited journal.
    pub(super) fn id(&self) -> String {
        hex(&self.sign("key id", 0, &GENESIS)[..8])
    }

    /// The mac of `row` standing after `previous`.
    pub(super) fn link(&self, previous: &Mac, row: &JournalRow) -> Mac {
        let mut mac = self.keyed.clone();
        mac.update(b"row 1");
        mac.update(previous);
        for part in row.parts() {
            match part {
                Part::Text(text) => {
                    mac.update(b"t");
                    mac.update(&(text.len() as u64).to_be_bytes());
                    mac.update(text.as_bytes());
                }
                Part::Nothing => mac.update(b"-"),
                Part::Number(number) => {
                    mac.update(b"n");
                    mac.update(&number.to_be_bytes());
                }
            }
        }
        mac.finalize().into_bytes().into()
    }

    /// Signs a position of the chain: its `head`, or the `cut` of retention.
    pub(super) fn sign(&self, label: &str, seq: u64, at: &Mac) -> Mac {
        let mut mac = self.keyed.clone();
        mac.update(b"position 1");
        mac.update(&(label.len() as u64).to_be_bytes());
        mac.update(label.as_bytes());
        mac.update(&seq.to_be_bytes());
        mac.update(at);
        mac.finalize().into_bytes().into()
    }
}

/// Are two macs the same? Takes the same time wherever they differ.
pub(super) fn same(a: &Mac, b: &[u8]) -> bool {
    a.as_slice().ct_eq(b).into()
}

/// A position of the chain, for keeping where the journal's owner cannot change it: a line in the audit channel.
///
/// Prints as `SEQ HASH` and reads back from it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Anchor {
    /// The last row then.
    pub seq: u64,
    /// Its mac, 64 hexadecimal digits.
    pub hash: String,
}

impl fmt::Display for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.seq, self.hash)
    }
}

/// A line that is not an anchor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an anchor: expected a number and 64 hexadecimal digits")]
pub struct NotAnAnchor(String);

impl FromStr for Anchor {
    type Err = NotAnAnchor;

    fn from_str(line: &str) -> Result<Self, NotAnAnchor> {
        let not = || NotAnAnchor(line.chars().take(120).collect());
        let mut words = line.split_whitespace();
        let (Some(seq), Some(hash), None) = (words.next(), words.next(), words.next()) else {
            return Err(not());
        };
        let seq = seq.parse().map_err(|_| not())?;
        let hash = hash.to_ascii_lowercase();
        if unhex(&hash).is_none() {
            return Err(not());
        }
        Ok(Self { seq, hash })
    }
}

/// What is wrong with a journal, and where it first is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The first row that is wrong or missing.
    pub seq: u64,
    /// What is wrong with it.
    pub why: FaultKind,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "row {}: {}", self.seq, self.why)
    }
}

/// How a journal can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FaultKind {
    /// The row is not what was written, or stands where another stood.
    #[error("its content or its place was changed after it was written")]
    Changed,
    /// Rows are missing before the next one.
    #[error("it is missing although later rows are there")]
    Missing,
    /// The end is missing.
    #[error("it is missing at the end: the journal was cut")]
    Cut,
    /// There are rows after the signed end.
    #[error("it stands after the journal's signed end")]
    Added,
    /// The record of the end is gone or forged.
    #[error("the signed record of the journal's end was removed or forged")]
    Head,
    /// The record of retention is gone or forged.
    #[error("the signed record of what retention removed was removed or forged")]
    Retention,
    /// The chain is whole but is not the one that was anchored: it was written anew, or an old copy was put back.
    #[error("it does not agree with the anchor kept outside: the journal was replaced")]
    Anchor,
}

/// Walks a chain row by row. Stops being useful at the first fault it returns.
pub(super) struct Walk<'a> {
    key: &'a Key,
    /// The last good row.
    pub(super) seq: u64,
    /// Its mac.
    pub(super) mac: Mac,
}

impl<'a> Walk<'a> {
    /// A walk that begins after this position.
    pub(super) fn from(key: &'a Key, seq: u64, mac: Mac) -> Self {
        Self { key, seq, mac }
    }

    /// Takes the next row and the mac that stands beside it.
    pub(super) fn step(&mut self, row: &JournalRow, beside: &Mac) -> Result<(), Fault> {
        let expected = self.seq + 1;
        if row.seq != expected {
            let why = if row.seq > expected { FaultKind::Missing } else { FaultKind::Changed };
            return Err(Fault { seq: expected.min(row.seq), why });
        }
        let mac = self.key.link(&self.mac, row);
        if !same(&mac, beside) {
            return Err(Fault { seq: row.seq, why: FaultKind::Changed });
        }
        (self.seq, self.mac) = (row.seq, mac);
        Ok(())
    }

    /// Compares the end of the walk with the signed end.
    pub(super) fn end(&self, head_seq: u64, head_mac: &Mac) -> Result<(), Fault> {
        if self.seq < head_seq {
            return Err(Fault { seq: self.seq + 1, why: FaultKind::Cut });
        }
        if self.seq > head_seq {
            return Err(Fault { seq: head_seq + 1, why: FaultKind::Added });
        }
        if !same(&self.mac, head_mac) {
            return Err(Fault { seq: head_seq, why: FaultKind::Head });
        }
        Ok(())
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

pub(super) fn unhex(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> = text.chars().map(|c| c.to_digit(16).map(|d| d as u8)).collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    (digits.len() == 64).then(|| bytes.try_into().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> Key {
        Key::new(&[7; 32])
    }

    fn rows() -> impl Strategy<Value = Vec<JournalRow>> {
        let text = || "[a-z:* ]{0,8}";
        let row = (text(), text(), proptest::option::of(text()), proptest::option::of(text()), 0..9i64, any::<bool>());
        proptest::collection::vec(row, 2..12).prop_map(|rows| {
            rows.into_iter()
                .map(|(line, command, person, why, took_ms, reveal)| JournalRow {
                    seq: 0,
                    at_ms: took_ms * 1000,
                    kind: "command".into(),
                    run: "7K2QABCD".into(),
                    platform: "slack".into(),
                    team: "T1".into(),
                    account: "U1".into(),
                    person,
                    channel: "C1".into(),
                    thread: None,
                    line,
                    command,
                    service: None,
                    instance: None,
                    outcome: "answered".into(),
                    why,
                    level: None,
                    took_ms,
                    reveal,
                })
                .collect()
        })
    }

    fn chained(rows: Vec<JournalRow>) -> Vec<(JournalRow, Mac)> {
        let (key, mut mac) = (key(), GENESIS);
        rows.into_iter()
            .zip(1..)
            .map(|(mut row, seq)| {
                row.seq = seq;
                mac = key.link(&mac, &row);
                (row, mac)
            })
            .collect()
    }

    fn check(chain: &[(JournalRow, Mac)], head: (u64, Mac)) -> Result<(), Fault> {
        let key = key();
        let mut walk = Walk::from(&key, 0, GENESIS);
        for (row, mac) in chain {
            walk.step(row, mac)?;
        }
        walk.end(head.0, &head.1)
    }

    fn head(chain: &[(JournalRow, Mac)]) -> (u64, Mac) {
        chain.last().map_or((0, GENESIS), |(row, mac)| (row.seq, *mac))
    }

    proptest! {
        #[test]
        fn an_untouched_chain_is_whole(rows in rows()) {
            let chain = chained(rows);
            prop_assert_eq!(check(&chain, head(&chain)), Ok(()));
        }

        #[test]
        fn an_edit_of_any_field_is_found_where_it_is(rows in rows(), at in any::<prop::sample::Index>(), field in 0..19usize) {
            let mut chain = chained(rows);
            let end = head(&chain);
            let at = at.index(chain.len());
            let row = &mut chain[at].0;
            let more = |text: &mut String| text.push('x');
            let other = |text: &mut Option<String>| *text = match text.take() { None => Some(String::new()), Some(_) => None };
            match field {
                0 => row.seq += 1,
                1 => row.at_ms += 1,
                2 => more(&mut row.kind),
                3 => more(&mut row.run),
                4 => more(&mut row.platform),
                5 => more(&mut row.team),
                6 => more(&mut row.account),
                7 => other(&mut row.person),
                8 => more(&mut row.channel),
                9 => other(&mut row.thread),
                10 => more(&mut row.line),
                11 => more(&mut row.command),
                12 => other(&mut row.service),
                13 => other(&mut row.instance),
                14 => more(&mut row.outcome),
                15 => other(&mut row.why),
                16 => other(&mut row.level),
                17 => row.took_ms += 1,
                _ => row.reveal = !row.reveal,
            }
            let fault = check(&chain, end).expect_err("an edited chain");
            prop_assert_eq!(fault.seq, at as u64 + 1);
        }

        #[test]
        fn text_moved_from_one_field_to_the_next_is_found(rows in rows(), at in any::<prop::sample::Index>()) {
            let mut chain = chained(rows);
            let end = head(&chain);
            let at = at.index(chain.len());
            let row = &mut chain[at].0;
            let (line, command) = (row.line.clone(), row.command.clone());
            row.line = format!("{line}{command}");
            row.command = String::new();
            prop_assert_eq!(check(&chain, end).is_err(), !command.is_empty());
        }

        #[test]
        fn a_removed_row_is_found(rows in rows(), at in any::<prop::sample::Index>(), renumber in any::<bool>()) {
            let mut chain = chained(rows);
            let end = head(&chain);
            let at = at.index(chain.len());
            chain.remove(at);
            if renumber {
                for (row, _) in &mut chain[at..] {
                    row.seq -= 1;
                }
            }
            let fault = check(&chain, end).expect_err("a chain with a row missing");
            prop_assert_eq!(fault.seq, at as u64 + 1);
        }

        #[test]
        fn rows_that_changed_places_are_found(rows in rows(), a in any::<prop::sample::Index>(), b in any::<prop::sample::Index>()) {
            let mut chain = chained(rows);
            let end = head(&chain);
            let (a, b) = (a.index(chain.len()), b.index(chain.len()));
            prop_assume!(a != b);
            // Their numbers stay, as they would in a table ordered by number.
            chain.swap(a, b);
            chain[a].0.seq = a as u64 + 1;
            chain[b].0.seq = b as u64 + 1;
            let fault = check(&chain, end).expect_err("a reordered chain");
            prop_assert_eq!(fault.seq, a.min(b) as u64 + 1);
        }

        #[test]
        fn a_cut_tail_is_found(rows in rows(), keep in any::<prop::sample::Index>()) {
            let mut chain = chained(rows);
            let end = head(&chain);
            let keep = keep.index(chain.len());
            chain.truncate(keep);
            prop_assert_eq!(check(&chain, end), Err(Fault { seq: keep as u64 + 1, why: FaultKind::Cut }));
        }

        #[test]
        fn nobody_without_the_key_can_continue_or_sign(rows in rows(), other in any::<[u8; 32]>()) {
            prop_assume!(other != [7; 32]);
            let mut chain = chained(rows);
            let end = head(&chain);
            let forger = Key::new(&other);
            let mut row = chain[0].0.clone();
            row.seq = end.0 + 1;
            let mac = forger.link(&end.1, &row);
            chain.push((row, mac));
            prop_assert_eq!(check(&chain, (end.0 + 1, mac)), Err(Fault { seq: end.0 + 1, why: FaultKind::Changed }));
            prop_assert_ne!(forger.sign("head", end.0, &end.1), key().sign("head", end.0, &end.1));
            prop_assert_ne!(forger.id(), key().id());
        }
    }

    #[test]
    fn an_end_cannot_pass_for_a_cut() {
        assert_ne!(key().sign("head", 9, &GENESIS), key().sign("cut", 9, &GENESIS));
    }

    #[test]
    fn an_anchor_reads_back_from_its_line_and_other_lines_do_not() {
        let anchor = Anchor { seq: 1204, hash: hex(&[0xab; 32]) };
        assert_eq!(anchor.to_string().parse(), Ok(anchor.clone()));
        assert_eq!(format!("  {}\t{} ", anchor.seq, anchor.hash.to_uppercase()).parse(), Ok(anchor));
        for bad in ["", "12", "12 ab", "x abababab", "1 2 3", &format!("-1 {}", hex(&[1; 32]))] {
            assert!(bad.parse::<Anchor>().is_err(), "{bad}");
        }
    }
}
