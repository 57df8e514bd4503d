//! tools/testing/selftests/x86 of Debian's Linux source, as static programs of 64 bits and of 32.
//!
//! What is built is what the folder's Makefile names. For 32 bits the C library comes from its package, unpacked in
//! target/, and the headers from the host, which Debian shares between the two.

use crate::sources::package;
use harness::{must, once, run, unpacked};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Programs of both sizes; their names are those of the Makefile's lists.
const BOTH: [&str; 16] = [
    "single_step_syscall",
    "sysret_ss_attrs",
    "syscall_nt",
    "test_mremap_vdso",
    "check_initial_reg_state",
    "sigreturn",
    "iopl",
    "ioperm",
    "test_vsyscall",
    "mov_ss_trap",
    "sigtrap_loop",
    "syscall_arg_fault",
    "fsgsbase_restore",
    "sigaltstack",
    "ldt_gdt",
    "ptrace_syscall",
];

/// Only 32 bits.
const ONLY_32: [&str; 7] = [
    "entry_from_vm86",
    "test_syscall_vdso",
    "unwind_vdso",
    "test_FCMOV",
    "test_FCOMI",
    "test_FISTTP",
    "vdso_restorer",
];

/// Only 64 bits.
const ONLY_64: [&str; 5] = ["fsgsbase", "sysret_rip", "syscall_numbering", "corrupt_xstate_header", "amx"];

/// What a program needs besides its own source: assembler files, another entry point.
const HELPERS: [(&str, &str); 5] = [
    ("check_initial_reg_state_64", "-Wl,-ereal_start"),
    ("check_initial_reg_state_32", "-Wl,-ereal_start"),
    ("sysret_ss_attrs_64", "thunks.S"),
    ("ptrace_syscall_32", "raw_syscall_helper_32.S"),
    ("test_syscall_vdso_32", "thunks_32.S"),
];

/// Builds all of them into `folder`.
///
/// # Panics
/// If one does not build.
pub fn build(folder: &Path) {
    fs::create_dir_all(folder).expect("a folder");
    let sources = sources();
    let flags_32 = flags_32();
    for name in BOTH.iter().chain(&ONLY_64) {
        compile(&sources, name, "64", &["-m64".to_owned()], folder);
    }
    for name in BOTH.iter().chain(&ONLY_32) {
        compile(&sources, name, "32", &flags_32, folder);
    }
}

fn compile(sources: &Path, name: &str, bits: &str, flags: &[String], folder: &Path) {
    let program = format!("{name}_{bits}");
    let mut compile = Command::new("gcc");
    // Both macros for both sizes: tests look whether the other kind is there too.
    compile.args(["-O2", "-std=gnu99", "-pthread", "-no-pie", "-static", "-s", "-w"]);
    compile.args(["-DCAN_BUILD_32", "-DCAN_BUILD_64", "-I..", "-I../../../include"]).args(flags);
    compile.arg("-o").arg(folder.join(&program)).arg(format!("{name}.c"));
    compile.args(HELPERS.iter().filter(|(of, _)| *of == program).map(|(_, file)| file));
    must(compile.args(["-lrt", "-ldl", "-lm"]).current_dir(sources.join("tools/testing/selftests/x86")));
}

/// The part of the source that the tests need.
fn sources() -> PathBuf {
    once("selftests-source", |scratch| {
        // Split so that linux-source-6.12 is not taken for a newer one.
        let package = package("linux-source-6", ".1");
        let archive = package.folder.join("usr/src/linux-source-6.1.tar.xz");
        let folder = scratch.join("source");
        fs::create_dir_all(&folder).expect("a folder");
        let wanted = [
            "*/tools/testing/selftests/x86",
            "*/tools/testing/selftests/kselftest*.h",
            "*/tools/include",
            "*/arch/x86/include/asm/desc_defs.h",
        ];
        let mut unpack = Command::new("tar");
        unpack.arg("-xJf").arg(&archive).arg("-C").arg(&folder);
        must(unpack.args(["--strip-components=1", "--wildcards"]).args(wanted));
        folder
    })
}

/// How gcc finds a C library of 32 bits that is not installed.
fn flags_32() -> Vec<String> {
    let version = must(Command::new("gcc").arg("-dumpversion"));
    let version = version.trim();
    let library = unpacked("libc6-dev-i386", "");
    let compiler = unpacked(&format!("lib32gcc-{version}-dev"), "");
    let triplet = run(Command::new("gcc").arg("-print-multiarch")).unwrap_or_default();
    let triplet = triplet.trim();
    let lib32 = library.join("usr/lib32");
    let gcc32 = compiler.join(format!("usr/lib/gcc/{triplet}/{version}/32"));
    let mut flags = vec!["-m32".to_owned()];
    for headers in [library.join(format!("usr/include/{triplet}")), format!("/usr/include/{triplet}").into()]
    {
        flags.extend(["-isystem".to_owned(), headers.display().to_string()]);
    }
    for libraries in [lib32, gcc32] {
        flags.extend([format!("-B{}", libraries.display()), format!("-L{}", libraries.display())]);
    }
    flags
}
