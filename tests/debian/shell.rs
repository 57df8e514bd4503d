//! Boots to a shell that takes commands and powers off: no option but the initrd, one vCPU and two.

use super::{expect_every_digest_to_hold, expect_the_same_again, latest_digest};
use crate::vkernel;
use harness::guests::{self, PROMPT};
use harness::{Run, Step, Typing, reported_icount};

/// No more than this may a boot to the shell and the power-off take: a calibration or a delay loop that came back
/// would show here.
const MOST_INSTRUCTIONS: u64 = 2_000_000_000;

/// What the tests want to know of a boot, asked in the guest.
const ASK: &str = "grep . /sys/devices/system/cpu/vulnerabilities/*; grep -c ^processor /proc/cpuinfo; \
                   dmesg >/dmesg; grep -iE 'tsc: |calibrat|crng|deadline timer' /dmesg; echo asked-$((40+2))\n";

/// Everything that a boot must have said.
fn expect_a_good_boot(run: &Run, vcpus: u32) {
    run.expect_status(0);
    run.expect_said("power off at @");
    run.expect_console("asked-42");
    let console = run.console();
    let vulnerabilities: Vec<&str> =
        console.lines().filter(|line| line.contains("vulnerabilities/")).collect();
    let answers: Vec<_> = vulnerabilities.iter().filter(|line| !line.contains("grep ")).collect();
    assert!(answers.len() >= 10, "{run}");
    for answer in answers {
        assert!(answer.trim_end().ends_with(":Not affected"), "{answer}: {run}");
    }
    assert!(console.lines().any(|line| line.trim() == vcpus.to_string()), "{vcpus} processors: {run}");
    for line in console.lines().filter(|line| line.contains("alibrat") && line.contains("] ")) {
        assert!(line.contains("Calibrating delay loop (skipped)"), "{line}: {run}");
    }
    for text in ["TSC deadline timer available", "tsc: Detected 1000.000 MHz processor"] {
        run.expect_console(text);
    }
    let crng = console.lines().find(|line| line.contains("crng init done")).expect("crng init done");
    assert!(crng.contains("[    0.000000]"), "ready only at {crng}");
}

#[test]
fn one_vcpu_boots_to_a_shell_takes_typed_commands_powers_off_and_replays() {
    let linux = guests::debian();
    let vkernel = vkernel();
    let steps = [
        Step { prompt: PROMPT, typed: ASK },
        Step { prompt: "asked-42", typed: "" },
        Step { prompt: PROMPT, typed: "poweroff -f\n" },
    ];
    let run = vkernel.run_with_steps(&linux.boot(&["-n", "1"]), &steps);
    expect_a_good_boot(&run, 1);
    let info = vkernel.run(&["trace", "info", "latest"]);
    let icount = reported_icount(&info);
    println!("instructions to power-off with one vCPU: {icount}");
    assert!(icount < MOST_INSTRUCTIONS, "{info}");
    expect_the_same_again(&vkernel, &run, "vkernel: power off at @");
    expect_every_digest_to_hold(&vkernel);
}

#[test]
fn two_vcpus_boot_read_a_script_whole_power_off_and_boot_again_to_the_same_digest() {
    let linux = guests::debian();
    let vkernel = vkernel();
    let script = format!("{ASK}poweroff -f\n");
    let boot = || {
        let run = vkernel.run_with(&linux.boot(&["-n", "2"]), Typing::File(script.as_bytes()));
        expect_a_good_boot(&run, 2);
        let digest = latest_digest(&vkernel);
        (run, digest)
    };
    let (first, first_digest) = boot();
    let (again, again_digest) = boot();
    assert_eq!(first_digest, again_digest);
    assert!(first.stdout == again.stdout, "the consoles differ: {again}");
    let icount = reported_icount(&vkernel.run(&["trace", "info", "latest"]));
    println!("instructions to power-off with two vCPUs: {icount}");
    assert!(icount < MOST_INSTRUCTIONS);
    expect_the_same_again(&vkernel, &again, "vkernel: power off at @");
}
