//! `struct pt_regs` (arch/x86/include/asm/ptrace.h): what 64-bit Linux saves of the place that an exception, an interrupt or
//! a system call came from. Its layout is an ABI.

use crate::memory::GuestMemory;
use crate::registers::Registers;
use machine::cpu::state::{RAX, RBP, RBX, RCX, RDI, RDX, RSI, RSP};

/// The general registers in the order in which they lie there.
pub const ORDER: [usize; 15] = [15, 14, 13, 12, RBP, RBX, 11, 10, 9, 8, RAX, RCX, RDX, RSI, RDI];
/// Where the part begins that the processor pushes: RIP, CS, RFLAGS, RSP, SS.
pub const INTERRUPT_FRAME: u64 = 128;

/// All registers saved at `vaddr`. `None` if they cannot be read, or the code selector is none.
pub fn read(vaddr: u64, memory: &dyn GuestMemory, inner: &Registers) -> Option<Registers> {
    let mut registers = read_interrupt_frame(vaddr.wrapping_add(INTERRUPT_FRAME), memory, inner)?;
    for (ordinal, index) in ORDER.into_iter().enumerate() {
        registers.gpr[index] = Some(memory.read_number(vaddr.wrapping_add(8 * ordinal as u64), 8).ok()?);
    }
    Some(registers)
}

/// What the processor itself pushed at `vaddr`. The other registers are not known, but for RBP, which is as `inner` has it.
pub fn read_interrupt_frame(vaddr: u64, memory: &dyn GuestMemory, inner: &Registers) -> Option<Registers> {
    let word = |ordinal: u64| memory.read_number(vaddr.wrapping_add(8 * ordinal), 8).ok();
    let code = word(1)? & 0xffff;
    if code == 0 {
        return None;
    }
    let mut registers = Registers { gpr: [None; 16], ..inner.clone() };
    registers.rip = word(0)?;
    registers.rflags = Some(word(2)?);
    registers.gpr[RSP] = Some(word(3)?);
    registers.gpr[RBP] = inner.gpr[RBP];
    registers.is_user = code & 3 == 3;
    Some(registers)
}
