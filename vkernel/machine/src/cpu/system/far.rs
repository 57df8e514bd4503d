//! Far JMP, CALL and RET (SDM vol. 2, the respective pages; vol. 3 5.8): direct, through call gates of both
//! sizes, and to other tasks.

use super::descriptor::{self, Descriptor, is_null, rpl, selector_code, system_type};
use super::interrupt::inner_stack;
use super::segment::{far_pointer, stack_descriptor, unprotected};
use super::stack::{Stack, branch_target, is_flat};
use super::task;
use crate::cpu::core::Core;
use crate::cpu::exception::{Exception, Exec};
use crate::cpu::state::{CS, DS, ES, FS, GS, Mode, RSP, SS, Segment, Vcpu};
use iced_x86::{Code, Instruction, Mnemonic};

/// Executes the instructions of this file; `None` for others.
pub(super) fn execute(core: &mut Core<'_>, instruction: &Instruction) -> Option<Exec> {
    let (size, pointer_in_memory) = match instruction.code() {
        Code::Jmp_ptr1616 | Code::Call_ptr1616 => (2, false),
        Code::Jmp_ptr1632 | Code::Call_ptr1632 => (4, false),
        Code::Jmp_m1616 | Code::Call_m1616 => (2, true),
        Code::Jmp_m1632 | Code::Call_m1632 => (4, true),
        Code::Jmp_m1664 | Code::Call_m1664 => (8, true),
        Code::Retfw | Code::Retfw_imm16 => return Some(far_return(core, instruction, 2)),
        Code::Retfd | Code::Retfd_imm16 => return Some(far_return(core, instruction, 4)),
        Code::Retfq | Code::Retfq_imm16 => return Some(far_return(core, instruction, 8)),
        _ => return None,
    };
    let target = if pointer_in_memory {
        far_pointer(core, instruction, size)
    } else {
        let offset = if size == 2 {
            u64::from(instruction.far_branch16())
        } else {
            u64::from(instruction.far_branch32())
        };
        Ok((offset, instruction.far_branch_selector()))
    };
    let is_call = instruction.mnemonic() == Mnemonic::Call;
    Some(target.and_then(|(offset, selector)| transfer(core, selector, offset, size, is_call)))
}

/// A far jump or call to `selector:offset`.
fn transfer(core: &mut Core<'_>, selector: u16, offset: u64, size: usize, is_call: bool) -> Exec {
    if matches!(core.cpu.mode, Mode::Real | Mode::Virtual8086) {
        return unprotected_transfer(core, selector, offset, size, is_call);
    }
    if is_null(selector) {
        return Err(Exception::gp(0));
    }
    let found = descriptor::read(core, selector, Exception::gp)?;
    if found.is_system() {
        return through_system(core, selector, &found, is_call);
    }
    if !found.segment.is_code() {
        return Err(Exception::gp(selector_code(selector)));
    }
    check_direct(core, selector, &found)?;
    enter(core, found, selector, branch_target(offset, size), size, is_call)
}

/// Real and virtual-8086 mode: no descriptors.
fn unprotected_transfer(core: &mut Core<'_>, selector: u16, offset: u64, size: usize, is_call: bool) -> Exec {
    let segment = unprotected(core.cpu, CS, selector);
    if offset > u64::from(segment.limit) {
        return Err(Exception::gp(0));
    }
    if is_call {
        push_return_address(core, size)?;
    }
    core.cpu.segments[CS] = segment;
    core.cpu.next_rip = offset;
    core.cpu.update_mode();
    Ok(())
}

fn push_return_address(core: &mut Core<'_>, size: usize) -> Exec {
    let mut stack = Stack::current(core);
    let frame = [u64::from(core.cpu.segments[CS].selector), core.cpu.next_rip];
    stack.push_all(core, &frame, size)?;
    stack.commit(core);
    Ok(())
}

