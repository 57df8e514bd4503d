//! String comparison: PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM (SDM vol. 2 4.1).

use super::lanes::*;
use super::moves::{set_ecx, set_status};
use crate::cpu::core::Core;
use crate::cpu::exception::Exec;
use crate::cpu::state::{RAX, RDX, rflags};
use iced_x86::{Instruction, Mnemonic};

/// The imm8 control byte.
#[derive(Clone, Copy, Debug)]
struct Control(u8);

impl Control {
    fn is_words(self) -> bool {
        self.0 & 1 != 0
    }

    fn is_signed(self) -> bool {
        self.0 & 2 != 0
    }

    /// Characters in a register.
    fn count(self) -> usize {
        if self.is_words() { 8 } else { 16 }
    }
}

/// A register as a string: 16 or 8 characters, of which `length` are valid.
#[derive(Clone, Copy, Debug)]
struct Text {
    characters: [i32; 16],
    length: usize,
}

impl Text {
    /// A string that ends before its first zero character.
    fn implicit(value: u128, control: Control) -> Text {
        let mut text = Text::explicit(value, 16, control);
        let end = text.characters.iter().position(|&character| character == 0);
        text.length = end.unwrap_or(16).min(control.count());
        text
    }

    /// A string of `length` characters, negative lengths counting as positive.
    fn explicit(value: u128, length: i64, control: Control) -> Text {
        let mut characters = [0; 16];
        match (control.is_words(), control.is_signed()) {
            (false, false) => characters = split_u8(value).map(i32::from),
            (false, true) => characters = split_i8(value).map(i32::from),
            (true, false) => characters[..8].copy_from_slice(&split_u16(value).map(i32::from)),
            (true, true) => characters[..8].copy_from_slice(&split_i16(value).map(i32::from)),
        }
        Text { characters, length: length.unsigned_abs().min(control.count() as u64) as usize }
    }

    fn valid(&self) -> &[i32] {
        &self.characters[..self.length]
    }

    /// One bit for each valid character.
    fn valid_mask(&self) -> u32 {
        (1 << self.length) - 1
    }
}

/// The characters of `text` that satisfy `predicate`, as a mask.
fn matching(text: &Text, predicate: impl Fn(i32) -> bool) -> u32 {
    text.valid()
        .iter()
        .enumerate()
        .fold(0, |mask, (index, &character)| mask | u32::from(predicate(character)) << index)
}

/// Whether `needle` stands at `at` in `text`, as far as the register reaches.
fn stands_at(needle: &Text, text: &Text, at: usize, count: usize) -> bool {
    let seen = needle.length.min(count - at);
    // Nothing to see is found anywhere, also beyond the end of the text.
    seen == 0 || at + seen <= text.length && needle.characters[..seen] == text.characters[at..at + seen]
}

/// The SDM's IntRes1: one bit for each character of the second operand. Where characters are beyond the
/// end of their string, the comparison is overridden as table 4-7 says.
fn aggregate(first: &Text, second: &Text, control: Control) -> u32 {
    let count = control.count();
    match control.0 >> 2 & 3 {
        0 => matching(second, |character| first.valid().contains(&character)),
        1 => matching(second, |character| {
            first.valid().chunks_exact(2).any(|range| range[0] <= character && character <= range[1])
        }),
        2 => {
            let both = first.length.min(second.length);
            let neither = u32::from(u16::MAX) & !(first.valid_mask() | second.valid_mask());
            let equal = (0..both).filter(|&index| first.characters[index] == second.characters[index]);
            equal.fold(neither & ((1 << count) - 1), |mask, index| mask | 1 << index)
        }
        _ => (0..count).filter(|&at| stands_at(first, second, at, count)).fold(0, |mask, at| mask | 1 << at),
    }
}

/// The SDM's IntRes2: IntRes1, negated as the polarity says.
fn polarize(result: u32, second: &Text, control: Control) -> u32 {
    let negated = match control.0 >> 4 & 3 {
        1 => (1 << control.count()) - 1,
        3 => second.valid_mask(),
        _ => 0,
    };
    result ^ negated
}

/// The mask as PCMPxSTRM puts it into XMM0: as bits, or as characters of all ones.
fn expand(result: u32, control: Control) -> u128 {
    if control.0 & 0x40 == 0 {
        u128::from(result)
    } else if control.is_words() {
        join_u16(std::array::from_fn(|lane| if result >> lane & 1 != 0 { u16::MAX } else { 0 }))
    } else {
        join_u8(std::array::from_fn(|lane| if result >> lane & 1 != 0 { u8::MAX } else { 0 }))
    }
}

/// A length register of the explicit forms: 64 bits with REX.W, else 32.
fn length_register(core: &Core<'_>, index: usize, wide: bool) -> i64 {
    let value = core.cpu.gpr[index] as i64;
    if wide { value } else { i64::from(value as i32) }
}

/// All four instructions.
pub fn compare(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let a = core.vector(instruction, 0)?;
    let b = core.vector(instruction, 1)?;
    let control = Control(instruction.immediate8());
    let mnemonic = instruction.mnemonic();
    let (first, second) = if matches!(mnemonic, Mnemonic::Pcmpistri | Mnemonic::Pcmpistrm) {
        (Text::implicit(a, control), Text::implicit(b, control))
    } else {
        let wide = matches!(mnemonic, Mnemonic::Pcmpestri64 | Mnemonic::Pcmpestrm64);
        let first = Text::explicit(a, length_register(core, RAX, wide), control);
        (first, Text::explicit(b, length_register(core, RDX, wide), control))
    };
    let result = polarize(aggregate(&first, &second, control), &second, control);
    if matches!(mnemonic, Mnemonic::Pcmpestri | Mnemonic::Pcmpestri64 | Mnemonic::Pcmpistri) {
        let index = match result {
            0 => control.count() as u32,
            _ if control.0 & 0x40 != 0 => result.ilog2(),
            _ => result.trailing_zeros(),
        };
        set_ecx(core, index);
    } else {
        core.cpu.xmm[0] = expand(result, control);
    }
    set_status(
        core.cpu,
        &[
            (rflags::CF, result != 0),
            (rflags::ZF, second.length < control.count()),
            (rflags::SF, first.length < control.count()),
            (rflags::OF, result & 1 != 0),
        ],
    );
    Ok(())
}
