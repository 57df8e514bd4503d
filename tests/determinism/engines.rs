//! Every engine is the same machine: they run the demonstration kernel in lockstep, and each replays what the
//! other recorded.

use crate::vkernel;
use harness::{Run, Vkernel, reported_digest};

/// Good, or killed by its race: both are right. Anything else is trouble of ours.
fn expect_a_verdict(run: &Run) {
    assert!(matches!(run.status, 0 | 1), "exit status {}: {run}", run.status);
    let console = run.console();
    let is_over = console.contains("panic") || run.stderr.contains("power off at");
    assert!(is_over, "neither a panic nor a power-off: {run}");
}

fn lockstep(vcpus: &str, seed: &str) {
    let vkernel = vkernel();
    let run = vkernel.run(&["boot", "-n", vcpus, "--seed", seed, "--engine=lockstep", "demo:"]);
    expect_a_verdict(&run);
}

#[test]
fn the_engines_agree_in_lockstep_on_one_vcpu() {
    lockstep("1", "0");
}

#[test]
fn the_engines_agree_in_lockstep_on_two_vcpus_under_a_perturbed_schedule() {
    lockstep("2", "3");
}

#[test]
fn the_engines_agree_in_lockstep_on_four_vcpus_under_a_perturbed_schedule() {
    lockstep("4", "1");
}

#[test]
fn the_engines_agree_in_lockstep_on_sixteen_vcpus() {
    lockstep("16", "0");
}

fn digest(vkernel: &Vkernel, trace: &str) -> String {
    let info = vkernel.run(&["trace", "info", trace]);
    info.expect_status(0);
    reported_digest(&info)
}

#[test]
fn each_engine_replays_what_the_other_recorded() {
    let vkernel = vkernel();
    let record = |engine: &str| {
        let trace = vkernel.file(engine).display().to_string();
        let engine = format!("--engine={engine}");
        let run = vkernel.run(&["boot", "-n", "2", "--seed", "5", &engine, "--trace", &trace, "demo:"]);
        expect_a_verdict(&run);
        (run, trace)
    };
    let (by_interp, of_interp) = record("interp");
    let (by_reference, of_reference) = record("reference");
    assert_eq!(digest(&vkernel, &of_interp), digest(&vkernel, &of_reference));
    for (engine, trace, live) in
        [("--engine=reference", of_interp, &by_interp), ("--engine=interp", of_reference, &by_reference)]
    {
        let replay = vkernel.run(&["replay", engine, &trace]);
        replay.expect_status(live.status);
        replay.expect_said("as recorded");
        assert!(replay.stdout == live.stdout, "the console differs: {replay}");
    }
}

#[test]
fn a_replay_that_may_remember_hardly_anything_is_the_same() {
    let vkernel = vkernel();
    let run = vkernel.run(&["boot", "-n", "2", "--seed", "5", "demo:"]);
    expect_a_verdict(&run);
    let verify = vkernel.run(&["trace", "verify", "--cache-limits", "2048:32", "latest"]);
    verify.expect_status(0);
    verify.expect_console("every landmark and digest agrees");
}

#[test]
fn two_boots_with_one_seed_are_equal_and_another_seed_is_another_run() {
    let vkernel = vkernel();
    let boot = |name: &str, seed: &str| {
        let trace = vkernel.file(name).display().to_string();
        expect_a_verdict(&vkernel.run(&["boot", "-n", "4", "--seed", seed, "--trace", &trace, "demo:"]));
        digest(&vkernel, &trace)
    };
    let [first, again, other] = [("first", "2"), ("again", "2"), ("other", "4")].map(|(n, s)| boot(n, s));
    assert_eq!(first, again);
    assert_ne!(first, other);
}
