//! The registers as gdb sees them: its own i386:x86-64 layout (gdb/features/i386), and what only a system has.
//!
//! One layout holds for the whole session, also while the guest is in real or protected mode: gdb cannot change it.

use gdbstub::arch::{Arch, RegId, Registers};
use machine::cpu::state::{CS, DS, ES, FS, GS, SS, Vcpu};
use std::num::NonZeroUsize;

/// x86-64 with system registers.
#[derive(Debug)]
pub enum X86System {}

impl Arch for X86System {
    type Usize = u64;
    type Registers = File;
    type BreakpointKind = usize;
    type RegId = Number;

    fn target_description_xml() -> Option<&'static str> {
        Some(include_str!("target.xml"))
    }
}

/// Bytes of each register in the order of target.xml.
fn lengths() -> impl Iterator<Item = usize> {
    let core = [8; 17].into_iter().chain([4; 7]).chain([10; 8]).chain([4; 8]);
    let sse = [16; 16].into_iter().chain([4]);
    let rest = [8; 2 + SYSTEM];
    core.chain(sse).chain(rest)
}

/// System registers behind the segment bases: k_gs_base, cr0, cr2, cr3, cr4, efer, icount.
const SYSTEM: usize = 7;

/// General registers in gdb's order, by their number in encoding order.
const GENERAL: [usize; 16] = [0, 3, 1, 2, 6, 7, 5, 4, 8, 9, 10, 11, 12, 13, 14, 15];
const SEGMENTS: [usize; 6] = [CS, SS, DS, ES, FS, GS];

/// A register's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number(pub usize);

impl RegId for Number {
    fn from_raw_id(id: usize) -> Option<(Number, Option<NonZeroUsize>)> {
        Some((Number(id), NonZeroUsize::new(lengths().nth(id)?)))
    }

    fn to_raw_id(&self) -> Option<usize> {
        Some(self.0)
    }
}

impl Number {
    /// Which register an operator may write this way: 0 to 15 in encoding order, 16 for RIP, 17 for RFLAGS.
    #[must_use]
    pub fn writable(self) -> Option<u8> {
        match self.0 {
            general @ 0..16 => Some(GENERAL[general] as u8),
            16 | 17 => Some(self.0 as u8),
            _ => None,
        }
    }
}

/// All registers of a vCPU, as the bytes of a `g` packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct File {
    bytes: Vec<u8>,
    rip: u64,
}

impl File {
    /// The registers of a vCPU; `icount` is the place of the machine.
    #[must_use]
    pub fn of(cpu: &Vcpu, icount: u64) -> File {
        let mut bytes = Vec::with_capacity(1024);
        let mut put = |value: u128, length: usize| bytes.extend_from_slice(&value.to_le_bytes()[..length]);
        GENERAL.iter().for_each(|&number| put(u128::from(cpu.gpr[number]), 8));
        put(u128::from(cpu.rip), 8);
        put(u128::from(cpu.rflags), 4);
        SEGMENTS.iter().for_each(|&number| put(u128::from(cpu.segments[number].selector), 4));
        let top = usize::from(cpu.x87.status >> 11 & 7);
        (0..8).for_each(|index| put(cpu.x87.registers[(top + index) % 8], 10));
        put(u128::from(cpu.x87.control), 4);
        put(u128::from(cpu.x87.status), 4);
        put(u128::from(tag_word(cpu)), 4);
        // FISEG, FIOFF, FOSEG, FOOFF and FOP, which are canonically zero.
        (0..5).for_each(|_| put(0, 4));
        cpu.xmm.iter().for_each(|&xmm| put(xmm, 16));
        put(u128::from(cpu.mxcsr), 4);
        let system = [
            cpu.segments[FS].base,
            cpu.segments[GS].base,
            cpu.msrs.kernel_gs_base,
            cpu.cr0,
            cpu.cr2,
            cpu.cr3,
            cpu.cr4,
            cpu.efer,
            icount,
        ];
        system.iter().for_each(|&value| put(u128::from(value), 8));
        File { bytes, rip: cpu.rip }
    }

    /// The bytes of one register.
    #[must_use]
    pub fn get(&self, number: Number) -> Option<&[u8]> {
        let length = lengths().nth(number.0)?;
        let start: usize = lengths().take(number.0).sum();
        self.bytes.get(start..start + length)
    }

    /// What an operator's writes must make of `old` to become this: general registers, RIP and RFLAGS. `None` if anything else
    /// differs.
    #[must_use]
    pub fn writes_over(&self, old: &File) -> Option<Vec<(u8, u64)>> {
        let mut writes = Vec::new();
        for number in (0..lengths().count()).map(Number) {
            let (new, old) = (self.get(number)?, old.get(number)?);
            if new != old {
                writes.push((number.writable()?, value_of(new)?));
            }
        }
        Some(writes)
    }
}

/// The value of a register of up to 64 bits.
#[must_use]
pub fn value_of(bytes: &[u8]) -> Option<u64> {
    let mut value = [0; 8];
    value.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(u64::from_le_bytes(value))
}

/// The tag word in its long form: two bits a register, 3 for empty.
fn tag_word(cpu: &Vcpu) -> u16 {
    (0..8).fold(0, |tags, index| {
        let register = cpu.x87.registers[index];
        let (exponent, mantissa) = (register >> 64 & 0x7fff, register as u64);
        let tag = match (cpu.x87.valid >> index & 1, exponent, mantissa) {
            (0, ..) => 3,
            (_, 0, 0) => 1,
            (_, 0 | 0x7fff, _) => 2,
            (_, _, mantissa) if mantissa >> 63 == 0 => 2,
            _ => 0,
        };
        tags | tag << (2 * index)
    })
}

impl Registers for File {
    type ProgramCounter = u64;

    fn pc(&self) -> u64 {
        self.rip
    }

    fn gdb_serialize(&self, mut write_byte: impl FnMut(Option<u8>)) {
        self.bytes.iter().for_each(|&byte| write_byte(Some(byte)));
    }

    fn gdb_deserialize(&mut self, bytes: &[u8]) -> Result<(), ()> {
        if bytes.len() != lengths().sum::<usize>() {
            return Err(());
        }
        self.bytes = bytes.to_vec();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_as_many_as_the_description_says() {
        let mut cpu = Vcpu::new(0);
        cpu.gpr[3] = 0x1234;
        let file = File::of(&cpu, 77);
        assert_eq!(file.bytes.len(), lengths().sum::<usize>());
        assert_eq!(file.get(Number(1)), Some(&0x1234u64.to_le_bytes()[..]), "rbx comes second");
        assert_eq!(file.get(Number(lengths().count() - 1)), Some(&77u64.to_le_bytes()[..]));
        let description = X86System::target_description_xml().unwrap();
        assert_eq!(description.matches("<reg ").count(), lengths().count());
        assert_eq!(Number::from_raw_id(lengths().count()), None);
    }

    #[test]
    fn only_general_registers_and_rip_are_written() {
        let cpu = Vcpu::new(0);
        let old = File::of(&cpu, 0);
        let mut changed = cpu.clone();
        changed.gpr[7] = 5;
        changed.rip = 9;
        assert_eq!(File::of(&changed, 0).writes_over(&old), Some(vec![(7, 5), (16, 9)]));
        changed.cr3 = 1;
        assert_eq!(File::of(&changed, 0).writes_over(&old), None);
    }
}
