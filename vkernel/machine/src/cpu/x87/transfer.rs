//! Moving data: loads, stores with conversion, exchange, conditional move, constants (SDM vol. 1 8.3.3,
//! 8.3.4).

use super::hostfp::{self, Outcome, Source};
use super::stack::{F80, INDEFINITE, SIGN, control, status};
use crate::cpu::core::Core;
use crate::cpu::exception::Exec;
use crate::cpu::mmu::Intent;
use crate::cpu::state::{X87, rflags};
use iced_x86::{Code, Instruction, MemorySize, OpKind};

/// Executes an instruction of this group; `None` if it belongs to another.
pub fn execute(core: &mut Core<'_>, instruction: &Instruction) -> Option<Exec> {
    let index = register_operand(instruction);
    let fpu = &mut core.cpu.x87;
    match instruction.code() {
        Code::Fld_sti => load_register(fpu, index),
        Code::Fld_m32fp
        | Code::Fld_m64fp
        | Code::Fld_m80fp
        | Code::Fild_m16int
        | Code::Fild_m32int
        | Code::Fild_m64int
        | Code::Fbld_m80bcd => return Some(load_memory(core, instruction)),
        Code::Fst_sti => store_register(fpu, index, false),
        Code::Fstp_sti | Code::Fstp_sti_DFD0 | Code::Fstp_sti_DFD8 => {
            store_register(fpu, index, true);
        }
        Code::Fstpnce_sti => store_register_quietly(fpu, index),
        Code::Fst_m32fp | Code::Fst_m64fp | Code::Fist_m16int | Code::Fist_m32int => {
            return Some(store_memory(core, instruction, false));
        }
        Code::Fstp_m32fp
        | Code::Fstp_m64fp
        | Code::Fstp_m80fp
        | Code::Fistp_m16int
        | Code::Fistp_m32int
        | Code::Fistp_m64int
        | Code::Fisttp_m16int
        | Code::Fisttp_m32int
        | Code::Fisttp_m64int
        | Code::Fbstp_m80bcd => return Some(store_memory(core, instruction, true)),
        Code::Fxch_st0_sti | Code::Fxch_st0_sti_DDC8 | Code::Fxch_st0_sti_DFC8 => exchange(fpu, index),
        Code::Fcmovb_st0_sti => conditional_move(core, index, rflags::CF, true),
        Code::Fcmove_st0_sti => conditional_move(core, index, rflags::ZF, true),
        Code::Fcmovbe_st0_sti => conditional_move(core, index, rflags::CF | rflags::ZF, true),
        Code::Fcmovu_st0_sti => conditional_move(core, index, rflags::PF, true),
        Code::Fcmovnb_st0_sti => conditional_move(core, index, rflags::CF, false),
        Code::Fcmovne_st0_sti => conditional_move(core, index, rflags::ZF, false),
        Code::Fcmovnbe_st0_sti => conditional_move(core, index, rflags::CF | rflags::ZF, false),
        Code::Fcmovnu_st0_sti => conditional_move(core, index, rflags::PF, false),
        code => load_value(fpu, constant(code, fpu.control)?),
    }
    Some(Ok(()))
}

/// The register operand that is not ST(0) by the instruction's form: 0 if there is none.
pub fn register_operand(instruction: &Instruction) -> usize {
    (0..instruction.op_count())
        .filter(|&operand| instruction.op_kind(operand) == OpKind::Register)
        .map(|operand| instruction.op_register(operand))
        .filter(|register| register.is_st())
        .map(|register| register.number())
        .max()
        .unwrap_or(0)
}

/// Reads the memory operand of an arithmetic or comparing instruction.
///
/// # Errors
/// Whatever the memory access raises.
pub fn memory_source(core: &mut Core<'_>, instruction: &Instruction) -> Exec<Source> {
    let (segment, offset) = core.effective_address(instruction);
    Ok(match instruction.memory_size() {
        MemorySize::Float32 => Source::Single(u32::from_le_bytes(core.load(segment, offset)?)),
        MemorySize::Float64 => Source::Double(u64::from_le_bytes(core.load(segment, offset)?)),
        MemorySize::Int16 => Source::Word(i16::from_le_bytes(core.load(segment, offset)?)),
        _ => Source::Dword(i32::from_le_bytes(core.load(segment, offset)?)),
    })
}

/// Pushes a value that raises nothing by itself.
fn load_value(fpu: &mut X87, value: F80) {
    if !fpu.is_empty(7) {
        if fpu.overflow() {
            fpu.push(INDEFINITE);
        }
        return;
    }
    fpu.set_conditions(0);
    fpu.push(value);
}

