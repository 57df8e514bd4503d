//! The registers of a place in the guest: of a vCPU as it is, or of a frame further out on its stack, of which only
//! some are known.
//!
//! Addresses are linear: outside 64-bit mode the bases of CS and SS are added. Left out: x87, vector and debug
//! registers, which no frame description of a kernel speaks of.

use machine::cpu::state::{CS, FS, GS, RAX, RBP, RBX, RCX, RDI, RDX, RSI, RSP, SS, Vcpu};

/// The first address of the upper half.
pub(crate) const KERNEL_SPACE: u64 = 0xffff_8000_0000_0000;

/// What is known of the registers at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registers {
    /// General registers in encoding order; `None` for one whose value nobody saved.
    pub gpr: [Option<u64>; 16],
    /// The linear address of the next instruction.
    pub rip: u64,
    /// RFLAGS, where they were saved.
    pub rflags: Option<u64>,
    /// The base of FS.
    pub fs_base: u64,
    /// The base of GS.
    pub gs_base: u64,
    /// What SWAPGS exchanges with it.
    pub kernel_gs_base: u64,
    /// CR0, CR2, CR3 and CR4.
    pub cr: [u64; 4],
    /// The number of the vCPU.
    pub vcpu: u64,
    /// Bytes in a word of the stack: 8 or 4, or 2 in 16-bit code.
    pub word_bytes: u64,
    /// Whether it is a program's place.
    pub is_user: bool,
}

/// The general registers by the order of their encoding.
const NAMES_64: [&str; 16] = [
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
    "r15",
];
const NAMES_32: [&str; 8] = ["eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"];
const NAMES_16: [&str; 8] = ["ax", "cx", "dx", "bx", "sp", "bp", "si", "di"];
const NAMES_8: [&str; 4] = ["al", "cl", "dl", "bl"];

/// A register that can be asked for by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegisterName {
    /// A general register, or its lower part.
    General {
        /// Its number.
        index: usize,
        /// How many bytes of it.
        length_bytes: u64,
    },
    /// The instruction pointer.
    Rip,
    /// RFLAGS.
    Rflags,
    /// The base of FS.
    FsBase,
    /// The base of GS.
    GsBase,
    /// The base that SWAPGS exchanges.
    KernelGsBase,
    /// A control register, by its place in [`Registers::cr`].
    Control(usize),
    /// The number of the vCPU.
    Vcpu,
}

impl RegisterName {
    /// The register that `name` (`rax`, `eax`, `r8d`, `pc`, `sp`, `cr3`, `fs_base`, `cpu`) stands for.
    #[must_use]
    pub fn parse(name: &str) -> Option<RegisterName> {
        let position = |names: &[&str]| names.iter().position(|known| *known == name);
        let general = |index, length_bytes| Some(RegisterName::General { index, length_bytes });
        match name {
            "pc" | "rip" | "eip" => return Some(RegisterName::Rip),
            // As gdb has them: the whole registers, whatever their 16-bit parts are called.
            "sp" => return general(RSP, 8),
            "fp" => return general(RBP, 8),
            "rflags" | "eflags" | "rfl" => return Some(RegisterName::Rflags),
            "fs_base" => return Some(RegisterName::FsBase),
            "gs_base" => return Some(RegisterName::GsBase),
            "k_gs_base" => return Some(RegisterName::KernelGsBase),
            "cpu" => return Some(RegisterName::Vcpu),
            _ => {}
        }
        if let Some(control) = ["cr0", "cr2", "cr3", "cr4"].iter().position(|known| *known == name) {
            return Some(RegisterName::Control(control));
        }
        if let Some(index) = position(&NAMES_64) {
            return general(index, 8);
        }
        if let Some(index) = position(&NAMES_32) {
            return general(index, 4);
        }
        if let Some(index) = position(&NAMES_16) {
            return general(index, 2);
        }
        if let Some(index) = position(&NAMES_8) {
            return general(index, 1);
        }
        let (length_bytes, stem) = match name.chars().last()? {
            'd' => (4, &name[..name.len() - 1]),
            'w' => (2, &name[..name.len() - 1]),
            'b' => (1, &name[..name.len() - 1]),
            _ => return None,
        };
        let index = NAMES_64.iter().position(|known| *known == stem).filter(|index| *index >= 8)?;
        general(index, length_bytes)
    }

    /// How many bytes it has.
    #[must_use]
    pub fn length_bytes(self) -> u64 {
        match self {
            RegisterName::General { length_bytes, .. } => length_bytes,
            RegisterName::Vcpu => 4,
            _ => 8,
        }
    }
}

