//! `compare`: vkernel beside QEMU TCG on the same boot, all rows of the table in DESIGN.md 11.
//!
//! ```sh
//! cargo build --release
//! cargo run --release -p bench --bin compare -- --kernel vmlinuz-6.1.0-cloud-amd64 [--rounds 7]
//! ```
//!
//! Both boot the kernel given with the same initrd (busybox and a fixed work load, then power-off), the same
//! command line, 256 MB and one CPU. A round runs every configuration once, one after another, so that what
//! else the host does weighs on all alike; each round gives one ratio, and the table shows medians with
//! quartiles of those. Times are wall clock; with `--cpu` they are user and system time of the process, which
//! a busy host distorts less. Needs a static busybox and qemu-system-x86_64. What cannot be measured is said
//! to be so in its row.

mod guest;
mod process;
mod quartiles;
mod rows;

use anyhow::{Context, Result, bail};
use guest::Guest;
use rows::Round;
use std::path::PathBuf;

const USAGE: &str =
    "usage: compare --kernel FILE [--rounds N] [--vkernel FILE] [--qemu FILE] [--busybox FILE] [--cpu]";

/// What the command line says.
struct Options {
    kernel: PathBuf,
    rounds: usize,
    vkernel: PathBuf,
    qemu: PathBuf,
    busybox: PathBuf,
    cpu_time: bool,
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options> {
    let mut kernel = None;
    let mut options = Options {
        kernel: PathBuf::new(),
        rounds: 7,
        vkernel: PathBuf::from("target/release/vkernel"),
        qemu: PathBuf::from("qemu-system-x86_64"),
        busybox: PathBuf::from("/bin/busybox"),
        cpu_time: false,
    };
    while let Some(name) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{name} needs a value\n{USAGE}"));
        match name.as_str() {
            "--kernel" => kernel = Some(PathBuf::from(value()?)),
            "--rounds" => options.rounds = value()?.parse().context("--rounds takes a number")?,
            "--vkernel" => options.vkernel = PathBuf::from(value()?),
            "--qemu" => options.qemu = PathBuf::from(value()?),
            "--busybox" => options.busybox = PathBuf::from(value()?),
            "--cpu" => options.cpu_time = true,
            _ => bail!("unknown option {name}\n{USAGE}"),
        }
    }
    options.kernel = kernel.with_context(|| format!("--kernel is missing\n{USAGE}"))?;
    if options.rounds == 0 {
        bail!("--rounds 0 measures nothing");
    }
    Ok(options)
}

fn main() -> Result<()> {
    let options = options(std::env::args().skip(1))?;
    let guest = Guest::prepare(&options.kernel, &options.busybox, &options.vkernel, &options.qemu)?;
    let mut rounds = Vec::new();
    for number in 1..=options.rounds {
        eprintln!("round {number} of {}", options.rounds);
        rounds.push(Round::run(&guest, options.cpu_time)?);
    }
    print!("{}", rows::table(&rounds, options.cpu_time));
    Ok(())
}
