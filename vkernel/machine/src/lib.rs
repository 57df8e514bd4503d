//! The machine: processors, memory, the PC platform and its devices, boot loaders. A pure function of its
//! inputs.
//!
//! Passive: a timeline (crate `replay`) drives it. It knows no clock, file, terminal, thread or trace; what
//! enters and leaves are the types of `boundary`. A guest's mistakes are architecture (#GP, all-ones), never
//! a Rust error; a mistake of ours is an assertion, on in release.
#![deny(unsafe_code)]

pub mod archive;
pub mod boot;
pub mod clock;
pub mod cpu;
pub mod describe;
pub mod engine;
mod lockstep;
pub mod machine;
pub mod mem;
mod peek;
pub mod platform;
mod saved;
mod schedule;
pub mod stop;
pub mod system;
pub mod tlb;

pub use describe::power_on;
pub use engine::{CacheLimits, EngineKind};
pub use lockstep::Mismatch;
pub use machine::{Event, Exit, Interrupt, Machine};
pub use peek::{PeekError, WalkStep};
pub use saved::Saved;
pub use stop::{Space, StopReason, StopSet, Watchpoint};

/// The number of this behaviour. Any change that alters a digest of the same [`boundary::PowerOn`] and inputs
/// raises it.
pub const MODEL: u32 = if cfg!(feature = "next-model") { THIS_MODEL + 1 } else { THIS_MODEL };

const THIS_MODEL: u32 = 1;
