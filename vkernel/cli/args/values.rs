//! Values of options, each from its text: sizes, durations, processors, places. No effects, and every message says
//! what would be right.

use boundary::{Icount, Mark, Topology, VirtualTime};
use machine::CacheLimits;
use std::num::IntErrorKind;

const MIB: u64 = 1 << 20;
/// The least RAM; vkernel(7) has the same.
const LEAST_RAM_BYTES: u64 = 64 * MIB;
/// The most RAM: 1 TiB, far above what a host will give.
const MOST_RAM_BYTES: u64 = 1 << 40;

/// Where `--limit` ends the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// At this guest time.
    Time(VirtualTime),
    /// At this count of instructions.
    Instructions(Icount),
    /// Nowhere, not even where it would without the option.
    Never,
}

/// To which processors of the host the machine is bound (`-l`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CpuLock {
    /// To none in particular.
    #[default]
    Any,
    /// To this one.
    Cpu(u16),
}

/// `-m`: RAM in bytes.
pub fn ram_size(text: &str) -> Result<u64, String> {
    let advice = "give it as in 512m or 2g";
    let bytes = size(text)?;
    if bytes < LEAST_RAM_BYTES {
        // QEMU's -m counts megabytes, and so do many people's fingers.
        let meant = if text.bytes().all(|byte| byte.is_ascii_digit()) && bytes >= 64 {
            format!("; for {text} megabytes write {text}m")
        } else {
            String::new()
        };
        return Err(format!("{bytes} bytes are less than the least, 64m{meant}"));
    }
    if bytes > MOST_RAM_BYTES {
        return Err(format!("more than the most, 1024g: {advice}"));
    }
    if !bytes.is_multiple_of(2 * MIB) {
        return Err(format!("not a multiple of 2m: {advice}"));
    }
    Ok(bytes)
}

/// A number of bytes, with `k`, `m` or `g` for binary multiples.
fn size(text: &str) -> Result<u64, String> {
    let shift = match text.bytes().last().map(|byte| byte.to_ascii_lowercase()) {
        Some(b'k') => 10,
        Some(b'm') => 20,
        Some(b'g') => 30,
        _ => 0,
    };
    let number = if shift == 0 { text } else { &text[..text.len() - 1] };
    let wrong = || format!("`{text}` is no size: give bytes, or a number with k, m or g");
    let number = integer(number).map_err(|_| wrong())?;
    number.checked_mul(1 << shift).ok_or_else(wrong)
}

/// An unsigned number: decimal with `_` allowed, or hexadecimal after `0x`.
pub fn integer(text: &str) -> Result<u64, String> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    let digits: String = digits.chars().filter(|c| *c != '_').collect();
    // from_str_radix takes a sign, and an option is no place for one.
    if !digits.chars().all(|c| c.is_digit(radix)) {
        return Err(format!("`{text}` is no number"));
    }
    u64::from_str_radix(&digits, radix).map_err(|error| match error.kind() {
        IntErrorKind::PosOverflow => format!("{text} does not fit into 64 bits"),
        _ => format!("`{text}` is no number"),
    })
}

/// A 32-bit [`integer`].
pub fn integer32(text: &str) -> Result<u32, String> {
    u32::try_from(integer(text)?).map_err(|_| format!("{text} does not fit into 32 bits"))
}

/// `--cache-limits OPERATIONS:TRANSLATIONS`.
pub fn cache_limits(text: &str) -> Result<CacheLimits, String> {
    let least = CacheLimits::LEAST;
    let (operations, translations) = text.split_once(':').ok_or("it is OPERATIONS:TRANSLATIONS")?;
    let part = |part: &str, least: usize| {
        let number = usize::try_from(integer(part)?).map_err(|error| error.to_string())?;
        if number < least { Err(format!("{number} is too few: at least {least}")) } else { Ok(number) }
    };
    Ok(CacheLimits {
        operations: part(operations, least.operations)?,
        translations: part(translations, least.translations)?,
    })
}

/// `-n ncpus[:lbits[:cbits]]`. Without lbits a core has one thread; without cbits all cores are in one package.
pub fn processors(text: &str) -> Result<Topology, String> {
    let mut parts = text.split(':');
    let vcpus = parts.next().and_then(|ncpus| ncpus.parse::<u8>().ok()).filter(|n| (1..=16).contains(n));
    let vcpus = vcpus.ok_or("the number of vCPUs is 1 to 16")?;
    let bits = |part: Option<&str>| {
        let parsed = part.map(|bits| bits.parse::<u8>().ok().filter(|bits| *bits <= 4).ok_or(bits));
        parsed.transpose().map_err(|bits| format!("`{bits}` is no number of topology bits: they are 0 to 4"))
    };
    let thread_bits = bits(parts.next())?.unwrap_or(0);
    let all_bits = vcpus.next_power_of_two().trailing_zeros() as u8;
    let core_bits = bits(parts.next())?.unwrap_or(all_bits.saturating_sub(thread_bits));
    if parts.next().is_some() {
        return Err("too many colons: it is ncpus[:lbits[:cbits]]".into());
    }
    Ok(Topology { vcpus, thread_bits, core_bits })
}

