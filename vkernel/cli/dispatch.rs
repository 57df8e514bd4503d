//! From a subcommand to the module that does it.

use crate::args::traces::TraceCommand;
use crate::args::{Command, later};
use crate::config::{BootConfig, DemoConfig, PackConfig, VerifyConfig, open_replay};
use crate::exit::ExitStatus;
use crate::pidfile::PidFile;
use crate::{affinity, boot, demo, generate, ls, pin, replay, rm, say, trace_events, trace_info, trace_pack};
use anyhow::Result;

/// Runs a subcommand.
pub fn run(command: Command) -> Result<ExitStatus> {
    match command {
        Command::Boot(arguments) => run_boot(BootConfig::open(*arguments)?),
        Command::Replay(arguments) => replay::run(open_replay(arguments)?),
        Command::Trace(command) => run_trace(command),
        Command::Ls(arguments) => ls::run(&arguments),
        Command::Rm(arguments) => rm::run(&arguments),
        Command::Pin(arguments) => pin::run(&arguments),
        Command::Demo(arguments) => demo::run(DemoConfig::open(&arguments)?),
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
        TraceCommand::Unknown(words) => Err(later::unknown_trace_subcommand(&words)),
    }
}

/// What concerns this process rather than the machine is done here, around the boot.
fn run_boot(config: BootConfig) -> Result<ExitStatus> {
    affinity::bind(config.cpu_lock)?;
    let _pidfile = config.pidfile.as_deref().map(PidFile::create).transpose()?;
    config.notices.iter().for_each(|notice| say::line(notice));
    boot::run(config)
}
