//! A real guest for each boot protocol, on every engine, recorded and replayed: what it prints is in
//! `tests/guests/GUEST/GUEST.expected`.
//!
//! The guests are built from their sources, so gcc and binutils must be there.

use crate::support::root;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

const ENGINES: [&str; 3] = ["reference", "interp", "lockstep"];
/// A module of 5 bytes, for the guests that print one.
const MODULE: &str = "hello";

/// The directory with the guests and the module, made once.
fn guests() -> &'static Path {
    static GUESTS: OnceLock<PathBuf> = OnceLock::new();
    GUESTS.get_or_init(|| {
        let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("protocols");
        let script = root().join("tests/guests/build.sh");
        let mut command = Command::new("sh");
        command.arg(&script).arg(&out).args(["elf64", "limine", "multiboot2", "pie", "pmode32"]);
        let built = command.output().expect("sh starts");
        assert!(built.status.success(), "{command:?}: {}", String::from_utf8_lossy(&built.stderr));
        fs::write(out.join("module"), MODULE).expect("a module");
        out
    })
}

fn vkernel(store: &Path, arguments: &[&str]) -> (String, Output) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vkernel"));
    command.args(arguments).env("VKERNEL_DIR", store).current_dir(guests()).stdin(Stdio::null());
    let output = command.output().expect("vkernel starts");
    (format!("cd {} && {command:?} </dev/null", guests().display()), output)
}

/// Boots a guest on every engine, and replays each recording: all print what is expected.
fn prints_what_is_expected(guest: &str, arguments: &[&str]) {
    let expected = root().join(format!("tests/guests/{guest}/{guest}.expected"));
    let expected = fs::read_to_string(expected).expect("what the guest prints");
    let store = tempfile::tempdir().expect("a store");
    let kernel = format!("{guest}.elf");
    for engine in ENGINES {
        let trace = store.path().join(format!("{engine}.vkt"));
        let trace = trace.to_str().expect("a path in UTF-8");
        let fixed = ["-m", "64m", "--limit", "20s", "--ok-exit", "0", "--engine", engine, "--trace", trace];
        let (command, booted) = vkernel(store.path(), &[&fixed[..], arguments, &[&kernel]].concat());
        let said = String::from_utf8_lossy(&booted.stderr);
        assert_eq!(String::from_utf8_lossy(&booted.stdout), expected, "{command}\n{said}");
        assert_eq!(booted.status.code(), Some(0), "{command}\n{said}");
        let (command, replayed) = vkernel(store.path(), &["replay", "--engine", engine, trace]);
        let said = String::from_utf8_lossy(&replayed.stderr);
        assert_eq!(String::from_utf8_lossy(&replayed.stdout), expected, "{command}\n{said}");
        assert_eq!(replayed.status.code(), Some(0), "{command}\n{said}");
    }
}

#[test]
fn a_multiboot2_kernel_gets_its_tags() {
    prints_what_is_expected("multiboot2", &["--append", "one two", "--module", "module:words"]);
}

#[test]
fn a_limine_kernel_gets_its_responses_and_all_processors() {
    prints_what_is_expected("limine", &["-n", "4", "--append", "one two", "--module", "module:words"]);
}

#[test]
fn a_plain_elf64_kernel_runs_where_it_was_linked() {
    prints_what_is_expected("elf64", &["--append", "hello elf64", "--module", "module:words"]);
}

#[test]
fn a_position_independent_kernel_is_relocated_and_its_symbols_with_it() {
    prints_what_is_expected("pie", &[]);
    let store = tempfile::tempdir().expect("a store");
    let (command, dies) =
        vkernel(store.path(), &["-m", "64m", "--limit", "20s", "--append", "die", "pie.elf"]);
    let said = String::from_utf8_lossy(&dies.stderr);
    assert_eq!(dies.status.code(), Some(1), "{command}\n{said}");
    assert!(said.contains("die+0x"), "{command}\n{said}");
}

#[test]
fn a_32_bit_kernel_pages_and_takes_interrupts() {
    prints_what_is_expected("pmode32", &[]);
}

#[test]
fn the_protocol_can_be_chosen_and_a_wrong_choice_is_no_verdict() {
    let store = tempfile::tempdir().expect("a store");
    let fixed = ["--no-record", "-m", "64m", "--limit", "20s", "--ok-exit", "0"];
    let choose = |protocol: &str, guest: &str| {
        vkernel(store.path(), &[&fixed[..], &["--protocol", protocol, guest]].concat())
    };
    let (command, right) = choose("multiboot1", "pmode32.elf");
    assert_eq!(right.status.code(), Some(0), "{command}");
    let (command, wrong) = choose("limine", "pmode32.elf");
    let said = String::from_utf8_lossy(&wrong.stderr);
    assert_eq!(wrong.status.code(), Some(125), "{command}\n{said}");
    assert!(said.contains("it does not speak Limine's protocol, but Multiboot 1"), "{said}");
}
