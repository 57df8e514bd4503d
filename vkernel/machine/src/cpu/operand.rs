//! Operands of a decoded instruction: registers, memory, immediates, by their sizes.

use super::core::{Core, Located};
use super::exception::Exec;
use super::mmu::Intent;
use super::state::{CS, DS, ES, FS, GS, SS};
use iced_x86::{CodeSize, Instruction, OpKind, Register};

/// A destination, found and checked, so that writing it cannot fail.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// A general register, by size.
    Register(Register),
    /// Memory.
    Memory(Located),
}

/// Number of a general register in encoding order, and whether it is one of AH, CH, DH, BH.
#[must_use]
pub fn gpr_index(register: Register) -> (usize, bool) {
    let high = matches!(register, Register::AH | Register::CH | Register::DH | Register::BH);
    (register.full_register().number(), high)
}

/// Number of a segment register in encoding order.
#[must_use]
pub fn segment_index(register: Register) -> usize {
    match register {
        Register::ES => ES,
        Register::CS => CS,
        Register::SS => SS,
        Register::FS => FS,
        Register::GS => GS,
        _ => DS,
    }
}

/// The segment of the memory operand (number in encoding order). 64-bit mode follows no override but FS and GS: a
/// reference is one of the stack by its base register alone (SDM vol. 1 3.3.7.1), which its faults show.
#[must_use]
pub fn operand_segment(instruction: &Instruction) -> usize {
    let named = segment_index(instruction.memory_segment());
    if instruction.code_size() != CodeSize::Code64 || matches!(named, FS | GS) {
        return named;
    }
    match instruction.memory_base() {
        Register::RSP | Register::RBP | Register::ESP | Register::EBP => SS,
        _ => DS,
    }
}

/// Sign-extends the low `size` bytes.
#[must_use]
pub fn sign_extend(value: u64, size: usize) -> u64 {
    let unused = 64 - 8 * size as u32;
    ((value << unused) as i64 >> unused) as u64
}

/// The low `size` bytes.
#[must_use]
pub fn truncate(value: u64, size: usize) -> u64 {
    value & (u64::MAX >> (64 - 8 * size as u32))
}

impl Core<'_> {
    /// A general register of 1, 2, 4 or 8 bytes, zero-extended.
    #[must_use]
    pub fn gpr(&self, register: Register) -> u64 {
        let (index, high) = gpr_index(register);
        let value = self.cpu.gpr[index];
        if high { value >> 8 & 0xff } else { truncate(value, register.size()) }
    }

    /// Writes a general register. A 4-byte write clears the upper half, shorter ones leave the rest.
    pub fn set_gpr(&mut self, register: Register, value: u64) {
        let (index, high) = gpr_index(register);
        let full = &mut self.cpu.gpr[index];
        match register.size() {
            1 if high => *full = *full & !0xff00 | (value & 0xff) << 8,
            1 => *full = *full & !0xff | value & 0xff,
            2 => *full = *full & !0xffff | value & 0xffff,
            4 => *full = value & 0xffff_ffff,
            _ => *full = value,
        }
    }

    /// The effective address of the memory operand: its segment (number in encoding order) and offset,
    /// wrapped to the address size.
    #[must_use]
    pub fn effective_address(&self, instruction: &Instruction) -> (usize, u64) {
        let base = instruction.memory_base();
        let index = instruction.memory_index();
        let mut address = instruction.memory_displacement64();
        // For RIP-relative operands iced gives the absolute address as the displacement.
        if !matches!(base, Register::None | Register::RIP | Register::EIP) {
            address = address.wrapping_add(self.gpr(base));
        }
        if index != Register::None {
            address = address
                .wrapping_add(self.gpr(index).wrapping_mul(u64::from(instruction.memory_index_scale())));
        }
        (operand_segment(instruction), truncate(address, self.address_bytes(instruction)))
    }

    /// The address size of the memory operand in bytes: 2, 4 or 8.
    #[must_use]
    pub fn address_bytes(&self, instruction: &Instruction) -> usize {
        let base = instruction.memory_base();
        let index = instruction.memory_index();
        match base {
            Register::EIP => 4,
            Register::RIP => 8,
            // XLAT has AL as its index but always a base, so only real address registers get here.
            _ if base != Register::None => base.size(),
            _ if index != Register::None => index.size(),
            // An absolute address is as wide as its displacement.
            _ => match instruction.memory_displ_size() {
                2 => 2,
                8 => 8,
                _ => 4,
            },
        }
    }

    /// Size in bytes of operand `operand`, for general registers, immediates and memory.
    #[must_use]
    pub fn operand_size(&self, instruction: &Instruction, operand: u32) -> usize {
        match instruction.op_kind(operand) {
            OpKind::Register => instruction.op_register(operand).size(),
            OpKind::Memory => instruction.memory_size().size(),
            // Immediates are as wide as the destination they are combined with.
            _ => self.operand_size(instruction, 0),
        }
    }

    /// Finds operand `operand` as a place to be written (and perhaps read before).
    ///
    /// # Errors
    /// Whatever the memory access raises.
    pub fn place(&mut self, instruction: &Instruction, operand: u32) -> Exec<Place> {
        if instruction.op_kind(operand) == OpKind::Register {
            return Ok(Place::Register(instruction.op_register(operand)));
        }
        let (segment, offset) = self.effective_address(instruction);
        let size = instruction.memory_size().size();
        Ok(Place::Memory(self.locate(segment, offset, size, Intent::Write)?))
    }

    /// Reads a place.
    pub fn read_place(&mut self, place: Place) -> u64 {
        match place {
            Place::Register(register) => self.gpr(register),
            Place::Memory(at) => self.load_located_sized(at),
        }
    }

    /// Writes a place.
    pub fn write_place(&mut self, place: Place, value: u64) {
        match place {
            Place::Register(register) => self.set_gpr(register, value),
            Place::Memory(at) => self.store_located_sized(at, value),
        }
    }

    /// Reads operand `operand`: register, memory (1 to 8 bytes) or immediate. Immediates come sign-extended
    /// as the instruction says, the others zero-extended.
    ///
    /// # Errors
    /// Whatever the memory access raises.
    pub fn read_operand(&mut self, instruction: &Instruction, operand: u32) -> Exec<u64> {
        match instruction.op_kind(operand) {
            OpKind::Register => Ok(self.gpr(instruction.op_register(operand))),
            OpKind::Memory => {
                let (segment, offset) = self.effective_address(instruction);
                self.load_sized(segment, offset, instruction.memory_size().size())
            }
            _ => Ok(instruction.immediate(operand)),
        }
    }

    /// Writes operand `operand`: register or memory (1 to 8 bytes).
    ///
    /// # Errors
    /// Whatever the memory access raises.
    pub fn write_operand(&mut self, instruction: &Instruction, operand: u32, value: u64) -> Exec {
        let place = self.place(instruction, operand)?;
        self.write_place(place, value);
        Ok(())
    }
}
