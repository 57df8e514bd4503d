//! What hostile guests do: a class is a way to misbehave, a snippet a few instructions of it.

mod devices;
mod memory;
mod system;

use crate::code::Code;
use std::fmt;

/// A way to misbehave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Page-table entries of all kinds, and accesses through them.
    PageTables,
    /// Reads and writes of devices in memory, of every width, and execution of them.
    Mmio,
    /// Garbage in descriptor tables, and loads from it.
    Descriptors,
    /// Interrupt tables and stacks that fault, and what makes them do so.
    Faults,
    /// Code that rewrites itself or the other processors' code.
    SelfModifying,
    /// Reads and writes of ports.
    Ports,
    /// Control and debug registers.
    Control,
    /// Model-specific registers.
    Msrs,
    /// Timers and HLT.
    Timers,
    /// Interprocessor interrupts, INIT and SIPI among them.
    Processors,
    /// Far branches, returns from interrupts, system calls, task switches.
    Transfers,
    /// Registers of devices in an order that means something.
    Devices,
    /// Random bytes.
    Soup,
}

impl Class {
    /// All of them.
    pub const ALL: [Class; 13] = [
        Class::PageTables,
        Class::Mmio,
        Class::Descriptors,
        Class::Faults,
        Class::SelfModifying,
        Class::Ports,
        Class::Control,
        Class::Msrs,
        Class::Timers,
        Class::Processors,
        Class::Transfers,
        Class::Devices,
        Class::Soup,
    ];

    /// Writes one snippet.
    pub fn write(self, code: &mut Code<'_>) {
        match self {
            Class::PageTables => memory::page_tables(code),
            Class::Mmio => memory::mmio(code),
            Class::Descriptors => system::descriptors(code),
            Class::Faults => system::faults(code),
            Class::SelfModifying => memory::self_modifying(code),
            Class::Ports => devices::ports(code),
            Class::Control => system::control(code),
            Class::Msrs => system::msrs(code),
            Class::Timers => devices::timers(code),
            Class::Processors => devices::processors(code),
            Class::Transfers => system::transfers(code),
            Class::Devices => devices::pokes(code),
            Class::Soup => soup(code),
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{self:?}"))
    }
}

/// Random bytes, sometimes in the shape of an instruction of the two-byte map.
fn soup(code: &mut Code<'_>) {
    for _ in 0..1 + code.random.below(12) {
        match code.random.below(4) {
            0 => {
                let bytes = [0x0f, code.random.byte(), code.random.byte()];
                code.raw(&bytes);
            }
            1 => {
                let prefix = code.random.pick(&[0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x2e, 0x36, 0x64, 0x65, 0x48]);
                code.raw(&[prefix]);
            }
            _ => {
                let bytes = [code.random.byte(), code.random.byte()];
                code.raw(&bytes);
            }
        }
    }
}
