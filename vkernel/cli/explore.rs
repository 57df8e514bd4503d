//! `vkernel explore`: seeds in parallel until one fails.

mod child;
mod search;
mod words;

pub use child::result_of_exploration;
pub use search::{Answer, Failure, Searched, Space, search};
pub use words::{checked as checked_words, to_show as arguments_to_show};

use crate::boot::say_swept;
use crate::config::{ExploreConfig, refuse};
use crate::exit::{ExitStatus, Refused};
use crate::result::ResultFile;
use crate::say;
use anyhow::{Context, Result};
use recorder::{TraceReader, gather_images};
use std::path::Path;

/// Explores, and notes in `result` what came of it.
///
/// # Errors
/// When the host refuses, or a run could not be made for reasons that are not the guest's.
pub fn run(config: &ExploreConfig, result: &mut ResultFile) -> Result<ExitStatus> {
    let Searched { answer, explored, other } = search(&config.space)?;
    say_swept(&config.space.store)?;
    let tried = format!("{} of {} seeds from {} on", explored.done, explored.tries, explored.first_seed);
    let others = match (&other, explored.others) {
        (Some(other), others) => format!(
            "; {others} failed otherwise, the first of them seed {} ({}), recorded as {}",
            other.result.seed,
            other.result.title,
            other.result.trace.as_deref().unwrap_or("nothing")
        ),
        (None, _) => String::new(),
    };
    result.result.explored = Some(explored);
    match answer {
        Answer::Found(failure) => {
            say::raw(&failure.said);
            say_found(&failure, &others);
            adopt(result, *failure, config.pack.as_deref(), config)?;
            Ok(ExitStatus::GuestFailed)
        }
        Answer::Nothing => {
            say::line(&format!("no failure: tried {tried}{others}"));
            match other {
                Some(other) => {
                    adopt(result, *other, None, config)?;
                    Ok(ExitStatus::CannotJudge)
                }
                None => {
                    result.result.outcome = "no-failure".to_owned();
                    Ok(ExitStatus::Good)
                }
            }
        }
        Answer::Trouble(trouble) => {
            say::raw(&trouble.said);
            let status = trouble.exit_status.map_or(ExitStatus::HostTrouble, ExitStatus::Recorded);
            Err(Refused { status, message: format!("{}{others}", trouble.message).into() }.into())
        }
        Answer::Interrupted(signal, failure) => {
            let found = failure.map_or_else(String::new, |failure| {
                format!(
                    "; seed {} fails ({}), recorded as {}, and lower ones may too",
                    failure.result.seed,
                    failure.result.title,
                    failure.result.trace.as_deref().unwrap_or("nothing")
                )
            });
            say::line(&format!("ended by signal {signal}: tried {tried}{found}{others}"));
            result.result.outcome = "signal".to_owned();
            Ok(ExitStatus::Signal(signal))
        }
    }
}

fn say_found(failure: &Failure, others: &str) {
    let Failure { result, .. } = failure;
    say::line(&format!(
        "seed {} is the first that fails ({}){}{others}",
        result.seed,
        result.title,
        result.trace.as_ref().map_or_else(String::new, |trace| format!("; recorded as {trace}"))
    ));
}

/// Makes the result of a failed run that of the exploration, and packs its recording.
fn adopt(
    result: &mut ResultFile,
    failure: Failure,
    pack: Option<&Path>,
    config: &ExploreConfig,
) -> Result<()> {
    let explored = result.result.explored.take();
    result.result = failure.result;
    result.result.explored = explored;
    let Some((pack, name)) = pack.zip(result.result.trace.as_ref()) else { return Ok(()) };
    let reader = TraceReader::open(&config.space.store.resolve(name)?)?;
    let images = gather_images(&reader, Some(&config.space.store.images()), &[])?;
    recorder::pack(&reader, &images, &[], pack).map_err(refuse).context("--pack")?;
    result.result.packed(pack);
    Ok(())
}
