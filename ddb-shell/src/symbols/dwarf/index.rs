//! Names of types, enumerators, variables and functions, and the entries of `.debug_info` that have them.
//!
//! Made by one pass over the outermost entries of all units, by several threads. The compiler describes a structure anew
//! in every unit that includes its header: of types only the first description is kept, which is what makes the list
//! small. Left out: what is declared within functions, which is found from an address ([`super::scope`]).

use super::{Section, unit_start};
use crate::symbols::types::{Keyword, NameKind};
use gimli::{Abbreviation, AttributeValue, DebugInfoOffset, DwTag, EntriesRaw, Unit, UnitHeader, UnitOffset};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Named {
    Type(NameKind),
    Enumerator,
    Variable,
    DeclaredVariable,
    Function,
    /// What is described without code of its own: functions that were inlined, and where link-time optimisation puts the code
    /// of all into a unit by itself, these descriptions.
    Original,
}

/// Threads that are worth starting.
const THREADS_MAX: usize = 8;

/// The list.
pub(in crate::symbols) struct NameIndex {
    entries: HashMap<Box<[u8]>, Vec<(Named, usize)>>,
    /// Where the units start that have copies of functions of other units.
    with_foreign_copies: Vec<usize>,
}

/// One name found, in a thread's own list.
struct Found<'data> {
    name: &'data [u8],
    named: Named,
    offset: usize,
}

/// What a thread has found.
#[derive(Default)]
struct List<'data> {
    names: Vec<Found<'data>>,
    with_foreign_copies: Vec<usize>,
}

impl NameIndex {
    /// Reads all units.
    pub fn build<'data>(
        dwarf: &gimli::Dwarf<Section<'data>>,
        headers: impl Iterator<Item = UnitHeader<Section<'data>>>,
    ) -> NameIndex {
        let headers: Vec<_> = headers.collect();
        let threads = thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
        let next = AtomicUsize::new(0);
        let work = || {
            let (list, seen) = (List::default(), HashSet::new());
            let mut reader = Reader { dwarf, headers: &headers, list, seen, foreign: None };
            while let Some(header) = headers.get(next.fetch_add(1, Ordering::Relaxed)) {
                // What cannot be read of a damaged unit is not found; the others are.
                let _ = reader.read_unit(*header);
            }
            reader.list
        };
        let lists: Vec<List<'_>> = match threads {
            1 => vec![work()],
            _ => thread::scope(|scope| {
                let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
                workers.into_iter().filter_map(|worker| worker.join().ok()).collect()
            }),
        };
        NameIndex::merge(lists)
    }

    fn merge(lists: Vec<List<'_>>) -> NameIndex {
        let mut entries: HashMap<Box<[u8]>, Vec<(Named, usize)>> = HashMap::new();
        let mut with_foreign_copies = Vec::new();
        for list in lists {
            for found in list.names {
                match entries.get_mut(found.name) {
                    Some(known) => known.push((found.named, found.offset)),
                    None => {
                        entries.insert(found.name.into(), vec![(found.named, found.offset)]);
                    }
                }
            }
            with_foreign_copies.extend(list.with_foreign_copies);
        }
        // Which thread was first must not decide which description is taken.
        entries.values_mut().for_each(|known| known.sort_by_key(|(_, offset)| *offset));
        NameIndex { entries, with_foreign_copies }
    }

    /// Where the units start that have copies of functions of other units. Only link-time optimisation makes them.
    pub(super) fn with_foreign_copies(&self) -> &[usize] {
        &self.with_foreign_copies
    }

    /// The first entry of that kind and name.
    pub(super) fn first(&self, named: Named, name: &str) -> Option<usize> {
        let known = self.entries.get(name.as_bytes())?;
        known.iter().find(|(kind, _)| *kind == named).map(|(_, offset)| *offset)
    }

    /// All entries of that kind and name.
    pub(super) fn all(&self, named: Named, name: &str) -> Vec<usize> {
        let known = self.entries.get(name.as_bytes()).map(Vec::as_slice).unwrap_or_default();
        known.iter().filter(|(kind, _)| *kind == named).map(|(_, offset)| *offset).collect()
    }
}

/// What a name is told from others by: strings that the linker has merged by their place, others by their bytes.
#[derive(PartialEq, Eq, Hash)]
enum NameKey<'data> {
    Merged(usize),
    Inline(&'data [u8]),
}

