//! Debian's kernel from its first instruction to its power-off on the fast engine and the reference, compared as
//! they go: registers every 1000 instructions, memory and devices every 4 million.

use crate::Options;
use harness::guests::{self, PROMPT};
use harness::{Step, Vkernel, reported_icount};
use std::time::{Duration, Instant};

/// The reference executes a few million instructions a second.
const PATIENCE: Duration = Duration::from_secs(6 * 3600);

/// A shell's usual work, and then the end.
const STEPS: [Step<'static>; 1] = [Step {
    prompt: PROMPT,
    typed: "cat /proc/cpuinfo; ls -lR /sys | md5sum; dmesg | gzip | wc; poweroff -f\n",
}];

/// Boots with one vCPU and with two, or as asked.
///
/// # Panics
/// If the engines disagree.
pub fn soak(options: &Options) {
    for vcpus in options.vcpus.map_or_else(|| vec![1, 2], |vcpus| vec![vcpus]) {
        let started = Instant::now();
        let vkernel = Vkernel::new(&options.vkernel).patient(PATIENCE);
        let arguments = guests::debian().boot(&["-n", &vcpus.to_string(), "--engine=lockstep"]);
        let run = vkernel.run_with_steps(&arguments, &STEPS);
        run.expect_status(0);
        run.expect_said("power off at @");
        println!(
            "lockstep, {vcpus} vCPUs: {:.2} G instructions to power-off, no mismatch, {:.0} s",
            reported_icount(&vkernel.run(&["trace", "info", "latest"])) as f64 / 1e9,
            started.elapsed().as_secs_f64()
        );
    }
}
