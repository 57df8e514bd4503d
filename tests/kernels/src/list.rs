//! The kernels, and where each comes from.

use crate::sources::{entry, package};
use harness::{file_of_crate, files_below, must, once};
use std::path::PathBuf;
use std::process::Command;

/// Where a kernel image comes from.
#[derive(Clone, Copy, Debug)]
enum Source {
    /// The vmlinuz of a Debian package: what its name begins and ends with.
    Vmlinuz(&'static str, &'static str),
    /// The vmlinux of a package with debugging symbols, without them.
    StrippedVmlinux(&'static str, &'static str),
    /// kernel.xz of a crate.
    Crate(&'static str),
}

/// A kernel of the table.
#[derive(Clone, Copy, Debug)]
pub struct Kernel {
    /// What it is called in the table and on the command line.
    pub name: &'static str,
    source: Source,
    /// How it is entered.
    pub protocol: &'static str,
    /// vCPUs and seed, different from row to row so that the table covers many.
    pub vcpus: u8,
    /// See `vcpus`.
    pub seed: u64,
    /// What the row should say besides.
    pub remark: &'static str,
}

/// Every kernel of the table, oldest first.
pub const KERNELS: [Kernel; 10] = [
    debian("debian-5.10-cloud", ("linux-image-5.10.0-", "-cloud-amd64"), 2, 0, "LZ4"),
    debian("debian-6.1-cloud", ("linux-image-6.1.0-", "-cloud-amd64"), 16, 1, "LZ4"),
    Kernel {
        name: "debian-6.1-cloud-vmlinux",
        source: Source::StrippedVmlinux("linux-image-6.1.0-", "-cloud-amd64-dbg"),
        protocol: "PVH",
        vcpus: 2,
        seed: 0,
        remark: "the vmlinux after `strip -g`; without relocations, so without KASLR",
    },
    debian("debian-6.1", ("linux-image-6.1.0-", "-amd64"), 4, 2, "XZ; all drivers"),
    debian("debian-6.1-rt", ("linux-image-6.1.0-", "-rt-amd64"), 4, 3, "XZ; PREEMPT_RT"),
    debian("debian-6.12-cloud", ("linux-image-6.12.", "+deb13-cloud-amd64"), 16, 0, "zstd"),
    debian("debian-6.18-cloud", ("linux-image-6.18.", "+deb13-cloud-amd64"), 16, 4, "zstd"),
    debian("debian-7-cloud", ("linux-binary-7.", "+deb13-cloud-amd64"), 4, 5, "zstd; PREEMPT_LAZY"),
    from_crate("omea-kernel-x86-64", 4, 0, "no modules"),
    from_crate("supermachine-kernel-x86-64", 1, 0, "no modules"),
];

const fn debian(
    name: &'static str,
    (prefix, suffix): (&'static str, &'static str),
    vcpus: u8,
    seed: u64,
    remark: &'static str,
) -> Kernel {
    Kernel { name, source: Source::Vmlinuz(prefix, suffix), protocol: "bzImage", vcpus, seed, remark }
}

const fn from_crate(name: &'static str, vcpus: u8, seed: u64, remark: &'static str) -> Kernel {
    Kernel { name, source: Source::Crate(name), protocol: "bzImage", vcpus, seed, remark }
}

impl Kernel {
    /// Its image, fetched if it is not in target/ yet.
    ///
    /// # Panics
    /// If it cannot be had.
    #[must_use]
    pub fn image(&self) -> PathBuf {
        match self.source {
            Source::Crate(name) => file_of_crate(name, "kernel.xz"),
            Source::Vmlinuz(prefix, suffix) => {
                let package = package(prefix, suffix);
                entry(&package.folder.join("boot"), "vmlinuz")
                    .or_else(|| {
                        // Since 7.2 the image lies beside its modules.
                        let modules = package.folder.join("usr/lib/modules");
                        entry(&entry(&modules, "")?, "vmlinuz")
                    })
                    .unwrap_or_else(|| panic!("no vmlinuz in {}", package.name))
            }
            Source::StrippedVmlinux(prefix, suffix) => {
                let package = package(prefix, suffix);
                once(&format!("{}-vmlinux", package.name), |scratch| {
                    let folder = package.folder.join("usr/lib/debug/boot");
                    let whole = entry(&folder, "vmlinux-").expect("a vmlinux in the package");
                    let stripped = scratch.join("vmlinux");
                    must(Command::new("strip").arg("-g").arg("-o").args([&stripped, &whole]));
                    stripped
                })
            }
        }
    }
}

/// The modules of Debian's 6.1, those for tests among them, and its image.
#[must_use]
pub fn debian_with_modules() -> (PathBuf, Vec<PathBuf>) {
    let package = package("linux-image-6.1.0-", "-amd64");
    let image = entry(&package.folder.join("boot"), "vmlinuz").expect("a vmlinuz in the package");
    (image, files_below(&package.folder.join("lib/modules"), "ko"))
}
