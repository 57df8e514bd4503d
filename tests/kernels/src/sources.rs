//! Where kernels come from: packages of any suite of the host's own Debian mirror, by a private apt root in target/.
//! Versions roll, so that a package is named by what its name begins and ends with.

use harness::{AptRoot, must, once};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where to look.
const SUITES: [&str; 5] = ["bullseye", "bookworm", "bookworm-backports", "trixie", "trixie-backports"];

/// A package, fetched and unpacked.
#[derive(Clone, Debug)]
pub struct Package {
    /// Its full name.
    pub name: String,
    /// What is in it.
    pub folder: PathBuf,
}

/// The package whose name begins with `prefix` and ends with `suffix`, with nothing but numbers between; of several,
/// the one with the highest. Unpacked whole.
///
/// # Panics
/// If it cannot be had.
#[must_use]
pub fn package(prefix: &str, suffix: &str) -> Package {
    let apt = AptRoot::of("apt-root", &SUITES);
    let names = must(apt.command("apt-cache").args(["pkgnames", prefix]));
    let numbered = names.lines().filter_map(|name| Some((numbers_between(name, prefix, suffix)?, name)));
    let (_, name) = numbered.max().unwrap_or_else(|| panic!("the mirror has no {prefix}*{suffix}"));
    let folder = once(name, |scratch| {
        must(apt.command("apt-get").args(["download", name]).current_dir(scratch));
        let deb = entry(scratch, name).expect("the package that was just fetched");
        let folder = scratch.join("unpacked");
        must(Command::new("dpkg-deb").arg("-x").args([&deb, &folder]));
        folder
    });
    Package { name: name.to_owned(), folder }
}

/// The first file of `folder` whose name begins with `prefix`.
#[must_use]
pub fn entry(folder: &Path, prefix: &str) -> Option<PathBuf> {
    let mut entries = fs::read_dir(folder).ok()?.flatten();
    let wanted = |name: &str| name.starts_with(prefix);
    entries.find(|entry| entry.file_name().to_str().is_some_and(wanted)).map(|entry| entry.path())
}

fn numbers_between(name: &str, prefix: &str, suffix: &str) -> Option<Vec<u32>> {
    let between = name.strip_prefix(prefix)?.strip_suffix(suffix)?;
    if between.is_empty() {
        return Some(vec![]);
    }
    between.split('.').map(|number| number.parse().ok()).collect()
}
