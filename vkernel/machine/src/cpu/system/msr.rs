//! Model-specific registers (SDM vol. 4; vol. 3 ch. 10, 11, 17.17; vol. 2 RDMSR, WRMSR).
//!
//! What is not listed here does not exist: #GP(0), as on hardware. MTRRs, DEBUGCTL.LBR and the machine-check
//! registers are storage with the checks of hardware and no effect: there is no cache, no branch record and
//! no machine check.

use super::control::set_efer;
use super::{privileged, read_tsc};
use crate::cpu::core::Core;
use crate::cpu::exception::{Exception, Exec};
use crate::cpu::mmu::PHYSICAL_BITS;
use crate::cpu::state::{FS, GS, RAX, RCX, RDX, Vcpu};
use crate::platform::Access;
use boundary::VirtualTime;
use iced_x86::{Instruction, Mnemonic};

/// MSR addresses.
pub mod index {
    #![allow(missing_docs, reason = "the names are the SDM's")]
    pub const TSC: u32 = 0x10;
    pub const PLATFORM_ID: u32 = 0x17;
    pub const APIC_BASE: u32 = 0x1b;
    pub const TSC_ADJUST: u32 = 0x3b;
    pub const BIOS_SIGN_ID: u32 = 0x8b;
    pub const MTRR_CAP: u32 = 0xfe;
    pub const ARCH_CAPABILITIES: u32 = 0x10a;
    pub const SYSENTER_CS: u32 = 0x174;
    pub const SYSENTER_ESP: u32 = 0x175;
    pub const SYSENTER_EIP: u32 = 0x176;
    pub const MCG_CAP: u32 = 0x179;
    pub const MCG_STATUS: u32 = 0x17a;
    pub const MISC_ENABLE: u32 = 0x1a0;
    pub const DEBUGCTL: u32 = 0x1d9;
    pub const MTRR_VARIABLE: u32 = 0x200;
    pub const MTRR_FIX64K: u32 = 0x250;
    pub const MTRR_FIX16K: u32 = 0x258;
    pub const MTRR_FIX4K: u32 = 0x268;
    pub const PAT: u32 = 0x277;
    pub const MTRR_DEF_TYPE: u32 = 0x2ff;
    pub const TSC_DEADLINE: u32 = 0x6e0;
    pub const X2APIC: u32 = 0x800;
    pub const X2APIC_LAST: u32 = 0x8ff;
    pub const EFER: u32 = 0xc000_0080;
    pub const STAR: u32 = 0xc000_0081;
    pub const LSTAR: u32 = 0xc000_0082;
    pub const CSTAR: u32 = 0xc000_0083;
    pub const FMASK: u32 = 0xc000_0084;
    pub const FS_BASE: u32 = 0xc000_0100;
    pub const GS_BASE: u32 = 0xc000_0101;
    pub const KERNEL_GS_BASE: u32 = 0xc000_0102;
    pub const TSC_AUX: u32 = 0xc000_0103;
}

/// Eight variable ranges, fixed ranges, write combining.
const MTRR_CAPABILITIES: u64 = 0x508;

/// Immunities that Linux and others ask for: RDCL_NO, SKIP_L1DFL_VMENTRY, SSB_NO, MDS_NO, IF_PSCHANGE_MC_NO,
/// TAA_NO, SBDR_SSDP_NO, FBSDP_NO, PSDP_NO, BHI_NO, PBRSB_NO, GDS_NO, RFDS_NO, ITS_NO. Not IBRS_ALL: it
/// would promise SPEC_CTRL.
pub const ARCH_CAPABILITIES: u64 = 1
    | 1 << 3
    | 1 << 4
    | 1 << 5
    | 1 << 6
    | 1 << 8
    | 1 << 13
    | 1 << 14
    | 1 << 15
    | 1 << 20
    | 1 << 24
    | 1 << 26
    | 1 << 27
    | 1 << 62;

/// Fast strings, thermal monitor, BTS and PEBS unavailable, SpeedStep, MONITOR, CPUID limit, xTPR, XD.
const MISC_ENABLE_KNOWN: u64 =
    1 | 1 << 3 | 1 << 11 | 1 << 12 | 1 << 16 | 1 << 18 | 1 << 22 | 1 << 23 | 1 << 34;

/// LBR and BTF.
const DEBUGCTL_KNOWN: u64 = 3;

/// Executes the instructions of this file; `None` for others.
pub(super) fn execute(core: &mut Core<'_>, instruction: &Instruction) -> Option<Exec> {
    let number = core.cpu.gpr[RCX] as u32;
    let result = match instruction.mnemonic() {
        Mnemonic::Rdmsr => privileged(core).and_then(|()| read(core, number)).map(|value| {
            core.sys.stops.msr(number, false, value);
            core.cpu.gpr[RAX] = value & 0xffff_ffff;
            core.cpu.gpr[RDX] = value >> 32;
        }),
        Mnemonic::Wrmsr => {
            let value = core.cpu.gpr[RDX] << 32 | core.cpu.gpr[RAX] & 0xffff_ffff;
            privileged(core)
                .and_then(|()| write(core, number, value))
                .map(|()| core.sys.stops.msr(number, true, value))
        }
        _ => return None,
    };
    Some(result)
}

