//! What firmware leaves in memory: the ACPI and MP tables, the BIOS data area, and interrupt vectors.
//!
//! Small kernels read the BIOS data area for the serial ports, the size of conventional memory and the text
//! mode; Linux reads the size of conventional memory from it. BIOS services are left out, for no protocol here
//! enters in real mode; but Xen goes back there to ask, and takes no for an answer. So every vector leads to
//! a refusal: carry set, all else as it was.

use super::bytes::{put_u8, put_u16};
use super::loader::Loader;
use crate::platform::layout;

const VECTORS: usize = 256;
const BIOS_DATA_AREA: u64 = 0x400;
const BIOS_DATA_BYTES: usize = 0x100;
/// Segment of the firmware, and the offset in it at which PCs have had a lone IRET since the first one.
const FIRMWARE_SEGMENT: u64 = 0xf000;
const REFUSAL_OFFSET: u64 = 0xff53;
/// Sets the carry flag that IRET will restore.
const REFUSAL: [u8; 9] = [
    0x55, // push bp
    0x89, 0xe5, // mov bp, sp
    0x80, 0x4e, 0x06, 0x01, // or byte [bp + 6], 1
    0x5d, // pop bp
    0xcf, // iret
];

impl Loader<'_> {
    /// Writes the tables to their place, and the vectors and the BIOS data area to theirs.
    pub(crate) fn put_firmware(&mut self, tables: &[u8]) {
        let place = layout::FIRMWARE_TABLES;
        assert!(
            tables.len() as u64 <= place.end - place.start,
            "the firmware's tables do not fit their place"
        );
        if !tables.is_empty() {
            self.put(place.start, tables);
        }
        self.rsdp_paddr = find_rsdp(tables).map_or(0, |offset| place.start + offset);
        let refusal = FIRMWARE_SEGMENT * 16 + REFUSAL_OFFSET;
        let in_tables = tables.get((refusal - place.start) as usize..).unwrap_or_default();
        assert!(
            in_tables.iter().take(REFUSAL.len()).all(|&byte| byte == 0),
            "a table is where the refusal goes"
        );
        self.put(refusal, &REFUSAL);
        if self.space.claim(0..BIOS_DATA_AREA + BIOS_DATA_BYTES as u64).is_ok() {
            let vector = (FIRMWARE_SEGMENT << 16 | REFUSAL_OFFSET) as u32;
            self.put(0, &[vector; VECTORS].map(u32::to_le_bytes).concat());
            self.put(BIOS_DATA_AREA, &bios_data_area());
        }
    }
}

/// The offset of the ACPI RSDP, on a 16-byte boundary by specification.
fn find_rsdp(tables: &[u8]) -> Option<u64> {
    tables.chunks(16).position(|chunk| chunk.starts_with(b"RSD PTR ")).map(|index| index as u64 * 16)
}

fn bios_data_area() -> [u8; BIOS_DATA_BYTES] {
    let mut area = [0; BIOS_DATA_BYTES];
    put_u16(&mut area, 0x00, 0x3f8); // COM1
    put_u16(&mut area, 0x10, 0x0226); // equipment: one serial port, 80x25 colour, mouse, coprocessor
    put_u16(&mut area, 0x13, (layout::LOW_RAM_END / 1024) as u16); // KiB of conventional memory
    put_u8(&mut area, 0x49, 3); // video mode: 80x25 text
    put_u16(&mut area, 0x4a, 80); // columns
    put_u16(&mut area, 0x4c, 0x1000); // bytes of a screen
    put_u16(&mut area, 0x60, 0x0607); // cursor shape
    put_u16(&mut area, 0x63, 0x3d4); // CRT controller port
    put_u8(&mut area, 0x84, 24); // rows - 1
    put_u16(&mut area, 0x85, 16); // scan lines of a character
    area
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rsdp_is_found_on_its_boundary_only() {
        let mut tables = vec![0; 100];
        assert_eq!(find_rsdp(&tables), None);
        tables[8..16].copy_from_slice(b"RSD PTR ");
        assert_eq!(find_rsdp(&tables), None);
        tables[48..56].copy_from_slice(b"RSD PTR ");
        assert_eq!(find_rsdp(&tables), Some(48));
    }
}
