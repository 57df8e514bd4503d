//! What the manuals leave undefined, so that it is not compared with the host, and only there.
//!
//! The machine follows docs/undefined-flags.md: undefined flags are 0, which is checked here rather than
//! compared. What vendors do differently as a whole is the business of `rules`. Nothing else may differ.

use crate::state::{Outcome, State};
use iced_x86::{Instruction, Mnemonic, OpKind, RflagsBits};

const CF: u64 = 1;
const PF: u64 = 1 << 2;
const AF: u64 = 1 << 4;
const ZF: u64 = 1 << 6;
const SF: u64 = 1 << 7;
const OF: u64 = 1 << 11;
const STATUS: u64 = CF | PF | AF | ZF | SF | OF;

/// What is not compared with the host after an instruction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exempt {
    /// These flags are undefined: the machine's are 0.
    pub undefined_flags: u64,
    /// General registers, by bit.
    pub gpr: u16,
    /// The whole result is undefined: registers are not compared, only how it ended.
    pub everything: bool,
    /// Memory is not compared.
    pub memory: bool,
}

/// What is exempt after `instruction` ran on `before`.
#[must_use]
pub fn exempt(instruction: &Instruction, before: &State, outcome: Outcome) -> Exempt {
    let mut exempt = Exempt::default();
    if outcome.is_fault() {
        // The host may have pushed before it found the fault; the machine never stores part of an
        // instruction that faults.
        exempt.memory = matches!(instruction.mnemonic(), Mnemonic::Enter | Mnemonic::Call);
        return exempt;
    }
    exempt.undefined_flags = undefined_flags(instruction, before);
    let destination = || 1 << instruction.op0_register().full_register().number();
    match instruction.mnemonic() {
        // The destination is undefined for a source of 0: the host keeps it, and so do we, but for the upper
        // half of a 32-bit one.
        Mnemonic::Bsf | Mnemonic::Bsr => exempt.gpr |= destination(),
        // Undefined for 16 bits.
        Mnemonic::Bswap if instruction.op0_register().size() == 2 => exempt.gpr |= destination(),
        Mnemonic::Shld | Mnemonic::Shrd => {
            exempt.everything = operand_bits(instruction) == 16 && masked_count(instruction, before) > 16;
            exempt.memory = exempt.everything;
        }
        _ => {}
    }
    exempt
}

fn operand_bits(instruction: &Instruction) -> u32 {
    8 * match instruction.op0_kind() {
        OpKind::Register => instruction.op0_register().size() as u32,
        _ => instruction.memory_size().size() as u32,
    }
}

/// The count of a shift or rotate, modulo 32 or 64.
fn masked_count(instruction: &Instruction, before: &State) -> u32 {
    let operand = instruction.op_count() - 1;
    let count = match instruction.op_kind(operand) {
        OpKind::Immediate8 => u32::from(instruction.immediate8()),
        _ => before.gpr[1] as u32,
    };
    count & if operand_bits(instruction) == 64 { 63 } else { 31 }
}

/// The flags that the SDM calls undefined after an instruction that completed.
fn undefined_flags(instruction: &Instruction, before: &State) -> u64 {
    use Mnemonic as M;
    match instruction.mnemonic() {
        M::Shl | M::Sal | M::Shr | M::Sar | M::Shld | M::Shrd => {
            let (count, bits) = (masked_count(instruction, before), operand_bits(instruction));
            let is_double = matches!(instruction.mnemonic(), M::Shld | M::Shrd);
            let mut flags = match count {
                0 => return 0,
                1 => AF,
                _ => AF | OF,
            };
            if count >= bits && matches!(instruction.mnemonic(), M::Shl | M::Sal | M::Shr) {
                flags |= CF;
            }
            if is_double && count > bits {
                flags = STATUS;
            }
            flags
        }
        M::Rol | M::Ror | M::Rcl | M::Rcr if masked_count(instruction, before) > 1 => OF,
        M::Rol | M::Ror | M::Rcl | M::Rcr => 0,
        M::Bt | M::Bts | M::Btr | M::Btc => OF | SF | AF | PF,
        _ => {
            let undefined = instruction.rflags_undefined();
            let pairs = [
                (RflagsBits::OF, OF),
                (RflagsBits::SF, SF),
                (RflagsBits::ZF, ZF),
                (RflagsBits::AF, AF),
                (RflagsBits::CF, CF),
                (RflagsBits::PF, PF),
            ];
            pairs.iter().filter(|(bit, _)| undefined & bit != 0).map(|(_, flag)| flag).sum()
        }
    }
}
