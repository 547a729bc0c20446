//! Damaged, cut and hostile snapshots: an error that says where, what and what
//! next; never a panic, never more memory or time than the bytes are worth.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use rediscue::keyspace::rdb::{Damage, RdbError, Reader, Reading};

use super::rdb_formats::{READING, Snapshot, read_all, read_in, samples};

fn damage(bytes: &[u8]) -> RdbError {
    let error = read_all(bytes).expect_err("it is damaged");
    assert!(error.offset <= bytes.len() as u64);
    assert!(!error.next().is_empty());
    // Blocks of one byte, and not knowing the size, find damage too.
    read_in(bytes, &[1], READING).expect_err("it is damaged");
    error
}

#[test]
fn a_file_cut_anywhere_is_said_to_be_cut() {
    for (server, bytes) in samples() {
        for end in 0..bytes.len() {
            let cut = &bytes[..end];
            for size in [None, Some(end as u64)] {
                match read_in(cut, &[64], Reading { size, ..READING }).map_err(|error| error.damage) {
                    Err(Damage::Cut(_) | Damage::LongerThanFile { .. } | Damage::MoreThanFile { .. }) => {}
                    other => panic!("{server} cut at {end}: {other:?}"),
                }
            }
        }
    }
}

#[test]
fn a_changed_byte_is_never_overlooked() {
    for (server, bytes) in samples() {
        for at in 0..bytes.len() {
            for flip in [1, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[at] ^= flip;
                if let Ok((facts, _)) = read_all(&changed) {
                    panic!("{server}, byte {at} ^ {flip}: {facts:?}");
                }
            }
        }
    }
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let start = || Snapshot::new("REDIS0011").raw(&[0xfe, 0]);
    let huge = 1u64 << 63;
    for (what, bytes, offset, words) in [
        ("empty", vec![], 0, "cut"),
        ("text", b"hello world, hello".to_vec(), 0, "not an RDB file"),
        ("gzip", [&[0x1f, 0x8b][..], &[0; 20]].concat(), 0, "gzip"),
        ("aof", b"*2\r\n$6\r\nSELECT\r\n".to_vec(), 0, "append-only"),
        ("new", b"REDIS0099\xff".to_vec(), 0, "version 99"),
        ("type", start().key(100, "k").end(), 11, "unknown opcode or type 100"),
        ("opcode", start().raw(&[242]).end(), 11, "unknown opcode or type 242"),
        ("module", start().key(6, "k").end(), 14, "release candidate"),
        ("function", start().raw(&[246]).end(), 11, "release candidate"),
        ("name", start().raw(&[0]).length(huge).end(), 11, "9223372036854775808 bytes"),
        ("string", start().key(0, "k").length(huge).end(), 14, "9223372036854775808 bytes"),
        ("set", start().key(2, "k").length(huge).end(), 14, "a set claims 9223372036854775808 elements"),
        ("hash", start().key(4, "k").length(u64::MAX).end(), 14, "a hash claims 18446744073709551615 elements"),
        ("list", start().key(18, "k").length(huge).end(), 14, "a list claims 9223372036854775808 elements"),
        ("stream", start().key(21, "k").length(huge).end(), 14, "a stream claims 9223372036854775808 elements"),
        ("bomb", start().key(0, "k").raw(&[0xc3, 3]).length(huge).raw(b"abc").end(), 14, "more than LZF can yield"),
        ("lzf name", start().raw(&[0, 0xc3, 4, 20]).raw(&[0, b'a', 0x20, 9]).string("v").end(), 11, "not LZF"),
        ("listpack", start().key(16, "k").string([9; 20]).end(), 14, "not as long as it says"),
        ("intset", start().key(11, "k").string([3, 0, 0, 0, 1, 0, 0, 0, 1]).end(), 14, "intset"),
        ("number as listpack", start().key(16, "k").raw(&[0xc0, 1]).end(), 14, "is a number"),
        ("node", start().key(18, "k").length(1).length(3).string("x").end(), 15, "neither plain nor packed"),
        ("encoding", start().key(0, "k").raw(&[0xc9]).end(), 14, "unknown encoding"),
        ("trailing", start().end().into_iter().chain(*b"more").collect(), 20, "follow the end"),
    ] {
        let error = damage(&bytes);
        assert_eq!(error.offset, offset, "{what}: {error}");
        assert!(error.to_string().contains(words), "{what}: {error}");
    }
}

