//! Power management: the ACPI fixed hardware (ACPI 6.5 chapter 4.8: PM1a event and control blocks, GPE0), the
//! SMI command port that turns ACPI on, the reset control register 0xcf9 (Intel ICH9 13.7.5) and port 0x92.
//!
//! Left out: sleeping states other than S5, the timer carry status (the PM timer itself is in `timers`), and
//! the effect of A20, which is always enabled in the processors; the bit reads back as written.

use super::registers::{Bits, merge};
use crate::persist;
use boundary::PowerEvent;

/// PM1a event block: status, then enable, two bytes each.
pub const PM1A_EVENT: u16 = 0x600;
/// PM1a control block, two bytes.
pub const PM1A_CONTROL: u16 = 0x604;
/// General-purpose event block 0: two bytes of status, two of enable.
pub const GPE0: u16 = 0x620;
/// Length of [`GPE0`] in bytes.
pub const GPE0_LENGTH: u8 = 4;
/// SMI command port.
pub const SMI_COMMAND: u16 = 0xb2;
/// Written to [`SMI_COMMAND`]: ACPI on.
pub const ACPI_ENABLE: u8 = 0xf1;
/// Written to [`SMI_COMMAND`]: ACPI off.
pub const ACPI_DISABLE: u8 = 0xf0;
/// Reset control register.
pub const RESET_CONTROL: u16 = 0xcf9;
/// Written to [`RESET_CONTROL`]: reset the system and the processors.
pub const RESET_VALUE: u8 = 0x06;
/// System control port A: fast reset and A20.
pub const SYSTEM_CONTROL_A: u16 = 0x92;
/// SLP_TYP of S5. Zero, because small kernels know `outw(0x604, 0x2000)` as the way to switch off.
pub const SLEEP_TYPE_S5: u8 = 0;
/// The system control interrupt.
pub const SCI_IRQ: u8 = 9;

const STATUS_GLOBAL_LOCK: u16 = 1 << 5;
const STATUS_POWER_BUTTON: u16 = 1 << 8;
const STATUS_RTC: u16 = 1 << 10;
const STATUS_WAKE: u16 = 1 << 15;
/// The status bits that exist, all cleared by writing one.
const STATUS_BITS: u16 = STATUS_GLOBAL_LOCK | STATUS_POWER_BUTTON | STATUS_RTC | STATUS_WAKE;
/// The enable bits that exist. The timer's is stored so that the block reads back as written.
const ENABLE_BITS: u16 = 1 | STATUS_GLOBAL_LOCK | STATUS_POWER_BUTTON | STATUS_RTC;

const CONTROL_SCI_ENABLE: u16 = 1 << 0;
const CONTROL_SLEEP_ENABLE: u16 = 1 << 13;
/// What reads back of a written control value: BM_RLD and SLP_TYP.
const CONTROL_STORED: u16 = 1 << 1 | 7 << 10;

const RESET_CPU: u8 = 1 << 2;

/// The power management registers.
#[derive(Debug, Clone, Default)]
pub struct Power {
    pm1_status: u16,
    pm1_enable: u16,
    pm1_control: u16,
    gpe_status: u16,
    gpe_enable: u16,
    smi_command: u8,
    reset_control: u8,
    system_control_a: u8,
}

persist!(Power {
    pm1_status,
    pm1_enable,
    pm1_control,
    gpe_status,
    gpe_enable,
    smi_command,
    reset_control,
    system_control_a
});

impl Power {
    /// Whether one of these registers is at `port`.
    #[must_use]
    pub fn decodes(port: u16) -> bool {
        const PM1A_EVENT_END: u16 = PM1A_EVENT + 3;
        const PM1A_CONTROL_END: u16 = PM1A_CONTROL + 1;
        const GPE0_END: u16 = GPE0 + GPE0_LENGTH as u16 - 1;
        matches!(port, PM1A_EVENT..=PM1A_EVENT_END | PM1A_CONTROL..=PM1A_CONTROL_END | GPE0..=GPE0_END)
            || matches!(port, SMI_COMMAND | RESET_CONTROL | SYSTEM_CONTROL_A)
    }

    /// Reads a byte.
    #[must_use]
    pub fn read(&self, port: u16) -> u8 {
        let byte_of = |register: u16| register.to_le_bytes()[usize::from(port & 1)];
        match port & !1 {
            _ if port == RESET_CONTROL => self.reset_control,
            0x600 => byte_of(self.pm1_status),
            0x602 => byte_of(self.pm1_enable),
            0x604 => byte_of(self.pm1_control),
            0x620 => byte_of(self.gpe_status),
            0x622 => byte_of(self.gpe_enable),
            SMI_COMMAND => self.smi_command,
            _ => self.system_control_a | 2,
        }
    }

    /// Writes `size_bytes` bytes (1, 2 or 4) at once: SLP_TYP and SLP_EN must be seen together.
    pub fn write(&mut self, port: u16, size_bytes: u8, value: u32) -> Option<PowerEvent> {
        let [byte, ..] = value.to_le_bytes();
        match port {
            RESET_CONTROL => return self.write_reset_control(byte),
            SYSTEM_CONTROL_A => return self.write_system_control_a(byte),
            SMI_COMMAND => self.write_smi_command(byte),
            _ => {}
        }
        if (PM1A_EVENT..PM1A_EVENT + 4).contains(&port) {
            let (status, enable) =
                split_event_write(self.pm1_enable, u32::from(port - PM1A_EVENT), size_bytes, value);
            self.pm1_status &= !(status & STATUS_BITS);
            self.pm1_enable = enable & ENABLE_BITS;
        }
        if (GPE0..GPE0 + u16::from(GPE0_LENGTH)).contains(&port) {
            let (status, enable) =
                split_event_write(self.gpe_enable, u32::from(port - GPE0), size_bytes, value);
            self.gpe_status &= !status;
            self.gpe_enable = enable;
        }
        if (PM1A_CONTROL..PM1A_CONTROL + 2).contains(&port) {
            let offset = u32::from(port - PM1A_CONTROL);
            let control = merge(u64::from(self.pm1_control), offset, size_bytes, u64::from(value));
            return self.write_control(control as u16);
        }
        None
    }

