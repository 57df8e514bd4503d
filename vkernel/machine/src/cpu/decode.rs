//! From instruction bytes to `iced_x86::Instruction`.

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

impl Core<'_> {
    /// Fetches and decodes the instruction at RIP.
    ///
    /// # Errors
    /// Fetch faults, #UD, and #GP for an instruction longer than 15 bytes.
    pub fn fetch_instruction(&mut self) -> Exec<Instruction> {
        let mut bytes = [0; 15];
        let got = self.fetch(&mut bytes)?;
        decode(&bytes[..got], self.cpu.rip, self.cpu.code_bits)
            .map_err(|needs_more| if needs_more { self.fetch_fault(got) } else { Exception::UD })
    }
}
