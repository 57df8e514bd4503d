//! Segment registers: loading, storing, and asking about selectors (SDM vol. 2 MOV, POP, LDS, LAR, LSL,
//! VERR, ARPL; vol. 3 ch. 5).

use super::descriptor::{self, Descriptor, is_null, rpl, selector_code};
use super::stack::{Stack, push_one};
use crate::cpu::core::Core;
use crate::cpu::exception::{Exception, Exec};
use crate::cpu::operand::segment_index;
use crate::cpu::state::{CS, FS, GS, Mode, SS, Segment, Shadow, Vcpu, rflags};
use iced_x86::{Code, Instruction, Mnemonic, OpKind, Register};

/// Executes the instructions of this file; `None` for others.
pub(super) fn execute(core: &mut Core<'_>, instruction: &Instruction) -> Option<Exec> {
    let result = match instruction.mnemonic() {
        Mnemonic::Mov if instruction.op1_register().is_segment_register() => {
            store_selector(core, instruction)
        }
        Mnemonic::Mov if instruction.op0_register().is_segment_register() => load_selector(core, instruction),
        Mnemonic::Push if instruction.op0_register().is_segment_register() => push(core, instruction),
        Mnemonic::Pop if instruction.op0_register().is_segment_register() => pop(core, instruction),
        Mnemonic::Lds | Mnemonic::Les | Mnemonic::Lfs | Mnemonic::Lgs | Mnemonic::Lss => {
            load_far_pointer(core, instruction)
        }
        Mnemonic::Lar => load_access_rights(core, instruction),
        Mnemonic::Lsl => load_limit(core, instruction),
        Mnemonic::Verr | Mnemonic::Verw => verify(core, instruction),
        Mnemonic::Arpl => adjust_rpl(core, instruction),
        _ => return None,
    };
    Some(result)
}

/// Loads a data or stack segment register, with the checks of the present mode.
///
/// # Errors
/// As the SDM says for MOV to a segment register; nothing has changed then.
pub(super) fn load_segment(core: &mut Core<'_>, index: usize, selector: u16) -> Exec {
    let segment = match core.cpu.mode {
        Mode::Real | Mode::Virtual8086 => unprotected(core.cpu, index, selector),
        _ if index == SS => stack_segment(core, selector)?,
        _ => data_segment(core, selector)?,
    };
    core.cpu.segments[index] = segment;
    Ok(())
}

/// What a segment register holds after a load in real or virtual-8086 mode. Real mode replaces only the
/// selector and base: limits loaded in protected mode stay ("unreal mode").
pub(super) fn unprotected(cpu: &Vcpu, index: usize, selector: u16) -> Segment {
    let fresh = Segment::real_mode(selector);
    if cpu.mode == Mode::Virtual8086 {
        return Segment { access: 0xf3, ..fresh };
    }
    let old = cpu.segments[index];
    if old.is_unusable() {
        return fresh;
    }
    let size = old.access & (Segment::BIG | Segment::GRANULAR);
    let kind = if index == CS { 0x9b } else { 0x93 };
    Segment { access: size | kind, limit: old.limit, ..fresh }
}

fn data_segment(core: &mut Core<'_>, selector: u16) -> Exec<Segment> {
    if is_null(selector) {
        return Ok(Segment { selector, ..Segment::default() });
    }
    let code = selector_code(selector);
    let mut found = descriptor::read(core, selector, Exception::gp)?;
    if found.is_system() || !found.segment.is_readable() {
        return Err(Exception::gp(code));
    }
    let dpl = found.segment.dpl();
    if !found.is_conforming() && (rpl(selector) > dpl || core.cpu.cpl > dpl) {
        return Err(Exception::gp(code));
    }
    if !found.is_present() {
        return Err(Exception::np(code));
    }
    found.set_accessed(core)?;
    Ok(found.segment)
}

