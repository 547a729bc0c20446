//! The names a count came upon, for the work that follows it.
//!
//! Right before a change is carried out its keys are counted once more. To walk
//! everything yet again for the same names would double what the walk costs the
//! server, so the last count keeps them. What is asked of a key before it is
//! touched, and after, is asked of these as of any.

use std::{collections::HashSet, sync::Arc};

use crate::{model::Address, runbook::Select};

/// Names of one server take so much at most while they are worked through; where there are more, none are kept and
/// the work walks by itself.
const MOST_BYTES: usize = 64 << 20;

/// Many names, close together.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Names {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl Names {
    fn push(&mut self, name: &[u8]) {
        self.bytes.extend_from_slice(name);
        self.ends.push(self.bytes.len() as u32);
    }

    /// So many bytes it would take with these.
    fn with(&self, bytes: usize, names: usize) -> usize {
        self.bytes.len() + bytes + (self.ends.len() + names) * size_of::<u32>()
    }

    /// All of them, in the order they came in.
    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).filter_map(|nth| self.get(nth))
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The nth, from 0.
    pub(super) fn get(&self, nth: usize) -> Option<&[u8]> {
        let end = *self.ends.get(nth)? as usize;
        let start = nth.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        self.bytes.get(start..end)
    }
}

/// Names that are kept for as long as there is room for all of them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Keeping {
    names: Option<Names>,
    most_bytes: usize,
}

impl Keeping {
    /// None is kept.
    pub(super) fn none() -> Self {
        Self { names: None, most_bytes: 0 }
    }

    /// All are, as long as there is room.
    pub(super) fn all() -> Self {
        Self::up_to(MOST_BYTES)
    }

    /// All are, as long as they take so much at most.
    pub(super) fn up_to(most_bytes: usize) -> Self {
        Self { names: Some(Names::default()), most_bytes }
    }

    /// Those of others that are not among these.
    pub(super) fn without(names: &Names, others: &HashSet<Vec<u8>>) -> Self {
        let mut all = Self::all();
        names.iter().filter(|name| !others.contains(*name)).for_each(|name| all.add(name));
        all
    }

    /// How many are kept.
    pub(super) fn len(&self) -> usize {
        self.names.as_ref().map_or(0, Names::len)
    }

    pub(super) fn add(&mut self, name: &[u8]) {
        match &mut self.names {
            Some(names) if names.with(name.len(), 1) <= self.most_bytes => names.push(name),
            _ => self.names = None,
        }
    }

    /// Adds another's; where either has none, neither has the whole.
    pub(super) fn merge(&mut self, other: Self) {
        let (mine, theirs) = (self.names.take(), other.names);
        self.names = mine.zip(theirs).and_then(|(mut mine, theirs)| {
            (mine.with(theirs.bytes.len(), theirs.ends.len()) <= self.most_bytes).then(|| {
                let before = mine.bytes.len() as u32;
                mine.bytes.extend_from_slice(&theirs.bytes);
                mine.ends.extend(theirs.ends.iter().map(|end| end + before));
                mine
            })
        });
    }

    /// All of them, if they were kept.
    pub(super) fn whole(self) -> Option<Arc<Names>> {
        self.names.map(Arc::new)
    }
}

/// What a count came upon: the keys that a selection means, server by server.
#[derive(Debug, Clone)]
pub struct Meant {
    /// The selection.
    pub select: Select,
    /// The names on each server where all of them were met and kept.
    pub on: Vec<(Address, Arc<Names>)>,
}

impl Meant {
    /// The names of a selection on a server.
    pub(in crate::exec) fn find(meant: &[Meant], select: &Select, server: &Address) -> Option<Arc<Names>> {
        let same = meant.iter().filter(|one| one.select == *select);
        same.flat_map(|one| &one.on).find(|(address, _)| address == server).map(|(_, names)| names.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_as_they_were_put_in_and_those_of_several_hands_one_after_the_other() {
        let (mut one, mut other) = (Keeping::all(), Keeping::all());
        [b"a".as_slice(), b"", b"session:1"].iter().for_each(|name| one.add(name));
        other.add(b"\xff\0");
        one.merge(other);
        let names = one.whole().unwrap();
        let all: Vec<&[u8]> = (0..names.len()).map(|nth| names.get(nth).unwrap()).collect();
        assert_eq!(all, [b"a".as_slice(), b"", b"session:1", b"\xff\0"]);
        assert_eq!(names.get(4), None);
    }

    #[test]
    fn where_there_is_no_room_for_all_none_are_kept() {
        let half = vec![b'x'; MOST_BYTES / 2];
        let mut one = Keeping::all();
        one.add(&half);
        let mut other = Keeping::all();
        other.add(&half);
        other.merge(one);
        assert_eq!(other.whole(), None);
        let mut alone = Keeping::all();
        alone.add(&half);
        alone.add(&half);
        assert_eq!(alone.whole(), None);
        let mut with_none = Keeping::all();
        with_none.add(b"a");
        with_none.merge(Keeping::none());
        assert_eq!(with_none.whole(), None, "what one hand did not keep is missing");
    }
}
