//! Counting by prefix in bounded memory.
//!
//! Names become paths of parts (`tenant:` → `a17:` → `wm:`), and a key's
//! figures are added where its path ends; what follows the last separator is
//! never kept. A part that is an id becomes `*`; a place with more than
//! [`FAN_OUT`] different parts under it folds all of them into one `*`,
//! merging what lies below. Folding adds, so totals stay exact however
//! hostile the names are, and they do not depend on the order of the keys.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use serde::{Deserialize, Serialize};

use super::name::{Separators, is_variable};
use crate::diagnosis::redact;

/// More different parts than this in one place are one `*`.
pub const FAN_OUT: usize = 48;
/// Parts deeper than this are not told apart.
pub const DEPTH: usize = 8;
/// More places than this are not kept; what would be new then counts as `*`.
pub const PLACES: usize = 16_384;

/// Words whose kind is remembered.
const WORDS: usize = 4_096;
/// More hidden words than this in one place are taken for ids or people, whom nobody wants told apart.
const HIDDEN: usize = 8;

/// What is added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sums {
    /// Keys.
    pub keys: u64,
    /// Bytes of memory.
    pub bytes: u64,
    /// Keys without TTL.
    pub endless_keys: u64,
    /// Bytes of keys without TTL.
    pub endless_bytes: u64,
}

impl Sums {
    /// Adds another's.
    pub fn add(&mut self, other: Sums) {
        self.keys += other.keys;
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.endless_keys += other.endless_keys;
        self.endless_bytes = self.endless_bytes.saturating_add(other.endless_bytes);
    }
}

/// A fast hash for short byte strings. Flooding it gains nothing: a place holds [`FAN_OUT`] parts.
#[derive(Default)]
pub(super) struct Quick(u64);

impl Hasher for Quick {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 29)
    }
    fn write(&mut self, bytes: &[u8]) {
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            self.write_u64(u64::from_le_bytes(chunk.try_into().unwrap_or_default()));
        }
        let mut last = [0; 8];
        let rest = chunks.remainder();
        last[..rest.len()].copy_from_slice(rest);
        self.write_u64(u64::from_le_bytes(last));
    }
    fn write_u8(&mut self, byte: u8) {
        self.write_u64(u64::from(byte));
    }
    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }
    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

pub(super) type QuickMap<K, V> = HashMap<K, V, BuildHasherDefault<Quick>>;

/// One place of the tree.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Place {
    /// Keys whose path ends here.
    own: Sums,
    /// Parts below, separator included.
    #[serde(with = "parts_as_list")]
    parts: QuickMap<Box<[u8]>, u32>,
    /// `*` below, by the separator that ends it.
    stars: Vec<(u8, u32)>,
    /// New parts go into `*` at once.
    folded: bool,
    /// Hashes of the words below that are in `*` because they may be somebody's name; one more than [`HIDDEN`] at most.
    #[serde(default)]
    hidden: Vec<u64>,
}

/// The tree.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Prefixes {
    separators: Separators,
    #[serde(skip)]
    table: Option<Box<Table>>,
    places: Vec<Place>,
    /// Places that were merged into another; index 0 (the root) means: it was not.
    #[serde(default)]
    moved: Vec<u32>,
    /// Every word is shown.
    #[serde(default)]
    all_words: bool,
    /// Words already found to be words of the program, or not.
    #[serde(skip)]
    words: QuickMap<Box<[u8]>, bool>,
    /// The same of what a name begins with, where more words may be shown.
    #[serde(skip)]
    heads: QuickMap<Box<[u8]>, bool>,
    /// Some names were not told apart because there were too many places.
    pub crowded: bool,
}

/// Which bytes separate.
#[derive(Debug, Clone)]
struct Table([bool; 256]);

/// One row of the tree as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    /// `tenant:*:wm:`, without the last part of any name; empty for the root.
    pub path: Vec<u8>,
    /// How many parts it has.
    pub depth: usize,
    /// Everything below.
    pub sums: Sums,
    /// What ends here, without what goes on.
    pub own: Sums,
    /// The place, for [`Prefixes::is_under`].
    pub place: u32,
    /// Rows directly below, as indices into the same list.
    pub below: Vec<usize>,
}

