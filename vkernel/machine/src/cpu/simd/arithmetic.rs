//! Packed integer arithmetic, comparison, logic and shifts (SDM vol. 1 ch. 9, 11 and 12).

use super::Width;
use super::lanes::*;

/// Defines operations that work lane by lane, and so do not care about the width.
macro_rules! lanewise {
    ($($name:ident $zip:ident $combine:expr;)*) => { $(
        pub fn $name(a: u128, b: u128, _: Width) -> u128 {
            $zip(a, b, $combine)
        }
    )* };
}

lanewise! {
    paddb zip_u8 u8::wrapping_add;
    paddw zip_u16 u16::wrapping_add;
    paddd zip_u32 u32::wrapping_add;
    paddq zip_u64 u64::wrapping_add;
    psubb zip_u8 u8::wrapping_sub;
    psubw zip_u16 u16::wrapping_sub;
    psubd zip_u32 u32::wrapping_sub;
    psubq zip_u64 u64::wrapping_sub;
    paddsb zip_i8 i8::saturating_add;
    paddsw zip_i16 i16::saturating_add;
    paddusb zip_u8 u8::saturating_add;
    paddusw zip_u16 u16::saturating_add;
    psubsb zip_i8 i8::saturating_sub;
    psubsw zip_i16 i16::saturating_sub;
    psubusb zip_u8 u8::saturating_sub;
    psubusw zip_u16 u16::saturating_sub;

    pmullw zip_u16 u16::wrapping_mul;
    pmulld zip_u32 u32::wrapping_mul;
    pmulhw zip_i16 |x, y| ((i32::from(x) * i32::from(y)) >> 16) as i16;
    pmulhuw zip_u16 |x, y| ((u32::from(x) * u32::from(y)) >> 16) as u16;
    pmulhrsw zip_i16 |x, y| ((((i32::from(x) * i32::from(y)) >> 14) + 1) >> 1) as i16;
    pmuludq zip_u64 |x, y| u64::from(x as u32) * u64::from(y as u32);
    pmuldq zip_i64 |x, y| i64::from(x as i32) * i64::from(y as i32);

    pavgb zip_u8 |x, y| ((u16::from(x) + u16::from(y) + 1) >> 1) as u8;
    pavgw zip_u16 |x, y| ((u32::from(x) + u32::from(y) + 1) >> 1) as u16;
    pminub zip_u8 Ord::min;
    pminsb zip_i8 Ord::min;
    pminuw zip_u16 Ord::min;
    pminsw zip_i16 Ord::min;
    pminud zip_u32 Ord::min;
    pminsd zip_i32 Ord::min;
    pmaxub zip_u8 Ord::max;
    pmaxsb zip_i8 Ord::max;
    pmaxuw zip_u16 Ord::max;
    pmaxsw zip_i16 Ord::max;
    pmaxud zip_u32 Ord::max;
    pmaxsd zip_i32 Ord::max;

    pcmpeqb zip_u8 |x, y| if x == y { u8::MAX } else { 0 };
    pcmpeqw zip_u16 |x, y| if x == y { u16::MAX } else { 0 };
    pcmpeqd zip_u32 |x, y| if x == y { u32::MAX } else { 0 };
    pcmpeqq zip_u64 |x, y| if x == y { u64::MAX } else { 0 };
    pcmpgtb zip_i8 |x, y| if x > y { -1 } else { 0 };
    pcmpgtw zip_i16 |x, y| if x > y { -1 } else { 0 };
    pcmpgtd zip_i32 |x, y| if x > y { -1 } else { 0 };
    pcmpgtq zip_i64 |x, y| if x > y { -1 } else { 0 };

    pabsb zip_i8 |_, y: i8| y.wrapping_abs();
    pabsw zip_i16 |_, y: i16| y.wrapping_abs();
    pabsd zip_i32 |_, y: i32| y.wrapping_abs();
    psignb zip_i8 |x: i8, y: i8| x.wrapping_mul(y.signum());
    psignw zip_i16 |x: i16, y: i16| x.wrapping_mul(y.signum());
    psignd zip_i32 |x: i32, y: i32| x.wrapping_mul(y.signum());
}

pub fn and(a: u128, b: u128, _: Width) -> u128 {
    a & b
}

pub fn andn(a: u128, b: u128, _: Width) -> u128 {
    !a & b
}

pub fn or(a: u128, b: u128, _: Width) -> u128 {
    a | b
}

pub fn xor(a: u128, b: u128, _: Width) -> u128 {
    a ^ b
}

/// PMADDWD: pairs of signed products. -32768 four times wraps to the most negative doubleword.
pub fn pmaddwd(a: u128, b: u128, _: Width) -> u128 {
    let (a, b) = (split_i16(a), split_i16(b));
    let product = |index: usize| i32::from(a[index]) * i32::from(b[index]);
    join_i32(std::array::from_fn(|lane| product(2 * lane).wrapping_add(product(2 * lane + 1))))
}

