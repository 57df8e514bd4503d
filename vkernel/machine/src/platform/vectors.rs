//! A set of the 256 interrupt vectors, as the IRR, ISR and TMR are.

/// Which vectors are in the set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Vectors {
    words: [u64; 4],
}

crate::persist!(Vectors { words });

impl Vectors {
    /// Adds or removes a vector.
    pub fn set(&mut self, vector: u8, member: bool) {
        let (word, bit) = (usize::from(vector >> 6), 1 << (vector & 63));
        if member {
            self.words[word] |= bit;
        } else {
            self.words[word] &= !bit;
        }
    }

    /// Whether the vector is in the set.
    #[must_use]
    pub fn contains(&self, vector: u8) -> bool {
        self.words[usize::from(vector >> 6)] & 1 << (vector & 63) != 0
    }

    /// The highest vector in the set.
    #[must_use]
    pub fn highest(&self) -> Option<u8> {
        let word = (0..4).rev().find(|word| self.words[*word] != 0)?;
        Some((word as u32 * 64 + self.words[word].ilog2()) as u8)
    }

    /// The vectors in the set, from the lowest up.
    pub fn members(&self) -> impl Iterator<Item = u8> {
        (0..=u8::MAX).filter(|vector| self.contains(*vector))
    }

    /// The `index`-th of the eight 32-bit registers that show the set.
    #[must_use]
    pub fn word(&self, index: u32) -> u32 {
        (self.words[(index as usize / 2) % 4] >> (32 * (index % 2))) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn highest_and_words_agree_with_the_members() {
        let mut vectors = Vectors::default();
        assert_eq!(vectors.highest(), None);
        for vector in [0, 31, 32, 63, 64, 200, 255] {
            vectors.set(vector, true);
            assert_eq!(vectors.highest(), Some(vector));
            assert!(vectors.contains(vector));
            assert_ne!(vectors.word(u32::from(vector) / 32) & 1 << (vector % 32), 0);
        }
        assert_eq!(vectors.members().collect::<Vec<_>>(), [0, 31, 32, 63, 64, 200, 255]);
        vectors.set(255, false);
        assert_eq!(vectors.highest(), Some(200));
    }
}
