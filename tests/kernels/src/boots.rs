//! One kernel: booted and recorded, verified, replayed, and executed by both engines side by side for a while.

use crate::list::Kernel;
use crate::table::{Row, giga};
use harness::{Run, Vkernel};
use std::path::Path;
use std::time::Duration;

/// A boot of a big kernel with 16 vCPUs on a busy host.
const PATIENCE: Duration = Duration::from_secs(3600);

/// What kernels print when time, interrupts or the processor are not as they should be.
const COMPLAINTS: [&str; 18] = [
    "rcu: INFO",
    "detected stall",
    "self-detected stall",
    "soft lockup",
    "hard LOCKUP",
    "blocked for more than",
    "unstable",
    "clocksource: timekeeping watchdog",
    "TSC warp",
    "unchecked MSR",
    "WARNING:",
    "BUG:",
    "Oops",
    "Call Trace",
    "Spurious",
    "hrtimer: interrupt took",
    "NMI handler",
    "Calibrating delay loop... ",
];

/// Boots `kernel` and says what came of it. Every engine must agree on the first `lockstep_counts` counts.
///
/// # Errors
/// What went wrong, with the command that did. The recordings are kept then.
pub fn boot(program: &Path, kernel: &Kernel, lockstep_counts: u64) -> Result<Row, String> {
    let vkernel = Vkernel::new(program).patient(PATIENCE);
    let row = record_and_compare(&vkernel, kernel, lockstep_counts);
    row.inspect_err(|_| vkernel.keep_recordings())
}

fn record_and_compare(vkernel: &Vkernel, kernel: &Kernel, lockstep_counts: u64) -> Result<Row, String> {
    let trace = vkernel.file("boot.vkt");
    let trace_name = trace.display().to_string();
    let live = live(vkernel, kernel, &trace_name)?;
    let verify = vkernel.run(&["trace", "verify", "--full", &trace_name]);
    expect(&verify, verify.status == 0, "the recording does not verify")?;
    let replay = vkernel.run(&["replay", &trace_name]);
    expect(&replay, replay.status == 0 && replay.stdout == live.stdout, "the replay differs")?;
    let limit = format!("{lockstep_counts}i");
    let lockstep = vkernel.run(&kernel.boot(&["--engine", "lockstep", "--limit", &limit]));
    expect(&lockstep, lockstep.stderr.contains("limit"), "the engines differ")?;

    let (instructions, guest_time) = power_off_place(&live)?;
    let trace_bytes = std::fs::metadata(&trace).map_err(|error| error.to_string())?.len();
    Ok(Row(vec![
        kernel.name.to_owned(),
        answer(&live, "release: ").unwrap_or_default(),
        kernel.protocol.to_owned(),
        format!("`{}`", kernel.machine()),
        giga(instructions),
        guest_time,
        trace_bytes.to_string(),
        format!("{} M", lockstep_counts / 1_000_000),
        kernel.remark.to_owned(),
    ]))
}

/// Boots and records, and looks whether the guest was content.
fn live(vkernel: &Vkernel, kernel: &Kernel, trace_name: &str) -> Result<Run, String> {
    let live = vkernel.run(&kernel.boot(&["--trace", trace_name]));
    expect(&live, live.status == 0, "the boot ended badly")?;
    expect_a_healthy_guest(&live, kernel)?;
    Ok(live)
}

/// Boots `kernel` only to see whether it is content with its schedule.
///
/// # Errors
/// As [`boot`].
pub fn boot_scheduled(program: &Path, kernel: &Kernel) -> Result<Row, String> {
    let vkernel = Vkernel::new(program).patient(PATIENCE);
    let trace = vkernel.file("boot.vkt").display().to_string();
    let place = live(&vkernel, kernel, &trace).and_then(|live| power_off_place(&live));
    let (instructions, guest_time) = place.inspect_err(|_| vkernel.keep_recordings())?;
    Ok(Row(vec![kernel.named_machine(), giga(instructions), guest_time]))
}

pub(crate) fn expect(run: &Run, holds: bool, otherwise: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("{otherwise}: {run}")) }
}

/// What the guest's init printed after `question`.
fn answer(run: &Run, question: &str) -> Option<String> {
    run.console().lines().find_map(|line| Some(line.strip_prefix(question)?.trim().to_owned()))
}

fn expect_a_healthy_guest(run: &Run, kernel: &Kernel) -> Result<(), String> {
    let console = run.console();
    expect(run, answer(run, "processors: ") == Some(kernel.vcpus.to_string()), "processors are missing")?;
    expect(run, answer(run, "clocksource: ").as_deref() == Some("tsc"), "the TSC is not the clock")?;
    for text in ["load: done", "through: yes"] {
        expect(run, console.lines().any(|line| line.trim() == text), "init did not come through")?;
    }
    for line in console.lines() {
        if let Some(vulnerability) = line.strip_prefix("vulnerability: ") {
            expect(run, vulnerability.trim().ends_with(": Not affected"), vulnerability)?;
        }
        if COMPLAINTS.iter().any(|complaint| line.contains(complaint)) {
            expect(run, false, line)?;
        }
    }
    Ok(())
}

/// `power off at @1446625058+1 (1.482407069s)`.
fn power_off_place(run: &Run) -> Result<(u64, String), String> {
    let found = run.stderr.split_once("power off at @").and_then(|(_, rest)| {
        let (icount, rest) = rest.split_once(['+', ' '])?;
        let guest_time = rest.split_once('(')?.1.split_once(')')?.0;
        Some((icount.parse().ok()?, guest_time.to_owned()))
    });
    found.ok_or_else(|| format!("no power-off: {run}"))
}
