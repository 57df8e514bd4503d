//! The platform timers (PIT, HPET, ACPI PM timer, RTC) and their interrupt lines.
//!
//! IRQ 0 is the PIT's and IRQ 8 the RTC's, unless the HPET's legacy replacement takes both. Everything due
//! is delivered in order of (deadline, device): PIT, HPET, RTC.

use super::Access;
use super::hpet::Hpet;
use super::interrupts::Interrupts;
use super::pit::Pit;
use super::pm_timer::pm_timer;
use super::rtc::Rtc;
use crate::archive::{Archive, Persist};
use boundary::{LandmarkKind, VirtualTime};

const PIT_IRQ: u8 = 0;
const RTC_IRQ: u8 = 8;
const HPET_MAIN_COUNTER: u64 = 0xf0;

/// The devices that interrupt, in the order of one moment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Device {
    Pit,
    Hpet,
    Rtc,
}

/// Every timer that is not a local APIC's.
#[derive(Debug)]
pub struct Timers {
    pit: Pit,
    hpet: Hpet,
    rtc: Rtc,
    /// Lines that level-triggered HPET comparators hold, one bit each.
    hpet_lines: u32,
    /// Cache: the earliest deadline of all.
    deadline: Option<VirtualTime>,
}

impl Persist for Timers {
    fn persist(&mut self, archive: &mut Archive) {
        let Timers { pit, hpet, rtc, hpet_lines, deadline: _ } = self;
        archive.field(pit);
        archive.field(hpet);
        archive.field(rtc);
        archive.field(hpet_lines);
        if archive.is_loading() {
            self.refresh_deadline();
        }
    }
}

impl Timers {
    /// The timers at power-on; `rtc_start_s` is `PowerOn::rtc_start_s`.
    #[must_use]
    pub fn new(rtc_start_s: u64) -> Timers {
        Timers {
            pit: Pit::new(),
            hpet: Hpet::default(),
            rtc: Rtc::new(rtc_start_s),
            hpet_lines: 0,
            deadline: None,
        }
    }

    /// The clock chip, to be looked at.
    #[must_use]
    pub fn rtc(&self) -> &Rtc {
        &self.rtc
    }

    /// Reads a port: 0x40 to 0x43, 0x61, 0x70, 0x71.
    pub fn port_read(&mut self, access: Access, port: u16, interrupts: &mut Interrupts) -> u8 {
        let now = access.now;
        match port {
            0x40..=0x43 | 0x61 => {
                self.drive_pit(now, interrupts);
                let value = self.pit.read(port, now);
                self.refresh_deadline();
                value
            }
            0x70 | 0x71 => {
                self.drive_rtc(now, interrupts);
                let value = self.rtc.read(port, now);
                self.drive_rtc(now, interrupts);
                self.refresh_deadline();
                value
            }
            _ => 0xff,
        }
    }

    /// Writes one of the same ports.
    pub fn port_write(&mut self, access: Access, port: u16, value: u8, interrupts: &mut Interrupts) {
        let now = access.now;
        match port {
            0x40..=0x43 | 0x61 => {
                self.drive_pit(now, interrupts);
                self.pit.write(port, value, now);
                self.drive_pit(now, interrupts);
            }
            0x70 | 0x71 => {
                self.drive_rtc(now, interrupts);
                self.rtc.write(port, value, now);
                self.drive_rtc(now, interrupts);
            }
            _ => {}
        }
        self.refresh_deadline();
    }

    /// Reads the HPET at `offset` (0 to 0x3ff) from its base. A read changes nothing: comparators that are
    /// due but not yet advanced are shown as they will be.
    #[must_use]
    pub fn hpet_read(&self, access: Access, offset: u64, size: u8) -> u64 {
        if offset & !7 == HPET_MAIN_COUNTER {
            return self.hpet.read(offset, size, access.now);
        }
        let mut shown = self.hpet.clone();
        shown.expire(access.now, &mut |_| {});
        shown.read(offset, size, access.now)
    }

    /// Writes the HPET.
    pub fn hpet_write(
        &mut self,
        access: Access,
        offset: u64,
        size: u8,
        value: u64,
        interrupts: &mut Interrupts,
    ) {
        let now = access.now;
        let was_legacy = self.hpet.is_legacy();
        self.drive_hpet(now, interrupts);
        self.hpet.write(offset, size, value, now);
        self.drive_hpet(now, interrupts);
        if was_legacy != self.hpet.is_legacy() {
            self.hand_over(now, interrupts);
        }
        self.refresh_deadline();
    }