impl Prefixes {
    /// An empty tree. `globs` are the patterns a service declares: their stars say which parts are variable.
    pub fn new(separators: Separators, globs: &[String]) -> Self {
        let mut tree = Self {
            table: None,
            separators,
            places: vec![Place::default()],
            moved: vec![0],
            all_words: false,
            words: QuickMap::default(),
            heads: QuickMap::default(),
            crowded: false,
        };
        for glob in globs {
            tree.declare(glob.as_bytes());
        }
        tree
    }

    /// The same, showing every word: what is no id is told apart, also where it may be somebody's name.
    pub fn showing_words(mut self, all: bool) -> Self {
        self.all_words = all;
        self
    }

    /// The separators in use.
    pub fn separators(&self) -> &Separators {
        &self.separators
    }

    fn declare(&mut self, glob: &[u8]) {
        let mut here = 0_u32;
        let mut rest = glob;
        for _ in 0..DEPTH {
            let Some(end) = rest.iter().position(|&byte| self.separators.has(byte)) else { return };
            let (part, after) = rest.split_at(end + 1);
            let variable = part.iter().any(|byte| matches!(byte, b'*' | b'?' | b'['));
            if variable {
                self.fold(here);
            }
            here = if variable { self.star(here, part[end]) } else { self.part(here, part) };
            rest = after;
        }
    }

    /// Adds a key's figures; says where they went.
    pub fn add(&mut self, name: &[u8], sums: Sums) -> u32 {
        let table = match self.table.take() {
            Some(table) => table,
            None => Box::new(Table(self.separators.table())),
        };
        let mut here = 0_u32;
        let mut rest = name;
        for _ in 0..DEPTH {
            let Some(end) = rest.iter().position(|&byte| table.0[usize::from(byte)]) else { break };
            let (part, after) = rest.split_at(end + 1);
            here = match here {
                0 => self.first(name, part),
                here => self.step(here, part),
            };
            rest = after;
        }
        self.table = Some(table);
        self.places[here as usize].own.add(sums);
        here
    }

    /// Whether a part below the first is a word that may be shown: a tenant's or a person's name
    /// looks like any other, so only known words are taken for words.
    fn is_word(&mut self, word: &[u8]) -> bool {
        let shown = |word: &str| !redact::key_shape(&format!("word:{word}")).contains('*');
        known(&mut self.words, word, shown)
    }

    /// From the root along a name's first part, which is shown where the name itself is shown with it: what
    /// `maria.gonzalez:cart:1` begins with is no more shown where `.` parts names, too.
    fn first(&mut self, name: &[u8], part: &[u8]) -> u32 {
        let end = part.len() - 1;
        let head = match redact::PARTING.contains(&part[end]) {
            true => end,
            false => name.iter().position(|byte| redact::PARTING.contains(byte)).map_or(end, |at| at.max(end)),
        };
        match head > end && !self.all_words && !self.is_head(&name[..head]) && !self.is_word(&part[..end]) {
            true => self.hide(0, part),
            false => self.step(0, part),
        }
    }

    fn is_head(&mut self, head: &[u8]) -> bool {
        known(&mut self.heads, head, |head| !redact::key_shape(head).contains('*'))
    }

    /// From a place along a part that may be somebody's name.
    fn hide(&mut self, here: u32, part: &[u8]) -> u32 {
        let word = &part[..part.len() - 1];
        let hidden = &mut self.places[here as usize].hidden;
        if hidden.len() <= HIDDEN {
            let hash = super::top::hash(word);
            if !hidden.contains(&hash) {
                hidden.push(hash);
            }
        }
        self.star(here, part[part.len() - 1])
    }

    /// From a place along one part.
    fn step(&mut self, here: u32, part: &[u8]) -> u32 {
        let place = &self.places[here as usize];
        if !place.folded {
            if let Some(&below) = place.parts.get(part) {
                return below;
            }
            let word = &part[..part.len() - 1];
            if !is_variable(word) {
                let shown = self.all_words || if here == 0 { self.is_head(word) } else { self.is_word(word) };
                if !shown {
                    return self.hide(here, part);
                }
                let place = &self.places[here as usize];
                if place.parts.len() < FAN_OUT && self.places.len() < PLACES {
                    return self.part(here, part);
                }
                if place.parts.len() >= FAN_OUT {
                    self.fold(here);
                } else {
                    self.crowded = true;
                }
            }
        }
        self.star(here, part[part.len() - 1])
    }

