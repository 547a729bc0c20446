//! What `DUMP` answers, read: the content of one value, and whether two of them are logically equal.
//!
//! The same value can be packed in different ways: by another version, after
//! another history, with its members in another order. Its [`Fingerprint`] is
//! taken of what it means, so that it is the same for all of them.

use crc_fast::{CrcAlgorithm, checksum};
use sha2::{Digest, Sha256};

use super::lzf;
use crate::keyspace::Kind;

/// A field of a hash, its value, and when it expires (milliseconds; 0: never).
pub type Field = (Vec<u8>, Vec<u8>, u64);

/// A value's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A string.
    String(Vec<u8>),
    /// A list, in order.
    List(Vec<Vec<u8>>),
    /// A set, in any order.
    Set(Vec<Vec<u8>>),
    /// A sorted set, in any order: members, and scores as their bits.
    Zset(Vec<(Vec<u8>, u64)>),
    /// A hash, in any order.
    Hash(Vec<Field>),
    /// A stream or a module's value, which only its own program understands.
    Other,
}

/// What a value means, in 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 16]);

/// Version and checksum at the end of what DUMP answers.
const FOOTER: usize = 10;
/// Valkey counts its versions from here.
const VALKEY: u16 = 80;

/// Takes the fingerprint of what DUMP answered.
pub fn fingerprint(dump: &[u8]) -> Fingerprint {
    let mut hash = Sha256::new();
    let mut put = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    match content(dump) {
        Some(Content::String(text)) => {
            put(b"string");
            put(&text);
        }
        Some(Content::List(items)) => {
            put(b"list");
            items.iter().for_each(|item| put(item));
        }
        Some(Content::Set(mut members)) => {
            put(b"set");
            members.sort_unstable();
            members.iter().for_each(|member| put(member));
        }
        Some(Content::Zset(mut members)) => {
            put(b"zset");
            members.sort_unstable();
            for (member, score) in &members {
                put(member);
                put(&score.to_le_bytes());
            }
        }
        Some(Content::Hash(mut fields)) => {
            put(b"hash");
            fields.sort_unstable();
            for (field, value, expires) in &fields {
                put(field);
                put(value);
                put(&expires.to_le_bytes());
            }
        }
        // The bytes themselves, without what the server adds to them.
        Some(Content::Other) | None => {
            put(b"bytes");
            put(&dump[..dump.len().saturating_sub(FOOTER)]);
        }
    }
    let digest = hash.finalize();
    Fingerprint(digest[..16].try_into().expect("a SHA-256 digest has 32 bytes"))
}

/// Whether it is what a server wrote, by the checksum at its end.
pub fn is_whole(dump: &[u8]) -> bool {
    let Some((said, sum)) = dump.split_last_chunk::<8>() else { return false };
    checksum(CrcAlgorithm::Crc64Redis, said) == u64::from_le_bytes(*sum)
}

/// The version of the format it was written in; a server reads its own and older ones.
pub fn format(dump: &[u8]) -> Option<u16> {
    let footer = dump.last_chunk::<FOOTER>()?;
    Some(u16::from_le_bytes([footer[0], footer[1]]))
}

/// The type of the value, as its first byte tells it.
pub fn kind(dump: &[u8]) -> Kind {
    let valkey = format(dump).is_some_and(|version| version >= VALKEY);
    match dump.first() {
        Some(0) => Kind::String,
        Some(1 | 10 | 14 | 18) => Kind::List,
        Some(2 | 11 | 20) => Kind::Set,
        Some(3 | 5 | 12 | 17) => Kind::Zset,
        Some(4 | 9 | 13 | 16 | 22) => Kind::Hash,
        Some(23..=25) if !valkey => Kind::Hash,
        Some(15 | 19 | 21) => Kind::Stream,
        Some(26 | 27) if !valkey => Kind::Stream,
        Some(6 | 7) => Kind::Module,
        _ => Kind::Other,
    }
}

/// Reads what DUMP answered; `None` when it cannot be read.
pub fn content(dump: &[u8]) -> Option<Content> {
    let body = dump.get(..dump.len().checked_sub(FOOTER)?)?;
    let version = u16::from_le_bytes([dump[body.len()], dump[body.len() + 1]]);
    let (&code, rest) = body.split_first()?;
    let mut read = Read { rest };
    let content = read.content(code, version)?;
    (read.rest.is_empty() || content == Content::Other).then_some(content)
}

