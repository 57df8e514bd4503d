//! The options of the subcommands that work with recordings.

use super::boot::{Engine, engine};
use super::values::{cache_limits, integer, place, processors};
use boundary::{Mark, Topology};
use clap::{ArgAction, Args, Subcommand, ValueHint};
use machine::CacheLimits;
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

    /// Run the vkernel that a packed trace carries, if another cannot replay it
    ///
    /// A trace of a machine that behaves differently is replayed by the vkernel that recorded it. One that this store
    /// keeps is run without asking; one that only the trace carries is a program of whoever packed the trace.
    #[arg(long)]
    pub trust_executable: bool,

    /// How to execute; every engine replays what any engine recorded
    #[arg(long, value_name = "ENGINE", default_value = "interp", value_parser = engine())]
    pub engine: Engine,

    /// A file with the kernel's symbols, usually its vmlinux, or a module's; or a folder with a vmlinux or with modules below
    /// it, such as a build tree. May be repeated: of several kernels the one whose build id is the running Linux's, else the
    /// first
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

/// The arguments of `vkernel ddb`.
#[derive(Args, Clone, Debug)]
pub struct DdbArgs {
    #[command(flatten)]
    pub replay: ReplayArgs,

    /// Open it at this place instead
    ///
    /// @12345 (instructions since power-on), @45%, @1.25s (guest time), @start, @end, @fail, or
    /// @/regular expression/: when the console had printed it.
    #[arg(long, value_name = "PLACE")]
    pub at: Option<String>,

    /// Execute the commands of this file first; may be repeated
    #[arg(short = 'x', long = "commands", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub command_files: Vec<PathBuf>,

    /// Execute this command first, after those of -x; may be repeated
    #[arg(short = 'e', long = "execute", value_name = "COMMAND", allow_hyphen_values = true)]
    pub commands: Vec<String>,
}

/// The arguments of `vkernel gdb`.
#[derive(Args, Clone, Debug)]
pub struct GdbArgs {
    #[command(flatten)]
    pub replay: ReplayArgs,

    /// Open it at this place instead: see vkernel ddb --help
    #[arg(long, value_name = "PLACE")]
    pub at: Option<String>,

    /// The gdb to start
    #[arg(long = "debugger", value_name = "FILE", default_value = "gdb", value_hint = ValueHint::CommandName)]
    pub gdb: PathBuf,

    /// Start no gdb; serve those that connect to this address, or to this path of a Unix socket
    ///
    /// Only this host's own address is taken unless another is named. A port of 0 is chosen by the host, and said.
    /// With GDB-ARGS gdb is started all the same, with the symbols loaded, and connects when it is told to: for editors
    /// that do that themselves.
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, require_equals = true, default_missing_value = "localhost:1234")]
    pub listen: Option<String>,

    /// Print a launch.json for VS Code, filled in for this recording, and start nothing
    ///
    /// Its first configuration is this recording, its second a live guest that vkernel boot --gdb serves. They are for
    /// Microsoft's C/C++ extension, which speaks to gdb.
    #[arg(long, conflicts_with_all = ["listen", "at", "arguments"])]
    pub launch_json: bool,

    /// Arguments for gdb
    #[arg(value_name = "GDB-ARGS", last = true, allow_hyphen_values = true)]
    pub arguments: Vec<OsString>,
}

/// `vkernel trace ...`
#[derive(Subcommand, Debug)]
pub enum TraceCommand {
    /// Sum a recording up
    Info(TraceInfoArgs),
    /// Print the events of a recording, one a line
    ///
    /// Each begins with its place: @INSTRUCTIONS, or @INSTRUCTIONS+N for the
    /// N-th happening between two instructions.
    Events(TraceEventsArgs),
    /// Replay a recording silently and check all of it
    ///
    /// The console is not printed; every landmark, digest and console byte is compared. The exit
    /// status is 0 if all agree, however the recorded run itself ended, and 255 if not.
    Verify(TraceVerifyArgs),
    /// Make one self-contained file of a recording
    ///
    /// The file holds the recording, its kernel and initrds, and, if that is another than this one
    /// or --with-executable is given, the vkernel that recorded it. It replays on any machine.
    Pack(TracePackArgs),
    /// Write a place of a recording as a crash dump, for drgn, crash and their kin
    ///
    /// An ELF core file with Linux's VMCOREINFO, at the failure if there is one, else at the end.
    Vmcore(TraceVmcoreArgs),
    #[command(external_subcommand)]
    Unknown(Vec<OsString>),
}

