//! The stack (SDM vol. 1 ch. 6 and 7.3.1.4): PUSH, POP and their many-register forms, PUSHF, POPF, ENTER,
//! LEAVE.
//!
//! The operand size says how much is moved, the stack size ([`Vcpu::stack_bytes`]) how wide the stack
//! pointer is. PUSH and POP of segment registers are in `super::super::system`.
//!
//! [`Vcpu::stack_bytes`]: crate::cpu::state::Vcpu::stack_bytes

use super::transfer::is_general;
use crate::cpu::core::{Core, Located};
use crate::cpu::exception::{Exception, Exec};
use crate::cpu::mmu::Intent;
use crate::cpu::operand::truncate;
use crate::cpu::state::{Mode, RBP, RSP, SS, rflags};
use iced_x86::{Code, Instruction, Mnemonic};

/// What POPF may change at any privilege.
const POPF_ALWAYS: u64 = rflags::STATUS | rflags::TF | rflags::DF | rflags::NT | rflags::AC | rflags::ID;

pub(super) fn execute(core: &mut Core<'_>, instruction: &Instruction) -> Option<Exec> {
    use Mnemonic as M;
    Some(match instruction.mnemonic() {
        M::Push if is_general(instruction) => push_operand(core, instruction),
        M::Pop if is_general(instruction) => pop_operand(core, instruction),
        M::Pusha => push_all(core, 2),
        M::Pushad => push_all(core, 4),
        M::Popa => pop_all(core, 2),
        M::Popad => pop_all(core, 4),
        M::Pushf => push_flags(core, 2),
        M::Pushfd => push_flags(core, 4),
        M::Pushfq => push_flags(core, 8),
        M::Popf => pop_flags(core, 2),
        M::Popfd => pop_flags(core, 4),
        M::Popfq => pop_flags(core, 8),
        M::Enter => enter(core, instruction),
        M::Leave => leave(core, instruction),
        _ => return None,
    })
}

/// The stack pointer, as wide as the stack segment says.
fn pointer(core: &Core<'_>) -> u64 {
    truncate(core.cpu.gpr[RSP], usize::from(core.cpu.stack_bytes()))
}

/// Writes a register of which only the stack size counts.
fn set_stack_sized(core: &mut Core<'_>, register: usize, value: u64) {
    set_sized(core, register, value, usize::from(core.cpu.stack_bytes()));
}

/// Writes the low `size` bytes (2, 4 or 8) of a general register, by the rules for partial writes.
fn set_sized(core: &mut Core<'_>, register: usize, value: u64, size: usize) {
    let full = &mut core.cpu.gpr[register];
    *full = if size == 2 { *full & !0xffff | value & 0xffff } else { truncate(value, size) };
}

/// Writes the stack pointer, as wide as the stack segment says.
pub(super) fn set_pointer(core: &mut Core<'_>, value: u64) {
    set_stack_sized(core, RSP, value);
}

/// Finds `size` bytes at `offset` in the stack segment, wrapped to the stack size.
fn locate(core: &mut Core<'_>, offset: u64, size: usize, intent: Intent) -> Exec<Located> {
    let offset = truncate(offset, usize::from(core.cpu.stack_bytes()));
    core.locate(SS, offset, size, intent)
}

/// Pushes the low `size` bytes of `value`.
pub(super) fn push(core: &mut Core<'_>, value: u64, size: usize) -> Exec {
    let pushed = pointer(core).wrapping_sub(size as u64);
    let at = locate(core, pushed, size, Intent::Write)?;
    core.store_located_sized(at, value);
    set_pointer(core, pushed);
    Ok(())
}

/// The value on top of the stack, and the stack pointer for when it has been popped.
pub(super) fn peek(core: &mut Core<'_>, size: usize) -> Exec<(u64, u64)> {
    let top = pointer(core);
    let at = locate(core, top, size, Intent::Read)?;
    Ok((core.load_located_sized(at), top.wrapping_add(size as u64)))
}

fn push_operand(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let size = instruction.stack_pointer_increment().unsigned_abs() as usize;
    let value = core.read_operand(instruction, 0)?;
    push(core, value, size)
}

/// POP. The address of a memory destination is computed with the stack pointer already incremented.
fn pop_operand(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let size = core.operand_size(instruction, 0);
    let (value, popped) = peek(core, size)?;
    let before = core.cpu.gpr[RSP];
    set_pointer(core, popped);
    match core.place(instruction, 0) {
        Ok(place) => {
            core.write_place(place, value);
            Ok(())
        }
        Err(fault) => {
            core.cpu.gpr[RSP] = before;
            Err(fault)
        }
    }
}

