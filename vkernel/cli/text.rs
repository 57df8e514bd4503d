//! Numbers, dates and texts as people and programs read them.

/// `2026-11-21 03:14:15 UTC`.
pub fn date(unix_s: u64) -> String {
    let compact = recorder::date_time(unix_s);
    // YYYYMMDD-HHMMSS; only the year can have more digits, in a trace that lies.
    let (day, time) = compact.split_once('-').unwrap_or_default();
    let (year, day) = day.split_at(day.len().saturating_sub(4));
    format!("{year}-{}-{} {}:{}:{} UTC", &day[..2], &day[2..], &time[..2], &time[2..4], &time[4..])
}

/// A number of bytes in three digits or so: `512 B`, `48.3 kB`. Decimal, as disks are sold.
pub fn bytes(count: u64) -> String {
    scaled(count, ["B", "kB", "MB", "GB", "TB"])
}

/// A count in three digits or so: `1.62 G`.
pub fn count(count: u64) -> String {
    scaled(count, ["", "k", "M", "G", "T"]).trim_end().to_owned()
}

fn scaled(count: u64, units: [&str; 5]) -> String {
    let mut value = count as f64;
    let mut unit = 0;
    // What would round to four digits gets the next unit.
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    let decimals = match value {
        _ if unit == 0 => 0,
        value if value < 9.995 => 2,
        value if value < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {}", units[unit])
}

/// Text of a guest's making, harmless to a terminal and on one line.
pub fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// A command line that a shell reads back as these words.
pub fn shell(words: &[String]) -> String {
    let quoted = words.iter().map(|word| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
        if !word.is_empty() && word.chars().all(is_plain) {
            word.clone()
        } else {
            format!("'{}'", harmless(word).replace('\'', r"'\''"))
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_utc_whatever_the_number() {
        assert_eq!(date(1_795_230_855), "2026-11-21 03:14:15 UTC");
        assert_eq!(date(0), "1970-01-01 00:00:00 UTC");
        assert!(date(u64::MAX).ends_with("UTC"));
    }

    #[test]
    fn numbers_have_three_digits_or_so() {
        for (number, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.00 kB"),
            (9_996, "10.0 kB"),
            (48_312, "48.3 kB"),
            (999_600, "1.00 MB"),
        ] {
            assert_eq!(bytes(number), text);
        }
        assert_eq!(count(12), "12");
        assert_eq!(count(1_620_000_000), "1.62 G");
        assert_eq!(bytes(u64::MAX), "18446744 TB");
    }

    #[test]
    fn shell_words_read_back_and_cannot_command_a_terminal() {
        let words = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(shell(&words(&["vkernel", "-m", "1g", "it's", ""])), r"vkernel -m 1g 'it'\''s' ''");
        assert!(!shell(&words(&["\u{1b}[2J"])).contains('\u{1b}'));
    }
}