    /// The ACPI PM timer, a 32-bit counter (`TMR_VAL_EXT` set in the FADT).
    #[must_use]
    pub fn pm_timer(&self, now: VirtualTime) -> u32 {
        pm_timer(now)
    }

    /// Puts a byte into CMOS (firmware's memory-size bytes); the clock's registers are not touched.
    pub fn set_cmos(&mut self, index: u8, value: u8) {
        self.rtc.set_cmos(index, value);
    }

    /// The next time at which an interrupt line changes by itself.
    #[must_use]
    #[inline]
    pub fn deadline(&self) -> Option<VirtualTime> {
        self.deadline
    }

    /// Drives IRQ 0, IRQ 8 and the HPET lines for everything due up to `now`, in order of (deadline,
    /// device). However long the guest slept, each timer makes at most one edge.
    pub fn advance(&mut self, now: VirtualTime, interrupts: &mut Interrupts) {
        if self.deadline.is_none_or(|deadline| deadline > now) {
            return;
        }
        let mut due = self.deadlines();
        due.sort_unstable();
        for (_, device) in due.into_iter().filter(|(time, _)| time.is_some_and(|time| time <= now)) {
            match device {
                Device::Pit => self.drive_pit(now, interrupts),
                Device::Hpet => self.drive_hpet(now, interrupts),
                Device::Rtc => self.drive_rtc(now, interrupts),
            }
        }
        self.refresh_deadline();
    }

    /// When each device interrupts next. The PIT and the RTC do not while the HPET has their lines.
    fn deadlines(&self) -> [(Option<VirtualTime>, Device); 3] {
        let connected = |deadline: Option<VirtualTime>| deadline.filter(|_| !self.hpet.is_legacy());
        [
            (connected(self.pit.deadline()), Device::Pit),
            (self.hpet.deadline(), Device::Hpet),
            (connected(self.rtc.deadline()), Device::Rtc),
        ]
    }

    fn refresh_deadline(&mut self) {
        self.deadline = self.deadlines().into_iter().filter_map(|(deadline, _)| deadline).min();
    }

    fn drive_pit(&mut self, now: VirtualTime, interrupts: &mut Interrupts) {
        let rose = self.pit.advance(now);
        if self.hpet.is_legacy() {
            return;
        }
        if rose {
            // The output may have risen and fallen, several times, since anybody looked.
            interrupts.set_irq(PIT_IRQ, false, LandmarkKind::Timer);
            interrupts.set_irq(PIT_IRQ, true, LandmarkKind::Timer);
        }
        interrupts.set_irq(PIT_IRQ, self.pit.output(now), LandmarkKind::Timer);
    }

    fn drive_rtc(&mut self, now: VirtualTime, interrupts: &mut Interrupts) {
        self.rtc.settle(now);
        if !self.hpet.is_legacy() {
            interrupts.set_irq(RTC_IRQ, self.rtc.interrupt(), LandmarkKind::Timer);
        }
    }

    fn drive_hpet(&mut self, now: VirtualTime, interrupts: &mut Interrupts) {
        self.hpet.expire(now, &mut |event| {
            interrupts.set_irq(event.irq, true, LandmarkKind::Timer);
            if !event.level {
                interrupts.set_irq(event.irq, false, LandmarkKind::Timer);
            }
        });
        let lines = self.hpet.level_lines();
        let changed = lines ^ self.hpet_lines;
        self.hpet_lines = lines;
        for irq in (0..32).filter(|irq| changed & 1 << irq != 0) {
            interrupts.set_irq(irq, lines & 1 << irq != 0, LandmarkKind::Timer);
        }
    }

    /// Legacy replacement was switched: IRQ 0 and IRQ 8 follow their new owners.
    fn hand_over(&mut self, now: VirtualTime, interrupts: &mut Interrupts) {
        if self.hpet.is_legacy() {
            for irq in [PIT_IRQ, RTC_IRQ] {
                interrupts.set_irq(irq, self.hpet_lines & 1 << irq != 0, LandmarkKind::Timer);
            }
        } else {
            // Edges that the PIT made meanwhile went nowhere.
            self.pit.advance(now);
            interrupts.set_irq(PIT_IRQ, self.pit.output(now), LandmarkKind::Timer);
            self.drive_rtc(now, interrupts);
        }
    }
}

#[cfg(test)]
mod tests;
