//! From a [`Wide`] result to an 80-bit one: rounding, overflow, underflow (SDM vol. 1 4.8.4, 8.5.4, 8.5.5).

use super::hostfp::Outcome;
use super::stack::{F80, control, status};
use super::wide::Wide;

/// What unmasked overflow and underflow add to or take from the exponent.
const WRAP: i32 = 24576;
const EXPONENT_MAX: i32 = 0x7fff;

/// Rounds `value` as the control word says. `inexact` says that the true value lies a little further from
/// zero. Precision control does not matter: it does not apply to what is computed with [`Wide`].
pub fn round(control: u16, value: Wide, inexact: bool) -> Outcome {
    let sign = F80::from(value.negative) << 79;
    if value.is_zero() {
        return Outcome { value: sign, status: 0 };
    }
    let mut field = value.exponent + 0x3fff;
    let rounded = Rounded::new(control, value.negative, value.significand, inexact);
    let mut flags = rounded.flags();
    // Tininess is found after rounding to 64 bits with an unlimited exponent.
    if field + i32::from(rounded.carried) <= 0 {
        if control & control::UM != 0 {
            return denormal(control, value, field, inexact);
        }
        flags |= status::UE;
        field += WRAP;
    }
    field += i32::from(rounded.carried);
    if field >= EXPONENT_MAX {
        if control & control::OM != 0 {
            return overflow(control, value.negative);
        }
        flags |= status::OE;
        field -= WRAP;
    }
    Outcome { value: sign | (field as u128) << 64 | F80::from(rounded.significand), status: flags }
}

/// 64 bits made of 128.
struct Rounded {
    significand: u64,
    up: bool,
    inexact: bool,
    /// Rounding up gave 2^64, which `significand` has as 2^63 with one more in the exponent.
    carried: bool,
}

impl Rounded {
    fn new(control: u16, negative: bool, significand: u128, sticky: bool) -> Rounded {
        const HALF: u64 = 1 << 63;
        let (kept, rest) = ((significand >> 64) as u64, significand as u64);
        let inexact = rest != 0 || sticky;
        let up = match control & control::ROUNDING {
            0 => rest > HALF || rest == HALF && (sticky || kept & 1 != 0),
            control::ROUND_DOWN => inexact && negative,
            control::ROUND_UP => inexact && !negative,
            _ => false,
        };
        let (sum, carried) = kept.overflowing_add(u64::from(up));
        Rounded { significand: if carried { HALF } else { sum }, up, inexact, carried }
    }

    fn flags(&self) -> u16 {
        let precision = if self.inexact { status::PE } else { 0 };
        precision | if self.up { status::C1 } else { 0 }
    }
}

/// The masked response to underflow. `field`, the biased exponent, is 0 or less.
fn denormal(control: u16, value: Wide, field: i32, inexact: bool) -> Outcome {
    let shift = (1 - field) as u32;
    let dropped = shift > value.significand.trailing_zeros();
    let significand = value.significand.checked_shr(shift).unwrap_or(0);
    let rounded = Rounded::new(control, value.negative, significand, dropped || inexact);
    let underflow = if rounded.inexact { status::UE } else { 0 };
    // Rounding up to 2^63 makes it the smallest normal number.
    let field = rounded.significand >> 63;
    Outcome {
        value: F80::from(value.negative) << 79 | F80::from(field) << 64 | F80::from(rounded.significand),
        status: rounded.flags() | underflow,
    }
}

/// The masked response to overflow: infinity, or the largest number if rounding is not that way.
fn overflow(control: u16, negative: bool) -> Outcome {
    let to_infinity = match control & control::ROUNDING {
        0 => true,
        control::ROUND_DOWN => negative,
        control::ROUND_UP => !negative,
        _ => false,
    };
    let (magnitude, up): (F80, u16) =
        if to_infinity { (0x7fff_8000_0000_0000_0000, status::C1) } else { (0x7ffe_ffff_ffff_ffff_ffff, 0) };
    Outcome { value: F80::from(negative) << 79 | magnitude, status: status::OE | status::PE | up }
}
