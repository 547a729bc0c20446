//! What many keys come to: totals, types, lifetimes, prefixes, the largest. Memory is bounded
//! whatever the keys are, and tallies of parts add up to the tally of the whole.

use serde::{Deserialize, Serialize};

use super::{
    Kind, Seen, Ttl,
    name::{self, Separators},
    prefix::{Prefixes, Sums},
    top::{Groups, Handful, Named, Top},
};

/// What a tally keeps.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Wanted {
    /// How many of the largest, per type.
    pub top: usize,
    /// How many names for a sample.
    pub names: usize,
    /// The characters that part names; `None`: found from the first names.
    pub separators: Option<Separators>,
    /// Patterns the service declares; their stars say which parts are variable.
    pub globs: Vec<String>,
    /// Every word of a name may be shown, for somebody who may see values: nothing is taken for a name of somebody.
    #[serde(default)]
    pub words: bool,
    /// Count by what stands after this prefix, up to the next separator: `tenant:` counts per tenant.
    #[serde(with = "super::bytes_as_option_text")]
    pub group_after: Option<Vec<u8>>,
}

impl Default for Wanted {
    fn default() -> Self {
        Self { top: 10, names: 0, separators: None, globs: Vec::new(), words: false, group_after: None }
    }
}

/// Upper bounds of the lifetimes told apart, in milliseconds, with what each is called.
pub const LIFETIMES: [(u64, &str); 9] = [
    (60_000, "under 1 min"),
    (600_000, "1–10 min"),
    (3_600_000, "10–60 min"),
    (6 * 3_600_000, "1–6 h"),
    (24 * 3_600_000, "6–24 h"),
    (7 * 24 * 3_600_000, "1–7 days"),
    (30 * 24 * 3_600_000, "7–30 days"),
    (365 * 24 * 3_600_000, "1–12 months"),
    (u64::MAX, "over a year"),
];

/// Groups kept at most.
const GROUPS: usize = 1_024;

