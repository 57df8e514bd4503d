//! The image of a guest before it becomes hostile: how its processors come to their mode, its tables, and what runs
//! after each fault: a dispatcher that takes a fresh stack and goes to the next block.

use crate::code::{Bits, Code, reg};
use crate::guest::{Healing, Mode};
use crate::layout::*;
use fuzz::random::Random;

/// Blocks of each width; the tables of addresses have room for so many.
pub const BLOCKS: u64 = 16;
const EOI: u64 = 0xfee0_00b0;
const TASK_BYTES: u64 = 0x67;

/// The bytes of the image.
#[derive(Debug)]
pub struct Image {
    bytes: Vec<u8>,
}

impl Image {
    /// An empty image.
    #[must_use]
    pub fn new() -> Image {
        Image { bytes: vec![0; (IMAGE_END - IMAGE) as usize] }
    }

    /// Writes at a physical address.
    pub fn put(&mut self, paddr: u64, bytes: &[u8]) {
        self.bytes[(paddr - IMAGE) as usize..][..bytes.len()].copy_from_slice(bytes);
    }

    fn put_u64(&mut self, paddr: u64, value: u64) {
        self.put(paddr, &value.to_le_bytes());
    }

    /// The file: a Multiboot kernel that says by itself where to load it.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        const MAGIC: u32 = 0x1bad_b002;
        const FLAGS: u32 = 1 << 16;
        let start = IMAGE as u32;
        let header = [MAGIC, FLAGS, 0u32.wrapping_sub(MAGIC + FLAGS), start, start, 0, 0, BOOT as u32];
        let header: Vec<u8> = header.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.put(IMAGE, &header);
        self.bytes
    }

    /// Descriptor tables, task states and page tables as an honest kernel would have them.
    pub fn put_tables(&mut self, healing: Healing, random: &mut Random) {
        self.put_descriptors();
        self.put_tasks();
        self.put_page_tables();
        for (bits, at) in Bits::ALL.into_iter().zip(IDTRS) {
            let (base, limit) = [(VECTORS, 0x3ff), (IDT32, 0x7ff), (IDT64, 0xfff)][bits.index()];
            self.put_pseudo_descriptor(at, base, limit);
        }
        self.put_pseudo_descriptor(GDTR, GDT, 0xff);
        let handlers = Bits::ALL.map(|bits| self.put_dispatcher(bits, healing, random));
        self.put_interrupt_tables(&handlers, random);
    }

    fn put_pseudo_descriptor(&mut self, at: u64, base: u64, limit: u16) {
        self.put(at, &limit.to_le_bytes());
        self.put(at + 2, &base.to_le_bytes());
    }

    fn put_descriptors(&mut self) {
        let flat = |access: u64| 0xffff | (access & 0xff) << 40 | 0xf << 48 | (access >> 12) << 52;
        let system = |base: u64, limit: u64, kind: u64| limit | (base & 0xff_ffff) << 16 | kind << 40;
        let entries = [
            (selector::CODE32, flat(0xc09b)),
            (selector::DATA, flat(0xc093)),
            (selector::CODE64, flat(0xa09b)),
            (selector::CODE16, 0xffff | 0x9b << 40),
            (selector::DATA16, 0xffff | 0x93 << 40),
            (selector::USER_CODE32, flat(0xc0fb)),
            (selector::USER_DATA, flat(0xc0f3)),
            (selector::USER_CODE64, flat(0xa0fb)),
            (selector::TASK32, system(TASKS[0], TASK_BYTES, 0x89)),
            (selector::LOCAL, system(LDT, 0x3f, 0x82)),
            (selector::TASK64, system(TASKS[2], TASK_BYTES, 0x89)),
            (selector::OTHER_TASK, system(TASKS[1], TASK_BYTES, 0xe9)),
        ];
        for (selector, descriptor) in entries {
            self.put_u64(GDT + u64::from(selector & !7), descriptor);
        }
        let gate = |selector: u16, target: u64, kind: u64| {
            target & 0xffff | u64::from(selector) << 16 | kind << 40 | (target >> 16 & 0xffff) << 48
        };
        let block = CODE[Bits::B32.index()];
        self.put_u64(GDT + u64::from(selector::CALL_GATE), gate(selector::CODE32, block, 0xec));
        self.put_u64(GDT + u64::from(selector::TASK_GATE), gate(selector::OTHER_TASK, 0, 0xe5));
        for slot in 0..8 {
            self.put_u64(LDT + 8 * slot, flat([0xc0f3, 0xc0fb, 0x80f1, 0xc09f][slot as usize % 4]));
        }
    }

    fn put_tasks(&mut self) {
        for task in &TASKS[..2] {
            let stack = STACKS + STACK_BYTES;
            self.put(task + 4, &(stack as u32).to_le_bytes());
            self.put(task + 8, &u32::from(selector::DATA).to_le_bytes());
            let registers = [
                (0x1c, DIRECTORY32),
                (0x20, CODE[Bits::B32.index()]),
                (0x24, 2),
                (0x38, stack),
                (0x48, u64::from(selector::DATA)),
                (0x4c, u64::from(selector::CODE32)),
                (0x50, u64::from(selector::DATA)),
                (0x54, u64::from(selector::DATA)),
                (0x64, 0x68 << 16),
            ];
            for (offset, value) in registers {
                self.put(task + offset, &(value as u32).to_le_bytes());
            }
        }
        for stack in (0..3).chain(4..11) {
            self.put_u64(TASKS[2] + 4 + 8 * stack, STACKS + STACK_BYTES);
        }
    }

    /// Everything mapped to itself, the first MiBs by small pages, for everybody.
    fn put_page_tables(&mut self) {
        const SMALL: u64 = 7;
        const LARGE: u64 = 0x87;
        for index in 0..1024u64 {
            let large = (index << 22 | LARGE) as u32;
            self.put(DIRECTORY32 + 4 * index, &large.to_le_bytes());
            let small = (index << 12 | SMALL) as u32;
            self.put(DIRECTORY32 + 0x1000 + 4 * index, &small.to_le_bytes());
        }
        self.put(DIRECTORY32, &((DIRECTORY32 + 0x1000) as u32 | 7).to_le_bytes());
        let table = DIRECTORIES + 0x4000;
        for index in 0..2048 {
            self.put_u64(DIRECTORIES + 8 * index, index << 21 | LARGE);
        }
        self.put_u64(DIRECTORIES, table | SMALL);
        for index in 0..512 {
            self.put_u64(table + 8 * index, index << 12 | SMALL);
        }
        for index in 0..4 {
            self.put_u64(POINTERS_PAE + 8 * index, (DIRECTORIES + 0x1000 * index) | 1);
            self.put_u64(PML4 + 0x1000 + 8 * index, (DIRECTORIES + 0x1000 * index) | SMALL);
        }
        self.put_u64(PML4, (PML4 + 0x1000) | SMALL);
    }

    /// The dispatcher of one width at the end of its code, then its handler of interrupts; gives both addresses.
    fn put_dispatcher(&mut self, bits: Bits, healing: Healing, random: &mut Random) -> (u64, u64) {
        let at = dispatcher(bits);
        let mut code = Code::new(bits, at, random);
        match bits {
            Bits::B16 => {
                code.set(reg::AX, 0);
                for segment in [0, 2, 3] {
                    code.raw(&[0x8e, 0xc0 | segment << 3]);
                }
            }
            _ => (0..4).filter(|&segment| segment != 1).for_each(|segment| {
                code.load_segment(segment, selector::DATA);
            }),
        }
        if healing != Healing::None && bits != Bits::B16 {
            heal(&mut code, healing);
        }
        take_stack(&mut code);
        // Which block: lock xadd [COUNTER], eax; and eax, BLOCKS - 1.
        code.set(reg::AX, 1);
        code.set(reg::BX, COUNTER);
        code.raw(&[0xf0]);
        code.wide(&[0x0f, 0xc1, 0x03]);
        code.wide(&[0x83, 0xe0, BLOCKS as u8 - 1]);
        // jmp [table + eax * width]
        code.set(reg::BX, BLOCK_TABLES[bits.index()]);
        match bits {
            Bits::B16 => code.raw(&[0x67, 0xff, 0x24, 0x83]),
            Bits::B32 => code.raw(&[0xff, 0x24, 0x83]),
            Bits::B64 => code.raw(&[0xff, 0x24, 0xc3]),
        }
        let interrupt = code.here();
        acknowledge_and_return(&mut code);
        assert!(code.bytes.len() < DISPATCHER_BYTES as usize, "the dispatcher has room");
        let bytes = code.bytes;
        self.put(at, &bytes);
        (at, interrupt)
    }

    /// Faults go to the dispatcher, interrupts mostly return.
    fn put_interrupt_tables(&mut self, handlers: &[(u64, u64); 3], random: &mut Random) {
        for vector in 0..256 {
            let of = |bits: Bits, random: &mut Random| {
                let (dispatcher, interrupt) = handlers[bits.index()];
                if vector >= 32 && random.chance(80) { interrupt } else { dispatcher }
            };
            let target = of(Bits::B16, random);
            self.put(VECTORS + 4 * vector, &(target as u32).to_le_bytes());
            let access = random.pick(&[0x8e00, 0x8e00, 0xee00, 0x8f00]);
            let gate = |target: u64, selector: u16| {
                target & 0xffff | u64::from(selector) << 16 | access << 32 | (target >> 16) << 48
            };
            let target = of(Bits::B32, random);
            self.put_u64(IDT32 + 8 * vector, gate(target, selector::CODE32));
            let target = of(Bits::B64, random);
            let ist = if random.chance(10) { random.below(8) << 32 } else { 0 };
            self.put_u64(IDT64 + 16 * vector, gate(target, selector::CODE64) | ist);
        }
    }

    /// How the boot processor comes to `mode`, having started the others, which come to `others`.
    pub fn put_start(&mut self, mode: Mode, others: Option<Mode>, random: &mut Random) {
        let mut boot = Code::new(Bits::B32, BOOT, random);
        load_flat_segments(&mut boot);
        if others.is_some() {
            for (register, value) in [(0xf0, 0x1ff), (0x300, 0xc_4500), (0x300, 0xc_4602)] {
                boot.store(0xfee0_0000 + register, value);
            }
        }
        switch(&mut boot, mode);
        let bytes = boot.bytes;
        assert!(bytes.len() < (TRAMPOLINE - BOOT) as usize, "the start has room");
        self.put(BOOT, &bytes);
        let mut trampoline = Code::new(Bits::B16, TRAMPOLINE, random);
        // cli; xor ax, ax; mov ds, ax; lgdt [GDTR]; set PE; far to 32-bit code.
        trampoline.raw(&[0xfa, 0x31, 0xc0, 0x8e, 0xd8, 0x0f, 0x01, 0x16]);
        trampoline.raw(&(GDTR as u16).to_le_bytes());
        trampoline.set_control_bits(0, 1);
        trampoline.far(0xea, selector::CODE32, APPLICATION);
        let bytes = trampoline.bytes;
        self.put(TRAMPOLINE, &bytes);
        let mut application = Code::new(Bits::B32, APPLICATION, random);
        load_flat_segments(&mut application);
        switch(&mut application, others.unwrap_or(mode));
        let bytes = application.bytes;
        self.put(APPLICATION, &bytes);
        self.put_return_to_real_mode(random);
    }

    fn put_return_to_real_mode(&mut self, random: &mut Random) {
        let mut code = Code::new(Bits::B16, TO_REAL, random);
        // mov eax, cr0; and al, FEH; mov cr0, eax; far to segment 0; lidt [IDTRS[0]]
        code.raw(&[0x0f, 0x20, 0xc0, 0x24, 0xfe, 0x0f, 0x22, 0xc0]);
        let next = code.here() + 5;
        code.far(0xea, 0, next);
        code.raw(&[0x31, 0xc0, 0x8e, 0xd8, 0x0f, 0x01, 0x1e]);
        code.raw(&(IDTRS[0] as u16).to_le_bytes());
        code.jump(dispatcher(Bits::B16));
        let bytes = code.bytes;
        self.put(TO_REAL, &bytes);
    }
}

