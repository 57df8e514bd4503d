//! The container: file header, chunk frames, checks and compression. `docs/trace-format.md` has it byte by byte.
//!
//! ```text
//! file   = file header, frame(Start), frame(Events)*, [frame(End)], frame(Image)*
//! frame  = kind u8, flags u8, length u32, payload crc32 u32, header check u16, payload
//! ```
//!
//! A frame's header has its own check. Without it a flipped bit in a length in the middle of a file would look
//! like a torn tail, and everything behind it would be lost in silence.

use crate::error::Flaw;

/// The first eight bytes. Not ASCII, and with line ends of both kinds, so that a transfer as text is noticed.
pub const MAGIC: [u8; 8] = *b"\x89VKT\r\n\x1a\n";

/// The version that the writer writes.
///
/// Bump it when a reader of the old version could misread a new file: another frame or file header, another chunk
/// kind or event tag, another meaning or order of any field, and any change of the serde shape of
/// [`boundary::PowerOn`] (fields, order, types, variants) or of [`crate::Meta`]. Then teach the reader the
/// old shape, keep a trace of the old version in `tests/corpus`, and write the change into `docs/trace-format.md`.
///
/// Do not bump it for a change of what the machine does: that is `PowerOn::model`.
pub const FORMAT_VERSION: u16 = 1;

/// The oldest version that the reader reads. Raising it breaks a promise: old traces open years later.
pub const OLDEST_VERSION: u16 = 1;

/// Length of the file header.
pub const FILE_HEADER_BYTES: usize = 16;

/// Length of a frame's header.
pub const FRAME_HEADER_BYTES: usize = 12;

/// What one chunk may hold, stored or unpacked. Bounds what a hostile file can make a reader allocate.
pub const MAX_CHUNK_BYTES: usize = 16 << 20;

/// What one event may occupy. Half a chunk, so that a chunk is closed in time.
pub const MAX_EVENT_BYTES: usize = MAX_CHUNK_BYTES / 2;

/// Shorter payloads are stored as they are: a zstd frame costs more than it saves there.
pub const COMPRESS_FROM_BYTES: usize = 256;

const COMPRESSION_LEVEL: i32 = 3;
const FLAG_PACKED: u16 = 1;
const FLAG_ZSTD: u8 = 1;

/// What a chunk holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ChunkKind {
    /// PowerOn and Meta. First in every file, exactly once.
    Start = 1,
    /// Events.
    Events = 2,
    /// How the run ended. At most once.
    End = 3,
    /// A piece of an embedded image. Only in packed traces.
    Image = 4,
}

/// A file header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileHeader {
    /// Format version.
    pub version: u16,
    /// Whether images are embedded (`trace pack`).
    pub packed: bool,
}

/// Why a file header is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderProblem {
    NotATrace,
    TooShort,
    Version(u16),
    Flaw(Flaw),
}

impl FileHeader {
    pub(crate) fn to_bytes(self) -> [u8; FILE_HEADER_BYTES] {
        let mut bytes = [0; FILE_HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&self.version.to_le_bytes());
        bytes[10..12].copy_from_slice(&(if self.packed { FLAG_PACKED } else { 0 }).to_le_bytes());
        let check = crc32fast::hash(&bytes[..12]);
        bytes[12..].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    /// Magic, version and check stay where they are in every version, so the check comes first: a flipped bit in
    /// the version is damage, not a newer vkernel.
    pub(crate) fn parse(bytes: &[u8]) -> Result<FileHeader, HeaderProblem> {
        if MAGIC.starts_with(bytes) {
            return Err(HeaderProblem::TooShort);
        }
        if !bytes.starts_with(&MAGIC) {
            return Err(HeaderProblem::NotATrace);
        }
        let Some(header) = bytes.first_chunk::<FILE_HEADER_BYTES>() else {
            return Err(HeaderProblem::TooShort);
        };
        let [.., c0, c1, c2, c3] = *header;
        if crc32fast::hash(&header[..12]) != u32::from_le_bytes([c0, c1, c2, c3]) {
            return Err(HeaderProblem::Flaw(Flaw("the check of the file header is wrong")));
        }
        let version = u16::from_le_bytes([header[8], header[9]]);
        if !(OLDEST_VERSION..=FORMAT_VERSION).contains(&version) {
            return Err(HeaderProblem::Version(version));
        }
        let flags = u16::from_le_bytes([header[10], header[11]]);
        if flags & !FLAG_PACKED != 0 {
            return Err(HeaderProblem::Flaw(Flaw("the file header has unknown flags")));
        }
        Ok(FileHeader { version, packed: flags & FLAG_PACKED != 0 })
    }
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub kind: ChunkKind,
    pub compressed: bool,
    /// Length of the payload as stored.
    pub length_bytes: u32,
    /// CRC-32 of the payload as stored.
    pub crc: u32,
}

impl FrameHeader {
    fn to_bytes(self) -> [u8; FRAME_HEADER_BYTES] {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        bytes[0] = self.kind as u8;
        bytes[1] = if self.compressed { FLAG_ZSTD } else { 0 };
        bytes[2..6].copy_from_slice(&self.length_bytes.to_le_bytes());
        bytes[6..10].copy_from_slice(&self.crc.to_le_bytes());
        let check = header_check(&bytes[..10]);
        bytes[10..].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    pub(crate) fn parse(bytes: [u8; FRAME_HEADER_BYTES]) -> Result<FrameHeader, Flaw> {
        let [kind, flags, l0, l1, l2, l3, c0, c1, c2, c3, h0, h1] = bytes;
        if header_check(&bytes[..10]) != u16::from_le_bytes([h0, h1]) {
            return Err(Flaw("the check of a chunk header is wrong"));
        }
        let kind = match kind {
            1 => ChunkKind::Start,
            2 => ChunkKind::Events,
            3 => ChunkKind::End,
            4 => ChunkKind::Image,
            _ => return Err(Flaw("a chunk is of an unknown kind")),
        };
        if flags & !FLAG_ZSTD != 0 {
            return Err(Flaw("a chunk has unknown flags"));
        }
        let length_bytes = u32::from_le_bytes([l0, l1, l2, l3]);
        if length_bytes as usize > MAX_CHUNK_BYTES {
            return Err(Flaw("a chunk is larger than chunks may be"));
        }
        let crc = u32::from_le_bytes([c0, c1, c2, c3]);
        Ok(FrameHeader { kind, compressed: flags & FLAG_ZSTD != 0, length_bytes, crc })
    }

    /// The payload, checked and unpacked, from its stored bytes.
    pub(crate) fn unseal(self, stored: Vec<u8>) -> Result<Vec<u8>, Flaw> {
        if crc32fast::hash(&stored) != self.crc {
            return Err(Flaw("the checksum of a chunk is wrong"));
        }
        if !self.compressed {
            return Ok(stored);
        }
        zstd::bulk::decompress(&stored, MAX_CHUNK_BYTES).map_err(|_| Flaw("a chunk does not decompress"))
    }
}

fn header_check(bytes: &[u8]) -> u16 {
    crc32fast::hash(bytes) as u16
}

/// Makes frames. Holds the compressor, whose tables are too large to build for each chunk.
pub(crate) struct Sealer {
    compressor: Option<zstd::bulk::Compressor<'static>>,
}

impl Sealer {
    pub(crate) fn new() -> Sealer {
        Sealer { compressor: None }
    }

