//! Snapshots of every version: real ones of five servers, and hand-made ones
//! for what no server at hand writes any more, or yet.

use std::{collections::BTreeMap, fmt::Write, path::Path};

use rediscue::keyspace::{
    Kind,
    rdb::{Allocator, Checksum, Facts, Key, RdbError, Reader, Reading},
};

pub(crate) const READING: Reading =
    Reading { now: 1_800_000_000_000, allocator: Allocator::Jemalloc, checksum: true, size: None };

/// The real files, each with every type its server has.
pub(crate) fn samples() -> BTreeMap<String, Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples/rdb");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files
        .filter(|path| path.extension().is_some_and(|extension| extension == "rdb"))
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap()))
        .collect()
}

/// A snapshot made by hand.
pub(crate) struct Snapshot(pub(crate) Vec<u8>);

impl Snapshot {
    pub(crate) fn new(magic: &str) -> Self {
        Self(magic.as_bytes().to_vec())
    }

    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn length(self, length: u64) -> Self {
        match length {
            0..64 => self.raw(&[length as u8]),
            64..16_384 => self.raw(&[0x40 | (length >> 8) as u8, length as u8]),
            16_384..0x1_0000_0000 => self.raw(&[0x80]).raw(&(length as u32).to_be_bytes()),
            _ => self.raw(&[0x81]).raw(&length.to_be_bytes()),
        }
    }

    pub(crate) fn string(self, text: impl AsRef<[u8]>) -> Self {
        self.length(text.as_ref().len() as u64).raw(text.as_ref())
    }

    /// A key's type and name.
    pub(crate) fn key(self, code: u8, name: &str) -> Self {
        self.raw(&[code]).string(name)
    }

    /// The end, with a right checksum.
    pub(crate) fn end(self) -> Vec<u8> {
        let whole = self.raw(&[0xff]);
        let checksum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Redis, &whole.0);
        whole.raw(&checksum.to_le_bytes()).0
    }
}

/// A key without its borrowed name.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) db: u32,
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) encoding: &'static str,
    pub(crate) elements: Option<u64>,
    pub(crate) stored: u64,
    pub(crate) bytes: u64,
    pub(crate) expires_at: Option<u64>,
    pub(crate) other: (Option<u64>, Option<u8>, u64),
}

impl From<&Key<'_>> for Row {
    fn from(key: &Key<'_>) -> Self {
        Self {
            db: key.db,
            name: String::from_utf8_lossy(key.name).into_owned(),
            kind: key.kind,
            encoding: key.encoding.word(),
            elements: key.elements,
            stored: key.stored,
            bytes: key.bytes,
            expires_at: key.expires_at,
            other: (key.idle_s, key.frequency, key.offset),
        }
    }
}

/// Reads bytes that arrive in blocks of these sizes, over and over.
pub(crate) fn read_in(bytes: &[u8], sizes: &[usize], reading: Reading) -> Result<(Facts, Vec<Row>), RdbError> {
    let mut reader = Reader::new(reading);
    let mut rows = Vec::new();
    let mut rest = bytes;
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (block, tail) = rest.split_at((*size).clamp(1, rest.len()));
        reader.feed(block, |key| rows.push(Row::from(key)))?;
        rest = tail;
    }
    Ok((reader.finish()?, rows))
}

pub(crate) fn read_all(bytes: &[u8]) -> Result<(Facts, Vec<Row>), RdbError> {
    read_in(bytes, &[usize::MAX], Reading { size: Some(bytes.len() as u64), ..READING })
}

#[test]
fn real_files_of_five_servers_are_read_to_the_end() {
    let mut text = String::new();
    for (server, bytes) in samples() {
        let (facts, mut rows) = read_all(&bytes).unwrap_or_else(|error| panic!("{server}: {error}"));
        assert!(facts.complete && matches!(facts.checksum, Checksum::Right(_)), "{server}");
        rows.sort_by(|a, b| (a.db, &a.name).cmp(&(b.db, &b.name)));
        let magic = if facts.valkey { "VALKEY" } else { "REDIS" };
        let by = facts.created_by.unwrap();
        writeln!(text, "{server}: {magic} {} by {by}, functions {}", facts.version, facts.functions).unwrap();
        for row in rows {
            let Row { db, name, kind, encoding, elements, stored, bytes, expires_at, other: (idle, frequency, _) } =
                row;
            let name: String = name.chars().take(24).collect();
            write!(text, "  {db} {name:24} {:6} {encoding:27} {:3}", kind.word(), elements.unwrap()).unwrap();
            write!(text, " {stored:4} {bytes:5} {}", expires_at.map_or("-".into(), |at| at.to_string())).unwrap();
            writeln!(text, " {} {}", idle.is_some(), frequency.is_some()).unwrap();
        }
    }
    insta::assert_snapshot!(text);
}

