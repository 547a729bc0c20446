//! How many nodes a radix tree of 16-byte stream ids has, told from the ids in
//! order: `MEMORY USAGE` of a stream is a function of that number.

/// Counts nodes as ids arrive in order.
#[derive(Debug, Default)]
pub(super) struct Radix {
    last: [u8; 16],
    /// Depths of the branching nodes above the last id, shallowest first.
    branches: [u8; 17],
    depth: usize,
    nodes: u64,
    ids: u64,
}

impl Radix {
    /// The next id.
    pub(super) fn add(&mut self, id: [u8; 16]) {
        if self.ids > 0 {
            let shared = u128::from_be_bytes(id) ^ u128::from_be_bytes(self.last);
            let common = (shared.leading_zeros() / 8) as u8;
            if common == 16 {
                return;
            }
            let below = self.close(common);
            if self.depth == 0 || self.branches[self.depth - 1] != common {
                self.branches[self.depth] = common;
                self.depth += 1;
                self.nodes += 1;
            }
            self.edge(common, below);
        }
        self.last = id;
        self.ids += 1;
        self.nodes += 1;
    }

    /// Closes the branches deeper than `common` and says how deep the subtree under it begins.
    fn close(&mut self, common: u8) -> u8 {
        let mut below = 16;
        while self.depth > 0 && self.branches[self.depth - 1] > common {
            self.depth -= 1;
            let branch = self.branches[self.depth];
            self.edge(branch, below);
            below = branch;
        }
        below
    }

    /// A branch spends one byte on choosing; what is left to the next node is one compressed node.
    fn edge(&mut self, from: u8, to: u8) {
        self.nodes += u64::from(to > from + 1);
    }

    /// Ids and nodes of the whole tree.
    pub(super) fn finish(mut self) -> (u64, u64) {
        if self.ids == 0 {
            return (0, 1);
        }
        // Every branch is deeper than −1; depth 0 itself is closed here by hand.
        let mut top = self.close(0);
        if self.depth > 0 {
            self.edge(0, top);
            top = 0;
        }
        (self.ids, self.nodes + u64::from(top > 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(ids: &[u128]) -> u64 {
        let mut radix = Radix::default();
        for id in ids {
            radix.add(id.to_be_bytes());
        }
        radix.finish().1
    }

    #[test]
    fn trees_have_the_nodes_redis_builds() {
        assert_eq!(nodes(&[]), 1);
        assert_eq!(nodes(&[5]), 2, "a compressed node and a leaf");
        assert_eq!(nodes(&[1, 2]), 4, "compressed, branch, two leaves");
        assert_eq!(nodes(&[1, 2, 3]), 5);
        assert_eq!(nodes(&[1, 1 << 120]), 5, "a branch at the root, two compressed, two leaves");
        assert_eq!(
            nodes(&[1, 2, 0x101]),
            7,
            "compressed, branch at 14, branch at 15, three leaves, one byte left over"
        );
    }
}
