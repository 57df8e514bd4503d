//! Where a variable is: a location description (DWARF 5 ch. 2.6), made so that it can be evaluated without the file.
//!
//! The expression is copied out with all that it refers to: types, indexed addresses, the frame base, the rule for the
//! canonical frame address. Evaluating it takes memory and registers only. Left out, as "optimized out": values at a
//! function's entry, pointers to what has no place, and thread-local variables.

use crate::memory::GuestMemory;
use crate::registers::Registers;
use crate::symbols::relocation::Relocation;
use gimli::{Encoding, EndianSlice, Evaluation, EvaluationResult, Piece, RunTimeEndian, Value, ValueType};
use machine::PeekError;

/// Steps of an expression, before it is taken to loop.
const STEPS_MAX: u32 = 10_000;
/// Frame bases within frame bases.
const NESTING_MAX: usize = 4;

/// Why the value of a variable cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    /// The compiler has not kept it here, or not said where.
    #[error("<optimized out>")]
    OptimizedOut,
    /// It is in a register that this frame does not know.
    #[error("<not saved: it was in a register that nobody saved>")]
    NotSaved,
    /// Memory that must be read for it cannot be.
    #[error(transparent)]
    Memory(#[from] PeekError),
    /// The description makes no sense.
    #[error("its location is described wrongly")]
    Damaged,
}

impl From<gimli::Error> for LocationError {
    fn from(_: gimli::Error) -> LocationError {
        LocationError::Damaged
    }
}

/// Where something was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Located {
    /// In memory, at this linear address.
    Memory(u64),
    /// Nowhere in memory: its bytes.
    Bytes(Vec<u8>),
}

/// A location that can be evaluated without symbols.
#[derive(Clone, Debug, PartialEq)]
pub enum Location {
    /// There is none here.
    OptimizedOut,
    /// A constant.
    Constant(Vec<u8>),
    /// An address that does not change.
    Address(u64),
    /// A DWARF expression.
    Computed(Box<Computed>),
}

/// A DWARF expression, with all that it refers to.
#[derive(Clone, Debug, PartialEq)]
pub struct Computed {
    pub(super) bytecode: Vec<u8>,
    pub(super) encoding: Encoding,
    pub(super) endian: RunTimeEndian,
    pub(super) frame_base: Option<Box<Location>>,
    pub(super) frame_address: Option<Box<FrameAddress>>,
    pub(super) base_types: Vec<(usize, ValueType)>,
    pub(super) addresses: Vec<(usize, u64)>,
    /// How far the image runs above its link addresses.
    pub(super) relocation: Relocation,
}

/// The rule for the canonical frame address.
#[derive(Clone, Debug, PartialEq)]
pub enum FrameAddress {
    /// A register, by its number in DWARF, and an offset.
    Offset(u16, i64),
    /// An expression.
    Computed(Location),
}

impl FrameAddress {
    /// The address.
    pub(super) fn evaluate(
        &self,
        memory: &dyn GuestMemory,
        registers: &Registers,
    ) -> Result<u64, LocationError> {
        match self {
            FrameAddress::Offset(register, offset) => {
                Ok(register_value(registers, *register)?.wrapping_add_signed(*offset))
            }
            FrameAddress::Computed(location) => address_of(location, memory, registers, NESTING_MAX),
        }
    }
}

type Slice<'a> = EndianSlice<'a, RunTimeEndian>;

impl Location {
    /// Finds it. `length_bytes` is the size of the variable.
    ///
    /// # Errors
    /// It is nowhere, or what leads to it cannot be read.
    pub fn locate(
        &self,
        length_bytes: u64,
        memory: &dyn GuestMemory,
        registers: &Registers,
    ) -> Result<Located, LocationError> {
        match self {
            Location::OptimizedOut => Err(LocationError::OptimizedOut),
            Location::Constant(bytes) => Ok(Located::Bytes(resized(bytes, length_bytes))),
            Location::Address(vaddr) => Ok(Located::Memory(*vaddr)),
            Location::Computed(computed) => {
                let pieces = computed.run(memory, registers, NESTING_MAX)?;
                joined(&pieces, length_bytes, memory, registers)
            }
        }
    }
}

/// What a location says as an address: of something in memory, or a register's contents (as a frame base may be).
fn address_of(
    location: &Location,
    memory: &dyn GuestMemory,
    registers: &Registers,
    depth: usize,
) -> Result<u64, LocationError> {
    let Location::Computed(computed) = location else { return Err(LocationError::Damaged) };
    match computed.run(memory, registers, depth)?.as_slice() {
        [piece] => match piece.location {
            gimli::Location::Address { address } => Ok(address),
            gimli::Location::Register { register } => register_value(registers, register.0),
            gimli::Location::Value { value } => Ok(value.to_u64(u64::MAX)?),
            _ => Err(LocationError::OptimizedOut),
        },
        _ => Err(LocationError::Damaged),
    }
}

fn register_value(registers: &Registers, number: u16) -> Result<u64, LocationError> {
    const RETURN_ADDRESS: [u16; 2] = [16, 8];
    if number == RETURN_ADDRESS[usize::from(registers.word_bytes != 8)] {
        return Ok(registers.rip);
    }
    let index = Registers::index_of_dwarf(number, registers.word_bytes).ok_or(LocationError::OptimizedOut)?;
    registers.gpr[index].ok_or(LocationError::NotSaved)
}