    fn part(&mut self, here: u32, part: &[u8]) -> u32 {
        if let Some(&below) = self.places[here as usize].parts.get(part) {
            return below;
        }
        if self.places[here as usize].folded {
            return self.star(here, part[part.len() - 1]);
        }
        let below = self.place();
        self.places[here as usize].parts.insert(part.into(), below);
        below
    }

    fn star(&mut self, here: u32, separator: u8) -> u32 {
        if let Some(&(_, below)) = self.places[here as usize].stars.iter().find(|(byte, _)| *byte == separator) {
            return below;
        }
        let below = self.place();
        self.places[here as usize].stars.push((separator, below));
        below
    }

    fn place(&mut self) -> u32 {
        self.places.push(Place::default());
        self.moved.push(0);
        (self.places.len() - 1) as u32
    }

    /// Makes every part below `here` a `*`.
    fn fold(&mut self, here: u32) {
        let place = &mut self.places[here as usize];
        place.folded = true;
        let mut parts: Vec<_> = std::mem::take(&mut place.parts).into_iter().collect();
        // In the order of the names, so that what is merged into what never depends on a hash.
        parts.sort();
        for (part, below) in parts {
            let star = self.star(here, part[part.len() - 1]);
            self.merge(star, below);
        }
    }

    /// Moves everything at and below `from` to `into`.
    fn merge(&mut self, into: u32, from: u32) {
        let gone = std::mem::take(&mut self.places[from as usize]);
        self.moved[from as usize] = into;
        self.places[into as usize].own.add(gone.own);
        self.hides(into, &gone.hidden);
        if gone.folded && !self.places[into as usize].folded {
            self.fold(into);
        }
        for (separator, below) in gone.stars {
            let star = self.star(into, separator);
            self.merge(star, below);
        }
        let mut parts: Vec<_> = gone.parts.into_iter().collect();
        parts.sort();
        for (part, below) in parts {
            let place = &self.places[into as usize];
            let target = if place.folded {
                self.star(into, part[part.len() - 1])
            } else if place.parts.contains_key(&part) || place.parts.len() < FAN_OUT {
                self.part(into, &part)
            } else {
                self.fold(into);
                self.star(into, part[part.len() - 1])
            };
            self.merge(target, below);
        }
    }

    /// Remembers which words another place hides.
    fn hides(&mut self, here: u32, others: &[u64]) {
        let hidden = &mut self.places[here as usize].hidden;
        for hash in others {
            if hidden.len() <= HIDDEN && !hidden.contains(hash) {
                hidden.push(*hash);
            }
        }
    }

