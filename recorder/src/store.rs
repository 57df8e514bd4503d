//! Where recordings live.
//!
//! ```text
//! ROOT/traces/NAME.vkt      a recording, or a symbolic link to one made with --trace FILE
//! ROOT/traces/NAME.pin      present while NAME is pinned
//! ROOT/traces/NAME.cache/   checkpoints and indexes of replays, deletable at any time
//! ROOT/images/<BLAKE3>      images and executables, by content
//! ROOT/executables/         which executables have been seen, see executables.rs
//! ```
//!
//! Directories are 0700 and files 0600, for a recording holds what the guest's memory and console held. Any number
//! of processes may record, list and remove at once: names are claimed by exclusive creation and there is no index to
//! keep in step. The link keeps images alive that a trace elsewhere needs.

use crate::error::{StoreError, TraceError};
use crate::event::Meta;
use crate::images::{ImageSet, ImageStore, make_directory};
use crate::names::{is_recording_name, recording_name};
use crate::reader::{Tail, TraceReader};
use crate::writer::{TraceWriter, is_trace, may_be_replaced};
use boundary::PowerOn;
use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const TRACE_SUFFIX: &str = ".vkt";

/// The directory of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreRoot(PathBuf);

impl StoreRoot {
    /// Chooses by the values of `VKERNEL_DIR`, `XDG_DATA_HOME` and `HOME`, in this order; empty counts as unset, and
    /// so does a relative path in the latter two.
    ///
    /// # Errors
    /// When none is usable. The message says what to set.
    pub fn choose(
        vkernel_dir: Option<&OsStr>,
        xdg_data_home: Option<&OsStr>,
        home: Option<&OsStr>,
    ) -> Result<StoreRoot, StoreError> {
        let absolute = |value: Option<&OsStr>| value.map(PathBuf::from).filter(|path| path.is_absolute());
        if let Some(directory) = vkernel_dir.filter(|value| !value.is_empty()) {
            return Ok(StoreRoot(directory.into()));
        }
        if let Some(data_home) = absolute(xdg_data_home) {
            return Ok(StoreRoot(data_home.join("vkernel")));
        }
        absolute(home).map(|home| StoreRoot(home.join(".local/share/vkernel"))).ok_or(StoreError::NoRoot)
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

/// How a recording ended, as far as `ls` and retention care.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The guest ended well.
    Succeeded(String),
    /// The guest failed.
    Failed(String),
    /// Something else ended it: the operator, a signal, the host.
    Stopped(String),
    /// It has no ending: it is being recorded, or its recorder was killed.
    Unfinished,
    /// It cannot be read, for this reason.
    Unreadable(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Succeeded(ending) | Outcome::Failed(ending) | Outcome::Stopped(ending) => {
                f.write_str(ending)
            }
            Outcome::Unfinished => f.write_str("unfinished"),
            Outcome::Unreadable(reason) => write!(f, "unreadable: {reason}"),
        }
    }
}

/// A recording, as `vkernel ls` shows it.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// Its file in the store. For one made with `--trace FILE`, the link.
    pub path: PathBuf,
    /// For one made with `--trace FILE`: that file.
    pub elsewhere: Option<PathBuf>,
    /// When recording began, in seconds since 1970.
    pub started_s: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// Length of the trace. Its cache is not counted.
    pub trace_bytes: u64,
    /// Length of the run in instructions.
    pub instructions: u64,
    /// Whether it is pinned.
    pub pinned: bool,
}