struct Read<'a> {
    rest: &'a [u8],
}

impl<'a> Read<'a> {
    fn content(&mut self, code: u8, version: u16) -> Option<Content> {
        // It gave 22 a meaning of its own.
        let valkey = version >= VALKEY;
        Some(match code {
            0 => Content::String(self.string()?),
            1 => Content::List(self.many(Self::string)?),
            2 => Content::Set(self.many(Self::string)?),
            3 => Content::Zset(self.many(|read| Some((read.string()?, read.old_score()?)))?),
            4 => Content::Hash(self.many(|read| Some((read.string()?, read.string()?, 0)))?),
            5 => Content::Zset(self.many(|read| Some((read.string()?, bits(f64::from_le_bytes(read.array()?)))))?),
            9 => Content::Hash(zipmap(&self.string()?)?),
            10 => Content::List(ziplist(&self.string()?)?),
            11 => Content::Set(intset(&self.string()?)?),
            12 => Content::Zset(scores(ziplist(&self.string()?)?)?),
            13 => Content::Hash(pairs(ziplist(&self.string()?)?)?),
            14 => {
                let nodes = self.many(|read| ziplist(&read.string()?))?;
                Content::List(nodes.into_iter().flatten().collect())
            }
            16 => Content::Hash(pairs(listpack(&self.string()?)?)?),
            17 => Content::Zset(scores(listpack(&self.string()?)?)?),
            18 => {
                let nodes = self.many(|read| match read.length()? {
                    1 => Some(vec![read.string()?]),
                    2 => listpack(&read.string()?),
                    _ => None,
                })?;
                Content::List(nodes.into_iter().flatten().collect())
            }
            20 => Content::Set(listpack(&self.string()?)?),
            22 if valkey => {
                let expiry = |bytes| u64::try_from(i64::from_le_bytes(bytes)).unwrap_or(0);
                Content::Hash(self.many(|read| Some((read.string()?, read.string()?, expiry(read.array()?))))?)
            }
            24 if !valkey => {
                let soonest = u64::from_le_bytes(self.array()?);
                Content::Hash(self.many(|read| {
                    let after = read.length()?;
                    let expires = if after == 0 { 0 } else { soonest.checked_add(after - 1)? };
                    Some((read.string()?, read.string()?, expires))
                })?)
            }
            25 if !valkey => {
                self.array::<8>()?;
                let parts = listpack(&self.string()?)?;
                let mut fields = Vec::with_capacity(parts.len() / 3);
                for triple in parts.chunks(3) {
                    let [field, value, expires] = triple else { return None };
                    fields.push((field.clone(), value.clone(), std::str::from_utf8(expires).ok()?.parse().ok()?));
                }
                Content::Hash(fields)
            }
            _ => Content::Other,
        })
    }

    fn many<T>(&mut self, mut one: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.length()?;
        // Every element takes a byte at least: what claims more is not believed.
        if count > self.rest.len() as u64 {
            return None;
        }
        (0..count).map(|_| one(self)).collect()
    }

    fn slice(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.slice(N)?.try_into().ok()
    }

    fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn length(&mut self) -> Option<u64> {
        let first = self.byte()?;
        self.length_from(first)
    }

    fn length_from(&mut self, first: u8) -> Option<u64> {
        match (first >> 6, first) {
            (0, _) => Some(u64::from(first)),
            (1, _) => Some(u64::from(first & 0x3f) << 8 | u64::from(self.byte()?)),
            (2, 0x80) => Some(u64::from(u32::from_be_bytes(self.array()?))),
            (2, 0x81) => Some(u64::from_be_bytes(self.array()?)),
            _ => None,
        }
    }

