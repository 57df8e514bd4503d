//! `vkernel rm`: removes recordings, and images that nothing uses any more.

use crate::args::traces::RmArgs;
use crate::config::{refuse, store};
use crate::exit::ExitStatus;
use crate::say;
use anyhow::Result;
use recorder::{Store, StoreError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Removes every recording named; one that cannot be removed does not save the others.
pub fn run(arguments: &RmArgs) -> Result<ExitStatus> {
    let store = store()?;
    let mut first_error = None;
    for wanted in &arguments.traces {
        match remove(&store, wanted, arguments.force) {
            Ok(name) => say::line(&format!("removed {name}")),
            Err(error) => {
                // All but the last are said here; the last one by main.
                first_error.replace(error).iter().for_each(|error| {
                    say::error(error);
                });
            }
        }
    }
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    store.sweep_images(now_s)?;
    first_error.map_or(Ok(ExitStatus::Good), Err)
}

fn remove(store: &Store, wanted: &str, force: bool) -> Result<String> {
    let removed = store.remove(wanted).or_else(|error| match error {
        StoreError::Pinned { name } if force => store.unpin(&name).and_then(|name| store.remove(&name)),
        other => Err(other),
    });
    removed.map_err(refuse)
}