/// Privilege and presence of a code segment reached directly.
fn check_direct(core: &Core<'_>, selector: u16, found: &Descriptor) -> Exec {
    let code = selector_code(selector);
    let (dpl, cpl) = (found.segment.dpl(), core.cpu.cpl);
    let allowed = if found.is_conforming() { dpl <= cpl } else { rpl(selector) <= cpl && dpl == cpl };
    if !allowed || is_ambiguous(core.cpu, &found.segment) {
        return Err(Exception::gp(code));
    }
    if found.is_present() { Ok(()) } else { Err(Exception::np(code)) }
}

/// In long mode L and D must not both be set.
pub(super) fn is_ambiguous(cpu: &Vcpu, segment: &Segment) -> bool {
    let both = Segment::LONG | Segment::BIG;
    cpu.is_long_mode() && segment.access & both == both
}

/// Whether code in `segment` is 64-bit code.
pub(super) fn is_long_code(cpu: &Vcpu, segment: &Segment) -> bool {
    cpu.is_long_mode() && segment.access & Segment::LONG != 0
}

/// Checks an instruction pointer against its code segment.
pub(super) fn check_target(cpu: &Vcpu, segment: &Segment, offset: u64) -> Exec {
    let inside = if is_long_code(cpu, segment) {
        Vcpu::is_canonical(offset)
    } else {
        offset & 0xffff_ffff <= u64::from(segment.limit)
    };
    if inside { Ok(()) } else { Err(Exception::gp(0)) }
}

/// Goes to a code segment of the same privilege, its rights checked.
fn enter(
    core: &mut Core<'_>,
    mut found: Descriptor,
    selector: u16,
    target: u64,
    size: usize,
    is_call: bool,
) -> Exec {
    let target = if is_long_code(core.cpu, &found.segment) { target } else { target & 0xffff_ffff };
    check_target(core.cpu, &found.segment, target)?;
    found.set_accessed(core)?;
    if is_call {
        push_return_address(core, size)?;
    }
    let cpl = core.cpu.cpl;
    set_code(core, found.segment, selector, cpl, target);
    Ok(())
}

/// Loads CS with a checked segment and continues at `target`.
pub(super) fn set_code(core: &mut Core<'_>, segment: Segment, selector: u16, cpl: u8, target: u64) {
    core.cpu.segments[CS] = Segment { selector: selector & !3 | u16::from(cpl), ..segment };
    core.cpu.cpl = cpl;
    core.cpu.next_rip = target;
    core.cpu.update_mode();
}

/// A system descriptor: call gate, task gate or TSS.
fn through_system(core: &mut Core<'_>, selector: u16, found: &Descriptor, is_call: bool) -> Exec {
    let code = selector_code(selector);
    let dpl = found.segment.dpl();
    if core.cpu.cpl > dpl || rpl(selector) > dpl {
        return Err(Exception::gp(code));
    }
    let long = core.cpu.is_long_mode();
    match found.segment.access & 0xf {
        system_type::CALL => {}
        system_type::CALL16 if !long => {}
        system_type::TSS16 | system_type::TSS if !long => {
            return task::transfer(core, selector, is_call);
        }
        system_type::TASK_GATE if !long => {
            if !found.is_present() {
                return Err(Exception::np(code));
            }
            return task::transfer(core, (found.raw >> 16) as u16, is_call);
        }
        _ => return Err(Exception::gp(code)),
    }
    if !found.is_present() {
        return Err(Exception::np(code));
    }
    through_call_gate(core, selector, found, is_call)
}

