//! Types from DWARF entries (DWARF 5 ch. 5; versions 2 to 4 say bit-fields and member places in other words).

use super::super::dwarf::{DebugInfo, Entry, Place, Section};
use super::{Keyword, Member, Shape, Type, TypeRef};
use gimli::{AttributeValue, DwAt, Operation, Unit};

type OfUnit<'a, 'data> = &'a Unit<Section<'data>>;

/// The type whose entry lies at `offset`. `None` if there is no type.
pub(super) fn decode(dwarf: &DebugInfo<'_>, offset: usize) -> Option<Type> {
    let place = dwarf.place(offset)?;
    let entry = place.unit.entry(place.offset).ok()?;
    let reader = Reader { unit: place.unit, place, dwarf };
    let shape = reader.shape(&entry)?;
    let is_pointer = matches!(shape, Shape::Pointer(_));
    let default_bytes = is_pointer.then(|| u64::from(place.unit.encoding().address_size));
    let size_bytes = unsigned(&entry, gimli::DW_AT_byte_size).or(default_bytes);
    let name = dwarf.own_name(place.unit, &entry).or_else(|| {
        let is_function = matches!(shape, Shape::Function { .. });
        if is_function { None } else { dwarf.name_and_type(place).0 }
    });
    Some(Type { name, size_bytes, shape })
}

fn unsigned(entry: &Entry<'_>, attribute: DwAt) -> Option<u64> {
    entry.attr(attribute)?.udata_value()
}

/// A constant. The forms of a fixed length do not say whether they have a sign; compilers write a negative number in one
/// that does.
fn number(attribute: &gimli::Attribute<Section<'_>>) -> i128 {
    let unsigned = attribute.udata_value().map(i128::from);
    unsigned.or_else(|| attribute.sdata_value().map(i128::from)).unwrap_or(0)
}

/// -1 as some compilers write it all the same.
const ALL_ONES_32: i128 = u32::MAX as i128;
const ALL_ONES_64: i128 = u64::MAX as i128;

struct Reader<'a, 'data> {
    unit: OfUnit<'a, 'data>,
    place: Place<'a, 'data>,
    dwarf: &'a DebugInfo<'data>,
}

