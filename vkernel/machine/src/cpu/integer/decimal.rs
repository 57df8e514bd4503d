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
