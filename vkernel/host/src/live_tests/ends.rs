//! The terminal is restored on every way out of the process that leaves anything to run.

use super::session::{CHILD_ARGUMENTS, Pseudoterminal, Session, wait_until};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};

/// Starts a machine on a terminal, does something to it, and sees the terminal restored.
fn end_by(act: impl FnOnce(&mut Pseudoterminal, &mut Session)) -> ExitStatus {
    let mut terminal = Pseudoterminal::open(|_| {});
    let mut session = terminal.start("console");
    session.expect("open");
    assert!(!terminal.is_restored());
    act(&mut terminal, &mut session);
    let status = session.end();
    assert!(terminal.is_restored(), "after {status}");
    status
}

#[test]
fn after_the_normal_end_exit_and_a_panic() {
    for (key, code) in [(b"q", 0), (b"x", 3), (b"p", 101)] {
        assert_eq!(end_by(|terminal, _| terminal.press(key)).code(), Some(code));
    }
}

#[test]
fn after_signals_that_end_the_run() {
    for signal in ["INT", "HUP"] {
        let status = end_by(|_, session| session.signal(signal));
        assert_eq!(status.code(), Some(0), "SIG{signal} ends the run, not the process");
    }
}

#[test]
fn after_signals_that_kill_which_still_kill() {
    for (signal, number) in [("SEGV", 11), ("BUS", 7), ("ABRT", 6), ("USR1", 10), ("ALRM", 14)] {
        assert_eq!(end_by(|_, session| session.signal(signal)).signal(), Some(number));
    }
}

#[test]
fn after_abort_and_a_stack_overflow_which_is_still_explained() {
    assert_eq!(end_by(|terminal, _| terminal.press(b"a")).signal(), Some(libc::SIGABRT));
    let status = end_by(|terminal, session| {
        terminal.press(b"o");
        session.expect("overflowed its stack");
    });
    assert_eq!(status.signal(), Some(libc::SIGABRT));
}

#[test]
fn after_the_third_sigterm_to_a_program_that_hangs() {
    let status = end_by(|terminal, session| {
        terminal.press(b"s");
        session.expect("sleeping");
        // Equal signals that wait to be delivered are one; so they are sent until enough were.
        wait_until("death", || {
            session.signal("TERM");
            let state = std::fs::read_to_string(format!("/proc/{}/stat", session.pid())).unwrap();
            state.contains(") Z ").then_some(())
        });
    });
    assert_eq!(status.signal(), Some(libc::SIGTERM));
}

#[test]
fn a_hangup_that_nohup_ignores_does_not_end_the_run() {
    let mut terminal = Pseudoterminal::open(|_| {});
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' HUP; exec \"$@\"", "sh"]).arg(std::env::current_exe().unwrap());
    command.args(CHILD_ARGUMENTS);
    let mut session = Session::spawn(command, "console", terminal.stdio(), terminal.stdio());
    session.expect("open");
    session.signal("HUP");
    terminal.press(b"hey");
    session.expect(super::HELLO);
    terminal.press(b"q");
    assert_eq!(session.end().code(), Some(0));
}
