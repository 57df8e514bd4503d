//! What can go wrong with a trace or with the store, said so that a user knows what to do next.

use boundary::{ImageId, Mark};
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// An error of one trace file.
#[derive(Debug, Error)]
pub enum TraceError {
    /// The host refused.
    #[error("cannot {action} trace {}: {source}", path.display())]
    Io {
        /// The trace.
        path: PathBuf,
        /// What was tried: `create`, `write`, `read`.
        action: &'static str,
        /// The host's reason.
        source: io::Error,
    },
    /// The file does not begin like a trace.
    #[error("{} is not a vkernel trace", path.display())]
    NotATrace {
        /// The file.
        path: PathBuf,
    },
    /// The file ends before the first chunk does. It may be being created at this moment.
    #[error(
        "{} is too short to be a trace: it ends at byte {length_bytes}, for its recorder was ended before it had \
         written the beginning",
        path.display()
    )]
    TooShort {
        /// The file.
        path: PathBuf,
        /// Where it ends.
        length_bytes: u64,
    },
    /// A trace of a later vkernel.
    #[error(
        "trace {} has format version {found}, and this vkernel reads versions {oldest} to {newest}: use the \
         vkernel that recorded it, or a newer one",
        path.display()
    )]
    Version {
        /// The trace.
        path: PathBuf,
        /// Its version.
        found: u16,
        /// The oldest version this build reads.
        oldest: u16,
        /// The newest.
        newest: u16,
    },
    /// The bytes are not what a recorder writes.
    #[error("trace {} is damaged at byte {offset_bytes}: {reason}", path.display())]
    Damaged {
        /// The trace.
        path: PathBuf,
        /// Where the damaged chunk begins.
        offset_bytes: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The caller's fault: events must be written in order of their places.
    #[error("trace {}: an event at {next} was written after one at {previous}", path.display())]
    OutOfOrder {
        /// The trace.
        path: PathBuf,
        /// The place of the last event.
        previous: Mark,
        /// The earlier place of the event that was refused.
        next: Mark,
    },
    /// The caller's fault: an event may not exceed [`crate::format::MAX_EVENT_BYTES`], the start not
    /// [`crate::format::MAX_CHUNK_BYTES`].
    #[error("trace {}: {length_bytes} bytes at once are over the limit of {limit_bytes}", path.display())]
    TooLarge {
        /// The trace.
        path: PathBuf,
        /// Length of the event or start.
        length_bytes: usize,
        /// The limit.
        limit_bytes: usize,
    },
}

/// What is wrong with some bytes, before it is known in which file and where they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flaw(pub &'static str);

impl Flaw {
    pub(crate) fn at(self, path: &Path, offset_bytes: u64) -> TraceError {
        TraceError::Damaged { path: path.to_owned(), offset_bytes, reason: self.0 }
    }
}

/// An error of the store.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Neither variable that says where recordings live is usable.
    #[error(
        "no place to keep recordings: set VKERNEL_DIR to a directory (or set HOME), or use --trace FILE or --no-record"
    )]
    NoRoot,
    /// The host refused.
    #[error("cannot {action} {}: {source}{}", path.display(), advice(source))]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The host's reason.
        source: io::Error,
    },
    /// A trace cannot be read or written.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// No recording has this name.
    #[error("no recording is called {wanted}, and no name begins so; `vkernel ls` lists those in {}", store.display())]
    NotFound {
        /// The TRACE argument.
        wanted: String,
        /// Where recordings live.
        store: PathBuf,
    },
    /// `latest` or `latest-fail` was asked for, and there is none.
    #[error("there is no {} in {}", if *.failed { "failed recording" } else { "recording" }, store.display())]
    Empty {
        /// Whether a failed one was asked for.
        failed: bool,
        /// Where recordings live.
        store: PathBuf,
    },
    /// Several recordings match.
    #[error("{wanted} could be any of these recordings:{}", listed(candidates))]
    Ambiguous {
        /// The TRACE argument.
        wanted: String,
        /// The names that begin so.
        candidates: Vec<String>,
    },
    /// A recording outside the store cannot be pinned or removed.
    #[error("{} is not in the store {}; it is yours to keep or delete", path.display(), store.display())]
    NotInStore {
        /// The trace.
        path: PathBuf,
        /// Where recordings live.
        store: PathBuf,
    },
    /// A pinned recording is not removed.
    #[error("{name} is pinned; unpin it first (`vkernel pin --remove {name}`) or remove it with --force")]
    Pinned {
        /// The recording.
        name: String,
    },
    /// A name that a user gave is none.
    #[error(
        "{name:?} cannot be the name of a recording: letters, digits and . _ + - make one, it begins with a letter or digit, and \
         latest and latest-fail are taken"
    )]
    NotAName {
        /// The name.
        name: String,
    },
    /// A name that a user gave has been given before.
    #[error("there is a recording called {name} already; choose another name")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// `--trace FILE` would destroy something that is not a trace.
    #[error("{} exists and is not a vkernel trace; it is left alone: choose another file", path.display())]
    NotOverwritten {
        /// The file.
        path: PathBuf,
    },
    /// An image that a trace needs is nowhere.
    #[error(
        "image {name} of this recording is not in the store: BLAKE3 {id}, {length_bytes} bytes; if you have the file, \
         give it with --image FILE, or get the trace as made by `vkernel trace pack`"
    )]
    ImageMissing {
        /// The name it had when it was recorded.
        name: String,
        /// Its identity.
        id: ImageId,
        /// Its length.
        length_bytes: u64,
    },
    /// A stored image no longer has the content that names it.
    #[error("stored image {} is damaged: its content has BLAKE3 {found}; delete it and give the original with --image FILE", path.display())]
    ImageDamaged {
        /// Where it is stored; the file name is the digest that it should have.
        path: PathBuf,
        /// The digest it has.
        found: ImageId,
    },
    /// `--image FILE` named a file that the trace does not use.
    #[error("{} has BLAKE3 {found}, which is no image of this recording; it needs:{}", path.display(), listed(needed))]
    ImageUnwanted {
        /// The file.
        path: PathBuf,
        /// Its digest.
        found: ImageId,
        /// Name, digest and length of each image the trace names.
        needed: Vec<String>,
    },
}

impl StoreError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
        let path = path.to_owned();
        move |source| StoreError::Io { path, action, source }
    }
}

fn listed(lines: &[String]) -> String {
    lines.iter().map(|line| format!("\n  {line}")).collect()
}

/// A store in a read-only home is common in containers, so that error says the way out.
fn advice(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "; set VKERNEL_DIR to a directory you can write, or use --trace FILE or --no-record"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; free some space (`vkernel rm`), or set VKERNEL_DIR to another disk"
        }
        _ => "",
    }
}
