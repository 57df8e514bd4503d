//! Descriptor-table registers, the task register, and the machine status word (SDM vol. 2 LGDT, LIDT, SGDT,
//! SIDT, LLDT, SLDT, LTR, STR, SMSW, LMSW, CLTS); cache and translation maintenance (INVLPG, INVD, WBINVD).
//!
//! UMIP is not exposed: the storing forms work at any privilege. Caches do not exist, so INVD and WBINVD
//! only check privilege.

use super::control::set_cr0;
use super::descriptor::{self, is_null, selector_code, system_type};
use super::privileged;
use crate::cpu::core::Core;
use crate::cpu::exception::{Exception, Exec};
use crate::cpu::mmu::Intent;
use crate::cpu::state::{DescriptorTable, Mode, Segment, Vcpu, cr0};
use iced_x86::{Code, Instruction, Mnemonic, OpKind, Register};

/// Executes the instructions of this file; `None` for others.
pub(super) fn execute(core: &mut Core<'_>, instruction: &Instruction) -> Option<Exec> {
    let result = match instruction.mnemonic() {
        Mnemonic::Lgdt => load_table(core, instruction).map(|table| core.cpu.gdtr = table),
        Mnemonic::Lidt => load_table(core, instruction).map(|table| core.cpu.idtr = table),
        Mnemonic::Sgdt => store_table(core, instruction, core.cpu.gdtr),
        Mnemonic::Sidt => store_table(core, instruction, core.cpu.idtr),
        Mnemonic::Lldt => load_ldt(core, instruction),
        Mnemonic::Ltr => load_task(core, instruction),
        Mnemonic::Sldt => protected_only(core)
            .and_then(|()| store_word(core, instruction, u64::from(core.cpu.ldtr.selector))),
        Mnemonic::Str => {
            protected_only(core).and_then(|()| store_word(core, instruction, u64::from(core.cpu.tr.selector)))
        }
        Mnemonic::Smsw => store_word(core, instruction, core.cpu.cr0),
        Mnemonic::Lmsw => load_status_word(core, instruction),
        Mnemonic::Clts => privileged(core).map(|()| core.cpu.cr0 &= !cr0::TS),
        Mnemonic::Invlpg => invalidate_page(core, instruction),
        Mnemonic::Invd | Mnemonic::Wbinvd | Mnemonic::Wbnoinvd => privileged(core),
        _ => return None,
    };
    Some(result)
}

fn protected_only(core: &Core<'_>) -> Exec {
    if matches!(core.cpu.mode, Mode::Real | Mode::Virtual8086) { Err(Exception::UD) } else { Ok(()) }
}

fn load_table(core: &mut Core<'_>, instruction: &Instruction) -> Exec<DescriptorTable> {
    privileged(core)?;
    let (segment, offset) = core.effective_address(instruction);
    let long = core.cpu.mode == Mode::Long64;
    let length = if long { 10 } else { 6 };
    let at = core.locate(segment, offset, length, Intent::Read)?;
    let mut bytes = [0; 16];
    core.load_located(at, &mut bytes[..length]);
    let all = u128::from_le_bytes(bytes);
    let mut base = (all >> 16) as u64;
    // With a 16-bit operand size the top byte of the base is not loaded.
    if matches!(instruction.code(), Code::Lgdt_m1632_16 | Code::Lidt_m1632_16) {
        base &= 0xff_ffff;
    }
    if long && !Vcpu::is_canonical(base) {
        return Err(Exception::gp(0));
    }
    Ok(DescriptorTable { base, limit: all as u16 })
}

fn store_table(core: &mut Core<'_>, instruction: &Instruction, table: DescriptorTable) -> Exec {
    let (segment, offset) = core.effective_address(instruction);
    let length = if core.cpu.mode == Mode::Long64 { 10 } else { 6 };
    let all = u128::from(table.base) << 16 | u128::from(table.limit);
    core.store(segment, offset, &all.to_le_bytes()[..length])
}

/// Reads a 16-bit register or memory operand.
fn load_word(core: &mut Core<'_>, instruction: &Instruction) -> Exec<u16> {
    if instruction.op0_kind() == OpKind::Register {
        return Ok(core.gpr(instruction.op0_register()) as u16);
    }
    let (segment, offset) = core.effective_address(instruction);
    core.load(segment, offset).map(u16::from_le_bytes)
}

/// Writes a register of any size, or 16 bits of memory.
fn store_word(core: &mut Core<'_>, instruction: &Instruction, value: u64) -> Exec {
    if instruction.op0_kind() == OpKind::Register {
        core.set_gpr(instruction.op0_register(), value);
        return Ok(());
    }
    let (segment, offset) = core.effective_address(instruction);
    core.store(segment, offset, &(value as u16).to_le_bytes())
}

/// Reads the descriptor of an LDT or TSS, of 16 bytes in long mode.
fn system_segment(core: &mut Core<'_>, selector: u16, types: &[u16]) -> Exec<descriptor::Descriptor> {
    let code = selector_code(selector);
    if selector & 4 != 0 {
        return Err(Exception::gp(code));
    }
    let mut found = descriptor::read(core, selector, Exception::gp)?;
    if !types.contains(&found.kind()) {
        return Err(Exception::gp(code));
    }
    if core.cpu.is_long_mode() {
        let upper = descriptor::read_upper(core, selector, Exception::gp)?;
        found.segment.base |= upper << 32;
        if !Vcpu::is_canonical(found.segment.base) {
            return Err(Exception::gp(code));
        }
    }
    if found.is_present() { Ok(found) } else { Err(Exception::np(code)) }
}

fn load_ldt(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    protected_only(core)?;
    privileged(core)?;
    let selector = load_word(core, instruction)?;
    core.cpu.ldtr = if is_null(selector) {
        Segment { selector, ..Segment::default() }
    } else {
        system_segment(core, selector, &[system_type::LDT])?.segment
    };
    Ok(())
}

fn load_task(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    protected_only(core)?;
    privileged(core)?;
    let selector = load_word(core, instruction)?;
    if is_null(selector) {
        return Err(Exception::gp(0));
    }
    let types: &[u16] =
        if core.cpu.is_long_mode() { &[system_type::TSS] } else { &[system_type::TSS, system_type::TSS16] };
    let mut found = system_segment(core, selector, types)?;
    found.segment.access |= system_type::BUSY;
    core.store_linear(found.laddr.wrapping_add(5), &[found.segment.access as u8], false)?;
    core.cpu.tr = found.segment;
    Ok(())
}

/// LMSW loads the low four bits of CR0, but cannot clear PE.
fn load_status_word(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    privileged(core)?;
    let value = u64::from(load_word(core, instruction)?);
    let kept = core.cpu.cr0 & !0xe | core.cpu.cr0 & cr0::PE;
    set_cr0(core, kept & !0xe | value & 0xf)
}

fn invalidate_page(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    privileged(core)?;
    let (segment, offset) = core.effective_address(instruction);
    let base = match instruction.memory_segment() {
        Register::FS | Register::GS => core.cpu.segments[segment].base,
        _ if core.cpu.mode == Mode::Long64 => 0,
        _ => core.cpu.segments[segment].base,
    };
    core.sys.tlbs.current.evict_page(base.wrapping_add(offset));
    Ok(())
}
