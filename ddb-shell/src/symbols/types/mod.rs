//! Types of C, whatever described them: DWARF, BTF, or an expression that made them. Everything above this module is
//! independent of the source.
//!
//! A type names others by a [`TypeRef`] and not by containing them, so that one structure of a kernel does not bring in
//! the thousands that hang on it: each is decoded when somebody looks, and kept. Left out: C++ classes' functions,
//! bases and access, and Rust's variants.

mod btf;
mod builtin;
mod dwarf;
mod modules;
mod name;
#[cfg(test)]
mod tests;

pub(crate) use btf::Btf;
pub use builtin::DataModel;
use modules::ModuleTypes;

use super::dwarf::DebugInfo;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, RwLock};

/// Tells one describer of types from others: the kernel's file or memory, or a module's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source(u32);

impl Source {
    /// The kernel's own.
    pub(super) const KERNEL: Source = Source(0);

    /// One that nobody has yet.
    pub(super) fn another() -> Source {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        Source(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// Names a type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TypeRef {
    /// No type: what a function without value returns.
    Void,
    /// The type whose entry lies at this offset of `.debug_info`.
    Dwarf(Source, usize),
    /// The BTF type of this number.
    Btf(Source, u32),
    /// A type that nobody describes, but an expression needs.
    Made(Arc<Type>),
}

impl TypeRef {
    /// A type for which there is no description elsewhere.
    #[must_use]
    pub fn made(name: Option<&str>, size_bytes: u64, shape: Shape) -> TypeRef {
        TypeRef::Made(Arc::new(Type { name: name.map(str::to_owned), size_bytes: Some(size_bytes), shape }))
    }
}

/// One type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Type {
    /// Its name or tag, without `struct`.
    pub name: Option<String>,
    /// Its size; `None` for what has none of its own (functions, typedefs, arrays).
    pub size_bytes: Option<u64>,
    /// What it is.
    pub shape: Shape,
}

/// What a type is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// `void`.
    Void,
    /// An integer.
    Integer {
        /// Whether it has a sign.
        is_signed: bool,
        /// Whether it holds a character.
        is_char: bool,
    },
    /// `_Bool`.
    Boolean,
    /// A floating-point number.
    Float,
    /// A pointer.
    Pointer(TypeRef),
    /// An array.
    Array {
        /// Of what.
        element: TypeRef,
        /// How many; `None` for `[]`.
        count: Option<u64>,
    },
    /// A structure or a union.
    Compound {
        /// `struct` or `union`.
        keyword: Keyword,
        /// Its members in order.
        members: Vec<Member>,
        /// False if only its name is declared.
        is_complete: bool,
    },
    /// An enumeration.
    Enumeration {
        /// Names and values.
        enumerators: Vec<(String, i128)>,
        /// Whether its integer has a sign.
        is_signed: bool,
        /// False if only its name is declared.
        is_complete: bool,
    },
    /// Another name for a type.
    Typedef(TypeRef),
    /// `const`, `volatile` and the like.
    Qualified(&'static str, TypeRef),
    /// A function.
    Function {
        /// What it returns.
        returns: TypeRef,
        /// Its parameters.
        parameters: Vec<TypeRef>,
        /// Whether more may follow.
        is_variadic: bool,
    },
}

/// What kind of name a tag is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Keyword {
    /// A structure.
    Struct,
    /// A union.
    Union,
    /// An enumeration.
    Enum,
}

impl Keyword {
    /// As in C.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Keyword::Struct => "struct",
            Keyword::Union => "union",
            Keyword::Enum => "enum",
        }
    }
}

/// A member of a structure or union.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    /// Its name; `None` for an anonymous structure or union, whose members count as the outer one's.
    pub name: Option<String>,
    /// Its type.
    pub type_ref: TypeRef,
    /// Where it begins, in bits from the start.
    pub offset_bits: u64,
    /// Its width, for a bit-field.
    pub width_bits: Option<u64>,
}

/// Where a member, perhaps of an anonymous part, lies in a structure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberPlace {
    /// Its type.
    pub type_ref: TypeRef,
    /// Where it begins, in bits from the start of the structure.
    pub offset_bits: u64,
    /// Its width, for a bit-field.
    pub width_bits: Option<u64>,
}

/// Why a type cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TypeError {
    /// The description cannot be read.
    #[error("the type information is damaged")]
    Damaged,
    /// Only the name is known.
    #[error("`{0}` is declared, but nothing says what is in it")]
    Incomplete(String),
    /// It has no size.
    #[error("`{0}` has no size")]
    NoSize(String),
}

/// What a name is looked up as: C has tags and ordinary names apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NameKind {
    /// A structure's, union's or enumeration's tag.
    Tag(Keyword),
    /// A typedef or a base type.
    Ordinary,
}

