//! docs/kernels.md: a row for each kernel that was booted. Rows of kernels that were not booted this time stay.

use crate::list::KERNELS;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

/// What came of one kernel.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its name in the list.
    pub name: String,
    /// What `uname -r` said.
    pub release: String,
    /// How it was entered.
    pub protocol: String,
    /// The options of its machine.
    pub machine: String,
    /// Counts from power-on to power-off.
    pub instructions: u64,
    /// Guest time of the power-off.
    pub guest_time: String,
    /// The recording without images.
    pub trace_bytes: u64,
    /// For how long the engines were compared as they went.
    pub lockstep_counts: u64,
    /// What is special about it.
    pub remark: String,
}

const HEAD: &str = "# Kernels that boot

Kernels that nobody here wrote, each booted from its first instruction to its power-off on the engine `interp`, with a busybox initrd (tests/kernels/guest) that
keeps all vCPUs busy with each other (TLB shootdowns, memory barriers by IPI, spinning with and without PAUSE, a futex, migrations), runs busy processes, and
then rests for three seconds. A row is written only if all of this holds:

- every file in /sys/devices/system/cpu/vulnerabilities says \"Not affected\", the TSC is the clock, all vCPUs are there;
- no watchdog complained, nor did anything else: no RCU stall, no soft or hard lockup, no hung task, no unstable clocksource, no TSC warp, no unknown MSR, no
  warning, no calibration loop;
- the recording verifies with every digest computed from scratch (`trace verify --full`), and replays to the same console bytes and status;
- `--engine=lockstep`, which executes on `interp` and `reference` side by side, finds no difference in the counts given in the column \"lockstep\".

Made by `cargo build --release && cargo run --release -p kernels -- boot`, which fetches what is not in target/ yet. With names of kernels it makes only their
rows anew. The trace is without its images, which the store keeps once; it is not packed.

| kernel | release | protocol | machine | instructions to power-off | guest time | trace bytes | lockstep | remark |
|---|---|---|---|---:|---:|---:|---:|---|
";

/// Where the table is.
fn path() -> PathBuf {
    harness::root().join("docs/kernels.md")
}

fn printed(row: &Row) -> String {
    format!(
        "| {} | {} | {} | `{}` | {:.2} G | {} | {} | {} M | {} |",
        row.name,
        row.release,
        row.protocol,
        row.machine,
        row.instructions as f64 / 1e9,
        row.guest_time,
        row.trace_bytes,
        row.lockstep_counts / 1_000_000,
        row.remark
    )
}

/// Puts `rows` into the table.
///
/// # Panics
/// If docs/ cannot be written.
pub fn update(rows: &[Row]) {
    let old = fs::read_to_string(path()).unwrap_or_default();
    let mut page = HEAD.to_owned();
    for kernel in &KERNELS {
        let kept = old.lines().find(|line| line.starts_with(&format!("| {} |", kernel.name)));
        let row = rows.iter().find(|row| row.name == kernel.name).map(printed);
        if let Some(line) = row.or_else(|| kept.map(str::to_owned)) {
            writeln!(page, "{line}").expect("a String");
        }
    }
    fs::write(path(), page).expect("docs/kernels.md written");
}
