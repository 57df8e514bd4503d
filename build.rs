//! Builds the demonstration kernel, which the program carries inside: `vkernel demo` needs no download.
//!
//! One call of the script that builds every guest; gcc and binutils are all it needs.

use std::path::{Path, PathBuf};
use std::process::{Command, exit};

fn main() {
    let root = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it"));
    let guests = root.join("tests/guests");
    for folder in ["common", "demo", "build.sh"] {
        watch(&guests.join(folder));
    }
    let built = Command::new("sh").arg(guests.join("build.sh")).arg(&out).arg("demo").status();
    match built {
        Ok(status) if status.success() => {}
        _ => {
            println!("cargo::error=the demonstration kernel does not build: gcc and binutils are needed");
            exit(1);
        }
    }
}

/// Builds again when anything below `path` changes.
fn watch(path: &Path) {
    println!("cargo::rerun-if-changed={}", path.display());
}
