//! The architectural state of one vCPU (Intel SDM vol. 1 ch. 3, vol. 3 ch. 2).
//!
//! Only what a guest can observe, plus the interrupt shadow and the activity state. No caches: translations
//! and decoded code belong to the engines, and `mode` is derived from CR0, EFER, RFLAGS and CS by
//! [`Vcpu::update_mode`].

use crate::{persist, persist_enum};

/// Index of a general register, in encoding order.
pub const RAX: usize = 0;
/// See [`RAX`].
pub const RCX: usize = 1;
/// See [`RAX`].
pub const RDX: usize = 2;
/// See [`RAX`].
pub const RBX: usize = 3;
/// See [`RAX`].
pub const RSP: usize = 4;
/// See [`RAX`].
pub const RBP: usize = 5;
/// See [`RAX`].
pub const RSI: usize = 6;
/// See [`RAX`].
pub const RDI: usize = 7;

/// Index of a segment register, in encoding order.
pub const ES: usize = 0;
/// See [`ES`].
pub const CS: usize = 1;
/// See [`ES`].
pub const SS: usize = 2;
/// See [`ES`].
pub const DS: usize = 3;
/// See [`ES`].
pub const FS: usize = 4;
/// See [`ES`].
pub const GS: usize = 5;

/// CR0 bits.
pub mod cr0 {
    #![allow(missing_docs, reason = "the names are the SDM's")]
    pub const PE: u64 = 1;
    pub const MP: u64 = 1 << 1;
    pub const EM: u64 = 1 << 2;
    pub const TS: u64 = 1 << 3;
    pub const ET: u64 = 1 << 4;
    pub const NE: u64 = 1 << 5;
    pub const WP: u64 = 1 << 16;
    pub const AM: u64 = 1 << 18;
    pub const NW: u64 = 1 << 29;
    pub const CD: u64 = 1 << 30;
    pub const PG: u64 = 1 << 31;
}

/// CR4 bits.
pub mod cr4 {
    #![allow(missing_docs, reason = "the names are the SDM's")]
    pub const VME: u64 = 1;
    pub const PVI: u64 = 1 << 1;
    pub const TSD: u64 = 1 << 2;
    pub const DE: u64 = 1 << 3;
    pub const PSE: u64 = 1 << 4;
    pub const PAE: u64 = 1 << 5;
    pub const MCE: u64 = 1 << 6;
    pub const PGE: u64 = 1 << 7;
    pub const PCE: u64 = 1 << 8;
    pub const OSFXSR: u64 = 1 << 9;
    pub const OSXMMEXCPT: u64 = 1 << 10;
    pub const FSGSBASE: u64 = 1 << 16;
    pub const SMEP: u64 = 1 << 20;
    pub const SMAP: u64 = 1 << 21;
}

/// EFER bits.
pub mod efer {
    #![allow(missing_docs, reason = "the names are the SDM's")]
    pub const SCE: u64 = 1;
    pub const LME: u64 = 1 << 8;
    pub const LMA: u64 = 1 << 10;
    pub const NXE: u64 = 1 << 11;
}

/// RFLAGS bits.
pub mod rflags {
    #![allow(missing_docs, reason = "the names are the SDM's")]
    pub const CF: u64 = 1;
    pub const FIXED: u64 = 1 << 1;
    pub const PF: u64 = 1 << 2;
    pub const AF: u64 = 1 << 4;
    pub const ZF: u64 = 1 << 6;
    pub const SF: u64 = 1 << 7;
    pub const TF: u64 = 1 << 8;
    pub const IF: u64 = 1 << 9;
    pub const DF: u64 = 1 << 10;
    pub const OF: u64 = 1 << 11;
    pub const IOPL: u64 = 3 << 12;
    pub const NT: u64 = 1 << 14;
    pub const RF: u64 = 1 << 16;
    pub const VM: u64 = 1 << 17;
    pub const AC: u64 = 1 << 18;
    pub const VIF: u64 = 1 << 19;
    pub const VIP: u64 = 1 << 20;
    pub const ID: u64 = 1 << 21;
    /// The six status flags.
    pub const STATUS: u64 = CF | PF | AF | ZF | SF | OF;
}

