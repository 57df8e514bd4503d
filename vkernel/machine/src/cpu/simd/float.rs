//! SSE floating point: exceptions, and the forms that are more than one operation of the host
//! (SDM vol. 1 11.5, annex E).
//!
//! DPPS and DPPD are a multiplication, then one or two additions, each with its own rounding and flags; lanes
//! that are not selected contribute +0 and raise nothing. Which of several NaNs they give, the SDM leaves
//! open. Here as on Intel's processors every lane of the result is a sum of its own, the first NaN winning:
//! in DPPS of neighbour and lane, then of that and the other pair; in DPPD of lane and neighbour.

use super::hostfp::{self, Comparison};
use super::lanes::*;
use super::moves::set_status;
use crate::cpu::core::Core;
use crate::cpu::exception::{Exception, Exec};
use crate::cpu::state::{cr4, rflags};
use iced_x86::Instruction;

/// MXCSR bits: flags in 0 to 5, masks in 7 to 12.
mod mxcsr {
    pub const INVALID: u32 = 1;
    pub const DENORMAL: u32 = 1 << 1;
    pub const DIVIDE_BY_ZERO: u32 = 1 << 2;
    pub const UNDERFLOW: u32 = 1 << 4;
    pub const INEXACT: u32 = 1 << 5;
    pub const MASKS_SHIFT: u32 = 7;
    pub const ROUNDING_SHIFT: u32 = 13;
    pub const FLUSH_TO_ZERO: u32 = 1 << 15;
    /// Detected before the computation; if one of them is unmasked there is no computation.
    pub const BEFORE: u32 = INVALID | DENORMAL | DIVIDE_BY_ZERO;
}

/// Which lanes of a result are fresh and can be too small for their format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lanes {
    /// None: the operation cannot underflow.
    None,
    /// Four singles.
    Ps,
    /// Two doubles.
    Pd,
    /// One single.
    Ss,
    /// One double.
    Sd,
}

impl Lanes {
    /// Whether a fresh lane of `result` is denormal.
    fn any_denormal(self, result: u128) -> bool {
        let single = |lane: &u32| lane & 0x7f80_0000 == 0 && lane & 0x007f_ffff != 0;
        let double = |lane: &u64| lane << 1 != 0 && lane >> 52 & 0x7ff == 0;
        match self {
            Lanes::None => false,
            Lanes::Ps => split_u32(result).iter().any(single),
            Lanes::Pd => split_u64(result).iter().any(double),
            Lanes::Ss => single(&(result as u32)),
            Lanes::Sd => double(&(result as u64)),
        }
    }
}

/// An operation of two vectors under an MXCSR, giving the result and the flags raised.
pub type Compute = fn(u128, u128, u32) -> (u128, u32);

/// Destination = compute(destination, source).
#[derive(Clone, Copy, Debug)]
pub struct Arithmetic {
    /// The operation.
    pub compute: Compute,
    /// Where it can underflow.
    pub lanes: Lanes,
}

impl Arithmetic {
    /// Executes an instruction of this operation.
    pub fn run(self, core: &mut Core<'_>, instruction: &Instruction) -> Exec {
        let a = core.vector(instruction, 0)?;
        let b = core.vector(instruction, 1)?;
        let (result, raised) = compute(self.compute, self.lanes, a, b, core.cpu.mxcsr);
        raise(core, raised)?;
        core.set_vector(instruction, 0, result)
    }
}

/// Computes as the guest's MXCSR says, unmasked underflow included: that is raised by every tiny result, an
/// exact one too, and switches flush-to-zero off. The host runs with underflow masked, where exact tiny
/// results raise nothing.
fn compute(operation: Compute, lanes: Lanes, a: u128, b: u128, mxcsr: u32) -> (u128, u32) {
    if mxcsr >> mxcsr::MASKS_SHIFT & mxcsr::UNDERFLOW != 0 {
        return operation(a, b, mxcsr);
    }
    let (result, raised) = operation(a, b, mxcsr & !mxcsr::FLUSH_TO_ZERO);
    let tiny = if lanes.any_denormal(result) { mxcsr::UNDERFLOW } else { 0 };
    (result, raised | tiny)
}

/// Notes raised flags in MXCSR, and raises #XM for unmasked ones (SDM vol. 1 11.5.3).
pub fn raise(core: &mut Core<'_>, raised: u32) -> Exec {
    let unmasked = !(core.cpu.mxcsr >> mxcsr::MASKS_SHIFT);
    let mut flags = raised;
    if raised & unmasked & mxcsr::BEFORE != 0 {
        flags &= mxcsr::BEFORE;
    }
    core.cpu.mxcsr |= flags;
    if flags & unmasked == 0 {
        return Ok(());
    }
    Err(if core.cpu.cr4 & cr4::OSXMMEXCPT != 0 { Exception::XM } else { Exception::UD })
}

/// CMPPS, CMPPD, CMPSS, CMPSD: four predicates and their negations. `fresh` are the lanes compared.
fn compare(core: &mut Core<'_>, instruction: &Instruction, predicates: [Compute; 4], fresh: u128) -> Exec {
    let a = core.vector(instruction, 0)?;
    let b = core.vector(instruction, 1)?;
    let predicate = instruction.immediate8() & 7;
    let (mut result, raised) = predicates[usize::from(predicate & 3)](a, b, core.cpu.mxcsr);
    if predicate & 4 != 0 {
        result ^= fresh;
    }
    raise(core, raised)?;
    core.set_vector(instruction, 0, result)
}

