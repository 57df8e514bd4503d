//! Control registers (SDM vol. 3 2.5, 4.1, 9.8.5; vol. 2 MOV to and from control registers).
//!
//! CR4 has exactly the bits of the CPU model (docs/machine-cpu.md): no VME, PVI, SMEP, SMAP, UMIP, PCIDE,
//! LA57, OSXSAVE. Setting any of them is #GP(0).

use super::privileged;
use crate::cpu::core::Core;
use crate::cpu::exception::{Exception, Exec};
use crate::cpu::mmu::PHYSICAL_BITS;
use crate::cpu::state::{CS, Mode, Segment, cr0, cr4, efer, rflags};
use crate::mem::PageTableLevel;
use iced_x86::{Instruction, Mnemonic, Register};

const CR0_WRITABLE: u64 = cr0::PE
    | cr0::MP
    | cr0::EM
    | cr0::TS
    | cr0::ET
    | cr0::NE
    | cr0::WP
    | cr0::AM
    | cr0::NW
    | cr0::CD
    | cr0::PG;

/// The bits of CR4 that the CPU model has.
pub(super) const CR4_WRITABLE: u64 = cr4::TSD
    | cr4::DE
    | cr4::PSE
    | cr4::PAE
    | cr4::MCE
    | cr4::PGE
    | cr4::PCE
    | cr4::OSFXSR
    | cr4::OSXMMEXCPT
    | cr4::FSGSBASE;

/// Executes the instructions of this file; `None` for others.
pub(super) fn execute(core: &mut Core<'_>, instruction: &Instruction) -> Option<Exec> {
    if instruction.mnemonic() != Mnemonic::Mov {
        return None;
    }
    let (to, from) = (instruction.op0_register(), instruction.op1_register());
    if from.is_cr() {
        Some(read_control(core, from).map(|value| core.set_gpr(to, value)))
    } else if to.is_cr() {
        let value = core.gpr(from);
        Some(write_control(core, to, value))
    } else {
        None
    }
}

fn read_control(core: &mut Core<'_>, register: Register) -> Exec<u64> {
    let value = match register {
        Register::CR0 => core.cpu.cr0,
        Register::CR2 => core.cpu.cr2,
        Register::CR3 => core.cpu.cr3,
        Register::CR4 => core.cpu.cr4,
        Register::CR8 => u64::from(core.sys.platform.task_priority(core.cpu.id)),
        _ => return Err(Exception::UD),
    };
    privileged(core)?;
    Ok(value)
}

fn write_control(core: &mut Core<'_>, register: Register, value: u64) -> Exec {
    if !matches!(register, Register::CR0 | Register::CR2 | Register::CR3 | Register::CR4 | Register::CR8) {
        return Err(Exception::UD);
    }
    privileged(core)?;
    match register {
        Register::CR0 => set_cr0(core, value),
        Register::CR2 => {
            core.cpu.cr2 = value;
            Ok(())
        }
        Register::CR3 => set_cr3(core, value),
        Register::CR4 => set_cr4(core, value),
        _ => set_task_priority(core, value),
    }
}

/// Writes CR0; switches paging and long mode on or off.
///
/// # Errors
/// #GP(0) for an impossible combination.
pub(super) fn set_cr0(core: &mut Core<'_>, value: u64) -> Exec {
    let invalid = value >> 32 != 0
        || (value & cr0::PG != 0 && value & cr0::PE == 0)
        || (value & cr0::NW != 0 && value & cr0::CD == 0);
    if invalid {
        return Err(Exception::gp(0));
    }
    let old = core.cpu.cr0;
    let new = value & CR0_WRITABLE | cr0::ET;
    let (turns_on, turns_off) = (new & !old & cr0::PG != 0, old & !new & cr0::PG != 0);
    if turns_on {
        start_paging(core)?;
    } else if turns_off {
        // 64-bit code would lose its addresses.
        if core.cpu.mode == Mode::Long64 {
            return Err(Exception::gp(0));
        }
        core.cpu.efer &= !efer::LMA;
    } else if new & cr0::PG != 0 && (old ^ new) & (cr0::CD | cr0::NW) != 0 {
        reload_pdptes(core, core.cpu.cr3)?;
    }
    core.cpu.cr0 = new;
    if new & cr0::PE == 0 {
        core.cpu.cpl = 0;
    }
    if (old ^ new) & (cr0::PG | cr0::PE | cr0::WP) != 0 {
        core.sys.tlbs.current.evict_all();
    }
    changed(core);
    Ok(())
}

/// CR0.PG is being set: long mode if EFER.LME, else PAE or 32-bit paging.
fn start_paging(core: &mut Core<'_>) -> Exec {
    if core.cpu.efer & efer::LME != 0 {
        let cs_is_long = core.cpu.segments[CS].access & Segment::LONG != 0;
        // A busy 16-bit TSS would be invalid in long mode.
        let tss_is_16 = core.cpu.tr.access & 0x1d == 1 && !core.cpu.tr.is_unusable();
        if core.cpu.cr4 & cr4::PAE == 0 || cs_is_long || tss_is_16 {
            return Err(Exception::gp(0));
        }
        core.cpu.efer |= efer::LMA;
        return Ok(());
    }
    reload_pdptes(core, core.cpu.cr3)
}