/// A segment register with its hidden part. `access` holds the descriptor's type, S, DPL and P in bits 0 to
/// 7 and AVL, L, D/B, G in bits 12 to 15, as the high dword of a descriptor has them in 8 to 15 and 20 to 23.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// The visible part.
    pub selector: u16,
    /// Descriptor attributes, see the type's description. 0 marks an unusable (null) segment.
    pub access: u16,
    /// Limit in bytes, already scaled by G.
    pub limit: u32,
    /// Base address.
    pub base: u64,
}
persist!(Segment { selector, access, limit, base });

impl Segment {
    /// Descriptor present.
    pub const PRESENT: u16 = 1 << 7;
    /// Code or data (not system).
    pub const CODE_OR_DATA: u16 = 1 << 4;
    /// 64-bit code.
    pub const LONG: u16 = 1 << 13;
    /// D/B: 32-bit default size, big stack.
    pub const BIG: u16 = 1 << 14;
    /// Limit counts pages.
    pub const GRANULAR: u16 = 1 << 15;

    /// A real-mode segment: base is 16 times the selector, 64 KiB, writable data (or code) at DPL 0.
    #[must_use]
    pub fn real_mode(selector: u16) -> Segment {
        Segment { selector, access: 0x93, limit: 0xffff, base: u64::from(selector) << 4 }
    }

    /// Descriptor privilege level.
    #[must_use]
    pub fn dpl(&self) -> u8 {
        (self.access >> 5) as u8 & 3
    }

    /// Loaded with a null selector, or never loaded.
    #[must_use]
    pub fn is_unusable(&self) -> bool {
        self.access & Segment::PRESENT == 0
    }

    /// A code segment.
    #[must_use]
    pub fn is_code(&self) -> bool {
        self.access & 0x18 == 0x18
    }

    /// A data segment that can be written.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.access & 0x1a == 0x12
    }

    /// A data segment, or a readable code segment.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        self.access & 0x18 == 0x10 || self.access & 0x1a == 0x1a
    }

    /// An expand-down data segment.
    #[must_use]
    pub fn is_expand_down(&self) -> bool {
        self.access & 0x1c == 0x14
    }
}

/// GDTR or IDTR.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DescriptorTable {
    /// Linear base address.
    pub base: u64,
    /// Limit in bytes.
    pub limit: u16,
}
persist!(DescriptorTable { base, limit });

/// How the processor interprets code and addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Real-address mode.
    #[default]
    Real,
    /// Protected mode, 16-bit or 32-bit as CS says.
    Protected,
    /// Virtual-8086 mode.
    Virtual8086,
    /// Long mode running 16-bit or 32-bit code.
    Compatibility,
    /// 64-bit mode.
    Long64,
}
persist_enum!(Mode { Real, Protected, Virtual8086, Compatibility, Long64 });

/// Whether a vCPU executes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activity {
    /// Executes instructions.
    #[default]
    Running,
    /// Stopped by HLT until an interrupt.
    Halted,
    /// Stopped by INIT (or power-on of an application processor) until a start-up IPI.
    WaitForSipi,
    /// Stopped for good by a third fault.
    Shutdown,
}
persist_enum!(Activity { Running, Halted, WaitForSipi, Shutdown });

/// Which events the next instruction boundary does not take (SDM vol. 3 6.8.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shadow {
    /// None.
    #[default]
    None,
    /// The instruction before was STI with IF clear: maskable interrupts wait.
    Sti,
    /// The instruction before loaded SS: interrupts, NMIs and debug traps wait.
    MovSs,
}
persist_enum!(Shadow { None, Sti, MovSs });

/// x87 and MMX state, as FXSAVE has it, with canonical FIP, FDP and FOP (always 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct X87 {
    /// Physical registers R0 to R7 (not relative to TOP), 80 bits each, upper bits zero.
    pub registers: [u128; 8],
    /// Control word.
    pub control: u16,
    /// Status word, with TOP in bits 11 to 13.
    pub status: u16,
    /// Abridged tag word, one bit per physical register: 1 = not empty.
    pub valid: u8,
}
persist!(X87 { registers, control, status, valid });

impl Default for X87 {
    fn default() -> X87 {
        X87 { registers: [0; 8], control: 0x37f, status: 0, valid: 0 }
    }
}

