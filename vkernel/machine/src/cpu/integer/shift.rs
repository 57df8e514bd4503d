//! Shifts and rotates (SDM vol. 1 7.3.6), single and double.
//!
//! The count is taken modulo 32, or 64 for 64-bit operands. A count of 0 changes no flag, though the
//! destination is still written. AF after a shift, OF when the count is not 1, and CF when a shift count
//! reaches the operand's width are undefined and therefore 0.

use crate::cpu::core::Core;
use crate::cpu::exception::Exec;
use crate::cpu::flags::{result_flags, sign_bit, signed};
use crate::cpu::operand::truncate;
use crate::cpu::state::rflags;
use iced_x86::{Instruction, Mnemonic};

/// CF and OF: all that rotates change.
const ROTATE_FLAGS: u64 = rflags::CF | rflags::OF;

pub(super) fn execute(core: &mut Core<'_>, instruction: &Instruction) -> Option<Exec> {
    use Mnemonic as M;
    Some(match instruction.mnemonic() {
        M::Shl | M::Sal | M::Shr | M::Sar | M::Rol | M::Ror | M::Rcl | M::Rcr => single(core, instruction),
        M::Shld | M::Shrd => double(core, instruction),
        _ => return None,
    })
}

/// A result, with CF and OF as they come out of it.
struct Shifted {
    result: u64,
    carry: bool,
    overflow: bool,
}

impl Shifted {
    /// CF and OF; OF is defined for a count of 1 only.
    fn flags(&self, count: u32) -> u64 {
        let carry = if self.carry { rflags::CF } else { 0 };
        let overflow = if self.overflow && count == 1 { rflags::OF } else { 0 };
        carry | overflow
    }
}

fn masked_count(count: u64, size: usize) -> u32 {
    (count & if size == 8 { 63 } else { 31 }) as u32
}

fn bit(value: u64, index: u32) -> bool {
    value >> index & 1 != 0
}

fn single(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let size = core.operand_size(instruction, 0);
    let place = core.place(instruction, 0)?;
    let count = masked_count(core.read_operand(instruction, 1)?, size);
    let value = core.read_place(place);
    if count == 0 {
        core.write_place(place, value);
        return Ok(());
    }
    let carry = core.cpu.flag(rflags::CF);
    let (shifted, rotates) = match instruction.mnemonic() {
        Mnemonic::Shr => (shift_right(value, count, size), false),
        Mnemonic::Sar => (shift_arithmetic(value, count, size), false),
        Mnemonic::Rol => (rotate_left(value, count, size), true),
        Mnemonic::Ror => (rotate_right(value, count, size), true),
        Mnemonic::Rcl => (rotate_left_through(value, carry, count, size), true),
        Mnemonic::Rcr => (rotate_right_through(value, carry, count, size), true),
        _ => (shift_left(value, count, size), false),
    };
    core.write_place(place, shifted.result);
    let flags = shifted.flags(count);
    if rotates {
        core.cpu.set_status_masked(ROTATE_FLAGS, flags);
    } else {
        core.cpu.set_status(flags | result_flags(shifted.result, size));
    }
    Ok(())
}

fn shift_left(value: u64, count: u32, size: usize) -> Shifted {
    let width = 8 * size as u32;
    let result = truncate(value << count, size);
    let carry = count < width && bit(value, width - count);
    Shifted { result, carry, overflow: bit(result, width - 1) != carry }
}

fn shift_right(value: u64, count: u32, size: usize) -> Shifted {
    let width = 8 * size as u32;
    let carry = count < width && bit(value, count - 1);
    Shifted { result: value >> count, carry, overflow: value & sign_bit(size) != 0 }
}

fn shift_arithmetic(value: u64, count: u32, size: usize) -> Shifted {
    let value = signed(value, size);
    let carry = value >> (count - 1) & 1 != 0;
    Shifted { result: truncate((value >> count) as u64, size), carry, overflow: false }
}

