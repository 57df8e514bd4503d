//! The options of `vkernel boot`. Their doc comments are the help, the manual page and the completions.

use super::later::with_later;
use super::values::{
    CpuLock, Limit, control_character, cpu_lock, integer, integer32, limit, processors, ram_size,
};
use boundary::Topology;
use clap::builder::TypedValueParser;
use clap::{ArgAction, Args, ValueEnum, ValueHint};
use std::path::PathBuf;

/// The arguments of `vkernel boot`, as given.
#[derive(Args, Clone, Debug)]
pub struct BootArgs {
    /// The kernel to boot, or `demo:` for the demonstration kernel
    ///
    /// A Linux bzImage or vmlinux, an ELF file for Limine, Multiboot 2 or 1 or PVH, or a plain ELF64 file;
    /// --protocol has the details. `demo:` is the demonstration kernel that is built into vkernel. A file that is called like a subcommand is written
    /// with its directory: ./demo.
    #[arg(value_name = "KERNEL", value_hint = ValueHint::FilePath, allow_hyphen_values = false)]
    pub kernel: Option<PathBuf>,

    #[command(flatten)]
    pub guest: GuestArgs,
    #[command(flatten)]
    pub machine: MachineArgs,
    #[command(flatten)]
    pub recording: RecordingArgs,
    #[command(flatten)]
    pub judgement: JudgementArgs,
    #[command(flatten)]
    pub later: LaterArgs,
}

/// What is loaded beside the kernel, and what it is told.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Guest options")]
pub struct GuestArgs {
    /// An initial RAM disk: a file, a directory, or `none`; may be repeated
    ///
    /// A file is loaded as it is. A directory is packed as a cpio archive, the same bytes for the
    /// same tree whatever its dates and owners, and /dev/console is added if it is missing. Several are loaded one
    /// after the other, as Linux expects. A kernel that is not Linux gets each one as a module. Without this option, and
    /// unless the command line has root=, nfsroot=, init=, rdinit= or noinitrd, Linux gets a small built-in init: a shell on the console, which
    /// powers the machine off when its input ends. `none` says that there is to be none at all.
    #[arg(long, value_name = "FILE|DIR|none", value_hint = ValueHint::AnyPath)]
    pub initrd: Vec<PathBuf>,

    /// A module for a kernel that is not Linux, with its command line; may be repeated
    ///
    /// What follows the first colon is the module's command line; if there is a
    /// file of the whole name, colon included, it is that file.
    #[arg(long, value_name = "FILE[:CMDLINE]", value_hint = ValueHint::FilePath)]
    pub module: Vec<PathBuf>,

    /// How to enter a kernel that speaks several boot protocols
    ///
    /// Without this option it is the first of these that the
    /// kernel speaks: linux (a bzImage, or a vmlinux by Linux's 64-bit protocol), limine, multiboot2, multiboot1, pvh.
    /// An ELF64 file of none of them is entered as elf, a state of vkernel's own: 64-bit mode at the link address.
    #[arg(long, value_enum, value_name = "PROTOCOL")]
    pub protocol: Option<Protocol>,

    /// Words for the kernel's command line; may be repeated
    ///
    /// Several are joined with blanks, in their order. For a Linux kernel, unless
    /// one of the words is console=, console=ttyS0 and an early console are put in front of them; that is said on
    /// stderr.
    #[arg(long, value_name = "STRING", allow_hyphen_values = true)]
    pub append: Vec<String>,

    /// Kernel environment: name=value, several with colons between; may be repeated
    ///
    /// In the manner of vkernel(7). Each pair becomes a
    /// word of the command line, after those of --append. Quotes, ' or ", protect a colon or a blank within a value;
    /// the shell needs quoting too: -e "root='a:b'".
    #[arg(short = 'e', value_name = "NAME=VALUE:...", value_parser = super::environment_words)]
    pub environment: Vec<Environment>,

    /// Boot to single user: appends `single` to the command line
    #[arg(short = 's')]
    pub single_user: bool,

    /// Verbose boot of a Linux kernel: no `quiet`, all messages on the console
    ///
    /// The words quiet and loglevel= are removed from the command line, and loglevel=8
    /// and ignore_loglevel are added. Other kernels have other words for it: use --append.
    #[arg(short = 'v')]
    pub verbose: bool,

    /// A file with the kernel's symbols, usually its vmlinux, or a module's; or a folder with a vmlinux or with modules below
    /// it, such as a build tree. May be repeated: of several kernels the one whose build id is the running Linux's, else the
    /// first
    ///
    /// For names in backtraces. It does not change the run.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub symbols: Vec<PathBuf>,
}

/// The pairs of one `-e`, as words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment(pub Vec<String>);

