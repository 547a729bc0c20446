//! Where two stretches of a walk meet, and names that both of them see.
//!
//! A step of SCAN runs over the end of the stretch it is meant for, so what
//! walks before the edge brings names of the stretch after it. Each of them
//! counts for whichever saw it first.

use std::collections::HashMap;

use super::top;

/// Names kept on the far side of an edge. A step never runs over by more.
const NAMES: usize = 4_096;

/// An edge between two stretches.
#[derive(Debug, Default, Clone)]
pub struct Edge {
    /// Hash of a name, and whether the stretch after the edge saw it first. A stretch that reads
    /// its own names again (a walk that goes on after a lost connection) finds them its own.
    seen: HashMap<u64, bool>,
    /// Names the stretch after the edge has put in.
    after: usize,
}

impl Edge {
    /// The same edge again, from what [`Edge::names`] told.
    pub fn of(names: Vec<(u64, bool)>) -> Self {
        Self { after: names.iter().filter(|(_, after)| *after).count(), seen: names.into_iter().collect() }
    }

    /// What is kept of it: hashes of names, and whether the stretch after it saw them first.
    pub fn names(&self) -> Vec<(u64, bool)> {
        self.seen.iter().map(|(hash, after)| (*hash, *after)).collect()
    }

    /// The last step of the stretch before the edge brought a name: does it count there?
    pub fn counts_before(&mut self, name: &[u8]) -> bool {
        !*self.seen.entry(top::hash(name)).or_insert(false)
    }

    /// The stretch after the edge brought a name: does it count there?
    pub fn counts_after(&mut self, name: &[u8]) -> bool {
        if self.after >= NAMES {
            return true;
        }
        self.after += 1;
        *self.seen.entry(top::hash(name)).or_insert(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_counts_once_whichever_stretch_saw_it_first() {
        let mut edge = Edge::default();
        assert!(edge.counts_after(b"both") && edge.counts_after(b"after"));
        assert!(!edge.counts_before(b"both"));
        assert!(edge.counts_before(b"before") && !edge.counts_after(b"before"));
        let mut again = Edge::of(edge.names());
        assert!(again.counts_after(b"after"), "a stretch that reads its own names again finds them its own");
        assert!(!again.counts_before(b"both") && !again.counts_after(b"before"));
    }

    #[test]
    fn names_of_one_shape_are_told_apart() {
        for shape in ["old:", "session:", "doomed:", "a", "user:000000"] {
            let hashes: std::collections::HashSet<u64> =
                (0..100_000).map(|n| top::hash(format!("{shape}{n}").as_bytes())).collect();
            assert_eq!(hashes.len(), 100_000, "{shape}: a name that is taken for another is in neither stretch");
        }
    }

    #[test]
    fn far_from_the_edge_nothing_is_kept() {
        let mut edge = Edge::default();
        assert!((0..3 * NAMES as u64).all(|n| edge.counts_after(&n.to_le_bytes())));
        assert_eq!(edge.names().len(), NAMES);
    }
}
