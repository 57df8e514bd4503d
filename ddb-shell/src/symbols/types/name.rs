//! How a type is written in C: `struct page *[4]`, `int (*)(void *)`.

use super::{Shape, Type, TypeRef, Types};

/// How deep types are written out; beyond that it is a circle or nobody reads it.
const DEPTH_MAX: usize = 16;

impl Types<'_> {
    /// The type's name as C writes it.
    #[must_use]
    pub fn name(&self, type_ref: &TypeRef) -> String {
        self.declaration(type_ref, String::new(), DEPTH_MAX)
    }

    /// A declaration of `name` with that type.
    #[must_use]
    pub fn declare(&self, type_ref: &TypeRef, name: &str) -> String {
        self.declaration(type_ref, name.to_owned(), DEPTH_MAX)
    }

    /// A declaration of `declarator` with that type: C writes pointers before and arrays behind what they are of.
    fn declaration(&self, type_ref: &TypeRef, declarator: String, depth: usize) -> String {
        let Some(depth) = depth.checked_sub(1) else { return format!("...{declarator}") };
        let Ok(found) = self.get(type_ref) else { return with_space("<unreadable type>", &declarator) };
        match &found.shape {
            Shape::Pointer(target) => {
                let is_outside = self
                    .get(target)
                    .is_ok_and(|target| matches!(target.shape, Shape::Array { .. } | Shape::Function { .. }));
                let pointer = format!("*{declarator}");
                let pointer = if is_outside { format!("({pointer})") } else { pointer };
                self.declaration(target, pointer, depth)
            }
            Shape::Array { element, count } => {
                let count = count.map(|count| count.to_string()).unwrap_or_default();
                self.declaration(element, format!("{declarator}[{count}]"), depth)
            }
            Shape::Function { returns, parameters, is_variadic } => {
                let mut list: Vec<String> =
                    parameters.iter().map(|it| self.declaration(it, String::new(), depth)).collect();
                if *is_variadic {
                    list.push("...".to_owned());
                }
                let list = if list.is_empty() { "void".to_owned() } else { list.join(", ") };
                self.declaration(returns, format!("{declarator}({list})"), depth)
            }
            Shape::Qualified(word, inner) => {
                let is_pointer = self.get(inner).is_ok_and(|inner| matches!(inner.shape, Shape::Pointer(_)));
                if is_pointer {
                    return self.declaration(inner, with_space(&format!(" {word}"), &declarator), depth);
                }
                let inner_text = self.declaration(inner, declarator, depth);
                // To qualify an array is to qualify its elements, which are often described as qualified, too.
                if inner_text.starts_with(&format!("{word} ")) {
                    inner_text
                } else {
                    format!("{word} {inner_text}")
                }
            }
            _ => with_space(&base_name(&found), &declarator),
        }
    }
}

fn with_space(word: &str, declarator: &str) -> String {
    if declarator.is_empty() { word.to_owned() } else { format!("{word} {declarator}") }
}

/// The name of what is neither derived nor qualified.
fn base_name(of: &Type) -> String {
    let keyword = match &of.shape {
        Shape::Compound { keyword, .. } => keyword.text(),
        Shape::Enumeration { .. } => "enum",
        _ => "",
    };
    match (&of.name, keyword) {
        (Some(name), "") => name.clone(),
        (Some(name), keyword) => format!("{keyword} {name}"),
        (None, "") => "void".to_owned(),
        (None, keyword) => format!("{keyword} {{...}}"),
    }
}