    /// A whole frame, ready to be appended with one write. A payload that does not shrink is stored as it is;
    /// so is every payload if the host has no memory for the compressor.
    pub(crate) fn seal(&mut self, kind: ChunkKind, payload: &[u8]) -> Vec<u8> {
        debug_assert!(payload.len() <= MAX_CHUNK_BYTES);
        let packed = self.compress(payload).filter(|packed| packed.len() < payload.len());
        let stored = packed.as_deref().unwrap_or(payload);
        let header = FrameHeader {
            kind,
            compressed: packed.is_some(),
            length_bytes: stored.len() as u32,
            crc: crc32fast::hash(stored),
        };
        let mut frame = Vec::with_capacity(FRAME_HEADER_BYTES + stored.len());
        frame.extend_from_slice(&header.to_bytes());
        frame.extend_from_slice(stored);
        frame
    }

    fn compress(&mut self, payload: &[u8]) -> Option<Vec<u8>> {
        if payload.len() < COMPRESS_FROM_BYTES {
            return None;
        }
        if self.compressor.is_none() {
            self.compressor = zstd::bulk::Compressor::new(COMPRESSION_LEVEL).ok();
        }
        self.compressor.as_mut()?.compress(payload).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(frame: &[u8]) -> ([u8; FRAME_HEADER_BYTES], Vec<u8>) {
        let (header, payload) = frame.split_first_chunk().unwrap();
        (*header, payload.to_vec())
    }

    #[test]
    fn every_flipped_bit_of_a_header_is_noticed() {
        // A CRC is linear: which bits a flip changes does not depend on the rest, so one header proves it for all.
        let (header, _) = split(&Sealer::new().seal(ChunkKind::Events, b"payload"));
        for bit in 0..FRAME_HEADER_BYTES * 8 {
            let mut flipped = header;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(FrameHeader::parse(flipped).is_err(), "bit {bit}");
        }
        let file = FileHeader { version: FORMAT_VERSION, packed: false }.to_bytes();
        for bit in 0..FILE_HEADER_BYTES * 8 {
            let mut flipped = file;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(FileHeader::parse(&flipped).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn compression_is_used_only_where_it_pays() {
        let mut sealer = Sealer::new();
        for (payload, compressed) in [
            (vec![7; 4000], true),
            (vec![7; COMPRESS_FROM_BYTES - 1], false),
            ((0..4000u32).flat_map(|n| crc32fast::hash(&n.to_le_bytes()).to_le_bytes()).collect(), false),
        ] {
            let (header, stored) = split(&sealer.seal(ChunkKind::Events, &payload));
            let header = FrameHeader::parse(header).unwrap();
            assert_eq!(header.compressed, compressed);
            assert!(stored.len() <= payload.len());
            assert_eq!(header.unseal(stored).unwrap(), payload);
        }
    }

    #[test]
    fn a_decompression_bomb_is_refused() {
        let bomb = zstd::bulk::compress(&vec![0; MAX_CHUNK_BYTES + 1], 3).unwrap();
        let header = FrameHeader {
            kind: ChunkKind::Events,
            compressed: true,
            length_bytes: bomb.len() as u32,
            crc: crc32fast::hash(&bomb),
        };
        assert!(header.unseal(bomb).is_err());
    }

    #[test]
    fn a_newer_version_is_told_from_damage() {
        let newer = FileHeader { version: FORMAT_VERSION + 1, packed: false }.to_bytes();
        assert_eq!(FileHeader::parse(&newer), Err(HeaderProblem::Version(FORMAT_VERSION + 1)));
        assert_eq!(FileHeader::parse(b"MZ and so on"), Err(HeaderProblem::NotATrace));
    }
}