/// Finds eight slots of `size` bytes upwards from `lowest`, checked in the order of `slots`.
fn locate_eight(
    core: &mut Core<'_>,
    lowest: u64,
    size: usize,
    intent: Intent,
    slots: impl Iterator<Item = usize>,
) -> Exec<Vec<(usize, Located)>> {
    slots
        .map(|slot| Ok((slot, locate(core, lowest.wrapping_add((slot * size) as u64), size, intent)?)))
        .collect()
}

/// PUSHA: the general registers in encoding order, RSP as it was before.
fn push_all(core: &mut Core<'_>, size: usize) -> Exec {
    let lowest = pointer(core).wrapping_sub(8 * size as u64);
    for (slot, at) in locate_eight(core, lowest, size, Intent::Write, (0..8).rev())? {
        core.store_located_sized(at, core.cpu.gpr[7 - slot]);
    }
    set_pointer(core, lowest);
    Ok(())
}

/// POPA: the reverse of PUSHA, but the stack pointer's slot is skipped.
fn pop_all(core: &mut Core<'_>, size: usize) -> Exec {
    let lowest = pointer(core);
    for (slot, at) in locate_eight(core, lowest, size, Intent::Read, 0..8)? {
        let value = core.load_located_sized(at);
        if 7 - slot != RSP {
            set_sized(core, 7 - slot, value, size);
        }
    }
    set_pointer(core, lowest.wrapping_add(8 * size as u64));
    Ok(())
}

fn io_privilege(core: &Core<'_>) -> u8 {
    ((core.cpu.rflags & rflags::IOPL) >> 12) as u8
}

/// PUSHF and POPF are privileged in virtual-8086 mode (without the virtual interrupt flag, which is not
/// exposed).
fn check_virtual_8086(core: &Core<'_>) -> Exec {
    let denied = core.cpu.mode == Mode::Virtual8086 && io_privilege(core) < 3;
    if denied { Err(Exception::gp(0)) } else { Ok(()) }
}

fn push_flags(core: &mut Core<'_>, size: usize) -> Exec {
    check_virtual_8086(core)?;
    push(core, core.cpu.rflags & !(rflags::VM | rflags::RF), size)
}

/// POPF: IOPL changes only at CPL 0, IF only when CPL does not exceed IOPL.
fn pop_flags(core: &mut Core<'_>, size: usize) -> Exec {
    check_virtual_8086(core)?;
    let (popped, stack_pointer) = peek(core, size)?;
    let mut changeable = POPF_ALWAYS;
    if core.cpu.cpl == 0 {
        changeable |= rflags::IOPL;
    }
    if core.cpu.cpl <= io_privilege(core) {
        changeable |= rflags::IF;
    }
    changeable = truncate(changeable, size);
    let before = core.cpu.rflags;
    core.cpu.rflags = before & !changeable | popped & changeable;
    if size > 2 {
        core.cpu.rflags &= !rflags::RF;
    }
    set_pointer(core, stack_pointer);
    if core.cpu.rflags & !before & (rflags::IF | rflags::TF) != 0 {
        core.recheck();
    }
    Ok(())
}

/// ENTER: pushes the frame pointer, copies the frame pointers of the enclosing procedures, and makes room.
/// All slots are found before the first is written, and the new top of the stack must be writable.
fn enter(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let size: usize = match instruction.code() {
        Code::Enterw_imm16_imm8 => 2,
        Code::Enterd_imm16_imm8 => 4,
        _ => 8,
    };
    let room = u64::from(instruction.immediate16());
    let level = u64::from(instruction.immediate8_2nd() & 31);
    let step = size as u64;
    let top = pointer(core);
    let frame = top.wrapping_sub(step);
    let outer = core.cpu.gpr[RBP];

    let saved = locate(core, frame, size, Intent::Write)?;
    let mut copies = Vec::new();
    for n in 1..level {
        let from = locate(core, outer.wrapping_sub(n * step), size, Intent::Read)?;
        let to = locate(core, frame.wrapping_sub(n * step), size, Intent::Write)?;
        copies.push((from, to));
    }
    let own = if level > 0 {
        Some(locate(core, frame.wrapping_sub(level * step), size, Intent::Write)?)
    } else {
        None
    };
    let bottom = frame.wrapping_sub(level * step).wrapping_sub(room);
    locate(core, bottom, size, Intent::Write)?;

    core.store_located_sized(saved, outer);
    for (from, to) in copies {
        let value = core.load_located_sized(from);
        core.store_located_sized(to, value);
    }
    if let Some(own) = own {
        core.store_located_sized(own, frame);
    }
    set_sized(core, RBP, frame, size);
    set_pointer(core, bottom);
    Ok(())
}

