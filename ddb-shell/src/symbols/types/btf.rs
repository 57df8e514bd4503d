//! BTF, the type information that a kernel carries for BPF (Documentation/bpf/btf.rst). The bytes may be the guest's:
//! everything is checked, nothing is taken on trust. Left out: what only BPF needs (declaration and type tags' texts,
//! function linkage), and the distilled base of modules that were built apart from their kernel (`.BTF.base`).

use super::{Keyword, Member, NameKind, Shape, Source, Type, TypeRef};
use std::collections::HashMap;
use std::sync::Arc;

const MAGIC: u16 = 0xeb9f;
const HEADER_BYTES_MIN: usize = 24;
/// Most types that are listed; a kernel has 100 000 to 200 000.
const TYPES_MAX: usize = 1 << 22;

// The kinds.
const INTEGER: u32 = 1;
const POINTER: u32 = 2;
const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;
const FORWARD: u32 = 7;
const TYPEDEF: u32 = 8;
const VOLATILE: u32 = 9;
const CONST: u32 = 10;
const RESTRICT: u32 = 11;
const FUNCTION: u32 = 12;
const PROTOTYPE: u32 = 13;
const VARIABLE: u32 = 14;
const SECTION: u32 = 15;
const FLOAT: u32 = 16;
const DECLARATION_TAG: u32 = 17;
const TYPE_TAG: u32 = 18;
const ENUM_64: u32 = 19;

/// Types by number, names by what they name.
pub(crate) struct Btf {
    source: Source,
    /// The kernel's, whose numbers and strings a module's go on from.
    base: Option<Arc<Btf>>,
    bytes: Vec<u8>,
    strings: (usize, usize),
    /// Where each type lies, from the first number on that the base does not have; number 0 is `void` and lies nowhere.
    offsets: Vec<usize>,
    names: HashMap<(Names, String), u32>,
    enumerators: HashMap<String, u32>,
}

/// The name spaces of BTF.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Names {
    Type(NameKind),
    Function,
    Variable,
}

impl std::fmt::Debug for Btf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Btf").field("types", &self.offsets.len()).finish()
    }
}

/// The words that describe one type.
struct Record {
    kind: u32,
    has_kind_flag: bool,
    elements: usize,
    /// Its size, or the type it is made of.
    word: u32,
    /// Where the words behind it start.
    tail: usize,
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The bytes behind a type's own 12, by its kind and its number of elements.
fn tail_bytes(kind: u32, elements: usize) -> Option<usize> {
    Some(match kind {
        INTEGER | VARIABLE | DECLARATION_TAG => 4,
        POINTER | FORWARD..=FUNCTION | FLOAT | TYPE_TAG => 0,
        ARRAY => 12,
        STRUCT | UNION | SECTION | ENUM_64 => 12 * elements,
        ENUM | PROTOTYPE => 8 * elements,
        _ => return None,
    })
}

impl Btf {
    /// Lists all types of a kernel. `None` if the bytes are no BTF.
    pub fn parse(bytes: Vec<u8>) -> Option<Btf> {
        Btf::read(bytes, Source::KERNEL, None)
    }

    /// Lists the types that a module adds to its kernel's. `None` if the bytes are no BTF.
    pub fn parse_split(bytes: Vec<u8>, base: Arc<Btf>) -> Option<Btf> {
        Btf::read(bytes, Source::another(), Some(base))
    }

    fn read(bytes: Vec<u8>, source: Source, base: Option<Arc<Btf>>) -> Option<Btf> {
        let magic = u16::from_le_bytes(*bytes.first_chunk()?);
        let header_bytes = u32_at(&bytes, 4)? as usize;
        if magic != MAGIC || header_bytes < HEADER_BYTES_MIN {
            return None;
        }
        let part = |field: usize| {
            let start = header_bytes.checked_add(u32_at(&bytes, field)? as usize)?;
            let end = start.checked_add(u32_at(&bytes, field + 4)? as usize)?;
            (end <= bytes.len()).then_some((start, end))
        };
        let ((types_start, types_end), strings) = (part(8)?, part(16)?);
        let offsets = if base.is_some() { Vec::new() } else { vec![0] };
        let (names, enumerators) = (HashMap::new(), HashMap::new());
        let mut btf = Btf { source, base, bytes, strings, offsets, names, enumerators };
        let mut at = types_start;
        while at < types_end {
            let record = btf.record_at(at)?;
            let number = btf.count();
            if btf.offsets.len() > TYPES_MAX {
                return None;
            }
            btf.offsets.push(at);
            btf.list_names(at, &record, number);
            at = record.tail.checked_add(tail_bytes(record.kind, record.elements)?)?;
        }
        (at == types_end).then_some(btf)
    }

