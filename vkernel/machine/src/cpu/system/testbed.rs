//! A small machine for the tests of this family: descriptor tables, a TSS, page tables and code in RAM.

use super::stack::set_stack_pointer;
use crate::cpu::core::Core;
use crate::cpu::exception::{Exception, Exec};
use crate::cpu::state::{CS, DS, DescriptorTable, ES, FS, GS, SS, Segment, Vcpu, cr0, cr4, efer, rflags};
use crate::engine::reference;
use crate::system::System;
use boundary::{Boot, BootProtocol, PowerOn, Rules, Topology};

/// Kernel code: 64-bit in long mode, 32-bit in protected mode.
pub const KERNEL_CODE: u16 = 0x08;
pub const KERNEL_DATA: u16 = 0x10;
/// 32-bit user code and data, laid out as SYSRET wants them, then 64-bit user code.
pub const USER_CODE32: u16 = 0x1b;
pub const USER_DATA: u16 = 0x23;
pub const USER_CODE64: u16 = 0x2b;
/// An available TSS (two slots).
pub const TASK: u16 = 0x30;
/// Free slots for a test's own descriptors.
pub const SPARE: u16 = 0x40;

pub const GDT: u64 = 0x1000;
pub const IDT: u64 = 0x2000;
pub const TSS: u64 = 0x3000;
pub const PML4: u64 = 0x4000;
/// Where code starts.
pub const CODE: u64 = 0x10_0000;
/// Top of the stack in use.
pub const STACK: u64 = 0x18_0000;
/// Top of the stack of CPL 0 in the TSS.
pub const INNER_STACK: u64 = 0x19_0000;
/// Handler of vector v: this plus 16 * v.
pub const HANDLERS: u64 = 0x11_0000;

/// A machine with one vCPU.
pub struct Testbed {
    pub cpu: Vcpu,
    pub sys: System,
}

fn power_on() -> PowerOn {
    let topology = Topology { vcpus: 2, thread_bits: 0, core_bits: 1 };
    PowerOn {
        model: 1,
        seed: 7,
        rtc_start_s: 0,
        ram_bytes: 4 << 20,
        topology,
        cpuid: super::cpuid::table(&topology),
        rules: Rules {
            quantum_counts: 1000,
            pauses_per_quantum: 10,
            pause_ns: 1,
            port_ns: 1,
            mmio_ns: 1,
            hlt_ns: 5,
            perturb: false,
        },
        acpi_hash: 0,
        boot: Boot { protocol: BootProtocol::Multiboot1, command_line: String::new(), images: vec![] },
    }
}

/// The eight bytes of a descriptor with a 4 GiB limit if `flags` (bits 12 to 15 of `access`) has G.
pub fn pack(base: u64, limit: u64, access: u16) -> u64 {
    limit & 0xffff
        | (base & 0xff_ffff) << 16
        | u64::from(access & 0xff) << 40
        | (limit >> 16 & 0xf) << 48
        | u64::from(access >> 12) << 52
        | (base >> 24 & 0xff) << 56
}

impl Testbed {
    /// Real mode, code at 0:0x1000 (linear [`CODE`] is out of reach), stack at 0x8000.
    pub fn real() -> Testbed {
        let mut cpu = Vcpu::new(0);
        cpu.segments = [Segment::real_mode(0); 6];
        cpu.segments[CS].access = 0x9b;
        cpu.rip = 0x1000;
        cpu.gpr[4] = 0x8000;
        cpu.idtr = DescriptorTable { base: 0, limit: 0x3ff };
        Testbed { cpu, sys: System::new(&power_on()) }
    }

    /// 32-bit protected mode at CPL 0, no paging.
    pub fn protected() -> Testbed {
        let mut bed = Testbed::real();
        bed.cpu.cr0 |= cr0::PE;
        bed.write_tables(0xc09b);
        bed.flat(0xc09b);
        bed
    }

    /// 64-bit mode at CPL 0, the first 4 MiB mapped to themselves for the user as well.
    pub fn long() -> Testbed {
        let mut bed = Testbed::protected();
        for (table, next) in [(PML4, PML4 + 0x1000), (PML4 + 0x1000, PML4 + 0x2000)] {
            bed.write(table, next | 7);
        }
        for large in 0..2 {
            bed.write(PML4 + 0x2000 + 8 * large, large << 21 | 0x87);
        }
        bed.cpu.cr4 |= cr4::PAE;
        bed.cpu.cr3 = PML4;
        bed.cpu.efer = efer::LME | efer::LMA | efer::SCE;
        bed.cpu.cr0 |= cr0::PG | cr0::WP;
        bed.write_tables(0xa09b);
        bed.flat(0xa09b);
        bed
    }

