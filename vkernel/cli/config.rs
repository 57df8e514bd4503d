//! From arguments to what a subcommand runs with: files read, patterns compiled, the store found, everything checked
//! against everything else. After this nothing can be wrong with the command line any more.

mod command_line;
mod explore;
mod files;
mod pattern;
mod recordings;

pub use explore::{DemoConfig, ExploreConfig};
pub use pattern::Pattern;
pub use recordings::{
    AnalyseConfig, DdbConfig, GdbConfig, PackConfig, PlaceConfig, ReplayConfig, VerifyConfig, open_replay,
    open_trace, refuse, refuse_path, store,
};

use crate::args::boot::{
    BootArgs, Clock, Engine, FailOn, JudgementArgs, Keep, MachineArgs, OnFail, RecordingArgs,
};
use crate::args::values::{CpuLock, Limit};
use crate::exit::usage;
use anyhow::Result;
use boundary::{BootProtocol, Role, Topology};
use recorder::Store;
use std::path::PathBuf;

/// All that `vkernel boot` runs with.
#[derive(Debug)]
pub struct BootConfig {
    /// The kernel and what is loaded with it, in the order in which PowerOn lists them: the kernel first.
    pub images: Vec<LoadedFile>,
    /// How the kernel is entered.
    pub protocol: BootProtocol,
    /// The guest runs the built-in init, which is to be told when the console input ends.
    pub has_built_in_init: bool,
    /// The kernel's command line, complete.
    pub command_line: String,
    /// Files of symbols; each is there and can be read.
    pub symbols: Vec<PathBuf>,
    /// RAM, a multiple of 2 MiB.
    pub ram_bytes: u64,
    /// vCPUs.
    pub topology: Topology,
    /// The clock asked for; `None` leaves it to whether something can come in.
    pub clock: Option<Clock>,
    /// Seed of entropy and schedule.
    pub seed: u64,
    /// How to execute.
    pub engine: Engine,
    /// Touch all RAM before the guest starts.
    pub prefault: bool,
    /// Where to record.
    pub recording: Recording,
    /// Where a self-contained copy of the recording goes, if it is kept.
    pub pack: Option<PathBuf>,
    /// Whether `vkernel explore` started this run, and so does what is left to do after it.
    pub is_explored: bool,
    /// Whether a debugger may write to the guest.
    pub is_writable: bool,
    /// The key that opens the prompt, if it is not the terminal's own.
    pub escape: Option<u8>,
    /// Where gdb connects.
    pub gdb: Option<String>,
    /// The event to stop at for the debugger.
    pub stop_at: Option<String>,
    /// What is a failure and what follows.
    pub judgement: Judgement,
    /// End the run when the guest asks for a reset.
    pub no_reboot: bool,
    /// Processors to bind to. Done by `main` before the boot begins.
    pub cpu_lock: CpuLock,
    /// Process id file. Made by `main` before the boot begins.
    pub pidfile: Option<PathBuf>,
    /// What the user should know, each a line for stderr. Printed by `main` before the boot begins.
    pub notices: Vec<String>,
}

/// A file in memory, as the guest gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedFile {
    /// What it is for.
    pub role: Role,
    /// The name the user gave.
    pub name: String,
    /// Its content.
    pub bytes: Vec<u8>,
    /// A module's command line.
    pub command_line: String,
}

/// Where a boot is recorded.
#[derive(Debug)]
pub enum Recording {
    /// Nowhere.
    Off,
    /// In the store, under a name of its own.
    InStore {
        /// The store.
        store: Store,
        /// Whether the recording outlives the run.
        keep: Keep,
    },
    /// In a file that the user named.
    InFile {
        /// The file.
        path: PathBuf,
        /// For the images, and a link to the file. Without a store the recording replays only where it finds its
        /// images by `--image`.
        store: Option<Store>,
        /// Whether the recording outlives the run.
        keep: Keep,
    },
}

