//! Handlers of near branches. A target in 64-bit mode is checked before anything changes.

use super::data::{pop_value, push_value};
use super::memory::{load, raise};
use super::op::{Address, Op, Out, Step, reg};
use crate::cpu::exception::Exception;
use crate::cpu::state::{RSP, Vcpu};
use crate::system::System;

/// Goes to `target`, which is known to be canonical.
#[inline(always)]
fn go(cpu: &mut Vcpu, target: u64) -> Step {
    cpu.rip = target;
    Err(Out::Branch)
}

#[inline(always)]
fn checked(sys: &mut System, target: u64) -> Result<u64, Out> {
    if Vcpu::is_canonical(target) { Ok(target) } else { Err(raise(sys, Exception::gp(0))) }
}

/// `jcc target`. Not taken, it falls through to the next operation.
#[inline(always)]
pub fn jcc<const CODE: u8>(cpu: &mut Vcpu, sys: &mut System, op: &Op) -> Step {
    if sys.scratch.lazy.condition::<CODE>(cpu) { go(cpu, op.displacement as u64) } else { Ok(()) }
}

/// `jmp target`.
#[inline(always)]
pub fn jmp(cpu: &mut Vcpu, _sys: &mut System, op: &Op) -> Step {
    go(cpu, op.displacement as u64)
}

/// `jmp register`.
#[inline(always)]
pub fn jmp_reg(cpu: &mut Vcpu, sys: &mut System, op: &Op) -> Step {
    let target = checked(sys, reg(cpu, op.a))?;
    go(cpu, target)
}

/// `jmp [memory]`.
#[inline(always)]
pub fn jmp_mem<A: Address>(cpu: &mut Vcpu, sys: &mut System, op: &Op) -> Step {
    let target = load::<8>(cpu, sys, op, A::of(cpu, op))?;
    let target = checked(sys, target)?;
    go(cpu, target)
}

/// The address after this instruction: the run loop keeps the block's start in the scratch area.
#[inline(always)]
fn return_address(sys: &System, op: &Op) -> u64 {
    sys.scratch.block_rip.wrapping_add(u64::from(op.rip_offset) + u64::from(op.length))
}

/// `call target`.
#[inline(always)]
pub fn call(cpu: &mut Vcpu, sys: &mut System, op: &Op) -> Step {
    let from = return_address(sys, op);
    push_value(cpu, sys, op, from)?;
    go(cpu, op.displacement as u64)
}

/// `call register`.
#[inline(always)]
pub fn call_reg(cpu: &mut Vcpu, sys: &mut System, op: &Op) -> Step {
    let target = checked(sys, reg(cpu, op.a))?;
    let from = return_address(sys, op);
    push_value(cpu, sys, op, from)?;
    go(cpu, target)
}

/// `call [memory]`.
#[inline(always)]
pub fn call_mem<A: Address>(cpu: &mut Vcpu, sys: &mut System, op: &Op) -> Step {
    let target = load::<8>(cpu, sys, op, A::of(cpu, op))?;
    let target = checked(sys, target)?;
    let from = return_address(sys, op);
    push_value(cpu, sys, op, from)?;
    go(cpu, target)
}

/// `ret`. A target that is not canonical leaves RSP alone.
#[inline(always)]
pub fn ret(cpu: &mut Vcpu, sys: &mut System, op: &Op) -> Step {
    let rsp = cpu.gpr[RSP];
    let target = pop_value(cpu, sys, op)?;
    if !Vcpu::is_canonical(target) {
        cpu.gpr[RSP] = rsp;
        return Err(raise(sys, Exception::gp(0)));
    }
    go(cpu, target)
}