fn access(core: &Core<'_>) -> Access {
    Access { vcpu: core.cpu.id, now: core.sys.now() }
}

/// Which element of `Msrs::mtrr_fixed` an MSR is.
fn fixed_range(number: u32) -> Option<usize> {
    match number {
        index::MTRR_FIX64K => Some(0),
        0x258..=0x259 => Some((number - index::MTRR_FIX16K) as usize + 1),
        0x268..=0x26f => Some((number - index::MTRR_FIX4K) as usize + 3),
        _ => None,
    }
}

/// Reads an MSR, without privilege check.
///
/// # Errors
/// #GP(0) for an MSR that does not exist.
pub fn read(core: &mut Core<'_>, number: u32) -> Exec<u64> {
    if let Some(range) = fixed_range(number) {
        return Ok(core.cpu.msrs.mtrr_fixed[range]);
    }
    let msrs = &core.cpu.msrs;
    let value = match number {
        index::TSC => read_tsc(core),
        index::PLATFORM_ID => 0,
        index::APIC_BASE | index::X2APIC..=index::X2APIC_LAST => {
            let at = access(core);
            // The board itself leaves the mark of the read in the landmarks' rolling hash.
            core.sys.platform.apic_msr_read(at, number).ok_or(Exception::gp(0))?
        }
        index::TSC_ADJUST => msrs.tsc_adjust,
        index::BIOS_SIGN_ID => msrs.ucode_rev,
        index::MTRR_CAP => MTRR_CAPABILITIES,
        index::ARCH_CAPABILITIES => ARCH_CAPABILITIES,
        index::SYSENTER_CS => msrs.sysenter_cs,
        index::SYSENTER_ESP => msrs.sysenter_esp,
        index::SYSENTER_EIP => msrs.sysenter_eip,
        index::MCG_CAP => 0,
        index::MCG_STATUS => msrs.mcg_status,
        index::MISC_ENABLE => msrs.misc_enable,
        index::DEBUGCTL => msrs.debugctl,
        index::MTRR_VARIABLE..=0x20f => msrs.mtrr_variable[(number - index::MTRR_VARIABLE) as usize],
        index::PAT => msrs.pat,
        index::MTRR_DEF_TYPE => msrs.mtrr_def_type,
        index::TSC_DEADLINE => {
            let value = tsc_deadline(core);
            core.sys.platform.fold_read(value);
            value
        }
        index::EFER => core.cpu.efer,
        index::STAR => msrs.star,
        index::LSTAR => msrs.lstar,
        index::CSTAR => msrs.cstar,
        index::FMASK => msrs.fmask,
        index::FS_BASE => core.cpu.segments[FS].base,
        index::GS_BASE => core.cpu.segments[GS].base,
        index::KERNEL_GS_BASE => msrs.kernel_gs_base,
        index::TSC_AUX => msrs.tsc_aux,
        _ => return Err(Exception::gp(0)),
    };
    Ok(value)
}

/// Writes an MSR, without privilege check.
///
/// # Errors
/// #GP(0) for an MSR that does not exist or cannot be written, and for a value it cannot hold.
pub fn write(core: &mut Core<'_>, number: u32, value: u64) -> Exec {
    if let Some(range) = fixed_range(number) {
        check(value.to_le_bytes().into_iter().all(is_memory_type))?;
        core.cpu.msrs.mtrr_fixed[range] = value;
        return Ok(());
    }
    match number {
        index::TSC => {
            let adjust = value.wrapping_sub(core.sys.now().0);
            set_tsc_adjust(core, adjust);
        }
        index::TSC_ADJUST => set_tsc_adjust(core, value),
        index::APIC_BASE | index::X2APIC..=index::X2APIC_LAST => {
            let at = access(core);
            core.sys.platform.apic_msr_write(at, number, value).ok_or(Exception::gp(0))?;
            core.recheck();
        }
        index::TSC_DEADLINE => set_tsc_deadline(core, value),
        index::EFER => set_efer(core, value)?,
        index::FS_BASE => core.cpu.segments[FS].base = canonical(value)?,
        index::GS_BASE => core.cpu.segments[GS].base = canonical(value)?,
        _ => write_storage(core.cpu, number, value)?,
    }
    Ok(())
}

