//! Recording and replaying on a busy host, again and again.

use crate::Options;
use crate::disturbance::{Disturber, Load};
use crate::scenarios::{NAMES, Scenario, scenario};
use harness::{Dice, Run, Typing, Vkernel, reported_icount};
use std::time::{Duration, Instant};

/// How long one run may take on a host this busy.
const PATIENCE: Duration = Duration::from_secs(1800);

/// What a scenario has cost so far.
#[derive(Default)]
struct Figures {
    rounds: u32,
    instructions: u64,
    recording_stops: u32,
    replaying_stops: u32,
}

/// Soaks the scenarios that were named, else all.
///
/// # Panics
/// At the first run that is not as it should be.
pub fn soak(options: &Options) {
    let _load = Load::start(options.busy);
    let mut dice = Dice::new(options.seed);
    println!("{} rounds of each, {} busy processes beside them", options.rounds, options.busy);
    for name in NAMES {
        if !options.scenarios.is_empty() && !options.scenarios.iter().any(|wanted| wanted == name) {
            continue;
        }
        let vkernel = Vkernel::new(&options.vkernel).patient(PATIENCE);
        let started = Instant::now();
        let mut figures = Figures::default();
        for number in 0..options.rounds {
            round(&vkernel, &scenario(name, number), &mut dice, &mut figures);
        }
        println!(
            "{name:>10}: {} recorded and replayed, {:.2} G instructions, stopped {} and {} times, no divergence, {:.0} s",
            figures.rounds,
            figures.instructions as f64 / 1e9,
            figures.recording_stops,
            figures.replaying_stops,
            started.elapsed().as_secs_f64()
        );
    }
}

fn round(vkernel: &Vkernel, scenario: &Scenario, dice: &mut Dice, figures: &mut Figures) {
    let (live, stops) = record(vkernel, scenario, dice);
    figures.recording_stops += stops;
    match scenario.status {
        Some(status) => live.expect_status(status),
        None => assert!(matches!(live.status, 0 | 1), "exit status {}: {live}", live.status),
    }
    let session = vkernel.start(&["replay", "latest"], Typing::Nothing);
    let disturber = Disturber::start(session.pid(), dice.split());
    let (replay, stops) = disturber.finish(session);
    figures.replaying_stops += stops;
    replay.expect_status(live.status);
    replay.expect_said("as recorded");
    assert!(replay.stdout == live.stdout, "{}: the console differs: {replay}", scenario.name);
    figures.instructions += reported_icount(&vkernel.run(&["trace", "info", "latest"]));
    figures.rounds += 1;
}

fn record(vkernel: &Vkernel, scenario: &Scenario, dice: &mut Dice) -> (Run, u32) {
    let mut session = vkernel.start(&scenario.arguments, scenario.typing);
    let disturber = Disturber::start(session.pid(), dice.split());
    session.follow(scenario.steps);
    disturber.finish(session)
}
