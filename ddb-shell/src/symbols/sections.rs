//! The sections of a file that debug information is made of: those of a linked file as they are, those of a module's file
//! (an ELF relocatable object) laid out and relocated (System V ABI for AMD64, ch. 4.4).
//!
//! Left out: relocatable objects of 32-bit kernels, whose relocations have their addends in the section.

use gimli::RunTimeEndian;
use object::elf::{
    R_X86_64_32, R_X86_64_32S, R_X86_64_64, R_X86_64_NONE, R_X86_64_PC32, R_X86_64_PC64, SHF_ALLOC,
};
use object::read::elf::{ElfFile64, ElfSection64};
use object::{
    Endianness, Object, ObjectSection, ObjectSymbol, RelocationFlags, RelocationTarget, SectionFlags,
    SectionIndex, SymbolSection,
};
use std::ops::Range;

/// Where the first section of a module's file is laid out: not at 0, where debug information has what was thrown away.
const LAYOUT_START: u64 = 0x1000;

/// Sections by name.
pub(super) struct DebugSections<'data> {
    pub endian: RunTimeEndian,
    pub address_bytes: u8,
    sections: Vec<Section<'data>>,
}

struct Section<'data> {
    name: String,
    address: u64,
    bytes: &'data [u8],
}

/// A section of a module's file that is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Loaded {
    pub name: String,
    pub index: SectionIndex,
    /// The addresses that it was given in the layout.
    pub linked: Range<u64>,
}

/// Whether a section is of use to a reader of debug information.
fn is_wanted(name: &str) -> bool {
    name.starts_with(".debug_") || matches!(name, ".eh_frame" | ".text" | ".got")
}

impl<'data> DebugSections<'data> {
    /// Of a linked file.
    pub fn of_linked(file: &object::File<'data>) -> DebugSections<'data> {
        let named = file.sections().filter_map(|section| {
            let name = section.name().ok().filter(|name| is_wanted(name))?.to_owned();
            let bytes = section.data().unwrap_or_default();
            Some(Section { name, address: section.address(), bytes })
        });
        DebugSections {
            endian: if file.is_little_endian() { RunTimeEndian::Little } else { RunTimeEndian::Big },
            address_bytes: if file.is_64() { 8 } else { 4 },
            sections: named.collect(),
        }
    }

    /// The bytes of a section; none if there is no such.
    pub fn bytes(&self, name: &str) -> &'data [u8] {
        self.sections.iter().find(|section| section.name == name).map_or(&[], |section| section.bytes)
    }

    /// Where a section was linked to be; 0 if there is no such.
    pub fn address(&self, name: &str) -> u64 {
        self.sections.iter().find(|section| section.name == name).map_or(0, |section| section.address)
    }
}

impl DebugSections<'static> {
    /// Of a module's file that was laid out as `layout` says. What is relocated is copied, and kept until the process ends,
    /// as the file itself is ([`DebugInfo`](super::DebugInfo) borrows both).
    pub fn of_module(file: &ElfFile64<'static, Endianness>, layout: &[Loaded]) -> DebugSections<'static> {
        let named = file.sections().filter_map(|section| {
            let name = section.name().ok().filter(|name| is_wanted(name))?.to_owned();
            let bytes = section.data().unwrap_or_default();
            let bytes = match section.relocations().next() {
                Some(_) if !bytes.is_empty() => Vec::leak(relocated(file, &section, bytes, layout)),
                _ => bytes,
            };
            Some(Section { name, address: address_of(layout, section.index()), bytes })
        });
        DebugSections { endian: RunTimeEndian::Little, address_bytes: 8, sections: named.collect() }
    }
}

/// Gives every section that is loaded an address of its own.
pub(super) fn lay_out(file: &ElfFile64<'_, Endianness>) -> Vec<Loaded> {
    let mut next = LAYOUT_START;
    let mut loaded = Vec::new();
    for section in file.sections() {
        let SectionFlags::Elf { sh_flags, .. } = section.flags() else { continue };
        let Ok(name) = section.name() else { continue };
        if !sh_flags.contains(SHF_ALLOC) {
            continue;
        }
        let align = section.align().clamp(1, 1 << 21);
        let start = next.next_multiple_of(if align.is_power_of_two() { align } else { 1 });
        // An empty one has an address all the same.
        next = start.saturating_add(section.size().clamp(1, 1 << 30));
        loaded.push(Loaded { name: name.to_owned(), index: section.index(), linked: start..next });
    }
    loaded
}

fn address_of(layout: &[Loaded], index: SectionIndex) -> u64 {
    layout.iter().find(|section| section.index == index).map_or(0, |section| section.linked.start)
}

/// A copy of a section with its relocations applied. One that is not known, or leads out of the section, is left as it is:
/// what needs it is then found wrong by its reader.
fn relocated(
    file: &ElfFile64<'_, Endianness>,
    section: &ElfSection64<'_, '_, Endianness>,
    bytes: &[u8],
    layout: &[Loaded],
) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let base = address_of(layout, section.index());
    for (offset, relocation) in section.relocations() {
        let RelocationFlags::Elf { r_type } = relocation.flags() else { continue };
        let symbol = match relocation.target() {
            RelocationTarget::Symbol(index) => {
                let Ok(symbol) = file.symbol_by_index(index) else { continue };
                let start = match symbol.section() {
                    SymbolSection::Section(index) => address_of(layout, index),
                    _ => 0,
                };
                start.wrapping_add(symbol.address())
            }
            _ => 0,
        };
        let target = symbol.wrapping_add_signed(relocation.addend());
        let relative = target.wrapping_sub(base.wrapping_add(offset));
        let (value, length) = match r_type {
            R_X86_64_NONE => continue,
            R_X86_64_64 => (target, 8),
            R_X86_64_PC64 => (relative, 8),
            R_X86_64_32 | R_X86_64_32S => (target, 4),
            R_X86_64_PC32 => (relative, 4),
            _ => continue,
        };
        let place =
            usize::try_from(offset).ok().and_then(|start| bytes.get_mut(start..start.checked_add(length)?));
        if let Some(place) = place {
            place.copy_from_slice(&value.to_le_bytes()[..length]);
        }
    }
    bytes
}
