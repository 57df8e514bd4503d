//! The transcendental instructions (SDM vol. 1 8.3.7), never on the host: vendors round them differently.
//!
//! This file holds what the SDM's tables say of zeros, infinities and NaNs; [`super::functions`] computes
//! the rest. Precision control does not apply, rounding control does.

use super::arithmetic::is_denormal;
use super::functions::{Angle, atan2, exp2_minus_1, log2, log2_plus_1};
use super::hostfp::{self, Arithmetic, Outcome, Source};
use super::round::round;
use super::stack::{F80, INDEFINITE, ONE, SIGN, control, status};
use super::wide::Wide;
use crate::cpu::core::Core;
use crate::cpu::exception::Exec;
use crate::cpu::state::X87;
use iced_x86::{Code, Instruction};

const INFINITY: F80 = 0x7fff_8000_0000_0000_0000;

/// Executes an instruction of this group; `None` if it belongs to another.
pub fn execute(core: &mut Core<'_>, instruction: &Instruction) -> Option<Exec> {
    let fpu = &mut core.cpu.x87;
    match instruction.code() {
        Code::F2xm1 => one_to_one(fpu, power_minus_1),
        Code::Fyl2x => two_to_one(fpu, times_logarithm),
        Code::Fyl2xp1 => two_to_one(fpu, times_logarithm_plus_1),
        Code::Fpatan => two_to_one(fpu, arc_tangent),
        Code::Fsin => one_to_one(fpu, |control, x| circular(control, x, Angle::sine)),
        Code::Fcos => one_to_one(fpu, |control, x| circular(control, x, Angle::cosine)),
        Code::Fptan => one_to_two(fpu, tangent_and_one),
        Code::Fsincos => one_to_two(fpu, sine_and_cosine),
        _ => return None,
    }
    Some(Ok(()))
}

/// Replaces ST(0). A result with C2 set means that the operand is out of range and stays.
fn one_to_one(fpu: &mut X87, function: fn(u16, F80) -> Outcome) {
    if fpu.is_empty(0) {
        if fpu.underflow() {
            fpu.set_st(0, INDEFINITE);
        }
        return;
    }
    let outcome = function(fpu.control, fpu.st(0));
    if record(fpu, outcome.status) {
        fpu.set_st(0, outcome.value);
    }
}

/// Replaces ST(1) by a function of it and ST(0), and pops.
fn two_to_one(fpu: &mut X87, function: fn(u16, F80, F80) -> Outcome) {
    let missing = fpu.is_empty(0) || fpu.is_empty(1);
    let (value, goes_on) = if missing {
        (INDEFINITE, fpu.underflow())
    } else {
        let outcome = function(fpu.control, fpu.st(1), fpu.st(0));
        (outcome.value, record(fpu, outcome.status))
    };
    if goes_on {
        fpu.set_st(1, value);
        fpu.pop();
    }
}

/// Replaces ST(0) by a first result and pushes a second.
fn one_to_two(fpu: &mut X87, function: fn(u16, F80) -> Outcome<(F80, F80)>) {
    let (values, goes_on) = if fpu.is_empty(0) {
        ((INDEFINITE, INDEFINITE), fpu.underflow())
    } else if !fpu.is_empty(7) {
        ((INDEFINITE, INDEFINITE), fpu.overflow())
    } else {
        let outcome = function(fpu.control, fpu.st(0));
        (outcome.value, record(fpu, outcome.status))
    };
    if goes_on {
        fpu.set_st(0, values.0);
        fpu.push(values.1);
    }
}

/// Records a result's status; whether it is to be written.
fn record(fpu: &mut X87, result: u16) -> bool {
    fpu.record(result, status::C1 | status::C2) && result & status::C2 == 0
}

/// What an operand is, once it is not a NaN and not unsupported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Zero,
    Finite,
    Infinite,
}

fn kind(value: F80) -> Kind {
    match (value >> 64 & 0x7fff, value as u64) {
        (0x7fff, _) => Kind::Infinite,
        (_, 0) => Kind::Zero,
        _ => Kind::Finite,
    }
}

/// NaNs, and encodings the unit does not support.
fn is_number(value: F80) -> bool {
    match (value >> 64 & 0x7fff, value as u64) {
        (0, _) => true,
        (0x7fff, significand) => significand == 1 << 63,
        (_, significand) => significand >> 63 != 0,
    }
}

/// The result if an operand is no number: which NaN, and whether invalid, are the same as for addition.
fn propagated(first: F80, second: F80) -> Option<Outcome> {
    let needed = !is_number(first) || !is_number(second);
    needed.then(|| hostfp::arithmetic(Arithmetic::Add, control::DEFAULT, first, Source::Extended(second)))
}

const INVALID: Outcome = Outcome { value: INDEFINITE, status: status::IE };

fn exact(value: F80) -> Outcome {
    Outcome { value, status: 0 }
}

fn with_sign(magnitude: F80, negative: bool) -> F80 {
    magnitude | if negative { SIGN } else { 0 }
}

fn is_negative(value: F80) -> bool {
    value & SIGN != 0
}

/// Adds the denormal-operand exception to a result if it is due.
fn noting_denormals(outcome: Outcome, operands: &[F80]) -> Outcome {
    let denormal = operands.iter().any(|&operand| is_denormal(operand));
    Outcome { status: outcome.status | if denormal { status::DE } else { 0 }, ..outcome }
}

/// What F2XM1 and FYL2XP1 give for finite operands beyond the range the SDM defines them for: processors
/// hand the operand back and call it inexact.
fn handed_back(x: F80) -> Outcome {
    Outcome { value: x, status: status::PE }
}

