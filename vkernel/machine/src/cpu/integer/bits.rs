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

#[cfg(test)]
mod tests {
    use crate::cpu::exception::Exception;
    use crate::cpu::state::{RAX, RBX, RCX, rflags};
    use crate::cpu::testing::{Bench, DATA, READ_ONLY};
    use rflags::{CF, ZF};

    #[test]
    fn a_bit_string_reaches_below_and_above_its_address() {
        let mut bench = Bench::long();
        bench.cpu.gpr[RBX] = DATA + 0x100;
        bench.cpu.gpr[RAX] = -1i64 as u64;
        bench.run(&[0x0f, 0xab, 0x03]).unwrap(); // bts [rbx], eax
        assert_eq!(bench.peek_u64(DATA + 0xfc), 0x8000_0000);
        assert!(!bench.cpu.flag(CF));
        bench.run(&[0x48, 0x0f, 0xb3, 0x03]).unwrap(); // btr [rbx], rax: the same bit as a quadword
        assert_eq!(bench.peek_u64(DATA + 0xf8), 0);
        assert!(bench.cpu.flag(CF));
        bench.cpu.gpr[RAX] = 0x1_0021;
        bench.run(&[0x66, 0x0f, 0xbb, 0x03]).unwrap(); // btc [rbx], ax: bit 1 of the word at +4
        assert_eq!(bench.peek_u64(DATA + 0x100), 2 << 32);
        bench.run(&[0x0f, 0xba, 0x23, 33]).unwrap(); // bt dword [rbx], 33: bit 1 of the dword at +0
        assert!(!bench.cpu.flag(CF));
    }

    #[test]
    fn a_bit_string_wraps_at_the_address_size() {
        let mut bench = Bench::long();
        bench.poke(DATA, &[2]);
        bench.cpu.gpr[RBX] = 0xffff_fffc;
        bench.cpu.gpr[RAX] = (DATA + 4) * 8 + 1;
        bench.run(&[0x67, 0x0f, 0xa3, 0x03]).unwrap(); // bt [ebx], eax
        assert!(bench.cpu.flag(CF));
    }

    #[test]
    fn bt_only_reads_and_the_others_need_to_write() {
        let mut bench = Bench::long();
        bench.cpu.gpr[RBX] = READ_ONLY;
        bench.cpu.set_status(rflags::STATUS);
        bench.run(&[0x0f, 0xba, 0x23, 0]).unwrap();
        assert_eq!(bench.cpu.rflags & rflags::STATUS, ZF);
        assert_eq!(bench.run(&[0x0f, 0xba, 0x33, 0]), Err(Exception::pf(3)), "btr");
    }

    #[test]
    fn scans_give_the_index_or_keep_the_destination() {
        let mut bench = Bench::long();
        // bsf, bsr, and their lzcnt and tzcnt encodings, which are the same here.
        for (prefix, opcode, index) in [(0x3e, 0xbc, 8), (0xf3, 0xbc, 8), (0x3e, 0xbd, 30), (0xf3, 0xbd, 30)]
        {
            bench.cpu.set_status(rflags::STATUS);
            bench.cpu.gpr[RBX] = 0x4000_0100;
            bench.run(&[prefix, 0x0f, opcode, 0xc3]).unwrap();
            assert_eq!((bench.cpu.gpr[RAX], bench.cpu.rflags & rflags::STATUS), (index, 0));
        }
        bench.cpu.gpr[RAX] = 0x1111_2222_3333_4444;
        bench.cpu.gpr[RBX] = 0;
        bench.run(&[0x66, 0x0f, 0xbc, 0xc3]).unwrap();
        bench.run(&[0x48, 0x0f, 0xbd, 0xc3]).unwrap();
        assert_eq!(bench.cpu.gpr[RAX], 0x1111_2222_3333_4444);
        bench.run(&[0x0f, 0xbc, 0xc3]).unwrap();
        assert_eq!((bench.cpu.gpr[RAX], bench.cpu.rflags & rflags::STATUS), (0x3333_4444, ZF));
    }

    #[test]
    fn crc32_gives_the_castagnoli_check_value() {
        let mut bench = Bench::long();
        bench.cpu.gpr[RAX] = 0xffff_ffff;
        for digit in *b"123456789" {
            bench.cpu.gpr[RCX] = u64::from(digit);
            bench.run(&[0xf2, 0x0f, 0x38, 0xf0, 0xc1]).unwrap(); // crc32 eax, cl
        }
        assert_eq!(bench.cpu.gpr[RAX] ^ 0xffff_ffff, 0xe306_9283);
        let mut wide = Bench::long();
        wide.cpu.gpr[RAX] = u64::MAX;
        wide.cpu.gpr[RCX] = u64::from_le_bytes(*b"12345678");
        wide.run(&[0xf2, 0x48, 0x0f, 0x38, 0xf1, 0xc1]).unwrap(); // crc32 rax, rcx
        wide.cpu.gpr[RCX] = u64::from(b'9');
        wide.run(&[0xf2, 0x0f, 0x38, 0xf0, 0xc1]).unwrap();
        assert_eq!(wide.cpu.gpr[RAX], bench.cpu.gpr[RAX]);
    }

    #[test]
    fn popcnt_counts_and_clears_all_flags_but_zero() {
        let mut bench = Bench::long();
        for (value, count, flags) in [(0xf0f0_0001, 9, 0), (0, 0, ZF)] {
            bench.cpu.gpr[RBX] = value;
            bench.cpu.set_status(rflags::STATUS);
            bench.run(&[0xf3, 0x48, 0x0f, 0xb8, 0xc3]).unwrap();
            assert_eq!((bench.cpu.gpr[RAX], bench.cpu.rflags & rflags::STATUS), (count, flags));
        }
    }
}
