//! A gdb that speaks the debug adapter protocol. It does from 14 on; Debian 12 has 13, and Debian 13's runs there, too, with the
//! libraries and the loader that belong to it.

use crate::apt_root::AptRoot;
use crate::files_below;
use crate::shared::{must, once, run};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The first gdb that has it.
const FIRST: u32 = 14;

/// How a gdb of another system is started.
const LAUNCHER: &str = r#"#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
libraries=$here/usr/lib/x86_64-linux-gnu
export PYTHONHOME="$here/usr" PYTHONDONTWRITEBYTECODE=1
exec "$libraries/ld-linux-x86-64.so.2" --library-path "$libraries" \
    "$here/usr/bin/gdb" --data-directory="$here/usr/share/gdb" "$@"
"#;

/// Such a gdb: the host's own, else Debian 13's, which is fetched into target/.
///
/// # Panics
/// If there is none to be had.
#[must_use]
pub fn gdb_with_dap() -> PathBuf {
    let version = run(Command::new("gdb").arg("--version")).unwrap_or_default();
    let number =
        version.lines().next().and_then(|line| line.rsplit(' ').next()?.split('.').next()?.parse().ok());
    if number.is_some_and(|number: u32| number >= FIRST) {
        return PathBuf::from("gdb");
    }
    once("gdb-with-dap", fetch).join("gdb")
}

fn fetch(scratch: &Path) -> PathBuf {
    let apt = AptRoot::of("apt-root-of-gdb", &["trixie"]);
    let (archives, folder) = (scratch.join("archives"), scratch.join("gdb"));
    fs::create_dir_all(archives.join("partial")).expect("a folder in target/");
    let mut get = apt.command("apt-get");
    get.arg("-o").arg(format!("Dir::Cache::archives={}", archives.display()));
    must(get.args(["install", "-y", "--download-only", "--no-install-recommends", "gdb"]));
    for deb in files_below(&archives, "deb") {
        must(Command::new("dpkg-deb").arg("-x").args([&deb, &folder]));
    }
    let launcher = folder.join("gdb");
    fs::write(&launcher, LAUNCHER).expect("room for a script");
    fs::set_permissions(&launcher, Permissions::from_mode(0o755)).expect("permissions");
    folder
}
