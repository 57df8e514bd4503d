//! The name of a type in a cast: `unsigned long`, `struct task_struct *`, `u8 [16]`.
//!
//! Left out: pointers to functions and to arrays.

use super::ExprError;
use super::lexer::Token;
use super::parser::Parser;
use crate::symbols::types::{DataModel, Keyword, NameKind, Shape, Type, TypeRef};
use std::sync::Arc;

/// What stands in front of the stars.
#[derive(Clone, Debug, PartialEq)]
enum Specifier {
    /// Words of C's own types.
    Words(Vec<String>),
    Tag(Keyword, String),
    Typedef(String),
    Void,
    /// `typeof(name)` is not here: an expression has `sizeof` and casts only.
    Missing,
}

/// A type as it was written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TypeName {
    specifier: Specifier,
    stars: usize,
    counts: Vec<u64>,
}

/// Stars and brackets of a type, before it is refused: a type of types is walked recursively.
const PARTS_MAX: usize = 20;
const QUALIFIERS: [&str; 4] = ["const", "volatile", "restrict", "_Atomic"];
const WORDS: [&str; 11] =
    ["char", "short", "int", "long", "signed", "unsigned", "_Bool", "bool", "float", "double", "__int128"];

fn tag(word: &str) -> Option<Keyword> {
    [Keyword::Struct, Keyword::Union, Keyword::Enum].into_iter().find(|keyword| keyword.text() == word)
}

impl TypeName {
    /// Whether a type's name can start with that word, typedefs aside.
    pub fn starts_with(word: &str) -> bool {
        word == "void" || QUALIFIERS.contains(&word) || WORDS.contains(&word) || tag(word).is_some()
    }

    pub fn parse(parser: &mut Parser<'_>) -> Result<TypeName, ExprError> {
        let mut specifier = Specifier::Missing;
        while let Token::Name(word) = parser.peek().clone() {
            let next = match (&mut specifier, tag(word)) {
                _ if QUALIFIERS.contains(&word) => {
                    parser.take();
                    continue;
                }
                (Specifier::Words(words), None) if WORDS.contains(&word) => {
                    words.push(word.to_owned());
                    parser.take();
                    continue;
                }
                (Specifier::Missing, Some(keyword)) => {
                    parser.take();
                    specifier = Specifier::Tag(keyword, parser.name()?);
                    continue;
                }
                (Specifier::Missing, None) if word == "void" => Specifier::Void,
                (Specifier::Missing, None) if WORDS.contains(&word) => {
                    Specifier::Words(vec![word.to_owned()])
                }
                (Specifier::Missing, None) if parser.is_type(word) => Specifier::Typedef(word.to_owned()),
                _ => break,
            };
            parser.take();
            specifier = next;
        }
        if specifier == Specifier::Missing {
            return Err(parser.error("a type is missing"));
        }
        let (mut stars, mut counts) = (0, Vec::new());
        loop {
            if parser.accept("*") {
                stars += 1;
            } else if matches!(parser.peek(), Token::Name(word) if QUALIFIERS.contains(word)) {
                parser.take();
            } else {
                break;
            }
        }
        while parser.accept("[") {
            let Token::Integer(count) = parser.take() else {
                return Err(parser.error("the array's length must be a number"));
            };
            counts.push(count.value);
            parser.expect("]")?;
        }
        if stars + counts.len() > PARTS_MAX {
            return Err(parser.error("the type is nested too deeply"));
        }
        Ok(TypeName { specifier, stars, counts })
    }

    /// The type, whose name `find` knows.
    pub fn resolve(
        &self,
        model: DataModel,
        find: &dyn Fn(NameKind, &str) -> Option<TypeRef>,
    ) -> Result<TypeRef, ExprError> {
        let unknown = |name: String| ExprError::UnknownType(name);
        let mut resolved = match &self.specifier {
            Specifier::Words(words) => {
                let found = model.base_type_of_words(words);
                found.ok_or_else(|| unknown(words.join(" ")))?
            }
            Specifier::Tag(keyword, name) => match find(NameKind::Tag(*keyword), name) {
                Some(found) => found,
                None => return Err(unknown(format!("{} {name}", keyword.text()))),
            },
            Specifier::Typedef(name) => {
                find(NameKind::Ordinary, name).ok_or_else(|| unknown(name.clone()))?
            }
            Specifier::Void | Specifier::Missing => TypeRef::Void,
        };
        for _ in 0..self.stars {
            resolved = model.pointer_to(resolved);
        }
        for count in self.counts.iter().rev() {
            let shape = Shape::Array { element: resolved, count: Some(*count) };
            resolved = TypeRef::Made(Arc::new(Type { name: None, size_bytes: None, shape }));
        }
        Ok(resolved)
    }
}