/// Loads the PDPTE registers if paging is (about to be) PAE paging outside long mode.
fn reload_pdptes(core: &mut Core<'_>, cr3: u64) -> Exec {
    if core.cpu.cr4 & cr4::PAE == 0 || core.cpu.efer & efer::LMA != 0 {
        return Ok(());
    }
    core.cpu.pdptes = read_pdptes(core, cr3)?;
    Ok(())
}

fn read_pdptes(core: &mut Core<'_>, cr3: u64) -> Exec<[u64; 4]> {
    let reserved = 0x1e6 | (!0 << PHYSICAL_BITS);
    let mut entries = [0; 4];
    for (index, entry) in entries.iter_mut().enumerate() {
        let paddr = (cr3 & 0xffff_ffe0) + 8 * index as u64;
        *entry = core.sys.read_page_table(paddr, 8, PageTableLevel::Upper);
        if *entry & 1 != 0 && *entry & reserved != 0 {
            return Err(Exception::gp(0));
        }
    }
    Ok(entries)
}

/// Writes CR3.
fn set_cr3(core: &mut Core<'_>, value: u64) -> Exec {
    if core.cpu.is_long_mode() && value >> PHYSICAL_BITS != 0 {
        return Err(Exception::gp(0));
    }
    let pae = core.cpu.cr0 & cr0::PG != 0 && core.cpu.cr4 & cr4::PAE != 0 && !core.cpu.is_long_mode();
    let before = core.cpu.pdptes;
    if pae {
        core.cpu.pdptes = read_pdptes(core, value)?;
    }
    let old = std::mem::replace(&mut core.cpu.cr3, value);
    // A global translation stays only while the new tables say the same: a processor may keep any, but then accessed
    // bits would tell which. In PAE paging a page below 2 GiB may be reached through a PDPTE that changed.
    let agrees = if core.cpu.is_long_mode() {
        core.cpu.cr4 & cr4::PGE != 0 && core.sys.upper_halves_agree(old, value)
    } else {
        !pae || before == core.cpu.pdptes
    };
    if core.cpu.cr4 & cr4::PGE == 0 || !agrees {
        core.sys.tlbs.current.evict_all();
    } else {
        core.sys.tlbs.current.evict_not_global();
    }
    core.recheck();
    Ok(())
}

/// Loads CR3 from the TSS of a new task, if paging is on.
pub(super) fn load_task_cr3(core: &mut Core<'_>, value: u64) -> Exec {
    if core.cpu.cr0 & cr0::PG == 0 { Ok(()) } else { set_cr3(core, value) }
}

/// Writes CR4.
fn set_cr4(core: &mut Core<'_>, value: u64) -> Exec {
    let old = core.cpu.cr4;
    let loses_pae = old & !value & cr4::PAE != 0 && core.cpu.is_long_mode();
    if value & !CR4_WRITABLE != 0 || loses_pae {
        return Err(Exception::gp(0));
    }
    let translation = cr4::PSE | cr4::PAE | cr4::PGE;
    let paging = core.cpu.cr0 & cr0::PG != 0;
    if paging && value & cr4::PAE != 0 && (old ^ value) & translation != 0 && !core.cpu.is_long_mode() {
        core.cpu.pdptes = read_pdptes(core, core.cpu.cr3)?;
    }
    core.cpu.cr4 = value;
    if (old ^ value) & translation != 0 {
        core.sys.tlbs.current.evict_all();
    }
    changed(core);
    Ok(())
}

/// Writes CR8: the task priority class of the local APIC.
fn set_task_priority(core: &mut Core<'_>, value: u64) -> Exec {
    if value > 15 {
        return Err(Exception::gp(0));
    }
    core.sys.platform.set_task_priority(core.cpu.id, value as u8);
    core.recheck();
    Ok(())
}

/// Writes EFER: LME only while paging is off, LMA as it was.
pub(super) fn set_efer(core: &mut Core<'_>, value: u64) -> Exec {
    let known = efer::SCE | efer::LME | efer::LMA | efer::NXE;
    let old = core.cpu.efer;
    let flips_lme = (old ^ value) & efer::LME != 0;
    if value & !known != 0 || (flips_lme && core.cpu.cr0 & cr0::PG != 0) {
        return Err(Exception::gp(0));
    }
    core.cpu.efer = value & !efer::LMA | old & efer::LMA;
    if (old ^ value) & efer::NXE != 0 {
        core.sys.tlbs.current.evict_all();
    }
    changed(core);
    Ok(())
}

/// What every change of a control register ends with.
fn changed(core: &mut Core<'_>) {
    if core.cpu.cr0 & cr0::PE == 0 {
        core.cpu.rflags &= !rflags::VM;
    }
    core.cpu.update_mode();
    core.recheck();
}

#[cfg(test)]
#[path = "register_tests.rs"]
mod tests;
