//! The digest of RAM: a sum over pages of a hash of (page number, contents), so that it can be kept
//! incrementally for the pages written in an epoch. A page of zeros counts nothing, so untouched RAM is free.
//!
//! XXH3-128 rather than a cryptographic hash: hashing a page in place then costs about what copying it to a
//! worker would, so no worker is needed (docs/decisions/0003-digest.md).

use super::ram::{Memory, PAGE_BYTES};
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// The hash that page number `index` with these contents adds to the digest.
#[must_use]
pub fn page_hash(index: usize, bytes: &[u8]) -> u128 {
    if bytes.iter().all(|&byte| byte == 0) {
        return 0;
    }
    xxh3_128_with_seed(bytes, index as u64)
}

impl Memory {
    /// Ends the epoch and gives the digest of RAM, from the pages written since the last call.
    pub fn digest_incremental(&mut self) -> u128 {
        self.end_epoch();
        for index in std::mem::take(&mut self.unhashed) {
            let index = index as usize;
            self.pages[index].unhashed = false;
            let hash = page_hash(index, &self.ram()[index * PAGE_BYTES..][..PAGE_BYTES]);
            let old = std::mem::replace(&mut self.page_hashes[index], hash);
            self.hash_sum = self.hash_sum.wrapping_sub(old).wrapping_add(hash);
        }
        self.hash_sum
    }

    /// The digest of RAM computed from all of it, trusting no bookkeeping.
    #[must_use]
    pub fn digest_from_scratch(&self) -> u128 {
        self.ram()
            .chunks_exact(PAGE_BYTES)
            .enumerate()
            .fold(0, |sum: u128, (index, bytes)| sum.wrapping_add(page_hash(index, bytes)))
    }
}
