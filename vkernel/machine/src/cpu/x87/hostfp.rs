//! The exact operations, done by the host's x87 unit.
//!
//! Only what IEEE 754 and SDM vol. 1 ch. 8 define to the last bit is here, so that every x86-64 host gives
//! the same answer: loads and stores with conversion, add, subtract, multiply, divide, square root, compare,
//! remainder, round, scale, extract. (FBLD is not here: it is undefined for digits above 9.) Precision and rounding are the guest's. Invalid operation, denormal,
//! zero divide and precision are always masked; overflow and underflow are masked as the guest masks them,
//! because the result with wrapped exponent that an unmasked one leaves in a register can be had in no other
//! way. What an unmasked exception means for the guest's registers is decided by the callers.
//!
//! Each function starts from an initialised unit and leaves it initialised: empty stack, default control
//! word, nothing pending. An unmasked exception is pending only until the FNCLEX two instructions later, and
//! no instruction in between waits, so none is ever delivered to this process.

use super::stack::{F80, control};
use core::arch::asm;

/// A value in one of the formats that instructions take from memory or the register stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A register.
    Extended(F80),
    /// Single precision.
    Single(u32),
    /// Double precision.
    Double(u64),
    /// 16-bit integer.
    Word(i16),
    /// 32-bit integer.
    Dword(i32),
}

/// A result and the status word that came with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome<T = F80> {
    /// The result. Meaningless after an unmasked overflow or underflow of a store to memory.
    pub value: T,
    /// Exception flags and condition codes.
    pub status: u16,
}

/// Two-operand arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// left + right
    Add,
    /// left * right
    Multiply,
    /// left - right
    Subtract,
    /// right - left
    SubtractReversed,
    /// left / right
    Divide,
    /// right / left
    DivideReversed,
}

/// Comparisons by how they treat quiet NaNs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// FCOM: any NaN is invalid.
    Ordered,
    /// FUCOM: only signalling NaNs are invalid.
    Unordered,
}

/// The control word for the host: the guest's precision, rounding, overflow and underflow masks.
fn host_control(guest: u16) -> u16 {
    let kept = control::PRECISION | control::ROUNDING | control::OM | control::UM;
    let precision_reserved = guest & control::PRECISION == control::PRECISION_RESERVED;
    let extended = if precision_reserved { control::PRECISION } else { 0 };
    guest & kept | extended | control::IM | control::DM | control::ZM | control::PM | control::FIXED
}

/// Runs `before`, takes the status word, clears exceptions, runs `after`; gives the status word.
macro_rules! on_host {
    ($control:expr, [$($before:expr),+], [$($after:expr),*], $($name:ident = $pointer:expr),+) => {{
        let control: u16 = host_control($control);
        let status: u16;
        // SAFETY: the pointers are to locals of the sizes the instructions access. The unit's stack is empty
        // on entry by the calling convention, its registers are declared clobbered, and FNINIT restores
        // the control word every Linux process starts with. No waiting instruction follows an exception.
        unsafe {
            asm!(
                "fninit",
                "fldcw word ptr [{control}]",
                $($before,)+
                "fnstsw ax",
                "fnclex",
                $($after,)*
                "fninit",
                control = in(reg) &raw const control,
                $($name = in(reg) $pointer,)+
                out("ax") status,
                out("st(0)") _, out("st(1)") _, out("st(2)") _, out("st(3)") _,
                out("st(4)") _, out("st(5)") _, out("st(6)") _, out("st(7)") _,
                options(nostack),
            );
        }
        status
    }};
}

/// An operation on a register, given as its instruction, and a source of any format.
macro_rules! with_source {
    ($control:expr, $left:expr, $right:expr, $value:expr, $mnemonic:literal) => {{
        let (control, left, value): (u16, *const F80, *mut F80) = ($control, $left, $value);
        match $right {
            Source::Extended(right) => on_host!(
                control,
                ["fld tbyte ptr [{right}]", "fld tbyte ptr [{left}]", concat!("f", $mnemonic, " st(0), st(1)")],
                ["fstp tbyte ptr [{value}]"],
                left = left, right = &raw const right, value = value
            ),
            Source::Single(right) => with_source!(memory control, left, value, right, "f", $mnemonic, " dword"),
            Source::Double(right) => with_source!(memory control, left, value, right, "f", $mnemonic, " qword"),
            Source::Word(right) => with_source!(memory control, left, value, right, "fi", $mnemonic, " word"),
            Source::Dword(right) => with_source!(memory control, left, value, right, "fi", $mnemonic, " dword"),
        }
    }};
    (memory $control:ident, $left:ident, $value:ident, $right:ident, $f:literal, $mnemonic:literal, $size:literal) => {
        on_host!(
            $control,
            ["fld tbyte ptr [{left}]", concat!($f, $mnemonic, $size, " ptr [{right}]")],
            ["fstp tbyte ptr [{value}]"],
            left = $left, right = &raw const $right, value = $value
        )
    };
}

