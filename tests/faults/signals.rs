//! Signals and readers that leave: what ends a run ends it with its own status, and what does not leaves it alone.

use crate::support::program::{Sandbox, VKERNEL};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::Duration;

fn send(child: &Child, signal: Signal) {
    // It may be over; then there is nobody to disturb.
    let _ = kill(Pid::from_raw(child.id() as i32), signal);
}

#[test]
fn a_replay_that_is_stopped_continued_and_resized_agrees_all_the_same() {
    let sandbox = Sandbox::new();
    sandbox.run(["-m", "64m", "demo:"]).expect(0, &[]);
    let mut command = sandbox.command(VKERNEL);
    let child =
        command.arg("replay").stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("vkernel starts");
    for _ in 0..10 {
        for signal in [Signal::SIGSTOP, Signal::SIGCONT, Signal::SIGWINCH] {
            sleep(Duration::from_millis(7));
            send(&child, signal);
        }
    }
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("power off, as recorded"), "{said}");
}

#[test]
fn a_boot_that_is_stopped_continued_and_resized_is_the_same_boot() {
    let sandbox = Sandbox::new();
    let run = |disturb: bool| {
        let mut command = sandbox.command(VKERNEL);
        command.args(["-m", "64m", "--fail", "phase 3", "demo:"]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("vkernel starts");
        for _ in 0..if disturb { 30 } else { 0 } {
            sleep(Duration::from_millis(5));
            send(&child, Signal::SIGWINCH);
        }
        let output = child.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        said.split("; the run ended at")
            .nth(1)
            .map(|rest| rest.split(',').next().unwrap_or_default().to_owned())
    };
    let quiet = run(false);
    assert!(quiet.is_some());
    assert_eq!(quiet, run(true), "the same boot ends at the same place");
}

#[test]
fn a_reader_that_leaves_ends_boot_and_replay_as_sigpipe_does() {
    let sandbox = Sandbox::new();
    for command in ["-m 64m demo:", "replay"] {
        // bash would have PIPESTATUS; this works in any shell.
        let ran =
            sandbox.script(&format!("{{ $VKERNEL {command}; echo $? >status; }} | head -n 1; cat status"));
        ran.expect(0, &[]);
        assert!(ran.stdout.ends_with("141\n"), "{ran}");
    }
}

#[test]
fn signals_end_a_run_with_their_number_and_leave_a_trace_that_replays() {
    let sandbox = Sandbox::new();
    for (signal, status) in [(Signal::SIGINT, 130), (Signal::SIGHUP, 129)] {
        let mut command = sandbox.command(VKERNEL);
        command.args(["-m", "64m", "--engine", "reference", "demo:"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("vkernel starts");
        // Its trace is there once it catches signals.
        while sandbox.traces().is_empty() && child.try_wait().expect("a child").is_none() {
            sleep(Duration::from_millis(5));
        }
        send(&child, signal);
        let output = child.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{said}");
        sandbox.run(["trace", "verify"]).expect(0, &[]);
        sandbox.run(["replay"]).expect(status, &["as recorded"]);
        sandbox.run(["rm", "latest"]).expect(0, &[]);
    }
}
