//! What a key would cost in memory: the sums `MEMORY USAGE` makes, from lengths
//! alone, by the rules of the version that wrote the file.
//!
//! Redis asks its allocator how big each block really is, so the estimate
//! rounds up like the allocator does. Slack that depends on a key's history
//! (a string grown by APPEND, a table half way through growing) is in no file
//! and not in the estimate.

/// The allocator of the server the estimate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Allocator {
    /// jemalloc as Redis builds it (blocks of 24, 40 and 56 bytes exist): official packages and images.
    #[default]
    Jemalloc,
    /// jemalloc of the distribution, in steps of 16: Debian's and Ubuntu's packages.
    SystemJemalloc,
    /// The C library's malloc: Alpine-like builds without jemalloc on glibc.
    Libc,
}

/// sizeof(robj).
pub(super) const OBJECT: u64 = 16;
/// sizeof(dictEntry).
pub(super) const ENTRY: u64 = 24;
/// sizeof(dict).
const DICT: u64 = 56;
/// sizeof(zset) + sizeof(zskiplist).
pub(super) const ZSET: u64 = 16 + 32;
/// sizeof(quicklist).
pub(super) const QUICKLIST: u64 = 40;
/// sizeof(quicklistNode).
pub(super) const QUICKLIST_NODE: u64 = 40;
/// sizeof(stream).
const STREAM: u64 = 80;
/// sizeof(streamCG).
const GROUP: u64 = 40;
/// sizeof(streamNACK).
pub(super) const NACK: u64 = 24;
/// sizeof(streamConsumer).
pub(super) const CONSUMER: u64 = 24;
/// What a stream's growing listpack is given at once.
pub(super) const STREAM_NODE_FIRST: u64 = 4096;

/// How the server that wrote the file lays keys and small values out, as far as its sums differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Layout {
    /// Redis 7 and later.
    #[default]
    Redis,
    /// Redis before 7: packed and small values are counted as long as they are, not as the allocator rounds them.
    Before7,
    /// Valkey 8.0: the name lies in its entry.
    Valkey8,
    /// Valkey 9: name, expiry and small strings lie in the object, which is the entry.
    Valkey9,
}

impl Layout {
    /// Whose `MEMORY USAGE` was compared with it.
    fn words(self) -> &'static str {
        match self {
            Layout::Redis => "Redis 7 and 8",
            Layout::Before7 => "Redis 6",
            Layout::Valkey8 => "Valkey 8.0",
            Layout::Valkey9 => "Valkey 9",
        }
    }
}

/// By whose rules bytes in memory are estimated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// `Redis 7 and 8`.
    pub of: &'static str,
    /// They are those of the version that wrote the file; else the nearest ones there are.
    pub own: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self { of: Layout::default().words(), own: false }
    }
}

/// A list's node before Redis 7.
const QUICKLIST_NODE_BEFORE_7: u64 = 32;
/// A table before Redis 7: two of everything were part of it, and not behind a pointer.
const DICT_BEFORE_7: u64 = 96;
/// A stream and a group of it before Redis 7, which count less of what was read.
const STREAM_BEFORE_7: u64 = 40;
const GROUP_BEFORE_7: u64 = 32;
/// What of an entry of Valkey 8.0 comes before the name.
const VALKEY_8_ENTRY: u64 = 17;
/// The largest object of Valkey 9 that holds its string.
const VALKEY_9_EMBEDDED_MAX: u64 = 128;

/// Strings up to this length share a block with their object.
const EMBEDDED_MAX: u64 = 44;

/// The sums for one allocator.
#[derive(Debug, Clone)]
pub(super) struct Sums {
    allocator: Allocator,
    layout: Layout,
    small: Vec<u16>,
    skiplist_node: f64,
    skiplist_head: u64,
}

impl Sums {
    pub(super) fn new(allocator: Allocator) -> Self {
        let small = (0..=1024).map(|bytes| rounded(allocator, bytes) as u16).collect();
        // A node of n levels is as likely as 0.75 × 0.25^(n−1); above 12 it does not show.
        let skiplist_node =
            (1..=12).map(|level| 0.75 * 0.25f64.powi(level - 1) * rounded(allocator, 24 + 16 * level as u64) as f64);
        Self {
            allocator,
            layout: Layout::default(),
            small,
            skiplist_node: skiplist_node.sum(),
            skiplist_head: rounded(allocator, 24 + 16 * 32),
        }
    }

