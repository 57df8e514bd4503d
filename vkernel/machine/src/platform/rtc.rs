//! The MC146818 real-time clock and its 128 bytes of CMOS memory, at ports 0x70 and 0x71.
//!
//! Motorola MC146818A data sheet. The clock is not stepped: time, flags and interrupts are computed from the
//! guest time at each access. The century is at 0x32, as the FADT says. Left out: daylight saving, the
//! square-wave output, and time bases other than 32.768 kHz. The NMI mask in bit 7 of port 0x70 is ignored,
//! because nothing on this board raises NMI by a line.

use super::civil::Civil;
use boundary::VirtualTime;

const NS_PER_S: u64 = 1_000_000_000;
/// Frequency of the divider chain.
const DIVIDER_HZ: u64 = 32_768;
/// UIP rises 244 us before the update cycle, which takes 1984 us and ends with the new second.
const UPDATE_NS: u64 = 244_000 + 1_984_000;

const SECONDS: u8 = 0;
const SECONDS_ALARM: u8 = 1;
const MINUTES: u8 = 2;
const MINUTES_ALARM: u8 = 3;
const HOURS: u8 = 4;
const HOURS_ALARM: u8 = 5;
const WEEKDAY: u8 = 6;
const DAY: u8 = 7;
const MONTH: u8 = 8;
const YEAR: u8 = 9;
const REGISTER_A: u8 = 0xa;
const REGISTER_B: u8 = 0xb;
const REGISTER_C: u8 = 0xc;
const REGISTER_D: u8 = 0xd;
const CENTURY: u8 = 0x32;

const A_UPDATE_IN_PROGRESS: u8 = 0x80;
const B_SET: u8 = 0x80;
const B_UPDATE_INTERRUPT: u8 = 0x10;
const B_BINARY: u8 = 4;
const B_24_HOURS: u8 = 2;
/// Flags in C and their enables in B are the same bits.
const PERIODIC: u8 = 0x40;
const ALARM: u8 = 0x20;
const UPDATED: u8 = 0x10;
const INTERRUPT: u8 = 0x80;
const PM: u8 = 0x80;
/// An alarm byte from here on matches anything.
const ANY: u8 = 0xc0;

/// The clock chip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rtc {
    index: u8,
    /// All bytes. Those of the clock are current only while it is held, see [`Rtc::is_held`].
    bytes: [u8; 128],
    /// The clock shows `base_s` plus the whole seconds of (guest time + `lead_ns`).
    base_s: i64,
    lead_ns: u64,
    /// What the guest made of the weekday: days to add to the true one.
    weekday_shift: u8,
    /// Flags of register C, as of `settled`.
    flags: u8,
    settled: VirtualTime,
}

crate::persist!(Rtc { index, bytes, base_s, lead_ns, weekday_shift, flags, settled });

impl Rtc {
    /// The chip at power-on, showing `start_s` seconds since 1970: BCD, 24 hours, 1024 Hz selected.
    #[must_use]
    pub fn new(start_s: u64) -> Rtc {
        /// The last second of the year 9999, behind which four digits do not suffice.
        const LAST_S: u64 = 253_402_300_799;
        let mut bytes = [0; 128];
        bytes[usize::from(REGISTER_A)] = 0x26;
        bytes[usize::from(REGISTER_B)] = B_24_HOURS;
        Rtc {
            index: 0,
            bytes,
            base_s: start_s.min(LAST_S) as i64,
            lead_ns: 0,
            weekday_shift: 0,
            flags: 0,
            settled: VirtualTime(0),
        }
    }

    /// Puts a byte into memory as firmware would; the clock's own registers are left alone.
    pub fn set_cmos(&mut self, index: u8, value: u8) {
        if index > REGISTER_D && index != CENTURY && index < 128 {
            self.bytes[usize::from(index)] = value;
        }
    }

    fn byte(&self, index: u8) -> u8 {
        self.bytes[usize::from(index & 0x7f)]
    }

    fn is_divider_reset(&self) -> bool {
        self.byte(REGISTER_A) & 0x60 == 0x60
    }

