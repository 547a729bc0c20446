//! Ids that cannot be swapped for one another.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A name was empty, too long, or held a character names may not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is not a name: use 1 to 64 of a-z, 0-9, `-`, `_` and `.`, starting with a letter or digit")]
pub struct InvalidName {
    /// What was given, cut to 80 characters.
    pub name: String,
}

fn check(name: &str) -> Result<(), InvalidName> {
    let valid = (1..=64).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c));
    if valid { Ok(()) } else { Err(InvalidName { name: name.chars().take(80).collect() }) }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = InvalidName;
            fn from_str(name: &str) -> Result<Self, InvalidName> {
                check(name).map(|()| Self(name.to_owned()))
            }
        }

        impl TryFrom<String> for $type {
            type Error = InvalidName;
            fn try_from(name: String) -> Result<Self, InvalidName> {
                check(&name).map(|()| Self(name))
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name! {
    /// One system that uses Redis, as its profile `services/NAME.toml` calls it.
    ServiceName
}
name! {
    /// One Redis deployment of a service. A service with one instance calls it `main`.
    InstanceName
}
name! {
    /// A person of `policy.toml`, whichever chat account they speak from.
    PersonId
}

impl PersonId {
    /// A name for somebody who is in no file and is known by a badge of their account. The platform's ids are told
    /// apart without regard to case.
    pub fn of_account(identity: &super::Identity) -> Option<Self> {
        format!("account.{}.{}.{}", identity.platform, identity.team, identity.user).to_ascii_lowercase().parse().ok()
    }
}

/// Names one asking of one command: short enough to read aloud, unique in the journal.
///
/// Eight characters of Crockford's base 32 (no I, L, O, U): 40 random bits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(String);

const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

impl RunId {
    /// A fresh id from 40 random bits.
    pub fn from_bits(bits: u64) -> Self {
        Self((0..8).map(|i| CROCKFORD[(bits >> (5 * i)) as usize & 31] as char).collect())
    }

    /// The id of the run an event asks for: the same each time the event is taken up.
    pub fn of_event(event: &str) -> Self {
        use sha2::{Digest as _, Sha256};
        let digest = Sha256::digest(event.as_bytes());
        Self::from_bits(digest.iter().take(8).fold(0, |bits, byte| bits << 8 | u64::from(*byte)))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads what a person typed: case does not matter, and I, L, O stand for 1, 1, 0.
    pub fn parse(text: &str) -> Option<Self> {
        let folded: Option<String> = text
            .trim()
            .chars()
            .map(|c| match c.to_ascii_uppercase() {
                'I' | 'L' => Some('1'),
                'O' => Some('0'),
                c if CROCKFORD.contains(&(c as u8)) && c.is_ascii() => Some(c),
                _ => None,
            })
            .collect();
        folded.filter(|id| id.len() == 8).map(Self)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_id_survives_being_read_aloud() {
        let id = RunId::from_bits(0x12_3456_789a);
        assert_eq!(RunId::parse(&id.as_str().to_lowercase()), Some(id));
        assert_eq!(RunId::parse("oil00000"), RunId::parse("01100000"));
        assert_eq!(RunId::parse("short"), None);
    }

    #[test]
    fn names_refuse_what_could_be_mistaken_for_a_path_or_a_flag() {
        for bad in ["", "-x", "../etc", "A", "a b", "a/b"] {
            assert!(bad.parse::<ServiceName>().is_err(), "{bad}");
        }
        assert!("prospect-flow.eu_1".parse::<ServiceName>().is_ok());
    }
}