    /// The sums of the server that wrote the file: its version, as the file tells it.
    ///
    /// Says whose rules they are, and whether they are that version's own.
    pub(super) fn written_by(&mut self, valkey: bool, version: &str) -> Rules {
        let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
        let (layout, own) = match (valkey, numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) {
            (false, 1..=6, _) => (Layout::Before7, true),
            (true, 8, 0) => (Layout::Valkey8, true),
            (true, 9.., _) => (Layout::Valkey9, true),
            (true, 8, _) => (Layout::Redis, false),
            (_, major, _) => (Layout::Redis, major > 0),
        };
        self.layout = layout;
        Rules { of: layout.words(), own }
    }

    /// A packed value.
    #[inline]
    pub(super) fn packed(&self, bytes: u64) -> u64 {
        if self.layout == Layout::Before7 { bytes } else { self.block(bytes) }
    }

    /// A list's node, without what lies in it.
    #[inline]
    pub(super) fn list_node(&self) -> u64 {
        if self.layout == Layout::Before7 { QUICKLIST_NODE_BEFORE_7 } else { QUICKLIST_NODE }
    }

    /// A table, without its buckets and entries.
    #[inline]
    pub(super) fn dict(&self) -> u64 {
        if self.layout == Layout::Before7 { DICT_BEFORE_7 } else { DICT }
    }

    /// A stream, without what is in it.
    pub(super) fn stream(&self) -> u64 {
        if self.layout == Layout::Before7 { STREAM_BEFORE_7 } else { STREAM }
    }

    /// A group of a stream's readers.
    pub(super) fn group(&self) -> u64 {
        if self.layout == Layout::Before7 { GROUP_BEFORE_7 } else { GROUP }
    }

    /// A key with everything: `value` is what its value takes with an object of its own, `text` the
    /// length of a value that is a string (and no number).
    #[inline]
    pub(super) fn key(&self, name: u64, value: u64, text: Option<u64>, expires: bool) -> u64 {
        match self.layout {
            Layout::Redis | Layout::Before7 => value.saturating_add(self.name(name)),
            Layout::Valkey8 => {
                let header = if name < 256 { 3 } else { 5 };
                value.saturating_add(self.block(name.saturating_add(VALKEY_8_ENTRY + header + 1)))
            }
            Layout::Valkey9 => {
                let header = if name < 32 { 1 } else { 3 };
                let object = name.saturating_add(OBJECT + 1 + header + 1 + if expires { 8 } else { 0 });
                match text {
                    // The string takes the place of the pointer to it.
                    Some(length) if object.saturating_add(length) <= VALKEY_9_EMBEDDED_MAX + 8 - 4 => {
                        self.block(object - 8 + length + 4)
                    }
                    Some(length) => self.block(object).saturating_add(self.sds(length)),
                    None => value.saturating_sub(OBJECT).saturating_add(self.block(object)),
                }
            }
        }
    }

    /// The block the allocator gives for `bytes`.
    #[inline]
    pub(super) fn block(&self, bytes: u64) -> u64 {
        match self.small.get(usize::try_from(bytes).unwrap_or(usize::MAX)) {
            Some(block) => u64::from(*block),
            None => rounded(self.allocator, bytes),
        }
    }

    /// A string of its own: header, text, a closing zero.
    #[inline]
    pub(super) fn sds(&self, length: u64) -> u64 {
        let header = match length {
            0..=31 => 1,
            32..=255 => 3,
            256..=65_535 => 5,
            65_536..=0xffff_ffff => 9,
            _ => 17,
        };
        self.block(length.saturating_add(header + 1))
    }

    /// A string as a value of its own.
    #[inline]
    pub(super) fn text(&self, length: u64) -> u64 {
        if length <= EMBEDDED_MAX && self.layout == Layout::Before7 {
            OBJECT + length + 2
        } else if length <= EMBEDDED_MAX {
            self.block(OBJECT + 3 + length + 1)
        } else {
            // As a value of its own a string never has the one-byte header.
            OBJECT.saturating_add(self.sds(length))
        }
    }

    /// What every key costs beside its value: name and dictionary entry.
    #[inline]
    pub(super) fn name(&self, length: u64) -> u64 {
        self.sds(length).saturating_add(ENTRY)
    }

    /// The node a sorted set's member has on average.
    pub(super) fn skiplist_nodes(&self, members: u64) -> u64 {
        (self.skiplist_node * members as f64) as u64
    }