/// The store.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// The store in this directory. Nothing is created before something is recorded.
    #[must_use]
    pub fn at(root: StoreRoot) -> Store {
        Store { root: root.0 }
    }

    /// The directory of recordings.
    #[must_use]
    pub fn traces(&self) -> PathBuf {
        self.root.join("traces")
    }

    /// The images.
    #[must_use]
    pub fn images(&self) -> ImageStore {
        ImageStore::at(self.root.join("images"))
    }

    /// The directory that it is in.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn trace_path(&self, name: &str) -> PathBuf {
        self.traces().join(format!("{name}{TRACE_SUFFIX}"))
    }

    pub(crate) fn pin_path(&self, name: &str) -> PathBuf {
        self.traces().join(format!("{name}.pin"))
    }

    /// Begins a recording under a name of its own, and keeps its images. Returns the name too.
    ///
    /// The images come first, so that a recorder that is killed leaves no trace without its images. Once the trace
    /// is there they count as used; should another process have swept them away before, they are put again. An
    /// executable that `meta` names is to be put after this.
    ///
    /// # Errors
    /// When the host refuses. No recording is left behind then.
    pub fn record(
        &self,
        kernel_name: &str,
        power_on: &PowerOn,
        meta: &Meta,
        images: &ImageSet,
    ) -> Result<(String, TraceWriter), StoreError> {
        self.keep(images)?;
        make_directory(&self.traces())?;
        let (name, writer) = self.claim(kernel_name, meta, |path| {
            TraceWriter::create(path, power_on, meta).map_err(|error| match error {
                TraceError::Io { source, action, .. } => StoreError::io(action, path)(source),
                other => StoreError::Trace(other),
            })
        })?;
        self.keep_for(&name, images)?;
        Ok((name, writer))
    }

    /// Puts the images of a recording that has begun again, should they have been swept away; without them it is none.
    fn keep_for(&self, name: &str, images: &ImageSet) -> Result<(), StoreError> {
        let kept = self.keep(images);
        if kept.is_err() {
            self.delete(name)?;
        }
        kept
    }

    /// Begins a recording of this name, and keeps its images.
    ///
    /// # Errors
    /// The name is none for a recording, or taken, or the host refuses.
    pub fn record_as(
        &self,
        name: &str,
        power_on: &PowerOn,
        meta: &Meta,
        images: &ImageSet,
    ) -> Result<TraceWriter, StoreError> {
        if !is_recording_name(name) {
            return Err(StoreError::NotAName { name: name.to_owned() });
        }
        self.keep(images)?;
        make_directory(&self.traces())?;
        let writer = TraceWriter::create(&self.trace_path(name), power_on, meta);
        let writer = writer.map_err(|error| match error {
            TraceError::Io { source, .. } if source.kind() == io::ErrorKind::AlreadyExists => {
                StoreError::NameTaken { name: name.to_owned() }
            }
            other => StoreError::Trace(other),
        })?;
        self.keep_for(name, images)?;
        Ok(writer)
    }

    /// Begins a recording in a file that the user named (`--trace FILE`), replacing a trace that is there. The images
    /// go to the store, and a link to the file. If the store does not take them the recording goes on without; the
    /// error is then returned beside the writer.
    ///
    /// # Errors
    /// When the file holds something that is not a trace, or the host refuses.
    pub fn record_at(
        &self,
        path: &Path,
        kernel_name: &str,
        power_on: &PowerOn,
        meta: &Meta,
        images: &ImageSet,
    ) -> Result<(TraceWriter, Option<StoreError>), StoreError> {
        if !may_be_replaced(path).map_err(StoreError::io("look at", path))? {
            return Err(StoreError::NotOverwritten { path: path.to_owned() });
        }
        let kept = self.keep(images);
        let writer = TraceWriter::replace(path, power_on, meta)?;
        let linked = kept.and_then(|()| self.link(path, kernel_name, meta)).and_then(|()| self.keep(images));
        Ok((writer, linked.err()))
    }

    fn link(&self, path: &Path, kernel_name: &str, meta: &Meta) -> Result<(), StoreError> {
        let target = std::path::absolute(path).map_err(StoreError::io("find", path))?;
        if !target.is_file() {
            return Ok(());
        }
        make_directory(&self.traces())?;
        for name in self.names()? {
            if fs::read_link(self.trace_path(&name)).is_ok_and(|old| old == target) {
                self.delete(&name)?;
            }
        }
        let linked =
            |link: &Path| std::os::unix::fs::symlink(&target, link).map_err(StoreError::io("create", link));
        self.claim(kernel_name, meta, linked).map(|_| ())
    }

    fn keep(&self, images: &ImageSet) -> Result<(), StoreError> {
        images.iter().try_for_each(|(id, bytes)| self.images().put_as(id, bytes))
    }

    /// Finds a free name: `create` must fail if its path exists, which makes the claim exclusive.
    fn claim<T>(
        &self,
        kernel_name: &str,
        meta: &Meta,
        mut create: impl FnMut(&Path) -> Result<T, StoreError>,
    ) -> Result<(String, T), StoreError> {
        let base = recording_name(kernel_name, meta.started_s);
        let mut number = 1u32;
        loop {
            let name = if number == 1 { base.clone() } else { format!("{base}-{number}") };
            match create(&self.trace_path(&name)) {
                Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {
                    number += 1
                }
                other => return other.map(|created| (name, created)),
            }
        }
    }

    /// Names of all recordings, in order of the alphabet.
    pub(crate) fn names(&self) -> Result<Vec<String>, StoreError> {
        let directory = self.traces();
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(StoreError::io("list", &directory)(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let file_name = entry.map_err(StoreError::io("list", &directory))?.file_name();
            names.extend(
                file_name.to_str().and_then(|name| name.strip_suffix(TRACE_SUFFIX)).map(str::to_owned),
            );
        }
        names.sort_unstable();
        Ok(names)
    }

    /// All recordings, oldest first. Links to files that are gone are passed over.
    ///
    /// # Errors
    /// When the directory cannot be listed. A recording that cannot be read is a row that says so.
    pub fn list(&self) -> Result<Vec<Row>, StoreError> {
        // Of those begun in one second the file made first is older, where the host can tell. A name cannot: another
        // kernel's sorts anywhere, and one that was removed is free again. Else `k-2` comes before `k-10`.
        let made = |row: &Row| row.path.symlink_metadata().and_then(|metadata| metadata.created()).ok();
        let rows = self.names()?.into_iter().filter_map(|name| self.row(name));
        let mut rows: Vec<_> =
            rows.map(|row| ((row.started_s, made(&row), row.name.len(), row.name.clone()), row)).collect();
        rows.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(rows.into_iter().map(|(_, row)| row).collect())
    }

    fn row(&self, name: String) -> Option<Row> {
        let path = self.trace_path(&name);
        let trace_bytes = path.metadata().ok()?.len();
        let mut row = Row {
            elsewhere: fs::read_link(&path).ok(),
            pinned: self.pin_path(&name).exists(),
            name,
            path,
            started_s: 0,
            outcome: Outcome::Unfinished,
            trace_bytes,
            instructions: 0,
        };
        match TraceReader::open(&row.path) {
            Ok(reader) => {
                row.started_s = reader.meta().started_s;
                row.instructions = reader.last_mark().unwrap_or_default().icount.0;
                row.outcome = outcome(&reader);
            }
            // Removed by somebody else between listing and opening.
            Err(TraceError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => row.outcome = Outcome::Unreadable(error.to_string()),
        }
        Some(row)
    }

    /// The file of a TRACE argument: a path, a name, a unique prefix of a name, `latest`, or `latest-fail`.
    ///
    /// What contains a slash is a path. Anything else is a name before it is a file in the current directory, and
    /// such a file must be a trace: `vkernel replay vmlinuz` means the recordings of vmlinuz, not the kernel.
    ///
    /// # Errors
    /// When nothing or more than one recording fits.
    pub fn resolve(&self, wanted: &str) -> Result<PathBuf, StoreError> {
        let as_path = Path::new(wanted);
        if wanted.contains('/') {
            return Ok(as_path.to_owned());
        }
        match self.find(wanted) {
            Err(StoreError::NotFound { .. } | StoreError::Ambiguous { .. })
                if as_path.is_file() && is_trace(as_path).unwrap_or(false) =>
            {
                Ok(as_path.to_owned())
            }
            found => found.map(|name| self.trace_path(&name)),
        }
    }

    /// The name of the recording in the store that a TRACE argument means.
    ///
    /// # Errors
    /// When nothing or more than one recording fits, or the argument is a path outside the store.
    pub fn find(&self, wanted: &str) -> Result<String, StoreError> {
        if let "latest" | "latest-fail" = wanted {
            return self.latest(wanted == "latest-fail");
        }
        let wanted_name = match Path::new(wanted).parent() {
            Some(parent) if !parent.as_os_str().is_empty() => self.name_of_path(Path::new(wanted))?,
            _ => wanted.strip_suffix(TRACE_SUFFIX).unwrap_or(wanted).to_owned(),
        };
        let names = self.names()?;
        if names.contains(&wanted_name) {
            return Ok(wanted_name);
        }
        let mut candidates: Vec<String> =
            names.into_iter().filter(|name| !wanted.is_empty() && name.starts_with(wanted)).collect();
        match candidates.len() {
            0 => Err(StoreError::NotFound { wanted: wanted.to_owned(), store: self.traces() }),
            1 => Ok(candidates.remove(0)),
            _ => Err(StoreError::Ambiguous { wanted: wanted.to_owned(), candidates }),
        }
    }

    fn name_of_path(&self, path: &Path) -> Result<String, StoreError> {
        let outside = || StoreError::NotInStore { path: path.to_owned(), store: self.traces() };
        let same = |a: &Path, b: &Path| {
            fs::canonicalize(a).ok().is_some_and(|a| fs::canonicalize(b).ok() == Some(a))
        };
        let inside = path.parent().is_some_and(|parent| same(parent, &self.traces()));
        let name = path.file_name().and_then(OsStr::to_str).and_then(|name| name.strip_suffix(TRACE_SUFFIX));
        name.filter(|_| inside).map(str::to_owned).ok_or_else(outside)
    }

    fn latest(&self, failed: bool) -> Result<String, StoreError> {
        let fits = |row: &Row| !failed || matches!(row.outcome, Outcome::Failed(_));
        let latest = self.list()?.into_iter().rfind(fits);
        latest.map(|row| row.name).ok_or_else(|| StoreError::Empty { failed, store: self.traces() })
    }

    /// Keeps a recording from being removed, by hand or by age.
    ///
    /// # Errors
    /// When the host refuses.
    pub fn pin(&self, wanted: &str) -> Result<String, StoreError> {
        let name = self.find(wanted)?;
        let path = self.pin_path(&name);
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path);
        file.map_err(StoreError::io("create", &path))?;
        Ok(name)
    }

    /// Undoes [`Store::pin`].
    ///
    /// # Errors
    /// When the host refuses.
    pub fn unpin(&self, wanted: &str) -> Result<String, StoreError> {
        let name = self.find(wanted)?;
        remove_if_there(&self.pin_path(&name), |path| fs::remove_file(path))?;
        Ok(name)
    }

    /// Removes a recording and its cache; of one made with `--trace FILE`, only the link. Images that nothing
    /// uses any more go with the next [`Store::sweep_images`].
    ///
    /// # Errors
    /// When it is pinned, or the host refuses.
    pub fn remove(&self, wanted: &str) -> Result<String, StoreError> {
        let name = self.find(wanted)?;
        if self.pin_path(&name).exists() {
            return Err(StoreError::Pinned { name });
        }
        self.delete(&name)?;
        Ok(name)
    }

    pub(crate) fn delete(&self, name: &str) -> Result<(), StoreError> {
        let path = self.trace_path(name);
        remove_if_there(&cache_directory(&path), |path| fs::remove_dir_all(path))?;
        remove_if_there(&path, |path| fs::remove_file(path))?;
        remove_if_there(&self.pin_path(name), |path| fs::remove_file(path))
    }
}

