//! The program headers and notes of ELF32 and ELF64 files (System V gABI, chapters 4 and 5).
//!
//! Only what loading a kernel needs: segments, the entry point, notes, and where the section headers are.
//! Symbols and dynamic linking are left out, relocations are in `pie`. Everything is checked against the file; a number from the file never
//! sizes an allocation of more than a few entries.

use super::BootError;
use super::bytes::{View, put_u32, put_u64};
use std::ops::Range;

const FORMAT: &str = "ELF kernel";
const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_NOTE: u32 = 4;
const PF_X: u32 = 1;
const PF_W: u32 = 2;
/// Kernels have fewer than ten; the cap bounds the work a hostile file can cause.
const MAX_PROGRAM_HEADERS: u16 = 128;
const MAX_NOTES: u32 = 4096;

/// `e_machine` of 80386.
pub(crate) const EM_386: u16 = 3;
/// `e_machine` of x86-64.
pub(crate) const EM_X86_64: u16 = 62;

/// What an ELF file is for: `e_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Relocatable,
    Executable,
    Shared,
    Core,
    Other,
}

/// A program header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    kind: u32,
    /// Offset of the program header itself.
    pub(crate) header_offset: u64,
    pub(crate) file_offset: u64,
    pub(crate) vaddr: u64,
    pub(crate) paddr: u64,
    pub(crate) file_bytes: u64,
    pub(crate) memory_bytes: u64,
    flags: u32,
    align: u64,
}

impl Segment {
    /// Whether it may be written.
    pub(crate) fn is_writable(&self) -> bool {
        self.flags & PF_W != 0
    }

    /// Whether code in it may be executed.
    pub(crate) fn is_executable(&self) -> bool {
        self.flags & PF_X != 0
    }
}

/// A parsed ELF file.
#[derive(Clone, Debug)]
pub(crate) struct Elf<'a> {
    view: View<'a>,
    /// ELFCLASS64 rather than ELFCLASS32.
    pub(crate) is_64: bool,
    pub(crate) machine: u16,
    pub(crate) kind: Kind,
    /// `e_entry` as it stands: virtual or physical, see [`Elf::entry_paddr`].
    pub(crate) entry: u64,
    segments: Vec<Segment>,
}

/// A note: owner without its terminating zero, type, contents.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Note<'a> {
    pub(crate) owner: &'a [u8],
    pub(crate) kind: u32,
    pub(crate) contents: &'a [u8],
}

/// The section header table, as it stands in the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SectionHeaders<'a> {
    view: View<'a>,
    is_64: bool,
    pub(crate) entry_bytes: u16,
    pub(crate) count: u16,
    /// The section that holds the sections' names.
    pub(crate) names_index: u16,
    pub(crate) bytes: &'a [u8],
}

impl<'a> SectionHeaders<'a> {
    /// The offset of each header in `bytes`.
    pub(crate) fn offsets(&self) -> impl Iterator<Item = usize> + use<> {
        let entry_bytes = usize::from(self.entry_bytes);
        (0..usize::from(self.count)).map(move |index| index * entry_bytes)
    }

    /// The contents of a symbol or string table that is not part of any segment.
    pub(crate) fn unloaded_table(&self, offset: usize) -> Option<&'a [u8]> {
        const SHT_SYMTAB: u32 = 2;
        const SHT_STRTAB: u32 = 3;
        let header = View::new(FORMAT, &self.bytes[offset..]);
        let word = |at32, at64| if self.is_64 { header.u64(at64) } else { header.u32(at32).map(u64::from) };
        let is_table = matches!(header.u32(4).ok()?, SHT_SYMTAB | SHT_STRTAB);
        if !is_table || word(12, 16).ok()? != 0 {
            return None;
        }
        self.view.slice(word(16, 24).ok()?, word(20, 32).ok()?).ok().filter(|contents| !contents.is_empty())
    }

    /// Sets the address at which a section is in memory, in a copy of `bytes`.
    pub(crate) fn set_address(&self, copy: &mut [u8], offset: usize, paddr: u64) {
        if self.is_64 {
            put_u64(copy, offset + 16, paddr);
        } else {
            put_u32(copy, offset + 12, paddr as u32);
        }
    }
}

