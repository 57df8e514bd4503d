//! Where a function begins: its own code, its clones, and every place at which it was inlined (DWARF 5 ch. 3.3.8), also, by
//! link-time optimisation, in other units than the one that describes it.

use super::index::Named;
use super::{DebugInfo, Section};
use gimli::{AttributeValue, EntriesRaw, Unit, UnitOffset};
use std::collections::BTreeSet;

impl<'data> DebugInfo<'data> {
    /// The link addresses at which functions of that name begin: those that have code of their own, and copies that were
    /// inlined. Sorted.
    pub(in crate::symbols) fn function_starts(&self, name: &str) -> Vec<u64> {
        let own = self.index().all(Named::Function, name);
        let mut starts: Vec<u64> = own.into_iter().filter_map(|offset| self.start_of(offset)).collect();
        let originals = self.index().all(Named::Original, name);
        if !originals.is_empty() {
            let foreign = self.index().with_foreign_copies();
            // Each unit once, however many originals it has.
            let units: BTreeSet<usize> =
                originals.iter().chain(foreign).filter_map(|offset| self.number_at(*offset)).collect();
            for unit in units.into_iter().filter_map(|number| self.unit(number)) {
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

    /// Adds where a unit's copies of some functions begin.
    fn list_copies(
        &self,
        unit: &Unit<Section<'data>>,
        originals: &[usize],
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
            let origin = origin(&mut entries, abbreviation)?.and_then(|value| DebugInfo::target(unit, value));
            if origin.is_some_and(|origin| originals.contains(&origin)) {
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
) -> gimli::Result<Option<AttributeValue<Section<'data>>>> {
    let mut origin = None;
    for specification in abbreviation.attributes() {
        if specification.name() != gimli::DW_AT_abstract_origin {
            entries.skip_attributes(&[*specification])?;
            continue;
        }
        origin = Some(entries.read_attribute(*specification)?.value());
    }
    Ok(origin)
}
