//! Lazy status flags: an operation notes its result and its carries; flags are computed when read.
//!
//! `carries` has in each bit the carry (or borrow) out of that bit, shifted so that the operand's most
//! significant bit is bit 63. Then CF is bit 63, and OF is bit 63 xor bit 62, for every operand size.

use super::op::{narrow, widen};
use crate::cpu::state::{Vcpu, rflags};

/// Status flags not yet computed. While `active`, they replace those in `cpu.rflags`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lazy {
    /// The last result, sign-extended.
    result: u64,
    carries: u64,
    /// Bit 3 is AF.
    low_carries: u8,
    /// Whether the flags are here rather than in RFLAGS.
    pub active: bool,
}

impl Lazy {
    /// Notes a sum.
    #[inline(always)]
    pub fn add<const S: usize>(&mut self, left: u64, right: u64, result: u64) {
        self.set::<S>(result, left & right | (left | right) & !result);
    }

    /// Notes a difference.
    #[inline(always)]
    pub fn sub<const S: usize>(&mut self, left: u64, right: u64, result: u64) {
        self.set::<S>(result, !left & right | !(left ^ right) & result);
    }

    /// Notes a logical result.
    #[inline(always)]
    pub fn logic<const S: usize>(&mut self, result: u64) {
        *self = Lazy { result: widen::<S>(result), carries: 0, low_carries: 0, active: true };
    }

    #[inline(always)]
    fn set<const S: usize>(&mut self, result: u64, carries: u64) {
        *self = Lazy {
            result: widen::<S>(result),
            carries: carries << (64 - 8 * S as u32),
            low_carries: carries as u8,
            active: true,
        };
    }

    /// Replaces CF, keeping OF: for INC and DEC, which leave CF alone.
    #[inline(always)]
    pub fn keep_carry(&mut self, carry: bool) {
        let overflow = (self.carries ^ self.carries << 1) >> 63;
        let carry = u64::from(carry);
        self.carries = carry << 63 | (carry ^ overflow) << 62;
    }

    /// Notes a shift's result with CF and OF given, AF 0.
    #[inline(always)]
    pub fn shift<const S: usize>(&mut self, result: u64, carry: bool, overflow: bool) {
        let carry = u64::from(carry);
        let carries = carry << 63 | (carry ^ u64::from(overflow)) << 62;
        *self = Lazy { result: widen::<S>(narrow::<S>(result)), carries, low_carries: 0, active: true };
    }

    /// Computes the flags into RFLAGS.
    #[inline]
    pub fn materialise(&mut self, cpu: &mut Vcpu) {
        if self.active {
            self.active = false;
            cpu.rflags = cpu.rflags & !rflags::STATUS | self.status();
        }
    }

    fn status(&self) -> u64 {
        let mut flags = self.carries >> 63 & rflags::CF;
        flags |= if self.parity() { rflags::PF } else { 0 };
        flags |= u64::from(self.low_carries & 8) << 1;
        flags |= if self.result == 0 { rflags::ZF } else { 0 };
        flags |= self.result >> 63 << 7;
        flags | self.overflow() << 11
    }

    #[inline(always)]
    fn parity(&self) -> bool {
        (self.result as u8).count_ones() & 1 == 0
    }

    #[inline(always)]
    fn overflow(&self) -> u64 {
        (self.carries ^ self.carries << 1) >> 63
    }

    /// CF.
    #[inline(always)]
    pub fn carry(&self, cpu: &Vcpu) -> bool {
        if self.active { self.carries >> 63 != 0 } else { cpu.rflags & rflags::CF != 0 }
    }

    /// Whether condition `code` holds.
    #[inline(always)]
    pub fn condition<const CODE: u8>(&self, cpu: &Vcpu) -> bool {
        if !self.active {
            return cpu.condition(CODE);
        }
        let holds = match CODE >> 1 {
            0 => self.overflow() != 0,
            1 => self.carries >> 63 != 0,
            2 => self.result == 0,
            3 => self.carries >> 63 != 0 || self.result == 0,
            4 => self.result >> 63 != 0,
            5 => self.parity(),
            6 => self.result >> 63 != self.overflow(),
            _ => self.result == 0 || self.result >> 63 != self.overflow(),
        };
        holds != (CODE & 1 != 0)
    }
}
