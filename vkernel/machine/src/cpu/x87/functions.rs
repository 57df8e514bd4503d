//! The elementary functions on [`Wide`] numbers, by argument reduction and series.
//!
//! The series are long enough for a relative error below 2^-110, so that results rounded to 64 bits are
//! correct but for about one in 2^45 that lie as close as that to a rounding boundary. That includes small
//! arguments: no step adds numbers of different magnitude that cancel.

use super::stack::F80;
use super::wide::Wide;

/// 2^`x` - 1 for `x` in -1 to 1: the series of e^y - 1.
pub fn exp2_minus_1(x: Wide) -> Wide {
    const TERMS: u32 = 32;
    let y = x.multiply(Wide::LN_2);
    let mut sum = Wide::ONE;
    for n in (2..=TERMS).rev() {
        sum = Wide::ONE.add(y.multiply(sum).divide_small(n));
    }
    y.multiply(sum)
}

/// The binary logarithm of `x` above zero.
pub fn log2(x: Wide) -> Wide {
    // x = 2^power * m, m between the square roots of 1/2 and 2, roughly.
    const ROOT_2: u128 = 0xb504_f333_f9de_6484_597d_89b3_754a_be9f;
    let high = x.significand > ROOT_2;
    let power = x.exponent + i32::from(high);
    let m = Wide { exponent: -i32::from(high), ..x };
    let fraction = log2_by_ratio(m.subtract(Wide::ONE).divide(m.add(Wide::ONE)));
    Wide::from_integer(power).add(fraction)
}

/// The binary logarithm of 1 + `x`, `x` above -1.
pub fn log2_plus_1(x: Wide) -> Wide {
    if x.exponent < -2 { log2_by_ratio(x.divide(x.add(Wide::TWO))) } else { log2(x.add(Wide::ONE)) }
}

/// log2((1 + t) / (1 - t)), for `t` up to 0.18 either way: twice the series of the area tangent.
fn log2_by_ratio(t: Wide) -> Wide {
    const TERMS: u32 = 26;
    let square = t.multiply(t);
    let mut sum = Wide::ZERO;
    for n in (0..=TERMS).rev() {
        sum = Wide::ONE.divide_small(2 * n + 1).add(square.multiply(sum));
    }
    t.multiply(sum).multiply(Wide::LOG2_E).scaled(1)
}

/// The angle of the point (`x`, `y`), neither of them zero.
pub fn atan2(y: Wide, x: Wide) -> Wide {
    let (tall, wide) = (y.magnitude(), x.magnitude());
    let first_quadrant = if wide.is_smaller(tall) {
        Wide::PI.scaled(-1).subtract(atan(wide.divide(tall)))
    } else {
        atan(tall.divide(wide))
    };
    let angle = if x.negative { Wide::PI.subtract(first_quadrant) } else { first_quadrant };
    Wide { negative: y.negative, ..angle }
}

/// The arc tangent of `q` from 0 to 1.
fn atan(q: Wide) -> Wide {
    // Beyond tan(15 degrees), turn back by 30 degrees.
    const TURN_FROM: Wide = Wide { negative: false, exponent: -2, significand: 0x8930_a2f4_f66a_b18a << 64 };
    if q.is_smaller(TURN_FROM) {
        return atan_series(q);
    }
    let ratio = q.multiply(Wide::SQRT_3).subtract(Wide::ONE).divide(Wide::SQRT_3.add(q));
    Wide::PI.divide_small(6).add(atan_series(ratio))
}

fn atan_series(t: Wide) -> Wide {
    const TERMS: u32 = 34;
    let square = t.multiply(t).negated();
    let mut sum = Wide::ZERO;
    for n in (0..=TERMS).rev() {
        sum = Wide::ONE.divide_small(2 * n + 1).add(square.multiply(sum));
    }
    t.multiply(sum)
}

/// An angle brought into an eighth of a turn either way of a quarter turn.
#[derive(Clone, Copy, Debug)]
pub struct Angle {
    /// What is left.
    rest: Wide,
    /// Quarter turns taken off, modulo 4.
    quarters: u8,
}

impl Angle {
    /// Reduces a finite value of magnitude below 2^63. Pi has 66 bits here, as SDM vol. 1 8.3.8 says it has
    /// in the unit, and the reduction by it is exact.
    pub fn reduce(value: F80) -> Angle {
        /// Half of pi, in units of 2^-65.
        const QUARTER_TURN: u128 = 0x3_243f_6a88_85a3_08d3;
        let x = Wide::from_extended(value);
        if x.is_zero() || x.exponent < -1 {
            return Angle { rest: x, quarters: 0 };
        }
        let units = x.significand >> (62 - x.exponent);
        let (mut quarters, mut rest) = (units / QUARTER_TURN, units % QUARTER_TURN);
        let beyond = rest > QUARTER_TURN / 2;
        if beyond {
            quarters += 1;
            rest = QUARTER_TURN - rest;
        }
        let magnitude = Wide::from_parts(beyond != x.negative, 62, rest);
        // A negative angle turns the other way.
        let quarters = if x.negative { 4 - (quarters & 3) } else { quarters };
        Angle { rest: magnitude, quarters: (quarters & 3) as u8 }
    }

    /// Its sine.
    pub fn sine(self) -> Wide {
        let value = if self.quarters & 1 == 0 { sine_series(self.rest) } else { cosine_series(self.rest) };
        if self.quarters & 2 == 0 { value } else { value.negated() }
    }

    /// Its cosine.
    pub fn cosine(self) -> Wide {
        Angle { quarters: (self.quarters + 1) & 3, ..self }.sine()
    }

    /// Its tangent.
    pub fn tangent(self) -> Wide {
        self.sine().divide(self.cosine())
    }
}

/// Terms for angles up to an eighth of a turn.
const CIRCULAR_TERMS: u32 = 17;

fn sine_series(angle: Wide) -> Wide {
    let square = angle.multiply(angle).negated();
    let mut sum = Wide::ONE;
    for n in (1..=CIRCULAR_TERMS).rev() {
        sum = Wide::ONE.add(square.multiply(sum).divide_small(2 * n * (2 * n + 1)));
    }
    angle.multiply(sum)
}

fn cosine_series(angle: Wide) -> Wide {
    let square = angle.multiply(angle).negated();
    let mut sum = Wide::ONE;
    for n in (1..=CIRCULAR_TERMS).rev() {
        sum = Wide::ONE.add(square.multiply(sum).divide_small((2 * n - 1) * 2 * n));
    }
    sum
}
