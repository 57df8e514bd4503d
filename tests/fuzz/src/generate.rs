//! Random instructions: bytes in the shape of an encoding, kept when they decode to what is wanted, and with
//! displacements that make them harmless.

use crate::classify::{Family, family};
use crate::random::Random;
use crate::state::{DATA, DATA_BYTES, INSTRUCTION, READ_ONLY, TARGET};
use iced_x86::{ConstantOffsets, Decoder, DecoderOptions, Instruction, OpKind, Register};

/// An instruction under test.
#[derive(Clone, Debug)]
pub struct Encoding {
    /// Its bytes; 15 of them if it does not decode.
    pub bytes: Vec<u8>,
    /// What it decodes to at [`INSTRUCTION`].
    pub instruction: Instruction,
    /// Its family.
    pub family: Family,
}

/// Attempts at an instruction of a family.
const ATTEMPTS: usize = 2000;

/// Draws an instruction of `family`.
///
/// # Panics
/// When none was found in so many attempts, which a change of the generator could cause.
#[must_use]
pub fn draw(random: &mut Random, wanted: Family) -> Encoding {
    (0..ATTEMPTS).find_map(|_| attempt(random, wanted)).expect("the generator finds every family")
}

fn attempt(random: &mut Random, wanted: Family) -> Option<Encoding> {
    let mut bytes = shape(random, wanted);
    let (instruction, offsets) = decode(&bytes);
    if family(&instruction) != Some(wanted) {
        return None;
    }
    if !instruction.is_invalid() {
        bytes.truncate(instruction.len());
        aim(random, &mut bytes, &instruction, offsets);
    }
    let (instruction, _) = decode(&bytes);
    (family(&instruction) == Some(wanted)).then_some(Encoding { bytes, instruction, family: wanted })
}

fn decode(bytes: &[u8]) -> (Instruction, ConstantOffsets) {
    let mut decoder = Decoder::with_ip(64, bytes, INSTRUCTION, DecoderOptions::NONE);
    let instruction = decoder.decode();
    let offsets = decoder.get_constant_offsets(&instruction);
    (instruction, offsets)
}

/// Fifteen bytes: prefixes, an opcode from the part of the map where the family lives, ModRM, and the rest.
fn shape(random: &mut Random, wanted: Family) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(15);
    prefixes(random, wanted, &mut bytes);
    opcode(random, wanted, &mut bytes);
    let modrm = if random.chance(45) { 0xc0 | random.byte() } else { random.byte() };
    bytes.push(modrm);
    while bytes.len() < 15 {
        let byte = match random.below(4) {
            0 => random.pick(&[0, 1, 2, 3, 4, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 0x7f, 0x80, 0xff]),
            _ => random.byte(),
        };
        bytes.push(byte);
    }
    bytes.truncate(15);
    bytes
}

fn prefixes(random: &mut Random, wanted: Family, bytes: &mut Vec<u8>) {
    if random.chance(3) {
        bytes.push(random.pick(&[0x2e, 0x36, 0x3e, 0x26, 0x65]));
    }
    let lock_percent = if wanted == Family::Illegal { 30 } else { 4 };
    if random.chance(lock_percent) {
        bytes.push(0xf0);
    }
    if random.chance(6) {
        bytes.push(0x67);
    }
    let mandatory: &[u8] = match wanted {
        Family::Sse => &[0, 0x66, 0xf3, 0xf2],
        Family::Mmx => &[0, 0, 0, 0, 0, 0x66, 0xf3, 0xf2],
        Family::String => &[0, 0x66, 0xf3, 0xf3, 0xf2],
        _ => &[0, 0, 0, 0, 0, 0x66, 0x66, 0xf3, 0xf2],
    };
    match random.pick(mandatory) {
        0 => {}
        byte => bytes.push(byte),
    }
    if (wanted == Family::String || random.chance(2)) && random.chance(20) {
        bytes.push(0x66);
    }
    if random.chance(55) {
        bytes.push(0x40 | random.byte() & 15);
    }
}

fn opcode(random: &mut Random, wanted: Family, bytes: &mut Vec<u8>) {
    match wanted {
        Family::Integer | Family::Illegal => match random.below(100) {
            0..55 => bytes.push(random.byte()),
            // Shifts by every count, and the arithmetic groups, deserve more than their share.
            55..65 => bytes.push(random.pick(&[0xc0, 0xc1, 0xd0, 0xd1, 0xd2, 0xd3, 0xf6, 0xf7, 0xfe, 0xff])),
            65..96 => bytes.extend([0x0f, random.byte()]),
            _ => bytes.extend([0x0f, 0x38, 0xf0 | random.byte() & 1]),
        },
        Family::String => {
            bytes.push(random.pick(&[0xa4, 0xa5, 0xa6, 0xa7, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf]))
        }
        Family::Sse | Family::Mmx => match random.below(100) {
            0..65 => bytes.extend([0x0f, random.byte()]),
            65..85 => bytes.extend([0x0f, 0x38, random.byte()]),
            _ => bytes.extend([0x0f, 0x3a, random.byte()]),
        },
        Family::X87 => match random.below(50) {
            0 => bytes.push(0x9b),
            _ => bytes.push(0xd8 | random.byte() & 7),
        },
    }
}

/// Points relative and absolute operands at the data, and branches at their target.
fn aim(random: &mut Random, bytes: &mut [u8], instruction: &Instruction, offsets: ConstantOffsets) {
    let end = INSTRUCTION + bytes.len() as u64;
    if instruction.op_count() > 0 && instruction.op0_kind() == OpKind::NearBranch64 {
        let at = offsets.immediate_offset();
        put(bytes, at, offsets.immediate_size(), TARGET.wrapping_sub(end));
        return;
    }
    let base = instruction.memory_base();
    let relative = matches!(base, Register::RIP | Register::EIP);
    let absolute = base == Register::None && instruction.memory_index() == Register::None;
    if offsets.has_displacement() && (relative || absolute) {
        let address = data_address(random);
        let value = if relative { address.wrapping_sub(end) } else { address };
        put(bytes, offsets.displacement_offset(), offsets.displacement_size(), value);
    }
}

fn put(bytes: &mut [u8], at: usize, size: usize, value: u64) {
    bytes[at..at + size].copy_from_slice(&value.to_le_bytes()[..size]);
}

/// An address in the data: mostly aligned and inside, sometimes across the two pages or over the end, and
/// sometimes where no access succeeds.
pub fn data_address(random: &mut Random) -> u64 {
    let half = DATA_BYTES as u64 / 2;
    match random.below(100) {
        0..50 => DATA + 64 * random.below(2 * half / 64),
        50..72 => DATA + 16 + random.below(2 * half - 560),
        72..90 => DATA + half - random.below(20),
        90..95 => DATA + 2 * half - random.below(40),
        95..97 => DATA.wrapping_sub(8).wrapping_add(random.below(8)),
        97..99 => READ_ONLY + random.below(4000),
        _ => random.pick(&[
            0,
            0x7fff_ffff_fff8,
            0x7fff_ffff_fffd,
            0x8000_0000_0000,
            0xffff_7fff_ffff_fff9,
            0xffff_8000_0000_0000,
            0xffff_ffff_8100_0000,
            0xffff_ffff_ffff_fffc,
        ]),
    }
}
