//! CPUID: one fixed, documented processor model (docs/machine-cpu.md), never the host's.
//!
//! The table is part of the machine's description and so of every trace; only what differs between the
//! vCPUs, their APIC ids, is filled in when a vCPU asks.

use crate::cpu::core::Core;
use crate::cpu::exception::Exec;
use crate::cpu::state::{RAX, RBX, RCX, RDX};
use crate::platform::layout::{CRYSTAL_HZ, TSC_HZ};
use boundary::{CpuidLeaf, Topology};
use iced_x86::{Instruction, Mnemonic};

const LAST_BASIC: u32 = 0x16;
const LAST_EXTENDED: u32 = 0x8000_0008;
const HYPERVISOR: u32 = 0x4000_0000;
const LAST_HYPERVISOR: u32 = 0x4000_0010;

/// Family 6, model 0x36, stepping 1: Atom "Saltwell".
pub const SIGNATURE: u32 = 0x0003_0661;
/// Microcode revision that CPUID leaf 1 loads into IA32_BIOS_SIGN_ID.
const MICROCODE_REVISION: u64 = 0x10d;

/// The processor's name, 48 bytes.
const BRAND: &[u8; 48] = b"vkernel virtual CPU @ 1.00GHz\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// Leaf 1 EDX: FPU DE PSE TSC MSR PAE MCE CX8 APIC SEP MTRR PGE MCA CMOV PAT PSE36 CLFSH MMX FXSR SSE SSE2.
const FEATURES_EDX: u32 = 1
    | 1 << 2
    | 1 << 3
    | 1 << 4
    | 1 << 5
    | 1 << 6
    | 1 << 7
    | 1 << 8
    | 1 << 9
    | 1 << 11
    | 1 << 12
    | 1 << 13
    | 1 << 14
    | 1 << 15
    | 1 << 16
    | 1 << 17
    | 1 << 19
    | 1 << 23
    | 1 << 24
    | 1 << 25
    | 1 << 26;
/// Leaf 1 EDX: more than one logical processor in a package.
const HTT: u32 = 1 << 28;

/// Leaf 1 ECX: SSE3 PCLMULQDQ SSSE3 CX16 SSE4.1 SSE4.2 x2APIC POPCNT TSC-deadline AES RDRAND HYPERVISOR.
const FEATURES_ECX: u32 = 1
    | 1 << 1
    | 1 << 9
    | 1 << 13
    | 1 << 19
    | 1 << 20
    | 1 << 21
    | 1 << 23
    | 1 << 24
    | 1 << 25
    | 1 << 30
    | 1 << 31;

/// The CPUID table of the model for a topology.
#[must_use]
pub fn table(topology: &Topology) -> Vec<CpuidLeaf> {
    let mut leaves = vec![];
    let mut add = |leaf: u32, subleaf: u32, registers: [u32; 4]| {
        leaves.push(CpuidLeaf { leaf, subleaf, registers });
    };
    let text = |bytes: &[u8]| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let threads = 1_u32 << topology.thread_bits.min(7);
    let package = 1_u32 << (u32::from(topology.thread_bits) + u32::from(topology.core_bits)).min(7);
    let vcpus = u32::from(topology.vcpus);

    add(0, 0, [LAST_BASIC, text(b"Genu"), text(b"ntel"), text(b"ineI")]);
    let htt = if package > 1 { HTT } else { 0 };
    add(1, 0, [SIGNATURE, package << 16 | 8 << 8, FEATURES_ECX, FEATURES_EDX | htt]);
    // Cache descriptors: "see leaf 4".
    add(2, 0, [0x0000_ff01, 0, 0, 0]);
    for (subleaf, cache) in caches(threads, package).into_iter().enumerate() {
        add(4, subleaf as u32, cache);
    }
    // The APIC timer runs in every sleep state (ARAT).
    add(6, 0, [1 << 2, 0, 0, 0]);
    // FSGSBASE, TSC_ADJUST, RDSEED; ARCH_CAPABILITIES. No ERMS: REP counts each iteration.
    add(7, 0, [0, 1 | 1 << 1 | 1 << 18, 0, 1 << 29]);
    let package_bits = u32::from(topology.thread_bits) + u32::from(topology.core_bits);
    add(0xb, 0, [u32::from(topology.thread_bits), threads.min(vcpus), 1 << 8, 0]);
    add(0xb, 1, [package_bits, package.min(vcpus), 2 << 8 | 1, 0]);
    add(0x15, 0, [1, (TSC_HZ / CRYSTAL_HZ) as u32, CRYSTAL_HZ as u32, 0]);
    let megahertz = (TSC_HZ / 1_000_000) as u32;
    add(0x16, 0, [megahertz, megahertz, 100, 0]);

    // A hypervisor that Linux knows to deliver x2APIC interrupts without remapping; no paravirtual feature.
    add(HYPERVISOR, 0, [LAST_HYPERVISOR, text(b"KVMK"), text(b"VMKV"), text(b"M\0\0\0")]);
    add(LAST_HYPERVISOR, 0, [(TSC_HZ / 1000) as u32, (CRYSTAL_HZ / 1000) as u32, 0, 0]);

    add(0x8000_0000, 0, [LAST_EXTENDED, 0, 0, 0]);
    // LAHF in 64-bit mode; SYSCALL, NX, 1 GiB pages, RDTSCP, long mode.
    add(0x8000_0001, 0, [0, 0, 1, 1 << 11 | 1 << 20 | 1 << 26 | 1 << 27 | 1 << 29]);
    for (leaf, bytes) in (0x8000_0002..).zip(BRAND.chunks_exact(16)) {
        add(leaf, 0, [text(bytes), text(&bytes[4..]), text(&bytes[8..]), text(&bytes[12..])]);
    }
    // L2: 1 MiB, 16 ways, 64-byte lines.
    add(0x8000_0006, 0, [0, 0, 1024 << 16 | 8 << 12 | 64, 0]);
    // Invariant TSC.
    add(0x8000_0007, 0, [0, 0, 0, 1 << 8]);
    add(LAST_EXTENDED, 0, [crate::cpu::mmu::PHYSICAL_BITS | 48 << 8, 0, 0, 0]);
    leaves
}

