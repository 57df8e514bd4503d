//! The kernels, and where each comes from.

use crate::initrd;
use crate::sources::{Package, entry, package};
use harness::{file_of_crate, files_below, must, once};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where a kernel image comes from.
#[derive(Clone, Copy, Debug)]
enum Source {
    /// The vmlinuz of a Debian package: what its name begins and ends with.
    Vmlinuz(&'static str, &'static str),
    /// The vmlinux, without symbols, that the vmlinuz of a package carries, packed by xz.
    Vmlinux(&'static str, &'static str),
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
    /// The options that have it entered so.
    pub options: &'static [&'static str],
    /// vCPUs and seed, different from row to row so that the table covers many.
    pub vcpus: u8,
    /// See `vcpus`.
    pub seed: u64,
    /// What the row should say besides.
    pub remark: &'static str,
}

/// Every kernel of the table, oldest first.
pub const KERNELS: [Kernel; 11] = [
    debian("debian-5.10-cloud", ("linux-image-5.10.0-", "-cloud-amd64"), 2, 0, "LZ4"),
    CLOUD,
    debian("debian-6.1", ("linux-image-6.1.0-", "-amd64"), 4, 2, "XZ; all drivers"),
    Kernel {
        name: "debian-6.1-vmlinux",
        source: Source::Vmlinux("linux-image-6.1.0-", "-amd64"),
        protocol: "PVH",
        options: &["--protocol", "pvh"],
        vcpus: 2,
        seed: 0,
        remark: "the stripped vmlinux in the vmlinuz; without KASLR",
    },
    debian("debian-6.1-rt", ("linux-image-6.1.0-", "-rt-amd64"), 4, 3, "XZ; PREEMPT_RT"),
    Kernel {
        name: "debian-6.1-rt-vmlinux",
        source: Source::Vmlinux("linux-image-6.1.0-", "-rt-amd64"),
        protocol: "64-bit vmlinux",
        options: &["--protocol", "linux"],
        vcpus: 8,
        seed: 6,
        remark: "the same for PREEMPT_RT",
    },
    debian("debian-6.12-cloud", ("linux-image-6.12.", "+deb13-cloud-amd64"), 16, 0, "zstd"),
    LATE,
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
    Kernel {
        name,
        source: Source::Vmlinuz(prefix, suffix),
        protocol: "bzImage",
        options: &[],
        vcpus,
        seed,
        remark,
    }
}

const fn from_crate(name: &'static str, vcpus: u8, seed: u64, remark: &'static str) -> Kernel {
    Kernel { name, source: Source::Crate(name), protocol: "bzImage", options: &[], vcpus, seed, remark }
}

/// Those of the table that are crashed and looked into.
pub const INSIDE: [&str; 6] = [
    "debian-5.10-cloud",
    "debian-6.1-cloud",
    "debian-6.1-rt",
    "debian-6.12-cloud",
    "debian-6.18-cloud",
    "debian-7-cloud",
];

/// The boots that show whether a kernel is content whatever the schedule.
pub const SCHEDULES: [Kernel; 13] = {
    let mut all = [Kernel { vcpus: 4, ..LATE }; 13];
    let mut index = 0;
    while index < 12 {
        let vcpus = if index < 6 { 4 } else { 16 };
        all[index] = Kernel { vcpus, seed: index as u64 % 6, ..CLOUD };
        index += 1;
    }
    all
};

/// Debian 12's kernel for virtual machines.
pub const CLOUD: Kernel = debian("debian-6.1-cloud", ("linux-image-6.1.0-", "-cloud-amd64"), 16, 1, "LZ4");
const LATE: Kernel = debian("debian-6.18-cloud", ("linux-image-6.18.", "+deb13-cloud-amd64"), 16, 4, "zstd");