    /// What tells its types from those of others.
    pub fn source(&self) -> Source {
        self.source
    }

    /// What it was made from.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The number behind the last type.
    pub fn count(&self) -> u32 {
        self.first().saturating_add(self.offsets.len() as u32)
    }

    /// The first number that is not the base's.
    fn first(&self) -> u32 {
        self.base.as_ref().map_or(0, |base| base.count())
    }

    /// Where the type of a number lies.
    fn offset(&self, number: u32) -> Option<usize> {
        self.offsets.get(number.checked_sub(self.first())? as usize).copied()
    }

    fn record_at(&self, at: usize) -> Option<Record> {
        let info = u32_at(&self.bytes, at + 4)?;
        Some(Record {
            kind: info >> 24 & 0x1f,
            has_kind_flag: info >> 31 == 1,
            elements: (info & 0xffff) as usize,
            word: u32_at(&self.bytes, at + 8)?,
            tail: at + 12,
        })
    }

    fn word(&self, at: usize) -> Option<u32> {
        u32_at(&self.bytes, at)
    }

    /// The string at an offset; `None` if it is empty.
    fn string(&self, offset: u32) -> Option<&str> {
        let of_base = self.base.as_ref().map_or(0, |base| base.strings.1 - base.strings.0);
        let Some(own) = (offset as usize).checked_sub(of_base) else {
            return self.base.as_ref()?.string(offset);
        };
        let text = self.bytes[self.strings.0..self.strings.1].get(own..)?;
        let text = std::str::from_utf8(&text[..text.iter().position(|&byte| byte == 0)?]).ok()?;
        (!text.is_empty()).then_some(text)
    }

    fn string_at(&self, at: usize) -> Option<&str> {
        self.string(self.word(at)?)
    }

    fn list_names(&mut self, at: usize, record: &Record, number: u32) {
        if matches!(record.kind, ENUM | ENUM_64) {
            let step = if record.kind == ENUM { 8 } else { 12 };
            for element in 0..record.elements {
                if let Some(name) = self.string_at(record.tail + step * element).map(str::to_owned) {
                    self.enumerators.entry(name).or_insert(number);
                }
            }
        }
        let names = match record.kind {
            STRUCT => Names::Type(NameKind::Tag(Keyword::Struct)),
            UNION => Names::Type(NameKind::Tag(Keyword::Union)),
            // An enumeration without elements is only declared.
            ENUM | ENUM_64 if record.elements > 0 => Names::Type(NameKind::Tag(Keyword::Enum)),
            TYPEDEF | INTEGER | FLOAT => Names::Type(NameKind::Ordinary),
            FUNCTION => Names::Function,
            VARIABLE => Names::Variable,
            _ => return,
        };
        if let Some(name) = self.string_at(at).map(str::to_owned) {
            self.names.entry((names, name)).or_insert(number);
        }
    }

    fn find(&self, names: Names, name: &str) -> Option<u32> {
        self.names.get(&(names, name.to_owned())).copied()
    }

    /// A type by its name.
    pub fn find_type(&self, kind: NameKind, name: &str) -> Option<u32> {
        self.find(Names::Type(kind), name)
    }

    /// The tags of all structures.
    pub fn structures(&self) -> impl Iterator<Item = &str> {
        let kind = Names::Type(NameKind::Tag(Keyword::Struct));
        self.names.keys().filter(move |(names, _)| *names == kind).map(|(_, name)| name.as_str())
    }

    /// The enumeration that has an enumerator.
    pub fn find_enumeration(&self, enumerator: &str) -> Option<u32> {
        self.enumerators.get(enumerator).copied()
    }

    /// The type of a function or a variable. Of variables, most kernels describe only those in `.data..percpu`.
    pub fn find_object(&self, name: &str) -> Option<u32> {
        let number = self.find(Names::Variable, name).or_else(|| self.find(Names::Function, name))?;
        Some(self.record_at(self.offset(number)?)?.word)
    }

    /// What names the type of a number.
    pub fn type_ref(&self, number: u32) -> TypeRef {
        match (&self.base, number) {
            (_, 0) => TypeRef::Void,
            (Some(base), number) if number < base.count() => base.type_ref(number),
            _ => TypeRef::Btf(self.source, number),
        }
    }

