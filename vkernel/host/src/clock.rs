//! The host's two clocks. Only the live end of a timeline may read them; what they say enters the machine as
//! wake-ups and as the RTC's start, never otherwise.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A monotonic clock that counts from its making, and the wall clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    pub(crate) fn new() -> Clock {
        Clock { origin: Instant::now() }
    }

    /// Nanoseconds since this clock was made; 584 years fit.
    pub(crate) fn monotonic_ns(self) -> u64 {
        nanoseconds(self.origin.elapsed())
    }

    /// Nanoseconds since 1970; 0 if the host's clock stands before that.
    pub(crate) fn wall_clock_ns(self) -> u64 {
        nanoseconds(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monotonic_clock_advances_and_the_wall_clock_is_of_this_century() {
        let clock = Clock::new();
        let before = clock.monotonic_ns();
        std::thread::sleep(Duration::from_millis(2));
        let elapsed_ns = clock.monotonic_ns() - before;
        assert!(elapsed_ns >= 2_000_000, "{elapsed_ns}");
        let year_2020_ns = 1_577_836_800_000_000_000;
        assert!(clock.wall_clock_ns() > year_2020_ns);
    }
}