    /// Where a few words are one `*` because they may be somebody's name: the row above them, and how many they are.
    /// The largest such row only.
    pub fn merged<'a>(&self, rows: &'a [Branch]) -> Option<(&'a Branch, usize)> {
        let words = |row: &Branch| {
            let place = &self.places[row.place as usize];
            // What is folded is one `*` whoever may see it.
            (!place.folded && (2..=HIDDEN).contains(&place.hidden.len())).then_some(place.hidden.len())
        };
        let merged = rows.iter().filter_map(|row| Some((row, words(row)?)));
        merged.max_by_key(|(row, _)| (row.sums.bytes, row.sums.keys, row.depth))
    }

    /// Adds another tree's figures.
    pub fn absorb(&mut self, other: &Prefixes) {
        self.graft(0, other, 0);
        self.crowded |= other.crowded;
    }

    fn graft(&mut self, into: u32, other: &Prefixes, from: u32) {
        let source = &other.places[from as usize];
        self.places[into as usize].own.add(source.own);
        self.hides(into, &source.hidden);
        if source.folded && !self.places[into as usize].folded {
            self.fold(into);
        }
        for &(separator, below) in &source.stars {
            let star = self.star(into, separator);
            self.graft(star, other, below);
        }
        let mut parts: Vec<_> = source.parts.iter().collect();
        parts.sort();
        for (part, &below) in parts {
            let target = self.step(into, part);
            self.graft(target, other, below);
        }
    }

    /// Where a place's figures are now, after folding.
    pub fn now_at(&self, mut place: u32) -> u32 {
        while self.moved[place as usize] != 0 {
            place = self.moved[place as usize];
        }
        place
    }

    /// The rows worth showing: everything with at least `share` of the bytes or keys, the root first.
    pub fn branches(&self, share: f64) -> Vec<Branch> {
        let mut totals = vec![Sums::default(); self.places.len()];
        self.total(0, &mut totals);
        let whole = totals[0];
        let mut rows = Vec::new();
        self.list(0, Vec::new(), 0, &totals, &mut rows, &|sums: Sums| {
            sums.keys as f64 >= share * whole.keys as f64 && sums.keys > 0
                || (sums.bytes as f64 >= share * whole.bytes as f64 && sums.bytes > 0)
        });
        rows
    }

    fn total(&self, here: u32, totals: &mut [Sums]) -> Sums {
        let place = &self.places[here as usize];
        let mut sums = place.own;
        for below in self.below(place) {
            sums.add(self.total(below, totals));
        }
        totals[here as usize] = sums;
        sums
    }

    fn below<'a>(&self, place: &'a Place) -> impl Iterator<Item = u32> + use<'a> {
        place.parts.values().copied().chain(place.stars.iter().map(|(_, below)| *below))
    }

    fn list(
        &self,
        here: u32,
        path: Vec<u8>,
        depth: usize,
        totals: &[Sums],
        rows: &mut Vec<Branch>,
        wanted: &dyn Fn(Sums) -> bool,
    ) -> usize {
        let place = &self.places[here as usize];
        let index = rows.len();
        rows.push(Branch {
            path: path.clone(),
            depth,
            sums: totals[here as usize],
            own: place.own,
            place: here,
            below: Vec::new(),
        });
        let named = place.parts.iter().map(|(part, &below)| (part.to_vec(), below));
        let stars = place.stars.iter().map(|&(separator, below)| (vec![b'*', separator], below));
        let mut below: Vec<(Vec<u8>, u32)> =
            named.chain(stars).filter(|(_, below)| wanted(totals[*below as usize])).collect();
        below.sort_by(|a, b| {
            let (x, y) = (totals[a.1 as usize], totals[b.1 as usize]);
            (y.bytes, y.keys).cmp(&(x.bytes, x.keys)).then_with(|| a.0.cmp(&b.0))
        });
        for (part, place) in below {
            let mut longer = path.clone();
            longer.extend_from_slice(&part);
            let row = self.list(place, longer, depth + 1, totals, rows, wanted);
            rows[index].below.push(row);
        }
        index
    }

    /// Marks every place at or below `place`.
    pub fn is_under(&self, place: u32) -> Vec<bool> {
        let mut marks = vec![false; self.places.len()];
        let mut open = vec![place];
        while let Some(here) = open.pop() {
            marks[here as usize] = true;
            open.extend(self.below(&self.places[here as usize]));
        }
        marks
    }
}

/// Whether a word is of that kind; asked once for each of the first few thousand.
fn known(words: &mut QuickMap<Box<[u8]>, bool>, word: &[u8], is: impl Fn(&str) -> bool) -> bool {
    if let Some(&known) = words.get(word) {
        return known;
    }
    let is = std::str::from_utf8(word).is_ok_and(is);
    if words.len() < WORDS {
        words.insert(word.into(), is);
    }
    is
}

/// Parts in stored documents, in the order of their names.
mod parts_as_list {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::QuickMap;

