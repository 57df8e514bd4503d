//! `time-travel`: what going back in a recording costs, beside one straight replay of it, and beside QEMU.
//!
//! ```sh
//! vkernel boot --limit 10Gi ... && cargo run --release -p bench --bin time-travel -- TRACE
//! cargo run --release -p bench --bin time-travel -- --beside-qemu
//! ```
//!
//! Of TRACE: a straight replay; taking an instruction back, warm, after arriving at places all over the recording;
//! arriving at such a place; the last write to a word before the end, on one processor and on all, where the word is one
//! that is never written, so that the whole recording is searched; what the checkpoints hold, and what a second session
//! gains by them. With `--beside-qemu`, the
//! demonstration kernel is recorded by the program in target/release and by QEMU, and the same is asked of both. Times
//! are wall clock. Images are taken from the store that the environment names. docs/going-back.md is made of both.

mod gdb;
mod qemu;

use anyhow::{Context, Result, ensure};
use boundary::{Icount, Mark};
use machine::{EngineKind, Interrupt, Space, StopSet, Watchpoint};
use recorder::{CacheIdentity, CheckpointFile, Store, StoreRoot, TraceReader, gather_images};
use replay::{Budget, CheckpointCost, Player, Query, Timeline, settled};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Places that are sought.
const PLACES: usize = 60;
/// Instructions that are taken back at each.
const STEPS: usize = 10;
/// A physical address that no guest of less memory has: its writes are searched for in vain.
const NOWHERE: u64 = 1 << 39;
/// What the checkpoints may take on disk, as in the program.
const CACHE_LIMIT_BYTES: u64 = 1 << 30;
/// What the demonstration kernel does beside QEMU.
const COMMAND_LINE: &str = "fixed rounds=400";

/// What was measured.
struct Figures {
    instructions: u64,
    straight_s: f64,
    leaving_s: f64,
    arriving: String,
    step_back: String,
    /// Processors, and seconds.
    searches: Vec<(usize, f64)>,
    checkpoints: CheckpointCost,
    /// Seconds from nothing to the end of the recording in a second session, which has the checkpoints of the first.
    second_session_s: f64,
}

fn main() -> Result<()> {
    let argument = std::env::args().nth(1).context("usage: time-travel TRACE | --beside-qemu")?;
    if argument == "--beside-qemu" {
        return beside_qemu();
    }
    let variable = |name| std::env::var_os(name);
    let (given, data, home) = (variable("VKERNEL_DIR"), variable("XDG_DATA_HOME"), variable("HOME"));
    let root = StoreRoot::choose(given.as_deref(), data.as_deref(), home.as_deref())?;
    let figures = measure(Path::new(&argument), root)?;
    println!("| {:.2} G instructions | |", figures.instructions as f64 / 1e9);
    println!("|---|---|");
    println!("| straight replay | {:.1} s |", figures.straight_s);
    println!("| the same, leaving checkpoints | {:.1} s |", figures.leaving_s);
    println!("| arriving anywhere | {} s |", figures.arriving);
    println!("| an instruction back, warm | {} ms |", figures.step_back);
    for (workers, seconds) in &figures.searches {
        let share = seconds / figures.straight_s;
        println!(
            "| the last write, in all of it, on {workers} | {seconds:.1} s, {share:.2} of straight replay |"
        );
    }
    let CheckpointCost { count, memory_bytes, disk_bytes } = figures.checkpoints;
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    let disk = megabytes(disk_bytes.unwrap_or_default());
    println!("| checkpoints | {count}, {:.1} MB of memory, {disk:.1} MB on disk |", megabytes(memory_bytes));
    println!("| opening it at its end, the second time | {:.2} s |", figures.second_session_s);
    Ok(())
}

