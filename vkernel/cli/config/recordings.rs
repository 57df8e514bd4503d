//! Recordings that arguments name: the store, the trace, and the images that the trace needs.

use crate::args::boot::Engine;
use crate::args::traces::{
    AnalyseArgs, DdbArgs, GdbArgs, ImageArgs, PlaceArgs, ReplayArgs, TracePackArgs, TraceVerifyArgs,
};
use crate::exit::usage;
use crate::other_model;
use anyhow::{Context, Result};
use boundary::{Media, Role};
use ddb_shell::debugger::place::Place;
use machine::CacheLimits;
use recorder::{
    Attachment, AttachmentKind, ImageSet, Store, StoreError, StoreRoot, TraceError, TraceReader,
    gather_images,
};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{env, fs, io};
use tempfile::TempDir;

/// All that `vkernel replay` runs with.
#[derive(Debug)]
pub struct ReplayConfig {
    /// The trace.
    pub reader: TraceReader,
    /// Everything that its PowerOn names.
    pub images: ImageSet,
    /// How to execute.
    pub engine: Engine,
    /// Files and folders of symbols; each is there and can be read.
    pub symbols: Vec<PathBuf>,
    /// The files of symbols that the trace carries.
    packed_symbols: PackedSymbols,
}

/// Symbols that were packed into a trace, in a folder of their own for as long as this lives.
#[derive(Debug, Default)]
struct PackedSymbols {
    _folder: Option<TempDir>,
    files: Vec<PathBuf>,
}

impl ReplayConfig {
    /// A trace that is replayed with these files of symbols, and with those that it carries.
    ///
    /// # Errors
    /// Those cannot be unpacked.
    pub fn new(
        reader: TraceReader,
        images: ImageSet,
        engine: Engine,
        symbols: Vec<PathBuf>,
    ) -> Result<ReplayConfig> {
        let packed_symbols = unpack_symbols(&reader)?;
        Ok(ReplayConfig { reader, images, engine, symbols, packed_symbols })
    }

    /// All files and folders of symbols, those that were named first.
    pub fn all_symbols(&self) -> Vec<PathBuf> {
        [self.symbols.as_slice(), &self.packed_symbols.files].concat()
    }

    /// The kernel's file; nothing if the recording has none.
    pub fn kernel(&self) -> Arc<Vec<u8>> {
        let images = &self.reader.power_on().boot.images;
        let kernel = images.iter().find(|image| image.role == Role::Kernel);
        kernel.and_then(|kernel| self.images.image(kernel.id)).unwrap_or_default()
    }
}

/// All that `vkernel ddb` runs with.
#[derive(Debug)]
pub struct DdbConfig {
    /// What to look at.
    pub replay: ReplayConfig,
    /// Where to open it.
    pub at: Option<Place>,
    /// What to execute first.
    pub commands: Vec<String>,
}

/// All that `vkernel gdb` runs with.
#[derive(Debug)]
pub struct GdbConfig {
    /// What to debug.
    pub replay: ReplayConfig,
    /// Where to open it.
    pub at: Option<Place>,
    /// The gdb to start.
    pub gdb: PathBuf,
    /// Where to serve those that come, if that is not only the one that is started.
    pub listen: Option<String>,
    /// Whether only a configuration for an editor is wanted.
    pub launch_json: bool,
    /// What gdb is told.
    pub arguments: Vec<OsString>,
}

impl GdbConfig {
    /// Opens a trace.
    ///
    /// # Errors
    /// When there is no such trace, the place is none, or gdb could not be connected to.
    pub fn open(arguments: GdbArgs) -> Result<GdbConfig> {
        // Then gdb connects when the editor says where to, and not before.
        let is_adapter = arguments.arguments.iter().any(|word| word == "dap" || word == "--interpreter=dap");
        if is_adapter && arguments.listen.is_none() {
            return Err(usage(
                "gdb as a debug adapter: add --listen=ADDRESS, and have the editor attach to that target",
            ));
        }
        Ok(GdbConfig {
            at: place(arguments.at.as_deref())?,
            replay: open_replay(arguments.replay)?,
            gdb: arguments.gdb,
            listen: arguments.listen,
            launch_json: arguments.launch_json,
            arguments: arguments.arguments,
        })
    }
}

/// A place of a recording.
#[derive(Debug)]
pub struct PlaceConfig {
    /// The recording.
    pub replay: ReplayConfig,
    /// The place, if one was named.
    pub at: Option<Place>,
}

impl PlaceConfig {
    /// Opens a trace.
    ///
    /// # Errors
    /// When there is no such trace, or the place is none.
    pub fn open(arguments: PlaceArgs) -> Result<PlaceConfig> {
        Ok(PlaceConfig { at: place(arguments.at.as_deref())?, replay: open_replay(arguments.replay)? })
    }
}

/// All that `vkernel drgn` and `vkernel crash` run with.
#[derive(Debug)]
pub struct AnalyseConfig {
    /// What to open.
    pub place: PlaceConfig,
    /// What the tool is told.
    pub arguments: Vec<OsString>,
}

impl AnalyseConfig {
    /// Opens a trace.
    ///
    /// # Errors
    /// As [`PlaceConfig::open`].
    pub fn open(arguments: AnalyseArgs) -> Result<AnalyseConfig> {
        Ok(AnalyseConfig { place: PlaceConfig::open(arguments.place)?, arguments: arguments.arguments })
    }
}

