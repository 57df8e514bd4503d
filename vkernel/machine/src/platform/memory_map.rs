//! The memory map that firmware would report (e820): the same for the boot protocols and for fw_cfg.

use super::layout;

/// e820 type of usable RAM.
pub const RAM: u32 = 1;
/// e820 type of what a kernel must leave alone.
pub const RESERVED: u32 = 2;
/// Where the extended BIOS data area would start: the last KiB of conventional memory.
const EBDA: u64 = 0x9_fc00;

/// One region of the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryRegion {
    /// Guest physical address of its first byte.
    pub start: u64,
    /// Its length in bytes.
    pub length_bytes: u64,
    /// [`RAM`] or [`RESERVED`].
    pub kind: u32,
}

impl MemoryRegion {
    /// The region as the 20 bytes of an e820 entry.
    #[must_use]
    pub fn e820_entry(&self) -> Vec<u8> {
        let mut entry = self.start.to_le_bytes().to_vec();
        entry.extend(self.length_bytes.to_le_bytes());
        entry.extend(self.kind.to_le_bytes());
        entry
    }
}

/// The map of a machine with `ram_bytes` of RAM, sorted and without overlaps.
#[must_use]
pub fn memory_map(ram_bytes: u64) -> Vec<MemoryRegion> {
    let low_end = ram_bytes.min(layout::PCI_HOLE);
    let tables = &layout::FIRMWARE_TABLES;
    let bounds = [
        (0, EBDA, RAM),
        (EBDA, layout::LOW_RAM_END, RESERVED),
        (tables.start, tables.end, RESERVED),
        (tables.end, low_end, RAM),
        (layout::ECAM, layout::ECAM + layout::ECAM_LENGTH, RESERVED),
        (layout::HIGH_RAM, layout::HIGH_RAM + (ram_bytes - low_end), RAM),
    ];
    bounds
        .into_iter()
        .filter(|(start, end, _)| start < end)
        .map(|(start, end, kind)| MemoryRegion { start, length_bytes: end - start, kind })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_sorted_and_do_not_overlap() {
        for ram_bytes in [2 << 20, 128 << 20, layout::PCI_HOLE, 8 << 30] {
            let map = memory_map(ram_bytes);
            for pair in map.windows(2) {
                assert!(pair[0].start + pair[0].length_bytes <= pair[1].start);
            }
        }
    }

    #[test]
    fn ram_beyond_the_pci_hole_continues_above_4_gib() {
        let map = memory_map(5 << 30);
        let high = map.last().expect("the map is not empty");
        assert_eq!((high.start, high.length_bytes, high.kind), (1 << 32, 2 << 30, RAM));
        assert!(memory_map(1 << 30).iter().all(|region| region.start < layout::HIGH_RAM));
    }

    #[test]
    fn all_ram_but_the_legacy_area_is_usable() {
        let usable =
            |bytes| memory_map(bytes).iter().filter(|r| r.kind == RAM).map(|r| r.length_bytes).sum::<u64>();
        assert_eq!((256 << 20) - usable(256 << 20), (1 << 20) - EBDA);
    }
}
