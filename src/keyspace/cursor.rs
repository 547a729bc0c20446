//! How SCAN walks: cursors count with their bits in reverse.
//!
//! A server masks a cursor to the size of its hash table, visits that bucket,
//! and adds one *at the top bit, carrying downwards*. Read backwards
//! ([`Layout::position`]), cursors therefore rise from 0 to the end whatever the
//! table's size is, and a bucket that splits in two when the table grows stays
//! one contiguous stretch. That gives three things nothing else in the
//! protocol does: a random cursor is a random bucket, a stretch of positions
//! can be walked by itself, and how far a walk has come is a fraction.

/// How a server lays its keys out, and so what the bits of a cursor mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub enum Layout {
    /// One table for the database.
    #[default]
    Plain,
    /// One table for each of a cluster's 16,384 slots (Redis from 7.4, Valkey from 8.0): the
    /// low 14 bits of a cursor are the slot, walked in order, the rest is the table's own cursor.
    Slots,
}

/// Slots of a cluster, as bits.
const SLOT_BITS: u32 = 14;

impl Layout {
    /// Where a cursor stands in the order of the walk: 0 is the start, `u64::MAX` the end.
    pub fn position(self, cursor: u64) -> u64 {
        match self {
            Layout::Plain => cursor.reverse_bits(),
            Layout::Slots => {
                let (slot, inner) = (cursor & ((1 << SLOT_BITS) - 1), cursor >> SLOT_BITS);
                // The inner cursor has 50 bits; reversed in 64 they stand at the top.
                (slot << (64 - SLOT_BITS)) | (inner.reverse_bits() >> SLOT_BITS)
            }
        }
    }

    /// The cursor that stands at a position.
    pub fn at(self, position: u64) -> u64 {
        match self {
            Layout::Plain => position.reverse_bits(),
            Layout::Slots => {
                let slot = position >> (64 - SLOT_BITS);
                let inner = (position << SLOT_BITS).reverse_bits();
                (inner << SLOT_BITS) | slot
            }
        }
    }

    /// The slot that begins at or holds a position, where keys lie by slot.
    pub fn slot(self, position: u64) -> Option<u16> {
        match self {
            Layout::Plain => None,
            Layout::Slots => Some((position >> (64 - SLOT_BITS)) as u16),
        }
    }
}

/// The cursor after `cursor` in a table of `mask + 1` buckets, as a server works it out. 0 is the end.
pub fn next(cursor: u64, mask: u64) -> u64 {
    (cursor | !mask).reverse_bits().wrapping_add(1).reverse_bits()
}

/// A stretch of the walk: from one position up to (not with) another; `None` is the end of everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Stretch {
    /// The first position.
    pub from: u64,
    /// The position after the last.
    pub to: Option<u64>,
}

impl Stretch {
    /// The whole walk in `parts` stretches of equal length, in order; `parts` is at least 1.
    pub fn split(parts: u32) -> Vec<Stretch> {
        let parts = u64::from(parts.max(1));
        let edge = |i: u64| (u128::from(i) * (1_u128 << 64) / u128::from(parts)) as u64;
        (0..parts).map(|i| Stretch { from: edge(i), to: (i + 1 < parts).then(|| edge(i + 1)) }).collect()
    }

    /// Whether a walk whose reply said `cursor` (0 is the end of everything) has left the stretch.
    pub fn is_past(&self, layout: Layout, cursor: u64) -> bool {
        cursor == 0 || self.to.is_some_and(|to| layout.position(cursor) >= to)
    }

    /// How much of the stretch lies before `cursor`, 0 to 1.
    pub fn done(&self, layout: Layout, cursor: u64) -> f64 {
        let length = self.to.map_or(u64::MAX - self.from, |to| to - self.from).max(1);
        (layout.position(cursor).saturating_sub(self.from) as f64 / length as f64).min(1.0)
    }
}

