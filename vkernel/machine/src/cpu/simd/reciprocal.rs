//! RCPPS, RCPSS, RSQRTPS, RSQRTSS: the approximations, by a rule of our own.
//!
//! The SDM promises a relative error of at most 1.5 * 2^-12 and vendors differ within that, so the host's
//! instruction would make replay depend on the host. Here the result is the exact one cut off after 12
//! significant bits below the leading one: an error below 2^-12. As the SDM says, denormal operands count as
//! zeros of their sign, denormal results become zeros, nothing is raised, and MXCSR does not matter.

use super::Width;
use super::lanes::*;

const SIGN: u32 = 1 << 31;
const INFINITY: u32 = 0x7f80_0000;
/// The quiet bit of a NaN.
const QUIET: u32 = 1 << 22;
/// The NaN of an invalid operation.
const DEFAULT_NAN: u32 = 0xffc0_0000;
/// Mantissa bits of a single that are cut off.
const CUT: u32 = 23 - 12;

/// Cuts a positive value off to 12 fraction bits, and to zero below the normal singles.
fn cut(value: f64) -> u32 {
    // Towards zero already here: rounding to single first could carry into the bits that stay.
    let bits = value.to_bits();
    let exponent = (bits >> 52) as i64 - 1023 + 127;
    if exponent <= 0 {
        return 0;
    }
    let fraction = (bits >> (52 - 23)) as u32 & 0x7f_ffff;
    (exponent as u32) << 23 | fraction >> CUT << CUT
}

fn is_zero(lane: u32) -> bool {
    lane & INFINITY == 0
}

fn is_nan(lane: u32) -> bool {
    lane & !SIGN > INFINITY
}

fn reciprocal(lane: u32) -> u32 {
    let sign = lane & SIGN;
    if is_nan(lane) {
        lane | QUIET
    } else if is_zero(lane) {
        sign | INFINITY
    } else if lane == sign | INFINITY {
        sign
    } else {
        sign | cut(1.0 / f64::from(f32::from_bits(lane & !SIGN)))
    }
}

fn reciprocal_square_root(lane: u32) -> u32 {
    if is_nan(lane) {
        lane | QUIET
    } else if is_zero(lane) {
        lane & SIGN | INFINITY
    } else if lane & SIGN != 0 {
        DEFAULT_NAN
    } else if lane == INFINITY {
        0
    } else {
        cut(1.0 / f64::from(f32::from_bits(lane)).sqrt())
    }
}

/// The low lane from `compute`, the others the destination's.
fn scalar(a: u128, b: u128, compute: fn(u32) -> u32) -> u128 {
    a >> 32 << 32 | u128::from(compute(b as u32))
}

pub fn rcpps(_: u128, b: u128, _: Width) -> u128 {
    zip_u32(b, 0, |lane, _| reciprocal(lane))
}

pub fn rcpss(a: u128, b: u128, _: Width) -> u128 {
    scalar(a, b, reciprocal)
}

pub fn rsqrtps(_: u128, b: u128, _: Width) -> u128 {
    zip_u32(b, 0, |lane, _| reciprocal_square_root(lane))
}

pub fn rsqrtss(a: u128, b: u128, _: Width) -> u128 {
    scalar(a, b, reciprocal_square_root)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_two_are_exact() {
        for exponent in -60..60 {
            let x = 2f32.powi(exponent);
            assert_eq!(f32::from_bits(reciprocal(x.to_bits())), 1.0 / x);
            assert_eq!(f32::from_bits(reciprocal_square_root((x * x).to_bits())), 1.0 / x);
        }
    }

    #[test]
    fn the_error_stays_below_the_promised_bound() {
        let mut bits = 0x0080_0000u32;
        while bits < 0x7e00_0000 {
            let x = f64::from(f32::from_bits(bits));
            let exact = 1.0 / x;
            let got = f64::from(f32::from_bits(reciprocal(bits)));
            assert!(((got - exact) / exact).abs() < 1.5 / 4096.0, "rcp of {bits:#x}");
            let exact = 1.0 / x.sqrt();
            let got = f64::from(f32::from_bits(reciprocal_square_root(bits)));
            assert!(((got - exact) / exact).abs() < 1.5 / 4096.0, "rsqrt of {bits:#x}");
            bits += 99_991;
        }
    }

    #[test]
    fn special_operands_give_what_the_manual_says() {
        let table = [
            (0, INFINITY, INFINITY),
            (SIGN, SIGN | INFINITY, SIGN | INFINITY),
            (1, INFINITY, INFINITY),
            (SIGN | 0x7f_ffff, SIGN | INFINITY, SIGN | INFINITY),
            (INFINITY, 0, 0),
            (SIGN | INFINITY, SIGN, DEFAULT_NAN),
            (0x7f80_0001, 0x7fc0_0001, 0x7fc0_0001),
            (0xffc0_1234, 0xffc0_1234, 0xffc0_1234),
            (0xbf80_0000, 0xbf80_0000, DEFAULT_NAN),
            (0x7f00_0000, 0, 0x1fb5_0000),
        ];
        for (operand, rcp, rsqrt) in table {
            assert_eq!(reciprocal(operand), rcp, "rcp of {operand:#x}");
            assert_eq!(reciprocal_square_root(operand), rsqrt, "rsqrt of {operand:#x}");
        }
    }
}
