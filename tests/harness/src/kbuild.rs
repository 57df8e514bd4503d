//! Modules of Debian's kernel, built by its own kbuild from the headers that Debian has for that.

use crate::guests;
use crate::packages::unpacked;
use crate::root;
use crate::shared::{must, once};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder with the module `tests/guests/NAME` as it was built, with its debug information, for [`guests::debian`].
#[must_use]
pub fn module(name: &str) -> PathBuf {
    let source = root().join("tests/guests").join(name);
    let folder = once(&format!("{name}-{}", guests::age(&source)), |scratch| {
        let folder = scratch.join(name);
        must(Command::new("cp").arg("-r").arg(&source).arg(&folder));
        let make = format!("M={}", folder.display());
        must(Command::new("make").arg("-C").arg(headers()).arg(make).arg("modules"));
        folder
    });
    assert!(folder.join(format!("{name}.ko")).is_file(), "{}", folder.display());
    folder
}

/// The headers of that kernel, with the programs of kbuild.
fn headers() -> PathBuf {
    let kernel = guests::debian().kernel;
    let file_name = kernel.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let release = file_name.strip_prefix("vmlinuz-").expect("a kernel's name");
    let version = release.strip_suffix("-cloud-amd64").expect("the cloud kernel");
    let series: Vec<&str> = version.split('.').take(2).collect();
    let own = format!("linux-headers-{release}");
    once(&format!("kbuild-{release}"), |scratch| {
        let folder = scratch.join("kbuild");
        fs::create_dir(&folder).expect("a folder");
        let packages = [
            own.clone(),
            format!("linux-headers-{version}-common"),
            format!("linux-kbuild-{}", series.join(".")),
        ];
        for package in packages {
            must(Command::new("cp").arg("-a").arg(unpacked(&package, "").join("usr")).arg(&folder));
        }
        find_common_beside(&folder.join("usr/src").join(&own).join("Makefile"));
        folder
    })
    .join("usr/src")
    .join(&own)
}

/// The headers of a flavour include those of all by the path where the package would be installed.
fn find_common_beside(makefile: &Path) {
    let text = fs::read_to_string(makefile).expect("a Makefile");
    let here = "$(dir $(realpath $(lastword $(MAKEFILE_LIST))))..";
    assert!(text.contains("include /usr/src"), "{text}");
    fs::write(makefile, text.replace("include /usr/src", &format!("include {here}"))).expect("written");
}
