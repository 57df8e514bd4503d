//! What is said of a machine and of a failure.

use machine::Machine;
use replay::Outcome;
use std::path::PathBuf;

/// Symbols of the guest.
pub struct Symbols;

impl Symbols {
    /// From the files of `--symbols`, else from the kernel itself.
    pub fn load(_files: &[PathBuf], _kernel: &[u8]) -> Symbols {
        Symbols
    }
}

/// Registers and backtrace of every vCPU.
pub fn registers(machine: &Machine, _symbols: &Symbols) -> String {
    machine
        .cpus()
        .iter()
        .map(|cpu| format!("CPU {}: RIP {:#x} RSP {:#x}\n", cpu.id, cpu.rip, cpu.gpr[4]))
        .collect()
}

/// The paragraph that closes a failed run.
pub fn closing_paragraph(outcome: &Outcome, name: Option<&str>, symbols: &Symbols) -> String {
    format!("{} at {}; {:?}\n{}", outcome.ending, outcome.mark, name, registers(&outcome.machine, symbols))
}
