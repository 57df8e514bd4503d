//! The header of the ELF files that are written here, crash dumps and files of symbols: ELF64 for x86-64 (gABI chapter 4).

const EM_X86_64: u16 = 62;

/// The length of the header.
pub(crate) const HEADER_BYTES: u64 = 64;
/// The length of a program header.
pub(crate) const PROGRAM_HEADER_BYTES: u64 = 56;
/// The length of a section header.
pub(crate) const SECTION_HEADER_BYTES: u64 = 64;

/// What the header says of its file.
pub(crate) struct Header {
    /// `e_type`.
    pub kind: u16,
    /// How many program headers lie right behind it.
    pub program_headers: u16,
    /// Where the section headers lie, and how many they are; the last one is of their names.
    pub section_headers: (u64, u16),
}

impl Header {
    pub fn bytes(&self) -> Vec<u8> {
        let (section_offset, sections) = self.section_headers;
        let if_any = |count: u16, value: u64| if count == 0 { 0 } else { value };
        let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        bytes.extend([self.kind, EM_X86_64].iter().flat_map(|half| half.to_le_bytes()));
        bytes.extend(1u32.to_le_bytes());
        // No entry.
        for word in [0, if_any(self.program_headers, HEADER_BYTES), section_offset] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(0u32.to_le_bytes());
        let program_header_bytes = if_any(self.program_headers, PROGRAM_HEADER_BYTES) as u16;
        let section_header_bytes = if_any(sections, SECTION_HEADER_BYTES) as u16;
        let names = sections.saturating_sub(1);
        let header_bytes = HEADER_BYTES as u16;
        for half in
            [header_bytes, program_header_bytes, self.program_headers, section_header_bytes, sections, names]
        {
            bytes.extend(half.to_le_bytes());
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_has_its_length_and_names_what_there_is() {
        let core = Header { kind: 4, program_headers: 3, section_headers: (0, 0) }.bytes();
        let symbols = Header { kind: 2, program_headers: 0, section_headers: (0x1234, 5) }.bytes();
        assert_eq!((core.len(), symbols.len()), (64, 64));
        assert_eq!((core[32], &core[54..58], &core[58..]), (64, &[56, 0, 3, 0][..], &[0; 6][..]));
        assert_eq!((symbols[32], &symbols[40..42]), (0, &[0x34, 0x12][..]));
        assert_eq!(symbols[54..], [0, 0, 0, 0, 64, 0, 5, 0, 4, 0]);
    }
}
