//! `time-travel`: what going back in a recording costs, beside one straight replay of it.
//!
//! ```sh
//! vkernel boot --limit 10Gi ... && cargo run --release -p bench --bin time-travel -- TRACE
//! ```
//!
//! Prints: straight replay; taking an instruction back, warm, after arriving at places all over the recording; arriving
//! at such a place; the last write to a word before the end, on one processor and on all, where the word is one that is
//! never written, so that the whole recording is searched; what the checkpoints hold. Times are wall clock. Images are
//! taken from the store that the environment names.

use anyhow::{Context, Result};
use boundary::{Icount, Mark};
use machine::{EngineKind, Interrupt, Space, StopSet, Watchpoint};
use recorder::{Store, StoreRoot, TraceReader, gather_images};
use replay::{Budget, Player, Query, Timeline, settled};
use std::path::Path;
use std::time::Instant;

/// Places that are sought.
const PLACES: usize = 60;
/// Instructions that are taken back at each.
const STEPS: usize = 10;
/// A physical address that no guest of less memory has: its writes are searched for in vain.
const NOWHERE: u64 = 1 << 39;

fn main() -> Result<()> {
    let path = std::env::args().nth(1).context("usage: time-travel TRACE")?;
    let variable = |name| std::env::var_os(name);
    let (given, data, home) = (variable("VKERNEL_DIR"), variable("XDG_DATA_HOME"), variable("HOME"));
    let root = StoreRoot::choose(given.as_deref(), data.as_deref(), home.as_deref())?;
    let store = Store::at(root);
    let reader = TraceReader::open(Path::new(&path))?;
    let images = gather_images(&reader, Some(&store.images()), &[])?;

    let mut player = Player::new(&reader, &images, EngineKind::Interp, Interrupt::default())?;
    let started = Instant::now();
    player.play_to_end(&mut |_, _| {})?;
    let straight_s = started.elapsed().as_secs_f64();
    drop(player);
    let mut timeline =
        Timeline::new(&reader, &images, EngineKind::Interp, Interrupt::default(), Budget::default())?;
    let end = timeline.end();
    println!("straight replay of {:.2} G instructions: {straight_s:.1} s", end.icount.0 as f64 / 1e9);
    let started = Instant::now();
    timeline.seek(end)?;
    println!("the same, leaving checkpoints: {:.1} s", started.elapsed().as_secs_f64());
    wander(&mut timeline, end)?;
    for workers in [1, std::thread::available_parallelism().map_or(1, usize::from)] {
        search(&mut timeline, end, workers, straight_s)?;
    }
    let cost = timeline.checkpoint_cost();
    println!("{} checkpoints, {:.1} MB of memory", cost.count, cost.memory_bytes as f64 / 1e6);
    Ok(())
}

/// Goes to places all over the recording, and takes instructions back there.
fn wander(timeline: &mut Timeline<'_>, end: Mark) -> Result<()> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let (mut arrivals, mut steps) = (Vec::new(), Vec::new());
    for _ in 0..PLACES {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let started = Instant::now();
        timeline.seek(settled(Icount(1000 + state % (end.icount.0 - 1000))))?;
        arrivals.push(started.elapsed().as_secs_f64());
        for _ in 0..STEPS {
            let started = Instant::now();
            timeline.step_back(0)?;
            steps.push(started.elapsed().as_secs_f64() * 1e3);
        }
    }
    println!("arriving anywhere: {} s", of(&mut arrivals));
    println!("an instruction back, warm: {} ms", of(&mut steps));
    Ok(())
}

fn search(timeline: &mut Timeline<'_>, end: Mark, workers: usize, straight_s: f64) -> Result<()> {
    timeline.seek(end)?;
    let watch =
        Watchpoint { space: Space::Physical, address: NOWHERE, length_bytes: 8, read: false, write: true };
    let stops = StopSet { watch: vec![watch], ..StopSet::default() };
    let started = Instant::now();
    let (hit, _) = timeline.last_hit(Query::new(&stops).by(workers))?;
    assert!(hit.is_none(), "there is no memory at {NOWHERE:#x}");
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "the last write, searched for in all of it by {workers}: {seconds:.1} s, {:.2} of straight replay",
        seconds / straight_s
    );
    Ok(())
}

/// Median and 95th percentile.
fn of(sample: &mut [f64]) -> String {
    sample.sort_by(f64::total_cmp);
    let at = |part: f64| sample[((sample.len() - 1) as f64 * part) as usize];
    format!("median {:.2}, 95th percentile {:.2}", at(0.5), at(0.95))
}
