//! Checkpoints on disk, `NAME.cache/checkpoints`: the long way through a recording is gone once, not once a session.
//!
//! ```text
//! header   the magic, the identity
//! frame    length of the record u32, its CRC-32 u32, length of the pages u64, the record (bincode), the pages (zstd, each alone)
//! ```
//!
//! A checkpoint has the pages that differ from those of another one, its base, so that together they are about as large as
//! what the guest wrote. A page is read only when a checkpoint is loaded that has it: the end of a recording is
//! opened at the cost of the memory in use there, however long the recording is.
//!
//! The file is a cache. One of another recording or of another program, or one that ends in half a frame, is not an
//! error: it is begun anew, or goes on behind its last whole frame. Records are checked when the file is opened, pages when they
//! are read. Only one process appends, whoever locked the directory first; the others read.

use crate::codec;
use boundary::Mark;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use zstd::bulk::{Compressor, Decompressor};

const MAGIC: [u8; 8] = *b"VKCKPT1\n";
const HEADER_BYTES: u64 = 40;
const FRAME_HEAD_BYTES: u64 = 16;
/// The least that zstd does: a page is to cost microseconds.
const LEVEL: i32 = -5;
const PAGE_BYTES: usize = 4096;
/// What a compressed state may be at most when it is read.
const STATE_BYTES_MAX: usize = 64 << 20;
/// The name of the file in the directory.
const NAME: &str = "checkpoints";

/// The bytes of a page.
pub type Page = [u8; PAGE_BYTES];

/// What checkpoints are of: a recording, and the program that made them, whose private format they are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheIdentity([u8; 32]);

impl CacheIdentity {
    /// Of the bytes of a trace and those of a program.
    ///
    /// # Errors
    /// When one of the files cannot be read.
    pub fn of_files(trace: &Path, program: &Path) -> io::Result<CacheIdentity> {
        let mut hasher = blake3::Hasher::new();
        for path in [trace, program] {
            let bytes = fs::read(path)?;
            hasher.update(&(bytes.len() as u64).to_le_bytes()).update(&bytes);
        }
        Ok(CacheIdentity(*hasher.finalize().as_bytes()))
    }
}

/// Where a page lies in the file. Two checkpoints that have a page at one place have the same page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageAt {
    offset_bytes: u64,
    length_bytes: u16,
}

/// All pages of a checkpoint, by number. What is absent, or behind the end, is zeros.
pub type PageTable = Vec<Option<PageAt>>;

/// A checkpoint but for its pages.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CheckpointRecord {
    /// The checkpoint whose pages it has, but for those in `pages`.
    base: Option<Mark>,
    mark: Mark,
    /// What its owner says about it.
    pub about: Vec<u8>,
    /// The machine but for RAM, compressed.
    state: Vec<u8>,
    pages: Vec<(u32, Option<PageAt>)>,
    /// What the console showed since the furthest checkpoint before, with its places.
    pub console: Vec<(Mark, Vec<u8>)>,
}

/// A checkpoint to be kept.
pub struct NewCheckpoint<'c> {
    /// Its place.
    pub mark: Mark,
    /// The place of a checkpoint that is kept, whose pages it shares.
    pub base: Option<Mark>,
    /// What its owner needs to know of it without reading it.
    pub about: Vec<u8>,
    /// The machine but for RAM.
    pub state: &'c [u8],
    /// The pages that differ from those of its base; `None` is zeros.
    pub pages: Vec<(usize, Option<&'c Page>)>,
    /// What the console showed since the furthest checkpoint that is kept.
    pub console: Vec<(Mark, Vec<u8>)>,
}

/// An open file of checkpoints.
#[derive(Debug)]
pub struct CheckpointFile {
    path: PathBuf,
    file: File,
    identity: CacheIdentity,
    records: BTreeMap<Mark, CheckpointRecord>,
    /// Places in the order in which they came.
    order: Vec<Mark>,
    end_bytes: u64,
    limit_bytes: u64,
    /// Held as long as this is: the right to append.
    lock: Option<File>,
}

