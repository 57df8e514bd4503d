//! Time travel over a recording: seek to any place, run and step both ways, search backwards.
//!
//! Going back is loading a checkpoint and replaying forwards from it, so everything here rests on replay being
//! exact and checkpoints being cheap. They stand in two tiers ([`checkpoints`]): sparse ones over the whole
//! recording, left behind wherever the timeline passes, and dense ones close before the cursor. Searching
//! backwards scans the gaps between checkpoints, last gap first ([`search`]).
//!
//! A *settled* place is one at which everything that happens at its count without an instruction has
//! happened: timers, inputs, the choice of the vCPU. Steps end there, so that what is shown next is what
//! executes next.

mod branch;
mod checkpoints;
mod console;
mod search;
mod shelf;

use crate::player::{PlayError, Player, Progress};
use boundary::{Icount, Mark, Media, Output};
pub use branch::{Branch, copy_events};
use checkpoints::Checkpoints;
pub use checkpoints::{Budget, CheckpointCost};
pub use console::ConsoleLog;
use machine::{EngineKind, Interrupt, Machine, StopReason, StopSet};
use recorder::{CheckpointFile, TraceReader};
pub use search::{Hit, Hits};
use shelf::Shelf;

/// Where a journey ended, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// At the place asked for.
    Reached,
    /// At a stop.
    Stopped {
        /// The vCPU that met it.
        vcpu: u8,
        /// Which.
        reason: StopReason,
    },
    /// At the start of the recording.
    Start,
    /// At its end.
    End,
    /// Somebody raised the interrupt.
    Interrupted,
}

/// How far long work has come: the place it is at, and the places it goes between.
#[derive(Clone, Copy, Debug)]
pub struct ProgressReport {
    /// Where the work is.
    pub at: Mark,
    /// Where it began.
    pub from: Mark,
    /// Where it ends at the latest.
    pub to: Mark,
}

/// A recording with a cursor that moves both ways.
pub struct Timeline<'a> {
    player: Player<'a>,
    reader: TraceReader,
    media: &'a dyn Media,
    engine: EngineKind,
    interrupt: Interrupt,
    checkpoints: Checkpoints,
    console: ConsoleLog,
    /// Players for searches, kept because the pages they hold are shared with the checkpoints.
    workers: Vec<Player<'a>>,
    /// Told about long work.
    pub on_progress: Box<dyn FnMut(ProgressReport) + 'a>,
}

/// Whether a stop counts, by what the machine is like there: several machines may be asked at once.
pub type Condition<'q> = &'q (dyn Fn(&Machine, u8, StopReason) -> bool + Sync);

/// What a search looks for.
#[derive(Clone, Copy)]
pub struct Query<'q> {
    /// Where to stop.
    pub stops: &'q StopSet,
    /// Which of the stops count.
    pub condition: Condition<'q>,
    /// How many machines search at once, where they can.
    pub workers: usize,
}

impl<'q> Query<'q> {
    /// Every one of these stops, searched for by one machine.
    #[must_use]
    pub fn new(stops: &'q StopSet) -> Query<'q> {
        Query { stops, condition: &|_, _, _| true, workers: 1 }
    }

    /// The same search by several machines.
    #[must_use]
    pub fn by(self, workers: usize) -> Query<'q> {
        Query { workers, ..self }
    }
}

/// Counts between two looks at the checkpoints and the progress of a run.
const SLICE_COUNTS: u64 = 1 << 22;

/// The settled place at `icount`.
#[must_use]
pub fn settled(icount: Icount) -> Mark {
    Mark { icount, seq: u32::MAX }
}

