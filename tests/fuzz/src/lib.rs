//! Differential fuzzing of the processor: random instructions on random state, here and on the host's own
//! processor, and random programs on two engines.

pub mod classify;
pub mod compare;
pub mod exceptions;
pub mod generate;
pub mod guest;
pub mod native;
pub mod operands;
pub mod random;
pub mod rules;
pub mod soak;
pub mod state;
pub mod values;