impl CheckpointFile {
    /// Opens the checkpoints in a directory, which is made if it is not there. What is there of another identity is lost.
    ///
    /// # Errors
    /// When the host refuses.
    pub fn open(directory: &Path, identity: CacheIdentity, limit_bytes: u64) -> io::Result<CheckpointFile> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let path = directory.join(NAME);
        let lock = File::open(directory)?;
        let lock = lock.try_lock().is_ok().then_some(lock);
        let found = File::open(&path).ok().filter(|file| has_identity(file, identity));
        let file = match (found, &lock) {
            (Some(_), Some(_)) => OpenOptions::new().read(true).write(true).open(&path)?,
            (Some(file), None) => file,
            (None, Some(_)) => create(&path, identity)?,
            (None, None) => {
                let busy = "another vkernel is at it, with another recording or of another build";
                return Err(io::Error::new(io::ErrorKind::WouldBlock, busy));
            }
        };
        let mut opened = CheckpointFile {
            path,
            file,
            identity,
            records: BTreeMap::new(),
            order: Vec::new(),
            end_bytes: HEADER_BYTES,
            limit_bytes,
            lock,
        };
        opened.read_records()?;
        Ok(opened)
    }

    /// Reads the records of all whole frames.
    fn read_records(&mut self) -> io::Result<()> {
        let length_bytes = self.file.metadata()?.len();
        let mut reader = BufReader::with_capacity(1 << 16, &self.file);
        reader.seek(SeekFrom::Start(HEADER_BYTES))?;
        loop {
            let mut head = [0; FRAME_HEAD_BYTES as usize];
            if reader.read_exact(&mut head).is_err() {
                return Ok(());
            }
            let (record_bytes, crc, pages_bytes) = parse_head(&head);
            let end = self.end_bytes.checked_add(FRAME_HEAD_BYTES + u64::from(record_bytes));
            let end = end.and_then(|end| end.checked_add(pages_bytes));
            let Some(end) = end.filter(|end| *end <= length_bytes) else { return Ok(()) };
            let mut bytes = vec![0; record_bytes as usize];
            reader.read_exact(&mut bytes)?;
            let record = codec::decode::<CheckpointRecord>(&bytes).ok();
            let Some(record) = record.filter(|_| crc32fast::hash(&bytes) == crc) else { return Ok(()) };
            reader.seek_relative(pages_bytes as i64)?;
            self.order.push(record.mark);
            self.records.insert(record.mark, record);
            self.end_bytes = end;
        }
    }

    /// The checkpoints, in the order of the recording.
    pub fn records(&self) -> impl Iterator<Item = (Mark, &CheckpointRecord)> {
        self.records.iter().map(|(mark, record)| (*mark, record))
    }

    /// What the console showed up to the furthest checkpoint.
    pub fn console(&self) -> impl Iterator<Item = &(Mark, Vec<u8>)> {
        self.order.iter().flat_map(|mark| &self.records[mark].console)
    }

    /// Whether there is one at a place.
    #[must_use]
    pub fn contains(&self, mark: Mark) -> bool {
        self.records.contains_key(&mark)
    }

    /// Whether this process may append.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.lock.is_some()
    }

    /// Its length, in bytes.
    #[must_use]
    pub fn length_bytes(&self) -> u64 {
        self.end_bytes
    }

    /// Whether it has become longer than it may.
    #[must_use]
    pub fn is_over_limit(&self) -> bool {
        self.end_bytes > self.limit_bytes
    }

    /// The machine but for RAM at a place.
    ///
    /// # Errors
    /// There is no such checkpoint, or it is damaged.
    pub fn state(&self, mark: Mark) -> io::Result<Vec<u8>> {
        let record = self.records.get(&mark).ok_or(io::ErrorKind::NotFound)?;
        zstd::bulk::decompress(&record.state, STATE_BYTES_MAX)
    }

    /// Where the pages of a checkpoint lie; empty if there is no such checkpoint.
    #[must_use]
    pub fn page_table(&self, mark: Mark) -> PageTable {
        let mut chain = Vec::new();
        let mut next = Some(mark);
        while let Some(record) = next.and_then(|mark| self.records.get(&mark)) {
            chain.push(record);
            // A base is older; what says otherwise is forged, and would be followed for ever.
            next = record.base.filter(|_| chain.len() <= self.records.len());
        }
        let mut table = PageTable::new();
        for (page, at) in chain.iter().rev().flat_map(|record| &record.pages) {
            let page = *page as usize;
            if table.len() <= page {
                table.resize(page + 1, None);
            }
            table[page] = *at;
        }
        table
    }

    /// Reads pages one after the other.
    ///
    /// # Errors
    /// The host refuses the memory it takes.
    pub fn page_reader(&self) -> io::Result<PageReader<'_>> {
        Ok(PageReader {
            file: &self.file,
            decompressor: Decompressor::new()?,
            compressed: [0; 2 * PAGE_BYTES],
        })
    }

    /// Appends a checkpoint.
    ///
    /// # Errors
    /// When the host refuses; the file is as before then.
    pub fn append(&mut self, new: NewCheckpoint<'_>) -> io::Result<()> {
        assert!(self.is_writable() && !self.contains(new.mark));
        assert!(
            new.base.is_none_or(|base| self.contains(base)),
            "a base is kept before what it is the base of"
        );
        let mut compressor = Compressor::new(LEVEL)?;
        compressor.include_checksum(true)?;
        let mut blobs = Vec::new();
        let mut pages = Vec::with_capacity(new.pages.len());
        for (page, bytes) in &new.pages {
            let at = match bytes {
                Some(bytes) => Some(append_blob(&mut blobs, &compressor.compress(&bytes[..])?)),
                None => None,
            };
            pages.push((*page as u32, at));
        }
        let state = compressor.compress(new.state)?;
        let NewCheckpoint { mark, base, about, console, .. } = new;
        self.append_frame(CheckpointRecord { base, mark, about, state, pages, console }, &blobs)
    }

    /// Writes a frame whose pages have offsets within `blobs`.
    fn append_frame(&mut self, mut record: CheckpointRecord, blobs: &[u8]) -> io::Result<()> {
        // The length of a record does not depend on the offsets in it.
        let pages_begin = self.end_bytes + FRAME_HEAD_BYTES + codec::encode(&record).len() as u64;
        for at in record.pages.iter_mut().filter_map(|(_, at)| at.as_mut()) {
            at.offset_bytes += pages_begin;
        }
        let encoded = codec::encode(&record);
        let mut frame = Vec::with_capacity(encoded.len() + FRAME_HEAD_BYTES as usize);
        frame.extend_from_slice(&(encoded.len() as u32).to_le_bytes());
        frame.extend_from_slice(&crc32fast::hash(&encoded).to_le_bytes());
        frame.extend_from_slice(&(blobs.len() as u64).to_le_bytes());
        frame.extend_from_slice(&encoded);
        // The pages first: a frame counts only once all of it is there.
        self.file.write_all_at(blobs, pages_begin)?;
        self.file.write_all_at(&frame, self.end_bytes)?;
        self.end_bytes = pages_begin + blobs.len() as u64;
        self.order.push(record.mark);
        self.records.insert(record.mark, record);
        Ok(())
    }

    /// Drops every second checkpoint, and what only they had. The first one stays.
    ///
    /// # Errors
    /// When the host refuses; the file is as before then.
    pub fn thin_out(&mut self) -> io::Result<()> {
        let path = self.path.with_extension("new");
        let mut thinner = CheckpointFile {
            file: create(&path, self.identity)?,
            path: path.clone(),
            identity: self.identity,
            records: BTreeMap::new(),
            order: Vec::new(),
            end_bytes: HEADER_BYTES,
            limit_bytes: self.limit_bytes,
            lock: None,
        };
        let mut console: Vec<(Mark, Vec<u8>)> = self.console().cloned().collect();
        console.sort_by_key(|(mark, _)| *mark);
        let mut before: (Option<Mark>, PageTable) = (None, PageTable::new());
        for (index, (mark, record)) in self.records.iter().enumerate() {
            let is_last = index + 1 == self.records.len();
            if index % 2 == 1 && !is_last {
                continue;
            }
            let shown = console.partition_point(|(place, _)| place <= mark);
            let record = CheckpointRecord {
                base: before.0,
                mark: *mark,
                about: record.about.clone(),
                state: record.state.clone(),
                pages: Vec::new(),
                console: console.drain(..shown).collect(),
            };
            let table = self.page_table(*mark);
            self.copy_pages(&mut thinner, record, &before.1, &table)?;
            before = (Some(*mark), table);
        }
        fs::rename(&path, &self.path)?;
        let CheckpointFile { file, records, order, end_bytes, .. } = thinner;
        (self.file, self.records, self.order, self.end_bytes) = (file, records, order, end_bytes);
        Ok(())
    }

    /// Copies into another file what a checkpoint has beside its new base.
    fn copy_pages(
        &self,
        into: &mut CheckpointFile,
        mut record: CheckpointRecord,
        base: &PageTable,
        table: &PageTable,
    ) -> io::Result<()> {
        let mut blobs = Vec::new();
        let entry = |table: &PageTable, page: usize| table.get(page).copied().flatten();
        for page in 0..table.len().max(base.len()) {
            let at = entry(table, page);
            if at == entry(base, page) {
                continue;
            }
            let copied = match at {
                Some(at) => {
                    let mut bytes = vec![0; usize::from(at.length_bytes)];
                    self.file.read_exact_at(&mut bytes, at.offset_bytes)?;
                    Some(append_blob(&mut blobs, &bytes))
                }
                None => None,
            };
            record.pages.push((page as u32, copied));
        }
        into.append_frame(record, &blobs)
    }
}

