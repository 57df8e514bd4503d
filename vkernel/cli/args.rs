//! The command line, as data. Nothing here touches a file, the environment or the terminal; `config` does that.
//!
//! `vkernel [options] KERNEL` is `vkernel boot [options] KERNEL`, so that vkernel(7)'s synopsis works as printed.

pub mod boot;
pub mod environment;
pub mod later;
pub mod qemu;
pub mod traces;
pub mod values;

use crate::exit::usage;
use boot::{BootArgs, Environment};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueHint};
use std::ffi::OsString;
use std::path::PathBuf;
use traces::{
    AnalyseArgs, DdbArgs, DemoArgs, ExploreArgs, GdbArgs, LsArgs, PinArgs, ReplayArgs, RmArgs, TraceCommand,
};

/// Boots an unmodified x86-64 kernel in one Linux process, records it, and replays it bit for bit
///
/// vkernel runs an unmodified x86-64 kernel inside one ordinary Linux process: no /dev/kvm, no root, no change to the
/// guest. Every boot is recorded, and what happened can be replayed bit for bit, on another machine, years later.
///
/// Without a subcommand, boot is meant: vkernel bzImage. The guest's console is this terminal, or whatever stdin and
/// stdout are; all that vkernel itself says goes to stderr.
#[derive(Parser, Debug)]
#[command(name = "vkernel", version, max_term_width = 100, disable_help_subcommand = true)]
#[command(override_usage = "vkernel [boot] [OPTIONS] KERNEL\n       vkernel COMMAND ...")]
#[command(after_help = "The options of boot: vkernel boot --help")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Boot a kernel and record it; this is the default
    ///
    /// The guest's console is this terminal. Recordings are kept under $VKERNEL_DIR, else
    /// $XDG_DATA_HOME/vkernel, else ~/.local/share/vkernel.
    Boot(Box<BootArgs>),
    /// Replay a recording and check that it is the same run
    ///
    /// The console is printed again, and every landmark and digest is checked. The exit status is
    /// that of the recorded run if all agree.
    Replay(ReplayArgs),
    /// Look around in a recording at the ddb prompt
    ///
    /// It is opened where its guest failed, else at its end. The commands and habits are those of ddb(4), with
    /// commands that go back in time: see docs/ddb.md, or type help.
    Ddb(DdbArgs),
    /// Debug a recording with gdb, forwards and backwards
    ///
    /// Starts gdb with the symbols loaded, connected to the recording where its guest failed, else at its end.
    /// reverse-step, reverse-continue and their kin work, breakpoints and watchpoints are without limit, threads are
    /// vCPUs, and monitor COMMAND is a command of the ddb prompt.
    #[command(override_usage = "vkernel gdb [OPTIONS] [TRACE] [-- GDB-ARGS]")]
    Gdb(GdbArgs),
    /// Open a place of a recording in drgn
    ///
    /// Writes the place, by default the failure, as a crash dump and starts drgn on it, with the file of --symbols as
    /// debugging symbols.
    #[command(override_usage = "vkernel drgn [OPTIONS] [TRACE] [-- DRGN-ARGS]")]
    Drgn(AnalyseArgs),
    /// Open a place of a recording in crash
    ///
    /// As vkernel drgn; crash needs the kernel's vmlinux with debug information, by --symbols.
    #[command(override_usage = "vkernel crash [OPTIONS] [TRACE] [-- CRASH-ARGS]")]
    Crash(AnalyseArgs),
    /// Look at, check or pack a recording
    #[command(subcommand)]
    Trace(TraceCommand),
    /// List the recordings
    Ls(LsArgs),
    /// Remove recordings
    ///
    /// A pinned one is only removed with --force. Of one made with --trace FILE only the entry in
    /// the list is removed, not the file.
    Rm(RmArgs),
    /// Keep recordings from being removed
    ///
    /// Neither vkernel rm nor age removes a pinned recording.
    Pin(PinArgs),
    /// Boot under one schedule after the other until one fails
    ///
    /// Seeds are tried in parallel, each in a process of its own that is vkernel boot --seed N BOOT-ARGS with
    /// /dev/null as its stdin, so that the clock is virtual and the seed is all that differs. The answer is the lowest
    /// seed that fails, however many run at a time, and its recording is kept; those of the others are not.
    ///
    /// The exit status is 1 if a failure is found, 0 if there is none, and 125 if there are only others than --only
    /// asks for.
    #[command(override_usage = "vkernel explore [OPTIONS] -- BOOT-ARGS")]
    Explore(ExploreArgs),
    /// Record, replay and explain a boot that fails
    ///
    /// The built-in demonstration kernel is booted with one seed after the other until a race in it kills it; that recording is replayed and verified, and what happened is explained, with what to type next.
    Demo(DemoArgs),
    /// Write the manual page or the completions
    #[command(hide = true)]
    Generate(GenerateArgs),
    /// Subcommands that are not built yet.
    #[command(external_subcommand)]
    Unknown(Vec<OsString>),
}

