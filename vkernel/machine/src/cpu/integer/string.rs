//! String instructions (SDM vol. 1 7.3.9): MOVS, CMPS, SCAS, LODS, STOS, INS, OUTS, and REP.
//!
//! One execution is one iteration and one count. A repeated instruction with more to do leaves `next_rip` at
//! itself, so that interrupts, single-step traps and the schedule come between iterations, and a fault leaves
//! the registers as the iterations before it made them. With a count of 0 it only takes its place in time.

use crate::cpu::core::Core;
use crate::cpu::exception::Exec;
use crate::cpu::flags;
use crate::cpu::mmu::Intent;
use crate::cpu::operand::{segment_index, truncate};
use crate::cpu::state::{ES, RAX, RCX, RDI, RDX, RSI, rflags};
use crate::cpu::system;
use iced_x86::{Instruction, Mnemonic, OpKind};

/// What one iteration does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Move,
    Compare,
    Scan,
    Load,
    Store,
    Input,
    Output,
}

/// A string instruction, its registers and sizes made explicit.
struct StringInstruction {
    operation: Operation,
    /// Bytes in an element.
    size: usize,
    /// Bytes in the index and count registers.
    address_bytes: usize,
    /// Segment of the source.
    source_segment: usize,
}

pub(super) fn execute(core: &mut Core<'_>, instruction: &Instruction) -> Option<Exec> {
    // MOVSD and CMPSD are also names of SSE instructions.
    if !instruction.is_string_instruction() {
        return None;
    }
    use Mnemonic as M;
    use Operation as O;
    let (operation, size) = match instruction.mnemonic() {
        M::Movsb => (O::Move, 1),
        M::Movsw => (O::Move, 2),
        M::Movsd => (O::Move, 4),
        M::Movsq => (O::Move, 8),
        M::Cmpsb => (O::Compare, 1),
        M::Cmpsw => (O::Compare, 2),
        M::Cmpsd => (O::Compare, 4),
        M::Cmpsq => (O::Compare, 8),
        M::Scasb => (O::Scan, 1),
        M::Scasw => (O::Scan, 2),
        M::Scasd => (O::Scan, 4),
        M::Scasq => (O::Scan, 8),
        M::Lodsb => (O::Load, 1),
        M::Lodsw => (O::Load, 2),
        M::Lodsd => (O::Load, 4),
        M::Lodsq => (O::Load, 8),
        M::Stosb => (O::Store, 1),
        M::Stosw => (O::Store, 2),
        M::Stosd => (O::Store, 4),
        M::Stosq => (O::Store, 8),
        M::Insb => (O::Input, 1),
        M::Insw => (O::Input, 2),
        M::Insd => (O::Input, 4),
        M::Outsb => (O::Output, 1),
        M::Outsw => (O::Output, 2),
        M::Outsd => (O::Output, 4),
        _ => return None,
    };
    let string = StringInstruction {
        operation,
        size,
        address_bytes: address_bytes(instruction),
        source_segment: segment_index(instruction.memory_segment()),
    };
    Some(repeat(core, instruction, &string))
}

fn address_bytes(instruction: &Instruction) -> usize {
    for operand in 0..instruction.op_count() {
        match instruction.op_kind(operand) {
            OpKind::MemorySegSI | OpKind::MemoryESDI => return 2,
            OpKind::MemorySegESI | OpKind::MemoryESEDI => return 4,
            _ => {}
        }
    }
    8
}

/// Writes the low `size` bytes (2, 4 or 8) of an index or count register, by the rules for partial writes.
fn set_register(core: &mut Core<'_>, register: usize, value: u64, size: usize) {
    let full = &mut core.cpu.gpr[register];
    *full = if size == 2 { *full & !0xffff | value & 0xffff } else { truncate(value, size) };
}

