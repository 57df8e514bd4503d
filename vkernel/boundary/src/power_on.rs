//! The machine at its start. First in every trace; a machine is built from this and nothing else.

use crate::ImageId;
use serde::{Deserialize, Serialize};

/// Everything that determines a machine before its first input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PowerOn {
    /// The behaviour number: changes whenever the same inputs would give another digest.
    pub model: u32,
    /// Seeds RDRAND, RDSEED and the schedule.
    pub seed: u64,
    /// The real-time clock at power-on, in seconds since 1970.
    pub rtc_start_s: u64,
    /// Guest RAM in bytes, a multiple of 2 MiB.
    pub ram_bytes: u64,
    /// Processors.
    pub topology: Topology,
    /// The CPUID table each vCPU answers from (APIC ids are filled in per vCPU).
    pub cpuid: Vec<CpuidLeaf>,
    /// Schedule and latency rules.
    pub rules: Rules,
    /// XXH3-128 of the ACPI tables that the machine generated.
    pub acpi_hash: u128,
    /// What is loaded and how it is entered.
    pub boot: Boot,
}

/// How many vCPUs there are and how they are arranged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topology {
    /// 1 to 16.
    pub vcpus: u8,
    /// Bits of the APIC id that number the thread within a core (`-n`'s lbits).
    pub thread_bits: u8,
    /// Bits of the APIC id that number the core within a package (`-n`'s cbits).
    pub core_bits: u8,
}

/// One CPUID leaf and subleaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuidLeaf {
    /// EAX on entry.
    pub leaf: u32,
    /// ECX on entry; 0 for leaves without subleaves.
    pub subleaf: u32,
    /// EAX, EBX, ECX, EDX on return.
    pub registers: [u32; 4],
}

/// The rules of time and of the schedule (docs/determinism.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// Counts in a quantum.
    pub quantum_counts: u32,
    /// PAUSEs that end a quantum.
    pub pauses_per_quantum: u32,
    /// Extra nanoseconds charged for a PAUSE.
    pub pause_ns: u32,
    /// Extra nanoseconds charged for a port access.
    pub port_ns: u32,
    /// Extra nanoseconds charged for an MMIO access.
    pub mmio_ns: u32,
    /// Extra nanoseconds charged for HLT.
    pub hlt_ns: u32,
    /// Whether `seed` perturbs the schedule and the latencies (false when the seed is 0).
    pub perturb: bool,
}

/// What is loaded, and how the boot processor enters it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// How the kernel is entered.
    pub protocol: BootProtocol,
    /// The kernel's command line, without terminating zero.
    pub command_line: String,
    /// All images in the order given: one kernel, then initrds or modules.
    pub images: Vec<Image>,
}

/// The protocol that loads and enters the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BootProtocol {
    /// Linux bzImage, 64-bit boot protocol (Documentation/arch/x86/boot.rst).
    LinuxBzImage,
    /// Linux vmlinux ELF by the 64-bit boot protocol.
    LinuxElf,
    /// Xen's PVH entry point.
    Pvh,
    /// Multiboot 1, with the module list.
    Multiboot1,
    /// Multiboot 2.
    Multiboot2,
    /// Limine's protocol, base revisions 0 to 3.
    Limine,
    /// An ELF64 file of no protocol, by the entry state of docs/boot-protocols.md.
    Elf64,
}

/// One image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// What it is for.
    pub role: Role,
    /// Its identity.
    pub id: ImageId,
    /// Its length in bytes.
    pub length_bytes: u64,
    /// The name the user gave, for messages only.
    pub name: String,
    /// A Multiboot module's command line.
    pub command_line: String,
}

/// What an image is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// The kernel.
    Kernel,
    /// An initial RAM disk; several are loaded one after the other.
    Initrd,
    /// A Multiboot module.
    Module,
}