/// The cluster slot of a key: CRC16 of its hash tag, or of the whole name.
pub fn slot_of(name: &[u8]) -> u16 {
    let tag = name.iter().position(|&byte| byte == b'{').and_then(|open| {
        let rest = &name[open + 1..];
        rest.iter().position(|&byte| byte == b'}').filter(|&length| length > 0).map(|length| &rest[..length])
    });
    let mut crc = 0_u16;
    for &byte in tag.unwrap_or(name) {
        crc ^= u16::from(byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
        }
    }
    crc & 0x3fff
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_walk_visits_every_bucket_once(bits in 0_u32..12) {
            let mask = (1_u64 << bits) - 1;
            let (mut cursor, mut seen) = (0, BTreeSet::new());
            loop {
                prop_assert!(seen.insert(cursor & mask));
                let after = next(cursor, mask);
                if after == 0 { break }
                prop_assert!(Layout::Plain.position(after) > Layout::Plain.position(cursor));
                cursor = after;
            }
            prop_assert_eq!(seen.len() as u64, mask + 1);
        }

        #[test]
        fn stretches_part_the_buckets_without_overlap(bits in 4_u32..12, parts in 1_u32..9) {
            let mask = (1_u64 << bits) - 1;
            let mut seen = vec![0_u32; mask as usize + 1];
            for stretch in Stretch::split(parts) {
                // A server masks the start away, so a stretch may begin in the middle of a bucket,
                // which then belongs to two stretches: only those at an edge may be seen twice.
                let mut cursor = Layout::Plain.at(stretch.from);
                loop {
                    seen[(cursor & mask) as usize] += 1;
                    cursor = next(cursor, mask);
                    if stretch.is_past(Layout::Plain, cursor) { break }
                }
            }
            prop_assert!(seen.iter().all(|&n| n >= 1));
            let twice = seen.iter().filter(|&&n| n > 1).count() as u32;
            prop_assert!(twice < parts, "{} of {}", twice, parts);
            if parts.is_power_of_two() { prop_assert_eq!(twice, 0); }
        }

        #[test]
        fn growing_while_walking_neither_repeats_nor_misses(bits in 1_u32..10, grow_at in 0_usize..600) {
            let (small, large) = ((1_u64 << bits) - 1, (1_u64 << (bits + 1)) - 1);
            // Keys are the buckets of the large table; in the small one two share a bucket.
            let (mut cursor, mut steps, mut seen) = (0_u64, 0, vec![0_u32; large as usize + 1]);
            loop {
                if steps < grow_at {
                    seen[(cursor & small) as usize] += 1;
                    seen[(cursor & small) as usize + small as usize + 1] += 1;
                    cursor = next(cursor, small);
                } else {
                    seen[(cursor & large) as usize] += 1;
                    cursor = next(cursor, large);
                }
                steps += 1;
                if cursor == 0 { break }
            }
            prop_assert!(seen.iter().all(|&n| n == 1));
        }
    }

    #[test]
    fn halves_meet_at_cursor_one() {
        let halves = Stretch::split(2);
        assert_eq!(Layout::Plain.at(halves[1].from), 1);
        assert!(halves[0].is_past(Layout::Plain, 1) && halves[0].is_past(Layout::Plain, 0));
        assert!(!halves[0].is_past(Layout::Plain, 2));
        assert!((halves[1].done(Layout::Plain, 3) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn slots_are_walked_in_order_and_names_fall_where_a_cluster_puts_them() {
        let layout = Layout::Slots;
        for cursor in [0, 5, (1 << 14) | 5, (3 << 14) | 5, 6, 16_383] {
            assert_eq!(layout.at(layout.position(cursor)), cursor);
        }
        assert!(layout.position((1 << 14) | 5) > layout.position(5));
        assert!(layout.position(6) > layout.position((1 << 20) | 5));
        assert_eq!(layout.slot(layout.position((9 << 14) | 77)), Some(77));
        assert_eq!(slot_of(b"123456789"), 0x31c3);
        assert_eq!(slot_of(b"{user1000}.following"), slot_of(b"user1000"));
        assert_eq!(slot_of(b"foo{}{bar}"), slot_of(b"foo{}{bar}"));
        assert_eq!(slot_of(b"foo"), 12_182);
    }
}
