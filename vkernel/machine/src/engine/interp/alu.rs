//! Handlers of two-operand arithmetic, comparisons, and the one-operand relatives.

use super::memory::{load, modify};
use super::op::{Address, Op, Step, narrow, reg_sized, set_reg, widen};
use crate::cpu::state::Vcpu;
use crate::system::System;

/// A binary operation on `S`-byte operands; a type, so that handlers are specialised by it.
pub trait Binary {
    /// Whether the result is written (CMP and TEST only set flags).
    const WRITES: bool = true;
    /// The result, with flags noted.
    fn apply<const S: usize>(cpu: &mut Vcpu, sys: &mut System, left: u64, right: u64) -> u64;
}

macro_rules! binary {
    ($name:ident, $writes:expr, |$cpu:ident, $sys:ident, $left:ident, $right:ident| $body:expr) => {
        /// The instruction of this name.
        pub struct $name;
        impl Binary for $name {
            const WRITES: bool = $writes;
            #[inline(always)]
            fn apply<const S: usize>($cpu: &mut Vcpu, $sys: &mut System, $left: u64, $right: u64) -> u64 {
                $body
            }
        }
    };
}

binary!(Add, true, |_cpu, sys, left, right| {
    let result = left.wrapping_add(right);
    sys.scratch.lazy.add::<S>(left, right, result);
    result
});
binary!(Sub, true, |_cpu, sys, left, right| {
    let result = left.wrapping_sub(right);
    sys.scratch.lazy.sub::<S>(left, right, result);
    result
});
binary!(Cmp, false, |_cpu, sys, left, right| {
    let result = left.wrapping_sub(right);
    sys.scratch.lazy.sub::<S>(left, right, result);
    result
});
binary!(Adc, true, |cpu, sys, left, right| {
    let result = left.wrapping_add(right).wrapping_add(u64::from(sys.scratch.lazy.carry(cpu)));
    sys.scratch.lazy.add::<S>(left, right, result);
    result
});
binary!(Sbb, true, |cpu, sys, left, right| {
    let result = left.wrapping_sub(right).wrapping_sub(u64::from(sys.scratch.lazy.carry(cpu)));
    sys.scratch.lazy.sub::<S>(left, right, result);
    result
});
binary!(And, true, |_cpu, sys, left, right| {
    let result = left & right;
    sys.scratch.lazy.logic::<S>(result);
    result
});
binary!(Test, false, |_cpu, sys, left, right| {
    let result = left & right;
    sys.scratch.lazy.logic::<S>(result);
    result
});
binary!(Or, true, |_cpu, sys, left, right| {
    let result = left | right;
    sys.scratch.lazy.logic::<S>(result);
    result
});
binary!(Xor, true, |_cpu, sys, left, right| {
    let result = left ^ right;
    sys.scratch.lazy.logic::<S>(result);
    result
});

/// `op register, register`.
#[inline(always)]
pub fn reg_reg<O: Binary, const S: usize>(cpu: &mut Vcpu, sys: &mut System, op: &Op) -> Step {
    let (left, right) = (reg_sized::<S>(cpu, op.a), reg_sized::<S>(cpu, op.b));
    let result = O::apply::<S>(cpu, sys, left, right);
    if O::WRITES {
        set_reg::<S>(cpu, op.a, result);
    }
    Ok(())
}

/// `op register, immediate`.
#[inline(always)]
pub fn reg_imm<O: Binary, const S: usize>(cpu: &mut Vcpu, sys: &mut System, op: &Op) -> Step {
    let (left, right) = (reg_sized::<S>(cpu, op.a), narrow::<S>(op.immediate as i64 as u64));
    let result = O::apply::<S>(cpu, sys, left, right);
    if O::WRITES {
        set_reg::<S>(cpu, op.a, result);
    }
    Ok(())
}

/// `op register, [memory]`.
#[inline(always)]
pub fn reg_mem<O: Binary, A: Address, const S: usize>(cpu: &mut Vcpu, sys: &mut System, op: &Op) -> Step {
    let right = load::<S>(cpu, sys, op, A::of(cpu, op))?;
    let left = reg_sized::<S>(cpu, op.a);
    let result = O::apply::<S>(cpu, sys, left, right);
    if O::WRITES {
        set_reg::<S>(cpu, op.a, result);
    }
    Ok(())
}

/// `op [memory], register`.
#[inline(always)]
pub fn mem_reg<O: Binary, A: Address, const S: usize>(cpu: &mut Vcpu, sys: &mut System, op: &Op) -> Step {
    let right = reg_sized::<S>(cpu, op.a);
    mem_any::<O, A, S>(cpu, sys, op, right)
}

/// `op [memory], immediate`.
#[inline(always)]
pub fn mem_imm<O: Binary, A: Address, const S: usize>(cpu: &mut Vcpu, sys: &mut System, op: &Op) -> Step {
    mem_any::<O, A, S>(cpu, sys, op, narrow::<S>(op.immediate as i64 as u64))
}