fn repeat(core: &mut Core<'_>, instruction: &Instruction, string: &StringInstruction) -> Exec {
    if !instruction.has_rep_prefix() && !instruction.has_repne_prefix() {
        return iterate(core, string);
    }
    let count = truncate(core.cpu.gpr[RCX], string.address_bytes);
    if count == 0 {
        return Ok(());
    }
    iterate(core, string)?;
    let left = count - 1;
    set_register(core, RCX, left, string.address_bytes);
    let compares = matches!(string.operation, Operation::Compare | Operation::Scan);
    let ended = compares && core.cpu.flag(rflags::ZF) == instruction.has_repne_prefix();
    if left != 0 && !ended {
        core.cpu.next_rip = core.cpu.rip;
    }
    Ok(())
}

fn iterate(core: &mut Core<'_>, string: &StringInstruction) -> Exec {
    let size = string.size;
    let source = (string.source_segment, truncate(core.cpu.gpr[RSI], string.address_bytes));
    let destination = (ES, truncate(core.cpu.gpr[RDI], string.address_bytes));
    match string.operation {
        Operation::Move => {
            let value = core.load_sized(source.0, source.1, size)?;
            core.store_sized(destination.0, destination.1, size, value)?;
        }
        Operation::Compare => {
            let left = core.load_sized(source.0, source.1, size)?;
            let right = core.load_sized(destination.0, destination.1, size)?;
            core.cpu.set_status(flags::sub(left, right, false, size).1);
        }
        Operation::Scan => {
            let right = core.load_sized(destination.0, destination.1, size)?;
            let left = truncate(core.cpu.gpr[RAX], size);
            core.cpu.set_status(flags::sub(left, right, false, size).1);
        }
        Operation::Load => {
            let value = core.load_sized(source.0, source.1, size)?;
            load_accumulator(core, value, size);
        }
        Operation::Store => {
            let value = truncate(core.cpu.gpr[RAX], size);
            core.store_sized(destination.0, destination.1, size, value)?;
        }
        Operation::Input => input(core, destination, size)?,
        Operation::Output => output(core, source, size)?,
    }
    advance(core, string);
    Ok(())
}

fn load_accumulator(core: &mut Core<'_>, value: u64, size: usize) {
    let full = &mut core.cpu.gpr[RAX];
    *full = match size {
        1 => *full & !0xff | value,
        2 => *full & !0xffff | value,
        _ => value,
    };
}

/// The destination is checked before the port is read, as reading may have effects.
fn input(core: &mut Core<'_>, destination: (usize, u64), size: usize) -> Exec {
    let port = core.cpu.gpr[RDX] as u16;
    system::check_io(core, port, size as u8)?;
    let at = core.locate(destination.0, destination.1, size, Intent::Write)?;
    let value = core.sys.port_read(core.cpu.id, port, size as u8);
    core.store_located_sized(at, u64::from(value));
    Ok(())
}

fn output(core: &mut Core<'_>, source: (usize, u64), size: usize) -> Exec {
    let port = core.cpu.gpr[RDX] as u16;
    system::check_io(core, port, size as u8)?;
    let value = core.load_sized(source.0, source.1, size)?;
    core.sys.port_write(core.cpu.id, port, size as u8, value as u32);
    Ok(())
}

/// Moves the index registers to the next element, downwards if DF is set.
fn advance(core: &mut Core<'_>, string: &StringInstruction) {
    use Operation as O;
    let step =
        if core.cpu.flag(rflags::DF) { (string.size as u64).wrapping_neg() } else { string.size as u64 };
    if matches!(string.operation, O::Move | O::Compare | O::Load | O::Output) {
        let next = core.cpu.gpr[RSI].wrapping_add(step);
        set_register(core, RSI, next, string.address_bytes);
    }
    if !matches!(string.operation, O::Load | O::Output) {
        let next = core.cpu.gpr[RDI].wrapping_add(step);
        set_register(core, RDI, next, string.address_bytes);
    }
}
