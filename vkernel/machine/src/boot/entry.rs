//! The state in which the boot processor enters the kernel.
//!
//! Implements SDM volume 3, 3.4.5 (segment descriptors) as far as code, data and LDT segments go. A loader
//! describes all of the state here; whoever owns the processor copies it in and leaves the rest as at reset.

use crate::cpu::state::{Activity, DescriptorTable, RSP, Segment, Vcpu};

/// Selector of the code segment that every protocol here enters with (Linux's `__BOOT_CS`).
pub const CODE_SELECTOR: u16 = 0x10;
/// Selector of the data segments (Linux's `__BOOT_DS`).
pub const DATA_SELECTOR: u16 = 0x18;

const CODE64: u16 = 0xa09b;
const CODE32: u16 = 0xc09b;
const DATA: u16 = 0xc093;
const BUSY_TSS: u16 = 0x008b;
const LDT: u16 = 0x0082;

const CR0_PE_ET: u64 = 0x11;
const CR0_PG: u64 = 1 << 31;
const CR4_PAE: u64 = 1 << 5;
const EFER_LME_LMA: u64 = 0x500;
const CR0_WP: u64 = 1 << 16;
const EFER_NXE: u64 = 1 << 11;
const RFLAGS_FIXED: u64 = 2;
const PAT_AT_RESET: u64 = 0x0007_0406_0007_0406;
/// WB, WT, UC-, UC, WP, WC; the last two, which are unspecified, UC- and UC.
const LIMINE_PAT: u64 = 0x0007_0105_0007_0406;
const LIMINE_CODE_SELECTOR: u16 = 0x28;
const LIMINE_DATA_SELECTOR: u16 = 0x30;
const LIMINE_GDT_BYTES: usize = 7 * 8;

/// The mode the kernel is entered in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// 64-bit mode, paging on.
    Long64 {
        /// The root of the page tables; CR3 holds the same.
        page_table_paddr: u64,
    },
    /// 32-bit protected mode, paging off.
    Protected32,
}

/// A flat segment.
fn flat(selector: u16, access: u16) -> Segment {
    Segment { selector, base: 0, limit: u32::MAX, access }
}

/// The descriptor of a segment, as it stands in a GDT (SDM vol. 3 figure 3-8).
pub(crate) fn descriptor(segment: Segment) -> u64 {
    const GRANULARITY: u16 = 1 << 15;
    let base = u64::from(segment.base as u32);
    let limit =
        u64::from(if segment.access & GRANULARITY != 0 { segment.limit >> 12 } else { segment.limit });
    limit & 0xffff
        | (base & 0xff_ffff) << 16
        | u64::from(segment.access & 0xf0ff) << 40
        | (limit >> 16 & 0xf) << 48
        | (base >> 24) << 56
}

/// The boot processor's state at the kernel's first instruction. Interrupts are off. What is not listed is
/// as after reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The mode, which the control registers below agree with.
    pub mode: Mode,
    /// The first instruction.
    pub rip: u64,
    /// RFLAGS: only the bit that is always set.
    pub rflags: u64,
    /// RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15: the order of their encoding.
    pub general: [u64; 16],
    /// ES, CS, SS, DS, FS, GS: the order of their encoding.
    pub segments: [Segment; 6],
    /// Task register.
    pub tr: Segment,
    /// Local descriptor table register.
    pub ldtr: Segment,
    /// GDTR.
    pub gdt: DescriptorTable,
    /// IDTR: empty, so that an exception before the kernel has its own IDT is a triple fault.
    pub idt: DescriptorTable,
    /// CR0.
    pub cr0: u64,
    /// CR3.
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
    /// EFER.
    pub efer: u64,
    /// IA32_PAT.
    pub pat: u64,
}

/// How all processors start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// The boot processor.
    pub boot: Entry,
    /// The other processors, from the second on. Empty: they wait for a start-up IPI.
    pub others: Vec<Entry>,
    /// Whether every local APIC is in x2APIC mode.
    pub x2apic: bool,
}

impl From<Entry> for Start {
    fn from(boot: Entry) -> Start {
        Start { boot, others: Vec::new(), x2apic: false }
    }
}

impl Entry {
    /// Puts a vCPU that was just reset into this state.
    pub fn enter(&self, cpu: &mut Vcpu) {
        cpu.gpr = self.general;
        cpu.rip = self.rip;
        cpu.rflags = self.rflags;
        cpu.segments = self.segments;
        cpu.tr = self.tr;
        cpu.ldtr = self.ldtr;
        cpu.gdtr = self.gdt;
        cpu.idtr = self.idt;
        cpu.cr0 = self.cr0;
        cpu.cr3 = self.cr3;
        cpu.cr4 = self.cr4;
        cpu.efer = self.efer;
        cpu.msrs.pat = self.pat;
        cpu.activity = Activity::Running;
        cpu.cpl = 0;
        cpu.update_mode();
    }

    /// 64-bit mode with flat segments, its GDT at `gdt_paddr`.
    pub(crate) fn long64(rip: u64, rsp: u64, gdt_paddr: u64, page_table_paddr: u64) -> Entry {
        Entry {
            mode: Mode::Long64 { page_table_paddr },
            cr0: CR0_PE_ET | CR0_PG,
            cr3: page_table_paddr,
            cr4: CR4_PAE,
            efer: EFER_LME_LMA,
            ..Entry::flat(rip, rsp, gdt_paddr, CODE64)
        }
    }

