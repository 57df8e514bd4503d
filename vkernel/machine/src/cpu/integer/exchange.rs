//! Exchanges (SDM vol. 1 7.3.1.2): XCHG, XADD, CMPXCHG, CMPXCHG8B, CMPXCHG16B.
//!
//! They are atomic with or without LOCK, as only one vCPU executes at a time. All need permission to write
//! even when they end up writing back what was there.

use crate::cpu::core::Core;
use crate::cpu::exception::{Exception, Exec};
use crate::cpu::flags;
use crate::cpu::mmu::Intent;
use crate::cpu::operand::{Place, truncate};
use crate::cpu::state::{RAX, RBX, RCX, RDX, rflags};
use iced_x86::{Instruction, Mnemonic, Register};

pub(super) fn execute(core: &mut Core<'_>, instruction: &Instruction) -> Option<Exec> {
    Some(match instruction.mnemonic() {
        Mnemonic::Xchg => exchange(core, instruction),
        Mnemonic::Xadd => exchange_add(core, instruction),
        Mnemonic::Cmpxchg => compare_exchange(core, instruction),
        Mnemonic::Cmpxchg8b => compare_exchange_pair(core, instruction, 4),
        Mnemonic::Cmpxchg16b => compare_exchange_pair(core, instruction, 8),
        _ => return None,
    })
}

fn exchange(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let first = core.place(instruction, 0)?;
    let second = core.place(instruction, 1)?;
    let (left, right) = (core.read_place(first), core.read_place(second));
    core.write_place(first, right);
    core.write_place(second, left);
    Ok(())
}

/// XADD. The source is written first, so that with one register as both operands the sum stays.
fn exchange_add(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let size = core.operand_size(instruction, 0);
    let place = core.place(instruction, 0)?;
    let source = instruction.op1_register();
    let (left, right) = (core.read_place(place), core.gpr(source));
    let (sum, status) = flags::add(left, right, false, size);
    core.set_gpr(source, left);
    core.write_place(place, sum);
    core.cpu.set_status(status);
    Ok(())
}

/// CMPXCHG. On failure memory is written back, but a register destination is not touched.
fn compare_exchange(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let size = core.operand_size(instruction, 0);
    let place = core.place(instruction, 0)?;
    let accumulator = match size {
        1 => Register::AL,
        2 => Register::AX,
        4 => Register::EAX,
        _ => Register::RAX,
    };
    let found = core.read_place(place);
    let (_, status) = flags::sub(core.gpr(accumulator), found, false, size);
    if status & rflags::ZF != 0 {
        let replacement = core.gpr(instruction.op1_register());
        core.write_place(place, replacement);
    } else {
        if matches!(place, Place::Memory(_)) {
            core.write_place(place, found);
        }
        core.set_gpr(accumulator, found);
    }
    core.cpu.set_status(status);
    Ok(())
}

