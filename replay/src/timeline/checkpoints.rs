//! The checkpoints of a timeline, in two tiers.
//!
//! Sparse ones stand over all of the recording that was passed. Their spacing begins at what the engine
//! replays in about a third of a second, and doubles whenever they would need more memory than they may.
//! Dense ones stand at growing distances before the last places that were sought, so that steps back from
//! there replay a few thousand counts. Memory is counted as what a checkpoint does not share with the one
//! before it.

use crate::player::Checkpoint;
use boundary::{Icount, Mark};
use machine::mem::PAGE_BYTES;
use std::collections::{BTreeMap, VecDeque};

/// How much checkpoints may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Counts between sparse checkpoints at first.
    pub spacing_counts: u64,
    /// Memory of all sparse checkpoints.
    pub sparse_bytes: u64,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget { spacing_counts: 1 << 26, sparse_bytes: 2 << 30 }
    }
}

/// Distances of dense checkpoints before the place that is sought, in counts.
const DENSE_COUNTS: [u64; 5] = [1 << 24, 1 << 21, 1 << 18, 1 << 15, 1 << 12];
/// How many dense checkpoints are kept.
const DENSE: usize = 24;

/// A sparse checkpoint and what it costs.
#[derive(Debug)]
struct Sparse {
    checkpoint: Checkpoint,
    own_bytes: u64,
}

/// All checkpoints of a timeline. There is always one at the start.
#[derive(Debug)]
pub(super) struct Checkpoints {
    sparse: BTreeMap<Mark, Sparse>,
    dense: VecDeque<Checkpoint>,
    spacing_counts: u64,
    budget: Budget,
}

impl Checkpoints {
    pub(super) fn new(start: Checkpoint, budget: Budget) -> Checkpoints {
        let own_bytes = start.machine().state_bytes() as u64;
        let start = (start.mark(), Sparse { checkpoint: start, own_bytes });
        Checkpoints {
            sparse: BTreeMap::from([start]),
            dense: VecDeque::new(),
            spacing_counts: budget.spacing_counts,
            budget,
        }
    }

    /// The last checkpoint at or before a place.
    pub(super) fn at_or_before(&self, place: Mark) -> &Checkpoint {
        let (_, sparse) = self.sparse.range(..=place).next_back().expect("one stands at the start");
        let dense = self.dense.iter().filter(|dense| dense.mark() <= place).max_by_key(|dense| dense.mark());
        match dense {
            Some(dense) if dense.mark() > sparse.checkpoint.mark() => dense,
            _ => &sparse.checkpoint,
        }
    }

    /// The last sparse checkpoint at which `vcpu` had executed fewer than `counts`.
    pub(super) fn before_own_count(&self, vcpu: u8, counts: u64) -> &Checkpoint {
        let mut all = self.sparse.values().map(|sparse| &sparse.checkpoint);
        all.rfind(|checkpoint| checkpoint.own_counts(vcpu) < counts)
            .expect("at the start it has executed none")
    }

    /// The sparse checkpoints before `place`, the last one first.
    pub(super) fn sparse_before(&self, place: Mark) -> impl Iterator<Item = &Checkpoint> {
        self.sparse.range(..place).rev().map(|(_, sparse)| &sparse.checkpoint)
    }

    /// Whether a sparse checkpoint at `place` would be far enough from all others.
    pub(super) fn wants_one_at(&self, place: Mark) -> bool {
        let spacing = self.spacing_counts;
        let before = self.sparse.range(..=place).next_back();
        let after = self.sparse.range(place..).next();
        before.is_none_or(|(mark, _)| place.icount.0 - mark.icount.0 >= spacing)
            && after.is_none_or(|(mark, _)| mark.icount.0 - place.icount.0 >= spacing / 2)
    }

    pub(super) fn keep_sparse(&mut self, checkpoint: Checkpoint) {
        let (_, before) =
            self.sparse.range(..checkpoint.mark()).next_back().expect("one stands at the start");
        let own_bytes = cost_beside(&checkpoint, &before.checkpoint);
        self.sparse.insert(checkpoint.mark(), Sparse { checkpoint, own_bytes });
        while self.cost().1 > self.budget.sparse_bytes && self.sparse.len() > 2 {
            self.thin_out();
        }
    }

    /// Drops every second sparse checkpoint and doubles the spacing.
    fn thin_out(&mut self) {
        self.spacing_counts *= 2;
        let mut ordinal = 0;
        self.sparse.retain(|_, _| {
            ordinal += 1;
            ordinal % 2 == 1
        });
        let mut before: Option<Checkpoint> = None;
        for sparse in self.sparse.values_mut() {
            if let Some(before) = &before {
                sparse.own_bytes = cost_beside(&sparse.checkpoint, before);
            }
            before = Some(sparse.checkpoint.clone());
        }
    }

    pub(super) fn keep_dense(&mut self, checkpoint: Checkpoint) {
        self.dense.retain(|dense| dense.mark() != checkpoint.mark());
        self.dense.push_back(checkpoint);
        if self.dense.len() > DENSE {
            self.dense.pop_front();
        }
    }

    /// How many checkpoints there are, and what the sparse ones cost in bytes.
    pub(super) fn cost(&self) -> (usize, u64) {
        let bytes = self.sparse.values().map(|sparse| sparse.own_bytes).sum();
        (self.sparse.len() + self.dense.len(), bytes)
    }
}

/// What a checkpoint holds that the one before it does not.
fn cost_beside(checkpoint: &Checkpoint, before: &Checkpoint) -> u64 {
    let (machine, before) = (checkpoint.machine(), before.machine());
    let pages = machine.pages().differing(before.pages()).len();
    (pages * PAGE_BYTES + machine.state_bytes()) as u64
}

/// Where to leave dense checkpoints on the way from `from` to `to`.
pub(super) fn dense_places(from: Mark, to: Mark) -> Vec<Mark> {
    let distance = to.icount.0.saturating_sub(from.icount.0);
    DENSE_COUNTS
        .iter()
        .filter(|counts| **counts < distance)
        .map(|counts| Mark::before(Icount(to.icount.0 - counts)))
        .collect()
}