/// Model-specific registers that are plain storage with checks on write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the SDM's")]
pub struct Msrs {
    pub star: u64,
    pub lstar: u64,
    pub cstar: u64,
    pub fmask: u64,
    pub kernel_gs_base: u64,
    pub sysenter_cs: u64,
    pub sysenter_esp: u64,
    pub sysenter_eip: u64,
    pub pat: u64,
    pub tsc_aux: u64,
    /// Added to guest time to give the TSC (IA32_TSC_ADJUST).
    pub tsc_adjust: u64,
    pub misc_enable: u64,
    pub mtrr_def_type: u64,
    pub mtrr_fixed: [u64; 11],
    pub mtrr_variable: [u64; 16],
    pub mcg_status: u64,
    pub debugctl: u64,
    pub ucode_rev: u64,
}
persist!(Msrs {
    star,
    lstar,
    cstar,
    fmask,
    kernel_gs_base,
    sysenter_cs,
    sysenter_esp,
    sysenter_eip,
    pat,
    tsc_aux,
    tsc_adjust,
    misc_enable,
    mtrr_def_type,
    mtrr_fixed,
    mtrr_variable,
    mcg_status,
    debugctl,
    ucode_rev,
});

/// One virtual processor.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Vcpu {
    /// General registers in encoding order.
    pub gpr: [u64; 16],
    /// Instruction pointer: the current instruction while one executes, else the next.
    pub rip: u64,
    /// Where execution continues if the current instruction completes. Branches change it. 0 while
    /// no engine runs.
    pub next_rip: u64,
    /// RFLAGS, always with bit 1 set.
    pub rflags: u64,
    /// Current privilege level.
    pub cpl: u8,
    /// Derived from CR0, EFER, RFLAGS.VM and CS.
    pub mode: Mode,
    /// Default operand and address size of the code segment: 16, 32 or 64.
    pub code_bits: u8,
    /// Which vCPU this is.
    pub id: u8,
    /// Events held back at the coming boundary.
    pub shadow: Shadow,
    /// Whether it executes.
    pub activity: Activity,
    /// An NMI is being handled: further ones wait for IRET.
    pub nmi_blocked: bool,
    /// ES, CS, SS, DS, FS, GS.
    pub segments: [Segment; 6],
    /// LDTR.
    pub ldtr: Segment,
    /// Task register.
    pub tr: Segment,
    /// GDTR.
    pub gdtr: DescriptorTable,
    /// IDTR.
    pub idtr: DescriptorTable,
    /// CR0.
    pub cr0: u64,
    /// CR2.
    pub cr2: u64,
    /// CR3.
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
    /// EFER.
    pub efer: u64,
    /// PDPTE registers of PAE paging outside long mode.
    pub pdptes: [u64; 4],
    /// DR0 to DR3, -, -, DR6, DR7.
    pub dr: [u64; 8],
    /// Other MSRs.
    pub msrs: Msrs,
    /// XMM registers.
    pub xmm: [u128; 16],
    /// MXCSR.
    pub mxcsr: u32,
    /// x87 and MMX.
    pub x87: X87,
    /// How many values RDRAND and RDSEED have given on this vCPU.
    pub random_ordinal: u64,
    /// Counts this vCPU alone has executed: the schedule's own measure.
    pub own_counts: u64,
    /// DR6 bits of a debug trap that the instruction before raised and that is still to be delivered.
    pub pending_debug: u64,
}
persist!(Vcpu {
    gpr, rip, rflags, cpl, mode, code_bits, id, shadow, activity, nmi_blocked, segments, ldtr, tr, gdtr,
    idtr, cr0, cr2, cr3, cr4, efer, pdptes, dr, msrs, xmm, mxcsr, x87, random_ordinal, own_counts,
    pending_debug;
    skip: next_rip,
});

