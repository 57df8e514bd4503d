//! The debugger's side of a machine: symbols, backtraces and reports of a stopped or failed guest.
//!
//! Looks at a machine and never changes it. Knows nothing of terminals and files: bytes come in, text goes out.
#![forbid(unsafe_code)]

pub mod backtrace;
pub mod fault;
pub mod inspector;
pub mod kernel;
pub mod report;
pub mod symbols;
#[cfg(test)]
mod testing;

pub use backtrace::{Frame, backtrace};
pub use fault::{Fault, opening_place};
pub use inspector::GuestInspector;
pub use report::{FailureReport, failure_paragraph, vcpu_report, vcpus_report};
pub use symbols::{Function, SourceLine, SymbolError, Symbols};
