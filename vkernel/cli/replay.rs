//! `vkernel replay` and `vkernel trace verify`: the same run again, checked against its trace.

use crate::boot::engine;
use crate::config::{ReplayConfig, VerifyConfig};
use crate::exit::{ExitStatus, Refused};
use crate::report::{self, Failed, Inspected};
use crate::say;
use crate::symbols::SymbolSource;
use anyhow::Result;
use boundary::{Arrival, Mark, Output, World};
use ddb_shell::{Fault, fault};
use host::{Host, HostOptions};
use machine::{CacheLimits, Interrupt, StopSet};
use recorder::{Ending, FailureKind, Tail};
use replay::{Divergence, PlayError, Player, Progress, narrow};
use std::time::{Duration, Instant};

/// Replays, printing the console again; ends with the words and the status of the recorded run.
///
/// # Errors
/// A trace that cannot be read, or a divergence.
pub fn run(config: ReplayConfig) -> Result<ExitStatus> {
    let symbols = SymbolSource::of_replay(&config)?;
    let inspected = symbols.inspector(config.reader.power_on().boot.protocol, false);
    let failed_at = match config.reader.ending().map(|end| &end.ending) {
        Some(Ending::Failure { place, kind, .. }) => Some((*place, *kind)),
        _ => None,
    };
    let print = |host: &mut Host, output: &Output| {
        if let Output::Console(bytes) = output {
            inspected.printed(bytes);
        }
        host.emit(output);
    };
    let player = match play(&config, Manner::default(), &inspected, failed_at, print)? {
        Played::ToEnd(player) => player,
        Played::Stopped(status) => return Ok(status),
    };
    let Some(end) = config.reader.ending() else {
        say_unfinished(&config);
        return Ok(ExitStatus::Good);
    };
    let status = ExitStatus::Recorded(end.exit_status);
    if status.code() != 0 {
        let path = config.reader.path().display().to_string();
        let failed = Failed {
            ending: &end.ending,
            triple_fault: player.triple_fault.as_ref(),
            machine: &player.machine,
            trace: Some(&path),
        };
        say::raw(&report::closing_paragraph(&failed, &inspected));
        if let Some(fault) = inspected.fault() {
            say::line(&format!("it began with {fault}"));
        }
    }
    say::line(&format!("replayed to {} ({}): {}, as recorded", end.mark, end.virtual_time, end.ending));
    Ok(status)
}

/// Replays without the console and says how much was checked.
///
/// # Errors
/// As [`run`].
pub fn verify(config: VerifyConfig) -> Result<ExitStatus> {
    let started = Instant::now();
    let symbols = SymbolSource::open(&config.replay.all_symbols(), &[])?;
    let inspected = symbols.inspector(config.replay.reader.power_on().boot.protocol, false);
    let manner = Manner { full: config.full, cache_limits: config.cache_limits };
    if let Played::Stopped(status) = play(&config.replay, manner, &inspected, None, |_, _| {})? {
        return Ok(status);
    }
    let last = config.replay.reader.last_mark()?;
    let seconds = started.elapsed().as_secs_f64();
    if config.replay.reader.ending().is_none() {
        say_unfinished(&config.replay);
    }
    say::print(&format!("verified to {last} in {seconds:.2} s: every landmark and digest agrees\n"))?;
    Ok(ExitStatus::Good)
}

/// How a replay went.
enum Played<'a> {
    /// To the end of the trace.
    ToEnd(Box<Player<'a>>),
    /// Somebody ended it before.
    Stopped(ExitStatus),
}

/// How a replay is made, if not in the usual way.
#[derive(Clone, Copy, Default)]
struct Manner {
    full: bool,
    cache_limits: Option<CacheLimits>,
}

/// Replays to the end, printing by `print`, with a host that otherwise only listens to signals.
fn play<'a>(
    config: &'a ReplayConfig,
    manner: Manner,
    inspected: &Inspected<'_>,
    failed_at: Option<(Mark, FailureKind)>,
    print: impl Fn(&mut Host, &Output),
) -> Result<Played<'a>> {
    let interrupt = Interrupt::default();
    let options = HostOptions { inputs: false, interrupt: Some(interrupt.flag()), ..HostOptions::default() };
    let mut host = Host::open(options)?;
    let mut player = Player::new(&config.reader, &config.images, engine(config.engine), interrupt.clone())?;
    player.full = manner.full;
    if let Some(limits) = manner.cache_limits {
        player.machine.limit_caches(limits);
    }
    let mut to_look_at = failed_at.map(|(place, _)| place);
    // What an oops began with is an exception on the way to it.
    if failed_at.is_some_and(|(_, kind)| kind == FailureKind::Oops) {
        player.stops = fault::stops();
    }
    loop {
        let mut emit = |_, output: &Output| print(&mut host, output);
        let progress = match to_look_at {
            Some(place) => player.play(place, &mut emit),
            None => player.play_to_end(&mut emit),
        };
        match progress {
            Ok(Progress::Stopped { vcpu, reason }) => {
                if let Some(fault) = Fault::of_stop(player.machine.mark(), vcpu, reason) {
                    inspected.note_fault(fault);
                }
                continue;
            }
            Ok(Progress::Interrupted) => {}
            Ok(Progress::Reached | Progress::Ended) if to_look_at.take().is_some() => {
                player.stops = StopSet::default();
                inspected.look_at_failure(&player.machine);
                continue;
            }
            Ok(Progress::Reached | Progress::Ended) => return Ok(Played::ToEnd(Box::new(player))),
            Err(PlayError::Divergence(divergence)) => {
                drop(host);
                return Err(explain(config, &divergence, &player));
            }
            Err(error) => return Err(error.into()),
        }
        // Lowered before looking: a signal that comes in between is seen now or raises it again.
        interrupt.clear();
        if let Some(status) = stopped(&mut host, &player, inspected) {
            return Ok(Played::Stopped(status));
        }
    }
}

/// Whether what interrupted a replay ends it. A window that changed its size, or a SIGCONT, does not.
fn stopped(host: &mut Host, player: &Player<'_>, inspected: &Inspected<'_>) -> Option<ExitStatus> {
    for arrival in host.arrivals(Duration::ZERO) {
        match arrival {
            Arrival::Stop { signal, .. } => return Some(ExitStatus::Signal(signal)),
            Arrival::Trouble { reason } => {
                say::line(&reason);
                return Some(ExitStatus::HostTrouble);
            }
            Arrival::Report => say::raw(&inspected.registers(&player.machine)),
            Arrival::Input(_) | Arrival::Note(_) => {}
        }
    }
    None
}

/// Says what a divergence is and what it comes down to.
fn explain(config: &ReplayConfig, divergence: &Divergence, player: &Player<'_>) -> anyhow::Error {
    say::line(&divergence.to_string());
    say::line("narrowing it down; this replays the trace several times");
    let engine = engine(config.engine);
    match narrow(&config.reader, &config.images, engine, divergence, &player.machine) {
        Ok(found) => say::block(&found.to_string()),
        Err(error) => say::line(&format!("it cannot be narrowed down: {error}")),
    }
    Refused { status: ExitStatus::HostTrouble, message: "".into() }.into()
}

fn say_unfinished(config: &ReplayConfig) {
    let how = match config.reader.tail() {
        Tail::Torn { offset_bytes } => format!("; the file is cut off at byte {offset_bytes}"),
        _ => String::new(),
    };
    say::line(&format!(
        "the recorder of this trace did not live to write an ending{how}; all that is in it agrees"
    ));
}
