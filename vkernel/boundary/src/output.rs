//! What leaves the machine.

use serde::{Deserialize, Serialize};

/// One thing the machine emitted, in order. Outputs are derived: a replay emits them again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Bytes for the console.
    Console(Vec<u8>),
    /// A frame sent on network interface `nic`.
    Frame {
        /// Which vke.
        nic: u8,
        /// The raw Ethernet frame.
        bytes: Vec<u8>,
    },
    /// The guest reported a crash through pvpanic; the value it wrote.
    Pvpanic(u8),
    /// A POST code on port 0x80.
    PostCode(u8),
}

/// The machine ended or restarted itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PowerEvent {
    /// ACPI soft-off.
    Off,
    /// A reset was asked for: keyboard controller, port 0xcf9 or ACPI.
    Reset,
    /// A vCPU shut down after a third fault.
    TripleFault(TripleFault),
    /// The guest wrote this value to the debug-exit port.
    DebugExit(u32),
}

/// The three faults that ended a vCPU, the first one first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TripleFault {
    /// Which vCPU.
    pub vcpu: u8,
    /// Each fault, and why the processor raised it.
    pub steps: Vec<TripleFaultStep>,
}

/// One fault of a [`TripleFault`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TripleFaultStep {
    /// Exception vector.
    pub vector: u8,
    /// Error code, if that vector has one.
    pub error_code: Option<u32>,
    /// RIP of the faulting instruction.
    pub rip: u64,
    /// CR2, for page faults.
    pub cr2: Option<u64>,
    /// Why, in a short sentence: `IDT limit 0x0 is below vector 14`.
    pub reason: String,
}
