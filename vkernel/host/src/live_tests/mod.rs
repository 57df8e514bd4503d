//! [`crate::Host`] in processes of their own, on real pseudo-terminals, pipes and files: what it does to a
//! terminal and to a process can be seen from outside only.

mod child;
mod ends;
mod session;
mod terminal;

use crate::{Host, HostError, HostOptions};
use session::{Session, stdin_from, wait_until_nobody_reads};
use std::fs::File;
use std::io::Write;
use std::process::Stdio;

const HELLO: &str = "Console([104, 101, 121])";

#[test]
fn a_pipe_gives_its_bytes_as_they_come_and_its_end_does_not_stop_the_guest() {
    let mut session = Session::start("console", Stdio::piped(), Stdio::null());
    let mut stdin = session.take_stdin();
    session.expect("open live=true terminal=false");
    stdin.write_all(b"hey").unwrap();
    session.expect(HELLO);
    drop(stdin);
    session.expect("live=false");
    session.signal("QUIT");
    session.expect("Report");
    session.signal("TERM");
    session.expect("the guest is asked to shut down");
    session.expect(": PowerButton");
    session.signal("TERM");
    session.expect("Stop { signal: 15, reason: \"SIGTERM\" }");
    assert_eq!(session.end().code(), Some(0));
}

#[test]
fn a_guest_that_does_not_shut_down_is_ended_after_its_grace() {
    let mut session = Session::start("hurried", Stdio::null(), Stdio::null());
    session.expect("open live=false");
    session.signal("TERM");
    session.expect("asked to shut down within 0.2 s");
    session.expect(": PowerButton");
    session.expect("Stop { signal: 15, reason: \"SIGTERM, and the guest did not shut down\" }");
    assert_eq!(session.end().code(), Some(0));
}

#[test]
fn a_file_is_delivered_whole_at_the_start_in_order_and_is_not_live() {
    let typed: Vec<u8> = (0..10_000_u32).map(|index| (index / 100) as u8).collect();
    let mut session = Session::start("console", stdin_from(&typed), Stdio::null());
    session.expect("open live=false terminal=false");
    // Of the first poll, and in one line each: nothing depends on when the host looks.
    for chunk in typed.chunks(4096) {
        session.expect(&format!("poll 0: {:?}", boundary::Input::Console(chunk.to_vec())));
    }
    session.signal("INT");
    session.expect("Stop { signal: 2, reason: \"SIGINT\" }");
}

#[test]
fn what_is_to_be_typed_at_the_end_of_input_is_typed_once_and_last() {
    let mut session = Session::start("console-with-end", Stdio::piped(), Stdio::null());
    let mut stdin = session.take_stdin();
    session.expect("open live=true");
    stdin.write_all(b"hey").unwrap();
    session.expect(HELLO);
    drop(stdin);
    session.expect("Console([4])");
    let mut session = Session::start("console-with-end", stdin_from(b"hey"), Stdio::null());
    session.expect(&format!("poll 0: {HELLO}"));
    session.expect("poll 0: Console([4])");
}

#[test]
fn nothing_to_read_from_is_not_live_from_the_start() {
    let (closed_pipe, _) = std::io::pipe().unwrap();
    for stdin in [Stdio::null(), closed_pipe.into(), stdin_from(b"")] {
        let mut session = Session::start("console", stdin, Stdio::null());
        session.expect("open live=false terminal=false");
    }
}

#[test]
fn a_directory_or_an_endless_file_on_stdin_is_refused() {
    let endless = tempfile::tempfile().unwrap();
    endless.set_len((64 << 20) + 1).unwrap();
    for (stdin, reason) in
        [(File::open("/").unwrap(), "cannot read the console's input"), (endless, "too long")]
    {
        let mut session = Session::start("console", stdin.into(), Stdio::null());
        session.expect(reason);
    }
}

#[test]
fn a_stdout_that_was_closed_stops_the_run() {
    let (reader, stdout) = std::io::pipe().unwrap();
    let mut session = Session::start("console", Stdio::piped(), stdout.try_clone().unwrap().into());
    session.expect("open");
    drop(reader);
    wait_until_nobody_reads(stdout);
    session.take_stdin().write_all(b"l").unwrap();
    session.expect("Stop { signal: 13, reason: \"stdout was closed\" }");
}

#[test]
fn a_stdout_that_takes_nothing_holds_the_machine_up_until_a_signal_ends_it() {
    let mut session = Session::start("console", Stdio::piped(), Stdio::piped());
    session.expect("open");
    session.take_stdin().write_all(b"f").unwrap();
    session.expect("flooding");
    session.signal("WINCH");
    session.signal("INT");
    session.expect("flooded");
    session.expect("Stop { signal: 2, reason: \"SIGINT\" }");
}

#[test]
fn output_reaches_a_slow_reader_complete_and_untouched() {
    let mut session = Session::start("console", Stdio::piped(), Stdio::piped());
    session.expect("open");
    session.take_stdin().write_all(b"fq").unwrap();
    let output = session.read_stdout();
    let expected = child::flood();
    let at = output.windows(64).position(|window| window == &expected[..64]).unwrap();
    assert!(output[at..].starts_with(&expected));
}

#[test]
fn a_signal_raises_the_interrupt_flag_from_within() {
    let mut session = Session::start("console", Stdio::piped(), Stdio::null());
    session.expect("open");
    session.take_stdin().write_all(b"i").unwrap();
    session.expect("running");
    session.signal("QUIT");
    session.expect("interrupted");
    session.expect("Report");
}

#[test]
fn every_signal_that_came_while_it_was_stopped_is_caught_when_it_goes_on() {
    let mut session = Session::start("console", Stdio::piped(), Stdio::null());
    session.expect("open");
    for signal in ["STOP", "QUIT", "WINCH", "TERM", "CONT"] {
        session.signal(signal);
    }
    // Threads share the signals of a process, so that these come in any order, and one that ends the run could be first.
    session.expect_all(&["Report", "PowerButton"]);
    for signal in ["STOP", "INT", "CONT"] {
        session.signal(signal);
    }
    session.expect("SIGINT");
    assert_eq!(session.end().code(), Some(0));
}

#[test]
fn without_inputs_the_first_sigterm_ends_the_run() {
    let mut session = Session::start("replay", Stdio::piped(), Stdio::null());
    session.expect("open live=false terminal=false");
    session.signal("TERM");
    session.expect("poll 0: Stop { signal: 15, reason: \"SIGTERM\" }");
}

#[test]
fn one_machine_at_a_time_has_the_console_and_the_next_one_may_have_it() {
    let options = || HostOptions { inputs: false, ..HostOptions::default() };
    let host = Host::open(options()).unwrap();
    assert!(matches!(Host::open(options()), Err(HostError::AlreadyOpen)));
    drop(host);
    assert!(Host::open(options()).is_ok());
}

#[test]
fn stops_name_their_signals() {
    assert_eq!(crate::signal_number("SIGTERM"), Some(15));
    assert_eq!(crate::signal_number("SIGHUP"), Some(1));
    assert_eq!(crate::signal_number("stdout was closed"), None);
}
