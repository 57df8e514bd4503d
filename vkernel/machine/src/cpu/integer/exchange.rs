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