impl<'a> Timeline<'a> {
    /// A timeline at the start of a recording.
    ///
    /// # Errors
    /// As [`Player::new`].
    pub fn new(
        reader: &TraceReader,
        media: &'a dyn Media,
        engine: EngineKind,
        interrupt: Interrupt,
        budget: Budget,
    ) -> Result<Timeline<'a>, PlayError> {
        let mut player = Player::new(reader, media, engine, interrupt.clone())?;
        let start = player.save()?;
        Ok(Timeline {
            player,
            reader: reader.clone(),
            media,
            engine,
            interrupt,
            checkpoints: Checkpoints::new(start, budget),
            console: ConsoleLog::default(),
            workers: Vec::new(),
            on_progress: Box::new(|_| {}),
        })
    }

    /// Keeps the sparse checkpoints in a file, too. Those of earlier sessions are in it, and the recording counts as passed
    /// up to the furthest of them.
    pub fn keep_checkpoints_in(&mut self, file: CheckpointFile) {
        let shelf = Shelf::new(file);
        for (mark, bytes) in shelf.console() {
            self.console.note_bytes(*mark, bytes);
        }
        self.checkpoints.keep_on(shelf, &self.console);
    }

    /// Why checkpoints are no longer kept in their file, if they are not.
    #[must_use]
    pub fn checkpoint_trouble(&self) -> Option<&str> {
        self.checkpoints.shelf.as_ref()?.trouble()
    }

    /// The trace has grown since it was opened: `reader` is of the same one. What was passed stays passed.
    ///
    /// # Errors
    /// As [`Timeline::seek`].
    pub fn extend(&mut self, reader: &TraceReader) -> Result<(), PlayError> {
        self.player.extend(reader)?;
        self.reader = reader.clone();
        self.workers.clear();
        Ok(())
    }

    /// The place of the cursor.
    #[must_use]
    pub fn now(&self) -> Mark {
        self.player.machine.mark()
    }

    /// The last place of the recording.
    #[must_use]
    pub fn end(&self) -> Mark {
        self.player.last_mark()
    }

    /// The machine at the cursor, for looking.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        &self.player.machine
    }

    /// The digest of the machine at the cursor.
    pub fn digest(&mut self) -> boundary::Digest {
        self.player.machine.digest()
    }

    /// The faults of the triple fault that the recording ends with, once the cursor has been there.
    #[must_use]
    pub fn triple_fault(&self) -> Option<&boundary::TripleFault> {
        self.player.triple_fault.as_ref()
    }

    /// The console up to the furthest place the cursor has been at.
    #[must_use]
    pub fn console(&self) -> &ConsoleLog {
        &self.console
    }

    /// What checkpoints cost.
    #[must_use]
    pub fn checkpoint_cost(&self) -> CheckpointCost {
        self.checkpoints.cost()
    }

    /// Goes to a place.
    ///
    /// # Errors
    /// A divergence, or a trace that can no longer be read.
    pub fn seek(&mut self, to: Mark) -> Result<Arrival, PlayError> {
        let to = to.min(self.end());
        let nearest = self.checkpoints.nearest(to);
        let here = self.now();
        if to < here || nearest > here {
            let nearest = self.checkpoints.fetch(nearest);
            self.player.load(&nearest)?;
        }
        match self.approach(to)? {
            Arrival::Reached if to == self.end() => Ok(Arrival::End),
            other => Ok(other),
        }
    }

    /// Runs forwards to `to`, leaving dense checkpoints close before it.
    fn approach(&mut self, to: Mark) -> Result<Arrival, PlayError> {
        for place in checkpoints::dense_places(self.now(), to) {
            match self.advance(place, &StopSet::default())? {
                Arrival::Reached => {
                    let dense = self.player.save()?;
                    self.checkpoints.keep_dense(dense);
                }
                other => return Ok(other),
            }
        }
        self.advance(to, &StopSet::default())
    }

    /// Runs forwards to `to` or a stop, leaving sparse checkpoints behind.
    fn advance(&mut self, to: Mark, stops: &StopSet) -> Result<Arrival, PlayError> {
        self.player.stops.clone_from(stops);
        let from = self.now();
        loop {
            let here = self.now();
            let slice = Mark::before(Icount(here.icount.0.saturating_add(SLICE_COUNTS)));
            let console = &mut self.console;
            let mut emit = |mark: Mark, output: &Output| console.note(mark, output);
            match self.player.play(slice.min(to), &mut emit)? {
                Progress::Stopped { vcpu, reason } => return Ok(Arrival::Stopped { vcpu, reason }),
                Progress::Interrupted => return Ok(Arrival::Interrupted),
                Progress::Ended => return Ok(Arrival::End),
                Progress::Reached => {}
            }
            if self.now() >= to || slice >= to {
                return Ok(Arrival::Reached);
            }
            if self.checkpoints.wants_one_at(self.now()) {
                let sparse = self.player.save()?;
                self.checkpoints.keep_sparse(sparse, &self.console);
            }
            let report = ProgressReport { at: self.now(), from, to: to.min(self.end()) };
            (self.on_progress)(report);
        }
    }

    /// Runs forwards to the first stop behind the cursor, or to the end.
    ///
    /// # Errors
    /// As [`Timeline::seek`].
    pub fn run(&mut self, query: Query<'_>) -> Result<Arrival, PlayError> {
        self.run_until(self.end(), query)
    }

    /// Runs forwards to the first stop behind the cursor, at most to `to`.
    ///
    /// # Errors
    /// As [`Timeline::seek`].
    pub fn run_until(&mut self, to: Mark, query: Query<'_>) -> Result<Arrival, PlayError> {
        let start = self.now();
        loop {
            let arrival = self.advance(to.min(self.end()), query.stops)?;
            let is_wanted = match arrival {
                // A breakpoint at the very place one starts from is where one has just been.
                Arrival::Stopped { vcpu, reason } => {
                    let at_start = self.now().icount == start.icount && reason == StopReason::Execute;
                    !at_start && (query.condition)(&self.player.machine, vcpu, reason)
                }
                _ => true,
            };
            if is_wanted {
                return Ok(match arrival {
                    Arrival::Reached if self.now() >= self.end() => Arrival::End,
                    other => other,
                });
            }
        }
    }

    /// Lets a vCPU execute so many instructions, iterations or deliveries.
    ///
    /// # Errors
    /// As [`Timeline::seek`].
    pub fn step(&mut self, vcpu: u8, count: u64) -> Result<Arrival, PlayError> {
        let counts = self.own_counts(vcpu).saturating_add(count);
        let stops = StopSet { own_counts: Some((vcpu, counts)), ..StopSet::default() };
        match self.run(Query::new(&stops))? {
            Arrival::Stopped { reason: StopReason::OwnCounts, .. } => self.settle(),
            other => Ok(other),
        }
    }

    /// Takes back the last instructions, iterations or deliveries of a vCPU, so many of them.
    ///
    /// # Errors
    /// As [`Timeline::seek`].
    pub fn step_back(&mut self, vcpu: u8, count: u64) -> Result<Arrival, PlayError> {
        let Some(remaining) = self.own_counts(vcpu).checked_sub(count) else {
            self.seek(Mark::default())?;
            return Ok(Arrival::Start);
        };
        let before = Icount(self.now().icount.0.saturating_sub(count));
        let arrival = self.seek(settled(before))?;
        if arrival == Arrival::Interrupted || self.own_counts(vcpu) == remaining {
            return Ok(arrival);
        }
        let counts = remaining + 1;
        // Another vCPU executed in between: find where this one did.
        let earlier = self.checkpoints.before_own_count(vcpu, counts);
        let earlier = self.checkpoints.fetch(earlier);
        self.player.load(&earlier)?;
        let stops = StopSet { own_counts: Some((vcpu, counts)), ..StopSet::default() };
        match self.advance(self.end(), &stops)? {
            Arrival::Stopped { .. } => self.seek(settled(Icount(self.now().icount.0 - 1))),
            other => Ok(other),
        }
    }

    /// Lets everything happen that happens here without an instruction.
    fn settle(&mut self) -> Result<Arrival, PlayError> {
        self.advance(settled(self.now().icount).min(self.end()), &StopSet::default())
    }

    /// How many counts a vCPU has executed at the cursor.
    #[must_use]
    pub fn own_counts(&self, vcpu: u8) -> u64 {
        self.machine().cpus()[usize::from(vcpu)].own_counts
    }

    /// Makes sure of `count` players of the same recording beside the own one.
    fn hire(&mut self, count: usize) -> Result<(), PlayError> {
        while self.workers.len() < count {
            let worker = Player::new(&self.reader, self.media, self.engine, self.interrupt.clone())?;
            self.workers.push(worker);
        }
        Ok(())
    }
}
