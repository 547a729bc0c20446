//! The few that stand out, kept in bounded memory: largest values, heaviest groups, a fair handful of names.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap},
};

use serde::{Deserialize, Serialize};

use super::{Kind, Ttl, prefix::Sums};

/// A key worth naming.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Named {
    /// What it was ranked by.
    pub weight: u64,
    /// Its name.
    #[serde(with = "super::bytes_as_text")]
    pub name: Vec<u8>,
    /// The logical database.
    pub db: u32,
    /// Its type's word.
    pub kind: Kind,
    /// Bytes of memory.
    pub bytes: u64,
    /// Elements, when asked.
    pub elements: Option<u64>,
    /// Lifetime, when asked.
    pub ttl: Option<Ttl>,
}

/// The largest so many. Of equal weights the name that sorts first is kept, so that order does not matter.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Top {
    room: usize,
    heap: BinaryHeap<Reverse<Ranked>>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Ranked(u64, Reverse<Vec<u8>>, Named);

impl Top {
    /// Room for `room`.
    pub fn new(room: usize) -> Self {
        Self { room, heap: BinaryHeap::with_capacity(room.min(1024)) }
    }

    /// Whether something of that weight would be kept: ask before making a [`Named`].
    pub fn wants(&self, weight: u64) -> bool {
        self.room > 0
            && (self.heap.len() < self.room || self.heap.peek().is_some_and(|Reverse(least)| weight >= least.0))
    }

    /// Offers one.
    pub fn offer(&mut self, named: Named) {
        if !self.wants(named.weight) {
            return;
        }
        self.heap.push(Reverse(Ranked(named.weight, Reverse(named.name.clone()), named)));
        if self.heap.len() > self.room {
            self.heap.pop();
        }
    }

    /// Offers all of another's.
    pub fn absorb(&mut self, other: &Top) {
        for Reverse(Ranked(_, _, named)) in &other.heap {
            self.offer(named.clone());
        }
    }

    /// The largest first.
    pub fn sorted(&self) -> Vec<Named> {
        let mut all: Vec<&Ranked> = self.heap.iter().map(|Reverse(ranked)| ranked).collect();
        all.sort_by(|a, b| b.cmp(a));
        all.into_iter().map(|Ranked(_, _, named)| named.clone()).collect()
    }
}

/// Heaviest groups by count, after Metwally's Space-Saving: a group's count is never less than the
/// truth and at most [`Groups::error`] more.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Groups {
    room: usize,
    #[serde(with = "groups_as_list")]
    kept: HashMap<Vec<u8>, Group>,
    #[serde(skip)]
    by_keys: BTreeMap<(u64, Vec<u8>), ()>,
    error: u64,
    distinct_at_least: u64,
}

/// One group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Group {
    /// What was added while it was kept.
    pub sums: Sums,
    /// How much its keys may be overstated: what it inherited.
    pub over: u64,
}

impl Groups {
    /// Room for `room` groups.
    pub fn new(room: usize) -> Self {
        Self { room, ..Self::default() }
    }

    /// Adds to a group.
    pub fn add(&mut self, name: &[u8], sums: Sums) {
        if self.room == 0 {
            return;
        }
        if self.by_keys.len() != self.kept.len() {
            self.by_keys = self.kept.iter().map(|(name, group)| ((group.sums.keys, name.clone()), ())).collect();
        }
        if let Some(group) = self.kept.get_mut(name) {
            self.by_keys.remove(&(group.sums.keys, name.to_vec()));
            group.sums.add(sums);
            self.by_keys.insert((group.sums.keys, name.to_vec()), ());
            return;
        }
        self.distinct_at_least += 1;
        let mut group = Group { sums, over: 0 };
        if self.kept.len() >= self.room
            && let Some(((least, loser), ())) = self.by_keys.pop_first()
        {
            self.kept.remove(&loser);
            self.error = self.error.max(least);
            self.distinct_at_least -= 1;
            group.sums.keys += least;
            group.over = least;
        }
        self.by_keys.insert((group.sums.keys, name.to_vec()), ());
        self.kept.insert(name.to_vec(), group);
    }

    /// The most a group's keys may be overstated by; 0: all counts are exact.
    pub fn error(&self) -> u64 {
        self.error
    }

    /// How many there are; at least, when [`Groups::error`] is not 0.
    pub fn distinct(&self) -> u64 {
        self.kept.len() as u64
    }

    /// Adds another's groups.
    pub fn absorb(&mut self, other: &Groups) {
        for (name, group) in &other.kept {
            self.add(name, group.sums);
            if let Some(mine) = self.kept.get_mut(name) {
                mine.over += group.over;
            }
        }
        self.error += other.error;
    }

    /// The groups with most bytes (most keys where bytes are not known), largest first.
    pub fn sorted(&self) -> Vec<(Vec<u8>, Group)> {
        let mut all: Vec<_> = self.kept.iter().map(|(name, group)| (name.clone(), *group)).collect();
        all.sort_by(|a, b| (b.1.sums.bytes, b.1.sums.keys).cmp(&(a.1.sums.bytes, a.1.sums.keys)).then(a.0.cmp(&b.0)));
        all
    }
}