/// Whether the bytes begin as an ELF file does.
pub(crate) fn is_elf(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x7fELF")
}

impl<'a> Elf<'a> {
    /// Parses the file header and the program headers.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Elf<'a>, BootError> {
        let view = View::new(FORMAT, bytes);
        let is_64 = match view.u8(4)? {
            1 => false,
            2 => true,
            class => return Err(view.malformed(4, format!("the class is {class}, neither 32 nor 64 bits"))),
        };
        if view.u8(5)? != 1 {
            return Err(BootError::NotAKernel {
                what: "a big-endian ELF file".to_owned(),
                advice: "build the kernel for x86-64",
            });
        }
        let word = |at32, at64| if is_64 { view.u64(at64) } else { view.u32(at32).map(u64::from) };
        let half = |at32, at64| view.u16(if is_64 { at64 } else { at32 });
        let mut elf = Elf {
            view,
            is_64,
            machine: view.u16(18)?,
            kind: match view.u16(16)? {
                1 => Kind::Relocatable,
                2 => Kind::Executable,
                3 => Kind::Shared,
                4 => Kind::Core,
                _ => Kind::Other,
            },
            entry: word(24, 24)?,
            segments: Vec::new(),
        };
        let table = word(28, 32)?;
        let entry_bytes = half(42, 54)?;
        let count = half(44, 56)?;
        if count > 0 && entry_bytes < if is_64 { 56 } else { 32 } {
            return Err(view.malformed(42, format!("program headers of {entry_bytes} bytes are too short")));
        }
        // A core file may have thousands; it is refused by its kind, later.
        for index in 0..count.min(MAX_PROGRAM_HEADERS) {
            let header_offset = table.saturating_add(u64::from(index) * u64::from(entry_bytes));
            elf.segments.push(Segment::parse(view, header_offset, is_64)?);
        }
        if count > MAX_PROGRAM_HEADERS && elf.kind != Kind::Core {
            return Err(view.malformed(44, format!("{count} program headers are more than any kernel has")));
        }
        Ok(elf)
    }

    /// The segments that occupy memory, in the order of the file.
    pub(crate) fn loads(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter().filter(|segment| segment.kind == PT_LOAD && segment.memory_bytes > 0)
    }

    /// The dynamic section, which a file that is not position independent has not.
    pub(crate) fn dynamic(&self) -> Option<&Segment> {
        self.segments.iter().find(|segment| segment.kind == PT_DYNAMIC)
    }

    /// Where in the file `length_bytes` at a virtual address are, if one segment has them all.
    pub(crate) fn file_offset(&self, vaddr: u64, length_bytes: u64) -> Option<u64> {
        let segment = self.loads().find(|segment| {
            let offset = vaddr.wrapping_sub(segment.vaddr);
            offset.checked_add(length_bytes).is_some_and(|end| end <= segment.file_bytes)
        })?;
        let offset = segment.file_offset.checked_add(vaddr - segment.vaddr)?;
        self.view.slice(offset, length_bytes).ok()?;
        Some(offset)
    }

    /// What a segment holds in the file; the rest of its memory is zero.
    pub(crate) fn contents(&self, segment: &Segment) -> Result<&'a [u8], BootError> {
        if segment.file_bytes > segment.memory_bytes {
            let problem = "the segment is longer in the file than in memory";
            return Err(self.view.malformed(segment.header_offset, problem));
        }
        self.view.slice(segment.file_offset, segment.file_bytes)
    }

    /// An error about a segment's program header.
    pub(crate) fn malformed(&self, segment: &Segment, problem: impl Into<String>) -> BootError {
        self.view.malformed(segment.header_offset, problem)
    }

    /// An error about the entry point.
    pub(crate) fn bad_entry(&self) -> BootError {
        self.view.malformed(24, format!("the entry point {:#x} is in no segment", self.entry))
    }

    /// The physical address of the entry point. Kernels linked to high virtual addresses differ in whether
    /// `e_entry` is one; being inside a segment's physical range decides, then its virtual range.
    pub(crate) fn entry_paddr(&self) -> Result<u64, BootError> {
        let entry = self.entry;
        let inside = |start: u64, length_bytes: u64| entry.wrapping_sub(start) < length_bytes;
        if self.loads().any(|segment| inside(segment.paddr, segment.memory_bytes)) {
            return Ok(entry);
        }
        self.loads()
            .find(|segment| inside(segment.vaddr, segment.memory_bytes))
            .map(|segment| segment.paddr.wrapping_add(entry.wrapping_sub(segment.vaddr)))
            .ok_or_else(|| self.bad_entry())
    }

    /// The physical addresses from the lowest segment to the highest.
    pub(crate) fn paddrs(&self) -> Result<Range<u64>, BootError> {
        let (mut lowest, mut highest) = (u64::MAX, 0);
        for segment in self.loads() {
            let end = segment
                .paddr
                .checked_add(segment.memory_bytes)
                .ok_or_else(|| self.malformed(segment, "the segment ends beyond all memory"))?;
            lowest = lowest.min(segment.paddr);
            highest = highest.max(end);
        }
        if lowest < highest { Ok(lowest..highest) } else { Err(self.bad_entry()) }
    }

    /// Whether a physical address is inside a segment.
    pub(crate) fn is_loaded(&self, paddr: u64) -> bool {
        self.loads().any(|segment| paddr.wrapping_sub(segment.paddr) < segment.memory_bytes)
    }

    /// The section header table, if there is one and it is wholly in the file: as others may hand it on, not
    /// to be trusted.
    pub(crate) fn section_headers(&self) -> Option<SectionHeaders<'a>> {
        let view = self.view;
        let word = |at32, at64| if self.is_64 { view.u64(at64) } else { view.u32(at32).map(u64::from) };
        let half = |at32, at64| view.u16(if self.is_64 { at64 } else { at32 });
        let table = word(32, 40).ok()?;
        let entry_bytes = half(46, 58).ok()?;
        let count = half(48, 60).ok()?;
        let names_index = half(50, 62).ok()?;
        if table == 0 || count == 0 || entry_bytes != if self.is_64 { 64 } else { 40 } {
            return None;
        }
        let bytes = view.slice(table, u64::from(count) * u64::from(entry_bytes)).ok()?;
        Some(SectionHeaders { view, is_64: self.is_64, entry_bytes, count, names_index, bytes })
    }

    /// All notes of all note segments.
    pub(crate) fn notes(&self) -> Result<Vec<Note<'a>>, BootError> {
        let mut notes = Vec::new();
        for segment in self.segments.iter().filter(|segment| segment.kind == PT_NOTE) {
            let end = segment.file_offset.saturating_add(segment.file_bytes);
            let mut at = segment.file_offset;
            while at < end {
                if notes.len() as u32 >= MAX_NOTES {
                    return Err(self.view.malformed(at, "there are more notes than any kernel has"));
                }
                let (note, next) = self.note(at, if segment.align == 8 { 8 } else { 4 })?;
                notes.push(note);
                at = next;
            }
        }
        Ok(notes)
    }

    /// The note at an offset, and where the next one starts.
    fn note(&self, at: u64, align: u64) -> Result<(Note<'a>, u64), BootError> {
        let owner_bytes = u64::from(self.view.u32(at)?);
        let contents_bytes = u64::from(self.view.u32(at + 4)?);
        let kind = self.view.u32(at + 8)?;
        let owner = self.view.slice(at + 12, owner_bytes)?;
        let contents_at = at + (12 + owner_bytes).next_multiple_of(align);
        let contents = self.view.slice(contents_at, contents_bytes)?;
        let owner = owner.strip_suffix(b"\0").unwrap_or(owner);
        Ok((Note { owner, kind, contents }, contents_at + contents_bytes.next_multiple_of(align)))
    }
}