/// `left` combined with `right` under `control`.
pub fn arithmetic(operation: Arithmetic, control: u16, left: F80, right: Source) -> Outcome {
    let mut value: F80 = 0;
    let (from, to) = (&raw const left, &raw mut value);
    let status = match operation {
        Arithmetic::Add => with_source!(control, from, right, to, "add"),
        Arithmetic::Multiply => with_source!(control, from, right, to, "mul"),
        Arithmetic::Subtract => with_source!(control, from, right, to, "sub"),
        Arithmetic::SubtractReversed => with_source!(control, from, right, to, "subr"),
        Arithmetic::Divide => with_source!(control, from, right, to, "div"),
        Arithmetic::DivideReversed => with_source!(control, from, right, to, "divr"),
    };
    Outcome { value, status }
}

/// Compares `left` with `right`; the status word has the exceptions and C3, C2, C0. Integers and memory
/// operands are always compared as FCOM does.
pub fn compare(comparison: Comparison, left: F80, right: Source) -> u16 {
    let mut unused: F80 = 0;
    let (from, to) = (&raw const left, &raw mut unused);
    match (comparison, right) {
        (Comparison::Unordered, Source::Extended(right)) => on_host!(
            control::DEFAULT,
            ["fld tbyte ptr [{right}]", "fld tbyte ptr [{left}]", "fucom st(1)"],
            [],
            left = from,
            right = &raw const right
        ),
        (_, Source::Extended(right)) => on_host!(
            control::DEFAULT,
            ["fld tbyte ptr [{right}]", "fld tbyte ptr [{left}]", "fcom st(1)"],
            [],
            left = from,
            right = &raw const right
        ),
        (_, Source::Single(right)) => {
            with_source!(memory CONTROL, from, to, right, "f", "com", " dword")
        }
        (_, Source::Double(right)) => {
            with_source!(memory CONTROL, from, to, right, "f", "com", " qword")
        }
        (_, Source::Word(right)) => with_source!(memory CONTROL, from, to, right, "fi", "com", " word"),
        (_, Source::Dword(right)) => {
            with_source!(memory CONTROL, from, to, right, "fi", "com", " dword")
        }
    }
}

/// A comparison does not depend on precision or rounding.
const CONTROL: u16 = control::DEFAULT;

/// Loads from memory: one instruction, one pointer.
macro_rules! load {
    ($name:ident, $from:ty, $instruction:literal, $doc:literal) => {
        #[doc = $doc]
        pub fn $name(from: $from) -> Outcome {
            let mut value: F80 = 0;
            let status = on_host!(
                control::DEFAULT,
                [concat!($instruction, " ptr [{from}]")],
                ["fstp tbyte ptr [{value}]"],
                from = &raw const from,
                value = &raw mut value
            );
            Outcome { value, status }
        }
    };
}
load!(load_single, u32, "fld dword", "Extends a single-precision value.");
load!(load_double, u64, "fld qword", "Extends a double-precision value.");
load!(load_integer, i64, "fild qword", "Converts an integer; always exact.");

/// Stores to memory: one instruction, under the guest's rounding.
macro_rules! store {
    ($name:ident, $to:ty, $zero:expr, $instruction:literal, $doc:literal) => {
        #[doc = $doc]
        pub fn $name(control: u16, from: F80) -> Outcome<$to> {
            let mut value: $to = $zero;
            let status = on_host!(
                control,
                ["fld tbyte ptr [{from}]", concat!($instruction, " ptr [{value}]")],
                [],
                from = &raw const from,
                value = &raw mut value
            );
            Outcome { value, status }
        }
    };
}
store!(store_single, u32, 0, "fst dword", "Rounds to single precision.");
store!(store_double, u64, 0, "fst qword", "Rounds to double precision.");
store!(store_word, i16, 0, "fist word", "Rounds to a 16-bit integer.");
store!(store_dword, i32, 0, "fist dword", "Rounds to a 32-bit integer.");
store!(store_qword, i64, 0, "fistp qword", "Rounds to a 64-bit integer.");
store!(store_bcd, [u8; 10], [0; 10], "fbstp tbyte", "Rounds to 18 packed decimal digits and a sign.");

