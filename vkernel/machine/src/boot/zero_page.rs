//! Linux's zero page, `struct boot_params` (Documentation/arch/x86/zero-page.rst, boot.rst "Details of
//! header fields"): the memory map, where the command line and the initrd are, the RSDP, the text mode.
//!
//! Left out: EDD, EFI and video mode information, which only a BIOS or EFI has.

use super::BootError;
use super::bytes::{put_u8, put_u16, put_u32, put_u64};
use crate::platform::memory_map::MemoryRegion;
use std::ops::Range;

/// Offset of the setup header, in the zero page and in a bzImage alike.
pub(crate) const SETUP_HEADER: usize = 0x1f1;
/// End of the space that the zero page has for the setup header.
pub(crate) const SETUP_HEADER_END: usize = 0x290;
const E820_TABLE: usize = 0x2d0;
const E820_MAX: usize = 128;
const E820_ENTRY_BYTES: usize = 20;
const ZERO_PAGE_BYTES: usize = 4096;

const SETUP_RNG_SEED: u32 = 9;
const LOADED_HIGH: u8 = 1;
const UNDEFINED_LOADER: u8 = 0xff;

/// A zero page being filled in.
pub(crate) struct ZeroPage {
    bytes: Box<[u8; ZERO_PAGE_BYTES]>,
}

impl ZeroPage {
    /// A page with the setup header of a bzImage.
    pub(crate) fn with_setup_header(header: &[u8]) -> ZeroPage {
        let mut page = ZeroPage { bytes: Box::new([0; ZERO_PAGE_BYTES]) };
        let end = (SETUP_HEADER + header.len()).min(SETUP_HEADER_END);
        page.bytes[SETUP_HEADER..end].copy_from_slice(&header[..end - SETUP_HEADER]);
        page.fill_common();
        page
    }

    /// A page with a setup header made from nothing, for a vmlinux, which carries none.
    pub(crate) fn without_setup_header() -> ZeroPage {
        let mut page = ZeroPage { bytes: Box::new([0; ZERO_PAGE_BYTES]) };
        let bytes = &mut page.bytes[..];
        put_u16(bytes, 0x1fa, 0xffff); // vid_mode: normal
        put_u16(bytes, 0x1fe, 0xaa55); // boot_flag
        bytes[0x202..0x206].copy_from_slice(b"HdrS");
        put_u16(bytes, 0x206, 0x020f); // protocol version
        put_u8(bytes, 0x211, LOADED_HIGH);
        put_u32(bytes, 0x230, 0x20_0000); // kernel_alignment
        page.fill_common();
        page
    }

    fn fill_common(&mut self) {
        let bytes = &mut self.bytes[..];
        put_u8(bytes, 0x06, 3); // orig_video_mode: 80x25 colour text
        put_u8(bytes, 0x07, 80); // orig_video_cols
        put_u16(bytes, 0x0a, 3); // orig_video_ega_bx: 256 KiB of VGA memory
        put_u8(bytes, 0x0e, 25); // orig_video_lines
        put_u8(bytes, 0x0f, 1); // orig_video_isVGA
        put_u16(bytes, 0x10, 16); // orig_video_points: scan lines of a character
        put_u8(bytes, 0x210, UNDEFINED_LOADER);
    }

    /// Where the protected-mode code of a bzImage was loaded.
    pub(crate) fn set_code_paddr(&mut self, paddr: u64) {
        put_u32(&mut self.bytes[..], 0x214, paddr as u32);
    }

    /// Where the command line is.
    pub(crate) fn set_command_line(&mut self, paddr: u64) {
        put_u32(&mut self.bytes[..], 0x228, paddr as u32);
        put_u32(&mut self.bytes[..], 0xc8, (paddr >> 32) as u32);
    }

    /// Where the initrd is.
    pub(crate) fn set_ramdisk(&mut self, range: &Range<u64>) {
        let length_bytes = range.end - range.start;
        let bytes = &mut self.bytes[..];
        put_u32(bytes, 0x218, range.start as u32);
        put_u32(bytes, 0x21c, length_bytes as u32);
        put_u32(bytes, 0xc0, (range.start >> 32) as u32);
        put_u32(bytes, 0xc4, (length_bytes >> 32) as u32);
    }

