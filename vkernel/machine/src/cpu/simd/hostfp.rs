//! IEEE arithmetic on the host's SSE unit, under the guest's MXCSR (SDM vol. 1 ch. 10, 11 and annex E).
//!
//! One function for each instruction. It loads the guest's MXCSR with all exceptions masked, executes that
//! instruction, and gives the result and the flags: all that it raised, and any masked ones that were set
//! before. Then the host's own MXCSR holds again, but for its flags, which nobody reads: putting back also
//! those would cost more than all the rest, as processors are slow to store an MXCSR that has just changed. What these instructions compute, NaNs included, is the same on every x86-64
//! processor, so this stays a pure function of its arguments. ROUNDPS and its kin need SSE4.1 of the host.
//!
//! The only file of the instruction set with `unsafe`.

use core::arch::asm;
use core::arch::x86_64::__m128i;

/// MXCSR flags.
const FLAGS: u32 = 0x3f;
/// MXCSR with all exceptions masked, and otherwise in its default state: what Rust code runs under.
static HOST_MXCSR: u32 = 0x1f80;

/// The guest's MXCSR as it is safe to run under. Its flags stay set where they are masked, for raising them
/// again changes nothing then, and a processor takes long to set a flag that was clear. The unmasked ones
/// start clear, so that what comes back has been raised by this instruction.
fn masked(mxcsr: u32) -> u32 {
    let masked_flags = mxcsr & mxcsr >> 7 & FLAGS;
    mxcsr & 0xffff & !FLAGS | HOST_MXCSR | masked_flags
}

fn to_register(value: u128) -> __m128i {
    // SAFETY: both are 16 bytes of which every pattern is valid.
    unsafe { core::mem::transmute(value) }
}

fn from_register(value: __m128i) -> u128 {
    // SAFETY: both are 16 bytes of which every pattern is valid.
    unsafe { core::mem::transmute(value) }
}

/// Defines `op xmm, xmm` instructions: `(a, b, mxcsr) -> (result, flags)`.
macro_rules! binary {
    ($($name:ident $text:literal;)*) => { $(
        pub fn $name(a: u128, b: u128, mxcsr: u32) -> (u128, u32) {
            let mut control = masked(mxcsr);
            let mut a = to_register(a);
            // SAFETY: touches its operands and the two MXCSR images only. MXCSR's control bits are the
            // host's again at the end; no exception can be raised, since all are masked.
            unsafe {
                asm!(
                    "ldmxcsr [{control}]",
                    $text,
                    "stmxcsr [{control}]",
                    "test {changed:e}, {changed:e}",
                    "jz 2f",
                    "ldmxcsr [{host}]",
                    "2:",
                    a = inout(xmm_reg) a,
                    b = in(xmm_reg) to_register(b),
                    control = in(reg) &raw mut control,
                    changed = in(reg) control & !FLAGS ^ HOST_MXCSR,
                    host = in(reg) &raw const HOST_MXCSR,
                    options(nostack),
                );
            }
            (from_register(a), control & FLAGS)
        }
    )* };
}

binary! {
    addps "addps {a}, {b}";
    addpd "addpd {a}, {b}";
    addss "addss {a}, {b}";
    addsd "addsd {a}, {b}";
    subps "subps {a}, {b}";
    subpd "subpd {a}, {b}";
    subss "subss {a}, {b}";
    subsd "subsd {a}, {b}";
    mulps "mulps {a}, {b}";
    mulpd "mulpd {a}, {b}";
    mulss "mulss {a}, {b}";
    mulsd "mulsd {a}, {b}";
    divps "divps {a}, {b}";
    divpd "divpd {a}, {b}";
    divss "divss {a}, {b}";
    divsd "divsd {a}, {b}";
    minps "minps {a}, {b}";
    minpd "minpd {a}, {b}";
    minss "minss {a}, {b}";
    minsd "minsd {a}, {b}";
    maxps "maxps {a}, {b}";
    maxpd "maxpd {a}, {b}";
    maxss "maxss {a}, {b}";
    maxsd "maxsd {a}, {b}";
    sqrtps "sqrtps {a}, {b}";
    sqrtpd "sqrtpd {a}, {b}";
    sqrtss "sqrtss {a}, {b}";
    sqrtsd "sqrtsd {a}, {b}";
    addsubps "addsubps {a}, {b}";
    addsubpd "addsubpd {a}, {b}";
    haddps "haddps {a}, {b}";
    haddpd "haddpd {a}, {b}";
    hsubps "hsubps {a}, {b}";
    hsubpd "hsubpd {a}, {b}";

    cmpeqps "cmpps {a}, {b}, 0";
    cmpltps "cmpps {a}, {b}, 1";
    cmpleps "cmpps {a}, {b}, 2";
    cmpunordps "cmpps {a}, {b}, 3";
    cmpeqpd "cmppd {a}, {b}, 0";
    cmpltpd "cmppd {a}, {b}, 1";
    cmplepd "cmppd {a}, {b}, 2";
    cmpunordpd "cmppd {a}, {b}, 3";
    cmpeqss "cmpss {a}, {b}, 0";
    cmpltss "cmpss {a}, {b}, 1";
    cmpless "cmpss {a}, {b}, 2";
    cmpunordss "cmpss {a}, {b}, 3";
    cmpeqsd "cmpsd {a}, {b}, 0";
    cmpltsd "cmpsd {a}, {b}, 1";
    cmplesd "cmpsd {a}, {b}, 2";
    cmpunordsd "cmpsd {a}, {b}, 3";

    // Immediate 4: round as MXCSR says, and raise inexact.
    roundps "roundps {a}, {b}, 4";
    roundpd "roundpd {a}, {b}, 4";
    roundss "roundss {a}, {b}, 4";
    roundsd "roundsd {a}, {b}, 4";

    cvtps2pd "cvtps2pd {a}, {b}";
    cvtpd2ps "cvtpd2ps {a}, {b}";
    cvtss2sd "cvtss2sd {a}, {b}";
    cvtsd2ss "cvtsd2ss {a}, {b}";
    cvtdq2ps "cvtdq2ps {a}, {b}";
    cvtdq2pd "cvtdq2pd {a}, {b}";
    cvtps2dq "cvtps2dq {a}, {b}";
    cvttps2dq "cvttps2dq {a}, {b}";
    cvtpd2dq "cvtpd2dq {a}, {b}";
    cvttpd2dq "cvttpd2dq {a}, {b}";
}