impl Computed {
    fn run(
        &self,
        memory: &dyn GuestMemory,
        registers: &Registers,
        depth: usize,
    ) -> Result<Vec<Piece<Slice<'_>>>, LocationError> {
        let mut evaluation = Evaluation::new(EndianSlice::new(&self.bytecode, self.endian), self.encoding);
        evaluation.set_max_iterations(STEPS_MAX);
        let mut state = evaluation.evaluate()?;
        loop {
            state = match state {
                EvaluationResult::Complete => return Ok(evaluation.result()),
                EvaluationResult::RequiresMemory { address, size, base_type, .. } => {
                    let number = memory.read_number(address, u64::from(size))?;
                    evaluation.resume_with_memory(self.typed(base_type.0, number)?)?
                }
                EvaluationResult::RequiresRegister { register, base_type } => {
                    let number = register_value(registers, register.0)?;
                    evaluation.resume_with_register(self.typed(base_type.0, number)?)?
                }
                EvaluationResult::RequiresFrameBase => {
                    let depth = depth.checked_sub(1).ok_or(LocationError::Damaged)?;
                    let base = self.frame_base.as_ref().ok_or(LocationError::OptimizedOut)?;
                    evaluation.resume_with_frame_base(address_of(base, memory, registers, depth)?)?
                }
                EvaluationResult::RequiresCallFrameCfa => {
                    let rule = self.frame_address.as_ref().ok_or(LocationError::OptimizedOut)?;
                    evaluation.resume_with_call_frame_cfa(rule.evaluate(memory, registers)?)?
                }
                EvaluationResult::RequiresRelocatedAddress(address) => {
                    evaluation.resume_with_relocated_address(self.relocation.relocate(address))?
                }
                EvaluationResult::RequiresIndexedAddress { index, relocate } => {
                    let known = self.addresses.iter().find(|(known, _)| *known == index.0);
                    let address = known.ok_or(LocationError::OptimizedOut)?.1;
                    let address = if relocate { self.relocation.relocate(address) } else { address };
                    evaluation.resume_with_indexed_address(address)?
                }
                EvaluationResult::RequiresBaseType(offset) => {
                    evaluation.resume_with_base_type(self.value_type(offset.0)?)?
                }
                // Entry values, TLS, calls and parameters of callers.
                _ => return Err(LocationError::OptimizedOut),
            }
        }
    }

    fn value_type(&self, offset: usize) -> Result<ValueType, LocationError> {
        let known = self.base_types.iter().find(|(known, _)| *known == offset);
        known.map(|(_, kind)| *kind).ok_or(LocationError::OptimizedOut)
    }

    /// A number as a value of the type at `offset`; 0 stands for the type of addresses.
    fn typed(&self, offset: usize, number: u64) -> Result<Value, LocationError> {
        if offset == 0 {
            return Ok(Value::Generic(number));
        }
        let bytes = number.to_le_bytes();
        Ok(Value::parse(self.value_type(offset)?, EndianSlice::new(&bytes, RunTimeEndian::Little))?)
    }
}

/// What all pieces say together.
fn joined(
    pieces: &[Piece<Slice<'_>>],
    length_bytes: u64,
    memory: &dyn GuestMemory,
    registers: &Registers,
) -> Result<Located, LocationError> {
    if let [Piece { location: gimli::Location::Address { address }, size_in_bits: None, .. }] = pieces {
        return Ok(Located::Memory(*address));
    }
    let mut bytes = Vec::new();
    for piece in pieces {
        let piece_bytes = piece.size_in_bits.map_or(length_bytes, |bits| bits.div_ceil(8));
        if piece_bytes > length_bytes || piece.bit_offset.is_some_and(|offset| offset != 0) {
            return Err(LocationError::Damaged);
        }
        bytes.extend(piece_value(piece, piece_bytes, memory, registers)?);
    }
    Ok(Located::Bytes(resized(&bytes, length_bytes)))
}

fn piece_value(
    piece: &Piece<Slice<'_>>,
    length_bytes: u64,
    memory: &dyn GuestMemory,
    registers: &Registers,
) -> Result<Vec<u8>, LocationError> {
    match &piece.location {
        gimli::Location::Empty | gimli::Location::ImplicitPointer { .. } => Err(LocationError::OptimizedOut),
        gimli::Location::Register { register } => {
            Ok(resized(&register_value(registers, register.0)?.to_le_bytes(), length_bytes))
        }
        gimli::Location::Address { address } => {
            let mut bytes = vec![0; length_bytes as usize];
            memory.read(*address, &mut bytes)?;
            Ok(bytes)
        }
        gimli::Location::Value { value } => {
            let number = match value {
                Value::F32(number) => u64::from(number.to_bits()),
                Value::F64(number) => number.to_bits(),
                other => other.to_u64(u64::MAX)?,
            };
            Ok(resized(&number.to_le_bytes(), length_bytes))
        }
        gimli::Location::Bytes { value } => Ok(resized(value.slice(), length_bytes)),
    }
}

/// Longest variable that is held in registers or constants.
const VALUE_BYTES_MAX: u64 = 1 << 16;

fn resized(bytes: &[u8], length_bytes: u64) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.resize(length_bytes.min(VALUE_BYTES_MAX) as usize, 0);
    bytes
}
