//! The x87 unit, and FXSAVE and FXRSTOR (SDM vol. 1 ch. 8 and 10.5, vol. 2).
//!
//! Exact operations run on the host's unit ([`hostfp`]); transcendental ones, which vendors round
//! differently, are computed here. The register stack, the tags, the response to exceptions and their
//! reporting are ours, so that nothing the SDM leaves open depends on the host.
//!
//! What the SDM leaves open is settled so:
//!
//! | open | here |
//! |---|---|
//! | condition codes called undefined after a computing instruction | 0 |
//! | condition codes called undefined after FNOP, WAIT, and loads and stores of control, status and environment | unchanged |
//! | FIP, FCS, FDP, FDS, FOP | 0 in every image |
//! | reserved halves of 32-bit environment fields | all ones |
//! | reduction by one FPREM with exponents 64 or more apart | 32 plus the difference modulo 32 |
//! | FBLD of digits above 9 | each counts for what it is |
//! | F2XM1 beyond -1 to 1, FYL2XP1 of -1 and below | the operand, inexact |
//! | precision control 01 | extended precision |
//! | MXCSR and XMM in FXSAVE when CR4.OSFXSR is clear | included |
//!
//! Left out: the external error reporting of CR0.NE = 0 (FERR#, IRQ 13, IGNNE#). A pending unmasked
//! exception raises #MF at the next waiting instruction whatever CR0.NE is; every 64-bit kernel sets NE.

mod area;
mod arithmetic;
mod compare;
mod control;
mod functions;
mod fxsave;
#[expect(unsafe_code, reason = "the host's x87 unit is reached by inline assembly only")]
mod hostfp;
mod round;
mod stack;
#[cfg(test)]
mod tests;
mod transcendental;
mod transfer;
mod wide;

use super::core::Core;
use super::exception::{Exception, Exec};
use super::state::cr0;
use iced_x86::{Code, Instruction};

/// Executes an instruction of this family; `None` if it belongs to another.
pub fn execute(core: &mut Core<'_>, instruction: &Instruction) -> Option<Exec> {
    let code = instruction.code();
    if code == Code::Wait {
        return Some(wait(core));
    }
    if !(Code::Fadd_m32fp..=Code::Fcomip_st0_sti).contains(&code) {
        return fxsave::execute(core, instruction);
    }
    Some(execute_x87(core, instruction))
}

/// WAIT, which is also the first byte of the waiting forms FINIT, FSTCW and so on.
fn wait(core: &mut Core<'_>) -> Exec {
    if core.cpu.cr0 & (cr0::MP | cr0::TS) == cr0::MP | cr0::TS {
        return Err(Exception::NM);
    }
    check_pending(core)
}

fn check_pending(core: &Core<'_>) -> Exec {
    if core.cpu.x87.is_pending() { Err(Exception::MF) } else { Ok(()) }
}

fn execute_x87(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    if core.cpu.cr0 & (cr0::EM | cr0::TS) != 0 {
        return Err(Exception::NM);
    }
    if let Some(done) = control::execute_unwaiting(core, instruction) {
        return done;
    }
    check_pending(core)?;
    transfer::execute(core, instruction)
        .or_else(|| arithmetic::execute(core, instruction))
        .or_else(|| compare::execute(core, instruction))
        .or_else(|| control::execute(core, instruction))
        .or_else(|| transcendental::execute(core, instruction))
        .unwrap_or(Err(Exception::UD))
}
