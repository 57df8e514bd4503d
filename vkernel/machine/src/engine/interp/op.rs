//! A lowered operation: what one guest instruction becomes in a block.
//!
//! At most 32 bytes, with the handler already specialised by size and operand form, so that executing it
//! needs no look at the instruction. Each handler ends by calling the next one ([`threaded`]), which the
//! compiler makes a jump; without that optimisation the stack grows by one block at most. Only 64-bit mode is
//! lowered; everything else, and every instruction not worth a handler, gets [`slow`], and the specification
//! executes it from the cached decoding.

use crate::cpu::state::{FS, Vcpu};
use crate::system::System;

/// Why a handler did not just go on to the next operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Out {
    /// It did, but there is no next operation.
    End,
    /// A branch: `cpu.rip` is the target.
    Branch,
    /// It raised the exception in `sys.scratch.raised`.
    Fault,
    /// The translation in `sys.scratch.miss` is not cached. Nothing has happened yet: once it is, the
    /// operation is executed again.
    Miss,
    /// The specification must execute it. Nothing has happened yet.
    Slow,
}

/// Result of what one operation does.
pub type Step = Result<(), Out>;

/// Where and why a run of operations ended.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// Why.
    pub reason: Out,
    /// Place in the block of the last operation looked at.
    pub index: u8,
}

/// Executes one operation, and then those that follow it in the block.
pub type Handler = fn(&mut Vcpu, &mut System, &Op, &[Op]) -> Flow;

/// The body of every handler: does what `step` does, then jumps to the handler of the next operation.
#[inline(always)]
pub fn threaded(
    cpu: &mut Vcpu,
    sys: &mut System,
    op: &Op,
    rest: &[Op],
    step: impl FnOnce(&mut Vcpu, &mut System, &Op) -> Step,
) -> Flow {
    match step(cpu, sys, op) {
        Ok(()) => match rest.split_first() {
            Some((next, rest)) => (next.run)(cpu, sys, next, rest),
            None => Flow { reason: Out::End, index: op.index },
        },
        Err(reason) => Flow { reason, index: op.index },
    }
}

/// The handler that does what the function of the given name does.
macro_rules! handler {
    ($($step:tt)+) => {
        (|cpu: &mut $crate::cpu::state::Vcpu,
          sys: &mut $crate::system::System,
          op: &$crate::engine::interp::op::Op,
          rest: &[$crate::engine::interp::op::Op]| {
            $crate::engine::interp::op::threaded(cpu, sys, op, rest, $($step)+)
        }) as $crate::engine::interp::op::Handler
    };
}
pub(super) use handler;

/// One operation.
#[derive(Clone, Copy)]
pub struct Op {
    /// Executes it.
    pub run: Handler,
    /// Displacement or absolute address of the memory operand; without one, a 64-bit immediate or the
    /// address a branch goes to.
    pub displacement: i64,
    /// Immediate beside a memory operand, and every immediate that fits.
    pub immediate: i32,
    /// Distance of this instruction from the start of the block, in bytes.
    pub rip_offset: u16,
    /// Its place in the block.
    pub index: u8,
    /// Its length in bytes.
    pub length: u8,
    /// First register operand, or condition code.
    pub a: u8,
    /// Second register operand.
    pub b: u8,
    /// Base register of the memory operand.
    pub base: u8,
    /// Index register of the memory operand.
    pub index_register: u8,
    /// Shift of the index register.
    pub scale_shift: u8,
    /// General addressing only: [`address`] bits.
    pub address_bits: u8,
}

const _: () = assert!(size_of::<Op>() <= 32);

impl Op {
    /// The address of its instruction, in a block that begins at `block_rip`.
    #[inline(always)]
    pub fn address(&self, block_rip: u64) -> u64 {
        block_rip.wrapping_add(u64::from(self.rip_offset))
    }
}