/// The tally.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Tally {
    wanted: Wanted,
    /// Everything.
    pub total: Sums,
    /// Keys whose TTL was not asked.
    pub unasked_ttl: u64,
    /// Figures and elements of each type, in the order of [`Kind::ALL`].
    pub kinds: [(Sums, u64); 8],
    /// Keys and bytes by time left, in the order of [`LIFETIMES`].
    pub lifetimes: [(u64, u64); 9],
    /// Where not every key was weighed: the variance of the bytes in all, in square bytes. With a key in the sample
    /// with probability 1/n, the estimator of Horvitz and Thompson is n·b a key, and that of its variance n(n−1)·b².
    #[serde(default)]
    unsure: f64,
    /// The largest by bytes, per type.
    by_bytes: Vec<Top>,
    /// The largest by elements, per type.
    by_elements: Vec<Top>,
    names: Handful,
    groups: Groups,
    /// By prefix; `None` until the separators are known.
    prefixes: Option<Prefixes>,
    /// Keys from before the separators were known.
    early: Vec<Early>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Early(#[serde(with = "super::bytes_as_text")] Vec<u8>, Sums);

impl Tally {
    /// An empty tally.
    pub fn new(wanted: Wanted) -> Self {
        let prefixes = wanted
            .separators
            .clone()
            .map(|separators| Prefixes::new(separators, &wanted.globs).showing_words(wanted.words));
        let tops = |room| (0..Kind::ALL.len()).map(|_| Top::new(room)).collect();
        Self {
            total: Sums::default(),
            unasked_ttl: 0,
            kinds: Default::default(),
            lifetimes: Default::default(),
            unsure: 0.0,
            by_bytes: tops(wanted.top),
            by_elements: tops(wanted.top),
            names: Handful::new(wanted.names),
            groups: Groups::new(if wanted.group_after.is_some() { GROUPS } else { 0 }),
            prefixes,
            early: Vec::new(),
            wanted,
        }
    }

    /// Adds one key.
    pub fn add(&mut self, seen: &Seen<'_>) {
        let endless = seen.ttl == Some(Ttl::Never);
        let bytes = seen.bytes.saturating_mul(seen.stands_for);
        let sums =
            Sums { keys: 1, bytes, endless_keys: u64::from(endless), endless_bytes: if endless { bytes } else { 0 } };
        if seen.stands_for > 1 {
            self.unsure += bytes as f64 * (bytes - seen.bytes) as f64;
        }
        self.total.add(sums);
        let kind = seen.kind as usize;
        self.kinds[kind].0.add(sums);
        self.kinds[kind].1 += seen.elements.unwrap_or(0);
        match seen.ttl {
            None => self.unasked_ttl += 1,
            Some(Ttl::Never) => {}
            Some(Ttl::Left(left)) => {
                let at = LIFETIMES.iter().position(|(bound, _)| left < *bound).unwrap_or(LIFETIMES.len() - 1);
                self.lifetimes[at].0 += 1;
                self.lifetimes[at].1 += bytes;
            }
        }
        if self.by_bytes[kind].wants(seen.bytes) {
            self.by_bytes[kind].offer(named(seen, seen.bytes));
        }
        if let Some(elements) = seen.elements
            && self.by_elements[kind].wants(elements)
        {
            self.by_elements[kind].offer(named(seen, elements));
        }
        if let Some(hash) = self.names.wants(seen.name) {
            self.names.offer(hash, named(seen, seen.bytes));
        }
        match &mut self.prefixes {
            Some(prefixes) => {
                prefixes.add(seen.name, sums);
                if let Some(group) = group_of(&self.wanted.group_after, prefixes.separators(), seen.name) {
                    self.groups.add(group, sums);
                }
            }
            None => {
                self.early.push(Early(seen.name.to_vec(), sums));
                if self.early.len() >= name::ENOUGH {
                    self.settle();
                }
            }
        }
    }

    /// Decides the separators if that is still to be done.
    pub fn settle(&mut self) {
        if self.prefixes.is_some() {
            return;
        }
        let separators = Separators::find(self.early.iter().map(|Early(name, _)| name.as_slice()));
        let mut prefixes = Prefixes::new(separators, &self.wanted.globs).showing_words(self.wanted.words);
        for Early(name, sums) in self.early.drain(..) {
            prefixes.add(&name, sums);
            if let Some(group) = group_of(&self.wanted.group_after, prefixes.separators(), &name) {
                self.groups.add(group, sums);
            }
        }
        self.prefixes = Some(prefixes);
    }

    /// Adds another tally's figures (another shard's, another stretch's).
    pub fn absorb(&mut self, mut other: Tally) {
        self.settle();
        other.settle();
        self.total.add(other.total);
        self.unasked_ttl += other.unasked_ttl;
        for (mine, theirs) in self.kinds.iter_mut().zip(other.kinds) {
            mine.0.add(theirs.0);
            mine.1 += theirs.1;
        }
        for (mine, theirs) in self.lifetimes.iter_mut().zip(other.lifetimes) {
            mine.0 += theirs.0;
            mine.1 += theirs.1;
        }
        self.unsure += other.unsure;
        for (mine, theirs) in self.by_bytes.iter_mut().zip(&other.by_bytes) {
            mine.absorb(theirs);
        }
        for (mine, theirs) in self.by_elements.iter_mut().zip(&other.by_elements) {
            mine.absorb(theirs);
        }
        self.names.absorb(&other.names);
        self.groups.absorb(&other.groups);
        if let (Some(mine), Some(theirs)) = (&mut self.prefixes, &other.prefixes) {
            mine.absorb(theirs);
        }
    }

    /// Half the interval, at 95 %, around the bytes in all; 0 where every key was weighed.
    pub fn bytes_within(&self) -> f64 {
        1.96 * self.unsure.sqrt()
    }

    /// The tree of prefixes; `None` until [`Tally::settle`].
    pub fn prefixes(&self) -> Option<&Prefixes> {
        self.prefixes.as_ref()
    }

    /// What it keeps.
    pub fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// The largest of a type by bytes, largest first.
    pub fn largest(&self, kind: Kind) -> Vec<Named> {
        self.by_bytes[kind as usize].sorted()
    }

    /// The longest of a type by elements, longest first.
    pub fn longest(&self, kind: Kind) -> Vec<Named> {
        self.by_elements[kind as usize].sorted()
    }

    /// A fair handful of keys, the same at each asking.
    pub fn handful(&self) -> Vec<Named> {
        self.names.sorted()
    }

    /// Counts by what stands after [`Wanted::group_after`].
    pub fn groups(&self) -> &Groups {
        &self.groups
    }
}

fn named(seen: &Seen<'_>, weight: u64) -> Named {
    Named {
        weight,
        name: seen.name.to_vec(),
        db: seen.db,
        kind: seen.kind,
        bytes: seen.bytes,
        elements: seen.elements,
        ttl: seen.ttl,
    }
}

/// The variable part after a prefix, when something follows it: the last part of a name names a
/// key, not a group.
fn group_of<'a>(after: &Option<Vec<u8>>, separators: &Separators, name: &'a [u8]) -> Option<&'a [u8]> {
    let rest = name.strip_prefix(after.as_deref()?)?;
    let end = rest.iter().position(|&byte| separators.has(byte))?;
    (end > 0).then(|| &rest[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(name: &str, bytes: u64, ttl: Ttl) -> Seen<'_> {
        Seen { db: 0, name: name.as_bytes(), kind: Kind::String, bytes, elements: None, ttl: Some(ttl), stands_for: 1 }
    }

    #[test]
    fn parts_add_up_to_the_whole() {
        let wanted = Wanted { top: 3, names: 5, group_after: Some(b"tenant:".to_vec()), ..Wanted::default() };
        let names: Vec<String> = (0..6_000).map(|i| format!("tenant:t{}:wm:{i}", i % 7)).collect();
        let mut whole = Tally::new(wanted.clone());
        let mut parts = [Tally::new(wanted.clone()), Tally::new(wanted)];
        for (i, name) in names.iter().enumerate() {
            let ttl = if i % 3 == 0 { Ttl::Never } else { Ttl::Left(i as u64 * 1000) };
            whole.add(&seen(name, i as u64, ttl));
            parts[i % 2].add(&seen(name, i as u64, ttl));
        }
        let [mut left, right] = parts;
        left.absorb(right);
        assert_eq!(left.total, whole.total);
        assert_eq!(left.lifetimes, whole.lifetimes);
        assert_eq!(left.largest(Kind::String), whole.largest(Kind::String));
        assert_eq!(left.handful(), whole.handful());
        assert_eq!(left.groups().sorted(), whole.groups().sorted());
        assert_eq!(whole.total.endless_keys, 2_000);
        assert_eq!(whole.groups().distinct(), 7);
        let text = serde_json::to_string(&whole).unwrap();
        let back: Tally = serde_json::from_str(&text).unwrap();
        assert_eq!(back.total, whole.total);
        assert_eq!(back.prefixes().unwrap().branches(0.0), whole.prefixes().unwrap().branches(0.0));
    }
}
