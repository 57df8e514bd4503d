//! The Gregorian calendar: seconds since 1970 to date and back, for the clock chip.

/// A date and a time of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Civil {
    /// The year.
    pub year: i64,
    /// 1 to 12.
    pub month: i64,
    /// 1 to 31.
    pub day: i64,
    /// 0 (Sunday) to 6.
    pub weekday: i64,
    /// 0 to 23.
    pub hour: i64,
    /// 0 to 59.
    pub minute: i64,
    /// 0 to 59.
    pub second: i64,
}

const DAY_S: i64 = 86_400;
/// Days of 400 years, after which the calendar repeats.
const CYCLE_DAYS: i64 = 146_097;
/// Days from 1 March of year 0 to 1 January 1970. Years counted from March have the leap day at their end.
const EPOCH_DAYS: i64 = 719_468;

impl Civil {
    /// The date of a number of seconds since 1970.
    #[must_use]
    pub fn from_seconds(seconds: i64) -> Civil {
        let days = seconds.div_euclid(DAY_S);
        let rest = seconds.rem_euclid(DAY_S);
        let shifted = days + EPOCH_DAYS;
        let (cycle, in_cycle) = (shifted.div_euclid(CYCLE_DAYS), shifted.rem_euclid(CYCLE_DAYS));
        let year = (in_cycle - in_cycle / 1460 + in_cycle / 36_524 - in_cycle / 146_096) / 365;
        let in_year = in_cycle - (365 * year + year / 4 - year / 100);
        let march_month = (5 * in_year + 2) / 153;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        Civil {
            year: cycle * 400 + year + i64::from(month <= 2),
            month,
            day: in_year - (153 * march_month + 2) / 5 + 1,
            weekday: (days + 4).rem_euclid(7),
            hour: rest / 3600,
            minute: rest / 60 % 60,
            second: rest % 60,
        }
    }

    /// Seconds since 1970. The weekday is not looked at; a month out of range is taken as the nearest, and
    /// other fields out of range run over, because a guest can write what it likes.
    #[must_use]
    pub fn to_seconds(&self) -> i64 {
        let month = self.month.clamp(1, 12);
        let year = self.year - i64::from(month <= 2);
        let march_month = (month + 9) % 12;
        let (cycle, in_cycle) = (year.div_euclid(400), year.rem_euclid(400));
        let days = cycle * CYCLE_DAYS + 365 * in_cycle + in_cycle / 4 - in_cycle / 100
            + (153 * march_month + 2) / 5
            + self.day
            - 1
            - EPOCH_DAYS;
        days * DAY_S + self.hour * 3600 + self.minute * 60 + self.second
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates() {
        let date = |seconds| {
            let civil = Civil::from_seconds(seconds);
            (civil.year, civil.month, civil.day, civil.weekday, civil.hour, civil.minute, civil.second)
        };
        assert_eq!(date(0), (1970, 1, 1, 4, 0, 0, 0));
        assert_eq!(date(951_782_400), (2000, 2, 29, 2, 0, 0, 0));
        assert_eq!(date(1_000_000_000), (2001, 9, 9, 0, 1, 46, 40));
        assert_eq!(date(4_107_542_399), (2100, 2, 28, 0, 23, 59, 59));
        assert_eq!(date(-1), (1969, 12, 31, 3, 23, 59, 59));
    }

    #[test]
    fn every_day_of_two_cycles_goes_there_and_back() {
        for day in -CYCLE_DAYS..CYCLE_DAYS {
            let seconds = day * DAY_S + 12_345;
            assert_eq!(Civil::from_seconds(seconds).to_seconds(), seconds);
        }
    }
}