/// CMPXCHG8B and CMPXCHG16B, of two halves of `half` bytes. Only ZF changes.
fn compare_exchange_pair(core: &mut Core<'_>, instruction: &Instruction, half: usize) -> Exec {
    let (segment, offset) = core.effective_address(instruction);
    let laddr = core.linear(segment, offset, 2 * half, Intent::Write)?;
    if half == 8 && laddr & 15 != 0 {
        return Err(Exception::gp(0));
    }
    let user = core.is_user();
    let at = core.locate_linear(laddr, 2 * half, Intent::Write, user)?;
    let pair = |core: &Core<'_>, high: usize, low: usize| {
        let half_of = |register: usize| u128::from(truncate(core.cpu.gpr[register], half));
        half_of(high) << (8 * half) | half_of(low)
    };
    let mut bytes = [0; 16];
    core.load_located(at, &mut bytes[..2 * half]);
    let found = u128::from_le_bytes(bytes);
    let equal = found == pair(core, RDX, RAX);
    let written = if equal { pair(core, RCX, RBX) } else { found };
    core.store_located(at, &written.to_le_bytes()[..2 * half]);
    if !equal {
        core.cpu.gpr[RAX] = truncate(found as u64, half);
        core.cpu.gpr[RDX] = truncate((found >> (8 * half)) as u64, half);
    }
    core.cpu.set_flag(rflags::ZF, equal);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::cpu::exception::Exception;
    use crate::cpu::state::{RAX, RBX, RCX, RDX, RSI, rflags};
    use crate::cpu::testing::{Bench, DATA, READ_ONLY};

    #[test]
    fn xchg_and_xadd_see_both_operands_as_they_were() {
        let mut bench = Bench::long();
        bench.cpu.gpr[RAX] = 0x1234;
        bench.run(&[0x86, 0xc4]).unwrap(); // xchg ah, al
        assert_eq!(bench.cpu.gpr[RAX], 0x3412);
        bench.run(&[0x0f, 0xc1, 0xc0]).unwrap(); // xadd eax, eax
        assert_eq!(bench.cpu.gpr[RAX], 0x6824);
        bench.poke(DATA, &5u64.to_le_bytes());
        bench.cpu.gpr[RSI] = DATA;
        bench.run(&[0xf0, 0x48, 0x0f, 0xc1, 0x06]).unwrap(); // lock xadd [rsi], rax
        assert_eq!((bench.cpu.gpr[RAX], bench.peek_u64(DATA)), (5, 0x6829));
    }

    #[test]
    fn cmpxchg_loads_the_accumulator_only_when_it_fails() {
        let mut bench = Bench::long();
        let (high, other) = (0xaaaa_aaaa_0000_0000, 0xdddd_dddd_0000_0000);
        (bench.cpu.gpr[RAX], bench.cpu.gpr[RBX], bench.cpu.gpr[RCX]) = (high | 1, other | 2, 3);
        bench.run(&[0x0f, 0xb1, 0xcb]).unwrap(); // cmpxchg ebx, ecx
        assert_eq!((bench.cpu.gpr[RAX], bench.cpu.gpr[RBX]), (2, other | 2));
        assert_eq!(bench.cpu.rflags & rflags::STATUS, rflags::CF | rflags::SF | rflags::AF | rflags::PF);
        bench.cpu.gpr[RAX] |= high;
        bench.run(&[0x0f, 0xb1, 0xcb]).unwrap();
        assert_eq!((bench.cpu.gpr[RAX], bench.cpu.gpr[RBX]), (high | 2, 3));
    }

    #[test]
    fn cmpxchg_needs_to_write_even_if_it_would_fail() {
        let mut bench = Bench::long();
        (bench.cpu.gpr[RAX], bench.cpu.gpr[RBX]) = (1, READ_ONLY);
        assert_eq!(bench.run(&[0x0f, 0xb1, 0x0b]), Err(Exception::pf(3)));
        assert_eq!(bench.run(&[0x0f, 0xc7, 0x0b]), Err(Exception::pf(3)), "cmpxchg8b");
    }

    #[test]
    fn cmpxchg16b_swaps_aligned_pairs() {
        let mut bench = Bench::long();
        let instruction = [0xf0, 0x48, 0x0f, 0xc7, 0x0e]; // lock cmpxchg16b [rsi]
        bench.cpu.gpr[RSI] = DATA + 8;
        assert_eq!(bench.run(&instruction), Err(Exception::gp(0)));
        bench.cpu.gpr[RSI] = DATA;
        bench.poke(DATA, &1u64.to_le_bytes());
        bench.poke(DATA + 8, &2u64.to_le_bytes());
        (bench.cpu.gpr[RBX], bench.cpu.gpr[RCX]) = (3, 4);
        bench.run(&instruction).unwrap();
        assert_eq!((bench.cpu.gpr[RAX], bench.cpu.gpr[RDX], bench.cpu.flag(rflags::ZF)), (1, 2, false));
        bench.run(&instruction).unwrap();
        assert_eq!(
            (bench.peek_u64(DATA), bench.peek_u64(DATA + 8), bench.cpu.flag(rflags::ZF)),
            (3, 4, true)
        );
    }

    #[test]
    fn cmpxchg8b_works_on_register_halves() {
        let mut bench = Bench::long();
        bench.poke(DATA, &0x2222_2222_1111_1111u64.to_le_bytes());
        bench.cpu.gpr[RSI] = DATA;
        (bench.cpu.gpr[RAX], bench.cpu.gpr[RDX]) = (u64::MAX, u64::MAX);
        bench.run(&[0x0f, 0xc7, 0x0e]).unwrap();
        assert_eq!((bench.cpu.gpr[RAX], bench.cpu.gpr[RDX]), (0x1111_1111, 0x2222_2222));
        (bench.cpu.gpr[RBX], bench.cpu.gpr[RCX]) = (u64::MAX, 0x77);
        bench.run(&[0x0f, 0xc7, 0x0e]).unwrap();
        assert_eq!(bench.peek_u64(DATA), 0x0000_0077_ffff_ffff);
    }
}
