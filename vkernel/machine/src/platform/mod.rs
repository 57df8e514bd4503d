//! The PC around the processors: what they reach through ports, MMIO and the APIC, and nothing of how they
//! execute.
//!
//! A device is a pure register machine with its wiring in the board. It is given the time, it never asks.

pub mod acpi;
pub mod apic_message;
pub mod board;
pub mod civil;
pub mod debug_ports;
pub mod dsdt;
pub mod firmware;
pub mod fw_cfg;
pub mod hpet;
pub mod i8042;
pub mod interrupts;
pub mod ioapic;
pub mod lapic;
pub mod lapic_timer;
pub mod layout;
pub mod memory_map;
pub mod mptable;
pub mod pci;
pub mod pic;
pub mod pit;
pub mod pm_timer;
pub mod power;
pub mod registers;
pub mod rtc;
pub mod scan_codes;
pub mod timers;
pub mod uart;
pub mod vectors;
pub mod vga;
pub mod vga_mirror;

#[cfg(test)]
mod law;

use boundary::{LandmarkKind, VirtualTime};

/// Who accesses a device, and when.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    /// The vCPU; decides whose local APIC answers.
    pub vcpu: u8,
    /// Guest time of the access.
    pub now: VirtualTime,
}

/// What waits for a vCPU at its local APIC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signals {
    /// An interrupt above the processor priority (LAPIC or, in virtual wire mode, the PIC).
    pub interrupt: bool,
    /// A non-maskable interrupt.
    pub nmi: bool,
    /// INIT.
    pub init: bool,
    /// A start-up IPI.
    pub sipi: bool,
}

/// An interrupt that a vCPU acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// The vector to deliver.
    pub vector: u8,
    /// Where it came from, for the landmark.
    pub kind: LandmarkKind,
}