/// Typedefs and qualifiers that are gone through before a chain is taken to be a circle.
const CHAIN_MAX: usize = 64;
/// How deep anonymous structures lie in each other.
const NESTING_MAX: usize = 16;

/// All types that are known of a guest.
#[derive(Debug, Default)]
pub struct Types<'data> {
    dwarf: Option<Arc<DebugInfo<'data>>>,
    btf: OnceLock<Arc<Btf>>,
    /// Of modules that have been seen: they stay, for what was found while a module was there may be asked about when it is
    /// not.
    modules: RwLock<Vec<ModuleTypes>>,
    model: DataModel,
    decoded: Mutex<HashMap<TypeRef, Arc<Type>>>,
}

impl<'data> Types<'data> {
    pub(super) fn new(dwarf: Option<Arc<DebugInfo<'data>>>, model: DataModel) -> Types<'data> {
        Types { dwarf, model, ..Types::default() }
    }

    /// Adds a kernel's BTF, unless there is some already. Whether it can be read.
    pub fn add_btf(&self, bytes: Vec<u8>) -> bool {
        if self.btf.get().is_some() {
            return true;
        }
        match Btf::parse(bytes) {
            Some(btf) => self.btf.set(Arc::new(btf)).is_ok() || self.btf.get().is_some(),
            None => false,
        }
    }

    /// The kernel's BTF.
    pub(crate) fn btf(&self) -> Option<&Arc<Btf>> {
        self.btf.get()
    }

    /// Whether nothing describes any type.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.dwarf.is_none() && self.btf.get().is_none()
    }

    /// The sizes of C's own types.
    #[must_use]
    pub fn model(&self) -> DataModel {
        self.model
    }

    /// The type that is named.
    ///
    /// # Errors
    /// Its description cannot be read.
    pub fn get(&self, type_ref: &TypeRef) -> Result<Arc<Type>, TypeError> {
        if let TypeRef::Made(made) = type_ref {
            return Ok(Arc::clone(made));
        }
        let mut decoded = self.decoded.lock().map_err(|_| TypeError::Damaged)?;
        if let Some(known) = decoded.get(type_ref) {
            return Ok(Arc::clone(known));
        }
        let made = match type_ref {
            TypeRef::Void => Some(Type { name: None, size_bytes: Some(1), shape: Shape::Void }),
            TypeRef::Dwarf(Source::KERNEL, offset) => {
                self.dwarf.as_ref().and_then(|dwarf| dwarf::decode(dwarf, *offset))
            }
            TypeRef::Btf(Source::KERNEL, number) => {
                self.btf.get().and_then(|btf| btf.decode(*number, self.model.pointer_bytes))
            }
            TypeRef::Dwarf(source, _) | TypeRef::Btf(source, _) => {
                self.module_of(*source).and_then(|module| module.decode(type_ref, self.model.pointer_bytes))
            }
            TypeRef::Made(_) => None,
        };
        let made = Arc::new(made.ok_or(TypeError::Damaged)?);
        decoded.insert(type_ref.clone(), Arc::clone(&made));
        Ok(made)
    }

    /// The type behind typedefs and qualifiers, and the whole one of what is only declared here.
    ///
    /// # Errors
    /// A description cannot be read.
    pub fn resolve(&self, type_ref: &TypeRef) -> Result<(TypeRef, Arc<Type>), TypeError> {
        let mut at = type_ref.clone();
        for _ in 0..CHAIN_MAX {
            let found = self.get(&at)?;
            match &found.shape {
                Shape::Typedef(inner) | Shape::Qualified(_, inner) => at = inner.clone(),
                Shape::Compound { keyword, is_complete: false, .. } => {
                    return Ok(self.whole(*keyword, &at, &found).unwrap_or((at, found)));
                }
                Shape::Enumeration { is_complete: false, .. } => {
                    return Ok(self.whole(Keyword::Enum, &at, &found).unwrap_or((at, found)));
                }
                _ => return Ok((at, found)),
            }
        }
        Err(TypeError::Damaged)
    }

    /// The whole one of what `declaration` only declares, of its own module first.
    fn whole(
        &self,
        keyword: Keyword,
        declaration: &TypeRef,
        declared: &Type,
    ) -> Option<(TypeRef, Arc<Type>)> {
        let module = match declaration {
            TypeRef::Dwarf(source, _) | TypeRef::Btf(source, _) => self.module_of(*source),
            _ => None,
        };
        let module = module.as_ref().map(|module| module.name.as_str());
        let at = self.find(NameKind::Tag(keyword), declared.name.as_deref()?, module)?;
        let found = self.get(&at).ok()?;
        Some((at, found))
    }

    /// The type of that name: of `module`, of the kernel, else of any module.
    #[must_use]
    pub fn find(&self, kind: NameKind, name: &str, module: Option<&str>) -> Option<TypeRef> {
        self.search(module, &|dwarf| dwarf.find_type(kind, name), &|btf| btf.find_type(kind, name)).or_else(
            || match kind {
                NameKind::Ordinary => self.model.base_type(name),
                NameKind::Tag(_) => None,
            },
        )
    }

