//! Regular expressions over the console.

use crate::exit::usage;
use anyhow::Result;
use regex::bytes::{Regex, RegexBuilder};

/// A compiled `--expect` or `--fail`. It matches bytes, for a console need not be UTF-8; `^` and `$` match at the ends
/// of lines, and a carriage return belongs to the line end.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// What it matches.
    pub regex: Regex,
}

impl Pattern {
    /// Compiles the value of an option.
    ///
    /// # Errors
    /// When it is not a regular expression, or matches nothing at all and so everywhere.
    pub fn compile(option: &str, source: &str) -> Result<Pattern> {
        let compiled = RegexBuilder::new(source).multi_line(true).crlf(true).unicode(false).build();
        let regex = compiled.map_err(|error| {
            // The library draws a picture of the place, several lines high; its last line says what is wrong.
            let text = error.to_string();
            let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            usage(format!("{option} `{source}` is not a regular expression: {reason}"))
        })?;
        if regex.is_match(b"") {
            return Err(usage(format!(
                "{option} `{source}` matches the empty text, so it would be seen before the guest starts"
            )));
        }
        Ok(Pattern { regex })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_are_those_of_a_serial_console() {
        let pattern = Pattern::compile("--expect", "^login:$").unwrap();
        assert!(pattern.regex.is_match(b"\r\nlogin:\r\n"));
        assert!(!pattern.regex.is_match(b"debian login:\r\n"));
    }

    #[test]
    fn text_beside_ascii_and_bytes_that_are_no_text_match() {
        assert!(Pattern::compile("--fail", "gr\u{fc}n").unwrap().regex.is_match("gr\u{fc}n".as_bytes()));
        assert!(Pattern::compile("--fail", "a.b").unwrap().regex.is_match(b"a\xffb"));
    }

    #[test]
    fn a_wrong_pattern_is_named_in_one_line() {
        let error = Pattern::compile("--fail", "BUG(").unwrap_err().to_string();
        assert!(error.starts_with("--fail `BUG(` is not a regular expression: unclosed group"), "{error}");
        assert_eq!(error.lines().count(), 1);
        assert!(Pattern::compile("--expect", "x*").unwrap_err().to_string().contains("empty text"));
    }
}