/// The arguments of `vkernel trace info`.
#[derive(Args, Clone, Debug)]
pub struct TraceInfoArgs {
    /// As JSON, for programs
    #[arg(long)]
    pub json: bool,

    /// The recording
    #[arg(value_name = "TRACE", default_value = "latest", value_hint = ValueHint::FilePath)]
    pub trace: String,
}

/// The arguments of `vkernel trace events`.
#[derive(Args, Clone, Debug)]
pub struct TraceEventsArgs {
    /// As JSON, for programs: one object a line
    #[arg(long)]
    pub json: bool,

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
    /// Not only the last one, so that a change of memory behind the machine's back
    /// is found between two digests. Slow.
    #[arg(long)]
    pub full: bool,

    /// Remember no more than this while executing, for tests
    ///
    /// The interpreter keeps at most so many decoded operations, and of each vCPU so many translations of pages. Less
    /// is slower, and a replay is the same whatever these are.
    #[arg(long, value_name = "OPERATIONS:TRANSLATIONS", value_parser = cache_limits)]
    pub cache_limits: Option<CacheLimits>,
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

    /// Pack the vkernel that recorded it in any case
    ///
    /// Without this only one whose machine behaves differently from this one's is packed.
    #[arg(long)]
    pub with_executable: bool,

    #[command(flatten)]
    pub images: ImageArgs,
}

/// A place of a recording.
#[derive(Args, Clone, Debug)]
pub struct PlaceArgs {
    #[command(flatten)]
    pub replay: ReplayArgs,

    /// The place, instead of the failure or the end: see vkernel ddb --help
    #[arg(long, value_name = "PLACE")]
    pub at: Option<String>,
}

/// The arguments of `vkernel trace vmcore`.
#[derive(Args, Clone, Debug)]
pub struct TraceVmcoreArgs {
    #[command(flatten)]
    pub place: PlaceArgs,

    /// The file to write, as long as the guest's memory
    #[arg(short = 'o', long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: PathBuf,
}

/// The arguments of `vkernel drgn` and `vkernel crash`.
#[derive(Args, Clone, Debug)]
pub struct AnalyseArgs {
    #[command(flatten)]
    pub place: PlaceArgs,

    /// Arguments for the tool
    #[arg(value_name = "ARGS", last = true, allow_hyphen_values = true)]
    pub arguments: Vec<OsString>,
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

/// The arguments of `vkernel explore`.
#[derive(Args, Clone, Debug)]
pub struct ExploreArgs {
    /// Runs at the same time, each a process of its own; by default as many as the host has processors
    #[arg(short = 'j', long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub jobs: Option<u16>,

    /// Give up after so many seeds
    #[arg(long, value_name = "N", default_value = "100", value_parser = clap::value_parser!(u64).range(1..))]
    pub tries: u64,

    /// Look for a failure whose title matches this regular expression
    ///
    /// The title is the line that says what happened, as in vkernel ls and in the closing paragraph. If only other
    /// failures are found the exit status is 125, and the recording of the first of them is kept too.
    #[arg(long, value_name = "RE", allow_hyphen_values = true)]
    pub only: Option<String>,

    /// The first seed to try
    #[arg(long, value_name = "FIRST", default_value = "1", value_parser = integer)]
    pub seed: u64,

    /// Write a self-contained copy of the failing recording to this file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub pack: Option<PathBuf>,

    /// Write what came of it to this file, as JSON
    ///
    /// The result of the failing run, as boot --result has it, and how many seeds were tried: see docs/ci.md.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub result: Option<PathBuf>,

    /// What to boot: the arguments of vkernel boot, with -- before them
    #[arg(value_name = "BOOT-ARGS", required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub boot: Vec<OsString>,
}

/// The arguments of `vkernel demo`.
#[derive(Args, Clone, Debug)]
pub struct DemoArgs {
    /// The first seed to try
    #[arg(long, value_name = "N", default_value = "1", value_parser = integer)]
    pub seed: u64,

    /// Give up after so many seeds
    #[arg(long, value_name = "N", default_value = "1000", value_parser = clap::value_parser!(u64).range(1..))]
    pub tries: u64,

    /// Runs at the same time; by default as many as the host has processors
    #[arg(short = 'j', long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub jobs: Option<u16>,

    /// Number of vCPUs, 1 to 16, and their topology
    #[arg(short = 'n', value_name = "NCPUS[:LBITS[:CBITS]]", default_value = "2", value_parser = processors)]
    pub topology: Topology,

    /// How to execute
    #[arg(long, value_name = "ENGINE", default_value = "interp", value_parser = engine())]
    pub engine: Engine,
}