#[inline(always)]
fn mem_any<O: Binary, A: Address, const S: usize>(
    cpu: &mut Vcpu,
    sys: &mut System,
    op: &Op,
    right: u64,
) -> Step {
    let laddr = A::of(cpu, op);
    if O::WRITES {
        return modify::<S>(cpu, sys, op, laddr, |cpu, sys, left| O::apply::<S>(cpu, sys, left, right));
    }
    let left = load::<S>(cpu, sys, op, laddr)?;
    O::apply::<S>(cpu, sys, left, right);
    Ok(())
}

/// A unary operation; a type, so that handlers are specialised by it.
pub trait Unary {
    /// The result, with flags noted.
    fn apply<const S: usize>(cpu: &mut Vcpu, sys: &mut System, value: u64) -> u64;
}

macro_rules! unary {
    ($name:ident, |$cpu:ident, $sys:ident, $value:ident| $body:expr) => {
        /// The instruction of this name.
        pub struct $name;
        impl Unary for $name {
            #[inline(always)]
            fn apply<const S: usize>($cpu: &mut Vcpu, $sys: &mut System, $value: u64) -> u64 {
                $body
            }
        }
    };
}

unary!(Inc, |cpu, sys, value| {
    let carry = sys.scratch.lazy.carry(cpu);
    let result = value.wrapping_add(1);
    sys.scratch.lazy.add::<S>(value, 1, result);
    sys.scratch.lazy.keep_carry(carry);
    result
});
unary!(Dec, |cpu, sys, value| {
    let carry = sys.scratch.lazy.carry(cpu);
    let result = value.wrapping_sub(1);
    sys.scratch.lazy.sub::<S>(value, 1, result);
    sys.scratch.lazy.keep_carry(carry);
    result
});
unary!(Neg, |_cpu, sys, value| {
    let result = 0u64.wrapping_sub(value);
    sys.scratch.lazy.sub::<S>(0, value, result);
    result
});
unary!(Not, |_cpu, _sys, value| !value);

/// `op register`.
#[inline(always)]
pub fn unary_reg<O: Unary, const S: usize>(cpu: &mut Vcpu, sys: &mut System, op: &Op) -> Step {
    let value = reg_sized::<S>(cpu, op.a);
    let result = O::apply::<S>(cpu, sys, value);
    set_reg::<S>(cpu, op.a, result);
    Ok(())
}

/// `op [memory]`.
#[inline(always)]
pub fn unary_mem<O: Unary, A: Address, const S: usize>(cpu: &mut Vcpu, sys: &mut System, op: &Op) -> Step {
    let laddr = A::of(cpu, op);
    modify::<S>(cpu, sys, op, laddr, |cpu, sys, value| O::apply::<S>(cpu, sys, value))
}

/// A shift of an `S`-byte operand by 1 to 63 (already masked), or by 0, which changes nothing.
pub trait Shift {
    /// The result, with flags noted.
    fn apply<const S: usize>(cpu: &mut Vcpu, sys: &mut System, value: u64, count: u32) -> u64;
}

/// SHL.
pub struct Shl;
/// SHR.
pub struct Shr;
/// SAR.
pub struct Sar;
/// ROL.
pub struct Rol;
/// ROR.
pub struct Ror;

impl Shift for Shl {
    #[inline(always)]
    fn apply<const S: usize>(_cpu: &mut Vcpu, sys: &mut System, value: u64, count: u32) -> u64 {
        let bits = 8 * S as u32;
        let wide = u128::from(value) << count;
        // A count of the width or more leaves CF undefined, which is 0.
        let carry = count < bits && wide >> bits & 1 != 0;
        let result = narrow::<S>(wide as u64);
        let overflow = count == 1 && (result >> (bits - 1) & 1 != 0) != carry;
        sys.scratch.lazy.shift::<S>(result, carry, overflow);
        result
    }
}

impl Shift for Shr {
    #[inline(always)]
    fn apply<const S: usize>(_cpu: &mut Vcpu, sys: &mut System, value: u64, count: u32) -> u64 {
        let bits = 8 * S as u32;
        let carry = count < bits && value >> (count - 1) & 1 != 0;
        let result = value >> count;
        let overflow = count == 1 && value >> (bits - 1) & 1 != 0;
        sys.scratch.lazy.shift::<S>(result, carry, overflow);
        result
    }
}

impl Shift for Sar {
    #[inline(always)]
    fn apply<const S: usize>(_cpu: &mut Vcpu, sys: &mut System, value: u64, count: u32) -> u64 {
        let wide = widen::<S>(value) as i64;
        let carry = wide >> (count - 1) & 1 != 0;
        let result = narrow::<S>((wide >> count) as u64);
        sys.scratch.lazy.shift::<S>(result, carry, false);
        result
    }
}