    /// 32-bit protected mode with flat segments, its GDT at `gdt_paddr`.
    pub(crate) fn protected32(rip: u64, rsp: u64, gdt_paddr: u64) -> Entry {
        Entry::flat(rip, rsp, gdt_paddr, CODE32)
    }

    fn flat(rip: u64, rsp: u64, gdt_paddr: u64, code_access: u16) -> Entry {
        let mut general = [0; 16];
        general[RSP] = rsp;
        let code = flat(CODE_SELECTOR, code_access);
        let data = flat(DATA_SELECTOR, DATA);
        Entry {
            mode: Mode::Protected32,
            rip,
            rflags: RFLAGS_FIXED,
            general,
            segments: [data, code, data, data, data, data],
            tr: Segment { selector: 0, base: 0, limit: 0x67, access: BUSY_TSS },
            ldtr: Segment { selector: 0, base: 0, limit: 0, access: LDT },
            gdt: DescriptorTable { base: gdt_paddr, limit: 4 * 8 - 1 },
            idt: DescriptorTable::default(),
            cr0: CR0_PE_ET,
            cr3: 0,
            cr4: 0,
            efer: 0,
            pat: PAT_AT_RESET,
        }
    }

    /// 64-bit mode as Limine's protocol wants it: write protection, no-execute pages, its own PAT and GDT.
    pub(crate) fn limine(rip: u64, rsp: u64, gdt_vaddr: u64, page_table_paddr: u64) -> Entry {
        let entry = Entry::long64(rip, rsp, gdt_vaddr, page_table_paddr);
        let code = flat(LIMINE_CODE_SELECTOR, CODE64);
        let data = flat(LIMINE_DATA_SELECTOR, DATA);
        Entry {
            cr0: entry.cr0 | CR0_WP,
            efer: entry.efer | EFER_NXE,
            pat: LIMINE_PAT,
            segments: [data, code, data, data, data, data],
            gdt: DescriptorTable { base: gdt_vaddr, limit: LIMINE_GDT_BYTES as u16 - 1 },
            ..entry
        }
    }

    /// Limine's GDT: null, then code and data of 16, 32 and 64 bits.
    pub(crate) fn limine_gdt() -> [u8; LIMINE_GDT_BYTES] {
        const CODE16: u64 = 0x0000_9b00_0000_ffff;
        const DATA16: u64 = 0x0000_9300_0000_ffff;
        let code = |access| descriptor(flat(0, access));
        let descriptors = [0, CODE16, DATA16, code(CODE32), code(DATA), code(CODE64), code(DATA)];
        let mut bytes = [0; LIMINE_GDT_BYTES];
        for (slot, descriptor) in bytes.chunks_exact_mut(8).zip(descriptors) {
            slot.copy_from_slice(&u64::to_le_bytes(descriptor));
        }
        bytes
    }

    /// The bytes of the GDT that the selectors refer to: two null descriptors, code, data.
    pub(crate) fn gdt_bytes(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        let [_, code, _, data, ..] = self.segments;
        bytes[16..24].copy_from_slice(&descriptor(code).to_le_bytes());
        bytes[24..32].copy_from_slice(&descriptor(data).to_le_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_those_of_the_manual() {
        let entry = Entry::long64(0x100_0200, 0x1000, 0x2000, 0x3000);
        assert_eq!(descriptor(entry.segments[1]), 0x00af_9b00_0000_ffff);
        assert_eq!(descriptor(entry.segments[3]), 0x00cf_9300_0000_ffff);
        let code32 = Entry::protected32(0, 0, 0).segments[1];
        assert_eq!(descriptor(code32), 0x00cf_9b00_0000_ffff);
        let odd = Segment { selector: 0, base: 0x1234_5678, limit: 0xabcde, access: 0x0082 };
        assert_eq!(descriptor(odd), 0x120a_8234_5678_bcde);
    }

    #[test]
    fn the_control_registers_agree_with_the_mode() {
        let long = Entry::long64(0, 0, 0, 0x3000);
        assert_eq!(long.mode, Mode::Long64 { page_table_paddr: long.cr3 });
        assert_eq!((long.cr0, long.cr4, long.efer), (0x8000_0011, 0x20, 0x500));
        let protected = Entry::protected32(0, 0, 0);
        assert_eq!((protected.cr0, protected.cr4, protected.efer), (0x11, 0, 0));
        assert_eq!(protected.rflags & 0x200, 0, "interrupts are off");
    }

    #[test]
    fn the_gdt_holds_the_selectors_descriptors() {
        let entry = Entry::long64(0, 0, 0, 0);
        let gdt = entry.gdt_bytes();
        assert_eq!(gdt.len(), usize::from(entry.gdt.limit) + 1);
        let at = |selector: u16| {
            let start = usize::from(selector);
            u64::from_le_bytes(gdt[start..start + 8].try_into().unwrap())
        };
        assert_eq!(at(CODE_SELECTOR), descriptor(entry.segments[1]));
        assert_eq!(at(DATA_SELECTOR), descriptor(entry.segments[2]));
        assert_eq!(at(0), 0);
    }
}