/// Reads pages of a file.
pub struct PageReader<'f> {
    file: &'f File,
    decompressor: Decompressor<'static>,
    compressed: [u8; 2 * PAGE_BYTES],
}

impl PageReader<'_> {
    /// The bytes of a page.
    ///
    /// # Errors
    /// It cannot be read, or is damaged.
    pub fn read(&mut self, at: PageAt) -> io::Result<Page> {
        let length_bytes = usize::from(at.length_bytes);
        let compressed = self.compressed.get_mut(..length_bytes).ok_or(io::ErrorKind::InvalidData)?;
        self.file.read_exact_at(compressed, at.offset_bytes)?;
        let mut page = [0; PAGE_BYTES];
        match self.decompressor.decompress_to_buffer(&*compressed, &mut page[..])? {
            PAGE_BYTES => Ok(page),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

fn append_blob(blobs: &mut Vec<u8>, bytes: &[u8]) -> PageAt {
    let at = PageAt { offset_bytes: blobs.len() as u64, length_bytes: bytes.len() as u16 };
    blobs.extend_from_slice(bytes);
    at
}

/// The length of the record, its check, and the length of the pages.
fn parse_head(head: &[u8; FRAME_HEAD_BYTES as usize]) -> (u32, u32, u64) {
    let word = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("four bytes"));
    (word(0), word(4), u64::from_le_bytes(head[8..].try_into().expect("eight bytes")))
}

fn header(identity: CacheIdentity) -> Vec<u8> {
    [&MAGIC[..], &identity.0[..]].concat()
}

fn has_identity(file: &File, identity: CacheIdentity) -> bool {
    let mut found = [0; HEADER_BYTES as usize];
    file.read_exact_at(&mut found, 0).is_ok() && found[..] == header(identity)
}

/// A new file without checkpoints, in the place of an old one.
fn create(path: &Path, identity: CacheIdentity) -> io::Result<File> {
    // Not truncated in place: another process may read the old one.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all_at(&header(identity), 0)?;
    Ok(file)
}

#[cfg(test)]
#[path = "checkpoint_file_tests.rs"]
mod tests;