impl Default for Image {
    fn default() -> Image {
        Image::new()
    }
}

/// Room for a dispatcher, behind the blocks.
const DISPATCHER_BYTES: u64 = 0x200;

/// Where the dispatcher of one width is.
#[must_use]
pub fn dispatcher(bits: Bits) -> u64 {
    CODE[bits.index()] + CODE_BYTES - DISPATCHER_BYTES
}

/// Room for one block of code.
pub const BLOCK_BYTES: u64 = (CODE_BYTES - DISPATCHER_BYTES) / BLOCKS;

fn load_flat_segments(code: &mut Code<'_>) {
    code.raw(&[0x0f, 0x01, 0x15]);
    code.raw(&(GDTR as u32).to_le_bytes());
    let next = code.here() + 7;
    code.far(0xea, selector::CODE32, next);
    code.set(reg::AX, u64::from(selector::DATA));
    for segment in [0, 2, 3, 4, 5] {
        code.raw(&[0x8e, 0xc0 | segment << 3]);
    }
}

/// From 32-bit protected mode to `mode`, and to its dispatcher.
fn switch(code: &mut Code<'_>, mode: Mode) {
    const PG_WP: u32 = 0x8001_0000;
    let lidt = |code: &mut Code<'_>, bits: Bits| {
        code.raw(&[0x0f, 0x01, 0x1d]);
        code.raw(&(IDTRS[bits.index()] as u32).to_le_bytes());
    };
    let load_cr3 = |code: &mut Code<'_>, table: u64| {
        code.set(reg::AX, table);
        code.raw(&[0x0f, 0x22, 0xd8]);
    };
    code.set_control_bits(4, 0x600);
    match mode {
        Mode::Real => return code.far(0xea, selector::CODE16, TO_REAL),
        Mode::Protected => lidt(code, Bits::B32),
        Mode::Paged => {
            lidt(code, Bits::B32);
            code.set_control_bits(4, 0x10);
            load_cr3(code, DIRECTORY32);
            code.set_control_bits(0, PG_WP);
        }
        Mode::Pae => {
            lidt(code, Bits::B32);
            code.write_msr(0xc000_0080, 0x800);
            code.set_control_bits(4, 0x20);
            load_cr3(code, POINTERS_PAE);
            code.set_control_bits(0, PG_WP);
        }
        Mode::Long => {
            lidt(code, Bits::B64);
            code.set_control_bits(4, 0x20);
            load_cr3(code, PML4);
            code.write_msr(0xc000_0080, 0x901);
            code.set_control_bits(0, PG_WP);
            return code.far(0xea, selector::CODE64, dispatcher(Bits::B64));
        }
    }
    code.set(reg::AX, u64::from(selector::TASK32));
    // ltr ax; another processor may have been here: then #GP, and on.
    code.raw(&[0x0f, 0x00, 0xd8]);
    code.jump(dispatcher(Bits::B32));
}

