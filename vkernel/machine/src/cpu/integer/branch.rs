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
