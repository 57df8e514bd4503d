//! The variables that can be seen from an address: of the blocks around it, of functions inlined there, of the function.
//!
//! Left out: the file's own static variables, which are found by name as all globals are.

use super::location::Computed;
use super::{DebugInfo, Entry, FrameAddress, Location, Place, Section};
use crate::symbols::relocation::Relocation;
use crate::symbols::types::TypeRef;
use gimli::{AttributeValue, EntriesTreeNode, Expression, Operation, Reader, Unit, UnitOffset, ValueType};

/// Blocks within blocks.
const DEPTH_MAX: usize = 64;

/// What a part of a function is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScopeKind {
    /// A block in braces.
    Block,
    /// A function that was inlined.
    Inlined,
    /// The function that has the code.
    Function,
}

/// A part of a function, with the variables declared right in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Scope {
    /// What it is.
    pub kind: ScopeKind,
    /// The function's name; `None` for a block.
    pub function: Option<String>,
    /// Its arguments and variables, in the order of the source.
    pub variables: Vec<Variable>,
}

/// A variable.
#[derive(Clone, Debug, PartialEq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its type.
    pub type_ref: TypeRef,
    /// Where it is, at the address asked about.
    pub location: Location,
    /// Whether it is an argument of its function.
    pub is_argument: bool,
}

/// What locations at one address are relative to.
struct Context<'a> {
    address: u64,
    relocation: &'a Relocation,
    frame_base: Option<Location>,
    frame_address: Option<FrameAddress>,
}

type OfUnit<'a, 'data> = &'a Unit<Section<'data>>;

impl<'data> DebugInfo<'data> {
    /// The scopes around a link address, the innermost first. Empty if no function has it.
    pub(crate) fn scopes_at(&self, address: u64, relocation: &Relocation) -> Vec<Scope> {
        let mut scopes = self.try_scopes_at(address, relocation).unwrap_or_default();
        scopes.reverse();
        scopes
    }

    fn try_scopes_at(&self, address: u64, relocation: &Relocation) -> Option<Vec<Scope>> {
        let unit = self.unit_of_address(address)?;
        let function = self.function_entry(unit, address)?;
        let mut context = Context {
            address,
            relocation,
            frame_base: None,
            frame_address: self.frames.frame_address(address, relocation),
        };
        let entry = unit.entry(function).ok()?;
        if let Some(AttributeValue::Exprloc(expression)) = entry.attr_value(gimli::DW_AT_frame_base) {
            context.frame_base = self.expression(unit, expression, &context);
        }
        let mut scopes = Vec::new();
        let mut tree = unit.entries_tree(Some(function)).ok()?;
        self.descend(unit, tree.root().ok()?, &context, &mut scopes, DEPTH_MAX);
        Some(scopes)
    }

    /// The function of a unit that has an address.
    fn function_entry(&self, unit: OfUnit<'_, 'data>, address: u64) -> Option<UnitOffset> {
        let mut tree = unit.entries_tree(None).ok()?;
        let mut children = tree.root().ok()?.children();
        while let Some(child) = children.next().ok()? {
            let entry = child.entry();
            if entry.tag() == gimli::DW_TAG_subprogram && self.covers(unit, entry, address) {
                return Some(entry.offset());
            }
        }
        None
    }

    fn covers(&self, unit: OfUnit<'_, 'data>, entry: &Entry<'data>, address: u64) -> bool {
        let Ok(mut ranges) = self.dwarf.die_ranges(unit, entry) else { return false };
        while let Ok(Some(range)) = ranges.next() {
            if (range.begin..range.end).contains(&address) {
                return true;
            }
        }
        false
    }

    /// Adds the scope of `node`, and those within it that have the address.
    fn descend(
        &self,
        unit: OfUnit<'_, 'data>,
        node: EntriesTreeNode<'_, '_, Section<'data>>,
        context: &Context<'_>,
        scopes: &mut Vec<Scope>,
        depth: usize,
    ) {
        let Some(depth) = depth.checked_sub(1) else { return };
        let kind = match node.entry().tag() {
            gimli::DW_TAG_lexical_block => ScopeKind::Block,
            gimli::DW_TAG_inlined_subroutine => ScopeKind::Inlined,
            _ => ScopeKind::Function,
        };
        let function = match kind {
            ScopeKind::Block => None,
            _ => self.name_and_type(Place { unit, offset: node.entry().offset() }).0,
        };
        let own = scopes.len();
        scopes.push(Scope { kind, function, variables: Vec::new() });
        let mut variables = Vec::new();
        let mut children = node.children();
        while let Ok(Some(child)) = children.next() {
            let entry = child.entry();
            match entry.tag() {
                gimli::DW_TAG_variable | gimli::DW_TAG_formal_parameter => {
                    if let Some(variable) = self.variable(unit, entry, context) {
                        variables.push((original(entry), variable));
                    }
                }
                gimli::DW_TAG_lexical_block | gimli::DW_TAG_inlined_subroutine
                    if self.covers(unit, entry, context.address) =>
                {
                    self.descend(unit, child, context, scopes, depth);
                }
                _ => {}
            }
        }
        // The compiler may list a copy's in another order than the source has them.
        variables.sort_by_key(|(original, _)| *original);
        scopes[own].variables = variables.into_iter().map(|(_, variable)| variable).collect();
    }

