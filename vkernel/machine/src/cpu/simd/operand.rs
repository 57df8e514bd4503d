//! Operands of vector instructions: MMX and XMM registers, general registers, memory of 1 to 16 bytes.
//!
//! All values travel as `u128`, zero-extended.

use crate::cpu::core::{Core, Located};
use crate::cpu::exception::{Exception, Exec};
use crate::cpu::mmu::Intent;
use iced_x86::{Instruction, Mnemonic, OpKind, Register};

/// What a write to an MMX register leaves in the sign and exponent of the x87 register it aliases.
const MMX_UPPER: u128 = 0xffff << 64;

/// Whether a 16-byte memory operand must be aligned. Legacy SSE forms all want it but these.
fn wants_alignment(mnemonic: Mnemonic) -> bool {
    !matches!(
        mnemonic,
        Mnemonic::Movups
            | Mnemonic::Movupd
            | Mnemonic::Movdqu
            | Mnemonic::Lddqu
            | Mnemonic::Pcmpestri
            | Mnemonic::Pcmpestri64
            | Mnemonic::Pcmpestrm
            | Mnemonic::Pcmpestrm64
            | Mnemonic::Pcmpistri
            | Mnemonic::Pcmpistrm
    )
}

impl Core<'_> {
    /// Finds the memory operand.
    ///
    /// # Errors
    /// As [`Core::locate`], and #GP(0) if it must be aligned and is not.
    pub(super) fn locate_vector(&mut self, instruction: &Instruction, intent: Intent) -> Exec<Located> {
        let (segment, offset) = self.effective_address(instruction);
        let length = instruction.memory_size().size();
        let laddr = self.linear(segment, offset, length, intent)?;
        if length == 16 && laddr & 15 != 0 && wants_alignment(instruction.mnemonic()) {
            return Err(Exception::gp(0));
        }
        self.locate_linear(laddr, length, intent, self.is_user())
    }

    /// Reads operand `operand`, whatever it is.
    ///
    /// # Errors
    /// Whatever the memory access raises.
    pub(super) fn vector(&mut self, instruction: &Instruction, operand: u32) -> Exec<u128> {
        match instruction.op_kind(operand) {
            OpKind::Register => Ok(self.vector_register(instruction.op_register(operand))),
            OpKind::Memory => {
                let at = self.locate_vector(instruction, Intent::Read)?;
                let mut bytes = [0; 16];
                self.load_located(at, &mut bytes[..instruction.memory_size().size()]);
                Ok(u128::from_le_bytes(bytes))
            }
            _ => Ok(u128::from(instruction.immediate8())),
        }
    }

    /// Writes operand `operand`: a register (a general one zero-extended to its full size) or memory.
    ///
    /// # Errors
    /// Whatever the memory access raises.
    pub(super) fn set_vector(&mut self, instruction: &Instruction, operand: u32, value: u128) -> Exec {
        if instruction.op_kind(operand) == OpKind::Register {
            self.set_vector_register(instruction.op_register(operand), value);
            return Ok(());
        }
        let at = self.locate_vector(instruction, Intent::Write)?;
        self.store_located(at, &value.to_le_bytes()[..instruction.memory_size().size()]);
        Ok(())
    }

    /// Reads an XMM, MMX or general register.
    pub(super) fn vector_register(&self, register: Register) -> u128 {
        if register.is_xmm() {
            self.cpu.xmm[register.number()]
        } else if register.is_mm() {
            u128::from(self.cpu.x87.registers[register.number()] as u64)
        } else {
            u128::from(self.gpr(register))
        }
    }

    /// Writes an XMM, MMX or general register.
    pub(super) fn set_vector_register(&mut self, register: Register, value: u128) {
        if register.is_xmm() {
            self.cpu.xmm[register.number()] = value;
        } else if register.is_mm() {
            self.cpu.x87.registers[register.number()] = MMX_UPPER | u128::from(value as u64);
        } else {
            self.set_gpr(register, value as u64);
        }
    }
}
