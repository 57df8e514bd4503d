//! An expression that needs no symbols any more: computed from memory and registers alone.

use super::arithmetic::Scalar;
use super::parser::Binary;
use super::{ExprError, Value};
use crate::memory::GuestMemory;
use crate::registers::{RegisterName, Registers};
use crate::symbols::types::TypeRef;
use crate::symbols::{Located, Location, LocationError};

/// The longest value that is read: an array of a page of pointers is no expression's value any more.
const VALUE_BYTES_MAX: u64 = 1 << 20;

/// A compiled expression. It can be evaluated anywhere in the guest's history where its scope's address is executed.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    pub(super) root: Root,
    pub(super) type_ref: TypeRef,
}

/// What an expression is as a whole.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Root {
    /// A number that lies nowhere.
    Number(Node, Scalar),
    /// Something in a place, with its length in bytes.
    Place(PlaceNode, u64),
    Bits(PlaceNode, Bits, Scalar),
}

/// A bit-field, within the bytes from its place on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bits {
    pub shift: u32,
    pub width: u32,
}

impl Bits {
    pub fn length_bytes(self) -> u64 {
        u64::from((self.shift + self.width).div_ceil(8))
    }

    /// The field's number in its bytes.
    pub fn extract(self, bytes: &[u8], kind: Scalar) -> u64 {
        let mut whole = [0; 16];
        let length = bytes.len().min(16);
        whole[..length].copy_from_slice(&bytes[..length]);
        let number = (u128::from_le_bytes(whole) >> self.shift) as u64;
        let unused = 64 - self.width.clamp(1, 64);
        match kind.is_signed {
            true => (((number << unused) as i64) >> unused) as u64,
            false => number << unused >> unused,
        }
    }
}

/// A number.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Constant(u64),
    Register(RegisterName, String),
    PerCpuBase,
    Load(Box<PlaceNode>, Scalar),
    LoadBits(Box<PlaceNode>, Bits, Scalar),
    Convert(Box<Node>, Scalar),
    Compute(Binary, Box<Node>, Box<Node>, Scalar),
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    Conditional(Box<Node>, Box<Node>, Box<Node>),
    Address(Box<PlaceNode>),
}

/// A place.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum PlaceNode {
    Variable {
        name: String,
        location: Location,
        length_bytes: u64,
    },
    At(Box<Node>),
    /// A part of another, so many bytes on.
    Moved(Box<PlaceNode>, Box<Node>),
}

impl Program {
    /// The type of its value.
    #[must_use]
    pub fn type_ref(&self) -> &TypeRef {
        &self.type_ref
    }

    /// Computes the value.
    ///
    /// # Errors
    /// Memory or a register that it needs is not to be had, or it divides by zero.
    pub fn evaluate(&self, memory: &dyn GuestMemory, registers: &Registers) -> Result<Value, ExprError> {
        let run = Run { memory, registers };
        let type_ref = self.type_ref.clone();
        match &self.root {
            Root::Number(node, kind) => {
                Ok(Value { type_ref, bytes: kind.bytes(run.number(node)?), place: None })
            }
            Root::Place(place, length_bytes) => {
                let located = run.locate(place)?;
                let bytes = run.read(&located, *length_bytes)?;
                let place = located.address().map(|vaddr| (vaddr, *length_bytes));
                Ok(Value { type_ref, bytes, place })
            }
            Root::Bits(place, bits, kind) => {
                let located = run.locate(place)?;
                let bytes = run.read(&located, bits.length_bytes())?;
                let place = located.address().map(|vaddr| (vaddr, bits.length_bytes()));
                Ok(Value { type_ref, bytes: kind.bytes(bits.extract(&bytes, *kind)), place })
            }
        }
    }

    /// All memory that computing the value reads, as addresses and lengths, in no order.
    ///
    /// # Errors
    /// As [`Program::evaluate`], for what leads there.
    pub fn reads(
        &self,
        memory: &dyn GuestMemory,
        registers: &Registers,
    ) -> Result<Vec<(u64, u64)>, ExprError> {
        let run = Run { memory, registers };
        let mut reads = Vec::new();
        match &self.root {
            Root::Number(node, _) => run.reads_of(node, &mut reads)?,
            Root::Place(place, length_bytes) => run.reads_at(place, *length_bytes, &mut reads)?,
            Root::Bits(place, bits, _) => run.reads_at(place, bits.length_bytes(), &mut reads)?,
        }
        Ok(reads)
    }

    /// Where its value lies, address and length, without reading it: for a watchpoint. `None` if it is nowhere in memory.
    ///
    /// # Errors
    /// As [`Program::evaluate`], for what leads there.
    pub fn place(
        &self,
        memory: &dyn GuestMemory,
        registers: &Registers,
    ) -> Result<Option<(u64, u64)>, ExprError> {
        let run = Run { memory, registers };
        let (place, length_bytes) = match &self.root {
            Root::Number(..) => return Ok(None),
            Root::Place(place, length_bytes) => (place, *length_bytes),
            Root::Bits(place, bits, _) => (place, bits.length_bytes()),
        };
        Ok(run.locate(place)?.address().map(|vaddr| (vaddr, length_bytes)))
    }
}

/// A place that was found. Of what is in registers, the bytes before the part that is meant are already cut off.
enum Found {
    Memory(u64),
    Bytes(Vec<u8>),
}

