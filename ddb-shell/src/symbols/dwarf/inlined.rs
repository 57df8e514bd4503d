//! Where a function begins: its own code, its clones, and every place at which it was inlined (DWARF 5 ch. 3.3.8).
//!
//! Left out: copies in other units than the function's description, which only link-time optimisation makes.

use super::index::Named;
use super::{DebugInfo, Section, unit_start};
use gimli::{AttributeValue, EntriesRaw, Unit, UnitOffset};
use std::collections::BTreeMap;

impl<'data> DebugInfo<'data> {
    /// The link addresses at which functions of that name begin: those that have code of their own, and copies that were
    /// inlined. Sorted.
    pub(in crate::symbols) fn function_starts(&self, name: &str) -> Vec<u64> {
        let own = self.index().all(Named::Function, name);
        let mut starts: Vec<u64> = own.into_iter().filter_map(|offset| self.start_of(offset)).collect();
        // Several of one unit are looked for together.
        let mut of_units: BTreeMap<usize, Vec<UnitOffset>> = BTreeMap::new();
        for offset in self.index().all(Named::Inlined, name) {
            let Some(number) = self.number_at(offset) else { continue };
            let start = unit_start(&self.units()[number].header);
            of_units.entry(number).or_default().push(UnitOffset(offset - start));
        }
        for (number, originals) in of_units {
            if let Some(unit) = self.unit(number) {
                // What follows damage is not found.
                let _ = self.list_copies(unit, &originals, &mut starts);
            }
        }
        starts.sort_unstable();
        starts.dedup();
        starts
    }

    fn start_of(&self, offset: usize) -> Option<u64> {
        let place = self.place(offset)?;
        self.start_of_entry(place.unit, place.offset)
    }

    /// Where an entry's code is entered. What was thrown away when linking is said to lie at address 0.
    fn start_of_entry(&self, unit: &Unit<Section<'data>>, offset: UnitOffset) -> Option<u64> {
        let entry = unit.entry(offset).ok()?;
        let first = self.dwarf.die_ranges(unit, &entry).ok()?.next().ok()??.begin;
        let entered = match entry.attr_value(gimli::DW_AT_entry_pc) {
            Some(AttributeValue::Addr(address)) => address,
            Some(AttributeValue::DebugAddrIndex(index)) => self.dwarf.address(unit, index).ok()?,
            Some(AttributeValue::Udata(from_first)) => first.wrapping_add(from_first),
            _ => first,
        };
        (entered != 0).then_some(entered)
    }

    /// Adds where copies of some functions of a unit begin.
    fn list_copies(
        &self,
        unit: &Unit<Section<'data>>,
        originals: &[UnitOffset],
        starts: &mut Vec<u64>,
    ) -> gimli::Result<()> {
        let mut entries = unit.entries_raw(None)?;
        while !entries.is_empty() {
            let offset = entries.next_offset();
            let Some(abbreviation) = entries.read_abbreviation()? else { continue };
            if abbreviation.tag() != gimli::DW_TAG_inlined_subroutine {
                entries.skip_attributes(abbreviation.attributes())?;
                continue;
            }
            if origin(&mut entries, abbreviation)?.is_some_and(|origin| originals.contains(&origin)) {
                starts.extend(self.start_of_entry(unit, offset));
            }
        }
        Ok(())
    }
}

/// What an entry is a copy of.
fn origin<'data>(
    entries: &mut EntriesRaw<'_, Section<'data>>,
    abbreviation: &gimli::Abbreviation,
) -> gimli::Result<Option<UnitOffset>> {
    let mut origin = None;
    for specification in abbreviation.attributes() {
        if specification.name() != gimli::DW_AT_abstract_origin {
            entries.skip_attributes(&[*specification])?;
            continue;
        }
        if let AttributeValue::UnitRef(offset) = entries.read_attribute(*specification)?.value() {
            origin = Some(offset);
        }
    }
    Ok(origin)
}