/// A fair handful of names: those with the smallest hashes. Every name is as likely as any other,
/// and asking again gives the same ones, so they can be paged through.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Handful {
    room: usize,
    heap: BinaryHeap<(u64, Named)>,
}

impl Handful {
    /// Room for `room`.
    pub fn new(room: usize) -> Self {
        Self { room, heap: BinaryHeap::new() }
    }

    /// Whether a name would be kept, and its hash.
    pub fn wants(&self, name: &[u8]) -> Option<u64> {
        if self.room == 0 {
            return None;
        }
        let hash = hash(name);
        (self.heap.len() < self.room || self.heap.peek().is_some_and(|(largest, _)| hash < *largest)).then_some(hash)
    }

    /// Offers one, with the hash [`Handful::wants`] gave.
    pub fn offer(&mut self, hash: u64, named: Named) {
        if self.heap.iter().any(|(other, kept)| *other == hash && kept.name == named.name) {
            return;
        }
        self.heap.push((hash, named));
        if self.heap.len() > self.room {
            self.heap.pop();
        }
    }

    /// Offers all of another's.
    pub fn absorb(&mut self, other: &Handful) {
        for (hash, named) in &other.heap {
            self.offer(*hash, named.clone());
        }
    }

    /// In the order of their hashes.
    pub fn sorted(&self) -> Vec<Named> {
        self.heap.clone().into_sorted_vec().into_iter().map(|(_, named)| named).collect()
    }
}

/// A 64-bit hash of a name (XXH3): the same on every machine and at every start, and another for every other name as far
/// as chance goes. Who counts names by it must not take two for one.
pub fn hash(name: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(name)
}

mod groups_as_list {
    use std::collections::HashMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Group;

    #[derive(Serialize, Deserialize)]
    struct Line(#[serde(with = "super::super::bytes_as_text")] Vec<u8>, Group);

    pub(super) fn serialize<S: Serializer>(map: &HashMap<Vec<u8>, Group>, serializer: S) -> Result<S::Ok, S::Error> {
        let mut lines: Vec<Line> = map.iter().map(|(name, group)| Line(name.clone(), *group)).collect();
        lines.sort_by(|a, b| a.0.cmp(&b.0));
        lines.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HashMap<Vec<u8>, Group>, D::Error> {
        Ok(Vec::<Line>::deserialize(deserializer)?.into_iter().map(|Line(name, group)| (name, group)).collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn named(name: &str, weight: u64) -> Named {
        Named {
            weight,
            name: name.as_bytes().to_vec(),
            db: 0,
            kind: Kind::String,
            bytes: weight,
            elements: None,
            ttl: None,
        }
    }

    proptest! {
        #[test]
        fn the_top_is_the_top_of_a_sort(weights in prop::collection::vec(0_u64..50, 0..200), room in 1_usize..20) {
            let mut top = Top::new(room);
            let mut all: Vec<Named> = weights.iter().enumerate().map(|(i, &w)| named(&format!("{i:03}"), w)).collect();
            for one in &all { top.offer(one.clone()); }
            all.sort_by(|a, b| b.weight.cmp(&a.weight).then(a.name.cmp(&b.name)));
            all.truncate(room);
            prop_assert_eq!(top.sorted(), all);
        }

        #[test]
        fn groups_overstate_by_no_more_than_they_say(names in prop::collection::vec(0_u32..60, 1..500), room in 4_usize..40) {
            let mut groups = Groups::new(room);
            let mut truth: HashMap<Vec<u8>, u64> = HashMap::new();
            for name in names {
                let name = name.to_string().into_bytes();
                groups.add(&name, Sums { keys: 1, ..Sums::default() });
                *truth.entry(name).or_default() += 1;
            }
            for (name, group) in groups.sorted() {
                let true_count = truth[&name];
                prop_assert!(group.sums.keys >= true_count && group.sums.keys - group.over <= true_count);
                prop_assert!(group.over <= groups.error());
            }
            if truth.len() <= room { prop_assert_eq!(groups.error(), 0); }
        }
    }

    #[test]
    fn a_handful_is_fair_and_the_same_each_time() {
        let draw = |order: &mut dyn Iterator<Item = u32>| {
            let mut handful = Handful::new(50);
            for i in order {
                let name = format!("key:{i}");
                if let Some(hash) = handful.wants(name.as_bytes()) {
                    handful.offer(hash, named(&name, 0));
                }
            }
            handful.sorted()
        };
        let (up, down) = (draw(&mut (0..10_000)), draw(&mut (0..10_000).rev()));
        assert_eq!(up, down);
        let mean =
            up.iter().map(|one| String::from_utf8_lossy(&one.name)[4..].parse::<f64>().unwrap()).sum::<f64>() / 50.0;
        assert!((3_500.0..6_500.0).contains(&mean), "{mean}");
    }
}