/// `value`, of `size` bytes, rotated left by less than its width.
fn rotated_left(value: u64, count: u32, size: usize) -> u64 {
    let wide = u128::from(value) << count;
    truncate(wide as u64 | (wide >> (8 * size)) as u64, size)
}

fn rotate_left(value: u64, count: u32, size: usize) -> Shifted {
    let width = 8 * size as u32;
    let result = rotated_left(value, count % width, size);
    let carry = bit(result, 0);
    Shifted { result, carry, overflow: bit(result, width - 1) != carry }
}

fn rotate_right(value: u64, count: u32, size: usize) -> Shifted {
    let width = 8 * size as u32;
    let result = rotated_left(value, (width - count % width) % width, size);
    let carry = bit(result, width - 1);
    Shifted { result, carry, overflow: carry != bit(result, width - 2) }
}

/// Rotates `value` with CF above its top bit, `count` places to the left.
fn rotated_through(value: u64, carry: bool, count: u32, size: usize) -> (u64, bool) {
    let width = 8 * size as u32;
    let chain = u128::from(value) | u128::from(carry) << width;
    let turned = chain << count | chain >> (width + 1 - count);
    (truncate(turned as u64, size), turned >> width & 1 != 0)
}

fn rotate_left_through(value: u64, carry: bool, count: u32, size: usize) -> Shifted {
    let width = 8 * size as u32;
    let (result, carry) = rotated_through(value, carry, count % (width + 1), size);
    Shifted { result, carry, overflow: bit(result, width - 1) != carry }
}

fn rotate_right_through(value: u64, carry_in: bool, count: u32, size: usize) -> Shifted {
    let length = 8 * size as u32 + 1;
    let left = (length - count % length) % length;
    let (result, carry) = rotated_through(value, carry_in, left, size);
    Shifted { result, carry, overflow: (value & sign_bit(size) != 0) != carry_in }
}

