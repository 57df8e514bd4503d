//! Debian's 6.1 cloud kernel as somebody has it who has built it: its vmlinux with debug information (800 MB unpacked), its
//! sources, and its own scripts for gdb, prepared as its Makefile does.

use crate::sources::{Package, package};
use harness::{must, once};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What of the sources a session looks at.
const SOURCES: [&str; 5] = ["scripts/gdb", "kernel", "drivers/tty", "fs", "arch/x86"];

/// A folder with `vmlinux`, `vmlinux-gdb.py` beside it, and sources. With `VKERNEL_DEBUG_VMLINUX` the vmlinux is that one instead of
/// the package's.
///
/// # Panics
/// If it cannot be had.
#[must_use]
pub fn tree(release: &str) -> PathBuf {
    once(&format!("tree-{release}"), |scratch| {
        let tree = scratch.join("tree");
        fs::create_dir_all(&tree).expect("a folder");
        let vmlinux = match std::env::var_os("VKERNEL_DEBUG_VMLINUX") {
            Some(given) => PathBuf::from(given),
            None => {
                let package = package(&format!("linux-image-{release}-dbg"), "");
                package.folder.join("usr/lib/debug/boot").join(format!("vmlinux-{release}"))
            }
        };
        symlink(vmlinux, tree.join("vmlinux")).expect("a link");
        unpack_sources(&package("linux-source-6", ".1"), &tree);
        make_constants(release, &tree);
        fs::copy(tree.join("scripts/gdb/vmlinux-gdb.py"), tree.join("vmlinux-gdb.py")).expect("the script");
        tree
    })
}

fn unpack_sources(source: &Package, tree: &Path) {
    let archive = source.folder.join("usr/src").join(format!("{}.tar.xz", source.name));
    let mut tar = Command::new("tar");
    tar.arg("-xJf").arg(archive).args(["--strip-components=1", "-C"]).arg(tree);
    must(tar.args(SOURCES.map(|folder| format!("{}/{folder}", source.name))));
}

/// constants.py is what the preprocessor makes of constants.py.in (scripts/gdb/linux/Makefile).
fn make_constants(release: &str, tree: &Path) {
    let common = format!("linux-headers-{}-common", release.trim_end_matches("-cloud-amd64"));
    let own = format!("linux-headers-{release}");
    let [common, own] = [common, own].map(|name| package(&name, "").folder.join("usr/src").join(name));
    let folder = tree.join("scripts/gdb/linux");
    let mut preprocess = Command::new("gcc");
    preprocess.args(["-E", "-x", "c", "-P", "-nostdinc", "-D__KERNEL__"]);
    for uapi in ["", "/uapi"] {
        for (headers, path) in [
            (&common, format!("arch/x86/include{uapi}")),
            (&own, format!("arch/x86/include/generated{uapi}")),
            (&common, format!("include{uapi}")),
            (&own, if uapi.is_empty() { "include".to_owned() } else { "include/generated/uapi".to_owned() }),
        ] {
            preprocess.arg("-I").arg(headers.join(path));
        }
    }
    for header in ["compiler-version.h", "kconfig.h"] {
        preprocess.arg("-include").arg(common.join("include/linux").join(header));
    }
    let text = must(preprocess.arg(folder.join("constants.py.in")));
    let (_, constants) = text.split_once("<!-- end-c-headers -->").expect("the end of the C headers");
    fs::write(folder.join("constants.py"), constants.trim_start()).expect("constants.py");
}
