//! All commands: a table, from which `help` and docs/ddb.md are made too.

pub mod breakpoint;
pub mod cpus;
pub mod data;
pub mod devices;
pub mod diversion;
pub mod examine;
pub mod memory;
pub mod modules;
pub mod run;
pub mod session;
pub mod show;
pub mod stops;
pub mod system;
pub mod tasks;
pub mod travel;

use super::dispatch::Arguments;
use super::{CommandError, Ddb};

/// What an empty line does behind a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeats {
    /// Nothing.
    Never,
    /// The command again, at the same address.
    Again,
    /// The command again, at the next address.
    Walk,
}

/// A kind of commands, with its heading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Looking at memory and writing to it.
    Memory,
    /// Going forwards.
    Run,
    /// What stops the guest.
    Stops,
    /// Going back, and asking the past.
    Time,
    /// What would have been.
    Diversion,
    /// Looking at the guest.
    Show,
    /// The prompt itself.
    Session,
}

impl Group {
    /// All of them, in the order of the manual.
    pub const ALL: [Group; 7] =
        [Group::Run, Group::Time, Group::Stops, Group::Memory, Group::Diversion, Group::Show, Group::Session];

    /// The heading.
    #[must_use]
    pub fn heading(self) -> &'static str {
        match self {
            Group::Memory => "Memory",
            Group::Run => "Going on",
            Group::Stops => "Breakpoints, watchpoints, events",
            Group::Time => "Going back, and asking the past",
            Group::Diversion => "What would have been",
            Group::Show => "Looking at the guest",
            Group::Session => "The prompt",
        }
    }
}

/// A command.
pub struct Command {
    /// Its names; the first is the one in the manual. A name of two words is found behind its first.
    pub names: &'static [&'static str],
    /// What follows the name.
    pub usage: &'static str,
    /// What it does, in sentences.
    pub help: &'static str,
    /// Where it belongs.
    pub group: Group,
    /// What an empty line does behind it.
    pub repeats: Repeats,
    /// Does it.
    pub run: fn(&mut Ddb<'_>, Arguments<'_>) -> Result<(), CommandError>,
}

/// All commands.
pub static COMMANDS: &[Command] = &[
    run::CONTINUE,
    run::STEP,
    run::NEXT,
    run::UNTIL,
    run::N,
    run::FINISH,
    travel::RSTEP,
    travel::RNEXT,
    travel::RFINISH,
    travel::RCONTINUE,
    travel::SEEK,
    travel::WHEN,
    travel::LAST,
    travel::FIRST,
    travel::WRITES,
    travel::CALLS,
    travel::EXCEPTIONS,
    travel::MARK,
    travel::HISTORY,
    travel::BACK,
    travel::FORWARD,
    breakpoint::BREAK,
    breakpoint::DELETE,
    stops::WATCH,
    stops::DWATCH,
    stops::HWATCH,
    stops::DHWATCH,
    stops::STOP,
    examine::EXAMINE,
    examine::XF,
    examine::XB,
    memory::PRINT,
    memory::WRITE,
    memory::SEARCH,
    memory::PTE,
    diversion::DIVERT,
    diversion::DROP,
    diversion::KEEP,
    diversion::CALL,
    cpus::WHATIS,
    cpus::TRACE,
    cpus::ALLTRACE,
    cpus::THREAD,
    cpus::FRAME,
    cpus::LOCALS,
    tasks::PS,
    tasks::SHOW_THREAD,
    modules::MODULES,
    data::LIST,
    data::PERCPU,
    show::REGISTERS,
    show::BREAKS,
    show::WATCHES,
    show::ALL_CPUS,
    system::SYSREGS,
    system::IDT,
    system::GDT,
    devices::LAPIC,
    devices::IOAPIC,
    devices::PCIREGS,
    devices::RTC,
    show::MSGBUF,
    show::CONSOLE,
    show::CHECKPOINTS,
    session::HELP,
    session::SET,
    session::SCRIPT,
    session::SCRIPTS,
    session::RUN,
    session::UNSCRIPT,
    session::CAPTURE,
    session::DIGEST,
    session::GDB,
    session::QUIT,
];
