//! What the long integration tests and the soak share: guests fetched or built, the program `vkernel` run as a
//! user runs it, and nonsense to tell its debugger.
//!
//! Nothing here knows what a right answer is; that is for the tests. What goes wrong on the way (no package
//! manager, no compiler, a prompt that never comes) panics with the command that failed.
#![forbid(unsafe_code)]

mod apt_root;
mod console;
mod crates;
mod dice;
mod gdb;
pub mod guests;
pub mod kbuild;
pub mod nonsense;
mod packages;
mod program;
pub mod prompt;
mod shared;

pub use apt_root::AptRoot;
pub use console::Step;
pub use crates::file_of_crate;
pub use dice::Dice;
pub use gdb::gdb_with_dap;
pub use packages::unpacked;
pub use program::{Run, Session, Typing, Vkernel, reported, reported_digest, reported_icount};
pub use shared::{must, once, run};

use std::path::{Path, PathBuf};

/// The workspace's root.
#[must_use]
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Every file below `folder` whose name ends in `.{extension}`, sorted.
///
/// # Panics
/// If the folder cannot be read.
#[must_use]
pub fn files_below(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = all_files_below(folder);
    found.retain(|path| path.extension().is_some_and(|found| found == extension));
    found
}

/// Every file below `folder`, sorted.
///
/// # Panics
/// If the folder cannot be read.
#[must_use]
pub fn all_files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a readable folder").flatten() {
            let path = entry.path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}
