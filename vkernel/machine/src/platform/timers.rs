//! The platform timers (PIT, HPET, ACPI PM timer, RTC) and their interrupt lines.

use super::Access;
use super::interrupts::Interrupts;
use boundary::VirtualTime;

/// Every timer that is not a local APIC's.
#[derive(Debug)]
pub struct Timers {
    rtc_start_s: u64,
}

impl Timers {
    /// The timers at power-on; `rtc_start_s` is `PowerOn::rtc_start_s`.
    #[must_use]
    pub fn new(rtc_start_s: u64) -> Timers {
        Timers { rtc_start_s }
    }
    /// Reads a port: 0x40 to 0x43, 0x61, 0x70, 0x71.
    pub fn port_read(&mut self, _access: Access, _port: u16, _interrupts: &mut Interrupts) -> u8 {
        0xff
    }
    /// Writes one of the same ports.
    pub fn port_write(&mut self, _access: Access, _port: u16, _value: u8, _interrupts: &mut Interrupts) {}
    /// Reads the HPET at `offset` (0 to 0x3ff) from its base.
    pub fn hpet_read(&mut self, _access: Access, _offset: u64, _size: u8) -> u64 {
        0
    }
    /// Writes the HPET.
    pub fn hpet_write(
        &mut self,
        _access: Access,
        _offset: u64,
        _size: u8,
        _value: u64,
        _interrupts: &mut Interrupts,
    ) {
    }
    /// The ACPI PM timer, a 32-bit counter (`TMR_VAL_EXT` set in the FADT).
    #[must_use]
    pub fn pm_timer(&self, _now: VirtualTime) -> u32 {
        0
    }
    /// Puts a byte into CMOS (firmware's memory-size bytes); clock registers 0 to 0xd are not touched.
    pub fn set_cmos(&mut self, _index: u8, _value: u8) {}
    /// The next time at which an interrupt line changes by itself.
    #[must_use]
    pub fn deadline(&self) -> Option<VirtualTime> {
        None
    }
    /// Drives IRQ0, IRQ8 and the HPET lines for everything due up to `now`, in order of (deadline, device).
    pub fn advance(&mut self, _now: VirtualTime, _interrupts: &mut Interrupts) {}
}
crate::persist!(Timers { rtc_start_s });
