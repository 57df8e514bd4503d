//! What is said of a machine and of a failure: put together here, the words are `ddb-shell`'s.

use boundary::{Mark, TripleFault};
use ddb_shell::report::{FailureReport, Scene, failure_paragraph, vcpus_report};
use ddb_shell::{Fault, GuestInspector};
use machine::Machine;
use recorder::{Ending, FailureKind};
use replay::{Inspector, Outcome, Reporter};
use std::cell::RefCell;

/// What is known of a guest, shared between the timeline, which asks as it runs, and the report at its end.
pub struct Inspected<'a>(RefCell<GuestInspector<'a>>);

impl<'a> Inspected<'a> {
    /// Somebody who looks at a guest, to be shared.
    pub fn new(inspector: GuestInspector<'a>) -> Inspected<'a> {
        Inspected(RefCell::new(inspector))
    }
}

impl Inspected<'_> {
    /// Registers and backtrace of every vCPU.
    pub fn registers(&self, machine: &Machine) -> String {
        vcpus_report(machine, self.0.borrow_mut().symbols(machine))
    }

    /// A replay has printed something.
    pub fn printed(&self, bytes: &[u8]) {
        self.0.borrow_mut().printed(bytes);
    }

    /// A replay on its way there has stopped for an exception.
    pub fn note_fault(&self, fault: Fault) {
        self.0.borrow_mut().note_fault(fault);
    }

    /// The exception that the failure began with.
    pub fn fault(&self) -> Option<String> {
        self.0.borrow().fault()
    }

    /// A replay has come to the place of the failure.
    pub fn look_at_failure(&self, machine: &Machine) {
        self.0.borrow_mut().look_at_failure(machine);
    }
}

impl Inspector for &Inspected<'_> {
    fn reporters(&mut self, machine: &Machine) -> Vec<Reporter> {
        self.0.borrow_mut().reporters(machine)
    }

    fn entered(&mut self, machine: &Machine, vcpu: usize, reporter: &Reporter) -> String {
        self.0.borrow_mut().entered(machine, vcpu, reporter)
    }

    fn printed(&mut self, bytes: &[u8]) {
        self.0.borrow_mut().printed(bytes);
    }

    fn unprinted_log(&mut self, machine: &Machine) -> Vec<String> {
        self.0.borrow_mut().unprinted_log(machine)
    }

    fn whereabouts(&mut self, machine: &Machine) -> String {
        self.0.borrow_mut().whereabouts(machine)
    }
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

    /// The faults that ended it, if that is what ended it.
    fn final_triple_fault(&self) -> Option<&'a TripleFault> {
        let is_end = matches!(self.ending, Ending::Failure { kind: FailureKind::TripleFault, .. });
        self.triple_fault.filter(|_| is_end)
    }

    /// The place of the failure.
    fn place(&self) -> Option<Mark> {
        match self.ending {
            Ending::Failure { place, .. } => Some(*place),
            _ => None,
        }
    }
}

/// What was to be seen where a run failed, or what is at its end.
pub fn scene(failed: &Failed<'_>, inspected: &Inspected<'_>) -> Scene {
    let mut inspector = inspected.0.borrow_mut();
    inspector.symbols(failed.machine);
    let seen = failed.place().and_then(|place| inspector.scene_at(place));
    seen.cloned().unwrap_or_else(|| {
        Scene::at_end(failed.final_triple_fault(), failed.machine, inspector.known_symbols())
    })
}

/// The paragraph that closes a failed run.
pub fn closing_paragraph(failed: &Failed<'_>, inspected: &Inspected<'_>) -> String {
    let mut inspector = inspected.0.borrow_mut();
    let log = inspector.unprinted_log(failed.machine);
    inspector.symbols(failed.machine);
    let report = FailureReport {
        ending: failed.ending,
        mark: failed.machine.mark(),
        virtual_time: failed.machine.now(),
        triple_fault: failed.final_triple_fault(),
        scene: failed.place().and_then(|place| inspector.scene_at(place)),
        log: &log,
        trace: failed.trace,
    };
    let mut text = failure_paragraph(&report, failed.machine, inspector.known_symbols());
    if let Some(refused) = inspector.refused() {
        text.push_str(&format!("vkernel: the file of --symbols is not used: {refused}\n"));
    }
    text
}