    /// A structure by its tag: from BTF if there is any, for that is read in milliseconds.
    #[must_use]
    pub fn structure(&self, name: &str) -> Option<TypeRef> {
        let kind = NameKind::Tag(Keyword::Struct);
        let of_btf = self.btf.get().and_then(|btf| Some(btf.type_ref(btf.find_type(kind, name)?)));
        of_btf.or_else(|| self.find(kind, name, None))
    }

    /// The tags of all structures that a kernel's BTF describes, sorted.
    #[must_use]
    pub fn structures(&self) -> Vec<String> {
        let found = self.btf.get().map(|btf| btf.structures().map(str::to_owned).collect());
        let mut found: Vec<String> = found.unwrap_or_default();
        found.sort_unstable();
        found
    }

    /// The value of an enumerator, looked for as [`Types::find`] looks for a type.
    #[must_use]
    pub fn enumerator(&self, name: &str, module: Option<&str>) -> Option<(TypeRef, i128)> {
        let of =
            self.search(module, &|dwarf| dwarf.find_enumeration(name), &|btf| btf.find_enumeration(name))?;
        match &self.get(&of).ok()?.shape {
            Shape::Enumeration { enumerators, .. } => {
                let (_, value) = enumerators.iter().find(|(known, _)| known == name)?;
                Some((of.clone(), *value))
            }
            _ => None,
        }
    }

    /// How many bytes a thing of that type has.
    ///
    /// # Errors
    /// It has no size, or is only declared.
    pub fn size_bytes(&self, type_ref: &TypeRef) -> Result<u64, TypeError> {
        let mut count = 1_u64;
        let mut at = type_ref.clone();
        for _ in 0..CHAIN_MAX {
            let (resolved, found) = self.resolve(&at)?;
            match &found.shape {
                Shape::Array { element, count: Some(elements) } => {
                    count = count.checked_mul(*elements).ok_or(TypeError::Damaged)?;
                    at = element.clone();
                }
                Shape::Array { count: None, .. } => return Ok(0),
                Shape::Compound { is_complete: false, .. }
                | Shape::Enumeration { is_complete: false, .. } => {
                    return Err(TypeError::Incomplete(self.name(&resolved)));
                }
                // As GNU C has it, for the sake of `void *` arithmetic.
                Shape::Function { .. } => return Ok(1),
                _ => {
                    let size = found.size_bytes.ok_or_else(|| TypeError::NoSize(self.name(&resolved)))?;
                    return count.checked_mul(size).ok_or(TypeError::Damaged);
                }
            }
        }
        Err(TypeError::Damaged)
    }

    /// The member `name` of a structure or union, looked for in its anonymous parts, too.
    ///
    /// # Errors
    /// The structure is only declared, or its description cannot be read.
    pub fn member(&self, of: &TypeRef, name: &str) -> Result<Option<MemberPlace>, TypeError> {
        self.member_within(of, name, 0)
    }

    fn member_within(
        &self,
        of: &TypeRef,
        name: &str,
        depth: usize,
    ) -> Result<Option<MemberPlace>, TypeError> {
        let (resolved, found) = self.resolve(of)?;
        let Shape::Compound { members, is_complete, .. } = &found.shape else { return Ok(None) };
        if !is_complete {
            return Err(TypeError::Incomplete(self.name(&resolved)));
        }
        if let Some(member) = members.iter().find(|member| member.name.as_deref() == Some(name)) {
            return Ok(Some(MemberPlace {
                type_ref: member.type_ref.clone(),
                offset_bits: member.offset_bits,
                width_bits: member.width_bits,
            }));
        }
        if depth == NESTING_MAX {
            return Ok(None);
        }
        for part in members.iter().filter(|member| member.name.is_none()) {
            if let Some(inner) = self.member_within(&part.type_ref, name, depth + 1)? {
                let offset_bits = inner.offset_bits.wrapping_add(part.offset_bits);
                return Ok(Some(MemberPlace { offset_bits, ..inner }));
            }
        }
        Ok(None)
    }

    /// Adds the names of all members of a structure or union, those of its anonymous parts, too.
    pub fn list_members(&self, of: &Type, names: &mut Vec<String>) {
        self.list_members_within(of, names, 0);
    }

    fn list_members_within(&self, of: &Type, names: &mut Vec<String>, depth: usize) {
        let Shape::Compound { members, .. } = &of.shape else { return };
        for member in members {
            match &member.name {
                Some(name) => names.push(name.clone()),
                None if depth < NESTING_MAX => {
                    if let Ok((_, part)) = self.resolve(&member.type_ref) {
                        self.list_members_within(&part, names, depth + 1);
                    }
                }
                None => {}
            }
        }
    }
}