/// The MSRs that only store what they are given, if it is legal.
fn write_storage(cpu: &mut Vcpu, number: u32, value: u64) -> Exec {
    let msrs = &mut cpu.msrs;
    let (place, value) = match number {
        index::BIOS_SIGN_ID => (&mut msrs.ucode_rev, value),
        index::SYSENTER_CS => (&mut msrs.sysenter_cs, value & 0xffff_ffff),
        index::SYSENTER_ESP => (&mut msrs.sysenter_esp, canonical(value)?),
        index::SYSENTER_EIP => (&mut msrs.sysenter_eip, canonical(value)?),
        index::MCG_STATUS => {
            check(value & !7 == 0)?;
            (&mut msrs.mcg_status, value)
        }
        index::MISC_ENABLE => {
            check(value & !MISC_ENABLE_KNOWN == 0)?;
            (&mut msrs.misc_enable, value)
        }
        index::DEBUGCTL => {
            check(value & !DEBUGCTL_KNOWN == 0)?;
            (&mut msrs.debugctl, value)
        }
        index::MTRR_VARIABLE..=0x20f => {
            let is_mask = number & 1 != 0;
            let reserved = (!0 << PHYSICAL_BITS) | if is_mask { 0x7ff } else { 0xf00 };
            check(value & reserved == 0 && (is_mask || is_memory_type(value as u8)))?;
            (&mut msrs.mtrr_variable[(number - index::MTRR_VARIABLE) as usize], value)
        }
        index::PAT => {
            check(value.to_le_bytes().into_iter().all(|kind| is_memory_type(kind) || kind == 7))?;
            (&mut msrs.pat, value)
        }
        index::MTRR_DEF_TYPE => {
            check(value & !0xcff == 0 && is_memory_type(value as u8))?;
            (&mut msrs.mtrr_def_type, value)
        }
        index::STAR => (&mut msrs.star, value),
        index::LSTAR => (&mut msrs.lstar, canonical(value)?),
        index::CSTAR => (&mut msrs.cstar, canonical(value)?),
        index::FMASK => {
            check(value >> 32 == 0)?;
            (&mut msrs.fmask, value)
        }
        index::KERNEL_GS_BASE => (&mut msrs.kernel_gs_base, canonical(value)?),
        index::TSC_AUX => {
            check(value >> 32 == 0)?;
            (&mut msrs.tsc_aux, value)
        }
        _ => return Err(Exception::gp(0)),
    };
    *place = value;
    Ok(())
}

fn check(legal: bool) -> Exec {
    if legal { Ok(()) } else { Err(Exception::gp(0)) }
}

fn canonical(value: u64) -> Exec<u64> {
    check(Vcpu::is_canonical(value)).map(|()| value)
}

/// UC, WC, WT, WP and WB.
fn is_memory_type(kind: u8) -> bool {
    matches!(kind, 0 | 1 | 4 | 5 | 6)
}

/// The armed deadline as a TSC value; 0 when none is armed.
fn tsc_deadline(core: &Core<'_>) -> u64 {
    core.sys
        .platform
        .tsc_deadline(core.cpu.id)
        .map_or(0, |deadline| deadline.0.wrapping_add(core.cpu.msrs.tsc_adjust))
}

/// Arms the timer for a TSC value; one that has passed fires at once, 0 disarms.
fn set_tsc_deadline(core: &mut Core<'_>, value: u64) {
    let time = i128::from(value) - i128::from(core.cpu.msrs.tsc_adjust as i64);
    let deadline = (value != 0).then(|| VirtualTime(time.clamp(0, i128::from(u64::MAX)) as u64));
    core.sys.platform.set_tsc_deadline(core.cpu.id, deadline);
    core.recheck();
}

/// Moves the TSC; an armed deadline stays the same TSC value.
fn set_tsc_adjust(core: &mut Core<'_>, adjust: u64) {
    let armed = tsc_deadline(core);
    core.cpu.msrs.tsc_adjust = adjust;
    if armed != 0 {
        set_tsc_deadline(core, armed);
    }
}

/// What firmware leaves in the MTRRs of every processor: write-back memory, but VGA memory and the PCI hole
/// uncached. Kernels that find MTRRs disabled do without PAT as well.
pub fn set_firmware_mtrrs(cpu: &mut Vcpu) {
    const WRITE_BACK: u64 = 0x0606_0606_0606_0606;
    cpu.msrs.mtrr_fixed = [WRITE_BACK; 11];
    // The second 16 KiB register is 0xa0000 to 0xbffff.
    cpu.msrs.mtrr_fixed[2] = 0;
    let hole = crate::platform::layout::PCI_HOLE;
    cpu.msrs.mtrr_variable[0] = hole;
    cpu.msrs.mtrr_variable[1] = !((1 << 32) - hole - 1) & ((1 << PHYSICAL_BITS) - 1) | 1 << 11;
    cpu.msrs.mtrr_def_type = 0xc06;
}
