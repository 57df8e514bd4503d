//! The timer of a local APIC: one-shot, periodic and TSC-deadline.
//!
//! Intel SDM volume 3, 12.5.4. Counts are never stepped: the timer keeps the time at which it expires, and
//! the current count is computed from it. A periodic deadline follows from the one before, so it does not
//! drift however late the guest is woken.

use super::layout::CRYSTAL_HZ;
use boundary::VirtualTime;

/// One input clock, 40 ns.
const INPUT_NS: u64 = 1_000_000_000 / CRYSTAL_HZ;

/// Bits 18:17 of the timer's LVT entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Counts down once.
    #[default]
    OneShot,
    /// Counts down again and again.
    Periodic,
    /// Expires at the time in `IA32_TSC_DEADLINE`.
    TscDeadline,
}

crate::persist_enum!(Mode { OneShot, Periodic, TscDeadline });

impl Mode {
    /// The mode in a timer LVT entry. The reserved encoding counts down once.
    #[must_use]
    pub fn decode(lvt: u32) -> Mode {
        match (lvt >> 17) & 3 {
            1 => Mode::Periodic,
            2 => Mode::TscDeadline,
            _ => Mode::OneShot,
        }
    }
}

/// The countdown; masking and the vector belong to the LVT.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LapicTimer {
    mode: Mode,
    divide: u32,
    initial: u32,
    expires: Option<VirtualTime>,
}

crate::persist!(LapicTimer { mode, divide, initial, expires });

impl LapicTimer {
    /// Length of one count.
    fn tick_ns(&self) -> u64 {
        let code = (self.divide & 3) | ((self.divide >> 1) & 4);
        INPUT_NS << ((code + 1) & 7)
    }

    fn period_ns(&self) -> u64 {
        u64::from(self.initial) * self.tick_ns()
    }

    /// By how much the divide configuration divides the input clock: 1 to 128.
    #[must_use]
    pub fn divisor(&self) -> u64 {
        self.tick_ns() / INPUT_NS
    }

    /// When the timer expires next.
    #[must_use]
    pub fn expires(&self) -> Option<VirtualTime> {
        self.expires
    }

    /// How the timer counts.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The divide configuration register.
    #[must_use]
    pub fn divide(&self) -> u32 {
        self.divide
    }

    /// The initial count register.
    #[must_use]
    pub fn initial(&self) -> u32 {
        self.initial
    }

    /// The current count register.
    #[must_use]
    pub fn current(&self, now: VirtualTime) -> u32 {
        let Some(expires) = self.expires else { return 0 };
        let remaining_ns = match (expires.0.checked_sub(now.0), self.mode) {
            (_, Mode::TscDeadline) => 0,
            (Some(remaining_ns), _) if remaining_ns > 0 => remaining_ns,
            (_, Mode::OneShot) => 0,
            // A masked timer is not woken to expire, so several periods may lie behind.
            (_, Mode::Periodic) => {
                let period_ns = self.period_ns().max(1);
                period_ns - (now.0 - expires.0) % period_ns
            }
        };
        remaining_ns.div_ceil(self.tick_ns()) as u32
    }

    /// Writes the initial count, which starts the timer, or stops it with 0.
    pub fn set_initial(&mut self, count: u32, now: VirtualTime) {
        if self.mode != Mode::TscDeadline {
            self.initial = count;
            self.expires = (count != 0).then(|| now.plus(self.period_ns()));
        }
    }

    /// Writes the divide configuration; what remains of the count goes on at the new rate.
    pub fn set_divide(&mut self, value: u32, now: VirtualTime) {
        let current = self.current(now);
        self.divide = value & 0xb;
        if self.mode != Mode::TscDeadline && current != 0 {
            self.expires = Some(now.plus(u64::from(current) * self.tick_ns()));
        }
    }

    /// Follows the mode in the LVT. Entering or leaving TSC-deadline mode disarms.
    pub fn set_mode(&mut self, mode: Mode) {
        if mode != self.mode && (mode == Mode::TscDeadline || self.mode == Mode::TscDeadline) {
            self.expires = None;
            self.initial = 0;
        }
        self.mode = mode;
    }

