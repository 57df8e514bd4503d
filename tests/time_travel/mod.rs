//! Time travel over recordings of the demonstration kernel: wherever one goes and however one comes there,
//! the machine is the one that straight replay has at that place.

mod journeys;

use boundary::{Digest, Icount, Mark};
use machine::{EngineKind, Interrupt, Space, StopReason, StopSet, Watchpoint};
use recorder::{CacheIdentity, CheckpointFile, ImageSet, Store, StoreRoot, TraceReader, gather_images};
use replay::{Arrival, Budget, Hit, Player, Query, Timeline, settled};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// A recording of the demonstration kernel, dying.
struct Recording {
    _store: tempfile::TempDir,
    reader: TraceReader,
    images: ImageSet,
}

impl Recording {
    fn of_demo(options: &[&str]) -> Recording {
        let directory = tempfile::tempdir().expect("a directory");
        let status = Command::new(env!("CARGO_BIN_EXE_vkernel"))
            .args(["boot", "--clock", "virtual", "demo:"])
            .args(options)
            .env("VKERNEL_DIR", directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("vkernel runs");
        assert!(status.code().is_some_and(|code| code < 2), "vkernel boot {options:?} demo: {status}");
        let root = StoreRoot::choose(Some(directory.path().as_os_str()), None, None).expect("a root");
        let store = Store::at(root);
        let path = store.resolve("latest").expect("the recording");
        let reader = TraceReader::open(&path).expect("a trace");
        let images = gather_images(&reader, Some(&store.images()), &[]).expect("its images");
        Recording { _store: directory, reader, images }
    }

    fn timeline(&self) -> Timeline<'_> {
        self.timeline_until(Interrupt::default())
    }

    /// A timeline that stops when `interrupt` is raised.
    fn timeline_until(&self, interrupt: Interrupt) -> Timeline<'_> {
        // Small gaps, so that a small recording has many.
        let budget = Budget { spacing_counts: 1 << 19, ..Budget::default() };
        Timeline::new(&self.reader, &self.images, EngineKind::Interp, interrupt, budget).expect("a timeline")
    }

    /// The digests of straight replay at settled places, which must ascend.
    fn straight(&self, icounts: &[u64]) -> Vec<Digest> {
        let mut player = Player::new(&self.reader, &self.images, EngineKind::Interp, Interrupt::default())
            .expect("a player");
        let mut digests = Vec::new();
        for &icount in icounts {
            player.play(settled(Icount(icount)), &mut |_, _| {}).expect("no divergence");
            digests.push(player.machine.digest());
        }
        digests
    }
}

/// Numbers that look random and are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

#[test]
fn every_place_is_the_same_however_one_comes_there() {
    let recording = Recording::of_demo(&["-n", "4", "--seed", "22"]);
    let mut timeline = recording.timeline();
    let end = timeline.end().icount.0;
    let mut numbers = Numbers(1);
    let mut places: Vec<u64> = (0..120).map(|_| numbers.below(end)).collect();
    places.sort_unstable();
    let straight = recording.straight(&places);
    for _ in 0..300 {
        let index = numbers.below(places.len() as u64) as usize;
        assert_eq!(timeline.seek(settled(Icount(places[index]))).unwrap(), Arrival::Reached);
        assert_eq!(timeline.digest(), straight[index], "after a seek to @{}", places[index]);
    }
    assert_eq!(timeline.seek(timeline.end()).unwrap(), Arrival::End);
    assert_eq!(Some(timeline.digest()), recording.reader.ending().unwrap().digest);
}

#[test]
fn steps_back_undo_steps() {
    let recording = Recording::of_demo(&["-n", "2", "--seed", "22"]);
    let mut timeline = recording.timeline();
    let mut numbers = Numbers(2);
    for _ in 0..25 {
        let place = settled(Icount(numbers.below(timeline.end().icount.0)));
        let vcpu = numbers.below(2) as u8;
        timeline.seek(place).unwrap();
        let mut trail = vec![(timeline.now(), timeline.digest())];
        for _ in 0..8 {
            timeline.step(vcpu, 1).unwrap();
            trail.push((timeline.now(), timeline.digest()));
        }
        let counts = timeline.own_counts(vcpu);
        for back in 1..=8 {
            timeline.step_back(vcpu, 1).unwrap();
            assert_eq!(timeline.own_counts(vcpu), counts - back, "vCPU {vcpu} at {}", timeline.now());
            // Only the vCPU that executes next is at the very place the step began.
            if let Some((_, digest)) = trail.iter().find(|(mark, _)| *mark == timeline.now()) {
                assert_eq!(timeline.digest(), *digest, "at {}", timeline.now());
            }
        }
    }
}

