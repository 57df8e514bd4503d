//! `vkernel demo`, and the kernel `demo:`: a kernel with a real race, explored until one schedule kills it, then
//! replayed, verified and explained.

use crate::boot::engine;
use crate::config::DemoConfig;
use crate::exit::{ExitStatus, Refused};
use crate::explore::{Answer, Failure, search};
use crate::say;
use anyhow::{Context, Result};
use boundary::Output;
use machine::Interrupt;
use recorder::{TraceReader, gather_images};
use replay::Player;

/// The demonstration kernel, with symbols (tests/guests/demo).
const KERNEL: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/demo.elf"));

/// Demonstrates.
///
/// # Errors
/// When the host refuses to record.
pub fn run(config: &DemoConfig) -> Result<ExitStatus> {
    say::line(&format!(
        "the demonstration kernel has a race; trying schedules on {} CPUs until one kills it",
        config.vcpus
    ));
    let searched = search(&config.space)?;
    let done = searched.explored.done;
    match searched.answer {
        Answer::Found(failure) => {
            say::line(&format!(
                "seed {}: {} ({done} schedules tried)",
                failure.result.seed, failure.result.title
            ));
            explain(config, &failure)
        }
        Answer::Nothing => {
            say::line(&format!("{done} schedules and no failure: give --tries a larger number"));
            Ok(ExitStatus::GuestFailed)
        }
        Answer::Trouble(trouble) => {
            say::raw(&trouble.said);
            let status = trouble.exit_status.map_or(ExitStatus::HostTrouble, ExitStatus::Recorded);
            Err(Refused { status, message: trouble.message.into() }.into())
        }
        Answer::Interrupted(signal, _) => Ok(ExitStatus::Signal(signal)),
    }
}

/// Shows the failure: replays the recording, verifies it, and says what to type next.
fn explain(config: &DemoConfig, failure: &Failure) -> Result<ExitStatus> {
    let result = &failure.result;
    let name = result.trace.as_ref().context("the run was not kept")?;
    let reader = TraceReader::open(&config.space.store.resolve(name)?)?;
    let images = gather_images(&reader, Some(&config.space.store.images()), &[])?;
    let mut console = Vec::new();
    let mut player = Player::new(&reader, &images, engine(config.engine), Interrupt::default())?;
    player.full = true;
    player.play_to_end(&mut |_, output| {
        if let Output::Console(bytes) = output {
            console.extend_from_slice(bytes);
        }
    })?;
    say::block(&format!("its console:\n{}", String::from_utf8_lossy(&console).trim_end()));
    say::line(&format!(
        "replayed {} instructions from {} bytes of trace: every landmark and digest agrees",
        result.instructions,
        reader.length_bytes()?
    ));
    say::raw(&failure.said);
    say::block(&format!(
        "what to type next:\n  \
         vkernel replay {name}          the same run again, as often as you like\n  \
         vkernel trace verify {name}    and prove it\n  \
         vkernel trace events {name}    every interrupt of it, with its place\n  \
         vkernel explore -- -n 4 demo:           look for it on four CPUs\n  \
         vkernel --initrd DIR bzImage            your own kernel; every boot is recorded"
    ));
    Ok(ExitStatus::Good)
}

/// The demonstration kernel.
pub fn kernel_bytes() -> Vec<u8> {
    KERNEL.to_vec()
}
