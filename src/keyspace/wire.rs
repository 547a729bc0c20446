//! Redis's protocol, as much of it as a survey needs: commands out, replies in, both as bytes.
//!
//! A survey sends millions of tiny commands; encoding them into one buffer and reading replies in
//! place costs a tenth of what values on the heap would.

use std::io::Write as _;

/// Commands to be sent in one write, and how many replies they will bring.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// How many replies are owed.
    pub replies: usize,
}

impl Batch {
    /// Adds a command.
    pub fn push(&mut self, words: &[&[u8]]) {
        let _ = write!(self.bytes, "*{}\r\n", words.len());
        for word in words {
            let _ = write!(self.bytes, "${}\r\n", word.len());
            self.bytes.extend_from_slice(word);
            self.bytes.extend_from_slice(b"\r\n");
        }
        self.replies += 1;
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.replies == 0
    }
}

/// One reply, borrowed from the buffer it was read into.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply<'a> {
    /// `:42`
    Integer(i64),
    /// `+OK`
    Status(&'a [u8]),
    /// `$5 …`
    Bulk(&'a [u8]),
    /// `$-1`, `*-1`, `_`
    Nil,
    /// `-ERR …`
    Error(&'a [u8]),
    /// `*2 …`; maps and sets too, flattened.
    Array(Vec<Reply<'a>>),
}

impl<'a> Reply<'a> {
    /// A number, also when it came as text.
    pub fn integer(&self) -> Option<i64> {
        match self {
            Reply::Integer(number) => Some(*number),
            Reply::Bulk(text) | Reply::Status(text) => std::str::from_utf8(text).ok()?.parse().ok(),
            _ => None,
        }
    }

    /// Text, whichever way it came.
    pub fn text(&self) -> Option<&'a [u8]> {
        match self {
            Reply::Bulk(text) | Reply::Status(text) => Some(text),
            _ => None,
        }
    }

    /// Its parts.
    pub fn array(&self) -> Option<&[Reply<'a>]> {
        match self {
            Reply::Array(parts) => Some(parts),
            _ => None,
        }
    }

    /// The error's line.
    pub fn error(&self) -> Option<String> {
        match self {
            Reply::Error(line) => Some(String::from_utf8_lossy(line).into_owned()),
            _ => None,
        }
    }
}

/// What came is not Redis's protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer is not Redis's protocol")]
pub struct Garbled;

/// Nesting deeper than this is refused.
const DEPTH: usize = 16;
/// The largest single text taken.
const LONGEST: i64 = 512 << 20;

/// Finds the ends of replies in a buffer that fills bit by bit.
#[derive(Debug, Clone, Copy, Default)]
pub struct Finder {
    /// Whole replies so far.
    pub found: usize,
    /// Bytes they take.
    pub end: usize,
}

impl Finder {
    /// Looks on after more bytes were read; stops at `wanted` replies.
    ///
    /// # Errors
    ///
    /// [`Garbled`] when the bytes cannot be replies.
    pub fn look(&mut self, buffer: &[u8], wanted: usize) -> Result<bool, Garbled> {
        while self.found < wanted {
            match skip(buffer, self.end, 0)? {
                Some(end) => {
                    self.end = end;
                    self.found += 1;
                }
                None => return Ok(false),
            }
        }
        Ok(true)
    }
}

/// Reads `count` whole replies.
///
/// # Errors
///
/// [`Garbled`] when there are fewer, or they are none.
pub fn replies(buffer: &[u8], count: usize) -> Result<Vec<Reply<'_>>, Garbled> {
    let mut at = 0;
    (0..count).map(|_| parse(buffer, &mut at, 0)).collect()
}

fn line(buffer: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let rest = buffer.get(at..)?;
    let end = rest.iter().position(|&byte| byte == b'\r')?;
    (rest.get(end + 1) == Some(&b'\n')).then_some((&rest[..end], at + end + 2))
}

fn number(text: &[u8]) -> Result<i64, Garbled> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(Garbled)
}

