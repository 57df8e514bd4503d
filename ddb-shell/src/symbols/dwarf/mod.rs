//! The DWARF of a file: its units, and ways to find an entry in them by name or by address.
//!
//! A kernel's has hundreds of megabytes. The bytes are borrowed from whoever mapped the file, a unit is parsed when
//! something in it is wanted, and the list of names ([`index`]) is made once, by as many threads as there are
//! processors. Left out: split DWARF (`.dwo`), type units, and what `dwz` moved to a file of its own.

mod frames;
mod index;
mod inlined;
mod line_places;
mod location;
mod scope;
#[cfg(test)]
mod tests;

pub use frames::Unwound;
pub use location::{Located, Location, LocationError};
pub use scope::{Scope, ScopeKind, Variable};

use super::relocation::Relocation;
use super::sections::DebugSections;
use super::types::{NameKind, Source, TypeRef};
use crate::memory::GuestMemory;
use crate::registers::Registers;
use frames::CallFrames;
use gimli::{
    AttributeValue, DebuggingInformationEntry, EndianSlice, RunTimeEndian, SectionId, Unit, UnitHeader,
    UnitOffset,
};
use index::{NameIndex, Named};
use location::FrameAddress;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

pub(super) type Section<'data> = EndianSlice<'data, RunTimeEndian>;
pub(super) type Entry<'data> = DebuggingInformationEntry<Section<'data>>;

/// Entries that are followed from one to the next (a copy to its original, a definition to its declaration).
const ORIGINS_MAX: usize = 8;

/// The DWARF of one file.
pub struct DebugInfo<'data> {
    source: Source,
    dwarf: Arc<gimli::Dwarf<Section<'data>>>,
    frames: CallFrames<'data>,
    units: OnceLock<Vec<UnitSlot<'data>>>,
    ranges: OnceLock<Vec<UnitRange>>,
    /// Shared with a thread that makes it in advance.
    index: Arc<OnceLock<NameIndex>>,
}

impl std::fmt::Debug for DebugInfo<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DebugInfo").field("is_indexed", &self.index.get().is_some()).finish()
    }
}

/// A unit, parsed when it is needed.
struct UnitSlot<'data> {
    header: UnitHeader<Section<'data>>,
    unit: OnceLock<Option<Unit<Section<'data>>>>,
}

/// Addresses, and the unit that they belong to.
#[derive(Clone, Copy, Debug)]
struct UnitRange {
    begin: u64,
    end: u64,
    unit: usize,
}

/// A unit and an entry in it.
#[derive(Clone, Copy)]
pub(super) struct Place<'a, 'data> {
    pub unit: &'a Unit<Section<'data>>,
    pub offset: UnitOffset,
}

impl<'data> DebugInfo<'data> {
    /// The DWARF in the sections of a file. Nothing is read yet. `source` tells its types from those of others.
    pub(super) fn new(sections: &DebugSections<'data>, source: Source) -> Option<DebugInfo<'data>> {
        let load = |id: SectionId| {
            Ok::<_, gimli::Error>(EndianSlice::new(sections.bytes(id.name()), sections.endian))
        };
        let dwarf = Arc::new(gimli::Dwarf::load(load).ok()?);
        let frames = CallFrames::new(sections);
        Some(DebugInfo {
            source,
            dwarf,
            frames,
            units: OnceLock::new(),
            ranges: OnceLock::new(),
            index: Arc::default(),
        })
    }

    /// The sections, shared with the reader of source lines.
    pub(super) fn sections(&self) -> Arc<gimli::Dwarf<Section<'data>>> {
        Arc::clone(&self.dwarf)
    }

    /// The caller of a frame whose code lies at the link address `address`.
    pub(super) fn unwind(
        &self,
        address: u64,
        registers: &Registers,
        memory: &dyn GuestMemory,
        relocation: &Relocation,
    ) -> Unwound {
        self.frames.unwind(address, registers, memory, relocation)
    }

    fn units(&self) -> &[UnitSlot<'data>] {
        self.units.get_or_init(|| {
            let mut units = Vec::new();
            let mut headers = self.dwarf.units();
            // What follows a damaged header cannot be found.
            while let Ok(Some(header)) = headers.next() {
                units.push(UnitSlot { header, unit: OnceLock::new() });
            }
            units
        })
    }

