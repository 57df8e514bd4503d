//! The soak: what the suite does once, done many times on a busy host.
//!
//! ```text
//! cargo build --release && cargo run --release -p soak                    every scenario, 20 rounds
//! cargo run --release -p soak -- replays --rounds 5 crash hang            some of it
//! cargo run --release -p soak -- kernels --replays 1000                   every kernel of docs/kernels.md
//! cargo run --release -p soak -- lockstep                                 Debian on both engines side by side, to power-off
//! cargo run --release -p soak -- debugger                                 nonsense for both faces of the debugger
//! ```
//!
//! `replays` records each scenario of [`scenarios`] anew in every round and replays it, while other processes keep
//! all processors busy and the recording and the replaying process are stopped and continued at random moments. The
//! console's bytes, the status and every landmark and digest must be the same. `kernels` records each kernel of
//! docs/kernels.md twice, for `--millions` instructions in the mean, and makes `--replays` replays of these, `--jobs` at
//! a time, which also differ in priority and in the sizes of the interpreter's caches. `lockstep` needs about ten minutes of
//! an idle processor for each number of vCPUs. `debugger` types nonsense at the prompt and sends it to the gdb server.
//!
//! The first thing that goes wrong ends the soak; the recording is kept, and the commands that made it are printed.
#![forbid(unsafe_code)]

mod debugger;
mod disturbance;
mod lockstep;
mod many_kernels;
mod replays;
mod scenarios;

use std::num::NonZero;
use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "usage: soak [replays|kernels|lockstep|debugger] [--vkernel FILE] [--busy N] [--seed N]\n\
    replays: [--rounds N] [SCENARIO]...   kernels: [--replays N] [--jobs N] [--millions N]   lockstep: [-n VCPUS]\n\
    debugger: [--lines N] [--packets N]";

/// What is soaked, and how.
#[derive(Debug)]
struct Options {
    what: fn(&Options),
    vkernel: PathBuf,
    rounds: u32,
    /// For kernels: how many in all, how many side by side, and their mean length in millions of instructions.
    replays: u32,
    jobs: usize,
    millions: u64,
    /// For the debugger.
    lines: usize,
    packets: usize,
    busy: usize,
    seed: u64,
    /// For lockstep: only with so many vCPUs.
    vcpus: Option<u8>,
    scenarios: Vec<String>,
}

impl Options {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Options, String> {
        let beside = std::env::current_exe().map_err(|error| error.to_string())?.with_file_name("vkernel");
        let busy = std::thread::available_parallelism().map_or(2, usize::from);
        let mut options = Options {
            what: replays::soak,
            vkernel: beside,
            rounds: 20,
            replays: 1000,
            jobs: 2,
            millions: 200,
            lines: 100_000,
            packets: 100_000,
            busy,
            seed: 1,
            vcpus: None,
            scenarios: Vec::new(),
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value\n{USAGE}"));
            match word.as_str() {
                "replays" => options.what = replays::soak,
                "kernels" => options.what = many_kernels::soak,
                "lockstep" => options.what = lockstep::soak,
                "debugger" => options.what = debugger::soak,
                "--vkernel" => options.vkernel = value()?.into(),
                "--rounds" => options.rounds = number(&value()?)?,
                "--replays" => options.replays = number(&value()?)?,
                "--jobs" => options.jobs = number::<NonZero<usize>>(&value()?)?.get(),
                "--millions" => options.millions = number::<NonZero<u64>>(&value()?)?.get(),
                "--lines" => options.lines = number(&value()?)?,
                "--packets" => options.packets = number(&value()?)?,
                "--busy" => options.busy = number(&value()?)?,
                "--seed" => options.seed = number(&value()?)?,
                "-n" => options.vcpus = Some(number(&value()?)?),
                _ if scenarios::NAMES.contains(&word.as_str()) => options.scenarios.push(word),
                _ => {
                    return Err(format!(
                        "{word}: no such option or scenario\n{USAGE}\n{:?}",
                        scenarios::NAMES
                    ));
                }
            }
        }
        if options.vkernel.is_file() {
            return Ok(options);
        }
        Err(format!("no program at {}: build it first, or name it by --vkernel", options.vkernel.display()))
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text:?} is no number that fits\n{USAGE}"))
}

fn main() -> ExitCode {
    match Options::parse(std::env::args().skip(1)) {
        Ok(options) => (options.what)(&options),
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}
