//! C's own types, which need no description: their names, and their sizes on x86.

use super::{Shape, TypeRef};

/// Sizes that differ between 32-bit and 64-bit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataModel {
    /// Bytes of a pointer, and of `long`.
    pub pointer_bytes: u64,
}

impl Default for DataModel {
    fn default() -> DataModel {
        DataModel { pointer_bytes: 8 }
    }
}

impl DataModel {
    /// A base type by the name that compilers write into their descriptions.
    #[must_use]
    pub fn base_type(self, name: &str) -> Option<TypeRef> {
        let integer = |size_bytes, is_signed| {
            let is_char = size_bytes == 1;
            Some(TypeRef::made(Some(name), size_bytes, Shape::Integer { is_signed, is_char }))
        };
        match name {
            "char" | "signed char" => integer(1, true),
            "unsigned char" => integer(1, false),
            "short int" => integer(2, true),
            "short unsigned int" => integer(2, false),
            "int" => integer(4, true),
            "unsigned int" => integer(4, false),
            "long int" => integer(self.pointer_bytes, true),
            "long unsigned int" => integer(self.pointer_bytes, false),
            "long long int" => integer(8, true),
            "long long unsigned int" => integer(8, false),
            "__int128" => integer(16, true),
            "__int128 unsigned" => integer(16, false),
            "_Bool" => Some(TypeRef::made(Some(name), 1, Shape::Boolean)),
            "float" => Some(TypeRef::made(Some(name), 4, Shape::Float)),
            "double" => Some(TypeRef::made(Some(name), 8, Shape::Float)),
            _ => None,
        }
    }

    /// The base type that words of C (`unsigned long`, in any order) mean, if they are the words of one.
    #[must_use]
    pub fn base_type_of_words(self, words: &[String]) -> Option<TypeRef> {
        let count = |word: &str| words.iter().filter(|known| *known == word).count();
        const WORDS: [&str; 11] = [
            "char", "short", "int", "long", "signed", "unsigned", "_Bool", "bool", "float", "double",
            "__int128",
        ];
        if words.is_empty() || !words.iter().all(|word| WORDS.contains(&word.as_str())) {
            return None;
        }
        let is_unsigned = count("unsigned") > 0;
        let name = if count("_Bool") + count("bool") > 0 {
            "_Bool"
        } else if count("char") > 0 {
            match (is_unsigned, count("signed") > 0) {
                (true, _) => "unsigned char",
                (_, true) => "signed char",
                _ => "char",
            }
        } else if count("float") > 0 {
            "float"
        } else if count("double") > 0 {
            "double"
        } else {
            let names = match (count("__int128"), count("short"), count("long")) {
                (1.., _, _) => ["__int128", "__int128 unsigned"],
                (_, 1.., _) => ["short int", "short unsigned int"],
                (_, _, 0) => ["int", "unsigned int"],
                (_, _, 1) => ["long int", "long unsigned int"],
                _ => ["long long int", "long long unsigned int"],
            };
            names[usize::from(is_unsigned)]
        };
        self.base_type(name)
    }

    /// A pointer to `target`.
    #[must_use]
    pub fn pointer_to(self, target: TypeRef) -> TypeRef {
        TypeRef::made(None, self.pointer_bytes, Shape::Pointer(target))
    }

    /// The integer type of expressions that has `size_bytes`: `int` or a longer one.
    #[must_use]
    pub fn arithmetic_type(self, size_bytes: u64, is_signed: bool) -> TypeRef {
        let names = match size_bytes {
            0..=4 => ["unsigned int", "int"],
            _ if self.pointer_bytes == 8 => ["long unsigned int", "long int"],
            _ => ["long long unsigned int", "long long int"],
        };
        self.base_type(names[usize::from(is_signed)]).unwrap_or(TypeRef::Void)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_in_any_order_mean_a_base_type() {
        let model = DataModel::default();
        let meaning = |text: &str| {
            let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
            model.base_type_of_words(&words)
        };
        assert_eq!(meaning("unsigned long"), model.base_type("long unsigned int"));
        assert_eq!(meaning("long unsigned int"), model.base_type("long unsigned int"));
        assert_eq!(meaning("unsigned"), model.base_type("unsigned int"));
        assert_eq!(meaning("long long"), model.base_type("long long int"));
        assert_eq!(meaning("bool"), model.base_type("_Bool"));
        assert_eq!(meaning("unsigned size_t"), None);
    }
}
