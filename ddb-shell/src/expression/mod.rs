//! C expressions over a guest: `{rq->curr->comm}`, `{*(struct page *)$rdi}`, `{per_cpu(runqueues, 1).nr_running > 4}`.
//!
//! In two phases. [`compile`] resolves names, types and members by the symbols, for the scope of one address. What comes
//! out, a [`Program`], needs memory and registers only, and may be evaluated by several threads at once, as the condition
//! of a breakpoint is in a search. The language is C's expressions, with gdb's `$register` and `array@count`, and what
//! kernel people write: `container_of`, `offsetof`, `per_cpu(variable, cpu)`, `per_cpu_ptr(pointer, cpu)`.
//!
//! Left out: assignments, calls, strings, arithmetic of floating-point and 128-bit numbers.

mod arithmetic;
mod compile;
mod lexer;
mod parser;
mod print;
mod program;
#[cfg(test)]
mod tests;
mod type_name;

pub use print::{PrintStyle, print, print_type};
pub use program::Program;

use crate::symbols::types::{TypeError, TypeRef};
use crate::symbols::{LocationError, Scope, Symbols};
use machine::PeekError;

/// Why an expression has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExprError {
    /// It is not C, or not the part of C that is understood.
    #[error("{message} at `{rest}`")]
    Syntax {
        /// What was expected or found.
        message: String,
        /// What stands there.
        rest: String,
    },
    /// A name that nothing has.
    #[error("there is no `{0}` here")]
    UnknownName(String),
    /// A structure, union or enumeration that nothing describes.
    #[error("there is no `{0}`")]
    UnknownType(String),
    /// No register has the name.
    #[error("there is no register `${0}`")]
    UnknownRegister(String),
    /// The structure has no such member.
    #[error("`{of}` has no member `{member}`")]
    UnknownMember {
        /// The structure.
        of: String,
        /// The member.
        member: String,
    },
    /// A symbol without a description.
    #[error("the type of `{0}` is not known; give it one, as in `(int){0}`")]
    UntypedName(String),
    /// An operator that is not for such operands.
    #[error("{0}")]
    Operand(String),
    /// Types are not described well enough.
    #[error(transparent)]
    Type(#[from] TypeError),
    /// Memory that cannot be read.
    #[error(transparent)]
    Memory(#[from] PeekError),
    /// A variable that is nowhere.
    #[error("`{name}`: {reason}")]
    Unavailable {
        /// The variable or register.
        name: String,
        /// What is the matter.
        reason: LocationError,
    },
    /// A division by zero.
    #[error("division by zero")]
    DivisionByZero,
    /// A value too long to be read at once.
    #[error("a value of {0} bytes is too long to be looked at as one")]
    TooLong(u64),
}

/// What names mean: what can be seen from one place.
#[derive(Clone, Debug, Default)]
pub struct NameScope {
    scopes: Vec<Scope>,
    vaddr: Option<u64>,
    /// The module that the place is in, whose names come first.
    module: Option<String>,
}

impl NameScope {
    /// Only what can be seen from everywhere.
    #[must_use]
    pub fn global() -> NameScope {
        NameScope::default()
    }

    /// What can be seen from the instruction at `vaddr`. For a frame that waits for a call to return, ask for one byte before
    /// its return address.
    #[must_use]
    pub fn at(symbols: &Symbols<'_>, vaddr: u64) -> NameScope {
        let (scopes, module) = (symbols.scopes_at(vaddr), symbols.module_name_at(vaddr));
        NameScope { scopes, vaddr: Some(vaddr), module }
    }

    /// The scopes, the innermost first: what `info locals` lists.
    #[must_use]
    pub fn scopes(&self) -> &[Scope] {
        &self.scopes
    }
}

/// A value, with its type.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// Its type.
    pub type_ref: TypeRef,
    /// Its bytes in memory's order; for a bit-field, of the integer that it holds.
    pub bytes: Vec<u8>,
    /// Where it lies in memory, if it does: address and length in bytes. For a bit-field, of the bytes that have it.
    pub place: Option<(u64, u64)>,
}

impl Value {
    /// As a number, if it is a scalar; a signed one is sign-extended.
    #[must_use]
    pub fn as_u64(&self, symbols: &Symbols<'_>) -> Option<u64> {
        let kind = arithmetic::Scalar::of(symbols.types(), &self.type_ref).ok()??;
        Some(kind.number_in(&self.bytes))
    }

    /// Whether it is not zero: what a condition asks for.
    #[must_use]
    pub fn is_true(&self) -> bool {
        self.bytes.iter().any(|&byte| byte != 0)
    }
}

/// Makes a program of an expression.
///
/// # Errors
/// It is no expression, or names what is not there.
pub fn compile(text: &str, scope: &NameScope, symbols: &Symbols<'_>) -> Result<Program, ExprError> {
    compile::compile(text, scope, symbols)
}