/// Removes something that another process may be removing too.
pub(crate) fn remove_if_there(
    path: &Path,
    remove: impl FnOnce(&Path) -> io::Result<()>,
) -> Result<(), StoreError> {
    match remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io("remove", path)(error)),
        _ => Ok(()),
    }
}

/// The directory for what can be derived from a trace: `NAME.cache` beside `NAME.vkt`.
#[must_use]
pub fn cache_directory(trace: &Path) -> PathBuf {
    match trace.extension() {
        Some(extension) if extension == "vkt" => trace.with_extension("cache"),
        _ => {
            let mut name = trace.as_os_str().to_owned();
            name.push(".cache");
            name.into()
        }
    }
}

fn outcome(reader: &TraceReader) -> Outcome {
    match (reader.ending(), reader.tail()) {
        (Some(end), _) if end.failed() => Outcome::Failed(end.ending.to_string()),
        (Some(end), _) if end.succeeded() => Outcome::Succeeded(end.ending.to_string()),
        (Some(end), _) => Outcome::Stopped(end.ending.to_string()),
        (None, Tail::Damaged { offset_bytes, reason }) => {
            Outcome::Unreadable(format!("damaged at byte {offset_bytes}: {reason}"))
        }
        (None, Tail::Complete | Tail::Open | Tail::Torn { .. }) => Outcome::Unfinished,
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
