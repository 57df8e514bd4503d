//! One instruction: which family of the instruction set it belongs to.

use super::core::Core;
use super::exception::{Exception, Exec};
use super::{integer, simd, system, x87};
use iced_x86::Instruction;

impl Core<'_> {
    /// Executes one decoded instruction (one iteration of a REP string instruction). `cpu.rip` is its
    /// address. Leaves in `cpu.next_rip` where execution continues, but does not go there.
    ///
    /// # Errors
    /// The exception it raises; then nothing of the architectural state has changed but what the SDM says
    /// (accessed bits, iterations before, traps' results).
    pub fn execute(&mut self, instruction: &Instruction) -> Exec {
        let width = match self.cpu.code_bits {
            64 => u64::MAX,
            32 => 0xffff_ffff,
            _ => 0xffff,
        };
        // A 16-bit IP wraps; a 32-bit code segment limit is checked by the next fetch.
        self.cpu.next_rip = self.cpu.rip.wrapping_add(instruction.len() as u64) & width;
        if instruction.has_lock_prefix() && !integer::lock_allowed(instruction) {
            return Err(Exception::UD);
        }
        integer::execute(self, instruction)
            .or_else(|| system::execute(self, instruction))
            .or_else(|| simd::execute(self, instruction))
            .or_else(|| x87::execute(self, instruction))
            .unwrap_or(Err(Exception::UD))
    }
}