    fn write_tables(&mut self, kernel_code: u16) {
        let flat = |access| pack(0, 0xf_ffff, access);
        let entries = [
            0,
            flat(kernel_code),
            flat(0xc093),
            flat(0xc0fb),
            flat(0xc0f3),
            flat(0xa0fb),
            pack(TSS, 0xff, 0x89),
            0,
        ];
        for (index, entry) in entries.into_iter().enumerate() {
            self.write(GDT + 8 * index as u64, entry);
        }
        self.cpu.gdtr = DescriptorTable { base: GDT, limit: 0x7f };
        self.cpu.idtr = DescriptorTable { base: IDT, limit: 0xfff };
        self.cpu.tr = Segment { selector: TASK, access: 0x8b, limit: 0xff, base: TSS };
        let long = kernel_code & Segment::LONG != 0;
        for vector in 0..32 {
            self.gate(vector, 0x8e, KERNEL_CODE);
        }
        if long {
            self.write(TSS + 4, INNER_STACK);
        } else {
            self.write(TSS + 4, INNER_STACK | u64::from(KERNEL_DATA) << 32);
        }
    }

    fn flat(&mut self, code: u16) {
        let flat = Segment { selector: KERNEL_DATA, access: 0xc093, limit: 0xffff_ffff, base: 0 };
        for index in [ES, SS, DS, FS, GS] {
            self.cpu.segments[index] = flat;
        }
        self.cpu.segments[CS] = Segment { selector: KERNEL_CODE, access: code, ..flat };
        self.cpu.rip = CODE;
        self.cpu.gpr[4] = STACK;
        self.cpu.update_mode();
    }

    /// Puts the vCPU into user code: 64-bit or 32-bit as `code` says.
    pub fn user(mut self, code: u16) -> Testbed {
        self.cpu.cpl = 3;
        let access = if code == USER_CODE64 { 0xa0fb } else { 0xc0fb };
        let flat = Segment { selector: USER_DATA, access: 0xc0f3, limit: 0xffff_ffff, base: 0 };
        for index in [ES, SS, DS, FS, GS] {
            self.cpu.segments[index] = flat;
        }
        self.cpu.segments[CS] = Segment { selector: code, access, ..flat };
        self.cpu.update_mode();
        self
    }

    /// Writes the gate of `vector`: type and P/DPL in `access`.
    pub fn gate(&mut self, vector: u64, access: u64, selector: u16) {
        let handler = HANDLERS + 16 * vector;
        let low =
            handler & 0xffff | u64::from(selector) << 16 | access << 40 | (handler >> 16 & 0xffff) << 48;
        if self.cpu.is_long_mode() {
            self.write(IDT + 16 * vector, low);
            self.write(IDT + 16 * vector + 8, 0);
        } else {
            self.write(IDT + 8 * vector, low);
        }
    }

    /// Replaces a descriptor in the GDT.
    pub fn descriptor(&mut self, selector: u16, raw: u64) {
        self.write(GDT + u64::from(selector & !7), raw);
    }

    pub fn write(&mut self, paddr: u64, value: u64) {
        assert!(self.sys.mem.write(paddr, &value.to_le_bytes()));
    }

    pub fn read(&self, paddr: u64) -> u64 {
        let mut bytes = [0; 8];
        assert!(self.sys.mem.read(paddr, &mut bytes));
        u64::from_le_bytes(bytes)
    }

    /// Puts code at RIP.
    pub fn code(&mut self, bytes: &[u8]) {
        let at = self.cpu.segments[CS].base + self.cpu.rip;
        assert!(self.sys.mem.write(at, bytes));
    }

    /// Pushes nothing but moves the stack down and fills it: the first value is popped first.
    pub fn stack(&mut self, values: &[u64], size: u64) {
        let top = self.cpu.gpr[4] - size * values.len() as u64;
        for (index, value) in values.iter().enumerate() {
            let at = top + size * index as u64;
            assert!(self.sys.mem.write(at, &value.to_le_bytes()[..size as usize]));
        }
        set_stack_pointer(&mut self.cpu, top, 8);
    }

    pub fn core(&mut self) -> Core<'_> {
        Core { cpu: &mut self.cpu, sys: &mut self.sys }
    }

    /// Executes one instruction without delivering what it raises.
    pub fn execute(&mut self, bytes: &[u8]) -> Exec {
        self.code(bytes);
        let mut core = self.core();
        let instruction = core.fetch_instruction()?;
        core.execute(&instruction)?;
        core.cpu.rip = core.cpu.next_rip;
        Ok(())
    }

    /// Executes one instruction that must fail, and checks that it changed no register.
    pub fn fails(&mut self, bytes: &[u8]) -> Exception {
        let before = Vcpu { next_rip: 0, ..self.cpu.clone() };
        let raised = self.execute(bytes).expect_err("the instruction must raise an exception");
        assert_eq!(Vcpu { next_rip: 0, ..self.cpu.clone() }, before, "a fault changed registers");
        raised
    }

    /// One step of the reference engine.
    pub fn step(&mut self) {
        reference::step(&mut self.core());
    }

    /// The handler entered, if RIP is at the start of one.
    pub fn handler(&self) -> Option<u64> {
        let offset = self.cpu.rip.checked_sub(HANDLERS)?;
        (offset % 16 == 0).then_some(offset / 16)
    }

    pub fn set_flags(&mut self, flags: u64) {
        self.cpu.rflags = flags | rflags::FIXED;
        self.cpu.update_mode();
    }
}
