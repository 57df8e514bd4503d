//! Guest time from counts (DESIGN: virtual time = charges + idle jumps).
//!
//! While n vCPUs are runnable, n counts take one nanosecond: the vCPUs run side by side in guest time though
//! one after the other here. Fractions are kept exactly, in units that every n from 1 to 16 divides.

use crate::persist;
use boundary::VirtualTime;

/// Units in a nanosecond: the least common multiple of 1 to 16.
const UNITS: u64 = 720_720;

/// Converts counts to time.
#[derive(Clone, Debug)]
pub struct Clock {
    /// Time at `base_icount`, whole nanoseconds.
    base_ns: u64,
    /// And the rest, in units.
    base_units: u64,
    base_icount: u64,
    /// Units a count takes now.
    units_per_count: u64,
}
persist!(Clock { base_ns, base_units, base_icount, units_per_count });

impl Default for Clock {
    fn default() -> Clock {
        Clock { base_ns: 0, base_units: 0, base_icount: 0, units_per_count: UNITS }
    }
}

impl Clock {
    /// The time at `icount`, which must not lie before the last change of rate or charge.
    #[must_use]
    #[inline]
    pub fn at(&self, icount: u64) -> VirtualTime {
        let units = (icount - self.base_icount) * self.units_per_count + self.base_units;
        VirtualTime(self.base_ns + units / UNITS)
    }

    /// How many counts from `icount` until `deadline` is reached (0 when it already is).
    #[must_use]
    pub fn counts_until(&self, icount: u64, deadline: VirtualTime) -> u64 {
        let past = (icount - self.base_icount) * self.units_per_count + self.base_units;
        let Some(ahead_ns) = deadline.0.checked_sub(self.base_ns) else { return 0 };
        // A day of guest time ahead is as good as never, and keeps the product in range.
        let ahead = ahead_ns.min(86_400_000_000_000) as u128 * u128::from(UNITS);
        let missing = ahead.saturating_sub(u128::from(past));
        missing.div_ceil(u128::from(self.units_per_count)) as u64
    }

    fn rebase(&mut self, icount: u64) {
        let units = (icount - self.base_icount) * self.units_per_count + self.base_units;
        self.base_ns += units / UNITS;
        self.base_units = units % UNITS;
        self.base_icount = icount;
    }

    /// From `icount` on, `runnable` vCPUs (1 to 16) share the time.
    pub fn set_runnable(&mut self, icount: u64, runnable: usize) {
        let units_per_count = UNITS / runnable.clamp(1, 16) as u64;
        if units_per_count != self.units_per_count {
            self.rebase(icount);
            self.units_per_count = units_per_count;
        }
    }

    /// Charges `extra_ns` at `icount`.
    pub fn charge(&mut self, icount: u64, extra_ns: u64) {
        self.rebase(icount);
        self.base_ns += extra_ns;
    }

    /// A clock that says `now` at `icount`, as after a reset.
    #[must_use]
    pub fn restarted(icount: u64, now: VirtualTime) -> Clock {
        Clock { base_ns: now.0, base_icount: icount, ..Clock::default() }
    }

    /// Jumps to `time` at `icount`; never backwards.
    pub fn jump(&mut self, icount: u64, time: VirtualTime) {
        self.rebase(icount);
        if time.0 > self.base_ns {
            self.base_ns = time.0;
            self.base_units = 0;
        }
    }
}
