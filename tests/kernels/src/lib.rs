//! Kernels nobody here wrote, and the tests that they carry: where they come from, and what is made of them. The
//! program of this package writes the pages; the soak takes the list.
#![forbid(unsafe_code)]

pub mod boots;
mod crashes;
mod debug_info;
pub mod gdb;
pub mod initrd;
pub mod inside;
pub mod list;
pub mod others;
pub mod own_tests;
mod selftests;
mod sources;
pub mod table;
pub mod vmcore;
