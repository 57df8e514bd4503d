//! The address map: every fixed address of the PC, in one place.

/// End of conventional memory; VGA memory follows.
pub const LOW_RAM_END: u64 = 0xa_0000;
/// VGA memory: a device, not RAM.
pub const VGA_MEMORY: std::ops::Range<u64> = 0xa_0000..0xc_0000;
/// VGA text buffer.
pub const VGA_TEXT: u64 = 0xb_8000;
/// Where the RSDP, ACPI tables and MP table are put: RAM, reserved in the memory map.
pub const FIRMWARE_TABLES: std::ops::Range<u64> = 0xe_0000..0x10_0000;
/// RAM below 4 GiB ends here at the latest; the rest continues at [`HIGH_RAM`].
pub const PCI_HOLE: u64 = 0xc000_0000;
/// PCI ECAM window: 256 buses of 1 MiB.
pub const ECAM: u64 = 0xe000_0000;
/// Length of the ECAM window.
pub const ECAM_LENGTH: u64 = 0x1000_0000;
/// I/O APIC.
pub const IOAPIC: u64 = 0xfec0_0000;
/// HPET.
pub const HPET: u64 = 0xfed0_0000;
/// Local APIC at reset.
pub const LAPIC: u64 = 0xfee0_0000;
/// Start of RAM above 4 GiB.
pub const HIGH_RAM: u64 = 0x1_0000_0000;
/// TSC frequency: one tick a nanosecond.
pub const TSC_HZ: u64 = 1_000_000_000;
/// Crystal and local APIC timer input frequency, as CPUID 15H says.
pub const CRYSTAL_HZ: u64 = 25_000_000;