/// The place that `--at` names.
fn place(text: Option<&str>) -> Result<Option<Place>> {
    let parse =
        |text| ddb_shell::debugger::place::parse(text).map_err(|error| usage(format!("--at: {error}")));
    text.map(parse).transpose()
}

impl DdbConfig {
    /// Opens a trace and reads the files of commands.
    ///
    /// # Errors
    /// When there is no such trace or file, or the place is none.
    pub fn open(arguments: DdbArgs) -> Result<DdbConfig> {
        let at = place(arguments.at.as_deref())?;
        let mut commands = Vec::new();
        for file in &arguments.command_files {
            let lines = crate::ddb::commands_of(file)
                .map_err(|error| usage(format!("-x {}: {error}", file.display())))?;
            commands.extend(lines);
        }
        commands.extend(arguments.commands);
        Ok(DdbConfig { replay: open_replay(arguments.replay)?, at, commands })
    }
}

/// All that `vkernel trace verify` runs with.
#[derive(Debug)]
pub struct VerifyConfig {
    /// What to replay.
    pub replay: ReplayConfig,
    /// Whether every digest is computed from scratch.
    pub full: bool,
    /// How much the engine may remember, if not as much as it likes.
    pub cache_limits: Option<CacheLimits>,
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
    /// What the user should know.
    pub notice: Option<String>,
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
    let reader = open_trace(&arguments.trace)?;
    let store = store().ok();
    other_model::hand_over(&reader, store.as_ref(), arguments.trust_executable)?;
    let images = gather(&reader, store.as_ref(), &arguments.images)?;
    super::files::check_symbols(&arguments.symbols)?;
    ReplayConfig::new(reader, images, arguments.engine, arguments.symbols)
}

/// Writes the symbols that a trace carries where they can be mapped, and gdb can open them.
fn unpack_symbols(reader: &TraceReader) -> Result<PackedSymbols> {
    let embedded = reader.embedded()?;
    let symbols: Vec<_> = embedded.iter().filter(|file| file.kind == AttachmentKind::Symbols).collect();
    if symbols.is_empty() {
        return Ok(PackedSymbols::default());
    }
    let folder = tempfile::tempdir().context("a folder for the symbols that the trace carries")?;
    let mut files = Vec::new();
    for (number, file) in symbols.iter().enumerate() {
        // Two may have the same name, and a name is the packer's word: it leads to no other folder.
        let name = Path::new(&file.name).file_name().unwrap_or(OsStr::new("symbols"));
        let path = folder.path().join(number.to_string()).join(name);
        let bytes = reader.embedded_bytes(file.id)?.unwrap_or_default();
        let place = || path.display().to_string();
        fs::create_dir(folder.path().join(number.to_string())).with_context(place)?;
        fs::write(&path, bytes).with_context(place)?;
        files.push(path);
    }
    Ok(PackedSymbols { _folder: Some(folder), files })
}

fn gather(reader: &TraceReader, store: Option<&Store>, images: &ImageArgs) -> Result<ImageSet> {
    let kept = store.map(Store::images);
    gather_images(reader, kept.as_ref(), &images.files).map_err(|error| refuse_path("--image", error))
}

impl VerifyConfig {
    /// Opens a trace and gathers its images.
    ///
    /// # Errors
    /// When there is no such trace, it is damaged at its start, or an image is missing.
    pub fn open(arguments: TraceVerifyArgs) -> Result<VerifyConfig> {
        let (full, cache_limits) = (arguments.full, arguments.cache_limits);
        Ok(VerifyConfig { replay: open_replay(arguments.replay)?, full, cache_limits })
    }
}

impl PackConfig {
    /// Opens a trace and everything to be packed with it.
    ///
    /// # Errors
    /// When any of it is missing.
    pub fn open(arguments: TracePackArgs) -> Result<PackConfig> {
        let reader = open_trace(&arguments.trace)?;
        let store = store().ok();
        let images = gather(&reader, store.as_ref(), &arguments.images)?;
        let mut attachments = Vec::new();
        let is_wanted = arguments.with_executable || reader.power_on().model != machine::MODEL;
        let mut notice = None;
        match is_wanted.then(|| executable(&reader, store.as_ref())).transpose() {
            Ok(executable) => attachments.extend(executable),
            Err(absent) if arguments.with_executable => return Err(absent),
            Err(absent) => notice = Some(absent.to_string()),
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
            let bytes = fs::read(path).with_context(|| format!("--symbols {}", path.display()))?;
            let name = path.display().to_string();
            attachments.push(Attachment { kind: AttachmentKind::Symbols, name, bytes });
        }
        Ok(PackConfig { reader, images, attachments, output: arguments.output, notice })
    }
}

/// The vkernel that recorded a trace, to be packed.
fn executable(reader: &TraceReader, store: Option<&Store>) -> Result<Attachment> {
    let version = &reader.meta().vkernel_version;
    let absent = || {
        anyhow::anyhow!(
            "the vkernel {version} that recorded {} (model {}) is not in the store, and without it the packed trace \
             needs it installed; pack it on the machine where it was recorded",
            reader.path().display(),
            reader.power_on().model
        )
    };
    let id = reader.meta().executable.ok_or_else(absent)?;
    let bytes = match (reader.embedded_bytes(id)?, store) {
        (None, Some(store)) => store.images().load(id)?,
        (embedded, _) => embedded,
    };
    let bytes = bytes.ok_or_else(absent)?;
    Ok(Attachment { kind: AttachmentKind::Executable, name: format!("vkernel-{version}"), bytes })
}
