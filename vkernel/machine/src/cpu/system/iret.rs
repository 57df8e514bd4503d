//! IRET in every mode (SDM vol. 2 IRET/IRETD/IRETQ).

use super::descriptor::rpl;
use super::far::{check_target, is_long_code, leave, return_code, return_stack};
use super::segment::unprotected;
use super::stack::Stack;
use super::task;
use crate::cpu::core::Core;
use crate::cpu::exception::{Exception, Exec};
use crate::cpu::operand::truncate;
use crate::cpu::state::{CS, DS, ES, FS, GS, Mode, RSP, SS, Segment, Vcpu, rflags};
use iced_x86::{Instruction, Mnemonic};

/// Flags that IRET always restores.
const ALWAYS: u64 = rflags::STATUS | rflags::TF | rflags::DF | rflags::NT;
/// And those that exist only in 32-bit and 64-bit images.
const WIDE: u64 = rflags::RF | rflags::AC | rflags::ID;

/// Executes the instructions of this file; `None` for others.
pub(super) fn execute(core: &mut Core<'_>, instruction: &Instruction) -> Option<Exec> {
    let size = match instruction.mnemonic() {
        Mnemonic::Iret => 2,
        Mnemonic::Iretd => 4,
        Mnemonic::Iretq => 8,
        _ => return None,
    };
    let result = match core.cpu.mode {
        Mode::Real => unprotected_return(core, size, ALWAYS | rflags::IF | rflags::IOPL),
        Mode::Virtual8086 if core.cpu.rflags & rflags::IOPL != rflags::IOPL => Err(Exception::gp(0)),
        Mode::Virtual8086 => unprotected_return(core, size, ALWAYS | rflags::IF),
        Mode::Protected if core.cpu.flag(rflags::NT) => task::resume(core),
        _ if core.cpu.flag(rflags::NT) => Err(Exception::gp(0)),
        _ => protected_return(core, size),
    };
    if result.is_ok() {
        core.cpu.nmi_blocked = false;
        // Interrupts or NMIs may have become possible.
        core.recheck();
    }
    Some(result)
}

/// Replaces the flags in `mask`; those in [`WIDE`] only from an image wide enough to have them.
fn set_flags(cpu: &mut Vcpu, image: u64, mask: u64, size: usize) {
    let mask = mask | if size > 2 { WIDE } else { 0 };
    cpu.rflags = cpu.rflags & !mask | image & mask | rflags::FIXED;
}

/// The flags that code at `cpl` with IOPL `iopl` may change by IRET.
fn permitted_flags(cpl: u8, flags: u64) -> u64 {
    let iopl = (flags & rflags::IOPL) >> 12;
    ALWAYS
        | if u64::from(cpl) <= iopl { rflags::IF } else { 0 }
        | if cpl == 0 { rflags::IOPL | rflags::VIF | rflags::VIP } else { 0 }
}

/// Real mode, and virtual-8086 mode with IOPL 3.
fn unprotected_return(core: &mut Core<'_>, size: usize, mask: u64) -> Exec {
    let mut stack = Stack::current(core);
    let offset = stack.pop(core, size)?;
    let selector = stack.pop(core, size)? as u16;
    let image = stack.pop(core, size)?;
    let segment = unprotected(core.cpu, CS, selector);
    if offset > u64::from(segment.limit) {
        return Err(Exception::gp(0));
    }
    stack.commit(core);
    core.cpu.segments[CS] = segment;
    core.cpu.next_rip = offset;
    set_flags(core.cpu, image, mask, size);
    core.cpu.update_mode();
    Ok(())
}

fn protected_return(core: &mut Core<'_>, size: usize) -> Exec {
    let mut stack = Stack::current(core);
    let offset = stack.pop(core, size)?;
    let selector = stack.pop(core, size)? as u16;
    let image = stack.pop(core, size)?;
    if core.cpu.mode == Mode::Protected && size == 4 && image & rflags::VM != 0 && core.cpu.cpl == 0 {
        return to_virtual_8086(core, stack, offset, selector, image);
    }
    let mut found = return_code(core, selector)?;
    let outward = rpl(selector) > core.cpu.cpl;
    // 64-bit mode always has the stack pointer in the frame.
    let new_stack = if outward || core.cpu.mode == Mode::Long64 {
        let pointer = stack.pop(core, size)?;
        let ss = stack.pop(core, size)? as u16;
        Some((pointer, return_stack(core, ss, rpl(selector), &found.segment)?))
    } else {
        None
    };
    let target = if is_long_code(core.cpu, &found.segment) { offset } else { truncate(offset, 4) };
    check_target(core.cpu, &found.segment, target)?;
    found.set_accessed(core)?;
    let mask = permitted_flags(core.cpu.cpl, core.cpu.rflags);
    set_flags(core.cpu, image, mask, size);
    match new_stack {
        Some((pointer, segment)) => leave(core, found.segment, selector, target, segment, pointer),
        None => {
            stack.commit(core);
            let cpl = core.cpu.cpl;
            super::far::set_code(core, found.segment, selector, cpl, target);
        }
    }
    Ok(())
}

/// From the kernel of protected mode back to a virtual-8086 program.
fn to_virtual_8086(core: &mut Core<'_>, mut stack: Stack, offset: u64, selector: u16, image: u64) -> Exec {
    let mut popped = [0; 6];
    for value in &mut popped {
        *value = stack.pop(core, 4)?;
    }
    let [pointer, ss, es, ds, fs, gs] = popped;
    if offset > 0xffff {
        return Err(Exception::gp(0));
    }
    let selectors = [(CS, u64::from(selector)), (SS, ss), (ES, es), (DS, ds), (FS, fs), (GS, gs)];
    for (index, selector) in selectors {
        core.cpu.segments[index] = Segment { access: 0xf3, ..Segment::real_mode(selector as u16) };
    }
    let mask = permitted_flags(0, 0) | rflags::IF | rflags::VM;
    set_flags(core.cpu, image, mask, 4);
    core.cpu.cpl = 3;
    core.cpu.gpr[RSP] = pointer;
    core.cpu.next_rip = offset;
    core.cpu.update_mode();
    Ok(())
}