    /// Where the ACPI RSDP is.
    pub(crate) fn set_rsdp(&mut self, paddr: u64) {
        put_u64(&mut self.bytes[..], 0x70, paddr);
    }

    /// The head of the list of `struct setup_data`.
    pub(crate) fn set_setup_data(&mut self, paddr: u64) {
        put_u64(&mut self.bytes[..], 0x250, paddr);
    }

    /// The memory map.
    pub(crate) fn set_memory_map(&mut self, memory_map: &[MemoryRegion]) -> Result<(), BootError> {
        if memory_map.len() > E820_MAX {
            return Err(BootError::Unsupported {
                problem: format!(
                    "the memory map has {} entries and Linux takes {E820_MAX}",
                    memory_map.len()
                ),
                advice: "describe the memory by fewer ranges",
            });
        }
        put_u8(&mut self.bytes[..], 0x1e8, memory_map.len() as u8);
        for (entry, slot) in
            memory_map.iter().zip(self.bytes[E820_TABLE..].chunks_exact_mut(E820_ENTRY_BYTES))
        {
            put_u64(slot, 0, entry.start);
            put_u64(slot, 8, entry.length_bytes);
            put_u32(slot, 16, entry.kind);
        }
        Ok(())
    }

    /// The page as it is put into memory.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..]
    }
}

/// A `struct setup_data` that seeds Linux's random number generator, so that it is ready at once and two boots
/// with one seed draw the same numbers.
///
/// The 32 bytes are four outputs of SplitMix64 started from the machine's seed xor "vk rseed", the constant
/// that keeps them apart from other uses of the seed.
pub(crate) fn rng_seed_setup_data(seed: u64) -> Vec<u8> {
    const SEED_BYTES: usize = 32;
    let mut data = vec![0; 16 + SEED_BYTES];
    put_u64(&mut data, 0, 0); // next: none
    put_u32(&mut data, 8, SETUP_RNG_SEED);
    put_u32(&mut data, 12, SEED_BYTES as u32);
    let mut state = seed ^ u64::from_le_bytes(*b"vk rseed");
    for word in data[16..].chunks_exact_mut(8) {
        word.copy_from_slice(&split_mix(&mut state).to_le_bytes());
    }
    data
}

/// One step of SplitMix64 (Steele, Lea and Flood 2014).
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::memory_map::RESERVED;

    #[test]
    fn split_mix_gives_the_published_sequence() {
        let mut state = 1_234_567;
        let outputs: Vec<u64> = (0..3).map(|_| split_mix(&mut state)).collect();
        assert_eq!(
            outputs,
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }

    #[test]
    fn the_rng_seed_depends_on_the_seed_alone() {
        assert_eq!(rng_seed_setup_data(7), rng_seed_setup_data(7));
        assert_ne!(rng_seed_setup_data(7)[16..], rng_seed_setup_data(8)[16..]);
        assert_eq!(rng_seed_setup_data(0)[..16], [0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 32, 0, 0, 0]);
    }

    #[test]
    fn high_and_low_halves_of_addresses_go_to_their_fields() {
        let mut page = ZeroPage::without_setup_header();
        page.set_ramdisk(&(0x1_2345_6000..0x1_2345_7000));
        page.set_command_line(0x2_0000);
        assert_eq!(page.bytes()[0x218..0x220], [0, 0x60, 0x45, 0x23, 0, 0x10, 0, 0]);
        assert_eq!(page.bytes()[0xc0..0xc8], [1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(page.bytes()[0x228..0x22c], [0, 0, 2, 0]);
    }

    #[test]
    fn the_memory_map_is_copied_and_bounded() {
        let mut page = ZeroPage::without_setup_header();
        let entry = MemoryRegion { start: 0xe_0000, length_bytes: 0x2_0000, kind: RESERVED };
        page.set_memory_map(&[entry; 128]).unwrap();
        assert_eq!(page.bytes()[0x1e8], 128);
        assert_eq!(page.bytes()[0x2d0..0x2d8], 0xe_0000_u64.to_le_bytes());
        assert_eq!(page.bytes()[0x2d0 + 127 * 20 + 16], 2);
        assert!(page.set_memory_map(&[entry; 129]).is_err());
    }
}
