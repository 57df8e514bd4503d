//! The ACPI power management timer: a counter of 3.579545 MHz that nobody can stop.
//!
//! ACPI 6.5, 4.8.3.3. It has no state at all: the count is a function of the time. The carry interrupt
//! (`TMR_STS`) is left out; the FADT of this machine says that the counter has 32 bits, and no kernel asks for it.

use boundary::VirtualTime;

/// Frequency of the counter.
pub const PM_TIMER_HZ: u64 = 3_579_545;

/// The counter at `now`, in its 32-bit form (`TMR_VAL_EXT`); the 24-bit form is its lower part.
#[must_use]
pub fn pm_timer(now: VirtualTime) -> u32 {
    (u128::from(now.0) * u128::from(PM_TIMER_HZ) / 1_000_000_000) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_exactly_and_wraps() {
        assert_eq!(pm_timer(VirtualTime(0)), 0);
        assert_eq!(pm_timer(VirtualTime(279)), 0);
        assert_eq!(pm_timer(VirtualTime(280)), 1);
        assert_eq!(pm_timer(VirtualTime(1_000_000_000)), 3_579_545);
        let hour_s = 3600;
        assert_eq!(pm_timer(VirtualTime(hour_s * 1_000_000_000)), (hour_s * PM_TIMER_HZ) as u32);
        assert!(pm_timer(VirtualTime(u64::MAX)) > 0);
    }
}
