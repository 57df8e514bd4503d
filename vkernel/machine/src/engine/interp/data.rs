//! Handlers that move data: MOV and its extensions, LEA, the stack, XCHG, conditional moves and sets.

use super::memory::{load, store};
use super::op::{Address, Op, Step, narrow, reg, reg_sized, set_reg, widen};
use crate::cpu::state::{RBP, RSP, Vcpu};
use crate::system::System;

/// `mov register, register`.
#[inline(always)]
pub fn mov_reg<const S: usize>(cpu: &mut Vcpu, _sys: &mut System, op: &Op) -> Step {
    let value = reg(cpu, op.b);
    set_reg::<S>(cpu, op.a, value);
    Ok(())
}

/// `mov register, immediate`, up to 64 bits.
#[inline(always)]
pub fn mov_imm<const S: usize>(cpu: &mut Vcpu, _sys: &mut System, op: &Op) -> Step {
    set_reg::<S>(cpu, op.a, op.displacement as u64);
    Ok(())
}

/// `mov register, [memory]`.
#[inline(always)]
pub fn mov_load<A: Address, const S: usize>(cpu: &mut Vcpu, sys: &mut System, op: &Op) -> Step {
    let value = load::<S>(cpu, sys, op, A::of(cpu, op))?;
    set_reg::<S>(cpu, op.a, value);
    Ok(())
}

/// `mov [memory], register`.
#[inline(always)]
pub fn mov_store<A: Address, const S: usize>(cpu: &mut Vcpu, sys: &mut System, op: &Op) -> Step {
    let value = reg(cpu, op.a);
    store::<S>(cpu, sys, op, A::of(cpu, op), value)
}

/// `mov [memory], immediate`.
#[inline(always)]
pub fn mov_store_imm<A: Address, const S: usize>(cpu: &mut Vcpu, sys: &mut System, op: &Op) -> Step {
    store::<S>(cpu, sys, op, A::of(cpu, op), op.immediate as i64 as u64)
}

/// `movzx register, register`: `F` bytes to `S` bytes.
#[inline(always)]
pub fn movzx_reg<const S: usize, const F: usize>(cpu: &mut Vcpu, _sys: &mut System, op: &Op) -> Step {
    let value = reg_sized::<F>(cpu, op.b);
    set_reg::<S>(cpu, op.a, value);
    Ok(())
}

/// `movzx register, [memory]`.
#[inline(always)]
pub fn movzx_load<A: Address, const S: usize, const F: usize>(
    cpu: &mut Vcpu,
    sys: &mut System,
    op: &Op,
) -> Step {
    let value = load::<F>(cpu, sys, op, A::of(cpu, op))?;
    set_reg::<S>(cpu, op.a, value);
    Ok(())
}

/// `movsx register, register`.
#[inline(always)]
pub fn movsx_reg<const S: usize, const F: usize>(cpu: &mut Vcpu, _sys: &mut System, op: &Op) -> Step {
    let value = widen::<F>(reg(cpu, op.b));
    set_reg::<S>(cpu, op.a, value);
    Ok(())
}

/// `movsx register, [memory]`.
#[inline(always)]
pub fn movsx_load<A: Address, const S: usize, const F: usize>(
    cpu: &mut Vcpu,
    sys: &mut System,
    op: &Op,
) -> Step {
    let value = widen::<F>(load::<F>(cpu, sys, op, A::of(cpu, op))?);
    set_reg::<S>(cpu, op.a, value);
    Ok(())
}

/// `lea register, [memory]`: no segment base is added.
#[inline(always)]
pub fn lea<A: Address, const S: usize>(cpu: &mut Vcpu, _sys: &mut System, op: &Op) -> Step {
    let value = A::of(cpu, op);
    set_reg::<S>(cpu, op.a, value);
    Ok(())
}

/// Pushes 8 bytes. RSP changes only if that succeeds.
#[inline(always)]
pub fn push_value(cpu: &mut Vcpu, sys: &mut System, op: &Op, value: u64) -> Step {
    let rsp = cpu.gpr[RSP].wrapping_sub(8);
    store::<8>(cpu, sys, op, rsp, value)?;
    cpu.gpr[RSP] = rsp;
    Ok(())
}

/// Pops 8 bytes.
#[inline(always)]
pub fn pop_value(cpu: &mut Vcpu, sys: &mut System, op: &Op) -> Result<u64, super::op::Out> {
    let rsp = cpu.gpr[RSP];
    let value = load::<8>(cpu, sys, op, rsp)?;
    cpu.gpr[RSP] = rsp.wrapping_add(8);
    Ok(value)
}

