//! Approximations: the manuals bound their error only, so every processor has its own results, and so has the
//! machine.

use super::{Case, Host, Rule};
use iced_x86::Mnemonic as M;

pub const RULES: &[Rule] = &[
    Rule { name: "reciprocal approximation", vendor: None, explain: reciprocal },
    Rule { name: "transcendental rounding", vendor: None, explain: transcendental },
    Rule { name: "transcendental out of range", vendor: None, explain: out_of_range },
];

/// RCP and RSQRT: a relative error below 1.5 * 2^-12 (SDM vol. 2), theirs one way and ours the other.
fn reciprocal(case: &Case<'_>, host: &mut Host) {
    const BOUND: f64 = 3.0 / 4096.0;
    if !matches!(case.instruction.mnemonic(), M::Rcpps | M::Rcpss | M::Rsqrtps | M::Rsqrtss) {
        return;
    }
    let register = case.instruction.op0_register().number();
    let (theirs, ours) = (host.end.state.fx.xmm(register), case.found.state.fx.xmm(register));
    let is_close = (0..4).all(|lane| {
        let value = |vector: u128| f32::from_bits((vector >> (32 * lane)) as u32);
        let (theirs, ours) = (value(theirs), value(ours));
        let is_normal = theirs.is_normal() && ours.is_normal();
        theirs.to_bits() == ours.to_bits()
            || is_normal && (f64::from(theirs) / f64::from(ours) - 1.0).abs() <= BOUND
    });
    if is_close {
        host.end.state.fx.set_xmm(register, ours);
    }
}

fn is_transcendental(case: &Case<'_>) -> bool {
    matches!(
        case.instruction.mnemonic(),
        M::F2xm1 | M::Fcos | M::Fpatan | M::Fptan | M::Fsin | M::Fsincos | M::Fyl2x | M::Fyl2xp1
    )
}

/// Whether the SDM defines the result for this operand up to rounding: processors reduce angles with more or
/// less of pi, and do as they like beyond the ranges.
fn is_in_range(case: &Case<'_>) -> bool {
    let exponent = (case.before.fx.st(0) >> 64) as u16 & 0x7fff;
    match case.instruction.mnemonic() {
        M::Fyl2x | M::Fpatan => true,
        M::Fyl2xp1 => !(0x3ffd..0x7fff).contains(&exponent),
        M::F2xm1 => !(0x3fff..0x7fff).contains(&exponent),
        _ => !(0x3fff..0x3fff + 63).contains(&exponent),
    }
}

/// Inexactness is not part of the definition: PE and C1 (rounded up) vary, and UE at its very edge.
const PE_UE_C1: u16 = 0x230;

/// How many representable values lie from one to the other.
fn units_between(left: u128, right: u128) -> u128 {
    let position = |value: u128| {
        let magnitude = (value >> 64 & 0x7fff) << 63 | value & u128::from(u64::MAX >> 1);
        if value >> 79 != 0 { -(magnitude as i128) } else { magnitude as i128 }
    };
    position(left).abs_diff(position(right))
}

/// One unit in the last place: SDM vol. 1 8.3.10.
fn transcendental(case: &Case<'_>, host: &mut Host) {
    if !is_transcendental(case) || !is_in_range(case) {
        return;
    }
    let (theirs, ours) = (&mut host.end.state.fx, &case.found.state.fx);
    let edge = (theirs.status() ^ ours.status()) & 0x10 != 0;
    let is_close = (0..8).all(|index| edge || units_between(theirs.st(index), ours.st(index)) <= 1);
    if is_close {
        (0..8).for_each(|index| theirs.set_st(index, ours.st(index)));
        theirs.set_status(theirs.status() & !PE_UE_C1 & !SUMMARY | ours.status() & (PE_UE_C1 | SUMMARY));
    }
}

/// ES and B, which follow the exceptions and so PE and UE.
const SUMMARY: u16 = 0x8080;

fn out_of_range(case: &Case<'_>, host: &mut Host) {
    if !is_transcendental(case) || is_in_range(case) {
        return;
    }
    let (theirs, ours) = (&mut host.end.state.fx, &case.found.state.fx);
    // The value is anybody's, but where the stack stands is not.
    let same_stack = theirs.valid() == ours.valid() && (theirs.status() ^ ours.status()) & 7 << 11 == 0;
    if same_stack {
        *theirs = *ours;
    }
}
