//! The house rules that a machine can check: which crate may know which, what the machine may depend on,
//! where `unsafe` may stand, and that no leftovers stay in the tree.

use crate::support::{files_below, root};
use std::collections::BTreeSet;
use std::path::Path;

/// The crates of this workspace with the crates of ours they may depend on. Dependencies point one way.
const ARROWS: &[(&str, &[&str])] = &[
    ("vkernel/boundary", &[]),
    ("vkernel/machine", &["boundary"]),
    ("vkernel/host", &["boundary"]),
    ("recorder", &["boundary"]),
    ("replay", &["boundary", "machine", "recorder"]),
    ("ddb-shell", &["boundary", "machine", "recorder", "replay"]),
];

/// What the machine may depend on: nothing that could look outside.
const MACHINE_MAY_USE: &[&str] = &["boundary", "iced-x86", "acpi_tables", "xxhash-rust", "thiserror"];

/// The files that may contain `unsafe`, and no others.
const UNSAFE_FILES: &[&str] = &[
    "tests/fuzz/src/native.rs",
    "vkernel/host/src/signal.rs",
    "vkernel/host/src/terminal.rs",
    "vkernel/machine/src/cpu/simd/hostfp.rs",
    "vkernel/machine/src/cpu/simd/tests/differential.rs",
    "vkernel/machine/src/cpu/x87/hostfp.rs",
];

/// The names in a section of a manifest.
fn section(manifest: &Path, name: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(manifest).expect("a manifest");
    let header = format!("[{name}]");
    text.lines()
        .skip_while(|line| line.trim() != header)
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split(['=', '.', ' ']).next())
        .filter(|word| !word.is_empty() && !word.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

#[test]
fn dependencies_point_one_way() {
    let ours: BTreeSet<&str> = ["boundary", "machine", "host", "recorder", "replay", "ddb-shell"].into();
    for (folder, allowed) in ARROWS {
        let used = section(&root().join(folder).join("Cargo.toml"), "dependencies");
        for name in used.iter().filter(|name| ours.contains(name.as_str())) {
            assert!(allowed.contains(&name.as_str()), "{folder} must not depend on {name}");
        }
    }
}

#[test]
fn the_machine_depends_on_nothing_that_could_look_outside() {
    let used = section(&root().join("vkernel/machine/Cargo.toml"), "dependencies");
    for name in &used {
        assert!(MACHINE_MAY_USE.contains(&name.as_str()), "{name} is not on the machine's list");
    }
}

fn sources() -> Vec<std::path::PathBuf> {
    ["vkernel", "recorder", "replay", "ddb-shell", "tests"]
        .iter()
        .flat_map(|folder| files_below(&root().join(folder), "rs"))
        .collect()
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).expect("a file of the tree").display().to_string()
}

#[test]
fn unsafe_stands_only_in_the_named_files() {
    for path in sources() {
        let name = relative(&path);
        let text = std::fs::read_to_string(&path).expect("a source file");
        let uses = text.lines().any(|line| {
            let code = line.split("//").next().unwrap_or_default();
            code.contains("unsafe {") || code.contains("unsafe fn") || code.contains("unsafe impl")
        });
        if uses && name != "tests/tidy.rs" {
            assert!(UNSAFE_FILES.contains(&name.as_str()), "{name} contains unsafe and is not on the list");
        }
    }
}

#[test]
fn every_module_says_what_it_is() {
    for path in sources() {
        let text = std::fs::read_to_string(&path).expect("a source file");
        assert!(text.starts_with("//!"), "{} does not open with what it is", relative(&path));
    }
}

#[test]
fn no_leftovers_stay_in_the_tree() {
    let marks = ["TO", "FIX", "XX"].map(|start| {
        format!(
            "{start}{}",
            if start == "TO" {
                "DO"
            } else if start == "FIX" {
                "ME"
            } else {
                "X"
            }
        )
    });
    for path in sources() {
        let text = std::fs::read_to_string(&path).expect("a source file");
        for (number, line) in text.lines().enumerate() {
            let is_left = marks.iter().any(|mark| line.contains(mark.as_str())) || line.contains("dbg!(");
            assert!(!is_left, "{}:{} has a leftover mark: {line}", relative(&path), number + 1);
        }
    }
}

#[test]
fn files_stay_readable() {
    for path in sources() {
        let lines = std::fs::read_to_string(&path).expect("a source file").lines().count();
        assert!(lines <= 700, "{} has {lines} lines: is it still one concept?", relative(&path));
    }
}