#[test]
fn blocks_of_any_size_give_the_same_keys() {
    for (server, bytes) in samples() {
        let whole = read_all(&bytes).unwrap();
        for sizes in [&[1][..], &[2, 3], &[7], &[64], &[1, 1000]] {
            assert_eq!(read_in(&bytes, sizes, READING).unwrap(), whole, "{server} in {sizes:?}");
        }
    }
}

/// A ziplist of entries that were encoded already.
fn ziplist(entries: &[&[u8]]) -> Vec<u8> {
    let body: Vec<u8> = entries.concat();
    let mut bytes = (11 + body.len() as u32).to_le_bytes().to_vec();
    bytes.extend(10u32.to_le_bytes());
    bytes.extend((entries.len() as u16).to_le_bytes());
    bytes.extend(body);
    bytes.push(0xff);
    bytes
}

fn listpack(entries: &[&[u8]]) -> Vec<u8> {
    let body: Vec<u8> = entries.concat();
    let mut bytes = (7 + body.len() as u32).to_le_bytes().to_vec();
    bytes.extend((entries.len() as u16).to_le_bytes());
    bytes.extend(body);
    bytes.push(0xff);
    bytes
}

fn kinds(bytes: &[u8]) -> Vec<(String, Kind, &'static str, Option<u64>)> {
    let (_, rows) = read_all(bytes).unwrap();
    for sizes in [&[1][..], &[5]] {
        assert_eq!(read_in(bytes, sizes, READING).unwrap().1, rows);
    }
    rows.into_iter().map(|row| (row.name, row.kind, row.encoding, row.elements)).collect()
}

#[test]
fn version_9_and_older_values_are_told() {
    let one = [0u8, 0xf2];
    let text = [2u8, 2, b'h', b'i'];
    let far = [0xfeu8, 4, 0, 0, 0, 0x40, 100].iter().copied().chain([b'x'; 100]).collect::<Vec<_>>();
    let bytes = Snapshot::new("REDIS0009")
        .raw(&[0xfa])
        .string("redis-ver")
        .string("5.0.14")
        .raw(&[0xfa])
        .string("redis-bits")
        .raw(&[0xc0, 64])
        .raw(&[0xfe, 0, 0xfb, 9, 1])
        .raw(&[0xfd])
        .raw(&1_900_000_000u32.to_le_bytes())
        .key(1, "plain list")
        .length(2)
        .string("a")
        .raw(&[0xc1, 1, 1])
        .key(3, "old zset")
        .length(3)
        .string("a")
        .string("1.5")
        .string("b")
        .raw(&[254])
        .string("c")
        .raw(&[255])
        .key(9, "zipmap")
        .string([1, 1, b'f', 2, 1, b'v', b'w', 0, 0xff])
        .key(9, "zipmap that lost count")
        .string([254, 1, b'f', 1, 0, b'v', 1, b'g', 1, 0, b'v', 0xff])
        .key(10, "ziplist")
        .string(ziplist(&[&one, &text]))
        .key(12, "zset ziplist")
        .string(ziplist(&[&text, &one]))
        .key(13, "hash ziplist")
        .string(ziplist(&[&text, &one, &far, &one]))
        .key(14, "quicklist")
        .length(2)
        .string(ziplist(&[&one, &text]))
        .string(ziplist(&[&far]))
        .key(15, "stream")
        .length(0)
        .raw(&[0, 0, 0, 0])
        .end();
    let told = kinds(&bytes);
    let told: Vec<_> = told.iter().map(|(name, kind, encoding, n)| (&name[..], *kind, *encoding, n.unwrap())).collect();
    assert_eq!(
        told,
        [
            ("plain list", Kind::List, "linkedlist", 2),
            ("old zset", Kind::Zset, "skiplist", 3),
            ("zipmap", Kind::Hash, "zipmap", 1),
            ("zipmap that lost count", Kind::Hash, "zipmap", 2),
            ("ziplist", Kind::List, "ziplist", 2),
            ("zset ziplist", Kind::Zset, "ziplist", 1),
            ("hash ziplist", Kind::Hash, "ziplist", 2),
            ("quicklist", Kind::List, "quicklist", 3),
            ("stream", Kind::Stream, "stream", 0),
        ]
    );
    let (facts, rows) = read_all(&bytes).unwrap();
    assert_eq!(rows[0].expires_at, Some(1_900_000_000_000));
    assert_eq!((facts.bits, facts.databases[0].announced), (Some(64), Some(9)));
}