fn skip(buffer: &[u8], at: usize, depth: usize) -> Result<Option<usize>, Garbled> {
    if depth > DEPTH {
        return Err(Garbled);
    }
    let Some(&kind) = buffer.get(at) else { return Ok(None) };
    if !b"+-:$*_,#(=%~>!".contains(&kind) {
        return Err(Garbled);
    }
    let Some((head, mut end)) = line(buffer, at + 1) else {
        return if buffer.len() - at > (1 << 16) && !matches!(kind, b'+' | b'-') { Err(Garbled) } else { Ok(None) };
    };
    match kind {
        b'$' | b'=' | b'!' => {
            let length = number(head)?;
            if length < 0 {
                return Ok(Some(end));
            }
            if length > LONGEST {
                return Err(Garbled);
            }
            end += length as usize + 2;
            Ok((end <= buffer.len()).then_some(end))
        }
        b'*' | b'%' | b'~' | b'>' => {
            let parts = number(head)?.max(0) * if kind == b'%' { 2 } else { 1 };
            for _ in 0..parts {
                match skip(buffer, end, depth + 1)? {
                    Some(after) => end = after,
                    None => return Ok(None),
                }
            }
            Ok(Some(end))
        }
        _ => Ok(Some(end)),
    }
}

fn parse<'a>(buffer: &'a [u8], at: &mut usize, depth: usize) -> Result<Reply<'a>, Garbled> {
    let kind = *buffer.get(*at).ok_or(Garbled)?;
    let (head, end) = line(buffer, *at + 1).ok_or(Garbled)?;
    *at = end;
    Ok(match kind {
        b'+' | b',' | b'#' | b'(' => Reply::Status(head),
        b'-' => Reply::Error(head),
        b':' => Reply::Integer(number(head)?),
        b'_' => Reply::Nil,
        b'$' | b'=' | b'!' => {
            let length = number(head)?;
            if length < 0 {
                return Ok(Reply::Nil);
            }
            let text = buffer.get(end..end + length as usize).ok_or(Garbled)?;
            *at = end + text.len() + 2;
            if kind == b'!' { Reply::Error(text) } else { Reply::Bulk(text) }
        }
        b'*' | b'%' | b'~' | b'>' => {
            let parts = number(head)?;
            if parts < 0 {
                return Ok(Reply::Nil);
            }
            if depth >= DEPTH {
                return Err(Garbled);
            }
            let parts = parts as usize * if kind == b'%' { 2 } else { 1 };
            // What is claimed is not believed: room is made as parts come.
            let mut list = Vec::with_capacity(parts.min(1_024));
            for _ in 0..parts {
                list.push(parse(buffer, at, depth + 1)?);
            }
            Reply::Array(list)
        }
        _ => return Err(Garbled),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_batch_is_what_redis_reads() {
        let mut batch = Batch::default();
        batch.push(&[b"TYPE", b"a b"]);
        assert_eq!(batch.bytes, b"*2\r\n$4\r\nTYPE\r\n$3\r\na b\r\n");
    }

    #[test]
    fn replies_are_found_however_they_are_cut() {
        let wire = b"+string\r\n:-1\r\n$-1\r\n*2\r\n$1\r\n0\r\n*2\r\n$3\r\na\r\n\r\n$0\r\n\r\n-ERR no\r\n";
        for cut in 0..wire.len() {
            let mut finder = Finder::default();
            assert!(!finder.look(&wire[..cut], 5).unwrap(), "{cut}");
            assert!(finder.look(wire, 5).unwrap());
            assert_eq!(finder.end, wire.len());
        }
        let replies = replies(wire, 5).unwrap();
        assert_eq!(replies[0].text(), Some(&b"string"[..]));
        assert_eq!(replies[1].integer(), Some(-1));
        assert_eq!(replies[2], Reply::Nil);
        assert_eq!(replies[3].array().unwrap()[1].array().unwrap()[0], Reply::Bulk(b"a\r\n"));
        assert_eq!(replies[4].error().as_deref(), Some("ERR no"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(prop_oneof![Just(b'*'), Just(b'$'), Just(b'\r'), Just(b'\n'), Just(b'9'), Just(b'-'), any::<u8>()], 0..200)) {
            let mut finder = Finder::default();
            let _ = finder.look(&bytes, 3);
            let _ = replies(&bytes, 3);
        }
    }
}
