//! What a key would cost in memory: the sums `MEMORY USAGE` of Redis 7 makes,
//! from lengths alone.
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
pub(super) const DICT: u64 = 56;
/// sizeof(zset) + sizeof(zskiplist).
pub(super) const ZSET: u64 = 16 + 32;
/// sizeof(quicklist).
pub(super) const QUICKLIST: u64 = 40;
/// sizeof(quicklistNode).
pub(super) const QUICKLIST_NODE: u64 = 40;
/// sizeof(stream).
pub(super) const STREAM: u64 = 80;
/// sizeof(streamCG).
pub(super) const GROUP: u64 = 40;
/// sizeof(streamNACK).
pub(super) const NACK: u64 = 24;
/// sizeof(streamConsumer).
pub(super) const CONSUMER: u64 = 24;
/// What a stream's growing listpack is given at once.
pub(super) const STREAM_NODE_FIRST: u64 = 4096;

/// Strings up to this length share a block with their object.
const EMBEDDED_MAX: u64 = 44;

/// The sums for one allocator.
#[derive(Debug, Clone)]
pub(super) struct Sums {
    allocator: Allocator,
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
        Self { allocator, small, skiplist_node: skiplist_node.sum(), skiplist_head: rounded(allocator, 24 + 16 * 32) }
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
        if length <= EMBEDDED_MAX {
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
    fn lengths_no_memory_could_hold_do_not_overflow() {
        for allocator in [Allocator::Jemalloc, Allocator::SystemJemalloc, Allocator::Libc] {
            let sums = Sums::new(allocator);
            for length in [u64::MAX, u64::MAX - 1, 1 << 63, (1 << 63) + 1] {
                sums.sds(length);
                sums.block(length);
                buckets(length);
                radix(length, length);
            }
        }
    }
}
