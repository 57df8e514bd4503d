//! Searching: the last stop before the cursor, and every stop between two places.
//!
//! The gaps between sparse checkpoints are independent of each other, so they are scanned by several workers
//! at once, each with a machine of its own; the order of answers is that of the recording, whatever worker
//! was first.

use super::checkpoints::Checkpoints;
use super::{Arrival, ProgressReport, Query, Timeline, settled};
use crate::player::{Checkpoint, PlayError, Player, Progress};
use boundary::{Icount, Mark};
use machine::{StopReason, StopSet};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A stop that was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The settled place before the instruction that met it.
    pub place: Mark,
    /// Where it was found to be met: the place itself for a breakpoint, behind the instruction for all else.
    pub found: Mark,
    /// The vCPU.
    pub vcpu: u8,
    /// Which stop.
    pub reason: StopReason,
    /// RIP at `found`.
    pub rip: u64,
}

/// Hits in the order of the recording.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hits {
    /// The first of them, up to the number asked for.
    pub list: Vec<Hit>,
    /// How many there are in all.
    pub total: u64,
    /// Whether the search was interrupted before it was through.
    pub interrupted: bool,
}

/// Which of the hits of a gap are wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Last,
    First(usize),
}

/// What a scan of one gap found.
#[derive(Default)]
struct Found {
    hits: Vec<Hit>,
    total: u64,
    complete: bool,
}

/// Scans from where `player` is to `to`, for hits that are not before `since`. A hit belongs to the gap if its
/// instruction is complete at `to`, or, for a breakpoint, if it lies before `to`.
fn scan(
    player: &mut Player<'_>,
    since: Mark,
    to: Mark,
    query: Query<'_>,
    wanted: Wanted,
) -> Result<Found, PlayError> {
    player.stops.clone_from(query.stops);
    let mut found = Found::default();
    loop {
        match player.play(to, &mut |_, _| {})? {
            Progress::Stopped { vcpu, reason } => {
                let mark = player.machine.mark();
                if reason == StopReason::Execute && mark.icount >= to.icount {
                    continue;
                }
                let place = match reason {
                    StopReason::Execute => settled(mark.icount),
                    _ => settled(Icount(mark.icount.0 - 1)),
                };
                if place < since || !(query.condition)(&player.machine, vcpu, reason) {
                    continue;
                }
                let rip = player.machine.cpus()[usize::from(vcpu)].rip;
                found.total += 1;
                let hit = Hit { place, found: mark, vcpu, reason, rip };
                match wanted {
                    Wanted::Last => found.hits = vec![hit],
                    Wanted::First(limit) if found.hits.len() < limit => found.hits.push(hit),
                    Wanted::First(_) => {}
                }
            }
            Progress::Interrupted => return Ok(found),
            Progress::Reached | Progress::Ended => {
                found.complete = true;
                return Ok(found);
            }
        }
    }
}

/// A stretch of the recording between two sparse checkpoints, to be scanned from a checkpoint.
#[derive(Clone, Copy)]
struct Gap {
    from: Mark,
    to: Mark,
}

