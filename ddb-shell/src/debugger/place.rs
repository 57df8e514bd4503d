//! Places in time, as they are written and printed everywhere: `@12_345`, `@12345+2`, `@45%`, `@1.25s`, `@start`,
//! `@end`, `@fail`, `@:bookmark`, `@/console regex/`.
//!
//! A place that needs the recording to be found (a time, a text) is found by the debugger; here it is only read.

use boundary::{Icount, Mark, VirtualTime};
use regex::bytes::Regex;

/// A place, as it was written.
#[derive(Clone, Debug)]
pub enum Place {
    /// This one.
    At(Mark),
    /// So many counts after (or before, if negative) the cursor.
    Relative(i64),
    /// A fraction of the recording, in counts.
    Fraction(f64),
    /// The first place at or after this guest time.
    Time(VirtualTime),
    /// The start.
    Start,
    /// The end.
    End,
    /// Where the guest failed.
    Failure,
    /// A bookmark.
    Bookmark(String),
    /// Where the console first matched behind the cursor, else the first time at all.
    Text(Box<Regex>),
}

/// Why something is no place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// Cannot be read.
    #[error(
        "`{0}` is no place; places are @12345, @+1000, @-1000, @45%, @1.25s, @start, @end, @fail, @:bookmark, @/regular expression/"
    )]
    Syntax(String),
    /// A regular expression that is none.
    #[error("`{pattern}`: {reason}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no such bookmark.
    #[error("there is no bookmark `{0}`; `mark NAME` sets one, `mark` lists them")]
    Bookmark(String),
    /// The recording holds no such place.
    #[error("{0}")]
    Nowhere(String),
}

/// Reads a place. The `@` may be left out where nothing else could be meant.
///
/// # Errors
/// It is none.
pub fn parse(text: &str) -> Result<Place, PlaceError> {
    let wrong = || PlaceError::Syntax(text.to_owned());
    let bare = text.strip_prefix('@').unwrap_or(text);
    let number = |text: &str| {
        let digits: String = text.chars().filter(|&c| c != '_').collect();
        let is_decimal = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_decimal.then(|| digits.parse::<u64>().ok()).flatten()
    };
    match bare {
        "start" => return Ok(Place::Start),
        "end" => return Ok(Place::End),
        "fail" => return Ok(Place::Failure),
        _ => {}
    }
    if let Some(name) = bare.strip_prefix(':') {
        return if name.is_empty() { Err(wrong()) } else { Ok(Place::Bookmark(name.to_owned())) };
    }
    if let Some(pattern) = bare.strip_prefix('/') {
        let pattern = pattern.strip_suffix('/').ok_or_else(wrong)?;
        let regex = Regex::new(pattern).map_err(|error| {
            let reason = error.to_string().lines().last().unwrap_or_default().to_owned();
            PlaceError::Pattern { pattern: pattern.to_owned(), reason }
        })?;
        return Ok(Place::Text(Box::new(regex)));
    }
    if let Some(percent) = bare.strip_suffix('%') {
        let fraction = decimal(percent).ok_or_else(wrong)? / 100.0;
        return if fraction <= 1.0 { Ok(Place::Fraction(fraction)) } else { Err(wrong()) };
    }
    if let Some(seconds) = bare.strip_suffix('s') {
        let ns = decimal(seconds).ok_or_else(wrong)? * 1e9;
        return Ok(Place::Time(VirtualTime(ns as u64)));
    }
    if let Some(counts) = bare.strip_prefix('+') {
        return Ok(Place::Relative(signed(number(counts)).ok_or_else(wrong)?));
    }
    if let Some(counts) = bare.strip_prefix('-') {
        return Ok(Place::Relative(-signed(number(counts)).ok_or_else(wrong)?));
    }
    let (icount, seq) = bare.split_once('+').unwrap_or((bare, "0"));
    let seq = number(seq).and_then(|seq| u32::try_from(seq).ok()).ok_or_else(wrong)?;
    Ok(Place::At(Mark { icount: Icount(number(icount).ok_or_else(wrong)?), seq }))
}

fn signed(counts: Option<u64>) -> Option<i64> {
    counts.and_then(|counts| i64::try_from(counts).ok())
}

fn decimal(text: &str) -> Option<f64> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    is_plain.then(|| text.parse().ok()).flatten()
}

/// A place as it is printed: without what is the same everywhere in a debugger, that everything at its count has
/// happened.
#[must_use]
pub fn shown(mark: Mark) -> String {
    if mark.seq == u32::MAX { Mark::before(mark.icount).to_string() } else { mark.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_with_and_without_their_sign() {
        let mark = |icount, seq| Mark { icount: Icount(icount), seq };
        assert!(matches!(parse("@12_345").unwrap(), Place::At(at) if at == mark(12345, 0)));
        assert!(matches!(parse("7+2").unwrap(), Place::At(at) if at == mark(7, 2)));
        assert!(matches!(parse("@45%").unwrap(), Place::Fraction(part) if (part - 0.45).abs() < 1e-9));
        assert!(matches!(parse("@1.25s").unwrap(), Place::Time(VirtualTime(1_250_000_000))));
        assert!(matches!(parse("@-10").unwrap(), Place::Relative(-10)));
        assert!(matches!(parse("@+10").unwrap(), Place::Relative(10)));
        assert!(matches!(parse("@:here").unwrap(), Place::Bookmark(name) if name == "here"));
        assert!(matches!(parse("@/a b/").unwrap(), Place::Text(_)));
    }

    #[test]
    fn what_is_no_place_is_refused_with_what_would_be_one() {
        for text in ["@", "@x", "@1.2.3s", "@101%", "@:", "@/a", "@0x10", "@--1", "@1+", "@ 5"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(matches!(parse("@/(/").unwrap_err(), PlaceError::Pattern { .. }));
    }
}