/// Bits of [`Op::address_bits`].
pub mod address {
    /// There is a base register.
    pub const HAS_BASE: u8 = 1;
    /// There is an index register.
    pub const HAS_INDEX: u8 = 2;
    /// Add the FS base.
    pub const FS: u8 = 4;
    /// Add the GS base.
    pub const GS: u8 = 8;
    /// The offset wraps at 32 bits.
    pub const WRAPS: u8 = 16;
    /// The access goes through SS: a non-canonical address is #SS.
    pub const STACK: u8 = 32;
}

/// How an operation computes its effective address; a type, so that handlers are specialised by it.
pub trait Address {
    /// The linear address.
    fn of(cpu: &Vcpu, op: &Op) -> u64;
}

/// `[base + displacement]`.
pub struct Base;
/// `[base + index * scale + displacement]`.
pub struct BaseIndex;
/// Everything else, as [`Op::address_bits`] says: absolute and RIP-relative (resolved when lowered), index
/// without base, 32-bit addresses, FS and GS.
pub struct General;

impl Address for Base {
    #[inline(always)]
    fn of(cpu: &Vcpu, op: &Op) -> u64 {
        reg(cpu, op.base).wrapping_add(op.displacement as u64)
    }
}

impl Address for BaseIndex {
    #[inline(always)]
    fn of(cpu: &Vcpu, op: &Op) -> u64 {
        reg(cpu, op.base)
            .wrapping_add(reg(cpu, op.index_register) << (op.scale_shift & 3))
            .wrapping_add(op.displacement as u64)
    }
}

impl Address for General {
    #[inline(always)]
    fn of(cpu: &Vcpu, op: &Op) -> u64 {
        let bits = op.address_bits;
        let mut offset = op.displacement as u64;
        if bits & address::HAS_BASE != 0 {
            offset = offset.wrapping_add(reg(cpu, op.base));
        }
        if bits & address::HAS_INDEX != 0 {
            offset = offset.wrapping_add(reg(cpu, op.index_register) << (op.scale_shift & 3));
        }
        if bits & address::WRAPS != 0 {
            offset &= 0xffff_ffff;
        }
        if bits & (address::FS | address::GS) != 0 {
            let segment = if bits & address::FS != 0 { FS } else { FS + 1 };
            offset = offset.wrapping_add(cpu.segments[segment].base);
        }
        offset
    }
}

/// A general register, whole.
#[inline(always)]
pub fn reg(cpu: &Vcpu, index: u8) -> u64 {
    cpu.gpr[usize::from(index & 15)]
}

/// The low `S` bytes of a general register (never AH, CH, DH, BH: those are not lowered).
#[inline(always)]
pub fn reg_sized<const S: usize>(cpu: &Vcpu, index: u8) -> u64 {
    narrow::<S>(reg(cpu, index))
}

/// Writes the low `S` bytes of a general register by the rules of 64-bit mode.
#[inline(always)]
pub fn set_reg<const S: usize>(cpu: &mut Vcpu, index: u8, value: u64) {
    let register = &mut cpu.gpr[usize::from(index & 15)];
    *register = match S {
        8 => value,
        4 => value & 0xffff_ffff,
        2 => *register & !0xffff | value & 0xffff,
        _ => *register & !0xff | value & 0xff,
    };
}

/// The low `S` bytes.
#[inline(always)]
pub const fn narrow<const S: usize>(value: u64) -> u64 {
    value & (u64::MAX >> (64 - 8 * S as u32))
}

/// The low `S` bytes, sign-extended.
#[inline(always)]
pub const fn widen<const S: usize>(value: u64) -> u64 {
    let unused = 64 - 8 * S as u32;
    ((value << unused) as i64 >> unused) as u64
}

/// The handler of everything that is not lowered.
pub fn slow(_cpu: &mut Vcpu, _sys: &mut System, op: &Op, _rest: &[Op]) -> Flow {
    Flow { reason: Out::Slow, index: op.index }
}
