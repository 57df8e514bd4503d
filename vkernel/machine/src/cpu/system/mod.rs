//! The system side of the processor: events, segments, far transfers, control, debug and model-specific
//! registers, CPUID, system calls, ports (SDM vol. 3).
//!
//! Instructions of features that the model does not have (MONITOR, XSAVE, VMX, SMAP, INVPCID, RSM) are
//! claimed by nobody and therefore undefined.

mod control;
pub mod cpuid;
pub(crate) mod debug;
mod descriptor;
mod escalate;
mod far;
mod interrupt;
mod io;
mod iret;
mod misc;
pub mod msr;
mod segment;
mod stack;
mod syscall;
mod tables;
mod task;
#[cfg(test)]
pub(crate) mod testbed;
#[cfg(test)]
mod user_tests;

pub use escalate::{deliver_exception, deliver_interrupt, deliver_nmi};
pub use io::check_io;

use super::core::Core;
use super::exception::{Exception, Exec};
use super::state::{Activity, CS, Segment, Shadow, Vcpu, rflags};
use iced_x86::{FlowControl, Instruction, Mnemonic};

pub(crate) use escalate::deliver_debug_trap;

/// Executes an instruction of this family; `None` if it belongs to another.
pub fn execute(core: &mut Core<'_>, instruction: &Instruction) -> Option<Exec> {
    if instruction.mnemonic() == Mnemonic::Mov {
        return segment::execute(core, instruction)
            .or_else(|| control::execute(core, instruction))
            .or_else(|| debug::execute(core, instruction));
    }
    if instruction.flow_control() != FlowControl::Next {
        return syscall::execute(core, instruction)
            .or_else(|| iret::execute(core, instruction))
            .or_else(|| far::execute(core, instruction))
            .or_else(|| misc::execute(core, instruction));
    }
    misc::execute(core, instruction)
        .or_else(|| msr::execute(core, instruction))
        .or_else(|| io::execute(core, instruction))
        .or_else(|| syscall::execute(core, instruction))
        .or_else(|| segment::execute(core, instruction))
        .or_else(|| tables::execute(core, instruction))
        .or_else(|| cpuid::execute(core, instruction))
}

/// Privileged instructions are for CPL 0.
///
/// # Errors
/// #GP(0) at any other level.
fn privileged(core: &Core<'_>) -> Exec {
    if core.cpu.cpl == 0 { Ok(()) } else { Err(Exception::gp(0)) }
}

/// The time-stamp counter: guest time in nanoseconds, moved by TSC_ADJUST. A read leaves its mark in the
/// landmarks' rolling hash.
fn read_tsc(core: &mut Core<'_>) -> u64 {
    let value = core.sys.now().0.wrapping_add(core.cpu.msrs.tsc_adjust);
    core.sys.platform.fold_read(value);
    value
}

/// Whether the next step has to obey rules that only the reference engine knows: single-stepping,
/// breakpoints, an interrupt shadow, RF, a pending debug trap, or alignment checks, which a cached translation
/// would not see. Fast engines then call `engine::reference::step`.
#[inline]
#[must_use]
pub fn needs_reference(cpu: &Vcpu) -> bool {
    cpu.rflags & (rflags::TF | rflags::RF) != 0
        || cpu.dr[7] & debug::ENABLES != 0
        || cpu.shadow != Shadow::None
        || cpu.pending_debug != 0
        || cpu.checks_alignment()
}

/// Whether the vCPU takes a maskable interrupt at this boundary, if there is one.
#[inline]
#[must_use]
pub fn accepts_interrupt(cpu: &Vcpu) -> bool {
    cpu.flag(rflags::IF) && cpu.shadow == Shadow::None && accepts_any(cpu)
}

/// Whether the vCPU takes an NMI at this boundary, if there is one.
#[inline]
#[must_use]
pub fn accepts_nmi(cpu: &Vcpu) -> bool {
    !cpu.nmi_blocked && cpu.shadow != Shadow::MovSs && accepts_any(cpu)
}

/// A pending debug trap comes before interrupts from outside.
fn accepts_any(cpu: &Vcpu) -> bool {
    cpu.pending_debug == 0 && matches!(cpu.activity, Activity::Running | Activity::Halted)
}

/// A start-up IPI arrived at a vCPU that waits for one: it starts in real mode at `vector` * 4 KiB.
pub fn start_up(cpu: &mut Vcpu, vector: u8) {
    let selector = u16::from(vector) << 8;
    cpu.segments[CS] = Segment { access: 0x9b, ..Segment::real_mode(selector) };
    cpu.rip = 0;
    cpu.activity = Activity::Running;
    cpu.update_mode();
}