impl<'data> Reader<'_, 'data> {
    fn shape(&self, entry: &Entry<'data>) -> Option<Shape> {
        let inner = || self.type_of(entry);
        Some(match entry.tag() {
            gimli::DW_TAG_base_type => base(entry)?,
            gimli::DW_TAG_pointer_type
            | gimli::DW_TAG_reference_type
            | gimli::DW_TAG_rvalue_reference_type => Shape::Pointer(inner()),
            gimli::DW_TAG_typedef => Shape::Typedef(inner()),
            gimli::DW_TAG_const_type => Shape::Qualified("const", inner()),
            gimli::DW_TAG_volatile_type => Shape::Qualified("volatile", inner()),
            gimli::DW_TAG_restrict_type => Shape::Qualified("restrict", inner()),
            gimli::DW_TAG_atomic_type => Shape::Qualified("_Atomic", inner()),
            gimli::DW_TAG_structure_type | gimli::DW_TAG_class_type => {
                self.compound(entry, Keyword::Struct)?
            }
            gimli::DW_TAG_union_type => self.compound(entry, Keyword::Union)?,
            gimli::DW_TAG_enumeration_type => self.enumeration(entry)?,
            gimli::DW_TAG_array_type => self.array(inner())?,
            gimli::DW_TAG_subroutine_type | gimli::DW_TAG_subprogram => self.function(inner())?,
            gimli::DW_TAG_unspecified_type => Shape::Void,
            _ => return None,
        })
    }

    fn type_of(&self, entry: &Entry<'data>) -> TypeRef {
        let target =
            entry.attr_value(gimli::DW_AT_type).and_then(|value| DebugInfo::target(self.unit, value));
        self.dwarf.type_ref(target)
    }

    /// Calls `each` with every entry right below the type's.
    fn children(&self, mut each: impl FnMut(&Entry<'data>)) -> Option<()> {
        let mut tree = self.unit.entries_tree(Some(self.place.offset)).ok()?;
        let mut children = tree.root().ok()?.children();
        while let Some(child) = children.next().ok()? {
            each(child.entry());
        }
        Some(())
    }

    fn compound(&self, entry: &Entry<'data>, keyword: Keyword) -> Option<Shape> {
        let mut members = Vec::new();
        self.children(|child| {
            // A static member of C++ has no place in the structure.
            if child.tag() == gimli::DW_TAG_member && child.attr(gimli::DW_AT_declaration).is_none() {
                members.push(self.member(child));
            }
        })?;
        let is_complete = entry.attr(gimli::DW_AT_declaration).is_none();
        Some(Shape::Compound { keyword, members, is_complete })
    }

    fn member(&self, entry: &Entry<'data>) -> Member {
        let type_ref = self.type_of(entry);
        let start_bits = self.member_start_bytes(entry).wrapping_mul(8);
        let width_bits = unsigned(entry, gimli::DW_AT_bit_size);
        let offset_bits = match (unsigned(entry, gimli::DW_AT_data_bit_offset), width_bits) {
            (Some(offset), _) => start_bits.wrapping_add(offset),
            (None, Some(width)) => match entry
                .attr(gimli::DW_AT_bit_offset)
                .and_then(|bits| bits.sdata_value())
            {
                // Counted from the most significant bit of a storage unit down to the field's.
                Some(from_top) => {
                    let storage_bytes =
                        unsigned(entry, gimli::DW_AT_byte_size).or_else(|| self.base_bytes(entry));
                    let storage_bits = storage_bytes.unwrap_or(4).wrapping_mul(8);
                    start_bits.wrapping_add(storage_bits).wrapping_sub(from_top as u64).wrapping_sub(width)
                }
                None => start_bits,
            },
            (None, None) => start_bits,
        };
        Member { name: self.dwarf.own_name(self.unit, entry), type_ref, offset_bits, width_bits }
    }

    /// The size of the type that a bit-field is declared with, through typedefs.
    fn base_bytes(&self, entry: &Entry<'data>) -> Option<u64> {
        let mut offset = DebugInfo::target(self.unit, entry.attr_value(gimli::DW_AT_type)?)?;
        for _ in 0..super::CHAIN_MAX {
            let place = self.dwarf.place(offset)?;
            let entry = place.unit.entry(place.offset).ok()?;
            if let Some(bytes) = unsigned(&entry, gimli::DW_AT_byte_size) {
                return Some(bytes);
            }
            offset = DebugInfo::target(place.unit, entry.attr_value(gimli::DW_AT_type)?)?;
        }
        None
    }

    fn member_start_bytes(&self, entry: &Entry<'data>) -> u64 {
        match entry.attr_value(gimli::DW_AT_data_member_location) {
            Some(AttributeValue::Exprloc(expression)) => {
                match expression.operations(self.unit.encoding()).next() {
                    Ok(Some(Operation::PlusConstant { value })) => value,
                    _ => 0,
                }
            }
            Some(_) => unsigned(entry, gimli::DW_AT_data_member_location).unwrap_or(0),
            None => 0,
        }
    }

    fn enumeration(&self, entry: &Entry<'data>) -> Option<Shape> {
        let mut enumerators = Vec::new();
        self.children(|child| {
            let value = child.attr(gimli::DW_AT_const_value);
            if child.tag() == gimli::DW_TAG_enumerator
                && let (Some(name), Some(value)) = (self.dwarf.own_name(self.unit, child), value)
            {
                enumerators.push((name, number(value)));
            }
        })?;
        let encoding = self.type_encoding(entry);
        let has_negative = enumerators.iter().any(|(_, value)| *value < 0);
        let is_signed = has_negative || encoding == Some(gimli::DW_ATE_signed);
        let is_complete = entry.attr(gimli::DW_AT_declaration).is_none();
        Some(Shape::Enumeration { enumerators, is_signed, is_complete })
    }

    fn type_encoding(&self, entry: &Entry<'data>) -> Option<gimli::DwAte> {
        let of = |entry: &Entry<'data>| match entry.attr_value(gimli::DW_AT_encoding) {
            Some(AttributeValue::Encoding(encoding)) => Some(encoding),
            _ => None,
        };
        of(entry).or_else(|| {
            let place =
                self.dwarf.place(DebugInfo::target(self.unit, entry.attr_value(gimli::DW_AT_type)?)?)?;
            of(&place.unit.entry(place.offset).ok()?)
        })
    }

    /// An array of several dimensions is an array of arrays.
    fn array(&self, element: TypeRef) -> Option<Shape> {
        let mut counts = Vec::new();
        self.children(|child| {
            if child.tag() == gimli::DW_TAG_subrange_type {
                // `[0]` is written as an upper bound of -1, `[]` as none at all.
                let last = || child.attr(gimli::DW_AT_upper_bound).map(number);
                let count = unsigned(child, gimli::DW_AT_count).or_else(|| match last()? {
                    ALL_ONES_32 | ALL_ONES_64 => Some(0),
                    last => u64::try_from(last + 1).ok(),
                });
                counts.push(count);
            }
        })?;
        let mut inner = element;
        while counts.len() > 1 {
            let count = counts.pop().flatten();
            let shape = Shape::Array { element: inner, count };
            inner = TypeRef::Made(std::sync::Arc::new(Type { name: None, size_bytes: None, shape }));
        }
        Some(Shape::Array { element: inner, count: counts.pop().flatten() })
    }

    fn function(&self, returns: TypeRef) -> Option<Shape> {
        let (mut parameters, mut is_variadic) = (Vec::new(), false);
        self.children(|child| match child.tag() {
            gimli::DW_TAG_formal_parameter => {
                let offset = child.offset();
                let type_offset = self.dwarf.name_and_type(Place { unit: self.unit, offset }).1;
                parameters.push(self.dwarf.type_ref(type_offset));
            }
            gimli::DW_TAG_unspecified_parameters => is_variadic = true,
            _ => {}
        })?;
        Some(Shape::Function { returns, parameters, is_variadic })
    }
}

fn base(entry: &Entry<'_>) -> Option<Shape> {
    let Some(AttributeValue::Encoding(encoding)) = entry.attr_value(gimli::DW_AT_encoding) else {
        return None;
    };
    Some(match encoding {
        gimli::DW_ATE_boolean => Shape::Boolean,
        gimli::DW_ATE_float => Shape::Float,
        _ => Shape::Integer {
            is_signed: matches!(encoding, gimli::DW_ATE_signed | gimli::DW_ATE_signed_char),
            is_char: matches!(encoding, gimli::DW_ATE_signed_char | gimli::DW_ATE_unsigned_char),
        },
    })
}