/// The arguments of `vkernel generate`.
#[derive(Args, Debug)]
pub struct GenerateArgs {
    /// What to write
    #[arg(value_enum)]
    pub what: Generated,
    /// The directory to write to
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub directory: PathBuf,
}

/// What `vkernel generate` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Generated {
    /// vkernel.1
    Man,
    /// vkernel.bash, _vkernel and vkernel.fish
    Completions,
    /// ddb.md
    Ddb,
}

/// The whole command, for help, manual page and completions.
pub fn command() -> clap::Command {
    Cli::command()
}

/// The subcommand `boot`.
pub fn boot_command() -> clap::Command {
    command().find_subcommand("boot").expect("boot is a subcommand").clone()
}

/// Parses the arguments that follow the program's name. An `Err` says what to print where and with which status to
/// exit; help and version are such an `Err` too.
pub fn parse(arguments: Vec<OsString>) -> Result<Command, Stop> {
    let arguments = with_subcommand(with_interpreter_behind(arguments));
    if arguments.first().is_some_and(|first| first == "boot")
        && let Some(hint) = qemu::hint(&arguments[1..], &boot_command())
    {
        return Err(Stop::Error(usage(hint)));
    }
    let program =
        match arguments.first().and_then(|first| first.to_str()).filter(|first| !first.starts_with('-')) {
            Some(subcommand) => format!("vkernel {subcommand}"),
            None => "vkernel".to_owned(),
        };
    let matches = command().try_get_matches_from(std::iter::once("vkernel".into()).chain(arguments));
    let cli = matches
        .and_then(|matches| Cli::from_arg_matches(&matches))
        .map_err(|error| stop(&program, &error))?;
    match cli.command {
        Command::Unknown(words) => Err(Stop::Error(later::unknown_subcommand(&words))),
        Command::Trace(TraceCommand::Unknown(words)) => {
            Err(Stop::Error(later::unknown_trace_subcommand(&words)))
        }
        Command::Boot(boot) => {
            later::refuse_options(&boot.later).map_err(Stop::Error)?;
            if boot.kernel.is_none() {
                return Err(Stop::Error(no_kernel()));
            }
            Ok(Command::Boot(boot))
        }
        command => Ok(command),
    }
}

/// Why there is nothing to run.
#[derive(Debug)]
pub enum Stop {
    /// Help or version, for stdout; good.
    Print(String),
    /// An error.
    Error(anyhow::Error),
}

/// An editor that takes `vkernel gdb TRACE --` for a gdb puts gdb's `--interpreter` in front of all: it belongs to GDB-ARGS.
fn with_interpreter_behind(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let is_interpreter = |first: &OsString| first.to_str().is_some_and(|it| it.starts_with("--interpreter="));
    if arguments.first().is_some_and(is_interpreter) && arguments.get(1).is_some_and(|next| next == "gdb") {
        if !arguments.iter().any(|argument| argument == "--") {
            arguments.push("--".into());
        }
        arguments.rotate_left(1);
    }
    arguments
}

/// Puts `boot` in front unless the first argument is a subcommand, or asks for help or version of the whole.
fn with_subcommand(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let is_word_of_ours = |first: &OsString| {
        let first = first.to_str().unwrap_or_default();
        ["-h", "--help", "-V", "--version", "help"].contains(&first)
            || later::SUBCOMMANDS.iter().any(|later| later.0 == first)
            || command().get_subcommands().any(|known| known.get_name() == first)
    };
    match arguments.first() {
        Some(first) if is_word_of_ours(first) => {
            if first == "help" {
                arguments[0] = "--help".into();
            }
        }
        _ => arguments.insert(0, "boot".into()),
    }
    arguments
}

/// The usage, which is all the answer that a bare `vkernel` needs.
fn no_kernel() -> anyhow::Error {
    usage(
        "no KERNEL given\n\
         usage: vkernel [boot] [OPTIONS] KERNEL     boot a bzImage, vmlinux, PVH or Multiboot kernel\n\
         \x20      vkernel demo                        see a failing boot recorded, replayed and explained\n\
         \x20      vkernel replay|trace|ls|rm|pin ...  work with recordings\n\
         Commands: vkernel --help. Options: vkernel boot --help",
    )
}

/// clap's own errors, in our form: one line, exit status 129.
fn stop(program: &str, error: &clap::Error) -> Stop {
    let rendered = error.render().to_string();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Stop::Print(rendered),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Stop::Error(usage(format!("{program} what?\n{}", rendered.trim_end())))
        }
        _ => Stop::Error(usage(format!("{}; see {program} --help", one_line(&rendered)))),
    }
}

/// What clap says before it comes to the usage, joined to a line.
fn one_line(rendered: &str) -> String {
    let said = rendered.split("\nUsage:").next().unwrap_or_default();
    let said = said.split("\nFor more information").next().unwrap_or_default();
    let lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    let lines: Vec<&str> = lines.map(|line| line.trim_start_matches("error: ")).collect();
    lines.join("; ").replace(":; ", ": ").replace("; [", " [")
}

/// Parses one `-e`.
fn environment_words(text: &str) -> Result<Environment, String> {
    environment::words(text).map(Environment)
}

#[cfg(test)]
mod tests;
