//! Packing, unpacking, shuffling, blending and widening: operations that only move lanes about.

use super::Width;
use super::arithmetic::saturate_i16;
use super::lanes::*;
use crate::cpu::core::Core;
use crate::cpu::exception::Exec;
use iced_x86::{Instruction, OpKind};

/// Defines narrowing with saturation: the destination's lanes, then the source's.
macro_rules! packs {
    ($($name:ident $split:ident $join:ident $half:literal $narrow:expr;)*) => { $(
        pub fn $name(a: u128, b: u128, width: Width) -> u128 {
            // Both MMX operands together are one SSE register, whose lanes fill the low half.
            let (a, b) = if width == Width::Mmx { (a | b << 64, 0) } else { (a, b) };
            let (a, b) = ($split(a), $split(b));
            $join(std::array::from_fn(|lane| {
                $narrow(if lane < $half { a[lane] } else { b[lane - $half] })
            }))
        }
    )* };
}

packs! {
    packsswb split_i16 join_i8 8 |lane: i16| lane.clamp(-128, 127) as i8;
    packuswb split_i16 join_u8 8 |lane: i16| lane.clamp(0, 255) as u8;
    packssdw split_i32 join_i16 4 saturate_i16;
    packusdw split_i32 join_u16 4 |lane: i32| lane.clamp(0, 65535) as u16;
}

/// Defines interleaving of the low halves and of the high halves.
macro_rules! unpacks {
    ($($low:ident $high:ident $split:ident $join:ident;)*) => { $(
        pub fn $low(a: u128, b: u128, _: Width) -> u128 {
            let (a, b) = ($split(a), $split(b));
            $join(std::array::from_fn(|lane| if lane % 2 == 0 { a[lane / 2] } else { b[lane / 2] }))
        }

        pub fn $high(a: u128, b: u128, width: Width) -> u128 {
            if width == Width::Mmx {
                return $low(a, b, width) >> 64;
            }
            $low(a >> 64, b >> 64, width)
        }
    )* };
}

unpacks! {
    punpcklbw punpckhbw split_u8 join_u8;
    punpcklwd punpckhwd split_u16 join_u16;
    punpckldq punpckhdq split_u32 join_u32;
    punpcklqdq punpckhqdq split_u64 join_u64;
}

pub fn pshufb(a: u128, b: u128, width: Width) -> u128 {
    let bytes = split_u8(a);
    let mask = if width == Width::Mmx { 7 } else { 15 };
    join_u8(split_u8(b).map(|choice| if choice & 0x80 != 0 { 0 } else { bytes[usize::from(choice & mask)] }))
}

/// The two bits of an immediate that choose for `lane`.
fn choice(immediate: u8, lane: usize) -> usize {
    usize::from(immediate >> (2 * lane) & 3)
}

pub fn pshufd(_: u128, b: u128, immediate: u8, _: Width) -> u128 {
    let b = split_u32(b);
    join_u32(std::array::from_fn(|lane| b[choice(immediate, lane)]))
}

/// PSHUFLW, and PSHUFW of MMX, which is its low half.
pub fn pshuflw(_: u128, b: u128, immediate: u8, _: Width) -> u128 {
    let b = split_u16(b);
    join_u16(std::array::from_fn(|lane| if lane < 4 { b[choice(immediate, lane)] } else { b[lane] }))
}

pub fn pshufhw(_: u128, b: u128, immediate: u8, _: Width) -> u128 {
    let b = split_u16(b);
    join_u16(std::array::from_fn(|lane| if lane < 4 { b[lane] } else { b[4 + choice(immediate, lane - 4)] }))
}

pub fn shufps(a: u128, b: u128, immediate: u8, _: Width) -> u128 {
    let (a, b) = (split_u32(a), split_u32(b));
    join_u32(std::array::from_fn(|lane| if lane < 2 { a } else { b }[choice(immediate, lane)]))
}

pub fn shufpd(a: u128, b: u128, immediate: u8, _: Width) -> u128 {
    let (a, b) = (split_u64(a), split_u64(b));
    join_u64([a[usize::from(immediate & 1)], b[usize::from(immediate >> 1 & 1)]])
}

