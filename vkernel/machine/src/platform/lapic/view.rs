//! The state as a debugger shows it. Nothing here is a register access: the guest's way to read brings the timer up to
//! date and can set errors, this changes nothing.

use super::*;
use crate::platform::apic_message::Route;

/// How the processor reaches its local APIC: bits 11:10 of `IA32_APIC_BASE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApicMode {
    /// Not at all.
    Disabled,
    /// By the register page.
    XApic,
    /// By MSRs.
    X2Apic,
}

impl Lapic {
    /// How it is reached.
    #[must_use]
    pub fn mode(&self) -> ApicMode {
        match (self.is_enabled(), self.is_x2apic()) {
            (false, _) => ApicMode::Disabled,
            (true, false) => ApicMode::XApic,
            (true, true) => ApicMode::X2Apic,
        }
    }

    /// The local APIC's ID.
    #[must_use]
    pub fn id(&self) -> u8 {
        self.id
    }

    /// The version register.
    #[must_use]
    pub fn version(&self) -> u32 {
        VERSION
    }

    /// The task priority register.
    #[must_use]
    pub fn task_priority_register(&self) -> u8 {
        self.task_priority
    }

    /// Whether the spurious vector register has it enabled, and that vector.
    #[must_use]
    pub fn spurious(&self) -> (bool, u8) {
        (self.is_software_enabled(), self.spurious as u8)
    }

    /// The logical destination register.
    #[must_use]
    pub fn logical_destination(&self) -> u32 {
        self.logical_destination
    }

    /// Whether an xAPIC's logical destinations are of the flat model, by the destination format register.
    #[must_use]
    pub fn is_flat(&self) -> bool {
        self.destination_format >> 28 == 0xf
    }

    /// The error status register, and the errors since it was last written.
    #[must_use]
    pub fn error_status(&self) -> (u32, u32) {
        (self.errors, self.new_errors)
    }

    /// The entries of the LVT with their names, in register order.
    #[must_use]
    pub fn local_vectors(&self) -> [(&'static str, Route); 6] {
        const NAMES: [&str; 6] = ["timer", "thermal", "perfmon", "LINT0", "LINT1", "error"];
        std::array::from_fn(|entry| (NAMES[entry], Route::decode(self.lvt[entry])))
    }

    /// The timer.
    #[must_use]
    pub fn timer(&self) -> &LapicTimer {
        &self.timer
    }

    /// The IRR: vectors that wait.
    #[must_use]
    pub fn pending(&self) -> &Vectors {
        &self.requests
    }

    /// The ISR: vectors whose EOI is outstanding.
    #[must_use]
    pub fn in_service(&self) -> &Vectors {
        &self.in_service
    }
}
