//! MMX, SSE to SSE4.2, AES-NI and PCLMULQDQ (SDM vol. 1 ch. 9 to 12, vol. 2).
//!
//! An instruction is looked up once in [`table`], which gives an [`Operation`]: most are a pure function of
//! their operands' bits, and one frame here reads the operands, checks the rights to them, and commits. MMX
//! and SSE forms of one operation are one function that is told the [`Width`].
//!
//! Integer operations, AES, carry-less multiplication, string comparison and the reciprocal approximations
//! are written out in Rust. IEEE arithmetic runs on the host's SSE unit under the guest's MXCSR
//! ([`hostfp`]): those results and flags are the same on every x86-64 processor. What is not, follows one
//! rule of ours: see [`reciprocal`], and [`float`] for DPPS and DPPD.
//!
//! Left out on purpose: everything with a VEX or EVEX prefix, SHA, SSE4a and 3DNow! (not exposed by CPUID,
//! so #UD); CRC32 and POPCNT (integer instructions); FXSAVE, FXRSTOR and the x87.

mod arithmetic;
mod convert;
mod crypto;
mod float;
#[expect(unsafe_code, reason = "IEEE arithmetic runs on the host's SSE unit under the guest's MXCSR")]
mod hostfp;
mod lanes;
mod moves;
mod operand;
mod rearrange;
mod reciprocal;
mod strings;
mod table;

#[cfg(test)]
mod tests;

use super::core::Core;
use super::exception::{Exception, Exec};
use super::state::{cr0, cr4};
use iced_x86::{Instruction, Mnemonic, OpKind};

/// Which registers an operation works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Width {
    /// 8 bytes: MM0 to MM7. Operands come zero-extended, and of the result only the low half is used.
    Mmx,
    /// 16 bytes: XMM0 to XMM15.
    Sse,
}

/// What an instruction does, as [`table::lookup`] finds it.
#[derive(Clone, Copy, Debug)]
enum Operation {
    /// Destination = f(destination, source).
    Packed(fn(u128, u128, Width) -> u128),
    /// Destination = f(destination, source, immediate).
    PackedImmediate(fn(u128, u128, u8, Width) -> u128),
    /// Destination = f(destination, source) in floating point, with exceptions.
    Float(float::Arithmetic),
    /// Anything that does not fit the frames above.
    Special(fn(&mut Core<'_>, &Instruction) -> Exec),
}

/// x87 status word: an unmasked exception is pending.
const STATUS_ERROR: u16 = 1 << 7;
/// x87 status word: TOP.
const STATUS_TOP: u16 = 7 << 11;

/// Executes an instruction of this family; `None` if it belongs to another.
pub fn execute(core: &mut Core<'_>, instruction: &Instruction) -> Option<Exec> {
    let operation = table::lookup(instruction)?;
    Some(run(core, instruction, operation))
}

fn run(core: &mut Core<'_>, instruction: &Instruction, operation: Operation) -> Exec {
    let unit = Unit::of(instruction);
    unit.check(core)?;
    match operation {
        Operation::Packed(compute) => {
            let a = core.vector(instruction, 0)?;
            let b = core.vector(instruction, 1)?;
            core.set_vector(instruction, 0, compute(a, b, unit.width()))?;
        }
        Operation::PackedImmediate(compute) => {
            let a = core.vector(instruction, 0)?;
            let b = core.vector(instruction, 1)?;
            let result = compute(a, b, instruction.immediate8(), unit.width());
            core.set_vector(instruction, 0, result)?;
        }
        Operation::Float(arithmetic) => arithmetic.run(core, instruction)?,
        Operation::Special(execute) => execute(core, instruction)?,
    }
    if unit.mmx {
        enter_mmx(core);
    }
    Ok(())
}

/// What every MMX instruction but EMMS does to the x87: TOP = 0, all registers valid (SDM vol. 1 9.5.2).
fn enter_mmx(core: &mut Core<'_>) {
    core.cpu.x87.status &= !STATUS_TOP;
    core.cpu.x87.valid = 0xff;
}

/// Which register files an instruction uses; they decide what can make it unavailable. CVTPI2PS with a memory
/// operand uses no MMX register: against the SDM's words, processors then leave the x87 alone.
#[derive(Clone, Copy, Debug)]
struct Unit {
    mmx: bool,
    sse: bool,
}

impl Unit {
    fn of(instruction: &Instruction) -> Unit {
        let mut unit = Unit { mmx: false, sse: false };
        for operand in 0..instruction.op_count() {
            if instruction.op_kind(operand) == OpKind::Register {
                let register = instruction.op_register(operand);
                unit.mmx |= register.is_mm();
                unit.sse |= register.is_xmm();
            }
        }
        unit.sse |= matches!(instruction.mnemonic(), Mnemonic::Ldmxcsr | Mnemonic::Stmxcsr);
        unit
    }

    fn width(self) -> Width {
        if self.sse { Width::Sse } else { Width::Mmx }
    }

    /// SDM vol. 3 table 14-1 and vol. 2 2.4 to 2.5: the control register bits, then a pending x87 exception.
    fn check(self, core: &Core<'_>) -> Exec {
        let cpu = &*core.cpu;
        // EMMS names no register and checks for itself; MOVNTI is an integer store and needs nothing.
        if !self.mmx && !self.sse {
            return Ok(());
        }
        if cpu.cr0 & cr0::EM != 0 || self.sse && cpu.cr4 & cr4::OSFXSR == 0 {
            return Err(Exception::UD);
        }
        if cpu.cr0 & cr0::TS != 0 {
            return Err(Exception::NM);
        }
        if self.mmx && cpu.x87.status & STATUS_ERROR != 0 {
            return Err(Exception::MF);
        }
        Ok(())
    }
}

/// EMMS: the x87 is empty again.
fn emms(core: &mut Core<'_>, _: &Instruction) -> Exec {
    Unit { mmx: true, sse: false }.check(core)?;
    core.cpu.x87.status &= !STATUS_TOP;
    core.cpu.x87.valid = 0;
    Ok(())
}
