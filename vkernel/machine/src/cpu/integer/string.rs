//! String instructions (SDM vol. 1 7.3.9): MOVS, CMPS, SCAS, LODS, STOS, INS, OUTS, and REP.
//!
//! One execution is one iteration and one count. A repeated instruction with more to do leaves `next_rip` at
//! itself, so that interrupts, single-step traps and the schedule come between iterations, and a fault leaves
//! the registers as the iterations before it made them. With a count of 0 it only takes its place in time.

use crate::cpu::core::Core;
use crate::cpu::exception::Exec;
use crate::cpu::flags;
use crate::cpu::mmu::Intent;
use crate::cpu::operand::{operand_segment, truncate};
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
        source_segment: operand_segment(instruction),
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
        // The ports are protected whatever the count; memory is not looked at.
        let ports = matches!(string.operation, Operation::Input | Operation::Output);
        let port = core.cpu.gpr[RDX] as u16;
        return if ports { system::check_io(core, port, string.size as u8) } else { Ok(()) };
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

#[cfg(test)]
mod tests {
    use crate::cpu::exception::Exception;
    use crate::cpu::state::{RAX, RCX, RDI, RDX, RSI, rflags};
    use crate::cpu::testing::{ABSENT, Bench, CODE, DATA, READ_ONLY};

    #[test]
    fn a_repeated_store_is_one_iteration_at_a_time() {
        let mut bench = Bench::long();
        (bench.cpu.gpr[RCX], bench.cpu.gpr[RDI], bench.cpu.gpr[RAX]) = (3, DATA, 0x5a);
        for left in [2, 1] {
            bench.run(&[0xf3, 0xaa]).unwrap();
            assert_eq!((bench.cpu.rip, bench.cpu.gpr[RCX]), (CODE, left));
        }
        bench.run(&[0xf3, 0xaa]).unwrap();
        assert_eq!((bench.cpu.rip, bench.cpu.gpr[RCX], bench.cpu.gpr[RDI]), (CODE + 2, 0, DATA + 3));
        assert_eq!(bench.peek::<4>(DATA), [0x5a, 0x5a, 0x5a, 0]);
    }

    #[test]
    fn a_count_of_zero_touches_nothing() {
        let mut bench = Bench::long();
        // Only ECX counts with 32-bit addresses, and the absent page is not looked at.
        (bench.cpu.gpr[RCX], bench.cpu.gpr[RDI]) = (1 << 32, ABSENT);
        bench.run(&[0x67, 0xf3, 0xaa]).unwrap();
        assert_eq!((bench.cpu.rip, bench.cpu.gpr[RCX], bench.cpu.gpr[RDI]), (CODE + 3, 1 << 32, ABSENT));
    }

    #[test]
    fn ports_are_protected_even_from_a_count_of_zero() {
        for code in [[0xf3, 0x6c], [0xf3, 0x6e]] {
            let mut bench = Bench::long();
            (bench.cpu.gpr[RCX], bench.cpu.gpr[RDI], bench.cpu.gpr[RSI]) = (0, ABSENT, ABSENT);
            bench.run(&code).expect("nothing is protected from CPL 0");
            bench.cpu.rip = CODE;
            (bench.cpu.cpl, bench.cpu.tr.limit) = (3, 0);
            assert_eq!(bench.run(&code), Err(Exception::gp(0)));
        }
    }

    #[test]
    fn a_fault_leaves_the_iterations_before_it() {
        let mut bench = Bench::long();
        (bench.cpu.gpr[RCX], bench.cpu.gpr[RSI], bench.cpu.gpr[RDI]) = (4, DATA, ABSENT - 8);
        bench.run(&[0xf3, 0x48, 0xa5]).unwrap(); // rep movsq
        assert_eq!(bench.run(&[0xf3, 0x48, 0xa5]), Err(Exception::pf(2)));
        assert_eq!((bench.cpu.rip, bench.sys.fault_vaddr), (CODE, ABSENT));
        let found = (bench.cpu.gpr[RCX], bench.cpu.gpr[RSI], bench.cpu.gpr[RDI]);
        assert_eq!(found, (3, DATA + 8, ABSENT));
    }

    #[test]
    fn comparisons_end_where_their_condition_fails() {
        let mut bench = Bench::long();
        bench.poke(DATA, b"abcd\0");
        (bench.cpu.gpr[RCX], bench.cpu.gpr[RDI]) = (u64::MAX, DATA);
        let mut counts = 0;
        while bench.cpu.rip == CODE {
            bench.run(&[0xf2, 0xae]).unwrap(); // repne scasb, as strlen does
            counts += 1;
        }
        assert_eq!((counts, !bench.cpu.gpr[RCX] - 1, bench.cpu.flag(rflags::ZF)), (5, 4, true));

        bench.poke(DATA + 16, b"abxd");
        bench.cpu.rip = CODE;
        (bench.cpu.gpr[RCX], bench.cpu.gpr[RSI], bench.cpu.gpr[RDI]) = (4, DATA, DATA + 16);
        while bench.cpu.rip == CODE {
            bench.run(&[0xf3, 0xa6]).unwrap(); // repe cmpsb
        }
        assert_eq!((bench.cpu.gpr[RCX], bench.cpu.gpr[RSI]), (1, DATA + 3));
        assert!(bench.cpu.flag(rflags::CF), "c is below x");
    }

    #[test]
    fn a_port_is_read_only_when_the_destination_can_be_written() {
        let mut bench = Bench::long();
        (bench.cpu.gpr[RCX], bench.cpu.gpr[RDI], bench.cpu.gpr[RDX]) = (2, READ_ONLY, 0xeeee);
        assert_eq!(bench.run(&[0xf3, 0x6d]), Err(Exception::pf(3)), "rep insd");
        assert!(!bench.sys.leave.recheck, "no port was accessed");
        bench.cpu.gpr[RDI] = DATA;
        bench.run(&[0xf3, 0x6d]).unwrap();
        assert!(bench.sys.leave.recheck);
        assert_eq!((bench.cpu.gpr[RCX], bench.cpu.gpr[RDI]), (1, DATA + 4));
        bench.cpu.gpr[RSI] = ABSENT;
        assert_eq!(bench.run_in_place(&[0x6e]), Err(Exception::pf(0)), "outsb");
        bench.cpu.gpr[RSI] = DATA;
        bench.run_in_place(&[0x6e]).unwrap();
        assert_eq!(bench.cpu.gpr[RSI], DATA + 1);
    }

    #[test]
    fn the_direction_flag_and_the_address_size_rule_the_index() {
        let mut bench = Bench::real();
        bench.cpu.rflags |= rflags::DF;
        bench.poke(0, &[0x11, 0x22]);
        (bench.cpu.gpr[RSI], bench.cpu.gpr[RAX]) = (0x7_0000, 0xffff_ffff);
        bench.run(&[0xad]).unwrap(); // lodsw
        assert_eq!((bench.cpu.gpr[RSI], bench.cpu.gpr[RAX]), (0x7_fffe, 0xffff_2211));
    }
}