    /// The power button was pressed.
    pub fn press_button(&mut self) {
        self.pm1_status |= STATUS_POWER_BUTTON;
    }

    /// The level of the system control interrupt.
    #[must_use]
    pub fn interrupt(&self) -> bool {
        self.pm1_control.has(CONTROL_SCI_ENABLE)
            && (self.pm1_status & self.pm1_enable | self.gpe_status & self.gpe_enable) != 0
    }

    fn write_control(&mut self, value: u16) -> Option<PowerEvent> {
        self.pm1_control = self.pm1_control & CONTROL_SCI_ENABLE | value & CONTROL_STORED;
        let sleep_type = (value >> 10 & 7) as u8;
        (value.has(CONTROL_SLEEP_ENABLE) && sleep_type == SLEEP_TYPE_S5).then_some(PowerEvent::Off)
    }

    fn write_smi_command(&mut self, command: u8) {
        self.smi_command = command;
        match command {
            ACPI_ENABLE => self.pm1_control |= CONTROL_SCI_ENABLE,
            ACPI_DISABLE => self.pm1_control &= !CONTROL_SCI_ENABLE,
            _ => {}
        }
    }

    fn write_reset_control(&mut self, value: u8) -> Option<PowerEvent> {
        let rises = value & !self.reset_control;
        self.reset_control = value & 0x0e;
        rises.has(RESET_CPU).then_some(PowerEvent::Reset)
    }

    fn write_system_control_a(&mut self, value: u8) -> Option<PowerEvent> {
        let rises = value & !self.system_control_a;
        self.system_control_a = value & 3;
        rises.has(1).then_some(PowerEvent::Reset)
    }
}

/// Splits a write into an event block: which status bits it clears, and the enable register afterwards.
fn split_event_write(enable: u16, offset: u32, size_bytes: u8, value: u32) -> (u16, u16) {
    let merged = merge(u64::from(enable) << 16, offset, size_bytes, u64::from(value));
    (merged as u16, (merged >> 16) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleep_type_s5_with_sleep_enable_switches_off() {
        let mut power = Power::default();
        assert_eq!(power.write(PM1A_CONTROL, 2, u32::from(SLEEP_TYPE_S5) << 10), None);
        assert_eq!(power.write(PM1A_CONTROL, 2, 0x2000), Some(PowerEvent::Off));
        assert_eq!(power.write(PM1A_CONTROL, 2, 0x2000 | 5 << 10), None, "a state that is not offered");
        assert_eq!(power.read(PM1A_CONTROL + 1), 5 << 2, "SLP_EN reads as zero");
    }

    #[test]
    fn acpi_is_turned_on_and_off_by_the_smi_command() {
        let mut power = Power::default();
        power.write(SMI_COMMAND, 1, u32::from(ACPI_ENABLE));
        assert_eq!(power.read(PM1A_CONTROL), 1);
        power.write(PM1A_CONTROL, 2, 0);
        assert_eq!(power.read(PM1A_CONTROL), 1, "SCI_EN belongs to the firmware");
        power.write(SMI_COMMAND, 1, u32::from(ACPI_DISABLE));
        assert_eq!(power.read(PM1A_CONTROL), 0);
    }

    #[test]
    fn the_power_button_raises_the_sci_until_its_status_is_cleared() {
        let mut power = Power::default();
        power.write(PM1A_EVENT + 2, 2, u32::from(STATUS_POWER_BUTTON));
        power.press_button();
        assert!(!power.interrupt(), "not before ACPI is on");
        power.write(SMI_COMMAND, 1, u32::from(ACPI_ENABLE));
        assert!(power.interrupt());
        power.write(PM1A_EVENT, 2, 0xfeff);
        assert!(power.interrupt(), "writing zero keeps a status bit");
        power.write(PM1A_EVENT, 2, u32::from(STATUS_POWER_BUTTON));
        assert!(!power.interrupt());
        assert_eq!(power.read(PM1A_EVENT + 3), 1, "the enable bit stays");
    }

    #[test]
    fn a_wide_write_reaches_status_and_enable() {
        let mut power = Power::default();
        power.press_button();
        power.write(PM1A_EVENT, 4, 0x0100_0100);
        assert_eq!([1, 3].map(|offset| power.read(PM1A_EVENT + offset)), [0, 1]);
    }

    #[test]
    fn reset_needs_a_rising_edge() {
        let mut power = Power::default();
        assert_eq!(power.write(RESET_CONTROL, 1, 2), None);
        assert_eq!(power.write(RESET_CONTROL, 1, u32::from(RESET_VALUE)), Some(PowerEvent::Reset));
        assert_eq!(power.write(RESET_CONTROL, 1, u32::from(RESET_VALUE)), None);
        assert_eq!(power.write(SYSTEM_CONTROL_A, 1, 2), None, "A20");
        assert_eq!(power.write(SYSTEM_CONTROL_A, 1, 3), Some(PowerEvent::Reset));
    }

    #[test]
    fn every_decoded_port_can_be_read_and_written_in_any_width() {
        for port in (0..=u16::MAX).filter(|port| Power::decodes(*port)) {
            for size_bytes in [1, 2, 4] {
                let mut power = Power::default();
                power.write(port, size_bytes, u32::MAX);
                let _ = power.read(port);
            }
        }
    }
}
