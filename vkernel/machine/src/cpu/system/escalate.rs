//! Exceptions during a delivery: double fault and shutdown (SDM vol. 3 6.15, interrupt 8).

use super::interrupt::{Event, Failure, Source, deliver, page_fault_cause};
use crate::cpu::core::Core;
use crate::cpu::exception::{Exception, Exec};
use crate::cpu::state::{Activity, RAX, Shadow, rflags};
use boundary::{TripleFault, TripleFaultStep};

/// How an exception combines with another (SDM vol. 3 table 6-4).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Benign,
    Contributory,
    PageFault,
    DoubleFault,
}

fn class(vector: u8) -> Class {
    match vector {
        0 | 10..=13 => Class::Contributory,
        14 => Class::PageFault,
        8 => Class::DoubleFault,
        _ => Class::Benign,
    }
}

/// The vector by which 32-bit Linux programs make system calls.
const LINUX_SYSCALL: u8 = 0x80;

/// Whether `second`, raised while delivering `first`, makes a double fault.
fn doubles(first: u8, second: u8) -> bool {
    match (class(first), class(second)) {
        (Class::Contributory, Class::Contributory) => true,
        (Class::PageFault, second) => second != Class::Benign,
        _ => false,
    }
}

/// Delivers the exception that the instruction at RIP raised.
pub fn deliver_exception(core: &mut Core<'_>, exception: Exception) {
    let event = Event {
        vector: exception.vector,
        source: Source::Fault,
        error_code: exception.error_code,
        rip: core.cpu.rip,
    };
    deliver_or_escalate(core, event);
}

/// Delivers an interrupt from outside that the vCPU acknowledged.
pub fn deliver_interrupt(core: &mut Core<'_>, vector: u8) {
    let event = Event { vector, source: Source::External, error_code: None, rip: core.cpu.rip };
    deliver_or_escalate(core, event);
}

/// Delivers an NMI, and blocks further ones until IRET.
pub fn deliver_nmi(core: &mut Core<'_>) {
    core.cpu.nmi_blocked = true;
    deliver_interrupt(core, 2);
}

/// Delivers the debug exception that is pending from the instruction before (a trap).
pub(crate) fn deliver_debug_trap(core: &mut Core<'_>) {
    let event = Event { vector: 1, source: Source::Trap, error_code: None, rip: core.cpu.rip };
    deliver_or_escalate(core, event);
}

/// Delivers the interrupt of INT n, INT3, INTO or INT1, which returns to the next instruction.
///
/// # Errors
/// The exception when the delivery fails: it is then a fault of the instruction.
pub(super) fn software_interrupt(core: &mut Core<'_>, vector: u8, source: Source) -> Exec {
    let event = Event { vector, source, error_code: None, rip: core.cpu.next_rip };
    // A delivery moves RIP; that the engine then commits `next_rip` moves it nowhere else.
    attempt(core, event).map_err(|failure| failure.exception)
}

/// Delivers, and says so to a debugger that waits for it.
fn attempt(core: &mut Core<'_>, event: Event) -> Result<(), Failure> {
    match event.source {
        Source::Fault | Source::Trap => core.sys.stops.exception(event.vector, event.error_code, event.rip),
        Source::External => core.sys.stops.interrupt(event.vector),
        Source::Software if event.vector == LINUX_SYSCALL => core.sys.stops.syscall(core.cpu.gpr[RAX]),
        Source::Software => core.sys.stops.exception(event.vector, None, event.rip),
    }
    deliver(core, event)
}

/// Delivers an event, or what its failure leads to.
fn deliver_or_escalate(core: &mut Core<'_>, mut event: Event) {
    let rip = core.cpu.rip;
    let mut steps = vec![];
    let mut reason = None;
    while let Err(Failure { exception, reason: why }) = attempt(core, event) {
        let is_exception = matches!(event.source, Source::Fault | Source::Trap);
        let was_double = is_exception && class(event.vector) == Class::DoubleFault;
        if !was_double {
            steps.push(describe(core, &event, rip, reason.take()));
        }
        // A task switch may have got as far as the new task: the fault is raised there.
        let next = fault(exception, core.cpu.rip);
        let doubled = is_exception && doubles(event.vector, exception.vector);
        if !was_double && !doubled {
            reason = Some(why);
            event = next;
            continue;
        }
        if exception.vector == 14 {
            core.cpu.cr2 = core.sys.fault_vaddr;
        }
        if was_double {
            let why = format!("delivering the double fault: {why}");
            steps.push(describe(core, &next, rip, Some(why)));
            return shut_down(core, steps);
        }
        steps.push(describe(core, &next, rip, Some(why)));
        event = fault(Exception::DF, core.cpu.rip);
    }
}

fn fault(exception: Exception, rip: u64) -> Event {
    Event { vector: exception.vector, source: Source::Fault, error_code: exception.error_code, rip }
}

/// One line of a triple fault's story.
fn describe(core: &Core<'_>, event: &Event, rip: u64, reason: Option<String>) -> TripleFaultStep {
    let is_page_fault = event.vector == 14 && event.source == Source::Fault;
    let reason = reason.unwrap_or_else(|| match event.source {
        _ if is_page_fault => page_fault_cause(event.error_code.unwrap_or(0)),
        Source::External => "interrupt from outside the program".into(),
        _ => "raised by the instruction".into(),
    });
    TripleFaultStep {
        vector: event.vector,
        error_code: event.error_code,
        rip,
        cr2: is_page_fault.then_some(core.cpu.cr2),
        reason,
    }
}

/// No handler can be reached any more: the vCPU stops for good.
fn shut_down(core: &mut Core<'_>, steps: Vec<TripleFaultStep>) {
    core.cpu.activity = Activity::Shutdown;
    core.cpu.shadow = Shadow::None;
    core.cpu.rflags &= !rflags::RF;
    core.sys.leave.stopped = true;
    if core.sys.triple_fault.is_none() {
        core.sys.triple_fault = Some(TripleFault { vcpu: core.cpu.id, steps });
    }
}

#[cfg(test)]
#[path = "event_tests.rs"]
mod tests;
