//! The checkpoints of a timeline, in two tiers.
//!
//! Sparse ones stand over all of the recording that was passed. Their spacing begins at what the engine
//! replays in about a third of a second. Dense ones stand at growing distances before the last places that were sought,
//! so that steps back from there replay a few thousand counts. Memory is counted as what a checkpoint does not share with
//! the one before it.
//!
//! Where the sparse ones are kept on disk too ([`shelf`](super::shelf)), those of earlier sessions are there from the
//! beginning, and when they need more memory than they may, those least recently used are dropped from it. Without a
//! disk, every second one is dropped and the spacing doubled.

use super::console::ConsoleLog;
use super::shelf::Shelf;
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

/// What the checkpoints of a timeline cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointCost {
    /// How many there are, in memory and on disk.
    pub count: usize,
    /// Memory of the sparse ones.
    pub memory_bytes: u64,
    /// Length of their file, if there is one.
    pub disk_bytes: Option<u64>,
}

/// Distances of dense checkpoints before the place that is sought, in counts.
const DENSE_COUNTS: [u64; 5] = [1 << 24, 1 << 21, 1 << 18, 1 << 15, 1 << 12];
/// How many dense checkpoints are kept.
const DENSE: usize = 24;

/// A sparse checkpoint, in memory or on disk or both.
#[derive(Debug)]
struct Sparse {
    own_counts: Vec<u64>,
    resident: Option<Resident>,
}

/// One in memory and what it costs there.
#[derive(Debug)]
struct Resident {
    checkpoint: Checkpoint,
    own_bytes: u64,
    /// When it was used last.
    used: u64,
}

/// All checkpoints of a timeline. There is always one at the start, in memory.
#[derive(Debug)]
pub(super) struct Checkpoints {
    sparse: BTreeMap<Mark, Sparse>,
    dense: VecDeque<Checkpoint>,
    spacing_counts: u64,
    budget: Budget,
    pub(super) shelf: Option<Shelf>,
    uses: u64,
}

impl Checkpoints {
    pub(super) fn new(start: Checkpoint, budget: Budget) -> Checkpoints {
        let own_bytes = start.machine().state_bytes() as u64;
        let mut checkpoints = Checkpoints {
            sparse: BTreeMap::new(),
            dense: VecDeque::new(),
            spacing_counts: budget.spacing_counts,
            budget,
            shelf: None,
            uses: 0,
        };
        checkpoints.insert(start, own_bytes);
        checkpoints
    }

    /// Keeps the sparse checkpoints on disk, too; those that are there are there from now on.
    pub(super) fn keep_on(&mut self, mut shelf: Shelf, console: &ConsoleLog) {
        let start = self.start().clone();
        shelf.keep(&start, None, console);
        for (mark, own_counts) in shelf.contents() {
            self.sparse.entry(mark).or_insert(Sparse { own_counts, resident: None });
        }
        self.shelf = Some(shelf);
    }

    /// The one at the start.
    fn start(&self) -> &Checkpoint {
        let first = self.sparse.values().next().and_then(|sparse| sparse.resident.as_ref());
        &first.expect("one stands at the start").checkpoint
    }

    fn insert(&mut self, checkpoint: Checkpoint, own_bytes: u64) {
        self.uses += 1;
        let own_counts = checkpoint.player().own_counts.clone();
        let mark = checkpoint.mark();
        let resident = Some(Resident { checkpoint, own_bytes, used: self.uses });
        self.sparse.insert(mark, Sparse { own_counts, resident });
    }

    /// The place of the last checkpoint at or before a place.
    pub(super) fn nearest(&self, place: Mark) -> Mark {
        let (sparse, _) = self.sparse.range(..=place).next_back().expect("one stands at the start");
        let dense = self.dense.iter().map(Checkpoint::mark).filter(|mark| *mark <= place).max();
        dense.map_or(*sparse, |dense| dense.max(*sparse))
    }

    /// The checkpoint at a place that [`Checkpoints::nearest`] gave; an earlier one if it can no longer be read.
    pub(super) fn fetch(&mut self, mark: Mark) -> Checkpoint {
        if let Some(dense) = self.dense.iter().find(|dense| dense.mark() == mark) {
            return dense.clone();
        }
        self.uses += 1;
        let uses = self.uses;
        let sparse = self.sparse.get_mut(&mark).expect("a place that was given");
        if let Some(resident) = &mut sparse.resident {
            resident.used = uses;
            return resident.checkpoint.clone();
        }
        let near = self.resident_before(mark).clone();
        match self.shelf.as_mut().and_then(|shelf| shelf.load(mark, Some(&near))) {
            Some(checkpoint) => {
                self.insert(checkpoint.clone(), cost_beside(&checkpoint, &near));
                self.fit();
                checkpoint
            }
            None => {
                self.sparse.remove(&mark);
                self.fetch(self.nearest(mark))
            }
        }
    }

