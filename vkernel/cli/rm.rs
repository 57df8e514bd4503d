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
    remove_all(&store()?, arguments)
}

fn remove_all(store: &Store, arguments: &RmArgs) -> Result<ExitStatus> {
    let mut last_error = None;
    for wanted in &arguments.traces {
        match remove(store, wanted, arguments.force) {
            Ok(name) => say::line(&format!("removed {name}")),
            Err(error) => {
                // All but the last are said here; the last one by main.
                last_error.replace(error).iter().for_each(|error| {
                    say::error(error);
                });
            }
        }
    }
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    store.sweep_images(now_s)?;
    last_error.map_or(Ok(ExitStatus::Good), Err)
}

fn remove(store: &Store, wanted: &str, force: bool) -> Result<String> {
    let removed = store.remove(wanted).or_else(|error| match error {
        StoreError::Pinned { name } if force => store.unpin(&name).and_then(|name| store.remove(&name)),
        other => Err(other),
    });
    removed.map_err(refuse)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::ExitStatus;
    use crate::testing::{record, store_in};

    #[test]
    fn a_pinned_recording_goes_only_by_force() {
        let directory = tempfile::tempdir().unwrap();
        let store = store_in(directory.path());
        let (name, _) = record(&store);
        store.pin(&name).unwrap();
        let error = remove(&store, &name, false).unwrap_err();
        assert_eq!(ExitStatus::of_error(&error), ExitStatus::Usage);
        assert!(error.to_string().contains("pin"), "{error}");
        assert_eq!(store.list().unwrap().len(), 1);
        assert_eq!(remove(&store, "kernel", true).unwrap(), name);
        assert!(store.list().unwrap().is_empty());
    }

    #[test]
    fn one_that_is_not_there_does_not_save_the_others() {
        let directory = tempfile::tempdir().unwrap();
        let store = store_in(directory.path());
        let (name, _) = record(&store);
        let arguments = RmArgs { traces: vec!["missing".into(), name], force: false };
        assert!(remove_all(&store, &arguments).is_err());
        assert!(store.list().unwrap().is_empty());
        let kernel = recorder::image_id(b"kernel");
        assert_eq!(store.images().load(kernel).unwrap(), None, "nothing uses its kernel");
    }
}