/// Operations on one register.
macro_rules! unary {
    ($name:ident, $instruction:literal, $doc:literal) => {
        #[doc = $doc]
        pub fn $name(control: u16, operand: F80) -> Outcome {
            let mut value: F80 = 0;
            let status = on_host!(
                control,
                ["fld tbyte ptr [{operand}]", $instruction],
                ["fstp tbyte ptr [{value}]"],
                operand = &raw const operand,
                value = &raw mut value
            );
            Outcome { value, status }
        }
    };
}
unary!(square_root, "fsqrt", "Square root.");
unary!(round_to_integer, "frndint", "Rounds to an integral value.");

/// Operations on ST(0), which they replace, and ST(1), which they read.
macro_rules! binary {
    ($name:ident, $instruction:literal, $doc:literal) => {
        #[doc = $doc]
        pub fn $name(control: u16, st0: F80, st1: F80) -> Outcome {
            let mut value: F80 = 0;
            let status = on_host!(
                control,
                ["fld tbyte ptr [{st1}]", "fld tbyte ptr [{st0}]", $instruction],
                ["fstp tbyte ptr [{value}]"],
                st0 = &raw const st0,
                st1 = &raw const st1,
                value = &raw mut value
            );
            Outcome { value, status }
        }
    };
}
binary!(scale, "fscale", "`st0` times two to the integer part of `st1`.");
binary!(truncating_remainder, "fprem", "FPREM. Defined for exponents that differ by less than 64.");
binary!(nearest_remainder, "fprem1", "FPREM1. Defined for exponents that differ by less than 64.");

/// Splits a value into its exponent (first) and significand (second).
pub fn extract(control: u16, operand: F80) -> Outcome<(F80, F80)> {
    let (mut exponent, mut significand): (F80, F80) = (0, 0);
    let status = on_host!(
        control,
        ["fld tbyte ptr [{operand}]", "fxtract"],
        ["fstp tbyte ptr [{significand}]", "fstp tbyte ptr [{exponent}]"],
        operand = &raw const operand,
        exponent = &raw mut exponent,
        significand = &raw mut significand
    );
    Outcome { value: (exponent, significand), status }
}

/// Whole instructions on the host, for tests to compare with.
#[cfg(test)]
pub mod native {
    use core::arch::asm;

    /// What an x87 instruction can read or write.
    #[derive(Clone, Debug)]
    #[repr(C, align(16))]
    pub struct State {
        /// As FXSAVE lays it out.
        pub image: [u8; 512],
        /// What RDI points to.
        pub memory: [u8; 128],
        /// RAX.
        pub rax: u64,
        /// RFLAGS.
        pub rflags: u64,
    }

    /// One instruction of two bytes.
    #[derive(Clone, Copy, Debug)]
    pub struct Native {
        /// Its encoding.
        pub bytes: [u8; 2],
        /// Executes it.
        pub run: fn(&mut State),
    }

    fn run<const FIRST: u8, const SECOND: u8>(state: &mut State) {
        let exceptions = state.image[2] & !state.image[0] & 0x3f;
        assert_eq!(exceptions, 0, "a pending exception would be delivered to this process");
        // SAFETY: the instruction reaches nothing but the unit, RAX, RFLAGS and the memory at RDI, which is
        // larger than the largest operand. The image holds a valid MXCSR; everything FXRSTOR loads is
        // declared clobbered, and FNINIT drops whatever is left pending.
        unsafe {
            asm!(
                "fxrstor64 [{image}]",
                "push {flags}",
                "popfq",
                ".byte {first}, {second}",
                "pushfq",
                "pop {flags}",
                "fxsave64 [{image}]",
                "fninit",
                image = in(reg) &raw mut state.image,
                flags = inout(reg) state.rflags,
                first = const FIRST,
                second = const SECOND,
                in("rdi") &raw mut state.memory,
                inout("rax") state.rax,
                out("st(0)") _, out("st(1)") _, out("st(2)") _, out("st(3)") _,
                out("st(4)") _, out("st(5)") _, out("st(6)") _, out("st(7)") _,
                out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _,
                out("xmm4") _, out("xmm5") _, out("xmm6") _, out("xmm7") _,
                out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
                out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
            );
        }
    }