fn stack_segment(core: &mut Core<'_>, selector: u16) -> Exec<Segment> {
    let cpl = core.cpu.cpl;
    if is_null(selector) {
        let allowed = core.cpu.mode == Mode::Long64 && cpl != 3 && rpl(selector) == cpl;
        return if allowed { Ok(Segment { selector, ..Segment::default() }) } else { Err(Exception::gp(0)) };
    }
    stack_descriptor(core, selector, cpl, Exception::gp).map(|found| found.segment)
}

/// Reads and checks the descriptor of a stack segment to be used at `cpl`, and marks it accessed.
pub(super) fn stack_descriptor(
    core: &mut Core<'_>,
    selector: u16,
    cpl: u8,
    raise: fn(u32) -> Exception,
) -> Exec<Descriptor> {
    let code = selector_code(selector);
    let mut found = descriptor::read(core, selector, raise)?;
    if rpl(selector) != cpl || !found.segment.is_writable() || found.segment.dpl() != cpl {
        return Err(raise(code));
    }
    if !found.is_present() {
        return Err(Exception::ss(code));
    }
    found.set_accessed(core)?;
    Ok(found)
}

/// After a load of SS, events wait for one instruction; of two such loads only the first does that.
fn shadow_after(core: &mut Core<'_>, index: usize) {
    if index == SS && core.cpu.shadow == Shadow::None {
        core.cpu.shadow = Shadow::MovSs;
    }
}

fn load_selector(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let index = segment_index(instruction.op0_register());
    if index == CS {
        return Err(Exception::UD);
    }
    let selector = match instruction.op1_kind() {
        OpKind::Register => core.gpr(instruction.op1_register()) as u16,
        _ => {
            let (segment, offset) = core.effective_address(instruction);
            u16::from_le_bytes(core.load(segment, offset)?)
        }
    };
    load_segment(core, index, selector)?;
    shadow_after(core, index);
    Ok(())
}

fn store_selector(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let selector = core.cpu.segments[segment_index(instruction.op1_register())].selector;
    if instruction.op0_kind() == OpKind::Register {
        core.set_gpr(instruction.op0_register(), u64::from(selector));
        return Ok(());
    }
    let (segment, offset) = core.effective_address(instruction);
    core.store(segment, offset, &selector.to_le_bytes())
}

/// The operand size of a push or pop of a segment register.
fn slot_bytes(code: Code) -> usize {
    match code {
        Code::Pushw_ES
        | Code::Pushw_CS
        | Code::Pushw_SS
        | Code::Pushw_DS
        | Code::Pushw_FS
        | Code::Pushw_GS => 2,
        Code::Popw_ES | Code::Popw_SS | Code::Popw_DS | Code::Popw_FS | Code::Popw_GS => 2,
        Code::Pushq_FS | Code::Pushq_GS | Code::Popq_FS | Code::Popq_GS => 8,
        _ => 4,
    }
}

fn push(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let selector = core.cpu.segments[segment_index(instruction.op0_register())].selector;
    push_one(core, u64::from(selector), slot_bytes(instruction.code()))
}

fn pop(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let index = segment_index(instruction.op0_register());
    let mut stack = Stack::current(core);
    let selector = stack.pop(core, slot_bytes(instruction.code()))? as u16;
    load_segment(core, index, selector)?;
    stack.commit(core);
    shadow_after(core, index);
    Ok(())
}

fn load_far_pointer(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let index = match instruction.mnemonic() {
        Mnemonic::Lds => segment_index(Register::DS),
        Mnemonic::Les => segment_index(Register::ES),
        Mnemonic::Lfs => FS,
        Mnemonic::Lgs => GS,
        _ => SS,
    };
    let register = instruction.op0_register();
    let (offset, selector) = far_pointer(core, instruction, register.size())?;
    load_segment(core, index, selector)?;
    core.set_gpr(register, offset);
    Ok(())
}

