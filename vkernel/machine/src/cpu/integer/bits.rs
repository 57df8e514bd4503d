//! Bit instructions (SDM vol. 1 7.3.7): BT and relatives, BSF, BSR, POPCNT, CRC32.
//!
//! LZCNT and TZCNT are not exposed: their encodings are BSR and BSF with a prefix that is ignored.

use crate::cpu::core::Core;
use crate::cpu::exception::Exec;
use crate::cpu::flags::signed;
use crate::cpu::mmu::Intent;
use crate::cpu::operand::{Place, truncate};
use crate::cpu::state::rflags;
use iced_x86::{Instruction, Mnemonic, OpKind};

/// The polynomial of CRC32 (Castagnoli), bits reversed.
const CRC32C: u32 = 0x82f6_3b78;

pub(super) fn execute(core: &mut Core<'_>, instruction: &Instruction) -> Option<Exec> {
    use Mnemonic as M;
    Some(match instruction.mnemonic() {
        M::Bt | M::Bts | M::Btr | M::Btc => test_bit(core, instruction),
        M::Bsf | M::Tzcnt => scan(core, instruction, u64::trailing_zeros),
        M::Bsr | M::Lzcnt => scan(core, instruction, |value| 63 - value.leading_zeros()),
        M::Popcnt => count_ones(core, instruction),
        M::Crc32 => checksum(core, instruction),
        _ => return None,
    })
}

/// Finds the first operand of BT, BTS, BTR or BTC. A bit offset in a register reaches, signed, beyond a
/// memory operand: into the operand-sized unit that holds the bit.
fn bit_place(core: &mut Core<'_>, instruction: &Instruction, bit_offset: u64, size: usize) -> Exec<Place> {
    if instruction.op0_kind() == OpKind::Register {
        return Ok(Place::Register(instruction.op0_register()));
    }
    let (segment, mut offset) = core.effective_address(instruction);
    if instruction.op1_kind() == OpKind::Register {
        let width = 8 * size as i64;
        let units = signed(bit_offset, size).div_euclid(width);
        offset = offset.wrapping_add((units * size as i64) as u64);
        offset = truncate(offset, core.address_bytes(instruction));
    }
    let intent = if instruction.mnemonic() == Mnemonic::Bt { Intent::Read } else { Intent::Write };
    Ok(Place::Memory(core.locate(segment, offset, size, intent)?))
}

fn test_bit(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let size = core.operand_size(instruction, 0);
    let bit_offset = core.read_operand(instruction, 1)?;
    let place = bit_place(core, instruction, bit_offset, size)?;
    let value = core.read_place(place);
    let mask = 1 << (bit_offset & (8 * size as u64 - 1));
    match instruction.mnemonic() {
        Mnemonic::Bts => core.write_place(place, value | mask),
        Mnemonic::Btr => core.write_place(place, value & !mask),
        Mnemonic::Btc => core.write_place(place, value ^ mask),
        _ => {}
    }
    // ZF is unaffected, the other flags are undefined.
    let carry = if value & mask != 0 { rflags::CF } else { 0 };
    core.cpu.set_status_masked(rflags::STATUS & !rflags::ZF, carry);
    Ok(())
}

/// BSF and BSR. With no bit set the destination keeps its value (a 32-bit one loses its upper half).
fn scan(core: &mut Core<'_>, instruction: &Instruction, index_of: impl Fn(u64) -> u32) -> Exec {
    let value = core.read_operand(instruction, 1)?;
    let destination = instruction.op0_register();
    let (result, flags) = match value {
        0 => (core.gpr(destination), rflags::ZF),
        _ => (u64::from(index_of(value)), 0),
    };
    core.set_gpr(destination, result);
    core.cpu.set_status(flags);
    Ok(())
}

fn count_ones(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let value = core.read_operand(instruction, 1)?;
    core.set_gpr(instruction.op0_register(), u64::from(value.count_ones()));
    core.cpu.set_status(if value == 0 { rflags::ZF } else { 0 });
    Ok(())
}

fn checksum(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let value = core.read_operand(instruction, 1)?;
    let size = core.operand_size(instruction, 1);
    let destination = instruction.op0_register();
    let mut crc = core.gpr(destination) as u32;
    for byte in &value.to_le_bytes()[..size] {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ if crc & 1 != 0 { CRC32C } else { 0 };
        }
    }
    core.set_gpr(destination, u64::from(crc));
    Ok(())
}
