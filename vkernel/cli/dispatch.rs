//! From a subcommand to the module that does it.

use crate::args::boot::BootArgs;
use crate::args::traces::ExploreArgs;
use crate::args::traces::TraceCommand;
use crate::args::{Command, later};
use crate::config::{
    AnalyseConfig, BootConfig, DdbConfig, DemoConfig, ExploreConfig, GdbConfig, PackConfig, PlaceConfig,
    VerifyConfig, open_replay,
};
use crate::exit::{ExitStatus, guarded};
use crate::pidfile::PidFile;
use crate::result::ResultFile;
use crate::{
    affinity, boot, ddb, demo, explore, gdb, generate, ls, pin, replay, rm, say, trace_events, trace_info,
    trace_pack, vmcore,
};
use anyhow::Result;

/// Runs a subcommand.
pub fn run(command: Command) -> Result<ExitStatus> {
    match command {
        Command::Boot(arguments) => run_boot(*arguments),
        Command::Replay(arguments) => replay::run(open_replay(arguments)?),
        Command::Ddb(arguments) => ddb::run(&DdbConfig::open(arguments)?),
        Command::Gdb(arguments) => gdb::run(&GdbConfig::open(arguments)?),
        Command::Drgn(arguments) => vmcore::drgn(&AnalyseConfig::open(arguments)?),
        Command::Crash(arguments) => vmcore::crash(&AnalyseConfig::open(arguments)?),
        Command::Trace(command) => run_trace(command),
        Command::Ls(arguments) => ls::run(&arguments),
        Command::Rm(arguments) => rm::run(&arguments),
        Command::Pin(arguments) => pin::run(&arguments),
        Command::Explore(arguments) => run_explore(arguments),
        Command::Demo(arguments) => demo::run(&DemoConfig::open(&arguments)?),
        Command::Generate(arguments) => generate::run(&arguments),
        Command::Unknown(words) => Err(later::unknown_subcommand(&words)),
    }
}

fn run_trace(command: TraceCommand) -> Result<ExitStatus> {
    match command {
        TraceCommand::Info(arguments) => trace_info::run(&arguments),
        TraceCommand::Events(arguments) => trace_events::run(&arguments),
        TraceCommand::Verify(arguments) => replay::verify(VerifyConfig::open(arguments)?),
        TraceCommand::Pack(arguments) => trace_pack::run(&PackConfig::open(arguments)?),
        TraceCommand::Vmcore(arguments) => {
            vmcore::write(&PlaceConfig::open(arguments.place)?, &arguments.output)
        }
        TraceCommand::Unknown(words) => Err(later::unknown_trace_subcommand(&words)),
    }
}

/// Boots, and writes what came of it wherever it is wanted: to the file of `--result`, or to the exploration that
/// started this.
fn run_boot(arguments: BootArgs) -> Result<ExitStatus> {
    let explored = explore::result_of_exploration()?;
    let is_explored = explored.is_some();
    let mut result =
        ResultFile::begin(explored.or(arguments.recording.result.clone()), arguments.machine.seed)?;
    let status = guarded(|| {
        let config = BootConfig { is_explored, ..BootConfig::open(arguments)? };
        boot_in_this_process(config, &mut result)
    });
    result.end(status)
}

/// What concerns this process rather than the machine is done here, around the boot.
fn boot_in_this_process(config: BootConfig, result: &mut ResultFile) -> Result<ExitStatus> {
    affinity::bind(config.cpu_lock)?;
    let _pidfile = config.pidfile.as_deref().map(PidFile::create).transpose()?;
    config.notices.iter().for_each(|notice| say::line(notice));
    boot::run(config, result)
}

fn run_explore(arguments: ExploreArgs) -> Result<ExitStatus> {
    let mut result = ResultFile::begin(arguments.result.clone(), arguments.seed)?;
    let status = guarded(|| explore::run(&ExploreConfig::open(arguments)?, &mut result));
    result.end(status)
}
