//! Files of published crates, fetched by cargo: there are kernels among them.

use crate::shared::{must, once};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// A file of a published crate, unpacked by xz.
///
/// # Panics
/// If it cannot be had.
#[must_use]
pub fn file_of_crate(name: &str, packed: &str) -> PathBuf {
    let vendored = once(&format!("crate-{name}"), |scratch| {
        let project = scratch.join("project");
        fs::create_dir_all(project.join("src")).expect("a folder in target/");
        fs::write(project.join("src/lib.rs"), "").expect("an empty crate");
        let manifest = format!(
            "[package]\nname = \"fetch\"\nedition = \"2024\"\n[dependencies]\n{name} = \"*\"\n[workspace]\n"
        );
        fs::write(project.join("Cargo.toml"), manifest).expect("a manifest");
        must(Command::new("cargo").args(["vendor", "--quiet", "vendored"]).current_dir(&project));
        project.join("vendored")
    });
    let packed_path = vendored.join(name).join(packed);
    let stem = packed.trim_end_matches(".xz");
    once(&format!("{name}-{stem}"), |scratch| {
        let copy = scratch.join(packed);
        fs::copy(&packed_path, &copy).expect("a file of the crate");
        must(Command::new("xz").arg("-d").arg(&copy));
        scratch.join(stem)
    })
}
