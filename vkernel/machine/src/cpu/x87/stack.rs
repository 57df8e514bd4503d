//! The register stack, its tags, and how exceptions are recorded (SDM vol. 1 8.1.2 to 8.1.7, 8.4, 8.5).

use crate::cpu::state::X87;

/// An 80-bit extended value in the low bits: sign and exponent in bits 64 to 79, significand below.
pub type F80 = u128;

/// Status word bits.
pub mod status {
    #![allow(missing_docs, reason = "the names are the SDM's")]
    pub const IE: u16 = 1;
    pub const DE: u16 = 1 << 1;
    pub const ZE: u16 = 1 << 2;
    pub const OE: u16 = 1 << 3;
    pub const UE: u16 = 1 << 4;
    pub const PE: u16 = 1 << 5;
    pub const SF: u16 = 1 << 6;
    pub const ES: u16 = 1 << 7;
    pub const C0: u16 = 1 << 8;
    pub const C1: u16 = 1 << 9;
    pub const C2: u16 = 1 << 10;
    pub const C3: u16 = 1 << 14;
    pub const B: u16 = 1 << 15;
    /// All six exceptions.
    pub const EXCEPTIONS: u16 = 0x3f;
    /// The exceptions found before an operation computes: if one is unmasked, nothing is written.
    pub const BEFORE: u16 = IE | DE | ZE;
    /// All four condition codes.
    pub const CONDITIONS: u16 = C0 | C1 | C2 | C3;
}

/// Control word bits.
pub mod control {
    #![allow(missing_docs, reason = "the names are the SDM's")]
    pub const IM: u16 = 1;
    pub const DM: u16 = 1 << 1;
    pub const ZM: u16 = 1 << 2;
    pub const OM: u16 = 1 << 3;
    pub const UM: u16 = 1 << 4;
    pub const PM: u16 = 1 << 5;
    /// Reads as one whatever is loaded.
    pub const FIXED: u16 = 1 << 6;
    pub const PRECISION: u16 = 3 << 8;
    /// The value of [`PRECISION`] the SDM reserves; it is taken as extended precision.
    pub const PRECISION_RESERVED: u16 = 1 << 8;
    pub const ROUNDING: u16 = 3 << 10;
    pub const ROUND_DOWN: u16 = 1 << 10;
    pub const ROUND_UP: u16 = 2 << 10;
    pub const ROUND_TO_ZERO: u16 = 3 << 10;
    /// Bits that can be written; the others but [`FIXED`] read as zero.
    pub const WRITABLE: u16 = 0x1f3f;
    /// What FNINIT loads: all masked, extended precision, round to nearest.
    pub const DEFAULT: u16 = 0x037f;
}

/// The quiet NaN that answers every masked invalid operation.
pub const INDEFINITE: F80 = 0xffff_c000_0000_0000_0000;
/// One.
pub const ONE: F80 = 0x3fff_8000_0000_0000_0000;
/// The sign bit of an [`F80`].
pub const SIGN: F80 = 1 << 79;
/// The 80 bits an [`F80`] uses.
pub const ALL: F80 = (1 << 80) - 1;

impl X87 {
    /// Physical number of the register on top.
    #[must_use]
    pub fn top(&self) -> usize {
        usize::from(self.status >> 11 & 7)
    }

    /// Makes a physical register the top.
    pub fn set_top(&mut self, top: usize) {
        self.status = self.status & !(7 << 11) | ((top & 7) as u16) << 11;
    }

    /// Physical number of ST(`index`); ST(-1), the one a push would fill, is ST(7).
    #[must_use]
    pub fn physical(&self, index: usize) -> usize {
        (self.top() + index) & 7
    }

    /// The contents of ST(`index`), empty or not.
    #[must_use]
    pub fn st(&self, index: usize) -> F80 {
        self.registers[self.physical(index)]
    }

    /// Whether ST(`index`) is tagged empty.
    #[must_use]
    pub fn is_empty(&self, index: usize) -> bool {
        self.valid & 1 << self.physical(index) == 0
    }

    /// Fills ST(`index`).
    pub fn set_st(&mut self, index: usize, value: F80) {
        let register = self.physical(index);
        self.registers[register] = value & ALL;
        self.valid |= 1 << register;
    }

    /// Tags ST(`index`) empty.
    pub fn free(&mut self, index: usize) {
        self.valid &= !(1 << self.physical(index));
    }

    /// Fills a new top.
    pub fn push(&mut self, value: F80) {
        self.set_top(self.top() + 7);
        self.set_st(0, value);
    }

    /// Empties the top.
    pub fn pop(&mut self) {
        self.free(0);
        self.set_top(self.top() + 1);
    }

    /// Replaces the condition codes: those not in `conditions` become 0.
    pub fn set_conditions(&mut self, conditions: u16) {
        self.status = self.status & !status::CONDITIONS | conditions & status::CONDITIONS;
    }

    /// Records exceptions (and SF); whether all of them are masked.
    pub fn raise(&mut self, flags: u16) -> bool {
        self.status |= flags & (status::EXCEPTIONS | status::SF);
        self.update_summary();
        flags & status::EXCEPTIONS & !self.control == 0
    }

    /// Records what an operation raised before and after computing, as the SDM orders it: an unmasked
    /// exception from before hides the ones from after. Whether the operation goes on to write its result.
    pub fn raise_in_order(&mut self, flags: u16) -> bool {
        if flags & status::BEFORE & !self.control != 0 {
            self.raise(flags & status::BEFORE);
            return false;
        }
        self.raise(flags & status::EXCEPTIONS);
        true
    }

    /// Records the status of a computation that defines the condition codes in `conditions`. Whether its
    /// result is to be written; if not, nothing was computed and the codes are 0.
    pub fn record(&mut self, result: u16, conditions: u16) -> bool {
        let goes_on = self.raise_in_order(result);
        self.set_conditions(if goes_on { result & conditions } else { 0 });
        goes_on
    }

    /// An operand is in an empty register; whether the response is the masked one.
    pub fn underflow(&mut self) -> bool {
        self.set_conditions(0);
        self.raise(status::IE | status::SF)
    }

    /// A push has no empty register to fill; whether the response is the masked one.
    pub fn overflow(&mut self) -> bool {
        self.set_conditions(status::C1);
        self.raise(status::IE | status::SF)
    }

    /// Derives ES and B from exceptions and masks. To be called after any change of either.
    pub fn update_summary(&mut self) {
        let pending = self.status & !self.control & status::EXCEPTIONS != 0;
        self.status &= !(status::ES | status::B);
        if pending {
            self.status |= status::ES | status::B;
        }
    }

    /// Whether the next waiting instruction raises #MF.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.status & status::ES != 0
    }

    /// Loads the control word as the unit does, dropping what cannot be written.
    pub fn load_control(&mut self, value: u16) {
        self.control = value & control::WRITABLE | control::FIXED;
        self.update_summary();
    }

    /// What FNINIT does. The registers keep their contents but are all empty.
    pub fn initialise(&mut self) {
        *self = X87 { registers: self.registers, control: control::DEFAULT, status: 0, valid: 0 };
    }
}