/// A stack for each processor, by its APIC id.
fn take_stack(code: &mut Code<'_>) {
    if code.bits == Bits::B16 {
        // Segment 0 reaches 64 KiB: what lies below the blocks.
        return code.set(reg::SP, REAL_STACK);
    }
    code.set(reg::AX, 1);
    // cpuid; shr ebx, 24; and ebx, 3; inc ebx; shl ebx, 13
    code.raw(&[0x0f, 0xa2, 0xc1, 0xeb, 24, 0x83, 0xe3, 3, 0xff, 0xc3, 0xc1, 0xe3, 13]);
    // lea esp, [ebx + STACKS]
    code.raw(&[0x8d, 0xa3]);
    code.raw(&(STACKS as u32).to_le_bytes());
}

/// Loads the descriptor tables again, and with [`Healing::Pages`] CR3.
fn heal(code: &mut Code<'_>, healing: Healing) {
    for (extension, at) in [(2, GDTR), (3, IDTRS[code.bits.index()])] {
        code.set(reg::BX, at);
        code.raw(&[0x0f, 0x01, extension << 3 | 3]);
    }
    if healing == Healing::Pages {
        code.raw(&[0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8]);
    }
}

fn acknowledge_and_return(code: &mut Code<'_>) {
    match code.bits {
        Bits::B16 => code.raw(&[0x50, 0xb0, 0x20, 0xe6, 0x20, 0xe6, 0xa0, 0x58, 0xcf]),
        Bits::B32 => {
            code.raw(&[0x50, 0x53]);
            code.store(EOI, 0);
            code.raw(&[0xb0, 0x20, 0xe6, 0x20, 0x5b, 0x58, 0xcf]);
        }
        Bits::B64 => {
            code.raw(&[0x50, 0x53]);
            code.store(EOI, 0);
            code.raw(&[0xb0, 0x20, 0xe6, 0x20, 0x5b, 0x58, 0x48, 0xcf]);
        }
    }
}
