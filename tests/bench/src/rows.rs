//! One round of measurements, and the table made of all rounds.

use crate::guest::{Counting, Guest, RAM_BYTES};
use crate::process::Usage;
use crate::quartiles::Quartiles;
use anyhow::Result;
use std::fmt::Write;

/// The same boot once in every way.
pub struct Round {
    recording: f64,
    replaying: f64,
    plain: f64,
    instructions: f64,
    trace_bytes: f64,
    memory_bytes: f64,
    start: f64,
    qemu_recording: f64,
    qemu_replaying: f64,
    qemu_icount: f64,
    qemu_plain: f64,
    qemu_trace_bytes: f64,
    qemu_memory_bytes: f64,
}

impl Round {
    /// Runs everything once, the two programs in turn.
    pub fn run(guest: &Guest, cpu_time: bool) -> Result<Round> {
        let seconds = |usage: Usage| (if cpu_time { usage.cpu } else { usage.wall }).as_secs_f64();
        // With all of guest RAM touched beforehand, what is above it is the program's own.
        let above_ram = |usage: Usage| usage.peak_rss_bytes as f64 - RAM_BYTES as f64;
        let recording = guest.vkernel(true, &[])?;
        let qemu_recording = guest.qemu(Counting::Record, &[])?;
        let replaying = guest.vkernel_replay()?;
        let qemu_replaying = guest.qemu(Counting::Replay, &[])?;
        let plain = guest.vkernel(false, &[])?;
        let qemu_plain = guest.qemu(Counting::None, &[])?;
        let qemu_icount = guest.qemu(Counting::Icount, &[])?;
        let (instructions, trace_bytes) = (guest.trace_info("last place")?, guest.trace_info("size")?);
        let memory = guest.vkernel(true, &["-z"])?;
        let backend = "memory-backend-ram,id=ram,size=256M,prealloc=on";
        let qemu_memory =
            guest.qemu(Counting::Record, &["-object", backend, "-machine", "memory-backend=ram"])?;
        Ok(Round {
            recording: seconds(recording),
            replaying: seconds(replaying),
            plain: seconds(plain),
            instructions: instructions as f64,
            trace_bytes: trace_bytes as f64,
            memory_bytes: above_ram(memory),
            start: seconds(guest.vkernel_first_instruction()?),
            qemu_recording: seconds(qemu_recording),
            qemu_replaying: seconds(qemu_replaying),
            qemu_icount: seconds(qemu_icount),
            qemu_plain: seconds(qemu_plain),
            qemu_trace_bytes: std::fs::metadata(guest.qemu_log())?.len() as f64,
            qemu_memory_bytes: above_ram(qemu_memory),
        })
    }
}

/// The table of DESIGN.md 11.
pub fn table(rounds: &[Round], cpu_time: bool) -> String {
    let of = |value: fn(&Round) -> f64| Quartiles::of(rounds.iter().map(value));
    let mut text = String::new();
    let time = if cpu_time { "CPU time" } else { "wall clock" };
    let _ = writeln!(text, "{} rounds, {time}; median (lower to upper quartile)\n", rounds.len());
    let mut row = |what: &str, goal: &str, ours: String, theirs: String, ratio: String| {
        let _ = writeln!(
            text,
            "{what}\n    vkernel {ours}\n    QEMU    {theirs}\n    paired  {ratio}\n    goal    {goal}\n"
        );
    };
    row(
        "boot + work load, recording",
        "3 times faster, 5 is the aim",
        format!("{} s", of(|r| r.recording)),
        format!("{} s", of(|r| r.qemu_recording)),
        format!("{} times faster", of(|r| r.qemu_recording / r.recording)),
    );
    row(
        "the same, replaying",
        "6 times faster, 10 is the aim",
        format!("{} s", of(|r| r.replaying)),
        format!("{} s", of(|r| r.qemu_replaying)),
        format!("{} times faster", of(|r| r.qemu_replaying / r.replaying)),
    );
    row(
        "mean speed over the whole boot, in 10^9 instructions a second (counted by vkernel for both)",
        "1.2",
        format!(
            "recording {}, plain {}",
            of(|r| r.instructions / r.recording / 1e9),
            of(|r| r.instructions / r.plain / 1e9)
        ),
        format!(
            "recording {}, plain {}",
            of(|r| r.instructions / r.qemu_recording / 1e9),
            of(|r| r.instructions / r.qemu_plain / 1e9)
        ),
        format!(
            "recording {}, plain {}",
            of(|r| r.qemu_recording / r.recording),
            of(|r| r.qemu_plain / r.plain)
        ),
    );
    row(
        "cost of recording against not recording, in percent",
        "under 2",
        format!("{:.1}", of(|r| (r.recording / r.plain - 1.0) * 100.0)),
        format!(
            "{:.1} against -icount, {:.1} against plain TCG",
            of(|r| (r.qemu_recording / r.qemu_icount - 1.0) * 100.0),
            of(|r| (r.qemu_recording / r.qemu_plain - 1.0) * 100.0)
        ),
        "each is a paired ratio".to_owned(),
    );
    row(
        "trace of the boot, without images",
        "under 64 kB",
        format!("{:.1} kB", of(|r| r.trace_bytes / 1e3)),
        format!("{:.1} kB", of(|r| r.qemu_trace_bytes / 1e3)),
        format!("{:.0} times smaller", of(|r| r.qemu_trace_bytes / r.trace_bytes)),
    );
    row(
        "reverse-stepi in a 10 G-instruction trace, warm; arriving anywhere",
        "50 ms; under 1 s",
        "not built yet".to_owned(),
        "not measured: nothing to compare with yet".to_owned(),
        "-".to_owned(),
    );
    row(
        "memory above guest RAM, recording (peak resident size, guest RAM all touched)",
        "under 150 MB",
        format!("{:.1} MB", of(|r| r.memory_bytes / 1e6)),
        format!("{:.1} MB", of(|r| r.qemu_memory_bytes / 1e6)),
        format!("{} times less", of(|r| r.qemu_memory_bytes / r.memory_bytes)),
    );
    row(
        "start to first guest instruction (upper bound: a whole run that ends after one)",
        "under 50 ms",
        format!("{:.1} ms", of(|r| r.start * 1e3)),
        "not measured: has no such limit".to_owned(),
        "-".to_owned(),
    );
    text
}
