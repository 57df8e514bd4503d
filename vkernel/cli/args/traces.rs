//! The options of the subcommands that work with recordings.

use super::boot::{Engine, engine};
use super::values::{integer, place, processors};
use boundary::{Mark, Topology};
use clap::{ArgAction, Args, Subcommand, ValueHint};
use std::ffi::OsString;
use std::path::PathBuf;

/// A recording, and what is needed to run it again.
#[derive(Args, Clone, Debug)]
pub struct ReplayArgs {
    /// The recording: a path, a name, the beginning of a name, `latest` or `latest-fail`
    #[arg(value_name = "TRACE", default_value = "latest", value_hint = ValueHint::FilePath)]
    pub trace: String,

    #[command(flatten)]
    pub images: ImageArgs,

    /// How to execute; every engine replays what any engine recorded
    #[arg(long, value_name = "ENGINE", default_value = "interp", value_parser = engine())]
    pub engine: Engine,

    /// A file with the kernel's symbols, usually its vmlinux; may be repeated
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub symbols: Vec<PathBuf>,
}

/// Where images are that the store does not have.
#[derive(Args, Clone, Debug)]
pub struct ImageArgs {
    /// A kernel, initrd or module of the recording that the store does not have; may be repeated
    #[arg(long = "image", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub files: Vec<PathBuf>,
}

/// `vkernel trace ...`
#[derive(Subcommand, Debug)]
pub enum TraceCommand {
    /// Sum a recording up
    Info(TraceInfoArgs),
    /// Print the events of a recording, one a line
    ///
    /// Prints the events of a recording, one a line, each with its place: @INSTRUCTIONS, or @INSTRUCTIONS+N for the
    /// N-th happening between two instructions.
    Events(TraceEventsArgs),
    /// Replay a recording silently and check all of it
    ///
    /// Replays a recording without printing its console, and compares every landmark, digest and console byte. The exit
    /// status is 0 if all agree, however the recorded run itself ended, and 255 if not.
    Verify(TraceVerifyArgs),
    /// Make one self-contained file of a recording
    ///
    /// Makes one file that holds the recording, its kernel and initrds, and, if the store keeps it, the vkernel that
    /// recorded it. It replays on any machine.
    Pack(TracePackArgs),
    #[command(external_subcommand)]
    Unknown(Vec<OsString>),
}

/// The arguments of `vkernel trace info`.
#[derive(Args, Clone, Debug)]
pub struct TraceInfoArgs {
    /// The recording
    #[arg(value_name = "TRACE", default_value = "latest", value_hint = ValueHint::FilePath)]
    pub trace: String,
}

/// The arguments of `vkernel trace events`.
#[derive(Args, Clone, Debug)]
pub struct TraceEventsArgs {
    /// The recording
    #[arg(value_name = "TRACE", default_value = "latest", value_hint = ValueHint::FilePath)]
    pub trace: String,

    /// Only events of this kind, as trace info calls it; may be repeated
    #[arg(long, value_name = "KIND")]
    pub kind: Vec<String>,

    /// Begin at this place
    #[arg(long, value_name = "PLACE", value_parser = place)]
    pub from: Option<Mark>,

    /// Print at most so many
    #[arg(long, value_name = "N", value_parser = integer)]
    pub limit: Option<u64>,
}

/// The arguments of `vkernel trace verify`.
#[derive(Args, Clone, Debug)]
pub struct TraceVerifyArgs {
    #[command(flatten)]
    pub replay: ReplayArgs,

    /// Compute every digest from scratch
    ///
    /// Computes every digest from scratch, not only the last one, so that a change of memory behind the machine's back
    /// is found between two digests. Slow.
    #[arg(long)]
    pub full: bool,
}

/// The arguments of `vkernel trace pack`.
#[derive(Args, Clone, Debug)]
pub struct TracePackArgs {
    /// The recording
    #[arg(value_name = "TRACE", value_hint = ValueHint::FilePath)]
    pub trace: String,

    /// The file to write
    #[arg(short = 'o', long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: PathBuf,

    /// A file of symbols to pack too; may be repeated
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub symbols: Vec<PathBuf>,

    #[command(flatten)]
    pub images: ImageArgs,
}

/// The arguments of `vkernel ls`.
#[derive(Args, Clone, Debug)]
pub struct LsArgs {
    /// As JSON, for programs
    #[arg(long)]
    pub json: bool,
}

/// The arguments of `vkernel rm`.
#[derive(Args, Clone, Debug)]
pub struct RmArgs {
    /// The recordings
    #[arg(value_name = "TRACE", required = true, action = ArgAction::Append, value_hint = ValueHint::FilePath)]
    pub traces: Vec<String>,

    /// Remove pinned ones too
    #[arg(long, short = 'f')]
    pub force: bool,
}

/// The arguments of `vkernel pin`.
#[derive(Args, Clone, Debug)]
pub struct PinArgs {
    /// The recordings
    #[arg(value_name = "TRACE", required = true, action = ArgAction::Append, value_hint = ValueHint::FilePath)]
    pub traces: Vec<String>,

    /// Unpin them
    #[arg(long)]
    pub remove: bool,
}

/// The arguments of `vkernel demo`.
#[derive(Args, Clone, Debug)]
pub struct DemoArgs {
    /// The first seed to try
    #[arg(long, value_name = "N", default_value = "1", value_parser = integer)]
    pub seed: u64,

    /// Give up after so many seeds
    #[arg(long, value_name = "N", default_value = "100", value_parser = clap::value_parser!(u64).range(1..))]
    pub tries: u64,

    /// Number of vCPUs, 1 to 16, and their topology
    #[arg(short = 'n', value_name = "NCPUS[:LBITS[:CBITS]]", default_value = "2", value_parser = processors)]
    pub topology: Topology,

    /// How to execute
    #[arg(long, value_name = "ENGINE", default_value = "interp", value_parser = engine())]
    pub engine: Engine,
}
