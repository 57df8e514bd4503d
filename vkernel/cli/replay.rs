//! `vkernel replay` and `vkernel trace verify`: the same run again, checked against its trace.

use crate::boot::engine;
use crate::config::{ReplayConfig, VerifyConfig};
use crate::exit::ExitStatus;
use crate::report::{self, Failed, SymbolSource};
use crate::say;
use anyhow::Result;
use boundary::{Output, World};
use host::{Host, HostOptions};
use machine::Interrupt;
use recorder::Tail;
use replay::{PlayError, Player, Progress, narrow};
use std::time::Instant;

const SIGINT: u8 = 2;

/// Replays, printing the console again; ends with the words and the status of the recorded run.
///
/// # Errors
/// A trace that cannot be read, or a divergence.
pub fn run(config: ReplayConfig) -> Result<ExitStatus> {
    let interrupt = Interrupt::default();
    let mut host = quiet_host(&interrupt)?;
    let mut emit = |_, output: &Output| host.emit(output);
    let (player, progress) = play(&config, false, interrupt, &mut emit)?;
    drop(host);
    if progress == Progress::Interrupted {
        return Ok(ExitStatus::Signal(SIGINT));
    }
    let Some(end) = config.reader.ending() else {
        say_unfinished(&config);
        return Ok(ExitStatus::Good);
    };
    let status = ExitStatus::Recorded(end.exit_status);
    if status.code() != 0 {
        let path = config.reader.path().display().to_string();
        let kernel = config.images.iter().next().map_or(&[][..], |(_, bytes)| bytes);
        let symbols = SymbolSource::open(&config.symbols, kernel)?;
        let failed = Failed {
            ending: &end.ending,
            triple_fault: player.triple_fault.as_ref(),
            machine: &player.machine,
            trace: Some(&path),
        };
        say::raw(&report::closing_paragraph(&failed, &symbols));
    }
    say::line(&format!("replayed to {} ({}): {}, as recorded", end.mark, end.virtual_time, end.ending));
    Ok(status)
}

/// Replays without the console and says how much was checked.
///
/// # Errors
/// As [`run`].
pub fn verify(config: VerifyConfig) -> Result<ExitStatus> {
    let interrupt = Interrupt::default();
    let host = quiet_host(&interrupt)?;
    let started = Instant::now();
    let (_, progress) = play(&config.replay, config.full, interrupt, &mut |_, _| {})?;
    drop(host);
    if progress == Progress::Interrupted {
        return Ok(ExitStatus::Signal(SIGINT));
    }
    let last = config.replay.reader.last_mark()?;
    let seconds = started.elapsed().as_secs_f64();
    if config.replay.reader.ending().is_none() {
        say_unfinished(&config.replay);
    }
    say::print(&format!("verified to {last} in {seconds:.2} s: every landmark and digest agrees\n"))?;
    Ok(ExitStatus::Good)
}

/// A host that only listens to signals and prints.
fn quiet_host(interrupt: &Interrupt) -> Result<Host> {
    let options = HostOptions { inputs: false, interrupt: Some(interrupt.flag()), ..HostOptions::default() };
    Ok(Host::open(options)?)
}

fn play<'a>(
    config: &'a ReplayConfig,
    full: bool,
    interrupt: Interrupt,
    emit: &mut dyn FnMut(boundary::Mark, &Output),
) -> Result<(Player<'a>, Progress)> {
    let mut player = Player::new(&config.reader, &config.images, engine(config.engine), interrupt)?;
    player.full = full;
    match player.play_to_end(emit) {
        Ok(progress) => Ok((player, progress)),
        Err(PlayError::Divergence(divergence)) => {
            say::line(&divergence.to_string());
            say::line("narrowing it down; this replays the trace several times");
            let found =
                narrow(&config.reader, &config.images, engine(config.engine), &divergence, &player.machine)?;
            say::block(&found.to_string());
            Err(divergence.into())
        }
        Err(error) => Err(error.into()),
    }
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
