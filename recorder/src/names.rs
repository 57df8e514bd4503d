//! Names of recordings: `vmlinuz-6.1.0-20261121-031415`.

/// The longest part of a name that comes from the kernel's.
const KERNEL_NAME_BYTES: usize = 64;

/// The name of a recording of the kernel file `kernel` (a path or a name) begun at this time.
pub(crate) fn recording_name(kernel: &str, started_s: u64) -> String {
    let base = kernel.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._+-".contains(c) { c } else { '_' };
    let base: String =
        base.trim_start_matches(['.', '-']).chars().take(KERNEL_NAME_BYTES).map(plain).collect();
    let base = if base.is_empty() { "kernel" } else { &base };
    format!("{base}-{}", date_time(started_s))
}

/// Whether a recording can have this name that a user has chosen.
pub(crate) fn is_recording_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.len() <= KERNEL_NAME_BYTES
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "._+-".contains(c))
        && !["latest", "latest-fail"].contains(&name)
}

/// `20261121-031415`, in UTC: the name must not depend on where the recorder stands.
#[must_use]
pub fn date_time(unix_s: u64) -> String {
    let (days, second_of_day) = (unix_s / 86_400, unix_s % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60);
    format!("{year:04}{month:02}{day:02}-{hour:02}{minute:02}{second:02}")
}

/// Year, month and day of a day counted from 1970-01-01, in the proleptic Gregorian calendar.
fn civil(days: u64) -> (u64, u64, u64) {
    // Counted from 1 March of year 0, so that the leap day is the last of a year; 400 years have 146097 days.
    let days = days.saturating_add(719_468);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months from March on repeat 31, 30, 31, 30, 31: 153 days in five.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let (month, next_year) =
        if month_from_march < 10 { (month_from_march + 3, 0) } else { (month_from_march - 9, 1) };
    (era * 400 + year_of_era + next_year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_date_u() {
        for (unix_s, expected) in [
            (0, "19700101-000000"),
            (951_827_696, "20000229-123456"),
            (1_795_230_855, "20261121-031415"),
            (4_107_542_399, "21000228-235959"),
            (4_107_542_400, "21000301-000000"),
        ] {
            assert_eq!(date_time(unix_s), expected);
        }
        assert!(!date_time(u64::MAX).is_empty());
    }

    #[test]
    fn a_name_is_one_harmless_path_component() {
        for (kernel, expected) in [
            ("/boot/vmlinuz-6.1.0", "vmlinuz-6.1.0"),
            ("demo:", "demo_"),
            ("../..", "kernel"),
            ("-rf", "rf"),
            ("my kernel\n$(x)", "my_kernel___x_"),
            ("", "kernel"),
            ("build/", "build"),
        ] {
            assert_eq!(recording_name(kernel, 0), format!("{expected}-19700101-000000"));
        }
        assert!(recording_name(&"k".repeat(5000), 0).len() < 100);
    }
}
