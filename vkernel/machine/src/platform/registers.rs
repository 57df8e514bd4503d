//! What every register file needs: bit tests, and wide accesses cut into the widths a device has.

/// Tests of bits by mask.
pub trait Bits: Copy {
    /// Whether any bit of `mask` is set.
    fn has(self, mask: Self) -> bool;
}

macro_rules! bits {
    ($($integer:ty),*) => {$(
        impl Bits for $integer {
            fn has(self, mask: $integer) -> bool {
                self & mask != 0
            }
        }
    )*};
}
bits!(u8, u16, u32, u64);

/// All ones in the low `size_bytes` bytes: what an access without a device reads.
#[must_use]
pub fn all_ones(size_bytes: u8) -> u64 {
    u64::MAX >> (64 - 8 * u32::from(size_bytes.clamp(1, 8)))
}

/// Reads `size_bytes` bytes of a little-endian array from `offset` on; bytes beyond its end are zero.
#[must_use]
pub fn read_bytes(bytes: &[u8], offset: usize, size_bytes: u8) -> u64 {
    (0..usize::from(size_bytes.min(8))).fold(0, |value, index| {
        let byte = offset.checked_add(index).and_then(|at| bytes.get(at)).copied().unwrap_or(0);
        value | u64::from(byte) << (8 * index)
    })
}

/// Reads or writes a part of a wider register: replaces the `size_bytes` bytes at byte `offset` of `register`.
#[must_use]
pub fn merge(register: u64, offset: u32, size_bytes: u8, value: u64) -> u64 {
    let mask = all_ones(size_bytes).checked_shl(8 * offset).unwrap_or(0);
    register & !mask | value.checked_shl(8 * offset).unwrap_or(0) & mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_ones_has_the_width_of_the_access() {
        assert_eq!([1, 2, 4, 8].map(all_ones), [0xff, 0xffff, 0xffff_ffff, u64::MAX]);
    }

    #[test]
    fn merge_replaces_only_the_bytes_addressed() {
        assert_eq!(merge(0x1122_3344, 1, 2, 0xaabb), 0x11aa_bb44);
        assert_eq!(merge(0x1122_3344, 0, 8, 5), 5);
    }

    #[test]
    fn reading_beyond_the_end_reads_zero() {
        assert_eq!(read_bytes(&[1, 2], 1, 4), 2);
        assert_eq!(read_bytes(&[1, 2], usize::MAX, 4), 0);
    }
}
