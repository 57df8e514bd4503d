//! Interrupt routing: the PIC pair, the I/O APIC and every local APIC, wired as on a PC.

use super::{Access, Acknowledged, Signals};
use boundary::{LandmarkKind, VirtualTime};

/// Every interrupt controller of the machine.
#[derive(Debug)]
pub struct Interrupts {
    signals: Vec<Signals>,
}

impl Interrupts {
    /// Controllers for `vcpus` processors (1 to 16), as at power-on.
    #[must_use]
    pub fn new(vcpus: u8) -> Interrupts {
        Interrupts { signals: vec![Signals::default(); usize::from(vcpus)] }
    }
    /// Drives an interrupt line: an ISA IRQ (0 to 15) or a GSI from 16 to 23.
    pub fn set_irq(&mut self, _irq: u8, _level: bool, _kind: LandmarkKind) {}
    /// A message-signalled interrupt: a write of `data` to `address` in 0xfeexxxxx.
    pub fn msi(&mut self, _address: u64, _data: u32) {}
    /// What waits for a vCPU.
    #[must_use]
    pub fn signals(&self, vcpu: u8) -> Signals {
        self.signals[usize::from(vcpu)]
    }
    /// The interrupt acknowledge cycle.
    pub fn acknowledge(&mut self, _vcpu: u8) -> Option<Acknowledged> {
        None
    }
    /// Takes a pending NMI.
    pub fn take_nmi(&mut self, _vcpu: u8) -> bool {
        false
    }
    /// Takes a pending INIT; the caller then calls [`Interrupts::reset_vcpu`].
    pub fn take_init(&mut self, _vcpu: u8) -> bool {
        false
    }
    /// Takes the vector of a pending start-up IPI.
    pub fn take_sipi(&mut self, _vcpu: u8) -> Option<u8> {
        None
    }
    /// Resets the local APIC of a vCPU as INIT does.
    pub fn reset_vcpu(&mut self, _vcpu: u8) {}
    /// Whether `paddr` belongs to the local APIC page of this vCPU or to the I/O APIC page.
    #[must_use]
    pub fn claims(&self, _vcpu: u8, _paddr: u64) -> bool {
        false
    }
    /// Reads `size` bytes at `paddr`, which [`Interrupts::claims`] accepted.
    pub fn mmio_read(&mut self, _access: Access, _paddr: u64, _size: u8) -> u64 {
        0
    }
    /// Writes `size` bytes at `paddr`, which [`Interrupts::claims`] accepted.
    pub fn mmio_write(&mut self, _access: Access, _paddr: u64, _size: u8, _value: u64) {}
    /// Reads a PIC port: 0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1.
    pub fn port_read(&mut self, _port: u16) -> u8 {
        0xff
    }
    /// Writes a PIC port.
    pub fn port_write(&mut self, _port: u16, _value: u8) {}
    /// RDMSR of `IA32_APIC_BASE` (0x1b) or 0x800..=0x8ff; `None` is #GP.
    pub fn msr_read(&mut self, _vcpu: u8, _msr: u32, _now: VirtualTime) -> Option<u64> {
        None
    }
    /// WRMSR of the same registers; `None` is #GP.
    pub fn msr_write(&mut self, _vcpu: u8, _msr: u32, _value: u64, _now: VirtualTime) -> Option<()> {
        None
    }
    /// Sets or clears the TSC deadline, already converted to guest time.
    pub fn set_tsc_deadline(&mut self, _vcpu: u8, _deadline: Option<VirtualTime>) {}
    /// The armed TSC deadline.
    #[must_use]
    pub fn tsc_deadline(&self, _vcpu: u8) -> Option<VirtualTime> {
        None
    }
    /// CR8: the task priority class, 0 to 15.
    #[must_use]
    pub fn task_priority(&self, _vcpu: u8) -> u8 {
        0
    }
    /// Sets CR8.
    pub fn set_task_priority(&mut self, _vcpu: u8, _class: u8) {}
    /// The next time at which a local APIC timer expires.
    #[must_use]
    pub fn deadline(&self) -> Option<VirtualTime> {
        None
    }
    /// Delivers the timers that expired up to `now`.
    pub fn advance(&mut self, _now: VirtualTime) {}
    /// Whether an IPI to another vCPU was sent since the last call.
    pub fn take_ipi_sent(&mut self) -> bool {
        false
    }
}
crate::persist!(Interrupts {; skip: signals });
