//! Comparing and classifying (SDM vol. 1 8.3.6).

use super::hostfp::{self, Comparison, Source};
use super::stack::{F80, SIGN, status};
use super::transfer::{memory_source, register_operand};
use crate::cpu::core::Core;
use crate::cpu::exception::Exec;
use crate::cpu::state::{X87, rflags};
use Comparison::{Ordered, Unordered};
use iced_x86::{Code, Instruction, OpKind};

const UNORDERED: u16 = status::C3 | status::C2 | status::C0;

/// Executes an instruction of this group; `None` if it belongs to another.
pub fn execute(core: &mut Core<'_>, instruction: &Instruction) -> Option<Exec> {
    let index = register_operand(instruction);
    match instruction.code() {
        Code::Ftst => test(&mut core.cpu.x87),
        Code::Fxam => examine(&mut core.cpu.x87),
        Code::Fcomi_st0_sti => compare_to_flags(core, index, Ordered, false),
        Code::Fcomip_st0_sti => compare_to_flags(core, index, Ordered, true),
        Code::Fucomi_st0_sti => compare_to_flags(core, index, Unordered, false),
        Code::Fucomip_st0_sti => compare_to_flags(core, index, Unordered, true),
        code => {
            let (comparison, pops) = kind(code)?;
            return Some(compare(core, instruction, comparison, pops));
        }
    }
    Some(Ok(()))
}

/// How an instruction compares, and how often it pops.
fn kind(code: Code) -> Option<(Comparison, usize)> {
    Some(match code {
        Code::Fcom_m32fp
        | Code::Fcom_m64fp
        | Code::Ficom_m16int
        | Code::Ficom_m32int
        | Code::Fcom_st0_sti
        | Code::Fcom_st0_sti_DCD0 => (Ordered, 0),
        Code::Fcomp_m32fp
        | Code::Fcomp_m64fp
        | Code::Ficomp_m16int
        | Code::Ficomp_m32int
        | Code::Fcomp_st0_sti
        | Code::Fcomp_st0_sti_DCD8
        | Code::Fcomp_st0_sti_DED0 => (Ordered, 1),
        Code::Fcompp => (Ordered, 2),
        Code::Fucom_st0_sti => (Unordered, 0),
        Code::Fucomp_st0_sti => (Unordered, 1),
        Code::Fucompp => (Unordered, 2),
        _ => return None,
    })
}

fn compare(core: &mut Core<'_>, instruction: &Instruction, comparison: Comparison, pops: usize) -> Exec {
    let in_memory = instruction.op_count() > 0 && instruction.op0_kind() == OpKind::Memory;
    let memory = if in_memory { Some(memory_source(core, instruction)?) } else { None };
    // FCOMPP and FUCOMPP have no explicit operands: they compare with ST(1).
    let index = if pops == 2 { 1 } else { register_operand(instruction) };
    let fpu = &mut core.cpu.x87;
    let goes_on = if fpu.is_empty(0) || fpu.is_empty(index) {
        let masked = fpu.underflow();
        fpu.set_conditions(UNORDERED);
        masked
    } else {
        let right = memory.unwrap_or(Source::Extended(fpu.st(index)));
        let result = hostfp::compare(comparison, fpu.st(0), right);
        fpu.set_conditions(result & UNORDERED);
        fpu.raise_in_order(result)
    };
    if goes_on {
        (0..pops).for_each(|_| fpu.pop());
    }
    Ok(())
}

fn test(fpu: &mut X87) {
    if fpu.is_empty(0) {
        fpu.underflow();
        fpu.set_conditions(UNORDERED);
        return;
    }
    let result = hostfp::compare(Ordered, fpu.st(0), Source::Extended(0));
    fpu.set_conditions(result & UNORDERED);
    fpu.raise_in_order(result);
}

/// FCOMI and its relatives: the result goes to ZF, PF and CF; OF, SF and AF are cleared.
fn compare_to_flags(core: &mut Core<'_>, index: usize, comparison: Comparison, pop: bool) {
    let fpu = &mut core.cpu.x87;
    // Alone among the comparisons, this one leaves C0, C2 and C3 alone.
    let conditions = fpu.status & UNORDERED;
    let (goes_on, result) = if fpu.is_empty(0) || fpu.is_empty(index) {
        (fpu.underflow(), UNORDERED)
    } else {
        let result = hostfp::compare(comparison, fpu.st(0), Source::Extended(fpu.st(index)));
        (fpu.raise_in_order(result), result)
    };
    fpu.set_conditions(conditions);
    if goes_on && pop {
        fpu.pop();
    }
    let mut flags = 0;
    for (condition, flag) in [(status::C0, rflags::CF), (status::C2, rflags::PF), (status::C3, rflags::ZF)] {
        flags |= if result & condition != 0 { flag } else { 0 };
    }
    core.cpu.set_status(flags);
}

/// FXAM: the class of ST(0), even of an empty one, and its sign in C1.
fn examine(fpu: &mut X87) {
    let value = fpu.st(0);
    let sign = if value & SIGN != 0 { status::C1 } else { 0 };
    let class = if fpu.is_empty(0) { status::C3 | status::C0 } else { class(value) };
    fpu.set_conditions(class | sign);
}

/// C3, C2 and C0 as FXAM sets them for a value.
fn class(value: F80) -> u16 {
    let (field, significand) = (value >> 64 & 0x7fff, value as u64);
    let integer_bit = significand >> 63 != 0;
    match (field, integer_bit) {
        (0, _) if significand == 0 => status::C3,
        (0, _) => status::C3 | status::C2,
        (_, false) => 0,
        (0x7fff, true) if significand << 1 == 0 => status::C2 | status::C0,
        (0x7fff, true) => status::C0,
        _ => status::C2,
    }
}
