//! What is said of a machine and of a failure: symbols found where they can be, the rest is `ddb-shell`'s.

use crate::exit::usage;
use anyhow::{Context, Result};
use boundary::TripleFault;
use ddb_shell::report::{FailureReport, Scene, failure_paragraph, vcpus_report};
use machine::Machine;
use recorder::Ending;
use replay::Outcome;
use std::path::PathBuf;

/// Where the guest's symbols may come from. Read when a report is wanted, for a kernel's own table is in its
/// memory only once it has unpacked itself.
pub struct SymbolSource {
    /// The file of `--symbols`, else the kernel.
    image: Vec<u8>,
}

impl SymbolSource {
    /// The first file of `--symbols`, else the kernel itself, which may be an ELF with symbols.
    ///
    /// # Errors
    /// A file of `--symbols` that cannot be read, or has no symbols.
    pub fn open(files: &[PathBuf], kernel: &[u8]) -> Result<SymbolSource> {
        let Some(file) = files.first() else { return Ok(SymbolSource { image: kernel.to_vec() }) };
        let image = std::fs::read(file).with_context(|| format!("--symbols {}", file.display()))?;
        ddb_shell::Symbols::parse(&image)
            .map_err(|error| usage(format!("--symbols {}: {error}", file.display())))?;
        Ok(SymbolSource { image })
    }

    /// The symbols of a machine: the image's, moved to where the kernel is, else those in its memory.
    fn symbols(&self, machine: &Machine) -> ddb_shell::Symbols<'_> {
        let of_image = ddb_shell::Symbols::parse(&self.image).ok();
        ddb_shell::Symbols::of_guest(of_image, machine.system().mem.ram())
    }
}

/// Registers and backtrace of every vCPU.
pub fn registers(machine: &Machine, source: &SymbolSource) -> String {
    vcpus_report(machine, &source.symbols(machine))
}

/// What is known of a failed run, live or replayed.
pub struct Failed<'a> {
    /// Why it ended.
    pub ending: &'a Ending,
    /// The faults, if it was a triple fault.
    pub triple_fault: Option<&'a TripleFault>,
    /// The machine as it ended.
    pub machine: &'a Machine,
    /// What a TRACE argument calls its recording.
    pub trace: Option<&'a str>,
}

impl<'a> Failed<'a> {
    /// What came of a live run.
    pub fn live(outcome: &'a Outcome, trace: Option<&'a str>) -> Failed<'a> {
        let triple_fault = outcome.triple_fault.as_ref();
        Failed { ending: &outcome.ending, triple_fault, machine: &outcome.machine, trace }
    }

    fn report(&self) -> FailureReport<'a> {
        FailureReport {
            ending: self.ending,
            mark: self.machine.mark(),
            virtual_time: self.machine.now(),
            triple_fault: self.triple_fault,
            vcpu: None,
            trace: self.trace,
        }
    }
}

/// The paragraph that closes a failed run.
pub fn closing_paragraph(failed: &Failed<'_>, source: &SymbolSource) -> String {
    failure_paragraph(&failed.report(), failed.machine, &source.symbols(failed.machine))
}

/// Where a failed run failed.
pub fn scene(failed: &Failed<'_>, source: &SymbolSource) -> Scene {
    ddb_shell::report::scene(&failed.report(), failed.machine, &source.symbols(failed.machine))
}
