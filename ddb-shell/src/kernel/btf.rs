//! BTF, the type information that a kernel carries for BPF (Documentation/bpf/btf.rst): as much of it as gives the
//! sizes of structures and the offsets of their members. The bytes are the guest's: everything is checked, nothing is
//! taken on trust. Left out: nested anonymous structures, whose members are not listed with their parent.

use std::collections::BTreeMap;

const MAGIC: u16 = 0xeb9f;
const STRUCT: u32 = 4;

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The bytes behind a type's own 12, by its kind and its number of elements.
fn tail_bytes(kind: u32, elements: usize) -> Option<usize> {
    Some(match kind {
        // Integer, variable, declaration tag.
        1 | 14 | 17 => 4,
        // Pointer, forward, typedef, volatile, const, restrict, function, float, type tag.
        2 | 7..=12 | 16 | 18 => 0,
        // Array.
        3 => 12,
        // Structure, union, section, 64-bit enumeration.
        4 | 5 | 15 | 19 => 12 * elements,
        // Enumeration, prototype.
        6 | 13 => 8 * elements,
        _ => return None,
    })
}

/// The size of each of `structures`, and the offset of each of their members that begins at a whole byte. `None` if
/// the bytes are no BTF.
pub fn layouts(bytes: &[u8], structures: &[&str]) -> Option<BTreeMap<String, u64>> {
    let magic = u16::from_le_bytes(*bytes.first_chunk()?);
    if magic != MAGIC {
        return None;
    }
    let header_bytes = u32_at(bytes, 4)? as usize;
    let part = |field: usize| {
        let start = header_bytes.checked_add(u32_at(bytes, field)? as usize)?;
        bytes.get(start..start.checked_add(u32_at(bytes, field + 4)? as usize)?)
    };
    let (types, strings) = (part(8)?, part(16)?);
    let name = |offset: u32| {
        let text = strings.get(offset as usize..)?;
        std::str::from_utf8(&text[..text.iter().position(|&byte| byte == 0)?]).ok()
    };
    let mut found = BTreeMap::new();
    let mut at = 0;
    while at < types.len() {
        let info = u32_at(types, at + 4)?;
        let (kind, elements) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
        let structure = name(u32_at(types, at)?)?;
        let members = at + 12;
        at = members.checked_add(tail_bytes(kind, elements)?)?;
        if kind != STRUCT || !structures.contains(&structure) {
            continue;
        }
        found.insert(structure.to_owned(), u64::from(u32_at(types, members - 4)?));
        let has_bit_fields = info >> 31 == 1;
        for member in (members..at).step_by(12) {
            let offset = u32_at(types, member + 8)?;
            let offset_bits = if has_bit_fields { offset & 0xff_ffff } else { offset };
            if offset_bits % 8 == 0 {
                let member = name(u32_at(types, member)?)?;
                found.insert(format!("{structure}.{member}"), u64::from(offset_bits / 8));
            }
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// BTF of `int`, `struct other { int a; }`, `struct wanted { int first; int bits:4 (at bit 36); int last; }`.
    fn sample() -> Vec<u8> {
        let strings = b"\0int\0other\0a\0wanted\0first\0bits\0last\0";
        let types: [u32; 4 + 6 + 12] = [
            1,
            1 << 24,
            4,
            32, // int
            5,
            4 << 24 | 1,
            4,
            11,
            1,
            0, // other
            13,
            1 << 31 | 4 << 24 | 3,
            12,
            20,
            1,
            0,
            26,
            1,
            4 << 24 | 36,
            31, // wanted, up to the name of `last`
            1,
            64,
        ];
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        let length = types.len() as u32 * 4;
        for word in [24, 0, length, length, strings.len() as u32].into_iter().chain(types) {
            bytes.extend_from_slice(&u32::to_le_bytes(word));
        }
        bytes.extend_from_slice(strings);
        bytes
    }

    #[test]
    fn sizes_and_offsets_of_the_structures_asked_for_are_given() {
        let found = layouts(&sample(), &["wanted"]).expect("BTF");
        let expected = [("wanted", 12), ("wanted.first", 0), ("wanted.last", 8)];
        assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value)).into());
    }

    proptest! {
        #[test]
        fn damaged_bytes_are_refused_or_read_without_a_panic(at in 0..sample().len(), byte: u8, cut in 0..200_usize) {
            let mut bytes = sample();
            bytes[at] = byte;
            bytes.truncate(cut.max(1));
            let _ = layouts(&bytes, &["wanted", "other"]);
        }
    }
}
