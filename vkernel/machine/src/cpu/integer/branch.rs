//! Near branches (SDM vol. 1 7.3.8): Jcc, JMP, CALL, RET, LOOP, JCXZ, and BOUND.
//!
//! A target that cannot be executed (not canonical, or beyond the limit of CS) faults at the branch, before
//! the stack or a counter changes. In 64-bit mode a 66H prefix does not shorten a near branch (the decoder
//! already says so, as Intel processors do). Far branches are in `super::super::system`.

use super::stack;
use super::transfer::holds;
use crate::cpu::core::Core;
use crate::cpu::exception::{Exception, Exec};
use crate::cpu::flags::signed;
use crate::cpu::mmu::Intent;
use crate::cpu::operand::truncate;
use crate::cpu::state::{CS, Mode, Vcpu, rflags};
use iced_x86::{Code, Instruction, Mnemonic, OpKind, Register};

pub(super) fn execute(core: &mut Core<'_>, instruction: &Instruction) -> Option<Exec> {
    use Mnemonic as M;
    Some(match instruction.mnemonic() {
        M::Ja
        | M::Jae
        | M::Jb
        | M::Jbe
        | M::Je
        | M::Jg
        | M::Jge
        | M::Jl
        | M::Jle
        | M::Jne
        | M::Jno
        | M::Jnp
        | M::Jns
        | M::Jo
        | M::Jp
        | M::Js => branch_if(core, instruction, holds(core, instruction)),
        M::Jcxz => branch_if(core, instruction, core.gpr(Register::CX) == 0),
        M::Jecxz => branch_if(core, instruction, core.gpr(Register::ECX) == 0),
        M::Jrcxz => branch_if(core, instruction, core.gpr(Register::RCX) == 0),
        M::Loop | M::Loope | M::Loopne => count_down(core, instruction),
        M::Jmp if is_near(instruction) => jump(core, instruction),
        M::Call if is_near(instruction) => call(core, instruction),
        M::Ret => ret(core, instruction),
        M::Bound => check_bounds(core, instruction),
        _ => return None,
    })
}

fn is_near(instruction: &Instruction) -> bool {
    !(instruction.is_jmp_far()
        || instruction.is_jmp_far_indirect()
        || instruction.is_call_far()
        || instruction.is_call_far_indirect())
}

/// Checks that execution can continue at `target` in the current code segment.
fn check_target(core: &Core<'_>, target: u64) -> Exec {
    let ok = if core.cpu.mode == Mode::Long64 {
        Vcpu::is_canonical(target)
    } else {
        target <= u64::from(core.cpu.segments[CS].limit)
    };
    if ok { Ok(()) } else { Err(Exception::gp(0)) }
}

fn branch_if(core: &mut Core<'_>, instruction: &Instruction, taken: bool) -> Exec {
    if taken {
        let target = instruction.near_branch_target();
        check_target(core, target)?;
        core.cpu.next_rip = target;
    }
    Ok(())
}

/// LOOP, LOOPE, LOOPNE: the counter is as wide as the address size.
fn count_down(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let counter = match instruction.code() {
        Code::Loop_rel8_16_CX
        | Code::Loop_rel8_32_CX
        | Code::Loope_rel8_16_CX
        | Code::Loope_rel8_32_CX
        | Code::Loopne_rel8_16_CX
        | Code::Loopne_rel8_32_CX => Register::CX,
        Code::Loop_rel8_16_RCX
        | Code::Loop_rel8_64_RCX
        | Code::Loope_rel8_16_RCX
        | Code::Loope_rel8_64_RCX
        | Code::Loopne_rel8_16_RCX
        | Code::Loopne_rel8_64_RCX => Register::RCX,
        _ => Register::ECX,
    };
    let left = truncate(core.gpr(counter).wrapping_sub(1), counter.size());
    let condition = match instruction.mnemonic() {
        Mnemonic::Loope => core.cpu.flag(rflags::ZF),
        Mnemonic::Loopne => !core.cpu.flag(rflags::ZF),
        _ => true,
    };
    branch_if(core, instruction, left != 0 && condition)?;
    core.set_gpr(counter, left);
    Ok(())
}