    #[derive(Serialize, Deserialize)]
    struct Line(#[serde(with = "super::super::bytes_as_text")] Vec<u8>, u32);

    pub(super) fn serialize<S: Serializer>(map: &QuickMap<Box<[u8]>, u32>, serializer: S) -> Result<S::Ok, S::Error> {
        let mut lines: Vec<Line> = map.iter().map(|(part, &place)| Line(part.to_vec(), place)).collect();
        lines.sort_by(|a, b| a.0.cmp(&b.0));
        lines.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<QuickMap<Box<[u8]>, u32>, D::Error> {
        Ok(Vec::<Line>::deserialize(deserializer)?.into_iter().map(|Line(part, place)| (part.into(), place)).collect())
    }
}

/// The few rows that say most: starting from the root, the largest row is opened as long as at
/// most `limit` rows come of it. Each row covers its own part and what is not listed below it;
/// rows of the answer do not overlap and together cover everything.
pub fn cut(rows: &[Branch], limit: usize) -> Vec<(usize, Sums)> {
    let Some(root) = rows.first() else { return Vec::new() };
    // (row, what it still stands for, may it be opened)
    let mut shown: Vec<(usize, Sums, bool)> = vec![(0, root.sums, true)];
    loop {
        let openable = shown
            .iter()
            .enumerate()
            .filter(|(_, (row, _, fresh))| *fresh && !rows[*row].below.is_empty())
            .max_by_key(|(at, (_, sums, _))| (sums.bytes, sums.keys, std::cmp::Reverse(*at)));
        let Some((at, &(row, _, _))) = openable else { break };
        let rest = rows[row].below.iter().fold(rows[row].sums, |left, &below| Sums {
            keys: left.keys - rows[below].sums.keys.min(left.keys),
            bytes: left.bytes - rows[below].sums.bytes.min(left.bytes),
            endless_keys: left.endless_keys - rows[below].sums.endless_keys.min(left.endless_keys),
            endless_bytes: left.endless_bytes - rows[below].sums.endless_bytes.min(left.endless_bytes),
        });
        let grows = rows[row].below.len() + usize::from(rest.keys > 0) - 1;
        if shown.len() + grows > limit {
            shown[at].2 = false;
            continue;
        }
        shown.remove(at);
        if rest.keys > 0 {
            shown.push((row, rest, false));
        }
        shown.extend(rows[row].below.iter().map(|&below| (below, rows[below].sums, true)));
    }
    let mut shown: Vec<(usize, Sums)> = shown.into_iter().map(|(row, sums, _)| (row, sums)).collect();
    shown.sort_by(|a, b| (b.1.bytes, b.1.keys).cmp(&(a.1.bytes, a.1.keys)).then(a.0.cmp(&b.0)));
    shown
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one() -> Sums {
        Sums { keys: 1, bytes: 10, endless_keys: 0, endless_bytes: 0 }
    }

    fn paths(tree: &Prefixes) -> Vec<(String, u64)> {
        let mut paths: Vec<_> = tree
            .branches(0.0)
            .into_iter()
            .map(|row| (String::from_utf8_lossy(&row.path).into_owned(), row.sums.keys))
            .collect();
        paths.sort();
        paths
    }

    #[test]
    fn ids_and_crowds_fold_into_a_star() {
        let mut tree = Prefixes::new(Separators::default(), &[]);
        for i in 0..100_u8 {
            tree.add(format!("session:{i}").as_bytes(), one());
            tree.add(format!("tenant:name{}x:wm:{i}", (b'a' + i % 26) as char).as_bytes(), one());
            tree.add(
                format!("user:u{}z{}:profile", (b'a' + i % 26) as char, (b'a' + i / 26) as char).as_bytes(),
                one(),
            );
        }
        let paths = paths(&tree);
        assert!(paths.contains(&("session:".into(), 100)), "{paths:?}");
        assert!(paths.contains(&("tenant:*:wm:".into(), 100)), "{paths:?}");
        assert!(paths.contains(&("user:*:".into(), 100)), "{paths:?}");
    }

    #[test]
    fn words_of_the_second_part_are_told_apart_for_those_who_may_see_them() {
        for (all, expected) in [(false, "app:*:"), (true, "app:billing:")] {
            let mut tree = Prefixes::new(Separators::default(), &[]).showing_words(all);
            for i in 0..50 {
                tree.add(format!("app:billing:{i}").as_bytes(), one());
            }
            for i in 0..9 {
                tree.add(format!("app:ledgers:4f5e6d7c8b9a{i}").as_bytes(), one());
            }
            let paths = paths(&tree);
            assert!(paths.iter().any(|(path, _)| path == expected), "{paths:?}");
            assert_eq!(paths.iter().any(|(path, _)| path.contains("ledgers")), all, "{paths:?}");
        }
    }

    #[test]
    fn a_first_part_is_shown_where_the_keys_own_row_shows_it() {
        let separators = || Separators::given(":.").unwrap();
        let names =
            ["maria.gonzalez:cart:1", "maria.1", "session.7", "godel:queue:1", "o'neil:cart:1", "app.eu:cart:1"];
        let tree = |names: &mut dyn Iterator<Item = &&str>| {
            let mut tree = Prefixes::new(separators(), &[]);
            names.for_each(|name| _ = tree.add(name.as_bytes(), one()));
            paths(&tree).into_iter().map(|(path, _)| path).collect::<Vec<_>>()
        };
        let shown = tree(&mut names.iter());
        // What no `:` parts is read by its dots; what one does is hidden whole where its row hides it.
        assert_eq!(
            shown,
            ["", "*.", "*.*:", "*.*:cart:", "*:", "*:cart:", "godel:", "godel:queue:", "maria.", "session."]
        );
        assert_eq!(shown, tree(&mut names.iter().rev()), "in whatever order");
    }

    #[test]
    fn a_few_words_that_are_hidden_are_counted_and_many_are_people() {
        let merged = |words: usize, globs: &[String]| {
            let mut trees = [0, 1].map(|_| Prefixes::new(Separators::default(), globs));
            for at in 0..words * 100 {
                let word = char::from(b'a' + (at % words) as u8).to_string().repeat(5);
                trees[at / words % 2].add(format!("tenant:{at}:{word}:x").as_bytes(), one());
            }
            let [mut tree, other] = trees;
            tree.absorb(&other);
            let rows = tree.branches(0.01);
            tree.merged(&rows).map(|(row, words)| (String::from_utf8_lossy(&row.path).into_owned(), words))
        };
        assert_eq!(merged(1, &[]), None);
        assert_eq!(merged(2, &[]), Some(("tenant:*:".into(), 2)));
        assert_eq!(merged(HIDDEN, &[]), Some(("tenant:*:".into(), HIDDEN)));
        assert_eq!(merged(HIDDEN + 1, &[]), None);
        assert_eq!(merged(2, &["tenant:*:aaaaa:*".into()]), None);
    }

    #[test]
    fn declared_patterns_say_which_parts_are_variable() {
        let mut tree = Prefixes::new(Separators::default(), &["tenant:*:wm:*".into()]);
        tree.add(b"tenant:acme:wm:active", one());
        assert!(paths(&tree).contains(&("tenant:*:wm:".into(), 1)));
        assert!(!paths(&tree).iter().any(|(path, _)| path.contains("acme")));
    }

    #[test]
    fn a_hostile_keyspace_stays_within_its_places_and_loses_nothing() {
        let mut tree = Prefixes::new(Separators::default(), &[]);
        let mut state = 1_u64;
        let mut word = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (0..3).map(|i| char::from(b'g' + ((state >> (40 + 5 * i)) % 18) as u8)).collect::<String>()
        };
        for _ in 0..200_000 {
            let name = format!("{}:{}:{}:{}:x", word(), word(), word(), word());
            tree.add(name.as_bytes(), one());
        }
        assert!(tree.places.len() <= 2 * PLACES);
        assert_eq!(tree.branches(0.0)[0].sums.keys, 200_000);
    }

    proptest! {
        #[test]
        fn order_and_partition_do_not_matter(names in prop::collection::vec("[ab]{1,3}(:[a-d]{1,2}){0,3}", 1..400), split in 0_usize..400) {
            let settle = |names: &[String]| {
                let mut tree = Prefixes::new(Separators::default(), &[]);
                for name in names { tree.add(name.as_bytes(), one()); }
                tree
            };
            let whole = settle(&names);
            let mut backwards = names.clone();
            backwards.reverse();
            prop_assert_eq!(paths(&whole), paths(&settle(&backwards)));
            let (left, right) = names.split_at(split.min(names.len()));
            let mut joined = settle(left);
            joined.absorb(&settle(right));
            prop_assert_eq!(paths(&whole), paths(&joined));
        }

        #[test]
        fn a_cut_covers_everything_once(names in prop::collection::vec("[ab]{1,3}(:[a-d]{1,2}){0,3}", 1..200), limit in 1_usize..12) {
            let mut tree = Prefixes::new(Separators::default(), &[]);
            for name in &names { tree.add(name.as_bytes(), one()); }
            let rows = tree.branches(0.01);
            let shown = cut(&rows, limit);
            prop_assert!(shown.len() <= limit);
            prop_assert_eq!(shown.iter().map(|(_, sums)| sums.keys).sum::<u64>(), names.len() as u64);
        }
    }
}