/// PMADDUBSW: unsigned bytes of the destination times signed bytes of the source.
pub fn pmaddubsw(a: u128, b: u128, _: Width) -> u128 {
    let (a, b) = (split_u8(a), split_i8(b));
    let product = |index: usize| i32::from(a[index]) * i32::from(b[index]);
    join_i16(std::array::from_fn(|lane| saturate_i16(product(2 * lane) + product(2 * lane + 1))))
}

/// PSADBW: sums of absolute differences of eight bytes.
pub fn psadbw(a: u128, b: u128, _: Width) -> u128 {
    let (a, b) = (split_u8(a), split_u8(b));
    join_u64(std::array::from_fn(|half| {
        (8 * half..8 * half + 8).map(|index| u64::from(a[index].abs_diff(b[index]))).sum()
    }))
}

/// MPSADBW: eight sums over four bytes, of a sliding window of `a` and a fixed block of `b`.
pub fn mpsadbw(a: u128, b: u128, immediate: u8, _: Width) -> u128 {
    let (a, b) = (split_u8(a), split_u8(b));
    let window = usize::from(immediate >> 2 & 1) * 4;
    let block = usize::from(immediate & 3) * 4;
    join_u16(std::array::from_fn(|lane| {
        (0..4).map(|index| u16::from(a[window + lane + index].abs_diff(b[block + index]))).sum()
    }))
}

/// PHMINPOSUW: the least word and the lowest index it stands at.
pub fn phminposuw(_: u128, b: u128, _: Width) -> u128 {
    let words = split_u16(b);
    let (mut least, mut position) = (words[0], 0);
    for (index, &word) in words.iter().enumerate() {
        if word < least {
            (least, position) = (word, index as u128);
        }
    }
    u128::from(least) | position << 16
}

pub fn saturate_i16(value: i32) -> i16 {
    value.clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16
}

/// Defines operations on pairs of adjacent lanes: those of the destination, then those of the source.
macro_rules! horizontal {
    ($($name:ident $split:ident $join:ident $half:literal $combine:expr;)*) => { $(
        pub fn $name(a: u128, b: u128, width: Width) -> u128 {
            // Both MMX operands together are one SSE register, whose pairs fill the low half.
            let (a, b) = if width == Width::Mmx { (a | b << 64, 0) } else { (a, b) };
            let (a, b) = ($split(a), $split(b));
            $join(std::array::from_fn(|lane| {
                let (from, at) = if lane < $half { (&a, 2 * lane) } else { (&b, 2 * (lane - $half)) };
                $combine(from[at], from[at + 1])
            }))
        }
    )* };
}

horizontal! {
    phaddw split_u16 join_u16 4 u16::wrapping_add;
    phaddd split_u32 join_u32 2 u32::wrapping_add;
    phaddsw split_i16 join_i16 4 i16::saturating_add;
    phsubw split_u16 join_u16 4 u16::wrapping_sub;
    phsubd split_u32 join_u32 2 u32::wrapping_sub;
    phsubsw split_i16 join_i16 4 i16::saturating_sub;
}

/// Defines shifts of every lane by one count: the whole low quadword of the source. A count beyond the
/// lane gives zero, or the sign.
macro_rules! shifts {
    ($($name:ident $zip:ident $lane:ident $shift:expr;)*) => { $(
        pub fn $name(a: u128, b: u128, _: Width) -> u128 {
            let count = u32::try_from(b as u64).unwrap_or(u32::MAX);
            $zip(a, 0, |lane: $lane, _| $shift(lane, count))
        }
    )* };
}

shifts! {
    psllw zip_u16 u16 |lane: u16, count| lane.checked_shl(count).unwrap_or(0);
    pslld zip_u32 u32 |lane: u32, count| lane.checked_shl(count).unwrap_or(0);
    psllq zip_u64 u64 |lane: u64, count| lane.checked_shl(count).unwrap_or(0);
    psrlw zip_u16 u16 |lane: u16, count| lane.checked_shr(count).unwrap_or(0);
    psrld zip_u32 u32 |lane: u32, count| lane.checked_shr(count).unwrap_or(0);
    psrlq zip_u64 u64 |lane: u64, count| lane.checked_shr(count).unwrap_or(0);
    psraw zip_i16 i16 |lane: i16, count: u32| lane >> count.min(15);
    psrad zip_i32 i32 |lane: i32, count: u32| lane >> count.min(31);
}

/// PSLLDQ: by bytes.
pub fn pslldq(a: u128, b: u128, _: Width) -> u128 {
    a.checked_shl(8 * (b as u32 & 0xff)).unwrap_or(0)
}

/// PSRLDQ: by bytes.
pub fn psrldq(a: u128, b: u128, _: Width) -> u128 {
    a.checked_shr(8 * (b as u32 & 0xff)).unwrap_or(0)
}
