//! `--result`, `--pack`, `--keep` and the default limit.

use super::{Place, Ran, guests};
use serde_json::Value;
use std::fs;
use std::io::Read;
use std::process::Stdio;

const DEMO: &str = "boot -m 128m --append";

#[test]
fn every_end_writes_a_result_that_agrees_with_the_exit_status() {
    let place = Place::new();
    fs::write(place.path("text"), "no kernel").unwrap();
    for (line, status, verdict, outcome) in [
        ("--append rounds=0 demo:", 0, "good", "power-off"),
        ("--append panic demo:", 1, "failed", "panic"),
        ("--append triple demo:", 1, "failed", "triple-fault"),
        ("--append hang demo:", 1, "failed", "hang"),
        ("--append exit=16 demo:", 33, "failed", "debug-exit"),
        ("--append exit=16 --ok-exit 16 demo:", 0, "good", "debug-exit"),
        ("--append rounds=0 --expect never demo:", 1, "failed", "expect-missing"),
        ("--append rounds=0 --fail init demo:", 1, "failed", "fail-text"),
        ("--limit 1Mi demo:", 1, "failed", "limit"),
        ("text", 125, "cannot-judge", "cannot-judge"),
        ("--expect ( demo:", 129, "usage", "usage"),
    ] {
        let ran = place.expect(status, &format!("boot -m 128m --result r.json {line}"));
        let result = place.json("r.json");
        let found = (result["verdict"].as_str(), result["outcome"].as_str(), result["exit_status"].as_i64());
        assert_eq!(found, (Some(verdict), Some(outcome), Some(status.into())), "{}", ran.context());
        if verdict == "failed" {
            assert!(result["place"].as_str().is_some_and(|place| place.starts_with('@')), "{result}");
            assert!(result["cpu"].is_number() && !result["title"].as_str().unwrap().is_empty(), "{result}");
        }
    }
}

#[test]
fn a_failure_is_described_and_its_command_replays_it() {
    let place = Place::new();
    place.expect(1, &format!("{DEMO} panic --result r.json --seed 3 demo:"));
    let result = place.json("r.json");
    assert_eq!(result["title"], "panic: requested on the command line");
    assert_eq!(result["seed"], 3);
    assert!(result["symbol"].as_str().unwrap().starts_with("panic+"), "{result}");
    assert!(!result["backtrace"].as_array().unwrap().is_empty(), "{result}");
    let replay = result["replay"].as_str().unwrap().strip_prefix("vkernel ").unwrap();
    let replayed = place.expect(1, replay);
    assert_eq!(replayed.out.len() as u64, result["console_bytes"].as_u64().unwrap());
    let info = place.expect(0, &format!("trace info {}", result["trace_path"].as_str().unwrap())).out;
    assert!(info.contains(result["digest"].as_str().unwrap()), "{info}");
}

#[test]
fn trouble_of_the_host_writes_a_result_too() {
    let place = Place::new();
    fs::write(place.path("store"), "a file where the store should be").unwrap();
    let ran = place.expect(255, "boot -m 128m --result r.json demo:");
    let result = place.json("r.json");
    assert_eq!((&result["outcome"], &result["exit_status"]), (&"host-trouble".into(), &255.into()));
    assert!(ran.err.contains(result["title"].as_str().unwrap()), "{}", ran.context());
}

#[test]
fn a_signal_ends_with_a_result_and_a_kill_leaves_the_one_that_names_the_recording() {
    for (signal, status) in [("INT", 130), ("KILL", 137)] {
        let place = Place::new();
        let line = "boot -m 128m --clock virtual --limit none --result r.json --append fixed --append rounds=100000000 demo:";
        let mut child = place.command(line).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        // Its first words say that it runs.
        child.stdout.as_mut().unwrap().read_exact(&mut [0; 4]).unwrap();
        std::process::Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().unwrap();
        let ran = Ran::of(child.wait_with_output().unwrap(), line.to_owned());
        assert_eq!(ran.status, status, "{}", ran.context());
        let result = place.json("r.json");
        let trace = result["trace"].as_str().expect("it was recorded").to_owned();
        if signal == "INT" {
            assert_eq!((&result["outcome"], &result["exit_status"]), (&"signal".into(), &130.into()));
        } else {
            assert_eq!((&result["outcome"], &result["exit_status"]), (&"unfinished".into(), &Value::Null));
        }
        place.expect(0, &format!("trace verify {trace}"));
    }
}

#[test]
fn keep_and_pack_leave_what_they_say() {
    let place = Place::new();
    place.expect(0, &format!("{DEMO} rounds=0 --keep failed --pack p.vkt --result r.json demo:"));
    assert!(!place.path("p.vkt").exists() && place.recordings().is_empty());
    assert_eq!(place.json("r.json")["trace"], Value::Null);
    place.expect(1, &format!("{DEMO} panic --keep none demo:"));
    assert!(place.recordings().is_empty());
    place.expect(1, &format!("{DEMO} panic --keep failed --pack p.vkt --result r.json demo:"));
    assert_eq!(place.recordings().len(), 1);
    assert_eq!(place.json("r.json")["pack"].as_str().unwrap(), place.path("p.vkt").to_str().unwrap());

    let elsewhere = Place::new();
    fs::copy(place.path("p.vkt"), elsewhere.path("p.vkt")).unwrap();
    elsewhere.expect(0, "trace verify ./p.vkt");
    let ran = place.run("boot --keep none --pack p.vkt demo:");
    assert_eq!(ran.status, 129, "{}", ran.context());
    fs::write(place.path("precious"), "not a trace").unwrap();
    place.expect(129, &format!("{DEMO} panic --pack precious demo:"));
    assert_eq!(fs::read(place.path("precious")).unwrap(), b"not a trace");
}

#[test]
fn without_a_terminal_a_run_ends_at_ten_minutes_and_says_so() {
    let place = Place::new();
    let built = std::process::Command::new("sh")
        .arg(guests().join("build.sh"))
        .arg(place.path(""))
        .arg("idle")
        .output();
    assert!(built.is_ok_and(|built| built.status.success()), "tests/guests/build.sh builds idle");
    let ran = place.expect(1, "boot -m 128m --result r.json idle.elf");
    ran.says("the limit where stdin is no terminal, 10m of guest time");
    assert_eq!(place.json("r.json")["outcome"], "limit");
    assert_eq!(place.json("r.json")["guest_time_ns"], 600_000_000_000u64);
}

#[test]
fn a_good_run_under_the_virtual_clock_says_what_follows_from_that() {
    let place = Place::new();
    let line = format!("{DEMO} rounds=0 --seed 9 --keep failed demo:");
    place.expect(0, &line).says("vkernel explore -- -m 128m --append rounds=0 demo:");
    assert!(!place.run("boot -m 128m --append panic demo:").err.contains("same run"));
}