/// Defines conversions of an integer: `(a, integer, mxcsr) -> (result, flags)`; the upper lanes are `a`'s.
macro_rules! from_integer {
    ($($name:ident $text:literal;)*) => { $(
        pub fn $name(a: u128, integer: u64, mxcsr: u32) -> (u128, u32) {
            let mut control = masked(mxcsr);
            let mut a = to_register(a);
            // SAFETY: as for the operations on two vectors.
            unsafe {
                asm!(
                    "ldmxcsr [{control}]",
                    $text,
                    "stmxcsr [{control}]",
                    "test {changed:e}, {changed:e}",
                    "jz 2f",
                    "ldmxcsr [{host}]",
                    "2:",
                    a = inout(xmm_reg) a,
                    integer = in(reg) integer,
                    control = in(reg) &raw mut control,
                    changed = in(reg) control & !FLAGS ^ HOST_MXCSR,
                    host = in(reg) &raw const HOST_MXCSR,
                    options(nostack),
                );
            }
            (from_register(a), control & FLAGS)
        }
    )* };
}

from_integer! {
    cvtsi2ss_dword "cvtsi2ss {a}, {integer:e}";
    cvtsi2ss_qword "cvtsi2ss {a}, {integer:r}";
    cvtsi2sd_dword "cvtsi2sd {a}, {integer:e}";
    cvtsi2sd_qword "cvtsi2sd {a}, {integer:r}";
}

/// Defines conversions to an integer: `(b, mxcsr) -> (integer, flags)`.
macro_rules! to_integer {
    ($($name:ident $text:literal;)*) => { $(
        pub fn $name(b: u128, mxcsr: u32) -> (u64, u32) {
            let mut control = masked(mxcsr);
            let integer: u64;
            // SAFETY: as for the operations on two vectors.
            unsafe {
                asm!(
                    "ldmxcsr [{control}]",
                    $text,
                    "stmxcsr [{control}]",
                    "test {changed:e}, {changed:e}",
                    "jz 2f",
                    "ldmxcsr [{host}]",
                    "2:",
                    b = in(xmm_reg) to_register(b),
                    integer = out(reg) integer,
                    control = in(reg) &raw mut control,
                    changed = in(reg) control & !FLAGS ^ HOST_MXCSR,
                    host = in(reg) &raw const HOST_MXCSR,
                    options(nostack),
                );
            }
            (integer, control & FLAGS)
        }
    )* };
}

to_integer! {
    cvtss2si_dword "cvtss2si {integer:e}, {b}";
    cvtss2si_qword "cvtss2si {integer:r}, {b}";
    cvttss2si_dword "cvttss2si {integer:e}, {b}";
    cvttss2si_qword "cvttss2si {integer:r}, {b}";
    cvtsd2si_dword "cvtsd2si {integer:e}, {b}";
    cvtsd2si_qword "cvtsd2si {integer:r}, {b}";
    cvttsd2si_dword "cvttsd2si {integer:e}, {b}";
    cvttsd2si_qword "cvttsd2si {integer:r}, {b}";
}

/// What an ordered or unordered comparison puts into the flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comparison {
    pub zf: bool,
    pub pf: bool,
    pub cf: bool,
}

/// Defines comparisons of scalars: `(a, b, mxcsr) -> (comparison, flags)`.
macro_rules! compare {
    ($($name:ident $text:literal;)*) => { $(
        pub fn $name(a: u128, b: u128, mxcsr: u32) -> (Comparison, u32) {
            let mut control = masked(mxcsr);
            let (zf, pf, cf): (u8, u8, u8);
            // SAFETY: as for the operations on two vectors.
            unsafe {
                asm!(
                    "ldmxcsr [{control}]",
                    $text,
                    "setz {zf}",
                    "setp {pf}",
                    "setc {cf}",
                    "stmxcsr [{control}]",
                    "test {changed:e}, {changed:e}",
                    "jz 2f",
                    "ldmxcsr [{host}]",
                    "2:",
                    a = in(xmm_reg) to_register(a),
                    b = in(xmm_reg) to_register(b),
                    zf = out(reg_byte) zf,
                    pf = out(reg_byte) pf,
                    cf = out(reg_byte) cf,
                    control = in(reg) &raw mut control,
                    changed = in(reg) control & !FLAGS ^ HOST_MXCSR,
                    host = in(reg) &raw const HOST_MXCSR,
                    options(nostack),
                );
            }
            (Comparison { zf: zf != 0, pf: pf != 0, cf: cf != 0 }, control & FLAGS)
        }
    )* };
}

compare! {
    comiss "comiss {a}, {b}";
    comisd "comisd {a}, {b}";
    ucomiss "ucomiss {a}, {b}";
    ucomisd "ucomisd {a}, {b}";
}
