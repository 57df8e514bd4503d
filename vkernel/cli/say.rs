//! What vkernel itself says: results on stdout, everything else on stderr as `vkernel: ...`.

use crate::exit::{ExitStatus, Refused};
use crate::text::harmless;
use anyhow::{Context, Result};
use std::io::{self, Write};

/// Number of SIGPIPE, the fate of programs that write on after their reader has left.
const SIGPIPE: u8 = 13;

/// Says one thing on stderr. Nobody can be told that stderr is closed.
pub fn line(text: &str) {
    raw(&format!("vkernel: {text}\n"));
}

/// Says on stderr what is complete already. Guests, images' names and traces of strangers have a part in what is said,
/// so that no character of it commands the terminal.
pub fn raw(text: &str) {
    let lines = text.split_inclusive('\n').map(|line| match line.strip_suffix('\n') {
        Some(line) => harmless(line) + "\n",
        None => harmless(line),
    });
    let _ = io::stderr().write_all(lines.collect::<String>().as_bytes());
}

/// Says on one line of the terminal how far something has come. The next thing said overwrites it.
pub fn progress(text: &str) {
    let _ = write!(io::stderr(), "\r\x1b[K{}\r", harmless(text));
}

/// Says several lines on stderr, the first one marked as ours.
pub fn block(text: &str) {
    line(text.trim_end());
}

/// Says why there is no result, and gives the status to exit with.
pub fn error(error: &anyhow::Error) -> ExitStatus {
    let text = text_of(error);
    if !text.is_empty() {
        line(&text);
    }
    ExitStatus::of_error(error)
}

/// An error and its causes. Errors of ours quote their cause already, so that one is not said again.
pub fn text_of(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

/// Prints a result on stdout.
pub fn print(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    written(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()))
}

/// Judges a write to stdout: a reader that left, as `head` does, is no error worth a word.
pub fn written(result: io::Result<()>) -> Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            Err(Refused { status: ExitStatus::Signal(SIGPIPE), message: "".into() }.into())
        }
        other => other.context("cannot write to stdout"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_said_once() {
        let cause = io::Error::other("the disk is on fire");
        let error = anyhow::Error::from(cause).context("cannot read bzImage");
        assert_eq!(text_of(&error), "cannot read bzImage: the disk is on fire");
        let error = error.context("all is lost, for the disk is on fire");
        assert_eq!(text_of(&error), "all is lost, for the disk is on fire: cannot read bzImage");
    }

    #[test]
    fn a_reader_that_left_ends_us_silently_as_sigpipe_would() {
        let error = written(Err(io::ErrorKind::BrokenPipe.into())).unwrap_err();
        assert_eq!(ExitStatus::of_error(&error).code(), 141);
        assert_eq!(text_of(&error), "");
        assert_eq!(
            ExitStatus::of_error(&written(Err(io::ErrorKind::StorageFull.into())).unwrap_err()).code(),
            255
        );
    }
}