/// F2XM1: 2^x - 1.
fn power_minus_1(control: u16, x: F80) -> Outcome {
    if let Some(outcome) = propagated(x, 0) {
        return outcome;
    }
    const MINUS_HALF: F80 = 0xbffe_8000_0000_0000_0000;
    let magnitude = x & !SIGN;
    let outcome = match kind(x) {
        Kind::Infinite if is_negative(x) => exact(ONE | SIGN),
        _ if magnitude == ONE => exact(if is_negative(x) { MINUS_HALF } else { x }),
        Kind::Finite if magnitude < ONE => round(control, exp2_minus_1(Wide::from_extended(x)), true),
        Kind::Finite => handed_back(x),
        Kind::Zero | Kind::Infinite => exact(x),
    };
    noting_denormals(outcome, &[x])
}

/// FYL2X: y * log2(x).
fn times_logarithm(control: u16, y: F80, x: F80) -> Outcome {
    if let Some(outcome) = propagated(y, x) {
        return outcome;
    }
    if is_negative(x) && kind(x) != Kind::Zero {
        return INVALID;
    }
    let below_one = x & !SIGN < ONE;
    let negative = is_negative(y) != below_one;
    let outcome = match (kind(y), kind(x)) {
        (Kind::Zero, Kind::Zero | Kind::Infinite) => return INVALID,
        (Kind::Finite, Kind::Zero) => {
            return Outcome { value: with_sign(INFINITY, negative), status: status::ZE };
        }
        (Kind::Infinite, _) if x == ONE => return INVALID,
        (Kind::Infinite, _) | (_, Kind::Infinite) => exact(with_sign(INFINITY, negative)),
        (Kind::Zero, _) => exact(with_sign(0, negative)),
        _ if x == ONE => exact(with_sign(0, negative)),
        _ => {
            // Powers of two have integral logarithms, and the product then is exact.
            let x = Wide::from_extended(x);
            let product = Wide::from_extended(y).multiply(log2(x));
            round(control, product, x.significand != 1 << 127)
        }
    };
    noting_denormals(outcome, &[y, x])
}

/// FYL2XP1: y * log2(x + 1), for all x above -1, which is more than the SDM asks for.
fn times_logarithm_plus_1(control: u16, y: F80, x: F80) -> Outcome {
    if let Some(outcome) = propagated(y, x) {
        return outcome;
    }
    let negative = is_negative(y) != is_negative(x);
    let outcome = match (kind(y), kind(x)) {
        (_, Kind::Infinite) if is_negative(x) => return INVALID,
        (Kind::Infinite, Kind::Zero) | (Kind::Zero, Kind::Infinite) => return INVALID,
        (Kind::Infinite, _) | (_, Kind::Infinite) => exact(with_sign(INFINITY, negative)),
        (Kind::Zero, _) | (_, Kind::Zero) => exact(with_sign(0, negative)),
        _ if is_negative(x) && x & !SIGN >= ONE => handed_back(x),
        _ => {
            let product = Wide::from_extended(y).multiply(log2_plus_1(Wide::from_extended(x)));
            round(control, product, true)
        }
    };
    noting_denormals(outcome, &[y, x])
}

/// FPATAN: the angle of the point (x, y).
fn arc_tangent(control: u16, y: F80, x: F80) -> Outcome {
    if let Some(outcome) = propagated(y, x) {
        return outcome;
    }
    let angle = match (kind(y), kind(x)) {
        (Kind::Infinite, Kind::Infinite) if is_negative(x) => {
            Some(Wide::from_integer(3).multiply(Wide::PI).scaled(-2))
        }
        (Kind::Infinite, Kind::Infinite) => Some(Wide::PI.scaled(-2)),
        (Kind::Infinite, _) | (Kind::Finite, Kind::Zero) => Some(Wide::PI.scaled(-1)),
        (_, Kind::Infinite) | (Kind::Zero, _) => is_negative(x).then_some(Wide::PI),
        _ => Some(atan2(Wide::from_extended(y), Wide::from_extended(x))),
    };
    let outcome = match angle {
        Some(angle) => round(control, Wide { negative: is_negative(y), ..angle }, true),
        None => exact(with_sign(0, is_negative(y))),
    };
    noting_denormals(outcome, &[y, x])
}

/// Operands of 2^63 and more are left alone by the circular functions, with C2 set.
fn is_beyond_range(x: F80) -> bool {
    kind(x) == Kind::Finite && x >> 64 & 0x7fff >= 0x3fff + 63
}

fn circular(control: u16, x: F80, function: fn(Angle) -> Wide) -> Outcome {
    if let Some(outcome) = propagated(x, 0) {
        return outcome;
    }
    if kind(x) == Kind::Infinite {
        return INVALID;
    }
    if is_beyond_range(x) {
        return Outcome { value: x, status: status::C2 };
    }
    let value = function(Angle::reduce(x));
    // Only zero has an exact sine, tangent and cosine.
    noting_denormals(round(control, value, kind(x) != Kind::Zero), &[x])
}

fn tangent_and_one(control: u16, x: F80) -> Outcome<(F80, F80)> {
    let tangent = circular(control, x, Angle::tangent);
    let second = if is_number(tangent.value) { ONE } else { tangent.value };
    Outcome { value: (tangent.value, second), status: tangent.status }
}

fn sine_and_cosine(control: u16, x: F80) -> Outcome<(F80, F80)> {
    let sine = circular(control, x, Angle::sine);
    let cosine = circular(control, x, Angle::cosine);
    // C1 tells how the value on top was rounded.
    let status = sine.status & !status::C1 | cosine.status;
    Outcome { value: (sine.value, cosine.value), status }
}
