//! A walk that was stopped, stored whole: cursors say nothing about a server's state, so a walk
//! can go on minutes later, by another process, as long as the server was not restarted.

use serde::{Deserialize, Serialize};

use super::{
    Tally,
    ask::{Aim, Ask},
    cursor::{Layout, Stretch},
    top::Top,
};

/// The version of the document.
pub(super) const VERSION: u32 = 3;

/// One stretch of a walk and how far it has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Piece {
    /// The stretch.
    pub stretch: Stretch,
    /// Everything before this cursor is counted.
    pub cursor: u64,
    /// All of it is.
    pub finished: bool,
    /// The share of the keys that lie in it, in any unit.
    pub weight: f64,
    /// A lane is at it.
    #[serde(skip)]
    pub(super) taken: bool,
}

impl Piece {
    /// A stretch at its beginning. `slots` are the node's, where keys lie by slot.
    pub fn new(stretch: Stretch, layout: Layout, slots: &[(u16, u16)]) -> Self {
        let weight = match (layout.slot(stretch.from), stretch.to.and_then(|to| layout.slot(to))) {
            (Some(first), end) if !slots.is_empty() => {
                let end = end.map_or(16_384, u32::from);
                let overlap = |&(from, to): &(u16, u16)| {
                    (u32::from(to) + 1).min(end).saturating_sub(u32::from(from).max(u32::from(first)))
                };
                f64::from(slots.iter().map(overlap).sum::<u32>())
            }
            _ => 1.0,
        };
        let finished = weight == 0.0;
        Self { stretch, cursor: layout.at(stretch.from), finished, weight, taken: false }
    }

    /// How much of it is done, 0 to 1.
    pub fn done(&self, layout: Layout) -> f64 {
        if self.finished { 1.0 } else { self.stretch.done(layout, self.cursor) }
    }
}

/// The document.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Checkpoint {
    version: u32,
    aim: Aim,
    #[serde(with = "super::bytes_as_option_text")]
    glob: Option<Vec<u8>>,
    lengths: bool,
    #[serde(default)]
    weigh: bool,
    db: u32,
    /// Of a cluster's node, its slots.
    slots: Vec<(u16, u16)>,
    pub(super) run_id: String,
    pub(super) pieces: Vec<Piece>,
    pub(super) edges: Vec<Vec<(u64, bool)>>,
    pub(super) tally: Tally,
    pub(super) hot: Top,
    pub(super) walked: u64,
    pub(super) vanished: u64,
    #[serde(default)]
    pub(super) barred: u64,
    /// What was refused, with the server's words.
    #[serde(default)]
    pub(super) denied: Vec<(String, String)>,
}

impl Checkpoint {
    #[expect(clippy::too_many_arguments, reason = "a document's fields, named where it is made")]
    pub(super) fn new(
        ask: &Ask,
        slots: Vec<(u16, u16)>,
        run_id: String,
        pieces: Vec<Piece>,
        edges: Vec<Vec<(u64, bool)>>,
        tally: Tally,
        hot: Top,
        walked: u64,
        vanished: u64,
        barred: u64,
        denied: Vec<(String, String)>,
    ) -> Self {
        Self {
            version: VERSION,
            aim: ask.aim,
            glob: ask.glob.clone(),
            lengths: ask.lengths,
            weigh: ask.weigh,
            db: ask.db,
            slots,
            run_id,
            pieces,
            edges,
            tally,
            hot,
            walked,
            vanished,
            barred,
            denied,
        }
    }

    /// The checkpoint, if it is of this question. A slot that came since would not be counted, so
    /// the slots must be the same.
    pub fn fits(self, ask: &Ask, slots: &[(u16, u16)]) -> Option<Self> {
        let same = self.version == VERSION
            && self.aim == ask.aim
            && self.glob == ask.glob
            && self.lengths == ask.lengths
            && self.weigh == ask.weigh
            && self.db == ask.db
            && self.slots == slots
            && !self.pieces.is_empty()
            && self.tally.wanted().words == ask.wanted.words
            && self.tally.wanted().top >= ask.wanted.top
            && self.tally.wanted().names >= ask.wanted.names;
        same.then_some(self)
    }

    /// Whether something was counted and something is left.
    pub fn is_worth_keeping(&self) -> bool {
        self.walked > 0 && self.pieces.iter().any(|piece| !piece.finished)
    }
}