    fn string(&mut self) -> Option<Vec<u8>> {
        let first = self.byte()?;
        match first {
            0xc0 => Some(i8::from_le_bytes(self.array()?).to_string().into_bytes()),
            0xc1 => Some(i16::from_le_bytes(self.array()?).to_string().into_bytes()),
            0xc2 => Some(i32::from_le_bytes(self.array()?).to_string().into_bytes()),
            0xc3 => {
                let stored = usize::try_from(self.length()?).ok()?;
                let length = usize::try_from(self.length()?).ok()?;
                let packed = self.slice(stored)?;
                // No more than LZF can yield of so many bytes.
                if length > stored.saturating_mul(264) {
                    return None;
                }
                let mut out = Vec::with_capacity(length);
                lzf::unpack(packed, &mut out, length, true)?;
                (out.len() == length).then_some(out)
            }
            first => {
                let length = usize::try_from(self.length_from(first)?).ok()?;
                self.slice(length).map(<[u8]>::to_vec)
            }
        }
    }

    /// A score as text, its length before it; the three highest lengths say NaN and the infinities.
    fn old_score(&mut self) -> Option<u64> {
        Some(match self.byte()? {
            253 => bits(f64::NAN),
            254 => bits(f64::INFINITY),
            255 => bits(f64::NEG_INFINITY),
            length => score(self.slice(usize::from(length))?)?,
        })
    }
}

/// The same for all zeros and all NaNs.
fn bits(score: f64) -> u64 {
    if score == 0.0 {
        0
    } else if score.is_nan() {
        f64::NAN.to_bits()
    } else {
        score.to_bits()
    }
}

fn score(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.trim().parse().ok().map(bits)
}

fn pairs(parts: Vec<Vec<u8>>) -> Option<Vec<Field>> {
    let mut parts = parts.into_iter();
    let mut found = Vec::with_capacity(parts.len() / 2);
    while let Some(field) = parts.next() {
        found.push((field, parts.next()?, 0));
    }
    Some(found)
}

fn scores(parts: Vec<Vec<u8>>) -> Option<Vec<(Vec<u8>, u64)>> {
    pairs(parts)?.into_iter().map(|(member, text, _)| Some((member, score(&text)?))).collect()
}

fn number(value: i64) -> Vec<u8> {
    value.to_string().into_bytes()
}

/// A number of three bytes, little end first.
fn three(bytes: [u8; 3]) -> i64 {
    i64::from(i32::from_le_bytes([0, bytes[0], bytes[1], bytes[2]]) >> 8)
}

fn listpack(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut read = Read { rest: bytes.get(6..)? };
    let mut found = Vec::new();
    loop {
        let before = read.rest.len();
        let first = read.byte()?;
        let entry = match first {
            0xff => return read.rest.is_empty().then_some(found),
            0..=0x7f => number(i64::from(first)),
            0x80..=0xbf => read.slice(usize::from(first & 0x3f))?.to_vec(),
            0xc0..=0xdf => {
                let low = read.byte()?;
                let value = i64::from(first & 0x1f) << 8 | i64::from(low);
                number(if value >= 1 << 12 { value - (1 << 13) } else { value })
            }
            0xe0..=0xef => {
                let length = usize::from(first & 0x0f) << 8 | usize::from(read.byte()?);
                read.slice(length)?.to_vec()
            }
            0xf0 => {
                let length = u32::from_le_bytes(read.array()?) as usize;
                read.slice(length)?.to_vec()
            }
            0xf1 => number(i64::from(i16::from_le_bytes(read.array()?))),
            0xf2 => number(three(read.array()?)),
            0xf3 => number(i64::from(i32::from_le_bytes(read.array()?))),
            0xf4 => number(i64::from_le_bytes(read.array()?)),
            _ => return None,
        };
        found.push(entry);
        // Each entry is followed by its own length, for walking backwards.
        let back = match before - read.rest.len() {
            0..=127 => 1,
            128..=16_383 => 2,
            16_384..=2_097_151 => 3,
            2_097_152..=268_435_455 => 4,
            _ => 5,
        };
        read.slice(back)?;
    }
}