impl Registers {
    /// Those of a vCPU.
    #[must_use]
    pub fn of(cpu: &Vcpu) -> Registers {
        let is_64_bit = cpu.code_bits == 64;
        let linear = |segment: usize, offset: u64| match is_64_bit {
            true => offset,
            false => cpu.segments[segment].base.wrapping_add(offset) & 0xffff_ffff,
        };
        let mut gpr = cpu.gpr.map(Some);
        gpr[RSP] = Some(linear(SS, cpu.gpr[RSP]));
        gpr[RBP] = Some(linear(SS, cpu.gpr[RBP]));
        Registers {
            gpr,
            rip: linear(CS, cpu.rip),
            rflags: Some(cpu.rflags),
            fs_base: cpu.segments[FS].base,
            gs_base: cpu.segments[GS].base,
            kernel_gs_base: cpu.msrs.kernel_gs_base,
            cr: [cpu.cr0, cpu.cr2, cpu.cr3, cpu.cr4],
            vcpu: u64::from(cpu.id),
            word_bytes: u64::from(cpu.code_bits / 8),
            is_user: cpu.cpl == 3,
        }
    }

    /// The value of a register; `None` if this frame does not know it.
    #[must_use]
    pub fn get(&self, name: RegisterName) -> Option<u64> {
        match name {
            RegisterName::General { index, length_bytes } => {
                let mask = u64::MAX >> (64 - 8 * length_bytes);
                Some(self.gpr[index]? & mask)
            }
            RegisterName::Rip => Some(self.rip),
            RegisterName::Rflags => self.rflags,
            RegisterName::FsBase => Some(self.fs_base),
            RegisterName::GsBase => Some(self.gs_base),
            RegisterName::KernelGsBase => Some(self.kernel_gs_base),
            RegisterName::Control(index) => Some(self.cr[index]),
            RegisterName::Vcpu => Some(self.vcpu),
        }
    }

    /// The stack pointer, which every frame knows.
    #[must_use]
    pub fn rsp(&self) -> Option<u64> {
        self.gpr[RSP]
    }

    /// Where a kernel that reaches its per-CPU data through GS has those of this vCPU. Between an entry from a program
    /// and SWAPGS the base is still in the other register.
    #[must_use]
    pub fn per_cpu_base(&self) -> u64 {
        let is_entering = self.gs_base < KERNEL_SPACE && self.kernel_gs_base >= KERNEL_SPACE;
        if is_entering { self.kernel_gs_base } else { self.gs_base }
    }

    /// The index of a general register by its number in DWARF (System V ABI for AMD64, figure 3.36; for the 80386,
    /// figure 2.14). The number of the return address is none.
    #[must_use]
    pub fn index_of_dwarf(number: u16, word_bytes: u64) -> Option<usize> {
        const ORDER_64: [usize; 8] = [RAX, RDX, RCX, RBX, RSI, RDI, RBP, RSP];
        match number {
            0..8 if word_bytes == 8 => Some(ORDER_64[usize::from(number)]),
            0..8 => Some(usize::from(number)),
            8..16 if word_bytes == 8 => Some(usize::from(number)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_are_known_by_their_names_and_the_names_of_their_parts() {
        let mut cpu = Vcpu::new(0);
        cpu.gpr[RBX] = 0x1122_3344_5566_7788;
        cpu.gpr[8] = 0xffff_ffff_ffff_fff0;
        cpu.code_bits = 64;
        let registers = Registers::of(&cpu);
        let value = |name: &str| registers.get(RegisterName::parse(name).expect(name));
        assert_eq!(value("rbx"), Some(0x1122_3344_5566_7788));
        assert_eq!((value("ebx"), value("bx"), value("bl")), (Some(0x5566_7788), Some(0x7788), Some(0x88)));
        assert_eq!(
            (value("r8"), value("r8d"), value("r8b")),
            (Some(u64::MAX - 15), Some(0xffff_fff0), Some(0xf0))
        );
        assert_eq!(value("cpu"), Some(0));
        for name in ["r16", "raxd", "xmm0", "d", ""] {
            assert_eq!(RegisterName::parse(name), None, "{name}");
        }
    }

    #[test]
    fn dwarf_numbers_registers_in_an_order_of_its_own() {
        assert_eq!(Registers::index_of_dwarf(1, 8), Some(RDX));
        assert_eq!(Registers::index_of_dwarf(7, 8), Some(RSP));
        assert_eq!(Registers::index_of_dwarf(4, 4), Some(RSP));
        assert_eq!(Registers::index_of_dwarf(12, 8), Some(12));
        assert_eq!((Registers::index_of_dwarf(16, 8), Registers::index_of_dwarf(8, 4)), (None, None));
    }
}