fn leave(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let size = match instruction.code() {
        Code::Leavew => 2,
        Code::Leaved => 4,
        _ => 8,
    };
    let frame = core.cpu.gpr[RBP];
    let at = locate(core, frame, size, Intent::Read)?;
    let outer = core.load_located_sized(at);
    set_pointer(core, frame.wrapping_add(size as u64));
    set_sized(core, RBP, outer, size);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::cpu::exception::Exception;
    use crate::cpu::state::{Mode, RAX, RBP, RBX, RDI, RSP, SS, rflags};
    use crate::cpu::testing::{ABSENT, Bench, DATA, READ_ONLY, STACK};

    #[test]
    fn push_of_the_stack_pointer_stores_its_old_value() {
        let mut bench = Bench::long();
        bench.run(&[0x54]).unwrap(); // push rsp
        assert_eq!((bench.cpu.gpr[RSP], bench.peek_u64(STACK - 8)), (STACK - 8, STACK));
        bench.run(&[0x5c]).unwrap(); // pop rsp
        assert_eq!(bench.cpu.gpr[RSP], STACK);
    }

    #[test]
    fn pushes_have_the_operand_size() {
        let mut bench = Bench::long();
        bench.run(&[0x6a, 0xff]).unwrap(); // push -1
        assert_eq!((bench.cpu.gpr[RSP], bench.peek_u64(STACK - 8)), (STACK - 8, u64::MAX));
        bench.run(&[0x66, 0x6a, 0xfe]).unwrap(); // push word -2
        assert_eq!((bench.cpu.gpr[RSP], bench.peek(STACK - 10)), (STACK - 10, [0xfe, 0xff]));
        bench.run(&[0x66, 0x58]).unwrap(); // pop ax
        assert_eq!((bench.cpu.gpr[RSP], bench.cpu.gpr[RAX]), (STACK - 8, 0xfffe));
    }

    #[test]
    fn pop_to_memory_uses_the_incremented_stack_pointer() {
        let mut bench = Bench::long();
        bench.cpu.gpr[RSP] = STACK - 64;
        bench.poke(STACK - 64, &7u64.to_le_bytes());
        bench.run(&[0x8f, 0x44, 0x24, 0x08]).unwrap(); // pop [rsp+8]
        assert_eq!((bench.cpu.gpr[RSP], bench.peek_u64(STACK - 48)), (STACK - 56, 7));
        bench.cpu.gpr[RBX] = READ_ONLY;
        assert_eq!(bench.run(&[0x8f, 0x03]), Err(Exception::pf(3)), "pop [rbx]");
        assert_eq!(bench.cpu.gpr[RSP], STACK - 56);
    }

    #[test]
    fn a_small_stack_wraps_in_its_16_bits() {
        let mut bench = Bench::protected().with_small_stack();
        bench.cpu.gpr[RSP] = 0x7777_0002;
        bench.run(&[0x66, 0x6a, 0x01]).unwrap(); // push word 1
        bench.run(&[0x66, 0x6a, 0x02]).unwrap();
        assert_eq!((bench.cpu.gpr[RSP], bench.peek(0xfffe)), (0x7777_fffe, [2, 0]));
        bench.run(&[0x66, 0x58]).unwrap(); // pop ax
        assert_eq!((bench.cpu.gpr[RSP], bench.cpu.gpr[RAX]), (0x7777_0000, 2));
        bench.cpu.segments[SS].limit = 0xffff;
        bench.cpu.gpr[RSP] = 0x7777_0002;
        assert_eq!(bench.run(&[0x6a, 0x01]), Err(Exception::ss(0)), "a dword across the limit");
        assert_eq!(bench.cpu.gpr[RSP], 0x7777_0002);
    }

    #[test]
    fn pusha_and_popa_are_inverse_but_for_the_stack_pointer() {
        let mut bench = Bench::protected();
        for register in 0..8 {
            bench.cpu.gpr[register] = 0x1111_1111 * register as u64;
        }
        bench.cpu.gpr[RSP] = STACK;
        let before = bench.cpu.gpr;
        bench.run(&[0x60]).unwrap();
        assert_eq!(bench.cpu.gpr[RSP], STACK - 32);
        assert_eq!(bench.peek(STACK - 32), 0x7777_7777u32.to_le_bytes(), "EDI lies lowest");
        assert_eq!(bench.peek(STACK - 20), (STACK as u32).to_le_bytes(), "the old ESP");
        bench.poke(STACK - 20, &[0; 4]);
        bench.cpu.gpr[RAX] = 0;
        bench.cpu.gpr[RDI] = 0;
        bench.run(&[0x61]).unwrap();
        assert_eq!(bench.cpu.gpr, before);
    }

    #[test]
    fn pushf_hides_resume_and_popf_respects_privilege() {
        let all = 0x3f_7fd5;
        // CPL, IOPL; the flags that POPFQ can set.
        let user = all & !(rflags::RF | rflags::VM | rflags::VIF | rflags::VIP | rflags::IOPL | rflags::IF);
        for (cpl, iopl, settable) in
            [(0, 0, user | rflags::IF | rflags::IOPL), (3, 0, user), (3, 3, user | rflags::IF)]
        {
            let mut bench = Bench::long();
            bench.cpu.cpl = cpl;
            bench.cpu.rflags = rflags::FIXED | rflags::RF | iopl << 12;
            bench.run(&[0x9c]).unwrap();
            assert_eq!(bench.peek_u64(STACK - 8), rflags::FIXED | iopl << 12);
            bench.poke(STACK - 8, &u64::MAX.to_le_bytes());
            bench.run(&[0x9d]).unwrap();
            assert_eq!(bench.cpu.rflags, settable | rflags::FIXED | iopl << 12, "CPL {cpl}, IOPL {iopl}");
            assert!(bench.sys.leave.recheck, "TF was set");
        }
    }

    #[test]
    fn popf_in_virtual_8086_mode_needs_full_io_privilege() {
        let mut bench = Bench::real();
        bench.cpu.mode = Mode::Virtual8086;
        bench.cpu.cpl = 3;
        bench.cpu.rflags = rflags::FIXED | rflags::VM | 2 << 12;
        assert_eq!(bench.run(&[0x9d]), Err(Exception::gp(0)));
        assert_eq!(bench.run(&[0x9c]), Err(Exception::gp(0)));
        bench.cpu.rflags |= 3 << 12;
        bench.poke(STACK, &(rflags::IF as u16).to_le_bytes());
        bench.run(&[0x9d]).unwrap();
        assert_eq!(bench.cpu.rflags, rflags::FIXED | rflags::VM | rflags::IF | 3 << 12);
    }

    #[test]
    fn enter_copies_the_display_and_leave_undoes_it() {
        let mut bench = Bench::long();
        bench.cpu.gpr[RBP] = DATA + 0x100;
        bench.poke(DATA + 0xf8, &0xaaaau64.to_le_bytes());
        bench.poke(DATA + 0xf0, &0xbbbbu64.to_le_bytes());
        bench.run(&[0xc8, 0x20, 0, 3]).unwrap(); // enter 32, 3
        assert_eq!((bench.cpu.gpr[RBP], bench.cpu.gpr[RSP]), (STACK - 8, STACK - 32 - 32));
        let frame = [1, 2, 3, 4].map(|slot| bench.peek_u64(STACK - 8 * slot));
        assert_eq!(frame, [DATA + 0x100, 0xaaaa, 0xbbbb, STACK - 8]);
        bench.run(&[0xc9]).unwrap();
        assert_eq!((bench.cpu.gpr[RBP], bench.cpu.gpr[RSP]), (DATA + 0x100, STACK));
    }

    #[test]
    fn enter_faults_before_it_changes_anything() {
        let mut bench = Bench::long();
        bench.cpu.gpr[RSP] = ABSENT + 0x3000;
        bench.cpu.gpr[RBP] = 5;
        let before = bench.cpu.gpr;
        let result = bench.run(&[0xc8, 0x00, 0x20, 0]); // enter 0x2000, 0 ends on the absent page
        assert_eq!(result.map_err(|fault| fault.vector), Err(14));
        assert_eq!(bench.cpu.gpr, before);
    }
}