    /// For those who search, each with a machine of its own: the checkpoint at a place, with the pages of `near` where they
    /// are the same; the one at the start if it can no longer be read.
    pub(super) fn lend(&self, mark: Mark, near: Option<&Checkpoint>) -> Checkpoint {
        if let Some(resident) = self.sparse.get(&mark).and_then(|sparse| sparse.resident.as_ref()) {
            return resident.checkpoint.clone();
        }
        let near = near.unwrap_or_else(|| self.resident_before(mark));
        let stored = self.shelf.as_ref().and_then(|shelf| shelf.load(mark, Some(near)));
        stored.unwrap_or_else(|| self.start().clone())
    }

    /// The last checkpoint before a place that is in memory.
    fn resident_before(&self, place: Mark) -> &Checkpoint {
        let residents = self.sparse.range(..place).rev().filter_map(|(_, sparse)| sparse.resident.as_ref());
        residents.map(|resident| &resident.checkpoint).next().unwrap_or_else(|| self.start())
    }

    /// The place of the last sparse checkpoint at which `vcpu` had executed fewer than `counts`.
    pub(super) fn before_own_count(&self, vcpu: u8, counts: u64) -> Mark {
        let found = self.sparse.iter().rfind(|(_, sparse)| sparse.own_counts[usize::from(vcpu)] < counts);
        *found.expect("at the start it has executed none").0
    }

    /// The places of the sparse checkpoints before `place`, the last one first.
    pub(super) fn sparse_before(&self, place: Mark) -> impl Iterator<Item = Mark> {
        self.sparse.range(..place).rev().map(|(mark, _)| *mark)
    }

    /// Whether a sparse checkpoint at `place` would be far enough from all others.
    pub(super) fn wants_one_at(&self, place: Mark) -> bool {
        let spacing = self.spacing_counts;
        let before = self.sparse.range(..=place).next_back();
        let after = self.sparse.range(place..).next();
        before.is_none_or(|(mark, _)| place.icount.0 - mark.icount.0 >= spacing)
            && after.is_none_or(|(mark, _)| mark.icount.0 - place.icount.0 >= spacing / 2)
    }

    pub(super) fn keep_sparse(&mut self, checkpoint: Checkpoint, console: &ConsoleLog) {
        let before = self.resident_before(checkpoint.mark()).clone();
        if let Some(shelf) = &mut self.shelf {
            shelf.keep(&checkpoint, Some(&before), console);
        }
        let own_bytes = cost_beside(&checkpoint, &before);
        self.insert(checkpoint, own_bytes);
        self.fit();
    }

    /// Brings the sparse checkpoints down to what they may cost.
    fn fit(&mut self) {
        while self.cost().memory_bytes > self.budget.sparse_bytes {
            let is_kept = |mark: &Mark| self.shelf.as_ref().is_some_and(|shelf| shelf.contains(*mark));
            let residents =
                self.sparse.iter().skip(1).filter_map(|(mark, sparse)| {
                    sparse.resident.as_ref().map(|resident| (resident.used, *mark))
                });
            let oldest = residents.filter(|(used, mark)| *used != self.uses && is_kept(mark)).min();
            if let Some((_, mark)) = oldest {
                self.sparse.get_mut(&mark).expect("it was just found").resident = None;
            } else if self.sparse.len() > 2 {
                self.thin_out();
            } else {
                return;
            }
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
        for resident in self.sparse.values_mut().filter_map(|sparse| sparse.resident.as_mut()) {
            if let Some(before) = &before {
                resident.own_bytes = cost_beside(&resident.checkpoint, before);
            }
            before = Some(resident.checkpoint.clone());
        }
    }

    pub(super) fn keep_dense(&mut self, checkpoint: Checkpoint) {
        self.dense.retain(|dense| dense.mark() != checkpoint.mark());
        self.dense.push_back(checkpoint);
        if self.dense.len() > DENSE {
            self.dense.pop_front();
        }
    }

    /// What they cost.
    pub(super) fn cost(&self) -> CheckpointCost {
        let residents = self.sparse.values().filter_map(|sparse| sparse.resident.as_ref());
        CheckpointCost {
            count: self.sparse.len() + self.dense.len(),
            memory_bytes: residents.map(|resident| resident.own_bytes).sum(),
            disk_bytes: self.shelf.as_ref().map(Shelf::length_bytes),
        }
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