fn hits_of(timeline: &mut Timeline<'_>, stops: &StopSet, workers: usize) -> Vec<Hit> {
    let end = timeline.end();
    let hits = timeline.all_hits(Mark::default(), end, Query::new(stops).by(workers), usize::MAX).unwrap();
    assert_eq!(hits.total, hits.list.len() as u64);
    assert!(hits.list.is_sorted_by_key(|hit| hit.found));
    hits.list
}

/// Forwards from the start, stop by stop; then backwards from the end: the same places in reverse.
fn there_and_back(timeline: &mut Timeline<'_>, stops: &StopSet) {
    let all = hits_of(timeline, stops, 2);
    assert!(all.len() > 2, "the recording meets {stops:?} only {} times", all.len());
    assert_eq!(all, hits_of(timeline, stops, 1), "the number of workers changes what is found");
    timeline.seek(Mark::default()).unwrap();
    for hit in all.iter().take(12) {
        let arrival = timeline.run(Query::new(stops)).unwrap();
        assert_eq!(arrival, Arrival::Stopped { vcpu: hit.vcpu, reason: hit.reason }, "at {}", timeline.now());
        assert_eq!(timeline.now(), hit.found);
    }
    timeline.seek(timeline.end()).unwrap();
    for hit in all.iter().rev().take(12) {
        let arrival = timeline.run_back(Query::new(stops).by(2)).unwrap();
        assert_eq!(arrival, Arrival::Stopped { vcpu: hit.vcpu, reason: hit.reason }, "at {}", timeline.now());
        assert_eq!(timeline.now().icount, hit.place.icount);
    }
}

#[test]
fn a_search_that_was_interrupted_has_no_answer() {
    let recording = Recording::of_demo(&["-n", "2", "--seed", "22"]);
    let interrupt = Interrupt::default();
    let mut timeline = recording.timeline_until(interrupt.clone());
    timeline.seek(timeline.end()).expect("no divergence");
    let stops = StopSet { interrupts: true, ..StopSet::default() };
    // At the first interrupt of the last stretch: behind it are others that nobody has looked at.
    let condition = |_: &machine::Machine, _: u8, _: StopReason| {
        interrupt.raise();
        true
    };
    let query = Query { stops: &stops, condition: &condition, workers: 1 };
    assert_eq!(timeline.last_hit(query).expect("no divergence"), (None, true));
    interrupt.clear();
    let (last, _) = timeline.last_hit(Query::new(&stops)).expect("no divergence");
    assert!(last.is_some(), "there are interrupts");
}

#[test]
fn stops_are_met_at_the_same_places_in_both_directions() {
    let recording = Recording::of_demo(&["-n", "2", "--seed", "22"]);
    let mut timeline = recording.timeline();
    timeline.seek(Mark::before(Icount(3_000_000))).unwrap();
    let cpu = &timeline.machine().cpus()[0];
    let (rip, stack) = (cpu.rip, cpu.gpr[4]);
    let watch =
        |read, write| Watchpoint { space: Space::Linear, address: stack, length_bytes: 8, read, write };
    for stops in [
        StopSet { execute: vec![rip], ..StopSet::default() },
        StopSet { watch: vec![watch(false, true)], ..StopSet::default() },
        StopSet { watch: vec![watch(true, true)], ..StopSet::default() },
        StopSet { interrupts: true, ..StopSet::default() },
        StopSet { ports: vec![(0x3f8, 0x3ff)], ..StopSet::default() },
        StopSet { msrs: vec![(0, u32::MAX)], ..StopSet::default() },
    ] {
        there_and_back(&mut timeline, &stops);
    }
}

