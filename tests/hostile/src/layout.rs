//! Where everything of a hostile guest lies: all below 1 MiB, so that real mode reaches its part, and mapped to itself.

/// The file is loaded here, header first.
pub const IMAGE: u64 = 0x1000;
/// Where the boot processor starts, in 32-bit protected mode.
pub const BOOT: u64 = 0x1040;
/// Top of the stack of real mode, between the start and the trampoline.
pub const REAL_STACK: u64 = 0x1f30;
/// Where an application processor starts in real mode: the page that the SIPI's vector names.
pub const TRAMPOLINE: u64 = 0x2000;
/// What application processors do in protected mode.
pub const APPLICATION: u64 = 0x2200;
/// 16-bit code on the way back to real mode.
pub const TO_REAL: u64 = 0x2800;
/// Pseudo-descriptors: of the GDT, then of the three interrupt tables.
pub const GDTR: u64 = 0x2c00;
/// Of the real-mode vectors, the 32-bit and the 64-bit IDT.
pub const IDTRS: [u64; 3] = [0x2c10, 0x2c20, 0x2c30];
/// Which block is next.
pub const COUNTER: u64 = 0x2d00;
/// Addresses of the blocks, for the 16-, 32- and 64-bit dispatcher.
pub const BLOCK_TABLES: [u64; 3] = [0x2e00, 0x2e40, 0x2ec0];
/// Vectors of real mode.
pub const VECTORS: u64 = 0x3000;
/// Code by bits: 16, 32, 64.
pub const CODE: [u64; 3] = [0x4000, 0x2_0000, 0x3_0000];
/// Bytes of code of each kind.
pub const CODE_BYTES: u64 = 0xc000;
/// Global descriptors.
pub const GDT: u64 = 0x1_0000;
/// 32-bit task state, another one to switch to, and the 64-bit one.
pub const TASKS: [u64; 3] = [0x1_0800, 0x1_0900, 0x1_0a00];
/// Local descriptors.
pub const LDT: u64 = 0x1_0c00;
/// 32-bit interrupt descriptors.
pub const IDT32: u64 = 0x1_1000;
/// 64-bit interrupt descriptors.
pub const IDT64: u64 = 0x1_2000;
/// Page tables of all modes, page by page as below.
pub const PAGE_TABLES: u64 = 0x1_4000;
/// 32-bit page directory, then its table of the first 4 MiB.
pub const DIRECTORY32: u64 = PAGE_TABLES;
/// PAE's four pointers.
pub const POINTERS_PAE: u64 = 0x1_6000;
/// Four directories of PAE and long mode, then the table of the first 2 MiB.
pub const DIRECTORIES: u64 = 0x1_7000;
/// Long mode's first level, then its pointers.
pub const PML4: u64 = 0x1_c000;
/// End of the page tables.
pub const PAGE_TABLES_END: u64 = 0x1_e000;
/// Stacks, one after the other.
pub const STACKS: u64 = 0x4_0000;
/// Bytes of each stack.
pub const STACK_BYTES: u64 = 0x2000;
/// Memory to play in.
pub const PLAYGROUND: u64 = 0x5_0000;
/// Its length in bytes.
pub const PLAYGROUND_BYTES: u64 = 0x1_0000;
/// End of the image.
pub const IMAGE_END: u64 = PLAYGROUND + PLAYGROUND_BYTES;
/// RAM of the machine.
pub const RAM_BYTES: u64 = 4 << 20;

/// Selectors: 32-bit code and data, 64-bit code, 16-bit code and data, the user's, task states, local table, gates.
pub mod selector {
    #![allow(missing_docs, reason = "the names say it")]
    pub const CODE32: u16 = 0x08;
    pub const DATA: u16 = 0x10;
    pub const CODE64: u16 = 0x18;
    pub const CODE16: u16 = 0x20;
    pub const DATA16: u16 = 0x28;
    pub const USER_CODE32: u16 = 0x33;
    pub const USER_DATA: u16 = 0x3b;
    pub const USER_CODE64: u16 = 0x43;
    pub const TASK32: u16 = 0x48;
    pub const LOCAL: u16 = 0x50;
    pub const TASK64: u16 = 0x58;
    pub const CALL_GATE: u16 = 0x68;
    pub const TASK_GATE: u16 = 0x70;
    pub const OTHER_TASK: u16 = 0x78;
}
