//! What the tests boot: Debian's cloud kernel with a busybox initrd, and the kernels of tests/guests.

use crate::packages::unpacked;
use crate::root;
use crate::shared::{once, run};
use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A kernel and its initrd.
#[derive(Clone, Debug)]
pub struct Linux {
    /// The bzImage.
    pub kernel: PathBuf,
    /// A directory to be packed as initrd: busybox, and an init that gives a shell on the console.
    pub initrd: PathBuf,
}

impl Linux {
    /// The arguments that boot it with its initrd and `options`.
    #[must_use]
    pub fn boot(&self, options: &[&str]) -> Vec<OsString> {
        let initrd = [OsString::from("--initrd"), self.initrd.clone().into(), self.kernel.clone().into()];
        ["boot"].iter().chain(options).map(OsString::from).chain(initrd).collect()
    }

    /// The same without any initrd.
    #[must_use]
    pub fn boot_without_initrd(&self, options: &[&str]) -> Vec<OsString> {
        let kernel = OsString::from(&self.kernel);
        ["boot", "--initrd", "none"].iter().chain(options).map(OsString::from).chain([kernel]).collect()
    }
}

/// What the shell of [`Linux::initrd`] prompts with.
pub const PROMPT: &str = "/ # ";

const INIT: &str = "#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev
/bin/busybox mount -t proc none /proc
/bin/busybox mount -t sysfs none /sys
/bin/busybox mount -t devtmpfs none /dev
/bin/busybox --install -s /bin
export PATH=/bin
exec setsid cttyhack sh
";

/// Debian 12's kernel for virtual machines, and a shell.
#[must_use]
pub fn debian() -> Linux {
    let package = unpacked("linux-image-6.1.0-", "-cloud-amd64");
    let kernel = only_file(&package.join("boot"), "vmlinuz-");
    Linux { kernel, initrd: once("initrd", pack_initrd) }
}

fn pack_initrd(scratch: &Path) -> PathBuf {
    let package = unpacked("busybox-static", "");
    let busybox = ["bin/busybox", "usr/bin/busybox"].map(|path| package.join(path));
    let busybox = busybox.iter().find(|path| path.exists()).expect("busybox in its package");
    let folder = scratch.join("initrd");
    fs::create_dir_all(folder.join("bin")).expect("a folder");
    fs::copy(busybox, folder.join("bin/busybox")).expect("busybox copied");
    fs::write(folder.join("init"), INIT).expect("init written");
    for executable in ["init", "bin/busybox"] {
        fs::set_permissions(folder.join(executable), Permissions::from_mode(0o755)).expect("permissions");
    }
    folder
}

fn only_file(folder: &Path, prefix: &str) -> PathBuf {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut found = entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    found.next().unwrap_or_else(|| panic!("no {prefix}* in {}", folder.display())).path()
}

/// A kernel of tests/guests, built by its script. Built again when any source of a guest has changed.
#[must_use]
pub fn built(name: &str) -> PathBuf {
    let sources = root().join("tests/guests");
    once(&format!("{name}-{}.elf", age(&sources)), |scratch| {
        let mut build = Command::new("sh");
        build.arg(sources.join("build.sh")).arg(scratch).arg(name);
        run(&mut build).unwrap_or_else(|error| panic!("the guest {name} does not build: {error}"));
        scratch.join(format!("{name}.elf"))
    })
}

/// When something below a folder was changed last, in nanoseconds: a name for what is made of it.
#[must_use]
pub fn age(folder: &Path) -> u128 {
    let files = crate::all_files_below(folder);
    let newest =
        files.iter().filter_map(|file| file.metadata().ok()?.modified().ok()).max().expect("sources");
    newest.duration_since(std::time::UNIX_EPOCH).expect("a date after 1970").as_nanos()
}
