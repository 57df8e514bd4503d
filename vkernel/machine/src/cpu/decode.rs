//! From instruction bytes to `iced_x86::Instruction` (SDM vol. 2 ch. 2).

use super::core::Core;
use super::exception::{Exception, Exec};
use iced_x86::{Decoder, DecoderError, DecoderOptions, Instruction};

/// Decodes `bytes`, which lie at offset `rip` of a code segment of `bits` bits.
///
/// # Errors
/// `Err(true)` when more bytes are needed, `Err(false)` when no such instruction exists.
pub fn decode(bytes: &[u8], rip: u64, bits: u8) -> Result<Instruction, bool> {
    let mut decoder = Decoder::with_ip(u32::from(bits), bytes, rip, DecoderOptions::NONE);
    let mut instruction = Instruction::default();
    decoder.decode_out(&mut instruction);
    match decoder.last_error() {
        DecoderError::None => Ok(instruction),
        DecoderError::NoMoreBytes => Err(true),
        _ => Err(false),
    }
}

/// Longest instruction; more bytes are #GP(0), whatever they would be (SDM vol. 3 6.15).
const LONGEST: usize = 15;

/// Whether [`LONGEST`] bytes that are no instruction are the beginning of a longer one, which the decoder does
/// not tell from one that does not exist. Such an instruction has prefixes that change nothing in its length:
/// without those, and with zeros behind it, it decodes.
fn is_too_long(bytes: &[u8; LONGEST], bits: u8) -> bool {
    let is_rex = |byte: u8| bits == 64 && byte & 0xf0 == 0x40;
    let is_legacy = |byte: u8| matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3);
    let count = bytes.iter().take_while(|&&byte| is_legacy(byte) || is_rex(byte)).count();
    let is_idle = |index: usize| {
        let later = &bytes[index + 1..count];
        match bytes[index] {
            size @ (0x66 | 0x67) => later.contains(&size),
            // REX counts only directly before the opcode.
            rex if is_rex(rex) => !later.is_empty(),
            _ => true,
        }
    };
    let mut rest: Vec<u8> =
        (0..LONGEST).filter(|&index| index >= count || !is_idle(index)).map(|index| bytes[index]).collect();
    let removed = LONGEST - rest.len();
    rest.resize(LONGEST, 0);
    decode(&rest, 0, bits).is_ok_and(|instruction| instruction.len() + removed > LONGEST)
}

impl Core<'_> {
    /// Fetches and decodes the instruction at RIP.
    ///
    /// # Errors
    /// Fetch faults, #UD, and #GP for an instruction longer than 15 bytes.
    pub fn fetch_instruction(&mut self) -> Exec<Instruction> {
        let mut bytes = [0; LONGEST];
        let got = self.fetch(&mut bytes)?;
        let bits = self.cpu.code_bits;
        // The next page is looked at, and its entry marked as accessed, only by an instruction that reaches into it.
        if let Ok(instruction) = decode(&bytes[..got], self.cpu.rip, bits) {
            return Ok(instruction);
        }
        let got = self.fetch_more(&mut bytes, got);
        decode(&bytes[..got], self.cpu.rip, bits).map_err(|needs_more| {
            if needs_more {
                self.fetch_fault(got)
            } else if got == LONGEST && is_too_long(&bytes, bits) {
                Exception::gp(0)
            } else {
                Exception::UD
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::cpu::exception::Exception;
    use crate::cpu::system::testbed::{PML4, Testbed};

    /// Hostile guests 231, 285 and 308: the reference looked at the page behind code that ended near its end.
    #[test]
    fn only_an_instruction_that_reaches_into_the_next_page_marks_it_as_accessed() {
        const ACCESSED: u64 = 1 << 5;
        let table = PML4 + 0x3000;
        for (bytes, reaches) in [(&[0x90][..], false), (&[0x0f, 0x0b], false), (&[0x48, 0x89, 0xc3], true)] {
            let mut bed = Testbed::long();
            for page in 0..512 {
                bed.write(table + 8 * page, page << 12 | 7);
            }
            bed.write(PML4 + 0x2000, table | 7);
            bed.cpu.rip = 0x1_0ffe;
            bed.code(bytes);
            bed.core().fetch_instruction().expect("it is mapped");
            assert_eq!(bed.read(table + 8 * 0x10) & ACCESSED, ACCESSED);
            assert_eq!(bed.read(table + 8 * 0x11) & ACCESSED != 0, reaches, "{bytes:02x?}");
        }
    }

    #[test]
    fn an_instruction_of_sixteen_bytes_is_a_protection_fault_and_no_invalid_opcode() {
        let nop = |prefixes: usize| [vec![0x66; prefixes], vec![0x90]].concat();
        // mov dword ptr [rdi*2+disp32], imm32 behind prefixes: 11 bytes and these.
        let mov = |prefixes: &[u8]| {
            let body = [0xc7, 0x04, 0x7d, 1, 2, 3, 4, 5, 6, 7, 8];
            [prefixes, &body].concat()
        };
        let undefined = [vec![0x2e; 13], vec![0x0f, 0x0b]].concat();
        let gp = Some(Exception::gp(0));
        let cases = [
            (nop(14), None),
            (nop(15), gp),
            (mov(&[0x36, 0x2e, 0x3e, 0x48, 0x26]), gp),
            (mov(&[0x67, 0x67, 0x67, 0x67, 0x67]), gp),
            (undefined, Some(Exception::UD)),
            ([vec![0xf0; 14], vec![0x90]].concat(), Some(Exception::UD)),
            ([vec![0x2e; 14], vec![0x06]].concat(), Some(Exception::UD)),
            (vec![0x2e; 16], gp),
        ];
        for (bytes, expected) in cases {
            let mut bed = Testbed::long();
            bed.code(&bytes);
            let found = bed.core().fetch_instruction();
            let fault = match found {
                Err(exception) => Some(exception),
                Ok(instruction) if instruction.code() == iced_x86::Code::Ud2 => Some(Exception::UD),
                Ok(_) => None,
            };
            assert_eq!(fault, expected, "{bytes:02x?}");
        }
    }
}