impl Kernel {
    /// Its image, fetched if it is not in target/ yet.
    ///
    /// # Panics
    /// If it cannot be had.
    #[must_use]
    pub fn image(&self) -> PathBuf {
        match self.source {
            Source::Crate(name) => file_of_crate(name, "kernel.xz"),
            Source::Vmlinuz(prefix, suffix) => vmlinuz(&package(prefix, suffix)),
            Source::Vmlinux(prefix, suffix) => {
                let package = package(prefix, suffix);
                once(&format!("{}-vmlinux", package.name), |scratch| unpack_vmlinux(&package, scratch))
            }
        }
    }

    /// The arguments that boot it with the initrd of the table and `more`; `vcpus` and `seed` are as they stand.
    #[must_use]
    pub fn boot(&self, more: &[&str]) -> Vec<OsString> {
        let (vcpus, seed) = (self.vcpus.to_string(), self.seed.to_string());
        let common = ["boot", "-n", &vcpus, "--seed", &seed, "--append", "console=ttyS0"];
        let words = common.iter().chain(self.options).chain(more).map(OsString::from);
        words.chain(["--initrd".into(), initrd::of_every_kernel().into(), self.image().into()]).collect()
    }

    /// A module of its package, if it has that.
    #[must_use]
    pub fn module(&self, name: &str) -> Option<PathBuf> {
        let (Source::Vmlinuz(prefix, suffix) | Source::Vmlinux(prefix, suffix)) = self.source else {
            return None;
        };
        let folder = package(prefix, suffix).folder;
        let files = ["ko", "xz"].into_iter().flat_map(|extension| files_below(&folder, extension));
        let names = [format!("{name}.ko"), format!("{name}.ko.xz")];
        files.into_iter().find(|file| names.iter().any(|name| file.ends_with(name)))
    }

    /// The key of its row in the table of what kernels tell of themselves.
    #[must_use]
    pub fn crashed(&self) -> String {
        format!("crashed {}", self.name)
    }

    /// Its name with its machine.
    #[must_use]
    pub fn named_machine(&self) -> String {
        format!("{} `{}`", self.name, self.machine())
    }

    /// The machine of the row, as options.
    #[must_use]
    pub fn machine(&self) -> String {
        format!("-n {} --seed {}", self.vcpus, self.seed)
    }
}

fn vmlinuz(package: &Package) -> PathBuf {
    // Since 7.2 the image lies beside its modules.
    let beside_modules = || entry(&entry(&package.folder.join("usr/lib/modules"), "")?, "vmlinuz");
    let found = entry(&package.folder.join("boot"), "vmlinuz").or_else(beside_modules);
    found.unwrap_or_else(|| panic!("no vmlinuz in {}", package.name))
}

/// What a bzImage unpacks when it boots: where it lies in the file is said by its header (Linux, x86 boot protocol 2.08).
fn unpack_vmlinux(package: &Package, scratch: &Path) -> PathBuf {
    let image = fs::read(vmlinuz(package)).expect("a vmlinuz");
    let word = |at: usize| u32::from_le_bytes(image[at..at + 4].try_into().expect("4 bytes")) as usize;
    let setup_sectors = usize::from(image[0x1f1]);
    let (offset_bytes, length_bytes) = (word(0x248), word(0x24c));
    let payload = &image[(setup_sectors + 1) * 512 + offset_bytes..][..length_bytes];
    let packed = scratch.join("vmlinux.xz");
    fs::write(&packed, payload).expect("a payload written");
    // Behind the stream stands its unpacked length.
    must(Command::new("xz").args(["-d", "--single-stream"]).arg(&packed));
    scratch.join("vmlinux")
}

/// The modules of Debian's 6.1, those for tests among them, and its image.
#[must_use]
pub fn debian_with_modules() -> (PathBuf, Vec<PathBuf>) {
    let package = package("linux-image-6.1.0-", "-amd64");
    (vmlinuz(&package), files_below(&package.folder.join("lib/modules"), "ko"))
}
