//! Which keys a change is about.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::predicate::{NotAPredicate, Predicate};
use crate::model::{parse_duration, show_duration};

/// Keys by name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keys {
    /// This one.
    One(String),
    /// Those that match a Redis glob.
    Matching(String),
    /// All of the database.
    Every,
}

/// Which keys: by name, and by what must hold of each.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Select {
    /// By name.
    pub keys: Keys,
    /// What must hold of the value, as [`Predicate`] writes it.
    #[serde(rename = "where")]
    pub predicate: Option<String>,
    /// Only those without a deadline.
    pub no_ttl: bool,
    /// Only those that nobody used for so many seconds.
    pub idle_s: Option<u64>,
    /// Only those of this type, as `TYPE` says it.
    pub kind: Option<String>,
}

impl Select {
    /// Keys by name, whatever they hold. A glob without any special character is one key.
    pub fn matching(pattern: &str) -> Self {
        let keys = match pattern {
            "*" => Keys::Every,
            glob if glob.contains(['*', '?', '[', '\\']) => Keys::Matching(glob.to_owned()),
            name => Keys::One(name.to_owned()),
        };
        Self::of(keys)
    }

    /// One key, whatever its name looks like.
    pub fn key(name: &str) -> Self {
        Self::of(Keys::One(name.to_owned()))
    }

    /// Whether it means the same keys at these two moments: it does unless it says `now`.
    pub fn means_the_same(&self, one_ms: i64, other_ms: i64) -> bool {
        one_ms == other_ms || self.predicate().is_ok_and(|predicate| predicate.is_none_or(|one| !one.says_now()))
    }

    fn of(keys: Keys) -> Self {
        Self { keys, predicate: None, no_ttl: false, idle_s: None, kind: None }
    }

    /// Everything in the database, whatever it holds.
    pub fn is_everything(&self) -> bool {
        let Self { keys, predicate, no_ttl, idle_s, kind } = self;
        *keys == Keys::Every && predicate.is_none() && !no_ttl && idle_s.is_none() && kind.is_none()
    }

    /// The predicate, read.
    ///
    /// # Errors
    ///
    /// When its text is none.
    pub fn predicate(&self) -> Result<Option<Predicate>, NotAPredicate> {
        self.predicate.as_deref().map(Predicate::parse).transpose()
    }

    /// As it is typed after a command: `session:* --where org=acme --no-ttl`.
    pub fn to_words(&self) -> String {
        let quote = super::words::quote;
        let mut words = match &self.keys {
            Keys::One(name) => quote(name),
            Keys::Matching(glob) => quote(glob),
            Keys::Every => "*".to_owned(),
        };
        if let Some(predicate) = &self.predicate {
            words.push_str(&format!(" --where {}", quote(predicate)));
        }
        if self.no_ttl {
            words.push_str(" --no-ttl");
        }
        if let Some(idle) = self.idle_s {
            words.push_str(&format!(" --idle {idle}s"));
        }
        if let Some(kind) = &self.kind {
            words.push_str(&format!(" --type {kind}"));
        }
        words
    }

    /// In words: `keys matching session:* where org = acme, without a deadline`.
    pub fn what(&self) -> String {
        let mut what = match &self.keys {
            // Who types a key's whole name may read it; still it is shown by its handle.
            Keys::One(name) => format!("the key {}", crate::diagnosis::redact::key(name)),
            Keys::Matching(glob) => format!("keys matching {glob}"),
            Keys::Every => "every key of the database".to_owned(),
        };
        if let Some(predicate) = &self.predicate {
            what.push_str(&format!(" where {predicate}"));
        }
        if self.no_ttl {
            what.push_str(", without a deadline");
        }
        if let Some(idle) = self.idle_s {
            what.push_str(&format!(", not used for {}", show_duration(Duration::from_secs(idle))));
        }
        if let Some(kind) = &self.kind {
            what.push_str(&format!(", of type {kind}"));
        }
        what
    }
}

/// A deadline that keys are to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Retime {
    /// So many milliseconds from now, whatever it was.
    Set(u64),
    /// The same, but never sooner than it was; keys without a deadline live for ever and are left alone.
    Extend(u64),
    /// The same, but never later than it was; keys without a deadline get it.
    Shorten(u64),
    /// None.
    Persist,
}

impl Retime {
    /// Whether a key that lives for so many milliseconds yet, as `PTTL` says it, would get another deadline.
    pub fn changes(self, left_ms: i64) -> bool {
        let ms = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        match self {
            Retime::Set(_) => true,
            Retime::Extend(least) => (0..ms(least)).contains(&left_ms),
            Retime::Shorten(most) => left_ms < 0 || left_ms > ms(most),
            Retime::Persist => left_ms >= 0,
        }
    }

    /// In words: `to expire in 15m`.
    pub fn what(self) -> String {
        let shown = |ms: u64| {
            let length = Duration::from_millis(ms);
            let short = show_duration(length);
            // Two units may leave a rest out, and what people agree to is exact.
            if parse_duration(&short) == Some(length) { short } else { format!("{} s", ms as f64 / 1_000.0) }
        };
        match self {
            Retime::Set(ms) => format!("to expire in {}", shown(ms)),
            Retime::Extend(ms) => format!("to expire in no less than {}", shown(ms)),
            Retime::Shorten(ms) => format!("to expire in no more than {}", shown(ms)),
            Retime::Persist => "never to expire".to_owned(),
        }
    }

    /// What holds of a key already when it is left alone.
    pub fn so_already(self) -> &'static str {
        match self {
            Retime::Set(_) => "",
            Retime::Extend(_) => "expire no sooner than that, or never",
            Retime::Shorten(_) => "expire no later than that",
            Retime::Persist => "have no deadline",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glob_without_specials_is_one_key_and_a_star_is_everything() {
        assert_eq!(Select::matching("a:b").keys, Keys::One("a:b".into()));
        assert_eq!(Select::matching("a:*").keys, Keys::Matching("a:*".into()));
        assert!(Select::matching("*").is_everything());
        let mut some = Select::matching("*");
        some.no_ttl = true;
        assert!(!some.is_everything());
        assert_eq!(some.what(), "every key of the database, without a deadline");
    }

    #[test]
    fn an_hour_later_it_means_the_same_keys_unless_it_says_now() {
        let with = |predicate: Option<&str>| {
            let mut select = Select::matching("a:*");
            select.predicate = predicate.map(str::to_owned);
            select
        };
        for (predicate, same) in [(None, true), (Some("org=acme"), true), (Some("org=acme && t < now-12h"), false)] {
            assert_eq!(with(predicate).means_the_same(0, 3_600_000), same, "{predicate:?}");
            assert!(with(predicate).means_the_same(5, 5));
        }
    }
}
