//! Reals with 128-bit significands, for computing transcendental functions to well beyond 64 bits.
//!
//! Every operation truncates toward zero, with an error below one unit of the last place (two for a sum).
//! Exponents are plain integers that never come near the ends of their range: operands are 80-bit values.

use super::stack::{F80, SIGN};

/// Zero (significand 0), or `significand` / 2^127 * 2^`exponent` with the top bit of the significand set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wide {
    /// Whether it is below zero (or minus zero).
    pub negative: bool,
    /// Power of two of the top bit.
    pub exponent: i32,
    /// Top bit set, unless zero.
    pub significand: u128,
}

const fn constant(exponent: i32, significand: u128) -> Wide {
    Wide { negative: false, exponent, significand }
}

impl Wide {
    /// Zero.
    pub const ZERO: Wide = constant(0, 0);
    /// One.
    pub const ONE: Wide = constant(0, 1 << 127);
    /// Two.
    pub const TWO: Wide = constant(1, 1 << 127);
    /// The natural logarithm of two.
    pub const LN_2: Wide = constant(-1, 0xb17217f7d1cf79abc9e3b39803f2f6af);
    /// The binary logarithm of e.
    pub const LOG2_E: Wide = constant(0, 0xb8aa3b295c17f0bbbe87fed0691d3e88);
    /// Pi.
    pub const PI: Wide = constant(1, 0xc90fdaa22168c234c4c6628b80dc1cd1);
    /// The square root of three.
    pub const SQRT_3: Wide = constant(0, 0xddb3d742c265539d92ba16b83c5c1dc4);

    /// A finite 80-bit value: normal, denormal or zero.
    pub fn from_extended(value: F80) -> Wide {
        let (field, significand) = ((value >> 64) as i32 & 0x7fff, value as u64);
        // Field 0 has the exponent of field 1.
        Wide::from_parts(value & SIGN != 0, field.max(1) - 0x3fff, u128::from(significand) << 64)
    }

    /// `significand` / 2^127 * 2^`exponent`, normalised.
    pub fn from_parts(negative: bool, exponent: i32, significand: u128) -> Wide {
        if significand == 0 {
            return Wide { negative, ..Wide::ZERO };
        }
        let shift = significand.leading_zeros();
        Wide { negative, exponent: exponent - shift as i32, significand: significand << shift }
    }

    /// A small integer.
    pub fn from_integer(value: i32) -> Wide {
        Wide::from_parts(value < 0, 127, u128::from(value.unsigned_abs()))
    }

    /// Whether it is zero.
    pub fn is_zero(self) -> bool {
        self.significand == 0
    }

    /// With the other sign.
    pub fn negated(self) -> Wide {
        Wide { negative: !self.negative, ..self }
    }

    /// Without sign.
    pub fn magnitude(self) -> Wide {
        Wide { negative: false, ..self }
    }

    /// Times two to the `power`.
    pub fn scaled(self, power: i32) -> Wide {
        Wide { exponent: self.exponent + power, ..self }
    }

    /// Whether the magnitude is less than that of `other`.
    pub fn is_smaller(self, other: Wide) -> bool {
        match (self.is_zero(), other.is_zero()) {
            (_, true) => false,
            (true, false) => true,
            _ => (self.exponent, self.significand) < (other.exponent, other.significand),
        }
    }

    /// The sum.
    pub fn add(self, other: Wide) -> Wide {
        if self.is_smaller(other) {
            return other.add(self);
        }
        if other.is_zero() {
            return self;
        }
        let distance = (self.exponent - other.exponent) as u32;
        let aligned = other.significand.checked_shr(distance).unwrap_or(0);
        if self.negative == other.negative {
            let (sum, carry) = self.significand.overflowing_add(aligned);
            return if carry {
                Wide { exponent: self.exponent + 1, significand: sum >> 1 | 1 << 127, ..self }
            } else {
                Wide { significand: sum, ..self }
            };
        }
        // Bits that alignment dropped are taken off too, so that the difference is truncated.
        let dropped = distance > other.significand.trailing_zeros();
        let difference = self.significand - aligned - u128::from(dropped);
        Wide::from_parts(self.negative, self.exponent, difference)
    }

    /// The difference.
    pub fn subtract(self, other: Wide) -> Wide {
        self.add(other.negated())
    }