/// A call gate, its own rights checked.
fn through_call_gate(core: &mut Core<'_>, gate_selector: u16, gate: &Descriptor, is_call: bool) -> Exec {
    let long = core.cpu.is_long_mode();
    let selector = (gate.raw >> 16) as u16;
    let mut target = gate.raw & 0xffff;
    let size = match gate.segment.access & 0xf {
        _ if long => 8,
        system_type::CALL => 4,
        _ => 2,
    };
    if size > 2 {
        target |= gate.raw >> 32 & 0xffff_0000;
    }
    if long {
        target |= descriptor::read_upper(core, gate_selector, Exception::gp)? << 32;
    }
    if is_null(selector) {
        return Err(Exception::gp(0));
    }
    let code = selector_code(selector);
    let found = descriptor::read(core, selector, Exception::gp)?;
    let (dpl, cpl) = (found.segment.dpl(), core.cpu.cpl);
    if !found.segment.is_code() || dpl > cpl {
        return Err(Exception::gp(code));
    }
    if long && found.segment.access & (Segment::LONG | Segment::BIG) != Segment::LONG {
        return Err(Exception::gp(code));
    }
    if !is_call && !found.is_conforming() && dpl != cpl {
        return Err(Exception::gp(code));
    }
    if !found.is_present() {
        return Err(Exception::np(code));
    }
    if is_call && !found.is_conforming() && dpl < cpl {
        let parameters = (gate.raw >> 32 & 0x1f) as usize;
        return if long {
            call_inner_long(core, found, selector, target)
        } else {
            call_inner(core, found, selector, target, size, parameters)
        };
    }
    enter(core, found, selector, target, size, is_call)
}

/// A call to a more privileged level in protected mode: parameters are copied to the new stack.
fn call_inner(
    core: &mut Core<'_>,
    mut found: Descriptor,
    selector: u16,
    target: u64,
    size: usize,
    parameters: usize,
) -> Exec {
    let cpl = found.segment.dpl();
    let (segment, pointer) = inner_stack(core, cpl, 0).map_err(|failure| failure.exception)?;
    let mut frame = [0; 40];
    frame[0] = u64::from(core.cpu.segments[SS].selector);
    frame[1] = core.cpu.gpr[RSP];
    let mut old = Stack::current(core);
    for parameter in (0..parameters).rev() {
        frame[2 + parameter] = old.pop(core, size)?;
    }
    frame[2 + parameters] = u64::from(core.cpu.segments[CS].selector);
    frame[3 + parameters] = core.cpu.next_rip;
    check_target(core.cpu, &found.segment, target)?;
    let mut stack = Stack::other(segment, pointer, cpl, segment.selector);
    stack.push_all(core, &frame[..4 + parameters], size)?;
    found.set_accessed(core)?;
    core.cpu.segments[SS] = segment;
    stack.commit(core);
    set_code(core, found.segment, selector, cpl, target);
    Ok(())
}

/// A call to a more privileged level in long mode: the stack comes from the TSS, nothing is copied.
fn call_inner_long(core: &mut Core<'_>, mut found: Descriptor, selector: u16, target: u64) -> Exec {
    let cpl = found.segment.dpl();
    let tr = core.cpu.tr;
    let offset = 4 + 8 * u64::from(cpl);
    if offset + 7 > u64::from(tr.limit) {
        return Err(Exception::ts(selector_code(tr.selector)));
    }
    let pointer = u64::from_le_bytes(core.load_linear(tr.base.wrapping_add(offset), false)?);
    let frame = [
        u64::from(core.cpu.segments[SS].selector),
        core.cpu.gpr[RSP],
        u64::from(core.cpu.segments[CS].selector),
        core.cpu.next_rip,
    ];
    check_target(core.cpu, &found.segment, target)?;
    let mut stack = Stack::flat(pointer, cpl);
    stack.push_all(core, &frame, 8)?;
    found.set_accessed(core)?;
    core.cpu.segments[SS] = Segment { selector: u16::from(cpl), ..Segment::default() };
    core.cpu.gpr[RSP] = stack.pointer;
    set_code(core, found.segment, selector, cpl, target);
    Ok(())
}

