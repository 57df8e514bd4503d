//! `vkernel pin`: keeps recordings from being removed, or no longer.

use crate::args::traces::PinArgs;
use crate::config::{refuse, store};
use crate::exit::ExitStatus;
use crate::say;
use anyhow::Result;

/// Pins or unpins every recording named, up to the first that cannot be.
pub fn run(arguments: &PinArgs) -> Result<ExitStatus> {
    let store = store()?;
    for wanted in &arguments.traces {
        let done = if arguments.remove { store.unpin(wanted) } else { store.pin(wanted) };
        let name = done.map_err(refuse)?;
        say::line(&format!("{} {name}", if arguments.remove { "unpinned" } else { "pinned" }));
    }
    Ok(ExitStatus::Good)
}
