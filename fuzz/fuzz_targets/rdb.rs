//! Whatever the bytes are: no panic, no overflow, the same in blocks of any
//! size, and no more names held than were read.

#![no_main]
#![allow(dead_code, unused_imports)]

use libfuzzer_sys::fuzz_target;

#[path = "../keyspace.rs"]
mod keyspace;

use keyspace::rdb::{Allocator, Facts, RdbError, Reader, Reading};

fn read(bytes: &[u8], block: usize, reading: Reading) -> (Result<Facts, RdbError>, u64, u64) {
    let mut reader = Reader::new(reading);
    let (mut keys, mut sum) = (0u64, 0u64);
    for block in bytes.chunks(block.max(1)) {
        let fed = reader.feed(block, |key| {
            keys += 1;
            sum = sum
                .wrapping_mul(31)
                .wrapping_add(key.bytes ^ key.stored ^ key.elements.unwrap_or(7) ^ key.name.len() as u64);
        });
        if let Err(error) = fed {
            return (Err(error), keys, sum);
        }
    }
    (reader.finish(), keys, sum)
}

fuzz_target!(|input: &[u8]| {
    let Some((&how, bytes)) = input.split_first() else { return };
    let reading = Reading {
        now: 1_800_000_000_000,
        allocator: [Allocator::Jemalloc, Allocator::SystemJemalloc, Allocator::Libc][usize::from(how) % 3],
        // With it, nearly every mutation would end at the checksum and nothing behind it.
        checksum: false,
        size: (how & 0x80 != 0).then_some(bytes.len() as u64),
    };
    let whole = read(bytes, usize::MAX, reading);
    let pieces = read(bytes, 1 + usize::from(how & 0x3f), reading);
    assert_eq!(whole, pieces);
    assert!(whole.1 <= bytes.len() as u64);
});