fn far_return(core: &mut Core<'_>, instruction: &Instruction, size: usize) -> Exec {
    let released = match instruction.op_count() {
        0 => 0,
        _ => u64::from(instruction.immediate16()),
    };
    let mut stack = Stack::current(core);
    let offset = stack.pop(core, size)?;
    let selector = stack.pop(core, size)? as u16;
    if matches!(core.cpu.mode, Mode::Real | Mode::Virtual8086) {
        let segment = unprotected(core.cpu, CS, selector);
        if offset > u64::from(segment.limit) {
            return Err(Exception::gp(0));
        }
        stack.skip(released);
        stack.commit(core);
        core.cpu.segments[CS] = segment;
        core.cpu.next_rip = offset;
        core.cpu.update_mode();
        return Ok(());
    }
    let mut found = return_code(core, selector)?;
    check_target(core.cpu, &found.segment, offset)?;
    stack.skip(released);
    if rpl(selector) == core.cpu.cpl {
        found.set_accessed(core)?;
        stack.commit(core);
        let cpl = core.cpu.cpl;
        set_code(core, found.segment, selector, cpl, offset);
        return Ok(());
    }
    let pointer = stack.pop(core, size)?;
    let ss = stack.pop(core, size)? as u16;
    let segment = return_stack(core, ss, rpl(selector), &found.segment)?;
    found.set_accessed(core)?;
    leave(core, found.segment, selector, offset, segment, pointer.wrapping_add(released));
    Ok(())
}

/// Reads and checks the code segment that RET or IRET goes back to.
pub(super) fn return_code(core: &mut Core<'_>, selector: u16) -> Exec<Descriptor> {
    if is_null(selector) {
        return Err(Exception::gp(0));
    }
    let code = selector_code(selector);
    let found = descriptor::read(core, selector, Exception::gp)?;
    let (dpl, rpl) = (found.segment.dpl(), rpl(selector));
    let privilege = if found.is_conforming() { dpl <= rpl } else { dpl == rpl };
    if !found.segment.is_code() || rpl < core.cpu.cpl || !privilege || is_ambiguous(core.cpu, &found.segment)
    {
        return Err(Exception::gp(code));
    }
    if found.is_present() { Ok(found) } else { Err(Exception::np(code)) }
}

/// Checks the stack segment that RET or IRET goes back to, at privilege `cpl` and for code in `code`.
pub(super) fn return_stack(core: &mut Core<'_>, selector: u16, cpl: u8, code: &Segment) -> Exec<Segment> {
    if is_null(selector) {
        let allowed = is_long_code(core.cpu, code) && cpl != 3 && rpl(selector) == cpl;
        return if allowed { Ok(Segment { selector, ..Segment::default() }) } else { Err(Exception::gp(0)) };
    }
    stack_descriptor(core, selector, cpl, Exception::gp).map(|found| found.segment)
}

/// Goes out to a less privileged level (or the same), everything checked.
pub(super) fn leave(
    core: &mut Core<'_>,
    code: Segment,
    selector: u16,
    target: u64,
    stack: Segment,
    pointer: u64,
) {
    let cpl = rpl(selector);
    let outward = cpl > core.cpu.cpl;
    set_code(core, code, selector, cpl, target);
    core.cpu.segments[SS] = stack;
    let bytes = if is_flat(core.cpu) { 8 } else { usize::from(core.cpu.stack_bytes()) };
    super::stack::set_stack_pointer(core.cpu, pointer, bytes);
    if outward {
        drop_inner_segments(core.cpu);
    }
}

/// Data segments that the outer level could not have loaded become null, and a null selector becomes 0 whatever
/// its RPL (SDM vol. 2, IRET: "SegmentSelector = NULL": the register is invalid). Bases stay.
pub(super) fn drop_inner_segments(cpu: &mut Vcpu) {
    for index in [ES, DS, FS, GS] {
        let segment = cpu.segments[index];
        if is_null(segment.selector) {
            cpu.segments[index].selector = 0;
        }
        let conforming = segment.access & 0x1c == 0x1c;
        if !segment.is_unusable() && !conforming && segment.dpl() < cpu.cpl {
            cpu.segments[index] = Segment { base: segment.base, ..Segment::default() };
        }
    }
}

#[cfg(test)]
#[path = "far_tests.rs"]
mod tests;
