//! Conversions between floating point and integers in general and MMX registers (SDM vol. 1 10.4.4, 11.4).
//!
//! Those within XMM registers are plain [`super::float::Arithmetic`]; those with MMX are the forms of SSE2
//! on a vector whose upper lanes are zero, which convert without raising anything.

use super::float::{Compute, raise};
use super::hostfp;
use crate::cpu::core::Core;
use crate::cpu::exception::Exec;
use iced_x86::Instruction;

type FromInteger = fn(u128, u64, u32) -> (u128, u32);
type ToInteger = fn(u128, u32) -> (u64, u32);

/// CVTSI2SS, CVTSI2SD, with the operation for each size of the integer.
fn from_integer(
    core: &mut Core<'_>,
    instruction: &Instruction,
    dword: FromInteger,
    qword: FromInteger,
) -> Exec {
    let a = core.vector(instruction, 0)?;
    let integer = core.vector(instruction, 1)? as u64;
    let operation = if core.operand_size(instruction, 1) == 8 { qword } else { dword };
    let (result, raised) = operation(a, integer, core.cpu.mxcsr);
    raise(core, raised)?;
    core.set_vector(instruction, 0, result)
}

pub fn cvtsi2ss(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    from_integer(core, instruction, hostfp::cvtsi2ss_dword, hostfp::cvtsi2ss_qword)
}

pub fn cvtsi2sd(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    from_integer(core, instruction, hostfp::cvtsi2sd_dword, hostfp::cvtsi2sd_qword)
}

/// CVT(T)SS2SI, CVT(T)SD2SI, with the operation for each size of the integer.
fn to_integer(core: &mut Core<'_>, instruction: &Instruction, dword: ToInteger, qword: ToInteger) -> Exec {
    let b = core.vector(instruction, 1)?;
    let operation = if core.operand_size(instruction, 0) == 8 { qword } else { dword };
    let (integer, raised) = operation(b, core.cpu.mxcsr);
    raise(core, raised)?;
    core.set_vector(instruction, 0, u128::from(integer))
}

pub fn cvtss2si(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    to_integer(core, instruction, hostfp::cvtss2si_dword, hostfp::cvtss2si_qword)
}

pub fn cvttss2si(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    to_integer(core, instruction, hostfp::cvttss2si_dword, hostfp::cvttss2si_qword)
}

pub fn cvtsd2si(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    to_integer(core, instruction, hostfp::cvtsd2si_dword, hostfp::cvtsd2si_qword)
}

pub fn cvttsd2si(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    to_integer(core, instruction, hostfp::cvttsd2si_dword, hostfp::cvttsd2si_qword)
}

/// CVTPI2PS: two integers to the low half; the high half stays.
pub fn cvtpi2ps(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let integers = core.vector(instruction, 1)?;
    let (singles, raised) = hostfp::cvtdq2ps(0, integers, core.cpu.mxcsr);
    raise(core, raised)?;
    let kept = core.vector(instruction, 0)? >> 64 << 64;
    core.set_vector(instruction, 0, kept | singles)
}

/// CVTPI2PD: exact, so nothing is raised.
pub fn cvtpi2pd(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let integers = core.vector(instruction, 1)?;
    let (doubles, _) = hostfp::cvtdq2pd(0, integers, core.cpu.mxcsr);
    core.set_vector(instruction, 0, doubles)
}

/// Conversions to two doublewords in an MMX register; of the source only `source_mask` counts.
fn to_mmx(core: &mut Core<'_>, instruction: &Instruction, operation: Compute, source_mask: u128) -> Exec {
    let source = core.vector(instruction, 1)? & source_mask;
    let (integers, raised) = operation(0, source, core.cpu.mxcsr);
    raise(core, raised)?;
    core.set_vector(instruction, 0, integers)
}

pub fn cvtps2pi(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    to_mmx(core, instruction, hostfp::cvtps2dq, u128::from(u64::MAX))
}

pub fn cvttps2pi(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    to_mmx(core, instruction, hostfp::cvttps2dq, u128::from(u64::MAX))
}

pub fn cvtpd2pi(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    to_mmx(core, instruction, hostfp::cvtpd2dq, u128::MAX)
}

pub fn cvttpd2pi(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    to_mmx(core, instruction, hostfp::cvttpd2dq, u128::MAX)
}
