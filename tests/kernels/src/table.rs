//! docs/kernels.md: its tables, a row for each run. Rows of runs that were not made this time stay.

use crate::list::{INSIDE, KERNELS, SCHEDULES};
use crate::others::OTHERS;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

/// A row, as its cells. The first is its key in the page.
#[derive(Clone, Debug)]
pub struct Row(pub Vec<String>);

impl Row {
    /// As it stands in the page.
    #[must_use]
    pub fn line(&self) -> String {
        format!("| {} |", self.0.join(" | "))
    }
}

/// Instructions as the tables have them.
#[must_use]
pub fn giga(instructions: u64) -> String {
    format!("{:.2} G", instructions as f64 / 1e9)
}

const KERNELS_HEAD: &str = "# Kernels that boot

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

const SCHEDULES_HEAD: &str = "
## Schedules

The same initrd under other seeds and numbers of vCPUs, booted to power-off by `cargo run --release -p kernels -- smp`. A row is written only if the first two
points above hold: whatever the schedule, no watchdog complains.

| kernel and machine | instructions to power-off | guest time |
|---|---:|---:|
";

const OTHERS_HEAD: &str = "
## Other kernels and protocols

Each is recorded on `interp`, on `reference` and in lockstep, and each of the three recordings is replayed on all three. All consoles, statuses and final digests
are equal, and the console is as the last column says: the file there holds all of it. MODULE is a file of the 5 bytes \"hello\". Made by `kernels -- boot` too.

| kernel | from | protocol | options | ended by | instructions | trace bytes | console |
|---|---|---|---|---|---:|---:|---|
";

const INSIDE_HEAD: &str = "
## What they tell of themselves

Each crashed by sysrq-c with two vCPUs and its module dummy loaded, and its recording asked at the ddb prompt, without any file with symbols, by
`cargo run --release -p kernels -- inside`. A row is written only if symbols and types come from the guest's memory (kallsyms, BTF), the stack of the panic is
found from `panic` through every function that Linux has there down to the program, by the kernel's own tables (ORC) and with no guess in it, likewise that of
a thread that waits; `ps` has the shell, a process that sleeps, and the idle tasks; `show modules` has the module where /proc/modules had it; `current->comm` is
the shell's; `dmesg` ends with the crash.

| kernel | release | frames of the panic | ps | show modules |
|---|---|---|---|---|
";

/// Where the tables are.
fn path() -> PathBuf {
    harness::root().join("docs/kernels.md")
}

/// Puts `row` into its table.
///
/// # Panics
/// If docs/ cannot be written.
pub fn update(row: &Row) {
    let old = fs::read_to_string(path()).unwrap_or_default();
    let sections: [(&str, Vec<String>); 4] = [
        (KERNELS_HEAD, KERNELS.iter().map(|kernel| kernel.name.to_owned()).collect()),
        (SCHEDULES_HEAD, SCHEDULES.iter().map(|kernel| kernel.named_machine()).collect()),
        (INSIDE_HEAD, INSIDE.iter().map(|name| format!("crashed {name}")).collect()),
        (OTHERS_HEAD, OTHERS.iter().map(|other| other.name.to_owned()).collect()),
    ];
    let mut page = String::new();
    for (head, keys) in sections {
        page.push_str(head);
        for key in keys {
            let kept = old.lines().find(|line| line.starts_with(&format!("| {key} |")));
            let line = if row.0[0] == key { Some(row.line()) } else { kept.map(str::to_owned) };
            if let Some(line) = line {
                writeln!(page, "{line}").expect("a String");
            }
        }
    }
    fs::write(path(), page).expect("docs/kernels.md written");
}