struct Reader<'a, 'data> {
    dwarf: &'a gimli::Dwarf<Section<'data>>,
    /// Of all units, in their order.
    headers: &'a [UnitHeader<Section<'data>>],
    list: List<'data>,
    seen: HashSet<(Named, NameKey<'data>)>,
    /// The last unit that an entry of another one was completed from: mostly the next one's as well.
    foreign: Option<Unit<Section<'data>>>,
}

/// The attributes of an entry that matter here.
#[derive(Default)]
struct Attributes<'data> {
    name: Option<AttributeValue<Section<'data>>>,
    sibling: Option<UnitOffset>,
    origin: Option<AttributeValue<Section<'data>>>,
    is_declaration: bool,
    has_place: bool,
}

fn wanted(tag: DwTag) -> Option<Named> {
    Some(match tag {
        gimli::DW_TAG_structure_type | gimli::DW_TAG_class_type => {
            Named::Type(NameKind::Tag(Keyword::Struct))
        }
        gimli::DW_TAG_union_type => Named::Type(NameKind::Tag(Keyword::Union)),
        gimli::DW_TAG_enumeration_type => Named::Type(NameKind::Tag(Keyword::Enum)),
        gimli::DW_TAG_typedef | gimli::DW_TAG_base_type => Named::Type(NameKind::Ordinary),
        gimli::DW_TAG_enumerator => Named::Enumerator,
        gimli::DW_TAG_variable => Named::Variable,
        gimli::DW_TAG_subprogram => Named::Function,
        _ => return None,
    })
}

impl<'data> Reader<'_, 'data> {
    fn read_unit(&mut self, header: UnitHeader<Section<'data>>) -> gimli::Result<()> {
        let unit = self.dwarf.unit(header)?;
        let start = unit_start(&header);
        if has_foreign_copies(&unit) {
            self.list.with_foreign_copies.push(start);
        }
        let mut entries = unit.entries_raw(None)?;
        // Depth 0 is the unit itself. Entries at depth 1 are read, and the enumerators below enumerations.
        let mut enumeration = None;
        // A reader that starts at a sibling counts its depth from there.
        let mut start_depth = 0;
        while !entries.is_empty() {
            let (offset, depth) = (entries.next_offset(), start_depth + entries.next_depth());
            let Some(abbreviation) = entries.read_abbreviation()? else { continue };
            let named = wanted(abbreviation.tag()).filter(|named| match named {
                Named::Enumerator => depth == 2 && enumeration.is_some(),
                _ => depth == 1,
            });
            let attributes = read_attributes(&mut entries, abbreviation)?;
            if depth == 1 {
                let is_enumeration = abbreviation.tag() == gimli::DW_TAG_enumeration_type;
                enumeration = is_enumeration.then_some(start + offset.0);
            }
            if let Some(named) = named {
                let at = if named == Named::Enumerator { enumeration } else { Some(start + offset.0) };
                self.add(&unit, named, &attributes, at.unwrap_or_default());
            }
            if abbreviation.has_children() && depth >= 1 && enumeration.is_none() {
                start_depth = skip_children(&unit, &mut entries, &attributes, start_depth, depth)?;
            }
        }
        Ok(())
    }

    fn add(
        &mut self,
        unit: &Unit<Section<'data>>,
        named: Named,
        attributes: &Attributes<'data>,
        offset: usize,
    ) {
        let named = match named {
            Named::Type(_) | Named::Function if attributes.is_declaration => return,
            Named::Function if !attributes.has_place => Named::Original,
            Named::Variable if !attributes.has_place => Named::DeclaredVariable,
            named => named,
        };
        // Variables and functions are all kept, for several files may have static ones of the same name.
        let is_shared = !matches!(named, Named::Variable | Named::Function | Named::Original);
        let merged = match attributes.name {
            Some(AttributeValue::DebugStrRef(offset)) if is_shared => Some(NameKey::Merged(offset.0)),
            _ => None,
        };
        let is_merged = merged.is_some();
        if merged.is_some_and(|key| !self.seen.insert((named, key))) {
            return;
        }
        // Where a damaged reference leads nobody knows; what follows it can be read all the same.
        let Ok(Some(name)) = self.name(unit, attributes) else { return };
        if !is_shared || is_merged || self.seen.insert((named, NameKey::Inline(name))) {
            self.list.names.push(Found { name, named, offset });
        }
    }

    /// The name of an entry, or of the one that it completes or is a copy of.
    fn name(
        &mut self,
        unit: &Unit<Section<'data>>,
        attributes: &Attributes<'data>,
    ) -> gimli::Result<Option<&'data [u8]>> {
        if let Some(value) = attributes.name {
            return Ok(Some(self.dwarf.attr_string(unit, value)?.slice()));
        }
        match attributes.origin {
            Some(AttributeValue::UnitRef(offset)) => self.name_at(unit, offset),
            Some(AttributeValue::DebugInfoRef(offset)) => self.foreign_name(offset),
            _ => Ok(None),
        }
    }

    fn name_at(&self, unit: &Unit<Section<'data>>, offset: UnitOffset) -> gimli::Result<Option<&'data [u8]>> {
        let value = unit.entry(offset)?.attr_value(gimli::DW_AT_name);
        value.map(|value| Ok(self.dwarf.attr_string(unit, value)?.slice())).transpose()
    }

    fn foreign_name(&mut self, offset: DebugInfoOffset) -> gimli::Result<Option<&'data [u8]>> {
        let behind = self.headers.partition_point(|header| unit_start(header) <= offset.0);
        let Some(header) = behind.checked_sub(1).map(|number| self.headers[number]) else { return Ok(None) };
        let Some(in_unit) = offset.to_unit_offset(&header) else { return Ok(None) };
        let unit = match self.foreign.take() {
            Some(unit) if unit.header.offset() == header.offset() => unit,
            _ => self.dwarf.unit(header)?,
        };
        let name = self.name_at(&unit, in_unit);
        self.foreign = Some(unit);
        name
    }
}