/// `push register`.
#[inline(always)]
pub fn push_reg(cpu: &mut Vcpu, sys: &mut System, op: &Op) -> Step {
    let value = reg(cpu, op.a);
    push_value(cpu, sys, op, value)
}

/// `push immediate`.
#[inline(always)]
pub fn push_imm(cpu: &mut Vcpu, sys: &mut System, op: &Op) -> Step {
    push_value(cpu, sys, op, op.immediate as i64 as u64)
}

/// `push [memory]`. Both accesses are made before RSP changes.
#[inline(always)]
pub fn push_mem<A: Address>(cpu: &mut Vcpu, sys: &mut System, op: &Op) -> Step {
    let value = load::<8>(cpu, sys, op, A::of(cpu, op))?;
    push_value(cpu, sys, op, value)
}

/// `pop register`.
#[inline(always)]
pub fn pop_reg(cpu: &mut Vcpu, sys: &mut System, op: &Op) -> Step {
    let value = pop_value(cpu, sys, op)?;
    cpu.gpr[usize::from(op.a & 15)] = value;
    Ok(())
}

/// `leave`.
#[inline(always)]
pub fn leave(cpu: &mut Vcpu, sys: &mut System, op: &Op) -> Step {
    let rbp = cpu.gpr[RBP];
    let value = load::<8>(cpu, sys, op, rbp)?;
    cpu.gpr[RSP] = rbp.wrapping_add(8);
    cpu.gpr[RBP] = value;
    Ok(())
}

/// `xchg register, register`.
#[inline(always)]
pub fn xchg_reg<const S: usize>(cpu: &mut Vcpu, _sys: &mut System, op: &Op) -> Step {
    let (left, right) = (reg_sized::<S>(cpu, op.a), reg_sized::<S>(cpu, op.b));
    set_reg::<S>(cpu, op.a, right);
    set_reg::<S>(cpu, op.b, left);
    Ok(())
}

/// `cmovcc register, register`. A 32-bit one clears the upper half even when it does not move.
#[inline(always)]
pub fn cmov_reg<const CODE: u8, const S: usize>(cpu: &mut Vcpu, sys: &mut System, op: &Op) -> Step {
    let from = if sys.scratch.lazy.condition::<CODE>(cpu) { op.b } else { op.a };
    let value = reg_sized::<S>(cpu, from);
    set_reg::<S>(cpu, op.a, value);
    Ok(())
}

/// `cmovcc register, [memory]`: the memory is read in any case.
#[inline(always)]
pub fn cmov_load<const CODE: u8, A: Address, const S: usize>(
    cpu: &mut Vcpu,
    sys: &mut System,
    op: &Op,
) -> Step {
    let loaded = load::<S>(cpu, sys, op, A::of(cpu, op))?;
    let value = if sys.scratch.lazy.condition::<CODE>(cpu) { loaded } else { reg_sized::<S>(cpu, op.a) };
    set_reg::<S>(cpu, op.a, value);
    Ok(())
}

/// `setcc register`.
#[inline(always)]
pub fn setcc<const CODE: u8>(cpu: &mut Vcpu, sys: &mut System, op: &Op) -> Step {
    let value = u64::from(sys.scratch.lazy.condition::<CODE>(cpu));
    set_reg::<1>(cpu, op.a, value);
    Ok(())
}

/// `bswap register`.
#[inline(always)]
pub fn bswap<const S: usize>(cpu: &mut Vcpu, _sys: &mut System, op: &Op) -> Step {
    let value = reg(cpu, op.a).swap_bytes() >> (64 - 8 * S as u32);
    set_reg::<S>(cpu, op.a, value);
    Ok(())
}

/// CDQE and CWDE: sign-extends half of RAX into `S` bytes.
#[inline(always)]
pub fn extend_rax<const S: usize, const F: usize>(cpu: &mut Vcpu, _sys: &mut System, _op: &Op) -> Step {
    let value = widen::<F>(cpu.gpr[0]);
    set_reg::<S>(cpu, 0, value);
    Ok(())
}

/// CQO and CDQ: fills RDX with the sign of RAX.
#[inline(always)]
pub fn extend_into_rdx<const S: usize>(cpu: &mut Vcpu, _sys: &mut System, _op: &Op) -> Step {
    let sign = (widen::<S>(cpu.gpr[0]) as i64 >> 63) as u64;
    set_reg::<S>(cpu, 2, narrow::<S>(sign));
    Ok(())
}

/// NOP, ENDBR, PREFETCH.
#[inline(always)]
pub fn nop(_cpu: &mut Vcpu, _sys: &mut System, _op: &Op) -> Step {
    Ok(())
}
