//! The house rules that a machine can check: which crate may know which, what the machine may depend on,
//! where `unsafe` may stand, how long files and functions are, and that no leftovers stay in the tree.

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

/// What a crate's tests may depend on beyond its arrows: nothing yet. A test that needs more than its crate does
/// belongs to the crate above, or to tests/.
const TESTS_MAY_USE: &[(&str, &str)] = &[];

/// Longest function, in lines. A function longer than a screen does more than one thing.
const LONGEST_FUNCTION: usize = 70;

/// Functions that are tables, a line for each row.
const TABLES: &[(&str, &str)] = &[("vkernel/machine/src/cpu/simd/table.rs", "lookup")];

/// What the machine may depend on: nothing that could look outside.
const MACHINE_MAY_USE: &[&str] = &["boundary", "iced-x86", "acpi_tables", "xxhash-rust", "thiserror"];

/// The files that may contain `unsafe`, and no others.
const UNSAFE_FILES: &[&str] = &[
    "tests/bench/src/process.rs",
    "tests/fuzz/src/native.rs",
    "vkernel/host/src/mapping.rs",
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

/// The name of a package, by its folder.
fn package(folder: &str) -> &str {
    folder.rsplit('/').next().unwrap_or(folder)
}

/// Checks one table of dependencies of one crate.
fn check_arrows(folder: &str, allowed: &[&str], table: &str) {
    let is_ours = |name: &String| ARROWS.iter().any(|(folder, _)| package(folder) == name);
    for name in section(&root().join(folder).join("Cargo.toml"), table).iter().filter(|name| is_ours(name)) {
        let is_excepted = table == "dev-dependencies" && TESTS_MAY_USE.contains(&(folder, name.as_str()));
        assert!(
            allowed.contains(&name.as_str()) || is_excepted,
            "{folder} must not depend on {name}: see docs/ARCHITECTURE.md"
        );
    }
}

#[test]
fn dependencies_point_one_way() {
    for (folder, allowed) in ARROWS {
        for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
            check_arrows(folder, allowed, table);
        }
    }
}

#[test]
fn every_crate_has_its_arrows() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).expect("the manifest");
    let (_, members) = manifest.split_once("members = [").expect("the members of the workspace");
    let (members, _) = members.split_once(']').expect("the end of the members");
    let members: Vec<&str> = members.split('"').skip(1).step_by(2).collect();
    assert!(members.len() >= ARROWS.len());
    // Packages below tests/ may use everything, and nothing may use them.
    for member in members.iter().filter(|member| !member.starts_with("tests/")) {
        assert!(ARROWS.iter().any(|(folder, _)| folder == member), "{member} has no arrows in tests/tidy.rs");
    }
    for member in members {
        let library = root().join(member).join("src/lib.rs");
        let text = std::fs::read_to_string(&library).unwrap_or_default();
        let guarded = text.contains("#![forbid(unsafe_code)]") || text.contains("#![deny(unsafe_code)]");
        assert!(guarded || member.starts_with("tests/"), "{member} does not deny unsafe code");
    }
}

#[test]
fn the_machine_depends_on_nothing_that_could_look_outside() {
    let manifest = root().join("vkernel/machine/Cargo.toml");
    assert!(section(&manifest, "build-dependencies").is_empty(), "the machine is not generated");
    let used = section(&manifest, "dependencies");
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
    let print = ["db", "g!("].concat();
    for path in sources() {
        let text = std::fs::read_to_string(&path).expect("a source file");
        for (number, line) in text.lines().enumerate() {
            let is_left = marks.iter().any(|mark| line.contains(mark.as_str())) || line.contains(&print);
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

/// The functions of a formatted source: name, first line, length in lines.
fn functions(text: &str) -> Vec<(String, usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let indent = &line[..line.len() - code.len()];
        let Some((before, after)) = code.split_once("fn ") else { continue };
        let is_qualifier =
            |word: &str| word.starts_with("pub") || ["const", "unsafe", "extern", "\"C\""].contains(&word);
        if !before.split_whitespace().all(is_qualifier) {
            continue;
        }
        let name = after.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
        // The body of a formatted function ends at a brace of its own indent; one that ends in its own line is short.
        let body = lines[start..].iter().position(|line| line.ends_with('{') || line.ends_with(['}', ';']));
        let Some(body) = body.filter(|&body| lines[start + body].ends_with('{')) else { continue };
        let end = lines[start + body..].iter().position(|line| line.strip_prefix(indent) == Some("}"));
        found.push((name.to_owned(), start + 1, end.map_or(1, |end| body + end + 1)));
    }
    found
}

#[test]
fn functions_fit_a_screen() {
    let mut seen = 0;
    for path in sources() {
        let text = std::fs::read_to_string(&path).expect("a source file");
        for (name, line, length) in functions(&text) {
            seen += 1;
            let is_table = TABLES.contains(&(relative(&path).as_str(), name.as_str()));
            assert!(
                length <= LONGEST_FUNCTION || is_table,
                "{}:{line}: {name} has {length} lines: what are its parts?",
                relative(&path)
            );
        }
    }
    assert!(seen > 1000, "{seen} functions: are they still found?");
}

#[test]
fn no_path_of_one_machine_stands_in_the_tree() {
    let banned = [["/wo", "rk/"], ["/ho", "me/"], ["/ro", "ot/"]].map(|parts| parts.concat());
    let folders = ["vkernel", "recorder", "replay", "ddb-shell", "tests", "docs", ".ci"];
    let kinds = ["rs", "md", "toml", "sh", "c", "h", "S", "ld", "1"];
    let mut files: Vec<_> = kinds
        .iter()
        .flat_map(|kind| folders.iter().flat_map(|folder| files_below(&root().join(folder), kind)))
        .collect();
    files.extend(["README.md", "Cargo.toml", "build.rs", ".ci/run"].map(|name| root().join(name)));
    for path in files {
        let text = std::fs::read_to_string(&path).expect("a text file");
        for (number, line) in text.lines().enumerate() {
            // A path within the tree may have such a part; one that begins so is of somebody's machine.
            let is_foreign = banned.iter().any(|start| {
                line.match_indices(start.as_str())
                    .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-}".contains(c)))
            });
            assert!(!is_foreign, "{}:{} names a path of one machine: {line}", relative(&path), number + 1);
        }
    }
}
