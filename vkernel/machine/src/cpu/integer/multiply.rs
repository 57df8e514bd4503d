//! Products and quotients (SDM vol. 1 7.3.2.4): MUL, IMUL, DIV, IDIV.
//!
//! After a product only CF and OF are defined, after a quotient no flag is; the others are 0.

use crate::cpu::core::Core;
use crate::cpu::exception::{Exception, Exec};
use crate::cpu::flags::signed;
use crate::cpu::operand::truncate;
use crate::cpu::state::{RAX, RDX, rflags};
use iced_x86::{Instruction, Mnemonic};

pub(super) fn execute(core: &mut Core<'_>, instruction: &Instruction) -> Option<Exec> {
    Some(match instruction.mnemonic() {
        Mnemonic::Mul => multiply_accumulator(core, instruction, false),
        Mnemonic::Imul if instruction.op_count() == 1 => multiply_accumulator(core, instruction, true),
        Mnemonic::Imul => multiply_into_register(core, instruction),
        Mnemonic::Div => divide(core, instruction, false),
        Mnemonic::Idiv => divide(core, instruction, true),
        _ => return None,
    })
}

/// Reads the double-width accumulator: AX, DX:AX, EDX:EAX or RDX:RAX.
fn wide_accumulator(core: &Core<'_>, size: usize) -> u128 {
    let low = core.cpu.gpr[RAX];
    match size {
        1 => u128::from(low & 0xffff),
        _ => u128::from(truncate(low, size)) | u128::from(truncate(core.cpu.gpr[RDX], size)) << (8 * size),
    }
}

/// Writes two halves to AH:AL, DX:AX, EDX:EAX or RDX:RAX.
fn set_accumulator_pair(core: &mut Core<'_>, low: u64, high: u64, size: usize) {
    let keep =
        |old: u64, new: u64| if size == 2 { old & !0xffff | new & 0xffff } else { truncate(new, size) };
    let gpr = &mut core.cpu.gpr;
    if size == 1 {
        gpr[RAX] = gpr[RAX] & !0xffff | (high & 0xff) << 8 | low & 0xff;
    } else {
        gpr[RAX] = keep(gpr[RAX], low);
        gpr[RDX] = keep(gpr[RDX], high);
    }
}

fn set_product_flags(core: &mut Core<'_>, overflows: bool) {
    core.cpu.set_status(if overflows { rflags::CF | rflags::OF } else { 0 });
}

fn multiply_accumulator(core: &mut Core<'_>, instruction: &Instruction, is_signed: bool) -> Exec {
    let size = core.operand_size(instruction, 0);
    let right = core.read_operand(instruction, 0)?;
    let left = truncate(core.cpu.gpr[RAX], size);
    let (product, overflows) = if is_signed {
        let product = i128::from(signed(left, size)) * i128::from(signed(right, size));
        (product as u128, product != i128::from(signed(product as u64, size)))
    } else {
        let product = u128::from(left) * u128::from(right);
        (product, product >> (8 * size) != 0)
    };
    set_accumulator_pair(core, product as u64, (product >> (8 * size)) as u64, size);
    set_product_flags(core, overflows);
    Ok(())
}

/// IMUL with two operands (both factors) or three (the last two are the factors).
fn multiply_into_register(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let size = core.operand_size(instruction, 0);
    let first = if instruction.op_count() == 2 { 0 } else { 1 };
    let left = core.read_operand(instruction, first)?;
    let right = core.read_operand(instruction, first + 1)?;
    let product = i128::from(signed(left, size)) * i128::from(signed(right, size));
    core.set_gpr(instruction.op0_register(), product as u64);
    set_product_flags(core, product != i128::from(signed(product as u64, size)));
    Ok(())
}

fn divide(core: &mut Core<'_>, instruction: &Instruction, is_signed: bool) -> Exec {
    let size = core.operand_size(instruction, 0);
    let divisor = core.read_operand(instruction, 0)?;
    let dividend = wide_accumulator(core, size);
    let divided = if is_signed {
        quotient_signed(dividend, divisor, size)
    } else {
        quotient_unsigned(dividend, divisor, size)
    };
    let (quotient, remainder) = divided.ok_or(Exception::DE)?;
    set_accumulator_pair(core, quotient, remainder, size);
    core.cpu.set_status(0);
    Ok(())
}

/// Quotient and remainder, unless the divisor is 0 or the quotient does not fit.
fn quotient_unsigned(dividend: u128, divisor: u64, size: usize) -> Option<(u64, u64)> {
    let quotient = dividend.checked_div(u128::from(divisor))?;
    let fits = quotient >> (8 * size) == 0;
    fits.then_some((quotient as u64, (dividend % u128::from(divisor)) as u64))
}

/// As [`quotient_unsigned`], rounding towards zero.
fn quotient_signed(dividend: u128, divisor: u64, size: usize) -> Option<(u64, u64)> {
    let unused = 128 - 16 * size as u32;
    let dividend = (dividend << unused) as i128 >> unused;
    let divisor = i128::from(signed(divisor, size));
    // The only overflow of the 128-bit division itself is the least dividend by -1.
    let quotient = dividend.checked_div(divisor)?;
    let fits = quotient == i128::from(signed(quotient as u64, size));
    fits.then_some((quotient as u64, dividend.wrapping_rem(divisor) as u64))
}
