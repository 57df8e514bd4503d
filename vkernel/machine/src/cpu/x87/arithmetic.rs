//! Exact arithmetic: the four operations in all their forms, sign, square root, rounding, scaling,
//! extraction, remainders (SDM vol. 1 8.3.5).

use super::hostfp::{self, Arithmetic, Outcome, Source};
use super::stack::{F80, INDEFINITE, SIGN, status};
use super::transfer::{memory_source, register_operand};
use crate::cpu::core::Core;
use crate::cpu::exception::Exec;
use crate::cpu::state::X87;
use iced_x86::{Code, Instruction, OpKind, Register};

/// Executes an instruction of this group; `None` if it belongs to another.
pub fn execute(core: &mut Core<'_>, instruction: &Instruction) -> Option<Exec> {
    if let Some((operation, pop)) = operation(instruction.code()) {
        return Some(two_operands(core, instruction, operation, pop));
    }
    let fpu = &mut core.cpu.x87;
    match instruction.code() {
        Code::Fchs => change_sign(fpu, |value| value ^ SIGN),
        Code::Fabs => change_sign(fpu, |value| value & !SIGN),
        Code::Fsqrt => one_operand(fpu, hostfp::square_root),
        Code::Frndint => one_operand(fpu, hostfp::round_to_integer),
        Code::Fscale => with_st1(fpu, hostfp::scale, status::C1),
        Code::Fxtract => extract(fpu),
        Code::Fprem => with_st1(fpu, |c, a, b| remainder(c, a, b, false), status::CONDITIONS),
        Code::Fprem1 => with_st1(fpu, |c, a, b| remainder(c, a, b, true), status::CONDITIONS),
        _ => return None,
    }
    Some(Ok(()))
}

/// Which operation a two-operand instruction does, and whether it pops.
fn operation(code: Code) -> Option<(Arithmetic, bool)> {
    Some(match code {
        Code::Fadd_m32fp
        | Code::Fadd_m64fp
        | Code::Fiadd_m16int
        | Code::Fiadd_m32int
        | Code::Fadd_st0_sti
        | Code::Fadd_sti_st0 => (Arithmetic::Add, false),
        Code::Fmul_m32fp
        | Code::Fmul_m64fp
        | Code::Fimul_m16int
        | Code::Fimul_m32int
        | Code::Fmul_st0_sti
        | Code::Fmul_sti_st0 => (Arithmetic::Multiply, false),
        Code::Fsub_m32fp
        | Code::Fsub_m64fp
        | Code::Fisub_m16int
        | Code::Fisub_m32int
        | Code::Fsub_st0_sti
        | Code::Fsub_sti_st0 => (Arithmetic::Subtract, false),
        Code::Fsubr_m32fp
        | Code::Fsubr_m64fp
        | Code::Fisubr_m16int
        | Code::Fisubr_m32int
        | Code::Fsubr_st0_sti
        | Code::Fsubr_sti_st0 => (Arithmetic::SubtractReversed, false),
        Code::Fdiv_m32fp
        | Code::Fdiv_m64fp
        | Code::Fidiv_m16int
        | Code::Fidiv_m32int
        | Code::Fdiv_st0_sti
        | Code::Fdiv_sti_st0 => (Arithmetic::Divide, false),
        Code::Fdivr_m32fp
        | Code::Fdivr_m64fp
        | Code::Fidivr_m16int
        | Code::Fidivr_m32int
        | Code::Fdivr_st0_sti
        | Code::Fdivr_sti_st0 => (Arithmetic::DivideReversed, false),
        Code::Faddp_sti_st0 => (Arithmetic::Add, true),
        Code::Fmulp_sti_st0 => (Arithmetic::Multiply, true),
        Code::Fsubp_sti_st0 => (Arithmetic::Subtract, true),
        Code::Fsubrp_sti_st0 => (Arithmetic::SubtractReversed, true),
        Code::Fdivp_sti_st0 => (Arithmetic::Divide, true),
        Code::Fdivrp_sti_st0 => (Arithmetic::DivideReversed, true),
        _ => return None,
    })
}

fn two_operands(core: &mut Core<'_>, instruction: &Instruction, operation: Arithmetic, pop: bool) -> Exec {
    let index = register_operand(instruction);
    let in_memory = instruction.op0_kind() == OpKind::Memory;
    let memory = if in_memory { Some(memory_source(core, instruction)?) } else { None };
    let fpu = &mut core.cpu.x87;
    // The destination is the left operand. ST(0), ST(0) is the same either way.
    let destination = if in_memory || instruction.op0_register() == Register::ST0 { 0 } else { index };
    let other = index - destination;
    if fpu.is_empty(0) || fpu.is_empty(index) {
        if fpu.underflow() {
            finish(fpu, destination, INDEFINITE, pop);
        }
        return Ok(());
    }
    let right = memory.unwrap_or(Source::Extended(fpu.st(other)));
    let outcome = hostfp::arithmetic(operation, fpu.control, fpu.st(destination), right);
    if fpu.record(outcome.status, status::C1) {
        finish(fpu, destination, outcome.value, pop);
    }
    Ok(())
}