fn ziplist(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut read = Read { rest: bytes.get(10..)? };
    let mut found = Vec::new();
    loop {
        match read.byte()? {
            0xff => return read.rest.is_empty().then_some(found),
            0xfe => {
                read.slice(4)?;
            }
            _ => {}
        }
        let first = read.byte()?;
        let entry = match first {
            0..=0x3f => read.slice(usize::from(first))?.to_vec(),
            0x40..=0x7f => {
                let length = usize::from(first & 0x3f) << 8 | usize::from(read.byte()?);
                read.slice(length)?.to_vec()
            }
            0x80 => {
                let length = u32::from_be_bytes(read.array()?) as usize;
                read.slice(length)?.to_vec()
            }
            0xc0 => number(i64::from(i16::from_le_bytes(read.array()?))),
            0xd0 => number(i64::from(i32::from_le_bytes(read.array()?))),
            0xe0 => number(i64::from_le_bytes(read.array()?)),
            0xf0 => number(three(read.array()?)),
            0xfe => number(i64::from(i8::from_le_bytes(read.array()?))),
            0xf1..=0xfd => number(i64::from(first & 0x0f) - 1),
            _ => return None,
        };
        found.push(entry);
    }
}

fn intset(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let width = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    let members = bytes.get(8..)?.chunks(if matches!(width, 2 | 4 | 8) { width } else { return None });
    members
        .map(|member| {
            Some(number(match *member {
                [a, b] => i64::from(i16::from_le_bytes([a, b])),
                [a, b, c, d] => i64::from(i32::from_le_bytes([a, b, c, d])),
                [a, b, c, d, e, f, g, h] => i64::from_le_bytes([a, b, c, d, e, f, g, h]),
                _ => return None,
            }))
        })
        .collect()
}

fn zipmap(bytes: &[u8]) -> Option<Vec<Field>> {
    let mut read = Read { rest: bytes.get(1..)? };
    let mut found = Vec::new();
    let length = |read: &mut Read<'_>, first: u8| match first {
        0..=0xfd => Some(usize::from(first)),
        0xfe => Some(u32::from_le_bytes(read.array()?) as usize),
        0xff => None,
    };
    loop {
        let first = read.byte()?;
        if first == 0xff {
            return read.rest.is_empty().then_some(found);
        }
        let count = length(&mut read, first)?;
        let field = read.slice(count)?.to_vec();
        let first = read.byte()?;
        let count = length(&mut read, first)?;
        // A value says how many unused bytes follow it.
        let unused = usize::from(read.byte()?);
        let value = read.slice(count)?.to_vec();
        read.slice(unused)?;
        found.push((field, value, 0));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn dumped(body: &[u8]) -> Vec<u8> {
        [body, &[10, 0, 0, 0, 0, 0, 0, 0, 0, 0]].concat()
    }

    #[test]
    fn strings_numbers_and_packed_lists_are_read() {
        assert_eq!(content(&dumped(b"\x00\x03abc")), Some(Content::String(b"abc".to_vec())));
        assert_eq!(content(&dumped(b"\x00\xc1\xfe\xff")), Some(Content::String(b"-2".to_vec())));
        // A listpack of "a", 5 and -1.
        let pack = [18, 0, 0, 0, 3, 0, 0x81, b'a', 2, 5, 1, 0xdf, 0xff, 2, 0xff];
        let mut body = vec![16, pack.len() as u8];
        body.extend(pack);
        assert_eq!(content(&dumped(&body)), None, "a hash has pairs");
        body[0] = 20;
        let members = vec![b"a".to_vec(), b"5".to_vec(), b"-1".to_vec()];
        assert_eq!(content(&dumped(&body)), Some(Content::Set(members)));
    }

    #[test]
    fn the_same_members_in_another_packing_have_the_same_fingerprint() {
        // {1, 2} as an intset and as a table in the other order.
        let intset = dumped(&[11, 12, 2, 0, 0, 0, 2, 0, 0, 0, 1, 0, 2, 0]);
        let table = dumped(&[2, 2, 1, b'2', 1, b'1']);
        assert_eq!(fingerprint(&intset), fingerprint(&table));
        assert_ne!(fingerprint(&table), fingerprint(&dumped(&[2, 2, 1, b'2', 1, b'3'])));
        // The same elements as a list are another value.
        assert_ne!(fingerprint(&table), fingerprint(&dumped(&[1, 2, 1, b'2', 1, b'1'])));
        assert_eq!(fingerprint(&dumped(&[1, 1, 1, b'7'])), fingerprint(&dumped(&[1, 1, 0xc0, 7])));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(code in 0_u8..27, bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            let mut dump = vec![code];
            dump.extend(bytes);
            let _ = content(&dump);
            prop_assert_eq!(fingerprint(&dump), fingerprint(&dump));
        }
    }
}