/// Leaf 4: 32 KiB of L1 data and code each, 1 MiB of L2, all shared by the threads of a core.
fn caches(threads: u32, package: u32) -> [[u32; 4]; 4] {
    let describe = |kind: u32, level: u32, ways: u32, sets: u32| {
        let cores = package / threads;
        let eax = kind | level << 5 | 1 << 8 | (threads - 1) << 14 | (cores - 1) << 26;
        [eax, (ways - 1) << 22 | 63, sets - 1, 0]
    };
    [describe(1, 1, 8, 64), describe(2, 1, 8, 64), describe(3, 2, 16, 1024), [0; 4]]
}

/// Whether a leaf answers differently for each value of ECX.
fn has_subleaves(leaf: u32) -> bool {
    matches!(leaf, 4 | 7 | 0xb | 0xd)
}

/// What CPUID gives on vCPU `id` for EAX and ECX.
#[must_use]
pub fn lookup(table: &[CpuidLeaf], id: u8, leaf: u32, subleaf: u32) -> [u32; 4] {
    // Intel processors answer leaves beyond the last with the last basic one.
    let beyond = (leaf > LAST_BASIC && leaf < HYPERVISOR) || leaf > LAST_EXTENDED;
    let leaf = if beyond { LAST_BASIC } else { leaf };
    let wanted = if has_subleaves(leaf) { subleaf } else { 0 };
    let mut registers = table
        .iter()
        .find(|entry| entry.leaf == leaf && entry.subleaf == wanted)
        .map_or([0; 4], |entry| entry.registers);
    match leaf {
        1 => registers[1] |= u32::from(id) << 24,
        0xb => {
            registers[2] = registers[2] & !0xff | subleaf & 0xff;
            registers[3] = u32::from(id);
        }
        _ => {}
    }
    registers
}

/// Executes CPUID; `None` for other instructions.
pub(super) fn execute(core: &mut Core<'_>, instruction: &Instruction) -> Option<Exec> {
    if instruction.mnemonic() != Mnemonic::Cpuid {
        return None;
    }
    let (leaf, subleaf) = (core.cpu.gpr[RAX] as u32, core.cpu.gpr[RCX] as u32);
    let registers = lookup(&core.sys.power_on.cpuid, core.cpu.id, leaf, subleaf);
    for (register, value) in [RAX, RBX, RCX, RDX].into_iter().zip(registers) {
        core.cpu.gpr[register] = u64::from(value);
    }
    if leaf == 1 {
        core.cpu.msrs.ucode_rev = MICROCODE_REVISION << 32;
    }
    Some(Ok(()))
}
