//! Status flags, by one canonical rule (docs/undefined-flags.md).
//!
//! Every flag that the SDM calls undefined after an instruction is 0 after it here, on every engine. Vendors
//! and generations differ in them, and RFLAGS is stored by every interrupt, so a rule is needed for replays
//! to be equal anywhere.

use super::operand::{sign_extend, truncate};
use super::state::{Vcpu, rflags};

/// Bit `8 * size - 1`.
#[must_use]
pub fn sign_bit(size: usize) -> u64 {
    1 << (8 * size - 1)
}

/// ZF, SF and PF of a result of `size` bytes.
#[must_use]
pub fn result_flags(result: u64, size: usize) -> u64 {
    let mut flags = 0;
    if truncate(result, size) == 0 {
        flags |= rflags::ZF;
    }
    if result & sign_bit(size) != 0 {
        flags |= rflags::SF;
    }
    if (result as u8).count_ones().is_multiple_of(2) {
        flags |= rflags::PF;
    }
    flags
}

/// Result and status flags of `left + right + carry`.
#[must_use]
pub fn add(left: u64, right: u64, carry: bool, size: usize) -> (u64, u64) {
    let result = left.wrapping_add(right).wrapping_add(u64::from(carry));
    let carries = left & right | (left | right) & !result;
    (
        truncate(result, size),
        result_flags(result, size) | carry_flags(carries, left, right, result, size, false),
    )
}

/// Result and status flags of `left - right - borrow`.
#[must_use]
pub fn sub(left: u64, right: u64, borrow: bool, size: usize) -> (u64, u64) {
    let result = left.wrapping_sub(right).wrapping_sub(u64::from(borrow));
    let borrows = !left & right | !(left ^ right) & result;
    (
        truncate(result, size),
        result_flags(result, size) | carry_flags(borrows, left, right, result, size, true),
    )
}

fn carry_flags(carries: u64, left: u64, right: u64, result: u64, size: usize, is_sub: bool) -> u64 {
    let mut flags = 0;
    if carries & sign_bit(size) != 0 {
        flags |= rflags::CF;
    }
    if carries & 8 != 0 {
        flags |= rflags::AF;
    }
    let overflow = if is_sub { (left ^ right) & (left ^ result) } else { (left ^ result) & (right ^ result) };
    if overflow & sign_bit(size) != 0 {
        flags |= rflags::OF;
    }
    flags
}

/// Status flags of a logical operation: CF and OF 0, AF undefined and therefore 0.
#[must_use]
pub fn logic(result: u64, size: usize) -> u64 {
    result_flags(result, size)
}

/// Both operands sign-extended from `size`, for signed comparisons and products.
#[must_use]
pub fn signed(value: u64, size: usize) -> i64 {
    sign_extend(value, size) as i64
}

impl Vcpu {
    /// Replaces all six status flags.
    pub fn set_status(&mut self, flags: u64) {
        self.rflags = self.rflags & !rflags::STATUS | flags;
    }

    /// Replaces the status flags in `mask`.
    pub fn set_status_masked(&mut self, mask: u64, flags: u64) {
        self.rflags = self.rflags & !mask | flags & mask;
    }

    /// Whether condition `code` (the low four bits of Jcc, SETcc, CMOVcc) holds (SDM vol. 1 appendix B).
    #[must_use]
    pub fn condition(&self, code: u8) -> bool {
        let holds = match code >> 1 {
            0 => self.flag(rflags::OF),
            1 => self.flag(rflags::CF),
            2 => self.flag(rflags::ZF),
            3 => self.flag(rflags::CF | rflags::ZF),
            4 => self.flag(rflags::SF),
            5 => self.flag(rflags::PF),
            6 => self.flag(rflags::SF) != self.flag(rflags::OF),
            _ => self.flag(rflags::ZF) || self.flag(rflags::SF) != self.flag(rflags::OF),
        };
        holds != (code & 1 != 0)
    }
}
