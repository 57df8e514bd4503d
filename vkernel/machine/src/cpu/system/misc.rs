//! Halting, the interrupt flag, software interrupts, time and random numbers (SDM vol. 2, the respective
//! pages).
//!
//! The random numbers of RDRAND and RDSEED are a keyed function of (seed, vCPU, how many it has had), so
//! that a replay gets the same ones and the seed alone changes them. They never run out: CF is always 1.

use super::escalate::software_interrupt;
use super::interrupt::Source;
use super::{privileged, read_tsc};
use crate::cpu::core::Core;
use crate::cpu::exception::{Exception, Exec};
use crate::cpu::state::{Activity, Mode, RAX, RCX, RDX, Shadow, cr4, rflags};
use iced_x86::{Instruction, Mnemonic};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Executes the instructions of this file; `None` for others.
pub(super) fn execute(core: &mut Core<'_>, instruction: &Instruction) -> Option<Exec> {
    let result = match instruction.mnemonic() {
        Mnemonic::Hlt => halt(core),
        Mnemonic::Cli => check_iopl(core).map(|()| core.cpu.set_flag(rflags::IF, false)),
        Mnemonic::Sti => enable_interrupts(core),
        Mnemonic::Int => interrupt(core, instruction.immediate8()),
        Mnemonic::Int3 => software_interrupt(core, 3, Source::Software),
        Mnemonic::Int1 => software_interrupt(core, 1, Source::Trap),
        Mnemonic::Into if core.cpu.flag(rflags::OF) => software_interrupt(core, 4, Source::Software),
        Mnemonic::Into => Ok(()),
        Mnemonic::Rdtsc => time_stamp(core),
        Mnemonic::Rdtscp => time_stamp(core).map(|()| core.cpu.gpr[RCX] = core.cpu.msrs.tsc_aux),
        // There is no performance counter that ECX could name.
        Mnemonic::Rdpmc => Err(Exception::gp(0)),
        Mnemonic::Rdrand | Mnemonic::Rdseed => {
            let value = random(core);
            core.set_gpr(instruction.op0_register(), value);
            core.cpu.set_status(rflags::CF);
            Ok(())
        }
        _ => return None,
    };
    Some(result)
}

fn halt(core: &mut Core<'_>) -> Exec {
    privileged(core)?;
    core.cpu.activity = Activity::Halted;
    core.sys.leave.stopped = true;
    core.sys.charge(core.sys.power_on.rules.hlt_ns);
    Ok(())
}

/// CLI and STI need IOPL; the virtual interrupt flag (VME, PVI) is not exposed.
fn check_iopl(core: &Core<'_>) -> Exec {
    let iopl = core.cpu.rflags >> 12 & 3;
    let allowed = core.cpu.mode == Mode::Real || u64::from(core.cpu.cpl) <= iopl;
    if allowed { Ok(()) } else { Err(Exception::gp(0)) }
}

fn enable_interrupts(core: &mut Core<'_>) -> Exec {
    check_iopl(core)?;
    if !core.cpu.flag(rflags::IF) {
        core.cpu.set_flag(rflags::IF, true);
        core.cpu.shadow = Shadow::Sti;
        core.recheck();
    }
    Ok(())
}

fn interrupt(core: &mut Core<'_>, vector: u8) -> Exec {
    if core.cpu.mode == Mode::Virtual8086 && core.cpu.rflags & rflags::IOPL != rflags::IOPL {
        return Err(Exception::gp(0));
    }
    software_interrupt(core, vector, Source::Software)
}

fn time_stamp(core: &mut Core<'_>) -> Exec {
    if core.cpu.cr4 & cr4::TSD != 0 {
        privileged(core)?;
    }
    let value = read_tsc(core);
    core.cpu.gpr[RAX] = value & 0xffff_ffff;
    core.cpu.gpr[RDX] = value >> 32;
    Ok(())
}

fn random(core: &mut Core<'_>) -> u64 {
    let mut key = [0; 9];
    key[0] = core.cpu.id;
    key[1..].copy_from_slice(&core.cpu.random_ordinal.to_le_bytes());
    core.cpu.random_ordinal = core.cpu.random_ordinal.wrapping_add(1);
    xxh3_64_with_seed(&key, core.sys.power_on.seed)
}