    /// Whether the clock stands still: while it is being set, or its divider is held in reset.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.byte(REGISTER_B) & B_SET != 0 || self.is_divider_reset()
    }

    /// Time of the divider chain.
    fn divider_ns(&self, now: VirtualTime) -> u64 {
        now.0.saturating_add(self.lead_ns)
    }

    fn seconds(&self, now: VirtualTime) -> i64 {
        self.base_s.saturating_add((self.divider_ns(now) / NS_PER_S) as i64)
    }

    /// When the divider chain is at `ns`.
    fn time_of(&self, divider_ns: u128) -> VirtualTime {
        let ns = divider_ns.saturating_sub(u128::from(self.lead_ns));
        VirtualTime(u64::try_from(ns).unwrap_or(u64::MAX))
    }

    /// Divider ticks in a periodic interrupt, as a power of two; `None` when none is selected.
    fn periodic_shift(&self) -> Option<u32> {
        match u32::from(self.byte(REGISTER_A) & 0xf) {
            _ if self.is_divider_reset() => None,
            0 => None,
            rate @ (1 | 2) => Some(rate + 6),
            rate => Some(rate - 1),
        }
    }

    fn periodic_index(&self, now: VirtualTime, shift: u32) -> u64 {
        let ticks = u128::from(self.divider_ns(now)) * u128::from(DIVIDER_HZ) / u128::from(NS_PER_S);
        (ticks >> shift) as u64
    }

    /// Sets the flags of everything that happened up to `now`.
    pub fn settle(&mut self, now: VirtualTime) {
        let before = self.settled;
        if now <= before {
            return;
        }
        if let Some(shift) = self.periodic_shift()
            && self.periodic_index(before, shift) != self.periodic_index(now, shift)
        {
            self.flags |= PERIODIC;
        }
        if !self.is_held() && self.seconds(before) != self.seconds(now) {
            self.flags |= UPDATED;
            if self.next_alarm(self.seconds(before)).is_some_and(|alarm| alarm <= self.seconds(now)) {
                self.flags |= ALARM;
            }
        }
        self.settled = now;
    }

    /// The first second after `after` that the alarm bytes match.
    fn next_alarm(&self, after: i64) -> Option<i64> {
        let matches = |value: i64, index: u8| {
            let alarm = self.byte(index);
            let own = if index == HOURS_ALARM { self.encode_hour(value) } else { self.encode(value) };
            alarm >= ANY || alarm == own
        };
        // An alarm that no time of day matches would be searched for in vain.
        let possible = |range: i64, index: u8| (0..range).any(|value| matches(value, index));
        if !(possible(24, HOURS_ALARM) && possible(60, MINUTES_ALARM) && possible(60, SECONDS_ALARM)) {
            return None;
        }
        let mut second = after.checked_add(1)?;
        loop {
            let of_day = second.rem_euclid(86_400);
            if !matches(of_day / 3600, HOURS_ALARM) {
                second = second.checked_add(3600 - of_day % 3600)?;
            } else if !matches(of_day / 60 % 60, MINUTES_ALARM) {
                second = second.checked_add(60 - of_day % 60)?;
            } else if !matches(of_day % 60, SECONDS_ALARM) {
                second = second.checked_add(1)?;
            } else {
                return Some(second);
            }
        }
    }

    /// Level of IRQ 8 as of the last [`Rtc::settle`]: high until register C is read.
    #[must_use]
    pub fn interrupt(&self) -> bool {
        self.flags & self.byte(REGISTER_B) & (PERIODIC | ALARM | UPDATED) != 0
    }

    /// When IRQ 8 rises next by itself.
    #[must_use]
    pub fn deadline(&self) -> Option<VirtualTime> {
        let enabled = self.byte(REGISTER_B);
        if self.interrupt() || enabled & (PERIODIC | ALARM | UPDATED) == 0 {
            return None;
        }
        let nanoseconds = |seconds: u64| u128::from(seconds) * u128::from(NS_PER_S);
        let periodic = self.periodic_shift().filter(|_| enabled & PERIODIC != 0).map(|shift| {
            let tick = (u128::from(self.periodic_index(self.settled, shift)) + 1) << shift;
            self.time_of((tick * u128::from(NS_PER_S)).div_ceil(u128::from(DIVIDER_HZ)))
        });
        let running = !self.is_held();
        let updated = (running && enabled & UPDATED != 0)
            .then(|| self.time_of(nanoseconds(self.divider_ns(self.settled) / NS_PER_S + 1)));
        let alarm = (running && enabled & ALARM != 0)
            .then(|| self.next_alarm(self.seconds(self.settled)))
            .flatten()
            .map(|second| self.time_of(nanoseconds(second.abs_diff(self.base_s))));
        [periodic, updated, alarm].into_iter().flatten().min()
    }

    /// The date and time that the clock shows at `now`, for whoever looks from outside.
    #[must_use]
    pub fn date(&self, now: VirtualTime) -> Civil {
        let mut shown = self.clone();
        if !shown.is_held() {
            shown.show_time(now);
        }
        shown.civil()
    }

    /// What the guest would read from a register at `now`. Nothing comes of it: its index stays, and so do the flags of
    /// register C.
    #[must_use]
    pub fn peek(&self, register: u8, now: VirtualTime) -> u8 {
        let mut shown = self.clone();
        shown.index = register & 0x7f;
        shown.read(0x71, now)
    }

    /// Reads port 0x70 or 0x71.
    pub fn read(&mut self, port: u16, now: VirtualTime) -> u8 {
        if port != 0x71 {
            return 0xff;
        }
        self.settle(now);
        match self.index {
            REGISTER_A => {
                let phase_ns = self.divider_ns(now) % NS_PER_S;
                let updating = !self.is_held() && phase_ns >= NS_PER_S - UPDATE_NS;
                self.byte(REGISTER_A) | if updating { A_UPDATE_IN_PROGRESS } else { 0 }
            }
            REGISTER_C => {
                let interrupt = if self.interrupt() { INTERRUPT } else { 0 };
                std::mem::take(&mut self.flags) | interrupt
            }
            // The battery is good.
            REGISTER_D => 0x80,
            index => {
                if is_clock(index) && !self.is_held() {
                    self.show_time(now);
                }
                self.byte(index)
            }
        }
    }

    /// Writes port 0x70 or 0x71.
    pub fn write(&mut self, port: u16, value: u8, now: VirtualTime) {
        if port == 0x70 {
            self.index = value & 0x7f;
            return;
        }
        self.settle(now);
        match self.index {
            REGISTER_A | REGISTER_B => self.write_control(value, now),
            REGISTER_C | REGISTER_D => {}
            index if is_clock(index) && !self.is_held() => {
                self.show_time(now);
                self.bytes[usize::from(index)] = value;
                self.take_time(now);
            }
            index => self.bytes[usize::from(index)] = value,
        }
    }

    /// Registers A and B, which stop and start the clock.
    fn write_control(&mut self, value: u8, now: VirtualTime) {
        let (was_held, was_reset) = (self.is_held(), self.is_divider_reset());
        if !was_held {
            self.show_time(now);
        }
        self.bytes[usize::from(self.index)] = match self.index {
            REGISTER_A => value & !A_UPDATE_IN_PROGRESS,
            // Setting the clock forbids the update-ended interrupt.
            _ if value & B_SET != 0 => value & !B_UPDATE_INTERRUPT,
            _ => value,
        };
        if was_reset && !self.is_divider_reset() {
            // The first update comes half a second after the divider is released.
            self.lead_ns = (NS_PER_S * 3 / 2 - now.0 % NS_PER_S) % NS_PER_S;
        }
        if was_held && !self.is_held() {
            self.take_time(now);
        }
    }

    /// Puts the time into the clock bytes.
    fn show_time(&mut self, now: VirtualTime) {
        let civil = Civil::from_seconds(self.seconds(now));
        let weekday = (civil.weekday + i64::from(self.weekday_shift)) % 7 + 1;
        for (index, value) in [
            (SECONDS, civil.second),
            (MINUTES, civil.minute),
            (WEEKDAY, weekday),
            (DAY, civil.day),
            (MONTH, civil.month),
            (YEAR, civil.year.rem_euclid(100)),
            (CENTURY, civil.year.div_euclid(100).rem_euclid(100)),
        ] {
            self.bytes[usize::from(index)] = self.encode(value);
        }
        self.bytes[usize::from(HOURS)] = self.encode_hour(civil.hour);
    }

    /// What the clock bytes say.
    fn civil(&self) -> Civil {
        let field = |index: u8| self.decode(self.byte(index));
        Civil {
            year: field(CENTURY) * 100 + field(YEAR),
            month: field(MONTH),
            day: field(DAY),
            weekday: field(WEEKDAY) - 1,
            hour: self.decode_hour(self.byte(HOURS)),
            minute: field(MINUTES),
            second: field(SECONDS),
        }
    }

    /// Takes the time from the clock bytes; the clock goes on from it.
    fn take_time(&mut self, now: VirtualTime) {
        let civil = self.civil();
        let seconds = civil.to_seconds();
        self.weekday_shift = (civil.weekday - Civil::from_seconds(seconds).weekday).rem_euclid(7) as u8;
        self.base_s = seconds - (self.divider_ns(now) / NS_PER_S) as i64;
    }

    fn encode(&self, value: i64) -> u8 {
        let value = value as u8;
        if self.byte(REGISTER_B) & B_BINARY != 0 { value } else { ((value / 10 % 10) << 4) | (value % 10) }
    }

    fn decode(&self, byte: u8) -> i64 {
        let binary = self.byte(REGISTER_B) & B_BINARY != 0;
        i64::from(if binary { byte } else { (byte >> 4) * 10 + (byte & 0xf) })
    }

    fn encode_hour(&self, hour: i64) -> u8 {
        if self.byte(REGISTER_B) & B_24_HOURS != 0 {
            return self.encode(hour);
        }
        self.encode((hour + 11) % 12 + 1) | if hour >= 12 { PM } else { 0 }
    }

    fn decode_hour(&self, byte: u8) -> i64 {
        if self.byte(REGISTER_B) & B_24_HOURS != 0 {
            return self.decode(byte);
        }
        self.decode(byte & !PM) % 12 + if byte & PM != 0 { 12 } else { 0 }
    }
}

/// Whether a byte belongs to the running clock; the alarm bytes do not.
fn is_clock(index: u8) -> bool {
    matches!(index, SECONDS | MINUTES | HOURS | WEEKDAY..=YEAR | CENTURY)
}

#[cfg(test)]
mod tests;
