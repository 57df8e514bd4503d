//! Builds what the program carries inside: the demonstration kernel, so that `vkernel demo` needs no download, and
//! the init for a Linux kernel that comes with nothing else (vkernel/cli/init).
//!
//! gcc and binutils are all that is needed.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, exit};

/// A static program without a C library, the same bytes wherever it is built.
const INIT_FLAGS: &[&str] = &[
    "-std=gnu11",
    "-Os",
    "-static",
    "-nostdlib",
    "-nostartfiles",
    "-ffreestanding",
    "-mgeneral-regs-only",
    "-fno-pie",
    "-no-pie",
    "-fno-stack-protector",
    "-fcf-protection=none",
    "-fno-asynchronous-unwind-tables",
    // Else gcc makes memset() of the loop in memset().
    "-fno-tree-loop-distribute-patterns",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wl,--build-id=none",
    "-Wl,-z,noexecstack",
    "-s",
];

fn main() {
    let root = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it"));
    let guests = root.join("tests/guests");
    for folder in ["common", "demo", "build.sh"] {
        watch(&guests.join(folder));
    }
    let demo = Command::new("sh").arg(guests.join("build.sh")).arg(&out).arg("demo").status();
    check("the demonstration kernel", demo);
    let init = root.join("vkernel/cli/init");
    watch(&init);
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "gcc".into());
    let sources = ["init.c", "commands.c", "text.c"];
    let built = Command::new(compiler)
        .current_dir(&init)
        .args(INIT_FLAGS)
        .args(sources)
        .arg("-o")
        .arg(out.join("init"))
        .status();
    check("the built-in init", built);
}

/// Ends the build unless `what` was built.
fn check(what: &str, built: std::io::Result<ExitStatus>) {
    if !built.is_ok_and(|status| status.success()) {
        println!("cargo::error={what} does not build: gcc and binutils are needed");
        exit(1);
    }
}

/// Builds again when anything below `path` changes.
fn watch(path: &Path) {
    println!("cargo::rerun-if-changed={}", path.display());
}