/// The machine and how it is executed.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Machine options")]
pub struct MachineArgs {
    /// Memory of the guest, as in 512m or 2g
    ///
    /// In bytes, or with a suffix k, m or g for binary multiples. At least 64m, and a multiple of
    /// 2m. The host gives pages only as the guest touches them.
    #[arg(short = 'm', value_name = "SIZE", default_value = "1g", value_parser = ram_size)]
    pub ram_bytes: u64,

    /// Number of vCPUs, 1 to 16, and their topology
    ///
    /// lbits is the number of bits of the APIC id that count the threads of a core (0 if not
    /// given), cbits the number of those that count the cores of a package (as many as are needed if not given).
    #[arg(short = 'n', value_name = "NCPUS[:LBITS[:CBITS]]", default_value = "2", value_parser = processors)]
    pub topology: Topology,

    /// Where guest time comes from
    ///
    /// With a virtual clock an idle guest jumps at once to its next timer, and the date
    /// and all entropy come from --seed, so that two runs are equal to the last bit. With the host's clock an idle
    /// guest sleeps, and the date is the host's. The default is virtual if nothing can come in (stdin is /dev/null, a
    /// file, or at its end), else host. Either way the recording replays exactly.
    #[arg(long, value_enum, value_name = "CLOCK")]
    pub clock: Option<Clock>,

    /// The precise clock of the host: short for --clock host
    #[arg(short = 't')]
    pub precise_clock: bool,

    /// Let the debugger write to the guest
    ///
    /// As in vkernel(7). What it writes is recorded as an operator's input, and replays.
    #[arg(short = 'U')]
    pub unprotected: bool,

    /// The control character that stops the guest and opens the ddb prompt, as in x for ^X
    ///
    /// Without this option it is the terminal's quit character, usually ^\. For keyboards that have no backslash.
    #[arg(long, value_name = "CHAR", value_parser = control_character)]
    pub escape: Option<u8>,

    /// Serve gdb's protocol while the guest runs, at localhost:1234 unless another address is named
    ///
    /// HOST:PORT, or the path of a Unix socket. The guest stops when a gdb connects, which is told by `target remote`
    /// where, goes on when it detaches, and ends when it kills. gdb writes to the guest only with -U.
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, require_equals = true, default_missing_value = "localhost:1234")]
    pub gdb: Option<String>,

    /// Stop the guest for the debugger at this event, as in start_kernel, exception 6 or @/login:/
    ///
    /// What the prompt's break takes (a function's name is waited for until the kernel has unpacked itself), what its stop
    /// takes, or a place: @start, @N instructions, @1.25s of guest time, @/text on the console/. Then the prompt comes, or
    /// with --gdb gdb is waited for.
    #[arg(long, value_name = "EVENT")]
    pub stop_at: Option<String>,

    /// Seed of entropy and schedule
    ///
    /// The guest's entropy follows from it, and the schedule of its vCPUs. With 0 the schedule is plain round robin; any other
    /// number also makes preemptions and latencies vary, within what hardware could do. The same seed gives the same
    /// schedule.
    #[arg(long, value_name = "N", default_value = "0", value_parser = integer)]
    pub seed: u64,

    /// How to execute
    ///
    /// All engines give the same machine, bit for bit. interp is the fast one; reference is slow and
    /// simple; lockstep runs both and stops at the first difference, which is a bug of vkernel.
    #[arg(long, value_name = "ENGINE", default_value = "interp", value_parser = engine())]
    pub engine: Engine,

    /// Touch all memory before the guest starts
    #[arg(short = 'z')]
    pub prefault: bool,

    /// Bind to a processor of the host: any, map[,N] or N
    ///
    /// The values are any (none in particular, the default), map[,N] (one vCPU after the other from
    /// processor N on), or N. All vCPUs run on one thread of the host, so map,N and N are the same.
    #[arg(short = 'l', value_name = "CPULOCK", default_value = "any", value_parser = cpu_lock, hide_default_value = true)]
    pub cpu_lock: CpuLock,

    /// Write the process id to a file, locked while this runs
    ///
    /// The lock is for others to test, and a second vkernel with the same
    /// file refuses to start. The file is removed at exit.
    #[arg(short = 'p', value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub pidfile: Option<PathBuf>,
}

/// What is recorded.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Recording options")]
pub struct RecordingArgs {
    /// Record to this file instead of one in the store
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "no_record")]
    pub trace: Option<PathBuf>,

    /// Do not record
    #[arg(long, conflicts_with = "keep")]
    pub no_record: bool,

    /// Write a self-contained copy of the recording to this file once the run is over
    ///
    /// As vkernel trace pack does, with kernel and initrds in it, if --keep keeps the recording: with --keep failed
    /// the file is written only if the run fails. A trace that is there is replaced.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "no_record")]
    pub pack: Option<PathBuf>,

    /// Write how the run ended to this file, as JSON
    ///
    /// Whatever end it is: see docs/ci.md for the fields. While the run lasts the file says that it is unfinished.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub result: Option<PathBuf>,

    /// Which recordings to keep once the run is over
    ///
    /// All, only those of failed runs, or none. Old recordings of
    /// successful runs also go when all together exceed 4 GB; see vkernel pin.
    #[arg(long, value_enum, value_name = "WHICH", default_value = "all")]
    pub keep: Keep,
}

