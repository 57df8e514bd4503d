//! Every Linux of docs/kernels.md, recorded for a while and replayed again and again: on a busy host, several at a
//! time, stopped and continued at random moments, with other priorities and other cache sizes.

use crate::Options;
use crate::disturbance::{Disturber, Load};
use harness::{Dice, Run, Session, Vkernel};
use kernels::list::{KERNELS, Kernel};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long one replay may take on a host this busy.
const PATIENCE: Duration = Duration::from_secs(1800);

/// Machines of each kernel: that of its row, and another.
const MACHINES: u64 = 2;

/// Little, for the digest at the end of each replay reads all of it.
const RAM: &str = "256m";

/// What an engine may remember: as it likes in most replays, for the least is slow.
const CACHES: [Option<&str>; 8] = [
    None,
    None,
    None,
    Some("65536:1024"),
    Some("65536:1024"),
    Some("16384:512"),
    Some("4096:256"),
    Some("1024:64"),
];

/// A recording, and what its replays have cost so far.
struct Recording {
    kernel: Kernel,
    limit_instructions: u64,
    trace: String,
    live: Run,
    replays: u32,
    stops: u32,
}

/// A replay that was started.
struct Started {
    recording: usize,
    /// Everything is compared, but the console is not printed.
    verifies: bool,
    session: Session,
    disturber: Disturber,
}

/// Records every kernel, and makes `options.replays` replays in turn.
///
/// # Panics
/// At the first that is not as recorded. The recordings are kept then.
pub fn soak(options: &Options) {
    let _load = Load::start(options.busy);
    let mut dice = Dice::new(options.seed);
    let vkernel = Vkernel::new(&options.vkernel).patient(PATIENCE);
    let started = Instant::now();
    let mut recordings = Vec::new();
    for kernel in KERNELS {
        for number in 0..MACHINES {
            recordings.push(record(&vkernel, machine(kernel, number, &mut dice), &mut dice, options));
        }
    }
    println!("{} recordings in {:.0} s", recordings.len(), started.elapsed().as_secs_f64());
    let mut running = VecDeque::new();
    for number in 0..options.replays as usize {
        if running.len() == options.jobs {
            finish(&mut recordings, running.pop_front().expect("one that runs"));
        }
        let recording = number % recordings.len();
        running.push_back(start(&vkernel, recording, &recordings[recording].trace, &mut dice));
        if number % 100 == 99 {
            println!("{} replays begun, {:.0} s", number + 1, started.elapsed().as_secs_f64());
        }
    }
    running.into_iter().for_each(|replay| finish(&mut recordings, replay));
    print(&recordings, options, started.elapsed());
}

/// The first machine of a kernel is that of its row.
fn machine(mut kernel: Kernel, number: u64, dice: &mut Dice) -> Kernel {
    if number > 0 {
        kernel.vcpus = [1, 2, 3, 4, 8, 16][dice.below(6) as usize];
        kernel.seed = 1 + dice.below(1000);
    }
    kernel
}

fn record(vkernel: &Vkernel, kernel: Kernel, dice: &mut Dice, options: &Options) -> Recording {
    let name = format!("{}-n{}-seed{}", kernel.name, kernel.vcpus, kernel.seed);
    let trace = vkernel.file(&format!("{name}.vkt")).display().to_string();
    let limit_instructions = (options.millions / 2 + dice.below(options.millions)) * 1_000_000;
    let limit = format!("{limit_instructions}i");
    let arguments = kernel.boot(&["-m", RAM, "--limit", &limit, "--trace", &trace]);
    let session = vkernel.start_nice(&arguments, 0);
    let disturber = Disturber::start(session.pid(), dice.split());
    let (live, _) = disturber.finish(session);
    live.expect_said("the run reached its --limit");
    Recording { kernel, limit_instructions, trace, live, replays: 0, stops: 0 }
}

fn start(vkernel: &Vkernel, recording: usize, trace: &str, dice: &mut Dice) -> Started {
    let caches = CACHES[dice.below(CACHES.len() as u64) as usize];
    let arguments = match caches {
        Some(limits) => vec!["trace", "verify", "--cache-limits", limits, trace],
        None => vec!["replay", trace],
    };
    // A process much nicer than this would hardly run on a busy host.
    let session = vkernel.start_nice(&arguments, dice.below(6) as u8);
    let disturber = Disturber::start(session.pid(), dice.split());
    Started { recording, verifies: caches.is_some(), session, disturber }
}

fn finish(recordings: &mut [Recording], started: Started) {
    let recording = &mut recordings[started.recording];
    let (replay, stops) = started.disturber.finish(started.session);
    if started.verifies {
        replay.expect_status(0);
        replay.expect_console("every landmark and digest agrees");
    } else {
        replay.expect_status(recording.live.status);
        replay.expect_said("as recorded");
        assert!(replay.stdout == recording.live.stdout, "the console differs: {replay}");
    }
    recording.replays += 1;
    recording.stops += stops;
}

fn print(recordings: &[Recording], options: &Options, elapsed: Duration) {
    let (mut replays, mut instructions, mut stops) = (0, 0, 0);
    for recording in recordings {
        let name = format!("{} {}", recording.kernel.name, recording.kernel.machine());
        println!(
            "{name:>40}: {} M instructions, {} times, stopped {} times",
            recording.limit_instructions / 1_000_000,
            recording.replays,
            recording.stops
        );
        replays += recording.replays;
        instructions += u64::from(recording.replays) * recording.limit_instructions;
        stops += recording.stops;
    }
    println!(
        "{replays} replays of {} recordings, {} at a time, {} busy processes beside them: {:.1} G instructions, \
         stopped {stops} times, no divergence, {:.0} s",
        recordings.len(),
        options.jobs,
        options.busy,
        instructions as f64 / 1e9,
        elapsed.as_secs_f64()
    );
}
