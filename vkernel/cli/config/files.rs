//! The files that a boot names: kernel, initrds, modules, symbols.
//!
//! A kernel that is missing or none is no verdict on a commit, hence status 125; a wrong path in another option is a
//! mistake of the command line, which `git bisect run` should stop at.

use super::LoadedFile;
use crate::args::boot::{GuestArgs, Protocol};
use crate::exit::{cannot_judge, usage};
use anyhow::Result;
use boundary::{BootProtocol, Role};
use machine::boot::{Family, probe, probe_as};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Reads KERNEL and finds out how it is entered.
pub fn kernel(path: &Path, wanted: Option<Protocol>, ram_bytes: u64) -> Result<(LoadedFile, BootProtocol)> {
    let name = path.display().to_string();
    let bytes = if name == "demo:" {
        crate::demo::kernel_bytes()
    } else {
        read(path, ram_bytes).map_err(|problem| {
            let advice = unreadable_kernel_advice(path).unwrap_or_default();
            cannot_judge(format!("KERNEL {name}: {problem}{advice}"))
        })?
    };
    let protocol = match wanted {
        Some(wanted) => probe_as(&bytes, family(wanted)),
        None => probe(&bytes),
    }
    .map_err(|error| cannot_judge(format!("KERNEL {name}: {error}")))?;
    Ok((LoadedFile { role: Role::Kernel, name, bytes, command_line: String::new() }, protocol))
}

fn family(protocol: Protocol) -> Family {
    match protocol {
        Protocol::Linux => Family::Linux,
        Protocol::Limine => Family::Limine,
        Protocol::Multiboot2 => Family::Multiboot2,
        Protocol::Multiboot1 => Family::Multiboot1,
        Protocol::Pvh => Family::Pvh,
        Protocol::Elf => Family::Elf,
    }
}

/// What the built-in init is called where images are listed.
pub const BUILT_IN_INIT: &str = "built-in init";
/// The init for a Linux kernel that comes with neither an initrd nor a disk (vkernel/cli/init).
const INIT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/init"));

/// Whether the command line says where user space is to come from: the user wants that, or to see it fail.
fn names_user_space(command_line: &str) -> bool {
    const WORDS: [&str; 5] = ["root=", "nfsroot=", "init=", "rdinit=", "noinitrd"];
    command_line.split_ascii_whitespace().any(|word| WORDS.iter().any(|start| word.starts_with(start)))
}

/// The kernel, and the initrds and modules after it.
pub fn images(
    kernel: LoadedFile,
    protocol: BootProtocol,
    guest: &GuestArgs,
    command_line: &str,
    ram_bytes: u64,
) -> Result<Vec<LoadedFile>> {
    let is_linux = matches!(protocol, BootProtocol::LinuxBzImage | BootProtocol::LinuxElf);
    if is_linux && !guest.module.is_empty() {
        return Err(usage("--module is for kernels that are not Linux, and this is Linux: use --initrd"));
    }
    let mut images = vec![kernel];
    let is_none = |path: &PathBuf| path.as_os_str() == "none";
    if guest.initrd.iter().any(is_none) {
        if guest.initrd.len() > 1 {
            return Err(usage(
                "--initrd none contradicts the other --initrd (a file of that name is ./none)",
            ));
        }
    } else {
        for path in &guest.initrd {
            images.push(initrd(path, ram_bytes)?);
        }
    }
    if is_linux && guest.initrd.is_empty() && !names_user_space(command_line) {
        images.push(LoadedFile {
            role: Role::Initrd,
            name: BUILT_IN_INIT.to_owned(),
            bytes: host::initrd::pack_init(INIT),
            command_line: String::new(),
        });
    }
    for module in &guest.module {
        images.push(read_module(module, ram_bytes)?);
    }
    Ok(images)
}

fn initrd(path: &Path, ram_bytes: u64) -> Result<LoadedFile> {
    let bytes = if path.is_dir() {
        host::initrd::pack_directory(path).map_err(|error| usage(format!("--initrd: {error}")))?
    } else {
        read(path, ram_bytes).map_err(|problem| usage(format!("--initrd {}: {problem}", path.display())))?
    };
    Ok(LoadedFile {
        role: Role::Initrd,
        name: path.display().to_string(),
        bytes,
        command_line: String::new(),
    })
}

/// `--module FILE[:CMDLINE]`. A path may contain colons, so a file of the whole name goes first.
fn read_module(argument: &Path, ram_bytes: u64) -> Result<LoadedFile> {
    let text = argument.to_str().filter(|_| !argument.exists());
    let (path, command_line) = match text.and_then(|text| text.split_once(':')) {
        Some((path, command_line)) => (Path::new(path), command_line),
        None => (argument, ""),
    };
    let bytes =
        read(path, ram_bytes).map_err(|problem| usage(format!("--module {}: {problem}", path.display())))?;
    let name = path.display().to_string();
    Ok(LoadedFile { role: Role::Module, name, bytes, command_line: command_line.to_owned() })
}

/// Debian and Ubuntu install kernels for root's eyes only: how to get at one all the same.
fn unreadable_kernel_advice(path: &Path) -> Option<String> {
    let is_denied = File::open(path).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
    let file_name = path.file_name()?.to_str()?;
    let release = file_name.strip_prefix("vmlinuz-").or_else(|| file_name.strip_prefix("vmlinux-"))?;
    is_denied.then(|| {
        let path = path.display();
        format!(
            ". A copy will do: sudo install -m 644 {path} . && vkernel {file_name}. Without root: \
             apt-get download linux-image-{release} && dpkg-deb -x linux-image-{release}_*.deb k && \
             vkernel k/boot/{file_name}"
        )
    })
}

/// Checks that files and folders of symbols are there. They are read when a name is first wanted.
pub fn check_symbols(paths: &[PathBuf]) -> Result<()> {
    for path in paths {
        let readable = if path.is_dir() { fs::read_dir(path).map(drop) } else { File::open(path).map(drop) };
        readable.map_err(|error| usage(format!("--symbols {}: {}", path.display(), explain(&error))))?;
    }
    Ok(())
}

/// Reads a file that must fit into the guest's memory, which also ends the reading of /dev/zero.
fn read(path: &Path, ram_bytes: u64) -> Result<Vec<u8>, String> {
    let explain = |error: io::Error| explain(&error);
    if fs::metadata(path).map_err(explain)?.is_dir() {
        return Err("this is a directory; name a file in it".into());
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(explain)?;
    file.take(ram_bytes.saturating_add(1)).read_to_end(&mut bytes).map_err(explain)?;
    if bytes.len() as u64 > ram_bytes {
        return Err(format!("larger than the guest's memory of {} MiB: raise -m", ram_bytes >> 20));
    }
    Ok(bytes)
}

/// The host's reason, and what to do.
fn explain(error: &io::Error) -> String {
    let advice = match error.kind() {
        io::ErrorKind::NotFound => "no such file; check the path",
        io::ErrorKind::PermissionDenied => "permission denied; make it readable (chmod +r)",
        _ => return error.to_string(),
    };
    advice.to_owned()
}
