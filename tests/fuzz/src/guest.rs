//! The machine's side of a case: one vCPU in 64-bit mode at CPL 3, with the code and data at the addresses
//! they have on the host, executing on one engine.
//!
//! Exceptions are really delivered: each vector has a handler at an address of its own, and what the
//! processor pushed for it is read back.

use crate::native::READ_ONLY_BYTE;
use crate::state::{CODE, DATA, DATA_BYTES, Data, FLAGS, Fx, INSTRUCTION, Outcome, READ_ONLY, State, TARGET};
use boundary::{Boot, BootProtocol, PowerOn, Rules, Topology};
use machine::cpu::state::{CS, DescriptorTable, SS, Segment, Vcpu, cr0, cr4, efer};
use machine::engine::{self, Engine, EngineKind};
use machine::system::System;

const RAM_BYTES: u64 = 1 << 20;
const PAGE: u64 = 4096;

// Physical addresses.
const PML4: u64 = 0x1000;
const LOW_POINTERS: u64 = 0x2000;
const LOW_DIRECTORY: u64 = 0x3000;
const CODE_TABLE: u64 = 0x4000;
const DATA_TABLE: u64 = 0x5000;
const KERNEL_POINTERS: u64 = 0x6000;
const KERNEL_DIRECTORY: u64 = 0x7000;
const KERNEL_TABLE: u64 = 0x8000;
const CODE_FRAME: u64 = 0x10000;
/// The data pages lie the other way round, so that what crosses from one to the other has to notice.
const DATA_FRAMES: [u64; DATA_BYTES / PAGE as usize] = [0x13000, 0x12000];
const READ_ONLY_FRAME: u64 = 0x15000;
const DESCRIPTORS_FRAME: u64 = 0x20000;
const HANDLERS_FRAME: u64 = 0x21000;
const STACK_FRAME: u64 = 0x22000;

/// Linear address of the kernel's pages: descriptors, handlers, stack.
const KERNEL: u64 = 0xffff_9000_0000_0000;
const HANDLERS: u64 = KERNEL + PAGE;
const STACK_TOP: u64 = KERNEL + 3 * PAGE;
const GDT: u64 = 0;
const TSS: u64 = 0x100;
const IDT: u64 = 0x200;
const HANDLER_BYTES: u64 = 16;

const KERNEL_CS: u16 = 0x10;
/// The selectors of a process under Linux, as instructions that read them show them.
const USER_CS: u16 = 0x33;
const USER_SS: u16 = 0x2b;

/// `jmp` to itself: where execution ends, it stays.
const HERE: [u8; 2] = [0xeb, 0xfe];
/// Iterations that a repeated instruction may take, far more than the data has bytes.
const MAX_COUNTS: u64 = 4 * DATA_BYTES as u64;

/// One vCPU, its system and the engine it executes on.
#[derive(Debug)]
pub struct Guest {
    /// The vCPU.
    pub cpu: Vcpu,
    /// Its system.
    pub sys: System,
    engine: Box<dyn Engine>,
    initial: Vcpu,
    length: u64,
    repeats: bool,
}

impl Guest {
    /// A guest on the engine `kind`.
    #[must_use]
    pub fn new(kind: EngineKind) -> Guest {
        let cpu = user_vcpu();
        let mut sys = System::new(&power_on());
        map_pages(&mut sys);
        set_up_kernel(&mut sys);
        poke(&mut sys, CODE_FRAME, &HERE.repeat(PAGE as usize / 2));
        Guest { initial: cpu.clone(), cpu, sys, engine: engine::build(kind), length: 0, repeats: false }
    }

    /// Puts the instruction under test in its place. `repeats` says that it counts more than 1.
    pub fn set_instruction(&mut self, bytes: &[u8], repeats: bool) {
        let mut code = [0; 32];
        code[..bytes.len()].copy_from_slice(bytes);
        for (index, byte) in code[bytes.len()..].iter_mut().enumerate() {
            *byte = HERE[index % 2];
        }
        self.put_code(INSTRUCTION, &code);
        self.length = bytes.len() as u64;
        self.repeats = repeats;
    }

    /// Writes code as a store of the guest would.
    pub fn put_code(&mut self, vaddr: u64, bytes: &[u8]) {
        for (index, piece) in bytes.chunks(16).enumerate() {
            self.sys.store_phys(0, CODE_FRAME + (vaddr - CODE) + 16 * index as u64, piece);
        }
    }

    /// Replaces the data.
    pub fn set_data(&mut self, data: &Data) {
        for (frame, page) in DATA_FRAMES.iter().zip(data.chunks(PAGE as usize)) {
            self.sys.mem.ram_mut()[*frame as usize..][..PAGE as usize].copy_from_slice(page);
        }
    }

    /// The data, page by page.
    pub fn data_pages(&self) -> impl Iterator<Item = &[u8]> {
        DATA_FRAMES.iter().map(|frame| &self.sys.mem.ram()[*frame as usize..][..PAGE as usize])
    }

