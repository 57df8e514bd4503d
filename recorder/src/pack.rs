//! Self-contained traces: `vkernel trace pack`.
//!
//! A packed trace is the trace, chunk for chunk, with its images behind it in pieces. It reads like any other; what it
//! carries is found by content before the store is asked. Symbols and the recording executable may be carried too.

use crate::bytes::{Bytes, put_blob, put_varint};
use crate::error::{Flaw, StoreError, TraceError};
use crate::format::{ChunkKind, FORMAT_VERSION, FileHeader, Sealer};
use crate::images::{ImageSet, image_id, write_atomically};
use crate::reader::{ChunkRef, TraceReader};
use crate::writer::may_be_replaced;
use boundary::ImageId;
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// Images are embedded in pieces of this length, each a chunk of its own.
const PIECE_BYTES: usize = 1 << 20;

/// What an embedded file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum AttachmentKind {
    /// An image that PowerOn names.
    Image = 0,
    /// The vkernel that recorded.
    Executable = 1,
    /// Debugging symbols.
    Symbols = 2,
}

/// A file to embed besides the images.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// What it is.
    pub kind: AttachmentKind,
    /// Its name, for messages and for finding the right symbols.
    pub name: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// An embedded file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Embedded {
    /// Its identity.
    pub id: ImageId,
    /// What it is.
    pub kind: AttachmentKind,
    /// Its name.
    pub name: String,
    /// Its length.
    pub length_bytes: u64,
}

/// One chunk's share of an embedded file.
struct Piece<'a> {
    of: Embedded,
    offset_bytes: u64,
    bytes: &'a [u8],
}

impl Piece<'_> {
    fn encode(&self) -> Vec<u8> {
        let mut payload = Vec::with_capacity(self.bytes.len() + 64 + self.of.name.len());
        payload.extend_from_slice(&self.of.id.0);
        payload.push(self.of.kind as u8);
        put_blob(&mut payload, self.of.name.as_bytes());
        put_varint(&mut payload, self.of.length_bytes);
        put_varint(&mut payload, self.offset_bytes);
        payload.extend_from_slice(self.bytes);
        payload
    }

    fn decode(payload: &[u8]) -> Result<Piece<'_>, Flaw> {
        let mut bytes = Bytes(payload);
        let id = ImageId(bytes.array()?);
        let kind = match bytes.u8()? {
            0 => AttachmentKind::Image,
            1 => AttachmentKind::Executable,
            2 => AttachmentKind::Symbols,
            _ => return Err(Flaw("an embedded file is of an unknown kind")),
        };
        let of = Embedded { id, kind, name: bytes.text()?, length_bytes: bytes.varint()? };
        let piece = Piece { of, offset_bytes: bytes.varint()?, bytes: bytes.0 };
        if piece.bytes.len() > PIECE_BYTES {
            return Err(Flaw("a piece is larger than pieces may be"));
        }
        let end = piece.offset_bytes.checked_add(piece.bytes.len() as u64);
        if end.is_none_or(|end| end > piece.of.length_bytes) {
            return Err(Flaw("a piece lies outside the embedded file"));
        }
        Ok(piece)
    }

    fn is_last(&self) -> bool {
        self.offset_bytes + self.bytes.len() as u64 == self.of.length_bytes
    }
}

/// Writes a self-contained copy of a trace to `path`: the trace, all of `images`, and the attachments.
///
/// # Errors
/// When the trace is damaged, `path` holds something that is not a trace, or the host refuses. An existing trace at
/// `path` is then still there.
pub fn pack(
    reader: &TraceReader,
    images: &ImageSet,
    attachments: &[Attachment],
    path: &Path,
) -> Result<(), StoreError> {
    if let Some(error) = reader.events().find_map(Result::err) {
        return Err(error.into());
    }
    if !may_be_replaced(path).map_err(StoreError::io("look at", path))? {
        return Err(StoreError::NotOverwritten { path: path.to_owned() });
    }
    // An error of the trace must not be reported as one of writing, so it is carried past the closure.
    let mut trace_error = None;
    let written = write_to(path, |file| {
        let header = FileHeader { version: FORMAT_VERSION, packed: true };
        file.write_all(&header.to_bytes())?;
        for chunk in trace_chunks(reader) {
            let frame = reader.file.frame(chunk).map_err(|error| {
                trace_error = Some(error);
                io::Error::other("the trace cannot be read")
            })?;
            file.write_all(&frame)?;
        }
        embed_all(file, reader, images, attachments)
    });
    match trace_error {
        Some(error) => Err(error.into()),
        None => written,
    }
}