#[test]
fn a_watched_write_is_the_one_that_changes_the_memory() {
    let recording = Recording::of_demo(&["-n", "2", "--seed", "22"]);
    let mut timeline = recording.timeline();
    timeline.seek(timeline.end()).unwrap();
    let stack = timeline.machine().cpus()[1].gpr[4] & !7;
    let value = |timeline: &Timeline<'_>| {
        let mut bytes = [0; 8];
        timeline.machine().peek_virtual(1, stack, &mut bytes).expect("a mapped stack");
        bytes
    };
    let watch =
        Watchpoint { space: Space::Linear, address: stack, length_bytes: 8, read: false, write: true };
    let stops = StopSet { watch: vec![watch], ..StopSet::default() };
    let last = value(&timeline);
    let arrival = timeline.run_back(Query::new(&stops)).unwrap();
    let Arrival::Stopped { vcpu, reason: StopReason::Watch { write: true, .. } } = arrival else {
        panic!("{arrival:?}")
    };
    timeline.step(vcpu, 1).unwrap();
    assert_eq!(value(&timeline), last, "the last write left what is there at the end");
}

/// Goes to places all over, in no order, and expects the machine of straight replay at each; then searches.
fn expect_the_same_machine(recording: &Recording, timeline: &mut Timeline<'_>, seed: u64) {
    let mut numbers = Numbers(seed);
    let mut places: Vec<u64> = (0..40).map(|_| numbers.below(timeline.end().icount.0)).collect();
    places.sort_unstable();
    let straight = recording.straight(&places);
    for _ in 0..80 {
        let index = numbers.below(places.len() as u64) as usize;
        timeline.seek(settled(Icount(places[index]))).unwrap();
        assert_eq!(timeline.digest(), straight[index], "after a seek to @{}", places[index]);
    }
    let stops = StopSet { ports: vec![(0x3f8, 0x3ff)], ..StopSet::default() };
    let expected = hits_of(&mut recording.timeline(), &stops, 1);
    for workers in [1, 2] {
        assert_eq!(hits_of(timeline, &stops, workers), expected, "with {workers} workers");
    }
    timeline.seek(timeline.end()).unwrap();
    assert_eq!(Some(timeline.digest()), recording.reader.ending().unwrap().digest);
}

/// A timeline with small gaps that keeps its checkpoints in a file of a few megabytes at most, and few of them in memory.
fn with_a_file<'r>(recording: &'r Recording, directory: &Path) -> Timeline<'r> {
    let budget = Budget { spacing_counts: 1 << 19, sparse_bytes: 4 << 20 };
    let mut timeline =
        Timeline::new(&recording.reader, &recording.images, EngineKind::Interp, Interrupt::default(), budget)
            .expect("a timeline");
    let program = Path::new(env!("CARGO_BIN_EXE_vkernel"));
    let identity = CacheIdentity::of_files(recording.reader.path(), program).expect("an identity");
    timeline.keep_checkpoints_in(CheckpointFile::open(directory, identity, 2 << 20).expect("a file"));
    timeline
}

#[test]
fn checkpoints_of_an_earlier_session_are_those_of_this_one() {
    let recording = Recording::of_demo(&["-n", "2", "--seed", "22"]);
    let directory = tempfile::tempdir().expect("a directory");
    let mut first = with_a_file(&recording, directory.path());
    first.seek(first.end()).unwrap();
    let console = first.console().bytes().to_vec();
    assert_eq!(first.checkpoint_trouble(), None);
    drop(first);

    let mut second = with_a_file(&recording, directory.path());
    let count = second.checkpoint_cost().count;
    assert!(count > 5, "only {count} checkpoints are left");
    assert!(console.starts_with(second.console().bytes()) && second.console().bytes().len() > 100);
    expect_the_same_machine(&recording, &mut second, 3);
    assert_eq!(second.console().bytes(), console);
    let cost = second.checkpoint_cost();
    assert!(cost.memory_bytes < 5 << 20 && cost.disk_bytes.is_some_and(|bytes| bytes < 3 << 20), "{cost:?}");
}

#[test]
fn damaged_checkpoints_cost_time_and_nothing_else() {
    let recording = Recording::of_demo(&["-n", "2", "--seed", "22"]);
    let directory = tempfile::tempdir().expect("a directory");
    let mut first = with_a_file(&recording, directory.path());
    first.seek(first.end()).unwrap();
    drop(first);
    let path = directory.path().join("checkpoints");
    let whole = fs::read(&path).expect("the file");
    for (seed, distance_bytes) in [(5, 40_000), (6, 9_000), (7, 700)] {
        let mut damaged = whole.clone();
        damaged.iter_mut().skip(60).step_by(distance_bytes).for_each(|byte| *byte ^= 0x10);
        fs::write(&path, damaged).expect("written");
        expect_the_same_machine(&recording, &mut with_a_file(&recording, directory.path()), seed);
    }
}
