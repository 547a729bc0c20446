//! Keys and their bytes by type, and by the fixed words of their names.

use std::collections::BTreeMap;

use crate::{
    diagnosis::redact::key_shape,
    runbook::{show_bytes, show_number},
    store::snapshot::Share,
};

/// So many different names are told apart; what comes after them is counted together.
const MOST: usize = 200;
/// Where they are counted.
const OTHERS: &str = "others";

/// How keys are spread.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Spread {
    /// By type.
    pub types: BTreeMap<String, Share>,
    /// By the fixed words of their names: `session:*`.
    pub prefixes: BTreeMap<String, Share>,
}

fn put(into: &mut BTreeMap<String, Share>, name: String, (keys, bytes): Share) {
    let name = if into.len() < MOST || into.contains_key(&name) { name } else { OTHERS.to_owned() };
    let share = into.entry(name).or_default();
    *share = (share.0 + keys, share.1 + bytes);
}

impl Spread {
    pub(super) fn add(&mut self, kind: &str, name: &[u8], bytes: u64) {
        put(&mut self.types, kind.to_owned(), (1, bytes));
        put(&mut self.prefixes, key_shape(&String::from_utf8_lossy(name)), (1, bytes));
    }

    /// Adds others.
    pub fn merge(&mut self, other: Spread) {
        other.types.into_iter().for_each(|(name, share)| put(&mut self.types, name, share));
        other.prefixes.into_iter().for_each(|(name, share)| put(&mut self.prefixes, name, share));
    }

    /// What was counted in a share of the keyspace, for all of it.
    pub(super) fn extrapolate(&mut self, share: f64) {
        let whole = |count: &mut u64| *count = (*count as f64 / share).round() as u64;
        for (keys, bytes) in self.types.values_mut().chain(self.prefixes.values_mut()) {
            whole(keys);
            whole(bytes);
        }
    }
}

/// The largest of them in words: `hash 1,200 (3 MiB), string 4 (1 KiB)`.
pub fn show_spread(spread: &BTreeMap<String, Share>, most: usize) -> String {
    let mut parts: Vec<(&String, &Share)> = spread.iter().collect();
    parts.sort_by_key(|(_, (keys, _))| std::cmp::Reverse(*keys));
    let one =
        |(name, (keys, bytes)): &(&String, &Share)| format!("{name} {} ({})", show_number(*keys), show_bytes(*bytes));
    let mut words: Vec<String> = parts.iter().take(most).map(one).collect();
    if parts.len() > most {
        words.push(format!("{} more", parts.len() - most));
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_names_there_are_all_keys_are_counted() {
        let mut spread = Spread::default();
        for i in 0..1_000 {
            let word: String = (0..4).map(|at| char::from(b'a' + (i / 10_usize.pow(at) % 10) as u8)).collect();
            spread.add("hash", format!("{word}:queue:1").as_bytes(), 10);
        }
        assert!(spread.prefixes.len() <= MOST + 1);
        assert_eq!(spread.prefixes.values().map(|share| share.0).sum::<u64>(), 1_000);
        assert_eq!(show_spread(&spread.types, 3), "hash 1,000 (9.77 KiB)");
    }
}
