//! A stock kernel that fails: the failure is seen, said, recorded, and replays to the same bytes and words.
//!
//! The crypto self-tests, half of a boot, are left out here.

use super::{expect_every_digest_to_hold, expect_the_same_again};
use crate::vkernel;
use harness::guests::{self, PROMPT};
use harness::{Step, Typing};

const QUICK: [&str; 2] = ["-e", "cryptomgr.notests=1"];

#[test]
fn a_crash_typed_into_a_pipe_before_the_boot_is_read_whole_told_and_replays() {
    let linux = guests::debian();
    let vkernel = vkernel();
    let arguments = linux.boot(&[&QUICK[..], &["-n", "2"]].concat());
    let run =
        vkernel.run_with(&arguments, Typing::Pipe("echo whole-$((40+2)); echo c > /proc/sysrq-trigger\n"));
    run.expect_status(1);
    run.expect_console("whole-42");
    run.expect_console("---[ end Kernel panic - not syncing: sysrq triggered crash ]---");
    run.expect_said("sysrq_handle_crash");
    let words = "vkernel: the guest's kernel panicked: Kernel panic - not syncing: sysrq triggered crash. That was at @";
    expect_the_same_again(&vkernel, &run, words);
    expect_every_digest_to_hold(&vkernel);
}

#[test]
fn no_root_file_system_is_told_and_replays() {
    let linux = guests::debian();
    let vkernel = vkernel();
    let run = vkernel.run(&linux.boot_without_initrd(&QUICK));
    run.expect_status(1);
    let words = "vkernel: the guest's kernel panicked: Kernel panic - not syncing: \
                 VFS: Unable to mount root fs on unknown-block(0,0). That was at @";
    expect_the_same_again(&vkernel, &run, words);
}

#[test]
fn an_init_that_exits_is_told_and_replays() {
    let linux = guests::debian();
    let vkernel = vkernel();
    let run = vkernel.run_with(&linux.boot(&QUICK), Typing::File(b"exit 3\n"));
    run.expect_status(1);
    let words = "vkernel: the guest's kernel panicked: Kernel panic - not syncing: \
                 Attempted to kill init! exitcode=0x00000300. That was at @";
    expect_the_same_again(&vkernel, &run, words);
}

#[test]
fn a_triple_fault_is_told_with_its_faults_and_replays() {
    let linux = guests::debian();
    let vkernel = vkernel();
    let arguments = linux.boot(&[&QUICK[..], &["-e", "reboot=t", "-n", "2"]].concat());
    let run = vkernel.run_with(&arguments, Typing::File(b"echo b > /proc/sysrq-trigger\n"));
    run.expect_status(1);
    // reboot=t empties the IDT and executes INT3, whose gate is then beyond the limit.
    for text in [
        "fault 1: #GP, error code 0x1a, at native_machine_emergency_restart+",
        "fault 2: #GP, error code 0x6b, at ",
        "fault 3: #GP, error code 0x43, at ",
        "IDT limit 0x0 is below vector 13's gate",
    ] {
        run.expect_said(text);
    }
    expect_the_same_again(
        &vkernel,
        &run,
        "vkernel: a vCPU shut down after a third fault: triple fault on vCPU ",
    );
}

#[test]
fn a_halted_kernel_is_a_hang_is_told_and_replays() {
    let linux = guests::debian();
    let vkernel = vkernel();
    let arguments = linux.boot(&[&QUICK[..], &["-n", "2"]].concat());
    let run = vkernel.run_with_steps(&arguments, &[Step { prompt: PROMPT, typed: "halt -f\n" }]);
    run.expect_status(1);
    run.expect_console("reboot: System halted");
    let words = "vkernel: the guest hangs: every vCPU is halted, nothing is pending, and nothing can come in. \
                 That was at @";
    expect_the_same_again(&vkernel, &run, words);
}