pub fn cmpps(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    use hostfp::{cmpeqps, cmpleps, cmpltps, cmpunordps};
    compare(core, instruction, [cmpeqps, cmpltps, cmpleps, cmpunordps], u128::MAX)
}

pub fn cmppd(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    use hostfp::{cmpeqpd, cmplepd, cmpltpd, cmpunordpd};
    compare(core, instruction, [cmpeqpd, cmpltpd, cmplepd, cmpunordpd], u128::MAX)
}

pub fn cmpss(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    use hostfp::{cmpeqss, cmpless, cmpltss, cmpunordss};
    compare(core, instruction, [cmpeqss, cmpltss, cmpless, cmpunordss], u128::from(u32::MAX))
}

pub fn cmpsd(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    use hostfp::{cmpeqsd, cmplesd, cmpltsd, cmpunordsd};
    compare(core, instruction, [cmpeqsd, cmpltsd, cmplesd, cmpunordsd], u128::from(u64::MAX))
}

type CompareFlags = fn(u128, u128, u32) -> (Comparison, u32);

/// COMISS and its kin: ZF, PF and CF; OF, SF and AF are 0.
fn compare_to_flags(core: &mut Core<'_>, instruction: &Instruction, operation: CompareFlags) -> Exec {
    let a = core.vector(instruction, 0)?;
    let b = core.vector(instruction, 1)?;
    let (comparison, raised) = operation(a, b, core.cpu.mxcsr);
    raise(core, raised)?;
    let Comparison { zf, pf, cf } = comparison;
    set_status(core.cpu, &[(rflags::ZF, zf), (rflags::PF, pf), (rflags::CF, cf)]);
    Ok(())
}

pub fn comiss(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    compare_to_flags(core, instruction, hostfp::comiss)
}

pub fn comisd(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    compare_to_flags(core, instruction, hostfp::comisd)
}

pub fn ucomiss(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    compare_to_flags(core, instruction, hostfp::ucomiss)
}

pub fn ucomisd(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    compare_to_flags(core, instruction, hostfp::ucomisd)
}

/// ROUNDPS and its kin: immediate bits 0 and 1 are a rounding mode, 2 prefers MXCSR's, 3 hides inexactness.
fn round(core: &mut Core<'_>, instruction: &Instruction, operation: Compute) -> Exec {
    let a = core.vector(instruction, 0)?;
    let b = core.vector(instruction, 1)?;
    let immediate = u32::from(instruction.immediate8());
    let mut control = core.cpu.mxcsr;
    if immediate & 4 == 0 {
        control = control & !(3 << mxcsr::ROUNDING_SHIFT) | (immediate & 3) << mxcsr::ROUNDING_SHIFT;
    }
    let (result, mut raised) = operation(a, b, control);
    if immediate & 8 != 0 {
        raised &= !mxcsr::INEXACT;
    }
    raise(core, raised)?;
    core.set_vector(instruction, 0, result)
}

pub fn roundps(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    round(core, instruction, hostfp::roundps)
}

pub fn roundpd(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    round(core, instruction, hostfp::roundpd)
}

pub fn roundss(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    round(core, instruction, hostfp::roundss)
}

pub fn roundsd(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    round(core, instruction, hostfp::roundsd)
}

/// The lanes of `lane_bits` whose bit of `selection` is set.
fn select_mask(selection: u8, lane_bits: u32) -> u128 {
    let lane = u128::MAX >> (128 - lane_bits);
    (0..128 / lane_bits)
        .filter(|index| selection >> index & 1 != 0)
        .fold(0, |mask, index| mask | lane << (index * lane_bits))
}

/// Swaps lanes 0 and 1, and 2 and 3.
fn swap_neighbours(value: u128) -> u128 {
    const EVEN_LANES: u128 = 0x0000_0000_ffff_ffff_0000_0000_ffff_ffff;
    (value & EVEN_LANES) << 32 | value >> 32 & EVEN_LANES
}

/// DPPS: high half of the immediate selects what is multiplied, low half where the sum goes.
pub fn dpps(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let factors = select_mask(instruction.immediate8() >> 4, 32);
    let a = core.vector(instruction, 0)? & factors;
    let b = core.vector(instruction, 1)? & factors;
    let control = core.cpu.mxcsr;
    let (products, first) = compute(hostfp::mulps, Lanes::Ps, a, b, control);
    let (pairs, second) = compute(hostfp::addps, Lanes::Ps, swap_neighbours(products), products, control);
    let (sum, third) = compute(hostfp::addps, Lanes::Ps, pairs, pairs.rotate_left(64), control);
    raise(core, first | second | third)?;
    core.set_vector(instruction, 0, sum & select_mask(instruction.immediate8() & 0xf, 32))
}

/// DPPD: as [`dpps`].
pub fn dppd(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let factors = select_mask(instruction.immediate8() >> 4 & 3, 64);
    let a = core.vector(instruction, 0)? & factors;
    let b = core.vector(instruction, 1)? & factors;
    let control = core.cpu.mxcsr;
    let (products, first) = compute(hostfp::mulpd, Lanes::Pd, a, b, control);
    let (sum, second) = compute(hostfp::addpd, Lanes::Pd, products, products.rotate_left(64), control);
    raise(core, first | second)?;
    core.set_vector(instruction, 0, sum & select_mask(instruction.immediate8() & 3, 64))
}
