//! What the parts of a key's name are: which characters part them, and which parts are variable.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

/// The characters that part names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Separators(Vec<u8>);

/// Characters people part names with, likeliest first.
const CANDIDATES: [u8; 8] = *b":/|.#_-~";

/// How many names are enough to find separators by.
pub const ENOUGH: usize = 2_000;

impl Default for Separators {
    fn default() -> Self {
        Self(vec![b':'])
    }
}

impl Separators {
    /// These characters; anything but ASCII punctuation is left out. `None` when nothing remains.
    pub fn given(characters: &str) -> Option<Self> {
        let kept: Vec<u8> = characters.bytes().filter(u8::is_ascii_punctuation).collect();
        (!kept.is_empty()).then_some(Self(kept))
    }

    /// Finds them: a separator stands in many names, and what stands before its first occurrence
    /// repeats. Names that an earlier separator already parts do not vote for a later one, so
    /// `session:a-b-c` is not cut at its dashes. `:` when nothing shows.
    pub fn find<'a>(names: impl Iterator<Item = &'a [u8]> + Clone) -> Self {
        let total = names.clone().take(ENOUGH).count();
        let mut found: Vec<u8> = Vec::new();
        for candidate in CANDIDATES {
            let mut heads = HashSet::new();
            let mut votes = 0_usize;
            for name in names.clone().take(ENOUGH) {
                if name.iter().any(|byte| found.contains(byte)) {
                    continue;
                }
                if let Some(end) = name.iter().position(|&byte| byte == candidate) {
                    votes += 1;
                    heads.insert(&name[..end]);
                }
            }
            // One name in fifty at least, and each head four times on average.
            if votes * 50 >= total && votes >= 4 && heads.len() * 4 <= votes {
                found.push(candidate);
            }
        }
        if found.is_empty() { Self::default() } else { Self(found) }
    }

    /// The characters.
    pub fn characters(&self) -> String {
        self.0.iter().map(|&byte| char::from(byte)).collect()
    }

    /// A table to look bytes up in.
    pub(super) fn table(&self) -> [bool; 256] {
        let mut table = [false; 256];
        for &byte in &self.0 {
            table[usize::from(byte)] = true;
        }
        table
    }

    /// Whether it is one of them.
    pub fn has(&self, byte: u8) -> bool {
        self.0.contains(&byte)
    }
}

/// Whether a part of a name is an id or somebody's name rather than a word of the program:
/// numbers, UUIDs, hashes, tokens, e-mail addresses, anything very long or not text.
pub fn is_variable(part: &[u8]) -> bool {
    let length = part.len();
    if length == 0 {
        return false;
    }
    if length > 40 {
        return true;
    }
    let (mut digits, mut hex, mut upper, mut lower) = (0, 0, 0, 0);
    for &byte in part {
        match byte {
            b'0'..=b'9' => digits += 1,
            b'a'..=b'f' => {
                hex += 1;
                lower += 1;
            }
            b'g'..=b'z' => lower += 1,
            b'A'..=b'F' => {
                hex += 1;
                upper += 1;
            }
            b'G'..=b'Z' => upper += 1,
            b'-' | b'_' | b'{' | b'}' | b'.' => {}
            b'@' => return true,
            byte if !(0x20..0x7f).contains(&byte) => return true,
            _ => {}
        }
    }
    let letters = upper + lower;
    digits == length
        || (digits > 0 && letters == 0)
        || (length >= 8 && digits >= 2 && digits + hex >= 8 && letters == hex)
        || (length >= 12 && digits * 4 >= length)
        || (length >= 20 && digits > 0 && upper > 0 && lower > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_are_found_by_themselves() {
        let names: Vec<String> = (0..500)
            .flat_map(|i| [format!("session:{i}-{}-x", i * 7), format!("app/cache/{i}"), format!("feature_flag{i}")])
            .collect();
        let found = Separators::find(names.iter().map(|name| name.as_bytes()));
        assert_eq!(found.characters(), ":/_");
        let ids: Vec<String> = (0..500).map(|i| format!("{:x}-{:x}", i * 7919, i * 104_729)).collect();
        assert_eq!(Separators::find(ids.iter().map(|name| name.as_bytes())), Separators::default());
        assert_eq!(Separators::find(std::iter::empty()), Separators::default());
    }

    #[test]
    fn ids_are_variable_and_words_are_not() {
        for id in [
            "42",
            "2026-11-20",
            "550e8400-e29b-41d4-a716-446655440000",
            "deadbeef01",
            "a@b.c",
            "AbCdEfGhIjKlMnOpQrStUvWx9",
        ] {
            assert!(is_variable(id.as_bytes()), "{id}");
        }
        for word in ["session", "wm", "v2", "godel", "queue", "production_agent", "face", "rate-limit", ""] {
            assert!(!is_variable(word.as_bytes()), "{word}");
        }
        assert!(is_variable(&[0xff, 0xfe]) && is_variable(&[b'x'; 41]));
    }
}