fn finish(fpu: &mut X87, destination: usize, value: F80, pop: bool) {
    fpu.set_st(destination, value);
    if pop {
        fpu.pop();
    }
}

/// FCHS and FABS work on any bits at all and raise nothing but stack underflow.
fn change_sign(fpu: &mut X87, change: fn(F80) -> F80) {
    if !fpu.is_empty(0) {
        fpu.set_conditions(0);
        fpu.set_st(0, change(fpu.st(0)));
    } else if fpu.underflow() {
        fpu.set_st(0, INDEFINITE);
    }
}

fn one_operand(fpu: &mut X87, operation: fn(u16, F80) -> Outcome) {
    if fpu.is_empty(0) {
        if fpu.underflow() {
            fpu.set_st(0, INDEFINITE);
        }
        return;
    }
    let outcome = operation(fpu.control, fpu.st(0));
    if fpu.record(outcome.status, status::C1) {
        fpu.set_st(0, outcome.value);
    }
}

/// Replaces ST(0) by a function of it and ST(1), which defines the condition codes in `conditions`.
fn with_st1(fpu: &mut X87, operation: impl Fn(u16, F80, F80) -> Outcome, conditions: u16) {
    if fpu.is_empty(0) || fpu.is_empty(1) {
        if fpu.underflow() {
            fpu.set_st(0, INDEFINITE);
        }
        return;
    }
    let outcome = operation(fpu.control, fpu.st(0), fpu.st(1));
    if fpu.record(outcome.status, conditions) {
        fpu.set_st(0, outcome.value);
    }
}

fn extract(fpu: &mut X87) {
    if fpu.is_empty(0) || !fpu.is_empty(7) {
        let masked = if fpu.is_empty(0) { fpu.underflow() } else { fpu.overflow() };
        if masked {
            fpu.set_st(0, INDEFINITE);
            fpu.push(INDEFINITE);
        }
        return;
    }
    let outcome = hostfp::extract(fpu.control, fpu.st(0));
    let (exponent, significand) = outcome.value;
    if fpu.record(outcome.status, 0) {
        fpu.set_st(0, exponent);
        fpu.push(significand);
    }
}

/// FPREM or FPREM1. When the exponents differ by 64 or more the SDM lets the processor choose how far to
/// reduce in one go. The choice here is by 32 plus the difference modulo 32, and it is put to the host as a
/// complete reduction by `divisor` times a power of two, which leaves the host nothing to choose.
fn remainder(control: u16, dividend: F80, divisor: F80, nearest: bool) -> Outcome {
    let complete = if nearest { hostfp::nearest_remainder } else { hostfp::truncating_remainder };
    let (Some(from), Some(by)) = (Finite::of(dividend), Finite::of(divisor)) else {
        // The quotient is zero or there is none.
        let outcome = complete(control, dividend, divisor);
        return Outcome { status: outcome.status & status::EXCEPTIONS, ..outcome };
    };
    let difference = from.exponent - by.exponent;
    if difference < 64 {
        return complete(control, dividend, divisor);
    }
    let step = difference % 32 + 32;
    let raised = Finite { exponent: from.exponent - step, ..by };
    let outcome = hostfp::truncating_remainder(control, dividend, raised.value());
    // Raising the divisor may have made it normal.
    let denormal = if is_denormal(divisor) { status::DE } else { 0 };
    Outcome { value: outcome.value, status: outcome.status & status::EXCEPTIONS | denormal | status::C2 }
}

/// Exponent field 0, but not zero: denormal or pseudo-denormal.
pub fn is_denormal(value: F80) -> bool {
    value >> 64 & 0x7fff == 0 && value as u64 != 0
}

/// A finite number other than zero, normalised: the significand's top bit is set.
struct Finite {
    exponent: i32,
    significand: u64,
    negative: bool,
}

impl Finite {
    fn of(value: F80) -> Option<Finite> {
        let (field, significand) = ((value >> 64) as i32 & 0x7fff, value as u64);
        let unsupported = field != 0 && significand >> 63 == 0;
        if field == 0x7fff || unsupported || significand == 0 {
            return None;
        }
        let shift = significand.leading_zeros();
        // Field 0 has the exponent of field 1.
        let exponent = field.max(1) - shift as i32;
        Some(Finite { exponent, significand: significand << shift, negative: value & SIGN != 0 })
    }

    /// The 80 bits; the exponent must be representable.
    fn value(&self) -> F80 {
        let (field, significand) = match self.exponent {
            ..=0 => (0, self.significand >> (1 - self.exponent).min(63)),
            normal => (normal as u128, self.significand),
        };
        u128::from(self.negative) << 79 | field << 64 | u128::from(significand)
    }
}