    /// The head of a skip list.
    pub(super) fn skiplist_head(&self) -> u64 {
        self.skiplist_head
    }
}

/// The bucket array of a table of `count` entries.
pub(super) fn buckets(count: u64) -> u64 {
    count.max(4).checked_next_power_of_two().unwrap_or(u64::MAX).saturating_mul(8)
}

/// What Redis says a radix tree of stream ids costs.
pub(super) fn radix(ids: u64, nodes: u64) -> u64 {
    ids.saturating_mul(16).saturating_add(nodes.saturating_mul(4 + 30 * 8))
}

fn rounded(allocator: Allocator, bytes: u64) -> u64 {
    let least = match allocator {
        Allocator::Jemalloc => 8,
        Allocator::SystemJemalloc => 16,
        // What is usable of a chunk: multiples of 16, less the 8 bytes of its size.
        Allocator::Libc => return bytes.saturating_add(8 + 15).max(32) / 16 * 16 - 8,
    };
    if bytes <= 8 {
        return 8;
    }
    // Four classes for every doubling.
    let step = (1u64 << (bytes - 1).ilog2().saturating_sub(2)).max(least);
    bytes.checked_next_multiple_of(step).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_those_of_jemalloc() {
        let redis = Sums::new(Allocator::Jemalloc);
        let system = Sums::new(Allocator::SystemJemalloc);
        for (bytes, ours, theirs) in [
            (1, 8, 8),
            (9, 16, 16),
            (17, 24, 32),
            (33, 40, 48),
            (65, 80, 80),
            (129, 160, 160),
            (1025, 1280, 1280),
            (4097, 5120, 5120),
            (16_385, 20_480, 20_480),
        ] {
            assert_eq!(redis.block(bytes), ours, "{bytes}");
            assert_eq!(system.block(bytes), theirs, "{bytes}");
        }
    }

    #[test]
    fn keys_cost_what_the_servers_of_each_version_say() {
        let sums = |allocator, valkey, version| {
            let mut sums = Sums::new(allocator);
            sums.written_by(valkey, version);
            sums
        };
        // MEMORY USAGE of Valkey 8.0.1 and 9.1.2, Debian's builds: numbers, then strings under a name of 8.
        let eight = sums(Allocator::SystemJemalloc, true, "8.0.1");
        for (name, expected) in [(1, 48), (11, 48), (12, 64), (27, 64), (28, 80), (43, 80), (44, 96), (100, 144)] {
            assert_eq!(eight.key(name, OBJECT, None, false), expected, "{name}");
        }
        for (text, expected) in [(1, 64), (12, 64), (20, 80), (44, 96), (45, 112), (200, 272), (1000, 1072)] {
            assert_eq!(eight.key(8, eight.text(text), Some(text), false), expected, "{text}");
        }
        let nine = sums(Allocator::SystemJemalloc, true, "9.1.2");
        for (name, expected) in [(1, 32), (13, 32), (14, 48), (24, 48), (30, 64), (47, 80), (60, 96), (100, 128)] {
            assert_eq!(nine.key(name, OBJECT, None, false), expected, "{name}");
        }
        for (text, expected) in [(5, 32), (10, 48), (28, 64), (44, 80), (65, 96), (100, 128), (200, 256), (250, 288)] {
            assert_eq!(nine.key(8, nine.text(text), Some(text), false), expected, "{text}");
        }
        // Redis 6.2.14 with the C library's malloc.
        let before = sums(Allocator::Libc, false, "6.2.14");
        for (text, expected) in [(1, 67), (12, 78), (44, 110), (45, 120), (100, 168), (1000, 1080)] {
            assert_eq!(before.key(8, before.text(text), Some(text), false), expected, "{text}");
        }
        assert_eq!((before.packed(27), before.list_node()), (27, 32));
    }

    #[test]
    fn lengths_no_memory_could_hold_do_not_overflow() {
        for allocator in [Allocator::Jemalloc, Allocator::SystemJemalloc, Allocator::Libc] {
            let sums = Sums::new(allocator);
            for length in [u64::MAX, u64::MAX - 1, 1 << 63, (1 << 63) + 1] {
                sums.sds(length);
                for version in ["8.0.1", "9.1.2"] {
                    let mut sums = sums.clone();
                    sums.written_by(true, version);
                    sums.key(length, length, Some(length), true);
                }
                sums.block(length);
                buckets(length);
                radix(length, length);
            }
        }
    }
}