/// The target of a near JMP or CALL, checked, and the operand size in bytes.
fn target(core: &mut Core<'_>, instruction: &Instruction) -> Exec<(u64, usize)> {
    let (target, size) = match instruction.op0_kind() {
        OpKind::NearBranch16 => (instruction.near_branch_target(), 2),
        OpKind::NearBranch32 => (instruction.near_branch_target(), 4),
        OpKind::NearBranch64 => (instruction.near_branch_target(), 8),
        _ => (core.read_operand(instruction, 0)?, core.operand_size(instruction, 0)),
    };
    check_target(core, target)?;
    Ok((target, size))
}

fn jump(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let (target, _) = target(core, instruction)?;
    core.cpu.next_rip = target;
    Ok(())
}

fn call(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let (target, size) = target(core, instruction)?;
    stack::push(core, core.cpu.next_rip, size)?;
    core.cpu.next_rip = target;
    Ok(())
}

fn ret(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let size = match instruction.code() {
        Code::Retnw | Code::Retnw_imm16 => 2,
        Code::Retnd | Code::Retnd_imm16 => 4,
        _ => 8,
    };
    let (target, mut stack_pointer) = stack::peek(core, size)?;
    check_target(core, target)?;
    if instruction.op_count() == 1 {
        stack_pointer = stack_pointer.wrapping_add(instruction.immediate(0));
    }
    stack::set_pointer(core, stack_pointer);
    core.cpu.next_rip = target;
    Ok(())
}

/// BOUND: the index, signed, must lie between the two signed bounds in memory.
fn check_bounds(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let size = core.operand_size(instruction, 0);
    let (segment, offset) = core.effective_address(instruction);
    let at = core.locate(segment, offset, 2 * size, Intent::Read)?;
    let bounds = core.load_located_sized(at);
    let index = signed(core.gpr(instruction.op0_register()), size);
    let (lower, upper) = (signed(bounds, size), signed(bounds >> (8 * size), size));
    if (lower..=upper).contains(&index) { Ok(()) } else { Err(Exception::BR) }
}

#[cfg(test)]
mod tests {
    use crate::cpu::exception::Exception;
    use crate::cpu::state::{CS, RAX, RBX, RCX, RSP, rflags};
    use crate::cpu::testing::{ABSENT, Bench, CODE, DATA, STACK};

    #[test]
    fn a_call_pushes_the_next_instruction_and_ret_goes_there() {
        let mut bench = Bench::long();
        bench.run(&[0xe8, 0x10, 0, 0, 0]).unwrap();
        assert_eq!((bench.cpu.rip, bench.cpu.gpr[RSP]), (CODE + 5 + 0x10, STACK - 8));
        bench.run(&[0xc2, 0x10, 0]).unwrap(); // ret 16
        assert_eq!((bench.cpu.rip, bench.cpu.gpr[RSP]), (CODE + 5, STACK + 16));
    }

    #[test]
    fn a_target_that_is_not_canonical_faults_at_the_branch() {
        let mut bench = Bench::long();
        bench.cpu.gpr[RAX] = 1 << 47;
        bench.poke(STACK, &(1u64 << 47).to_le_bytes());
        for bytes in [&[0xff, 0xe0][..], &[0xff, 0xd0], &[0xc3]] {
            assert_eq!(bench.run(bytes), Err(Exception::gp(0)), "{bytes:02x?}");
            assert_eq!((bench.cpu.rip, bench.cpu.gpr[RSP]), (CODE, STACK));
        }
    }

    #[test]
    fn a_target_beyond_the_code_limit_faults_at_the_branch() {
        let mut bench = Bench::protected();
        bench.cpu.segments[CS].limit = 0x7fff;
        bench.cpu.rip = 0x7ff0;
        bench.cpu.gpr[RCX] = 2;
        let before = bench.cpu.gpr;
        for bytes in [&[0xe9, 0x7f, 0, 0, 0][..], &[0xe8, 0x7f, 0, 0, 0], &[0x75, 0x7f], &[0xe2, 0x7f]] {
            assert_eq!(bench.run(bytes), Err(Exception::gp(0)), "{bytes:02x?}");
            assert_eq!((bench.cpu.rip, bench.cpu.gpr), (0x7ff0, before));
        }
    }