    /// The product.
    pub fn multiply(self, other: Wide) -> Wide {
        let (high, low) = multiply_full(self.significand, other.significand);
        let negative = self.negative != other.negative;
        if high == 0 {
            return Wide { negative, ..Wide::ZERO };
        }
        if high >> 127 == 0 {
            let significand = high << 1 | low >> 127;
            return Wide { negative, exponent: self.exponent + other.exponent, significand };
        }
        Wide { negative, exponent: self.exponent + other.exponent + 1, significand: high }
    }

    /// The quotient by a divisor other than zero.
    pub fn divide(self, divisor: Wide) -> Wide {
        let negative = self.negative != divisor.negative;
        if self.is_zero() {
            return Wide { negative, ..Wide::ZERO };
        }
        let mut exponent = self.exponent - divisor.exponent;
        let mut rest = self.significand;
        let mut carry = false;
        if rest < divisor.significand {
            exponent -= 1;
            carry = rest >> 127 != 0;
            rest <<= 1;
        }
        // One quotient bit a round; the remainder has 129 bits, the top one in `carry`.
        let mut quotient = 0;
        for _ in 0..128 {
            quotient <<= 1;
            if carry || rest >= divisor.significand {
                rest = rest.wrapping_sub(divisor.significand);
                quotient |= 1;
            }
            carry = rest >> 127 != 0;
            rest <<= 1;
        }
        Wide { negative, exponent, significand: quotient }
    }

    /// The quotient by a small divisor other than zero.
    pub fn divide_small(self, divisor: u32) -> Wide {
        if self.is_zero() {
            return self;
        }
        let divisor = u128::from(divisor);
        let (quotient, rest) = (self.significand / divisor, self.significand % divisor);
        let shift = quotient.leading_zeros();
        let significand = (quotient << shift) | ((rest << shift) / divisor);
        Wide { exponent: self.exponent - shift as i32, significand, ..self }
    }
}

/// The 256-bit product, as high and low half.
fn multiply_full(left: u128, right: u128) -> (u128, u128) {
    let half = |value: u128| (value >> 64, value & u128::from(u64::MAX));
    let ((left_high, left_low), (right_high, right_low)) = (half(left), half(right));
    let low = left_low * right_low;
    let (first, second) = (left_low * right_high, left_high * right_low);
    let (middle, carry) = first.overflowing_add(second);
    let (low, low_carry) = low.overflowing_add(middle << 64);
    let high = left_high * right_high + (middle >> 64) + (u128::from(carry) << 64) + u128::from(low_carry);
    (high, low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_integers_behave_as_integers() {
        for left in -40..40 {
            for right in -40..40 {
                let (a, b) = (Wide::from_integer(left), Wide::from_integer(right));
                assert_eq!(a.add(b).magnitude(), Wide::from_integer(left + right).magnitude());
                assert_eq!(a.multiply(b).magnitude(), Wide::from_integer(left * right).magnitude());
                if right != 0 && left % right == 0 {
                    assert_eq!(a.divide(b).magnitude(), Wide::from_integer(left / right).magnitude());
                }
            }
        }
    }

    #[test]
    fn quotient_times_divisor_is_the_dividend_within_two_units() {
        let mut bits: u128 = 0x1234_5678_9abc_def0_0fed_cba9_8765_4321;
        for _ in 0..2000 {
            bits = bits.wrapping_mul(0x5851_f42d_4c95_7f2d_1405_7b7e_f767_814f).wrapping_add(1);
            let (a, b) = (constant(0, bits | 1 << 127), constant(0, bits.rotate_left(61) | 1 << 127));
            let error = a.divide(b).multiply(b).subtract(a);
            assert!(error.is_zero() || error.exponent <= -126, "{error:?}");
            let small = (bits as u32).max(1);
            let by_integer = a.divide_small(small);
            let whole = a.divide(Wide::from_parts(false, 127, u128::from(small)));
            assert_eq!(by_integer, whole);
        }
    }

    #[test]
    fn constants_agree_with_each_other() {
        let one = Wide::LN_2.multiply(Wide::LOG2_E);
        assert!(one.subtract(Wide::ONE).exponent <= -125);
        let three = Wide::SQRT_3.multiply(Wide::SQRT_3);
        assert!(three.subtract(Wide::from_integer(3)).exponent <= -124);
    }
}