    /// Arms or disarms TSC-deadline mode; ignored in the others.
    pub fn set_deadline(&mut self, deadline: Option<VirtualTime>) {
        if self.mode == Mode::TscDeadline {
            self.expires = deadline;
        }
    }

    /// Whether the timer expired up to `now`. However many periods passed, it is one expiry, and the next
    /// lies on the same grid.
    pub fn expire(&mut self, now: VirtualTime) -> bool {
        let Some(expires) = self.expires.filter(|expires| *expires <= now) else { return false };
        let period_ns = self.period_ns();
        self.expires = if self.mode == Mode::Periodic && period_ns != 0 {
            let periods = (now.0 - expires.0) / period_ns + 1;
            Some(expires.plus(periods.saturating_mul(period_ns)))
        } else {
            None
        };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timer(mode: Mode, divide: u32, count: u32) -> LapicTimer {
        let mut timer = LapicTimer::default();
        timer.set_mode(mode);
        timer.set_divide(divide, VirtualTime(0));
        timer.set_initial(count, VirtualTime(1000));
        timer
    }

    #[test]
    fn divide_codes_are_those_of_the_manual() {
        for (code, divisor) in
            [(0, 2), (1, 4), (2, 8), (3, 16), (0b1000, 32), (0b1001, 64), (0b1010, 128), (0b1011, 1)]
        {
            let timer = timer(Mode::OneShot, code, 1);
            assert_eq!((timer.divisor(), timer.tick_ns()), (divisor, 40 * divisor));
        }
    }

    #[test]
    fn one_shot_counts_down_once() {
        let mut timer = timer(Mode::OneShot, 0b1011, 100);
        assert_eq!(timer.current(VirtualTime(1000)), 100);
        assert_eq!(timer.current(VirtualTime(1039)), 100);
        assert_eq!(timer.current(VirtualTime(1040)), 99);
        assert!(!timer.expire(VirtualTime(4999)));
        assert!(timer.expire(VirtualTime(5000)));
        assert!(!timer.expire(VirtualTime(9000)));
        assert_eq!(timer.current(VirtualTime(9000)), 0);
    }

    #[test]
    fn periodic_stays_on_its_grid_after_a_long_sleep() {
        let mut timer = timer(Mode::Periodic, 0b1011, 100);
        assert!(timer.expire(VirtualTime(5007)));
        assert_eq!(timer.expires(), Some(VirtualTime(9000)));
        assert!(timer.expire(VirtualTime(4_000_000_000_000)));
        assert_eq!(timer.expires(), Some(VirtualTime(4_000_000_001_000)));
        assert_eq!(timer.initial(), 100);
    }

    #[test]
    fn current_count_of_a_sleeping_periodic_timer_goes_round() {
        let timer = timer(Mode::Periodic, 0b1011, 100);
        assert_eq!(timer.current(VirtualTime(5000)), 100);
        assert_eq!(timer.current(VirtualTime(9040)), 99);
    }

    #[test]
    fn deadline_mode_ignores_counts_and_disarms_on_leaving() {
        let mut timer = timer(Mode::TscDeadline, 0, 100);
        assert_eq!(timer.expires(), None);
        timer.set_deadline(Some(VirtualTime(77)));
        assert_eq!(timer.current(VirtualTime(5)), 0);
        timer.set_mode(Mode::OneShot);
        assert_eq!(timer.expires(), None);
        timer.set_deadline(Some(VirtualTime(77)));
        assert_eq!(timer.expires(), None, "only in TSC-deadline mode");
    }

    #[test]
    fn changing_the_divisor_keeps_the_count() {
        let mut timer = timer(Mode::OneShot, 0b1011, 100);
        timer.set_divide(0, VirtualTime(3000));
        assert_eq!(timer.current(VirtualTime(3000)), 50);
        assert_eq!(timer.expires(), Some(VirtualTime(3000 + 50 * 80)));
    }

    #[test]
    fn largest_values_do_not_overflow() {
        let mut timer = timer(Mode::Periodic, 0b1010, u32::MAX);
        timer.set_initial(u32::MAX, VirtualTime(u64::MAX - 1));
        assert!(timer.expire(VirtualTime(u64::MAX)));
        assert_eq!(timer.current(VirtualTime(u64::MAX)), u32::MAX);
    }
}
