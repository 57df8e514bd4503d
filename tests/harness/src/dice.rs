//! Random numbers that are the same in every run.

/// xorshift64*: what the tests throw needs no better dice.
#[derive(Clone, Copy, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The same seed is the same numbers.
    #[must_use]
    pub fn new(seed: u64) -> Dice {
        // A state of zero would stay zero.
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % limit
    }

    /// One of these.
    pub fn pick<'l, T: ?Sized>(&mut self, list: &[&'l T]) -> &'l T {
        list[self.below(list.len() as u64) as usize]
    }

    /// Dice for something else that goes on meanwhile.
    #[must_use]
    pub fn split(&mut self) -> Dice {
        Dice::new(self.below(u64::MAX))
    }
}
