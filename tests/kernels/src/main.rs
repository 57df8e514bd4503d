//! Kernels nobody here wrote, and the tests that they carry.
//!
//! ```text
//! cargo build --release && cargo run --release -p kernels -- boot           every kernel; writes docs/kernels.md
//! cargo run --release -p kernels -- boot debian-6.1-rt                      its row only
//! cargo run --release -p kernels -- tests                                   writes docs/kernel-tests.md
//! cargo run --release -p kernels -- tests page                              the same from the runs that are there
//! ```
//!
//! Kernels are fetched into target/ by the host's package managers: about 500 MB for all.
#![forbid(unsafe_code)]

mod boots;
mod initrd;
mod list;
mod own_tests;
mod selftests;
mod sources;
mod table;

use list::{KERNELS, Kernel};
use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "usage: kernels boot [--vkernel FILE] [--lockstep MILLIONS] [KERNEL]... | tests [--vkernel FILE] [here|tcg|page]...";

/// The reference executes a few million instructions a second.
const LOCKSTEP_COUNTS: u64 = 200_000_000;

struct Options {
    tests: bool,
    vkernel: PathBuf,
    lockstep_counts: u64,
    kernels: Vec<Kernel>,
    /// Of the tests; all if there is none.
    parts: Vec<String>,
}

impl Options {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Options, String> {
        let tests = match words.next().as_deref() {
            Some("boot") => false,
            Some("tests") => true,
            _ => return Err(USAGE.to_owned()),
        };
        let beside = std::env::current_exe().map_err(|error| error.to_string())?.with_file_name("vkernel");
        let mut options = Options {
            tests,
            vkernel: beside,
            lockstep_counts: LOCKSTEP_COUNTS,
            kernels: vec![],
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
                part if tests && own_tests::PARTS.contains(&part) => options.parts.push(word),
                name => options.kernels.push(named(name)?),
            }
        }
        if options.kernels.is_empty() {
            options.kernels = KERNELS.to_vec();
        }
        Ok(options)
    }
}

fn named(name: &str) -> Result<Kernel, String> {
    let names = || KERNELS.map(|kernel| kernel.name).join(" ");
    let found = KERNELS.iter().find(|kernel| kernel.name == name).copied();
    found.ok_or_else(|| format!("{name}: no such kernel or option; the kernels are {}\n{USAGE}", names()))
}

/// Boots what was asked for; says whether all went well. A row is written as soon as it is there.
fn boot(options: &Options) -> bool {
    let mut well = true;
    for kernel in &options.kernels {
        match boots::boot(&options.vkernel, kernel, options.lockstep_counts) {
            Ok(row) => {
                println!("{}: {row:?}", kernel.name);
                table::update(&[row]);
            }
            Err(error) => {
                println!("{}: {error}", kernel.name);
                well = false;
            }
        }
    }
    well
}

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    let well = if options.tests {
        own_tests::run(&options.vkernel, &options.parts).map_err(|error| println!("{error}")).is_ok()
    } else {
        boot(&options)
    };
    if well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