/// Whether a unit has entries for copies that name originals of other units: its abbreviations tell.
fn has_foreign_copies(unit: &Unit<Section<'_>>) -> bool {
    let is_foreign = |abbreviation: &Abbreviation| {
        abbreviation.tag() == gimli::DW_TAG_inlined_subroutine
            && abbreviation.attributes().iter().any(|attribute| {
                attribute.name() == gimli::DW_AT_abstract_origin
                    && attribute.form() == gimli::DW_FORM_ref_addr
            })
    };
    // Compilers number them from 1 on.
    (1..).map_while(|code| unit.abbreviations.get(code)).any(is_foreign)
}

fn read_attributes<'data>(
    entries: &mut EntriesRaw<'_, Section<'data>>,
    abbreviation: &Abbreviation,
) -> gimli::Result<Attributes<'data>> {
    let mut read = Attributes::default();
    for specification in abbreviation.attributes() {
        let is_wanted = matches!(
            specification.name(),
            gimli::DW_AT_name
                | gimli::DW_AT_sibling
                | gimli::DW_AT_specification
                | gimli::DW_AT_abstract_origin
                | gimli::DW_AT_declaration
                | gimli::DW_AT_location
                | gimli::DW_AT_const_value
                | gimli::DW_AT_low_pc
                | gimli::DW_AT_ranges
        );
        if !is_wanted {
            entries.skip_attributes(&[*specification])?;
            continue;
        }
        let attribute = entries.read_attribute(*specification)?;
        match attribute.name() {
            gimli::DW_AT_name => read.name = Some(attribute.value()),
            gimli::DW_AT_specification | gimli::DW_AT_abstract_origin => {
                read.origin = Some(attribute.value())
            }
            gimli::DW_AT_sibling => {
                if let AttributeValue::UnitRef(offset) = attribute.value() {
                    read.sibling = Some(offset);
                }
            }
            gimli::DW_AT_declaration => read.is_declaration = attribute.value() == AttributeValue::Flag(true),
            _ => read.has_place = true,
        }
    }
    Ok(read)
}

/// Steps over what is below an entry at `depth`: to its sibling, which most entries name, else by reading it. Gives the
/// depth at which the reader now started.
fn skip_children<'abbreviations, 'data>(
    unit: &'abbreviations Unit<Section<'data>>,
    entries: &mut EntriesRaw<'abbreviations, Section<'data>>,
    attributes: &Attributes<'data>,
    start_depth: isize,
    depth: isize,
) -> gimli::Result<isize> {
    if let Some(sibling) = attributes.sibling.filter(|sibling| *sibling > entries.next_offset()) {
        *entries = unit.entries_raw(Some(sibling))?;
        return Ok(depth);
    }
    while !entries.is_empty() && start_depth + entries.next_depth() > depth {
        if let Some(abbreviation) = entries.read_abbreviation()? {
            entries.skip_attributes(abbreviation.attributes())?;
        }
    }
    Ok(start_depth)
}