/// What counts as failure, and what then.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Judgement options")]
pub struct JudgementArgs {
    /// Text that the console must show for the run to be good
    ///
    /// A regular expression. The run fails if it ends without it. ^ and $ match at
    /// the ends of each line.
    #[arg(long, value_name = "RE", allow_hyphen_values = true)]
    pub expect: Option<String>,

    /// Text on the console that is a failure; may be repeated
    ///
    /// A regular expression, beside what is known to be a failure. ^ and $ match at
    /// the ends of each line.
    #[arg(long, value_name = "RE", allow_hyphen_values = true)]
    pub fail: Vec<String>,

    /// The least severe message of the kernel that is a failure
    ///
    /// A panic, an oops (or BUG), or a warning. Triple
    /// faults and hangs always are.
    #[arg(long, value_enum, value_name = "SEVERITY", default_value = "panic")]
    pub fail_on: FailOn,

    /// What to do after a failure: end (exit), end and open the recording at the ddb prompt (ddb), or let the guest go on (go)
    #[arg(long, value_enum, value_name = "ACTION", default_value = "exit", hide_possible_values = true)]
    pub on_fail: OnFail,

    /// End the run, as failed, at this guest time or number of instructions
    ///
    /// Guest time is 500ms, 30s, 5m or 1h, and a bare number is seconds; instructions are 900ki, 50Mi or 10Gi, which
    /// are decimal multiples. `none` is no limit. The default is none if stdin is a terminal, else 10m of guest time,
    /// so that nothing runs for ever unseen. Both are the same place in every run that is otherwise equal, however busy the host is.
    #[arg(long, value_name = "DURATION", value_parser = limit)]
    pub limit: Option<Limit>,

    /// The value of a debug exit that means success
    ///
    /// If the guest writes it to the debug-exit port 0xf4 the exit status is 0, and 1 for all other values. Without this option a value v gives the exit status (v<<1)|1.
    #[arg(long, value_name = "N", value_parser = integer32)]
    pub ok_exit: Option<u32>,

    /// End the run when the guest asks for a reset
    #[arg(long)]
    pub no_reboot: bool,
}

/// Options that belong to vkernel and are not built yet. They are known so that they can be refused by name.
#[derive(Args, Clone, Debug)]
pub struct LaterArgs {
    #[arg(short = 'r', value_name = "FILE[:SERNO]", hide = true, action = ArgAction::Append)]
    pub disk: Vec<PathBuf>,
    #[arg(short = 'R', value_name = "FILE[:SERNO]", hide = true, action = ArgAction::Append)]
    pub cow_disk: Vec<PathBuf>,
    #[arg(short = 'c', value_name = "FILE", hide = true, action = ArgAction::Append)]
    pub cdrom: Vec<PathBuf>,
    #[arg(short = 'I', value_name = "INTERFACE", hide = true, action = ArgAction::Append)]
    pub network: Vec<String>,
    #[arg(short = 'i', value_name = "FILE", hide = true, action = ArgAction::Append)]
    pub memory_image: Vec<PathBuf>,
}

/// A boot protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// Linux's 64-bit boot protocol.
    Linux,
    /// Limine's protocol.
    Limine,
    /// Multiboot 2.
    Multiboot2,
    /// Multiboot 1.
    Multiboot1,
    /// Xen's PVH entry.
    Pvh,
    /// None: an ELF64 file at its link address.
    Elf,
}

/// Where guest time comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Clock {
    /// From instructions alone.
    Virtual,
    /// Paced by the host's clock while idle.
    Host,
}

/// How to execute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    /// The caching interpreter.
    Interp,
    /// The specification, instruction by instruction.
    Reference,
    /// Both, compared.
    Lockstep,
}

/// Which recordings outlive their run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Keep {
    /// Every one.
    All,
    /// Those of failed runs.
    Failed,
    /// None.
    None,
}

/// The least severe message of a kernel that is a failure. Ordered by severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum FailOn {
    /// A panic.
    Panic,
    /// An oops, a BUG, or a panic.
    Oops,
    /// A warning, or any of those.
    Warn,
}

/// What follows a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnFail {
    /// The run ends.
    Exit,
    /// The run ends, and its recording is opened at the ddb prompt, where it failed.
    Ddb,
    /// The guest goes on, but the exit status is that of the failure.
    Go,
}

/// Parses an engine.
pub fn engine() -> impl TypedValueParser<Value = Engine> {
    with_later("jit", "use interp")
}