impl Timeline<'_> {
    /// Goes back to the last stop before the cursor: for a breakpoint, to its instruction; for all else, to
    /// before the instruction that met it. Without one, to the start.
    ///
    /// # Errors
    /// As [`Timeline::seek`].
    pub fn run_back(&mut self, query: Query<'_>) -> Result<Arrival, PlayError> {
        let here = self.now();
        let (hit, interrupted) = self.last_hit(query)?;
        let Some(hit) = hit else {
            if interrupted {
                self.seek(here)?;
                return Ok(Arrival::Interrupted);
            }
            self.seek(Mark::default())?;
            return Ok(Arrival::Start);
        };
        match self.seek(hit.place)? {
            Arrival::Interrupted => Ok(Arrival::Interrupted),
            _ => Ok(Arrival::Stopped { vcpu: hit.vcpu, reason: hit.reason }),
        }
    }

    /// The last stop before the cursor, which does not move; and whether the search was interrupted.
    ///
    /// # Errors
    /// As [`Timeline::seek`].
    pub fn last_hit(&mut self, query: Query<'_>) -> Result<(Option<Hit>, bool), PlayError> {
        let here = self.now();
        let gaps = self.gaps(Mark::default(), here);
        let found = self.scan_gaps(gaps, Mark::default(), query, Wanted::Last)?;
        let last = found.values().rev().find_map(|found| found.hits.last().copied());
        Ok((last, last.is_none() && found.values().any(|found| !found.complete)))
    }

    /// Every stop between two places, and the first `limit` of them. The cursor does not move.
    ///
    /// # Errors
    /// As [`Timeline::seek`].
    pub fn all_hits(
        &mut self,
        from: Mark,
        to: Mark,
        query: Query<'_>,
        limit: usize,
    ) -> Result<Hits, PlayError> {
        let gaps = self.gaps(from, to.min(self.end()));
        let found = self.scan_gaps(gaps, from, query, Wanted::First(limit))?;
        let mut hits = Hits::default();
        for found in found.into_values() {
            hits.interrupted |= !found.complete;
            hits.total += found.total;
            hits.list.extend(found.hits);
        }
        hits.list.truncate(limit);
        Ok(hits)
    }

    /// The gaps that cover a stretch, the last one first. Beyond the furthest place passed so far there is
    /// one gap only.
    fn gaps(&self, from: Mark, to: Mark) -> Vec<Gap> {
        let mut gaps = Vec::new();
        let mut end = to;
        for place in self.checkpoints.sparse_before(to) {
            gaps.push(Gap { from: place, to: end });
            end = place;
            if end <= from {
                break;
            }
        }
        gaps
    }

    /// Scans gaps, in parallel if there are several. The result is by gap, in the order of the recording.
    fn scan_gaps(
        &mut self,
        gaps: Vec<Gap>,
        since: Mark,
        query: Query<'_>,
        wanted: Wanted,
    ) -> Result<BTreeMap<Mark, Found>, PlayError> {
        let Some((first, last)) = gaps.last().zip(gaps.first()) else { return Ok(BTreeMap::new()) };
        let (begin, finish) = (first.from, last.to);
        let here = self.player.save()?;
        let workers = query.workers.clamp(1, gaps.len());
        self.hire(workers - 1)?;
        let pool = Pool {
            gaps: &gaps,
            checkpoints: &self.checkpoints,
            next: AtomicUsize::new(0),
            answered: AtomicUsize::new(usize::MAX),
            found: Mutex::new(BTreeMap::new()),
            since,
            query,
            wanted,
        };
        let (player, helpers) = (&mut self.player, &mut self.workers[..workers - 1]);
        let on_progress = &mut self.on_progress;
        let result = std::thread::scope(|scope| {
            let pool = &pool;
            let helpers: Vec<_> = helpers
                .iter_mut()
                .map(|player| scope.spawn(move || pool.work(player, &mut |_| {})))
                .collect();
            let mut report = |at| on_progress(ProgressReport { at, from: finish, to: begin });
            let mut result = pool.work(player, &mut report);
            for helper in helpers {
                result = result.and(helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
            result
        });
        self.player.load(&here)?;
        self.player.stops = StopSet::default();
        result?;
        Ok(pool.found.into_inner().expect("no worker panicked"))
    }
}

/// The work of a search, shared by its workers.
struct Pool<'p> {
    gaps: &'p [Gap],
    checkpoints: &'p Checkpoints,
    next: AtomicUsize,
    /// For a search of the last hit: the first gap of the list known to hold one. Later ones do not matter.
    answered: AtomicUsize,
    found: Mutex<BTreeMap<Mark, Found>>,
    since: Mark,
    query: Query<'p>,
    wanted: Wanted,
}

impl Pool<'_> {
    fn work(&self, player: &mut Player<'_>, report: &mut dyn FnMut(Mark)) -> Result<(), PlayError> {
        let mut near: Option<Checkpoint> = None;
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(gap) = self.gaps.get(index) else { return Ok(()) };
            if index > self.answered.load(Ordering::Relaxed) {
                return Ok(());
            }
            report(gap.to);
            let from = self.checkpoints.lend(gap.from, near.as_ref());
            player.load(&from)?;
            near = Some(from);
            // One from before the gap finds what is before it, too.
            let found = scan(player, self.since.max(gap.from), gap.to, self.query, self.wanted)?;
            if self.wanted == Wanted::Last && !found.hits.is_empty() {
                self.answered.fetch_min(index, Ordering::Relaxed);
            }
            let interrupted = !found.complete;
            self.found.lock().expect("no worker panicked").insert(gap.from, found);
            if interrupted {
                return Ok(());
            }
        }
    }
}