impl Found {
    fn address(&self) -> Option<u64> {
        match self {
            Found::Memory(vaddr) => Some(*vaddr),
            Found::Bytes(_) => None,
        }
    }
}

struct Run<'a> {
    memory: &'a dyn GuestMemory,
    registers: &'a Registers,
}

impl Run<'_> {
    fn number(&self, node: &Node) -> Result<u64, ExprError> {
        match node {
            Node::Constant(value) => Ok(*value),
            Node::Register(register, name) => self.registers.get(*register).ok_or_else(|| {
                ExprError::Unavailable { name: format!("${name}"), reason: LocationError::NotSaved }
            }),
            Node::PerCpuBase => Ok(self.registers.per_cpu_base()),
            Node::Load(place, kind) => {
                let located = self.locate(place)?;
                Ok(kind.number_in(&self.read(&located, kind.size_bytes)?))
            }
            Node::LoadBits(place, bits, kind) => {
                let located = self.locate(place)?;
                Ok(bits.extract(&self.read(&located, bits.length_bytes())?, *kind))
            }
            Node::Convert(inner, kind) => Ok(kind.fit(self.number(inner)?)),
            Node::Compute(operator, left, right, kind) => {
                kind.compute(*operator, self.number(left)?, self.number(right)?)
            }
            Node::And(left, right) => Ok(u64::from(self.number(left)? != 0 && self.number(right)? != 0)),
            Node::Or(left, right) => Ok(u64::from(self.number(left)? != 0 || self.number(right)? != 0)),
            Node::Conditional(condition, yes, no) => {
                self.number(if self.number(condition)? != 0 { yes } else { no })
            }
            Node::Address(place) => self
                .locate(place)?
                .address()
                .ok_or_else(|| ExprError::Operand("what is in registers only has no address".to_owned())),
        }
    }

    fn locate(&self, place: &PlaceNode) -> Result<Found, ExprError> {
        match place {
            PlaceNode::Variable { name, location, length_bytes } => {
                match location.locate(*length_bytes, self.memory, self.registers) {
                    Ok(Located::Memory(vaddr)) => Ok(Found::Memory(vaddr)),
                    Ok(Located::Bytes(bytes)) => Ok(Found::Bytes(bytes)),
                    Err(reason) => Err(ExprError::Unavailable { name: name.clone(), reason }),
                }
            }
            PlaceNode::At(node) => Ok(Found::Memory(self.number(node)?)),
            PlaceNode::Moved(whole, offset) => {
                let offset = self.number(offset)?;
                match self.locate(whole)? {
                    Found::Memory(vaddr) => Ok(Found::Memory(vaddr.wrapping_add(offset))),
                    Found::Bytes(mut bytes) => {
                        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                        Ok(Found::Bytes(bytes.split_off(start)))
                    }
                }
            }
        }
    }

    fn reads_of(&self, node: &Node, reads: &mut Vec<(u64, u64)>) -> Result<(), ExprError> {
        match node {
            Node::Constant(_) | Node::Register(..) | Node::PerCpuBase => Ok(()),
            Node::Load(place, kind) => self.reads_at(place, kind.size_bytes, reads),
            Node::LoadBits(place, bits, _) => self.reads_at(place, bits.length_bytes(), reads),
            Node::Convert(inner, _) => self.reads_of(inner, reads),
            Node::Compute(_, left, right, _) | Node::And(left, right) | Node::Or(left, right) => {
                self.reads_of(left, reads)?;
                self.reads_of(right, reads)
            }
            Node::Conditional(condition, yes, no) => {
                [condition, yes, no].into_iter().try_for_each(|node| self.reads_of(node, reads))
            }
            Node::Address(place) => self.reads_to(place, reads),
        }
    }

    /// What is read of a place, and to find it.
    fn reads_at(
        &self,
        place: &PlaceNode,
        length_bytes: u64,
        reads: &mut Vec<(u64, u64)>,
    ) -> Result<(), ExprError> {
        if let Some(vaddr) = self.locate(place)?.address() {
            reads.push((vaddr, length_bytes));
        }
        self.reads_to(place, reads)
    }

    /// What is read to find a place.
    fn reads_to(&self, place: &PlaceNode, reads: &mut Vec<(u64, u64)>) -> Result<(), ExprError> {
        match place {
            PlaceNode::Variable { .. } => Ok(()),
            PlaceNode::At(node) => self.reads_of(node, reads),
            PlaceNode::Moved(whole, offset) => {
                self.reads_to(whole, reads)?;
                self.reads_of(offset, reads)
            }
        }
    }

    fn read(&self, located: &Found, length_bytes: u64) -> Result<Vec<u8>, ExprError> {
        if length_bytes > VALUE_BYTES_MAX {
            return Err(ExprError::TooLong(length_bytes));
        }
        let mut bytes = vec![0; length_bytes as usize];
        match located {
            Found::Memory(vaddr) => self.memory.read(*vaddr, &mut bytes)?,
            Found::Bytes(known) => {
                let known = known.get(..bytes.len()).ok_or_else(|| {
                    ExprError::Operand("that part is beyond what is in registers".to_owned())
                })?;
                bytes.copy_from_slice(known);
            }
        }
        Ok(bytes)
    }
}