impl Segment {
    fn parse(view: View<'_>, at: u64, is_64: bool) -> Result<Segment, BootError> {
        view.slice(at, if is_64 { 56 } else { 32 })?;
        let word = |at32: u64, at64: u64| {
            if is_64 { view.u64(at + at64) } else { view.u32(at + at32).map(u64::from) }
        };
        Ok(Segment {
            kind: view.u32(at)?,
            header_offset: at,
            file_offset: word(4, 8)?,
            vaddr: word(8, 16)?,
            paddr: word(12, 24)?,
            file_bytes: word(16, 32)?,
            memory_bytes: word(20, 40)?,
            flags: view.u32(at + if is_64 { 4 } else { 24 })?,
            align: word(28, 48)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{ElfSample, note};
    use super::*;

    #[test]
    fn both_classes_give_the_same_segments() {
        for is_64 in [false, true] {
            let bytes = ElfSample::new(is_64).segment(0x10_0000, 0xc010_0000, b"text", 0x2000).build();
            let elf = Elf::parse(&bytes).unwrap();
            assert_eq!(elf.is_64, is_64);
            let segment = *elf.loads().next().unwrap();
            assert_eq!((segment.paddr, segment.vaddr), (0x10_0000, 0xc010_0000));
            assert_eq!(elf.contents(&segment).unwrap(), b"text");
            assert_eq!(segment.memory_bytes, 0x2000);
        }
    }

    #[test]
    fn a_virtual_entry_point_is_translated_and_a_physical_one_kept() {
        let sample = |entry| {
            ElfSample::new(true)
                .segment(0x10_0000, 0xffff_ffff_8010_0000, b"text", 0x2000)
                .entry(entry)
                .build()
        };
        let entry_paddr = |entry| Elf::parse(&sample(entry)).unwrap().entry_paddr();
        assert_eq!(entry_paddr(0x10_0123), Ok(0x10_0123));
        assert_eq!(entry_paddr(0xffff_ffff_8010_0123), Ok(0x10_0123));
        assert!(entry_paddr(0x20_0000).unwrap_err().to_string().contains("0x200000"));
    }

    #[test]
    fn notes_are_found_whatever_their_padding() {
        let bytes = ElfSample::new(true)
            .segment(0x10_0000, 0x10_0000, b"text", 4)
            .notes(&[note(b"Xen\0", 6, b"linux\0"), note(b"Linux\0", 256, b"abc")].concat())
            .build();
        let notes = Elf::parse(&bytes).unwrap().notes().unwrap();
        assert_eq!(notes.len(), 2);
        assert_eq!((notes[0].owner, notes[0].kind, notes[0].contents), (&b"Xen"[..], 6, &b"linux\0"[..]));
        assert_eq!((notes[1].owner, notes[1].kind, notes[1].contents), (&b"Linux"[..], 256, &b"abc"[..]));
    }

    #[test]
    fn a_segment_beyond_the_file_is_named_by_its_offset() {
        let mut bytes = ElfSample::new(true).segment(0x10_0000, 0x10_0000, b"text", 4).build();
        bytes[64 + 8..64 + 16].copy_from_slice(&0x1234_5678_u64.to_le_bytes());
        let elf = Elf::parse(&bytes).unwrap();
        let error = elf.contents(elf.loads().next().unwrap()).unwrap_err().to_string();
        assert!(error.contains("0x12345678"), "{error}");
    }

    #[test]
    fn absurd_counts_are_refused() {
        let mut bytes = ElfSample::new(true).segment(0x10_0000, 0x10_0000, b"text", 4).build();
        bytes.resize(64 + 56 * 0x1_0000, 0);
        bytes[56..58].copy_from_slice(&u16::MAX.to_le_bytes());
        assert!(matches!(Elf::parse(&bytes), Err(BootError::Malformed { offset: 44, .. })));
    }
}
