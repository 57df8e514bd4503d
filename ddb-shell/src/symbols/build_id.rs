//! How a build and its debug information know each other: by the identity that the linker gives (`ld --build-id`), or by the
//! name and the check in `.gnu_debuglink`.

use object::{Object, read::File};
use std::fmt;

/// The type of the note that holds it, by the owner `GNU`.
const NT_GNU_BUILD_ID: u32 = 3;

/// A build's identity.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BuildId(pub Vec<u8>);

/// In hexadecimal digits, as `file` and `readelf` print it.
impl fmt::Display for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl BuildId {
    pub(super) fn of_file(file: &File<'_>) -> Option<BuildId> {
        file.build_id().ok()?.filter(|id| !id.is_empty()).map(|id| BuildId(id.to_vec()))
    }

    /// The identity in the bytes of a section of notes (ELF gABI, "Note Section").
    #[must_use]
    pub fn in_notes(notes: &[u8]) -> Option<BuildId> {
        let mut rest = notes;
        loop {
            let word = |at: usize| Some(u32::from_le_bytes(*rest.get(at..)?.first_chunk()?));
            let (name_bytes, length, kind) = (word(0)? as usize, word(4)? as usize, word(8)?);
            let start = 12_usize.checked_add(name_bytes.checked_next_multiple_of(4)?)?;
            let value = rest.get(start..start.checked_add(length)?)?;
            if kind == NT_GNU_BUILD_ID && rest.get(12..12 + name_bytes)? == b"GNU\0" && !value.is_empty() {
                return Some(BuildId(value.to_vec()));
            }
            rest = rest.get(start.checked_add(length.checked_next_multiple_of(4)?)?..)?;
        }
    }
}

/// The file that a stripped one names as its debug information (`.gnu_debuglink`), and the CRC-32 of all of that file.
#[must_use]
pub fn debug_link(image: &[u8]) -> Option<(String, u32)> {
    let file = File::parse(image).ok()?;
    let (name, crc) = file.gnu_debuglink().ok()??;
    let name = String::from_utf8(name.to_vec()).ok()?;
    // A name leads to no other folder.
    (!name.is_empty() && !name.contains('/')).then_some((name, crc))
}

/// Why debug information is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is of another build: its build id is {file}, the running kernel's is {running}")]
pub struct OtherBuild {
    /// The file's identity.
    pub file: BuildId,
    /// The running kernel's.
    pub running: BuildId,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(owner: &[u8], kind: u32, value: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [owner.len() as u32, value.len() as u32, kind] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        for part in [owner, value] {
            bytes.extend_from_slice(part);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    #[test]
    fn the_linkers_note_is_found_among_others() {
        let xen = note(b"Xen\0", 3, b"xen-3.0\0");
        let notes = [xen.clone(), note(b"GNU\0", 1, b"abi!"), note(b"GNU\0", 3, &[0xab; 20])].concat();
        assert_eq!(BuildId::in_notes(&notes), Some(BuildId(vec![0xab; 20])));
        assert_eq!(BuildId::in_notes(&notes).expect("found").to_string(), "ab".repeat(20));
        assert_eq!(BuildId::in_notes(&xen), None);
        for length in 0..notes.len() - 20 {
            assert_eq!(BuildId::in_notes(&notes[..length]), None);
        }
        assert_eq!(BuildId::in_notes(&[0xff; 64]), None);
    }
}