/// PALIGNR: bytes of destination and source together, from `immediate` on.
pub fn palignr(a: u128, b: u128, immediate: u8, width: Width) -> u128 {
    let shift = 8 * u32::from(immediate);
    if width == Width::Mmx {
        return (a << 64 | b).checked_shr(shift).unwrap_or(0);
    }
    let low = b.checked_shr(shift).unwrap_or(0);
    let high = match shift {
        0 => 0,
        1..128 => a << (128 - shift),
        _ => a.checked_shr(shift - 128).unwrap_or(0),
    };
    low | high
}

/// Defines blends by the bits of an immediate.
macro_rules! blends {
    ($($name:ident $split:ident $join:ident;)*) => { $(
        pub fn $name(a: u128, b: u128, immediate: u8, _: Width) -> u128 {
            let (a, b) = ($split(a), $split(b));
            $join(std::array::from_fn(|lane| if immediate >> lane & 1 != 0 { b[lane] } else { a[lane] }))
        }
    )* };
}

blends! {
    pblendw split_u16 join_u16;
    blendps split_u32 join_u32;
    blendpd split_u64 join_u64;
}

/// Defines blends by the signs of the lanes of XMM0, which is an operand without being named.
macro_rules! variable_blends {
    ($($name:ident $zip:ident;)*) => { $(
        pub fn $name(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
            let a = core.vector(instruction, 0)?;
            let b = core.vector(instruction, 1)?;
            let mask = $zip(core.cpu.xmm[0], 0, |lane, _| if lane < 0 { -1 } else { 0 });
            core.set_vector(instruction, 0, a & !mask | b & mask)
        }
    )* };
}

variable_blends! {
    pblendvb zip_i8;
    blendvps zip_i32;
    blendvpd zip_i64;
}

/// Defines widening of the source's low lanes, with the sign or with zeros.
macro_rules! widenings {
    ($($name:ident $split:ident $join:ident $wide:ident;)*) => { $(
        pub fn $name(_: u128, b: u128, _: Width) -> u128 {
            let b = $split(b);
            $join(std::array::from_fn(|lane| $wide::from(b[lane])))
        }
    )* };
}

widenings! {
    pmovsxbw split_i8 join_i16 i16;
    pmovsxbd split_i8 join_i32 i32;
    pmovsxbq split_i8 join_i64 i64;
    pmovsxwd split_i16 join_i32 i32;
    pmovsxwq split_i16 join_i64 i64;
    pmovsxdq split_i32 join_i64 i64;
    pmovzxbw split_u8 join_u16 u16;
    pmovzxbd split_u8 join_u32 u32;
    pmovzxbq split_u8 join_u64 u64;
    pmovzxwd split_u16 join_u32 u32;
    pmovzxwq split_u16 join_u64 u64;
    pmovzxdq split_u32 join_u64 u64;
}

pub fn movddup(_: u128, b: u128, _: Width) -> u128 {
    b << 64 | u128::from(b as u64)
}

pub fn movsldup(_: u128, b: u128, width: Width) -> u128 {
    pshufd(0, b, 0b10_10_00_00, width)
}

pub fn movshdup(_: u128, b: u128, width: Width) -> u128 {
    pshufd(0, b, 0b11_11_01_01, width)
}

/// INSERTPS: which source lane, which destination lane, which lanes to clear. From memory there is but one
/// source lane.
pub fn insertps(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let a = core.vector(instruction, 0)?;
    let b = core.vector(instruction, 1)?;
    let immediate = instruction.immediate8();
    let from_memory = instruction.op_kind(1) == OpKind::Memory;
    let source = if from_memory { 0 } else { usize::from(immediate >> 6) };
    let mut lanes = split_u32(a);
    lanes[usize::from(immediate >> 4 & 3)] = split_u32(b)[source];
    for (lane, value) in lanes.iter_mut().enumerate() {
        if immediate >> lane & 1 != 0 {
            *value = 0;
        }
    }
    core.set_vector(instruction, 0, join_u32(lanes))
}