    /// The type of a number.
    pub fn decode(&self, number: u32, pointer_bytes: u64) -> Option<Type> {
        if number == 0 {
            return Some(Type { name: None, size_bytes: Some(1), shape: Shape::Void });
        }
        let at = self.offset(number)?;
        let record = self.record_at(at)?;
        let mut size_bytes = Some(u64::from(record.word));
        let shape = match record.kind {
            INTEGER => self.integer(&record)?,
            FLOAT => Shape::Float,
            STRUCT | UNION => self.compound(&record)?,
            ENUM | ENUM_64 => self.enumeration(&record)?,
            kind => {
                size_bytes = (kind == POINTER).then_some(pointer_bytes);
                self.derived(&record)?
            }
        };
        Some(Type { name: self.string_at(at).map(str::to_owned), size_bytes, shape })
    }

    fn integer(&self, record: &Record) -> Option<Shape> {
        // Bits of the encoding: signed, character, boolean.
        let encoding = self.word(record.tail)? >> 24;
        if encoding & 4 != 0 {
            return Some(Shape::Boolean);
        }
        // Compilers of C say of `char` only its size.
        let is_char = encoding & 2 != 0 || record.word == 1;
        Some(Shape::Integer { is_signed: encoding & 1 != 0, is_char })
    }

    fn derived(&self, record: &Record) -> Option<Shape> {
        let inner = self.type_ref(record.word);
        Some(match record.kind {
            POINTER => Shape::Pointer(inner),
            TYPEDEF => Shape::Typedef(inner),
            VOLATILE => Shape::Qualified("volatile", inner),
            CONST => Shape::Qualified("const", inner),
            RESTRICT => Shape::Qualified("restrict", inner),
            // What stands for another type and adds nothing that is printed.
            TYPE_TAG | FUNCTION | VARIABLE | DECLARATION_TAG => Shape::Typedef(inner),
            ARRAY => Shape::Array {
                element: self.type_ref(self.word(record.tail)?),
                count: Some(u64::from(self.word(record.tail + 8)?)),
            },
            FORWARD => {
                let keyword = if record.has_kind_flag { Keyword::Union } else { Keyword::Struct };
                Shape::Compound { keyword, members: Vec::new(), is_complete: false }
            }
            PROTOTYPE => self.prototype(record)?,
            _ => Shape::Void,
        })
    }

    fn prototype(&self, record: &Record) -> Option<Shape> {
        let mut parameters = Vec::with_capacity(record.elements);
        for element in 0..record.elements {
            parameters.push(self.word(record.tail + 8 * element + 4)?);
        }
        // A last parameter of no type stands for any number of them.
        let is_variadic = parameters.last() == Some(&0);
        if is_variadic {
            parameters.pop();
        }
        let parameters = parameters.into_iter().map(|number| self.type_ref(number)).collect();
        Some(Shape::Function { returns: self.type_ref(record.word), parameters, is_variadic })
    }

    fn compound(&self, record: &Record) -> Option<Shape> {
        let mut members = Vec::with_capacity(record.elements);
        for element in 0..record.elements {
            let at = record.tail + 12 * element;
            let offset = self.word(at + 8)?;
            let (offset_bits, width_bits) = match record.has_kind_flag {
                true => (offset & 0xff_ffff, offset >> 24),
                false => (offset, 0),
            };
            members.push(Member {
                name: self.string_at(at).map(str::to_owned),
                type_ref: self.type_ref(self.word(at + 4)?),
                offset_bits: u64::from(offset_bits),
                width_bits: (width_bits > 0).then_some(u64::from(width_bits)),
            });
        }
        let keyword = if record.kind == UNION { Keyword::Union } else { Keyword::Struct };
        Some(Shape::Compound { keyword, members, is_complete: true })
    }

    fn enumeration(&self, record: &Record) -> Option<Shape> {
        let mut enumerators = Vec::with_capacity(record.elements);
        let step = if record.kind == ENUM { 8 } else { 12 };
        let mut has_negative = false;
        for element in 0..record.elements {
            let at = record.tail + step * element;
            let low = self.word(at + 4)?;
            let value = match record.kind {
                // Before kernel 6.0 the flag that says the sign was not there yet: then all are signed.
                ENUM => i128::from(low as i32),
                _ => {
                    let value = u64::from(self.word(at + 8)?) << 32 | u64::from(low);
                    if record.has_kind_flag { i128::from(value as i64) } else { i128::from(value) }
                }
            };
            has_negative |= value < 0;
            enumerators.push((self.string_at(at)?.to_owned(), value));
        }
        let is_signed = record.has_kind_flag || has_negative;
        Some(Shape::Enumeration { enumerators, is_signed, is_complete: record.elements > 0 })
    }
}
