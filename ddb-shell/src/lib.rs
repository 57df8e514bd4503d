//! The debugger's side of a machine: symbols, backtraces and reports of a stopped or failed guest.
//!
//! One session ([`debugger`]) with two faces: the prompt ([`ddb`]) and the gdb server ([`gdb`]). Knows nothing of files' names: bytes come
//! in, text goes out; of terminals only how lines are edited.
#![forbid(unsafe_code)]

pub mod backtrace;
pub mod ddb;
pub mod debugger;
mod elf;
mod exceptions;
pub mod expression;
pub mod fault;
pub mod gdb;
pub mod inspector;
pub mod kernel;
pub mod memory;
pub mod registers;
pub mod report;
pub mod symbols;
#[cfg(test)]
mod testing;
pub mod vmcore;

pub use backtrace::{Found, Frame, backtrace, backtrace_from};
pub use expression::{ExprError, NameScope, PrintStyle, Program, Value, compile, print, print_type};
pub use fault::{Fault, opening_place};
pub use inspector::GuestInspector;
pub use memory::{GuestMemory, GuestRam, VcpuMemory};
pub use registers::{RegisterName, Registers};
pub use report::{FailureReport, failure_paragraph, vcpu_report, vcpus_report};
pub use symbols::{Function, SourceLine, SymbolError, Symbols};