    #[test]
    fn sixteen_bit_branches_wrap_the_instruction_pointer() {
        let mut bench = Bench::protected();
        bench.cpu.rip = 0x1_7000;
        bench.run(&[0x66, 0xe8, 0x00, 0x01]).unwrap(); // call rel16
        assert_eq!((bench.cpu.rip, bench.cpu.gpr[RSP]), (0x7104, STACK - 2));
        assert_eq!(bench.peek::<2>(STACK - 2), [0x04, 0x70]);
        bench.run(&[0x66, 0xc3]).unwrap(); // ret, 16-bit
        assert_eq!((bench.cpu.rip, bench.cpu.gpr[RSP]), (0x7004, STACK));
        let mut real = Bench::real();
        real.run(&[0xe9, 0x00, 0xa0]).unwrap(); // jmp over the end of the segment
        assert_eq!(real.cpu.rip, 0x1003);
    }

    #[test]
    fn an_operand_size_prefix_does_not_shorten_branches_in_64_bit_mode() {
        let mut bench = Bench::long();
        bench.run(&[0x66, 0xe8, 0x00, 0x01, 0, 0]).unwrap();
        assert_eq!((bench.cpu.rip, bench.cpu.gpr[RSP]), (CODE + 0x106, STACK - 8));
        bench.run(&[0x66, 0xc3]).unwrap();
        assert_eq!((bench.cpu.rip, bench.cpu.gpr[RSP]), (CODE + 6, STACK));
    }

    #[test]
    fn a_call_whose_stack_is_absent_does_not_happen() {
        let mut bench = Bench::long();
        bench.cpu.gpr[RSP] = ABSENT + 8;
        assert_eq!(bench.run(&[0xe8, 0x10, 0, 0, 0]), Err(Exception::pf(2)));
        assert_eq!((bench.cpu.rip, bench.cpu.gpr[RSP]), (CODE, ABSENT + 8));
    }

    #[test]
    fn an_indirect_branch_takes_its_target_from_memory() {
        let mut bench = Bench::long();
        bench.poke(DATA, &0xffff_8000_0000_1234u64.to_le_bytes());
        bench.cpu.gpr[RBX] = DATA;
        bench.run(&[0xff, 0x13]).unwrap(); // call [rbx]
        assert_eq!((bench.cpu.rip, bench.peek_u64(STACK - 8)), (0xffff_8000_0000_1234, CODE + 2));
    }

    #[test]
    fn loops_count_in_the_address_size_and_test_zero() {
        // Instruction; RCX, ZF before; taken; RCX after.
        let cases: [(&[u8], u64, bool, bool, u64); 8] = [
            (&[0xe2, 0x10], 2, false, true, 1),
            (&[0xe2, 0x10], 1, false, false, 0),
            (&[0xe2, 0x10], 0, false, true, u64::MAX),
            (&[0x67, 0xe2, 0x10], 1 << 32, false, true, 0xffff_ffff),
            (&[0xe1, 0x10], 5, false, false, 4),
            (&[0xe0, 0x10], 5, false, true, 4),
            (&[0xe3, 0x10], 1 << 32, false, false, 1 << 32),
            (&[0x67, 0xe3, 0x10], 1 << 32, false, true, 1 << 32),
        ];
        for (bytes, rcx, zero, taken, after) in cases {
            let mut bench = Bench::long();
            bench.cpu.gpr[RCX] = rcx;
            bench.cpu.set_flag(rflags::ZF, zero);
            bench.run(bytes).unwrap();
            let next = CODE + bytes.len() as u64;
            assert_eq!(bench.cpu.rip, if taken { next + 0x10 } else { next }, "{bytes:02x?}");
            assert_eq!(bench.cpu.gpr[RCX], after, "{bytes:02x?}");
        }
    }

    #[test]
    fn bound_compares_signed() {
        let mut bench = Bench::protected();
        bench.cpu.gpr[RBX] = DATA;
        bench.poke(DATA, &(-2i32).to_le_bytes());
        bench.poke(DATA + 4, &7i32.to_le_bytes());
        for (index, expected) in
            [(-3i32, Err(Exception::BR)), (-2, Ok(())), (7, Ok(())), (8, Err(Exception::BR))]
        {
            bench.cpu.gpr[RAX] = u64::from(index as u32);
            assert_eq!(bench.run_in_place(&[0x62, 0x03]), expected, "bound eax, [ebx] with {index}");
        }
    }
}
