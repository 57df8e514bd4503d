//! The initrds: busybox, the load, and for the tests that Linux carries also those.

use crate::selftests;
use crate::sources::{entry, package};
use harness::guests::age;
use harness::{must, once, root};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Modules that test the kernel, in the order in which they are loaded.
const TEST_MODULES: [&str; 4] = ["test_bpf", "test_user_copy", "test_static_key_base", "test_static_keys"];

/// The initrd of the table, as a directory.
#[must_use]
pub fn of_every_kernel() -> PathBuf {
    once(&named("kernels-initrd"), |scratch| {
        let folder = scratch.join("initrd");
        fill(&folder);
        folder
    })
}

/// The same with the kernel's own tests, as a directory.
#[must_use]
pub fn with_tests(modules: &[PathBuf]) -> PathBuf {
    once(&named("kernel-tests-initrd"), |scratch| {
        let folder = scratch.join("initrd");
        fill(&folder);
        fs::create_dir_all(folder.join("tests/modules")).expect("a folder");
        for name in TEST_MODULES {
            let file = format!("{name}.ko");
            let module = modules.iter().find(|module| module.ends_with(&file));
            let module = module.unwrap_or_else(|| panic!("{file} is not in the package"));
            fs::copy(module, folder.join("tests/modules").join(&file)).expect("a module copied");
        }
        put(&guest("run-tests"), &folder.join("tests/run"));
        selftests::build(&folder.join("tests/x86"));
        folder
    })
}

/// An initrd as a file, for who does not take directories.
#[must_use]
pub fn packed(folder: &Path) -> PathBuf {
    let name = folder.file_name().expect("a named folder").to_string_lossy();
    once(&format!("{name}.cpio"), |scratch| {
        let archive = scratch.join("cpio");
        let script = "cd \"$1\" && find . | bin/busybox cpio -o -H newc >\"$2\"";
        must(Command::new("sh").args(["-c", script, "sh"]).args([folder, &archive]));
        archive
    })
}

/// A name that changes when a file of the guest does.
fn named(name: &str) -> String {
    format!("{name}-{}", age(&root().join("tests/kernels/guest")))
}

fn guest(file: &str) -> PathBuf {
    root().join("tests/kernels/guest").join(file)
}

fn fill(folder: &Path) {
    fs::create_dir_all(folder.join("bin")).expect("a folder");
    let package = package("busybox-static", "").folder;
    let busybox = ["bin", "usr/bin"].iter().find_map(|path| entry(&package.join(path), "busybox"));
    put(&busybox.expect("busybox in its package"), &folder.join("bin/busybox"));
    put(&guest("init"), &folder.join("init"));
    let mut compile = Command::new("gcc");
    compile.args(["-O2", "-Wall", "-Werror", "-static", "-pthread", "-o"]);
    must(compile.args([&folder.join("bin/load"), &guest("load.c")]));
}

fn put(from: &Path, to: &Path) {
    fs::copy(from, to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
    fs::set_permissions(to, Permissions::from_mode(0o755)).expect("permissions");
}
