//! Fast system calls and the segment bases (SDM vol. 2 SYSCALL, SYSRET, SYSENTER, SYSEXIT, SWAPGS,
//! RDFSBASE, WRFSBASE), as Intel processors do them: SYSCALL exists in 64-bit mode only.

use super::privileged;
use crate::cpu::core::Core;
use crate::cpu::exception::{Exception, Exec};
use crate::cpu::state::{CS, FS, GS, Mode, RAX, RCX, RDX, RSP, SS, Segment, Vcpu, cr0, cr4, efer, rflags};
use iced_x86::{Code, Instruction, Mnemonic};

/// What SYSRET takes from R11: all flags but RF and VM.
const SYSRET_FLAGS: u64 = 0x3c_7fd7;
const R11: usize = 11;
/// Flat, present code that was executed and read; the size bits and DPL are added.
const CODE: u16 = Segment::GRANULAR | 0x9b;
/// Flat, present, writable big data.
const DATA: u16 = Segment::GRANULAR | Segment::BIG | 0x93;

/// Executes the instructions of this file; `None` for others.
pub(super) fn execute(core: &mut Core<'_>, instruction: &Instruction) -> Option<Exec> {
    let result = match instruction.code() {
        Code::Syscall => syscall(core),
        Code::Sysretd => sysret(core, false),
        Code::Sysretq => sysret(core, true),
        Code::Sysenter => sysenter(core),
        Code::Sysexitd => sysexit(core, false),
        Code::Sysexitq => sysexit(core, true),
        Code::Swapgs => swap_gs(core),
        _ => match instruction.mnemonic() {
            Mnemonic::Rdfsbase => read_base(core, instruction, FS),
            Mnemonic::Rdgsbase => read_base(core, instruction, GS),
            Mnemonic::Wrfsbase => write_base(core, instruction, FS),
            Mnemonic::Wrgsbase => write_base(core, instruction, GS),
            _ => return None,
        },
    };
    Some(result)
}

/// Loads CS and SS with the flat segments that these instructions imply.
fn set_flat(cpu: &mut Vcpu, code: u16, stack: u16, cpl: u8, long: bool) {
    let dpl = u16::from(cpl) << 5;
    let size = if long { Segment::LONG } else { Segment::BIG };
    let flat = Segment { selector: 0, access: 0, limit: 0xffff_ffff, base: 0 };
    cpu.segments[CS] = Segment { selector: code, access: CODE | size | dpl, ..flat };
    cpu.segments[SS] = Segment { selector: stack, access: DATA | dpl, ..flat };
    cpu.cpl = cpl;
    cpu.update_mode();
}

fn check_syscall(core: &Core<'_>) -> Exec {
    let exists = core.cpu.mode == Mode::Long64 && core.cpu.efer & efer::SCE != 0;
    if exists { Ok(()) } else { Err(Exception::UD) }
}

fn syscall(core: &mut Core<'_>) -> Exec {
    check_syscall(core)?;
    core.sys.stops.syscall(core.cpu.gpr[RAX]);
    let cpu = &mut *core.cpu;
    cpu.gpr[RCX] = cpu.next_rip;
    cpu.gpr[R11] = cpu.rflags & !rflags::RF;
    cpu.rflags = cpu.rflags & !cpu.msrs.fmask & !rflags::RF | rflags::FIXED;
    cpu.next_rip = cpu.msrs.lstar;
    let selector = (cpu.msrs.star >> 32) as u16 & !3;
    set_flat(cpu, selector, selector.wrapping_add(8), 0, true);
    Ok(())
}

fn sysret(core: &mut Core<'_>, long: bool) -> Exec {
    check_syscall(core)?;
    privileged(core)?;
    let cpu = &mut *core.cpu;
    let target = if long { cpu.gpr[RCX] } else { cpu.gpr[RCX] & 0xffff_ffff };
    if !Vcpu::is_canonical(target) {
        return Err(Exception::gp(0));
    }
    cpu.rflags = cpu.gpr[R11] & SYSRET_FLAGS | rflags::FIXED;
    cpu.next_rip = target;
    let base = (cpu.msrs.star >> 48) as u16;
    let code = base.wrapping_add(if long { 16 } else { 0 }) | 3;
    set_flat(cpu, code, base.wrapping_add(8) | 3, 3, long);
    core.recheck();
    Ok(())
}

fn sysenter(core: &mut Core<'_>) -> Exec {
    let selector = core.cpu.msrs.sysenter_cs as u16 & !3;
    if core.cpu.cr0 & cr0::PE == 0 || selector == 0 {
        return Err(Exception::gp(0));
    }
    core.sys.stops.syscall(core.cpu.gpr[RAX]);
    let cpu = &mut *core.cpu;
    let long = cpu.is_long_mode();
    let width = if long { u64::MAX } else { 0xffff_ffff };
    cpu.rflags &= !(rflags::VM | rflags::IF | rflags::RF);
    cpu.gpr[RSP] = cpu.msrs.sysenter_esp & width;
    cpu.next_rip = cpu.msrs.sysenter_eip & width;
    set_flat(cpu, selector, selector.wrapping_add(8), 0, long);
    Ok(())
}

fn sysexit(core: &mut Core<'_>, long: bool) -> Exec {
    let selector = core.cpu.msrs.sysenter_cs as u16 & !3;
    if core.cpu.cr0 & cr0::PE == 0 || selector == 0 {
        return Err(Exception::gp(0));
    }
    privileged(core)?;
    let cpu = &mut *core.cpu;
    let (rcx, rdx) = (cpu.gpr[RCX], cpu.gpr[RDX]);
    if long && !(Vcpu::is_canonical(rcx) && Vcpu::is_canonical(rdx)) {
        return Err(Exception::gp(0));
    }
    let width = if long { u64::MAX } else { 0xffff_ffff };
    cpu.gpr[RSP] = rcx & width;
    cpu.next_rip = rdx & width;
    let code = selector.wrapping_add(if long { 32 } else { 16 }) | 3;
    set_flat(cpu, code, code.wrapping_add(8), 3, long);
    Ok(())
}

fn swap_gs(core: &mut Core<'_>) -> Exec {
    if core.cpu.mode != Mode::Long64 {
        return Err(Exception::UD);
    }
    privileged(core)?;
    let cpu = &mut *core.cpu;
    std::mem::swap(&mut cpu.segments[GS].base, &mut cpu.msrs.kernel_gs_base);
    Ok(())
}

fn check_base_access(core: &Core<'_>) -> Exec {
    let exists = core.cpu.mode == Mode::Long64 && core.cpu.cr4 & cr4::FSGSBASE != 0;
    if exists { Ok(()) } else { Err(Exception::UD) }
}

fn read_base(core: &mut Core<'_>, instruction: &Instruction, segment: usize) -> Exec {
    check_base_access(core)?;
    let base = core.cpu.segments[segment].base;
    core.set_gpr(instruction.op0_register(), base);
    Ok(())
}

fn write_base(core: &mut Core<'_>, instruction: &Instruction, segment: usize) -> Exec {
    check_base_access(core)?;
    let base = core.gpr(instruction.op0_register());
    if !Vcpu::is_canonical(base) {
        return Err(Exception::gp(0));
    }
    core.cpu.segments[segment].base = base;
    Ok(())
}
