//! `vkernel explore`: the same answer however many run at a time, statuses, and nothing left behind.

use super::{Place, Ran};
use std::process::{Command, Stdio};

/// The race of the demonstration kernel, on as many vCPUs as it takes to show soon.
const RACE: &str = "--tries 500 -- -m 128m -n 4 demo:";

#[test]
fn the_answer_is_the_lowest_failing_seed_however_many_run_at_a_time() {
    let mut answers = Vec::new();
    for jobs in [1, 5] {
        let place = Place::new();
        place.expect(1, &format!("explore -j {jobs} --seed 15 --result r.json --pack p.vkt {RACE}"));
        let result = place.json("r.json");
        assert_eq!(place.recordings(), [result["trace"].as_str().unwrap()], "no other recording is left");
        place.expect(0, "trace verify ./p.vkt");
        let answer = ["seed", "digest", "title", "place", "explored"].map(|field| result[field].clone());
        let seed = answer[0].as_u64().unwrap();
        // The run by itself is the same run.
        place.expect(1, &format!("boot --result alone.json --seed {seed} -m 128m -n 4 demo:"));
        assert_eq!(place.json("alone.json")["digest"], answer[1]);
        answers.push(answer);
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0][4]["done"], answers[0][0].as_u64().unwrap() - 14);
}

#[test]
fn the_race_of_the_demonstration_kernel_is_found_within_five_hundred_tries_from_anywhere() {
    let place = Place::new();
    for first in [1_000, 1_000_000] {
        place.expect(1, &format!("explore --seed {first} {RACE}"));
    }
}

#[test]
fn no_failure_is_good_and_leaves_nothing() {
    let place = Place::new();
    let line = "explore --tries 3 --result r.json -- -m 128m --append rounds=0 demo:";
    place.expect(0, line).says("no failure: tried 3 of 3 seeds");
    let result = place.json("r.json");
    assert_eq!((&result["outcome"], &result["verdict"]), (&"no-failure".into(), &"good".into()));
    assert_eq!(result["explored"]["good"], 3);
    assert!(place.recordings().is_empty());
}

#[test]
fn other_failures_than_those_looked_for_are_no_verdict_and_the_first_is_kept() {
    let place = Place::new();
    let line = "explore -j 3 --tries 4 --only freed --result r.json -- -m 128m --append panic demo:";
    place.expect(125, line).says("4 failed otherwise, the first of them seed 1 (panic: requested");
    assert_eq!(place.recordings(), [place.json("r.json")["trace"].as_str().unwrap()]);
    assert_eq!(place.json("r.json")["explored"]["others"], 4);
    place.expect(1, "explore --tries 2 --only requested -- -m 128m --append panic demo:");
}

#[test]
fn what_is_wrong_with_the_boot_is_said_once() {
    let place = Place::new();
    for (status, line, words) in [
        (125, "explore -- missing", "KERNEL missing: no such file"),
        (129, "explore -- --expect ( demo:", "--expect"),
        (129, "explore -- --seed 3 demo:", "--seed in BOOT-ARGS"),
        (129, "explore -- -m 128m", "no KERNEL"),
        (129, "explore", "BOOT-ARGS"),
    ] {
        let ran = place.expect(status, line);
        assert_eq!(ran.err.matches(words).count(), 1, "{}", ran.context());
    }
}

/// How many recordings there are that have come some way.
fn recorded(place: &Place) -> usize {
    let rows: serde_json::Value = serde_json::from_str(&place.expect(0, "ls --json").out).unwrap();
    rows.as_array().unwrap().iter().filter(|row| row["instructions"].as_u64() > Some(0)).count()
}

/// Starts an endless exploration and waits until two runs of it record; gives their processes.
fn endless(place: &Place) -> (std::process::Child, Vec<String>) {
    let line = "explore -j 2 -- -m 128m --limit none --append fixed --append rounds=100000000 demo:";
    let child = place.command(line).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let pids = two_runs(place, child.id());
    (child, pids)
}

/// The processes of the two runs of an exploration, once both record.
fn two_runs(place: &Place, explorer: u32) -> Vec<String> {
    for _ in 0..600 {
        std::thread::sleep(std::time::Duration::from_millis(100));
        let children = std::fs::read_to_string(format!("/proc/{explorer}/task/{explorer}/children")).unwrap();
        let pids: Vec<String> = children.split_whitespace().map(str::to_owned).collect();
        if pids.len() == 2 && recorded(place) == 2 {
            return pids;
        }
    }
    panic!("two runs were never recording");
}

fn send(signal: &str, pid: &str) {
    assert!(Command::new("kill").args(["-s", signal, pid]).status().unwrap().success());
}

/// Whether a process is gone, or dead and only not waited for by whoever it was left to.
fn is_gone(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.map_or(true, |stat| stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z")))
}

#[test]
fn an_interrupt_ends_every_run_and_says_how_far_it_came() {
    let place = Place::new();
    let (child, pids) = endless(&place);
    send("INT", &child.id().to_string());
    let ran = Ran::of(child.wait_with_output().unwrap(), "explore".into());
    assert_eq!(ran.status, 130, "{}", ran.context());
    ran.says("ended by signal 2: tried 0 of 100 seeds");
    assert!(pids.iter().all(|pid| is_gone(pid)));
    assert!(place.recordings().is_empty(), "what was interrupted is not kept");
}

#[test]
fn a_run_that_dies_is_reported_and_not_swallowed() {
    let place = Place::new();
    let (child, pids) = endless(&place);
    send("KILL", &pids[0]);
    let ran = Ran::of(child.wait_with_output().unwrap(), "explore".into());
    assert_eq!(ran.status, 255, "{}", ran.context());
    ran.says("was killed by signal 9; its recording so far is demo-");
    assert!(pids.iter().all(|pid| is_gone(pid)));
}

#[test]
fn runs_end_with_an_exploration_that_is_killed() {
    let place = Place::new();
    let (mut child, pids) = endless(&place);
    send("KILL", &child.id().to_string());
    child.wait().unwrap();
    for _ in 0..100 {
        if pids.iter().all(|pid| is_gone(pid)) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    panic!("runs {pids:?} go on without their exploration");
}