/// Writes what becomes visible as a whole. A device or pipe is written to, not replaced; through a symbolic link the
/// file behind it is replaced, not the link.
fn write_to(path: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), StoreError> {
    match path.metadata() {
        Ok(metadata) if !metadata.is_file() => {
            let opened = OpenOptions::new().write(true).open(path);
            opened.and_then(|mut file| fill(&mut file)).map_err(StoreError::io("write", path))
        }
        Ok(_) => {
            let there = path.canonicalize().map_err(StoreError::io("find", path))?;
            write_atomically(&there, fill)
        }
        Err(_) => write_atomically(path, fill),
    }
}

fn trace_chunks(reader: &TraceReader) -> impl Iterator<Item = ChunkRef> {
    std::iter::once(reader.start).chain(reader.event_chunks.iter().copied()).chain(reader.end_chunk)
}

fn embed_all(
    file: &mut impl Write,
    reader: &TraceReader,
    images: &ImageSet,
    attachments: &[Attachment],
) -> io::Result<()> {
    let mut sealer = Sealer::new();
    let mut done = BTreeSet::new();
    for (id, bytes) in images.iter() {
        let named = reader.power_on().boot.images.iter().find(|image| image.id == id);
        let name = named.map(|image| image.name.clone()).unwrap_or_default();
        done.insert(id);
        embed(file, &mut sealer, AttachmentKind::of(reader, id), &name, id, bytes)?;
    }
    for attachment in attachments {
        let id = image_id(&attachment.bytes);
        if done.insert(id) {
            embed(file, &mut sealer, attachment.kind, &attachment.name, id, &attachment.bytes)?;
        }
    }
    Ok(())
}

fn embed(
    file: &mut impl Write,
    sealer: &mut Sealer,
    kind: AttachmentKind,
    name: &str,
    id: ImageId,
    bytes: &[u8],
) -> io::Result<()> {
    // For messages only; a chunk must have room for a piece.
    let name = name.chars().take(1000).collect();
    let of = Embedded { id, kind, name, length_bytes: bytes.len() as u64 };
    let pieces = bytes.chunks(PIECE_BYTES).map(Some).chain(bytes.is_empty().then_some(None));
    for (index, piece) in pieces.enumerate() {
        let offset_bytes = (index * PIECE_BYTES) as u64;
        let piece = Piece { of: of.clone(), offset_bytes, bytes: piece.unwrap_or_default() };
        file.write_all(&sealer.seal(ChunkKind::Image, &piece.encode()))?;
    }
    Ok(())
}