/// `-l any|map[,cpu]|cpu`. All vCPUs run on one thread of the host, so `map`, which deals vCPUs out over the
/// processors from `cpu` on, has one to deal.
pub fn cpu_lock(text: &str) -> Result<CpuLock, String> {
    let cpu = |text: &str| {
        text.parse()
            .map(CpuLock::Cpu)
            .map_err(|_| format!("`{text}` is no processor: give any, map[,N] or N"))
    };
    match text.split_once(',') {
        Some(("map", first)) => cpu(first),
        _ if text == "map" => Ok(CpuLock::Cpu(0)),
        _ if text == "any" => Ok(CpuLock::Any),
        _ => cpu(text),
    }
}

/// `--limit`: guest time with `ms`, `s`, `m` or `h` (none is seconds), or instructions with `i`, `ki`, `Mi`, `Gi`.
pub fn limit(text: &str) -> Result<Limit, String> {
    if text == "none" {
        return Ok(Limit::Never);
    }
    let digits = text.find(|c: char| !(c.is_ascii_digit() || "._".contains(c))).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let time = |unit_ns| decimal(number, unit_ns).map(|ns| Limit::Time(VirtualTime(ns)));
    let instructions = |scale| decimal(number, scale).map(|count| Limit::Instructions(Icount(count)));
    let limit = match unit {
        "ms" => time(1_000_000),
        "s" | "" => time(1_000_000_000),
        "m" | "min" => time(60_000_000_000),
        "h" => time(3_600_000_000_000),
        "i" => instructions(1),
        "ki" => instructions(1_000),
        "Mi" => instructions(1_000_000),
        "Gi" => instructions(1_000_000_000),
        _ => None,
    };
    match limit {
        Some(Limit::Time(VirtualTime(0)) | Limit::Instructions(Icount(0))) => {
            Err("a limit of nothing lets nothing run".into())
        }
        Some(limit) => Ok(limit),
        None => Err(format!(
            "`{text}` is no limit: give guest time (500ms, 30s, 5m, 1h) instructions (900ki, 50Mi, 10Gi), or none"
        )),
    }
}

/// A decimal number, perhaps with a fraction, times `scale`, rounded down; `None` if it is none or too large.
fn decimal(text: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let whole = integer(whole).ok()?.checked_mul(scale)?;
    let fraction: String = fraction.chars().filter(|c| *c != '_').collect();
    // Nine digits are a nanosecond of a second, and no fraction below that can matter.
    let nine: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nine = if fraction.is_empty() { return None } else { nine.parse::<u128>().ok()? };
    whole.checked_add(u64::try_from(nine * u128::from(scale) / 1_000_000_000).ok()?)
}

/// A place as it is printed: `@123`, `@123+4`; the `@` may be left out, `_` may be put in; `@start` is `@0`.
pub fn place(text: &str) -> Result<Mark, String> {
    let wrong =
        || format!("`{text}` is no place: give @INSTRUCTIONS or @INSTRUCTIONS+N, as vkernel prints them");
    let bare = text.strip_prefix('@').unwrap_or(text);
    if bare == "start" {
        return Ok(Mark::default());
    }
    let (icount, seq) = bare.split_once('+').unwrap_or((bare, "0"));
    let decimal =
        |text: &str| if text.starts_with("0x") { Err(wrong()) } else { integer(text).map_err(|_| wrong()) };
    let seq = u32::try_from(decimal(seq)?).map_err(|_| wrong())?;
    Ok(Mark { icount: Icount(decimal(icount)?), seq })
}

