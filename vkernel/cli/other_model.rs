//! Traces of a machine that behaves differently: handed to the vkernel that recorded them, which the store keeps by
//! content.
//!
//! A packed trace may carry that vkernel. It is a program of whoever packed the trace, so it is run only if this store
//! kept the same one already or the user trusts it in so many words.

use crate::exit::usage;
use anyhow::{Context, Result, bail};
use boundary::ImageId;
use recorder::{Store, TraceReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

/// Set in the environment of the vkernel that a trace is handed to, to the trace's model: it must not hand it on.
pub const GUARD: &str = "VKERNEL_HANDED_MODEL";

/// Goes on if this vkernel replays the trace; else becomes the vkernel that does, with the same arguments.
///
/// # Errors
/// When that vkernel is not here, may not be run, or is not what it should be. The message says what to install.
pub fn hand_over(reader: &TraceReader, store: Option<&Store>, trusted: bool) -> Result<()> {
    let model = reader.power_on().model;
    if model == machine::MODEL {
        return Ok(());
    }
    let recorder = Recorder::of(reader);
    if let Some(handed) = std::env::var_os(GUARD) {
        bail!(
            "{}, and so was to replay a trace of model {}: the executable {} is not the one that recorded; {}",
            recorder.ours,
            handed.to_string_lossy(),
            recorder.id.map_or_else(|| "of this trace".to_owned(), |id| id.to_string()),
            recorder.advice
        );
    }
    let path = recorder.executable(reader, store, trusted)?;
    let mut command = Command::new(&path);
    command.args(std::env::args_os().skip(1)).env(GUARD, model.to_string());
    // Only returns if it fails.
    let error = command.exec();
    Err(error).with_context(|| {
        format!("{}; it cannot be run as {}; {}", recorder.situation, path.display(), recorder.advice)
    })
}

/// The vkernel that recorded a trace of another model, and how to speak of it.
struct Recorder {
    id: Option<ImageId>,
    ours: String,
    situation: String,
    advice: String,
}

impl Recorder {
    fn of(reader: &TraceReader) -> Recorder {
        let version = crate::text::harmless(&reader.meta().vkernel_version);
        let model = reader.power_on().model;
        let ours = format!("this vkernel {} is of model {}", env!("CARGO_PKG_VERSION"), machine::MODEL);
        let age = if model > machine::MODEL { ", a newer one" } else { "" };
        Recorder {
            id: reader.meta().executable,
            situation: format!(
                "{} is of model {model}, recorded by vkernel {version}{age}, and {ours}",
                reader.path().display()
            ),
            ours,
            advice: format!("install vkernel {version} to replay it"),
        }
    }

    /// The path of that vkernel in the store.
    fn executable(&self, reader: &TraceReader, store: Option<&Store>, trusted: bool) -> Result<PathBuf> {
        let Recorder { situation, advice, .. } = self;
        let absent = || {
            anyhow::anyhow!(
                "{situation}; that vkernel is not in the store: {advice}, or have the trace packed where it was \
                 recorded, with `vkernel trace pack --with-executable`"
            )
        };
        let (id, store) = self.id.zip(store).ok_or_else(absent)?;
        let images = store.images();
        let kept = images.executable(id)?;
        if let Some(path) = kept.clone().filter(|_| store.was_recorded_with(id)) {
            return Ok(path);
        }
        let carried =
            if kept.is_some() { None } else { Some(reader.embedded_bytes(id)?.ok_or_else(absent)?) };
        if !trusted {
            return Err(usage(format!(
                "{situation}; that vkernel came with the trace, so it is a program of whoever made the trace: if you \
                 trust them, add --trust-executable; else {advice}"
            )));
        }
        if let Some(bytes) = carried {
            images.put(&bytes)?;
        }
        images.executable(id)?.ok_or_else(absent)
    }
}