/// What is a failure and what follows.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// Must be seen.
    pub expect: Option<Pattern>,
    /// Must not be seen.
    pub fail: Vec<Pattern>,
    /// The least severe message of the kernel that is a failure.
    pub fail_on: FailOn,
    /// What follows a failure.
    pub on_fail: OnFail,
    /// Where the run ends as failed.
    pub limit: Option<Limit>,
    /// The debug exit that means success.
    pub ok_exit: Option<u32>,
}

impl BootConfig {
    /// Opens and checks everything that the arguments name.
    ///
    /// # Errors
    /// When a file is missing or is not what it should be, or options contradict each other.
    pub fn open(arguments: BootArgs) -> Result<BootConfig> {
        let BootArgs { kernel, guest, machine, recording, judgement, later: _ } = arguments;
        let no_reboot = judgement.no_reboot;
        if judgement.on_fail == OnFail::Ddb && (recording.no_record || recording.keep == Keep::None) {
            return Err(usage(
                "--on-fail ddb opens the recording, and there would be none: leave out --no-record and --keep none",
            ));
        }
        if recording.pack.is_some() && recording.keep == Keep::None {
            return Err(usage(
                "--pack writes what is kept, and --keep none keeps nothing: leave one of them out",
            ));
        }
        let judgement = Judgement::check(&judgement)?;
        let clock = clock(&machine)?;
        let kernel = kernel.ok_or_else(|| usage("no KERNEL given; see vkernel --help"))?;
        let (kernel, protocol) = files::kernel(&kernel, guest.protocol, machine.ram_bytes)?;
        let mut told = command_line::compose(protocol, &guest)?;
        let images = files::images(kernel, protocol, &guest, &told.command_line, machine.ram_bytes)?;
        let has_built_in_init = images.iter().any(|image| image.name == files::BUILT_IN_INIT);
        if has_built_in_init {
            told.notices.push(
                "no initrd and no disk: a small built-in init gives a shell (--initrd none leaves it out)"
                    .to_owned(),
            );
        }
        files::check_symbols(&guest.symbols)?;
        Ok(BootConfig {
            images,
            protocol,
            has_built_in_init,
            command_line: told.command_line,
            symbols: guest.symbols,
            ram_bytes: machine.ram_bytes,
            topology: machine.topology,
            clock,
            seed: machine.seed,
            engine: machine.engine,
            prefault: machine.prefault,
            is_writable: machine.unprotected,
            escape: machine.escape,
            gdb: machine.gdb,
            stop_at: machine.stop_at,
            pack: recording.pack.clone(),
            is_explored: false,
            recording: Recording::choose(recording)?,
            judgement,
            no_reboot,
            cpu_lock: machine.cpu_lock,
            pidfile: machine.pidfile,
            notices: told.notices,
        })
    }
}

impl Recording {
    fn choose(arguments: RecordingArgs) -> Result<Recording> {
        let keep = arguments.keep;
        Ok(match (arguments.no_record, arguments.trace) {
            (true, _) => Recording::Off,
            (false, None) => Recording::InStore { store: store()?, keep },
            (false, Some(path)) => Recording::InFile { path, store: store().ok(), keep },
        })
    }
}

impl Judgement {
    fn check(arguments: &JudgementArgs) -> Result<Judgement> {
        let compile = |option, text: &String| Pattern::compile(option, text);
        Ok(Judgement {
            expect: arguments.expect.as_ref().map(|text| compile("--expect", text)).transpose()?,
            fail: arguments.fail.iter().map(|text| compile("--fail", text)).collect::<Result<_>>()?,
            fail_on: arguments.fail_on,
            on_fail: arguments.on_fail,
            limit: arguments.limit,
            ok_exit: arguments.ok_exit,
        })
    }
}

/// `-t` and `--clock`.
fn clock(machine: &MachineArgs) -> Result<Option<Clock>> {
    match (machine.precise_clock, machine.clock) {
        (true, Some(Clock::Virtual)) => {
            Err(usage("-t (the host's clock) contradicts --clock virtual: leave one of them out"))
        }
        (true, _) => Ok(Some(Clock::Host)),
        (false, clock) => Ok(clock),
    }
}

#[cfg(test)]
mod tests;
