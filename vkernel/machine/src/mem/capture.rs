//! Taking RAM down and putting it back, at the cost of what was written in between.

use super::pages::{PageBytes, PageMap};
use super::ram::{Memory, PAGE_BYTES};
use std::sync::Arc;

impl Memory {
    /// Ends the epoch and gives the contents of RAM, copying the pages written since the last capture.
    pub fn capture(&mut self) -> PageMap {
        self.end_epoch();
        for index in std::mem::take(&mut self.uncaptured) {
            let index = index as usize;
            self.pages[index].uncaptured = false;
            let bytes: &PageBytes =
                self.ram()[index * PAGE_BYTES..][..PAGE_BYTES].try_into().expect("a page has its size");
            let is_zero = bytes.iter().all(|&byte| byte == 0);
            self.captured.set(index, (!is_zero).then(|| Arc::new(*bytes)));
        }
        self.captured.clone()
    }

    /// Replaces the contents of RAM and ends the epoch. Gives the pages that were replaced.
    pub fn restore(&mut self, contents: &PageMap) -> Vec<usize> {
        self.end_epoch();
        let mut replaced = self.captured.differing(contents);
        for index in std::mem::take(&mut self.uncaptured) {
            self.pages[index as usize].uncaptured = false;
            replaced.push(index as usize);
        }
        for &index in &replaced {
            let target = &mut self.ram_mut()[index * PAGE_BYTES..][..PAGE_BYTES];
            match contents.get(index) {
                Some(bytes) => target.copy_from_slice(&bytes[..]),
                None => target.fill(0),
            }
            if !std::mem::replace(&mut self.pages[index].unhashed, true) {
                self.unhashed.push(index as u32);
            }
        }
        self.captured = contents.clone();
        replaced
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAM_BYTES: u64 = 64 << 20;

    #[test]
    fn restoring_brings_back_contents_and_digests_both_ways() {
        let mut memory = Memory::new(RAM_BYTES);
        assert!(memory.write(0x1000, &[1; 5000]));
        let early = (memory.capture(), memory.digest_incremental());
        assert!(memory.write(0x2000, &[0; 4096]) && memory.write(0x300_0000, &[7; 10]));
        let late = (memory.capture(), memory.digest_incremental());
        assert!(memory.write(0x300_0000, &[9; 10]));
        for (contents, digest) in [&early, &late, &early, &late] {
            memory.restore(contents);
            assert_eq!(memory.digest_incremental(), *digest);
            assert_eq!(memory.digest_from_scratch(), *digest);
        }
        let mut other = Memory::new(RAM_BYTES);
        other.restore(&late.0);
        assert_eq!(other.digest_incremental(), late.1);
    }

    #[test]
    fn a_capture_shares_the_pages_that_were_not_written() {
        let mut memory = Memory::new(RAM_BYTES);
        assert!(memory.write(0x10_0000, &[1; 1 << 20]));
        let first = memory.capture();
        assert!(memory.write(0x10_5000, &[2]));
        let second = memory.capture();
        assert_eq!(first.differing(&second), [0x105]);
    }
}
