//! The integer instructions that any program may execute (SDM vol. 1 ch. 7, vol. 2), in every mode.
//!
//! One file per concept. Each has an `execute` that takes the instructions of its concept and gives `None`
//! for all others. What an instruction can raise it raises before it changes anything: operands are found
//! and checked, then the result is computed, then everything is written.
//!
//! Left out on purpose: far transfers, segment and control registers, IN and OUT, and everything else that
//! depends on privilege (`super::system`), and what CPUID does not offer (MOVBE, BMI, ADX, RDPID, CET). The
//! flags that the SDM leaves undefined are listed in docs/undefined-flags.md.

mod arithmetic;
mod bits;
mod branch;
mod decimal;
mod exchange;
mod hint;
mod multiply;
mod shift;
mod stack;
mod string;
mod transfer;

use super::core::Core;
use super::exception::Exec;
use iced_x86::{Instruction, Mnemonic, OpKind};

/// Executes an instruction of this family; `None` if it belongs to another.
pub fn execute(core: &mut Core<'_>, instruction: &Instruction) -> Option<Exec> {
    transfer::execute(core, instruction)
        .or_else(|| arithmetic::execute(core, instruction))
        .or_else(|| branch::execute(core, instruction))
        .or_else(|| stack::execute(core, instruction))
        .or_else(|| shift::execute(core, instruction))
        .or_else(|| bits::execute(core, instruction))
        .or_else(|| string::execute(core, instruction))
        .or_else(|| exchange::execute(core, instruction))
        .or_else(|| multiply::execute(core, instruction))
        .or_else(|| decimal::execute(core, instruction))
        .or_else(|| hint::execute(core, instruction))
}

/// Whether the instruction may carry LOCK: a read-modify-write form with a memory destination (SDM vol. 2,
/// LOCK).
pub fn lock_allowed(instruction: &Instruction) -> bool {
    use Mnemonic::{
        Adc, Add, And, Btc, Btr, Bts, Cmpxchg, Cmpxchg8b, Cmpxchg16b, Dec, Inc, Neg, Not, Or, Sbb, Sub, Xadd,
        Xchg, Xor,
    };
    let lockable = matches!(
        instruction.mnemonic(),
        Adc | Add
            | And
            | Btc
            | Btr
            | Bts
            | Cmpxchg
            | Cmpxchg8b
            | Cmpxchg16b
            | Dec
            | Inc
            | Neg
            | Not
            | Or
            | Sbb
            | Sub
            | Xadd
            | Xchg
            | Xor
    );
    lockable && instruction.op0_kind() == OpKind::Memory
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::decode::decode;

    fn allowed(bytes: &[u8]) -> bool {
        lock_allowed(&decode(bytes, 0, 64).expect("an instruction"))
    }

    #[test]
    fn lock_needs_a_read_modify_write_of_memory() {
        assert!(allowed(&[0x01, 0x18]), "add [rax], ebx");
        assert!(allowed(&[0x87, 0x18]), "xchg [rax], ebx");
        assert!(allowed(&[0x0f, 0xba, 0x28, 1]), "bts dword [rax], 1");
        assert!(allowed(&[0x48, 0x0f, 0xc7, 0x08]), "cmpxchg16b [rax]");
        assert!(!allowed(&[0x01, 0xd8]), "add eax, ebx");
        assert!(!allowed(&[0x03, 0x18]), "add ebx, [rax]");
        assert!(!allowed(&[0x39, 0x18]), "cmp [rax], ebx");
        assert!(!allowed(&[0x89, 0x18]), "mov [rax], ebx");
        assert!(!allowed(&[0x0f, 0xba, 0x20, 1]), "bt dword [rax], 1");
    }
}