impl TraceReader {
    /// What a packed trace carries. A file whose pieces are not all there is left out.
    ///
    /// # Errors
    /// When a piece is damaged.
    pub fn embedded(&self) -> Result<Vec<Embedded>, TraceError> {
        let mut found = Vec::new();
        self.each_piece(|piece| {
            if piece.is_last() {
                found.push(piece.of);
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// The content of an embedded file, verified; `None` if this trace does not carry it whole.
    ///
    /// # Errors
    /// When a piece is damaged, or the content is not what its identity says.
    pub fn embedded_bytes(&self, id: ImageId) -> Result<Option<Vec<u8>>, TraceError> {
        let mut content = Vec::new();
        let mut whole = false;
        self.each_piece(|piece| {
            if piece.of.id != id || whole {
                return Ok(());
            }
            if piece.offset_bytes != content.len() as u64 {
                return Err(Flaw("a piece of an embedded file is missing"));
            }
            content.extend_from_slice(piece.bytes);
            whole = piece.is_last();
            if whole && image_id(&content) != id {
                Err(Flaw("an embedded file is not what it is named"))
            } else {
                Ok(())
            }
        })?;
        Ok(whole.then_some(content))
    }

    fn each_piece(&self, mut visit: impl FnMut(Piece<'_>) -> Result<(), Flaw>) -> Result<(), TraceError> {
        for chunk in self.image_chunks.iter() {
            let payload = self.file.payload(*chunk)?;
            let visited = Piece::decode(&payload).and_then(&mut visit);
            visited.map_err(|flaw| flaw.at(self.path(), chunk.offset_bytes))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::{ImageStore, gather_images};
    use crate::reader::Tail;
    use crate::testing::{NO_IMAGE, blake3_u64, failure, meta, power_on, quiet_boot};
    use crate::writer::TraceWriter;
    use boundary::Media;
    use std::fs;
    use std::path::PathBuf;

    /// Two and a bit pieces that do not compress.
    fn kernel() -> Vec<u8> {
        (0..(5 * PIECE_BYTES / 16) as u64).flat_map(|n| blake3_u64(n).to_le_bytes()).collect()
    }

    struct Fixture {
        directory: tempfile::TempDir,
        trace: PathBuf,
        kernel: Vec<u8>,
    }

    fn fixture() -> Fixture {
        let directory = tempfile::tempdir().unwrap();
        let trace = directory.path().join("t.vkt");
        let kernel = kernel();
        let events = quiet_boot(40);
        let mut writer = TraceWriter::create(&trace, &power_on(&kernel), &meta(0)).unwrap();
        events.iter().for_each(|(mark, event)| writer.event(*mark, event).unwrap());
        writer.finish(&failure(events[events.len() - 1].0)).unwrap();
        Fixture { directory, trace, kernel }
    }

    #[test]
    fn a_packed_trace_needs_no_store_and_is_the_same_trace() {
        let Fixture { directory, trace, kernel } = fixture();
        let store = ImageStore::at(directory.path().join("images"));
        let id = store.put(&kernel).unwrap();
        let plain = TraceReader::open(&trace).unwrap();
        let images = gather_images(&plain, Some(&store), &[]).unwrap();
        let symbols =
            Attachment { kind: AttachmentKind::Symbols, name: "vmlinux".into(), bytes: b"\x7fELF".to_vec() };
        let empty = Attachment { kind: AttachmentKind::Symbols, name: "empty".into(), bytes: Vec::new() };
        let path = directory.path().join("packed.vkt");
        pack(&plain, &images, &[symbols, empty], &path).unwrap();

        let packed = TraceReader::open(&path).unwrap();
        assert!(packed.is_packed());
        assert_eq!(packed.tail(), Tail::Complete);
        assert_eq!(packed.power_on(), plain.power_on());
        assert_eq!(packed.ending(), plain.ending());
        let events = |reader: &TraceReader| reader.events().map(Result::unwrap).collect::<Vec<_>>();
        assert_eq!(events(&packed), events(&plain));
        assert_eq!(**gather_images(&packed, None, &[]).unwrap().image(id).unwrap(), kernel);
        let names: Vec<_> =
            packed.embedded().unwrap().into_iter().map(|file| (file.name, file.length_bytes)).collect();
        assert_eq!(
            names,
            [("kernel.elf".into(), kernel.len() as u64), ("vmlinux".into(), 4), ("empty".into(), 0)]
        );
        assert_eq!(packed.embedded_bytes(NO_IMAGE).unwrap(), None);
        let info = crate::TraceInfo::of(&packed).unwrap();
        assert_eq!(info.trace_bytes, plain.length_bytes().unwrap());

        let again = directory.path().join("again.vkt");
        pack(&packed, &gather_images(&packed, None, &[]).unwrap(), &[], &again).unwrap();
        assert_eq!(TraceReader::open(&again).unwrap().embedded().unwrap().len(), 1);
    }

    #[test]
    fn a_torn_pack_has_its_events_and_says_which_image_is_missing() {
        let Fixture { directory, trace, kernel } = fixture();
        let plain = TraceReader::open(&trace).unwrap();
        let mut images = ImageSet::default();
        let id = images.insert(kernel.clone());
        let path = directory.path().join("packed.vkt");
        pack(&plain, &images, &[], &path).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        bytes.truncate(bytes.len() - 100);
        let torn = TraceReader::from_bytes(&path, bytes.clone()).unwrap();
        assert_eq!(torn.ending(), plain.ending());
        assert!(matches!(torn.tail(), Tail::Torn { .. }));
        let message = gather_images(&torn, None, &[]).unwrap_err().to_string();
        for part in ["kernel.elf", &id.to_string(), &kernel.len().to_string(), "--image FILE"] {
            assert!(message.contains(part), "{message}");
        }

        bytes[2_000_000] ^= 1;
        let flipped = TraceReader::from_bytes(&path, bytes).unwrap();
        assert!(matches!(flipped.embedded_bytes(id), Err(TraceError::Damaged { .. })));
    }

    #[test]
    fn a_file_given_replaces_the_store_and_a_wrong_one_is_named() {
        let Fixture { directory, trace, kernel } = fixture();
        let reader = TraceReader::open(&trace).unwrap();
        let (right, wrong) = (directory.path().join("vmlinuz.old"), directory.path().join("vmlinuz"));
        fs::write(&right, &kernel).unwrap();
        fs::write(&wrong, b"rebuilt").unwrap();
        assert!(gather_images(&reader, None, &[right]).is_ok());
        let message = gather_images(&reader, None, &[wrong]).unwrap_err().to_string();
        assert!(
            message.contains("vmlinuz has BLAKE3") && message.contains("kernel.elf: BLAKE3"),
            "{message}"
        );
    }

    #[test]
    fn packing_leaves_other_files_alone() {
        let Fixture { directory, trace, .. } = fixture();
        let reader = TraceReader::open(&trace).unwrap();
        let path = directory.path().join("vmlinuz");
        fs::write(&path, b"MZ my only kernel").unwrap();
        let refused = pack(&reader, &ImageSet::default(), &[], &path);
        assert!(matches!(refused, Err(StoreError::NotOverwritten { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"MZ my only kernel");
    }
}