fn load_register(fpu: &mut X87, index: usize) {
    // An empty source is found before a full stack.
    if !fpu.is_empty(index) {
        load_value(fpu, fpu.st(index));
    } else if fpu.underflow() {
        fpu.push(INDEFINITE);
    }
}

fn load_memory(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let (segment, offset) = core.effective_address(instruction);
    let exact = |value| Outcome { value, status: 0 };
    let outcome = match instruction.code() {
        Code::Fld_m32fp => hostfp::load_single(u32::from_le_bytes(core.load(segment, offset)?)),
        Code::Fld_m64fp => hostfp::load_double(u64::from_le_bytes(core.load(segment, offset)?)),
        Code::Fild_m16int => hostfp::load_integer(i16::from_le_bytes(core.load(segment, offset)?).into()),
        Code::Fild_m32int => hostfp::load_integer(i32::from_le_bytes(core.load(segment, offset)?).into()),
        Code::Fild_m64int => hostfp::load_integer(i64::from_le_bytes(core.load(segment, offset)?)),
        Code::Fbld_m80bcd => exact(from_decimal(core.load(segment, offset)?)),
        _ => exact(extended(core.load(segment, offset)?)),
    };
    let fpu = &mut core.cpu.x87;
    // A full stack is found before the value is looked at.
    if !fpu.is_empty(7) {
        load_value(fpu, outcome.value);
        return Ok(());
    }
    fpu.set_conditions(0);
    // A denormal is loaded even when it raises an unmasked exception; a signalling NaN is not.
    fpu.raise(outcome.status);
    if outcome.status & status::IE & !fpu.control == 0 {
        fpu.push(outcome.value);
    }
    Ok(())
}

/// Converts 18 packed decimal digits, least significant first, and a sign. Always exact. A digit above 9
/// counts for what it is.
fn from_decimal(bytes: [u8; 10]) -> F80 {
    let magnitude = bytes[..9]
        .iter()
        .rev()
        .fold(0_i64, |number, &pair| number * 100 + i64::from(pair >> 4) * 10 + i64::from(pair & 15));
    let value = hostfp::load_integer(magnitude).value;
    if bytes[9] & 0x80 != 0 { value | SIGN } else { value }
}

/// The value in ten bytes of memory.
pub fn extended(bytes: [u8; 10]) -> F80 {
    let mut wide = [0; 16];
    wide[..10].copy_from_slice(&bytes);
    u128::from_le_bytes(wide)
}

fn store_register(fpu: &mut X87, index: usize, pop: bool) {
    let value = if !fpu.is_empty(0) {
        fpu.set_conditions(0);
        fpu.st(0)
    } else if fpu.underflow() {
        INDEFINITE
    } else {
        return;
    };
    fpu.set_st(index, value);
    if pop {
        fpu.pop();
    }
}

/// FSTPNCE, an undocumented FSTP that takes an empty register in silence.
fn store_register_quietly(fpu: &mut X87, index: usize) {
    if fpu.is_empty(0) {
        fpu.set_conditions(0);
        fpu.pop();
    } else {
        store_register(fpu, index, true);
    }
}

/// The bytes a store writes, how many, and what the conversion raised.
struct Image {
    bytes: [u8; 10],
    status: u16,
}

impl Image {
    fn new<const N: usize>(bytes: [u8; N], status: u16) -> Image {
        let mut padded = [0; 10];
        padded[..N].copy_from_slice(&bytes);
        Image { bytes: padded, status }
    }

    /// What the instruction stores for `value`.
    fn convert(code: Code, control: u16, value: F80) -> Image {
        let truncating = control | control::ROUND_TO_ZERO;
        match code {
            Code::Fst_m32fp | Code::Fstp_m32fp => {
                let Outcome { value, status } = hostfp::store_single(control, value);
                Image::new(value.to_le_bytes(), status)
            }
            Code::Fst_m64fp | Code::Fstp_m64fp => {
                let Outcome { value, status } = hostfp::store_double(control, value);
                Image::new(value.to_le_bytes(), status)
            }
            Code::Fist_m16int | Code::Fistp_m16int => Image::word(control, value),
            Code::Fist_m32int | Code::Fistp_m32int => Image::dword(control, value),
            Code::Fistp_m64int => Image::qword(control, value),
            Code::Fisttp_m16int => Image::word(truncating, value).without_direction(),
            Code::Fisttp_m32int => Image::dword(truncating, value).without_direction(),
            Code::Fisttp_m64int => Image::qword(truncating, value).without_direction(),
            Code::Fbstp_m80bcd => {
                let Outcome { value, status } = hostfp::store_bcd(control, value);
                Image::new(value, status)
            }
            _ => Image::new::<10>(value.to_le_bytes()[..10].try_into().expect("ten bytes"), 0),
        }
    }

