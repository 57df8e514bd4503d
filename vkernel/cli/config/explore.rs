//! What `vkernel explore` and `vkernel demo` search. The boot is opened once here, so that what is wrong with it is
//! said once and not by every run.

use super::{BootConfig, Pattern, store};
use crate::args::boot::Engine;
use crate::args::traces::{DemoArgs, ExploreArgs};
use crate::args::{Command, Stop, parse};
use crate::exit::usage;
use crate::explore::{Space, checked_words};
use anyhow::Result;
use clap::ValueEnum;
use std::ffi::OsString;
use std::path::PathBuf;

/// All that `vkernel explore` runs with.
#[derive(Debug)]
pub struct ExploreConfig {
    /// What to search.
    pub space: Space,
    /// Where a copy of the failing recording goes.
    pub pack: Option<PathBuf>,
}

/// All that `vkernel demo` runs with.
#[derive(Debug)]
pub struct DemoConfig {
    /// What to search.
    pub space: Space,
    /// How to execute.
    pub engine: Engine,
    /// vCPUs.
    pub vcpus: u8,
}

impl ExploreConfig {
    /// Opens and checks everything that the arguments name, those of the boot too.
    ///
    /// # Errors
    /// When a file is missing or is not what it should be, or options contradict each other.
    pub fn open(arguments: ExploreArgs) -> Result<ExploreConfig> {
        let boot = checked_words(&arguments.boot)?;
        open_boot(&boot)?;
        let only = arguments.only.as_ref().map(|text| Pattern::compile("--only", text)).transpose()?;
        let space = Space {
            first_seed: arguments.seed,
            tries: arguments.tries,
            jobs: jobs(arguments.jobs),
            only,
            boot,
            store: store()?,
        };
        Ok(ExploreConfig { space, pack: arguments.pack })
    }
}

impl DemoConfig {
    /// Finds the store.
    ///
    /// # Errors
    /// When there is no place for one.
    pub fn open(arguments: &DemoArgs) -> Result<DemoConfig> {
        let topology = arguments.topology;
        let processors = format!("{}:{}:{}", topology.vcpus, topology.thread_bits, topology.core_bits);
        let engine = arguments.engine.to_possible_value();
        let engine = engine.as_ref().map_or("interp", |engine| engine.get_name());
        // A good run takes 50 milliseconds of guest time.
        let boot =
            ["-m", "128m", "-n", &processors, "--engine", engine, "--limit", "10s", "--no-reboot", "demo:"];
        let space = Space {
            first_seed: arguments.seed,
            tries: arguments.tries,
            jobs: jobs(arguments.jobs),
            only: None,
            boot: boot.map(OsString::from).to_vec(),
            store: store()?,
        };
        Ok(DemoConfig { space, engine: arguments.engine, vcpus: topology.vcpus })
    }
}

/// Checks that these words boot something.
fn open_boot(words: &[OsString]) -> Result<()> {
    let words = std::iter::once("boot".into()).chain(words.iter().cloned()).collect();
    match parse(words) {
        Ok(Command::Boot(boot)) => BootConfig::open(*boot).map(|_| ()),
        Ok(_) | Err(Stop::Print(_)) => Err(usage("BOOT-ARGS boot nothing; see vkernel explore --help")),
        Err(Stop::Error(error)) => Err(error),
    }
}

fn jobs(asked: Option<u16>) -> usize {
    asked.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from)
}