/// SHLD and SHRD. With a 16-bit operand and a count above 16 the SDM leaves the result undefined: here it
/// is taken from destination, source, destination in a row, and all flags are 0.
fn double(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let size = core.operand_size(instruction, 0);
    let width = 8 * size as u32;
    let place = core.place(instruction, 0)?;
    let filler = core.read_operand(instruction, 1)?;
    let count = masked_count(core.read_operand(instruction, 2)?, size);
    let value = core.read_place(place);
    if count == 0 {
        core.write_place(place, value);
        return Ok(());
    }
    let (wide_value, wide_filler) = (u128::from(value), u128::from(filler));
    let (result, carry) = if instruction.mnemonic() == Mnemonic::Shld {
        if count > width {
            let row = wide_filler << width | wide_value;
            ((row >> (2 * width - count)) as u64, false)
        } else {
            let row = wide_value << width | wide_filler;
            ((row >> (width - count)) as u64, bit(value, width - count))
        }
    } else if count > width {
        let row = wide_value << width | wide_filler;
        ((row >> (count - width)) as u64, false)
    } else {
        let row = wide_filler << width | wide_value;
        ((row >> count) as u64, bit(value, count - 1))
    };
    let result = truncate(result, size);
    core.write_place(place, result);
    let shifted = Shifted { result, carry, overflow: (result ^ value) & sign_bit(size) != 0 };
    let status = shifted.flags(count) | result_flags(result, size);
    core.cpu.set_status(if count > width { 0 } else { status });
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::cpu::state::{RAX, RCX, RDX, rflags};
    use crate::cpu::testing::Bench;
    use rflags::{AF, CF, OF, PF, SF, ZF};

    /// Runs an instruction on RAX with RCX as the count and gives RAX and the status flags.
    fn run(bytes: &[u8], rax: u64, rcx: u64, flags: u64) -> (u64, u64) {
        let mut bench = Bench::long();
        bench.cpu.gpr[RAX] = rax;
        bench.cpu.gpr[RCX] = rcx;
        bench.cpu.gpr[RDX] = 0x5678;
        bench.cpu.set_status(flags);
        bench.run(bytes).unwrap();
        (bench.cpu.gpr[RAX], bench.cpu.rflags & rflags::STATUS)
    }

    #[test]
    fn a_count_of_zero_changes_no_flag_but_writes_the_destination() {
        for extension in [0xc0, 0xc8, 0xd0, 0xd8, 0xe0, 0xe8, 0xf8] {
            let all = rflags::STATUS;
            let after = run(&[0xd3, extension], 0xffff_ffff_0000_0001, 32, all);
            assert_eq!(after, (1, all), "d3 {extension:x} with a count of 32");
        }
    }

    #[test]
    fn shifts_of_a_byte() {
        // ModRM of d2 /r on al; AL, CL; AL, flags after.
        let cases = [
            (0xe0, 0x81, 1, 0x02, CF | OF),
            (0xe0, 0xc0, 1, 0x80, CF | SF),
            (0xe0, 0x41, 2, 0x04, CF),
            (0xe0, 0xff, 8, 0x00, ZF | PF),
            (0xe8, 0x81, 1, 0x40, CF | OF),
            (0xe8, 0x80, 8, 0x00, ZF | PF),
            (0xf8, 0x81, 1, 0xc0, CF | SF | PF),
            (0xf8, 0x80, 31, 0xff, CF | SF | PF),
        ];
        for (modrm, al, cl, result, flags) in cases {
            assert_eq!(run(&[0xd2, modrm], al, cl, AF), (result, flags), "d2 {modrm:x} {al:x} by {cl}");
        }
    }

    #[test]
    fn rotates_change_only_carry_and_overflow() {
        let others = ZF | SF | PF | AF;
        // ModRM of d2 /r on al; AL, CL, CF before; AL, CF and OF after.
        let cases = [
            (0xc0, 0x80, 1, 0, 0x01, CF | OF),
            (0xc0, 0x81, 8, 0, 0x81, CF),
            (0xc0, 0x12, 4, CF, 0x21, CF),
            (0xc8, 0x01, 1, 0, 0x80, CF | OF),
            (0xc8, 0x82, 16, 0, 0x82, CF),
            (0xd0, 0x80, 1, 0, 0x00, CF | OF),
            (0xd0, 0x80, 9, CF, 0x80, CF),
            (0xd0, 0x80, 2, CF, 0x03, 0),
            (0xd8, 0x01, 1, 0, 0x00, CF),
            (0xd8, 0x00, 1, CF, 0x80, OF),
            (0xd8, 0x01, 18, 0, 0x01, 0),
        ];
        for (modrm, al, cl, carry, result, flags) in cases {
            let after = run(&[0xd2, modrm], al, cl, others | carry);
            assert_eq!(after, (result, others | flags), "d2 {modrm:x} {al:x} by {cl}");
        }
        assert_eq!(run(&[0x48, 0xd3, 0xd8], 1, 64 + 2, CF), (3 << 62, 0));
        assert_eq!(run(&[0x48, 0xd3, 0xd0], 1 << 63, 63, 0), (1 << 61, 0));
    }

    #[test]
    fn double_shifts_fill_from_the_second_register() {
        assert_eq!(run(&[0x66, 0x0f, 0xa4, 0xd0, 4], 0x1234, 0, 0), (0x2345, CF));
        assert_eq!(run(&[0x66, 0x0f, 0xac, 0xd0, 4], 0x1234, 0, 0), (0x8123, SF));
        assert_eq!(run(&[0x66, 0x0f, 0xa5, 0xd0], 0x1234, 16, 0), (0x5678, PF));
        // Beyond the width: destination, source, destination in a row, flags 0.
        assert_eq!(run(&[0x66, 0x0f, 0xa4, 0xd0, 20], 0x1234, 0, rflags::STATUS), (0x6781, 0));
        assert_eq!(run(&[0x66, 0x0f, 0xac, 0xd0, 20], 0x1234, 0, rflags::STATUS), (0x4567, 0));
        assert_eq!(run(&[0x48, 0x0f, 0xa4, 0xd0, 1], 1 << 62, 0, 0), (1 << 63, SF | OF | PF));
    }
}
