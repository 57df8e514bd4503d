//! Differential fuzzing of the processor: random instructions on random state, here and on the host's own
//! processor, and random programs on two engines.

pub mod native;
pub mod random;
pub mod state;
