//! What opening a boot promises. A minimal Multiboot kernel is a header and nothing else.

use super::*;
use crate::args::{Command, parse};
use crate::exit::ExitStatus;
use std::fs;
use std::path::Path;

/// A flat Multiboot 1 kernel: magic, flags (addresses given), checksum, five addresses.
fn multiboot_kernel() -> Vec<u8> {
    let (magic, flags, at) = (0x1bad_b002_u32, 1u32 << 16, 0x10_0000u32);
    let checksum = 0u32.wrapping_sub(magic).wrapping_sub(flags);
    [magic, flags, checksum, at, at, 0, 0, at + 32].iter().flat_map(|word| word.to_le_bytes()).collect()
}

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Files {
        let files = Files(tempfile::tempdir().unwrap());
        files.write("kernel", &multiboot_kernel());
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).unwrap();
    }

    /// Opens a boot of arguments in which `%` stands for the directory. Nothing is recorded, so that no store is
    /// looked for.
    fn open(&self, line: &str) -> Result<BootConfig> {
        let directory = self.0.path().to_str().unwrap();
        let words = line.split_whitespace().map(|word| word.replace('%', directory).into());
        let Ok(Command::Boot(boot)) = parse(words.chain(["--no-record".into()]).collect()) else {
            panic!("{line} is a boot")
        };
        BootConfig::open(*boot)
    }

    fn refused(&self, line: &str) -> (u8, String) {
        let error = self.open(line).unwrap_err();
        (ExitStatus::of_error(&error).code(), error.to_string())
    }
}

#[test]
fn a_kernel_and_its_modules_are_read_and_named() {
    let files = Files::new();
    files.write("module", b"m");
    files.write("odd:name", b"o");
    let config = files.open("--module %/module:a,b --module %/odd:name -s %/kernel").unwrap();
    assert_eq!(config.protocol, BootProtocol::Multiboot1);
    assert_eq!(config.command_line, "single");
    let modules: Vec<_> =
        config.images[1..].iter().map(|image| (&image.bytes[..], &image.command_line[..])).collect();
    assert_eq!(modules, [(&b"m"[..], "a,b"), (b"o", "")]);
    assert_eq!(config.images[0].bytes, multiboot_kernel());
    assert_eq!(Path::new(&config.images[2].name), files.path("odd:name"));
    assert!(matches!(config.recording, Recording::Off));
}

#[test]
fn a_directory_is_packed_as_an_initrd_and_none_is_none() {
    let files = Files::new();
    fs::create_dir(files.path("root")).unwrap();
    fs::write(files.path("root/init"), "#!/bin/sh").unwrap();
    let config = files.open("--initrd %/root %/kernel").unwrap();
    assert!(config.images[1].bytes.starts_with(b"070701"));
    assert_eq!(config.images[1].role, Role::Initrd);
    assert_eq!(files.open("--initrd none %/kernel").unwrap().images.len(), 1);
    let (status, message) = files.refused("--initrd none --initrd %/root %/kernel");
    assert_eq!(status, 129);
    assert!(message.contains("./none"));
}

/// The least that is recognised as a Linux bzImage with the 64-bit boot protocol.
fn linux_kernel() -> Vec<u8> {
    let mut bytes = vec![0; 0x8000];
    bytes[0x1f1] = 1;
    bytes[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    bytes[0x202..0x206].copy_from_slice(b"HdrS");
    bytes[0x206..0x208].copy_from_slice(&0x20f_u16.to_le_bytes());
    bytes[0x211] = 1;
    bytes[0x230..0x234].copy_from_slice(&0x20_0000_u32.to_le_bytes());
    bytes[0x236] = 3;
    bytes[0x258..0x260].copy_from_slice(&0x100_0000_u64.to_le_bytes());
    bytes[0x260..0x264].copy_from_slice(&0x10_0000_u32.to_le_bytes());
    bytes
}

#[test]
fn linux_without_user_space_gets_the_built_in_init_unless_told_otherwise() {
    let files = Files::new();
    files.write("linux", &linux_kernel());
    fs::create_dir(files.path("root")).unwrap();
    let config = files.open("%/linux").unwrap();
    assert!(config.has_built_in_init && config.images.len() == 2);
    assert!(config.images[1].bytes.starts_with(b"070701"));
    assert!(config.notices.iter().any(|line| line.contains("--initrd none")));
    for line in ["--initrd none", "--initrd %/root", "-e root=x", "--append rdinit=/x", "--append noinitrd"] {
        let config = files.open(&format!("{line} %/linux")).unwrap();
        assert!(!config.has_built_in_init, "{line}");
    }
    assert!(!files.open("%/kernel").unwrap().has_built_in_init, "not Linux");
}

#[test]
fn a_kernel_that_cannot_be_judged_is_no_verdict() {
    let files = Files::new();
    files.write("text", b"#!/bin/sh\nexit 1\n");
    files.write("empty", b"");
    for name in ["missing", "text", "empty", ""] {
        let (status, message) = files.refused(&format!("%/{name}"));
        assert_eq!(status, 125, "{name}");
        assert!(message.starts_with("KERNEL "), "{message}");
    }
    let (status, message) = files.refused("/dev/zero");
    assert_eq!(status, 125);
    assert!(message.contains("raise -m"), "{message}");
}

#[test]
fn a_wrong_path_elsewhere_is_a_mistake_that_names_its_option() {
    let files = Files::new();
    for (line, start) in [
        ("--initrd %/missing %/kernel", "--initrd "),
        ("--module %/missing:x %/kernel", "--module "),
        ("--module % %/kernel", "--module "),
        ("--symbols %/missing %/kernel", "--symbols "),
        ("--expect ( %/kernel", "--expect "),
        ("-t --clock virtual %/kernel", "-t "),
        ("-v %/kernel", "-v "),
    ] {
        let (status, message) = files.refused(line);
        assert_eq!(status, 129, "{line}");
        assert!(message.starts_with(start), "{line}: {message}");
    }
}

#[test]
fn a_pack_of_nothing_is_a_contradiction() {
    let files = Files::new();
    let words = format!("--keep none --pack p {}", files.path("kernel").display());
    let Ok(Command::Boot(boot)) = parse(words.split(' ').map(Into::into).collect()) else { panic!() };
    let error = BootConfig::open(*boot).unwrap_err();
    assert_eq!(ExitStatus::of_error(&error), ExitStatus::Usage);
    assert!(error.to_string().starts_with("--pack "), "{error}");
}

#[test]
fn the_precise_clock_is_the_hosts() {
    let files = Files::new();
    assert_eq!(files.open("-t %/kernel").unwrap().clock, Some(Clock::Host));
    assert_eq!(files.open("--clock virtual %/kernel").unwrap().clock, Some(Clock::Virtual));
    assert_eq!(files.open("%/kernel").unwrap().clock, None);
}

#[test]
fn patterns_are_compiled_and_the_rest_of_the_judgement_kept() {
    let config = Files::new().open("--expect ok --fail a --fail b --ok-exit 3 --no-reboot %/kernel").unwrap();
    assert!(config.judgement.expect.unwrap().regex.is_match(b"it is ok"));
    let sources: Vec<_> = config.judgement.fail.iter().map(|pattern| pattern.regex.as_str()).collect();
    assert_eq!(sources, ["a", "b"]);
    assert_eq!(config.judgement.ok_exit, Some(3));
    assert!(config.no_reboot);
}
