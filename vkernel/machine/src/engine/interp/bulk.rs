//! REP MOVS and REP STOS, many iterations at once.
//!
//! Each iteration counts 1, so any split of a repetition gives the same total: as many are done here as fit
//! the budget and the current pages, the rest follows by the same rule or one by one.

use super::memory::find_or_fill;
use crate::cpu::operand::operand_segment;
use crate::cpu::state::{FS, Mode, RAX, RCX, RDI, RSI, Vcpu, rflags};
use crate::mem::PAGE_BYTES;
use crate::system::System;
use crate::tlb::Kind;
use iced_x86::{Instruction, Mnemonic, OpKind};

/// Executes iterations of a repeated string move or fill, if it is one in its common form: 64-bit mode and
/// addresses, upwards, plain RAM. Says whether it executed any (`sys.icount` has advanced by as many).
pub fn repeat(cpu: &mut Vcpu, sys: &mut System, instruction: &Instruction, end: u64) -> bool {
    if !instruction.has_rep_prefix() || cpu.mode != Mode::Long64 || cpu.flag(rflags::DF) {
        return false;
    }
    let (size, moves) = match instruction.mnemonic() {
        Mnemonic::Movsb => (1, true),
        Mnemonic::Movsw => (2, true),
        Mnemonic::Movsd => (4, true),
        Mnemonic::Movsq => (8, true),
        Mnemonic::Stosb => (1, false),
        Mnemonic::Stosw => (2, false),
        Mnemonic::Stosd => (4, false),
        Mnemonic::Stosq => (8, false),
        _ => return false,
    };
    let usual = instruction.op0_kind() == OpKind::MemoryESRDI
        && (!moves || instruction.op1_kind() == OpKind::MemorySegRSI && operand_segment(instruction) < FS);
    if !usual {
        return false;
    }
    let in_page = |laddr: u64| ((PAGE_BYTES - laddr as usize % PAGE_BYTES) / size) as u64;
    let mut count = cpu.gpr[RCX].min(end - sys.icount).min(in_page(cpu.gpr[RDI]));
    if moves {
        count = count.min(in_page(cpu.gpr[RSI]));
    }
    if count < 2 {
        return false;
    }
    let length = count as usize * size;
    let source = if moves {
        let Ok(offset) = find_or_fill(cpu, sys, cpu.gpr[RSI], length, Kind::Read) else {
            return give_up(sys);
        };
        Some(offset)
    } else {
        None
    };
    let Ok(target) = find_or_fill(cpu, sys, cpu.gpr[RDI], length, Kind::Write) else {
        return give_up(sys);
    };
    match source {
        Some(source) => copy(sys.mem.ram_mut(), source, target, length, size),
        None => fill(&mut sys.mem.ram_mut()[target..target + length], cpu.gpr[RAX], size),
    }
    cpu.gpr[RDI] = cpu.gpr[RDI].wrapping_add(length as u64);
    if moves {
        cpu.gpr[RSI] = cpu.gpr[RSI].wrapping_add(length as u64);
    }
    cpu.gpr[RCX] -= count;
    sys.icount += count;
    if cpu.gpr[RCX] == 0 {
        cpu.rip = cpu.rip.wrapping_add(instruction.len() as u64);
    }
    true
}

/// The specification does this iteration, and finds whatever stood in the way again.
fn give_up(sys: &mut System) -> bool {
    sys.scratch.raised = None;
    false
}

/// Copies upwards element by element, which differs from a plain copy where the ranges overlap.
fn copy(ram: &mut [u8], source: usize, target: usize, length: usize, size: usize) {
    if target <= source || target >= source + length {
        ram.copy_within(source..source + length, target);
        return;
    }
    for at in (0..length).step_by(size) {
        ram.copy_within(source + at..source + at + size, target + at);
    }
}

fn fill(ram: &mut [u8], value: u64, size: usize) {
    let bytes = value.to_le_bytes();
    if bytes[..size].iter().all(|&byte| byte == bytes[0]) {
        ram.fill(bytes[0]);
    } else {
        ram.chunks_exact_mut(size).for_each(|element| element.copy_from_slice(&bytes[..size]));
    }
}
