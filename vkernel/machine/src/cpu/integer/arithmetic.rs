//! Binary arithmetic, logic and the flag instructions (SDM vol. 1 7.3.2, 7.3.4, 7.3.15), without products.

use crate::cpu::core::Core;
use crate::cpu::exception::Exec;
use crate::cpu::flags;
use crate::cpu::operand::truncate;
use crate::cpu::state::rflags;
use iced_x86::{Instruction, Mnemonic};

pub(super) fn execute(core: &mut Core<'_>, instruction: &Instruction) -> Option<Exec> {
    use Mnemonic as M;
    Some(match instruction.mnemonic() {
        M::Add | M::Adc | M::Sub | M::Sbb | M::And | M::Or | M::Xor => binary(core, instruction),
        M::Cmp | M::Test => compare(core, instruction),
        M::Inc | M::Dec => step(core, instruction),
        M::Neg => negate(core, instruction),
        M::Not => complement(core, instruction),
        M::Clc => set_flag(core, rflags::CF, false),
        M::Stc => set_flag(core, rflags::CF, true),
        M::Cmc => set_flag(core, rflags::CF, !core.cpu.flag(rflags::CF)),
        M::Cld => set_flag(core, rflags::DF, false),
        M::Std => set_flag(core, rflags::DF, true),
        _ => return None,
    })
}

/// Result and status flags of a two-operand instruction.
fn compute(mnemonic: Mnemonic, left: u64, right: u64, carry: bool, size: usize) -> (u64, u64) {
    let logic = |result| (truncate(result, size), flags::logic(result, size));
    match mnemonic {
        Mnemonic::Add => flags::add(left, right, false, size),
        Mnemonic::Adc => flags::add(left, right, carry, size),
        Mnemonic::Sbb => flags::sub(left, right, carry, size),
        Mnemonic::And | Mnemonic::Test => logic(left & right),
        Mnemonic::Or => logic(left | right),
        Mnemonic::Xor => logic(left ^ right),
        _ => flags::sub(left, right, false, size),
    }
}

fn binary(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let size = core.operand_size(instruction, 0);
    let place = core.place(instruction, 0)?;
    let right = core.read_operand(instruction, 1)?;
    let left = core.read_place(place);
    let (result, status) = compute(instruction.mnemonic(), left, right, core.cpu.flag(rflags::CF), size);
    core.write_place(place, result);
    core.cpu.set_status(status);
    Ok(())
}

fn compare(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let size = core.operand_size(instruction, 0);
    let left = core.read_operand(instruction, 0)?;
    let right = core.read_operand(instruction, 1)?;
    let (_, status) = compute(instruction.mnemonic(), left, right, false, size);
    core.cpu.set_status(status);
    Ok(())
}

/// INC and DEC, which leave CF alone.
fn step(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let size = core.operand_size(instruction, 0);
    let place = core.place(instruction, 0)?;
    let value = core.read_place(place);
    let (result, status) = if instruction.mnemonic() == Mnemonic::Inc {
        flags::add(value, 1, false, size)
    } else {
        flags::sub(value, 1, false, size)
    };
    core.write_place(place, result);
    core.cpu.set_status_masked(rflags::STATUS & !rflags::CF, status);
    Ok(())
}

fn negate(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let size = core.operand_size(instruction, 0);
    let place = core.place(instruction, 0)?;
    let value = core.read_place(place);
    let (result, status) = flags::sub(0, value, false, size);
    core.write_place(place, result);
    core.cpu.set_status(status);
    Ok(())
}

fn complement(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let place = core.place(instruction, 0)?;
    let value = core.read_place(place);
    core.write_place(place, !value);
    Ok(())
}

fn set_flag(core: &mut Core<'_>, mask: u64, value: bool) -> Exec {
    core.cpu.set_flag(mask, value);
    Ok(())
}