    fn variable(
        &self,
        unit: OfUnit<'_, 'data>,
        entry: &Entry<'data>,
        context: &Context<'_>,
    ) -> Option<Variable> {
        let (name, type_offset) = self.name_and_type(Place { unit, offset: entry.offset() });
        Some(Variable {
            name: name?,
            type_ref: self.type_ref(type_offset),
            location: self.location(unit, entry, context),
            is_argument: entry.tag() == gimli::DW_TAG_formal_parameter,
        })
    }

    /// Name, type and place of the global variable or function whose entry lies at `offset`.
    pub(crate) fn global(&self, offset: usize, relocation: &Relocation) -> Option<Variable> {
        let place = self.place(offset)?;
        let entry = place.unit.entry(place.offset).ok()?;
        let (name, type_offset) = self.name_and_type(place);
        let context = Context { address: 0, relocation, frame_base: None, frame_address: None };
        let is_function = entry.tag() == gimli::DW_TAG_subprogram;
        let (type_ref, location) = match is_function {
            true => {
                let begin = self.dwarf.die_ranges(place.unit, &entry).ok()?.next().ok()??.begin;
                (self.type_ref(Some(offset)), Location::Address(relocation.relocate(begin)))
            }
            false => (self.type_ref(type_offset), self.location(place.unit, &entry, &context)),
        };
        Some(Variable { name: name?, type_ref, location, is_argument: false })
    }

    fn location(&self, unit: OfUnit<'_, 'data>, entry: &Entry<'data>, context: &Context<'_>) -> Location {
        self.try_location(unit, entry, context).unwrap_or(Location::OptimizedOut)
    }

    fn try_location(
        &self,
        unit: OfUnit<'_, 'data>,
        entry: &Entry<'data>,
        context: &Context<'_>,
    ) -> Option<Location> {
        if let Some(value) = entry.attr_value(gimli::DW_AT_location) {
            if let AttributeValue::Exprloc(expression) = value {
                return self.expression(unit, expression, context);
            }
            let mut list = self.dwarf.attr_locations(unit, value).ok()??;
            while let Some(item) = list.next().ok()? {
                if (item.range.begin..item.range.end).contains(&context.address) {
                    return self.expression(unit, item.data, context);
                }
            }
            return None;
        }
        let constant = entry.attr(gimli::DW_AT_const_value)?;
        match constant.value() {
            AttributeValue::Block(bytes) => Some(Location::Constant(bytes.slice().to_vec())),
            AttributeValue::String(bytes) => Some(Location::Constant(bytes.slice().to_vec())),
            value => {
                let number = match constant.udata_value() {
                    Some(number) => number,
                    None => value.sdata_value()? as u64,
                };
                Some(Location::Constant(number.to_le_bytes().to_vec()))
            }
        }
    }

    /// Copies an expression out of the file, with all that it refers to.
    fn expression(
        &self,
        unit: OfUnit<'_, 'data>,
        expression: Expression<Section<'data>>,
        context: &Context<'_>,
    ) -> Option<Location> {
        if expression.0.is_empty() {
            return None;
        }
        let (mut base_types, mut addresses) = (Vec::new(), Vec::new());
        let mut only_address = None;
        let mut operations = expression.operations(unit.encoding());
        let mut count = 0;
        while let Some(operation) = operations.next().ok()? {
            count += 1;
            only_address = match operation {
                Operation::Address { address } => Some(address),
                Operation::AddressIndex { index } | Operation::ConstantIndex { index } => {
                    let address = self.dwarf.address(unit, index).ok()?;
                    addresses.push((index.0, address));
                    matches!(operation, Operation::AddressIndex { .. }).then_some(address)
                }
                Operation::RegisterOffset { base_type, .. }
                | Operation::TypedLiteral { base_type, .. }
                | Operation::Convert { base_type }
                | Operation::Reinterpret { base_type }
                | Operation::Deref { base_type, .. } => {
                    if base_type.0 != 0 {
                        base_types.push((base_type.0, value_type(unit, base_type)?));
                    }
                    None
                }
                _ => None,
            };
        }
        if let (1, Some(address)) = (count, only_address) {
            return Some(Location::Address(context.relocation.relocate(address)));
        }
        Some(Location::Computed(Box::new(Computed {
            bytecode: expression.0.slice().to_vec(),
            encoding: unit.encoding(),
            endian: expression.0.endian(),
            frame_base: context.frame_base.clone().map(Box::new),
            frame_address: context.frame_address.clone().map(Box::new),
            base_types,
            addresses,
            relocation: context.relocation.clone(),
        })))
    }
}

/// The entry that a copy's variable is a copy of.
fn original(entry: &Entry<'_>) -> Option<usize> {
    match entry.attr_value(gimli::DW_AT_abstract_origin)? {
        AttributeValue::UnitRef(offset) => Some(offset.0),
        AttributeValue::DebugInfoRef(offset) => Some(offset.0),
        _ => None,
    }
}

/// The type of values on the stack of an expression.
fn value_type(unit: OfUnit<'_, '_>, offset: UnitOffset) -> Option<ValueType> {
    let entry = unit.entry(offset).ok()?;
    let Some(AttributeValue::Encoding(encoding)) = entry.attr_value(gimli::DW_AT_encoding) else {
        return None;
    };
    ValueType::from_encoding(encoding, entry.attr(gimli::DW_AT_byte_size)?.udata_value()?)
}