impl Vcpu {
    /// A vCPU after power-on: the boot processor (id 0) runs, the others wait for a start-up IPI.
    #[must_use]
    pub fn new(id: u8) -> Vcpu {
        let mut cpu = Vcpu {
            gpr: [0; 16],
            rip: 0xfff0,
            next_rip: 0,
            rflags: rflags::FIXED,
            cpl: 0,
            mode: Mode::Real,
            code_bits: 16,
            id,
            shadow: Shadow::None,
            activity: if id == 0 { Activity::Running } else { Activity::WaitForSipi },
            nmi_blocked: false,
            segments: [Segment::real_mode(0); 6],
            ldtr: Segment { selector: 0, access: 0x82, limit: 0xffff, base: 0 },
            tr: Segment { selector: 0, access: 0x8b, limit: 0xffff, base: 0 },
            gdtr: DescriptorTable { base: 0, limit: 0xffff },
            idtr: DescriptorTable { base: 0, limit: 0xffff },
            cr0: cr0::ET | cr0::NW | cr0::CD,
            cr2: 0,
            cr3: 0,
            cr4: 0,
            efer: 0,
            pdptes: [0; 4],
            dr: [0, 0, 0, 0, 0, 0, 0xffff_0ff0, 0x400],
            msrs: Msrs { pat: 0x0007_0406_0007_0406, misc_enable: 1, ..Msrs::default() },
            xmm: [0; 16],
            mxcsr: 0x1f80,
            x87: X87 { control: 0x40, ..X87::default() },
            random_ordinal: 0,
            own_counts: 0,
            pending_debug: 0,
        };
        cpu.segments[CS] = Segment { selector: 0xf000, access: 0x9b, limit: 0xffff, base: 0xffff_0000 };
        cpu.gpr[RDX] = 0x0003_0661;
        cpu
    }

    /// What INIT does (SDM vol. 3 table 10-1): like power-on, but the FPU, SSE and most MSRs keep their
    /// contents, and so do the cache bits of CR0.
    pub fn init(&mut self) {
        let fresh = Vcpu::new(self.id);
        *self = Vcpu {
            cr0: fresh.cr0 & !(cr0::NW | cr0::CD) | self.cr0 & (cr0::NW | cr0::CD),
            msrs: self.msrs,
            xmm: self.xmm,
            mxcsr: self.mxcsr,
            x87: self.x87,
            random_ordinal: self.random_ordinal,
            own_counts: self.own_counts,
            activity: Activity::WaitForSipi,
            ..fresh
        };
    }

    /// Derives [`Vcpu::mode`] and [`Vcpu::code_bits`]. To be called after any change of CR0.PE, EFER.LMA,
    /// RFLAGS.VM or CS.
    pub fn update_mode(&mut self) {
        let cs = &self.segments[CS];
        self.mode = if self.cr0 & cr0::PE == 0 {
            Mode::Real
        } else if self.efer & efer::LMA != 0 {
            if cs.access & Segment::LONG != 0 { Mode::Long64 } else { Mode::Compatibility }
        } else if self.rflags & rflags::VM != 0 {
            Mode::Virtual8086
        } else {
            Mode::Protected
        };
        self.code_bits = match self.mode {
            Mode::Long64 => 64,
            Mode::Real | Mode::Virtual8086 => 16,
            _ if cs.access & Segment::BIG != 0 => 32,
            _ => 16,
        };
        // Real mode can run 32-bit code after a return from protected mode with a big CS still cached.
        if self.mode == Mode::Real && cs.access & Segment::BIG != 0 {
            self.code_bits = 32;
        }
    }

    /// EFER.LMA: long mode (64-bit or compatibility).
    #[must_use]
    pub fn is_long_mode(&self) -> bool {
        self.efer & efer::LMA != 0
    }

    /// Width of the stack pointer in bytes: 8, 4 or 2 (SDM vol. 1 6.2.3).
    #[must_use]
    pub fn stack_bytes(&self) -> u8 {
        match self.mode {
            Mode::Long64 => 8,
            _ if self.segments[SS].access & Segment::BIG != 0 => 4,
            _ => 2,
        }
    }

    /// Whether user accesses must be aligned: CR0.AM and RFLAGS.AC at CPL 3.
    #[inline]
    #[must_use]
    pub fn checks_alignment(&self) -> bool {
        self.rflags & rflags::AC != 0 && self.cpl == 3 && self.cr0 & cr0::AM != 0
    }

    /// Whether a flag (a mask of [`rflags`]) is set.
    #[must_use]
    pub fn flag(&self, mask: u64) -> bool {
        self.rflags & mask != 0
    }

    /// Sets or clears a flag.
    pub fn set_flag(&mut self, mask: u64, value: bool) {
        self.rflags = if value { self.rflags | mask } else { self.rflags & !mask };
    }

    /// Whether `address` is canonical for 48-bit linear addresses.
    #[must_use]
    pub fn is_canonical(address: u64) -> bool {
        ((address as i64) << 16 >> 16) as u64 == address
    }
}
