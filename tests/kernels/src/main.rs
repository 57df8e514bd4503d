//! Writes docs/kernels.md and docs/kernel-tests.md.
//!
//! ```text
//! cargo build --release && cargo run --release -p kernels -- boot           every kernel, for docs/kernels.md
//! cargo run --release -p kernels -- boot debian-6.1-rt xen-multiboot2       their rows only
//! cargo run --release -p kernels -- smp                                     seeds and numbers of vCPUs, in the same page
//! cargo run --release -p kernels -- inside                                  what crashed kernels tell the debugger, in the same page
//! cargo run --release -p kernels -- gdb                                     docs/gdb-session.md
//! cargo run --release -p kernels -- vmcore                                  crash and drgn on dumps
//! cargo run --release -p kernels -- tests                                   docs/kernel-tests.md
//! cargo run --release -p kernels -- tests page                              the same from the runs that are there
//! ```
//!
//! Kernels are fetched into target/ by the host's package managers: about 300 MB for all.
#![forbid(unsafe_code)]

use kernels::list::{INSIDE, KERNELS, Kernel, SCHEDULES};
use kernels::others::{OTHERS, Other};
use kernels::{boots, gdb, inside, others, own_tests, table, vmcore};
use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "usage: kernels boot [--vkernel FILE] [--lockstep MILLIONS] [KERNEL]... | smp [--vkernel FILE] | inside [--vkernel FILE] [KERNEL]... | gdb [--vkernel FILE] | vmcore [--vkernel FILE] | tests [--vkernel FILE] [here|tcg|page]...";

/// The reference executes a few million instructions a second.
const LOCKSTEP_COUNTS: u64 = 200_000_000;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Command {
    Boot,
    Smp,
    Inside,
    Gdb,
    Vmcore,
    Tests,
}

struct Options {
    command: Command,
    vkernel: PathBuf,
    lockstep_counts: u64,
    kernels: Vec<Kernel>,
    others: Vec<Other>,
    /// Of the tests; all if there is none.
    parts: Vec<String>,
}

impl Options {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Options, String> {
        let command = match words.next().as_deref() {
            Some("boot") => Command::Boot,
            Some("smp") => Command::Smp,
            Some("inside") => Command::Inside,
            Some("gdb") => Command::Gdb,
            Some("vmcore") => Command::Vmcore,
            Some("tests") => Command::Tests,
            _ => return Err(USAGE.to_owned()),
        };
        let beside = std::env::current_exe().map_err(|error| error.to_string())?.with_file_name("vkernel");
        let mut options = Options {
            command,
            vkernel: beside,
            lockstep_counts: LOCKSTEP_COUNTS,
            kernels: vec![],
            others: vec![],
            parts: vec![],
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value\n{USAGE}"));
            match word.as_str() {
                "--vkernel" => options.vkernel = value()?.into(),
                "--lockstep" => {
                    let millions: u64 = value()?.parse().map_err(|_| USAGE.to_owned())?;
                    options.lockstep_counts = millions * 1_000_000;
                }
                part if command == Command::Tests && own_tests::PARTS.contains(&part) => {
                    options.parts.push(word);
                }
                name if matches!(command, Command::Boot | Command::Inside) => options.add(name)?,
                _ => return Err(format!("{word}: no such option\n{USAGE}")),
            }
        }
        if options.kernels.is_empty() && options.others.is_empty() {
            options.kernels = KERNELS.to_vec();
            options.others = OTHERS.to_vec();
        }
        Ok(options)
    }

    fn add(&mut self, name: &str) -> Result<(), String> {
        if let Some(kernel) = KERNELS.iter().find(|kernel| kernel.name == name) {
            self.kernels.push(*kernel);
        } else if let Some(other) = OTHERS.iter().find(|other| other.name == name) {
            self.others.push(*other);
        } else {
            let names: Vec<&str> = KERNELS
                .iter()
                .map(|kernel| kernel.name)
                .chain(OTHERS.iter().map(|other| other.name))
                .collect();
            return Err(format!(
                "{name}: no such kernel or option; the kernels are {}\n{USAGE}",
                names.join(" ")
            ));
        }
        Ok(())
    }
}

/// Writes a row, or says what went wrong; says whether all is well.
fn settle(name: &str, row: Result<table::Row, String>) -> bool {
    match row {
        Ok(row) => {
            println!("{}", row.line());
            table::update(&row);
            true
        }
        Err(error) => {
            println!("{name}: {error}");
            false
        }
    }
}

/// Boots what was asked for; says whether all went well. A row is written as soon as it is there.
fn boot(options: &Options) -> bool {
    let mut well = true;
    for other in &options.others {
        well &= settle(other.name, others::boot(&options.vkernel, other));
    }
    for kernel in &options.kernels {
        well &= settle(kernel.name, boots::boot(&options.vkernel, kernel, options.lockstep_counts));
    }
    well
}

fn smp(options: &Options) -> bool {
    let mut well = true;
    for kernel in SCHEDULES {
        let name = format!("{} {}", kernel.name, kernel.machine());
        well &= settle(&name, boots::boot_scheduled(&options.vkernel, &kernel));
    }
    well
}

fn look_inside(options: &Options) -> bool {
    let mut well = true;
    for kernel in options.kernels.iter().filter(|kernel| INSIDE.contains(&kernel.name)) {
        well &= settle(kernel.name, inside::ask(&options.vkernel, kernel));
    }
    well
}

/// Says what went wrong; says whether all is well.
fn told(result: Result<(), String>) -> bool {
    result.map_err(|error| println!("{error}")).is_ok()
}

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    let well = match options.command {
        Command::Boot => boot(&options),
        Command::Smp => smp(&options),
        Command::Inside => look_inside(&options),
        Command::Gdb => told(gdb::run(&options.vkernel)),
        Command::Vmcore => told(vmcore::run(&options.vkernel)),
        Command::Tests => told(own_tests::run(&options.vkernel, &options.parts)),
    };
    if well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