    macro_rules! natives {
        ($($first:literal: [$($second:literal),+])+) => {
            &[$($(Native { bytes: [$first, $second], run: run::<$first, $second> },)+)+]
        };
    }

    /// Every memory form, addressed by RDI, and every register form with a few registers.
    pub const ALL: &[Native] = natives! {
        0xd8: [0x07, 0x0f, 0x17, 0x1f, 0x27, 0x2f, 0x37, 0x3f, 0xc0, 0xc8, 0xd0, 0xd8, 0xe0, 0xe8, 0xf0, 0xf8, 0xc1, 0xc9, 0xd1, 0xd9, 0xe1, 0xe9, 0xf1, 0xf9, 0xc5, 0xcd, 0xd5, 0xdd, 0xe5, 0xed, 0xf5, 0xfd]
        0xd9: [0x07, 0x17, 0x1f, 0x27, 0x2f, 0x37, 0x3f, 0xc0, 0xc8, 0xd8, 0xc1, 0xc9, 0xd9, 0xc5, 0xcd, 0xdd, 0xd0, 0xe0, 0xe1, 0xe4, 0xe5, 0xe8, 0xe9, 0xea, 0xeb, 0xec, 0xed, 0xee, 0xf0, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa, 0xfb, 0xfc, 0xfd, 0xfe, 0xff]
        0xda: [0x07, 0x0f, 0x17, 0x1f, 0x27, 0x2f, 0x37, 0x3f, 0xc0, 0xc8, 0xd0, 0xd8, 0xc1, 0xc9, 0xd1, 0xd9, 0xc5, 0xcd, 0xd5, 0xdd, 0xe9]
        0xdb: [0x07, 0x0f, 0x17, 0x1f, 0x2f, 0x3f, 0xc0, 0xc8, 0xd0, 0xd8, 0xe8, 0xf0, 0xc1, 0xc9, 0xd1, 0xd9, 0xe9, 0xf1, 0xc5, 0xcd, 0xd5, 0xdd, 0xed, 0xf5, 0xe2, 0xe3]
        0xdc: [0x07, 0x0f, 0x17, 0x1f, 0x27, 0x2f, 0x37, 0x3f, 0xc0, 0xc8, 0xd0, 0xd8, 0xe0, 0xe8, 0xf0, 0xf8, 0xc1, 0xc9, 0xd1, 0xd9, 0xe1, 0xe9, 0xf1, 0xf9, 0xc5, 0xcd, 0xd5, 0xdd, 0xe5, 0xed, 0xf5, 0xfd]
        0xdd: [0x07, 0x0f, 0x17, 0x1f, 0x27, 0x37, 0x3f, 0xc0, 0xc8, 0xd0, 0xd8, 0xe0, 0xe8, 0xc1, 0xc9, 0xd1, 0xd9, 0xe1, 0xe9, 0xc5, 0xcd, 0xd5, 0xdd, 0xe5, 0xed]
        0xde: [0x07, 0x0f, 0x17, 0x1f, 0x27, 0x2f, 0x37, 0x3f, 0xc0, 0xc8, 0xd0, 0xe0, 0xe8, 0xf0, 0xf8, 0xc1, 0xc9, 0xd1, 0xe1, 0xe9, 0xf1, 0xf9, 0xc5, 0xcd, 0xd5, 0xe5, 0xed, 0xf5, 0xfd, 0xd9]
        0xdf: [0x07, 0x0f, 0x17, 0x1f, 0x27, 0x2f, 0x37, 0x3f, 0xc0, 0xc8, 0xd0, 0xd8, 0xe8, 0xf0, 0xc1, 0xc9, 0xd1, 0xd9, 0xe9, 0xf1, 0xc5, 0xcd, 0xd5, 0xdd, 0xed, 0xf5, 0xe0]
    };
}
