//! Writing a trace.
//!
//! Every frame is appended with one write, so whatever ends the process leaves whole frames and at most one torn
//! one. The writer knows no clock: its caller flushes at least every 100 ms and at every failure and stop.

use crate::bytes::put_blob;
use crate::codec;
use crate::end::End;
use crate::error::TraceError;
use crate::event::{Event, Meta};
use crate::format::{ChunkKind, FORMAT_VERSION, FileHeader, MAX_CHUNK_BYTES, MAX_EVENT_BYTES, Sealer};
use crate::wire::{EventEncoder, Refused};
use boundary::{Mark, PowerOn};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A chunk is written when it has grown to this, even if nobody flushes.
const CHUNK_FULL_BYTES: usize = 64 << 10;

/// Where frames go. A trait so that a test can have a disk that fills up.
pub(crate) trait Sink: Send {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Takes back everything after `length_bytes`.
    fn cut(&mut self, length_bytes: u64) -> io::Result<()>;
}

impl Sink for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn cut(&mut self, length_bytes: u64) -> io::Result<()> {
        self.set_len(length_bytes)
    }
}

/// Appends events to a trace file.
///
/// When the host cannot take a write, the call that noticed returns the error, the file is cut back to its last
/// whole frame, and from then on every call does nothing and succeeds: recording is over, the guest goes on.
/// Dropping a writer without [`TraceWriter::finish`] flushes it; the trace then has no ending.
pub struct TraceWriter {
    path: PathBuf,
    sink: Box<dyn Sink>,
    sealer: Sealer,
    encoder: EventEncoder,
    written_bytes: u64,
    failed: bool,
}

impl std::fmt::Debug for TraceWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TraceWriter")
            .field("path", &self.path)
            .field("written_bytes", &self.written_bytes)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

impl TraceWriter {
    /// Creates the file, which must not exist, and writes the start of the trace.
    ///
    /// # Errors
    /// When it exists or the host refuses.
    pub fn create(path: &Path, power_on: &PowerOn, meta: &Meta) -> Result<TraceWriter, TraceError> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        TraceWriter::start(path, file, power_on, meta)
    }

    /// Like [`TraceWriter::create`], but replaces what is there. A trace that is being read goes on to be readable,
    /// because a regular file is replaced and not overwritten.
    ///
    /// # Errors
    /// When the host refuses.
    pub fn replace(path: &Path, power_on: &PowerOn, meta: &Meta) -> Result<TraceWriter, TraceError> {
        if path.symlink_metadata().is_ok_and(|metadata| metadata.is_file()) {
            let removed = std::fs::remove_file(path);
            removed.map_err(|source| TraceError::Io { path: path.to_owned(), action: "replace", source })?;
        }
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
        TraceWriter::start(path, file, power_on, meta)
    }

    fn start(
        path: &Path,
        file: io::Result<File>,
        power_on: &PowerOn,
        meta: &Meta,
    ) -> Result<TraceWriter, TraceError> {
        let file =
            file.map_err(|source| TraceError::Io { path: path.to_owned(), action: "create", source })?;
        TraceWriter::over(path, Box::new(file), power_on, meta).inspect_err(|_| {
            // An empty file is no recording. It may be a device, which stays.
            if path.metadata().is_ok_and(|metadata| metadata.is_file()) {
                let _ = std::fs::remove_file(path);
            }
        })
    }

    pub(crate) fn over(
        path: &Path,
        sink: Box<dyn Sink>,
        power_on: &PowerOn,
        meta: &Meta,
    ) -> Result<TraceWriter, TraceError> {
        let mut writer = TraceWriter {
            path: path.to_owned(),
            sink,
            sealer: Sealer::new(),
            encoder: EventEncoder::default(),
            written_bytes: 0,
            failed: false,
        };
        let start = start_payload(power_on, meta);
        if start.len() > MAX_CHUNK_BYTES {
            writer.failed = true;
            let (length_bytes, limit_bytes) = (start.len(), MAX_CHUNK_BYTES);
            return Err(TraceError::TooLarge { path: path.to_owned(), length_bytes, limit_bytes });
        }
        // One write, so that a file is either empty or has a beginning.
        let mut beginning = FileHeader { version: FORMAT_VERSION, packed: false }.to_bytes().to_vec();
        beginning.extend(writer.sealer.seal(ChunkKind::Start, &start));
        writer.append(&beginning)?;
        Ok(writer)
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the file holds so far. Events since the last flush are not in it.
    #[must_use]
    pub fn bytes_written(&self) -> u64 {
        self.written_bytes
    }

    /// Whether a flush would write something.
    #[must_use]
    pub fn has_unflushed(&self) -> bool {
        !self.failed && self.encoder.length_bytes() > 0
    }

    /// Whether recording ended early because the host could not take a write.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    /// Adds an event. Places must not decrease; several events may share one.
    ///
    /// # Errors
    /// An event out of order or too large is refused and leaves the trace as it was. Otherwise, when a chunk was
    /// full and the host could not take it.
    pub fn event(&mut self, mark: Mark, event: &Event) -> Result<(), TraceError> {
        if self.failed {
            return Ok(());
        }
        self.encoder.push(mark, event).map_err(|refused| match refused {
            Refused::OutOfOrder { previous } => {
                TraceError::OutOfOrder { path: self.path.clone(), previous, next: mark }
            }
            Refused::TooLarge { length_bytes } => {
                TraceError::TooLarge { path: self.path.clone(), length_bytes, limit_bytes: MAX_EVENT_BYTES }
            }
        })?;
        if self.encoder.length_bytes() >= CHUNK_FULL_BYTES { self.flush() } else { Ok(()) }
    }

    /// Writes the events since the last flush, if any. What was flushed survives `kill -9`.
    ///
    /// # Errors
    /// When the host could not take it.
    pub fn flush(&mut self) -> Result<(), TraceError> {
        match self.encoder.take() {
            Some(payload) => self.append_chunk(ChunkKind::Events, &payload),
            None => Ok(()),
        }
    }

    /// Writes what is left and how the run ended.
    ///
    /// # Errors
    /// When the host could not take it.
    pub fn finish(mut self, end: &End) -> Result<(), TraceError> {
        self.flush()?;
        self.append_chunk(ChunkKind::End, &end.encode())
    }

    fn append_chunk(&mut self, kind: ChunkKind, payload: &[u8]) -> Result<(), TraceError> {
        if self.failed {
            return Ok(());
        }
        let frame = self.sealer.seal(kind, payload);
        self.append(&frame)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), TraceError> {
        if let Err(source) = self.sink.append(bytes) {
            self.failed = true;
            // If even this fails, a torn frame stays behind, which a reader copes with.
            let _ = self.sink.cut(self.written_bytes);
            return Err(TraceError::Io { path: self.path.clone(), action: "write", source });
        }
        self.written_bytes += bytes.len() as u64;
        Ok(())
    }
}

