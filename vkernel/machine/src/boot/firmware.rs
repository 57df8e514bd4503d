//! What firmware leaves in memory: the ACPI and MP tables, and the BIOS data area.
//!
//! Small kernels read the BIOS data area for the serial ports, the size of conventional memory and the text
//! mode; Linux reads the size of conventional memory from it. Interrupt vectors and BIOS code are left out:
//! no protocol here enters in real mode.

use super::bytes::{put_u8, put_u16};
use super::loader::Loader;
use crate::platform::layout;

const BIOS_DATA_AREA: u64 = 0x400;
const BIOS_DATA_BYTES: usize = 0x100;

impl Loader<'_> {
    /// Writes the tables to their place and the BIOS data area to its own.
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
        let area = BIOS_DATA_AREA..BIOS_DATA_AREA + BIOS_DATA_BYTES as u64;
        if self.space.claim(area.clone()).is_ok() {
            self.put(area.start, &bios_data_area());
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
