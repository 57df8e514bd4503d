//! The processor: its state, its memory accesses, and what each instruction does.
//!
//! This is the specification. It caches nothing and knows nothing of engines; the reference engine runs it
//! instruction by instruction, the others may do the same work faster and must get the same result.

pub mod core;
pub mod decode;
pub mod exception;
pub mod execute;
pub mod flags;
pub mod integer;
pub mod mmu;
pub mod operand;
pub mod simd;
pub mod state;
pub mod system;
#[cfg(test)]
mod testing;
pub mod x87;
