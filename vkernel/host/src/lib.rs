//! The host side: the only crate that touches terminals, files, clocks and signals.
#![deny(unsafe_code)]

pub mod initrd;