/// A control character, by the letter that is typed with Ctrl: `x` or `^x`.
pub fn control_character(text: &str) -> Result<u8, String> {
    let letter = text.strip_prefix('^').filter(|rest| !rest.is_empty()).unwrap_or(text);
    match letter.to_ascii_uppercase().as_bytes() {
        [letter @ b'@'..=b'_'] => Ok(letter & 0x1f),
        _ => Err(format!(
            "`{text}` is no letter that is typed with Ctrl: give one of A to Z, or one of @ [ \\ ] ^ _"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_bytes_or_binary_multiples() {
        for (text, bytes) in [
            ("1g", 1 << 30),
            ("64M", 64 << 20),
            ("131072k", 128 << 20),
            ("0x4000000", 64 << 20),
            ("67108864", 64 << 20),
        ] {
            assert_eq!(ram_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn sizes_that_cannot_be_are_refused_with_what_would_be_right() {
        assert!(ram_size("512").unwrap_err().contains("write 512m"));
        assert!(ram_size("63m").unwrap_err().contains("64m"));
        assert!(ram_size("65m").unwrap_err().contains("multiple of 2m"));
        assert!(ram_size("2000g").unwrap_err().contains("1024g"));
        for text in
            ["", "m", "-1g", "+1g", "1.5g", "12q", "99999999999999999999", "18446744073709551615g", "é", "1é"]
        {
            assert!(ram_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn processors_take_topology_bits_and_have_them_by_default() {
        let topology = |vcpus, thread_bits, core_bits| Ok(Topology { vcpus, thread_bits, core_bits });
        assert_eq!(processors("1"), topology(1, 0, 0));
        assert_eq!(processors("2"), topology(2, 0, 1));
        assert_eq!(processors("5"), topology(5, 0, 3));
        assert_eq!(processors("16"), topology(16, 0, 4));
        assert_eq!(processors("8:1"), topology(8, 1, 2));
        assert_eq!(processors("8:1:1"), topology(8, 1, 1));
        assert_eq!(processors("1:4"), topology(1, 4, 0));
        for text in ["", "0", "17", "-1", "2:", "2:5", "2:0:x", "2:0:0:0", "two"] {
            assert!(processors(text).is_err(), "{text}");
        }
    }

    #[test]
    fn cpu_lock_takes_the_three_forms_of_the_manual() {
        assert_eq!(cpu_lock("any"), Ok(CpuLock::Any));
        assert_eq!(cpu_lock("map"), Ok(CpuLock::Cpu(0)));
        assert_eq!(cpu_lock("map,3"), Ok(CpuLock::Cpu(3)));
        assert_eq!(cpu_lock("1"), Ok(CpuLock::Cpu(1)));
        for text in ["", "all", "map,", "map,x", "any,1", "-1", "99999"] {
            assert!(cpu_lock(text).is_err(), "{text}");
        }
    }

    #[test]
    fn limits_are_guest_time_or_instructions() {
        let time = |ns| Ok(Limit::Time(VirtualTime(ns)));
        let instructions = |count| Ok(Limit::Instructions(Icount(count)));
        assert_eq!(limit("30s"), time(30_000_000_000));
        assert_eq!(limit("30"), time(30_000_000_000));
        assert_eq!(limit("1.25s"), time(1_250_000_000));
        assert_eq!(limit("500ms"), time(500_000_000));
        assert_eq!(limit("5m"), time(300_000_000_000));
        assert_eq!(limit("2h"), time(7_200_000_000_000));
        assert_eq!(limit("1_000i"), instructions(1000));
        assert_eq!(limit("10Gi"), instructions(10_000_000_000));
        assert_eq!(limit("none"), Ok(Limit::Never));
        assert_eq!(limit("2.5Mi"), instructions(2_500_000));
        for text in
            ["", "s", "0", "0.0s", "-1s", "1.s", ".5s", "1..2s", "5x", "5mi", "1e9i", "99999999999h", "é"]
        {
            assert!(limit(text).is_err(), "{text}");
        }
    }

    #[test]
    fn places_read_back_as_they_are_printed() {
        for mark in [Mark::default(), Mark { icount: Icount(123), seq: 4 }, Mark::before(Icount(u64::MAX))] {
            assert_eq!(place(&mark.to_string()), Ok(mark));
        }
        assert_eq!(place("12_345"), Ok(Mark::before(Icount(12345))));
        assert_eq!(place("@start"), Ok(Mark::default()));
        for text in ["", "@", "@x", "@1+", "@1+2+3", "@0x10", "@-1", "@1+4294967296"] {
            assert!(place(text).is_err(), "{text}");
        }
    }

    #[test]
    fn control_characters_are_their_letters() {
        assert_eq!((control_character("x"), control_character("^X")), (Ok(24), Ok(24)));
        assert_eq!((control_character("^"), control_character("\\")), (Ok(30), Ok(28)));
        assert!(
            control_character("xy").is_err()
                && control_character("").is_err()
                && control_character("1").is_err()
        );
    }

    #[test]
    fn cache_limits_leave_room_for_an_instruction() {
        assert_eq!(cache_limits("4096:64"), Ok(CacheLimits { operations: 4096, translations: 64 }));
        for text in ["", "4096", "4096:", "1:64", "4096:1", "4096:64:1", "-1:64"] {
            assert!(cache_limits(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_are_decimal_or_hexadecimal_without_sign() {
        assert_eq!(integer("0xff"), Ok(255));
        assert_eq!(integer("1_000"), Ok(1000));
        assert_eq!(integer32("0xffffffff"), Ok(u32::MAX));
        for text in ["", "_", "+1", "-1", "0x", "0xg", "18446744073709551616"] {
            assert!(integer(text).is_err(), "{text}");
        }
        assert!(integer32("4294967296").is_err());
    }
}
