//! What a live timeline asks about its guest that only symbols can tell. Answers come from `ddb-shell`, which this
//! crate does not know; all of them look at the machine and change nothing, so nothing depends on them but words
//! on stderr and the place that a failure is given.

use machine::Machine;
use recorder::FailureKind;

/// A function in which the guest's kernel begins to report a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reporter {
    /// The linear address of its first instruction.
    pub vaddr: u64,
    /// What it reports: `Panic`, `Oops` or `Warn`.
    pub kind: FailureKind,
}

/// Somebody who knows the guest's symbols.
pub trait Inspector {
    /// The functions that report failures; none while the guest's symbols cannot be found (yet).
    fn reporters(&mut self, machine: &Machine) -> Vec<Reporter>;

    /// `vcpu` is about to enter a reporter: says the reason it was given, and keeps what is there to be seen.
    fn entered(&mut self, machine: &Machine, vcpu: usize, reporter: &Reporter) -> String;

    /// What the guest printed, as it prints it.
    fn printed(&mut self, bytes: &[u8]);

    /// Lines that the kernel has logged and its console has not shown.
    fn unprinted_log(&mut self, machine: &Machine) -> Vec<String>;

    /// In a few words, where each vCPU is: mode, phase of the boot, function.
    fn whereabouts(&mut self, machine: &Machine) -> String;
}

/// Knows nothing.
pub struct Blind;

impl Inspector for Blind {
    fn reporters(&mut self, _: &Machine) -> Vec<Reporter> {
        Vec::new()
    }

    fn entered(&mut self, machine: &Machine, vcpu: usize, _: &Reporter) -> String {
        format!("vCPU {vcpu} at {}", machine.mark())
    }

    fn printed(&mut self, _: &[u8]) {}

    fn unprinted_log(&mut self, _: &Machine) -> Vec<String> {
        Vec::new()
    }

    fn whereabouts(&mut self, machine: &Machine) -> String {
        machine.mark().to_string()
    }
}

/// How often the symbols are looked for: each time can cost a walk through what the guest has written.
const ATTEMPTS_MAX: u32 = 4;

/// Finds the reporters once the guest has them in memory.
#[derive(Debug, Default)]
pub(crate) struct Search {
    attempts: u32,
    found: Vec<Reporter>,
    next_icount: u64,
}

impl Search {
    /// Looks if it is time: at the start, then every `spacing_counts`, and when Linux has just said its name.
    /// Places alone decide, so that equal runs look equally often. True if something was found now.
    pub fn look(
        &mut self,
        inspector: &mut dyn Inspector,
        machine: &Machine,
        has_said_its_name: bool,
        spacing_counts: u64,
    ) -> bool {
        let icount = machine.mark().icount.0;
        let is_due = icount >= self.next_icount && self.attempts < ATTEMPTS_MAX;
        if !self.found.is_empty() || !(is_due || has_said_its_name) {
            return false;
        }
        self.attempts += u32::from(is_due);
        self.next_icount = (icount / spacing_counts + 1) * spacing_counts;
        self.found = inspector.reporters(machine);
        !self.found.is_empty()
    }

    /// What was found.
    pub fn reporters(&self) -> &[Reporter] {
        &self.found
    }
}
