//! Decimal adjustment (SDM vol. 1 7.3.3) and SALC. None of them exists in 64-bit mode.

use crate::cpu::core::Core;
use crate::cpu::exception::{Exception, Exec};
use crate::cpu::flags::result_flags;
use crate::cpu::state::{RAX, rflags};
use iced_x86::{Instruction, Mnemonic};

pub(super) fn execute(core: &mut Core<'_>, instruction: &Instruction) -> Option<Exec> {
    use Mnemonic as M;
    Some(match instruction.mnemonic() {
        M::Daa => adjust_packed(core, false),
        M::Das => adjust_packed(core, true),
        M::Aaa => adjust_unpacked(core, false),
        M::Aas => adjust_unpacked(core, true),
        M::Aam => split_digits(core, instruction.immediate8()),
        M::Aad => join_digits(core, instruction.immediate8()),
        M::Salc => {
            let carry = core.cpu.flag(rflags::CF);
            set_al(core, if carry { 0xff } else { 0 });
            Ok(())
        }
        _ => return None,
    })
}

fn al(core: &Core<'_>) -> u8 {
    core.cpu.gpr[RAX] as u8
}

fn set_al(core: &mut Core<'_>, value: u8) {
    core.cpu.gpr[RAX] = core.cpu.gpr[RAX] & !0xff | u64::from(value);
}

fn set_ax(core: &mut Core<'_>, value: u16) {
    core.cpu.gpr[RAX] = core.cpu.gpr[RAX] & !0xffff | u64::from(value);
}

/// DAA, DAS: corrects AL after an addition or subtraction of two packed digits each. OF is undefined.
fn adjust_packed(core: &mut Core<'_>, subtracts: bool) -> Exec {
    let before = al(core);
    let carry = core.cpu.flag(rflags::CF);
    let adjust = |value: u8, by: u8| if subtracts { value.wrapping_sub(by) } else { value.wrapping_add(by) };
    let mut value = before;
    let mut flags = 0;
    if before & 0xf > 9 || core.cpu.flag(rflags::AF) {
        value = adjust(value, 6);
        flags |= rflags::AF;
        // DAS keeps a borrow of the low digit's correction, unless the high digit's follows. For DAA a carry
        // implies that correction anyway.
        if subtracts && (carry || before < 6) {
            flags |= rflags::CF;
        }
    }
    if before > 0x99 || carry {
        value = adjust(value, 0x60);
        flags |= rflags::CF;
    }
    set_al(core, value);
    core.cpu.set_status(flags | result_flags(u64::from(value), 1));
    Ok(())
}

/// AAA, AAS: corrects AL after an addition or subtraction of unpacked digits, carrying into AH. Only AF and
/// CF are defined.
fn adjust_unpacked(core: &mut Core<'_>, subtracts: bool) -> Exec {
    let value = core.cpu.gpr[RAX] as u16;
    let adjusts = value & 0xf > 9 || core.cpu.flag(rflags::AF);
    let corrected = match (adjusts, subtracts) {
        (false, _) => value,
        (true, false) => value.wrapping_add(0x106),
        (true, true) => value.wrapping_sub(6).wrapping_sub(0x100),
    };
    set_ax(core, corrected & 0xff0f);
    core.cpu.set_status(if adjusts { rflags::AF | rflags::CF } else { 0 });
    Ok(())
}

/// AAM. OF, AF and CF are undefined.
fn split_digits(core: &mut Core<'_>, radix: u8) -> Exec {
    let value = al(core);
    let high = value.checked_div(radix).ok_or(Exception::DE)?;
    let low = value % radix;
    set_ax(core, u16::from_le_bytes([low, high]));
    core.cpu.set_status(result_flags(u64::from(low), 1));
    Ok(())
}

/// AAD. OF, AF and CF are undefined.
fn join_digits(core: &mut Core<'_>, radix: u8) -> Exec {
    let [low, high] = (core.cpu.gpr[RAX] as u16).to_le_bytes();
    let value = low.wrapping_add(high.wrapping_mul(radix));
    set_ax(core, u16::from(value));
    core.cpu.set_status(result_flags(u64::from(value), 1));
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::cpu::exception::Exception;
    use crate::cpu::state::{RAX, rflags};
    use crate::cpu::testing::Bench;
    use rflags::{AF, CF, OF, PF, SF, ZF};

    #[test]
    fn adjustments_give_decimal_digits() {
        // Instruction; AX, flags before; AX, flags after.
        let cases: [(&[u8], u64, u64, u64, u64); 16] = [
            (&[0x27], 0xae, 0, 0x14, CF | AF | PF), // daa: the SDM's 79H + 35H
            (&[0x27], 0x2e, 0, 0x34, AF),
            (&[0x27], 0x00, CF | AF, 0x66, CF | AF | PF),
            (&[0x27], 0x9a, OF, 0x00, CF | AF | ZF | PF),
            (&[0x2f], 0xee, CF | AF, 0x88, CF | AF | SF | PF), // das: the SDM's 35H - 47H
            (&[0x2f], 0x03, AF, 0xfd, CF | AF | SF),
            (&[0x2f], 0x45, 0, 0x45, 0),
            (&[0x37], 0x020b, SF | ZF, 0x0301, CF | AF),
            (&[0x37], 0x02fb, 0, 0x0401, CF | AF),
            (&[0x37], 0x0215, CF, 0x0205, 0),
            (&[0x3f], 0x020b, 0, 0x0105, CF | AF),
            (&[0x3f], 0x0001, AF, 0xfe0b, CF | AF),
            (&[0xd4, 10], 0x4f, CF | AF | OF, 0x0709, PF),
            (&[0xd4, 16], 0xa0, 0, 0x0a00, ZF | PF),
            (&[0xd5, 10], 0x0709, CF | AF | OF, 0x4f, 0),
            (&[0xd5, 10], 0x1f0a, 0, 0x40, 0),
        ];
        for (bytes, before, flags_before, after, flags_after) in cases {
            let mut bench = Bench::protected();
            bench.cpu.gpr[RAX] = 0xffff_0000 | before;
            bench.cpu.set_status(flags_before);
            bench.run(bytes).unwrap();
            let found = (bench.cpu.gpr[RAX] & 0xffff, bench.cpu.rflags & rflags::STATUS);
            assert_eq!(found, (after, flags_after), "{bytes:02x?} on {before:x}");
            assert_eq!(bench.cpu.gpr[RAX] >> 16, 0xffff);
        }
    }

    #[test]
    fn aam_by_zero_is_a_divide_error() {
        assert_eq!(Bench::protected().run(&[0xd4, 0]), Err(Exception::DE));
    }

    #[test]
    fn none_of_them_exists_in_64_bit_mode() {
        for bytes in [&[0x27][..], &[0x2f], &[0x37], &[0x3f], &[0xd4, 10], &[0xd5, 10], &[0xd6]] {
            assert_eq!(Bench::long().run(bytes), Err(Exception::UD), "{bytes:02x?}");
        }
    }

    #[test]
    fn salc_spreads_the_carry() {
        let mut bench = Bench::real();
        bench.cpu.set_status(CF);
        bench.run(&[0xd6]).unwrap();
        assert_eq!(bench.cpu.gpr[RAX], 0xff);
    }
}
