//! The machine: processors, memory, the PC platform and its devices, boot loaders. A pure function of its
//! inputs.
//!
//! Passive: a timeline (crate `replay`) drives it. It knows no clock, file, terminal, thread or trace; what
//! enters and leaves are the types of `boundary`. A guest's mistakes are architecture (#GP, all-ones), never
//! a Rust error; a mistake of ours is an assertion, on in release.
#![deny(unsafe_code)]

pub mod archive;
pub mod boot;
pub mod platform;