    fn word(control: u16, value: F80) -> Image {
        let Outcome { value, status } = hostfp::store_word(control, value);
        Image::new(value.to_le_bytes(), status)
    }

    fn dword(control: u16, value: F80) -> Image {
        let Outcome { value, status } = hostfp::store_dword(control, value);
        Image::new(value.to_le_bytes(), status)
    }

    fn qword(control: u16, value: F80) -> Image {
        let Outcome { value, status } = hostfp::store_qword(control, value);
        Image::new(value.to_le_bytes(), status)
    }

    /// FISTTP always clears C1.
    fn without_direction(self) -> Image {
        Image { status: self.status & !status::C1, ..self }
    }
}

fn store_memory(core: &mut Core<'_>, instruction: &Instruction, pop: bool) -> Exec {
    let (segment, offset) = core.effective_address(instruction);
    let length = instruction.memory_size().size();
    let at = core.locate(segment, offset, length, Intent::Write)?;
    if let Some(bytes) = stored(&mut core.cpu.x87, instruction.code()) {
        core.store_located(at, &bytes[..length]);
        if pop {
            core.cpu.x87.pop();
        }
    }
    Ok(())
}

/// What a store of ST(0) writes, having recorded its exceptions; `None` if an unmasked one prevents it.
fn stored(fpu: &mut X87, code: Code) -> Option<[u8; 10]> {
    if fpu.is_empty(0) {
        // The indefinite of each format is what converting the indefinite NaN gives.
        return fpu.underflow().then(|| Image::convert(code, control::DEFAULT, INDEFINITE).bytes);
    }
    let image = Image::convert(code, fpu.control, fpu.st(0));
    fpu.set_conditions(image.status & status::C1);
    let goes_on = fpu.raise_in_order(image.status);
    // Memory has no room for a wrapped exponent, so unmasked overflow and underflow store nothing.
    let prevented = image.status & (status::OE | status::UE) & !fpu.control != 0;
    (goes_on && !prevented).then_some(image.bytes)
}

fn exchange(fpu: &mut X87, index: usize) {
    let missing = fpu.is_empty(0) || fpu.is_empty(index);
    if missing {
        if !fpu.underflow() {
            return;
        }
        for each in [0, index] {
            if fpu.is_empty(each) {
                fpu.set_st(each, INDEFINITE);
            }
        }
    } else {
        fpu.set_conditions(0);
    }
    let (first, second) = (fpu.st(0), fpu.st(index));
    fpu.set_st(0, second);
    fpu.set_st(index, first);
}

/// FCMOVcc: moves ST(`index`) to ST(0) if any flag in `mask` being set is as `wanted`.
fn conditional_move(core: &mut Core<'_>, index: usize, mask: u64, wanted: bool) {
    let holds = core.cpu.flag(mask) == wanted;
    let fpu = &mut core.cpu.x87;
    if fpu.is_empty(0) || fpu.is_empty(index) {
        // The masked response writes the indefinite whatever the condition.
        if fpu.underflow() {
            fpu.set_st(0, INDEFINITE);
        }
        return;
    }
    fpu.set_conditions(0);
    if holds {
        fpu.set_st(0, fpu.st(index));
    }
}

/// The value a constant load pushes: the constant rounded as the control word says.
fn constant(code: Code, control: u16) -> Option<F80> {
    // Truncated value, and whether the bits that follow are more than half a unit.
    let (truncated, above_half): (F80, bool) = match code {
        Code::Fld1 => return Some(super::stack::ONE),
        Code::Fldz => return Some(0),
        Code::Fldl2t => (0x4000_d49a_784b_cd1b_8afe, false),
        Code::Fldl2e => (0x3fff_b8aa_3b29_5c17_f0bb, true),
        Code::Fldpi => (0x4000_c90f_daa2_2168_c234, true),
        Code::Fldlg2 => (0x3ffd_9a20_9a84_fbcf_f798, true),
        Code::Fldln2 => (0x3ffe_b172_17f7_d1cf_79ab, true),
        _ => return None,
    };
    let up = match control & control::ROUNDING {
        0 => above_half,
        control::ROUND_UP => true,
        _ => false,
    };
    Some(truncated + F80::from(up))
}
