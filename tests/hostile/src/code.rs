//! An assembler as small as the guests need: a few forms that mean the same in 16-, 32- and 64-bit code, and raw bytes.

use fuzz::random::Random;

/// Width of a code segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bits {
    /// Real mode, virtual-8086 mode, 16-bit segments.
    B16,
    /// Protected and compatibility mode.
    B32,
    /// 64-bit mode.
    B64,
}

impl Bits {
    /// All of them.
    pub const ALL: [Bits; 3] = [Bits::B16, Bits::B32, Bits::B64];

    /// Index into the arrays of `layout`.
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }
}

/// General registers by their numbers.
pub mod reg {
    #![allow(missing_docs, reason = "the names say it")]
    pub const AX: u8 = 0;
    pub const CX: u8 = 1;
    pub const DX: u8 = 2;
    pub const BX: u8 = 3;
    pub const SP: u8 = 4;
    pub const BP: u8 = 5;
    pub const SI: u8 = 6;
    pub const DI: u8 = 7;
}
use reg::{AX, BX, CX, DX};

/// Longest body of a loop: its branch has a displacement of 8 bits.
const LOOP_BYTES: usize = 100;

/// Code that is being written.
#[derive(Debug)]
pub struct Code<'a> {
    /// What it will run as.
    pub bits: Bits,
    /// Its address.
    pub base: u64,
    /// What has been written.
    pub bytes: Vec<u8>,
    /// Where choices come from.
    pub random: &'a mut Random,
}

impl<'a> Code<'a> {
    /// Nothing yet, to lie at `base`.
    #[must_use]
    pub fn new(bits: Bits, base: u64, random: &'a mut Random) -> Code<'a> {
        Code { bits, base, bytes: Vec::new(), random }
    }

    /// The address of what is written next.
    #[must_use]
    pub fn here(&self) -> u64 {
        self.base + self.bytes.len() as u64
    }

    /// These bytes.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// An instruction with 32-bit operands and addresses of 32 bits or more, whatever the width of the code.
    pub fn wide(&mut self, bytes: &[u8]) {
        if self.bits == Bits::B16 {
            self.raw(&[0x66, 0x67]);
        }
        self.raw(bytes);
    }

    /// Puts `value` into a register; 64 bits of it only in 64-bit code.
    pub fn set(&mut self, register: u8, value: u64) {
        if self.bits == Bits::B64 && value > u64::from(u32::MAX) {
            self.raw(&[0x48, 0xb8 + register]);
            self.raw(&value.to_le_bytes());
        } else {
            self.wide(&[0xb8 + register]);
            self.raw(&(value as u32).to_le_bytes());
        }
    }

    /// Stores 32 bits. Uses BX.
    pub fn store(&mut self, address: u64, value: u32) {
        self.set(BX, address);
        self.wide(&[0xc7, 0x03]);
        self.raw(&value.to_le_bytes());
    }

    /// Stores 64 bits as two stores of 32.
    pub fn store_long(&mut self, address: u64, value: u64) {
        self.store(address, value as u32);
        self.store(address + 4, (value >> 32) as u32);
    }

    /// Loads 32 bits into AX. Uses BX.
    pub fn load(&mut self, address: u64) {
        self.set(BX, address);
        self.wide(&[0x8b, 0x03]);
    }

    /// OUT of 1, 2 or 4 bytes. Uses AX and DX.
    pub fn out(&mut self, port: u16, value: u32, size: usize) {
        self.set(DX, u64::from(port));
        self.set(AX, u64::from(value));
        self.port(0xee, size);
    }

    /// IN of 1, 2 or 4 bytes. Uses AX and DX.
    pub fn input(&mut self, port: u16, size: usize) {
        self.set(DX, u64::from(port));
        self.port(0xec, size);
    }

    /// IN, OUT, INS or OUTS: the byte form's opcode, or the next one with the operand size.
    pub fn port(&mut self, opcode: u8, size: usize) {
        let prefixed = (size == 4) == (self.bits == Bits::B16);
        if size > 1 && prefixed {
            self.raw(&[0x66]);
        }
        self.raw(&[opcode + u8::from(size > 1)]);
    }

    /// WRMSR. Uses AX, CX and DX.
    pub fn write_msr(&mut self, msr: u32, value: u64) {
        self.set(CX, u64::from(msr));
        self.set(AX, value & 0xffff_ffff);
        self.set(DX, value >> 32);
        self.raw(&[0x0f, 0x30]);
    }

    /// `body` so many times; CX counts. A body that is too long is done once.
    pub fn repeat(&mut self, times: u64, body: impl FnOnce(&mut Code<'_>)) {
        self.set(CX, times);
        let start = self.bytes.len();
        body(self);
        if self.bytes.len() - start > LOOP_BYTES {
            return;
        }
        if self.bits == Bits::B16 {
            self.raw(&[0x67]);
        }
        let back = start as i64 - (self.bytes.len() as i64 + 2);
        self.raw(&[0xe2, back as i8 as u8]);
    }

    /// JMP to an address within reach.
    pub fn jump(&mut self, target: u64) {
        self.branch(0xe9, target);
    }

    /// CALL of an address within reach.
    pub fn call(&mut self, target: u64) {
        self.branch(0xe8, target);
    }

    fn branch(&mut self, opcode: u8, target: u64) {
        let length = if self.bits == Bits::B16 { 3 } else { 5 };
        let distance = target.wrapping_sub(self.here() + length);
        self.raw(&[opcode]);
        self.raw(&distance.to_le_bytes()[..length as usize - 1]);
    }

    /// JMP or CALL far, by its opcode (EAH, 9AH), to an address of the width of the code.
    pub fn far(&mut self, opcode: u8, selector: u16, target: u64) {
        self.raw(&[opcode]);
        let width = if self.bits == Bits::B16 { 2 } else { 4 };
        self.raw(&target.to_le_bytes()[..width]);
        self.raw(&selector.to_le_bytes());
    }

    /// Loads a segment register (its number in encoding order) with a selector. Uses AX.
    pub fn load_segment(&mut self, segment: u8, selector: u16) {
        self.set(AX, u64::from(selector));
        self.raw(&[0x8e, 0xc0 | segment << 3]);
    }

    /// Sets bits of a control register that can be read. Uses AX.
    pub fn set_control_bits(&mut self, register: u8, bits: u32) {
        self.raw(&[0x0f, 0x20, 0xc0 | register << 3]);
        self.wide(&[0x0d]);
        self.raw(&bits.to_le_bytes());
        self.raw(&[0x0f, 0x22, 0xc0 | register << 3]);
    }
}
