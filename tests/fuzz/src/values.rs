//! Values that are more likely than random ones to show a mistake.

use crate::random::Random;
use crate::state::DATA;

/// A 64-bit integer.
pub fn integer(random: &mut Random) -> u64 {
    match random.below(16) {
        0 => 0,
        1 => u64::MAX,
        2 => 1,
        3 => random.below(256),
        4 => random.below(256).wrapping_neg(),
        5 => {
            let edge = 1 << random.pick(&[7, 8, 15, 16, 31, 32, 62, 63]);
            near(random, edge)
        }
        6 => {
            let edge = random.pick_mask();
            near(random, edge)
        }
        7 => random.next() >> random.below(64),
        8 => (random.next() >> random.below(64)).wrapping_neg(),
        9 => (random.next() << random.below(64)) ^ random.pick_mask(),
        10 => u64::from(random.byte()) * 0x0101_0101_0101_0101,
        11 => DATA + random.below(0x2000),
        12 => random.next() & 0xffff_ffff,
        13 => random.next() & 0x8000_0001_8000_0001,
        _ => random.next(),
    }
}

fn near(random: &mut Random, value: u64) -> u64 {
    value.wrapping_add(random.below(3)).wrapping_sub(1)
}

impl Random {
    fn pick_mask(&mut self) -> u64 {
        self.pick(&[0, 0xff, 0xffff, 0xffff_ffff, 0x8000_0000_0000_0000, 0x7fff_ffff_ffff_ffff, u64::MAX])
    }
}

/// The bits of a single.
pub fn single(random: &mut Random) -> u32 {
    let sign = (random.next() as u32) << 31;
    let bits = match random.below(16) {
        0 => 0,
        1 => 0x3f80_0000,
        2 => 0x7f80_0000,
        3 => 0x7fc0_0000 | random.next() as u32 & 0x3f_ffff,
        4 => 0x7f80_0001 | random.next() as u32 & 0x3f_ffff,
        5 => random.next() as u32 & 0x7f_ffff,
        6 => random.pick(&[1, 0x7f_ffff, 0x80_0000, 0x7f7f_ffff]),
        7 => (random.below(1 << 25) as f32 / 2.0).to_bits(),
        8 => random.pick(&[0x4f00_0000, 0x4eff_ffff, 0x5f00_0000, 0x5eff_ffff, 0x3f00_0000, 0x4b00_0000]),
        9..13 => (random.below(24) as u32 + 115) << 23 | random.next() as u32 & 0x7f_ffff,
        _ => random.next() as u32 & 0x7fff_ffff,
    };
    sign | bits
}

/// The bits of a double.
pub fn double(random: &mut Random) -> u64 {
    let sign = random.next() << 63;
    let fraction = random.next() & 0xf_ffff_ffff_ffff;
    let bits = match random.below(16) {
        0 => 0,
        1 => 0x3ff0_0000_0000_0000,
        2 => 0x7ff0_0000_0000_0000,
        3 => 0x7ff8_0000_0000_0000 | fraction >> 1,
        4 => 0x7ff0_0000_0000_0001 | fraction >> 1,
        5 => fraction,
        6 => random.pick(&[1, 0xf_ffff_ffff_ffff, 0x10_0000_0000_0000, 0x7fef_ffff_ffff_ffff]),
        7 => (random.below(1 << 40) as f64 / 2.0).to_bits(),
        8 => random.pick(&[
            0x41e0_0000_0000_0000,
            0x41df_ffff_ffff_ffff,
            0x41df_ffff_ffc0_0000,
            0x43e0_0000_0000_0000,
            0x43df_ffff_ffff_ffff,
            0x3fe0_0000_0000_0000,
            0x4330_0000_0000_0000,
        ]),
        // Around the range of singles, for conversions.
        9 => (random.pick(&[0x369, 0x36a, 0x380, 0x381, 0x47e, 0x47f]) << 52) | fraction,
        10 => (0x3ff0_0000_0000_0000 + (random.below(32) << 52)) | (fraction & 0xf_ffff_e000_0000),
        11..14 => (random.below(60) + 1000) << 52 | fraction,
        _ => random.next() >> 1,
    };
    sign | bits
}

/// The bits of an 80-bit value, also of kinds that no instruction produces.
pub fn extended(random: &mut Random) -> u128 {
    let sign = u128::from(random.next() & 1) << 79;
    let integer_bit = 1u128 << 63;
    let fraction = u128::from(random.next() >> 1);
    let with = |exponent: u128, mantissa: u128| exponent << 64 | mantissa;
    let bits = match random.below(20) {
        0 => 0,
        1 => with(0x3fff, integer_bit),
        2 => with(0x7fff, integer_bit),
        3 => with(0x7fff, 3 << 62 | fraction >> 1),
        4 => with(0x7fff, integer_bit | 1 | fraction >> 1),
        5 => with(0, fraction),
        6 => with(0, integer_bit | fraction),
        7 if random.chance(40) => with(random.below(0x8000) as u128, fraction),
        8 => with(random.pick(&[1, 2, 0x7ffd, 0x7ffe]), integer_bit | fraction),
        9 => with(0x3fff + u128::from(random.below(64)), integer_bit | fraction >> random.below(63) << 40),
        // Around the ranges of doubles and singles, for stores.
        10 => with(
            random.pick(&[0x3bcc, 0x3bcd, 0x3c00, 0x3c01, 0x43fe, 0x43ff, 0x3f69, 0x3f81, 0x407e, 0x407f]),
            integer_bit | fraction,
        ),
        11 => with(0x403e, random.pick(&[integer_bit, integer_bit | 1, u128::from(u64::MAX)])),
        12 => u128::from(random.next()) << 64 & 0x7fff << 64 | integer_bit | fraction,
        _ => with(0x3ff0 + u128::from(random.below(32)), integer_bit | fraction),
    };
    sign | bits
}

/// Sixteen bytes: integers, singles or doubles.
pub fn vector(random: &mut Random) -> u128 {
    match random.below(8) {
        0 | 1 => u128::from(integer(random)) << 64 | u128::from(integer(random)),
        2..5 => (0..4).fold(0, |lanes, _| lanes << 32 | u128::from(single(random))),
        5..7 => u128::from(double(random)) << 64 | u128::from(double(random)),
        _ => u128::from(random.next()) << 64 | u128::from(random.next()),
    }
}