#[test]
fn fields_with_an_expiry_are_told_in_each_of_their_formats() {
    let expiry = 1_900_000_000_000u64.to_le_bytes();
    let triples = listpack(&[&[0x81, b'f', 2], &[0x81, b'v', 2], &[0, 1]]);
    let redis = Snapshot::new("REDIS0012")
        .raw(&[0xf4, 1, 2, 3])
        .key(22, "metadata before release")
        .length(1)
        .length(0)
        .string("f")
        .string("v")
        .key(23, "listpack before release")
        .string(&triples)
        .key(24, "metadata")
        .raw(&expiry)
        .length(2)
        .length(1)
        .string("f")
        .string("v")
        .length(0)
        .string("g")
        .raw(&[0xc0, 5])
        .key(25, "listpack")
        .raw(&expiry)
        .string(&triples)
        .key(20, "set listpack")
        .string(listpack(&[&[1, 1], &[2, 1], &[3, 1]]))
        .end();
    assert_eq!(
        kinds(&redis).into_iter().map(|(_, kind, encoding, n)| (kind, encoding, n.unwrap())).collect::<Vec<_>>(),
        [
            (Kind::Hash, "hashtable with field expiry", 1),
            (Kind::Hash, "listpackex", 1),
            (Kind::Hash, "hashtable with field expiry", 2),
            (Kind::Hash, "listpackex", 1),
            (Kind::Set, "listpack", 3),
        ]
    );
    let valkey = Snapshot::new("VALKEY080")
        .raw(&[0xf3])
        .string("job")
        .raw(&[1, 0, 5])
        .key(22, "hash")
        .length(2)
        .string("f")
        .string("v")
        .raw(&(-1i64).to_le_bytes())
        .string("g")
        .string("v")
        .raw(&expiry)
        .end();
    assert_eq!(kinds(&valkey), [("hash".into(), Kind::Hash, "hashtable with field expiry", Some(2))]);
}

#[test]
fn modules_are_passed_over_by_their_framing() {
    let data = |snapshot: Snapshot| {
        snapshot.raw(&[1, 5, 2, 0x40, 200, 3, 0, 0, 0, 0, 4]).raw(&[0; 8]).raw(&[5]).string(vec![b'j'; 500]).raw(&[0])
    };
    let bytes = data(Snapshot::new("REDIS0012").raw(&[0xf7]).length(1 << 60).raw(&[2, 2]));
    let bytes = data(Snapshot(bytes.0).key(7, "document").length(u64::MAX));
    let bytes = data(Snapshot(bytes.0).raw(&[0xf3, 2, 9, 9, 9, 9])).0;
    let bytes = data(Snapshot(bytes).raw(&[8, 8, 8, 8])).key(0, "with metadata").string("v").end();
    let told = kinds(&bytes);
    assert_eq!(told[0], ("document".into(), Kind::Module, "module", None));
    assert_eq!(told[1], ("with metadata".into(), Kind::String, "embstr", Some(1)));
    assert_eq!(read_all(&bytes).unwrap().0.module_data, 1);
}

#[test]
fn streams_of_each_version_are_told() {
    for (code, version) in [(15u8, 1), (19, 2), (21, 3), (26, 4), (27, 5)] {
        let mut snapshot = Snapshot::new("REDIS0012").key(code, "stream").length(1).string([7; 16]);
        snapshot = snapshot.string(listpack(&[&[1, 1][..]; 20])).length(3).length(9).length(0);
        if version >= 2 {
            snapshot = snapshot.raw(&[1, 0, 2, 0, 5]);
        }
        snapshot = snapshot.length(1).string("readers").length(9).length(0);
        if version >= 2 {
            snapshot = snapshot.length(5);
        }
        snapshot = snapshot.length(1).raw(&[7; 16]).raw(&[0; 8]).length(1);
        snapshot = snapshot.length(1).string("one").raw(&[0; 8]);
        if version >= 3 {
            snapshot = snapshot.raw(&[0; 8]);
        }
        snapshot = snapshot.length(1).raw(&[7; 16]);
        if version >= 5 {
            snapshot = snapshot.length(2).raw(&[7; 32]);
        }
        if version >= 4 {
            let producers = Snapshot(snapshot.0.clone()).length(100).length(100).length(1).end();
            let error = read_all(&producers).unwrap_err();
            assert!(error.to_string().contains("idempotent producers"), "{error}");
            snapshot = snapshot.length(100).length(100).length(0).length(7).length(0);
        }
        let bytes = snapshot.key(0, "after").string("x").end();
        let told = kinds(&bytes);
        assert_eq!(told[0], ("stream".into(), Kind::Stream, "stream", Some(3)), "version {version}");
        assert_eq!(told[1].0, "after");
    }
}

#[test]
fn a_snapshot_that_begins_an_append_only_file_may_be_followed_by_commands() {
    let whole =
        Snapshot::new("REDIS0010").raw(&[0xfa]).string("aof-base").raw(&[0xc0, 1]).key(0, "k").string("v").end();
    let bytes = Snapshot(whole).raw(b"*1\r\n$4\r\nPING\r\n").0;
    let (facts, rows) = read_all(&bytes).unwrap();
    assert_eq!((rows.len(), facts.complete, facts.aof_preamble), (1, true, true));
}