    fn unit(&self, number: usize) -> Option<&Unit<Section<'data>>> {
        let slot = self.units().get(number)?;
        slot.unit.get_or_init(|| self.dwarf.unit(slot.header).ok()).as_ref()
    }

    /// The entry at an offset of `.debug_info`.
    pub(super) fn place(&self, offset: usize) -> Option<Place<'_, 'data>> {
        let number = self.number_at(offset)?;
        let start = unit_start(&self.units()[number].header);
        Some(Place { unit: self.unit(number)?, offset: UnitOffset(offset - start) })
    }

    /// The number of the unit that has an offset of `.debug_info`.
    fn number_at(&self, offset: usize) -> Option<usize> {
        let starts_after = |slot: &UnitSlot<'_>| unit_start(&slot.header) > offset;
        self.units().partition_point(|slot| !starts_after(slot)).checked_sub(1)
    }

    /// The offset in `.debug_info` of an entry of a unit.
    pub(super) fn offset_of(unit: &Unit<Section<'data>>, offset: UnitOffset) -> usize {
        unit_start(&unit.header) + offset.0
    }

    /// The type whose entry lies at an offset of `.debug_info`; none stands for `void`.
    pub(super) fn type_ref(&self, offset: Option<usize>) -> TypeRef {
        offset.map_or(TypeRef::Void, |offset| TypeRef::Dwarf(self.source, offset))
    }

    /// What a reference from an entry of `unit` leads to.
    pub(super) fn target(
        unit: &Unit<Section<'data>>,
        value: AttributeValue<Section<'data>>,
    ) -> Option<usize> {
        match value {
            AttributeValue::UnitRef(offset) => Some(DebugInfo::offset_of(unit, offset)),
            AttributeValue::DebugInfoRef(offset) => Some(offset.0),
            _ => None,
        }
    }

    /// An entry's own name.
    pub(super) fn own_name(&self, unit: &Unit<Section<'data>>, entry: &Entry<'data>) -> Option<String> {
        let value = entry.attr_value(gimli::DW_AT_name)?;
        let name = self.dwarf.attr_string(unit, value).ok()?;
        Some(name.to_string_lossy().into_owned())
    }

    /// The name and the type of an entry, or of the one that it is a copy of.
    pub(super) fn name_and_type(&self, place: Place<'_, 'data>) -> (Option<String>, Option<usize>) {
        let (mut name, mut type_offset) = (None, None);
        let mut at = Some(place);
        for _ in 0..ORIGINS_MAX {
            let Some(Place { unit, offset }) = at else { break };
            let Ok(entry) = unit.entry(offset) else { break };
            name = name.or_else(|| self.own_name(unit, &entry));
            let own_type =
                entry.attr_value(gimli::DW_AT_type).and_then(|value| DebugInfo::target(unit, value));
            type_offset = type_offset.or(own_type);
            let origin = [gimli::DW_AT_abstract_origin, gimli::DW_AT_specification]
                .into_iter()
                .find_map(|attribute| entry.attr_value(attribute));
            at = origin.and_then(|value| self.place(DebugInfo::target(unit, value)?));
        }
        (name, type_offset)
    }

    /// The unit whose code has `address` (a link address).
    pub(super) fn unit_of_address(&self, address: u64) -> Option<&Unit<Section<'data>>> {
        self.unit(self.unit_number(address)?)
    }

    /// The offsets in `.debug_info` of the entries of that unit.
    pub(super) fn span_of_unit(&self, address: u64) -> Option<Range<usize>> {
        let header = &self.units()[self.unit_number(address)?].header;
        let start = unit_start(header);
        Some(start..start + header.length_including_self())
    }

    fn unit_number(&self, address: u64) -> Option<usize> {
        let ranges = self.ranges.get_or_init(|| self.list_ranges());
        let after = ranges.partition_point(|range| range.begin <= address);
        let range = ranges.get(after.checked_sub(1)?)?;
        (address < range.end).then_some(range.unit)
    }

    /// The addresses of every unit, from `.debug_aranges` where that has them.
    fn list_ranges(&self) -> Vec<UnitRange> {
        let mut ranges = Vec::new();
        let mut is_listed = vec![false; self.units().len()];
        let mut headers = self.dwarf.debug_aranges.headers();
        while let Ok(Some(header)) = headers.next() {
            let offset = header.debug_info_offset().0;
            let found = self.units().binary_search_by_key(&offset, |slot| unit_start(&slot.header));
            let Ok(number) = found else { continue };
            let mut entries = header.entries();
            while let Ok(Some(entry)) = entries.next() {
                let begin = entry.address();
                ranges.push(UnitRange { begin, end: begin.saturating_add(entry.length()), unit: number });
                is_listed[number] = true;
            }
        }
        for number in (0..is_listed.len()).filter(|number| !is_listed[*number]) {
            let Some(unit) = self.unit(number) else { continue };
            let Ok(mut of_unit) = self.dwarf.unit_ranges(unit) else { continue };
            while let Ok(Some(range)) = of_unit.next() {
                ranges.push(UnitRange { begin: range.begin, end: range.end, unit: number });
            }
        }
        // Code that was thrown away when linking is said to lie at address 0.
        ranges.retain(|range| range.begin != 0 && range.begin < range.end);
        ranges.sort_by_key(|range| range.begin);
        ranges
    }

    /// The list of all names, made now if it has not been made.
    fn index(&self) -> &NameIndex {
        self.index.get_or_init(|| self.list_names())
    }

    /// Makes that list.
    pub(super) fn list_names(&self) -> NameIndex {
        NameIndex::build(&self.dwarf, self.units().iter().map(|slot| slot.header))
    }

    /// The place of the list, for a thread that makes it before somebody needs it.
    pub(super) fn shared_index(&self) -> Arc<OnceLock<NameIndex>> {
        Arc::clone(&self.index)
    }

    /// A type by its name.
    pub(super) fn find_type(&self, kind: NameKind, name: &str) -> Option<usize> {
        self.index().first(Named::Type(kind), name)
    }

    /// The enumeration that has an enumerator.
    pub(super) fn find_enumeration(&self, enumerator: &str) -> Option<usize> {
        self.index().first(Named::Enumerator, enumerator)
    }

    /// The definitions of global variables of a name: several, if they are static in several files. If there is none,
    /// a declaration.
    pub(super) fn find_variables(&self, name: &str) -> Vec<usize> {
        let defined = self.index().all(Named::Variable, name);
        if defined.is_empty() { self.index().all(Named::DeclaredVariable, name) } else { defined }
    }

    /// The definitions of functions of a name.
    pub(super) fn find_functions(&self, name: &str) -> Vec<usize> {
        self.index().all(Named::Function, name)
    }
}

/// Where a unit starts in `.debug_info`.
fn unit_start(header: &UnitHeader<Section<'_>>) -> usize {
    header.debug_info_offset().map_or(0, |offset| offset.0)
}
