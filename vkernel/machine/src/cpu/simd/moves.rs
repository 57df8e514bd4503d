//! Moves between vector registers, general registers and memory, and MXCSR (SDM vol. 1 10.4, 11.4).

use super::lanes::*;
use crate::cpu::core::Core;
use crate::cpu::exception::{Exception, Exec};
use crate::cpu::mmu::Intent;
use crate::cpu::operand::operand_segment;
use crate::cpu::state::{RDI, Vcpu};
use iced_x86::{Instruction, OpKind, Register};

/// Bits of MXCSR that exist; FXSAVE reports them as MXCSR_MASK.
const MXCSR_MASK: u32 = 0xffff;

const LOW_DWORD: u128 = 0xffff_ffff;
const LOW_QWORD: u128 = 0xffff_ffff_ffff_ffff;

/// A whole register to or from memory or another register, and MOVNTI: the hint has no meaning here.
pub fn whole(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let value = core.vector(instruction, 1)?;
    core.set_vector(instruction, 0, value)
}

/// MOVD, MOVQ, MOVQ2DQ, MOVDQ2Q: the low part, zero-extended whatever the destination is.
pub fn low_quadword(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let value = core.vector(instruction, 1)?;
    core.set_vector(instruction, 0, value & LOW_QWORD)
}

/// See [`low_quadword`].
pub fn low_doubleword(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let value = core.vector(instruction, 1)?;
    core.set_vector(instruction, 0, value & LOW_DWORD)
}

fn is_memory(instruction: &Instruction, operand: u32) -> bool {
    instruction.op_kind(operand) == OpKind::Memory
}

/// MOVSS, MOVSD: a load zero-extends, a move between registers keeps the rest.
fn scalar(core: &mut Core<'_>, instruction: &Instruction, mask: u128) -> Exec {
    let mut value = core.vector(instruction, 1)? & mask;
    if !is_memory(instruction, 0) && !is_memory(instruction, 1) {
        value |= core.vector(instruction, 0)? & !mask;
    }
    core.set_vector(instruction, 0, value)
}

pub fn movss(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    scalar(core, instruction, LOW_DWORD)
}

pub fn movsd(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    scalar(core, instruction, LOW_QWORD)
}

/// MOVLPS, MOVLPD, and MOVHLPS, which takes the high half of its source.
pub fn low_half(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let mut value = core.vector(instruction, 1)?;
    if is_memory(instruction, 0) {
        return core.set_vector(instruction, 0, value & LOW_QWORD);
    }
    if !is_memory(instruction, 1) {
        value >>= 64;
    }
    let kept = core.vector(instruction, 0)? & !LOW_QWORD;
    core.set_vector(instruction, 0, kept | value)
}

/// MOVHPS, MOVHPD, and MOVLHPS, which takes the low half of its source.
pub fn high_half(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let value = core.vector(instruction, 1)?;
    if is_memory(instruction, 0) {
        return core.set_vector(instruction, 0, value >> 64);
    }
    let kept = core.vector(instruction, 0)? & LOW_QWORD;
    core.set_vector(instruction, 0, kept | value << 64)
}

/// Number of lanes of `lane_bytes` in the vector register that is operand `operand`.
fn lane_count(instruction: &Instruction, operand: u32, lane_bytes: usize) -> usize {
    let bytes = if instruction.op_register(operand).is_mm() { 8 } else { 16 };
    bytes / lane_bytes
}

/// PMOVMSKB. String functions live on it, so the bits are gathered by a multiplication for each half: every
/// sign, alone in its byte, is shifted to its place in the top byte, and nothing else gets there.
pub fn pmovmskb(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let value = core.vector(instruction, 1)?;
    let gather = |half: u64| (half >> 7 & 0x0101_0101_0101_0101).wrapping_mul(0x0102_0408_1020_4080) >> 56;
    let mask = gather(value as u64) | gather((value >> 64) as u64) << 8;
    core.set_vector(instruction, 0, u128::from(mask))
}

/// MOVMSKPS, MOVMSKPD: the signs of the lanes.
fn signs(core: &mut Core<'_>, instruction: &Instruction, lane_bytes: usize) -> Exec {
    let value = core.vector(instruction, 1)?;
    let bits = 8 * lane_bytes;
    let mask = (0..lane_count(instruction, 1, lane_bytes))
        .fold(0, |mask, lane| mask | (value >> (bits * lane + bits - 1) & 1) << lane);
    core.set_vector(instruction, 0, mask)
}

