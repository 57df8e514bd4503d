//! Recordings that arguments name: the store, the trace, and the images that the trace needs.

use crate::args::boot::Engine;
use crate::args::traces::{DemoArgs, ImageArgs, ReplayArgs, TracePackArgs, TraceVerifyArgs};
use crate::exit::usage;
use anyhow::{Context, Result};
use boundary::Topology;
use recorder::{
    Attachment, AttachmentKind, ImageSet, Store, StoreError, StoreRoot, TraceError, TraceReader,
    gather_images,
};
use std::path::PathBuf;
use std::{env, io};

/// All that `vkernel replay` runs with.
#[derive(Debug)]
pub struct ReplayConfig {
    /// The trace.
    pub reader: TraceReader,
    /// Everything that its PowerOn names.
    pub images: ImageSet,
    /// How to execute.
    pub engine: Engine,
    /// Files of symbols; each is there and can be read.
    pub symbols: Vec<PathBuf>,
}

/// All that `vkernel trace verify` runs with.
#[derive(Debug)]
pub struct VerifyConfig {
    /// What to replay.
    pub replay: ReplayConfig,
    /// Whether every digest is computed from scratch.
    pub full: bool,
}

/// All that `vkernel trace pack` runs with.
#[derive(Debug)]
pub struct PackConfig {
    /// The trace.
    pub reader: TraceReader,
    /// Everything that its PowerOn names.
    pub images: ImageSet,
    /// The recorder's executable and symbols.
    pub attachments: Vec<Attachment>,
    /// The file to write.
    pub output: PathBuf,
}

/// All that `vkernel demo` runs with.
#[derive(Debug)]
pub struct DemoConfig {
    /// The first seed to try.
    pub first_seed: u64,
    /// How many to try.
    pub tries: u64,
    /// vCPUs.
    pub topology: Topology,
    /// How to execute.
    pub engine: Engine,
    /// Where the recording goes.
    pub store: Store,
}

/// The store that the environment names.
pub fn store() -> Result<Store> {
    let variable = |name| env::var_os(name);
    let (given, data_home, home) = (variable("VKERNEL_DIR"), variable("XDG_DATA_HOME"), variable("HOME"));
    Ok(Store::at(StoreRoot::choose(given.as_deref(), data_home.as_deref(), home.as_deref())?))
}

/// The file that a TRACE argument means. What names nothing, or too much, is a mistake of the command line.
pub fn find_trace(wanted: &str) -> Result<PathBuf> {
    let path = match store() {
        Ok(store) => store.resolve(wanted).map_err(refuse)?,
        // Without a store a path still is one.
        Err(_) if PathBuf::from(wanted).is_file() => PathBuf::from(wanted),
        Err(error) => return Err(error),
    };
    match path.metadata() {
        Ok(metadata) if metadata.is_file() => Ok(path),
        Ok(metadata) => {
            let kind = if metadata.is_dir() { "a directory" } else { "no regular file" };
            Err(usage(format!("TRACE {wanted}: this is {kind}; vkernel ls lists the recordings")))
        }
        Err(_) => Err(usage(format!("TRACE {wanted}: no such file; vkernel ls lists the recordings"))),
    }
}

/// Whose fault an error of the store is.
pub fn refuse(error: StoreError) -> anyhow::Error {
    match error {
        StoreError::NotFound { .. }
        | StoreError::Empty { .. }
        | StoreError::Ambiguous { .. }
        | StoreError::NotInStore { .. }
        | StoreError::NotOverwritten { .. }
        | StoreError::ImageUnwanted { .. }
        | StoreError::Pinned { .. } => usage(error.to_string()),
        other => other.into(),
    }
}

/// The same for an error that may be about a file which the user named with `option`.
pub fn refuse_path(option: &str, error: StoreError) -> anyhow::Error {
    let (path, source) = match &error {
        StoreError::Io { path, source, .. } | StoreError::Trace(TraceError::Io { path, source, .. }) => {
            (path, source)
        }
        _ => return refuse(error),
    };
    match source.kind() {
        io::ErrorKind::NotFound => {
            usage(format!("{option} {}: no such file or directory; check the path", path.display()))
        }
        io::ErrorKind::IsADirectory => {
            usage(format!("{option} {}: this is a directory; name a file in it", path.display()))
        }
        _ => refuse(error),
    }
}

/// Opens the trace that a TRACE argument means.
pub fn open_trace(wanted: &str) -> Result<TraceReader> {
    Ok(TraceReader::open(&find_trace(wanted)?)?)
}

/// Opens a trace and gathers its images.
pub fn open_replay(arguments: ReplayArgs) -> Result<ReplayConfig> {
    let (reader, images, _) = with_images(&arguments.trace, &arguments.images)?;
    super::files::check_symbols(&arguments.symbols)?;
    Ok(ReplayConfig { reader, images, engine: arguments.engine, symbols: arguments.symbols })
}

fn with_images(wanted: &str, images: &ImageArgs) -> Result<(TraceReader, ImageSet, Option<Store>)> {
    let reader = open_trace(wanted)?;
    let store = store().ok();
    let kept = store.as_ref().map(Store::images);
    let images = gather_images(&reader, kept.as_ref(), &images.files)
        .map_err(|error| refuse_path("--image", error))?;
    Ok((reader, images, store))
}

impl VerifyConfig {
    /// Opens a trace and gathers its images.
    ///
    /// # Errors
    /// When there is no such trace, it is damaged at its start, or an image is missing.
    pub fn open(arguments: TraceVerifyArgs) -> Result<VerifyConfig> {
        Ok(VerifyConfig { replay: open_replay(arguments.replay)?, full: arguments.full })
    }
}

impl PackConfig {
    /// Opens a trace and everything to be packed with it.
    ///
    /// # Errors
    /// When any of it is missing. A recorder's executable that the store does not keep is only left out.
    pub fn open(arguments: TracePackArgs) -> Result<PackConfig> {
        let (reader, images, store) = with_images(&arguments.trace, &arguments.images)?;
        let mut attachments = Vec::new();
        if let Some(id) = reader.meta().executable {
            let embedded = reader.embedded_bytes(id)?;
            let kept = match (embedded, &store) {
                (None, Some(store)) => store.images().load(id)?,
                (embedded, _) => embedded,
            };
            let name = format!("vkernel-{}", reader.meta().vkernel_version);
            attachments.extend(kept.map(|bytes| Attachment {
                kind: AttachmentKind::Executable,
                name,
                bytes,
            }));
        }
        for symbols in reader.embedded()?.into_iter().filter(|file| file.kind == AttachmentKind::Symbols) {
            let bytes = reader.embedded_bytes(symbols.id)?;
            attachments.extend(bytes.map(|bytes| Attachment {
                kind: symbols.kind,
                name: symbols.name,
                bytes,
            }));
        }
        super::files::check_symbols(&arguments.symbols)?;
        for path in &arguments.symbols {
            let bytes = std::fs::read(path).with_context(|| format!("--symbols {}", path.display()))?;
            let name = path.display().to_string();
            attachments.push(Attachment { kind: AttachmentKind::Symbols, name, bytes });
        }
        Ok(PackConfig { reader, images, attachments, output: arguments.output })
    }
}

impl DemoConfig {
    /// Finds the store.
    ///
    /// # Errors
    /// When there is no place for one.
    pub fn open(arguments: &DemoArgs) -> Result<DemoConfig> {
        Ok(DemoConfig {
            first_seed: arguments.seed,
            tries: arguments.tries,
            topology: arguments.topology,
            engine: arguments.engine,
            store: store()?,
        })
    }
}
