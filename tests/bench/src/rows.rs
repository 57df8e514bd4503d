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
    let time = if cpu_time { "CPU time" } else { "wall clock" };
    let head = format!("{} rounds, {time}; median (lower to upper quartile)\n\n", rounds.len());
    let mut table = Table { rounds, text: head };
    table.boots();
    table.speed();
    table.recording();
    table.resources();
    table.text
}

/// The table while it is written.
struct Table<'a> {
    rounds: &'a [Round],
    text: String,
}

impl Table<'_> {
    fn of(&self, value: fn(&Round) -> f64) -> Quartiles {
        Quartiles::of(self.rounds.iter().map(value))
    }

    fn row(&mut self, what: &str, goal: &str, [ours, theirs, paired]: [String; 3]) {
        let _ = writeln!(
            self.text,
            "{what}\n    vkernel {ours}\n    QEMU    {theirs}\n    paired  {paired}\n    goal    {goal}\n"
        );
    }

    fn boots(&mut self) {
        let cells = [
            format!("{} s", self.of(|r| r.recording)),
            format!("{} s", self.of(|r| r.qemu_recording)),
            format!("{} times faster", self.of(|r| r.qemu_recording / r.recording)),
        ];
        self.row("boot + work load, recording", "3 times faster, 5 is the aim", cells);
        let cells = [
            format!("{} s", self.of(|r| r.replaying)),
            format!("{} s", self.of(|r| r.qemu_replaying)),
            format!("{} times faster", self.of(|r| r.qemu_replaying / r.replaying)),
        ];
        self.row("the same, replaying", "6 times faster, 10 is the aim", cells);
    }

    fn speed(&mut self) {
        let pair = |recording, plain| format!("recording {recording}, plain {plain}");
        let cells = [
            pair(
                self.of(|r| r.instructions / r.recording / 1e9),
                self.of(|r| r.instructions / r.plain / 1e9),
            ),
            pair(
                self.of(|r| r.instructions / r.qemu_recording / 1e9),
                self.of(|r| r.instructions / r.qemu_plain / 1e9),
            ),
            pair(self.of(|r| r.qemu_recording / r.recording), self.of(|r| r.qemu_plain / r.plain)),
        ];
        let what =
            "mean speed over the whole boot, in 10^9 instructions a second (counted by vkernel for both)";
        self.row(what, "1.2", cells);
    }

    fn recording(&mut self) {
        let cells = [
            format!("{:.1}", self.of(|r| (r.recording / r.plain - 1.0) * 100.0)),
            format!(
                "{:.1} against -icount, {:.1} against plain TCG",
                self.of(|r| (r.qemu_recording / r.qemu_icount - 1.0) * 100.0),
                self.of(|r| (r.qemu_recording / r.qemu_plain - 1.0) * 100.0)
            ),
            "each is a paired ratio".to_owned(),
        ];
        self.row("cost of recording against not recording, in percent", "under 2", cells);
        let cells = [
            format!("{:.1} kB", self.of(|r| r.trace_bytes / 1e3)),
            format!("{:.1} kB", self.of(|r| r.qemu_trace_bytes / 1e3)),
            format!("{:.0} times smaller", self.of(|r| r.qemu_trace_bytes / r.trace_bytes)),
        ];
        self.row("trace of the boot, without images", "under 64 kB", cells);
        let cells = ["measured by time-travel", "not measured", "-"].map(str::to_owned);
        let what = "reverse-stepi in a 10 G-instruction trace, warm; arriving anywhere";
        self.row(what, "50 ms; under 1 s", cells);
    }

    fn resources(&mut self) {
        let cells = [
            format!("{:.1} MB", self.of(|r| r.memory_bytes / 1e6)),
            format!("{:.1} MB", self.of(|r| r.qemu_memory_bytes / 1e6)),
            format!("{} times less", self.of(|r| r.qemu_memory_bytes / r.memory_bytes)),
        ];
        let what = "memory above guest RAM, recording (peak resident size, guest RAM all touched)";
        self.row(what, "under 150 MB", cells);
        let cells = [
            format!("{:.1} ms", self.of(|r| r.start * 1e3)),
            "not measured: has no such limit".to_owned(),
            "-".to_owned(),
        ];
        let what = "start to first guest instruction (upper bound: a whole run that ends after one)";
        self.row(what, "under 50 ms", cells);
    }
}
