//! The exit status: one table for every subcommand, made so that `git bisect run vkernel ...` is right.
//!
//! An error travels up as `anyhow::Error`. One that is not host trouble carries its status in a [`Refused`].

use std::borrow::Cow;
use std::fmt;
use std::process::ExitCode;

/// What vkernel exits with. The whole table is here; the manual page prints it from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// All went well.
    Good,
    /// The guest failed.
    GuestFailed,
    /// The image cannot be judged; `git bisect run` skips it.
    CannotJudge,
    /// The command line asks for something impossible; `git bisect run` stops.
    Usage,
    /// The host is in trouble, or vkernel has a bug.
    HostTrouble,
    /// A signal of this number ended vkernel.
    Signal(u8),
    /// The guest wrote this value to the debug-exit port, and no `--ok-exit` says what it means.
    DebugExit(u32),
    /// What the recorded run exited with.
    Recorded(u8),
}

/// The table for people: status and meaning.
pub const TABLE: [(&str, &str); 7] = [
    ("0", "Good: the guest powered off, and everything that was expected of it was seen."),
    (
        "1",
        "The guest failed: panic, an oops or a warning where --fail-on says so, a text of --fail, a triple fault, \
         a hang, the --limit, or the end of the run without the text of --expect.",
    ),
    (
        "125",
        "This image cannot be judged: KERNEL is missing or not a kernel, or explore --only found other failures only. git \
         bisect run skips such a commit.",
    ),
    ("129", "Usage: the command line cannot be meant. git bisect run stops."),
    (
        "255",
        "Trouble of the host, or a bug in vkernel: a file that cannot be read, a full disk, a damaged trace, a \
         divergence. git bisect run stops.",
    ),
    ("128+n", "Ended by signal n."),
    (
        "(v<<1)|1",
        "The guest wrote v to the debug-exit port 0xf4, and --ok-exit was not given. As under other emulators, \
         only the low 8 bits of this number are left.",
    ),
];

impl ExitStatus {
    /// The number.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            ExitStatus::Good => 0,
            ExitStatus::GuestFailed => 1,
            ExitStatus::CannotJudge => 125,
            ExitStatus::Usage => 129,
            ExitStatus::HostTrouble => 255,
            ExitStatus::Recorded(status) => status,
            ExitStatus::Signal(number) => 128u8.saturating_add(number),
            ExitStatus::DebugExit(value) => (value << 1) as u8 | 1,
        }
    }

    /// What a write of `value` to the debug-exit port means, given `--ok-exit`.
    #[must_use]
    pub fn of_debug_exit(value: u32, ok_exit: Option<u32>) -> ExitStatus {
        match ok_exit {
            None => ExitStatus::DebugExit(value),
            Some(ok) if ok == value => ExitStatus::Good,
            Some(_) => ExitStatus::GuestFailed,
        }
    }

    /// The status of a run that ended in this error.
    #[must_use]
    pub fn of_error(error: &anyhow::Error) -> ExitStatus {
        error.downcast_ref::<Refused>().map_or(ExitStatus::HostTrouble, |refused| refused.status)
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> ExitCode {
        ExitCode::from(status.code())
    }
}

/// Runs something in which vkernel may have a bug: a panic, which has been described on stderr, is host trouble too.
pub fn guarded(run: impl FnOnce() -> anyhow::Result<ExitStatus>) -> anyhow::Result<ExitStatus> {
    // What the panic left half done is not looked at again, but for a result, which is plain data.
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
    outcome.unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("it panicked");
        Err(anyhow::anyhow!("this is a bug in vkernel: {text}"))
    })
}

/// An error with a status of its own.
#[derive(Debug)]
pub struct Refused {
    /// What to exit with.
    pub status: ExitStatus,
    /// What to say; nothing if it was said, or nobody listens.
    pub message: Cow<'static, str>,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refused {}

/// An error of the command line.
#[must_use]
pub fn usage(message: impl Into<Cow<'static, str>>) -> anyhow::Error {
    Refused { status: ExitStatus::Usage, message: message.into() }.into()
}

/// An error that says nothing about the kernel under test.
#[must_use]
pub fn cannot_judge(message: impl Into<Cow<'static, str>>) -> anyhow::Error {
    Refused { status: ExitStatus::CannotJudge, message: message.into() }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_those_of_the_table() {
        for (status, code) in [
            (ExitStatus::Good, 0),
            (ExitStatus::GuestFailed, 1),
            (ExitStatus::CannotJudge, 125),
            (ExitStatus::Usage, 129),
            (ExitStatus::HostTrouble, 255),
            (ExitStatus::Signal(15), 143),
            (ExitStatus::Signal(2), 130),
            (ExitStatus::DebugExit(0), 1),
            (ExitStatus::DebugExit(0x10), 33),
            (ExitStatus::DebugExit(0x8000_0080), 1),
        ] {
            assert_eq!(status.code(), code, "{status:?}");
        }
    }

    #[test]
    fn ok_exit_maps_its_value_to_good_and_all_others_to_failed() {
        assert_eq!(ExitStatus::of_debug_exit(5, Some(5)), ExitStatus::Good);
        assert_eq!(ExitStatus::of_debug_exit(0, Some(5)), ExitStatus::GuestFailed);
        assert_eq!(ExitStatus::of_debug_exit(5, None).code(), 11);
    }

    #[test]
    fn a_bug_of_ours_is_host_trouble_and_never_a_verdict_on_the_guest() {
        let error = guarded(|| panic!("index {} out of bounds", 7)).unwrap_err();
        assert_eq!(ExitStatus::of_error(&error).code(), 255);
        assert!(error.to_string().contains("index 7"), "{error}");
    }

    #[test]
    fn an_error_keeps_its_status_under_added_context() {
        let refused = cannot_judge("not a kernel").context("bzImage");
        assert_eq!(ExitStatus::of_error(&refused), ExitStatus::CannotJudge);
        assert_eq!(ExitStatus::of_error(&anyhow::anyhow!("disk full")), ExitStatus::HostTrouble);
        assert_eq!(ExitStatus::of_error(&usage("what?")), ExitStatus::Usage);
    }
}
