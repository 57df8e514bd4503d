//! How a run ends when the guest does not end by itself: limits, signals, and the ends that are the guest's
//! fault. Each is recorded, and its replay ends in the same way with the same words.

use crate::vkernel;
use harness::{Run, Typing, Vkernel, guests, reported_digest, reported_icount};
use nix::pty::openpty;
use nix::sys::signal::Signal;
use std::fs::File;
use std::io::Write;

fn kernel() -> String {
    guests::built("endings").display().to_string()
}

/// Replays the latest recording and verifies it: the console, the status and the words are the recorded ones.
fn expect_the_same_again(vkernel: &Vkernel, live: &Run, words: &str) {
    live.expect_said(words);
    let replay = vkernel.run(&["replay", "latest"]);
    replay.expect_status(live.status);
    replay.expect_said(words);
    assert!(replay.stdout == live.stdout, "the console differs: {replay}");
    let verify = vkernel.run(&["trace", "verify", "--full", "latest"]);
    verify.expect_status(0);
    verify.expect_console("every landmark and digest agrees");
}

fn fails_for_ever(word: &str) {
    let vkernel = vkernel();
    let kernel = kernel();
    let boot = |engine: &str| {
        let run = vkernel.run(&["boot", "-n", "1", "--append", word, "--limit", "3Mi", engine, &kernel]);
        run.expect_status(1);
        let info = vkernel.run(&["trace", "info", "latest"]);
        assert_eq!(reported_icount(&info), 3_000_000, "{info}");
        (run, reported_digest(&info))
    };
    let (_, by_reference) = boot("--engine=reference");
    let (live, by_interp) = boot("--engine=interp");
    assert_eq!(by_reference, by_interp);
    expect_the_same_again(&vkernel, &live, "the run reached its --limit. That was at @3000000,");
}

#[test]
fn a_guest_whose_handler_is_undefined_for_ever_still_reaches_the_limit() {
    fails_for_ever("undefined");
}

#[test]
fn a_guest_whose_handler_is_unmapped_for_ever_still_reaches_the_limit() {
    fails_for_ever("unmapped");
}

#[test]
fn a_limit_of_guest_time_ends_a_loop() {
    let vkernel = vkernel();
    let run = vkernel.run(&["boot", "-n", "1", "--append", "spin", "--limit", "5ms", &kernel()]);
    run.expect_status(1);
    expect_the_same_again(&vkernel, &run, "the run reached its --limit.");
}

#[test]
fn a_bare_triple_fault_names_its_faults() {
    let vkernel = vkernel();
    let run = vkernel.run(&["boot", "-n", "2", "--append", "triple", &kernel()]);
    run.expect_status(1);
    run.expect_said("fault 1: #UD, at kmain+");
    run.expect_said("IDT limit 0x0 is below vector 6's gate");
    expect_the_same_again(
        &vkernel,
        &run,
        "vkernel: a vCPU shut down after a third fault: triple fault on vCPU 0",
    );
}

#[test]
fn a_bare_halt_is_a_hang_even_with_somebody_at_the_keyboard() {
    let vkernel = vkernel();
    let run = vkernel.run_with(&["boot", "-n", "2", "--append", "halt", &kernel()], Typing::Live);
    run.expect_status(1);
    expect_the_same_again(&vkernel, &run, "vkernel: the guest hangs: every vCPU is halted");
}

fn ended_by(signal: Signal, word: &str, text: &str) {
    let vkernel = vkernel();
    let mut session = vkernel.start(&["boot", "-n", "1", "--append", word, &kernel()], Typing::Nothing);
    session.wait_for(text);
    session.signal(signal);
    let run = session.finish();
    run.expect_status(128 + signal as i32);
    expect_the_same_again(&vkernel, &run, &format!("signal {} ended the run.", signal as i32));
}

#[test]
fn sigint_ends_a_guest_that_only_faults() {
    ended_by(Signal::SIGINT, "undefined", "undefined opcodes, for ever");
}

#[test]
fn sighup_ends_a_guest_that_only_faults() {
    ended_by(Signal::SIGHUP, "unmapped", "page faults, for ever");
}

#[test]
fn a_second_sigterm_ends_a_guest_that_does_not_hear_the_power_button() {
    let vkernel = vkernel();
    let mut session =
        vkernel.start(&["boot", "-n", "1", "--append", "undefined", &kernel()], Typing::Nothing);
    session.wait_for("undefined opcodes, for ever");
    session.signal(Signal::SIGTERM);
    session.wait_to_be_told("another one ends it at once");
    session.signal(Signal::SIGTERM);
    let run = session.finish();
    run.expect_status(128 + Signal::SIGTERM as i32);
    expect_the_same_again(&vkernel, &run, "signal 15 ended the run.");
}

#[test]
fn control_c_at_a_real_terminal_ends_a_guest_that_only_faults() {
    let vkernel = vkernel();
    let terminal = openpty(None, None).expect("a pseudo-terminal");
    let arguments = ["boot", "-n", "1", "--append", "unmapped", &kernel()];
    let mut session = vkernel.start_below_terminal(&arguments, File::from(terminal.slave));
    session.wait_for("page faults, for ever");
    File::from(terminal.master).write_all(b"\x03").expect("a terminal that takes a key");
    let run = session.finish();
    run.expect_status(128 + Signal::SIGINT as i32);
    expect_the_same_again(&vkernel, &run, "signal 2 ended the run.");
}

/// A recording of a loop, long enough for a signal to arrive during its replay.
fn recorded_loop() -> Vkernel {
    let vkernel = vkernel();
    let run = vkernel.run(&["boot", "-n", "1", "--append", "spin", "--limit", "400Mi", &kernel()]);
    run.expect_status(1);
    vkernel
}

#[test]
fn a_replay_that_is_stopped_continued_resized_and_asked_for_a_report_goes_on() {
    let vkernel = recorded_loop();
    let mut session = vkernel.start(&["replay", "latest"], Typing::Nothing);
    session.wait_for("endings: a loop");
    for signal in [Signal::SIGSTOP, Signal::SIGCONT, Signal::SIGWINCH, Signal::SIGQUIT] {
        session.signal(signal);
    }
    session.wait_to_be_told("vCPU 0: running, 64-bit mode");
    let run = session.finish();
    run.expect_status(1);
    run.expect_said("limit reached, as recorded");
}

#[test]
fn a_replay_ends_by_the_signal_that_ends_it() {
    let vkernel = recorded_loop();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let mut session = vkernel.start(&["replay", "latest"], Typing::Nothing);
        session.wait_for("endings: a loop");
        session.signal(signal);
        session.finish().expect_status(128 + signal as i32);
    }
}
