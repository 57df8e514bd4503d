//! What a terminal on stdin is like while a machine has it.

use super::session::{Pseudoterminal, wait_until};
use nix::sys::termios::{InputFlags, LocalFlags, OutputFlags, SpecialCharacterIndices};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use std::process::Command;

const QUIT_KEY: u8 = 0x18;

fn resize(terminal: &Pseudoterminal, columns: &str, rows: &str) {
    let status =
        Command::new("stty").args(["cols", columns, "rows", rows]).stdin(terminal.stdio()).status().unwrap();
    assert!(status.success());
}

#[test]
fn every_key_reaches_the_guest_except_the_users_quit_key_which_asks_for_a_report() {
    let mut terminal = Pseudoterminal::open(|modes| {
        modes.control_chars[SpecialCharacterIndices::VQUIT as usize] = QUIT_KEY;
    });
    let mut session = terminal.start_controlled("console");
    session.expect("open live=true terminal=true");
    // ^C ^Z ^S ^D ^V ^\ and Return, all of which mean something to a terminal.
    let keys = [3, 26, 19, 4, 22, 28, 13];
    terminal.press(&keys);
    session.expect(&format!("Console({keys:?})"));
    terminal.press(&[QUIT_KEY]);
    session.expect("Report");
    terminal.press(b"q");
    assert_eq!(session.end().code(), Some(0));
}

#[test]
fn raw_mode_echoes_nothing_and_keeps_the_output_processing() {
    let mut terminal = Pseudoterminal::open(|_| {});
    let mut session = terminal.start("console");
    session.expect("open");
    let modes = terminal.modes();
    assert!(!modes.local_flags.intersects(LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::IEXTEN));
    assert!(modes.local_flags.contains(LocalFlags::ISIG | LocalFlags::NOFLSH));
    assert!(!modes.input_flags.intersects(InputFlags::ICRNL | InputFlags::IXON | InputFlags::ISTRIP));
    assert_eq!(modes.output_flags, terminal.original.output_flags);
    assert!(modes.output_flags.contains(OutputFlags::OPOST | OutputFlags::ONLCR));
    terminal.press(b"l");
    let shown = terminal.shown_until("line\r\n");
    assert!(!shown.contains("lline"), "the key was echoed: {shown:?}");
}

#[test]
fn the_window_size_is_told_at_the_start_and_whenever_it_changes() {
    let terminal = Pseudoterminal::open(|_| {});
    let mut session = terminal.start_controlled("console");
    session.expect("poll 0: WindowSize { columns: 80, rows: 24 }");
    resize(&terminal, "132", "43");
    session.expect("WindowSize { columns: 132, rows: 43 }");
}

#[test]
fn a_replay_leaves_the_terminal_alone() {
    let terminal = Pseudoterminal::open(|_| {});
    let mut session = terminal.start("replay");
    session.expect("open live=false terminal=false");
    assert!(terminal.is_restored());
    session.signal("INT");
    session.expect("poll 0: Stop(\"SIGINT\")");
    assert_eq!(session.end().code(), Some(0));
    assert!(terminal.is_restored());
}

#[test]
fn stopping_gives_the_terminal_back_and_continuing_takes_it_again() {
    let mut terminal = Pseudoterminal::open(|_| {});
    let mut session = terminal.start("console");
    session.expect("open");
    for columns in ["100", "120"] {
        assert!(!terminal.is_restored());
        session.signal("TSTP");
        let stopped = waitpid(session.pid(), Some(WaitPidFlag::WUNTRACED)).unwrap();
        assert_eq!(stopped, WaitStatus::Stopped(session.pid(), nix::sys::signal::SIGTSTP));
        assert!(terminal.is_restored());
        resize(&terminal, columns, "50");
        session.signal("CONT");
        session.expect(&format!("WindowSize {{ columns: {columns}, rows: 50 }}"));
    }
    terminal.press(b"hey");
    session.expect(super::HELLO);
    terminal.press(b"q");
    assert_eq!(session.end().code(), Some(0));
    wait_until("restoration", || terminal.is_restored().then_some(()));
}

#[test]
fn a_stop_that_cannot_be_caught_does_not_lose_the_original_modes() {
    let mut terminal = Pseudoterminal::open(|_| {});
    let mut session = terminal.start("console");
    session.expect("open");
    session.signal("STOP");
    waitpid(session.pid(), Some(WaitPidFlag::WUNTRACED)).unwrap();
    session.signal("CONT");
    terminal.press(b"q");
    assert_eq!(session.end().code(), Some(0));
    assert!(terminal.is_restored());
}

#[test]
fn a_machine_in_the_background_runs_on_and_takes_the_terminal_in_the_foreground() {
    let mut terminal = Pseudoterminal::open(|_| {});
    let mut session = terminal.start_controlled("shell");
    session.expect("open live=true terminal=true");
    session.expect("WindowSize");
    assert!(terminal.is_restored());
    terminal.press(b"\n");
    session.expect("in the foreground");
    wait_until("raw mode", || (!terminal.is_restored()).then_some(()));
    terminal.press(b"hey");
    session.expect(super::HELLO);
    terminal.press(b"q");
    assert_eq!(session.end().code(), Some(0));
    assert!(terminal.is_restored());
}