impl Drop for TraceWriter {
    fn drop(&mut self) {
        // Reached with events left only when the driver is unwinding: nobody is there to take an error.
        let _ = self.flush();
    }
}

/// The payload of the first chunk: PowerOn, counted, then Meta.
pub(crate) fn start_payload(power_on: &PowerOn, meta: &Meta) -> Vec<u8> {
    let mut payload = Vec::new();
    put_blob(&mut payload, &codec::encode(power_on));
    payload.extend_from_slice(&codec::encode(meta));
    payload
}

/// Whether the file can be replaced by a trace: it is one, or is empty, or is no regular file (`/dev/null`).
pub(crate) fn may_be_replaced(path: &Path) -> io::Result<bool> {
    let metadata = match path.metadata() {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    };
    if !metadata.is_file() || metadata.len() == 0 {
        return Ok(!metadata.is_dir());
    }
    is_trace(path)
}

/// Whether the file begins like a trace.
pub(crate) fn is_trace(path: &Path) -> io::Result<bool> {
    let mut magic = [0; crate::format::MAGIC.len()];
    match File::open(path)?.read_exact_at(&mut magic, 0) {
        Ok(()) => Ok(magic == crate::format::MAGIC),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reader::{Tail, TraceReader};
    use crate::testing::{meta, power_off, power_on, quiet_boot};
    use std::sync::{Arc, Mutex};

    /// A disk with room for so many bytes. Like a real one it takes what fits before it fails.
    struct SmallDisk {
        room_bytes: usize,
        bytes: Arc<Mutex<Vec<u8>>>,
        can_cut: bool,
    }

    impl Sink for SmallDisk {
        fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
            let mut stored = self.bytes.lock().unwrap();
            let fits = bytes.len().min(self.room_bytes - stored.len());
            stored.extend_from_slice(&bytes[..fits]);
            if fits < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        }

        fn cut(&mut self, length_bytes: u64) -> io::Result<()> {
            if !self.can_cut {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            self.bytes.lock().unwrap().truncate(length_bytes as usize);
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_is_said_once_and_leaves_a_readable_trace() {
        let events = quiet_boot(600);
        for can_cut in [true, false] {
            let bytes = Arc::new(Mutex::new(Vec::new()));
            let disk = SmallDisk { room_bytes: 3000, bytes: bytes.clone(), can_cut };
            let mut writer =
                TraceWriter::over(Path::new("small.vkt"), Box::new(disk), &power_on(b"k"), &meta(0)).unwrap();
            let mut errors = 0;
            for (index, (mark, event)) in events.iter().enumerate() {
                errors += usize::from(writer.event(*mark, event).is_err());
                if index % 10 == 9 {
                    errors += usize::from(writer.flush().is_err());
                }
            }
            assert!(writer.has_failed());
            assert!(writer.bytes_written() as usize <= 3000);
            let written = writer.bytes_written();
            errors += usize::from(writer.finish(&power_off(events[events.len() - 1].0)).is_err());
            assert_eq!(errors, 1);

            let stored = bytes.lock().unwrap().clone();
            assert_eq!(stored.len() as u64 == written, can_cut);
            let reader = TraceReader::from_bytes(Path::new("small.vkt"), stored).unwrap();
            let read: Vec<_> = reader.events().map(Result::unwrap).collect();
            assert!(read.len() >= 100 && read.len() % 10 == 0, "{}", read.len());
            assert_eq!(read, events[..read.len()]);
            let tail = if can_cut { Tail::Open } else { Tail::Torn { offset_bytes: written } };
            assert_eq!(reader.tail(), tail);
        }
    }

    #[test]
    fn a_quiet_boot_fits_in_48_kb() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("quiet.vkt");
        let mut writer = TraceWriter::create(&path, &power_on(b"k"), &meta(0)).unwrap();
        let events = quiet_boot(3000);
        for (index, (mark, event)) in events.iter().enumerate() {
            writer.event(*mark, event).unwrap();
            if index % 70 == 0 {
                writer.flush().unwrap();
            }
        }
        writer.finish(&power_off(events[events.len() - 1].0)).unwrap();
        let length_bytes = path.metadata().unwrap().len();
        assert!(length_bytes < 40_000, "{length_bytes}");
    }

    #[test]
    fn flushing_nothing_writes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("t.vkt");
        let mut writer = TraceWriter::create(&path, &power_on(b"k"), &meta(0)).unwrap();
        let before = writer.bytes_written();
        writer.flush().unwrap();
        assert_eq!(writer.bytes_written(), before);
        assert_eq!(path.metadata().unwrap().len(), before);
    }

    #[test]
    fn a_dropped_writer_has_flushed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("t.vkt");
        let events = quiet_boot(3);
        let mut writer = TraceWriter::create(&path, &power_on(b"k"), &meta(0)).unwrap();
        for (mark, event) in &events {
            writer.event(*mark, event).unwrap();
        }
        drop(writer);
        let reader = TraceReader::open(&path).unwrap();
        assert_eq!(reader.tail(), Tail::Open);
        assert_eq!(reader.events().map(Result::unwrap).collect::<Vec<_>>(), events);
    }

    #[test]
    fn an_existing_file_is_never_overwritten_by_create() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("t.vkt");
        std::fs::write(&path, "precious").unwrap();
        assert!(TraceWriter::create(&path, &power_on(b"k"), &meta(0)).is_err());
        assert!(!may_be_replaced(&path).unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn a_start_that_no_reader_would_take_is_refused_and_leaves_no_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("t.vkt");
        let mut power_on = power_on(b"k");
        power_on.boot.command_line = "x".repeat(MAX_CHUNK_BYTES);
        let refused = TraceWriter::create(&path, &power_on, &meta(0));
        assert!(matches!(refused, Err(TraceError::TooLarge { .. })));
        assert!(!path.exists());
    }

    #[test]
    fn a_device_that_is_full_fails_at_creation() {
        let error = TraceWriter::replace(Path::new("/dev/full"), &power_on(b"k"), &meta(0)).unwrap_err();
        assert!(error.to_string().starts_with("cannot write trace /dev/full: No space left"), "{error}");
    }
}
