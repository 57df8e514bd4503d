//! A kernel of another make than Debian's: Linux 6.12 for virtual machines, without modules, published as a crate. All
//! others are booted by tests/kernels.

use super::expect_the_same_again;
use crate::vkernel;
use harness::guests::{self, Linux};
use harness::{Typing, file_of_crate};

#[test]
fn a_kernel_of_another_make_boots_on_four_vcpus_under_a_seed_and_replays() {
    let kernel = file_of_crate("omea-kernel-x86-64", "kernel.xz");
    let linux = Linux { kernel, initrd: guests::debian().initrd };
    let vkernel = vkernel();
    let script = "uname -r; cat /sys/devices/system/cpu/online; \
                  echo asked-$((40+2)); poweroff -f\n";
    // Typed before anybody listens, to a kernel that begins on the screen.
    let run = vkernel.run_with(&linux.boot(&["-n", "4", "--seed", "3"]), Typing::File(script.as_bytes()));
    run.expect_status(0);
    for text in ["6.12.", "0-3", "asked-42"] {
        run.expect_console(text);
    }
    let complaints = ["detected stall", "lockup - CPU", "unstable", "TSC warp", "WARNING:", "Call Trace"];
    for complaint in complaints {
        assert!(!run.console().contains(complaint), "{complaint}: {run}");
    }
    expect_the_same_again(&vkernel, &run, "vkernel: power off at @");
}