/// The same guest, recorded and asked by both.
fn beside_qemu() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let trace = folder.path().join("demo.vkt");
    let recorded = Command::new("target/release/vkernel")
        .args(["boot", "-n", "1", "-m", "256m", "--append", COMMAND_LINE, "--trace"])
        .arg(&trace)
        .arg("demo:")
        .env("VKERNEL_DIR", folder.path())
        .stdin(Stdio::null())
        .output()
        .context("target/release/vkernel")?;
    ensure!(recorded.status.success(), "{}", String::from_utf8_lossy(&recorded.stderr));
    let root = StoreRoot::choose(Some(folder.path().as_os_str()), None, None)?;
    let own = measure(&trace, root)?;
    let qemu = qemu::measure(&harness::guests::built("demo"), COMMAND_LINE)?;
    let millions = |instructions: u64| format!("{:.1} M", instructions as f64 / 1e6);
    let (_, search_s) = own.searches[0];
    println!("| `{COMMAND_LINE}` | vkernel | QEMU |");
    println!("|---|---|---|");
    println!(
        "| instructions, as each counts | {} | {} |",
        millions(own.instructions),
        millions(qemu.instructions)
    );
    println!("| straight replay | {:.2} s | {:.2} s |", own.straight_s, qemu.straight_s);
    println!("| arriving anywhere | {} s | {} |", own.arriving, qemu.arriving);
    println!("| an instruction back | {} ms | {} |", own.step_back, qemu.step_back);
    println!("| back to a write that is not there | {search_s:.2} s | {} |", qemu.search);
    Ok(())
}

fn measure(trace: &Path, root: StoreRoot) -> Result<Figures> {
    let store = Store::at(root);
    let reader = TraceReader::open(trace)?;
    let images = gather_images(&reader, Some(&store.images()), &[])?;
    let mut player = Player::new(&reader, &images, EngineKind::Interp, Interrupt::default())?;
    let started = Instant::now();
    player.play_to_end(&mut |_, _| {})?;
    let straight_s = started.elapsed().as_secs_f64();
    drop(player);
    let kept = tempfile::tempdir()?;
    let open = || -> Result<Timeline<'_>> {
        let budget = Budget::default();
        let mut timeline = Timeline::new(&reader, &images, EngineKind::Interp, Interrupt::default(), budget)?;
        let identity = CacheIdentity::of_files(trace, Path::new("/proc/self/exe"))?;
        timeline.keep_checkpoints_in(CheckpointFile::open(kept.path(), identity, CACHE_LIMIT_BYTES)?);
        Ok(timeline)
    };
    let mut timeline = open()?;
    let end = timeline.end();
    let started = Instant::now();
    timeline.seek(end)?;
    let leaving_s = started.elapsed().as_secs_f64();
    let (arriving, step_back) = wander(&mut timeline, end)?;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let mut searches = Vec::new();
    for workers in 1..=processors {
        searches.push((workers, search(&mut timeline, end, workers)?));
    }
    let checkpoints = timeline.checkpoint_cost();
    drop(timeline);
    let started = Instant::now();
    open()?.seek(end)?;
    Ok(Figures {
        instructions: end.icount.0,
        straight_s,
        leaving_s,
        arriving,
        step_back,
        searches,
        checkpoints,
        second_session_s: started.elapsed().as_secs_f64(),
    })
}

/// So many places all over a recording, the same in every run.
fn sample(count: usize, instructions: u64) -> Vec<u64> {
    let mut dice = harness::Dice::new(1);
    (0..count).map(|_| 1000 + dice.below(instructions - 1000)).collect()
}

/// Goes to places all over the recording, and takes instructions back there.
fn wander(timeline: &mut Timeline<'_>, end: Mark) -> Result<(String, String)> {
    let (mut arrivals, mut steps) = (Vec::new(), Vec::new());
    for place in sample(PLACES, end.icount.0) {
        let started = Instant::now();
        timeline.seek(settled(Icount(place)))?;
        arrivals.push(started.elapsed().as_secs_f64());
        for _ in 0..STEPS {
            let started = Instant::now();
            timeline.step_back(0, 1)?;
            steps.push(started.elapsed().as_secs_f64() * 1e3);
        }
    }
    Ok((of(&mut arrivals), of(&mut steps)))
}

/// Seconds of a search in all of the recording.
fn search(timeline: &mut Timeline<'_>, end: Mark, workers: usize) -> Result<f64> {
    timeline.seek(end)?;
    let watch =
        Watchpoint { space: Space::Physical, address: NOWHERE, length_bytes: 8, read: false, write: true };
    let stops = StopSet { watch: vec![watch], ..StopSet::default() };
    let started = Instant::now();
    let (hit, _) = timeline.last_hit(Query::new(&stops).by(workers))?;
    ensure!(hit.is_none(), "there is no memory at {NOWHERE:#x}");
    Ok(started.elapsed().as_secs_f64())
}

/// Median and 95th percentile.
fn of(sample: &mut [f64]) -> String {
    sample.sort_by(f64::total_cmp);
    let at = |part: f64| sample[((sample.len() - 1) as f64 * part) as usize];
    format!("median {:.2}, 95th percentile {:.2}", at(0.5), at(0.95))
}