    /// The page of code.
    #[must_use]
    pub fn code_page(&self) -> &[u8] {
        &self.sys.mem.ram()[CODE_FRAME as usize..][..PAGE as usize]
    }

    /// Sets the registers, everything else as at the beginning.
    pub fn load(&mut self, state: &State) {
        self.cpu.clone_from(&self.initial);
        self.cpu.gpr = state.gpr;
        self.cpu.rflags = state.rflags & FLAGS | 0x202;
        self.cpu.rip = INSTRUCTION;
        load_fx(&mut self.cpu, &state.fx);
    }

    /// Executes for `counts`, whatever makes the engine return in between.
    pub fn advance(&mut self, counts: u64) {
        let end = self.sys.icount + counts;
        while self.sys.icount < end {
            self.sys.leave = Default::default();
            let left = end - self.sys.icount;
            self.engine.run(&mut self.cpu, &mut self.sys, left);
        }
    }

    /// Executes the instruction on `state`, and changes it to what was left.
    pub fn run(&mut self, state: &mut State) -> Outcome {
        self.load(state);
        let mut counts = if self.repeats { (state.gpr[1] & 0xffff_ffff).clamp(1, 600) } else { 1 };
        let start = self.sys.icount;
        loop {
            self.advance(counts);
            counts = 1;
            if self.cpu.rip != INSTRUCTION || self.sys.icount - start > MAX_COUNTS {
                break;
            }
        }
        let behind = INSTRUCTION + self.length;
        if ![behind, TARGET].contains(&self.cpu.rip) && self.frame().is_none() {
            // It went where there is no code: the exception of that belongs to the case.
            self.advance(1);
        }
        let outcome = self.outcome();
        state.gpr = self.cpu.gpr;
        state.rflags = self.cpu.rflags & FLAGS;
        if let Some(frame) = self.frame() {
            state.gpr[4] = frame.rsp;
            state.rflags = frame.rflags & FLAGS;
        }
        state.fx = store_fx(&self.cpu);
        outcome
    }

    fn outcome(&self) -> Outcome {
        match self.frame() {
            Some(frame) => Outcome::Fault {
                vector: frame.vector,
                error_code: frame.error_code,
                rip: frame.rip,
                vaddr: if frame.vector == 14 { self.cpu.cr2 } else { 0 },
            },
            None if self.cpu.rip == TARGET => Outcome::Taken,
            None => Outcome::Next,
        }
    }

    /// What the processor pushed, if it is in a handler.
    fn frame(&self) -> Option<Frame> {
        let handler = self.cpu.rip.wrapping_sub(HANDLERS);
        if handler >= 32 * HANDLER_BYTES {
            return None;
        }
        let vector = (handler / HANDLER_BYTES) as u8;
        let has_code = matches!(vector, 8 | 10..=14 | 17);
        let at = (STACK_FRAME + PAGE - (STACK_TOP - self.cpu.gpr[4])) as usize;
        let slot = |index: usize| {
            let bytes = &self.sys.mem.ram()[at + 8 * (index + usize::from(has_code))..][..8];
            u64::from_le_bytes(bytes.try_into().expect("eight bytes"))
        };
        let error_code =
            if has_code { self.sys.mem.ram()[at..at + 4].try_into().expect("four") } else { [0; 4] };
        Some(Frame {
            vector,
            error_code: u32::from_le_bytes(error_code),
            rip: slot(0),
            rflags: slot(2),
            rsp: slot(3),
        })
    }
}

/// What the processor pushes for an exception.
struct Frame {
    vector: u8,
    error_code: u32,
    rip: u64,
    rflags: u64,
    rsp: u64,
}

fn load_fx(cpu: &mut Vcpu, fx: &Fx) {
    cpu.mxcsr = fx.mxcsr();
    cpu.xmm = std::array::from_fn(|index| fx.xmm(index));
    cpu.x87.control = fx.control();
    cpu.x87.status = fx.status();
    cpu.x87.valid = fx.valid();
    let top = usize::from(fx.status() >> 11 & 7);
    for index in 0..8 {
        cpu.x87.registers[(top + index) & 7] = fx.st(index);
    }
}

fn store_fx(cpu: &Vcpu) -> Fx {
    let mut fx = Fx([0; 512]);
    fx.set_mxcsr(cpu.mxcsr);
    for (index, register) in cpu.xmm.iter().enumerate() {
        fx.set_xmm(index, *register);
    }
    fx.set_control(cpu.x87.control);
    fx.set_status(cpu.x87.status);
    fx.set_valid(cpu.x87.valid);
    let top = usize::from(cpu.x87.status >> 11 & 7);
    for index in 0..8 {
        fx.set_st(index, cpu.x87.registers[(top + index) & 7]);
    }
    fx
}