pub fn movmskps(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    signs(core, instruction, 4)
}

pub fn movmskpd(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    signs(core, instruction, 8)
}

/// The lane that the immediate, the last operand, selects, as a shift in bits.
fn selected(instruction: &Instruction, vector_operand: u32, lane_bytes: usize) -> usize {
    let lanes = lane_count(instruction, vector_operand, lane_bytes);
    8 * lane_bytes * (usize::from(instruction.immediate8()) & (lanes - 1))
}

/// PEXTRB, PEXTRW, PEXTRD, PEXTRQ, EXTRACTPS.
fn extract(core: &mut Core<'_>, instruction: &Instruction, lane_bytes: usize) -> Exec {
    let value = core.vector(instruction, 1)? >> selected(instruction, 1, lane_bytes);
    core.set_vector(instruction, 0, value & (u128::MAX >> (128 - 8 * lane_bytes)))
}

/// PINSRB, PINSRW, PINSRD, PINSRQ.
fn insert(core: &mut Core<'_>, instruction: &Instruction, lane_bytes: usize) -> Exec {
    let shift = selected(instruction, 0, lane_bytes);
    let mask = u128::MAX >> (128 - 8 * lane_bytes);
    let value = core.vector(instruction, 1)? & mask;
    let kept = core.vector(instruction, 0)? & !(mask << shift);
    core.set_vector(instruction, 0, kept | value << shift)
}

pub fn pextrb(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    extract(core, instruction, 1)
}

pub fn pextrw(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    extract(core, instruction, 2)
}

pub fn pextrd(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    extract(core, instruction, 4)
}

pub fn pextrq(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    extract(core, instruction, 8)
}

pub fn pinsrb(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    insert(core, instruction, 1)
}

pub fn pinsrw(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    insert(core, instruction, 2)
}

pub fn pinsrd(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    insert(core, instruction, 4)
}

pub fn pinsrq(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    insert(core, instruction, 8)
}

/// MASKMOVDQU, MASKMOVQ: the bytes of operand 1 whose mask byte (operand 2) is negative go to [rDI]. The
/// whole operand must be writable, also where nothing is written: so an all-zero mask can fault, which the
/// SDM leaves to the implementation.
pub fn masked(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let bytes = split_u8(core.vector(instruction, 1)?);
    let mask = split_i8(core.vector(instruction, 2)?);
    let length = lane_count(instruction, 1, 1);
    let rdi = core.cpu.gpr[RDI];
    let offset = match instruction.op_kind(0) {
        OpKind::MemorySegDI => rdi & 0xffff,
        OpKind::MemorySegEDI => rdi & 0xffff_ffff,
        _ => rdi,
    };
    let segment = operand_segment(instruction);
    core.locate(segment, offset, length, Intent::Write)?;
    for (index, byte) in bytes.iter().enumerate().take(length) {
        if mask[index] < 0 {
            core.store(segment, offset.wrapping_add(index as u64), &[*byte])?;
        }
    }
    Ok(())
}

/// LDMXCSR: #GP(0) for bits that do not exist.
pub fn ldmxcsr(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let value = core.vector(instruction, 0)? as u32;
    if value & !MXCSR_MASK != 0 {
        return Err(Exception::gp(0));
    }
    core.cpu.mxcsr = value;
    Ok(())
}

pub fn stmxcsr(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let value = u128::from(core.cpu.mxcsr);
    core.set_vector(instruction, 0, value)
}

/// PTEST: ZF and CF of the two conjunctions, the other status flags 0.
pub fn ptest(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    use crate::cpu::state::rflags;
    let a = core.vector(instruction, 0)?;
    let b = core.vector(instruction, 1)?;
    set_status(core.cpu, &[(rflags::ZF, a & b == 0), (rflags::CF, !a & b == 0)]);
    Ok(())
}

/// Sets all six status flags: those listed to their values, the others to 0.
pub fn set_status(cpu: &mut Vcpu, flags: &[(u64, bool)]) {
    let set = flags.iter().filter(|(_, value)| *value).fold(0, |set, (flag, _)| set | flag);
    cpu.rflags = cpu.rflags & !crate::cpu::state::rflags::STATUS | set;
}

/// Writes ECX, the index result of string comparison.
pub fn set_ecx(core: &mut Core<'_>, value: u32) {
    core.set_gpr(Register::ECX, u64::from(value));
}
