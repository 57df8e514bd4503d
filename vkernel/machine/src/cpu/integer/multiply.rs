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

#[cfg(test)]
mod tests {
    use crate::cpu::exception::{Exception, Exec};
    use crate::cpu::state::{RAX, RBX, RDX, rflags};
    use crate::cpu::testing::Bench;

    const CF_OF: u64 = rflags::CF | rflags::OF;

    fn bench(rax: u64, rdx: u64, rbx: u64) -> Bench {
        let mut bench = Bench::long();
        (bench.cpu.gpr[RAX], bench.cpu.gpr[RDX], bench.cpu.gpr[RBX]) = (rax, rdx, rbx);
        bench.cpu.set_status(rflags::STATUS);
        bench
    }

    #[test]
    fn products_fill_both_halves_and_report_overflow() {
        const MIN: u64 = 1 << 63;
        // Instruction on RAX by RBX; RAX and RBX before; RAX, RDX, flags after.
        for (bytes, [rax, rbx, low, high, flags]) in [
            (&[0xf6, 0xe3][..], [0x10, 0x10, 0x100, 0, CF_OF]),
            (&[0xf6, 0xeb], [0xff, 0x02, 0xfffe, 0, 0]),
            (&[0x66, 0xf7, 0xe3], [0x1_8000, 2, 0x1_0000, 1, CF_OF]),
            (&[0xf7, 0xe3], [0xffff_ffff, 0xffff_ffff, 1, 0xffff_fffe, CF_OF]),
            (&[0xf7, 0xeb], [0xffff_ffff, 0xffff_ffff, 1, 0, 0]),
            (&[0x48, 0xf7, 0xe3], [u64::MAX, u64::MAX, 1, u64::MAX - 1, CF_OF]),
            (&[0x48, 0xf7, 0xeb], [MIN, u64::MAX, MIN, 0, CF_OF]),
            (&[0x48, 0x0f, 0xaf, 0xc3], [MIN, MIN, 0, 0, CF_OF]),
        ] {
            let mut bench = bench(rax, 0, rbx);
            bench.run(bytes).unwrap();
            let found = (bench.cpu.gpr[RAX], bench.cpu.gpr[RDX], bench.cpu.rflags & rflags::STATUS);
            assert_eq!(found, (low, high, flags), "{bytes:02x?}");
        }
        let mut three = bench(0, 0, 0x4000_0000);
        three.run(&[0x6b, 0xc3, 0xfe]).unwrap(); // imul eax, ebx, -2
        assert_eq!((three.cpu.gpr[RAX], three.cpu.rflags & rflags::STATUS), (0x8000_0000, 0));
    }

    fn divide(bytes: &[u8], rax: u64, rdx: u64, rbx: u64) -> Exec<(u64, u64)> {
        let mut bench = bench(rax, rdx, rbx);
        let before = bench.cpu.clone();
        let result = bench.run(bytes);
        match result {
            Ok(()) => assert_eq!(bench.cpu.rflags & rflags::STATUS, 0),
            Err(_) => assert_eq!((bench.cpu.gpr, bench.cpu.rflags), (before.gpr, before.rflags)),
        }
        result.map(|()| (bench.cpu.gpr[RAX], bench.cpu.gpr[RDX]))
    }

    #[test]
    fn quotients_round_to_zero_and_remainders_have_the_dividends_sign() {
        let minus = |value: i64| value.wrapping_neg() as u64;
        assert_eq!(divide(&[0xf6, 0xf3], 0x0107, 9, 0x10), Ok((0x0710, 9)));
        assert_eq!(divide(&[0xf6, 0xfb], 0xfff9, 9, 2), Ok((0xfffd, 9)), "-7 / 2 = -3 rest -1");
        assert_eq!(divide(&[0x48, 0xf7, 0xfb], minus(7), u64::MAX, 2), Ok((minus(3), minus(1))));
        assert_eq!(divide(&[0x48, 0xf7, 0xfb], 7, 0, minus(2)), Ok((minus(3), 1)));
        assert_eq!(divide(&[0x48, 0xf7, 0xf3], 0, 1, 2), Ok((1 << 63, 0)));
        assert_eq!(divide(&[0xf7, 0xf3], u64::MAX, 0, 0x10), Ok((0x0fff_ffff, 0xf)));
    }

    #[test]
    fn a_quotient_that_does_not_fit_is_a_divide_error() {
        let min32 = 0x8000_0000;
        for (bytes, rax, rdx, rbx) in [
            (&[0xf6, 0xf3][..], 1, 0, 0),
            (&[0xf6, 0xf3], 0x1000, 0, 0x10),
            (&[0xf7, 0xfb], min32, 0xffff_ffff, 0xffff_ffff),
            (&[0xf7, 0xf3], 0, 1, 1),
            (&[0x48, 0xf7, 0xfb], 1 << 63, u64::MAX, u64::MAX),
            (&[0x48, 0xf7, 0xfb], 0, 1 << 63, u64::MAX),
            (&[0x48, 0xf7, 0xf3], 0, 5, 5),
        ] {
            assert_eq!(divide(bytes, rax, rdx, rbx), Err(Exception::DE), "{bytes:02x?}");
        }
    }
}