fn user_vcpu() -> Vcpu {
    let mut cpu = Vcpu::new(0);
    cpu.cr0 = cr0::PE | cr0::PG | cr0::WP | cr0::AM | cr0::NE | cr0::MP | cr0::ET;
    cpu.cr3 = PML4;
    cpu.cr4 = cr4::PAE | cr4::OSFXSR | cr4::OSXMMEXCPT;
    cpu.efer = efer::SCE | efer::LME | efer::LMA | efer::NXE;
    cpu.cpl = 3;
    cpu.segments = [Segment::default(); 6];
    cpu.segments[CS] = Segment { selector: USER_CS, access: 0xa0fb, limit: 0xffff_ffff, base: 0 };
    cpu.segments[SS] = Segment { selector: USER_SS, access: 0xc0f3, limit: 0xffff_ffff, base: 0 };
    cpu.gdtr = DescriptorTable { base: KERNEL + GDT, limit: 0xff };
    cpu.idtr = DescriptorTable { base: KERNEL + IDT, limit: 32 * 16 - 1 };
    cpu.tr = Segment { selector: 0x40, access: 0x8b, limit: 0x67, base: KERNEL + TSS };
    cpu.update_mode();
    cpu
}

fn poke(sys: &mut System, paddr: u64, bytes: &[u8]) {
    assert!(sys.mem.write(paddr, bytes), "the guest's RAM holds {paddr:#x}");
}

fn map_pages(sys: &mut System) {
    const USER: u64 = 7;
    const SUPERVISOR: u64 = 3;
    let mut entry = |table: u64, index: u64, value: u64| poke(sys, table + 8 * index, &value.to_le_bytes());
    entry(PML4, 0, LOW_POINTERS | USER);
    entry(LOW_POINTERS, 0, LOW_DIRECTORY | USER);
    entry(LOW_DIRECTORY, CODE >> 21, CODE_TABLE | USER);
    entry(CODE_TABLE, 0, CODE_FRAME | USER);
    entry(LOW_DIRECTORY, DATA >> 21, DATA_TABLE | USER);
    for (index, frame) in DATA_FRAMES.iter().enumerate() {
        entry(DATA_TABLE, index as u64, frame | USER);
    }
    entry(DATA_TABLE, (READ_ONLY - DATA) / PAGE, READ_ONLY_FRAME | 5);
    entry(PML4, KERNEL >> 39 & 511, KERNEL_POINTERS | SUPERVISOR);
    entry(KERNEL_POINTERS, KERNEL >> 30 & 511, KERNEL_DIRECTORY | SUPERVISOR);
    entry(KERNEL_DIRECTORY, KERNEL >> 21 & 511, KERNEL_TABLE | SUPERVISOR);
    for (index, frame) in [DESCRIPTORS_FRAME, HANDLERS_FRAME, STACK_FRAME].iter().enumerate() {
        entry(KERNEL_TABLE, index as u64, frame | SUPERVISOR);
    }
    poke(sys, READ_ONLY_FRAME, &[READ_ONLY_BYTE; PAGE as usize]);
    for frame in DATA_FRAMES.into_iter().chain([STACK_FRAME]) {
        poke(sys, frame, &[0; PAGE as usize]);
    }
}

/// Descriptor tables, a task state segment with the stack, and a handler for each vector.
fn set_up_kernel(sys: &mut System) {
    poke(sys, DESCRIPTORS_FRAME + GDT + u64::from(KERNEL_CS), &0x00af_9b00_0000_ffff_u64.to_le_bytes());
    poke(sys, DESCRIPTORS_FRAME + TSS + 4, &STACK_TOP.to_le_bytes());
    for vector in 0..32 {
        let handler = HANDLERS + vector * HANDLER_BYTES;
        let low =
            handler & 0xffff | u64::from(KERNEL_CS) << 16 | 0x8e00 << 32 | (handler >> 16 & 0xffff) << 48;
        // INT3 and INTO may be executed by users.
        let low = if matches!(vector, 3 | 4) { low | 0x6000 << 32 } else { low };
        poke(sys, DESCRIPTORS_FRAME + IDT + 16 * vector, &low.to_le_bytes());
        poke(sys, DESCRIPTORS_FRAME + IDT + 16 * vector + 8, &(handler >> 32).to_le_bytes());
        poke(sys, HANDLERS_FRAME + vector * HANDLER_BYTES, &HERE);
    }
}

fn power_on() -> PowerOn {
    PowerOn {
        model: machine::MODEL,
        seed: 0,
        rtc_start_s: 0,
        ram_bytes: RAM_BYTES,
        topology: Topology { vcpus: 1, thread_bits: 0, core_bits: 0 },
        cpuid: Vec::new(),
        rules: Rules {
            quantum_counts: 10_000,
            pauses_per_quantum: 1,
            pause_ns: 0,
            port_ns: 0,
            mmio_ns: 0,
            hlt_ns: 0,
            perturb: false,
        },
        acpi_hash: 0,
        boot: Boot { protocol: BootProtocol::Multiboot1, command_line: String::new(), images: Vec::new() },
    }
}
