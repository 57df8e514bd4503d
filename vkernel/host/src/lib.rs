//! The host side: the only crate that touches terminals, files, clocks and signals.
//!
//! [`Host`] is the live end of a timeline: it turns what arrives at the process (bytes on stdin, signals, a
//! new window size) into arrivals, and delivers the guest's console to stdout. Beside it stand the files a
//! run starts from: [`media`] reads images, [`initrd`] packs directories; and those that a debugger needs: [`debug_files`]
//! finds them, [`mapping`] maps them. `unsafe` is confined to the modules that talk to the kernel about signals, terminals
//! and mappings.
#![deny(unsafe_code)]

mod clock;
mod console;
pub mod debug_files;
mod error;
pub mod initrd;
mod keyboard;
mod live;
#[expect(unsafe_code, reason = "a file can be mapped in no other way")]
pub mod mapping;
pub mod media;
#[expect(unsafe_code, reason = "signal handlers can be installed in no other way")]
mod signal;
#[expect(unsafe_code, reason = "terminal attributes are set in signal handlers, with plain system calls")]
mod terminal;

#[cfg(test)]
mod live_tests;

pub use error::HostError;
pub use keyboard::read_key;
pub use live::{Host, HostOptions};
pub use signal::{ask_for_debugger, number as signal_number, take_asked};
