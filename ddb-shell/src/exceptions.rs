//! The names of exceptions (Intel SDM vol. 3, table 6-1).

/// How many vectors the architecture keeps for exceptions.
pub(crate) const EXCEPTIONS: u8 = 32;

/// Those that have a name, by vector.
const NAMES: [&str; 22] = [
    "#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "", "#TS", "#NP", "#SS", "#GP", "#PF", "",
    "#MF", "#AC", "#MC", "#XM", "#VE", "#CP",
];

/// The manual's name of an exception; of one that has none its number.
pub(crate) fn exception_name(vector: u8) -> String {
    match NAMES.get(usize::from(vector)) {
        Some(name) if !name.is_empty() => (*name).to_owned(),
        _ => format!("vector {vector}"),
    }
}

/// The vector of an exception by its name without the `#`, in capitals or not.
pub(crate) fn exception_vector(name: &str) -> Option<u8> {
    let is_it = |known: &&str| !known.is_empty() && known.trim_start_matches('#').eq_ignore_ascii_case(name);
    NAMES.iter().position(is_it).map(|vector| vector as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_vectors_lead_to_each_other() {
        for (vector, name) in [(0, "#DE"), (2, "NMI"), (8, "#DF"), (14, "#PF"), (21, "#CP")] {
            assert_eq!(exception_name(vector), name);
            assert_eq!(exception_vector(&name.trim_start_matches('#').to_lowercase()), Some(vector));
        }
        assert_eq!(exception_name(15), "vector 15");
        assert_eq!(exception_name(0x80), "vector 128");
        assert_eq!(exception_vector(""), None);
        assert_eq!(exception_vector("panic"), None);
    }
}