macro_rules! rotate {
    ($name:ident, $by:ident, |$result:ident, $bits:ident| $carry:expr, $overflow:expr) => {
        impl Shift for $name {
            #[inline(always)]
            fn apply<const S: usize>(cpu: &mut Vcpu, sys: &mut System, value: u64, count: u32) -> u64 {
                let $result = match S {
                    8 => value.$by(count),
                    4 => u64::from((value as u32).$by(count)),
                    2 => u64::from((value as u16).$by(count & 15)),
                    _ => u64::from((value as u8).$by(count & 7)),
                };
                let $bits = 8 * S as u32;
                let carry: bool = $carry;
                let overflow: bool = count == 1 && $overflow != carry;
                sys.scratch.lazy.materialise(cpu);
                cpu.set_status_masked(
                    crate::cpu::state::rflags::CF | crate::cpu::state::rflags::OF,
                    u64::from(carry) | u64::from(overflow) << 11,
                );
                $result
            }
        }
    };
}
rotate!(Rol, rotate_left, |result, bits| result & 1 != 0, (result >> (bits - 1) & 1 != 0));
rotate!(Ror, rotate_right, |result, bits| result >> (bits - 1) & 1 != 0, (result >> (bits - 2) & 1 != 0));

#[inline(always)]
fn shift_reg<O: Shift, const S: usize>(cpu: &mut Vcpu, sys: &mut System, op: &Op, count: u32) -> Step {
    if count != 0 {
        let value = reg_sized::<S>(cpu, op.a);
        let result = O::apply::<S>(cpu, sys, value, count);
        set_reg::<S>(cpu, op.a, result);
    } else if S == 4 {
        // A 32-bit shift by 0 changes no flag but still writes its register.
        let value = reg_sized::<S>(cpu, op.a);
        set_reg::<S>(cpu, op.a, value);
    }
    Ok(())
}

const fn count_mask(size: usize) -> u32 {
    if size == 8 { 63 } else { 31 }
}

/// `op register, immediate`.
#[inline(always)]
pub fn shift_imm<O: Shift, const S: usize>(cpu: &mut Vcpu, sys: &mut System, op: &Op) -> Step {
    shift_reg::<O, S>(cpu, sys, op, op.immediate as u32 & count_mask(S))
}

/// `op register, cl`.
#[inline(always)]
pub fn shift_cl<O: Shift, const S: usize>(cpu: &mut Vcpu, sys: &mut System, op: &Op) -> Step {
    let count = cpu.gpr[1] as u32 & count_mask(S);
    shift_reg::<O, S>(cpu, sys, op, count)
}

/// `imul register, register`: only CF and OF are defined.
#[inline(always)]
pub fn imul_reg<const S: usize>(cpu: &mut Vcpu, sys: &mut System, op: &Op) -> Step {
    let (left, right) = (reg_sized::<S>(cpu, op.a), reg_sized::<S>(cpu, op.b));
    imul::<S>(cpu, sys, op, left, right)
}

/// `imul register, register, immediate`.
#[inline(always)]
pub fn imul_imm<const S: usize>(cpu: &mut Vcpu, sys: &mut System, op: &Op) -> Step {
    let (left, right) = (reg_sized::<S>(cpu, op.b), op.immediate as i64 as u64);
    imul::<S>(cpu, sys, op, left, right)
}

/// `imul register, [memory]`.
#[inline(always)]
pub fn imul_mem<A: Address, const S: usize>(cpu: &mut Vcpu, sys: &mut System, op: &Op) -> Step {
    let right = load::<S>(cpu, sys, op, A::of(cpu, op))?;
    let left = reg_sized::<S>(cpu, op.a);
    imul::<S>(cpu, sys, op, left, right)
}

#[inline(always)]
fn imul<const S: usize>(cpu: &mut Vcpu, sys: &mut System, op: &Op, left: u64, right: u64) -> Step {
    let product = i128::from(widen::<S>(left) as i64) * i128::from(widen::<S>(right) as i64);
    let result = product as u64;
    let overflow = i128::from(widen::<S>(result) as i64) != product;
    set_reg::<S>(cpu, op.a, narrow::<S>(result));
    sys.scratch.lazy.active = false;
    let flags = if overflow { crate::cpu::state::rflags::CF | crate::cpu::state::rflags::OF } else { 0 };
    cpu.set_status(flags);
    Ok(())
}

/// `bt register, immediate` and `bt register, register`: only CF changes; OF, SF, AF and PF are undefined
/// and therefore 0, ZF stays.
#[inline(always)]
pub fn bt<const IMMEDIATE: bool, const S: usize>(cpu: &mut Vcpu, sys: &mut System, op: &Op) -> Step {
    let index = if IMMEDIATE { op.immediate as u64 } else { reg_sized::<S>(cpu, op.b) };
    let carry = reg_sized::<S>(cpu, op.a) >> (index & (8 * S as u64 - 1)) & 1;
    sys.scratch.lazy.materialise(cpu);
    let zero = cpu.rflags & crate::cpu::state::rflags::ZF;
    cpu.set_status(zero | carry);
    Ok(())
}
