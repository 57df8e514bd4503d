//! The exit status table of `vkernel(1)`, row by row.

use crate::support::program::{Ran, Sandbox};
use crate::support::tiny::Tiny;

/// Runs a tiny kernel with these options.
fn boot(sandbox: &Sandbox, kernel: &[u8], options: &[&str]) -> Ran {
    sandbox.write("kernel", kernel);
    sandbox.run(["-m", "64m"].iter().chain(options).chain(&["./kernel"]))
}

#[test]
fn a_guest_that_ends_well_is_0() {
    let sandbox = Sandbox::new();
    sandbox.run(["-m", "64m", "demo:"]).expect(0, &["power off"]);
    boot(&sandbox, &Tiny::default().reset(), &["--no-reboot"]).expect(0, &["reset"]);
    boot(&sandbox, &Tiny::default().debug_exit(5), &["--ok-exit", "5"]).expect(0, &["debug exit"]);
    let passed = Tiny::default().print("all passed\n").debug_exit(0);
    boot(&sandbox, &passed, &["--expect", "passed", "--ok-exit", "0"]).expect(0, &[]);
}

#[test]
fn a_guest_that_fails_is_1() {
    let sandbox = Sandbox::new();
    let says = |text: &str| Tiny::default().print(text);
    let panic = says("[    1.0] Kernel panic - not syncing: no init\n---[ end Kernel panic ]---\n").spin();
    boot(&sandbox, &panic, &["--limit", "10s"]).expect(1, &["the guest's kernel panicked", "no init"]);
    let oops = || says("BUG: unable to handle page fault\n---[ end trace ]---\n").debug_exit(0);
    boot(&sandbox, &oops(), &["--fail-on", "oops", "--ok-exit", "0"])
        .expect(1, &["unable to handle page fault"]);
    boot(&sandbox, &oops(), &["--ok-exit", "0"]).expect(0, &[]);
    let warning = says("WARNING: CPU: 0 PID: 1\n---[ end trace ]---\n").debug_exit(0);
    boot(&sandbox, &warning, &["--fail-on", "warn", "--ok-exit", "0"])
        .expect(1, &["the guest's kernel warned"]);
    boot(&sandbox, &says("bad thing").spin(), &["--fail", "bad"]).expect(1, &["--fail"]);
    boot(&sandbox, &Tiny::default().triple_fault(), &[]).expect(1, &["third fault", "fault 1:", "fault 3:"]);
    boot(&sandbox, &Tiny::default().hang(), &[]).expect(1, &["hangs"]);
    boot(&sandbox, &Tiny::default().spin(), &["--limit", "20ms"]).expect(1, &["--limit"]);
    boot(&sandbox, &Tiny::default().spin(), &["--limit", "5Mi"]).expect(1, &["at @5000000"]);
    boot(&sandbox, &Tiny::default().reset(), &["--no-reboot", "--expect", "ok"]).expect(1, &["--expect"]);
    boot(&sandbox, &Tiny::default().debug_exit(4), &["--ok-exit", "5"]).expect(1, &["0x4"]);
    boot(&sandbox, &Tiny::default().reset(), &[]).expect(1, &["resets for ever"]);
}

#[test]
fn a_failed_run_replays_with_its_status_and_verifies_with_0() {
    let sandbox = Sandbox::new();
    for (kernel, options, status) in [
        (Tiny::default().triple_fault(), &[][..], 1),
        (Tiny::default().hang(), &[], 1),
        (Tiny::default().spin(), &["--limit", "20ms"], 1),
        (Tiny::default().wait(), &["--limit", "20ms"], 1),
        (Tiny::default().reset(), &[], 1),
        (Tiny::default().reset(), &["--no-reboot"], 0),
        (Tiny::default().debug_exit(3), &[], 7),
    ] {
        boot(&sandbox, &kernel, options).expect(status, &[]);
        sandbox.run(["replay"]).expect(status, &["as recorded"]);
        let ran = sandbox.run(["trace", "verify", "--full"]);
        ran.expect(0, &[]);
        assert!(ran.stdout.contains("every landmark and digest agrees"), "{ran}");
    }
}

#[test]
fn a_limit_ends_a_guest_that_waits_for_input_that_does_not_come() {
    let sandbox = Sandbox::new();
    sandbox.write("kernel", Tiny::default().wait());
    // stdin is a pipe that stays open, so that something could come in.
    let ran = sandbox.script("sleep 15 | { timeout 12 $VKERNEL -m 64m --limit 200ms ./kernel; echo $?; }");
    assert_eq!(ran.stdout, "1\n", "{ran}");
    sandbox.run(["replay"]).expect(1, &["limit reached, as recorded"]);
}

#[test]
fn what_cannot_be_judged_is_125_and_a_wrong_command_line_129() {
    let sandbox = Sandbox::new();
    sandbox.run(["./nothing"]).expect(125, &["./nothing", "no such file"]);
    sandbox.run(["."]).expect(125, &["KERNEL .", "directory"]);
    sandbox.run::<&str>([]).expect(129, &["no KERNEL given", "usage:"]);
    sandbox.run(["--nonsense", "demo:"]).expect(129, &["--nonsense"]);
    sandbox.run(["replay", "nothing"]).expect(129, &["no recording is called nothing"]);
}

#[test]
fn a_debug_exit_without_ok_exit_is_that_of_other_emulators() {
    let sandbox = Sandbox::new();
    for (value, status) in [(0, 1), (1, 3), (0x10, 33), (0x7f, 255)] {
        boot(&sandbox, &Tiny::default().debug_exit(value), &[]).expect(status, &[]);
    }
}

#[test]
fn trouble_of_the_host_is_255() {
    let sandbox = Sandbox::new();
    sandbox.run(["-m", "64m", "demo:"]).expect(0, &[]);
    let trace = sandbox.traces().remove(0);
    let mut bytes = std::fs::read(&trace).expect("a trace");
    bytes[40] ^= 1;
    std::fs::write(&trace, &bytes).expect("room for a trace");
    sandbox.run(["replay"]).expect(255, &["is damaged at byte 16"]);
    sandbox.script("ulimit -v 1500000; exec $VKERNEL -m 8g demo:").expect(255, &["8192 MiB", "-m"]);
}
