//! The trace and the store: how a boot is written down, and where it is kept.
//!
//! A machine is a pure function of its inputs, so a recording is small: what the machine was at power-on, what
//! came in, and at which place ([`boundary::Mark`]). Around that the trace keeps proof: landmarks, digests of the
//! whole machine and hashes of the console, all derived, all cheap, so that a replay can show that it is the same run.
//!
//! The crate has two halves that know little of each other.
//!
//! **The trace**, one file `NAME.vkt`:
//!
//! - [`format`](mod@format) frames: header, chunks, checks, compression. Nothing in it knows an event.
//! - [`event`] and [`end`] say what a trace can hold; `wire` is their bytes, coded by hand and described byte by
//!   byte in `docs/trace-format.md`.
//! - [`codec`] is the only place that uses bincode, for cold parts ([`boundary::PowerOn`], [`Meta`]).
//! - [`TraceWriter`] appends. [`TraceReader`] reads, and treats every byte as hostile: damage is a
//!   [`TraceError`] that names the file and the offset, never a panic and never an unbounded allocation.
//! - [`TraceInfo`] sums up a trace; [`pack`](mod@pack) makes a self-contained one.
//!
//! **The store**, a directory: [`Store`] names recordings, finds, lists, pins and removes them; [`ImageStore`]
//! keeps every kernel, initrd and recorder executable once, by content. [`CheckpointFile`] is the cache beside a trace.
//!
//! A trace is append-only, and every chunk decodes on its own. `kill -9` therefore costs the events since the
//! last [`TraceWriter::flush`] and nothing else. No `fsync` is issued: the promise is about a process that dies,
//! not about a host that loses power.
//!
//! This crate reads no clock and no environment variable; the caller passes what it needs of both.
#![forbid(unsafe_code)]

pub mod codec;
pub mod end;
pub mod event;
pub mod format;
pub mod pack;

mod bytes;
mod checkpoint_file;
mod error;
mod executables;
mod images;
mod info;
mod names;
mod reader;
mod retention;
mod store;
mod wire;
mod writer;

pub use checkpoint_file::{CacheIdentity, CheckpointFile, NewCheckpoint, PageTable};
pub use end::{End, Ending, FailureKind};
pub use error::{StoreError, TraceError};
pub use event::{ConsoleState, Event, Meta, as_recorded};
pub use executables::Executable;
pub use images::{ImageSet, ImageStore, gather_images, image_id};
pub use info::TraceInfo;
pub use names::date_time;
pub use pack::{Attachment, AttachmentKind, Embedded, pack};
pub use reader::{Events, Tail, TraceReader};
pub use retention::{DEFAULT_LIMIT_BYTES, Swept};
pub use store::{Outcome, Row, Store, StoreRoot, cache_directory};
pub use writer::TraceWriter;

#[cfg(test)]
mod testing;

#[cfg(test)]
mod example;
