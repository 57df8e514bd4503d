//! `kill -9` at any moment costs what was not flushed yet, and nothing else.

use crate::support::program::{Sandbox, VKERNEL};
use machine::{EngineKind, Interrupt};
use recorder::{Store, StoreRoot, Tail, TraceError, TraceReader, gather_images};
use replay::{Player, Progress};
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const KILLS: u64 = 50;

/// How long the whole run takes here, so that the moments are spread over all of it.
fn length_of_a_run(sandbox: &Sandbox) -> Duration {
    let started = Instant::now();
    sandbox.run(["-m", "64m", "--keep", "none", "demo:"]).expect(0, &["power off"]);
    started.elapsed()
}

/// Moments that differ from run to run of the test; the seed is printed by a failure.
fn moments(seed: u64, longest: Duration) -> impl Iterator<Item = Duration> {
    let mut state = seed | 1;
    std::iter::from_fn(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        Some(longest.mul_f64((state >> 11) as f64 / (1u64 << 53) as f64))
    })
}

#[test]
fn a_recorder_killed_at_any_moment_leaves_a_trace_that_replays_to_its_last_flush() {
    let sandbox = Sandbox::new();
    let longest = length_of_a_run(&sandbox);
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos() as u64;
    let (mut whole, mut torn, mut nothing) = (0, 0, 0);
    for (round, moment) in (0..KILLS).zip(moments(seed, longest)) {
        let before = sandbox.traces();
        let what = format!(
            "round {round}: vkernel -m 64m --seed {round} demo:, killed after {moment:?} (seed {seed})"
        );
        let mut command = sandbox.command(VKERNEL);
        command.args(["-m", "64m", "--seed", &round.to_string(), "demo:"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("vkernel starts");
        sleep(moment);
        child.kill().expect("it can be killed");
        child.wait().expect("it can be waited for");
        for trace in sandbox.traces().into_iter().filter(|trace| !before.contains(trace)) {
            match TraceReader::open(&trace) {
                Ok(reader) => {
                    whole += usize::from(reader.ending().is_some());
                    torn += usize::from(reader.ending().is_none());
                    replays(&sandbox, &reader, &what);
                }
                Err(error @ TraceError::TooShort { .. }) => {
                    assert!(error.to_string().contains("it ends at byte "), "{what}: {error}");
                    nothing += 1;
                }
                Err(error) => panic!("{what}: {error}"),
            }
        }
    }
    assert!(
        torn >= 10,
        "too few were killed while they recorded: {torn} ({whole} ended, {nothing} had not begun)"
    );
    says_so(&sandbox);
    sandbox.run(["ls"]).expect(0, &[]);
}

/// All that is in a trace agrees, to the last event.
fn replays(sandbox: &Sandbox, reader: &TraceReader, what: &str) {
    assert!(
        matches!(reader.tail(), Tail::Complete | Tail::Open | Tail::Torn { .. }),
        "{what}: {:?}",
        reader.tail()
    );
    let root = StoreRoot::choose(Some(sandbox.store().as_os_str()), None, None).expect("a store");
    let images = gather_images(reader, Some(&Store::at(root).images()), &[]);
    let images = images.unwrap_or_else(|error| panic!("{what}: {error}"));
    let player = Player::new(reader, &images, EngineKind::Interp, Interrupt::default());
    let mut player = player.unwrap_or_else(|error| panic!("{what}: {error}"));
    match player.play_to_end(&mut |_, _| {}) {
        Ok(Progress::Ended) => {}
        other => panic!("{what}: {other:?}"),
    }
    assert!(player.machine.mark() >= reader.last_mark().expect("a place"), "{what}");
}

/// The program itself says of one what happened, and exits with 0.
fn says_so(sandbox: &Sandbox) {
    let unfinished =
        |trace: &std::path::PathBuf| TraceReader::open(trace).is_ok_and(|reader| reader.ending().is_none());
    let trace = sandbox.traces().into_iter().find(unfinished).expect("ten at least");
    for command in [vec!["replay"], vec!["trace", "verify"]] {
        let ran = sandbox.run(command.into_iter().chain([trace.to_str().expect("UTF-8")]));
        ran.expect(
            0,
            &["the recorder of this trace did not live to write an ending", "all that is in it agrees"],
        );
    }
}
