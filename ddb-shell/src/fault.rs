//! The instruction that an oops began with.
//!
//! A failure's place is where the kernel begins to report it, `oops_begin` or `panic`; the exception was delivered
//! earlier. It is the last one that the vCPU took before, and, where the kernel has saved the registers of what it broke
//! into, one that was raised there: a report may fault itself, on memory that it only tries to read.

use crate::exceptions::exception_name;
use crate::report::Scene;
use crate::symbols::Symbols;
use boundary::{Icount, Mark};
use machine::{StopReason, StopSet};
use replay::{Hit, PlayError, Query, Timeline, settled};

/// Exceptions that are faults or aborts of an instruction: all but #DB, NMI, #BP, #OF.
const FAULTS: u32 = !(1 << 1 | 1 << 2 | 1 << 3 | 1 << 4);
/// Exceptions that are looked at, from the last one back.
const CANDIDATES_MAX: usize = 16;

/// An exception, at the instruction that raised it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The settled place before the instruction.
    pub place: Mark,
    /// The vCPU that executed it.
    pub vcpu: usize,
    /// The vector.
    pub vector: u8,
    /// The instruction.
    pub rip: u64,
}

/// What to stop at so as to see every [`Fault`].
#[must_use]
pub fn stops() -> StopSet {
    StopSet { exceptions: FAULTS, ..StopSet::default() }
}

impl Fault {
    /// The fault that a machine has stopped for, having come to `mark`.
    #[must_use]
    pub fn of_stop(mark: Mark, vcpu: u8, reason: StopReason) -> Option<Fault> {
        let StopReason::Exception { vector, rip, .. } = reason else { return None };
        // Its delivery was the one count since.
        let place = settled(Icount(mark.icount.0.checked_sub(1)?));
        Some(Fault { place, vcpu: usize::from(vcpu), vector, rip })
    }

    /// Whether it can be what `scene` reports.
    #[must_use]
    pub fn explains(&self, scene: &Scene) -> bool {
        self.vcpu == scene.vcpu && scene.broken_into().is_none_or(|frame| frame.rip == self.rip)
    }
}

impl Fault {
    /// `#PF at @12345, by do_work+0x12/0x40 (kernel/work.c:17)`
    #[must_use]
    pub fn describe(&self, symbols: &Symbols<'_>) -> String {
        let mut text = format!("{} at {}, by ", exception_name(self.vector), Mark::before(self.place.icount));
        match symbols.function_at(self.rip) {
            Some(function) => text.push_str(&function.to_string()),
            None => text.push_str(&format!("{:#x}", self.rip)),
        }
        if let Some(line) = symbols.lines_at(self.rip).last() {
            text.push_str(&format!(" ({line})"));
        }
        text
    }
}

/// Where a debugger opens a failure whose place is `failure`: at the instruction that faulted, if an exception is what
/// the scene there reports, else at `failure`. To be asked of an oops, or where the stack says that an exception came first. The cursor is moved.
///
/// # Errors
/// As [`Timeline::seek`].
pub fn opening_place(
    timeline: &mut Timeline<'_>,
    failure: Mark,
    vcpu: usize,
    symbols: &Symbols<'_>,
    workers: usize,
) -> Result<Mark, PlayError> {
    timeline.seek(failure)?;
    let scene = Scene::of(timeline.machine(), vcpu, symbols);
    for _ in 0..CANDIDATES_MAX {
        let (Some(Hit { place, found, vcpu, reason, .. }), _) =
            timeline.last_hit(Query::new(&stops()).by(workers))?
        else {
            break;
        };
        match Fault::of_stop(found, vcpu, reason).filter(|fault| fault.explains(&scene)) {
            Some(fault) => {
                timeline.seek(fault.place)?;
                return Ok(fault.place);
            }
            None => timeline.seek(place)?,
        };
    }
    timeline.seek(failure)?;
    Ok(failure)
}
