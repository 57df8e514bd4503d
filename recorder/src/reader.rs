//! Reading a trace. Every byte is hostile until its check says otherwise.
//!
//! Opening walks the frame headers, which is cheap, and decodes the start and the end. Events are decoded chunk by
//! chunk as they are asked for. Nothing is allocated that the file does not back: a payload is read only if it
//! lies within the file, and unpacks to at most [`crate::format::MAX_CHUNK_BYTES`].
//!
//! A file that ends inside a frame is torn: its recorder was killed while it wrote, everything before is good, and
//! that is no error. Anything else that is wrong is damage, and an error with its offset, after the events before it.

use crate::bytes::Bytes;
use crate::codec;
use crate::end::End;
use crate::error::{Flaw, TraceError};
use crate::event::{Event, Meta};
use crate::format::{
    ChunkKind, FILE_HEADER_BYTES, FORMAT_VERSION, FRAME_HEADER_BYTES, FileHeader, FrameHeader, HeaderProblem,
    OLDEST_VERSION,
};
use crate::wire::EventDecoder;
use boundary::{Mark, PowerOn};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// How a trace file ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// With the recorder's last words.
    Complete,
    /// After a whole chunk, without last words: the recorder was killed, or is still recording.
    Open,
    /// Inside a chunk: the recorder was killed while writing it, or is writing it.
    Torn {
        /// Where that chunk begins.
        offset_bytes: u64,
    },
    /// In damage. Iterating reports it after the events before it.
    Damaged {
        /// Where the damaged chunk begins.
        offset_bytes: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// The bytes of a trace.
#[derive(Debug)]
enum Source {
    File(File),
    Memory(Vec<u8>),
}

impl Source {
    fn length_bytes(&self) -> io::Result<u64> {
        match self {
            Source::File(file) => Ok(file.metadata()?.len()),
            Source::Memory(bytes) => Ok(bytes.len() as u64),
        }
    }

    fn read(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        match self {
            Source::File(file) => file.read_exact_at(buffer, offset_bytes),
            Source::Memory(bytes) => {
                let from = usize::try_from(offset_bytes).ok().and_then(|offset| bytes.get(offset..));
                let wanted = from.and_then(|rest| rest.get(..buffer.len()));
                buffer.copy_from_slice(wanted.ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
        }
    }
}

/// A trace file and its path.
#[derive(Clone, Debug)]
pub(crate) struct TraceFile {
    path: Arc<Path>,
    source: Arc<Source>,
}

/// A frame that lies wholly within the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChunkRef {
    pub(crate) offset_bytes: u64,
    header: FrameHeader,
}

/// What is found at an offset.
enum Found {
    Chunk(ChunkRef),
    Nothing,
    PartOfChunk,
}

impl TraceFile {
    fn io(&self) -> impl FnOnce(io::Error) -> TraceError {
        let path = self.path.to_path_buf();
        move |source| TraceError::Io { path, action: "read", source }
    }

    fn damaged(&self, offset_bytes: u64) -> impl FnOnce(Flaw) -> TraceError {
        let path = self.path.clone();
        move |flaw| flaw.at(&path, offset_bytes)
    }

    fn file_header(&self) -> Result<FileHeader, TraceError> {
        let length_bytes = self.source.length_bytes().map_err(self.io())?;
        let mut header = vec![0; length_bytes.min(FILE_HEADER_BYTES as u64) as usize];
        self.source.read(0, &mut header).map_err(self.io())?;
        FileHeader::parse(&header).map_err(|problem| match problem {
            HeaderProblem::NotATrace => TraceError::NotATrace { path: self.path.to_path_buf() },
            HeaderProblem::TooShort => TraceError::TooShort { path: self.path.to_path_buf(), length_bytes },
            HeaderProblem::Flaw(flaw) => flaw.at(&self.path, 0),
            HeaderProblem::Version(found) => TraceError::Version {
                path: self.path.to_path_buf(),
                found,
                oldest: OLDEST_VERSION,
                newest: FORMAT_VERSION,
            },
        })
    }

    /// The chunk at an offset. A failing header check is the inner error.
    fn chunk_at(&self, offset_bytes: u64, length_bytes: u64) -> Result<Result<Found, Flaw>, TraceError> {
        let remaining = length_bytes.saturating_sub(offset_bytes);
        if remaining == 0 {
            return Ok(Ok(Found::Nothing));
        }
        if remaining < FRAME_HEADER_BYTES as u64 {
            return Ok(Ok(Found::PartOfChunk));
        }
        let mut header = [0; FRAME_HEADER_BYTES];
        self.source.read(offset_bytes, &mut header).map_err(self.io())?;
        Ok(FrameHeader::parse(header).map(|header| {
            let chunk = ChunkRef { offset_bytes, header };
            if chunk.end() > length_bytes { Found::PartOfChunk } else { Found::Chunk(chunk) }
        }))
    }

    pub(crate) fn payload(&self, chunk: ChunkRef) -> Result<Vec<u8>, TraceError> {
        let mut stored = vec![0; chunk.header.length_bytes as usize];
        let from = chunk.offset_bytes + FRAME_HEADER_BYTES as u64;
        self.source.read(from, &mut stored).map_err(self.io())?;
        chunk.header.unseal(stored).map_err(self.damaged(chunk.offset_bytes))
    }

    /// The whole frame as stored.
    pub(crate) fn frame(&self, chunk: ChunkRef) -> Result<Vec<u8>, TraceError> {
        let mut frame = vec![0; (chunk.end() - chunk.offset_bytes) as usize];
        self.source.read(chunk.offset_bytes, &mut frame).map_err(self.io())?;
        Ok(frame)
    }

    fn events(&self, chunk: ChunkRef) -> Result<EventDecoder, TraceError> {
        EventDecoder::new(self.payload(chunk)?).map_err(self.damaged(chunk.offset_bytes))
    }
}

impl ChunkRef {
    fn end(&self) -> u64 {
        self.offset_bytes + FRAME_HEADER_BYTES as u64 + u64::from(self.header.length_bytes)
    }
}

/// An open trace. Cheap to clone; iterators own what they need of it, and may run in several threads at once.
#[derive(Clone, Debug)]
pub struct TraceReader {
    pub(crate) file: TraceFile,
    header: FileHeader,
    power_on: Arc<PowerOn>,
    meta: Arc<Meta>,
    pub(crate) start: ChunkRef,
    pub(crate) event_chunks: Arc<Vec<ChunkRef>>,
    pub(crate) end_chunk: Option<ChunkRef>,
    pub(crate) image_chunks: Arc<Vec<ChunkRef>>,
    end: Option<Arc<End>>,
    tail: Tail,
    /// Where the walk over the frames goes on when the file has grown.
    next_offset_bytes: u64,
}

impl TraceReader {
    /// Opens a trace file.
    ///
    /// # Errors
    /// When it cannot be read, is no trace, is of another format version, or its start is damaged. Damage behind
    /// the start is no error here: see [`TraceReader::tail`].
    pub fn open(path: &Path) -> Result<TraceReader, TraceError> {
        // Asked before opening, because opening a pipe would wait for its writer.
        let file = path.metadata().and_then(|metadata| {
            if metadata.is_file() {
                File::open(path)
            } else {
                Err(io::Error::other("it is not a regular file"))
            }
        });
        let io = |source| TraceError::Io { path: path.to_owned(), action: "open", source };
        TraceReader::over(path, Source::File(file.map_err(io)?))
    }

    /// Reads a trace from memory; `path` is for messages.
    ///
    /// # Errors
    /// As [`TraceReader::open`].
    pub fn from_bytes(path: &Path, bytes: Vec<u8>) -> Result<TraceReader, TraceError> {
        TraceReader::over(path, Source::Memory(bytes))
    }

    fn over(path: &Path, source: Source) -> Result<TraceReader, TraceError> {
        let file = TraceFile { path: path.into(), source: Arc::new(source) };
        let header = file.file_header()?;
        let length_bytes = file.source.length_bytes().map_err(file.io())?;
        let offset_bytes = FILE_HEADER_BYTES as u64;
        let start = match file.chunk_at(offset_bytes, length_bytes)? {
            Ok(Found::Chunk(chunk)) if chunk.header.kind == ChunkKind::Start => Ok(chunk),
            Ok(Found::Chunk(_)) => Err(Flaw("the first chunk is not the start of a trace")),
            Ok(Found::Nothing | Found::PartOfChunk) => {
                return Err(TraceError::TooShort { path: path.to_owned(), length_bytes });
            }
            Err(flaw) => Err(flaw),
        };
        let start = start.map_err(file.damaged(offset_bytes))?;
        let (power_on, meta) = parse_start(&file.payload(start)?).map_err(file.damaged(offset_bytes))?;
        let mut reader = TraceReader {
            file,
            header,
            power_on: Arc::new(power_on),
            meta: Arc::new(meta),
            start,
            event_chunks: Arc::default(),
            end_chunk: None,
            image_chunks: Arc::default(),
            end: None,
            tail: Tail::Open,
            next_offset_bytes: start.end(),
        };
        reader.refresh()?;
        Ok(reader)
    }

    /// Looks for chunks that were written since. For a trace that is still being recorded.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn refresh(&mut self) -> Result<(), TraceError> {
        if let Tail::Damaged { .. } = self.tail {
            return Ok(());
        }
        let length_bytes = self.file.source.length_bytes().map_err(self.file.io())?;
        loop {
            let offset_bytes = self.next_offset_bytes;
            let step = match self.file.chunk_at(offset_bytes, length_bytes)? {
                Ok(Found::Chunk(chunk)) => self.admit(chunk)?,
                Ok(Found::PartOfChunk) => {
                    self.tail = Tail::Torn { offset_bytes };
                    return Ok(());
                }
                Ok(Found::Nothing) => {
                    self.tail = if self.end.is_some() { Tail::Complete } else { Tail::Open };
                    return Ok(());
                }
                Err(flaw) => Err(flaw),
            };
            if let Err(Flaw(reason)) = step {
                self.tail = Tail::Damaged { offset_bytes, reason };
                return Ok(());
            }
        }
    }

    /// Takes a chunk into the index, if one of its kind may stand here.
    fn admit(&mut self, chunk: ChunkRef) -> Result<Result<(), Flaw>, TraceError> {
        let over = self.end.is_some() || !self.image_chunks.is_empty();
        match chunk.header.kind {
            ChunkKind::Start => return Ok(Err(Flaw("the trace starts a second time"))),
            ChunkKind::Events | ChunkKind::End if over => {
                return Ok(Err(Flaw("the trace goes on after its end")));
            }
            ChunkKind::Events => Arc::make_mut(&mut self.event_chunks).push(chunk),
            ChunkKind::End => match self.file.payload(chunk) {
                Ok(payload) => match End::decode(&payload) {
                    Ok(end) => {
                        self.end = Some(Arc::new(end));
                        self.end_chunk = Some(chunk);
                    }
                    Err(flaw) => return Ok(Err(flaw)),
                },
                Err(TraceError::Damaged { reason, .. }) => return Ok(Err(Flaw(reason))),
                Err(error) => return Err(error),
            },
            ChunkKind::Image if !self.header.packed => {
                return Ok(Err(Flaw("an image is embedded in a trace that is not packed")));
            }
            ChunkKind::Image => Arc::make_mut(&mut self.image_chunks).push(chunk),
        }
        self.next_offset_bytes = chunk.end();
        Ok(Ok(()))
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.file.path
    }

    /// Format version of the file.
    #[must_use]
    pub fn version(&self) -> u16 {
        self.header.version
    }

    /// Whether `trace pack` made it.
    #[must_use]
    pub fn is_packed(&self) -> bool {
        self.header.packed
    }

    /// The machine at its start.
    #[must_use]
    pub fn power_on(&self) -> &PowerOn {
        &self.power_on
    }

    /// About the recording.
    #[must_use]
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// How the run ended, if its recorder lived to write that.
    #[must_use]
    pub fn ending(&self) -> Option<&End> {
        self.end.as_deref()
    }

    /// How the file ends.
    #[must_use]
    pub fn tail(&self) -> Tail {
        self.tail
    }

    /// Length of the file in bytes.
    ///
    /// # Errors
    /// When the host does not say.
    pub fn length_bytes(&self) -> Result<u64, TraceError> {
        self.file.source.length_bytes().map_err(self.file.io())
    }

    /// All events in order.
    #[must_use]
    pub fn events(&self) -> Events {
        self.events_of_chunks(0, Mark::default())
    }

    /// The events at `from` and after it. Finds the place by bisection over the chunks.
    #[must_use]
    pub fn events_from(&self, from: Mark) -> Events {
        // Events at one place may be spread over chunks, hence `<`: the chunk before may still hold some. A chunk that
        // cannot be read counts as late, so that iterating runs into it and reports it.
        let after = self
            .event_chunks
            .partition_point(|chunk| self.file.events(*chunk).is_ok_and(|events| events.base < from));
        self.events_of_chunks(after.saturating_sub(1), from)
    }

    fn events_of_chunks(&self, next_chunk: usize, from: Mark) -> Events {
        Events {
            file: self.file.clone(),
            chunks: self.event_chunks.clone(),
            next_chunk,
            open: None,
            last: Mark::default(),
            from,
            damage: match self.tail {
                Tail::Damaged { offset_bytes, reason } => Some((offset_bytes, Flaw(reason))),
                Tail::Complete | Tail::Open | Tail::Torn { .. } => None,
            },
        }
    }

    /// The place of the last event that can be read, or of the ending.
    ///
    /// # Errors
    /// When the last chunk of events is damaged.
    pub fn last_mark(&self) -> Result<Mark, TraceError> {
        if let Some(end) = &self.end {
            return Ok(end.mark);
        }
        let Some(chunk) = self.event_chunks.last() else {
            return Ok(Mark::default());
        };
        let mut events = self.file.events(*chunk)?;
        let mut last = events.base;
        while let Some((mark, _)) = events.next().map_err(self.file.damaged(chunk.offset_bytes))? {
            last = mark;
        }
        Ok(last)
    }
}

fn parse_start(payload: &[u8]) -> Result<(PowerOn, Meta), Flaw> {
    let mut bytes = Bytes(payload);
    let power_on =
        codec::decode(bytes.blob()?).map_err(|_| Flaw("the power-on description does not decode"))?;
    let meta =
        codec::decode(bytes.0).map_err(|_| Flaw("the description of the recording does not decode"))?;
    Ok((power_on, meta))
}

/// Iterates over the events of a trace. After an error it is over.
#[derive(Debug)]
pub struct Events {
    file: TraceFile,
    chunks: Arc<Vec<ChunkRef>>,
    next_chunk: usize,
    /// The chunk being read, and where it begins.
    open: Option<(u64, EventDecoder)>,
    last: Mark,
    from: Mark,
    damage: Option<(u64, Flaw)>,
}

impl Events {
    fn step(&mut self) -> Result<Option<(Mark, Event)>, TraceError> {
        loop {
            if let Some((offset_bytes, events)) = &mut self.open {
                let flaw_here = self.file.damaged(*offset_bytes);
                match events.next().map_err(flaw_here)? {
                    Some((mark, event)) => {
                        self.last = mark;
                        if mark >= self.from {
                            return Ok(Some((mark, event)));
                        }
                    }
                    None => self.open = None,
                }
            } else if let Some(chunk) = self.chunks.get(self.next_chunk) {
                self.open = Some((chunk.offset_bytes, self.enter(*chunk)?));
                self.next_chunk += 1;
            } else {
                return match self.damage.take() {
                    Some((offset_bytes, flaw)) => Err(flaw.at(&self.file.path, offset_bytes)),
                    None => Ok(None),
                };
            }
        }
    }

    fn enter(&self, chunk: ChunkRef) -> Result<EventDecoder, TraceError> {
        let events = self.file.events(chunk)?;
        if events.sequence != self.next_chunk as u64 {
            return Err(Flaw("a chunk of events is missing or repeated"))
                .map_err(self.file.damaged(chunk.offset_bytes));
        }
        if events.base < self.last {
            return Err(Flaw("a chunk lies before the one it follows"))
                .map_err(self.file.damaged(chunk.offset_bytes));
        }
        Ok(events)
    }
}

impl Iterator for Events {
    type Item = Result<(Mark, Event), TraceError>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.step().transpose();
        if !matches!(item, Some(Ok(_))) {
            self.chunks = Arc::default();
            self.open = None;
            self.damage = None;
        }
        item
    }
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