/// Reads a far pointer with an offset of `size` bytes from memory.
pub(super) fn far_pointer(core: &mut Core<'_>, instruction: &Instruction, size: usize) -> Exec<(u64, u16)> {
    let (segment, offset) = core.effective_address(instruction);
    // One access for both parts, so that a fault on either reads neither.
    let laddr = core.linear(segment, offset, size + 2, crate::cpu::mmu::Intent::Read)?;
    let user = core.is_user();
    let at = core.locate_linear(laddr, size + 2, crate::cpu::mmu::Intent::Read, user)?;
    let mut bytes = [0; 16];
    core.load_located(at, &mut bytes[..size + 2]);
    let all = u128::from_le_bytes(bytes);
    let offset = all & ((1 << (8 * size)) - 1);
    Ok((offset as u64, (all >> (8 * size)) as u16))
}

/// Reads the 16-bit selector operand of LAR, LSL, VERR and VERW.
fn selector_operand(core: &mut Core<'_>, instruction: &Instruction, operand: u32) -> Exec<u16> {
    if matches!(core.cpu.mode, Mode::Real | Mode::Virtual8086) {
        return Err(Exception::UD);
    }
    if instruction.op_kind(operand) == OpKind::Register {
        return Ok(core.gpr(instruction.op_register(operand)) as u16);
    }
    let (segment, offset) = core.effective_address(instruction);
    core.load(segment, offset).map(u16::from_le_bytes)
}

/// Whether code at CPL may look at a segment: privilege only.
fn may_look(core: &Core<'_>, selector: u16, found: &Descriptor) -> bool {
    let dpl = found.segment.dpl();
    found.is_conforming() || (core.cpu.cpl <= dpl && rpl(selector) <= dpl)
}

/// Finds the descriptor that LAR or LSL may report.
fn visible(core: &mut Core<'_>, selector: u16, with_gates: bool) -> Exec<Option<Descriptor>> {
    if is_null(selector) {
        return Ok(None);
    }
    let Some(found) = descriptor::try_read(core, selector)? else { return Ok(None) };
    let known = !found.is_system()
        || match found.segment.access & 0xf {
            2 | 9 | 11 => true,
            1 | 3 => !core.cpu.is_long_mode(),
            12 => with_gates,
            4 | 5 => with_gates && !core.cpu.is_long_mode(),
            _ => false,
        };
    Ok((known && may_look(core, selector, &found)).then_some(found))
}

fn load_access_rights(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let selector = selector_operand(core, instruction, 1)?;
    let found = visible(core, selector, true)?;
    core.cpu.set_flag(rflags::ZF, found.is_some());
    if let Some(found) = found {
        core.set_gpr(instruction.op0_register(), found.raw >> 32 & 0x00ff_ff00);
    }
    Ok(())
}

fn load_limit(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let selector = selector_operand(core, instruction, 1)?;
    let found = visible(core, selector, false)?;
    core.cpu.set_flag(rflags::ZF, found.is_some());
    if let Some(found) = found {
        core.set_gpr(instruction.op0_register(), u64::from(found.segment.limit));
    }
    Ok(())
}

fn verify(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let selector = selector_operand(core, instruction, 0)?;
    let found = if is_null(selector) { None } else { descriptor::try_read(core, selector)? };
    let allowed = found.is_some_and(|found| {
        let right = if instruction.mnemonic() == Mnemonic::Verr {
            found.segment.is_readable()
        } else {
            found.segment.is_writable()
        };
        !found.is_system() && right && may_look(core, selector, &found)
    });
    core.cpu.set_flag(rflags::ZF, allowed);
    Ok(())
}

fn adjust_rpl(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    if matches!(core.cpu.mode, Mode::Real | Mode::Virtual8086) {
        return Err(Exception::UD);
    }
    let place = core.place(instruction, 0)?;
    let selector = core.read_place(place);
    let wanted = core.gpr(instruction.op1_register()) & 3;
    let lower = selector & 3 < wanted;
    if lower {
        core.write_place(place, selector & !3 | wanted);
    }
    core.cpu.set_flag(rflags::ZF, lower);
    Ok(())
}