#[test]
fn what_no_server_holds_is_damage_and_no_copy_taken_too_soon() {
    let claims = |length: u64| {
        let bytes = Snapshot::new("REDIS0011").raw(&[0xfe, 0]).key(2, "k").length(length).end();
        damage(&bytes).next()
    };
    assert!(claims(1 << 63).starts_with("The file is damaged"), "{}", claims(1 << 63));
    // A set of a few million may well be cut off.
    let next = claims(5_000_000);
    assert!(next.contains("copy is incomplete") && next.contains("or the file is damaged"), "{next}");
}

#[test]
fn a_wrong_checksum_names_both_and_a_disabled_one_is_said() {
    let mut bytes = Snapshot::new("REDIS0011").key(0, "k").string("v").end();
    let end = bytes.len();
    bytes[end - 1] ^= 1;
    assert!(matches!(damage(&bytes).damage, Damage::Checksum { .. }));
    bytes[end - 8..].fill(0);
    let (facts, _) = read_all(&bytes).unwrap();
    assert_eq!(facts.checksum, rediscue::keyspace::rdb::Checksum::Disabled);
}

#[test]
fn endless_module_data_and_databases_take_no_more_than_their_bytes() {
    let start = Instant::now();
    let mut reader = Reader::new(READING);
    let _ = reader.feed(&Snapshot::new("REDIS0011").key(7, "k").length(1).0, |_| ());
    // 64 MiB of numbers in a module's value that never ends.
    let block = [2u8, 1].repeat(32 * 1024);
    for _ in 0..1024 {
        reader.feed(&block, |_| ()).unwrap();
    }
    assert!(matches!(reader.finish().unwrap_err().damage, Damage::Cut(_)));
    let databases = (0..100_000).fold(Snapshot::new("REDIS0011"), |snapshot, db| snapshot.raw(&[0xfe]).length(db));
    assert_eq!(damage(&databases.end()).damage, Damage::Databases);
    assert!(start.elapsed() < Duration::from_secs(60), "it took {:?}", start.elapsed());
}

#[test]
fn a_long_name_is_cut_and_its_length_told() {
    let name = "n".repeat(5_000_000);
    let bytes = Snapshot::new("REDIS0011").key(0, &name).string("v").key(0, "after").string("v").end();
    for sizes in [&[usize::MAX][..], &[1000], &[70_000]] {
        let mut names = Vec::new();
        let mut reader = Reader::new(READING);
        for block in bytes.chunks(sizes[0].min(bytes.len())) {
            reader.feed(block, |key| names.push((key.name.len(), key.name_length))).unwrap();
        }
        reader.finish().unwrap();
        assert_eq!(names, [(16 * 1024, 5_000_000), (5, 5)]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Mutated without a checksum to catch it: anything but a panic, and the
    /// same whatever blocks it arrives in.
    #[test]
    fn mutated_files_end_the_same_in_any_blocks(
        sample in 0usize..5,
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..4), 1..6),
        sizes in prop::collection::vec(1usize..300, 1..5),
        known in any::<bool>(),
    ) {
        let mut bytes = samples().into_values().nth(sample).unwrap();
        for (at, byte, how) in edits {
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 => { bytes.remove(at); }
                // A 64-bit length where one is least expected.
                _ => { bytes.splice(at..at, [0x81, byte, 0, 0, 0, 0, 0, 0, 1]); }
            }
        }
        let reading = Reading { checksum: false, size: known.then_some(bytes.len() as u64), ..READING };
        let whole = read_in(&bytes, &[usize::MAX], reading);
        let pieces = read_in(&bytes, &sizes, reading);
        match (whole, pieces) {
            (Ok(whole), Ok(pieces)) => prop_assert_eq!(whole, pieces),
            (Err(whole), Err(pieces)) => prop_assert_eq!(whole, pieces),
            (whole, pieces) => prop_assert!(false, "{:?} or {:?}", whole.map(|_| ()), pieces.map(|_| ())),
        }
    }

    #[test]
    fn noise_after_the_magic_is_no_trouble(noise in prop::collection::vec(any::<u8>(), 0..2000), valkey in any::<bool>()) {
        let bytes = Snapshot::new(if valkey { "VALKEY080" } else { "REDIS0012" }).raw(&noise).0;
        let _ = read_all(&bytes);
    }
}
